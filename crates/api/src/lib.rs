//! What things are: the `prow.k8s.io/v1` ProwJob and everything inside it, the labels that carry it,
//! the options that travel into a job's Pod, and the files a run leaves behind.
//!
//! Pure data. No clock, no network, no disk (ARCHITECTURE.md, invariant 1).

pub mod decoration;
pub mod duration;
pub mod jobspec;
pub mod labels;
pub mod options;
pub mod prowjob;
pub mod refs;
pub mod results;
pub mod schema;
pub mod secret;

pub use decoration::{DecorationConfig, GcsConfiguration, UtilityImages};
pub use duration::{GoDuration, K8sDuration};
pub use jobspec::JobSpec;
pub use prowjob::{JobType, ProwJob, ProwJobSpec, ProwJobStatus, State};
pub use refs::{OrgRepo, Pull, Refs};
pub use secret::Secret;

/// A point in time as Kubernetes writes it: RFC 3339, UTC, whole seconds.
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
