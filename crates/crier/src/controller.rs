//! The loop around a reporter (prow-runtime §10.1).

use crate::error::Error;
use crate::metrics;
use async_trait::async_trait;
use kube::Api;
use kube::api::{Patch, PatchParams};
use prow_api::{ProwJob, State};
use prow_config::{Handle, Snapshot};
use prow_kube::queue::{Outcome, Queue};
use prow_kube::{Store, prowjobs};
use prow_service::clock::SharedClock;
use prow_service::enablement::GithubEnablement;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// A report that takes longer is given up and tried again.
const REPORT_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How long to wait for our own record to come back, so that the next look does not report again.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);

/// What came of a report.
#[derive(Debug)]
pub enum Reported {
    /// The states of these ProwJobs were reported, as they were.
    Jobs(Vec<Arc<ProwJob>>),
    /// There is nothing to say about this state; a later one may be another matter.
    NotYet,
}

/// Tells somebody about the states of ProwJobs.
#[async_trait]
pub trait Reporter: Send + Sync + 'static {
    /// The key in `prev_report_states`; never to be changed (trap 40).
    fn name(&self) -> &'static str;

    /// Whether it has to do with this ProwJob at all.
    fn should_report(&self, config: &Snapshot, job: &ProwJob) -> bool;

    /// Tells. May be called again for the same state.
    async fn report(&self, config: &Snapshot, job: &Arc<ProwJob>) -> Result<Reported, Error>;
}

/// One reporter's loop.
pub(crate) struct Controller {
    pub reporter: Arc<dyn Reporter>,
    pub store: Store<ProwJob>,
    pub api: Api<ProwJob>,
    pub config: Handle,
    pub enablement: GithubEnablement,
    pub clock: SharedClock,
}

impl Controller {
    pub(crate) async fn run(self, workers: usize, stop: CancellationToken) {
        let queue = Queue::new(self.clock.clone());
        let this = Arc::new(self);
        let feeding = tokio::spawn(Arc::clone(&this).feed(queue.clone(), stop.clone()));
        let look = |name: String| {
            let this = Arc::clone(&this);
            async move { this.look(&name).await }
        };
        queue.run(workers, stop.cancelled_owned(), look).await;
        if let Err(error) = feeding.await {
            tracing::error!(reporter = this.reporter.name(), %error, "the feed of a reporter stopped");
        }
    }

    /// Puts what is there and then what changes on the queue.
    async fn feed(self: Arc<Self>, queue: Queue, stop: CancellationToken) {
        // Subscribed before looking, so that nothing falls in between.
        let mut changes = self.store.changes();
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.store.ready() => {}
        }
        let everything = || self.store.all().iter().for_each(|job| queue.add(job.name()));
        everything();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                change = changes.recv() => match change {
                    Ok(change) if change.deleted => {}
                    Ok(change) => queue.add(&change.name),
                    Err(RecvError::Lagged(_)) => everything(),
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    async fn look(&self, name: &str) -> Outcome {
        let Some(job) = self.store.get(name) else { return Outcome::Done };
        let config = self.config.snapshot();
        let reporter = &self.reporter;
        if !due(&job, reporter.name(), &self.enablement) || !reporter.should_report(&config, &job) {
            return Outcome::Done;
        }
        let reported = tokio::select! {
            reported = reporter.report(&config, &job) => reported,
            () = self.clock.sleep(REPORT_TIMEOUT) => Err(Error::TimedOut(REPORT_TIMEOUT)),
        };
        let recorded = match reported {
            Ok(Reported::NotYet) => return Outcome::Done,
            Ok(Reported::Jobs(jobs)) => self.record_all(&jobs).await,
            Err(error) => Err(error),
        };
        metrics::reported(reporter.name(), &job, &*self.clock, recorded.is_ok());
        match recorded {
            Ok(()) => {
                tracing::info!(reporter = reporter.name(), prowjob = name, job = job.spec.job, state = %job.status.state, "reported");
                Outcome::Done
            }
            Err(error) => {
                tracing::warn!(reporter = reporter.name(), prowjob = name, job = job.spec.job, state = %job.status.state, %error, "could not report; trying again");
                Outcome::Failed
            }
        }
    }

    async fn record_all(&self, jobs: &[Arc<ProwJob>]) -> Result<(), Error> {
        for job in jobs {
            self.record(job).await?;
        }
        Ok(())
    }

    /// Remembers that this state was reported. Of the object only our own member is touched: no other writer meets
    /// it, so there is nothing to guard.
    async fn record(&self, job: &ProwJob) -> Result<(), Error> {
        let (name, reporter, state) = (job.name(), self.reporter.name(), job.status.state);
        let patch = serde_json::json!({"status": {"prev_report_states": {reporter: state}}});
        match self.api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {}
            Err(error) if prowjobs::not_found(&error) => return Ok(()),
            Err(error) => return Err(Error::Record { name: name.to_owned(), source: Box::new(error) }),
        }
        let visible = self.store.wait_for(|store| match store.get(name) {
            None => Some(()),
            Some(job) => (recorded(&job, reporter) == Some(state)).then_some(()),
        });
        tokio::select! {
            () = visible => {}
            () = self.clock.sleep(VISIBLE_WITHIN) => {
                tracing::warn!(prowjob = name, reporter, "the watch has not shown what was reported yet");
            }
        }
        Ok(())
    }
}

fn recorded(job: &ProwJob, reporter: &str) -> Option<State> {
    job.status.prev_report_states.get(reporter).copied()
}

/// Whether a ProwJob's state is news to `reporter` and its repository is one that we work for.
fn due(job: &ProwJob, reporter: &str, enablement: &GithubEnablement) -> bool {
    let mut refs = job.spec.refs.iter().chain(&job.spec.extra_refs).peekable();
    let ours = refs.peek().is_none() || refs.any(|r| enablement.allows(&r.org, &r.repo));
    ours && recorded(job, reporter) != Some(job.status.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::Refs;

    #[test]
    fn a_state_is_news_once_to_each_reporter_and_only_for_our_repositories() {
        let refs = |org: &str| Refs { org: org.into(), repo: "r".into(), ..Refs::default() };
        let job = |orgs: &[&str], reported: Option<State>| {
            let mut job = ProwJob::default();
            job.status.state = State::Pending;
            job.spec.refs = orgs.first().map(|org| refs(org));
            job.spec.extra_refs = orgs.iter().skip(1).map(|org| refs(org)).collect();
            if let Some(state) = reported {
                job.status.prev_report_states.insert("x".into(), state);
            }
            job
        };
        let only_o =
            GithubEnablement { enabled_orgs: ["o".to_owned()].into(), ..GithubEnablement::default() };
        for (job, reporter, expected) in [
            (job(&["o"], None), "x", true),
            (job(&["o"], Some(State::Triggered)), "x", true),
            (job(&["o"], Some(State::Pending)), "x", false),
            (job(&["o"], Some(State::Pending)), "y", true),
            (job(&["p"], None), "x", false),
            (job(&["p", "o"], None), "x", true),
            (job(&[], None), "x", true),
        ] {
            assert_eq!(due(&job, reporter, &only_o), expected, "{job:?}");
        }
    }
}
