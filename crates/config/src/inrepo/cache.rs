//! A map that forgets what was used longest ago once it weighs too much.

use std::collections::HashMap;
use std::hash::Hash;

/// Bounded by weight; looking something up keeps it.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    entries: HashMap<K, Held<V>>,
    /// Counts uses, to tell older from newer.
    uses: u64,
    weight: u64,
    limit: u64,
}

#[derive(Debug)]
struct Held<V> {
    value: V,
    used: u64,
    weight: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Bounded<K, V> {
    pub(super) fn new(limit: u64) -> Bounded<K, V> {
        Bounded { entries: HashMap::new(), uses: 0, weight: 0, limit }
    }

    /// What everything in it weighs.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.uses += 1;
        let held = self.entries.get_mut(key)?;
        held.used = self.uses;
        Some(held.value.clone())
    }

    /// Keeps a value; one that is heavier than the limit by itself is not kept.
    pub(super) fn put(&mut self, key: K, value: V, weight: u64) {
        self.uses += 1;
        if weight > self.limit {
            return;
        }
        let held = Held { value, used: self.uses, weight };
        self.weight += weight;
        self.weight -= self.entries.insert(key, held).map_or(0, |old| old.weight);
        while self.weight > self.limit {
            // A few hundred entries at most: looking through them is cheaper than keeping them in order.
            let Some(oldest) = self.entries.iter().min_by_key(|(_, h)| h.used).map(|(k, _)| k.clone()) else {
                return;
            };
            self.weight -= self.entries.remove(&oldest).map_or(0, |old| old.weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_unused_goes_first() {
        let mut cache = Bounded::new(10);
        cache.put("a", 1, 5);
        cache.put("b", 2, 5);
        assert_eq!(cache.get(&"a"), Some(1));
        cache.put("c", 3, 5);
        assert_eq!((cache.get(&"a"), cache.get(&"b"), cache.get(&"c")), (Some(1), None, Some(3)));
        cache.put("d", 4, 11);
        assert_eq!(
            (cache.get(&"d"), cache.get(&"a")),
            (None, Some(1)),
            "too heavy to be kept, nothing is lost"
        );
    }

    proptest! {
        #[test]
        fn it_never_weighs_more_than_its_limit(puts in prop::collection::vec((0u8..6, 0u64..12), 0..60)) {
            let mut cache = Bounded::new(20);
            for (key, weight) in puts {
                cache.put(key, weight, weight);
                let real: u64 = cache.entries.values().map(|h| h.weight).sum();
                prop_assert!(real == cache.weight && real <= 20);
                if weight <= 20 {
                    prop_assert_eq!(cache.get(&key), Some(weight));
                }
            }
        }
    }
}
