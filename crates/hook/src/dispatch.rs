//! Hands journalled events to handlers: in order within a lane, side by side between lanes, again after failures.
//!
//! A lane is one handler (say, trigger) and one subject (say, a pull request). An event that fails holds up its
//! lane while it is tried again, and nothing else. The journal is told what is done; after a restart only the rest
//! is handed out.

use crate::journal::{Arrival, Delivery, Journal, Progress};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use prow_service::clock::SharedClock;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// At most this many waiting events are kept in memory; the others are read from the journal when it is their turn.
const HELD: usize = 1024;
/// Under this name the journal notes events whose payload cannot be read.
const PARSER: &str = "parse";

/// How failures are tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all.
    pub attempts: u32,
    /// Pause after the first failure; it doubles.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts: 8,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The pause before the next try; `None` to give up.
    fn after(&self, failed: u32, may_pass: bool) -> Option<Duration> {
        if !may_pass || failed >= self.attempts {
            return None;
        }
        let doubled = self.first_pause.saturating_mul(1 << failed.saturating_sub(1).min(20));
        Some(doubled.min(self.longest_pause))
    }
}

/// Why a handler failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For people.
    pub message: String,
    /// Trying again may help.
    pub may_pass: bool,
}

/// Who an event is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What it is about.
    pub subject: String,
    /// Who handles it, in order.
    pub handlers: Vec<HandlerPlan>,
}

/// One handler of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandlerPlan {
    /// As the journal and [`Work::run`] know it.
    pub id: String,
    /// Handlers of one lane wait for each other.
    pub lane: String,
}

/// What the dispatcher dispatches to.
pub(crate) trait Work: Send + Sync + 'static {
    /// A delivery, read.
    type Parsed: Send + Sync + 'static;
    /// Reads a payload.
    fn parse(&self, delivery: Arc<Delivery>) -> Result<Self::Parsed, String>;
    /// Says who it is for.
    fn plan(&self, parsed: &Self::Parsed) -> Plan;
    /// Lets one handler handle it; `again` if an earlier try may have gone part of the way.
    fn run(
        self: Arc<Self>,
        parsed: Arc<Self::Parsed>,
        handler: String,
        again: bool,
    ) -> BoxFuture<'static, Result<(), Failure>>;
}

pub(crate) struct DispatchOptions {
    pub workers: usize,
    pub handler_timeout: Duration,
    pub grace_period: Duration,
    pub retry: RetryPolicy,
}

pub(crate) struct Dispatcher<W: Work> {
    shared: Arc<Shared<W>>,
}

struct Shared<W: Work> {
    work: Arc<W>,
    journal: Journal,
    clock: SharedClock,
    options: DispatchOptions,
    lanes: Mutex<HashMap<LaneKey, VecDeque<Item<W::Parsed>>>>,
    // by plugin: one that hangs must not keep the others waiting
    permits: Mutex<HashMap<String, Arc<Semaphore>>>,
    held: AtomicUsize,
    failed: AtomicU64,
    tasks: TaskTracker,
    // no new work is begun
    stop: CancellationToken,
    // work under way is dropped
    abort: CancellationToken,
}

type LaneKey = (String, String);

/// One (event, handler) pair that waits.
struct Item<P> {
    event: Arc<OpenEvent>,
    handler: String,
    parsed: Option<Arc<P>>,
    failed: u32,
    again: bool,
}

/// An event that is not through.
struct OpenEvent {
    seq: u64,
    guid: String,
    remaining: AtomicUsize,
    // somebody gave up
    parked: AtomicBool,
}

impl<W: Work> Dispatcher<W> {
    pub(crate) fn new(
        work: Arc<W>,
        journal: Journal,
        clock: SharedClock,
        options: DispatchOptions,
        failed: u64,
    ) -> Dispatcher<W> {
        let shared = Shared {
            work,
            journal,
            clock,
            permits: Mutex::default(),
            options,
            lanes: Mutex::new(HashMap::new()),
            held: AtomicUsize::new(0),
            failed: AtomicU64::new(failed),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        Dispatcher { shared: Arc::new(shared) }
    }

    /// How many (event, handler) pairs were given up.
    pub(crate) fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Until `stop`; then waits for what is under way, at most the grace period.
    pub(crate) async fn run(
        &self,
        recovered: Vec<u64>,
        mut arrivals: UnboundedReceiver<Arrival>,
        stop: CancellationToken,
    ) {
        let shared = &self.shared;
        for seq in recovered {
            if stop.is_cancelled() {
                break;
            }
            shared.recover(seq);
            tokio::task::yield_now().await;
        }
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                arrival = arrivals.recv() => match arrival {
                    Some(Arrival { seq, delivery, again }) => shared.dispatch(seq, delivery, &BTreeMap::new(), again),
                    None => break,
                },
            }
        }
        shared.stop.cancel();
        shared.tasks.close();
        tokio::select! {
            () = shared.tasks.wait() => {}
            () = shared.clock.sleep(shared.options.grace_period) => {
                tracing::warn!(handlers = shared.tasks.len(), "handlers did not end within the grace period; their events are handled again at the next start");
                shared.abort.cancel();
                shared.tasks.wait().await;
            }
        }
    }
}

impl<W: Work> Shared<W> {
    /// Takes up an event that was not through when the process ended.
    fn recover(self: &Arc<Self>, seq: u64) {
        match self.journal.load(seq) {
            Ok(Some((delivery, progress))) => self.dispatch(seq, Arc::new(delivery), &progress, true),
            Ok(None) => tracing::error!(seq, "an open event is not in the journal"),
            // It stays open: the next start tries again.
            Err(error) => tracing::error!(seq, %error, "an event cannot be taken up"),
        }
    }

    /// Puts an event on the lanes of those who are not through with it.
    fn dispatch(
        self: &Arc<Self>,
        seq: u64,
        delivery: Arc<Delivery>,
        progress: &BTreeMap<String, Progress>,
        again: bool,
    ) {
        let guid = delivery.guid.clone();
        let read = || {
            let parsed = Arc::new(self.work.parse(delivery)?);
            let plan = self.work.plan(&parsed);
            Ok((parsed, plan))
        };
        // What people write is read here: a panic over one event must not end the handling of all, nor of this one
        // again at every start.
        let read = std::panic::catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
        let (parsed, plan) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(seq, event_guid = guid, error, "an event cannot be read; it is not handled");
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.journal.note(seq, PARSER, Progress::Failed { attempts: 1, error });
                self.journal.finish(seq, true);
                return;
            }
        };
        let todo: Vec<(HandlerPlan, u32)> = plan
            .handlers
            .into_iter()
            .filter_map(|handler| match progress.get(&handler.id) {
                None => Some((handler, 0)),
                Some(Progress::Trying { attempts, .. }) => Some((handler, *attempts)),
                Some(Progress::Done | Progress::Failed { .. }) => None,
            })
            .collect();
        let parked = progress.values().any(|p| matches!(p, Progress::Failed { .. }));
        if todo.is_empty() {
            self.journal.finish(seq, parked);
            return;
        }
        let event = Arc::new(OpenEvent {
            seq,
            guid,
            remaining: AtomicUsize::new(todo.len()),
            parked: AtomicBool::new(parked),
        });
        let mut lanes = self.lanes.lock();
        for (handler, failed) in todo {
            let key = (handler.lane, plan.subject.clone());
            let keep = self.held.fetch_add(1, Ordering::Relaxed) < HELD;
            if !keep {
                self.held.fetch_sub(1, Ordering::Relaxed);
            }
            let item = Item {
                event: Arc::clone(&event),
                handler: handler.id,
                parsed: keep.then(|| Arc::clone(&parsed)),
                failed,
                again,
            };
            match lanes.get_mut(&key) {
                Some(lane) => lane.push_back(item),
                None => {
                    lanes.insert(key.clone(), VecDeque::from([item]));
                    self.tasks.spawn(Arc::clone(self).drain(key));
                }
            }
        }
    }

    /// Handles what is on a lane until it is empty or we stop.
    async fn drain(self: Arc<Self>, key: LaneKey) {
        loop {
            let item = {
                let mut lanes = self.lanes.lock();
                match lanes.get_mut(&key).and_then(VecDeque::pop_front) {
                    Some(item) => item,
                    None => {
                        lanes.remove(&key);
                        return;
                    }
                }
            };
            let kept = item.parsed.is_some();
            let ended = self.handle(&key, item).await;
            if kept {
                self.held.fetch_sub(1, Ordering::Relaxed);
            }
            if ended.is_none() {
                return;
            }
        }
    }

    /// One event, one handler, until done or given up; `None` if we stopped before.
    async fn handle(&self, (plugin, subject): &LaneKey, item: Item<W::Parsed>) -> Option<()> {
        let Item { event, handler, parsed, mut failed, mut again } = item;
        let (seq, guid) = (event.seq, event.guid.as_str());
        let parsed = match parsed {
            Some(parsed) => parsed,
            None => match self.reload(seq) {
                Ok(parsed) => parsed,
                Err(error) => {
                    // It stays open: the next start tries again.
                    tracing::error!(seq, event_guid = guid, handler, error, "an event cannot be read back");
                    return Some(());
                }
            },
        };
        loop {
            let failure = match self.attempt(plugin, &parsed, &handler, again).await? {
                Ok(()) => {
                    self.journal.note(seq, &handler, Progress::Done);
                    break;
                }
                Err(failure) => failure,
            };
            failed += 1;
            again = true;
            let error = failure.message;
            match self.options.retry.after(failed, failure.may_pass) {
                Some(pause) => {
                    tracing::warn!(
                        event_guid = guid,
                        subject,
                        handler,
                        attempts = failed,
                        error,
                        "a plugin failed; it is tried again"
                    );
                    self.journal.note(seq, &handler, Progress::Trying { attempts: failed, error });
                    tokio::select! {
                        () = self.stop.cancelled() => return None,
                        () = self.clock.sleep(pause) => {}
                    }
                }
                None => {
                    tracing::error!(
                        event_guid = guid,
                        subject,
                        handler,
                        attempts = failed,
                        error,
                        "a plugin failed; giving up on this event"
                    );
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    event.parked.store(true, Ordering::Release);
                    self.journal.note(seq, &handler, Progress::Failed { attempts: failed, error });
                    break;
                }
            }
        }
        if event.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.journal.finish(seq, event.parked.load(Ordering::Acquire));
        }
        Some(())
    }

    /// One try; `None` if we stopped before it ended.
    async fn attempt(
        &self,
        plugin: &str,
        parsed: &Arc<W::Parsed>,
        handler: &str,
        again: bool,
    ) -> Option<Result<(), Failure>> {
        let permits = {
            let mut permits = self.permits.lock();
            let workers = self.options.workers.max(1);
            Arc::clone(permits.entry(plugin.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(workers))))
        };
        let permit = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            permit = permits.acquire() => permit.ok()?,
        };
        let work = Arc::clone(&self.work).run(Arc::clone(parsed), handler.to_owned(), again);
        let limit = self.options.handler_timeout;
        let result = tokio::select! {
            () = self.abort.cancelled() => return None,
            () = self.clock.sleep(limit) => {
                Err(Failure { message: format!("did not end within {limit:?}"), may_pass: true })
            }
            ended = AssertUnwindSafe(work).catch_unwind() => ended.unwrap_or_else(|panic| {
                Err(Failure { message: format!("panicked: {}", panic_text(&*panic)), may_pass: true })
            }),
        };
        drop(permit);
        Some(result)
    }

    fn reload(&self, seq: u64) -> Result<Arc<W::Parsed>, String> {
        let (delivery, _) =
            self.journal.load(seq).map_err(|e| e.to_string())?.ok_or("it is not in the journal")?;
        Ok(Arc::new(self.work.parse(Arc::new(delivery))?))
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
