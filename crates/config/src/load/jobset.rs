//! From the jobs of all files to one set: merged, defaulted, validated (prow-config §6.3, §5, §5.6). Files whose jobs
//! are as they were cost nothing: lists that no changed file has a job in are those of the last snapshot.

use super::memory::{Known, Remembered};
use super::{Found, parallel};
use crate::defaults::Defaulter;
use crate::diagnostic::Diagnostic;
use crate::jobfile::{JobFile, JobKind, WrittenJob, of_job};
use crate::jobs::{JobBase, JobList, Jobs, Periodic, Periodics, Postsubmit, Preset, Presubmit, Source};
use crate::podtemplate::Pool;
use crate::presets::Layers;
use crate::prowconfig::ProwConfig;
use crate::validate;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// What became of a job file.
pub(super) enum Read {
    /// It is as it was in the last snapshot, and so are its jobs.
    Same(Arc<Remembered>),
    /// It was read.
    New(Box<JobFile>, Known),
}

impl Read {
    /// The presets that are written in it.
    pub(super) fn presets(&self) -> &[(Preset, Source)] {
        match self {
            Read::Same(remembered) => &remembered.known.presets,
            Read::New(file, _) => &file.presets,
        }
    }
}

/// The jobs of one file, defaulted and each valid by itself.
#[derive(Default)]
pub(crate) struct Done {
    pub presubmits: Vec<(String, Vec<Presubmit>)>,
    pub postsubmits: Vec<(String, Vec<Postsubmit>)>,
    periodics: Vec<Periodic>,
    pub errors: Vec<Diagnostic>,
}

/// The last snapshot's jobs and the files they are from.
#[derive(Clone, Copy)]
pub(super) struct Before<'m> {
    pub jobs: &'m Jobs,
    pub files: &'m [Arc<Remembered>],
}

/// Merges files in their order. Returns what the next load may take over, too.
pub(super) fn assemble(
    files: Vec<Read>,
    prow: &ProwConfig,
    decorate_all: bool,
    pool: &Pool,
    before: Option<Before<'_>>,
    found: &mut Found,
) -> (Jobs, Vec<Arc<Remembered>>) {
    let presets = presets(&files, found);
    let layers = Layers::new(&presets, pool);
    let mut new = Vec::new();
    let mut slots = Vec::with_capacity(files.len());
    for file in files {
        slots.push(match file {
            Read::Same(remembered) => Ok(remembered),
            Read::New(file, known) => {
                new.push((known.length(), Mutex::new(*file)));
                Err(known)
            }
        });
    }
    let defaulter = || Defaulter::new(prow, &layers, pool, decorate_all);
    let done = parallel::map_with(
        &new,
        |(length, _)| *length,
        defaulter,
        |defaulter, (_, file)| {
            // Each file is taken by one worker; a poisoned lock would mean that worker panicked, and the panic is
            // passed on.
            let file = file.lock().map(|mut f| std::mem::take(&mut *f)).unwrap_or_default();
            finish_file(file, defaulter)
        },
    );
    drop((layers, new));
    let mut merge = Merge::default();
    let mut done = done.into_iter();
    for (rank, slot) in slots.into_iter().enumerate() {
        match slot {
            Ok(remembered) => merge.files.push(remembered),
            Err(known) => merge.take(rank, known, done.next().unwrap_or_default(), found),
        }
    }
    let (mut jobs, files, errors) = merge.finish(presets, before);
    jobs.decorate_all_jobs = decorate_all;
    jobs.join_spellings();
    found.take(errors);
    (jobs, files)
}

/// All presets in order; a pair of label and value may be in one preset only.
fn presets(files: &[Read], found: &mut Found) -> Vec<Preset> {
    let mut seen: HashMap<(&str, &str), &Source> = HashMap::new();
    let mut out = Vec::new();
    for (preset, source) in files.iter().flat_map(Read::presets) {
        for (key, value) in &preset.labels {
            if let Some(other) = seen.insert((key, value), source) {
                let message = format!(
                    "two presets are for the label {key}: {value:?}; the other is in {}:{}",
                    other.file, other.line
                );
                found.error(Diagnostic::error(message).in_file(&source.file).at(source.line, source.column));
            }
        }
        out.push(preset.clone());
    }
    out
}

/// Jobs by repository, each list with the position of its file.
type Pieces<T> = BTreeMap<String, Vec<(usize, Vec<T>)>>;

/// Files on their way into one set.
#[derive(Default)]
struct Merge {
    files: Vec<Arc<Remembered>>,
    presubmits: Pieces<Presubmit>,
    postsubmits: Pieces<Postsubmit>,
    /// Positions of the files that were read.
    new: Vec<usize>,
}

impl Merge {
    fn take(&mut self, rank: usize, known: Known, done: Done, found: &mut Found) {
        fn put<T>(to: &mut Pieces<T>, rank: usize, from: Vec<(String, Vec<T>)>) -> Vec<String> {
            let mut repos = Vec::with_capacity(from.len());
            for (repo, list) in from {
                repos.push(repo.clone());
                to.entry(repo).or_default().push((rank, list));
            }
            repos
        }
        found.take(done.errors);
        let remembered = Remembered {
            names: done.periodics.iter().map(|job| known.hash_of(&job.base.name)).collect(),
            presubmits: put(&mut self.presubmits, rank, done.presubmits),
            postsubmits: put(&mut self.postsubmits, rank, done.postsubmits),
            periodics: done.periodics.into(),
            known,
        };
        self.files.push(Arc::new(remembered));
        self.new.push(rank);
    }

    fn finish(
        self,
        presets: Vec<Preset>,
        before: Option<Before<'_>>,
    ) -> (Jobs, Vec<Arc<Remembered>>, Vec<Diagnostic>) {
        let Merge { files, presubmits, postsubmits, new } = self;
        let mut errors = Vec::new();
        let periodics: Periodics = files.iter().map(|file| file.periodics.clone()).collect();
        if before.is_none() || may_clash(&files, &new) {
            validate::check_periodics(periodics.iter(), &mut errors);
        }
        let merged = Merged::of(&files, &new, before);
        let jobs = Jobs {
            presubmits: merged.lists(
                presubmits,
                before.map(|b| &b.jobs.presubmits),
                |file| &file.presubmits,
                |job| &job.base,
                |repo, list| validate::check_presubmits(repo, list, &mut errors),
            ),
            postsubmits: merged.lists(
                postsubmits,
                before.map(|b| &b.jobs.postsubmits),
                |file| &file.postsubmits,
                |job| &job.base,
                |repo, list| validate::check_postsubmits(repo, list, &mut errors),
            ),
            periodics,
            presets,
            ..Jobs::default()
        };
        (jobs, files, errors)
    }
}

/// Whether a periodic of a file that was read may bear the name of another: told by hashes, so that the names of all
/// files need not be looked at.
fn may_clash(files: &[Arc<Remembered>], new: &[usize]) -> bool {
    let mut names = HashSet::new();
    let fresh = new.iter().flat_map(|&rank| &files[rank].names);
    if !fresh.copied().all(|name| names.insert(name)) {
        return true;
    }
    let new: HashSet<usize> = new.iter().copied().collect();
    let others = files.iter().enumerate().filter(|(rank, _)| !new.contains(rank));
    !names.is_empty() && others.flat_map(|(_, file)| &file.names).any(|name| names.contains(name))
}

/// How the files of two snapshots relate.
struct Merged<'m> {
    files: &'m [Arc<Remembered>],
    /// Positions by name of the files that are the same; only if there is something to merge.
    same: HashMap<&'m str, usize>,
    /// Files of the last snapshot that were changed or are gone, and those that were read.
    touched: Vec<&'m Remembered>,
}

impl<'m> Merged<'m> {
    fn of(files: &'m [Arc<Remembered>], new: &[usize], before: Option<Before<'m>>) -> Merged<'m> {
        let nothing = Merged { files, same: HashMap::new(), touched: Vec::new() };
        let Some(before) = before else { return nothing };
        if new.is_empty() && files.len() == before.files.len() {
            return nothing;
        }
        let fresh: HashSet<usize> = new.iter().copied().collect();
        let same: HashMap<&str, usize> = (files.iter().enumerate())
            .filter(|(rank, _)| !fresh.contains(rank))
            .map(|(rank, file)| (file.name(), rank))
            .collect();
        let gone = before.files.iter().filter(|file| !same.contains_key(file.name()));
        let touched = gone.chain(new.iter().map(|&rank| &files[rank])).map(|file| &**file).collect();
        Merged { files, same, touched }
    }

    /// The lists of all repositories: the last snapshot's, but for repositories that a touched file has jobs for.
    fn lists<T: Clone>(
        &self,
        mut pieces: Pieces<T>,
        before: Option<&BTreeMap<String, JobList<T>>>,
        repos: impl Fn(&'m Remembered) -> &'m Vec<String>,
        base: impl Fn(&T) -> &JobBase,
        mut check: impl FnMut(&str, &[T]),
    ) -> BTreeMap<String, JobList<T>> {
        let Some(before) = before else {
            return pieces
                .into_iter()
                .map(|(repo, pieces)| {
                    let list: Vec<T> = pieces.into_iter().flat_map(|(_, list)| list).collect();
                    check(&repo, &list);
                    (repo, list.into())
                })
                .collect();
        };
        let mut out = before.clone();
        let touched: BTreeSet<&String> = self.touched.iter().flat_map(|&file| repos(file)).collect();
        for repo in touched {
            let mut pieces = pieces.remove(repo).unwrap_or_default();
            let old = before.get(repo).map_or(&[][..], |list| list);
            for run in old.chunk_by(|a, b| base(a).source.file == base(b).source.file) {
                if let Some(&rank) = self.same.get(&*base(&run[0]).source.file) {
                    pieces.push((rank, run.to_vec()));
                }
            }
            pieces.sort_by_key(|(rank, _)| *rank);
            // A repository without jobs is there as long as a file names it.
            if pieces.is_empty() && !self.files.iter().any(|file| repos(file).contains(repo)) {
                out.remove(repo);
                continue;
            }
            let list: Vec<T> = pieces.into_iter().flat_map(|(_, list)| list).collect();
            check(repo, &list);
            out.insert(repo.clone(), list.into());
        }
        out
    }
}

/// Defaults and checks the jobs of one file.
pub(crate) fn finish_file(file: JobFile, defaulter: &mut Defaulter<'_>) -> Done {
    let prow = defaulter.prow;
    let mut done = Done::default();
    let mut broken = |job: &WrittenJob, kind: JobKind, repo: &str, reasons: Vec<String>| {
        done.errors.extend(reasons.iter().map(|reason| of_job(job, kind, repo, reason)));
    };
    for (repo, list) in file.presubmits {
        let finish = |mut job: WrittenJob| {
            let presubmit = defaulter.presubmit(&mut job, &repo);
            broken(&job, JobKind::Presubmit, &repo, validate::check_presubmit(&presubmit, prow, job.clean));
            presubmit
        };
        let list = list.into_iter().map(finish).collect();
        done.presubmits.push((repo, list));
    }
    for (repo, list) in file.postsubmits {
        let finish = |mut job: WrittenJob| {
            let postsubmit = defaulter.postsubmit(&mut job, &repo);
            broken(
                &job,
                JobKind::Postsubmit,
                &repo,
                validate::check_postsubmit(&postsubmit, prow, job.clean),
            );
            postsubmit
        };
        let list = list.into_iter().map(finish).collect();
        done.postsubmits.push((repo, list));
    }
    for mut job in file.periodics {
        let periodic = defaulter.periodic(&mut job);
        broken(&job, JobKind::Periodic, "", validate::check_periodic(&periodic, prow, job.clean));
        done.periodics.push(periodic);
    }
    done.errors.append(&mut defaulter.errors);
    done
}
