//! Which older runs of a presubmit a newer one supersedes (prow-runtime §6.2, TerminateOlderJobs; trap 17). Pure.

use prow_api::prowjob::{JobType, ProwJob, State};
use prow_api::refs::Refs;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What makes two runs the same question: type, job, and where and for which pull requests it is asked.
/// Commits do not count.
fn identity(job: &ProwJob) -> (JobType, String, String, Vec<String>) {
    fn digest(refs: &Refs) -> String {
        let mut numbers: Vec<i64> = refs.pulls.iter().map(|p| p.number).collect();
        numbers.sort_unstable();
        format!("{}@{} {numbers:?}", refs.org_repo(), refs.base_ref)
    }
    let mut extra: Vec<String> = job.spec.extra_refs.iter().map(digest).collect();
    extra.sort_unstable();
    (job.spec.job_type, job.spec.job.clone(), job.spec.refs.as_ref().map(digest).unwrap_or_default(), extra)
}

/// Of `active` (not complete, one job name), the presubmit runs that a later one supersedes. The one with the
/// latest start survives; of two that started in the same second, the one created later, then by name.
pub fn superseded(active: &[Arc<ProwJob>]) -> Vec<Arc<ProwJob>> {
    let mut newest: BTreeMap<_, Arc<ProwJob>> = BTreeMap::new();
    let mut out = Vec::new();
    for job in active {
        let live = matches!(job.status.state, State::Triggered | State::Pending) && !job.complete();
        if job.spec.job_type != JobType::Presubmit || !live {
            continue;
        }
        let age = |j: &ProwJob| {
            (j.status.start_time.clone(), j.metadata.creation_timestamp.clone(), j.name().to_owned())
        };
        match newest.entry(identity(job)) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Arc::clone(job));
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                if age(entry.get()) < age(job) {
                    out.push(entry.insert(Arc::clone(job)));
                } else {
                    out.push(Arc::clone(job));
                }
            }
        }
    }
    out
}

/// `job` as superseded: aborted, and GitHub is not told, since the newer run reports on the same context.
pub fn aborted(job: &ProwJob) -> ProwJob {
    let mut job = job.clone();
    job.status.state = State::Aborted;
    job.status.description = "Aborted as the newer version of this job is running.".into();
    job.status.prev_report_states.insert("github-reporter".into(), State::Aborted);
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn run(name: &str, start: &str, change: Value) -> Arc<ProwJob> {
        let mut job = json!({"metadata": {"name": name},
            "spec": {"type": "presubmit", "job": "unit", "refs": {"org": "o", "repo": "r", "base_ref": "main", "pulls": [{"number": 1, "author": "a", "sha": name}]}},
            "status": {"state": "pending", "startTime": format!("2026-01-01T00:00:{start}Z")}});
        for (pointer, value) in change.as_object().unwrap() {
            *job.pointer_mut(pointer).unwrap() = value.clone();
        }
        Arc::new(serde_json::from_value(job).unwrap())
    }

    fn names(jobs: &[Arc<ProwJob>]) -> Vec<String> {
        let mut names: Vec<String> = superseded(jobs).iter().map(|j| j.name().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_the_newest_run_of_the_same_question_goes_on() {
        let same = json!({});
        assert_eq!(
            names(&[
                run("a", "01", same.clone()),
                run("c", "03", same.clone()),
                run("b", "02", same.clone())
            ]),
            ["a", "b"]
        );
        assert_eq!(names(&[run("a", "01", same.clone()), run("b", "01", same.clone())]), ["a"]);
        for (what, other) in [
            ("another pull request", json!({"/spec/refs/pulls/0/number": 2})),
            ("another branch", json!({"/spec/refs/base_ref": "release"})),
            ("a batch", json!({"/spec/type": "batch"})),
            ("already aborted", json!({"/status/state": "aborted"})),
        ] {
            assert!(names(&[run("a", "01", same.clone()), run("b", "02", other)]).is_empty(), "{what}");
        }
    }

    #[test]
    fn github_is_not_told_of_a_superseded_run() {
        let job = aborted(&run("a", "01", json!({})));
        assert_eq!(job.status.state, State::Aborted);
        assert!(!job.complete(), "plank completes it once its Pod is gone");
        assert_eq!(job.status.prev_report_states["github-reporter"], State::Aborted);
    }
}
