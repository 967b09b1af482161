//! From the jobs of all files to one set: merged, defaulted, validated (prow-config §6.3, §5, §5.6).

use super::memory::{OfFile, Usable};
use super::{Found, parallel};
use crate::defaults::Defaulter;
use crate::diagnostic::Diagnostic;
use crate::jobfile::{JobFile, JobKind, WrittenJob, place};
use crate::jobs::{Jobs, Periodic, Postsubmit, Preset, Presubmit, Source};
use crate::podtemplate::Pool;
use crate::presets::Layer;
use crate::prowconfig::ProwConfig;
use crate::validate;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

/// The jobs of one file, defaulted and each valid by itself.
#[derive(Default)]
pub(crate) struct Done {
    pub presubmits: Vec<(String, Vec<Presubmit>)>,
    pub postsubmits: Vec<(String, Vec<Postsubmit>)>,
    periodics: Vec<Periodic>,
    pub errors: Vec<Diagnostic>,
}

impl Done {
    /// As they were in the last snapshot.
    fn again(jobs: &OfFile<'_>) -> Done {
        fn copied<T: Clone>(lists: &[(&str, Vec<&T>)]) -> Vec<(String, Vec<T>)> {
            lists
                .iter()
                .map(|(repo, list)| ((*repo).to_owned(), list.iter().map(|&job| job.clone()).collect()))
                .collect()
        }
        Done {
            presubmits: copied(&jobs.presubmits),
            postsubmits: copied(&jobs.postsubmits),
            periodics: jobs.periodics.iter().map(|&job| job.clone()).collect(),
            errors: Vec::new(),
        }
    }
}

/// Merges files in their order.
pub(super) fn assemble(
    mut files: Vec<JobFile>,
    prow: &ProwConfig,
    pool: &Pool,
    last: Option<Usable<'_>>,
    found: &mut Found,
) -> Jobs {
    let decorate_all = files.first().is_some_and(|f| f.decorate_all_jobs);
    let presets = presets(&mut files, found);
    let layers: Vec<Layer<'_>> = presets.iter().map(|p| Layer::new(p, pool)).collect();
    let last = last.map(Usable::jobs);
    let files: Vec<Mutex<JobFile>> = files.into_iter().map(Mutex::new).collect();
    let done = parallel::map(&files, |file| {
        // Each file is taken by one worker; a poisoned lock would mean that worker panicked, and the panic is
        // passed on.
        let file = file.lock().map(|mut f| std::mem::take(&mut *f)).unwrap_or_default();
        if let (Some(name), Some(last)) = (&file.unchanged, &last) {
            return last.get(name).map(Done::again).unwrap_or_default();
        }
        finish_file(file, prow, &layers, pool, decorate_all)
    });
    drop(layers);
    let mut jobs = Jobs { presets, decorate_all_jobs: decorate_all, ..Jobs::default() };
    for file in done {
        found.take(file.errors);
        append(&mut jobs.presubmits, file.presubmits);
        append(&mut jobs.postsubmits, file.postsubmits);
        jobs.periodics.extend(file.periodics);
    }
    jobs.presubmits.values_mut().for_each(Vec::shrink_to_fit);
    jobs.postsubmits.values_mut().for_each(Vec::shrink_to_fit);
    jobs.periodics.shrink_to_fit();
    jobs.join_spellings();
    let mut errors = Vec::new();
    for (repo, list) in &jobs.presubmits {
        validate::check_presubmits(repo, list, &mut errors);
    }
    for (repo, list) in &jobs.postsubmits {
        validate::check_postsubmits(repo, list, &mut errors);
    }
    validate::check_periodics(&jobs.periodics, &mut errors);
    found.take(errors);
    jobs
}

fn append<T>(to: &mut BTreeMap<String, Vec<T>>, from: Vec<(String, Vec<T>)>) {
    for (repo, list) in from {
        to.entry(repo).or_default().extend(list);
    }
}

/// All presets in order; a pair of label and value may be in one preset only.
fn presets(files: &mut [JobFile], found: &mut Found) -> Vec<Preset> {
    let mut seen: HashMap<(String, String), Source> = HashMap::new();
    let mut out = Vec::new();
    for (preset, source) in files.iter_mut().flat_map(|f| std::mem::take(&mut f.presets)) {
        for (key, value) in &preset.labels {
            if let Some(other) = seen.insert((key.clone(), value.clone()), source.clone()) {
                let message = format!(
                    "two presets are for the label {key}: {value:?}; the other is in {}:{}",
                    other.file, other.line
                );
                found.error(Diagnostic::error(message).in_file(&source.file).at(source.line, 0));
            }
        }
        out.push(preset);
    }
    out
}

/// Defaults and checks the jobs of one file.
pub(crate) fn finish_file(
    file: JobFile,
    prow: &ProwConfig,
    layers: &[Layer<'_>],
    pool: &Pool,
    decorate_all: bool,
) -> Done {
    let mut defaulter = Defaulter::new(prow, layers, pool, decorate_all);
    let mut done = Done::default();
    let mut broken = |job: &WrittenJob, kind: JobKind, repo: &str, result: Result<(), String>| {
        if let (true, Err(reason)) = (job.clean, result) {
            let (file, line, path) = place(job, kind, repo);
            let message = format!("job {:?}: {reason}", job.raw.name);
            done.errors.push(Diagnostic::error(message).in_file(&file).at(line, 0).under(path));
        }
    };
    for (repo, list) in file.presubmits {
        let finish = |mut job: WrittenJob| {
            let presubmit = defaulter.presubmit(&mut job, &repo);
            broken(&job, JobKind::Presubmit, &repo, validate::check_presubmit(&presubmit, prow));
            presubmit
        };
        let list = list.into_iter().map(finish).collect();
        done.presubmits.push((repo, list));
    }
    for (repo, list) in file.postsubmits {
        let finish = |mut job: WrittenJob| {
            let postsubmit = defaulter.postsubmit(&mut job, &repo);
            broken(&job, JobKind::Postsubmit, &repo, validate::check_postsubmit(&postsubmit, prow));
            postsubmit
        };
        let list = list.into_iter().map(finish).collect();
        done.postsubmits.push((repo, list));
    }
    for mut job in file.periodics {
        let periodic = defaulter.periodic(&mut job);
        broken(&job, JobKind::Periodic, "", validate::check_periodic(&periodic, prow));
        done.periodics.push(periodic);
    }
    done.errors.append(&mut defaulter.errors);
    done
}
