//! Remembers GET answers with an ETag. Every use is revalidated with GitHub, where a 304 costs no rate limit.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use http::HeaderMap;

/// A remembered answer.
#[derive(Clone)]
pub(crate) struct Entry {
    pub etag: http::HeaderValue,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Least recently used answers go first once `capacity` bytes of bodies are held.
pub(crate) struct Cache {
    capacity: usize,
    held: usize,
    clock: u64,
    entries: HashMap<String, (u64, Entry)>,
    by_age: BTreeMap<u64, String>,
}

impl Cache {
    /// A cache of at most `capacity` bytes; 0 turns it off.
    pub(crate) fn new(capacity: usize) -> Self {
        Cache { capacity, held: 0, clock: 0, entries: HashMap::new(), by_age: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, key: &str) -> Option<Entry> {
        let (age, entry) = self.entries.get_mut(key)?;
        self.clock += 1;
        let name = self.by_age.remove(age)?;
        *age = self.clock;
        self.by_age.insert(self.clock, name);
        Some(entry.clone())
    }

    pub(crate) fn put(&mut self, key: &str, entry: Entry) {
        self.remove(key);
        let size = cost(key, &entry);
        if size > self.capacity / 4 {
            return; // One huge answer must not push out all others.
        }
        self.clock += 1;
        self.held += size;
        self.by_age.insert(self.clock, key.to_owned());
        self.entries.insert(key.to_owned(), (self.clock, entry));
        while self.held > self.capacity {
            let Some((_, oldest)) = self.by_age.first_key_value() else { return };
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some((age, entry)) = self.entries.remove(key) {
            self.by_age.remove(&age);
            self.held -= cost(key, &entry);
        }
    }
}

/// What an entry holds of memory, roughly: its body, its key twice, and a flat amount for headers.
fn cost(key: &str, entry: &Entry) -> usize {
    entry.body.len() + 2 * key.len() + 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(len: usize) -> Entry {
        Entry {
            etag: http::HeaderValue::from_static("\"x\""),
            headers: HeaderMap::new(),
            body: Bytes::from(vec![0; len]),
        }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_bound_holds() {
        let mut cache = Cache::new(10_000);
        for key in ["a", "b", "c", "d"] {
            cache.put(key, entry(1000));
        }
        assert!(cache.get("a").is_some());
        cache.put("e", entry(1000)); // b is the oldest now.
        assert!(cache.get("b").is_none() && cache.get("a").is_some() && cache.get("e").is_some());
        cache.put("huge", entry(9_000));
        assert!(cache.get("huge").is_none() && cache.get("a").is_some());
        for i in 0..100 {
            cache.put(&format!("k{i}"), entry(500));
            assert!(cache.held <= 10_000);
        }
        assert_eq!(cache.entries.len(), cache.by_age.len());
    }
}
