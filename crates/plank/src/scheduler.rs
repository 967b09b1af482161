//! The scheduler: with `scheduler.enabled` a ProwJob begins in `scheduling`, and this decides which build cluster it
//! goes to (prow-runtime §6.3). [`choose`] decides, [`run`] asks the outer service where one is configured and
//! writes.

use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use prow_api::prowjob::{KUBERNETES_AGENT, ProwJob, State};
use prow_config::{Handle, Snapshot};
use prow_kube::queue::{Outcome, Queue};
use prow_kube::{Clients, Store, prowjobs};
use prow_service::clock::SharedClock;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// The outer service has this long to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer about a cluster's name is longer.
const LONGEST_ANSWER: usize = 64 << 10;
/// Answers kept at most.
const MOST_ANSWERS: usize = 10_000;
/// Jobs at a time.
const WORKERS: usize = 10;

/// Where a job's Pod should go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// To this cluster.
    Cluster(String),
    /// A service must be asked.
    Ask(String),
}

/// Decides by the configuration alone: a failover mapping, a service, or as the job says.
pub fn choose(snapshot: &Snapshot, cluster: &str) -> Choice {
    let scheduler = &snapshot.prow.scheduler;
    if let Some(failover) = &scheduler.failover {
        return Choice::Cluster(failover.mappings.get(cluster).map_or(cluster, String::as_str).to_owned());
    }
    match &scheduler.external {
        Some(external) => Choice::Ask(external.url.clone()),
        None => Choice::Cluster(cluster.to_owned()),
    }
}

/// Works until `stop` is cancelled.
pub async fn run(
    config: Handle,
    clients: Clients,
    jobs: Store<ProwJob>,
    clock: SharedClock,
    stop: CancellationToken,
) {
    // Without one no client can be made; that another part of the process has chosen one already is no failure.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = match reqwest::Client::builder().timeout(PATIENCE).build() {
        Ok(http) => http,
        Err(error) => {
            tracing::error!(%error, "the scheduler cannot start: jobs in state scheduling stay there");
            return;
        }
    };
    let scheduler = Arc::new(Scheduler {
        config,
        clients,
        jobs,
        clock: clock.clone(),
        http,
        answers: parking_lot::Mutex::default(),
    });
    let queue = Queue::new(clock);
    let mut changes = scheduler.jobs.changes();
    scheduler.jobs.ready().await;
    let add_all = || {
        for job in scheduler.jobs.by(prowjobs::BY_PROGRESS, &State::Scheduling.to_string()) {
            queue.add(job.name());
        }
    };
    add_all();
    let feed = async {
        loop {
            match changes.recv().await {
                Ok(change) => queue.add(&change.name),
                Err(RecvError::Lagged(_)) => add_all(),
                Err(RecvError::Closed) => return,
            }
        }
    };
    let work = queue.run(WORKERS, stop.cancelled(), {
        let scheduler = Arc::clone(&scheduler);
        move |name| {
            let scheduler = Arc::clone(&scheduler);
            async move { scheduler.look(&name).await }
        }
    });
    tokio::select! {
        () = feed => {}
        () = work => {}
    }
}

struct Scheduler {
    config: Handle,
    clients: Clients,
    jobs: Store<ProwJob>,
    clock: SharedClock,
    http: reqwest::Client,
    // of a job's name: the cluster, and until when that holds
    answers: parking_lot::Mutex<HashMap<String, (String, Timestamp)>>,
}

#[derive(Deserialize)]
struct Answer {
    cluster: String,
}

impl Scheduler {
    async fn look(&self, name: &str) -> Outcome {
        let Some(job) = self.jobs.get(name) else { return Outcome::Done };
        if job.status.state != State::Scheduling || job.complete() {
            return Outcome::Done;
        }
        // To other agents a cluster means nothing; they, too, wait until the job is triggered.
        let chosen = [KUBERNETES_AGENT, "tekton-pipeline"].contains(&job.spec.agent.as_str());
        let snapshot = self.config.snapshot();
        let choice = match chosen {
            true => choose(&snapshot, &job.spec.cluster),
            false => Choice::Cluster(job.spec.cluster.clone()),
        };
        let cluster = match choice {
            Choice::Cluster(cluster) => cluster,
            Choice::Ask(url) => match self.ask(&snapshot, &url, &job.spec.job).await {
                Ok(cluster) => cluster,
                Err(why) => {
                    // As upstream: a job is better run where it says than not at all.
                    tracing::error!(
                        prowjob = name,
                        job = job.spec.job,
                        why,
                        "the scheduling service did not answer; the job goes where it says"
                    );
                    job.spec.cluster.clone()
                }
            },
        };
        let api: Api<ProwJob> = Api::namespaced(self.clients.infra(), &snapshot.prow.prowjob_namespace);
        let patch = json!({
            "metadata": { "resourceVersion": job.metadata.resource_version },
            "spec": { "cluster": cluster },
            "status": { "state": "triggered" },
        });
        match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Outcome::Done,
            Err(error) if prowjobs::not_found(&error) => Outcome::Done,
            Err(error) if prowjobs::conflict(&error) => Outcome::After(Duration::from_millis(50)),
            Err(error) => {
                tracing::warn!(prowjob = name, %error, "cannot schedule; trying again");
                Outcome::Failed
            }
        }
    }

    async fn ask(&self, snapshot: &Snapshot, url: &str, job: &str) -> Result<String, String> {
        let now = self.clock.now();
        if let Some((cluster, until)) = self.answers.lock().get(job)
            && *until > now
        {
            return Ok(cluster.clone());
        }
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let answer = self.http.post(url).json(&json!({ "job": job })).send().await.map_err(failed)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(format!("it answered {}", answer.status()));
        }
        let mut body = Vec::new();
        let mut parts = answer.bytes_stream();
        while let Some(part) = parts.next().await {
            body.extend_from_slice(&part.map_err(failed)?);
            if body.len() > LONGEST_ANSWER {
                return Err("its answer is too long".into());
            }
        }
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|e| format!("its answer is not understood: {e}"))?;
        let holds = snapshot.prow.scheduler.external.as_ref().and_then(|e| e.cache.as_ref());
        if let Some(holds) = holds.and_then(|c| c.entry_timeout_interval.as_ref()) {
            let mut answers = self.answers.lock();
            answers.retain(|_, (_, until)| *until > now);
            if answers.len() < MOST_ANSWERS {
                answers.insert(job.to_owned(), (answer.cluster.clone(), now + holds.to_std()));
            }
        }
        Ok(answer.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_wins_over_a_service_and_a_service_over_the_job() {
        let snapshot = |yaml: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("config.yaml");
            std::fs::write(&path, yaml).unwrap();
            prow_config::load(&prow_config::LoadOptions { config_path: path, ..Default::default() }).unwrap()
        };
        let cluster = |name: &str| Choice::Cluster(name.to_owned());
        assert_eq!(choose(&snapshot("{}"), "a"), cluster("a"));
        let mapped = "scheduler:\n  enabled: true\n  failover:\n    mappings: {a: b}\n";
        assert_eq!(choose(&snapshot(mapped), "a"), cluster("b"));
        assert_eq!(choose(&snapshot(mapped), "c"), cluster("c"));
        let external = "scheduler:\n  enabled: true\n  external:\n    url: http://s.example/\n";
        assert_eq!(choose(&snapshot(external), "a"), Choice::Ask("http://s.example/".into()));
    }
}
