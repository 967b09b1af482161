//! Keeps a snapshot current: watches the files, loads, validates, swaps (prow-config §6.5, done better).
//!
//! Properties:
//! * Readers see whole snapshots only. A tree that changes while it is read is read again.
//! * A tree that does not load changes nothing; the last good snapshot stays, and the reasons are logged once.
//! * Nested edits, ConfigMap `..data` flips, VERSION and supplemental files are all seen: by notification, and where
//!   a file system sends none, by comparing what `stat` says every few seconds.

mod stamp;

use crate::diagnostic::{Diagnostic, LoadErrors};
use crate::diff::JobChanges;
use crate::load::{LoadOptions, Memory, load_again};
use crate::snapshot::Snapshot;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use stamp::Stamp;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::watch;

/// Quiet time after the last notification before files are read: editors and kubelets write several at once.
const SETTLE: Duration = Duration::from_millis(100);
/// Files that never stop changing are read all the same after this many times of settling.
const MAX_SETTLES: u32 = 20;
/// How often to look without a notification.
const POLL: Duration = Duration::from_secs(5);
/// Attempts to read a tree that changes meanwhile.
const ATTEMPTS: u32 = 5;

/// The current snapshot, for everyone who needs one. Clones are cheap and see the same.
#[derive(Debug, Clone)]
pub struct Handle {
    current: watch::Receiver<Arc<Snapshot>>,
    /// Keeps the channel of a fixed handle open.
    _keep: Option<Arc<watch::Sender<Arc<Snapshot>>>>,
}

impl Handle {
    /// A handle that never changes: for tests and one-shot commands.
    pub fn fixed(snapshot: Snapshot) -> Handle {
        let (sender, current) = watch::channel(Arc::new(snapshot));
        Handle { current, _keep: Some(Arc::new(sender)) }
    }

    /// The snapshot in force. Take one for the whole of a decision; do not ask twice.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.borrow().clone()
    }

    /// Tells of every later snapshot. When the agent ends, so does the channel.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.clone()
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
    /// What the files looked like when they were last read, successfully or not.
    seen: Mutex<Seen>,
}

/// What the next reading starts from.
#[derive(Debug, Default)]
struct Seen {
    stamp: Stamp,
    memory: Memory,
}

enum Wake {
    Changed,
    Stop,
}

/// Loads a tree that stands still: read again until it looks the same before and after.
fn load_still(options: &LoadOptions, memory: &mut Memory) -> (Result<Arc<Snapshot>, LoadErrors>, Stamp) {
    let mut before = Stamp::of(options);
    for _ in 1..ATTEMPTS {
        let result = load_again(options, memory);
        let after = Stamp::of(options);
        if before == after {
            return (result, after);
        }
        before = after;
    }
    let message = format!(
        "the files changed while they were read, {ATTEMPTS} times in a row; they are read again when they rest"
    );
    (Err(LoadErrors { errors: vec![Diagnostic::error(message)], warnings: Vec::new() }), Stamp::default())
}

impl State {
    /// Reads and swaps if the files look different from last time, or if `always`.
    fn reload(&self, always: bool) -> Result<bool, LoadErrors> {
        // A panic while reading leaves the old stamp, which only means reading again.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !always && seen.stamp == Stamp::of(&self.options) {
            return Ok(false);
        }
        let (result, stamp) = load_still(&self.options, &mut seen.memory);
        seen.stamp = stamp;
        self.sender.send_replace(result?);
        Ok(true)
    }
}

impl Agent {
    /// Loads once, then keeps loading when files change. Fails if the first load does.
    pub fn start(options: LoadOptions) -> Result<(Handle, Agent), LoadErrors> {
        let mut seen = Seen::default();
        let (result, stamp) = load_still(&options, &mut seen.memory);
        seen.stamp = stamp;
        let snapshot = result?;
        for warning in &snapshot.warnings {
            tracing::warn!(component = "config", "{warning}");
        }
        let (sender, current) = watch::channel(snapshot);
        let state = Arc::new(State { sender, options, seen: Mutex::new(seen) });
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
        Ok((Handle { current, _keep: None }, Agent { state, wake, thread: Some(thread) }))
    }

    /// Loads now, without waiting for a notification. On errors the last good snapshot stays in force.
    pub fn reload(&self) -> Result<(), LoadErrors> {
        self.state.reload(true).map(drop)
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
            Ok(Wake::Changed) => {
                for _ in 0..MAX_SETTLES {
                    match woken.recv_timeout(SETTLE) {
                        Ok(Wake::Changed) => {}
                        Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                        Err(RecvTimeoutError::Timeout) => break,
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let old = state.sender.borrow().clone();
        match state.reload(false) {
            Ok(false) => {}
            Ok(true) => {
                let new = state.sender.borrow().clone();
                let changes = JobChanges::between(&old, &new);
                let (added, removed, altered) =
                    (changes.added.len(), changes.removed.len(), changes.altered.len());
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
            }
            Err(errors) => {
                tracing::error!(component = "config", %errors, "the configuration changed and does not load; the last good one stays in force");
            }
        }
    }
}

#[cfg(test)]
mod tests;
