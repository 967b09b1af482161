//! github-reporter: a commit status for every state, and one comment a pull request that lists what failed
//! (prow-runtime §10.2).

mod comment;
mod status;

use crate::controller::{Reported, Reporter};
use crate::error::Error;
use async_trait::async_trait;
use comment::{Changes, changes};
use parking_lot::Mutex;
use prow_api::labels::GERRIT_REPORT_LABEL;
use prow_api::{JobType, ProwJob, Refs};
use prow_config::Snapshot;
use prow_github::Client;
use prow_kube::Store;
use prow_kube::prowjobs::{BY_PULL, pull_key};
use status::{Swallowed, swallowed};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// The reporter.
pub struct GithubReporter {
    github: Client,
    store: Store<ProwJob>,
    report_agent: String,
    // By pull request: two reports at a time would each rewrite what the other reads.
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl GithubReporter {
    /// `report_agent` is the only agent whose jobs are reported; empty is all.
    pub fn new(github: Client, store: Store<ProwJob>, report_agent: String) -> GithubReporter {
        GithubReporter { github, store, report_agent, locks: Mutex::default() }
    }

    fn lock(&self, pull: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock();
        if let Some(lock) = locks.get(pull).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(pull.to_owned(), Arc::downgrade(&lock));
        lock
    }

    async fn report_status(&self, config: &Snapshot, job: &ProwJob, refs: &Refs) -> Result<(), Error> {
        if !config.prow.github_reporter.job_types_to_report.contains(&job.spec.job_type)
            || refs.pulls.len() > 1
        {
            return Ok(());
        }
        let Some(status) = status::status(job, refs) else { return Ok(()) };
        Ok(self.github.create_status(&refs.org, &refs.repo, status::sha(refs), &status).await?)
    }

    async fn report_comment(&self, config: &Snapshot, job: &Arc<ProwJob>, refs: &Refs) -> Result<(), Error> {
        let settings = &config.prow.github_reporter;
        let [pull] = refs.pulls.as_slice() else { return Ok(()) };
        if names(&settings.no_comment_repos, refs) {
            return Ok(());
        }
        let Some(key) = pull_key(job) else { return Ok(()) };
        let summary = names(&settings.summary_comment_repos, refs);
        if !summary && !job.complete() {
            return Ok(());
        }
        let lock = self.lock(&key);
        let _one_at_a_time = lock.lock().await;
        let jobs = if summary {
            match latest_of_head(&self.store.by(BY_PULL, &key), &pull.sha) {
                Some(jobs) => jobs,
                None => return Ok(()),
            }
        } else {
            vec![Arc::clone(job)]
        };
        let reporting: Vec<&ProwJob> = jobs
            .iter()
            .map(|job| &**job)
            .filter(|job| job.spec.report && settings.job_types_to_report.contains(&job.spec.job_type))
            .collect();
        if reporting.is_empty() {
            return Ok(());
        }
        let bot = self.github.bot_user_checker().await?;
        let (org, repo) = (refs.org.as_str(), refs.repo.as_str());
        let comments = self.github.list_issue_comments(org, repo, pull.number).await?;
        let after = report_template(config, refs, job);
        let Changes { delete, edit, create } =
            changes(&comments, |login| bot.is(login), &reporting, &pull.author, after.as_deref(), summary);
        for id in delete {
            self.github.delete_comment(org, repo, id).await?;
        }
        if let Some((id, text)) = edit {
            self.github.edit_comment(org, repo, id, &text).await?;
        }
        if let Some(text) = create {
            self.github.create_comment(org, repo, pull.number, &text).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Reporter for GithubReporter {
    fn name(&self) -> &'static str {
        "github-reporter"
    }

    fn should_report(&self, _config: &Snapshot, job: &ProwJob) -> bool {
        should_report(job, &self.report_agent)
    }

    async fn report(&self, config: &Snapshot, job: &Arc<ProwJob>) -> Result<Reported, Error> {
        let Some(refs) = &job.spec.refs else {
            return Err(Error::Incomplete { name: job.name().to_owned(), why: "it has no refs" });
        };
        if status::github_state(job.status.state).is_none() {
            return Ok(Reported::NotYet);
        }
        let done = || Ok(Reported::Jobs(vec![Arc::clone(job)]));
        match self.report_status(config, job, refs).await {
            Ok(()) => {}
            Err(Error::GitHub(error)) => match swallowed(&error) {
                Some(Swallowed::Status) => {
                    tracing::warn!(prowjob = job.name(), %error, "GitHub takes no more statuses for this commit and context");
                }
                Some(Swallowed::Everything) => {
                    tracing::warn!(prowjob = job.name(), %error, "what the report is about is not on GitHub (any more)");
                    return done();
                }
                None => return Err(error.into()),
            },
            Err(error) => return Err(error),
        }
        match self.report_comment(config, job, refs).await {
            Err(Error::GitHub(error)) if swallowed(&error).is_some() => {
                tracing::warn!(prowjob = job.name(), %error, "what the report is about is not on GitHub (any more)");
                done()
            }
            Err(error) => Err(error),
            Ok(()) => done(),
        }
    }
}

fn should_report(job: &ProwJob, report_agent: &str) -> bool {
    job.spec.report
        && job.label(GERRIT_REPORT_LABEL).is_none()
        && matches!(job.spec.job_type, JobType::Presubmit | JobType::Postsubmit)
        && (report_agent.is_empty() || job.spec.agent == report_agent)
}

/// Whether a list of `org` and `org/repo` names this repository.
fn names(list: &[String], refs: &Refs) -> bool {
    let full = refs.org_repo();
    list.iter().any(|entry| *entry == refs.org || *entry == full)
}

/// The newest ProwJob of each presubmit for this head; `None` if one is not complete.
fn latest_of_head(jobs: &[Arc<ProwJob>], head: &str) -> Option<Vec<Arc<ProwJob>>> {
    let mut latest: HashMap<&str, &Arc<ProwJob>> = HashMap::new();
    for job in jobs {
        let pulls = job.spec.refs.iter().flat_map(|refs| &refs.pulls);
        if job.spec.job_type != JobType::Presubmit || !pulls.map(|p| p.sha.as_str()).eq([head]) {
            continue;
        }
        if !job.complete() {
            return None;
        }
        let newest = latest.entry(&job.spec.job).or_insert(job);
        if created(job) > created(newest) {
            *newest = job;
        }
    }
    let mut jobs: Vec<Arc<ProwJob>> = latest.into_values().cloned().collect();
    jobs.sort_by(|a, b| a.spec.context.cmp(&b.spec.context));
    Some(jobs)
}

fn created(job: &ProwJob) -> (Option<jiff::Timestamp>, Option<jiff::Timestamp>) {
    let time = |t: &Option<prow_api::Time>| t.as_ref().map(|t| t.0);
    (time(&job.metadata.creation_timestamp), time(&job.status.start_time))
}

/// The configured text below the table. One that fails is left out: the failure table matters more.
fn report_template(config: &Snapshot, refs: &Refs, job: &ProwJob) -> Option<String> {
    let template = config.prow.report_template(&refs.org, &refs.repo)?;
    match template.render(&prow_config::template_data(job)) {
        Ok(text) => Some(text),
        Err(error) => {
            tracing::warn!(prowjob = job.name(), %error, "the comment is written without the text of plank.report_templates");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::{Pull, State, Time};

    fn job(name: &str, sha: &str, created: i64, complete: bool) -> Arc<ProwJob> {
        let mut job = ProwJob::default();
        job.spec.job = name.into();
        job.spec.context = name.into();
        job.spec.report = true;
        job.spec.agent = "kubernetes".into();
        job.spec.refs = Some(Refs {
            org: "o".into(),
            repo: "r".into(),
            pulls: vec![Pull { number: 1, sha: sha.into(), ..Pull::default() }],
            ..Refs::default()
        });
        let time = jiff::Timestamp::from_second(created).unwrap();
        job.metadata.creation_timestamp = Some(Time(time));
        if complete {
            job.status.state = State::Failure;
            job.status.completion_time = Some(Time(time));
        }
        Arc::new(job)
    }

    #[test]
    fn what_is_reported_to_github() {
        let plain = ProwJob::clone(&job("unit", "s", 1, false));
        let changed = |change: &dyn Fn(&mut ProwJob)| {
            let mut job = plain.clone();
            change(&mut job);
            job
        };
        for (job, agent, expected) in [
            (plain.clone(), "", true),
            (plain.clone(), "kubernetes", true),
            (plain.clone(), "jenkins", false),
            (changed(&|j| j.spec.report = false), "", false),
            (changed(&|j| j.spec.job_type = JobType::Postsubmit), "", true),
            (changed(&|j| j.spec.job_type = JobType::Periodic), "", false),
            (changed(&|j| j.spec.job_type = JobType::Batch), "", false),
            (
                changed(&|j| {
                    j.metadata.labels = Some([(GERRIT_REPORT_LABEL.to_owned(), String::new())].into());
                }),
                "",
                false,
            ),
        ] {
            assert_eq!(should_report(&job, agent), expected, "{job:?} {agent}");
        }
    }

    #[test]
    fn a_summary_waits_for_the_newest_run_of_every_job_of_the_head() {
        let run = |jobs: &[Arc<ProwJob>]| {
            latest_of_head(jobs, "new").map(|jobs| {
                jobs.iter()
                    .map(|j| (j.spec.job.clone(), created(j).0.unwrap().as_second()))
                    .collect::<Vec<_>>()
            })
        };
        let done = vec![job("b", "new", 1, true), job("a", "new", 2, true), job("a", "new", 3, true)];
        assert_eq!(run(&done), Some(vec![("a".into(), 3), ("b".into(), 1)]));
        let mut waiting = done.clone();
        waiting.push(job("c", "new", 4, false));
        assert_eq!(run(&waiting), None);
        let mut old = done;
        old.push(job("c", "old", 4, false));
        assert!(run(&old).is_some(), "another head's jobs do not count");
    }

    #[test]
    fn lists_name_organizations_and_repositories() {
        let refs = Refs { org: "o".into(), repo: "r".into(), ..Refs::default() };
        for (list, expected) in [(&["o"][..], true), (&["o/r"], true), (&["o/x", "r"], false), (&[], false)] {
            let list: Vec<String> = list.iter().map(|e| (*e).to_owned()).collect();
            assert_eq!(names(&list, &refs), expected, "{list:?}");
        }
    }
}
