//! Why a git command did not do what was asked.

use crate::process::Exit;
use std::path::PathBuf;
use std::time::Duration;

/// Every way in which running git can fail. Texts are censored before they get here.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The program could not be started at all.
    #[error("cannot start {program:?} in {dir:?}: {source}; is git installed and does the directory exist?")]
    Start {
        /// What was to be run.
        program: PathBuf,
        /// Where.
        dir: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It ran, and failed.
    #[error("`{command}` in {dir:?} failed ({exit}): {stderr}")]
    Failed {
        /// The command line as a person would type it.
        command: String,
        /// Working directory.
        dir: PathBuf,
        /// How it ended.
        exit: Exit,
        /// The last lines it wrote to standard error.
        stderr: String,
    },
    /// It ran too long; its whole process group was killed.
    #[error("`{command}` in {dir:?} was still running after {after:?} and was killed")]
    TimedOut {
        /// The command line.
        command: String,
        /// Working directory.
        dir: PathBuf,
        /// The limit that was in force.
        after: Duration,
    },
    /// It wrote more than the caller was ready to hold.
    #[error("`{command}` in {dir:?} wrote more than {limit} bytes; raise the output limit or ask for less")]
    TooMuchOutput {
        /// The command line.
        command: String,
        /// Working directory.
        dir: PathBuf,
        /// The limit in bytes.
        limit: usize,
    },
    /// Pipes to or from the command broke.
    #[error("lost touch with `{command}` in {dir:?}: {source}")]
    Io {
        /// The command line.
        command: String,
        /// Working directory.
        dir: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// git answered in a form that this crate does not know.
    #[error("`{command}` answered in an unknown form: {detail}; which git version is this?")]
    BadOutput {
        /// The command line.
        command: String,
        /// What was unexpected.
        detail: String,
    },
    /// A name that must not reach git's command line.
    #[error("{name:?} is not a safe {what}: {why}")]
    BadName {
        /// The refused text.
        name: String,
        /// What it was to be: ref name, revision, object id, path.
        what: &'static str,
        /// The broken rule.
        why: &'static str,
    },
}

impl GitError {
    /// git's own exit code, if it ran to its end.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            GitError::Failed { exit: Exit::Code(code), .. } => Some(*code),
            _ => None,
        }
    }
}
