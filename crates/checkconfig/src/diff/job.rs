//! A job of one of the two configurations.

use prow_config::jobs::JobBase;
use prow_config::{JobId, Jobs, Periodic, Postsubmit, Presubmit, golden};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A job as it is named in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobRef {
    /// presubmit, postsubmit or periodic.
    pub kind: &'static str,
    /// `org/repo`; empty for periodics.
    pub repo: String,
    /// Name.
    pub name: String,
    /// File that it is written in, as it was reached.
    pub file: Arc<str>,
    /// Line of its first key, from 1.
    pub line: u32,
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.repo.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            repo => write!(f, "{} {} of {repo}", self.kind, self.name),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Job<'s> {
    Presubmit(&'s str, &'s Presubmit),
    Postsubmit(&'s str, &'s Postsubmit),
    Periodic(&'s Periodic),
}

impl Job<'_> {
    pub(super) fn base(&self) -> &JobBase {
        match self {
            Job::Presubmit(_, job) => &job.base,
            Job::Postsubmit(_, job) => &job.base,
            Job::Periodic(job) => &job.base,
        }
    }

    pub(super) fn repo(&self) -> &str {
        match self {
            Job::Presubmit(repo, _) | Job::Postsubmit(repo, _) => repo,
            Job::Periodic(_) => "",
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Job::Presubmit(..) => "presubmit",
            Job::Postsubmit(..) => "postsubmit",
            Job::Periodic(_) => "periodic",
        }
    }

    pub(super) fn reference(&self) -> JobRef {
        let base = self.base();
        JobRef {
            kind: self.kind(),
            repo: self.repo().to_owned(),
            name: base.name.clone(),
            file: base.source.file.clone(),
            line: base.source.line,
        }
    }

    /// Under the keys of the configuration file, after defaulting.
    pub(super) fn value(&self) -> Value {
        match self {
            Job::Presubmit(_, job) => golden::presubmit(job),
            Job::Postsubmit(_, job) => golden::postsubmit(job),
            Job::Periodic(job) => golden::periodic(job),
        }
    }

    /// Everything but the name and the command that follows from it, as a text to compare; without the context, too,
    /// if that is to follow the name and does.
    pub(super) fn nameless(&self, context_follows: bool) -> String {
        let name = &self.base().name;
        let mut value = self.value();
        if let Some(map) = value.as_object_mut() {
            map.remove("name");
            if context_follows && map.get("context").and_then(Value::as_str) == Some(name) {
                map.remove("context");
            }
            if map.get("rerun_command").and_then(Value::as_str) == Some(&format!("/test {name}")) {
                map.remove("rerun_command");
                map.remove("trigger");
            }
        }
        format!("{} {} {value}", self.kind(), self.repo())
    }
}

/// Every job by its place; several of one name (for different branches) together, in their order.
pub(super) fn by_id(jobs: &Jobs) -> BTreeMap<JobId, Vec<Job<'_>>> {
    let presubmits =
        jobs.presubmits.iter().flat_map(|(repo, l)| l.iter().map(move |j| Job::Presubmit(repo, j)));
    let postsubmits =
        jobs.postsubmits.iter().flat_map(|(repo, l)| l.iter().map(move |j| Job::Postsubmit(repo, j)));
    let mut out: BTreeMap<JobId, Vec<Job<'_>>> = BTreeMap::new();
    for job in presubmits.chain(postsubmits).chain(jobs.periodics.iter().map(Job::Periodic)) {
        let id = JobId { kind: job.kind(), repo: job.repo().to_owned(), name: job.base().name.clone() };
        out.entry(id).or_default().push(job);
    }
    out
}
