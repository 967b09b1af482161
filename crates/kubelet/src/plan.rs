//! The plan of one Pod's run: everything resolved, nothing left to ask the API for. It is written to `pod.json` before
//! the supervisor starts, and the supervisor and the sandbox read nothing else.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where our own executable is found inside a sandbox.
pub const EXE_IN_SANDBOX: &str = "/prow/bin/prow";

/// The user ids that a Pod's mapped user namespace spans.
pub const ID_RANGE: u32 = 65536;

/// One Pod's run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub name: String,
    /// The Pod's uid: the identity of this run.
    pub uid: String,
    /// How its containers are kept apart from this machine.
    pub isolation: Isolation,
    /// Seconds between SIGTERM and SIGKILL when nobody says otherwise.
    pub grace_seconds: u64,
    /// `activeDeadlineSeconds`.
    pub active_deadline_seconds: Option<u64>,
    /// Run one after another, each to success; sidecars among them until they run.
    pub init_containers: Vec<ContainerPlan>,
    /// Run side by side.
    pub containers: Vec<ContainerPlan>,
    /// Host directories that no container may see even if they lie below a system directory.
    pub hide: Vec<PathBuf>,
    /// Volumes that are in memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<MemoryPlan>,
    /// Volumes on disk whose size is watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitPlan>,
    /// Set for [`Isolation::Container`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EnginePlan>,
    /// By which names the Pod knows itself and others; for [`Isolation::Container`].
    #[serde(default)]
    pub names: NamesPlan,
}

/// A Pod's own name and how it finds out others'.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesPlan {
    /// `hostname`, or the Pod's name as far as a host's name goes.
    pub hostname: String,
    /// `hostAliases`, as `name:address`.
    pub hosts: Vec<String>,
    /// `dnsConfig.nameservers`; empty for the engine's.
    pub nameservers: Vec<String>,
    /// `dnsConfig.searches`.
    pub searches: Vec<String>,
    /// `dnsConfig.options`, as `ndots:2`.
    pub options: Vec<String>,
}

/// An emptyDir in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Its name in the Pod.
    pub volume: String,
    /// Where it is mounted on this machine, unless an engine keeps it.
    pub path: PathBuf,
    /// How large it may become.
    pub bytes: u64,
    /// User and group id that own it, where that is not our own.
    pub owner: Option<u32>,
    /// The Pod's fsGroup.
    pub group: Option<u32>,
}

/// An emptyDir on disk with a sizeLimit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitPlan {
    /// Its name in the Pod.
    pub volume: String,
    /// Where it is on this machine.
    pub path: PathBuf,
    /// How large it may become.
    pub bytes: u64,
    /// The same as it was written.
    pub limit: String,
}

/// The container engine that a Pod's containers run in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnginePlan {
    /// Its API.
    pub socket: PathBuf,
    /// The version of it that is spoken; empty for the engine's own choice.
    #[serde(default)]
    pub api: String,
    /// Before the id in a `containerID`: `docker`, `podman`.
    pub scheme: String,
    /// The network mode of a Pod of its own network.
    pub network: String,
    /// The pod utilities' image.
    pub utility_image: String,
    /// Our executable on this machine.
    pub exe: PathBuf,
    /// The statically linked entrypoint on this machine.
    pub entrypoint: Option<PathBuf>,
    /// The engine enforces limits of CPU and memory.
    pub limits: bool,
    /// The engine can keep volumes in memory.
    #[serde(default)]
    pub memory: bool,
    /// Limits of each process, soft and hard.
    pub ulimits: Vec<(String, i64)>,
    /// The data directory, by which the engine's containers are known as ours.
    pub runner: String,
}

/// What an engine is told of one container, in its own units: bytes, billionths of a CPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineContainer {
    /// Id of the image.
    pub image: String,
    /// What the status calls it.
    pub image_id: String,
    /// In the place of the image's entrypoint, unless empty.
    pub command: Vec<String>,
    /// In the place of the image's arguments, unless empty.
    pub args: Vec<String>,
    /// `user:group`; none leaves it to the image.
    pub user: Option<String>,
    /// Further groups.
    pub groups: Vec<String>,
    /// Capabilities, without `CAP_`.
    pub cap_add: Vec<String>,
    /// Capabilities, without `CAP_`, or `ALL`.
    pub cap_drop: Vec<String>,
    /// All that root of the machine may.
    pub privileged: bool,
    /// Nothing but volumes can be written.
    pub read_only_root: bool,
    /// set-uid files give nothing.
    pub no_new_privileges: bool,
    /// Every system call that the kernel has.
    #[serde(default)]
    pub seccomp_unconfined: bool,
    /// It gets a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Its standard input stays open, and nobody writes to it.
    #[serde(default)]
    pub stdin: bool,
    /// Limit.
    pub memory: Option<i64>,
    /// Limit.
    pub nano_cpus: Option<i64>,
    /// From the request: 1024 for a CPU.
    pub cpu_shares: Option<i64>,
}

/// How a Pod's processes are kept apart from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Isolation {
    /// Own mount, PID, IPC, UTS and network namespaces.
    Sandboxed(Identity),
    /// Plain processes; paths were rewritten in the plan.
    None,
    /// Containers of an engine.
    Container,
}

/// As whom a sandboxed job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Identity {
    /// We are root: root of a user namespace whose ids 0.. are the machine's ids `base`.., so nobody on the machine.
    Mapped {
        /// First of [`ID_RANGE`] ids.
        base: u32,
    },
    /// We are root, user namespaces are refused: an unprivileged user of the machine.
    User {
        /// User and group id.
        id: u32,
    },
    /// We are not root: root of a user namespace in which nobody but ourselves exists.
    Own,
}

impl Identity {
    /// The machine's user and group id that owns what a job may write, where that is not our own.
    pub fn owner(self) -> Option<u32> {
        match self {
            Identity::Mapped { base } => Some(base),
            Identity::User { id } => Some(id),
            Identity::Own => None,
        }
    }
}

/// One container's process. Its arguments and environment may hold secrets, so it prints only its name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlan {
    /// The container's name.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Where it starts; created if missing.
    pub working_dir: Option<String>,
    /// Volumes, in the Pod's order.
    pub mounts: Vec<MountPlan>,
    /// True for the Pod's own network (loopback only), false for the machine's.
    pub pod_network: bool,
    /// One of our own pod utilities: gets our executable; keeps the machine's root where it must write to a hostPath.
    pub utility: bool,
    /// An init container with `restartPolicy: Always`: runs beside the others, and again whenever it ends.
    #[serde(default)]
    pub restart: bool,
    /// A utility that writes to a hostPath, hence keeps the machine's ids.
    pub host_ids: bool,
    /// Where the process may leave its termination message, as a path in its own world.
    pub termination_path: String,
    /// `terminationMessagePolicy: FallbackToLogsOnError`.
    pub termination_from_logs: bool,
    /// Set for a job's container where the Pod runs in an engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineContainer>,
}

impl fmt::Debug for ContainerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerPlan").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One volume at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Directory or file on this machine.
    pub source: PathBuf,
    /// The directory that `source` must be looked for in: a job may have put a link on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<PathBuf>,
    /// Below `source`; resolved so that it cannot escape.
    pub sub_path: Option<String>,
    /// Where the container sees it.
    pub path: String,
    /// Not writable for the container.
    pub read_only: bool,
}

impl PodPlan {
    /// Reads `pod.json`.
    pub fn read(path: &Path) -> Result<PodPlan, Error> {
        let text = std::fs::read(path).map_err(|e| Error::io("read the Pod's plan", path, e))?;
        serde_json::from_slice(&text).map_err(|e| Error::Corrupt { path: path.to_owned(), source: e })
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerPlan> {
        self.init_containers.iter().chain(&self.containers).find(|c| c.name == name)
    }

    /// True if something has to be kept for the Pod's whole life: its network, or an engine's volumes in memory.
    pub fn needs_keeper(&self) -> bool {
        self.needs_network() || (self.isolation == Isolation::Container && !self.memory.is_empty())
    }

    /// True if some container lives in the Pod's own network.
    pub fn needs_network(&self) -> bool {
        self.isolation != Isolation::None
            && self.init_containers.iter().chain(&self.containers).any(|c| c.pod_network)
    }
}
