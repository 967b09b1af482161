//! What a pod runner is told at its start.

use std::path::PathBuf;
use std::time::Duration;

/// Options of [`crate::Kubelet::start`].
#[derive(Debug, Clone)]
pub struct Options {
    /// The node's name: Pods with another `spec.nodeName` are none of ours.
    pub node_name: String,
    /// Where Pods live on disk; one pod runner a directory. Absolute. Made if missing, for our eyes only.
    pub data_dir: PathBuf,
    /// Our executable, which knows the hidden subcommands `pod-supervisor` and `pod-sandbox`.
    pub exe: PathBuf,
    /// Directories of this machine below which hostPath volumes may lie (the bucket of results, caches). A volume of a
    /// container is one of them itself: an engine mounts by name, and a job can put links below.
    pub allow_host_paths: Vec<PathBuf>,
    /// Which network jobs get.
    pub network: Network,
    /// How many Pods may run at once, whatever they request; `None` leaves it to CPU and memory.
    pub max_pods: Option<usize>,
    /// Upper bound on the grace that a Pod gets when the pod runner shuts down.
    pub shutdown_grace: Duration,
    /// Whether to use the sandbox, where Pods are processes.
    pub sandbox: SandboxMode,
    /// What Pods are run with.
    pub runtime: RuntimeChoice,
    /// Containers get `privileged` and added capabilities if they ask for them.
    pub allow_privileged: bool,
    /// A statically linked entrypoint, which runs in any image; containers need it for decorated jobs.
    pub entrypoint: Option<PathBuf>,
}

/// What Pods are run with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// The first that works of Docker, Podman, processes.
    Auto,
    /// Docker's socket, or what DOCKER_HOST names.
    Docker,
    /// Podman's socket, or a `podman system service` of our own.
    Podman,
    /// Processes of this machine.
    #[default]
    Process,
    /// The engine behind this socket.
    Socket(PathBuf),
}

/// Which network the jobs' containers get. Pod utilities always have the machine's: they reach git and storage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// A Pod's containers share a network with nothing but loopback.
    #[default]
    Isolated,
    /// Containers only: what the engine's own networks reach, which this machine's loopback is not part of.
    Outbound,
    /// The machine's; `hostNetwork: true` is granted, and implied.
    Host,
}

/// Whether containers are sandboxed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// Where the machine allows it, else not; [`crate::Capabilities`] says which and why.
    #[default]
    Auto,
    /// Never: plain processes with rewritten paths.
    Off,
}

impl Options {
    /// The usual: processes, isolated network, sandbox where possible, no hostPaths, five minutes for a shutdown.
    pub fn new(node_name: impl Into<String>, data_dir: impl Into<PathBuf>, exe: impl Into<PathBuf>) -> Self {
        Options {
            node_name: node_name.into(),
            data_dir: data_dir.into(),
            exe: exe.into(),
            allow_host_paths: Vec::new(),
            network: Network::Isolated,
            max_pods: None,
            shutdown_grace: Duration::from_secs(300),
            sandbox: SandboxMode::Auto,
            runtime: RuntimeChoice::default(),
            allow_privileged: false,
            entrypoint: None,
        }
    }
}
