//! Plank against the embedded API server: ProwJobs become Pods and what becomes of the Pods becomes their state.
//! Time stands still unless a test moves it; the Pods' life is played by the test in the kubelet's place.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use prow_api::prowjob::{ProwJob, State};
use prow_apiserver::ApiServer;
use prow_config::{Handle, Snapshot};
use prow_kube::{Clients, Store, prowjobs};
use prow_plank::{Plank, PlankOptions};
use prow_service::clock::ManualClock;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Cluster {
    jobs: Store<ProwJob>,
    api: Api<ProwJob>,
    pods: Api<Pod>,
    clock: ManualClock,
    clients: Clients,
    config: Handle,
    plank: Option<(CancellationToken, JoinHandle<()>)>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start(change: impl FnOnce(&mut Snapshot)) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let server = ApiServer::open(dir.path(), prow_apiserver::Options::default()).unwrap();
        server.ensure_namespace("test-pods").await.unwrap();
        let client = kube::Client::new(server.router(), "default");
        let mut snapshot = Snapshot::default();
        snapshot.prow.pod_namespace = "test-pods".into();
        change(&mut snapshot);
        let mut cluster = Cluster {
            jobs: prowjobs::watch(client.clone(), "default"),
            api: Api::namespaced(client.clone(), "default"),
            pods: Api::namespaced(client.clone(), "test-pods"),
            clock: ManualClock::new(jiff::Timestamp::now()),
            clients: Clients::single(client),
            config: Handle::fixed(snapshot),
            plank: None,
            _dir: dir,
        };
        cluster.run();
        cluster
    }

    fn run(&mut self) {
        let stop = CancellationToken::new();
        let plank = Plank::new(
            self.config.clone(),
            self.clients.clone(),
            self.jobs.clone(),
            self.clock.shared(),
            PlankOptions { version: "test".into(), workers: 4, label_selector: String::new() },
        );
        self.plank = Some((stop.clone(), tokio::spawn(plank.run(stop))));
    }

    async fn stop(&mut self) {
        let (stop, task) = self.plank.take().unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    async fn create(&self, name: &str, change: Value) {
        let mut job = json!({
            "apiVersion": "prow.k8s.io/v1", "kind": "ProwJob", "metadata": {"name": name},
            "spec": {"type": "periodic", "agent": "kubernetes", "cluster": "default", "job": "unit",
                "pod_spec": {"containers": [{"image": "i", "command": ["true"]}]}},
            "status": {"state": "triggered", "startTime": "2026-01-01T00:00:00Z"}
        });
        merge(&mut job, &change);
        let job: ProwJob = serde_json::from_value(job).unwrap();
        self.api.create(&PostParams::default(), &job).await.unwrap();
    }

    async fn until(&self, name: &str, state: State) -> Arc<ProwJob> {
        self.jobs.wait_for(|jobs| jobs.get(name).filter(|j| j.status.state == state)).await
    }

    async fn done(&self, name: &str) -> Arc<ProwJob> {
        self.jobs.wait_for(|jobs| jobs.get(name).filter(|j| j.complete())).await
    }

    async fn pod_status(&self, name: &str, status: Value) {
        let change = json!({"status": status});
        self.pods.patch_status(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn ended(code: i32) -> Value {
    json!([{"name": "test", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:10:00Z"}}}])
}

#[tokio::test]
async fn a_job_becomes_a_pod_and_its_end_the_jobs() {
    let cluster = Cluster::start(|_| ()).await;
    cluster.create("good", json!({})).await;
    cluster.create("bad", json!({"spec": {"job": "other"}})).await;
    let pending = cluster.until("good", State::Pending).await;
    let pod = cluster.pods.get("good").await.unwrap();
    let labels = pod.metadata.labels.unwrap();
    assert_eq!(labels["prow.k8s.io/build-id"], pending.status.build_id);
    assert_eq!(labels["prow.k8s.io/plank-version"], "test");
    assert_eq!(pending.label("prow.k8s.io/build-id"), Some(pending.status.build_id.as_str()), "trap 18");
    assert_eq!(pending.status.pod_name, "good");
    assert_eq!(pending.status.description, "Job triggered.");
    assert!(pending.status.pending_time.is_some());
    cluster.until("bad", State::Pending).await;

    cluster.pod_status("good", json!({"phase": "Succeeded", "containerStatuses": ended(0)})).await;
    cluster.pod_status("bad", json!({"phase": "Failed", "containerStatuses": ended(3)})).await;
    let good = cluster.done("good").await;
    assert_eq!((good.status.state, good.status.description.as_str()), (State::Success, "Job succeeded."));
    let bad = cluster.done("bad").await;
    assert_eq!((bad.status.state, bad.status.description.as_str()), (State::Failure, "Job failed."));
}

#[tokio::test]
async fn a_pod_that_exists_is_adopted_and_never_made_twice() {
    let mut cluster = Cluster::start(|_| ()).await;
    cluster.stop().await;
    // As after a crash between making the Pod and saying so.
    cluster.create("once", json!({})).await;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "once", "labels": {"created-by-prow": "true", "prow.k8s.io/build-id": "77"}},
        "spec": {"containers": [{"name": "test", "image": "i"}]}
    }))
    .unwrap();
    let made = cluster.pods.create(&PostParams::default(), &pod).await.unwrap();
    cluster.run();
    let job = cluster.until("once", State::Pending).await;
    assert_eq!(job.status.build_id, "77");
    assert_eq!(cluster.pods.get("once").await.unwrap().metadata.uid, made.metadata.uid);
}

#[tokio::test]
async fn limits_hold_and_the_oldest_goes_first() {
    let cluster = Cluster::start(|_| ()).await;
    let limited = json!({"spec": {"max_concurrency": 1}});
    for name in ["a", "b", "c"] {
        cluster.create(name, limited.clone()).await;
    }
    cluster.until("a", State::Pending).await;
    for (ends, next) in [("a", "b"), ("b", "c")] {
        assert_eq!(cluster.jobs.get(next).unwrap().status.state, State::Triggered);
        cluster.pod_status(ends, json!({"phase": "Succeeded", "containerStatuses": ended(0)})).await;
        cluster.done(ends).await;
        // Waiting jobs are looked at again every ten seconds.
        let waiting = cluster.until(next, State::Pending);
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                _ = &mut waiting => break,
                () = tokio::task::yield_now() => cluster.clock.advance(Duration::from_secs(1)),
            }
        }
    }
}

#[tokio::test]
async fn a_newer_run_of_the_same_presubmit_aborts_the_older_one() {
    let cluster = Cluster::start(|_| ()).await;
    let run = |start: &str, sha: &str| {
        json!({"spec": {"type": "presubmit", "context": "unit", "refs": {"org": "o", "repo": "r", "base_ref": "main",
            "pulls": [{"number": 1, "author": "a", "sha": sha}]}}, "status": {"startTime": start}})
    };
    cluster.create("old", run("2026-01-01T00:00:00Z", "1")).await;
    cluster.until("old", State::Pending).await;
    cluster.create("new", run("2026-01-01T00:01:00Z", "2")).await;
    let old = cluster.done("old").await;
    assert_eq!(old.status.state, State::Aborted);
    assert_eq!(old.status.prev_report_states["github-reporter"], State::Aborted, "GitHub is not told");
    cluster.until("new", State::Pending).await;
    assert!(cluster.pods.get_opt("old").await.unwrap().is_none(), "its Pod is gone");
}

#[tokio::test]
async fn an_aborted_job_loses_its_pod_and_completes() {
    let cluster = Cluster::start(|_| ()).await;
    cluster.create("stop-me", json!({})).await;
    cluster.until("stop-me", State::Pending).await;
    let change = json!({"status": {"state": "aborted", "description": "Aborted by trigger plugin."}});
    cluster.api.patch("stop-me", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    let job = cluster.done("stop-me").await;
    assert_eq!(
        (job.status.state, job.status.description.as_str()),
        (State::Aborted, "Aborted by trigger plugin.")
    );
    assert!(cluster.pods.get_opt("stop-me").await.unwrap().is_none());
}

#[tokio::test]
async fn an_evicted_pod_is_made_again_with_a_new_build_and_counted() {
    let cluster = Cluster::start(|s| s.prow.plank.max_revivals = Some(1)).await;
    cluster.create("moved", json!({})).await;
    let first = cluster.until("moved", State::Pending).await;
    cluster.pod_status("moved", json!({"phase": "Failed", "reason": "Evicted"})).await;
    let second = cluster
        .jobs
        .wait_for(|jobs| jobs.get("moved").filter(|j| j.status.build_id != first.status.build_id))
        .await;
    assert_eq!(second.status.pod_revival_count, 1);
    assert!(second.status.build_id.parse::<u64>().unwrap() > first.status.build_id.parse::<u64>().unwrap());
    cluster.pod_status("moved", json!({"phase": "Failed", "reason": "Evicted"})).await;
    let end = cluster.done("moved").await;
    assert_eq!(end.status.state, State::Error);
    assert!(end.status.description.contains("max revivals (1)"), "{}", end.status.description);
}

#[tokio::test]
async fn what_can_never_run_is_an_error_that_says_why() {
    let cluster = Cluster::start(|_| ()).await;
    cluster.create("nowhere", json!({"spec": {"cluster": "mars"}})).await;
    let job = cluster.done("nowhere").await;
    assert_eq!(job.status.state, State::Error);
    assert!(job.status.description.contains("mars"), "{}", job.status.description);

    cluster.create("empty", json!({"spec": {"pod_spec": null}})).await;
    let job = cluster.done("empty").await;
    assert!(job.status.description.starts_with("Pod can not be created: "), "{}", job.status.description);

    cluster.create("queued", json!({"spec": {"job_queue_name": "unknown"}})).await;
    let job = cluster.done("queued").await;
    assert!(job.status.description.contains("unknown"), "{}", job.status.description);
}

#[tokio::test]
async fn a_job_that_runs_too_long_is_aborted() {
    let cluster = Cluster::start(|_| ()).await;
    cluster.create("slow", json!({})).await;
    cluster.until("slow", State::Pending).await;
    let start = cluster.clock_text();
    cluster.pod_status("slow", json!({"phase": "Running", "startTime": start})).await;
    let done = cluster.done("slow");
    tokio::pin!(done);
    let job = loop {
        tokio::select! {
            biased;
            job = &mut done => break job,
            () = tokio::task::yield_now() => cluster.clock.advance(Duration::from_secs(3600)),
        }
    };
    assert_eq!((job.status.state, job.status.description.as_str()), (State::Aborted, "Pod running timeout."));
}

#[tokio::test]
async fn a_pod_that_vanishes_is_made_again_under_a_new_build() {
    let cluster = Cluster::start(|_| ()).await;
    cluster.create("killed", json!({})).await;
    cluster.until("killed", State::Pending).await;
    let first = cluster.jobs.get("killed").unwrap().status.build_id.clone();
    // Never bound to a node, so it vanishes at once.
    cluster.pods.delete("killed", &DeleteParams::default()).await.unwrap();
    cluster.jobs.wait_for(|jobs| jobs.get("killed").filter(|j| j.status.build_id > first)).await;
}

#[tokio::test]
async fn a_pod_that_could_not_be_deleted_with_its_job_is_deleted_later() {
    let mut cluster = Cluster::start(|_| ()).await;
    cluster.create("over", json!({})).await;
    cluster.until("over", State::Pending).await;
    cluster.stop().await;
    // As after a crash between completing the job and deleting its Pod.
    cluster.pod_status("over", json!({"phase": "Running", "startTime": cluster.clock_text()})).await;
    let change = json!({"status": {"state": "aborted", "completionTime": cluster.clock_text()}});
    cluster.api.patch("over", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    cluster.done("over").await;
    let pods = Store::watch(cluster.pods.clone(), watcher::Config::default(), &[]);
    pods.ready().await;
    assert_eq!(pods.len(), 1);
    cluster.run();
    pods.wait_for(|pods| pods.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_lost_pod_that_crier_holds_does_not_hold_up_its_job() {
    let cluster = Cluster::start(|_| ()).await;
    cluster.create("lost", json!({})).await;
    let first = cluster.until("lost", State::Pending).await.status.build_id.clone();
    let hold = json!({"metadata": {"finalizers": ["prow.x-k8s.io/gcsk8sreporter"]}});
    cluster.pods.patch("lost", &PatchParams::default(), &Patch::Merge(hold)).await.unwrap();
    let start = cluster.clock_text();
    cluster.pod_status("lost", json!({"phase": "Running", "reason": "NodeLost", "startTime": start})).await;
    // Whoever looks after lost nodes deletes their Pods.
    cluster.pods.delete("lost", &DeleteParams::default()).await.unwrap();
    cluster.jobs.wait_for(|jobs| jobs.get("lost").filter(|j| j.status.build_id > first)).await;
}

impl Cluster {
    fn clock_text(&self) -> String {
        use prow_service::clock::Clock;
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

#[tokio::test]
async fn the_scheduler_sends_jobs_on_whatever_their_agent_is() {
    let cluster = Cluster::start(|snapshot| {
        let mappings = [("default".to_owned(), "other".to_owned())].into();
        snapshot.prow.scheduler.failover = Some(prow_config::prowconfig::FailoverScheduling { mappings });
    })
    .await;
    let stop = CancellationToken::new();
    let scheduler = tokio::spawn(prow_plank::scheduler::run(
        cluster.config.clone(),
        cluster.clients.clone(),
        cluster.jobs.clone(),
        cluster.clock.shared(),
        stop.clone(),
    ));
    let waiting = json!({"status": {"state": "scheduling"}});
    cluster.create("ours", waiting.clone()).await;
    let mut foreign = waiting;
    foreign["spec"] = json!({"agent": "jenkins", "pod_spec": null});
    cluster.create("theirs", foreign).await;
    let sent_on = |name: &'static str| {
        cluster.jobs.wait_for(move |jobs| jobs.get(name).filter(|j| j.status.state != State::Scheduling))
    };
    assert_eq!(sent_on("ours").await.spec.cluster, "other");
    let theirs = sent_on("theirs").await;
    assert_eq!((theirs.spec.cluster.as_str(), theirs.status.state), ("default", State::Triggered));
    stop.cancel();
    scheduler.await.unwrap();
}
