//! kube-rs against the router, in process: Api, watcher, reflector, metadata, logs, all unmodified.

// Helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{World, prowjob};
use futures::stream::BoxStream;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, LogParams, Patch, PatchParams,
    PostParams, WatchEvent, WatchParams,
};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Error};
use prow_apiserver::{LogError, LogOptions, Options, PodLogs};
use serde_json::json;

fn client(w: &World) -> Client {
    Client::new(w.server.router(), "default")
}

fn prowjobs(w: &World) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("prow.k8s.io", "v1", "ProwJob"));
    Api::default_namespaced_with(client(w), &kind)
}

fn job(name: &str) -> DynamicObject {
    serde_json::from_value(prowjob(name)).unwrap()
}

fn status_code<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
    match result.unwrap_err() {
        Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_api_as_components_use_it() {
    let w = World::new();
    let jobs = prowjobs(&w);
    let made = jobs.create(&PostParams::default(), &job("a")).await.unwrap();
    assert_eq!(
        status_code(jobs.create(&PostParams::default(), &job("a")).await),
        (409, "AlreadyExists".into())
    );
    let patch = json!({"status": {"state": "pending", "pendingTime": "2026-11-22T07:00:01Z"}});
    let patched = jobs.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(patched.data["status"]["state"], "pending");
    assert_eq!(status_code(jobs.replace("a", &PostParams::default(), &made).await), (409, "Conflict".into()));
    let bad = json!({"status": {"state": "success"}});
    assert_eq!(
        status_code(jobs.patch("a", &PatchParams::default(), &Patch::Merge(&bad)).await),
        (422, "Invalid".into())
    );
    assert!(jobs.get_opt("b").await.unwrap().is_none());
    assert_eq!(
        jobs.list(&ListParams::default().labels("prow.k8s.io/type=presubmit")).await.unwrap().items.len(),
        1
    );
    assert_eq!(jobs.list_metadata(&ListParams::default()).await.unwrap().items.len(), 1);
    let meta: PartialObjectMeta<DynamicObject> = jobs.get_metadata("a").await.unwrap();
    assert_eq!(meta.metadata.name.as_deref(), Some("a"));
    assert!(jobs.delete("a", &DeleteParams::default()).await.unwrap().is_right());
    assert_eq!(status_code(jobs.delete("a", &DeleteParams::default()).await), (404, "NotFound".into()));

    let pods: Api<Pod> = Api::default_namespaced(client(&w));
    let pod: Pod = serde_json::from_value(common::pod("p")).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let strategic = json!({"metadata": {"finalizers": ["prow.x-k8s.io/gcsk8sreporter"]}});
    pods.patch("p", &PatchParams::default(), &Patch::Strategic(&strategic)).await.unwrap();
    let status = json!({"status": {"phase": "Running", "containerStatuses": []}});
    let running = pods.patch_status("p", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_eq!(running.status.unwrap().phase.as_deref(), Some("Running"));
    let deleting = pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap().left().unwrap();
    assert!(deleting.metadata.deletion_timestamp.is_some());
    let typed_patch = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
    let typed_patch: Patch<()> = Patch::Json(serde_json::from_value(typed_patch).unwrap());
    pods.patch("p", &PatchParams::default(), &typed_patch).await.unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());

    let maps: Api<ConfigMap> = Api::default_namespaced(client(&w));
    maps.create(&PostParams::default(), &serde_json::from_value(common::map("m")).unwrap()).await.unwrap();
    let gone = maps.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    assert_eq!(gone.left().unwrap().items.len(), 1);
    let namespaces: Api<Namespace> = Api::all(client(&w));
    assert_eq!(namespaces.list(&ListParams::default()).await.unwrap().items.len(), 2);
    let leases: Api<Lease> = Api::default_namespaced(client(&w));
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    assert_eq!(client(&w).apiserver_version().await.unwrap().minor, "32");
}

#[tokio::test]
async fn a_watch_by_hand() {
    let w = World::new();
    let jobs = prowjobs(&w);
    let start = jobs.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = jobs.watch(&WatchParams::default().timeout(5), &start).await.unwrap().boxed();
    jobs.create(&PostParams::default(), &job("a")).await.unwrap();
    jobs.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(
        matches!(events.try_next().await.unwrap(), Some(WatchEvent::Added(j)) if j.metadata.name.as_deref() == Some("a"))
    );
    assert!(matches!(events.try_next().await.unwrap(), Some(WatchEvent::Deleted(_))));
}

#[tokio::test]
async fn the_watcher_survives_compaction() {
    let w = World::with(Options { sync: false, history: 3, ..Options::default() });
    let jobs = prowjobs(&w);
    jobs.create(&PostParams::default(), &job("first")).await.unwrap();
    let stream = watcher(jobs.clone(), watcher::Config::default()).default_backoff().applied_objects();
    let mut stream = std::pin::pin!(stream);
    let mut refusals = 0;
    let mut next = async || {
        loop {
            match stream.next().await.unwrap() {
                Ok(job) => return job.metadata.name.unwrap(),
                // Told that its place in history is gone, it lists again by itself.
                Err(watcher::Error::WatchError(status)) if status.code == 410 => refusals += 1,
                Err(e) => panic!("{e}"),
            }
        }
    };
    assert_eq!(next().await, "first");
    // While nobody polls it, far more happens than the history holds; the last state is seen nevertheless.
    for i in 0..20 {
        jobs.create(&PostParams::default(), &job(&format!("j{i:02}"))).await.unwrap();
    }
    while next().await != "j19" {}
    assert_eq!(refusals, 1);
}

#[tokio::test]
async fn a_reflector_and_streaming_lists_mirror_the_server() {
    let w = World::new();
    let jobs = prowjobs(&w);
    for i in 0..700 {
        jobs.create(&PostParams::default(), &job(&format!("j{i:03}"))).await.unwrap();
    }
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("prow.k8s.io", "v1", "ProwJob"));
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let writer = reflector::store::Writer::new(kind.clone());
        let store = writer.as_reader();
        let stream = reflector(writer, watcher(jobs.clone(), config)).applied_objects();
        let task = tokio::spawn(stream.for_each(|_| std::future::ready(())));
        store.wait_until_ready().await.unwrap();
        assert_eq!(store.len(), 700);
        task.abort();
    }
}

struct Echo;

#[async_trait::async_trait]
impl PodLogs for Echo {
    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, std::io::Error>>, LogError> {
        if options.previous {
            return Err(LogError::NotReady("waiting to start: PodInitializing".into()));
        }
        let lines = [
            format!("{namespace}/{pod}/{}\n", options.container),
            format!("tail {:?}\n", options.tail_lines),
        ];
        Ok(futures::stream::iter(lines.map(|l| Ok(Bytes::from(l)))).boxed())
    }
}

#[tokio::test]
async fn logs_come_from_the_pod_runner() {
    let w = World::new();
    let pods: Api<Pod> = Api::default_namespaced(client(&w));
    pods.create(&PostParams::default(), &serde_json::from_value(common::pod("p")).unwrap()).await.unwrap();
    assert_eq!(status_code(pods.logs("p", &LogParams::default()).await).0, 503);
    w.server.set_pod_logs(Arc::new(Echo));
    let tail = LogParams { tail_lines: Some(3), ..LogParams::default() };
    assert_eq!(pods.logs("p", &tail).await.unwrap(), "default/p/test\ntail Some(3)\n");
    let cut = LogParams { limit_bytes: Some(16), ..LogParams::default() };
    assert_eq!(pods.logs("p", &cut).await.unwrap(), "default/p/test\nt");
    let follow = LogParams { follow: true, ..LogParams::default() };
    let lines: Vec<String> =
        pods.log_stream("p", &follow).await.unwrap().lines().try_collect().await.unwrap();
    assert_eq!(lines.len(), 2);
    let previous = LogParams { previous: true, ..LogParams::default() };
    assert_eq!(status_code(pods.logs("p", &previous).await).0, 400);
    assert_eq!(status_code(pods.logs("absent", &LogParams::default()).await).0, 404);
}

#[tokio::test]
async fn many_writers_meet_without_loss() {
    let w = World::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&w));
    maps.create(&PostParams::default(), &serde_json::from_value(common::map("m")).unwrap()).await.unwrap();
    // Each adds one with optimistic locking; the sum is right only if no update overwrote another.
    let writers = (0..8).map(|_| {
        let maps = maps.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                loop {
                    let mut m = maps.get("m").await.unwrap();
                    let data = m.data.get_or_insert_default();
                    let count: u32 = data.get("n").map_or(0, |n| n.parse().unwrap());
                    data.insert("n".into(), (count + 1).to_string());
                    match maps.replace("m", &PostParams::default(), &m).await {
                        Ok(_) => break,
                        Err(Error::Api(s)) if s.code == 409 => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        tokio::time::timeout(Duration::from_secs(60), writer).await.unwrap().unwrap();
    }
    assert_eq!(maps.get("m").await.unwrap().data.unwrap()["n"], "80");
}
