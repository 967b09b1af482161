//! The file below redb: who holds it, whether commits wait for the disk, and what a handle that was replaced may still
//! do.
//!
//! The lock is taken here and not by redb, so that a database can be opened afresh on the file that we hold already:
//! after a failed write redb refuses everything until then. Every write reaches the kernel in order before a commit is
//! acknowledged, so killing the process loses nothing, with or without `sync`; a power cut may without it.
//!
//! Two databases over one file do not know of each other's readers: once the newer one has committed, it writes over
//! pages that a snapshot of the older one still needs. Before that the older one stops to answer, so that nobody is
//! given pieces of other objects for what he asked.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use redb::{Database, StorageBackend};

use super::{CACHE_BYTES, StoreError};

/// A handle that reads and writes.
const IN_USE: u8 = 0;
/// A handle that only reads: another has taken its place.
const RETIRED: u8 = 1;
/// A handle that does not even read: what it would find may be another's.
const GONE: u8 = 2;
/// How often it is looked whether the last reader has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A database and the file below it.
pub struct Opened {
    /// Dropped before the file, which it closes properly unless it was retired.
    pub db: Database,
    /// Locked while anybody has it.
    pub file: Arc<File>,
    sync: bool,
    state: Arc<AtomicU8>,
}

impl Opened {
    /// Opens the database in a file that is locked.
    pub fn of(file: Arc<File>, sync: bool) -> Result<Opened, redb::Error> {
        let state = Arc::new(AtomicU8::new(IN_USE));
        let backend = Backend { file: file.clone(), sync, state: state.clone() };
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let db = builder.create_with_backend(backend)?;
        Ok(Opened { db, file, sync, state })
    }

    /// The same file, as after a restart: what was committed is there.
    pub fn again(&self) -> Result<Opened, redb::Error> {
        self.retire();
        Opened::of(self.file.clone(), self.sync)
    }

    /// From now on it is only read; another has taken its place.
    pub fn retire(&self) {
        self.state.fetch_max(RETIRED, Ordering::AcqRel);
    }

    /// From now on nothing is read from it either, but for what is in its cache.
    pub fn end(&self) {
        self.state.fetch_max(GONE, Ordering::AcqRel);
    }

    /// [`Opened::end`] as soon as nobody but the caller has it, or when `patience` is over.
    pub fn end_after_readers(self: &Arc<Self>, patience: Duration) {
        let began = Instant::now();
        while Arc::strong_count(self) > 1 && began.elapsed() < patience {
            std::thread::sleep(LOOK);
        }
        self.end();
    }

    /// Does another handle, or a snapshot of one, have the same file?
    pub fn shares_its_file(&self) -> bool {
        // This one's, and its backend's.
        Arc::strong_count(&self.file) > 2
    }

    /// Bytes of the file.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// Waits until the disk knows which file stands for which name.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Opens or makes the file and locks it. There are Secrets among the objects, so it is its owner's alone.
pub fn lock(path: &Path) -> Result<Arc<File>, StoreError> {
    let failed = |e| StoreError::Open { path: path.to_owned(), source: Box::new(redb::Error::Io(e)) };
    loop {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(failed)?;
        file.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => StoreError::InUse { path: path.to_owned() },
            TryLockError::Error(e) => failed(e),
        })?;
        // Between the two, a server that compacts and ends may have put another file there.
        let (ours, there) = (file.metadata().map_err(failed)?, std::fs::metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(Arc::new(file));
        }
    }
}

#[derive(Debug)]
struct Backend {
    file: Arc<File>,
    sync: bool,
    state: Arc<AtomicU8>,
}

impl Backend {
    fn writable(&self) -> io::Result<()> {
        if self.state.load(Ordering::Acquire) >= RETIRED {
            return Err(io::Error::other("another handle has taken this one's place"));
        }
        Ok(())
    }
}

/// Without locks, which are ours: redb then trusts that nobody else is there.
impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)?;
        // Looked at afterwards: who ends this handle does so before he writes, so what was read by then is right.
        if self.state.load(Ordering::Acquire) >= GONE {
            return Err(io::Error::other("what this handle would read may have been written over"));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writable()?;
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writable()?;
        self.file.write_all_at(data, offset)
    }
}
