//! The journal: what was answered 200 is on disk, and stays until every plugin is through with it (ARCHITECTURE.md,
//! invariant 4).
//!
//! Properties:
//! * `accept` returns once the event is synced. Requests that come together share one sync: a single writer thread
//!   takes whatever is waiting and commits it at once.
//! * A GUID that is still being handled is not queued twice; one that is through is taken anew.
//! * What a plugin has done of an event is recorded a little later and without anybody waiting: losing such a mark
//!   in a crash means handling an event twice, which does no harm.
//! * Finished events are kept for a while, to look at, then removed; those that a handler gave up on for longer.
//!
//! ```text
//! events    seq -> header line '\n' payload      open      seq -> ()          guids  GUID -> newest seq
//! progress  (seq, handler) -> Progress           finished  (Unix ms until which it is kept, seq) -> GUID
//! ```

mod writer;

use crate::error::Error;
use bytes::Bytes;
use jiff::Timestamp;
use prow_service::clock::SharedClock;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use writer::Command;

/// The journal's file, within the journal directory.
pub const FILE_NAME: &str = "hook-journal.redb";
/// redb's page cache; its default of 1 GiB would keep every payload in memory.
const CACHE_BYTES: usize = 8 << 20;

const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
const OPEN: TableDefinition<u64, ()> = TableDefinition::new("open");
const GUIDS: TableDefinition<&str, u64> = TableDefinition::new("guids");
const PROGRESS: TableDefinition<(u64, &str), &[u8]> = TableDefinition::new("progress");
const FINISHED: TableDefinition<(i64, u64), &str> = TableDefinition::new("finished");

/// A webhook as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// `X-GitHub-Delivery`.
    pub guid: String,
    /// `X-GitHub-Event`, such as `pull_request`.
    pub event: String,
    /// When it came.
    pub received: Timestamp,
    /// All headers that are text, names in lower case: external plugins check the signature again.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub payload: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Header {
    guid: String,
    event: String,
    received: Timestamp,
    headers: Vec<(String, String)>,
}

impl Delivery {
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = serde_json::to_vec(&Header {
            guid: self.guid.clone(),
            event: self.event.clone(),
            received: self.received,
            headers: self.headers.clone(),
        })?;
        // JSON writes a newline inside a string as \n: the first newline ends the header.
        out.push(b'\n');
        out.extend_from_slice(&self.payload);
        Ok(out)
    }

    fn decode(record: &[u8]) -> Result<Delivery, String> {
        let end = record.iter().position(|b| *b == b'\n').ok_or("the record has no header line")?;
        let header: Header = serde_json::from_slice(&record[..end]).map_err(|e| e.to_string())?;
        Ok(Delivery {
            guid: header.guid,
            event: header.event,
            received: header.received,
            headers: header.headers,
            payload: Bytes::copy_from_slice(&record[end + 1..]),
        })
    }
}

/// How long events that are through are kept. A busy GitHub sends gigabytes a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Those that everybody handled.
    pub done: Duration,
    /// Those that a handler gave up on.
    pub failed: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { done: Duration::from_secs(3600), failed: Duration::from_secs(7 * 24 * 3600) }
    }
}

/// How far one handler is with one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Progress {
    /// It failed this often and will be tried again.
    Trying {
        /// Failed attempts.
        attempts: u32,
        /// The last failure.
        error: String,
    },
    /// Done.
    Done,
    /// Given up; somebody should look.
    Failed {
        /// Failed attempts.
        attempts: u32,
        /// The last failure.
        error: String,
    },
}

/// What became of [`Journal::accept`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk under this number; numbers rise in order of arrival.
    New(u64),
    /// The same GUID is still being handled, under this number.
    StillOpen(u64),
}

/// An event that was accepted, as the dispatcher is told of it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its number.
    pub seq: u64,
    /// The event.
    pub delivery: Arc<Delivery>,
    /// The same GUID was handled before, as far as is remembered: comments are there already.
    pub again: bool,
}

/// The journal. Its writer thread ends, after writing all that waits, when the last clone is dropped.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<Database>,
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<std::thread::JoinHandle<()>>,
    clock: SharedClock,
    retention: Retention,
    // Events that are not through.
    open: watch::Receiver<u64>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Closing the channel is how the writer learns to stop; whoever opens the file next must find it closed.
        drop(self.commands.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the webhook journal's writer panicked");
        }
    }
}

/// What a journal held when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Numbers of the events that are not through, in order of arrival.
    pub open: Vec<u64>,
    /// How many (event, handler) pairs were given up and are still kept.
    pub failed: u64,
}

impl Journal {
    /// Opens or creates the journal in `dir`. New events are sent to `arrivals` in order, after they are synced.
    pub fn open(
        dir: &Path,
        retention: Retention,
        clock: SharedClock,
        arrivals: tokio::sync::mpsc::UnboundedSender<Arrival>,
    ) -> Result<(Journal, Recovered), Error> {
        let path = dir.join(FILE_NAME);
        let failed =
            |source: redb::Error| Error::OpenJournal { path: path.clone(), source: Box::new(source) };
        std::fs::create_dir_all(dir).map_err(|e| failed(e.into()))?;
        let database =
            redb::Builder::new().set_cache_size(CACHE_BYTES).create(&path).map_err(|e| match e {
                redb::DatabaseError::DatabaseAlreadyOpen => Error::JournalInUse { path: path.clone() },
                other => failed(other.into()),
            })?;
        Journal::start(database, retention, clock, arrivals).map_err(failed)
    }

    /// The same on a storage of the caller's choice; for tests of failing disks.
    #[cfg(test)]
    pub(crate) fn on(
        backend: impl redb::StorageBackend,
        clock: SharedClock,
        arrivals: tokio::sync::mpsc::UnboundedSender<Arrival>,
    ) -> Result<(Journal, Recovered), redb::Error> {
        Journal::start(
            redb::Builder::new().create_with_backend(backend)?,
            Retention::default(),
            clock,
            arrivals,
        )
    }

    fn start(
        database: Database,
        retention: Retention,
        clock: SharedClock,
        arrivals: tokio::sync::mpsc::UnboundedSender<Arrival>,
    ) -> Result<(Journal, Recovered), redb::Error> {
        let create = database.begin_write()?;
        create.open_table(EVENTS)?;
        create.open_table(OPEN)?;
        create.open_table(GUIDS)?;
        create.open_table(PROGRESS)?;
        create.open_table(FINISHED)?;
        create.commit()?;

        let read = database.begin_read()?;
        let mut recovered = Recovered::default();
        for entry in read.open_table(OPEN)?.iter()? {
            recovered.open.push(entry?.0.value());
        }
        for entry in read.open_table(PROGRESS)?.iter()? {
            let (_, progress) = entry?;
            if matches!(serde_json::from_slice(progress.value()), Ok(Progress::Failed { .. })) {
                recovered.failed += 1;
            }
        }
        let next = read.open_table(EVENTS)?.last()?.map_or(1, |(seq, _)| seq.value() + 1);
        drop(read);

        let database = Arc::new(database);
        let (commands, inbox) = mpsc::channel();
        let (count, open) = watch::channel(recovered.open.len() as u64);
        let writer = writer::Writer::new(Arc::clone(&database), next, clock.clone(), arrivals, count);
        let writer = std::thread::Builder::new()
            .name("hook-journal".into())
            .spawn(move || writer.run(&inbox))
            .map_err(redb::Error::Io)?;
        let inner =
            Inner { database, commands: Some(commands), writer: Some(writer), clock, retention, open };
        Ok((Journal { inner: Arc::new(inner) }, recovered))
    }

    /// Writes an event; returns once it is synced.
    pub async fn accept(&self, delivery: Arc<Delivery>) -> Result<Accepted, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Accept { delivery, answer })?;
        match answered.await {
            Ok(Ok(accepted)) => Ok(accepted),
            Ok(Err(why)) => Err(Error::WriteJournal(why)),
            Err(_) => Err(Error::WriteJournal("the writer thread is gone".into())),
        }
    }

    /// Notes how far `handler` is with event `seq`. Written soon, with whatever else is written then.
    pub fn note(&self, seq: u64, handler: &str, progress: Progress) {
        let command = Command::Note { seq, handler: handler.to_owned(), progress };
        if let Err(error) = self.send(command) {
            tracing::error!(seq, handler, %error, "a plugin's progress was not recorded; the event is handled again after a restart");
        }
    }

    /// Every handler is through with event `seq`, or gave up (`failed`). Written soon.
    pub fn finish(&self, seq: u64, failed: bool) {
        let Retention { done, failed: parked } = self.inner.retention;
        let keep_until = self.inner.clock.now() + if failed { parked } else { done };
        if let Err(error) = self.send(Command::Finish { seq, keep_until }) {
            tracing::error!(seq, %error, "an event's end was not recorded; it is handled again after a restart");
        }
    }

    /// Returns once everything noted before is synced.
    pub async fn flush(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Flush { answer })?;
        answered.await.map_err(|_| Error::WriteJournal("the writer thread is gone".into()))
    }

    /// Reads an event and how far its handlers are; `None` if it was removed.
    pub fn load(&self, seq: u64) -> Result<Option<(Delivery, BTreeMap<String, Progress>)>, Error> {
        let failed = |why: String| Error::ReadJournal { seq, why };
        let read = || -> Result<_, redb::Error> {
            let read = self.inner.database.begin_read()?;
            let Some(record) = read.open_table(EVENTS)?.get(seq)? else { return Ok(None) };
            let mut progress = BTreeMap::new();
            let table = read.open_table(PROGRESS)?;
            for entry in table.range((seq, "")..(seq + 1, ""))? {
                let (key, value) = entry?;
                progress.insert(key.value().1.to_owned(), value.value().to_vec());
            }
            Ok(Some((Delivery::decode(record.value()), progress)))
        };
        let Some((delivery, raw)) = read().map_err(|e| failed(e.to_string()))? else { return Ok(None) };
        let mut progress = BTreeMap::new();
        for (handler, value) in raw {
            let value = serde_json::from_slice(&value).map_err(|e| failed(format!("{handler}: {e}")))?;
            progress.insert(handler, value);
        }
        Ok(Some((delivery.map_err(failed)?, progress)))
    }

    /// How many events are not through.
    pub fn open_now(&self) -> u64 {
        *self.inner.open.borrow()
    }

    /// Returns once every event is through.
    pub async fn settled(&self) {
        // Fails only when the writer is gone; then nothing settles any more.
        if self.inner.open.clone().wait_for(|open| *open == 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn send(&self, command: Command) -> Result<(), Error> {
        let gone = || Error::WriteJournal("the writer thread is gone".into());
        self.inner.commands.as_ref().ok_or_else(gone)?.send(command).map_err(|_| gone())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
