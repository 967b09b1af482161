//! The file below redb: who holds it, whether commits wait for the disk, and what a handle that was replaced may still
//! do.
//!
//! The lock is taken here and not by redb, so that a database can be opened afresh on the file that we hold already:
//! after a failed write redb refuses everything until then. Every write reaches the kernel in order before a commit is
//! acknowledged, so killing the process loses nothing, with or without `sync`; a power cut may without it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, StorageBackend};

use super::{CACHE_BYTES, StoreError};

/// A database and the file below it.
pub struct Opened {
    /// Dropped before the file, which it closes properly unless it was retired.
    pub db: Database,
    /// Locked while anybody has it.
    pub file: Arc<File>,
    sync: bool,
    retired: Arc<AtomicBool>,
}

impl Opened {
    /// Opens the database in a file that is locked.
    pub fn of(file: Arc<File>, sync: bool) -> Result<Opened, redb::Error> {
        let retired = Arc::new(AtomicBool::new(false));
        let backend = Backend { file: file.clone(), sync, retired: retired.clone() };
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let db = builder.create_with_backend(backend)?;
        Ok(Opened { db, file, sync, retired })
    }

    /// The same file, as after a restart: what was committed is there.
    pub fn again(&self) -> Result<Opened, redb::Error> {
        self.retire();
        Opened::of(self.file.clone(), self.sync)
    }

    /// From now on it is only read; another has taken its place.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Bytes of the file.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
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
    retired: Arc<AtomicBool>,
}

impl Backend {
    fn writable(&self) -> io::Result<()> {
        if self.retired.load(Ordering::Acquire) {
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
        self.file.read_exact_at(out, offset)
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
