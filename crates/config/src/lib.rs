//! config.yaml, plugins.yaml and job files become one validated, immutable snapshot.

pub mod goregex;
pub mod jobs;
