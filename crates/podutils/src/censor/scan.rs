//! Finds where any of many texts begins, at several gigabytes a second when there are few such places.
//!
//! A window as long as the shortest text slides over the input. The last four bytes under it are looked up: if no
//! text has them that far from its beginning, the window may move on by many bytes at once (Wu and Manber's way of
//! searching for many patterns). A few thousand texts fit a table that stays in the processor's cache, where an
//! automaton over them would be tens of megabytes. Texts too short for that go to an automaton.

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use std::ops::Range;

const BLOCK: usize = 4;
const BITS: u32 = 18;
/// A text is known by this much of its beginning.
const KEY: usize = 8;
/// Texts from so many bytes on have a table of their own, so that a short one does not slow down the rest.
const CLASSES: [usize; 2] = [KEY, 16];
const LONGEST_WINDOW: usize = 24;

/// Cannot be printed: it holds secrets.
#[derive(Default)]
pub(super) struct Finder {
    classes: Vec<Skipper>,
    short: Option<Short>,
}

impl Finder {
    pub(super) fn new(forms: impl IntoIterator<Item = Vec<u8>>) -> Result<Finder, String> {
        let (mut short, mut classes) = (Vec::new(), [Vec::new(), Vec::new()]);
        for form in forms.into_iter().filter(|form| !form.is_empty()) {
            match CLASSES.iter().rposition(|least| form.len() >= *least) {
                Some(class) => classes[class].push(form),
                None => short.push(form),
            }
        }
        let classes = classes.into_iter().filter(|forms| !forms.is_empty()).map(Skipper::new).collect();
        let short = if short.is_empty() { None } else { Some(Short::new(short)?) };
        Ok(Finder { classes, short })
    }

    /// Every place before `limit` at which a text begins that lies whole in `bytes`, with the longest one there.
    /// Together they cover each byte that belongs to any of them.
    pub(super) fn find(&self, bytes: &[u8], limit: usize, mut found: impl FnMut(Range<usize>)) {
        for class in &self.classes {
            class.find(bytes, limit, &mut found);
        }
        if let Some(short) = &self.short {
            short.find(bytes, limit, &mut found);
        }
    }
}

struct Skipper {
    window: usize,
    /// By the last block under the window: how far it may move.
    shifts: Box<[u8]>,
    /// Sorted by their beginnings, of equal ones the longest first.
    forms: Vec<(u64, Vec<u8>)>,
}

impl Skipper {
    fn new(forms: Vec<Vec<u8>>) -> Skipper {
        let window = forms.iter().map(Vec::len).min().unwrap_or(KEY).min(LONGEST_WINDOW);
        let furthest = window - BLOCK + 1;
        let mut shifts = vec![furthest as u8; 1 << BITS].into_boxed_slice();
        for form in &forms {
            for (at, block) in form[..window].windows(BLOCK).enumerate() {
                let shift = &mut shifts[slot(block)];
                *shift = (*shift).min((window - BLOCK - at) as u8);
            }
        }
        let mut forms: Vec<(u64, Vec<u8>)> = forms.into_iter().map(|form| (key(&form), form)).collect();
        forms.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.len().cmp(&a.1.len())));
        Skipper { window, shifts, forms }
    }

    fn find(&self, bytes: &[u8], limit: usize, found: &mut impl FnMut(Range<usize>)) {
        let mut at = 0;
        while at < limit {
            let Some(block) = bytes.get(at + self.window - BLOCK..at + self.window) else { return };
            let shift = self.shifts[slot(block)];
            if shift > 0 {
                at += usize::from(shift);
                continue;
            }
            if let Some(length) = self.longest_at(&bytes[at..]) {
                found(at..at + length);
            }
            // By one: looking on behind each beginning, not behind its end, is what finds texts that overlap.
            at += 1;
        }
    }

    fn longest_at(&self, bytes: &[u8]) -> Option<usize> {
        let key = key(bytes);
        let first = self.forms.partition_point(|form| form.0 < key);
        let same = self.forms[first..].iter().take_while(|form| form.0 == key);
        same.map(|form| &form.1).find(|form| bytes.starts_with(form)).map(Vec::len)
    }
}

fn slot(block: &[u8]) -> usize {
    let block = block.try_into().map_or(0, u32::from_le_bytes);
    (block.wrapping_mul(0x9E37_79B1) >> (32 - BITS)) as usize
}

fn key(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<KEY>().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// Texts of fewer than [`KEY`] bytes.
struct Short(AhoCorasick);

impl Short {
    fn new(mut forms: Vec<Vec<u8>>) -> Result<Short, String> {
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        // For a few, the automaton's own search for several bytes at once is as quick as any table.
        let kind = (forms.len() > 64).then_some(AhoCorasickKind::DFA);
        AhoCorasick::builder()
            .kind(kind)
            .match_kind(MatchKind::LeftmostFirst)
            .build(forms)
            .map(Short)
            .map_err(|e| format!("the secrets do not fit an automaton: {e}"))
    }

    fn find(&self, bytes: &[u8], limit: usize, found: &mut impl FnMut(Range<usize>)) {
        let mut from = 0;
        while let Some(hit) = self.0.find(Input::new(bytes).span(from..bytes.len())) {
            if hit.start() >= limit {
                return;
            }
            found(hit.range());
            from = hit.start() + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(512))]
        /// Of every length, in every class, overlapping or not: the longest text at each place, and no other place.
        #[test]
        fn all_beginnings_are_found(
            text in "[ab]{0,300}",
            forms in proptest::collection::vec("[ab]{1,40}", 1..8),
            limit in 0usize..300,
        ) {
            let finder = Finder::new(forms.iter().map(|form| form.clone().into_bytes())).unwrap();
            let mut covered = vec![false; text.len()];
            finder.find(text.as_bytes(), limit, |range| covered[range].fill(true));
            let mut expected = vec![false; text.len()];
            for at in 0..text.len().min(limit) {
                for form in forms.iter().filter(|form| text[at..].starts_with(form.as_str())) {
                    expected[at..at + form.len()].fill(true);
                }
            }
            proptest::prop_assert_eq!(covered, expected);
        }
    }
}
