//! Which files below a directory count (prow-config §6.2).
//!
//! One difference from upstream on purpose: a root that is itself a symbolic link is followed. Upstream loads
//! nothing from it and says nothing, which has cost people their jobs.

mod ignore;

use crate::diagnostic::Diagnostic;
use crate::load::Sig;
pub(crate) use ignore::{IgnoreStack, Rules};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What directories held when they were last read. One that looks the same since is not read again.
#[derive(Debug, Default)]
pub(crate) struct Listings(HashMap<Arc<Path>, Listing>);

#[derive(Debug)]
struct Listing {
    sig: Sig,
    /// So young when it was read that a later change could look the same.
    racy: bool,
    held: Arc<Held>,
}

/// What counts in a directory.
#[derive(Debug, Default)]
struct Held {
    /// In byte order of their names.
    entries: Vec<Entry>,
    ignore: Option<Arc<Path>>,
}

#[derive(Debug)]
struct Entry {
    path: Arc<Path>,
    directory: bool,
    link: bool,
}

/// A tree of job files, before anybody looked at the files themselves.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Everything below the root that bears the name of a job file and is not ignored, in walk order: depth first,
    /// names in byte order. Entries that begin with `..` are ConfigMap internals and are passed over.
    pub candidates: Vec<Arc<Path>>,
    /// Those of them that are links.
    pub links: Vec<Arc<Path>>,
    /// `.prowignore` files, which rule their directory and what is below it.
    pub ignores: Vec<Arc<Path>>,
    /// Directories that were entered, as they looked before they were listed.
    pub directories: Vec<(Arc<Path>, Option<Sig>)>,
    /// What could not be listed: an error for the root; elsewhere passed over as upstream does, with a warning.
    pub findings: Vec<Diagnostic>,
}

/// Walks a tree of job files. A root that is a file is the tree's only file.
pub(crate) fn tree(root: &Path, listings: &mut Listings, now: SystemTime) -> Tree {
    let mut walk = Walk { tree: Tree::default(), last: std::mem::take(&mut listings.0), now, listings };
    let root: Arc<Path> = root.into();
    if root.is_dir() {
        walk.directory(&root, true, &mut IgnoreStack::default());
    } else {
        walk.tree.candidates.push(root);
    }
    walk.tree
}

struct Walk<'w> {
    tree: Tree,
    last: HashMap<Arc<Path>, Listing>,
    listings: &'w mut Listings,
    now: SystemTime,
}

/// Entries of a directory in byte order of their names.
pub(crate) fn sorted_entries(directory: &Path) -> Result<Vec<fs::DirEntry>, std::io::Error> {
    let mut entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

fn list(directory: &Path) -> Result<Held, std::io::Error> {
    let mut held = Held::default();
    for entry in sorted_entries(directory)? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("..") {
            continue;
        }
        let path = entry.path();
        // A link to a directory is not followed; a link to a file is read under its own name.
        let (directory, link) = entry.file_type().map_or((false, false), |t| (t.is_dir(), t.is_symlink()));
        if name == ".prowignore" && !directory {
            held.ignore = Some(path.into());
        } else if directory || is_yaml(&path) {
            held.entries.push(Entry { path: path.into(), directory, link });
        }
    }
    Ok(held)
}

impl Walk<'_> {
    fn held(&mut self, directory: &Arc<Path>, sig: Option<Sig>) -> Result<Arc<Held>, std::io::Error> {
        let known = self.last.remove(directory).filter(|l| !l.racy && Some(l.sig) == sig);
        let held = match &known {
            Some(listing) => listing.held.clone(),
            None => Arc::new(list(directory)?),
        };
        if let Some(sig) = sig {
            let racy = sig.is_racy(self.now);
            self.listings.0.insert(directory.clone(), Listing { sig, racy, held: held.clone() });
        }
        Ok(held)
    }

    fn directory(&mut self, directory: &Arc<Path>, is_root: bool, ignores: &mut IgnoreStack) {
        // Looked at before it is listed: what changes in between shows at the next look.
        let sig = Sig::of(directory);
        self.tree.directories.push((directory.clone(), sig));
        let held = match self.held(directory, sig) {
            Ok(held) => held,
            Err(error) => {
                let finding = if is_root { Diagnostic::error } else { Diagnostic::warning };
                self.tree.findings.push(finding(format!("cannot list {}: {error}", directory.display())));
                return;
            }
        };
        ignores.enter(directory, held.ignore.as_deref());
        self.tree.ignores.extend(held.ignore.clone());
        for entry in &held.entries {
            if ignores.ignores(&entry.path, entry.directory) {
                continue;
            }
            if entry.directory {
                self.directory(&entry.path, false, ignores);
            } else {
                self.tree.candidates.push(entry.path.clone());
                self.tree.links.extend(entry.link.then(|| entry.path.clone()));
            }
        }
        ignores.leave();
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml" || e == "yml")
}

/// Files below a directory whose path ends in a suffix, in walk order (§6.4, §7.5): files of supplemental
/// configuration.
///
/// # Errors
/// The directory, or one below it, cannot be listed.
pub fn suffixed_files(root: &Path, suffix: &str) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut out = Vec::new();
    for entry in sorted_entries(root)? {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("..") {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            out.extend(suffixed_files(&path, suffix)?);
        } else if path.to_string_lossy().ends_with(suffix) {
            out.push(path);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{LoadOptions, Look};

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn names(root: &Path) -> (Vec<String>, Vec<String>) {
        let options = LoadOptions { job_config_path: Some(root.to_owned()), ..LoadOptions::default() };
        let mut listings = Listings::default();
        let look = Look::of(&options, &mut listings, SystemTime::now());
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        assert!(look == Look::of(&options, &mut listings, later), "what was listed once counts again");
        let relative = |p: &Path| p.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let (files, errors) = look.job_tree();
        (files.map(relative).collect(), errors.iter().map(|e| e.to_string()).collect())
    }

    #[test]
    fn yaml_files_in_order_without_configmap_internals() {
        let dir = tree(&[
            ("b/2.yaml", ""),
            ("b/1.yml", ""),
            ("a.yaml", ""),
            ("b.yaml", ""),
            ("x.json", ""),
            ("X.YAML", ""),
            ("..data/hidden.yaml", ""),
            ("..2024/hidden2.yaml", ""),
            (".dot/seen.yaml", ""),
        ]);
        assert_eq!(names(dir.path()).0, [".dot/seen.yaml", "a.yaml", "b/1.yml", "b/2.yaml", "b.yaml"]);
    }

    #[test]
    fn equal_base_names_are_an_error() {
        let dir = tree(&[("a/same.yaml", ""), ("b/same.yaml", "")]);
        let (files, errors) = names(dir.path());
        assert_eq!((files.len(), errors.len()), (1, 1));
        assert!(errors[0].contains("a/same.yaml") && errors[0].contains("b/same.yaml"), "{errors:?}");
    }

    #[test]
    fn prowignore_rules_its_directory_and_below() {
        let dir = tree(&[
            (".prowignore", "# comment\n*.skip.yaml\n/top.yaml\nbuild/\n!keep.skip.yaml\n"),
            ("sub/.prowignore", "!again.skip.yaml\nlocal.yaml\n"),
            ("a.skip.yaml", ""),
            ("keep.skip.yaml", ""),
            ("top.yaml", ""),
            ("sub/x/top.yaml", ""),
            ("build/lost.yaml", ""),
            ("sub/again.skip.yaml", ""),
            ("sub/deep/local.yaml", ""),
            ("ok.yaml", ""),
        ]);
        assert_eq!(
            names(dir.path()).0,
            ["keep.skip.yaml", "ok.yaml", "sub/again.skip.yaml", "sub/x/top.yaml"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_and_a_linked_root_are_followed_links_to_directories_are_not() {
        let dir =
            tree(&[("real/a.yaml", ""), ("real/in/b.yaml", ""), ("else/c.yaml", ""), ("else/d/e.yaml", "")]);
        let at = |p: &str| dir.path().join(p);
        std::os::unix::fs::symlink(at("else/c.yaml"), at("real/linked.yaml")).unwrap();
        std::os::unix::fs::symlink(at("else/d"), at("real/linked")).unwrap();
        std::os::unix::fs::symlink(at("real"), at("root")).unwrap();
        assert_eq!(names(&at("root")).0, ["a.yaml", "in/b.yaml", "linked.yaml"]);
    }
}
