//! One look at all files of a configuration: which there are and what they look like, nothing read but directories.
//!
//! Two equal looks, one before and one after reading, say that the tree stood still in between. Links count by
//! themselves, too: one that is flipped away and back leaves the same files, but is another link.

use super::sig::Sig;
use super::{LoadOptions, parallel};
use crate::diagnostic::Diagnostic;
use crate::walk::{self, Listings};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Links in a row that are followed, as many as Linux does.
const MAX_LINKS: u32 = 40;

/// Everything that a load reads, as it looks now.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// config.yaml, VERSION and the supplemental files of both kinds' directories.
    pub(super) config: Part,
    /// plugins.yaml and its supplements.
    pub(super) plugins: Part,
    /// Job files that count, in walk order.
    pub(super) jobs: Vec<(Arc<Path>, Sig)>,
    /// What is wrong with the tree of job files itself.
    pub(super) findings: Vec<Diagnostic>,
    /// Directories and rules that decide which job files count, and what has the name of a job file and is none.
    others: Vec<(Arc<Path>, Option<Sig>)>,
    links: BTreeMap<PathBuf, Option<Sig>>,
    /// Something was changed so shortly before that a later change could look the same.
    pub(crate) racy: bool,
    /// When the look began.
    pub(super) at: Option<SystemTime>,
}

/// Files that are read together.
pub(super) type Part = Vec<(PathBuf, Option<Sig>)>;

impl PartialEq for Look {
    /// Whether the files look the same; when they were looked at does not matter.
    fn eq(&self, other: &Look) -> bool {
        let same_jobs =
            self.jobs.len() == other.jobs.len()
                && self.jobs.iter().zip(&other.jobs).all(|(a, b)| {
                    a.1 == b.1 && (Arc::ptr_eq(&a.0, &b.0) || a.0.as_os_str() == b.0.as_os_str())
                });
        same_jobs
            && self.config == other.config
            && self.plugins == other.plugins
            && self.others == other.others
            && self.links == other.links
    }
}

impl Look {
    /// Looks now, which is `now`. What cannot be looked at counts as absent. Directories that did not change are not listed again.
    pub(crate) fn of(options: &LoadOptions, listings: &mut Listings, now: SystemTime) -> Look {
        let mut look = Look { at: Some(now), ..Look::default() };
        let version = options.config_path.with_file_name("VERSION");
        for path in [&options.config_path, &version] {
            let file = look.file(path);
            look.config.push(file);
        }
        let suffix = &options.supplemental_prow_configs_suffix;
        for root in &options.supplemental_prow_config_dirs {
            let found = look.below(root, suffix);
            look.config.extend(found);
        }
        if let Some(path) = &options.plugin_config {
            let file = look.file(path);
            look.plugins.push(file);
        }
        let suffix = &options.supplemental_plugin_configs_suffix;
        for root in options.supplemental_plugin_config_dirs.iter().filter(|_| !suffix.is_empty()) {
            let found = look.below(root, suffix);
            look.plugins.extend(found);
        }
        if let Some(root) = &options.job_config_path {
            look.job_files(root, listings, now);
        }
        let sigs = look.config.iter().chain(&look.plugins).filter_map(|(_, sig)| sig.as_ref());
        let sigs = sigs.chain(look.jobs.iter().map(|(_, sig)| sig));
        let sigs = sigs.chain(look.others.iter().filter_map(|(_, sig)| sig.as_ref()));
        look.racy = sigs.chain(look.links.values().flatten()).any(|sig| sig.is_racy(now));
        look
    }

    /// The job files that count, and what is wrong with their tree.
    #[cfg(test)]
    pub(crate) fn job_tree(&self) -> (impl Iterator<Item = &Path>, &[Diagnostic]) {
        (self.jobs.iter().map(|(path, _)| &**path), &self.findings)
    }

    fn file(&mut self, path: &Path) -> (PathBuf, Option<Sig>) {
        self.resolve(path, 0);
        (path.to_owned(), Sig::of(path))
    }

    /// Supplemental files below a directory, and the directories, which say when a file comes or goes.
    fn below(&mut self, root: &Path, suffix: &str) -> Part {
        self.resolve(root, 0);
        let mut out = vec![(root.to_owned(), Sig::of(root))];
        for entry in walk::sorted_entries(root).unwrap_or_default() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with("..") {
                continue;
            }
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                out.extend(self.below(&path, suffix));
            } else if path.to_string_lossy().ends_with(suffix) {
                out.push(self.file(&path));
            }
        }
        out
    }

    fn job_files(&mut self, root: &Path, listings: &mut Listings, now: SystemTime) {
        self.resolve(root, 0);
        let tree = walk::tree(root, listings, now);
        for link in &tree.links {
            self.resolve(link, 0);
        }
        self.others = tree.directories;
        self.others.extend(tree.ignores.into_iter().map(|path| {
            let sig = Sig::of(&path);
            (path, sig)
        }));
        self.findings = tree.findings;
        let sigs = parallel::map(&tree.candidates, |path| Sig::of(path));
        // Base names must be unique: config-updater makes them keys of one ConfigMap.
        let mut seen: HashMap<&OsStr, &Arc<Path>> = HashMap::with_capacity(sigs.len());
        for (path, sig) in tree.candidates.iter().zip(sigs) {
            let Some(sig) = sig.filter(|sig| sig.is_file() || **path == *root) else {
                self.others.push((path.clone(), sig));
                continue;
            };
            match path.file_name().and_then(|name| seen.insert(name, path)) {
                Some(other) => {
                    let message = format!(
                        "two files have the same name: the other is {}; names must be unique, since they are keys of one ConfigMap",
                        other.display()
                    );
                    let file = path.to_string_lossy().into();
                    self.findings.push(Diagnostic::error(message).in_file(&file));
                    self.others.push((path.clone(), Some(sig)));
                }
                None => self.jobs.push((path.clone(), sig)),
            }
        }
    }

    /// Notes every link on the way to a path.
    fn resolve(&mut self, path: &Path, depth: u32) {
        let mut at = PathBuf::new();
        for component in path.components() {
            at.push(component);
            if !matches!(component, Component::Normal(_)) || self.links.contains_key(&at) {
                continue;
            }
            let Some((sig, true)) = Sig::of_link(&at) else { continue };
            self.links.insert(at.clone(), Some(sig));
            if let (true, Ok(target)) = (depth < MAX_LINKS, std::fs::read_link(&at)) {
                let base = at.parent().unwrap_or(Path::new(""));
                self.resolve(&base.join(target), depth + 1);
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A link that is flipped away and back leaves the same files behind, and is seen all the same.
    #[test]
    fn there_and_back_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        for tree in ["one", "two"] {
            fs::create_dir_all(at(tree).join("jobs")).unwrap();
            fs::write(at(tree).join("jobs/j.yaml"), tree).unwrap();
            fs::write(at(tree).join("config.yaml"), tree).unwrap();
        }
        fs::create_dir(at("mount")).unwrap();
        for (target, link) in [
            ("one", "there"),
            ("two", "away"),
            ("one", "back"),
            ("../there/jobs/j.yaml", "mount/j.yaml"),
            ("there", "outer"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        let of = |config: &str, jobs: &str| {
            let options = LoadOptions {
                config_path: at(config),
                job_config_path: Some(at(jobs)),
                ..LoadOptions::default()
            };
            Look::of(&options, &mut Listings::default(), SystemTime::now())
        };
        let all = || {
            [
                of("outer/config.yaml", "one/jobs"),
                of("one/config.yaml", "outer/jobs"),
                of("one/config.yaml", "mount"),
            ]
        };
        let before = all();
        assert!(before == all());
        fs::rename(at("away"), at("there")).unwrap();
        fs::rename(at("back"), at("there")).unwrap();
        for (before, after) in before.iter().zip(all()) {
            assert!(*before != after);
            assert!(before.jobs == after.jobs && before.config == after.config);
        }
    }
}
