//! What this machine allows: found out by running a trivial Pod once, the very way that real ones are run.

use crate::build::env::{DEFAULT_PATH, Machine};
use crate::error::Error;
use crate::options::SandboxMode;
use crate::plan::{ContainerPlan, NamesPlan, PodPlan};
use crate::poddir::{PodDir, private_dir, remove_tree, write_json};
use crate::process::IsolationKind;
use crate::record::ContainerState;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Before the process id, in the name of a try's directory.
const PROBE: &str = "probe-";
/// Longer than any machine takes for a process or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// How Pods are run here, and why not better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// How Pods are kept apart.
    pub isolation: IsolationKind,
    /// The container engine, where there is one.
    pub engine: Option<String>,
    /// What is not as it should be, in sentences; empty on a machine that allows everything.
    pub limits: Vec<String>,
}

impl Capabilities {
    /// True if jobs run in a sandbox.
    pub fn sandboxed(&self) -> bool {
        self.isolation != IsolationKind::None
    }

    /// One sentence for a person.
    pub fn describe(&self) -> String {
        let how = match self.isolation {
            IsolationKind::Mapped => {
                "jobs run sandboxed, as root of a user namespace that is nobody on this machine"
            }
            IsolationKind::User => "jobs run sandboxed, as an unprivileged user",
            IsolationKind::Own => {
                "jobs run sandboxed, as root of a user namespace that is you on this machine"
            }
            IsolationKind::None => "jobs run WITHOUT a sandbox: they can read and write whatever you can",
            IsolationKind::Container => "jobs run as containers of ",
        };
        let how = format!("{how}{}", self.engine.as_deref().unwrap_or_default());
        std::iter::once(how.as_str())
            .chain(self.limits.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// The machine's CPUs and memory.
pub fn machine() -> Machine {
    let cpu = std::thread::available_parallelism().map_or(1, usize::from);
    let kib = std::fs::read_to_string("/proc/meminfo").ok().and_then(|t| {
        let line = t.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
    });
    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^53 CPUs")]
    Machine { cpu: cpu as f64, memory: kib.map_or(f64::MAX, |k| k * 1024.0) }
}

/// Tries what is best, then what is next best.
pub async fn probe(
    exe: &Path,
    data_dir: &Path,
    hide: &[PathBuf],
    mode: SandboxMode,
) -> Result<Capabilities, Error> {
    if mode == SandboxMode::Off {
        let limits = vec!["the sandbox was switched off".to_owned()];
        return Ok(Capabilities { isolation: IsolationKind::None, engine: None, limits });
    }
    sweep(data_dir)?;
    let candidates: &[IsolationKind] = if nix::unistd::geteuid().is_root() {
        // The last is for root of a container that was given no rights over namespaces but its own.
        &[IsolationKind::Mapped, IsolationKind::User, IsolationKind::Own]
    } else {
        &[IsolationKind::Own]
    };
    let mut limits = Vec::new();
    for isolation in candidates {
        match try_one(exe, data_dir, hide, *isolation).await? {
            Ok(notices) => {
                limits.extend(notices);
                return Ok(Capabilities { isolation: *isolation, engine: None, limits });
            }
            Err(why) => limits.push(why),
        }
    }
    limits.dedup();
    limits.extend(forbidden_by().map(str::to_owned));
    Ok(Capabilities { isolation: IsolationKind::None, engine: None, limits })
}

/// What killed runners left of their tries, except where someone still works on it.
fn sweep(data_dir: &Path) -> Result<(), Error> {
    let entries = std::fs::read_dir(data_dir).map_err(|e| Error::io("list", data_dir, e))?;
    for entry in entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(PROBE)) {
        let dir = PodDir::new(entry.path());
        if !dir.supervised()?
            && let Err(e) = remove_tree(dir.path())
        {
            // Someone began to work on it just now; the next start finds it again.
            tracing::debug!("{e}");
        }
    }
    Ok(())
}

/// The usual suspects, so that a person knows what to turn.
fn forbidden_by() -> Option<&'static str> {
    let setting = |path: &str| std::fs::read_to_string(path).ok().map(|t| t.trim().to_owned());
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return Some(
            "sysctl kernel.apparmor_restrict_unprivileged_userns=1 forbids user namespaces to unprivileged users",
        );
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Some(
            "sysctl kernel.unprivileged_userns_clone=0 forbids user namespaces to unprivileged users",
        );
    }
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return Some("sysctl user.max_user_namespaces=0 forbids user namespaces");
    }
    Path::new("/.dockerenv").exists().then_some("in a container, namespaces usually need --privileged")
}

async fn try_one(
    exe: &Path,
    data_dir: &Path,
    hide: &[PathBuf],
    isolation: IsolationKind,
) -> Result<Result<Vec<String>, String>, Error> {
    // A name of its own: a runner that was killed while it tried may have left one that is still being used.
    let dir = PodDir::new(data_dir.join(format!("{PROBE}{}", std::process::id())));
    remove_tree(dir.path())?;
    private_dir(dir.path())?;
    let plan = PodPlan {
        namespace: String::new(),
        name: "probe".to_owned(),
        uid: "probe".to_owned(),
        isolation: isolation.for_pod("probe"),
        grace_seconds: 0,
        active_deadline_seconds: None,
        init_containers: Vec::new(),
        containers: vec![ContainerPlan {
            name: "probe".to_owned(),
            argv: ["/bin/sh", "-c", "exit 0"].map(str::to_owned).to_vec(),
            env: vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())],
            working_dir: None,
            mounts: Vec::new(),
            pod_network: true,
            utility: false,
            restart: false,
            host_ids: false,
            termination_path: "/dev/termination-log".to_owned(),
            termination_from_logs: true,
            engine: None,
        }],
        hide: hide.to_vec(),
        memory: Vec::new(),
        limits: Vec::new(),
        engine: None,
        names: NamesPlan::default(),
    };
    write_json(&dir.plan(), &plan)?;
    let mut child = tokio::process::Command::new(exe)
        .arg("pod-supervisor")
        .arg(dir.path())
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Error::io("start the supervisor", exe, e))?;
    let waited = tokio::time::timeout(PATIENCE, child.wait()).await;
    let record = dir.read_record()?;
    remove_tree(dir.path())?;
    if waited.is_err() {
        return Ok(Err("a trivial sandboxed process did not end in time".to_owned()));
    }
    let Some(record) = record else {
        let why = format!("{} pod-supervisor did not start; is it the prow executable?", exe.display());
        return Err(Error::Other(why));
    };
    if record.ended.as_ref().is_some_and(|e| e.succeeded) {
        return Ok(Ok(record.notices));
    }
    let said = record.containers.iter().find_map(|c| match &c.state {
        ContainerState::Terminated { message, exit_code, .. } => Some(
            message.clone().unwrap_or_else(|| format!("a trivial process ended with exit code {exit_code}")),
        ),
        _ => None,
    });
    let cause = record.ended.and_then(|e| e.cause.message);
    Ok(Err(said.or(cause).unwrap_or_else(|| "a trivial sandboxed process did not run".to_owned())))
}
