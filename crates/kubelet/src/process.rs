//! The process runtime: Pods as supervised processes, found again on disk after any crash.

use crate::build::Contained;
use crate::build::env::Machine;
use crate::build::{self, Context, Objects, Remark, volumes};
use crate::engine::Engine;
use crate::engine::images::{self, Failures};
use crate::engine::privileged_host_paths;
use crate::error::Error;
use crate::logs::{self, LogQuery, LogStream};
use crate::options::Network;
use crate::plan::{ID_RANGE, Identity, Isolation};
use crate::poddir::{self, PodDir, private_dir, remove_tree, write_json};
use crate::record::{PodRecord, TerminateRequest};
use crate::runtime::{PrepareError, RunState, Runtime, Unwanted};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use prow_service::clock::SharedClock;
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// First of the ids that mapped Pods are given; the range that container managers use for the same end.
const FIRST_ID: u32 = 524_288;
/// How many Pods get ids of their own before ranges are shared.
const ID_RANGES: u32 = 1024;
/// How often an engine of our own is looked at: the containers' stages give up one that stays away for a minute.
const ENGINE_LOOK: Duration = Duration::from_secs(5);
/// It starts in less.
const ENGINE_PATIENCE: Duration = Duration::from_secs(30);
/// The kernel tells of a closed file a moment before it gives up its lock.
const AFTER_CLOSE: Duration = Duration::from_millis(50);

/// What the process runtime is made of.
pub struct ProcessOptions {
    /// Our executable.
    pub exe: PathBuf,
    /// `<data>/pods`.
    pub pods_dir: PathBuf,
    /// What no container may see.
    pub hide: Vec<PathBuf>,
    /// Below which directories hostPath volumes may lie.
    pub allow_host_paths: Vec<PathBuf>,
    /// Which network jobs get.
    pub network: Network,
    /// How Pods are kept apart, as [`crate::probe`] found possible.
    pub isolation: IsolationKind,
    /// What the machine has.
    pub machine: Machine,
    /// What runs containers, for [`IsolationKind::Container`].
    pub engine: Option<Engine>,
}

/// [`Isolation`] before ids are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationKind {
    /// [`Identity::Mapped`].
    Mapped,
    /// [`Identity::User`].
    User,
    /// [`Identity::Own`].
    Own,
    /// [`Isolation::None`].
    None,
    /// [`Isolation::Container`].
    Container,
}

impl IsolationKind {
    /// With ids for the Pod `uid`: each Pod its own, as far as they go round.
    pub fn for_pod(self, uid: &str) -> Isolation {
        // FNV-1a: spreads uids, and gives the same ids to the same Pod after a restart.
        let hash = uid.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        let base = FIRST_ID + ID_RANGE * (hash % ID_RANGES);
        match self {
            IsolationKind::Mapped => Isolation::Sandboxed(Identity::Mapped { base }),
            IsolationKind::User => Isolation::Sandboxed(Identity::User { id: base }),
            IsolationKind::Own => Isolation::Sandboxed(Identity::Own),
            IsolationKind::None => Isolation::None,
            IsolationKind::Container => Isolation::Container,
        }
    }
}

/// See the module.
pub struct ProcessRuntime {
    options: ProcessOptions,
    clock: SharedClock,
    watcher: Mutex<RecommendedWatcher>,
    launched: Arc<Mutex<HashSet<String>>>,
    changes: mpsc::UnboundedSender<String>,
    changed: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
    pull_failures: Failures,
}

impl ProcessRuntime {
    /// Must be called inside a tokio runtime.
    pub fn new(options: ProcessOptions, clock: SharedClock) -> Result<Self, Error> {
        private_dir(&options.pods_dir)?;
        let (changes, changed) = mpsc::unbounded_channel();
        let sender = changes.clone();
        let runtime = tokio::runtime::Handle::current();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let closed = matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)));
            if !closed && !matches!(event.kind, EventKind::Modify(ModifyKind::Name(_))) {
                return;
            }
            for path in &event.paths {
                let Some(uid) = path.parent().and_then(Path::file_name).and_then(|n| n.to_str()) else {
                    continue;
                };
                match path.file_name().and_then(|n| n.to_str()) {
                    Some("status.json") => drop(sender.send(uid.to_owned())),
                    Some("lock") if closed => {
                        let (sender, uid) = (sender.clone(), uid.to_owned());
                        runtime.spawn(async move {
                            tokio::time::sleep(AFTER_CLOSE).await;
                            let _ = sender.send(uid);
                        });
                    }
                    _ => {}
                }
            }
        })
        .map_err(|e| Error::Other(format!("cannot watch directories for changes: {e}")))?;
        let runtime = ProcessRuntime {
            options,
            clock,
            watcher: Mutex::new(watcher),
            launched: Arc::default(),
            changes,
            changed: tokio::sync::Mutex::new(changed),
            pull_failures: Failures::default(),
        };
        runtime.sweep()?;
        for uid in runtime.list()? {
            runtime.watch(&uid);
        }
        Ok(runtime)
    }

    fn dir(&self, uid: &str) -> PodDir {
        PodDir::new(self.options.pods_dir.join(uid))
    }

    /// A directory that was not finished when we were killed is no Pod's.
    fn sweep(&self) -> Result<(), Error> {
        for entry in read_dir(&self.options.pods_dir)? {
            if entry.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')) {
                remove_tree(&entry)?;
            }
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, Error> {
        let name = |p: PathBuf| p.file_name().and_then(|n| n.to_str()).map(str::to_owned);
        Ok(read_dir(&self.options.pods_dir)?
            .into_iter()
            .filter_map(name)
            .filter(|n| !n.starts_with('.'))
            .collect())
    }

    fn watch(&self, uid: &str) {
        let dir = self.dir(uid);
        if let Err(e) = self.watcher.lock().watch(dir.path(), RecursiveMode::NonRecursive) {
            // The runner looks again every so often, so this costs time and nothing else.
            tracing::warn!(pod_uid = uid, "cannot watch {}: {e}", dir.path().display());
        }
    }

    async fn remove_containers(&self, uid: &str) -> Result<(), Error> {
        let Some(engine) = &self.options.engine else { return Ok(()) };
        engine.ensure().await?;
        engine.remove_pod(uid).await.map_err(|e| Error::Other(e.to_string()))
    }

    fn unwatch(&self, uid: &str) {
        // It is gone with the directory anyway.
        let _ = self.watcher.lock().unwatch(self.dir(uid).path());
    }

    fn state_of(&self, uid: &str) -> Result<RunState, Error> {
        let dir = self.dir(uid);
        if !dir.path().exists() {
            return Ok(RunState::Absent);
        }
        let supervised = dir.supervised()?;
        // Read after asking for the lock: who has let go of it has written its last word.
        match dir.read_record()? {
            Some(record) if record.ended.is_some() => Ok(RunState::Ended(record)),
            Some(record) if supervised => Ok(RunState::Running(record)),
            Some(_) => Ok(RunState::Lost),
            None if supervised || self.launched.lock().contains(uid) => Ok(RunState::Launching),
            None => Ok(RunState::Prepared),
        }
    }
}

fn read_dir(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = || fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>();
    list().map_err(|e| Error::io("list", path, e))
}

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn known(&self) -> Result<Vec<String>, Error> {
        self.list()
    }

    async fn state(&self, uid: &str) -> Result<RunState, Error> {
        self.state_of(uid)
    }

    async fn quiet(&self, uid: &str) -> Result<bool, Error> {
        Ok(!self.launched.lock().contains(uid) && !self.dir(uid).supervised()?)
    }

    async fn prepare(
        &self,
        pod: &Pod,
        objects: &Objects,
        unwanted: Unwanted<'_>,
    ) -> Result<Vec<Remark>, PrepareError> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let (images, pulled) = match &self.options.engine {
            Some(engine) => {
                engine.ensure().await?;
                tokio::select! {
                    found = images::resolve(engine, pod, objects, &self.pull_failures) => found?,
                    // A pull may take as long as it likes.
                    () = unwanted => return Err(PrepareError::Unwanted),
                }
            }
            None => Default::default(),
        };
        let contained = self.options.engine.as_ref().map(|engine| Contained {
            plan: &engine.plan,
            images: &images,
            allow_privileged: engine.allow_privileged,
        });
        let dir = self.dir(&uid);
        let isolation = self.options.isolation.for_pod(&uid);
        let privileged = self.options.engine.as_ref().is_some_and(|e| e.allow_privileged);
        let for_privileged = if privileged { privileged_host_paths(pod) } else { Vec::new() };
        let allowed = [&self.options.allow_host_paths[..], &for_privileged].concat();
        let context = Context {
            dir: &dir,
            isolation,
            network: self.options.network,
            exe: &self.options.exe,
            hide: &self.options.hide,
            allow_host_paths: &allowed,
            machine: self.options.machine,
            engine: contained.as_ref(),
        };
        let built = build::build(pod, objects, &context).map_err(PrepareError::Problem)?;
        let owner = match isolation {
            Isolation::Sandboxed(identity) => identity.owner(),
            Isolation::None | Isolation::Container => None,
        };
        let fs_group = pod.spec.as_ref().and_then(|s| s.security_context.as_ref()).and_then(|s| s.fs_group);
        let fs_group =
            fs_group.filter(|_| isolation == Isolation::Container).and_then(|g| u32::try_from(g).ok());
        let unfinished = PodDir::new(self.options.pods_dir.join(format!(".{uid}")));
        let remarks = [pulled, built.remarks].concat();
        let write = move || -> Result<(), Error> {
            remove_tree(unfinished.path())?;
            private_dir(unfinished.path())?;
            private_dir(&unfinished.logs())?;
            // As container runtimes do; a machine without modules has no such directory.
            for path in &for_privileged {
                fs::create_dir_all(path).map_err(|e| Error::io("create the hostPath", path, e))?;
            }
            volumes::write(&built.volumes, &unfinished, owner)?;
            volumes::give_to_group(&built.volumes, &unfinished, fs_group)?;
            write_json(&unfinished.plan(), &built.plan)?;
            fs::rename(unfinished.path(), dir.path()).map_err(|e| Error::io("put in place", dir.path(), e))
        };
        blocking(write).await?;
        self.watch(&uid);
        Ok(remarks)
    }

    async fn launch(&self, uid: &str) -> Result<(), Error> {
        let dir = self.dir(uid);
        let path = dir.supervisor_log();
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io("open", &path, e))?;
        let log2 = log.try_clone().map_err(|e| Error::io("open", &path, e))?;
        // Our own environment may hold secrets that are nobody's business in there.
        let mut child = tokio::process::Command::new(&self.options.exe)
            .arg("pod-supervisor")
            .arg(dir.path())
            .env_clear()
            .env("PATH", build::env::DEFAULT_PATH)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log2)
            .spawn()
            .map_err(|e| Error::io("start the supervisor", &self.options.exe, e))?;
        self.launched.lock().insert(uid.to_owned());
        let (launched, changes, uid) = (self.launched.clone(), self.changes.clone(), uid.to_owned());
        tokio::spawn(async move {
            match child.wait().await {
                Ok(status) if status.success() => {}
                Ok(status) => {
                    let said = fs::read_to_string(&path).unwrap_or_default();
                    tracing::warn!(pod_uid = uid, "a Pod's supervisor ended with {status}: {}", said.trim());
                }
                Err(e) => tracing::warn!(pod_uid = uid, "cannot wait for a Pod's supervisor: {e}"),
            }
            launched.lock().remove(&uid);
            let _ = changes.send(uid);
        });
        Ok(())
    }

    async fn terminate(&self, uid: &str, request: &TerminateRequest) -> Result<(), Error> {
        let dir = self.dir(uid);
        dir.write_terminate(request)?;
        if let RunState::Running(record) = self.state_of(uid)? {
            match kill(Pid::from_raw(record.supervisor_pid), Signal::SIGTERM) {
                // Gone since we looked: then there is nothing left to end.
                Ok(()) | Err(nix::Error::ESRCH) => {}
                Err(e) => return Err(Error::system(format!("signal the supervisor of Pod {uid}"), e)),
            }
        }
        Ok(())
    }

    async fn close_lost(&self, uid: &str) -> Result<(), Error> {
        let dir = self.dir(uid);
        let Some(lock) = poddir::try_lock(&dir.lock())? else { return Ok(()) };
        let Some(mut record) = dir.read_record()? else { return Ok(()) };
        if record.ended.is_some() {
            return Ok(());
        }
        let plain = dir.read_plan()?.is_none_or(|p| p.isolation == Isolation::None);
        if plain {
            let path = dir.path().to_owned();
            blocking(move || {
                kill_leftovers(&path);
                Ok(())
            })
            .await?;
        }
        self.remove_containers(uid).await?;
        record.close_as_lost(
            self.clock.now(),
            "the process that watched over this Pod is gone (was it killed, or the machine restarted?); its run is lost",
        );
        dir.write_record(&record)?;
        drop(lock);
        blocking(move || {
            dir.discard_all_but_the_account();
            Ok(())
        })
        .await
    }

    async fn remove(&self, uid: &str) -> Result<(), Error> {
        self.unwatch(uid);
        // Its stages have removed them, unless they were killed.
        self.remove_containers(uid).await?;
        self.pull_failures.lock().retain(|(of, _), _| of != uid);
        // Renamed first: a Pod is there or it is not, whenever we are killed.
        let from = self.options.pods_dir.join(uid);
        let to = self.options.pods_dir.join(format!(".gone-{uid}"));
        blocking(move || {
            match fs::rename(&from, &to) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(e) => return Err(Error::io("remove", &from, e)),
            }
            remove_tree(&to)
        })
        .await
    }

    async fn logs(&self, uid: &str, container: &str, query: &LogQuery) -> Result<Option<LogStream>, Error> {
        let dir = self.dir(uid);
        let path = if query.previous { dir.previous_log(container) } else { dir.log(container) };
        if !path.exists() {
            return Ok(None);
        }
        let name = container.to_owned();
        let previous = query.previous;
        let of = |r: &PodRecord| r.all().find(|c| c.name == container).map(|c| c.restarts);
        let begun = dir.read_record()?.as_ref().and_then(of).unwrap_or_default();
        let ended = move || {
            if previous {
                return true;
            }
            let over = |r: &PodRecord| {
                r.ended.is_some() || r.all().any(|c| c.name == name && (c.has_ended() || c.restarts > begun))
            };
            // Whatever we cannot read will not grow any more.
            dir.read_record().ok().flatten().is_none_or(|r| over(&r)) || !dir.supervised().unwrap_or(false)
        };
        logs::open(path, query, Box::new(ended)).await.map(Some)
    }

    async fn changed(&self) -> String {
        let mut changed = self.changed.lock().await;
        let own = self.options.engine.as_ref().filter(|e| e.service.is_some());
        loop {
            tokio::select! {
                uid = changed.recv() => match uid {
                    Some(uid) => return uid,
                    // The sender lives in `self`.
                    None => std::future::pending().await,
                },
                // Nobody else would start it again while no Pod comes, and those that run need it.
                () = self.clock.sleep(ENGINE_LOOK), if own.is_some() => {
                    let Some(engine) = own else { continue };
                    match tokio::time::timeout(ENGINE_PATIENCE, engine.ensure()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(e)) => tracing::warn!("pod runner: the container engine is away: {e}"),
                        Err(_) => tracing::warn!("pod runner: the container engine does not answer"),
                    }
                }
            }
        }
    }

    async fn close(&self) {
        if let Some(service) = self.options.engine.as_ref().and_then(|e| e.service.as_ref()) {
            service.stop().await;
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Other(format!("work on a Pod's directory was cut short: {e}"))),
    }
}

/// Kills the plain processes of a Pod whose supervisor is gone. They are known by their environment, which names the
/// Pod's directory (HOME and TMPDIR are below it). Sandboxed ones died with the supervisor.
fn kill_leftovers(dir: &Path) {
    let Some(mark) = dir.to_str().map(|d| format!("{d}/")) else { return };
    let mark = mark.as_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let Ok(environ) = fs::read(entry.path().join("environ")) else { continue };
        let ours = environ.split(|b| *b == 0).any(|v| {
            let path = v.strip_prefix(b"TMPDIR=".as_slice()).or_else(|| v.strip_prefix(b"HOME=".as_slice()));
            path.is_some_and(|p| p.starts_with(mark))
        });
        if ours {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
