//! Watch events: what a write leaves behind for watchers, on disk and in a small ring of the newest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What selectors look at, kept beside the object so that no watcher has to parse it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attrs {
    /// `metadata.labels`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The selectable fields that are set, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It came to be.
    Added,
    /// It has a new state.
    Modified,
    /// It is gone; the event carries its last state.
    Deleted,
}

/// The part of an event's record that is not the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What happened.
    pub change: Change,
    /// The object after the change (before it, if it is gone).
    pub now: Attrs,
    /// The object before a modification, if that differs from `now`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Attrs>,
}

/// One write. Each resourceVersion is one event.
#[derive(Debug, Clone)]
pub struct Event {
    /// The resourceVersion that the write was given.
    pub version: u64,
    /// Store key of the object.
    pub key: String,
    /// What watchers filter on.
    pub head: Head,
    /// The object as JSON, with `metadata.resourceVersion` = `version`.
    pub object: Bytes,
}

/// The newest events, without a gap, bounded by bytes. Older ones are read from the events table.
#[derive(Debug, Default)]
pub struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

/// Enough for some thousand ProwJob updates; a watcher further behind reads from disk.
const RING_BYTES: usize = 4 << 20;

impl Ring {
    /// Adds a committed event.
    pub fn push(&mut self, event: Arc<Event>) {
        self.bytes += weight(&event);
        self.events.push_back(event);
        while self.bytes > RING_BYTES && self.events.len() > 1 {
            if let Some(old) = self.events.pop_front() {
                self.bytes -= weight(&old);
            }
        }
    }

    /// Forgets what the events table has forgotten.
    pub fn compact(&mut self, floor: u64) {
        while self.events.front().is_some_and(|e| e.version <= floor) {
            if let Some(old) = self.events.pop_front() {
                self.bytes -= weight(&old);
            }
        }
    }

    /// Up to `limit` events after `cursor`; `None` if the ring does not reach back that far.
    pub fn since(&self, cursor: u64, limit: usize) -> Option<Vec<Arc<Event>>> {
        let first = self.events.front()?.version;
        let skip = usize::try_from((cursor + 1).checked_sub(first)?).ok()?;
        Some(self.events.iter().skip(skip).take(limit).cloned().collect())
    }
}

fn weight(event: &Event) -> usize {
    // The labels and keys are a small multiple of a few hundred bytes; one figure covers them.
    event.object.len() + event.key.len() + 512
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(version: u64, size: usize) -> Arc<Event> {
        Arc::new(Event {
            version,
            key: "pods\0a\0b".into(),
            head: Head { change: Change::Added, now: Attrs::default(), before: None },
            object: Bytes::from(vec![b' '; size]),
        })
    }

    #[test]
    fn the_ring_answers_only_what_it_holds_without_a_gap() {
        let mut ring = Ring::default();
        assert!(ring.since(0, 10).is_none());
        for v in 5..10 {
            ring.push(event(v, 1));
        }
        assert!(ring.since(3, 10).is_none(), "event 4 is not there");
        let versions =
            |ring: &Ring, c, l| -> Vec<u64> { ring.since(c, l).unwrap().iter().map(|e| e.version).collect() };
        assert_eq!(versions(&ring, 4, 10), [5, 6, 7, 8, 9]);
        assert_eq!(versions(&ring, 7, 1), [8]);
        assert_eq!(versions(&ring, 9, 10), Vec::<u64>::new());
        ring.compact(7);
        assert!(ring.since(6, 10).is_none());
        assert_eq!(ring.since(7, 10).unwrap().len(), 2);
    }

    #[test]
    fn the_ring_is_bounded_by_bytes() {
        let mut ring = Ring::default();
        for v in 1..=20 {
            ring.push(event(v, RING_BYTES / 4));
        }
        assert!(ring.events.len() < 5, "{}", ring.events.len());
        assert_eq!(ring.since(19, 10).unwrap().len(), 1);
    }
}
