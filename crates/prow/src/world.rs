//! A whole Prow in one process: the embedded API server and pod runner, and every component against them through
//! the same client that reaches a real cluster (ARCHITECTURE.md, invariant 3).

use crate::datadir::DataDir;
use anyhow::Context;
use clap::{Args, ValueEnum};
use prow_api::Secret;
use prow_api::prowjob::ProwJob;
use prow_apiserver::ApiServer;
use prow_config::{Handle, Snapshot};
use prow_crier::Crier;
use prow_deck::Deck;
use prow_hook::Hook;
use prow_kube::clusters::PLANK_VERBS;
use prow_kube::{Clients, Store, prowjobs};
use prow_kubelet::Kubelet;
use prow_plank::{Plank, PlankOptions};
use prow_plugins::jobs::RepositoryJobs;
use prow_plugins::{Registry, RegistryOptions};
use prow_service::clock::SharedClock;
use prow_service::{listen, logs};
use prow_storage::{BucketUrl, Opener, StorageOptions};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

mod cluster;

pub use cluster::{Cluster, start_kubelet};
use cluster::{RunnerLogs, ensure_namespace, installed};

/// What goes into the Pods' plank-version label.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
/// Name of the one node.
const NODE: &str = "this-machine";
/// How long a component may take to end what it has begun.
const COMPONENT_GRACE: Duration = Duration::from_secs(20);

/// Flags about logs.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// error, warn, info, debug, trace, or a filter such as prow_plank=debug [default: the configuration's log_level]
    #[arg(long = "log-level", value_name = "LEVEL")]
    pub level: Option<String>,
    /// How log lines look [default: text on a terminal, json otherwise]
    #[arg(long = "log-format", value_enum)]
    format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Json,
    Text,
}

impl LogArgs {
    /// As the logger takes it.
    pub fn format(&self) -> Option<logs::Format> {
        self.format.map(|f| match f {
            LogFormat::Json => logs::Format::Json,
            LogFormat::Text => logs::Format::Text,
        })
    }
}

/// Flags about how Pods are run.
#[derive(Debug, Clone, Args)]
pub struct RunnerArgs {
    /// What runs Pods; auto is the first that works of Docker, Podman and processes
    #[arg(long, value_enum, default_value = "auto")]
    pub runtime: Runtime,
    /// What a job reaches [default: outbound for containers, isolated for processes]
    #[arg(long, value_enum)]
    pub pod_network: Option<PodNetwork>,
    /// Let containers have privileges over this machine (privileged, added capabilities) where their Pods ask for them
    #[arg(long)]
    pub allow_privileged: bool,
    /// Directories that hostPath volumes may name, besides file:// buckets of the configuration (repeatable)
    #[arg(long, value_name = "DIR")]
    pub allow_host_path: Vec<PathBuf>,
}

impl RunnerArgs {
    /// The pod runner's options; hostPath volumes may lie below `host_paths` and below what the flags allow.
    pub fn options(
        &self,
        data_dir: &Path,
        host_paths: Vec<PathBuf>,
    ) -> anyhow::Result<prow_kubelet::Options> {
        let exe = std::env::current_exe().context("cannot find this program's own file")?;
        let mut options = prow_kubelet::Options::new(NODE, data_dir.join("pods"), exe);
        options.allow_host_paths = host_paths;
        options.allow_host_paths.extend(self.allow_host_path.iter().cloned());
        options.network = match self.pod_network {
            Some(PodNetwork::Isolated) => prow_kubelet::Network::Isolated,
            // Processes have no network between theirs alone and the machine's; the pod runner gives them theirs.
            None | Some(PodNetwork::Outbound) => prow_kubelet::Network::Outbound,
            Some(PodNetwork::Host) => prow_kubelet::Network::Host,
        };
        options.runtime = match self.runtime {
            Runtime::Auto => prow_kubelet::RuntimeChoice::Auto,
            Runtime::Docker => prow_kubelet::RuntimeChoice::Docker,
            Runtime::Podman => prow_kubelet::RuntimeChoice::Podman,
            Runtime::Process => prow_kubelet::RuntimeChoice::Process,
        };
        options.allow_privileged = self.allow_privileged;
        options.entrypoint = static_entrypoint(data_dir)?;
        Ok(options)
    }
}

/// Flags about Pods.
#[derive(Debug, Clone, Args)]
pub struct PodArgs {
    #[command(flatten)]
    pub runner: RunnerArgs,
    /// Pods at a time [default: as many as CPU and memory allow for what they request]
    #[arg(long, value_name = "N")]
    pub max_pods: Option<usize>,
}

/// Made by build.rs; empty where it could not be.
const ENTRYPOINT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/entrypoint-static"));

/// The entrypoint that runs in any image, as a file; `None` if this executable was built without.
fn static_entrypoint(data_dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    if ENTRYPOINT.is_empty() {
        return Ok(None);
    }
    let path = data_dir.join("bin/entrypoint");
    if std::fs::read(&path).is_ok_and(|there| there == ENTRYPOINT) {
        return Ok(Some(path));
    }
    write_with_mode(&path, ENTRYPOINT, 0o755)?;
    Ok(Some(path))
}

/// What runs Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// The first that works of the others.
    Auto,
    /// Containers of Docker, through DOCKER_HOST or its socket.
    Docker,
    /// Containers of Podman, through its socket or a service that is started and ended with this process.
    Podman,
    /// Sandboxed processes of this machine; images are not used.
    Process,
}

/// What a job reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PodNetwork {
    /// Nothing but the other containers of its Pod.
    Isolated,
    /// Containers: what the engine's networks reach, not this machine's loopback. Processes: as isolated.
    Outbound,
    /// This machine's network; jobs can then reach whatever listens on it.
    Host,
}

/// What a world is made of.
pub struct WorldOptions {
    /// Where everything is kept.
    pub data_dir: DataDir,
    /// Configuration.
    pub config: Handle,
    /// GitHub.
    pub github: prow_github::Client,
    /// Where repositories are fetched from: `BASE/org/repo.git`.
    pub git_base: String,
    /// Webhook secret.
    pub hmac_secret_file: PathBuf,
    /// Listens for webhooks.
    pub hook: TcpListener,
    /// Listens for Deck.
    pub deck: TcpListener,
    /// Where ProwJobs and Pods live.
    pub cluster: Cluster,
    /// About Pods.
    pub pods: PodArgs,
    /// Time.
    pub clock: SharedClock,
}

/// A running world.
pub struct World {
    /// Watched ProwJobs.
    pub jobs: Store<ProwJob>,
    /// Client of the embedded API server.
    pub client: kube::Client,
    /// `http://…` of hook, without path.
    pub hook_url: String,
    /// `http://…` of Deck.
    pub deck_url: String,
    /// For kubectl.
    pub kubeconfig: PathBuf,
    kubelet: Option<Arc<Kubelet>>,
    /// Stopped first: what makes new work.
    sources: Group,
    /// Stopped second: what carries work on.
    controllers: Group,
    /// Stopped last: what answers.
    servers: Group,
    // Ours while we live.
    _data_dir: DataDir,
}

/// Tasks that stop together.
struct Group {
    stop: CancellationToken,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

impl Group {
    fn new() -> Group {
        Group { stop: CancellationToken::new(), tasks: Vec::new() }
    }

    fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push((name, tokio::spawn(work)));
    }

    async fn end(self) {
        self.stop.cancel();
        for (name, task) in self.tasks {
            let abort = task.abort_handle();
            match tokio::time::timeout(COMPONENT_GRACE, task).await {
                Ok(Ok(())) => tracing::debug!(component = name, "ended"),
                Ok(Err(error)) if error.is_panic() => tracing::error!(component = name, "it panicked"),
                Ok(Err(_)) => {}
                Err(_) => {
                    tracing::warn!(component = name, "it did not end in time and is cut off");
                    abort.abort();
                }
            }
        }
    }
}

impl World {
    /// Starts everything, in the order in which one needs the other.
    pub async fn start(options: WorldOptions) -> anyhow::Result<World> {
        let WorldOptions {
            data_dir,
            config,
            github,
            git_base,
            hmac_secret_file,
            hook,
            deck,
            cluster,
            pods,
            clock,
        } = options;
        let lock = data_dir;
        let data_dir = lock.path().to_owned();
        let snapshot = config.snapshot();

        let mut servers = Group::new();
        let (clients, kubelet, kubeconfig) = match cluster {
            Cluster::Embedded { socket, names } => {
                let server =
                    ApiServer::open(&data_dir.join("apiserver"), prow_apiserver::Options::default())?;
                for namespace in [&snapshot.prow.prowjob_namespace, &snapshot.prow.pod_namespace] {
                    server.ensure_namespace(namespace).await?;
                }
                let client = kube::Client::new(server.router(), snapshot.prow.prowjob_namespace.clone());
                let kubelet = start_kubelet(&data_dir, &snapshot, &pods, &client, &clock).await?;
                server.set_pod_logs(Arc::new(RunnerLogs(kubelet.clone())));
                let credentials = prow_apiserver::Credentials::load_or_create_for(&data_dir, &names)?;
                let kubeconfig = credentials.write_kubeconfig(&data_dir, socket.local_addr()?)?;
                let stop = servers.stop.clone();
                servers.spawn("apiserver", async move {
                    if let Err(error) = server.serve(socket, credentials, stop).await {
                        tracing::error!(%error, "the API server's socket failed; kubectl no longer works");
                    }
                });
                (Clients::single(client), Some(kubelet), kubeconfig)
            }
            Cluster::Kubernetes { mut connected, kubeconfig, pods_here } => {
                let kubelet = match pods_here {
                    true => {
                        let client = connected.clients.infra();
                        for namespace in [&snapshot.prow.prowjob_namespace, &snapshot.prow.pod_namespace] {
                            ensure_namespace(&client, namespace).await?;
                        }
                        Some(start_kubelet(&data_dir, &snapshot, &pods, &client, &clock).await?)
                    }
                    false => {
                        connected.leave_out_unusable(&snapshot.prow.pod_namespace, &PLANK_VERBS).await;
                        None
                    }
                };
                installed(&connected.clients, &snapshot.prow.prowjob_namespace).await?;
                (connected.clients, kubelet, kubeconfig)
            }
        };
        let client = clients.infra();

        let jobs = prowjobs::watch(client.clone(), &snapshot.prow.prowjob_namespace);
        jobs.ready().await;
        let opener = Arc::new(Opener::new(StorageOptions::default()));

        let hook_url = format!("http://{}", hook.local_addr()?);
        let deck_url = format!("http://{}", deck.local_addr()?);
        let page = Deck::new(
            config.clone(),
            clients.clone(),
            jobs.clone(),
            opener.clone(),
            clock.clone(),
            prow_deck::DeckOptions::default(),
        );
        let stop = servers.stop.clone();
        servers.spawn("deck", async move {
            if let Err(error) = listen::serve(deck, page.router(), stop).await {
                tracing::error!(%error, "Deck's socket failed");
            }
        });

        let mut controllers = Group::new();
        let plank = Plank::new(
            config.clone(),
            clients.clone(),
            jobs.clone(),
            clock.clone(),
            PlankOptions { version: VERSION.into(), workers: 16, label_selector: String::new() },
        );
        let stop = controllers.stop.clone();
        controllers.spawn("plank", plank.run(stop));
        // Always: the configuration may turn scheduler.enabled on, or off with jobs that wait, while we run.
        let stop = controllers.stop.clone();
        controllers.spawn(
            "scheduler",
            prow_plank::scheduler::run(config.clone(), clients.clone(), jobs.clone(), clock.clone(), stop),
        );
        let crier = Crier {
            config: config.clone(),
            clients: clients.clone(),
            github: github.clone(),
            storage: opener,
            clock: clock.clone(),
            options: prow_crier::Options::default(),
        };
        let stop = controllers.stop.clone();
        controllers.spawn("crier", crier.run_on(jobs.clone(), stop));
        let stop = controllers.stop.clone();
        controllers.spawn(
            "sinker",
            prow_sinker::run(config.clone(), clients.clone(), jobs.clone(), clock.clone(), stop),
        );

        let mut sources = Group::new();
        let stop = sources.stop.clone();
        sources.spawn(
            "horologium",
            prow_horologium::run(config.clone(), clients.clone(), jobs.clone(), clock.clone(), stop),
        );
        let own_jobs = crate::own_jobs::fetched(&data_dir.join("git"), &git_base, &github);
        let receiver = Hook::open(
            prow_hook::Options::new(data_dir.join("hook"), hmac_secret_file),
            prow_hook::Deps {
                config,
                github,
                kube: client.clone(),
                jobs: Arc::new(RepositoryJobs::new(own_jobs)),
                registry: Registry::builtin(RegistryOptions::default()),
                clock,
            },
        )?;
        let stop = sources.stop.clone();
        let router = receiver.router();
        sources.spawn("hook", async move {
            let serve = listen::serve(hook, router, stop.clone());
            let (served, handled) = tokio::join!(serve, receiver.run(stop));
            if let Err(error) = served {
                tracing::error!(%error, "hook's socket failed: no webhooks are received");
            }
            if let Err(error) = handled {
                tracing::error!(%error, "hook's journal failed: what is not through is handled at the next start");
            }
        });

        Ok(World {
            jobs,
            client,
            hook_url,
            deck_url,
            kubeconfig,
            kubelet,
            sources,
            controllers,
            servers,
            _data_dir: lock,
        })
    }

    /// How Pods are kept apart here, in one sentence for people.
    pub fn pod_capabilities(&self) -> String {
        match &self.kubelet {
            Some(kubelet) => kubelet.capabilities().describe(),
            None => "run on the nodes of the build clusters".to_owned(),
        }
    }

    /// Ends everything in order: no new work, then no decisions, then the Pods, then the servers. Pods that were
    /// running are reported as evicted, so that the next start makes them again.
    pub async fn shutdown(self) {
        self.sources.end().await;
        self.controllers.end().await;
        if let Some(kubelet) = &self.kubelet {
            kubelet.shutdown().await;
            tracing::debug!("all Pods have ended");
        }
        self.servers.end().await;
    }
}

/// Where hostPath volumes may point: results buckets on this machine that the configuration names.
fn host_paths(snapshot: &Snapshot) -> Vec<PathBuf> {
    let defaults =
        snapshot.prow.plank.default_decoration_config_entries.iter().filter_map(|e| e.config.as_deref());
    let jobs = &snapshot.jobs;
    let of_jobs = jobs
        .presubmits
        .values()
        .flatten()
        .map(|j| &j.base)
        .chain(jobs.postsubmits.values().flatten().map(|j| &j.base))
        .chain(jobs.periodics.iter().map(|j| &j.base))
        .filter_map(|base| base.decoration_config.as_deref());
    let buckets = defaults
        .chain(of_jobs)
        .filter_map(|d| d.gcs_configuration.as_ref())
        .filter_map(|g| BucketUrl::parse(&g.bucket).ok())
        .filter_map(|url| url.directory());
    let paths: BTreeSet<PathBuf> = buckets.collect();
    paths.into_iter().collect()
}

/// The secret in `path`; a random one of 256 bits is written there if there is none.
pub fn random_secret(path: &Path) -> anyhow::Result<Secret> {
    let secret = match std::fs::read(path) {
        Ok(bytes) if !bytes.trim_ascii().is_empty() => Secret::new(bytes.trim_ascii()),
        Ok(_) => new_secret(path)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => new_secret(path)?,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    prow_service::censor::process().add(&secret);
    Ok(secret)
}

fn new_secret(path: &Path) -> anyhow::Result<Secret> {
    let text: String = rand::random::<[u8; 32]>().iter().map(|b| format!("{b:02x}")).collect();
    write_private(path, text.as_bytes())?;
    Ok(Secret::new(text))
}

/// Writes a file that only this user may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_with_mode(path, bytes, 0o600)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    // Written beside and renamed: a crash in between leaves the old file, never half of the new one.
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/token");
        let first = random_secret(&path).unwrap();
        assert_eq!(first.expose().len(), 64);
        assert_eq!(random_secret(&path).unwrap(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
