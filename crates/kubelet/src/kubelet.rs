//! The pod runner itself: watches Pods, schedules them onto this machine, keeps a worker for each, serves their logs.

use crate::engine::find::find;
use crate::error::Error;
use crate::logs::{LogError, LogQuery, LogStream};
use crate::options::{Network, Options};
use crate::poddir::{self, Lock, private_dir};
use crate::probe::{self, Capabilities};
use crate::process::{IsolationKind, ProcessOptions, ProcessRuntime};
use crate::schedule::{Verdict, schedule};
use crate::shared::Shared;
use crate::status;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use prow_service::clock::SharedClock;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// Beyond its grace, how long a Pod may take to be ended and reported at a shutdown.
const SHUTDOWN_SLACK: Duration = Duration::from_secs(15);
/// Five seconds in all.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// After a failure of the scheduler.
const RETRY: Duration = Duration::from_secs(1);

/// A running pod runner. Dropping it stops the runner and leaves the Pods running, to be found again at the next
/// start; [`Kubelet::shutdown`] ends them.
pub struct Kubelet {
    shared: Arc<Shared>,
    capabilities: Capabilities,
    shutdown_grace: Duration,
    tasks: [AbortHandle; 2],
    scheduler: AbortHandle,
    _lock: Lock,
}

impl Kubelet {
    /// Finds out what the machine allows, takes up what an earlier runner left, and begins to watch.
    /// Needs a tokio runtime around it.
    ///
    /// # Errors
    /// If the data directory cannot be used or is in use, or `exe` is not our executable.
    pub async fn start(options: Options, client: kube::Client, clock: SharedClock) -> Result<Kubelet, Error> {
        check_data_dir(&options.data_dir)?;
        private_dir(&options.data_dir)?;
        let exe = std::path::absolute(&options.exe).map_err(|e| Error::io("find", &options.exe, e))?;
        let lock = lock(&options.data_dir).await?;
        let hide = hidden(&options.data_dir);
        let (engine, capabilities) = match find(&options, &exe).await? {
            Ok(engine) => {
                let network = match options.network {
                    Network::Isolated => "no network",
                    Network::Host => "this machine's network",
                    Network::Outbound => engine.plan.network.as_str(),
                };
                let capabilities = Capabilities {
                    isolation: IsolationKind::Container,
                    engine: Some(format!("{}, network: {network}", engine.title)),
                    limits: engine.limits.clone(),
                };
                (Some(engine), capabilities)
            }
            Err(reasons) => {
                let mut capabilities = probe::probe(&exe, &options.data_dir, &hide, options.sandbox).await?;
                capabilities.engine = (!reasons.is_empty())
                    .then(|| format!(" (and not as containers: {})", reasons.join("; ")));
                (None, capabilities)
            }
        };
        if capabilities.sandboxed() && capabilities.limits.is_empty() {
            tracing::info!("{}", capabilities.describe());
        } else {
            tracing::warn!("{}", capabilities.describe());
        }
        let pods_dir = options.data_dir.join("pods");
        if let Some(engine) = &engine {
            let known = std::fs::read_dir(&pods_dir).into_iter().flatten().flatten();
            let known = known.filter_map(|e| e.file_name().into_string().ok()).collect();
            engine.sweep(&known).await.map_err(|e| Error::Other(e.to_string()))?;
        }
        let machine = probe::machine();
        let runtime = ProcessRuntime::new(
            ProcessOptions {
                exe,
                pods_dir,
                hide,
                allow_host_paths: options.allow_host_paths.clone(),
                // Without an engine there is nothing between the loopback interface and the whole machine's network.
                network: match options.network {
                    Network::Outbound if engine.is_none() => Network::Isolated,
                    other => other,
                },
                isolation: capabilities.isolation,
                machine,
                engine,
            },
            clock.clone(),
        )?;
        let shared = Arc::new(Shared::new(
            client,
            clock,
            Arc::new(runtime),
            options.node_name.clone(),
            capabilities.clone(),
            options.shutdown_grace.as_secs(),
        ));
        let tasks = [
            tokio::spawn(watch(shared.clone())).abort_handle(),
            tokio::spawn(relay(shared.clone())).abort_handle(),
        ];
        let scheduler = tokio::spawn(bind(shared.clone(), machine, options.max_pods)).abort_handle();
        Ok(Kubelet {
            shared,
            capabilities,
            shutdown_grace: options.shutdown_grace,
            tasks,
            scheduler,
            _lock: lock,
        })
    }

    /// How Pods are run here, and why not better.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// A container's log.
    ///
    /// # Errors
    /// In the words of a kubelet, if there is no such Pod or container or it has not started.
    pub async fn logs(&self, namespace: &str, pod: &str, query: &LogQuery) -> Result<LogStream, LogError> {
        let found = self.shared.pods().into_iter().find(|p| {
            p.metadata.namespace.as_deref() == Some(namespace) && p.metadata.name.as_deref() == Some(pod)
        });
        let found = found.ok_or_else(|| LogError::PodNotFound { name: pod.to_owned() })?;
        let container = choose(&found, query.container.as_deref())?;
        let uid = found.metadata.uid.clone().unwrap_or_default();
        match self.shared.runtime.logs(&uid, &container, query).await? {
            Some(stream) => Ok(stream),
            None if query.previous => Err(LogError::NoPrevious { name: pod.to_owned(), container }),
            None => Err(LogError::Waiting {
                name: pod.to_owned(),
                reason: waiting_reason(&found, &container),
                container,
            }),
        }
    }

    /// Ends every Pod within its grace (at most [`Options::shutdown_grace`]), reports them as Failed with reason
    /// `Evicted`, so that plank revives them after the next start, and returns when nothing of them runs any more.
    /// Pods that have not started stay as they are.
    pub async fn shutdown(&self) {
        self.scheduler.abort();
        self.shared.begin_shutdown();
        let limit = self.shared.clock.sleep(self.shutdown_grace + SHUTDOWN_SLACK);
        let settled = async {
            while !self.shared.all_settled() {
                self.shared.settling.notified().await;
            }
        };
        tokio::select! {
            () = settled => {}
            () = limit => {
                tracing::warn!("some Pods did not end in time; their supervisors go on ending them");
                return;
            }
        }
        self.shared.runtime.close().await;
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        for task in self.tasks.iter().chain([&self.scheduler]) {
            task.abort();
        }
        self.shared.abort_workers();
    }
}

/// Takes the data directory. One that was killed while it started a process keeps its lock for a moment longer: the
/// child has it, too, until it becomes what it is to be.
async fn lock(data_dir: &Path) -> Result<Lock, Error> {
    let path = data_dir.join("lock");
    for _ in 0..LOCK_TRIES {
        if let Some(lock) = poddir::try_lock(&path)? {
            return Ok(lock);
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Err(Error::DataDirInUse { path: data_dir.to_owned() })
}

/// Follows the API's Pods.
async fn watch(shared: Arc<Shared>) {
    let api: Api<Pod> = Api::all(shared.client.clone());
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut listed = HashSet::new();
    let mut first = true;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(pod)) => {
                listed.extend(pod.metadata.uid.clone());
                shared.put(pod);
            }
            Ok(watcher::Event::InitDone) => {
                shared.retain(&listed);
                if std::mem::take(&mut first) {
                    adopt(&shared).await;
                    shared.synced.notify_one();
                }
            }
            Ok(watcher::Event::Apply(pod)) => shared.put(pod),
            Ok(watcher::Event::Delete(pod)) => shared.gone(pod.metadata.uid.as_deref().unwrap_or_default()),
            Err(e) => tracing::warn!("pod runner: cannot watch Pods, trying again: {e}"),
        }
    }
}

/// What an earlier runner left gets a worker; one whose Pod is gone from the API ends and is removed.
async fn adopt(shared: &Arc<Shared>) {
    match shared.runtime.known().await {
        Ok(uids) => {
            for uid in uids {
                shared.wake(&uid);
            }
        }
        Err(e) => tracing::error!("pod runner: cannot look for Pods of an earlier run: {e}"),
    }
}

/// Passes changes that the runtime sees on to the workers.
async fn relay(shared: Arc<Shared>) {
    // Until the API's Pods are known, a Pod that is not among them is not therefore gone.
    shared.synced.notified().await;
    loop {
        let uid = shared.runtime.changed().await;
        shared.wake(&uid);
    }
}

/// The scheduler of this one-machine world.
async fn bind(shared: Arc<Shared>, machine: crate::build::env::Machine, max_pods: Option<usize>) {
    loop {
        shared.reschedule.notified().await;
        for (pod, verdict) in schedule(&shared.pods(), &shared.node_name, machine, max_pods) {
            let done = match verdict {
                Verdict::Bind => shared.bind(&pod).await,
                Verdict::Wait(why) => unschedulable(&shared, &pod, &why).await,
            };
            if let Err(e) = done {
                tracing::warn!("pod runner: {e}");
                shared.clock.sleep(RETRY).await;
                shared.reschedule.notify_one();
                break;
            }
        }
    }
}

async fn unschedulable(shared: &Arc<Shared>, pod: &Pod, why: &str) -> Result<(), Error> {
    let mut wanted = pod.status.clone().unwrap_or_default();
    wanted.phase = Some("Pending".to_owned());
    let conditions = wanted.conditions.get_or_insert_default();
    status::condition(
        conditions,
        "PodScheduled",
        false,
        Some("Unschedulable"),
        Some(why),
        shared.clock.now(),
    );
    if pod.status.as_ref() == Some(&wanted) {
        return Ok(());
    }
    shared.write_status(pod, &wanted).await
}

/// The container whose log is meant, by kubectl's rules.
fn choose(pod: &Pod, asked: Option<&str>) -> Result<String, LogError> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let names: Vec<&str> =
        spec.init_containers.iter().flatten().chain(&spec.containers).map(|c| c.name.as_str()).collect();
    let choices = names.join(" ");
    let annotated =
        pod.metadata.annotations.as_ref().and_then(|a| a.get("kubectl.kubernetes.io/default-container"));
    let only = match spec.containers.as_slice() {
        [one] => Some(one.name.as_str()),
        _ => annotated.map(String::as_str),
    };
    let Some(container) = asked.filter(|a| !a.is_empty()).or(only) else {
        return Err(LogError::ContainerRequired { name, choices });
    };
    if names.contains(&container) {
        Ok(container.to_owned())
    } else {
        Err(LogError::ContainerNotFound { name, container: container.to_owned(), choices })
    }
}

fn waiting_reason(pod: &Pod, container: &str) -> String {
    let status = pod.status.as_ref();
    let all = |s: &Option<Vec<ContainerStatus>>| s.clone().unwrap_or_default();
    let statuses = status.map(|s| [all(&s.init_container_statuses), all(&s.container_statuses)].concat());
    statuses
        .into_iter()
        .flatten()
        .find(|c| c.name == container)
        .and_then(|c| c.state?.waiting?.reason)
        .unwrap_or_else(|| "ContainerCreating".to_owned())
}

/// The name goes into rewritten JSON and into mount options, so it has to be plain.
fn check_data_dir(path: &Path) -> Result<(), Error> {
    let unusable = |why| Err(Error::DataDirUnusable { path: path.to_owned(), why });
    if !path.is_absolute() {
        return unusable("it must be an absolute path");
    }
    match path.to_str() {
        Some(text) if !text.contains(|c: char| c.is_control() || "\"'\\ $`".contains(c)) => Ok(()),
        _ => unusable("its name must be free of spaces, quotes, backslashes, dollars and control characters"),
    }
}

/// Ours and the user's own: absent from sandboxes in any case, but these may lie below a system directory.
fn hidden(data_dir: &Path) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let real = |p: PathBuf| std::fs::canonicalize(&p).unwrap_or(p);
    std::iter::once(data_dir.to_owned()).chain(home).map(real).collect()
}
