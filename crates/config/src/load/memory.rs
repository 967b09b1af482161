//! What one load leaves for the next: the jobs of files that did not change are taken over instead of read again.
//!
//! A job depends on its own text, on config.yaml and on the presets of all files. If one of the latter is different,
//! everything is read again.

use crate::diagnostic::Diagnostic;
use crate::jobfile::JobFile;
use crate::jobs::{Jobs, Periodic, Postsubmit, Preset, Presubmit, Source};
use crate::podtemplate::Pool;
use crate::prowconfig::ProwConfig;
use crate::snapshot::Snapshot;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Kept between the loads of one set of options.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(super) pool: Pool,
    hasher: RandomState,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    snapshot: Arc<Snapshot>,
    decorate_all_jobs: bool,
    files: Files,
}

/// By path.
pub(super) type Files = HashMap<PathBuf, Remembered>;

/// A job file of the last snapshot, its jobs apart.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    /// Of the text; the key is this process' own, so that nobody can write two texts that share one.
    hash: u64,
    length: usize,
    presets: Vec<(Preset, Source)>,
    /// Warnings: a snapshot has no errors.
    pub(super) findings: Vec<Diagnostic>,
}

impl Memory {
    /// What a file is to be remembered by.
    pub(super) fn remembered(&self, text: &str, file: &JobFile, findings: &[Diagnostic]) -> Remembered {
        Remembered {
            hash: self.hasher.hash_one(text),
            length: text.len(),
            presets: file.presets.clone(),
            findings: findings.to_vec(),
        }
    }

    /// The last snapshot, if its jobs were made under the same config.yaml. Its commit is no part of that.
    pub(super) fn usable(&self, prow: &mut ProwConfig, decorate_all_jobs: bool) -> Option<Usable<'_>> {
        let last = self.last.as_ref().filter(|l| l.decorate_all_jobs == decorate_all_jobs)?;
        let version =
            std::mem::replace(&mut prow.config_version_sha, last.snapshot.prow.config_version_sha.clone());
        let same = *prow == last.snapshot.prow;
        prow.config_version_sha = version;
        same.then_some(Usable { last, hasher: &self.hasher })
    }

    /// Keeps what the next load may use.
    pub(super) fn keep(&mut self, snapshot: &Arc<Snapshot>, decorate_all_jobs: bool, files: Files) {
        self.last = Some(Last { snapshot: snapshot.clone(), decorate_all_jobs, files });
        self.pool.prune();
    }
}

/// The last snapshot, for a load that may take jobs from it.
#[derive(Clone, Copy)]
pub(super) struct Usable<'m> {
    last: &'m Last,
    hasher: &'m RandomState,
}

impl<'m> Usable<'m> {
    /// A file whose text is as it was.
    pub(super) fn unchanged(self, path: &Path, text: &str) -> Option<(JobFile, &'m Remembered)> {
        let known = self.last.files.get(path)?;
        if known.length != text.len() || known.hash != self.hasher.hash_one(text) {
            return None;
        }
        let file = JobFile {
            presets: known.presets.clone(),
            unchanged: Some(path.to_string_lossy().into()),
            ..JobFile::default()
        };
        Some((file, known))
    }

    /// Whether the presets of all files are those of the last snapshot.
    pub(super) fn same_presets<'f>(self, files: impl Iterator<Item = &'f JobFile>) -> bool {
        files.flat_map(|f| &f.presets).map(|(preset, _)| preset).eq(&self.last.snapshot.jobs.presets)
    }

    /// The jobs of the last snapshot.
    pub(super) fn jobs(self) -> ByFile<'m> {
        ByFile::of(&self.last.snapshot.jobs)
    }
}

/// Jobs of a snapshot by the file that they were written in.
#[derive(Default)]
pub(super) struct ByFile<'j>(HashMap<&'j str, OfFile<'j>>);

/// Finished jobs of one file, in their order.
#[derive(Default)]
pub(super) struct OfFile<'j> {
    pub presubmits: Vec<(&'j str, Vec<&'j Presubmit>)>,
    pub postsubmits: Vec<(&'j str, Vec<&'j Postsubmit>)>,
    pub periodics: Vec<&'j Periodic>,
}

impl<'j> ByFile<'j> {
    fn of(jobs: &'j Jobs) -> ByFile<'j> {
        fn put<'j, T>(to: &mut Vec<(&'j str, Vec<&'j T>)>, repo: &'j str, job: &'j T) {
            match to.last_mut() {
                Some((last, list)) if *last == repo => list.push(job),
                _ => to.push((repo, vec![job])),
            }
        }
        let mut out = ByFile::default();
        for (repo, job) in jobs.presubmits.iter().flat_map(|(r, l)| l.iter().map(move |j| (r, j))) {
            put(&mut out.0.entry(&job.base.source.file).or_default().presubmits, repo, job);
        }
        for (repo, job) in jobs.postsubmits.iter().flat_map(|(r, l)| l.iter().map(move |j| (r, j))) {
            put(&mut out.0.entry(&job.base.source.file).or_default().postsubmits, repo, job);
        }
        for job in &jobs.periodics {
            out.0.entry(&job.base.source.file).or_default().periodics.push(job);
        }
        out
    }

    /// Those of one file.
    pub(super) fn get(&self, file: &str) -> Option<&OfFile<'j>> {
        self.0.get(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::job_records;
    use crate::load::{LoadOptions, load, load_again};
    use std::fs;

    fn job(name: &str) -> String {
        format!(
            "periodics:\n- name: {name}\n  interval: 1h\n  labels: {{p: \"1\"}}\n  unknown_key: 1\n  spec:\n    containers:\n    - image: i\npresubmits:\n  o/r:\n  - name: pull-{name}\n    spec: {{containers: [{{image: i}}]}}\n"
        )
    }

    struct Tree {
        dir: tempfile::TempDir,
        options: LoadOptions,
        memory: Memory,
    }

    impl Tree {
        fn new() -> Tree {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("jobs")).unwrap();
            let options = LoadOptions {
                config_path: dir.path().join("config.yaml"),
                job_config_path: Some(dir.path().join("jobs")),
                ..LoadOptions::default()
            };
            let tree = Tree { dir, options, memory: Memory::default() };
            tree.write("config.yaml", "pod_namespace: a\n");
            tree.write("jobs/a.yaml", &job("a"));
            tree.write("jobs/b.yaml", &job("b"));
            tree
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.dir.path().join(name), text).unwrap();
        }

        /// Loads again; the result must be that of a load without memory.
        fn again(&mut self) -> Arc<Snapshot> {
            let got = load_again(&self.options, &mut self.memory).unwrap();
            let fresh = load(&self.options).unwrap();
            assert!(job_records(&got.jobs).eq(job_records(&fresh.jobs)));
            let warnings = |s: &Snapshot| s.warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(warnings(&got), warnings(&fresh));
            assert_eq!(got.prow, fresh.prow);
            got
        }
    }

    /// Whether two snapshots hold the very same Pod for a periodic.
    fn taken_over(old: &Snapshot, new: &Snapshot, index: usize) -> bool {
        let spec = |s: &Snapshot| s.jobs.periodics[index].base.spec.clone().unwrap();
        Arc::ptr_eq(&spec(old), &spec(new))
    }

    #[test]
    fn only_changed_files_are_read_again() {
        let mut tree = Tree::new();
        let first = tree.again();
        tree.write("jobs/b.yaml", &job("other"));
        tree.write("VERSION", "abc");
        let second = tree.again();
        assert!(taken_over(&first, &second, 0) && !taken_over(&first, &second, 1));
        assert_eq!(second.jobs.periodics[1].base.name, "other");
        fs::remove_file(tree.dir.path().join("jobs/a.yaml")).unwrap();
        assert_eq!(tree.again().jobs.len(), 2);
    }

    #[test]
    fn what_all_jobs_depend_on_makes_all_of_them_anew() {
        let mut tree = Tree::new();
        let first = tree.again();
        tree.write("jobs/c.yaml", "presets: [{labels: {p: \"1\"}, env: [{name: E, value: x}]}]\n");
        let with_preset = tree.again();
        assert!(!taken_over(&first, &with_preset, 0));
        tree.write("config.yaml", "pod_namespace: b\n");
        let moved = tree.again();
        assert!(!taken_over(&with_preset, &moved, 0));
        assert_eq!(moved.jobs.periodics[0].base.namespace, "b");
    }

    #[test]
    fn rules_across_files_hold_for_files_that_did_not_change() {
        let mut tree = Tree::new();
        tree.again();
        tree.write("jobs/b.yaml", &job("a"));
        let error = load_again(&tree.options, &mut tree.memory).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
        tree.write("jobs/b.yaml", &job("b"));
        tree.again();
    }
}
