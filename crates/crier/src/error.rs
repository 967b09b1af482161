//! Why something could not be reported. Reports are tried again with growing pauses.

use std::time::Duration;

/// A failed report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// GitHub did not do what was asked.
    #[error(transparent)]
    GitHub(#[from] prow_github::Error),
    /// The bucket did not.
    #[error(transparent)]
    Storage(#[from] prow_storage::StorageError),
    /// The API server did not.
    #[error("cannot record on ProwJob {name} that it was reported: {}; it will be reported again", prow_kube::prowjobs::said(.source))]
    Record {
        /// The ProwJob.
        name: String,
        /// What the client says.
        #[source]
        source: Box<kube::Error>,
    },
    /// The build cluster did not.
    #[error("cannot {doing} Pod {name}: {}; check the build cluster and crier's rights there", prow_kube::prowjobs::said(.source))]
    Pod {
        /// What was tried.
        doing: &'static str,
        /// The Pod.
        name: String,
        /// What the client says.
        #[source]
        source: Box<kube::Error>,
    },
    /// There is no such build cluster.
    #[error("{0}; the Pod's information cannot be kept")]
    Cluster(#[from] prow_kube::NoClient),
    /// There is no place for a run's results.
    #[error(transparent)]
    Path(#[from] prow_job::paths::PathError),
    /// The ProwJob lacks what a report is made of.
    #[error("ProwJob {name} cannot be reported: {why}")]
    Incomplete {
        /// The ProwJob.
        name: String,
        /// What is missing.
        why: &'static str,
    },
    /// What was to be written is no JSON.
    #[error("cannot write {file} of ProwJob {name}: {source}")]
    Encode {
        /// The ProwJob.
        name: String,
        /// The file.
        file: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It took too long.
    #[error("the report did not end within {0:?}")]
    TimedOut(Duration),
}
