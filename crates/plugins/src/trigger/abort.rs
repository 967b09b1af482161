//! Stops the jobs of a pull request that is closed or has new commits (prow-runtime §3.3, trap 15).

use crate::context::Context;
use crate::error::Error;
use kube::api::ListParams;
use prow_api::OrgRepo;
use prow_api::labels::{PULL, TYPE};
use prow_api::prowjob::{JobType, ProwJob, State};
use prow_job::names::prowjob_name;
use prow_kube::prowjobs;

const DESCRIPTION: &str = "Aborted by trigger plugin.";
/// Somebody else writing the same ProwJob at the same moment is plank, which stops soon.
const TRIES: usize = 5;

/// What a ProwJob looks like when it is to be stopped; `None` if there is nothing to stop. It has no completion
/// time: plank sets that when the Pod is gone.
fn aborted(job: &ProwJob) -> Option<ProwJob> {
    if job.complete() || job.status.state == State::Aborted {
        return None;
    }
    let mut after = job.clone();
    after.status.state = State::Aborted;
    after.status.description = DESCRIPTION.to_owned();
    Some(after)
}

/// Whether a ProwJob is a presubmit of this pull request that an event other than `guid` made. What this very event
/// made, when it was handled before, is known by its name and not to be stopped: it would not be made again.
fn concerns(job: &ProwJob, repo: &OrgRepo, number: i64, guid: &str) -> bool {
    let Some(refs) = &job.spec.refs else { return false };
    job.spec.job_type == JobType::Presubmit
        && refs.org == repo.org
        && refs.repo == repo.repo
        && refs.pulls.first().is_some_and(|pull| pull.number == number)
        && job.name() != prowjob_name(guid, &job.spec)
}

/// Stops everything of a pull request that is not through.
pub async fn abort_all(ctx: &Context, repo: &OrgRepo, number: i64) -> Result<(), Error> {
    let api = ctx.prowjobs();
    // Not by org and repository: names that are no label values have no such label.
    let selector = ListParams::default().labels(&format!("{PULL}={number},{TYPE}=presubmit"));
    let found = api.list(&selector).await.map_err(|error| Error::Kubernetes {
        what: format!("list the ProwJobs of {repo}#{number}"),
        source: Box::new(error),
    })?;
    let mut results = Vec::new();
    for job in found.items.into_iter().filter(|job| concerns(job, repo, number, &ctx.guid)) {
        results.push(abort(ctx, job).await);
    }
    Error::all(results)
}

async fn abort(ctx: &Context, mut job: ProwJob) -> Result<(), Error> {
    let api = ctx.prowjobs();
    for tries in 1.. {
        let Some(after) = aborted(&job) else { return Ok(()) };
        // Guarded: a job that has just ended must not become aborted.
        match prowjobs::patch(&api, &job, &after, true).await {
            Ok(_) => {
                tracing::info!(
                    prowjob = job.name(),
                    job = job.spec.job,
                    event_guid = ctx.guid,
                    "aborted a ProwJob"
                );
                return Ok(());
            }
            Err(error) if prowjobs::not_found(&error) => return Ok(()),
            Err(error) if prowjobs::conflict(&error) && tries < TRIES => {}
            Err(error) => return Err(Error::prowjob("abort", &job, error)),
        }
        let now = api.get_opt(job.name()).await.map_err(|error| Error::prowjob("read", &job, error))?;
        let Some(now) = now else { return Ok(()) };
        job = now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::{Pull, Refs, Time};

    fn job(state: State) -> ProwJob {
        let mut job = ProwJob::default();
        job.spec.refs = Some(Refs {
            org: "o".into(),
            repo: ".github".into(),
            pulls: vec![Pull { number: 7, ..Pull::default() }],
            ..Refs::default()
        });
        job.metadata.name = Some(prowjob_name("earlier", &job.spec));
        job.status.state = state;
        job
    }

    #[test]
    fn only_what_is_not_through_is_aborted_and_stays_incomplete() {
        for (state, expected) in [
            (State::Scheduling, true),
            (State::Triggered, true),
            (State::Pending, true),
            (State::Aborted, false),
        ] {
            let after = aborted(&job(state));
            assert_eq!(after.is_some(), expected, "{state}");
            if let Some(after) = after {
                assert_eq!((after.status.state, after.complete()), (State::Aborted, false));
            }
        }
        let mut done = job(State::Success);
        done.status.completion_time = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(aborted(&done), None);
    }

    #[test]
    fn only_other_events_presubmits_of_the_pull_request_are_concerned() {
        let repo = OrgRepo::new("o", ".github");
        assert!(concerns(&job(State::Pending), &repo, 7, "this"));
        assert!(!concerns(&job(State::Pending), &repo, 7, "earlier"), "a replay must not stop its own jobs");
        assert!(!concerns(&job(State::Pending), &repo, 8, "this"));
        assert!(!concerns(&job(State::Pending), &OrgRepo::new("o", "r"), 7, "this"));
        let mut batch = job(State::Pending);
        batch.spec.job_type = JobType::Batch;
        assert!(!concerns(&batch, &repo, 7, "this"));
    }
}
