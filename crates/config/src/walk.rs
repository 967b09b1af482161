//! Which files below a directory count (prow-config §6.2).
//!
//! One difference from upstream on purpose: a root that is itself a symbolic link is followed. Upstream loads
//! nothing from it and says nothing, which has cost people their jobs.

mod ignore;

use crate::diagnostic::Diagnostic;
pub(crate) use ignore::IgnoreStack;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// YAML files of job configuration, in walk order: depth first, names in byte order. Entries that begin with `..`
/// are ConfigMap internals and are passed over; `.prowignore` files rule their directory and what is below it.
pub(crate) fn job_files(root: &Path, errors: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    if !root.is_dir() {
        return vec![root.to_owned()];
    }
    let mut walk = Walk { root, found: Vec::new(), seen: HashMap::new(), errors };
    walk.directory(root, &mut IgnoreStack::default());
    walk.found
}

struct Walk<'w> {
    root: &'w Path,
    found: Vec<PathBuf>,
    /// Base names, which must be unique: config-updater makes them keys of one ConfigMap.
    seen: HashMap<String, PathBuf>,
    errors: &'w mut Vec<Diagnostic>,
}

/// Entries of a directory in byte order of their names; unreadable ones are reported.
pub(crate) fn sorted_entries(directory: &Path) -> Result<Vec<fs::DirEntry>, std::io::Error> {
    let mut entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, ignores: &mut IgnoreStack) {
        let entries = match sorted_entries(directory) {
            Ok(entries) => entries,
            Err(error) => {
                // As upstream: what cannot be read is passed over, but not in silence.
                tracing::warn!(directory = %directory.display(), %error, "cannot list a directory of job configuration");
                if directory == self.root {
                    let message = format!("cannot list {}: {error}", directory.display());
                    self.errors.push(Diagnostic::error(message));
                }
                return;
            }
        };
        ignores.enter(directory);
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("..") {
                continue;
            }
            let path = entry.path();
            // A link to a directory is not followed; a link to a file is read under its own name.
            let is_directory = entry.file_type().is_ok_and(|t| t.is_dir());
            if is_directory {
                if !ignores.ignores(&path, true) {
                    self.directory(&path, ignores);
                }
            } else if is_yaml(&path) && path.is_file() && !ignores.ignores(&path, false) {
                self.file(path, &name);
            }
        }
        ignores.leave();
    }

    fn file(&mut self, path: PathBuf, name: &str) {
        if let Some(other) = self.seen.get(name) {
            let message = format!(
                "two files have the same name: the other is {}; names must be unique, since they are keys of one ConfigMap",
                other.display()
            );
            self.errors.push(Diagnostic::error(message).in_file(&path.to_string_lossy().into()));
            return;
        }
        self.seen.insert(name.to_owned(), path.clone());
        self.found.push(path);
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
        let mut errors = Vec::new();
        let files = job_files(root, &mut errors);
        let relative = |p: &PathBuf| p.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        (files.iter().map(relative).collect(), errors.iter().map(|e| e.to_string()).collect())
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
