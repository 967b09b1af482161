//! Finds what a job left in its artifact directories.

use super::{Beneath, Source, escape};
use crate::censor::{Censor, excludes, includes};
use futures::{Stream, StreamExt};
use prow_api::options::CensoringOptions;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Found before anyone asks for them.
const AHEAD: usize = 64;

/// Which files are censored, and with what.
#[derive(Clone, Default)]
pub(crate) struct Censoring {
    censor: Option<Arc<Censor>>,
    include: Arc<[String]>,
    exclude: Arc<[String]>,
}

impl Censoring {
    pub(crate) fn new(censor: Arc<Censor>, options: &CensoringOptions) -> Self {
        Censoring {
            censor: Some(censor),
            include: options.include_directories.clone().into(),
            exclude: options.exclude_directories.clone().into(),
        }
    }

    /// Excluded ones first, then only the included ones, if any are named (prow-runtime §8.4).
    fn of(&self, relative: &str) -> Option<Arc<Censor>> {
        let excluded = self.exclude.iter().any(|glob| excludes(glob, relative));
        let included = self.include.is_empty() || self.include.iter().any(|glob| includes(glob, relative));
        if excluded || !included {
            return None;
        }
        self.censor.clone()
    }
}

/// Names of objects, in which secrets are masked too, whether or not the content is censored.
struct Names<'a> {
    censor: Option<&'a Censor>,
    /// How often a masked name came out.
    seen: HashMap<String, usize>,
}

impl Names<'_> {
    fn of(&mut self, path: &Path) -> String {
        let mut bytes = path.as_os_str().as_bytes().to_vec();
        if let Some(censor) = self.censor {
            censor.mask(&mut bytes);
        }
        let name = escape(OsStr::from_bytes(&bytes));
        if bytes == path.as_os_str().as_bytes() {
            return name;
        }
        // Two that differed in their secrets only must not become one.
        let count = self.seen.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 {
            return name;
        }
        let file = name.rfind('/').map_or(0, |slash| slash + 1);
        let ending = name[file..].rfind('.').map_or(name.len(), |dot| file + dot);
        format!("{}-{count}{}", &name[..ending], &name[ending..])
    }
}

/// Name and source of every file of an item: a directory's files below the directory's own name, a file by its
/// name. What is missing or is not a file is logged and left out. They are found while others go up already: memory
/// does not grow with their number.
pub(crate) fn artifacts(items: Vec<String>, censoring: Censoring) -> impl Stream<Item = (String, Source)> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(AHEAD);
    let looking = tokio::task::spawn_blocking(move || {
        for item in items {
            // A receiver that is gone wants no more.
            find(Path::new(&item), &censoring, &mut |found| drop(sender.blocking_send(found)));
        }
    });
    let broken = futures::stream::once(looking).filter_map(|done| async {
        if let Err(error) = done {
            tracing::error!("looking for artifacts broke down: {error}");
        }
        None
    });
    futures::stream::poll_fn(move |context| receiver.poll_recv(context)).chain(broken)
}

fn find(item: &Path, censoring: &Censoring, found: &mut dyn FnMut((String, Source))) {
    let name = escape(item.file_name().unwrap_or_default());
    let listed = std::fs::symlink_metadata(item).and_then(|meta| {
        if meta.is_dir() {
            let root = Arc::new(Beneath::directory(item)?);
            walk(&root, &name, censoring, found);
        } else {
            let (root, file) = Beneath::parent_of(item)?;
            let censor = censoring.of(&file.to_string_lossy());
            found((name.clone(), Source::File { root: Arc::new(root), path: file, censor }));
        }
        Ok(())
    });
    if let Err(error) = listed {
        tracing::warn!(item = %item.display(), "this item is not uploaded: {error}");
    }
}

fn walk(root: &Arc<Beneath>, name: &str, censoring: &Censoring, found: &mut dyn FnMut((String, Source))) {
    let mut names = Names { censor: censoring.censor.as_deref(), seen: HashMap::new() };
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let entries = match read_sorted(&root.path().join(&directory)) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(directory = %directory.display(), "this directory is not uploaded: {error}");
                continue;
            }
        };
        for (file_name, kind) in entries {
            let relative = directory.join(file_name);
            if kind.is_dir() {
                pending.push(relative);
                continue;
            }
            let path = if kind.is_file() {
                relative.clone()
            } else if kind.is_symlink() {
                match inside(root.path(), &relative) {
                    Ok(path) => path,
                    Err(why) => {
                        tracing::warn!(file = %relative.display(), "this link is not uploaded: {why}");
                        continue;
                    }
                }
            } else {
                tracing::warn!(file = %relative.display(), "this is not uploaded: it is a socket, pipe or device");
                continue;
            };
            // Globs see the file that is read: a link must not lift the censoring of what it leads to.
            let censor = censoring.of(&path.to_string_lossy());
            let object = format!("{name}/{}", names.of(&relative));
            found((object, Source::File { root: root.clone(), path, censor }));
        }
    }
}

fn read_sorted(directory: &Path) -> io::Result<Vec<(std::ffi::OsString, std::fs::FileType)>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        entries.push((entry.file_name(), entry.file_type()?));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// Where a link leads to, relative to the root, if that is a file in the tree.
fn inside(root: &Path, link: &Path) -> Result<PathBuf, String> {
    let real_root = root.canonicalize().map_err(|e| e.to_string())?;
    let real = root.join(link).canonicalize().map_err(|e| format!("it leads nowhere ({e})"))?;
    match real.strip_prefix(&real_root) {
        Ok(relative) if real.is_file() => Ok(relative.to_owned()),
        Ok(_) => Err("it leads to something that is not a file".to_owned()),
        Err(_) => Err("it leads out of the artifact directory".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::Secret;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn all(item: &Path, censoring: &Censoring) -> Vec<(String, Source)> {
        let mut all = Vec::new();
        find(item, censoring, &mut |found| all.push(found));
        all
    }

    #[test]
    fn the_tree_is_found_and_nothing_outside_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("artifacts");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/c#1.txt"), "1").unwrap();
        fs::write(root.join("z.txt"), "2").unwrap();
        fs::write(dir.path().join("secret"), "3").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("/etc/passwd", root.join("passwd")).unwrap();
        symlink("z.txt", root.join("in")).unwrap();
        symlink(root.join("z.txt"), root.join("in-absolute")).unwrap();
        symlink("a", root.join("dir-link")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let mut names: Vec<String> =
            all(&root, &Censoring::default()).into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(
            names,
            ["artifacts/a/b/c%231.txt", "artifacts/in", "artifacts/in-absolute", "artifacts/z.txt"]
        );
        let single: Vec<String> =
            all(&root.join("z.txt"), &Censoring::default()).into_iter().map(|(n, _)| n).collect();
        assert_eq!(single, ["z.txt"]);
        assert!(all(&dir.path().join("missing"), &Censoring::default()).is_empty());
    }

    #[test]
    fn secrets_in_names_are_masked_and_no_two_files_become_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("of hunter2")).unwrap();
        for name in ["hunter2.tar.gz", "secret2.tar.gz", "of hunter2/a#b", "plain"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let secrets = [Secret::new("hunter2"), Secret::new("secret2")];
        let options =
            CensoringOptions { exclude_directories: vec!["**".into()], ..CensoringOptions::default() };
        let censoring = Censoring::new(Arc::new(Censor::new(&secrets, 0).unwrap()), &options);
        let found = all(dir.path(), &censoring);
        let root = format!("{}/", dir.path().file_name().unwrap().to_str().unwrap());
        let names: Vec<&str> = found.iter().map(|(name, _)| name.strip_prefix(&root).unwrap()).collect();
        assert_eq!(names, ["XXXXXXX.tar.gz", "plain", "XXXXXXX.tar-2.gz", "of XXXXXXX/a%23b"]);
    }

    #[test]
    fn excludes_come_before_includes_and_links_do_not_help() {
        let options = CensoringOptions {
            exclude_directories: vec!["logs/**".into()],
            include_directories: vec!["**/*.txt".into()],
            ..CensoringOptions::default()
        };
        let censor = Arc::new(Censor::new(&[Secret::new("hunter2")], 0).unwrap());
        let censoring = Censoring::new(censor, &options);
        for (path, censored) in [("a/b.txt", true), ("logs/b.txt", false), ("a.bin", false)] {
            assert_eq!(censoring.of(path).is_some(), censored, "{path}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("logs")).unwrap();
        fs::write(dir.path().join("z.txt"), "x").unwrap();
        symlink("../z.txt", dir.path().join("logs/z.txt")).unwrap();
        for (name, source) in all(dir.path(), &censoring) {
            assert!(matches!(source, Source::File { censor: Some(_), .. }), "{name}");
        }
    }
}
