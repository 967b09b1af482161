//! What can go wrong between us and GitHub's API. Messages name method and path; never a token, never a header.

use std::path::PathBuf;
use std::time::Duration;

/// A failed call. `path` is relative to the API's endpoint, such as `/repos/o/r/pulls/1`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No endpoint could be reached, or the connection broke, as often as the options allow.
    #[error(
        "{method} {path}: no answer from GitHub after {attempts} attempt(s): {}; check the network and --github-endpoint",
        causes(source)
    )]
    Transport {
        method: http::Method,
        path: String,
        attempts: u32,
        #[source]
        source: reqwest::Error,
    },
    /// GitHub answered, and it was a refusal.
    #[error("{method} {path}: GitHub answered {status}: {message}{hint}")]
    Status {
        method: http::Method,
        path: String,
        status: http::StatusCode,
        /// GitHub's `message` field, or the start of the body where there is none.
        message: String,
        /// What the caller may do about it, starting with `; `, or empty.
        hint: String,
    },
    /// GitHub asks us to wait longer than `--github-client.backoff-timeout` tolerates.
    #[error(
        "{method} {path}: rate limited by GitHub until {until}: waiting {wait:?} is more than the tolerated {tolerated:?}; raise --github-client.backoff-timeout or use fewer calls"
    )]
    RateLimited {
        method: http::Method,
        path: String,
        until: jiff::Timestamp,
        wait: Duration,
        tolerated: Duration,
    },
    /// The answer was not the JSON it should be.
    #[error("{method} {path}: cannot read GitHub's answer: {source}")]
    Decode {
        method: http::Method,
        path: String,
        #[source]
        source: serde_json::Error,
    },
    /// The answer was readable but not what the call needs.
    #[error("{method} {path}: {why}")]
    Unexpected { method: http::Method, path: String, why: String },
    /// A name that cannot be part of a URL's path: empty, `.` or `..`.
    #[error("cannot call GitHub: {segment:?} cannot be part of an API path")]
    InvalidPath { segment: String },
    /// The token file is unreadable or unusable.
    #[error("cannot read the GitHub token from {path}: {why}; check --github-token-path")]
    Token { path: PathBuf, why: String },
    /// The client cannot be built.
    #[error("cannot set up the GitHub client: {0}")]
    Setup(String),
}

impl Error {
    /// The HTTP status GitHub refused with.
    pub fn status(&self) -> Option<http::StatusCode> {
        match self {
            Error::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// GitHub's own message, where it sent one.
    pub fn message(&self) -> Option<&str> {
        match self {
            Error::Status { message, .. } => Some(message),
            _ => None,
        }
    }

    /// GitHub says there is no such thing, or that we may not know of it.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(http::StatusCode::NOT_FOUND)
    }

    /// The thing changed or is in the wrong state: 405, 409 or 422.
    pub fn is_refused(&self) -> bool {
        self.status().is_some_and(|s| matches!(s.as_u16(), 405 | 409 | 422))
    }

    /// Our credentials are missing, wrong or too weak.
    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(|s| matches!(s.as_u16(), 401 | 403))
    }
}

/// An error with what caused it: reqwest's own text stops at "error sending request".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
