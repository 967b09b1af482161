//! Decides what a failed attempt is worth: try again, wait for the rate limit, or give up (prow-runtime §1.2).

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

/// The bounds of the `--github-client.*` flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub max_retries: u32,
    pub max_404_retries: u32,
    pub initial_delay: Duration,
    /// The longest wait a rate limit may ask of us.
    pub max_sleep: Duration,
}

/// How often this call was tried again so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tries {
    pub all: u32,
    pub not_found: u32,
}

/// What happened.
pub(crate) enum Outcome<'a> {
    /// Nothing reached GitHub: the connection could not be made.
    NotSent,
    /// The connection broke after the request may have arrived.
    Broken,
    /// An answer.
    Answer { status: StatusCode, headers: &'a HeaderMap, body: &'a [u8] },
}

/// What kind of call it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Doing it twice is like doing it once.
    pub repeatable: bool,
    /// 404 is a plain answer to this call, not a sign of GitHub lagging behind its own webhooks.
    pub not_found_is_an_answer: bool,
}

/// What to do about it.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    /// Hand the answer, good or bad, to the caller.
    Done,
    /// Try again after this long.
    Retry(Duration),
    /// GitHub asks for more patience than the policy has.
    TooLong(Duration),
}

/// Pure: see the module's first line.
pub(crate) fn decide(
    policy: &Policy,
    kind: Kind,
    tries: Tries,
    now: Timestamp,
    outcome: &Outcome<'_>,
) -> Decision {
    let backoff = policy.initial_delay.saturating_mul(1 << tries.all.min(16)).min(policy.max_sleep);
    let again = |ok: bool| {
        if ok && tries.all < policy.max_retries { Decision::Retry(backoff) } else { Decision::Done }
    };
    match outcome {
        Outcome::NotSent => again(true),
        Outcome::Broken => again(kind.repeatable),
        Outcome::Answer { status, headers, body } => match status.as_u16() {
            404 if !kind.not_found_is_an_answer => again(tries.not_found < policy.max_404_retries),
            403 | 429 => match asked_wait(*status, headers, body, now, backoff) {
                None => Decision::Done,
                Some(wait) if wait > policy.max_sleep => Decision::TooLong(wait),
                Some(wait) if tries.all < policy.max_retries => Decision::Retry(wait),
                Some(_) => Decision::Done,
            },
            500..=599 => again(kind.repeatable),
            _ => Decision::Done,
        },
    }
}

/// How long GitHub asks us to wait: `Retry-After` (seconds), else `X-RateLimit-Reset` (Unix time) when nothing
/// remains, else, for a secondary limit without either, at least the minute GitHub's documentation asks for.
fn asked_wait(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    backoff: Duration,
) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
    if let Some(seconds) = number("retry-after") {
        return Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    }
    if number("x-ratelimit-remaining") == Some(0)
        && let Some(reset) = number("x-ratelimit-reset")
    {
        // One second more: our clock and GitHub's need not agree.
        let seconds = reset.saturating_sub(now.as_second()).saturating_add(1);
        return Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    }
    let text = String::from_utf8_lossy(body).to_lowercase();
    if text.contains("secondary rate limit") || text.contains("abuse detection") {
        return Some(backoff.max(Duration::from_secs(60)));
    }
    (status == StatusCode::TOO_MANY_REQUESTS).then_some(backoff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        max_retries: 8,
        max_404_retries: 2,
        initial_delay: Duration::from_secs(2),
        max_sleep: Duration::from_secs(120),
    };

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn every_outcome_has_its_answer() {
        use Decision::{Done, Retry, TooLong};
        let now = Timestamp::from_second(1_000_000).unwrap();
        let s = Duration::from_secs;
        let read = Kind { repeatable: true, not_found_is_an_answer: false };
        let write = Kind { repeatable: false, ..read };
        let asking = Kind { not_found_is_an_answer: true, ..read };
        let first = Tries::default();
        let after = |all, not_found| Tries { all, not_found };
        let cases: &[(&str, Kind, Tries, u16, &[(&'static str, &str)], &str, Decision)] = &[
            ("fine", read, first, 200, &[], "", Done),
            ("server error, read", read, first, 502, &[], "", Retry(s(2))),
            ("backoff doubles", read, after(3, 0), 502, &[], "", Retry(s(16))),
            ("backoff is bounded", read, after(7, 0), 502, &[], "", Retry(s(120))),
            ("enough is enough", read, after(8, 0), 502, &[], "", Done),
            ("server error, write: it may have happened", write, first, 502, &[], "", Done),
            ("not found yet", read, first, 404, &[], "", Retry(s(2))),
            ("not found twice", read, after(2, 2), 404, &[], "", Done),
            ("not found is the answer", asking, first, 404, &[], "", Done),
            ("plainly forbidden", read, first, 403, &[], "Must have admin rights", Done),
            ("retry-after", write, first, 403, &[("retry-after", "30")], "", Retry(s(30))),
            ("retry-after too long", read, first, 429, &[("retry-after", "121")], "", TooLong(s(121))),
            (
                "limit resets soon",
                write,
                first,
                403,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1000009")],
                "",
                Retry(s(10)),
            ),
            (
                "limit resets late",
                read,
                first,
                403,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1003600")],
                "",
                TooLong(s(3601)),
            ),
            (
                "limit was reset just now",
                read,
                first,
                403,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "999000")],
                "",
                Retry(s(0)),
            ),
            (
                "calls remain: a real 403",
                read,
                first,
                403,
                &[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "1000009")],
                "",
                Done,
            ),
            (
                "secondary limit",
                write,
                first,
                403,
                &[],
                "You have exceeded a secondary rate limit",
                Retry(s(60)),
            ),
            ("bare 429", read, first, 429, &[], "", Retry(s(2))),
            ("refused", read, first, 422, &[], "", Done),
        ];
        for (name, kind, tries, status, head, body, want) in cases {
            let headers = headers(head);
            let outcome = Outcome::Answer {
                status: StatusCode::from_u16(*status).unwrap(),
                headers: &headers,
                body: body.as_bytes(),
            };
            assert_eq!(decide(&POLICY, *kind, *tries, now, &outcome), *want, "{name}");
        }
        assert_eq!(decide(&POLICY, write, first, now, &Outcome::NotSent), Retry(s(2)));
        assert_eq!(decide(&POLICY, write, first, now, &Outcome::Broken), Done);
        assert_eq!(decide(&POLICY, read, first, now, &Outcome::Broken), Retry(s(2)));
    }
}
