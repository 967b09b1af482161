//! The durable store: objects, their history and one counter in a redb file; snapshot reads, grouped commits.
//!
//! Properties that the rest relies on:
//! * An acknowledged write is in the file (and, with `sync`, on the disk): it survives SIGKILL.
//! * One resourceVersion is one event; versions have no holes. Object, event and counter commit together.
//! * Writers never wait for readers, readers never wait for writers: a read is a snapshot at one version.
//! * What cannot be written, because the disk is full say, is refused; what is stored can be read, and writes go on by
//!   themselves when there is room.
//! * A watcher that asks "what came after N" gets every event after N once, or is told that N is compacted.

mod backend;
mod commit;
mod compact;
pub mod event;
#[cfg(test)]
mod tests;
pub mod tx;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};
use tokio::sync::{oneshot, watch};

use crate::resources::Resource;
use crate::status::ApiError;
use backend::Opened;
use commit::{Job, Queue, TypedJob};
pub use compact::Compacted;
use event::{Event, Head, Ring};
use tx::{Objects, Tx};

const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");
const EVENTS: TableDefinition<u64, (&str, &[u8], &[u8])> = TableDefinition::new("events");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The newest resourceVersion.
const VERSION: &str = "resourceVersion";
/// Events up to and including this version are gone.
const COMPACTED: &str = "compacted";
/// Bytes of the events that are kept.
const HISTORY_BYTES: &str = "historyBytes";
/// Most bytes of events that are kept: a few large objects must not fill the disk.
pub const MAX_HISTORY_BYTES: u64 = 64 << 20;
/// Most snapshots that are kept for lists that go on.
const MAX_PINS: usize = 16;
/// Layout of the tables above; a newer program that changes it counts up.
const FORMAT: &str = "format";
const CURRENT_FORMAT: u64 = 1;
/// redb's page cache. Its default of 1 GiB would keep every ProwJob in memory.
const CACHE_BYTES: usize = 8 << 20;
/// How long a failed commit keeps later ones waiting for lists that are still read from what was there before it.
const READERS_END: Duration = Duration::from_secs(1);

/// The file's name in the data directory.
pub const FILE_NAME: &str = "apiserver.redb";

/// A failure below the API.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the file.
    #[error(
        "another process has {} open; stop it, or choose another data directory", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The directory or file cannot be made or opened.
    #[error("cannot open the object store {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What redb or the system says.
        source: Box<redb::Error>,
    },
    /// The file was written by a newer program.
    #[error(
        "the object store {} has format {found}, this program knows {CURRENT_FORMAT}; use the newer program, \
         or move the file away to start afresh", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// There is no room for what was to be written.
    #[error(
        "the object store has no room on its disk ({0}); what is stored can be read; make \
         room, and writes go on by themselves"
    )]
    Full(std::io::Error),
    /// Reading or writing failed.
    #[error("the object store failed: {0}")]
    Redb(Box<redb::Error>),
    /// A record is not what this program writes.
    #[error("the object store has an unreadable record: {0}")]
    Record(String),
}

impl StoreError {
    /// Any of redb's errors.
    pub fn of(e: impl Into<redb::Error>) -> StoreError {
        match e.into() {
            redb::Error::Io(e) if is_for_want_of_room(&e) => StoreError::Full(e),
            e => StoreError::Redb(Box::new(e)),
        }
    }
}

fn is_for_want_of_room(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(e.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Why events after a version cannot be had.
#[derive(Debug)]
pub enum SinceError {
    /// They are compacted; `oldest` is the oldest version from which a watch can resume.
    Compacted {
        /// See above.
        oldest: u64,
    },
    /// The store failed.
    Store(StoreError),
}

/// Handle to the open store; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// How a store is kept.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Wait for the disk at every commit.
    pub sync: bool,
    /// Events that are kept for watch replay.
    pub history: usize,
    /// Most bytes of them.
    pub history_bytes: u64,
    /// A file larger than this is made smaller when most of it is free.
    pub compact_above: u64,
}

struct Inner {
    /// Snapshots that unfinished lists read from, oldest first. They go with the history that is as old.
    pins: Mutex<VecDeque<Arc<Snapshot>>>,
    /// The file, not a symbolic link to it.
    path: PathBuf,
    db: RwLock<Arc<Opened>>,
    /// Held by whoever commits, or puts another file in the place of this one.
    commits: Mutex<()>,
    /// Events behind this version are kept, whatever their number: a compaction still needs them.
    hold: AtomicU64,
    compacting: AtomicBool,
    /// Bytes written since the file was last looked at.
    written: AtomicU64,
    compact_above: u64,
    sync: bool,
    history: u64,
    history_bytes: u64,
    queue: Mutex<Queue>,
    ring: RwLock<Ring>,
    head: watch::Sender<u64>,
}

/// A consistent view at one version.
pub struct Snapshot {
    objects: ReadOnlyTable<&'static str, &'static [u8]>,
    /// The version of the view.
    pub version: u64,
    /// A watch can start from any version not below this one.
    pub oldest: u64,
    /// What it reads from, which another file may have replaced meanwhile. Dropped after the table.
    opened: Arc<Opened>,
}

/// Key of an object; `namespace` is empty for cluster-scoped kinds.
pub fn key(resource: &Resource, namespace: &str, name: &str) -> String {
    format!("{}\0{namespace}\0{name}", resource.qualified())
}

/// Prefix of the keys of a kind, within one namespace if one is given.
pub fn prefix(resource: &Resource, namespace: Option<&str>) -> String {
    match namespace {
        Some(ns) => format!("{}\0{ns}\0", resource.qualified()),
        None => format!("{}\0", resource.qualified()),
    }
}

/// Namespace and name of a key.
pub fn split_key(key: &str) -> (&str, &str) {
    let mut parts = key.splitn(3, '\0').skip(1);
    (parts.next().unwrap_or(""), parts.next().unwrap_or(""))
}

/// The first string after all that start with `prefix`, which ends in NUL.
fn prefix_end(prefix: &str) -> String {
    format!("{}\u{1}", prefix.strip_suffix('\0').unwrap_or(prefix))
}

impl Store {
    /// Opens or makes the store in `dir`.
    pub fn open(dir: &Path, settings: Settings) -> Result<Store, StoreError> {
        let path = dir.join(FILE_NAME);
        let open_error = |e: redb::Error| StoreError::Open { path: path.clone(), source: Box::new(e) };
        std::fs::create_dir_all(dir).map_err(|e| open_error(redb::Error::Io(e)))?;
        let file = backend::lock(&path)?;
        let real = std::fs::canonicalize(&path).map_err(|e| open_error(redb::Error::Io(e)))?;
        compact::clean(&real);
        if settings.sync
            && let Err(e) = backend::sync_dir(dir)
        {
            tracing::warn!(error = %e, "the data directory was not synced; a power cut may take a new file away");
        }
        let opened = Opened::of(file, settings.sync).map_err(open_error)?;
        let version = prepare(&opened.db, &path)?;
        let inner = Inner {
            pins: Mutex::default(),
            path: real,
            db: RwLock::new(Arc::new(opened)),
            commits: Mutex::default(),
            hold: AtomicU64::new(u64::MAX),
            compacting: AtomicBool::new(false),
            written: AtomicU64::new(0),
            compact_above: settings.compact_above,
            sync: settings.sync,
            history: settings.history.max(1) as u64,
            history_bytes: settings.history_bytes,
            queue: Mutex::default(),
            ring: RwLock::default(),
            head: watch::Sender::new(version),
        };
        inner.compact_if_worthwhile(false);
        Ok(Store { inner: Arc::new(inner) })
    }

    /// A view of now.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let opened = self.inner.opened();
        let txn = opened.db.begin_read().map_err(StoreError::of)?;
        let meta = txn.open_table(META).map_err(StoreError::of)?;
        let number = |name| -> Result<u64, StoreError> {
            Ok(meta.get(name).map_err(StoreError::of)?.map_or(0, |v| v.value()))
        };
        Ok(Snapshot {
            version: number(VERSION)?,
            oldest: number(COMPACTED)?,
            objects: txn.open_table(OBJECTS).map_err(StoreError::of)?,
            opened,
        })
    }

    /// Makes the file as small as what is in it while everything goes on; `None` if that is under way already.
    pub async fn compact(&self) -> Result<Option<Compacted>, StoreError> {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || inner.compact()).await;
        done.unwrap_or_else(|e| Err(StoreError::Record(format!("the compaction broke off: {e}"))))
    }

    /// Keeps a snapshot for a list that is not finished. The number is bounded, and so is the age in versions.
    pub fn pin(&self, snapshot: Arc<Snapshot>) {
        let mut pins = self.inner.pins.lock();
        // Of a file that was replaced meanwhile nothing is kept.
        if pins.iter().any(|p| p.version == snapshot.version)
            || !Arc::ptr_eq(&snapshot.opened, &self.inner.opened())
        {
            return;
        }
        pins.push_back(snapshot);
        if pins.len() > MAX_PINS {
            pins.pop_front();
        }
    }

    /// The snapshot of a version, if it is still kept.
    pub fn pinned(&self, version: u64) -> Option<Arc<Snapshot>> {
        self.inner.pins.lock().iter().find(|p| p.version == version).cloned()
    }

    /// Runs an operation and commits what it did. It sees every write acknowledged before, and no other
    /// operation runs between its reads and its writes. If it fails, nothing of it remains.
    pub async fn write<T: Send + 'static>(
        &self,
        op: impl FnOnce(&mut Tx<'_>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(TypedJob::new(op, reply));
        self.enqueue(job);
        // The sender goes away unanswered only if the commit panicked or the runtime is ending.
        answer.await.unwrap_or_else(|_| {
            Err(ApiError::internal("the write was not carried out: the object store is shutting down"))
        })
    }

    /// [`Store::write`] for the time before the store is shared: blocks, and needs no runtime.
    pub fn write_at_start<T: Send + 'static>(
        &self,
        op: impl FnOnce(&mut Tx<'_>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (reply, mut answer) = oneshot::channel();
        self.inner.commit_group(vec![Box::new(TypedJob::new(op, reply))]).send();
        answer.try_recv().unwrap_or_else(|_| Err(ApiError::internal("the operation was not carried out")))
    }

    /// Runs an operation on a snapshot and throws its changes away (`dryRun=All`).
    pub fn try_out<T>(&self, op: impl FnOnce(&mut Tx<'_>) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let snapshot = self.snapshot().map_err(ApiError::internal)?;
        op(&mut Tx::new(&snapshot.objects, snapshot.version))
    }

    /// The newest version, and a way to wait for newer ones.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.inner.head.subscribe()
    }

    /// Up to `limit` events after version `cursor`, oldest first.
    pub async fn since(&self, cursor: u64, limit: usize) -> Result<Vec<Arc<Event>>, SinceError> {
        if cursor >= *self.inner.head.borrow() {
            return Ok(Vec::new());
        }
        if let Some(events) = self.inner.ring.read().since(cursor, limit) {
            return Ok(events);
        }
        let inner = self.inner.clone();
        match tokio::task::spawn_blocking(move || inner.read_events(cursor, limit)).await {
            Ok(events) => events,
            Err(e) => Err(SinceError::Store(StoreError::Record(format!("reading events failed: {e}")))),
        }
    }
}

impl Inner {
    fn opened(&self) -> Arc<Opened> {
        self.db.read().clone()
    }

    /// From now on this one is read and written.
    fn replace(&self, opened: Opened) {
        *self.db.write() = Arc::new(opened);
    }

    /// Goes on after a failed commit, which leaves a database that refuses everything. What was committed is what the
    /// file says, which may be more than was acknowledged.
    fn reopen(&self) -> Result<(), StoreError> {
        let old = self.opened();
        let opened = old.again().map_err(StoreError::of)?;
        let version = number(&opened.db, VERSION).inspect_err(|_| opened.retire())?.unwrap_or(0);
        self.replace(opened);
        *self.ring.write() = Ring::default();
        self.head.send_if_modified(|head| std::mem::replace(head, version) != version);
        // The next commit may write over what only the old handle's snapshots need.
        self.pins.lock().clear();
        old.end_after_readers(READERS_END);
        Ok(())
    }

    fn read_events(&self, cursor: u64, limit: usize) -> Result<Vec<Arc<Event>>, SinceError> {
        let failed = |e: redb::Error| SinceError::Store(StoreError::of(e));
        let opened = self.opened();
        let txn = opened.db.begin_read().map_err(|e| failed(e.into()))?;
        let meta = txn.open_table(META).map_err(|e| failed(e.into()))?;
        let oldest = meta.get(COMPACTED).map_err(|e| failed(e.into()))?.map_or(0, |v| v.value());
        if cursor < oldest {
            return Err(SinceError::Compacted { oldest });
        }
        let table = txn.open_table(EVENTS).map_err(|e| failed(e.into()))?;
        let mut events = Vec::new();
        for entry in table.range(cursor + 1..).map_err(|e| failed(e.into()))?.take(limit) {
            let (version, record) = entry.map_err(|e| failed(e.into()))?;
            let (key, head, object) = record.value();
            let head: Head = serde_json::from_slice(head).map_err(|e| {
                SinceError::Store(StoreError::Record(format!("event {}: {e}", version.value())))
            })?;
            events.push(Arc::new(Event {
                version: version.value(),
                key: key.to_owned(),
                head,
                object: Bytes::copy_from_slice(object),
            }));
        }
        Ok(events)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let opened = self.opened();
        // This one and the field's: nobody else reads from it, so it closes as it should. A reader that goes on must
        // neither keep the file locked nor write to it when it ends.
        if Arc::strong_count(&opened) > 2 || opened.shares_its_file() {
            opened.retire();
            opened.end();
            if let Err(e) = opened.file.unlock() {
                tracing::warn!(error = %e, "the object store's file stays locked until its last reader ends");
            }
        }
    }
}

impl Snapshot {
    /// The object's JSON.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.objects.read(key)
    }

    /// How many objects there are under `prefix` behind the key `after`.
    pub fn count(&self, prefix: &str, after: &str) -> Result<usize, StoreError> {
        let (start, end) = (format!("{after}\0"), prefix_end(prefix));
        if start >= end {
            return Ok(0);
        }
        Ok(self.objects.range(start.as_str()..end.as_str()).map_err(StoreError::of)?.count())
    }

    /// Calls `each` with key and JSON of the objects under `prefix`, in order, those after the key `after` if
    /// one is given, until it returns false.
    pub fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        mut each: impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let end = prefix_end(prefix);
        // The next string after a key is the key and a NUL.
        let start = after.map_or_else(|| prefix.to_owned(), |k| format!("{k}\0"));
        if start >= end {
            return Ok(());
        }
        for entry in self.objects.range(start.as_str()..end.as_str()).map_err(StoreError::of)? {
            let (key, value) = entry.map_err(StoreError::of)?;
            if !each(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }
}

/// A number of the table of numbers; `None` where nothing was ever written.
fn number(db: &Database, name: &str) -> Result<Option<u64>, StoreError> {
    let read = db.begin_read().map_err(StoreError::of)?;
    match read.open_table(META) {
        Ok(meta) => Ok(meta.get(name).map_err(StoreError::of)?.map(|v| v.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(StoreError::of(e)),
    }
}

/// Makes the tables in a new file; gives the newest version.
fn prepare(db: &Database, path: &Path) -> Result<u64, StoreError> {
    // Without writing, where that is done already: a server starts at a full disk too.
    if number(db, FORMAT)? == Some(CURRENT_FORMAT)
        && let Some(version) = number(db, VERSION)?
    {
        return Ok(version);
    }
    let txn = db.begin_write().map_err(StoreError::of)?;
    let version = {
        txn.open_table(OBJECTS).map_err(StoreError::of)?;
        txn.open_table(EVENTS).map_err(StoreError::of)?;
        let mut meta = txn.open_table(META).map_err(StoreError::of)?;
        let read = |name: &str| -> Result<Option<u64>, StoreError> {
            Ok(redb::ReadableTable::get(&meta, name).map_err(StoreError::of)?.map(|v| v.value()))
        };
        let format = read(FORMAT)?;
        // "0" has a meaning of its own to clients ("any version"), so the first version is 1.
        let version = read(VERSION)?.unwrap_or(1);
        match format {
            Some(CURRENT_FORMAT) => {}
            Some(found) => return Err(StoreError::Format { path: path.to_owned(), found }),
            None => {
                meta.insert(FORMAT, CURRENT_FORMAT).map_err(StoreError::of)?;
                meta.insert(VERSION, version).map_err(StoreError::of)?;
                meta.insert(COMPACTED, version).map_err(StoreError::of)?;
            }
        }
        version
    };
    txn.commit().map_err(StoreError::of)?;
    Ok(version)
}
