//! The files that a run leaves in storage (prow-runtime §8, §9): names and JSON shapes.

use crate::refs::Refs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Written when a run begins.
pub const STARTED_JSON: &str = "started.json";
/// Written when a run ends.
pub const FINISHED_JSON: &str = "finished.json";
/// The ProwJob itself, written by crier.
pub const PROWJOB_JSON: &str = "prowjob.json";
/// Pod and events, written by crier.
pub const PODINFO_JSON: &str = "podinfo.json";
/// Log of a single test container.
pub const BUILD_LOG_TXT: &str = "build-log.txt";
/// Log of cloning, for people.
pub const CLONE_LOG_TXT: &str = "clone-log.txt";
/// Log of cloning, for programs.
pub const CLONE_RECORDS_JSON: &str = "clone-records.json";
/// The sidecar's own log.
pub const SIDECAR_LOGS_JSON: &str = "sidecar-logs.json";
/// Directory of artifacts.
pub const ARTIFACTS_DIR: &str = "artifacts";
/// Pointer to the newest build of a job.
pub const LATEST_BUILD_TXT: &str = "latest-build.txt";

/// started.json.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Started {
    /// Unix seconds.
    pub timestamp: i64,
    /// Machine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Number of the first pull.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pull: String,
    /// `org/repo` to refs text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub repos: BTreeMap<String, String>,
    /// Commit of the main repository.
    #[serde(rename = "repo-commit", skip_serializing_if = "String::is_empty")]
    pub repo_commit: String,
    /// Free; `uploader: crier` marks crier's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// Older readers' version.
    #[serde(rename = "job-version", skip_serializing_if = "String::is_empty")]
    pub job_version: String,
    /// Older readers' version.
    #[serde(rename = "repo-version", skip_serializing_if = "String::is_empty")]
    pub repo_version: String,
}

/// finished.json.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Finished {
    /// Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// Passed; null is unknown.
    pub passed: Option<bool>,
    /// Free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// `SUCCESS`, `FAILURE`, `ABORTED`; crier writes the lower-case state.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub result: String,
    /// Older readers' version.
    #[serde(rename = "job-version", skip_serializing_if = "String::is_empty")]
    pub job_version: String,
    /// Commit of the main repository.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// Older readers' version.
    #[serde(rename = "repo-version", skip_serializing_if = "String::is_empty")]
    pub repo_version: String,
}

/// One clone, in clone-records.json.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CloneRecord {
    /// What was cloned; empty for the record of the setup.
    pub refs: Refs,
    /// What was run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CloneCommand>,
    /// Any command failed.
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    /// HEAD after everything.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub final_sha: String,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub duration: i64,
}

/// One command of a clone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CloneCommand {
    /// `PWD=<dir> <env> git args`.
    pub command: String,
    /// What it printed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub duration: i64,
}

fn is_false(b: &bool) -> bool {
    !*b
}
fn is_zero(n: &i64) -> bool {
    *n == 0
}
