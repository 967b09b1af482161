//! A world for tests: the embedded API server, a pod runner on it, and ways to wait for what should come to pass.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub mod dockerd;
pub mod engines;
pub mod podman;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Event, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::runtime::wait::await_condition;
use prow_apiserver::ApiServer;
use prow_kubelet::{Kubelet, LogQuery, Options, SandboxMode};
use prow_service::clock::SystemClock;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than anything here takes: a test that would hang fails instead.
const PATIENCE: Duration = Duration::from_secs(180);

/// This crate's stand-in for the prow executable.
pub const HELPER: &str = env!("CARGO_BIN_EXE_prow-kubelet-helper");

pub struct World {
    pub dir: PathBuf,
    pub client: kube::Client,
    pub kubelet: Option<Kubelet>,
    pub sandbox: SandboxMode,
    _server: ApiServer,
    _temp: Option<tempfile::TempDir>,
}

impl World {
    /// With the sandbox; `None`, and a word about it, if this machine forbids namespaces.
    pub async fn sandboxed() -> Option<World> {
        let world = World::new(SandboxMode::Auto, |_| {}).await;
        let capabilities = world.kubelet.as_ref().unwrap().capabilities();
        if capabilities.sandboxed() {
            return Some(world);
        }
        eprintln!("SKIPPED: this machine forbids what the sandbox needs: {}", capabilities.describe());
        None
    }

    pub async fn new(sandbox: SandboxMode, change: impl Fn(&mut Options)) -> World {
        let temp = tempfile::tempdir().unwrap();
        let mut world = World::open(temp.path(), sandbox, change).await;
        world._temp = Some(temp);
        world
    }

    /// Over a directory that may have been used before.
    pub async fn open(dir: &Path, sandbox: SandboxMode, change: impl Fn(&mut Options)) -> World {
        // A process that was killed while it started another keeps its files open, through that one, for a moment.
        let server = loop {
            match ApiServer::open(&dir.join("api"), prow_apiserver::Options::default()) {
                Ok(server) => break server,
                Err(prow_apiserver::Error::Store(prow_apiserver::StoreError::InUse { .. })) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(e) => panic!("{e}"),
            }
        };
        let client = kube::Client::new(server.router(), "default");
        let mut world =
            World { dir: dir.to_owned(), client, kubelet: None, sandbox, _server: server, _temp: None };
        world.start(change).await;
        world
    }

    pub async fn start(&mut self, change: impl Fn(&mut Options)) {
        let mut options = Options::new("here", self.dir.join("kubelet"), HELPER);
        options.sandbox = self.sandbox;
        options.allow_host_paths = vec![self.dir.join("shared")];
        change(&mut options);
        self.kubelet =
            Some(Kubelet::start(options, self.client.clone(), SystemClock::shared()).await.unwrap());
    }

    /// A directory that hostPath volumes may name and that every job may write to.
    pub fn shared(&self) -> PathBuf {
        shared(&self.dir)
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    pub async fn create(&self, name: &str, spec: Value) -> Pod {
        self.pods().create(&PostParams::default(), &pod(name, spec)).await.unwrap()
    }

    /// Creates the Pod and waits for its end.
    pub async fn run(&self, name: &str, spec: Value) -> Pod {
        self.create(name, spec).await;
        self.ended(name).await
    }

    pub async fn ended(&self, name: &str) -> Pod {
        self.wait(name, |p| matches!(phase(p), "Succeeded" | "Failed")).await
    }

    pub async fn wait(&self, name: &str, condition: impl Fn(&Pod) -> bool) -> Pod {
        let met = await_condition(self.pods(), name, |p: Option<&Pod>| p.is_some_and(&condition));
        match tokio::time::timeout(PATIENCE, met).await {
            Ok(pod) => pod.unwrap().unwrap(),
            Err(_) => panic!(
                "waited in vain; the Pod is {:#?}",
                self.pods().get_opt(name).await.unwrap().map(|p| p.status)
            ),
        }
    }

    pub async fn gone(&self, name: &str) {
        let met = await_condition(self.pods(), name, |p: Option<&Pod>| p.is_none());
        tokio::time::timeout(PATIENCE, met).await.expect("the Pod should have gone").unwrap();
    }

    pub async fn delete(&self, name: &str, grace: u32) {
        let params = DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() };
        self.pods().delete(name, &params).await.unwrap();
    }

    pub async fn logs(&self, name: &str, query: LogQuery) -> String {
        let stream = self.kubelet.as_ref().unwrap().logs("default", name, &query).await.unwrap();
        let bytes = stream.fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk.unwrap());
            all
        });
        let bytes = tokio::time::timeout(PATIENCE, bytes).await.expect("the log should have ended");
        String::from_utf8(bytes).unwrap()
    }

    pub async fn log(&self, name: &str, container: &str) -> String {
        self.logs(name, LogQuery { container: Some(container.to_owned()), ..LogQuery::default() }).await
    }

    /// `reason` of every event, sorted.
    pub async fn events(&self) -> Vec<(String, String)> {
        let api: Api<Event> = Api::default_namespaced(self.client.clone());
        let list = api.list(&ListParams::default()).await.unwrap();
        let mut events: Vec<_> =
            list.into_iter().map(|e| (e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect();
        events.sort();
        events
    }
}

pub fn shared(dir: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("shared");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    path
}

pub fn pod(name: &str, mut spec: Value) -> Pod {
    spec["restartPolicy"] = json!("Never");
    serde_json::from_value(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}),
    )
    .unwrap()
}

/// A container that runs a shell script.
pub fn sh(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "busybox", "command": ["/bin/sh", "-c", script]})
}

/// One with more than that.
pub fn with(mut container: Value, more: Value) -> Value {
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    container
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

pub fn container<'a>(pod: &'a Pod, name: &str) -> &'a ContainerStatus {
    let status = pod.status.as_ref().unwrap();
    let all =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    all.into_iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no status of {name} in {status:#?}"))
}

pub fn terminated<'a>(pod: &'a Pod, name: &str) -> &'a ContainerStateTerminated {
    let status = container(pod, name);
    status
        .state
        .as_ref()
        .and_then(|s| s.terminated.as_ref())
        .unwrap_or_else(|| panic!("not terminated: {status:#?}"))
}

pub fn waiting_reason(pod: &Pod, name: &str) -> String {
    let Some(status) = &pod.status else { return String::new() };
    let inits = status.init_container_statuses.iter().flatten();
    let found = inits.chain(status.container_statuses.iter().flatten()).find(|c| c.name == name);
    found.and_then(|c| c.state.as_ref()?.waiting.as_ref()?.reason.clone()).unwrap_or_default()
}

/// Waits until `condition` holds of the world outside.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, met).await.is_ok(), "waited in vain for: {what}");
}

/// Processes of this machine with `mark` in their command line, as process ids.
pub fn processes(mark: &str) -> Vec<i32> {
    let me = std::process::id() as i32;
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != me)
        .filter(|pid| {
            let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&cmdline).contains(mark)
        })
        .collect()
}
