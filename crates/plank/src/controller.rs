//! Gathers what the pure parts decide from, and carries out what they decide (prow-runtime §6.1, §6.2, §6.4).

use crate::admission::{Admission, Capacity, Refusal};
use crate::decide::{self, Limits, Verdict};
use crate::duplicates;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::watcher;
use prow_api::labels;
use prow_api::prowjob::{KUBERNETES_AGENT, ProwJob, State};
use prow_config::{Handle, Snapshot};
use prow_kube::prowjobs::{self, BY_ACTIVE_JOB, BY_PROGRESS};
use prow_kube::queue::{Outcome, Queue};
use prow_kube::{Change, Clients, NoClient, Store};
use prow_service::clock::SharedClock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

mod pods;

use pods::{StartError, adopt};

/// A job that may not start yet is looked at again after this long.
const CONCURRENCY_PAUSE: Duration = Duration::from_secs(10);
/// How long to wait for the watch to show what was written before a limit may be computed from it again.
const SEEN_LIMIT: Duration = Duration::from_secs(2);

/// What plank is told at its start.
#[derive(Debug, Clone)]
pub struct PlankOptions {
    /// Goes into the Pods' `prow.k8s.io/plank-version`.
    pub version: String,
    /// Looks at a time.
    pub workers: usize,
    /// `--label-selector`: which Pods to watch, besides `created-by-prow=true`; empty is all.
    pub label_selector: String,
}

/// The controller.
pub struct Plank {
    config: Handle,
    clients: Clients,
    jobs: Store<ProwJob>,
    pods: BTreeMap<String, Store<Pod>>,
    clock: SharedClock,
    options: PlankOptions,
    admission: Admission,
    last_build_id: parking_lot::Mutex<u64>,
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("the API server: {}", prowjobs::said(.0))]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Cluster(#[from] NoClient),
}

impl Plank {
    /// Prepares a controller over `jobs`, the watched ProwJobs. Pods are watched from here on.
    pub fn new(
        config: Handle,
        clients: Clients,
        jobs: Store<ProwJob>,
        clock: SharedClock,
        options: PlankOptions,
    ) -> Plank {
        let namespace = config.snapshot().prow.pod_namespace.clone();
        let pods = clients
            .build_clusters()
            .map(|(alias, client)| {
                let api = Api::namespaced(client.clone(), &namespace);
                let mut selector = format!("{}=true", labels::CREATED_BY_PROW);
                if !options.label_selector.is_empty() {
                    selector = format!("{selector},{}", options.label_selector);
                }
                let ours = watcher::Config::default().labels(&selector);
                (alias.to_owned(), Store::watch(api, ours, &[]))
            })
            .collect();
        Plank {
            config,
            clients,
            jobs,
            pods,
            clock,
            options,
            admission: Admission::default(),
            last_build_id: parking_lot::Mutex::new(0),
        }
    }

    /// Works until `stop` is cancelled; looks under way end first.
    pub async fn run(self, stop: CancellationToken) {
        let plank = Arc::new(self);
        let queue = Queue::new(Arc::clone(&plank.clock));
        let mut feeds = tokio::task::JoinSet::new();
        // Subscribed here and not on their tasks, so that nothing falls between this and the first look at everything.
        feeds.spawn(feed(plank.jobs.changes(), queue.clone(), Arc::clone(&plank)));
        feeds.spawn(crate::metrics::follow(plank.jobs.clone(), plank.jobs.changes()));
        for pods in plank.pods.values() {
            feeds.spawn(feed(pods.changes(), queue.clone(), Arc::clone(&plank)));
        }
        plank.jobs.ready().await;
        for pods in plank.pods.values() {
            // A build cluster that does not answer must not stop the others.
            tokio::select! {
                () = pods.ready() => {}
                () = plank.clock.sleep(Duration::from_secs(10)) => tracing::warn!("a build cluster has not answered yet; going on without it"),
                () = stop.cancelled() => return,
            }
        }
        plank.remember_build_ids();
        plank.add_everything(&queue);
        tracing::info!(jobs = plank.jobs.len(), "plank is running");
        let worker = Arc::clone(&plank);
        queue
            .run(plank.options.workers, stop.cancelled(), move |name| {
                let plank = Arc::clone(&worker);
                async move { plank.look(&name).await }
            })
            .await;
    }

    /// All jobs that are not complete, and all that have a Pod: it may be left over.
    fn add_everything(&self, queue: &Queue) {
        for job in self.jobs.by(BY_PROGRESS, "incomplete") {
            queue.add(job.name());
        }
        for pod in self.pods.values().flat_map(Store::all) {
            queue.add(&pod.name_any());
        }
    }

    /// New build ids must be larger than those there are (trap 59), whatever this machine's clock says.
    fn remember_build_ids(&self) {
        let largest = self.jobs.all().iter().filter_map(|j| j.status.build_id.parse::<u64>().ok()).max();
        let mut last = self.last_build_id.lock();
        *last = (*last).max(largest.unwrap_or(0));
    }

    fn next_build_id(&self) -> String {
        let mut last = self.last_build_id.lock();
        *last = prow_job::buildid::next(*last, self.clock.now().as_millisecond());
        last.to_string()
    }

    async fn look(&self, name: &str) -> Outcome {
        let Some(job) = self.jobs.get(name) else {
            self.admission.settle(name);
            return Outcome::Done;
        };
        if job.status.state != State::Triggered {
            self.admission.settle(name);
        }
        if job.spec.agent != KUBERNETES_AGENT || job.status.state == State::Scheduling {
            return Outcome::Done;
        }
        let snapshot = self.config.snapshot();
        if job.complete() {
            return self.delete_leftover(&job, &snapshot).await;
        }
        let api: Api<ProwJob> = Api::namespaced(self.clients.infra(), &snapshot.prow.prowjob_namespace);
        if job.status.state != State::Aborted {
            for older in duplicates::superseded(&self.jobs.by(BY_ACTIVE_JOB, &job.spec.job)) {
                if let Err(error) = self.write(&api, &older, &duplicates::aborted(&older), &snapshot).await {
                    tracing::warn!(prowjob = older.name(), %error, "could not abort the superseded run");
                    return Outcome::Failed;
                }
                tracing::info!(
                    prowjob = older.name(),
                    job = older.spec.job,
                    "aborted: a newer run of the same question is there"
                );
                if older.name() == name {
                    // Its own change brings it back here as aborted.
                    return Outcome::Done;
                }
            }
        }
        let looked = match job.status.state {
            State::Triggered => self.triggered(&api, &job, &snapshot).await,
            State::Aborted => self.aborted(&api, &job, &snapshot).await,
            // A final state without completion time was written by somebody else's hand: its Pod decides again.
            _ => self.pending(&api, &job, &snapshot).await,
        };
        match looked {
            Ok(outcome) => outcome,
            // Decided from an old version: the watch is about to show the new one, and brings the job back.
            Err(LookError::Api(error)) if prowjobs::conflict(&error) => {
                Outcome::After(Duration::from_millis(50))
            }
            // Upstream ends such a job, and with it one whose Pod may still run there. We wait for the cluster.
            Err(LookError::Cluster(error @ NoClient::Unusable { .. })) => {
                tracing::warn!(prowjob = name, job = job.spec.job, %error, "waiting for its cluster");
                Outcome::Failed
            }
            Err(LookError::Cluster(error)) => {
                let done = self.completed(&job, State::Error, &format!("Terminal error: {error}."));
                self.write_outcome(&api, &job, &done, &snapshot).await
            }
            Err(LookError::Api(error)) => {
                let error = prowjobs::said(&error);
                tracing::warn!(prowjob = name, job = job.spec.job, error, "will be looked at again");
                Outcome::Failed
            }
        }
    }

    async fn triggered(
        &self,
        api: &Api<ProwJob>,
        job: &ProwJob,
        snapshot: &Snapshot,
    ) -> Result<Outcome, LookError> {
        let pod = match self.find_pod(job, snapshot).await? {
            // An earlier look made it and could not say so.
            Some(pod) => pod,
            None => {
                let plank = &snapshot.prow.plank;
                let capacity =
                    Capacity { global: plank.max_concurrency, queues: &plank.job_queue_capacities };
                match self.admission.admit(job, &self.jobs, &capacity) {
                    Ok(()) => {}
                    Err(Refusal::Later(why)) => {
                        tracing::debug!(prowjob = job.name(), job = job.spec.job, why, "not yet");
                        return Ok(Outcome::After(CONCURRENCY_PAUSE));
                    }
                    Err(Refusal::NoSuchQueue(queue)) => {
                        let text =
                            format!("Terminal error: queue {queue:?} is not in plank.job_queue_capacities.");
                        let done = self.completed(job, State::Error, &text);
                        return Ok(self.write_outcome(api, job, &done, snapshot).await);
                    }
                }
                match self.start_pod(job, snapshot).await {
                    Ok(pod) => pod,
                    Err(StartError::Refused(why)) => {
                        self.admission.settle(job.name());
                        let done =
                            self.completed(job, State::Error, &format!("Pod can not be created: {why}"));
                        return Ok(self.write_outcome(api, job, &done, snapshot).await);
                    }
                    Err(StartError::Look(error)) => {
                        self.admission.settle(job.name());
                        return Err(error);
                    }
                }
            }
        };
        let mut after = job.clone();
        after.status.state = State::Pending;
        after.status.pending_time = Some(Time(self.clock.now()));
        after.status.description = "Job triggered.".into();
        adopt(&mut after, &pod);
        self.write(api, job, &after, snapshot).await?;
        tracing::info!(
            prowjob = job.name(),
            job = job.spec.job,
            build = after.status.build_id,
            cluster = job.spec.cluster_alias(),
            "Pod made"
        );
        prowjobs::wait_for_state(&self.jobs, job.name(), State::Pending, &self.clock, SEEN_LIMIT).await;
        self.admission.settle(job.name());
        Ok(Outcome::Done)
    }

    async fn pending(
        &self,
        api: &Api<ProwJob>,
        job: &ProwJob,
        snapshot: &Snapshot,
    ) -> Result<Outcome, LookError> {
        let pod = self.find_pod(job, snapshot).await?;
        let limits = Limits::of(job, &snapshot.prow.plank);
        let verdict = decide::pending(job, pod.as_ref(), &limits, self.clock.now());
        match verdict {
            Verdict::Wait(pause) => {
                // Keeps the address right when the configuration changed under a running job.
                self.write(api, job, job, snapshot).await?;
                Ok(pause.map_or(Outcome::Done, Outcome::After))
            }
            Verdict::Leaving => {
                // Crier keeps a Pod until its job is complete, and this job waits for the Pod to go.
                if let Some(pod) = &pod {
                    self.release(job, pod, snapshot).await?;
                }
                Ok(Outcome::Done)
            }
            Verdict::Start => match self.start_pod(job, snapshot).await {
                Ok(pod) => {
                    let mut after = job.clone();
                    adopt(&mut after, &pod);
                    self.write(api, job, &after, snapshot).await?;
                    tracing::info!(
                        prowjob = job.name(),
                        job = job.spec.job,
                        build = after.status.build_id,
                        "Pod made again"
                    );
                    Ok(Outcome::Done)
                }
                Err(StartError::Refused(why)) => {
                    let done = self.completed(job, State::Error, &format!("Pod can not be created: {why}"));
                    Ok(self.write_outcome(api, job, &done, snapshot).await)
                }
                Err(StartError::Look(error)) => Err(error),
            },
            Verdict::Revive => {
                // The watched Pod may be one that an earlier look deleted: a stop must not be counted twice. If it is,
                // the watch is about to show that, and brings the job back.
                let pod = self.ask_for_pod(job, snapshot).await?;
                if decide::pending(job, pod.as_ref(), &limits, self.clock.now()) != Verdict::Revive {
                    return Ok(Outcome::Done);
                }
                // Counted before the Pod goes, so that a crash in between can only revive less, never for ever.
                let mut after = job.clone();
                after.status.pod_revival_count += 1;
                self.write(api, job, &after, snapshot).await?;
                self.delete_pod(job, snapshot, true).await?;
                tracing::info!(
                    prowjob = job.name(),
                    job = job.spec.job,
                    "the Pod stopped unexpectedly and is made again"
                );
                Ok(Outcome::Done)
            }
            Verdict::Complete { state, description, delete_pod } => {
                let done = self.completed(job, state, &description);
                self.write(api, job, &done, snapshot).await?;
                tracing::info!(prowjob = job.name(), job = job.spec.job, %state, "{description}");
                if delete_pod {
                    self.delete_pod(job, snapshot, false).await?;
                }
                Ok(Outcome::Done)
            }
        }
    }

    async fn aborted(
        &self,
        api: &Api<ProwJob>,
        job: &ProwJob,
        snapshot: &Snapshot,
    ) -> Result<Outcome, LookError> {
        self.delete_pod(job, snapshot, false).await?;
        let done = self.completed(job, State::Aborted, &job.status.description);
        self.write(api, job, &done, snapshot).await?;
        tracing::info!(prowjob = job.name(), job = job.spec.job, "aborted, its Pod is told to end");
        Ok(Outcome::Done)
    }

    fn completed(&self, job: &ProwJob, state: State, description: &str) -> ProwJob {
        let mut job = job.clone();
        job.status.state = state;
        job.status.description = description.to_owned();
        job.status.completion_time = Some(Time(self.clock.now()));
        job
    }

    async fn write_outcome(
        &self,
        api: &Api<ProwJob>,
        before: &ProwJob,
        after: &ProwJob,
        snapshot: &Snapshot,
    ) -> Outcome {
        match self.write(api, before, after, snapshot).await {
            Ok(()) => {
                tracing::warn!(prowjob = before.name(), job = before.spec.job, state = %after.status.state, "{}", after.status.description);
                Outcome::Done
            }
            Err(error) if prowjobs::conflict(&error) => Outcome::After(Duration::from_millis(50)),
            Err(error) => {
                tracing::warn!(prowjob = before.name(), %error, "could not write the outcome; trying again");
                Outcome::Failed
            }
        }
    }

    /// Writes what changed, with the job's address brought up to date. An object that is gone is no failure.
    async fn write(
        &self,
        api: &Api<ProwJob>,
        before: &ProwJob,
        after: &ProwJob,
        snapshot: &Snapshot,
    ) -> Result<(), kube::Error> {
        let mut after = after.clone();
        if !after.status.build_id.is_empty() {
            after.status.url = self.url(&after, snapshot);
        }
        match prowjobs::patch(api, before, &after, true).await {
            Err(error) if prowjobs::not_found(&error) => Ok(()),
            other => other.map(drop),
        }
    }

    fn url(&self, job: &ProwJob, snapshot: &Snapshot) -> String {
        let plank = &snapshot.prow.plank;
        let config = prow_job::url::UrlConfig {
            prefixes: Some(&plank.job_url_prefix_config),
            omit_storage_provider: plank.job_url_prefix_disable_append_storage_provider,
        };
        let template = |job: &ProwJob| {
            plank.job_url_template.render(&prow_config::template_data(job)).unwrap_or_else(|error| {
                tracing::warn!(prowjob = job.name(), %error, "plank.job_url_template cannot be executed; the job has no address");
                String::new()
            })
        };
        prow_job::url::job_url(job, config, template).unwrap_or_else(|error| {
            tracing::warn!(prowjob = job.name(), %error, "the job has no address");
            String::new()
        })
    }
}

/// Puts the names of what changes into the queue. A Pod is named after its ProwJob.
async fn feed(mut changes: Receiver<Change>, queue: Queue, plank: Arc<Plank>) {
    loop {
        match changes.recv().await {
            Ok(change) => queue.add(&change.name),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "fell behind the watch; looking at everything");
                plank.add_everything(&queue);
            }
            Err(RecvError::Closed) => return,
        }
    }
}
