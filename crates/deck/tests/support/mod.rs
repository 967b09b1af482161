//! A whole small world for Deck: the embedded API server with a store over it, a bucket in a directory, Pod logs in
//! memory, a clock that stands still. Tests ask the router in process; the example serves it on a socket.
#![allow(dead_code, reason = "each user of the world uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a world for tests")]

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use prow_api::{DecorationConfig, GcsConfiguration, JobType, ProwJob, Pull, Refs, State, Time};
use prow_apiserver::{ApiServer, LogError, LogOptions, Options, PodLogs};
use prow_config::prowconfig::DefaultDecorationEntry;
use prow_config::{Handle, Snapshot};
use prow_deck::{Deck, DeckOptions};
use prow_kube::{Clients, Store};
use prow_service::clock::{Clock, ManualClock, SharedClock};
use prow_storage::{Opener, StorageOptions};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tower::ServiceExt;

/// 2026-07-01T12:00:00Z: now, unless a test moves it.
pub const NOW: i64 = 1_782_907_200;

/// Pod logs by Pod and container.
#[derive(Default)]
pub struct Logs(Mutex<HashMap<(String, String), Vec<u8>>>);

impl Logs {
    pub fn set(&self, pod: &str, container: &str, log: &str) {
        self.0.lock().unwrap().insert((pod.to_owned(), container.to_owned()), log.as_bytes().to_vec());
    }
}

#[async_trait::async_trait]
impl PodLogs for Logs {
    async fn logs(
        &self,
        _namespace: &str,
        pod: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, std::io::Error>>, LogError> {
        let found = self.0.lock().unwrap().get(&(pod.to_owned(), options.container)).cloned();
        let log = found.ok_or_else(|| LogError::NotReady("the container is waiting to start".into()))?;
        let pieces: Vec<_> = log.chunks(7).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        Ok(futures::stream::iter(pieces).boxed())
    }
}

/// Waits for nothing: whoever gives something a limited time gives up at once.
pub struct Impatient(pub ManualClock);

impl Clock for Impatient {
    fn now(&self) -> jiff::Timestamp {
        self.0.now()
    }
    fn sleep(&self, _: std::time::Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

pub struct World {
    pub directory: tempfile::TempDir,
    pub client: Client,
    pub store: Store<ProwJob>,
    pub deck: Deck,
    pub router: Router,
    pub clock: ManualClock,
    pub logs: Arc<Logs>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
    /// Succeeded, and the text has all of these.
    #[track_caller]
    pub fn has(&self, expected: &[&str]) -> String {
        let text = self.text();
        assert_eq!(self.status, StatusCode::OK, "{text}");
        for one in expected {
            assert!(text.contains(one), "no {one:?} in:\n{text}");
        }
        text
    }
}

impl World {
    pub async fn new() -> World {
        World::with(DeckOptions::default(), |_, _| {}).await
    }

    /// A world whose configuration and flags a test changes; the change is given the bucket.
    pub async fn with(options: DeckOptions, change: impl FnOnce(&mut Snapshot, &str)) -> World {
        World::at(options, change, |clock| clock.shared()).await
    }

    /// The same, with another clock in front of the world's.
    pub async fn at(
        options: DeckOptions,
        change: impl FnOnce(&mut Snapshot, &str),
        seen: impl FnOnce(&ManualClock) -> SharedClock,
    ) -> World {
        let directory = tempfile::tempdir().unwrap();
        let server =
            ApiServer::open(&directory.path().join("store"), Options { sync: false, ..Options::default() })
                .unwrap();
        let logs = Arc::new(Logs::default());
        server.set_pod_logs(Arc::clone(&logs) as Arc<dyn PodLogs>);
        let client = Client::new(server.router(), "default");
        let bucket = format!("file://{}", directory.path().join("bucket").display());
        let mut snapshot = Snapshot::default();
        snapshot.prow.plank.default_decoration_config_entries = vec![DefaultDecorationEntry {
            repo: "*".into(),
            config: Some(Arc::new(decoration(&bucket))),
            ..DefaultDecorationEntry::default()
        }];
        change(&mut snapshot, &bucket);
        let store = prow_kube::prowjobs::watch(client.clone(), "default");
        store.ready().await;
        let clock = ManualClock::new(jiff::Timestamp::from_second(NOW).unwrap());
        let deck = Deck::new(
            Handle::fixed(snapshot),
            Clients::single(client.clone()),
            store.clone(),
            Opener::new(StorageOptions::default()),
            seen(&clock),
            options,
        );
        World { router: deck.router(), directory, client, store, deck, clock, logs }
    }

    pub fn bucket(&self) -> PathBuf {
        self.directory.path().join("bucket")
    }

    /// The bucket as it stands in paths: `file/tmp/…/bucket`.
    pub fn path(&self) -> String {
        format!("file{}", self.bucket().display())
    }

    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.bucket().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Creates a ProwJob and waits until the store has it.
    pub async fn job(&self, job: ProwJob) -> Arc<ProwJob> {
        let name = job.name().to_owned();
        self.create(job).await;
        self.store.wait_for(|store| store.get(&name)).await
    }

    /// Creates a ProwJob.
    pub async fn create(&self, mut job: ProwJob) {
        if let Some(decoration) = &mut job.spec.decoration_config {
            **decoration = self::decoration(&format!("file://{}", self.bucket().display()));
        }
        let api: Api<ProwJob> = Api::namespaced(self.client.clone(), "default");
        api.create(&PostParams::default(), &job).await.unwrap();
    }

    /// A Pod with these containers, and their logs.
    pub async fn pod(&self, name: &str, containers: &[(&str, &str)]) {
        let list: Vec<_> =
            containers.iter().map(|(name, _)| serde_json::json!({"name": name, "image": "i"})).collect();
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": name}, "spec": {"containers": list}
        }))
        .unwrap();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        api.create(&PostParams::default(), &pod).await.unwrap();
        for (container, log) in containers {
            self.set_log(name, container, log);
        }
    }

    pub fn set_log(&self, pod: &str, container: &str, log: &str) {
        self.logs.set(pod, container, log);
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }
}

fn decoration(bucket: &str) -> DecorationConfig {
    DecorationConfig {
        gcs_configuration: Some(GcsConfiguration {
            bucket: bucket.into(),
            path_strategy: "explicit".into(),
            ..GcsConfiguration::default()
        }),
        ..DecorationConfig::default()
    }
}

/// A presubmit of `acme/shop`, decorated, of pull request 7.
pub fn presubmit(name: &str, job: &str, state: State, build: &str) -> ProwJob {
    let at = |seconds: i64| Some(Time(jiff::Timestamp::from_second(NOW - seconds).unwrap()));
    let mut out = ProwJob::default();
    out.metadata.name = Some(name.into());
    out.spec.job_type = JobType::Presubmit;
    out.spec.agent = "kubernetes".into();
    out.spec.job = job.into();
    out.spec.context = job.into();
    out.spec.cluster = "default".into();
    out.spec.refs = Some(Refs {
        org: "acme".into(),
        repo: "shop".into(),
        base_ref: "main".into(),
        base_sha: "b".repeat(40),
        pulls: vec![Pull {
            number: 7,
            author: "ann".into(),
            sha: "a".repeat(40),
            title: "Sell more cheese".into(),
            ..Pull::default()
        }],
        ..Refs::default()
    });
    out.spec.pod_spec = serde_json::from_value(serde_json::json!({"containers": [{"image": "i"}]})).unwrap();
    out.spec.decoration_config = Some(Box::default());
    out.status.state = state;
    out.status.build_id = build.into();
    out.status.pod_name = name.into();
    out.status.start_time = at(600);
    if !matches!(state, State::Pending | State::Triggered | State::Scheduling) {
        out.status.completion_time = at(480);
    }
    out
}
