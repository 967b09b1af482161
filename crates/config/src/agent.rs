//! Keeps a snapshot current: watches the files, loads, validates, swaps (prow-config §6.5, done better).
//!
//! Properties:
//! * Readers see whole snapshots only. A tree that changes while it is read is read again.
//! * A tree that does not load changes nothing; the last good snapshot stays, the reasons are logged once, and
//!   [`ReloadStats`] counts it.
//! * Nested edits, ConfigMap `..data` flips, VERSION and supplemental files are all seen: by notification, and where
//!   a file system sends none, by comparing what `stat` says every few seconds.

mod feed;

pub use feed::{Change, ChangeFeed};

use crate::diagnostic::{Diagnostic, LoadErrors};
use crate::diff::{JobChanges, StartOnly};
use crate::load::{LoadOptions, Reader};
use crate::snapshot::Snapshot;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// Quiet time after the last notification before files are read: editors and kubelets write several at once.
const SETTLE: Duration = Duration::from_millis(100);
/// Files that never stop changing are read all the same after this many times of settling.
const MAX_SETTLES: u32 = 20;
/// How often to look without a notification.
const POLL: Duration = Duration::from_secs(5);

/// The current snapshot, for everyone who needs one. Clones are cheap and see the same.
#[derive(Debug, Clone)]
pub struct Handle {
    current: watch::Receiver<Arc<Snapshot>>,
    started: Arc<StartOnly>,
    stats: Arc<Mutex<ReloadStats>>,
    /// Keeps the channel of a fixed handle open.
    _keep: Option<Arc<watch::Sender<Arc<Snapshot>>>>,
}

impl Handle {
    /// A handle that never changes: for tests and one-shot commands.
    pub fn fixed(snapshot: Snapshot) -> Handle {
        let started = Arc::new(StartOnly::of(&snapshot));
        let (sender, current) = watch::channel(Arc::new(snapshot));
        Handle { current, started, stats: Arc::default(), _keep: Some(Arc::new(sender)) }
    }

    /// The snapshot in force. Take one for the whole of a decision; do not ask twice.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.borrow().clone()
    }

    /// Tells of every later snapshot. When the agent ends, so does the channel.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.clone()
    }

    /// Tells what every later snapshot changes.
    pub fn feed(&self) -> ChangeFeed {
        ChangeFeed::new(self.current.clone(), self.started.clone())
    }

    /// How loading has gone so far.
    pub fn reload_stats(&self) -> ReloadStats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How loading has gone since the start: what metrics are made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReloadStats {
    /// Times that the files were read, the first included.
    pub attempts: u64,
    /// Times that they did not load, and the last good snapshot stayed in force.
    pub failures: u64,
    /// Seconds since 1970 of the last time that they loaded; 0 before the first.
    pub last_success_unix: u64,
    /// Why they did not load the last time; nothing once they did.
    pub last_error: Option<String>,
}

impl ReloadStats {
    fn note(&mut self, result: Result<(), &LoadErrors>) {
        self.attempts += 1;
        match result {
            Ok(()) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                self.last_success_unix = now.unwrap_or_default().as_secs();
                self.last_error = None;
            }
            Err(errors) => {
                self.failures += 1;
                self.last_error = Some(errors.to_string());
            }
        }
    }
}

/// Watches the files; dropping it ends the watching, and handles keep the last snapshot.
#[derive(Debug)]
pub struct Agent {
    state: Arc<State>,
    wake: mpsc::Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    sender: watch::Sender<Arc<Snapshot>>,
    options: LoadOptions,
    started: Arc<StartOnly>,
    stats: Arc<Mutex<ReloadStats>>,
    reader: Mutex<Reader>,
}

enum Wake {
    Changed,
    /// There is something to free.
    Tidy,
    Stop,
}

impl State {
    /// Reads and swaps if the files look different from last time, or if `always`. Returns the snapshot that was
    /// replaced.
    fn reload(&self, always: bool) -> Result<Option<Arc<Snapshot>>, LoadErrors> {
        // A panic while reading leaves what was remembered before, which only means reading again.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if !always && !reader.is_stale(&self.options) {
            return Ok(None);
        }
        let result = reader.load(&self.options);
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).note(result.as_ref().map(drop));
        let new = result?;
        if Arc::ptr_eq(&new, &self.sender.borrow()) {
            return Ok(None);
        }
        let old = self.sender.send_replace(new);
        reader.memory.discard(old.clone());
        Ok(Some(old))
    }

    fn tidy(&self) {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).memory.tidy();
    }
}

impl Agent {
    /// Loads once, then keeps loading when files change. Fails if the first load does.
    pub fn start(options: LoadOptions) -> Result<(Handle, Agent), LoadErrors> {
        let mut reader = Reader::default();
        let mut stats = ReloadStats::default();
        let snapshot = reader.load(&options)?;
        stats.note(Ok(()));
        for warning in &snapshot.warnings {
            tracing::warn!(component = "config", "{warning}");
        }
        let started = Arc::new(StartOnly::of(&snapshot));
        let stats = Arc::new(Mutex::new(stats));
        let (sender, current) = watch::channel(snapshot);
        let handle = Handle { current, started: started.clone(), stats: stats.clone(), _keep: None };
        let state = Arc::new(State { sender, options, started, stats, reader: Mutex::new(reader) });
        let (wake, woken) = mpsc::channel();
        let watcher = watch_files(&state.options, wake.clone());
        let worker = state.clone();
        let thread = thread::Builder::new()
            .name("config-watch".into())
            .spawn(move || follow(&worker, &woken, watcher))
            .map_err(|e| LoadErrors {
                errors: vec![Diagnostic::error(format!(
                    "cannot start the thread that watches the configuration: {e}"
                ))],
                warnings: Vec::new(),
            })?;
        Ok((handle, Agent { state, wake, thread: Some(thread) }))
    }

    /// Loads now, without waiting for a notification. On errors the last good snapshot stays in force.
    pub fn reload(&self) -> Result<(), LoadErrors> {
        let result = self.state.reload(true).map(drop);
        // If the thread is gone, everything is freed with the agent.
        let _ = self.wake.send(Wake::Tidy);
        result
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // If the thread is gone already there is nobody to stop.
        let _ = self.wake.send(Wake::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Watches directories, not files: a file that is replaced, as editors and ConfigMaps do, would be lost.
fn watch_files(options: &LoadOptions, wake: mpsc::Sender<Wake>) -> Option<RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        if tells_of_a_change(&event) {
            // The receiver is gone when the agent is being dropped.
            let _ = wake.send(Wake::Changed);
        }
    };
    let mut watcher = match notify::recommended_watcher(tell) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(component = "config", %error, "no file notifications; changes are found by looking every {POLL:?}");
            return None;
        }
    };
    let mut add = |path: &Path, mode| {
        if let Err(error) = watcher.watch(path, mode) {
            tracing::warn!(component = "config", path = %path.display(), %error, "no notifications from here; changes are found by looking every {POLL:?}");
        }
    };
    for file in [Some(&options.config_path), options.plugin_config.as_ref()].into_iter().flatten() {
        add(directory_of(file), RecursiveMode::NonRecursive);
    }
    if let Some(jobs) = &options.job_config_path {
        if jobs.is_dir() {
            add(jobs, RecursiveMode::Recursive);
        } else {
            add(directory_of(jobs), RecursiveMode::NonRecursive);
        }
    }
    for directory in
        options.supplemental_prow_config_dirs.iter().chain(&options.supplemental_plugin_config_dirs)
    {
        add(directory, RecursiveMode::Recursive);
    }
    Some(watcher)
}

/// Our own looking at the tree is reported, too: taken for a change, it would never end. An error may stand for events
/// that were lost.
fn tells_of_a_change(event: &notify::Result<notify::Event>) -> bool {
    !event.as_ref().is_ok_and(|event| event.kind.is_access())
}

fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The agent's thread: waits, lets files settle, reads.
fn follow(state: &State, woken: &mpsc::Receiver<Wake>, watcher: Option<RecommendedWatcher>) {
    let _watcher = watcher;
    loop {
        match woken.recv_timeout(POLL) {
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Wake::Tidy) => {
                state.tidy();
                continue;
            }
            Ok(Wake::Changed) => {
                for _ in 0..MAX_SETTLES {
                    match woken.recv_timeout(SETTLE) {
                        Ok(Wake::Changed | Wake::Tidy) => {}
                        Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                        Err(RecvTimeoutError::Timeout) => break,
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        match state.reload(false) {
            Ok(None) => {}
            Ok(Some(old)) => tell(&old, &state.sender.borrow().clone(), &state.started),
            Err(errors) => {
                tracing::error!(component = "config", %errors, "the configuration changed and does not load; the last good one stays in force");
            }
        }
        state.tidy();
    }
}

fn tell(old: &Snapshot, new: &Snapshot, started: &StartOnly) {
    let changes = JobChanges::between(old, new);
    let (added, removed, altered) = (changes.added.len(), changes.removed.len(), changes.altered.len());
    let (jobs, warnings) = (new.jobs.len(), new.warnings.len());
    tracing::info!(
        component = "config",
        jobs,
        added,
        removed,
        altered,
        warnings,
        "the configuration changed; the new one is in force"
    );
    let before = started.changed_in(old);
    for warning in started.changed_in(new).iter().filter(|warning| !before.contains(warning)) {
        tracing::warn!(component = "config", "{warning}");
    }
}

#[cfg(test)]
mod tests;
