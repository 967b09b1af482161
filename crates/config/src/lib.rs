//! config.yaml, plugins.yaml and job files become one validated, immutable snapshot.
//!
//! ```text
//!  files ──► goyaml (tape + serde) ──► prowconfig, plugins, jobfile (typed, unknown keys noted)
//!                                             │
//!              retired keys rewritten ────────┤
//!                                             ▼
//!                     defaults ──► presets ──► validation ──► Snapshot ──► Handle (watch) ──► components
//! ```
//!
//! [`load`] is a function of the files, and of the time for one rule (`managed_webhooks`); no network. [`Agent`] calls it again when files change
//! and swaps whole, validated snapshots; a tree that does not load leaves the last good one in force.

mod agent;
pub mod cron;
mod defaults;
mod diagnostic;
mod diff;
pub mod golden;
pub mod goregex;
mod gotemplate;
mod goyaml;
mod gozero;
pub mod inrepo;
mod jobfile;
mod joblist;
pub mod jobs;
mod labelselector;
mod load;
mod pipeline;
pub mod plugins;
mod podtemplate;
mod presets;
pub mod prowconfig;
mod quantity;
mod retired;
pub mod schema;
mod serde_util;
mod snapshot;
mod templatedata;
pub mod tide;
mod validate;
mod walk;
pub mod yaml;

pub use agent::{Agent, Change, ChangeFeed, Handle, ReloadStats};
pub use cron::Schedule;
pub use diagnostic::{Diagnostic, Kind, LoadErrors, Severity, did_you_mean};
pub use diff::{JobChanges, JobId};
pub use goregex::GoRegex;
pub use gotemplate::{GoTemplate, TemplateError};
pub use jobs::{JobList, Jobs, Periodic, Periodics, Postsubmit, Presubmit};
pub use load::{LoadOptions, load, own_jobs};
pub use plugins::PluginConfig;
pub use podtemplate::PodTemplate;
pub use prowconfig::ProwConfig;
pub use snapshot::Snapshot;
pub use templatedata::template_data;
pub use validate::check_decoration;
pub use walk::suffixed_files;
