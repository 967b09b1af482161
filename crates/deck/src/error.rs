//! Why a page cannot be shown, and the page that says so.

use crate::html;
use crate::web;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use prow_storage::StorageError;

/// Every way in which a request can fail. The text is for the visitor.
#[derive(Debug, thiserror::Error)]
pub enum DeckError {
    /// A parameter is missing or has an impossible value.
    #[error("{0}")]
    BadRequest(String),
    /// There is no such thing, or this Deck does not show it.
    #[error("{0}")]
    NotFound(String),
    /// The configuration names no such bucket.
    #[error(
        "this Deck may not read the bucket {bucket:?}: the configuration names no job and no default_decoration_config \
         that uses it; an administrator can add it to deck.additional_allowed_buckets"
    )]
    BucketNotAllowed {
        /// As asked for.
        bucket: String,
    },
    /// Storage failed.
    #[error("cannot {what}: {source}")]
    Storage {
        /// What was tried, with its object.
        what: String,
        /// Why it failed.
        source: StorageError,
    },
    /// A build cluster failed.
    #[error(
        "cannot {what}: {why}; the build cluster did not answer as expected, try again or ask an administrator"
    )]
    Cluster {
        /// What was tried, with its object.
        what: String,
        /// Why it failed.
        why: String,
    },
    /// Something of our own could not be written down.
    #[error("cannot show {what}: {why}")]
    Render {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
}

impl DeckError {
    /// A storage failure with what was tried; "not there" becomes [`DeckError::NotFound`].
    pub fn storage(what: impl Into<String>, source: StorageError) -> DeckError {
        let what = what.into();
        match source {
            missing @ StorageError::NotFound { .. } => DeckError::NotFound(format!(
                "Cannot {what}: {missing}. It may not exist yet, or was deleted."
            )),
            bad @ (StorageError::BadBucket { .. } | StorageError::BadName { .. }) => {
                DeckError::BadRequest(format!("Cannot {what}: {bad}"))
            }
            source => DeckError::Storage { what, source },
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            DeckError::BadRequest(_) => StatusCode::BAD_REQUEST,
            DeckError::NotFound(_) => StatusCode::NOT_FOUND,
            DeckError::BucketNotAllowed { .. } => StatusCode::FORBIDDEN,
            DeckError::Storage { .. } | DeckError::Cluster { .. } => StatusCode::BAD_GATEWAY,
            DeckError::Render { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// As plain text, for machine routes.
    pub fn into_text(self) -> Response {
        self.log();
        web::text(self.status(), format!("{self}\n"))
    }

    fn log(&self) {
        match self.status().is_server_error() {
            true => tracing::warn!(error = %self, "a page could not be shown"),
            false => tracing::debug!(error = %self, "a request was refused"),
        }
    }
}

impl IntoResponse for DeckError {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let title = match status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::FORBIDDEN => "Not allowed",
            StatusCode::BAD_REQUEST => "That request makes no sense",
            _ => "Something failed",
        };
        web::html(status, html::error_page(title, status, &sentence(&self.to_string())))
    }
}

/// An error's words as a sentence for a page.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect();
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_status_that_tells_who_can_help() {
        let missing = || StorageError::NotFound { bucket: "gs://b".into(), name: "x".into() };
        let bad = StorageError::BadName { bucket: "gs://b".into(), name: "..".into(), why: "it climbs" };
        let down = StorageError::Failed {
            action: "read",
            bucket: "gs://b".into(),
            name: "x".into(),
            why: "503".into(),
        };
        for (error, status, text) in [
            (DeckError::storage("read the log", missing()), 404, "Cannot read the log: gs://b has no object"),
            (DeckError::storage("read the log", bad), 400, "it climbs"),
            (
                DeckError::storage("read the log", down),
                502,
                "Cannot read the log: cannot read \"x\" in gs://b: 503",
            ),
            (DeckError::BucketNotAllowed { bucket: "x".into() }, 403, "additional_allowed_buckets."),
        ] {
            assert_eq!(error.status().as_u16(), status);
            let sentence = sentence(&error.to_string());
            assert!(sentence.contains(text), "{sentence}");
        }
    }
}
