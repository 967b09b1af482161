//! What deserves a second look in a configuration that loads (`prow checkconfig`, prow-config §9), and what a change
//! to a configuration changes (`prow config diff`).
//!
//! ```text
//!  Snapshot + texts of its files ──check::run──▶ findings, each with its place ──report──▶ text, JSON, annotations
//!  two Snapshots ──────────────────diff::between──▶ jobs and their Pods, settings ──▶ text, JSON, Markdown
//! ```
//!
//! All of it is pure: files are read, buckets opened and GitHub asked by the caller, who hands in what was found.

pub mod check;
pub mod diff;
mod finding;
pub mod report;
mod text;

pub use finding::{Finding, Level};
