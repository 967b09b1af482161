//! From a pull request and what is asked for to ProwJobs (prow-runtime §3.5 to §3.7).

use crate::context::Context;
use crate::error::Error;
use crate::jobs::BranchHead;
use prow_api::prowjob::{ProwJob, ProwJobSpec};
use prow_api::{OrgRepo, Refs};
use prow_config::Presubmit;
use prow_github::PullRequest;
use prow_job::build;
use prow_job::names::prowjob_name;
use prow_job::select::{self, Ask, Decision};
use prow_kube::prowjobs::{self, Created};
use std::borrow::Cow;
use std::collections::BTreeMap;
use tokio::sync::OnceCell;

/// A pull request while one event is handled: what has to be asked of GitHub is asked once.
pub struct Pull<'a> {
    /// The base repository.
    pub repo: OrgRepo,
    /// As the event or the API gave it.
    pub pr: &'a PullRequest,
    base: BranchHead,
    changes: OnceCell<Vec<String>>,
}

impl<'a> Pull<'a> {
    /// Of an event or an API answer.
    pub fn new(ctx: &Context, pr: &'a PullRequest) -> Pull<'a> {
        let repo = OrgRepo::new(pr.base.repo.owner_login(), pr.base.repo.name.clone());
        let base = BranchHead::new(ctx.github.clone(), repo.clone(), pr.base.r#ref.clone());
        Pull { repo, pr, base, changes: OnceCell::new() }
    }

    /// Its repository's presubmits, and why those of the repository itself are not among them if they are not: then
    /// the configuration's remain.
    pub async fn presubmits<'c>(&self, ctx: &'c Context) -> (Cow<'c, [Presubmit]>, Option<Error>) {
        match ctx.jobs.presubmits(&ctx.config, &self.repo, &self.base, &self.pr.head.sha).await {
            Ok(jobs) => (jobs, None),
            Err(error) => {
                tracing::warn!(
                    org = self.repo.org, repo = self.repo.repo, pr = self.pr.number, event_guid = ctx.guid, %error,
                    "using only the jobs of the configuration"
                );
                (Cow::Borrowed(ctx.config.presubmits_for(&self.repo.to_string())), Some(error))
            }
        }
    }

    /// Whether its head changes what the repository says about its own jobs.
    pub async fn changes_jobs(&self, ctx: &Context) -> Result<bool, Error> {
        ctx.jobs.is_changed_by(&ctx.config, &self.repo, &self.base, &self.pr.head.sha).await
    }

    /// The changed files, fetched when first needed.
    pub async fn changed_files(&self, ctx: &Context) -> Result<&[String], Error> {
        let fetch = || async {
            let (org, repo) = (&self.repo.org, &self.repo.repo);
            let changes = ctx.github.get_pull_request_changes(org, repo, self.pr.number).await?;
            Ok::<_, Error>(changes.into_iter().map(|c| c.filename).collect())
        };
        Ok(self.changes.get_or_try_init(fetch).await?)
    }

    /// The changed files if `ask` cannot be decided without them.
    pub async fn files_for(
        &self,
        ctx: &Context,
        presubmits: &[Presubmit],
        ask: &Ask,
    ) -> Result<Option<&[String]>, Error> {
        if select::needs_changed_files(presubmits, &self.pr.base.r#ref, ask) {
            return Ok(Some(self.changed_files(ctx).await?));
        }
        Ok(None)
    }

    /// Those that run.
    pub async fn select<'p>(
        &self,
        ctx: &Context,
        presubmits: &'p [Presubmit],
        ask: &Ask,
    ) -> Result<Vec<&'p Presubmit>, Error> {
        let files = self.files_for(ctx, presubmits, ask).await?;
        let decisions = select::select(presubmits, &self.pr.base.r#ref, ask, files)?;
        for Decision { job, run, rule, .. } in &decisions {
            tracing::debug!(
                org = self.repo.org, repo = self.repo.repo, pr = self.pr.number, job = job.base.name, run, why = %rule,
                event_guid = ctx.guid, "decided about a presubmit"
            );
        }
        Ok(decisions.into_iter().filter(|d| d.run).map(|d| d.job).collect())
    }

    /// Everything that `ask` asks for, unless this is a draft.
    pub async fn run(
        &self,
        ctx: &Context,
        presubmits: &[Presubmit],
        ask: &Ask,
        retest: bool,
    ) -> Result<(), Error> {
        if self.pr.draft {
            return Ok(());
        }
        let jobs = self.select(ctx, presubmits, ask).await?;
        self.start(ctx, &jobs, retest).await
    }

    /// Creates ProwJobs, all that can be.
    pub async fn start(&self, ctx: &Context, jobs: &[&Presubmit], retest: bool) -> Result<(), Error> {
        if jobs.is_empty() {
            return Ok(());
        }
        if self.pr.mergeable == Some(false) {
            tracing::info!(
                org = self.repo.org,
                repo = self.repo.repo,
                pr = self.pr.number,
                "the pull request has conflicts with its base; no job is started"
            );
            return Ok(());
        }
        let refs = refs(&self.repo, self.pr, self.base.sha().await?);
        let mut results = Vec::new();
        for job in jobs {
            let labels = build::presubmit_labels(job, &ctx.guid, retest);
            let spec = build::presubmit(job, refs.clone());
            results.push(create(ctx, spec, &labels, &job.base.annotations).await);
        }
        Error::all(results)
    }
}

fn refs(repo: &OrgRepo, pr: &PullRequest, base_sha: &str) -> Refs {
    build::pull_request_refs(&build::PullRequest {
        org: repo.org.clone(),
        repo: repo.repo.clone(),
        repo_link: pr.base.repo.html_url.clone(),
        base_ref: pr.base.r#ref.clone(),
        base_sha: base_sha.to_owned(),
        number: pr.number,
        author: pr.user.login.clone(),
        author_link: pr.user.html_url.clone(),
        head_sha: pr.head.sha.clone(),
        head_ref: pr.head.r#ref.clone(),
        title: pr.title.clone(),
        link: pr.html_url.clone(),
    })
}

/// Creates one ProwJob under the name that follows from the event; one of that name is our own earlier work.
pub async fn create(
    ctx: &Context,
    spec: ProwJobSpec,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let name = prowjob_name(&ctx.guid, &spec);
    let prow = &ctx.config.prow;
    let job: ProwJob = build::new_prowjob(
        spec,
        labels,
        annotations,
        &name,
        &prow.prowjob_namespace,
        ctx.clock.now(),
        prow.scheduler.enabled,
    );
    let created = prowjobs::create(&ctx.prowjobs(), &job, &ctx.clock)
        .await
        .map_err(|error| Error::prowjob("create", &job, error))?;
    let (job_name, event_guid) = (&job.spec.job, &ctx.guid);
    match created {
        Created::New => tracing::info!(prowjob = name, job = job_name, event_guid, "created a ProwJob"),
        Created::Existed => {
            tracing::info!(
                prowjob = name,
                job = job_name,
                event_guid,
                "the ProwJob of this event exists already"
            );
        }
    }
    Ok(())
}
