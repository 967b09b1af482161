//! Waits for marker files: told by the kernel, and looking every ten seconds in case it was not
//! (prow-runtime §8.4).
//!
//! An entrypoint that was killed writes none. Ours holds a lock while it lives, so the wait ends with it; upstream's
//! does not, and is waited for until the Pod's own time limit.

use crate::Host;
use crate::upload::Beneath;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

const POLL: Duration = Duration::from_secs(10);
/// Where the kernel cannot tell (no inotify instances left).
const POLL_ALONE: Duration = Duration::from_secs(1);
/// After the kernel said that something changed: a lock is given back a moment after its file is closed.
const POLL_SOON: Duration = Duration::from_secs(1);

/// What becomes known of a command whose entrypoint left no marker.
const KILLED: &str = "the entrypoint was killed before the command ended, by the job itself or because the \
                      container's memory ran out; how the command would have ended is not known";

/// A set of markers.
pub(crate) struct Markers {
    paths: Vec<PathBuf>,
    host: Host,
    changes: mpsc::Receiver<()>,
    poll: Duration,
    _watcher: Option<RecommendedWatcher>,
}

impl Markers {
    pub(crate) fn new(paths: Vec<PathBuf>, host: Host) -> Self {
        let (sender, changes) = mpsc::channel(1);
        let directories: BTreeSet<&Path> = paths.iter().filter_map(|p| p.parent()).collect();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // A marker arrives by being created or renamed. Writes to a log in the same directory are no reason to
            // look, and our own reading of a marker, which is reported too, must not be: it would never end.
            let arrival = |kind| {
                matches!(kind, EventKind::Any | EventKind::Other | EventKind::Create(_))
                    || matches!(kind, EventKind::Modify(ModifyKind::Name(_)))
            };
            // The end of an entrypoint, however it comes, closes its lock.
            let end = |event: &notify::Event| {
                event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
                    && event.paths.iter().any(|path| prow_entrypoint::is_lock(path))
            };
            // An error may stand for events that were lost.
            if event.map_or(true, |event| arrival(event.kind) || end(&event)) {
                // Full means that somebody is about to look anyway.
                let _ = sender.try_send(());
            }
        })
        .and_then(|mut watcher| {
            for directory in directories {
                watcher.watch(directory, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        let (watcher, poll) = match watcher {
            Ok(watcher) => (Some(watcher), POLL),
            Err(error) => {
                tracing::warn!("cannot watch for markers, looking every second instead: {error}");
                (None, POLL_ALONE)
            }
        };
        Markers { paths, host, changes, poll, _watcher: watcher }
    }

    /// The codes of all markers, once all are there. May be dropped and called again.
    pub(crate) async fn wait(&mut self) -> Vec<Result<i32, String>> {
        let mut pause = self.poll;
        loop {
            if let Some(codes) = self.paths.iter().map(|path| end(path)).collect() {
                return codes;
            }
            tokio::select! {
                // After a failed watch the channel is closed; then only the clock counts.
                Some(()) = self.changes.recv() => pause = POLL_SOON.min(self.poll),
                () = self.host.sleep(pause) => pause = self.poll,
            }
        }
    }
}

/// How the command of a marker ended; `None` while it may still run.
fn end(path: &Path) -> Option<Result<i32, String>> {
    match read(path) {
        None if prow_entrypoint::died(path) => {
            // Again: a marker may have come just before its entrypoint went.
            Some(read(path).unwrap_or_else(|| Err(KILLED.to_owned())))
        }
        told => told,
    }
}

/// `None` while it is not there. A marker is short: what is longer is not one.
fn read(path: &Path) -> Option<Result<i32, String>> {
    let read = || -> io::Result<String> {
        let (root, name) = Beneath::parent_of(path)?;
        let mut text = String::new();
        root.file(&name)?.0.take(64).read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        // Without its words: they are the job's, and cut off in the middle of a secret they could not be censored.
        Ok(text) => Some(text.trim().parse().map_err(|_| format!("{} holds no exit code", path.display()))),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => Some(Err(format!("{}: {e}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host on which time never passes: only the kernel's word can wake the wait.
    fn frozen() -> Host {
        Host::new(|| 0, |_| Box::pin(std::future::pending()))
    }

    #[tokio::test]
    async fn all_markers_are_waited_for_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["a", "b", "c"].map(|n| dir.path().join(n)).into();
        let mut markers = Markers::new(paths.clone(), frozen());
        let waiting = tokio::spawn(async move { markers.wait().await });
        for (path, text) in paths.iter().zip(["0", "130\n", "what"]) {
            let staged = path.with_extension("tmp");
            std::fs::write(&staged, text).unwrap();
            std::fs::rename(&staged, path).unwrap();
        }
        let codes = waiting.await.unwrap();
        assert_eq!(codes[..2], [Ok(0), Ok(130)]);
        assert!(codes[2].as_ref().unwrap_err().ends_with("c holds no exit code"), "{codes:?}");
    }

    #[tokio::test]
    async fn without_a_watch_the_clock_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/marker");
        let made = path.clone();
        // The directory cannot be watched because it is made only when the first pause is over.
        let host = Host::new(
            || 0,
            move |pause| {
                assert_eq!(pause, POLL_ALONE);
                std::fs::create_dir_all(made.parent().unwrap()).unwrap();
                std::fs::write(&made, "0").unwrap();
                Box::pin(async {})
            },
        );
        assert_eq!(Markers::new(vec![path], host).wait().await, [Ok(0)]);
    }

    #[test]
    fn a_death_without_a_marker_is_an_end_and_a_marker_beats_a_death() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marker-file.txt");
        assert_eq!(end(&path), None, "an entrypoint that announces nothing is waited for");
        let lock = std::fs::File::create(prow_entrypoint::lock_file(&path)).unwrap();
        lock.lock().unwrap();
        assert_eq!(end(&path), None, "it lives");
        drop(lock);
        // A process that another test is starting at this moment may have the file open still; bounded only so that a
        // broken run fails.
        let mut ends = (0..1_000).filter_map(|_| {
            end(&path).or_else(|| {
                std::thread::sleep(Duration::from_millis(10));
                None
            })
        });
        assert!(ends.next().unwrap().unwrap_err().contains("killed"));
        std::fs::write(&path, "0").unwrap();
        assert_eq!(end(&path), Some(Ok(0)));
    }

    #[test]
    fn a_link_is_not_a_marker() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("m")).unwrap();
        assert!(read(&dir.path().join("m")).unwrap().is_err());
    }
}
