//! Group commit: what is queued goes into one transaction, is made durable once, published, and then answered.
//!
//! There is one writer at a time. It runs as a blocking task while there is work and ends when the queue is empty,
//! so an idle store has no thread, and a runtime with paused time waits for a commit instead of leaping ahead.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::ReadableTable;
use tokio::sync::oneshot;

use super::event::Event;
use super::tx::Tx;
use super::{COMPACTED, EVENTS, HISTORY_BYTES, Inner, META, OBJECTS, Store, StoreError, VERSION};
use crate::status::ApiError;

/// Most operations in one commit: bounds the memory of a transaction and the wait of its first operation.
const GROUP: usize = 512;
/// Bytes that an event costs beside its object: a page in each table, and those above them.
const PAGES: u64 = 16 << 10;

/// What a commit has done.
struct Committed {
    events: Vec<Arc<Event>>,
    /// Events up to this version are gone.
    gone: u64,
}

/// An operation and the one who waits for it.
pub trait Job: Send {
    /// Runs it; false if it failed and nothing of it may be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers, once the commit is done or has failed.
    fn answer(self: Box<Self>, committed: Result<(), ApiError>);
}

/// Operations that wait, and whether a writer is at work.
#[derive(Default)]
pub struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    writing: bool,
}

/// [`Job`] for any operation and result.
pub struct TypedJob<T, F> {
    op: Option<F>,
    result: Option<Result<T, ApiError>>,
    reply: oneshot::Sender<Result<T, ApiError>>,
}

impl<T, F> TypedJob<T, F> {
    pub fn new(op: F, reply: oneshot::Sender<Result<T, ApiError>>) -> Self {
        TypedJob { op: Some(op), result: None, reply }
    }
}

impl<T: Send, F: FnOnce(&mut Tx<'_>) -> Result<T, ApiError> + Send> Job for TypedJob<T, F> {
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        self.result = self.op.take().map(|op| op(tx));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: Result<(), ApiError>) {
        let result = match (self.result, committed) {
            // An operation's own refusal stands, whatever became of its neighbours.
            (Some(Err(refused)), _) => Err(refused),
            (_, Err(failed)) => Err(failed),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(ApiError::internal("the operation did not run")),
        };
        // The caller may have gone away; its write stands all the same.
        let _ = self.reply.send(result);
    }
}

/// Clears `writing` however the writer ends, and lets go of operations that nobody will run any more.
struct Writing {
    inner: Arc<Inner>,
    armed: bool,
}

impl Writing {
    fn work(mut self) {
        let mut next = self.inner.next_group();
        while let Some(group) = next {
            let answers = self.inner.commit_group(group);
            next = self.inner.next_group();
            if next.is_none() {
                // `next_group` has cleared the flag under the lock that found the queue empty; the guard must not
                // clear it again, for the next writer may have started by now. And whoever hears that its write is
                // done may close the store at once: nothing of it may be held here any more.
                self.armed = false;
                drop(self);
                return answers.send();
            }
            answers.send();
        }
        self.armed = false;
    }
}

/// Operations that are done, and how their commit went.
#[must_use]
pub struct Answers {
    group: Vec<Box<dyn Job>>,
    committed: Result<(), ApiError>,
}

impl Answers {
    /// Tells those who wait.
    pub fn send(self) {
        for job in self.group {
            job.answer(self.committed.clone());
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let mut queue = self.inner.queue.lock();
        queue.writing = false;
        // Empty unless a commit panicked or the runtime ends; dropping a job answers its caller with an error.
        queue.jobs.clear();
    }
}

impl Store {
    pub(super) fn enqueue(&self, job: Box<dyn Job>) {
        let mut queue = self.inner.queue.lock();
        queue.jobs.push_back(job);
        if queue.writing {
            return;
        }
        queue.writing = true;
        drop(queue);
        let writing = Writing { inner: self.inner.clone(), armed: true };
        tokio::task::spawn_blocking(move || writing.work());
    }
}

impl Inner {
    fn next_group(&self) -> Option<Vec<Box<dyn Job>>> {
        let mut queue = self.queue.lock();
        if queue.jobs.is_empty() {
            queue.writing = false;
            return None;
        }
        let n = queue.jobs.len().min(GROUP);
        Some(queue.jobs.drain(..n).collect())
    }

    pub(super) fn commit_group(self: &Arc<Self>, mut group: Vec<Box<dyn Job>>) -> Answers {
        let commits = self.commits.lock();
        let committed = match self.commit(&mut group) {
            Ok(Committed { events, gone }) => {
                self.count(&events);
                if let Some(last) = events.last().map(|e| e.version) {
                    let mut ring = self.ring.write();
                    for event in events {
                        ring.push(event);
                    }
                    // A compaction may keep events for longer; what does not fit in is gone sooner.
                    let oldest = last.saturating_sub(self.history).max(gone);
                    ring.compact(oldest);
                    drop(ring);
                    self.pins.lock().retain(|p| p.version >= oldest);
                    self.head.send_replace(last);
                }
                Ok(())
            }
            Err(e) => {
                tracing::error!(error = %e, operations = group.len(), "a commit to the object store failed");
                if let Err(e) = self.reopen() {
                    tracing::error!(error = %e, "the object store cannot be opened again; the next write tries it again");
                }
                Err(ApiError::internal(e))
            }
        };
        drop(commits);
        Answers { group, committed }
    }

    /// Counts what was written; once it is as much as the file holds, the file is looked at.
    fn count(self: &Arc<Self>, events: &[Arc<Event>]) {
        // As object, as event, and a like amount for the pages around them.
        let bytes: u64 = events.iter().map(|e| 4 * e.object.len() as u64 + PAGES).sum();
        let written = self.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if written < self.compact_above || written < self.opened().size().unwrap_or(u64::MAX) {
            return;
        }
        self.written.store(0, Ordering::Relaxed);
        // Without a runtime the server has not started, and has looked already.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let inner = self.clone();
            runtime.spawn_blocking(move || inner.compact_if_worthwhile(true));
        }
    }

    /// Runs the operations and commits those that succeeded; gives their events.
    fn commit(&self, group: &mut [Box<dyn Job>]) -> Result<Committed, StoreError> {
        let opened = self.opened();
        let txn = opened.db.begin_write().map_err(StoreError::of)?;
        let mut all = Vec::new();
        let mut compacted;
        {
            let mut objects = txn.open_table(OBJECTS).map_err(StoreError::of)?;
            let mut events = txn.open_table(EVENTS).map_err(StoreError::of)?;
            let mut meta = txn.open_table(META).map_err(StoreError::of)?;
            let mut kept = meta.get(HISTORY_BYTES).map_err(StoreError::of)?.map_or(0, |v| v.value());
            let mut version = meta.get(VERSION).map_err(StoreError::of)?.map_or(0, |v| v.value());
            compacted = meta.get(COMPACTED).map_err(StoreError::of)?.map_or(0, |v| v.value());
            for job in group.iter_mut() {
                let mut tx = Tx::new(&objects, version);
                if !job.run(&mut tx) {
                    continue;
                }
                let done = tx.done();
                for (key, state) in &done.changed {
                    match state {
                        Some(bytes) => {
                            objects.insert(key.as_str(), bytes.as_ref()).map_err(StoreError::of)?;
                        }
                        None => {
                            objects.remove(key.as_str()).map_err(StoreError::of)?;
                        }
                    }
                }
                for event in done.events {
                    let head =
                        serde_json::to_vec(&event.head).map_err(|e| StoreError::Record(e.to_string()))?;
                    events
                        .insert(event.version, (event.key.as_str(), head.as_slice(), event.object.as_ref()))
                        .map_err(StoreError::of)?;
                    kept += (event.object.len() + head.len()) as u64;
                    version = event.version;
                    all.push(event);
                }
            }
            if !all.is_empty() {
                meta.insert(VERSION, version).map_err(StoreError::of)?;
                let floor = version.saturating_sub(self.history);
                let hold = self.hold.load(Ordering::Acquire);
                loop {
                    let oldest = events.first().map_err(StoreError::of)?.map(|(v, _)| v.value());
                    // The newest event always stays, so that a watcher can be told what came last.
                    let is_over =
                        |v: &u64| *v <= hold && (*v <= floor || (kept > self.history_bytes && *v < version));
                    let Some(oldest) = oldest.filter(is_over) else { break };
                    if let Some(gone) = events.remove(oldest).map_err(StoreError::of)? {
                        let (_, head, object) = gone.value();
                        kept = kept.saturating_sub((head.len() + object.len()) as u64);
                    }
                    compacted = oldest;
                }
                meta.insert(HISTORY_BYTES, kept).map_err(StoreError::of)?;
                meta.insert(COMPACTED, compacted).map_err(StoreError::of)?;
            }
        }
        if all.is_empty() {
            // Nothing changed: no reason to wait for the disk.
            txn.abort().map_err(StoreError::of)?;
        } else {
            txn.commit().map_err(StoreError::of)?;
        }
        Ok(Committed { events: all, gone: compacted })
    }
}
