//! Build ids (prow-config §2.4): Snowflake numbers, in decimal. The arithmetic only; clock and memory are the
//! caller's.

/// Milliseconds of the Unix epoch at which Snowflake time begins.
pub const EPOCH_MS: i64 = 1_288_834_974_657;
/// The node number that Prow uses.
pub const NODE: u64 = 1;

const STEP_BITS: u32 = 12;
const TIME_SHIFT: u32 = 22;
const STEP_MASK: u64 = (1 << STEP_BITS) - 1;

/// The id after `last` (0 if there is none) at `now_ms` (Unix milliseconds): always larger than `last`, also when
/// the clock stands still or goes back, or when `last` was vended by another generator.
pub fn next(last: u64, now_ms: i64) -> u64 {
    let elapsed = now_ms.saturating_sub(EPOCH_MS).max(0).unsigned_abs();
    let fresh = first_of(elapsed);
    if fresh > last {
        return fresh;
    }
    if last & STEP_MASK < STEP_MASK {
        last + 1
    } else {
        first_of((last >> TIME_SHIFT) + 1).max(last.saturating_add(1))
    }
}

fn first_of(elapsed_ms: u64) -> u64 {
    // 41 bits of milliseconds last until 2080; beyond that ids stay at the largest time, and steps go on.
    (elapsed_ms.min((1 << 41) - 1) << TIME_SHIFT) | (NODE << STEP_BITS)
}

/// When an id was vended: Unix milliseconds. `None` for text that is no Snowflake number.
pub fn vended_at_ms(build_id: &str) -> Option<i64> {
    let id: u64 = build_id.parse().ok()?;
    i64::try_from(id >> TIME_SHIFT).ok()?.checked_add(EPOCH_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let start = EPOCH_MS + 429_153_442_383; // a moment in 2024
        let first = next(0, start);
        assert_eq!(first >> 22, 429_153_442_383);
        assert_eq!((first >> 12) & 0x3ff, NODE);
        assert_eq!(vended_at_ms(&first.to_string()), Some(start));
        let mut last = first;
        for i in 0..10_000 {
            // Standing still, then running back an hour.
            let id = next(last, if i < 5_000 { start } else { start - 3_600_000 });
            assert!(id > last);
            last = id;
        }
        assert_eq!(last >> 22, 429_153_442_383 + 2, "4,096 steps fit into a millisecond");
        assert_eq!((last >> 12) & 0x3ff, NODE, "a carry never reaches the node bits");
    }

    #[test]
    fn odd_inputs_do_not_panic() {
        assert!(next(0, i64::MIN) > 0);
        assert!(next(0, i64::MAX) > 0);
        assert_eq!(next(1_799_999_999_999_999_998, EPOCH_MS), 1_799_999_999_999_999_999, "another's id");
        assert!(next(1_799_999_999_999_999_999, EPOCH_MS) > 1_799_999_999_999_999_999, "another's last step");
        assert_eq!(vended_at_ms("latest"), None);
    }
}
