//! Why the forge did not do something: its own trouble, or a refusal in GitHub's terms.

use std::path::PathBuf;

/// A failed operation. The refusals carry the text that GitHub's clients get to see.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be read or written.
    #[error(
        "the forge's database {path:?} cannot be used: {why}; is another process using the data directory?"
    )]
    Store { path: PathBuf, why: String },
    /// A record in the database is not what this version writes.
    #[error(
        "the forge's record {key:?} cannot be read: {source}; the data directory is from another version or damaged"
    )]
    Record {
        key: String,
        #[source]
        source: serde_json::Error,
    },
    /// A file or process could not be used.
    #[error("cannot {what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// git failed.
    #[error(transparent)]
    Git(#[from] prow_git::GitError),
    /// The HTTP client for deliveries could not be made.
    #[error("cannot set up webhook deliveries: {0}")]
    Setup(String),
    /// 401
    #[error("{0}")]
    Unauthorized(String),
    /// 403
    #[error("{0}")]
    Forbidden(String),
    /// 404: there is no such thing, or the asker may not know of it.
    #[error("{0}")]
    NotFound(String),
    /// 405
    #[error("{0}")]
    NotAllowed(String),
    /// 409
    #[error("{0}")]
    Conflict(String),
    /// 422
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// GitHub's plain "Not Found".
    pub(crate) fn not_found() -> Self {
        Error::NotFound("Not Found".into())
    }

    /// The HTTP status that tells a client of it.
    pub fn status(&self) -> http::StatusCode {
        use http::StatusCode;
        match self {
            Error::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::NotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::Invalid(_) | Error::Git(prow_git::GitError::BadName { .. }) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
