//! The heart of Prow as a pure library: which jobs an event asks for, how a job and its refs become a ProwJob,
//! how a ProwJob becomes a Pod, and where its results go.
//!
//! ```text
//!  event or comment ──select──▶ decisions, each with its rule
//!  job + refs ────────build───▶ ProwJobSpec ──▶ ProwJob (labels, annotations, deterministic name)
//!  ProwJob + build id ──pod───▶ Pod        (env, paths and url serve it and the components)
//! ```
//!
//! No clock, network, disk or randomness: ids and times come in as arguments (ARCHITECTURE.md, invariant 1).

pub mod build;
pub mod buildid;
pub mod comment;
pub mod decorate;
pub mod env;
pub mod explain;
pub mod gojson;
pub mod labels;
pub mod names;
pub mod paths;
pub mod pod;
pub mod select;
pub mod url;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
