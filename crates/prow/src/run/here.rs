//! The world of one run: an embedded API server and the pod runner, and nothing else. Follows the Pod to its end.

use super::shell::Shell;
use super::stubs::Objects;
use crate::world::RunnerArgs;
use anyhow::Context;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerState, ContainerStatus, Event, Pod, PodSpec, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::wait::await_condition;
use kube::runtime::wait::conditions::is_deleted;
use kube::runtime::watcher::{self, watch_object, watcher};
use kube::{Api, ResourceExt};
use prow_apiserver::ApiServer;
use prow_kubelet::{Kubelet, LogError, LogQuery, LogStream};
use prow_service::clock::SystemClock;
use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a container waits for in vain: only another Pod, or another machine, would change it.
const HOPELESS: [&str; 6] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
];
/// An event that says the same of a volume.
const NO_VOLUME: &str = "FailedMount";

/// What came of a Pod.
#[derive(Debug, Default)]
pub struct Seen {
    /// As it was last seen.
    pub pod: Pod,
    /// Why it could not be run, if it could not.
    pub problem: Option<String>,
    /// It was ended by a signal to us.
    pub interrupted: bool,
    /// The job's own containers, by name.
    pub own: Vec<String>,
}

/// A world for one Pod.
pub struct Here {
    client: kube::Client,
    kubelet: Arc<Kubelet>,
    namespace: String,
}

impl Here {
    /// Starts it on what is in `data_dir`, if anything is; hostPath volumes may lie below `host_paths`.
    pub async fn start(
        runner: &RunnerArgs,
        data_dir: &Path,
        host_paths: Vec<PathBuf>,
        namespace: &str,
    ) -> anyhow::Result<Here> {
        let server = ApiServer::open(&data_dir.join("apiserver"), prow_apiserver::Options::default())?;
        server.ensure_namespace(namespace).await?;
        // In process only: nothing listens, so nobody else gets in.
        let client = kube::Client::new(server.router(), namespace.to_owned());
        let options = runner.options(data_dir, host_paths)?;
        let kubelet = Arc::new(Kubelet::start(options, client.clone(), SystemClock::shared()).await?);
        Ok(Here { client, kubelet, namespace: namespace.to_owned() })
    }

    /// How Pods are run here, for people.
    pub fn how(&self) -> String {
        self.kubelet.capabilities().describe()
    }

    /// Creates the Pod with its objects and follows it: the log of the job's own containers is copied as it comes, and
    /// the log of whatever else failed is copied to standard error.
    pub async fn run(
        &self,
        pod: Pod,
        objects: &Objects,
        job: Option<&PodSpec>,
        shell: Option<Shell>,
        to_stdout: bool,
        stop: &CancellationToken,
    ) -> anyhow::Result<Seen> {
        let (client, namespace) = (&self.client, self.namespace.as_str());
        let post = PostParams::default();
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        for secret in &objects.secrets {
            secrets.create(&post, secret).await.context("cannot create a Secret of the job")?;
        }
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        for map in &objects.config_maps {
            maps.create(&post, map).await.context("cannot create a ConfigMap of the job")?;
        }
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let pod = pods.create(&post, &pod).await.context("the Pod of this job is refused")?;
        if let Some(shell) = shell {
            shell.serve();
        }
        let own = own_containers(&pod, job);
        let mut follower = Follower {
            kubelet: self.kubelet.clone(),
            namespace: namespace.to_owned(),
            prefixed: own.len() > 1,
            seen: Seen { pod, own, ..Seen::default() },
            to_stdout,
            followed: HashSet::new(),
            copies: Vec::new(),
            said: BTreeSet::new(),
        };
        follower.follow(&pods, Api::namespaced(client.clone(), namespace), stop).await?;
        Ok(follower.seen)
    }

    /// Ends the Pods that an earlier process left, and waits until nothing of them is there.
    pub async fn end_all(&self) -> anyhow::Result<()> {
        let all: Api<Pod> = Api::all(self.client.clone());
        for pod in all.list(&ListParams::default()).await.context("cannot list Pods")? {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
            // Whoever left at once does not want to wait for its grace period now.
            pods.delete(&name, &DeleteParams::default().grace_period(1))
                .await
                .context("cannot delete a Pod")?;
            await_condition(pods, &name, is_deleted(&uid)).await.context("cannot watch a Pod")?;
        }
        Ok(())
    }

    /// Ends what still runs, and waits until it has.
    pub async fn end(self) {
        self.kubelet.shutdown().await;
    }
}

/// Those that the job itself has, under the names that the Pod gives them.
fn own_containers(pod: &Pod, job: Option<&PodSpec>) -> Vec<String> {
    let count = job.map_or(0, |j| j.containers.len());
    // Decoration appends its own (prow-runtime §7.4).
    pod.spec.iter().flat_map(|s| &s.containers).take(count).map(|c| c.name.clone()).collect()
}

struct Follower {
    kubelet: Arc<Kubelet>,
    namespace: String,
    prefixed: bool,
    seen: Seen,
    to_stdout: bool,
    followed: HashSet<String>,
    copies: Vec<JoinHandle<()>>,
    said: BTreeSet<String>,
}

impl Follower {
    async fn follow(
        &mut self,
        pods: &Api<Pod>,
        events: Api<Event>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let name = self.seen.pod.metadata.name.clone().unwrap_or_default();
        let mut changes = pin!(watch_object(pods.clone(), &name).default_backoff());
        let mut told = pin!(watcher(events, watcher::Config::default()).default_backoff().applied_objects());
        let mut ending = false;
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(Some(pod))) => {
                        self.seen.pod = pod;
                        self.tell_progress();
                        self.open_logs().await;
                        let waits = self.hopeless();
                        self.note(waits);
                        if is_over(&self.seen.pod) {
                            break;
                        }
                    }
                    Some(Ok(None)) => break,
                    Some(Err(error)) => tracing::debug!(%error, "the watch of the Pod broke off; trying again"),
                    None => break,
                },
                Some(event) = told.next() => {
                    let Ok(event) = event else { continue };
                    let problem = self.tell(&event);
                    self.note(problem);
                }
                () = stop.cancelled(), if !self.seen.interrupted => {
                    eprintln!("prow run: ending the job within its grace period; a second Ctrl-C leaves at once");
                    self.seen.interrupted = true;
                }
            }
            if (self.seen.interrupted || self.seen.problem.is_some()) && !ending {
                ending = true;
                pods.delete(&name, &DeleteParams::default()).await.context("cannot delete the Pod")?;
            }
        }
        self.open_logs().await;
        for copy in self.copies.drain(..) {
            // Copying does not panic, and nobody aborts it.
            let _ = copy.await;
        }
        self.tell_of_failed_others().await;
        Ok(())
    }

    fn note(&mut self, problem: Option<String>) {
        if self.seen.problem.is_none() && !self.seen.interrupted {
            self.seen.problem = problem;
        }
    }

    /// Why the Pod will never start.
    fn hopeless(&self) -> Option<String> {
        statuses(&self.seen.pod).into_iter().find_map(|status| {
            let waiting = status.state.as_ref()?.waiting.as_ref()?;
            let reason = waiting.reason.as_deref().filter(|r| HOPELESS.contains(r))?;
            let why = waiting.message.as_deref().unwrap_or("the pod runner says no more");
            Some(format!("container {} cannot be started ({reason}): {why}", status.name))
        })
    }

    /// Shows an event, once; what is hopeless is given back.
    fn tell(&mut self, event: &Event) -> Option<String> {
        let (reason, message) = (event.reason.as_deref()?, event.message.as_deref()?);
        if reason == NO_VOLUME {
            return Some(message.to_owned());
        }
        if self.said.insert(message.to_owned()) {
            eprintln!("prow run: {reason}: {message}");
        }
        None
    }

    /// Says what is waited for: a clone may take minutes and says nothing until it is done.
    fn tell_progress(&mut self) {
        let steps = statuses(&self.seen.pod).into_iter().filter_map(|status| {
            let state = status.state.as_ref()?;
            let cloning = status.name == "clonerefs";
            Some(match (&state.running, &state.terminated) {
                (Some(_), _) if cloning => "cloning".to_owned(),
                (_, Some(ended)) if cloning && ended.exit_code == 0 => {
                    let (from, to) = (ended.started_at.as_ref()?, ended.finished_at.as_ref()?);
                    format!("cloned in {} s", (to.0.as_second() - from.0.as_second()).max(0))
                }
                (Some(_), _) if self.seen.own.contains(&status.name) => match self.prefixed {
                    true => format!("container {} begins", status.name),
                    false => "the job begins".to_owned(),
                },
                _ => return None,
            })
        });
        for step in steps.collect::<Vec<_>>() {
            if self.said.insert(step.clone()) {
                eprintln!("prow run: {step}");
            }
        }
    }

    /// Begins to copy what has begun to speak.
    async fn open_logs(&mut self) {
        for name in self.seen.own.clone() {
            if self.followed.contains(&name) || !has_begun(&self.seen.pod, &name) {
                continue;
            }
            match self.log(&name, true).await {
                Ok(stream) => {
                    let prefix = if self.prefixed { format!("[{name}] ") } else { String::new() };
                    self.copies.push(tokio::spawn(copy(stream, prefix, self.to_stdout)));
                }
                // It is asked for again with the next change.
                Err(LogError::Waiting { .. }) => continue,
                Err(error) => eprintln!("prow run: cannot read the log of container {name}: {error}"),
            }
            self.followed.insert(name);
        }
    }

    async fn log(&self, container: &str, follow: bool) -> Result<LogStream, LogError> {
        let query = LogQuery { container: Some(container.to_owned()), follow, ..LogQuery::default() };
        let name = self.seen.pod.metadata.name.as_deref().unwrap_or_default();
        self.kubelet.logs(&self.namespace, name, &query).await
    }

    /// What the job did not say itself: why it was not cloned, why its results were not kept.
    async fn tell_of_failed_others(&self) {
        for status in statuses(&self.seen.pod) {
            let failed = terminated(&status).is_some_and(|code| code != 0);
            if !failed || self.seen.own.contains(&status.name) || self.seen.interrupted {
                continue;
            }
            eprintln!("prow run: container {} failed; its log:", status.name);
            match self.log(&status.name, false).await {
                Ok(stream) => copy(stream, format!("[{}] ", status.name), false).await,
                Err(error) => eprintln!("prow run: {error}"),
            }
        }
    }
}

/// A Pod's containers, init containers first.
pub fn statuses(pod: &Pod) -> Vec<ContainerStatus> {
    let Some(status) = &pod.status else { return Vec::new() };
    let inits = status.init_container_statuses.iter().flatten();
    inits.chain(status.container_statuses.iter().flatten()).cloned().collect()
}

/// The exit code of one that has ended.
pub fn terminated(status: &ContainerStatus) -> Option<i32> {
    Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)
}

fn has_begun(pod: &Pod, name: &str) -> bool {
    let begun = |s: &ContainerState| s.running.is_some() || s.terminated.is_some();
    statuses(pod).iter().any(|s| s.name == name && s.state.as_ref().is_some_and(begun))
}

fn is_over(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Copies a log to its end, each line after the prefix.
async fn copy(mut stream: LogStream, prefix: String, to_stdout: bool) {
    let mut rest = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(bytes) if prefix.is_empty() => write(&bytes, to_stdout),
            Ok(bytes) => {
                rest.extend_from_slice(&bytes);
                let lines = rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                let whole: Vec<u8> = rest.drain(..lines).collect();
                write(&prefixed(&whole, &prefix), to_stdout);
            }
            Err(error) => return eprintln!("prow run: the log breaks off: {error}"),
        }
    }
    if !rest.is_empty() {
        rest.push(b'\n');
        write(&prefixed(&rest, &prefix), to_stdout);
    }
}

fn prefixed(lines: &[u8], prefix: &str) -> Vec<u8> {
    lines.split_inclusive(|b| *b == b'\n').flat_map(|line| [prefix.as_bytes(), line].concat()).collect()
}

/// Whoever stopped reading wanted no more; the job goes on.
fn write(bytes: &[u8], to_stdout: bool) {
    let _ = if to_stdout {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush())
    } else {
        std::io::stderr().lock().write_all(bytes)
    };
}
