//! Compaction while the server runs: what is stored is copied into a new file, which then takes the old one's place.
//!
//! redb reuses free pages but gives hardly any back to the disk. The copy is made from a snapshot while writes go on;
//! what they changed meanwhile follows from the events, and only the last few of them are taken over while writers
//! wait. The new file replaces the old one by a rename: killed at any moment, one of them is there, whole. A compaction
//! that fails, for want of disk space say, leaves the old file in use and is tried again later.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::{Database, Key, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, Value};

use super::backend::{self, Opened};
use super::event::{Change, Event};
use super::{COMPACTED, EVENTS, Inner, META, OBJECTS, SinceError, StoreError, VERSION};

/// Bytes that one transaction of the copy takes.
const CHUNK: usize = 4 << 20;
/// Events that are taken over at once while writers go on.
const BATCH: usize = 1000;
/// So few events may be left when writers are made to wait.
const LAST: usize = 100;
/// Times that the copy runs after the writers before it makes them wait regardless.
const ROUNDS: usize = 50;

/// Room that is left to others beside the copy: those who write while it is made must not be the ones who find none.
const SPARE: u64 = 16 << 20;

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file after.
    pub after: u64,
}

/// Is it worth it? At the start nobody waits, so half is enough; while running, three quarters have to be free.
pub fn is_worthwhile(size: u64, used: u64, above: u64, running: bool) -> bool {
    size > above && used < size / if running { 4 } else { 2 }
}

/// Is there room for a copy of `used` bytes? Its pages may be as much as half empty.
fn has_room(free: u64, used: u64) -> bool {
    free >= used.saturating_add(used / 2).saturating_add(SPARE)
}

/// Bytes that may still be written to the disk that `dir` is on.
fn free(dir: &Path) -> io::Result<u64> {
    let disk = nix::sys::statvfs::statvfs(dir)?;
    Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

/// Where the copy is made.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("redb.new")
}

/// Removes what a compaction that was killed has left.
pub fn clean(path: &Path) {
    let left = beside(path);
    match std::fs::remove_file(&left) {
        Ok(()) => tracing::info!(path = %left.display(), "a compaction that did not end was cleaned up"),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => tracing::warn!(path = %left.display(), error = %e, "a leftover cannot be removed"),
    }
}

/// Ends a compaction, however it ends.
struct Running<'a>(&'a Inner);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.hold.store(u64::MAX, Ordering::Release);
        self.0.compacting.store(false, Ordering::Release);
    }
}

impl Inner {
    /// Compacts if most of the file is free. What fails is logged: the file in use is as good as before.
    pub fn compact_if_worthwhile(&self, running: bool) {
        let opened = self.opened();
        let looked = opened.size().map_err(|e| StoreError::of(redb::Error::Io(e)));
        let looked = looked.and_then(|size| Ok((size, in_use(&opened.db)?)));
        drop(opened);
        let done = match looked {
            Ok((size, used)) if is_worthwhile(size, used, self.compact_above, running) => self.compact(),
            Ok(_) => return,
            Err(e) => Err(e),
        };
        match done {
            Ok(Some(done)) => {
                tracing::info!(before = done.before, after = done.after, "the object store was made smaller");
            }
            Ok(None) => {}
            Err(e) => {
                tracing::warn!(error = %e, "the object store could not be made smaller; it is tried again later");
            }
        }
    }

    /// Compacts now; `None` if that is under way already.
    pub fn compact(&self) -> Result<Option<Compacted>, StoreError> {
        if self.compacting.swap(true, Ordering::AcqRel) {
            return Ok(None);
        }
        let _running = Running(self);
        let path = beside(&self.path);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Open { path, source: Box::new(redb::Error::Io(e)) });
            }
            _ => {}
        }
        let done = self.copy(&path);
        if done.is_err() {
            // Gone already if it was never made. What cannot be removed now is removed by the next compaction or start.
            let _ = std::fs::remove_file(&path);
        }
        done.map(Some)
    }

    fn copy(&self, path: &Path) -> Result<Compacted, StoreError> {
        let io = |e| StoreError::of(redb::Error::Io(e));
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let (used, room) = (in_use(&self.opened().db)?, free(dir).map_err(io)?);
        if !has_room(room, used) {
            let why =
                format!("a copy of {used} bytes and what is written meanwhile do not go into {room} bytes");
            return Err(io(io::Error::new(io::ErrorKind::StorageFull, why)));
        }
        let mut new = Opened::of(backend::lock(path)?, self.sync).map_err(StoreError::of)?;
        let (old, txn) = {
            // No commit comes between the snapshot and the hold on what comes after it.
            let _commits = self.commits.lock();
            let old = self.opened();
            let txn = old.db.begin_read().map_err(StoreError::of)?;
            let version =
                txn.open_table(META).map_err(StoreError::of)?.get(VERSION).map_err(StoreError::of)?;
            self.hold.store(version.map_or(0, |v| v.value()), Ordering::Release);
            (old, txn)
        };
        let before = old.size().map_err(io)?;
        copy_tables(&txn, &new.db)?;
        drop(txn);
        drop(old);
        // Ascending inserts leave pages half full and the file with room to grow.
        new.db.compact().map_err(StoreError::of)?;
        let mut cursor = self.hold.load(Ordering::Acquire);
        for _ in 0..ROUNDS {
            let events = self.events_after(cursor, BATCH)?;
            cursor = apply(&new.db, &events, cursor)?;
            self.hold.store(cursor, Ordering::Release);
            if events.len() < LAST {
                break;
            }
        }
        let _commits = self.commits.lock();
        loop {
            let events = self.events_after(cursor, BATCH)?;
            if events.is_empty() {
                break;
            }
            cursor = apply(&new.db, &events, cursor)?;
        }
        let old = self.opened();
        settle(&old.db, &new.db)?;
        let after = new.size().map_err(io)?;
        // Even without `sync`: a name must not come to stand for a file that is not there yet.
        new.file.sync_all().map_err(io)?;
        std::fs::rename(path, &self.path).map_err(io)?;
        if let Err(e) = backend::sync_dir(dir) {
            tracing::warn!(error = %e, "the data directory was not synced; a power cut may bring the old file back");
        }
        old.retire();
        self.replace(new);
        // What unfinished lists hold on to would keep the old file's space; they are answered with 410.
        self.pins.lock().clear();
        Ok(Compacted { before, after })
    }

    fn events_after(&self, cursor: u64, limit: usize) -> Result<Vec<Arc<Event>>, StoreError> {
        self.read_events(cursor, limit).map_err(|e| match e {
            SinceError::Store(e) => e,
            SinceError::Compacted { oldest } => {
                StoreError::Record(format!("events after {cursor} are gone, the oldest is {oldest}"))
            }
        })
    }
}

pub fn copy_tables(from: &redb::ReadTransaction, to: &Database) -> Result<(), StoreError> {
    copy_table(from, to, OBJECTS, |object| object.len())?;
    copy_table(from, to, EVENTS, |(_, _, object)| object.len())
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &redb::ReadTransaction,
    to: &Database,
    definition: TableDefinition<K, V>,
    size: impl Fn(&V::SelfType<'_>) -> usize,
) -> Result<(), StoreError> {
    let table = from.open_table(definition).map_err(StoreError::of)?;
    let mut rows = table.iter().map_err(StoreError::of)?;
    let (mut more, mut copied) = (true, 0);
    while more {
        let mut bytes = 0;
        more = false;
        let txn = to.begin_write().map_err(StoreError::of)?;
        {
            let mut table = txn.open_table(definition).map_err(StoreError::of)?;
            for row in rows.by_ref() {
                let (key, value) = row.map_err(StoreError::of)?;
                let value = value.value();
                bytes += size(&value);
                copied += 1;
                table.insert(key.value(), value).map_err(StoreError::of)?;
                if bytes > CHUNK {
                    more = true;
                    break;
                }
            }
        }
        txn.commit().map_err(StoreError::of)?;
    }
    // The copy takes the original's place, so whatever may have gone wrong, it must not be the smaller one.
    match table.len().map_err(StoreError::of)? {
        stored if stored == copied => Ok(()),
        stored => {
            Err(StoreError::Record(format!("{copied} of {stored} records of {definition} could be read")))
        }
    }
}

/// Does again what the events say; gives the version of the last one.
fn apply(to: &Database, events: &[Arc<Event>], cursor: u64) -> Result<u64, StoreError> {
    let Some(last) = events.last() else { return Ok(cursor) };
    let txn = to.begin_write().map_err(StoreError::of)?;
    {
        let mut objects = txn.open_table(OBJECTS).map_err(StoreError::of)?;
        let mut table = txn.open_table(EVENTS).map_err(StoreError::of)?;
        for event in events {
            let key = event.key.as_str();
            match event.head.change {
                Change::Added | Change::Modified => {
                    objects.insert(key, event.object.as_ref()).map_err(StoreError::of)?;
                }
                Change::Deleted => {
                    objects.remove(key).map_err(StoreError::of)?;
                }
            }
            let head = serde_json::to_vec(&event.head).map_err(|e| StoreError::Record(e.to_string()))?;
            let record = (key, head.as_slice(), event.object.as_ref());
            table.insert(event.version, record).map_err(StoreError::of)?;
        }
    }
    txn.commit().map_err(StoreError::of)?;
    Ok(last.version)
}

/// Counters as they are in the old file, and its history's beginning.
fn settle(from: &Database, to: &Database) -> Result<(), StoreError> {
    let read = from.begin_read().map_err(StoreError::of)?;
    let counters = read.open_table(META).map_err(StoreError::of)?;
    let txn = to.begin_write().map_err(StoreError::of)?;
    {
        let mut meta = txn.open_table(META).map_err(StoreError::of)?;
        for row in counters.iter().map_err(StoreError::of)? {
            let (name, value) = row.map_err(StoreError::of)?;
            meta.insert(name.value(), value.value()).map_err(StoreError::of)?;
        }
        let gone = counters.get(COMPACTED).map_err(StoreError::of)?.map_or(0, |v| v.value());
        let mut events = txn.open_table(EVENTS).map_err(StoreError::of)?;
        events.retain_in(..=gone, |_, _| false).map_err(StoreError::of)?;
    }
    txn.commit().map_err(StoreError::of)
}

/// Bytes of the file that hold something.
fn in_use(db: &Database) -> Result<u64, StoreError> {
    let txn = db.begin_read().map_err(StoreError::of)?;
    let objects = txn.open_table(OBJECTS).map_err(StoreError::of)?.stats().map_err(StoreError::of)?;
    let events = txn.open_table(EVENTS).map_err(StoreError::of)?.stats().map_err(StoreError::of)?;
    let bytes = |s: &redb::TableStats| s.stored_bytes() + s.metadata_bytes() + s.fragmented_bytes();
    Ok(bytes(&objects) + bytes(&events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_leaves_room_to_others() {
        let mb = |n: u64| n << 20;
        for (free, used, expected) in
            [(mb(16), 0, true), (mb(15), 0, false), (mb(46), mb(20), true), (mb(45), mb(20), false)]
        {
            assert_eq!(has_room(free, used), expected, "{free} {used}");
        }
        assert!(!has_room(u64::MAX - 1, u64::MAX), "no overflow");
        assert!(super::free(Path::new("/")).unwrap() > 0);
    }

    #[test]
    fn what_is_worth_a_compaction() {
        let mb = |n: u64| n << 20;
        for (size, used, running, expected) in [
            (mb(30), 0, true, false),
            (mb(100), mb(24), true, true),
            (mb(100), mb(26), true, false),
            (mb(100), mb(49), false, true),
            (mb(100), mb(51), false, false),
        ] {
            assert_eq!(is_worthwhile(size, used, mb(32), running), expected, "{size} {used} {running}");
        }
    }
}
