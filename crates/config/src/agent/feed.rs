//! The change feed: what each new snapshot changes, by name, for whoever keeps something that depends on it.

use crate::diagnostic::Diagnostic;
use crate::diff::{JobChanges, StartOnly};
use crate::snapshot::Snapshot;
use std::sync::Arc;
use tokio::sync::watch;

/// From one snapshot to a later one.
#[derive(Debug, Clone)]
pub struct Change {
    /// What the reader of the feed knew.
    pub old: Arc<Snapshot>,
    /// What is in force now.
    pub new: Arc<Snapshot>,
    /// Jobs that came, went or became different.
    pub jobs: JobChanges,
    /// Keys that are not what they were when Prow started, though they are read only then: a restart is needed.
    pub needs_restart: Vec<Diagnostic>,
}

/// Tells of changes in their order. A reader who is slow gets several as one; none is lost.
#[derive(Debug)]
pub struct ChangeFeed {
    receiver: watch::Receiver<Arc<Snapshot>>,
    known: Arc<Snapshot>,
    started: Arc<StartOnly>,
}

impl ChangeFeed {
    pub(super) fn new(mut receiver: watch::Receiver<Arc<Snapshot>>, started: Arc<StartOnly>) -> ChangeFeed {
        let known = receiver.borrow_and_update().clone();
        ChangeFeed { receiver, known, started }
    }

    /// The snapshot that the next change starts from.
    pub fn known(&self) -> &Arc<Snapshot> {
        &self.known
    }

    /// Waits for the next change; nothing once the agent has ended.
    pub async fn next(&mut self) -> Option<Change> {
        self.receiver.changed().await.ok()?;
        let new = self.receiver.borrow_and_update().clone();
        let old = std::mem::replace(&mut self.known, new.clone());
        let jobs = JobChanges::between(&old, &new);
        let needs_restart = self.started.changed_in(&new);
        Some(Change { old, new, jobs, needs_restart })
    }
}
