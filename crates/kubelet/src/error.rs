//! Everything that can go wrong in the pod runner, in full sentences.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the pod runner.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of ours does not hold what we wrote.
    #[error("{} is not what the pod runner wrote there: {source}; delete the Pod to get rid of it", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Another process runs Pods from the same directory.
    #[error("the data directory {} is in use by another pod runner; stop it or choose another directory", path.display())]
    DataDirInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory's name cannot be used.
    #[error("the data directory {} cannot be used: {why}", path.display())]
    DataDirUnusable {
        /// The directory.
        path: PathBuf,
        /// What is wrong with its name.
        why: &'static str,
    },
    /// The Pod has a live supervisor already.
    #[error("the Pod in {} has a supervisor already", path.display())]
    AlreadySupervised {
        /// The Pod's directory.
        path: PathBuf,
    },
    /// The Pod was run before; it is never run again.
    #[error("the Pod in {} was started before and is not started twice", path.display())]
    AlreadyStarted {
        /// The Pod's directory.
        path: PathBuf,
    },
    /// A hostPath is not what its volume says, or leads elsewhere.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {why}")]
    HostPath {
        /// The volume.
        volume: String,
        /// What is wrong.
        why: String,
    },
    /// A system call was refused.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried, and on what.
        what: String,
        /// Why not.
        source: nix::Error,
    },
    /// The Kubernetes API refused or was not there.
    #[error("cannot {what}: {source}")]
    Api {
        /// What was tried, and on what.
        what: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// Something else, said in a sentence.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// `cannot <what> <path>: <source>`.
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Error::Io { what, path: path.to_owned(), source }
    }

    /// `cannot <what>: <source>`.
    pub(crate) fn system(what: impl Into<String>, source: nix::Error) -> Self {
        Error::System { what: what.into(), source }
    }

    /// `cannot <what>: <source>`.
    pub(crate) fn api(what: impl Into<String>, source: kube::Error) -> Self {
        Error::Api { what: what.into(), source: Box::new(source) }
    }
}
