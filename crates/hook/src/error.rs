//! What can go wrong with receiving and keeping events. What goes wrong while a plugin handles one is
//! [`prow_plugins::Error`]; it is logged and counted by the dispatcher, never told to GitHub.

use std::path::PathBuf;

/// A failure of the hook itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal cannot be opened.
    #[error(
        "cannot open the webhook journal {path}: {source}; check that the directory is writable and that the file is of this program"
    )]
    OpenJournal {
        /// The journal's file.
        path: PathBuf,
        /// What redb or the system says.
        #[source]
        source: Box<redb::Error>,
    },
    /// Another process has it.
    #[error(
        "the webhook journal {path} is in use by another process: only one hook may use a journal directory; stop the other or give this one its own directory"
    )]
    JournalInUse {
        /// The journal's file.
        path: PathBuf,
    },
    /// An event could not be written; GitHub is told so and may deliver it again.
    #[error("cannot write to the webhook journal: {0}; check the disk, then restart hook")]
    WriteJournal(String),
    /// A record could not be read back.
    #[error("cannot read event {seq} of the webhook journal: {why}")]
    ReadJournal {
        /// Number of the event.
        seq: u64,
        /// What redb or the decoder says.
        why: String,
    },
    /// The HMAC secret file cannot be used.
    #[error("cannot use the HMAC secret file {path}: {why}; check --hmac-secret-file")]
    HmacFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The webhook cannot be there.
    #[error("webhooks cannot be received at {path:?}: {why}; check --webhook-path")]
    WebhookPath {
        /// As given.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// `run` was called a second time.
    #[error("this hook is already running")]
    AlreadyRunning,
    /// The HTTP client for external plugins cannot be built.
    #[error("cannot set up the HTTP client for external plugins: {0}")]
    Http(String),
}
