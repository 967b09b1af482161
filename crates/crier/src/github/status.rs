//! The commit status of a ProwJob's state (prow-config §1.12, prow-runtime §10.2).

use prow_api::{ProwJob, Refs, State};
use prow_github::Status;

/// GitHub's limit of a description.
const LONGEST: usize = 140;
/// Tide finds the base commit behind this; it must be followed by exactly 40 characters (trap 38).
const BASE_SHA: &str = " BaseSHA:";
const ELLIPSIS: &str = " ... ";
/// EM QUAD: looks like a space, and GitHub's pages do not fold many of them into one.
const PADDING: char = '\u{2001}';

/// GitHub's word for a state; `None` while the job waits for the scheduler.
pub fn github_state(state: State) -> Option<&'static str> {
    match state {
        State::Triggered | State::Pending => Some("pending"),
        State::Success => Some("success"),
        State::Error => Some("error"),
        State::Failure | State::Aborted => Some("failure"),
        State::Scheduling => None,
    }
}

/// The commit that a status is set on.
pub fn sha(refs: &Refs) -> &str {
    refs.pulls.first().map_or(&refs.base_sha, |pull| &pull.sha)
}

/// The whole status; `None` while the job waits for the scheduler.
pub fn status(job: &ProwJob, refs: &Refs) -> Option<Status> {
    Some(Status {
        state: github_state(job.status.state)?.to_owned(),
        target_url: job.status.url.clone(),
        description: description(&job.status.description, &refs.base_sha),
        context: job.spec.context.clone(),
        ..Status::default()
    })
}

/// The text for people, and at its end the base commit for Tide. Padded so that the commit stands at the right; cut
/// in the middle if it is too long. Lengths are bytes, as Prow counts them.
fn description(text: &str, base_sha: &str) -> String {
    let mut suffix = String::new();
    if !base_sha.is_empty() {
        suffix = format!("{BASE_SHA}{base_sha}");
        let missing = LONGEST.saturating_sub(text.len() + suffix.len());
        // Each padding character takes three bytes, and Prow counts anew after each.
        let padding: String = std::iter::repeat_n(PADDING, missing.div_ceil(4)).collect();
        suffix = padding + &suffix;
    }
    cut(text, LONGEST.saturating_sub(suffix.len())) + &suffix
}

/// Head and tail of `text`, at most `room` bytes.
fn cut(text: &str, room: usize) -> String {
    if text.len() <= room {
        return text.to_owned();
    }
    let half = room.saturating_sub(ELLIPSIS.len()) / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    format!("{}{ELLIPSIS}{}", &text[..head], &text[tail..])
}

/// Which part of a report is pointless after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swallowed {
    /// The status: there is no room for one more.
    Status,
    /// All of it: repository or commit are gone.
    Everything,
}

/// Errors that no later try would be spared of.
pub fn swallowed(error: &prow_github::Error) -> Option<Swallowed> {
    let message = error.message()?;
    if message.contains("This SHA and context has reached the maximum number of statuses") {
        Some(Swallowed::Status)
    } else if message == "Not Found" || message.contains("No commit found for SHA:") {
        Some(Swallowed::Everything)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn states_have_their_words() {
        for (state, expected) in [
            (State::Scheduling, None),
            (State::Triggered, Some("pending")),
            (State::Pending, Some("pending")),
            (State::Success, Some("success")),
            (State::Failure, Some("failure")),
            (State::Aborted, Some("failure")),
            (State::Error, Some("error")),
        ] {
            assert_eq!(github_state(state), expected, "{state}");
        }
    }

    #[test]
    fn descriptions_end_in_the_base_commit_and_fit() {
        for (length, padding) in [(0, 23), (1, 23), (11, 20), (88, 1), (91, 0)] {
            let text = "x".repeat(length);
            let full = description(&text, SHA);
            assert_eq!(
                full,
                format!("{text}{}{BASE_SHA}{SHA}", PADDING.to_string().repeat(padding)),
                "{length}"
            );
            assert!(full.len() <= LONGEST);
        }
        // One byte short of the limit, the padding takes three: the text gives way, as in Prow.
        assert!(description(&"x".repeat(90), SHA).contains(ELLIPSIS));
        let long: String = ('a'..='z').cycle().take(200).collect();
        let full = description(&long, SHA);
        assert_eq!(full, format!("{} ... {}{BASE_SHA}{SHA}", &long[..43], &long[157..]));
        assert_eq!(full.len(), LONGEST);
        assert_eq!(full.split(BASE_SHA).nth(1).unwrap().len(), 40);
        let umlauts = "ä".repeat(100);
        assert!(description(&umlauts, SHA).len() <= LONGEST);
        assert_eq!(description("short", ""), "short");
        assert_eq!(description(&long, "").len(), 67 * 2 + ELLIPSIS.len());
    }

    proptest::proptest! {
        #[test]
        fn any_description_fits_and_tide_finds_the_base_commit(text in ".{0,300}") {
            let full = description(&text, SHA);
            proptest::prop_assert!(full.len() <= LONGEST, "{} bytes", full.len());
            proptest::prop_assert!(full.ends_with(&format!("{BASE_SHA}{SHA}")), "{}", full);
        }
    }

    #[test]
    fn hopeless_errors_are_swallowed() {
        let refused = |message: &str| prow_github::Error::Status {
            method: http::Method::POST,
            path: "/repos/o/r/statuses/s".into(),
            status: http::StatusCode::UNPROCESSABLE_ENTITY,
            message: message.into(),
            hint: String::new(),
        };
        for (message, expected) in [
            (
                "Validation Failed (This SHA and context has reached the maximum number of statuses.)",
                Some(Swallowed::Status),
            ),
            ("Not Found", Some(Swallowed::Everything)),
            ("No commit found for SHA: abc", Some(Swallowed::Everything)),
            ("Server Error", None),
        ] {
            assert_eq!(swallowed(&refused(message)), expected, "{message}");
        }
        assert_eq!(swallowed(&prow_github::Error::Setup("x".into())), None);
    }
}
