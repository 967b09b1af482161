//! Why an object could not be written, read or listed. Every message names bucket and object.

/// Every way in which storage can fail.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The bucket string is not one.
    #[error("{text:?} is not a bucket: {why}; write name, gs://name, s3://name or file:///directory")]
    BadBucket {
        /// What was given.
        text: String,
        /// The broken rule.
        why: String,
    },
    /// The object name is not one.
    #[error("{name:?} cannot be the name of an object in {bucket}: {why}")]
    BadName {
        /// The bucket.
        bucket: String,
        /// What was given.
        name: String,
        /// The broken rule.
        why: &'static str,
    },
    /// No such object (or, for a listing, no such bucket).
    #[error("{bucket} has no object {name:?}")]
    NotFound {
        /// The bucket.
        bucket: String,
        /// The object, without the bucket's own prefix.
        name: String,
    },
    /// There is nothing to write to.
    #[error(
        "cannot write {name:?}: there is no {bucket}, or these credentials may not know of it; create the bucket or correct the configuration"
    )]
    NoBucket {
        /// The bucket.
        bucket: String,
        /// The object.
        name: String,
    },
    /// The store refuses these credentials.
    #[error(
        "no permission to {action} {name:?} in {bucket}: {why}; check the credentials file and the bucket's access rules"
    )]
    Denied {
        /// `read`, `write`, `list`, `delete`.
        action: &'static str,
        /// The bucket.
        bucket: String,
        /// The object or prefix.
        name: String,
        /// What the store said.
        why: String,
    },
    /// A credentials file is missing or malformed. Its content is never shown.
    #[error("cannot use the credentials file {path:?} for {bucket}: {why}")]
    Credentials {
        /// Its path.
        path: String,
        /// The bucket.
        bucket: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store failed, or could not be reached, after all retries.
    #[error("cannot {action} {name:?} in {bucket}: {why}; is the store healthy and reachable from here?")]
    Failed {
        /// `read`, `write`, `list`, `delete`, `open`.
        action: &'static str,
        /// The bucket.
        bucket: String,
        /// The object or prefix.
        name: String,
        /// The last error, with its causes.
        why: String,
    },
    /// The data to upload could not be read: the fault is on this side, trying again later may help.
    #[error("cannot upload {name:?} to {bucket}: its source failed: {source}")]
    Source {
        /// The bucket.
        bucket: String,
        /// The object.
        name: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// More bytes than the caller was ready to hold.
    #[error("{name:?} in {bucket} is larger than {limit} bytes")]
    TooLarge {
        /// The bucket.
        bucket: String,
        /// The object.
        name: String,
        /// The limit in bytes.
        limit: u64,
    },
}

impl StorageError {
    /// True if the object simply is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, StorageError::NotFound { .. })
    }

    /// True if trying the same again cannot help.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            StorageError::BadBucket { .. } | StorageError::BadName { .. } | StorageError::TooLarge { .. }
        )
    }
}

/// What a store says is cut to this many characters: some answer with whole web pages.
const LONGEST: usize = 600;

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
