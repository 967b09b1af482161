//! Spreads calls over the hour (`--github-hourly-tokens`, `--github-allowed-burst`, prow-runtime §1.2).

use std::time::Duration;

use jiff::Timestamp;

/// How many calls an hour, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleOptions {
    /// Calls an hour in the long run; at least 1.
    pub hourly_tokens: u32,
    /// Calls that may happen at once after a quiet time; at least 1.
    pub burst: u32,
}

/// A token bucket over an injected clock.
pub(crate) struct Throttle {
    options: ThrottleOptions,
    /// May be negative: callers that already wait have reserved their token.
    tokens: f64,
    last: Option<Timestamp>,
}

impl Throttle {
    pub(crate) fn new(options: ThrottleOptions) -> Self {
        Throttle { options, tokens: f64::from(options.burst), last: None }
    }

    /// Takes a token and says how long to wait before it may be used.
    pub(crate) fn reserve(&mut self, now: Timestamp) -> Duration {
        let rate = f64::from(self.options.hourly_tokens) / 3600.0;
        if let Some(last) = self.last {
            let gained = now.duration_since(last).as_secs_f64().max(0.0) * rate;
            self.tokens = (self.tokens + gained).min(f64::from(self.options.burst));
        }
        self.last = Some(now);
        self.tokens -= 1.0;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / rate) }
    }

    /// Gives a token back: the call was answered from GitHub's cache (304) and cost nothing.
    pub(crate) fn refund(&mut self) {
        self.tokens = (self.tokens + 1.0).min(f64::from(self.options.burst));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_calls_are_spread() {
        let mut t = Throttle::new(ThrottleOptions { hourly_tokens: 3600, burst: 2 });
        let start = Timestamp::UNIX_EPOCH;
        let at = |s: i64| Timestamp::from_second(start.as_second() + s).unwrap();
        assert_eq!(t.reserve(at(0)), Duration::ZERO);
        assert_eq!(t.reserve(at(0)), Duration::ZERO);
        assert_eq!(t.reserve(at(0)), Duration::from_secs(1));
        assert_eq!(t.reserve(at(0)), Duration::from_secs(2));
        t.refund();
        assert_eq!(t.reserve(at(0)), Duration::from_secs(2));
        assert_eq!(t.reserve(at(100)), Duration::ZERO);
        assert_eq!(t.reserve(at(50)), Duration::ZERO, "a clock that goes back does no harm");
    }
}
