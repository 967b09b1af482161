//! Which lines of a log a page shows first: what matters with its neighbours, and the end; all of a small log.

use std::ops::Range;

/// Logs up to this many lines are shown whole.
const SMALL: u64 = 600;
/// Neighbours shown on either side of a line that matters.
const NEIGHBOURS: u64 = 5;
/// Gaps of fewer lines are not worth hiding.
const LEAST_GAP: u64 = 5;
/// Lines of the end that are shown, with and without lines that matter.
const TAIL: u64 = 60;
const LONE_TAIL: u64 = 300;
/// Lines that matter that are shown: the first ones, since what follows often follows from them.
const SHOWN_HITS: usize = 60;
/// Lines that one request for more gives.
pub const MORE: u64 = 500;
/// Lines before and after a line that was asked for.
const BEFORE: u64 = 30;
const AFTER: u64 = 170;

/// A part of a log, in line numbers from 1, the end exclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Shown.
    Lines(Range<u64>),
    /// Left out, to be asked for.
    Gap(Range<u64>),
}

/// Which end of a gap to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Its first lines.
    Top,
    /// Its last lines.
    Bottom,
}

/// The parts of a page over a log of `lines` lines. `focus` is a line that was asked for.
pub fn first(lines: u64, hits: &[u64], focus: Option<u64>) -> Vec<Part> {
    if lines == 0 {
        return Vec::new();
    }
    if lines <= SMALL {
        return vec![Part::Lines(1..lines + 1)];
    }
    let mut windows: Vec<Range<u64>> = Vec::new();
    match focus {
        Some(line) => {
            let line = line.clamp(1, lines);
            windows.push(line.saturating_sub(BEFORE).max(1)..(line + AFTER).min(lines + 1));
        }
        None => {
            for hit in hits.iter().take(SHOWN_HITS) {
                windows.push(hit.saturating_sub(NEIGHBOURS).max(1)..(hit + NEIGHBOURS + 1).min(lines + 1));
            }
            let tail = if hits.is_empty() { LONE_TAIL } else { TAIL };
            windows.push((lines + 1).saturating_sub(tail).max(1)..lines + 1);
            windows.sort_by_key(|window| window.start);
        }
    }
    fill(&windows, 1..lines + 1)
}

/// The parts that take the place of a gap when more of it is asked for.
pub fn more(gap: Range<u64>, side: Side) -> Vec<Part> {
    if gap.start >= gap.end {
        return Vec::new();
    }
    let window = match side {
        Side::Top => gap.start..gap.end.min(gap.start + MORE),
        Side::Bottom => gap.end.saturating_sub(MORE).max(gap.start)..gap.end,
    };
    fill(&[window], gap)
}

/// Windows, ascending by their beginnings, merged, with the gaps between them; small gaps are shown.
fn fill(windows: &[Range<u64>], whole: Range<u64>) -> Vec<Part> {
    let mut merged: Vec<Range<u64>> = Vec::new();
    for window in windows {
        match merged.last_mut() {
            Some(last) if window.start < last.end + LEAST_GAP => last.end = last.end.max(window.end),
            _ => merged.push(window.clone()),
        }
    }
    if let Some(first) = merged.first_mut()
        && first.start < whole.start + LEAST_GAP
    {
        first.start = whole.start;
    }
    if let Some(last) = merged.last_mut()
        && last.end + LEAST_GAP > whole.end
    {
        last.end = whole.end;
    }
    let mut parts = Vec::new();
    let mut at = whole.start;
    for window in merged {
        if window.start > at {
            parts.push(Part::Gap(at..window.start));
        }
        at = window.end;
        parts.push(Part::Lines(window));
    }
    if at < whole.end {
        parts.push(Part::Gap(at..whole.end));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::Part::{Gap, Lines};
    use super::*;

    #[test]
    fn what_is_shown_first() {
        for (lines, hits, focus, expected) in [
            (0, &[][..], None, vec![]),
            (1, &[], None, vec![Lines(1..2)]),
            (600, &[3], None, vec![Lines(1..601)]),
            (1000, &[], None, vec![Gap(1..701), Lines(701..1001)]),
            (1000, &[100], None, vec![Gap(1..95), Lines(95..106), Gap(106..941), Lines(941..1001)]),
            // Near the beginning, near each other, near the end: no gap is smaller than five lines.
            (1000, &[8, 20, 33], None, vec![Lines(1..39), Gap(39..941), Lines(941..1001)]),
            (1000, &[932], None, vec![Gap(1..927), Lines(927..1001)]),
            (1000, &[999], None, vec![Gap(1..941), Lines(941..1001)]),
            (1000, &[5], Some(500), vec![Gap(1..470), Lines(470..670), Gap(670..1001)]),
            (1000, &[], Some(0), vec![Lines(1..171), Gap(171..1001)]),
            (1000, &[], Some(u64::MAX), vec![Gap(1..970), Lines(970..1001)]),
        ] {
            assert_eq!(first(lines, hits, focus), expected, "{lines} {hits:?} {focus:?}");
        }
    }

    #[test]
    fn opening_a_gap() {
        for (gap, side, expected) in [
            (10..20, Side::Top, vec![Lines(10..20)]),
            (10..20, Side::Bottom, vec![Lines(10..20)]),
            (10..2000, Side::Top, vec![Lines(10..510), Gap(510..2000)]),
            (10..2000, Side::Bottom, vec![Gap(10..1500), Lines(1500..2000)]),
            (10..513, Side::Top, vec![Lines(10..513)]),
            (20..20, Side::Top, vec![]),
        ] {
            assert_eq!(more(gap.clone(), side), expected, "{gap:?}");
        }
    }

    #[test]
    fn parts_cover_the_log_once_and_in_order() {
        for lines in [601, 777, 5000] {
            for step in [1, 3, 7, 50, 333] {
                let hits: Vec<u64> = (1..=lines).step_by(step).take(200).collect();
                let mut at = 1;
                for part in first(lines, &hits, None) {
                    let (Lines(range) | Gap(range)) = part;
                    assert_eq!(range.start, at);
                    assert!(range.end > range.start);
                    at = range.end;
                }
                assert_eq!(at, lines + 1);
            }
        }
    }
}
