//! What runs beside a job in its Pod: `clonerefs`, `initupload`, `sidecar`, and `gcsupload` alone
//! (prow-runtime §7.5, §8, §9).
//!
//! ```text
//! clonerefs ── clone.json ──▶ initupload ── started.json ──▶ storage
//!                                                              ▲
//! entrypoint ── log, marker, artifacts ──▶ sidecar ─ censor ───┘
//! ```
//!
//! Everything a job writes is hostile: it may replace its log by a link to our credentials, name its artifacts
//! oddly, or print secrets. Files are opened without following links out of their directory, and censoring that
//! fails stops the upload of what it should have censored.

mod censor;
mod clone;
mod flags;
mod gcsupload;
mod host;
mod initupload;
mod journal;
mod sidecar;
mod upload;
mod usage;

pub use host::{Env, Host};

use std::ffi::OsString;
use std::process::ExitCode;

/// The names that [`main`] knows.
pub const TOOLS: [&str; 4] = ["clonerefs", "initupload", "sidecar", "gcsupload"];

/// Why a utility gave up: it is logged as one line, and the exit code is 1.
#[derive(Debug, thiserror::Error)]
pub enum UtilityError {
    /// The options are missing, malformed or contradict each other.
    #[error("{0}")]
    Options(String),
    /// A file that the utilities hand to one another cannot be used.
    #[error("cannot {action} {path}: {why}")]
    File {
        /// `read`, `write`.
        action: &'static str,
        /// Which.
        path: String,
        /// Why not.
        why: String,
    },
    /// Storage cannot even be addressed.
    #[error("{0}")]
    Storage(#[from] prow_storage::StorageError),
    /// The run has no place in storage.
    #[error("{0}")]
    Path(#[from] prow_job::paths::PathError),
}

/// Runs one utility by its name with this process's environment. `args` without the program's name.
pub async fn main(name: &str, args: Vec<OsString>) -> ExitCode {
    let journal = journal::Journal::install(name);
    let (env, host) = (Env::of_process(), Host::system());
    let result = match name {
        "clonerefs" => clone::main(args, &env, &host).await,
        "initupload" => initupload::main(args, &env, &host).await,
        "sidecar" => sidecar::main(&env, &host, &journal).await,
        "gcsupload" => gcsupload::main(args, &env, &host).await,
        other => Err(UtilityError::Options(format!(
            "there is no pod utility {other:?}; they are {}",
            TOOLS.join(", ")
        ))),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{name} failed: {error}");
            ExitCode::from(1)
        }
    }
}
