//! Loading a tree that stands still: what was read is what was there at one moment, or it is read again.

use super::look::Look;
use super::memory::Memory;
use super::{LoadOptions, Loaded, run};
use crate::diagnostic::{Diagnostic, LoadErrors};
use crate::snapshot::Snapshot;
use crate::walk::Listings;
use std::sync::Arc;
use std::time::SystemTime;

/// Attempts to read a tree that changes meanwhile.
const ATTEMPTS: u32 = 5;

/// Kept between the loads of one set of options: what the files looked like, and what they said.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) memory: Memory,
    listings: Listings,
    /// The tree when it was last read, successfully or not.
    seen: Look,
    /// The time, as the file system would say it.
    clock: fn() -> SystemTime,
}

impl Default for Reader {
    fn default() -> Self {
        Reader {
            memory: Memory::default(),
            listings: Listings::default(),
            seen: Look::default(),
            clock: SystemTime::now,
        }
    }
}

impl Reader {
    /// A reader that goes by another clock.
    #[cfg(test)]
    pub(super) fn with_clock(clock: fn() -> SystemTime) -> Reader {
        Reader { clock, ..Reader::default() }
    }

    /// Whether something may have changed since the last load.
    pub(crate) fn is_stale(&mut self, options: &LoadOptions) -> bool {
        self.seen.racy || self.seen != Look::of(options, &mut self.listings, (self.clock)())
    }

    /// The tree's snapshot: the last one again if nothing changed. Errors leave what is remembered as it was.
    pub(crate) fn load(&mut self, options: &LoadOptions) -> Result<Arc<Snapshot>, LoadErrors> {
        let loaded = self.read(options)?;
        if let Some(last) = &self.memory.last
            && loaded.unchanged
        {
            let snapshot = last.snapshot.clone();
            self.memory.keep(loaded.keep(snapshot.clone()));
            return Ok(snapshot);
        }
        let (snapshot, loaded) = loaded.share();
        self.memory.keep(loaded.keep(snapshot.clone()));
        Ok(snapshot)
    }

    /// As [`Reader::load`], once and for all.
    pub(super) fn load_once(mut self, options: &LoadOptions) -> Result<Snapshot, LoadErrors> {
        self.memory.one_off = true;
        self.read(options).map(|loaded| loaded.snapshot)
    }

    /// Reads until the tree looks the same before and after.
    fn read(&mut self, options: &LoadOptions) -> Result<Loaded, LoadErrors> {
        let mut before = Look::of(options, &mut self.listings, (self.clock)());
        for _ in 0..ATTEMPTS {
            let result = run(options, &before, &self.memory);
            let after = Look::of(options, &mut self.listings, (self.clock)());
            let still = before == after;
            // What was young before may have changed while it was read, and look the same.
            let racy = before.racy;
            before = after;
            match result {
                Some(result) if still => {
                    self.seen = before;
                    self.seen.racy = racy;
                    return result;
                }
                _ => {}
            }
        }
        self.seen = Look::default();
        let message = format!(
            "the files changed while they were read, {ATTEMPTS} times in a row; they are read again when they rest"
        );
        Err(LoadErrors { errors: vec![Diagnostic::error(message)], warnings: Vec::new() })
    }
}
