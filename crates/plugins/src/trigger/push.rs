//! A push starts postsubmits (prow-runtime §3.8).

use super::in_repo;
use super::start::create;
use crate::context::Context;
use crate::error::Error;
use prow_api::OrgRepo;
use prow_github::webhook::PushEvent;
use prow_job::build;
use prow_job::select::{Decision, select_postsubmits};
use std::borrow::Cow;

/// Creates the ProwJobs, all that can be.
pub async fn act(ctx: &Context, event: &PushEvent) -> Result<(), Error> {
    let repo = OrgRepo::new(event.org(), event.repository.name.clone());
    let branch = event.branch();
    let (postsubmits, missing) = match ctx.jobs.postsubmits(&ctx.config, &repo, &event.after).await {
        Ok(jobs) => (jobs, None),
        Err(error) => {
            tracing::warn!(org = repo.org, repo = repo.repo, branch, event_guid = ctx.guid, %error, "using only the jobs of the configuration");
            (Cow::Borrowed(ctx.config.postsubmits_for(&repo.to_string())), Some(error))
        }
    };
    let refs = build::push_refs(
        &repo.org,
        &repo.repo,
        &event.repository.html_url,
        branch,
        &event.after,
        &event.compare,
    );
    let mut results = vec![in_repo::again(missing)];
    for Decision { job, run, rule, .. } in
        select_postsubmits(&postsubmits, branch, Some(&event.changed_files()))?
    {
        tracing::debug!(
            org = repo.org, repo = repo.repo, branch, job = job.base.name, run, why = %rule, event_guid = ctx.guid,
            "decided about a postsubmit"
        );
        if run {
            let labels = build::postsubmit_labels(job, &ctx.guid);
            results.push(
                create(ctx, build::postsubmit(job, refs.clone()), &labels, &job.base.annotations).await,
            );
        }
    }
    Error::all(results)
}
