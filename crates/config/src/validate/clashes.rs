//! Jobs that cannot stand beside each other (prow-config §5.6): names and contexts.

use super::overlap;
use crate::diagnostic::Diagnostic;
use crate::jobs::{Brancher, JobBase, Periodic, Postsubmit, Presubmit};
use std::collections::HashMap;

struct Seen<'j> {
    base: &'j JobBase,
    context: &'j str,
    brancher: &'j Brancher,
}

pub(crate) fn check_presubmits(repo: &str, jobs: &[Presubmit], errors: &mut Vec<Diagnostic>) {
    let seen =
        jobs.iter().map(|j| Seen { base: &j.base, context: &j.context, brancher: &j.brancher }).collect();
    check("presubmit", repo, seen, errors);
}

pub(crate) fn check_postsubmits(repo: &str, jobs: &[Postsubmit], errors: &mut Vec<Diagnostic>) {
    let seen =
        jobs.iter().map(|j| Seen { base: &j.base, context: &j.context, brancher: &j.brancher }).collect();
    check("postsubmit", repo, seen, errors);
}

/// The same name only on branches that do not meet; the same context likewise, even for jobs that do not report.
fn check(kind: &str, repo: &str, jobs: Vec<Seen<'_>>, errors: &mut Vec<Diagnostic>) {
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::with_capacity(jobs.len());
    let mut by_context: HashMap<&str, Vec<usize>> = HashMap::with_capacity(jobs.len());
    for (index, job) in jobs.iter().enumerate() {
        let same_name = by_name.entry(&job.base.name).or_default();
        if let Some(&other) = same_name.iter().find(|&&o| overlap(jobs[o].brancher, job.brancher)) {
            let other = jobs[other].base;
            errors.push(at(
                job.base,
                format!(
                    "{kind} {:?} of {repo} is there twice for the same branches: the other is in {}",
                    job.base.name,
                    place(other)
                ),
            ));
        }
        same_name.push(index);
        let same_context = by_context.entry(job.context).or_default();
        let clash = same_context
            .iter()
            .find(|&&o| jobs[o].base.name != job.base.name && overlap(jobs[o].brancher, job.brancher));
        if let Some(&other) = clash {
            let other = jobs[other].base;
            errors.push(at(
                job.base,
                format!(
                    "{kind} {:?} of {repo} reports to context {:?}, as {:?} does in {}",
                    job.base.name,
                    job.context,
                    other.name,
                    place(other)
                ),
            ));
        }
        same_context.push(index);
    }
}

/// Names of periodics are unique.
pub(crate) fn check_periodics<'j>(
    jobs: impl IntoIterator<Item = &'j Periodic>,
    errors: &mut Vec<Diagnostic>,
) {
    let mut seen: HashMap<&str, &JobBase> = HashMap::new();
    for job in jobs {
        if let Some(other) = seen.insert(&job.base.name, &job.base) {
            errors.push(at(
                &job.base,
                format!("periodic {:?} is there twice: the other is in {}", job.base.name, place(other)),
            ));
        }
    }
}

fn place(job: &JobBase) -> String {
    format!("{}:{}", job.source.file, job.source.line)
}

fn at(job: &JobBase, message: String) -> Diagnostic {
    Diagnostic::error(message).in_file(&job.source.file).at(job.source.line, job.source.column)
}
