//! The journal's single writer: takes what waits, commits it in one transaction, then answers.

use super::{Accepted, Arrival, Delivery, EVENTS, FINISHED, GUIDS, OPEN, PROGRESS, Progress};
use jiff::Timestamp;
use prow_service::clock::SharedClock;
use redb::{Database, ReadableTable};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// At most this many commands share a commit: bounds how long the first of them waits.
const BATCH: usize = 512;
/// How long marks that nobody waits for are gathered before they cost a sync of their own.
const GATHER: Duration = Duration::from_millis(10);
/// How often old events are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// At most this many are removed in one commit.
const PRUNE_BATCH: usize = 1000;

/// What the writer can be asked for.
pub(super) enum Command {
    /// Write an event.
    Accept { delivery: Arc<Delivery>, answer: oneshot::Sender<Result<Accepted, String>> },
    /// Write how far a handler is.
    Note { seq: u64, handler: String, progress: Progress },
    /// The event is through; it is kept until then.
    Finish { seq: u64, keep_until: Timestamp },
    /// Tell when all before is synced.
    Flush { answer: oneshot::Sender<()> },
}

impl Command {
    fn somebody_waits(&self) -> bool {
        matches!(self, Command::Accept { .. } | Command::Flush { .. })
    }
}

pub(super) struct Writer {
    database: Arc<Database>,
    next: u64,
    clock: SharedClock,
    arrivals: tokio::sync::mpsc::UnboundedSender<Arrival>,
    open: watch::Sender<u64>,
    pruned: Option<Timestamp>,
}

/// What a commit did.
struct Committed {
    /// What became of each `Accept`, in order, and whether its GUID had been through before.
    accepted: Vec<(Accepted, bool)>,
    /// The next number.
    next: u64,
    /// Events that are through.
    finished: u64,
}

impl Writer {
    pub(super) fn new(
        database: Arc<Database>,
        next: u64,
        clock: SharedClock,
        arrivals: tokio::sync::mpsc::UnboundedSender<Arrival>,
        open: watch::Sender<u64>,
    ) -> Writer {
        Writer { database, next, clock, arrivals, open, pruned: None }
    }

    /// Until the channel is closed and empty.
    pub(super) fn run(mut self, inbox: &Receiver<Command>) {
        while let Ok(first) = inbox.recv() {
            let batch = gather(first, inbox);
            match self.commit(&batch) {
                Ok(committed) => {
                    self.open
                        .send_modify(|open| *open = *open + committed.next - self.next - committed.finished);
                    self.next = committed.next;
                    self.answer(batch, committed.accepted);
                }
                Err(error) => refuse(batch, &error.to_string()),
            }
        }
    }

    /// One transaction for all.
    fn commit(&mut self, batch: &[Command]) -> Result<Committed, redb::Error> {
        let mut next = self.next;
        let mut through = 0;
        let mut accepted = Vec::new();
        let now = self.clock.now();
        let write = self.database.begin_write()?;
        {
            let mut events = write.open_table(EVENTS)?;
            let mut open = write.open_table(OPEN)?;
            let mut guids = write.open_table(GUIDS)?;
            let mut progress = write.open_table(PROGRESS)?;
            let mut finished = write.open_table(FINISHED)?;
            for command in batch {
                match command {
                    Command::Accept { delivery, .. } => {
                        let earlier = guids.get(delivery.guid.as_str())?.map(|seq| seq.value());
                        if let Some(earlier) = earlier
                            && open.get(earlier)?.is_some()
                        {
                            accepted.push((Accepted::StillOpen(earlier), true));
                            continue;
                        }
                        let record = delivery.encode().map_err(|e| redb::Error::Io(e.into()))?;
                        events.insert(next, record.as_slice())?;
                        open.insert(next, ())?;
                        guids.insert(delivery.guid.as_str(), next)?;
                        accepted.push((Accepted::New(next), earlier.is_some()));
                        next += 1;
                    }
                    Command::Note { seq, handler, progress: how } => {
                        let how = serde_json::to_vec(how).map_err(|e| redb::Error::Io(e.into()))?;
                        progress.insert((*seq, handler.as_str()), how.as_slice())?;
                    }
                    Command::Finish { seq, keep_until } => {
                        if open.remove(*seq)?.is_some() {
                            through += 1;
                            let guid = match events.get(*seq)? {
                                Some(record) => Delivery::decode(record.value()).map(|d| d.guid).ok(),
                                None => None,
                            };
                            let key = (keep_until.as_millisecond(), *seq);
                            finished.insert(key, guid.unwrap_or_default().as_str())?;
                        }
                    }
                    Command::Flush { .. } => {}
                }
            }
            if self.prune_is_due(now) {
                let mut old = Vec::new();
                for entry in finished.range(..(now.as_millisecond(), 0))?.take(PRUNE_BATCH) {
                    let (key, guid) = entry?;
                    old.push((key.value(), guid.value().to_owned()));
                }
                for ((at, seq), guid) in &old {
                    finished.remove((*at, *seq))?;
                    events.remove(*seq)?;
                    progress.retain_in((*seq, "")..(*seq + 1, ""), |_, _| false)?;
                    if guids.get(guid.as_str())?.is_some_and(|newest| newest.value() == *seq) {
                        guids.remove(guid.as_str())?;
                    }
                }
                if old.len() < PRUNE_BATCH {
                    self.pruned = Some(now);
                }
            }
        }
        write.commit()?;
        Ok(Committed { accepted, next, finished: through })
    }

    fn prune_is_due(&self, now: Timestamp) -> bool {
        // A clock that was set back must not keep the journal growing until it catches up.
        self.pruned.is_none_or(|last| now >= last + PRUNE_EVERY || now < last)
    }

    fn answer(&self, batch: Vec<Command>, accepted: Vec<(Accepted, bool)>) {
        let mut accepted = accepted.into_iter();
        for command in batch {
            match command {
                Command::Accept { delivery, answer } => {
                    let Some((what, again)) = accepted.next() else { continue };
                    if let Accepted::New(seq) = what {
                        // Nobody dispatches any more while shutting down: the next start finds it open.
                        let _ = self.arrivals.send(Arrival { seq, delivery, again });
                    }
                    // The sender of the request may have given up; the event is kept all the same.
                    let _ = answer.send(Ok(what));
                }
                Command::Flush { answer } => {
                    let _ = answer.send(());
                }
                Command::Note { .. } | Command::Finish { .. } => {}
            }
        }
    }
}

/// Everything that waits, up to a bound. If nobody waits for an answer, waits a little for more.
fn gather(first: Command, inbox: &Receiver<Command>) -> Vec<Command> {
    let mut urgent = first.somebody_waits();
    let mut batch = vec![first];
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH {
        let next = if urgent {
            inbox.try_recv().ok()
        } else {
            inbox.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
        };
        let Some(next) = next else { break };
        urgent |= next.somebody_waits();
        batch.push(next);
    }
    batch
}

/// Nothing of the batch was written: tell those who wait, log the rest.
fn refuse(batch: Vec<Command>, why: &str) {
    let mut lost = 0;
    for command in batch {
        match command {
            Command::Accept { answer, .. } => {
                let _ = answer.send(Err(why.to_owned()));
            }
            // Dropping the answer tells the waiter.
            Command::Flush { .. } => {}
            Command::Note { .. } | Command::Finish { .. } => lost += 1,
        }
    }
    tracing::error!(error = why, marks_lost = lost, "the webhook journal could not be written");
}
