//! What one load leaves for the next: what a file said is taken over instead of read again if the file looks the same,
//! or says the same.
//!
//! A job depends on its own text, on some of config.yaml and on the presets of all files. If one of the latter is
//! different, everything is read again.

use super::look::{Look, Part};
use super::sig::Sig;
use crate::diagnostic::Diagnostic;
use crate::jobs::{JobList, Jobs, Periodic, Preset, Source};
use crate::podtemplate::Pool;
use crate::prowconfig::ProwConfig;
use crate::snapshot::Snapshot;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

/// Kept between the loads of one set of options.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(super) pool: Pool,
    pub(super) hasher: RandomState,
    pub(super) last: Option<Last>,
    /// There is no next load: what texts said need not be recognised.
    pub(super) one_off: bool,
    /// What nobody will ask for again. To free it takes time, which is not the next snapshot's.
    discarded: Vec<Discarded>,
}

#[derive(Debug)]
enum Discarded {
    Last { _last: Last },
    Snapshot { _snapshot: Arc<Snapshot> },
}

/// The last snapshot and what it was made from.
#[derive(Debug)]
pub(super) struct Last {
    pub snapshot: Arc<Snapshot>,
    pub decorate_all_jobs: bool,
    pub config: PartKnown,
    pub plugins: PartKnown,
    /// config.yaml, then the job files in walk order.
    pub files: Vec<Arc<Remembered>>,
}

/// What files that are read together looked like, and what was odd about them.
#[derive(Debug, Clone)]
pub(super) struct PartKnown {
    part: Part,
    racy: bool,
    pub warnings: Vec<Diagnostic>,
}

impl PartKnown {
    pub(super) fn new(part: &Part, look: &Look, warnings: Vec<Diagnostic>) -> PartKnown {
        let racy = look.at.is_none_or(|at| part.iter().any(|(_, sig)| sig.is_some_and(|s| s.is_racy(at))));
        PartKnown { part: part.clone(), racy, warnings }
    }

    /// Whether the files look the same, and had looked like that for long enough for that to mean something.
    pub(super) fn is(&self, part: &Part) -> bool {
        !self.racy && self.part == *part
    }
}

/// What is known of a file's text.
#[derive(Debug, Clone)]
pub(super) struct Known {
    path: Arc<Path>,
    /// As in [`Source::file`].
    name: Arc<str>,
    sig: Option<Sig>,
    racy: bool,
    /// Of the text; the key is this process' own, so that nobody can write two texts that share one.
    hash: u64,
    length: usize,
    pub presets: Vec<(Preset, Source)>,
    /// Warnings: a snapshot has no errors.
    pub findings: Vec<Diagnostic>,
    hasher: RandomState,
}

impl Known {
    /// Bytes of the text.
    pub(super) fn length(&self) -> u64 {
        self.length as u64
    }

    /// The hash of a job's name.
    pub(super) fn hash_of(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }
}

/// A file of the last snapshot.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    pub known: Known,
    /// Repositories that it names.
    pub presubmits: Vec<String>,
    /// Repositories that it names.
    pub postsubmits: Vec<String>,
    pub periodics: JobList<Periodic>,
    /// Hashes of the periodics' names.
    pub names: Vec<u64>,
}

impl Remembered {
    /// As in [`Source::file`].
    pub(super) fn name(&self) -> &str {
        &self.known.name
    }

    /// Whether the file at `path` is this one and need not be read.
    pub(super) fn looks_like(&self, path: &Arc<Path>, sig: Sig) -> bool {
        self.is_at(path) && !self.known.racy && self.known.sig == Some(sig)
    }

    /// Whether this is about the file at `path`.
    pub(super) fn is_at(&self, path: &Arc<Path>) -> bool {
        Arc::ptr_eq(&self.known.path, path) || self.known.path.as_os_str() == path.as_os_str()
    }
}

/// A file's text before its jobs are read.
pub(super) struct Text<'t> {
    pub path: &'t Arc<Path>,
    /// As the file looked before it was read.
    pub sig: Option<Sig>,
    pub text: &'t str,
}

impl Memory {
    /// What is to be known of a text.
    pub(super) fn known(&self, text: &Text<'_>, look: &Look) -> Known {
        Known {
            path: text.path.clone(),
            name: text.path.to_string_lossy().into(),
            sig: text.sig,
            racy: text.sig.zip(look.at).is_none_or(|(sig, at)| sig.is_racy(at)),
            hash: if self.one_off { 0 } else { self.hasher.hash_one(text.text) },
            length: text.text.len(),
            presets: Vec::new(),
            findings: Vec::new(),
            hasher: self.hasher.clone(),
        }
    }

    /// The file of the last snapshot, if it says the same now, though it looks different.
    pub(super) fn says_the_same(&self, file: &Arc<Remembered>, now: &Known) -> Option<Arc<Remembered>> {
        let then = &file.known;
        if then.length != now.length || then.hash != now.hash {
            return None;
        }
        let known = Known { sig: now.sig, racy: now.racy, path: now.path.clone(), ..then.clone() };
        Some(Arc::new(Remembered { known, ..Remembered::clone(file) }))
    }

    /// Keeps what the next load may use.
    pub(super) fn keep(&mut self, last: Last) {
        let replaced = self.last.replace(last);
        self.discarded.extend(replaced.map(|last| Discarded::Last { _last: last }));
    }

    /// Takes a snapshot that is not in force any more, to be freed when there is time.
    pub(crate) fn discard(&mut self, snapshot: Arc<Snapshot>) {
        self.discarded.push(Discarded::Snapshot { _snapshot: snapshot });
    }

    /// Frees what was discarded, and forgets shared parts that no snapshot holds any more.
    pub(crate) fn tidy(&mut self) {
        if !self.discarded.is_empty() {
            self.discarded.clear();
            self.pool.prune();
        }
    }
}

impl Last {
    /// Whether jobs that were made under the last config.yaml are those that would be made under `prow`.
    pub(super) fn suits(&self, prow: &ProwConfig, decorate_all_jobs: bool) -> bool {
        // Sections that no job depends on. What is not named here is taken to matter.
        let last = ProwConfig {
            config_version_sha: prow.config_version_sha.clone(),
            log_level: prow.log_level.clone(),
            tide: prow.tide.clone(),
            branch_protection: prow.branch_protection.clone(),
            deck: prow.deck.clone(),
            sinker: prow.sinker.clone(),
            horologium: prow.horologium.clone(),
            github_reporter: prow.github_reporter.clone(),
            slack_reporter_configs: prow.slack_reporter_configs.clone(),
            managed_webhooks: prow.managed_webhooks.clone(),
            owners_dir_denylist: prow.owners_dir_denylist.clone(),
            ..self.snapshot.prow.clone()
        };
        self.decorate_all_jobs == decorate_all_jobs && last == *prow
    }

    /// The last snapshot's jobs.
    pub(super) fn jobs(&self) -> &Jobs {
        &self.snapshot.jobs
    }
}

/// Files of the last snapshot by path, asked for in walk order.
pub(super) struct Lookup<'m> {
    files: &'m [Arc<Remembered>],
    next: usize,
    by_path: Option<HashMap<&'m Path, usize>>,
}

impl<'m> Lookup<'m> {
    pub(super) fn new(files: &'m [Arc<Remembered>]) -> Lookup<'m> {
        Lookup { files, next: 0, by_path: None }
    }

    /// Nearly always the next file is asked for: only otherwise it is searched.
    pub(super) fn get(&mut self, path: &Arc<Path>) -> Option<&'m Arc<Remembered>> {
        if let Some(file) = self.files.get(self.next).filter(|file| file.is_at(path)) {
            self.next += 1;
            return Some(file);
        }
        let files = self.files;
        let by_path = self.by_path.get_or_insert_with(|| {
            files.iter().enumerate().map(|(at, file)| (&*file.known.path, at)).collect()
        });
        let at = *by_path.get(&**path)?;
        self.next = at + 1;
        files.get(at)
    }
}

#[cfg(test)]
mod tests;
