//! The options that plank writes into a decorated Pod's environment and the pod utilities read
//! (prow-runtime §7.5). Names, order and omission are the contract with upstream's utilities.

use crate::decoration::GcsConfiguration;
use crate::refs::Refs;
use serde::{Deserialize, Serialize};

fn is_false(b: &bool) -> bool {
    !*b
}
fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// Variable that holds [`CloneRefsOptions`].
pub const CLONEREFS_OPTIONS: &str = "CLONEREFS_OPTIONS";
/// Variable that holds [`InitUploadOptions`].
pub const INITUPLOAD_OPTIONS: &str = "INITUPLOAD_OPTIONS";
/// Variable that holds [`EntrypointOptions`].
pub const ENTRYPOINT_OPTIONS: &str = "ENTRYPOINT_OPTIONS";
/// Variable that holds [`SidecarOptions`].
pub const SIDECAR_OPTIONS: &str = "SIDECAR_OPTIONS";
/// Variable that holds [`GcsUploadOptions`] of the stand-alone uploader.
pub const GCSUPLOAD_OPTIONS: &str = "GCSUPLOAD_OPTIONS";
/// Variable that holds the [`crate::JobSpec`].
pub const JOB_SPEC: &str = "JOB_SPEC";

/// CLONEREFS_OPTIONS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CloneRefsOptions {
    /// Root of all clones; sources go below `<src_root>/src`.
    pub src_root: String,
    /// Where the clone records go.
    pub log: String,
    /// `ci-robot`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_user_name: String,
    /// `ci-robot@k8s.io`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_user_email: String,
    /// What to clone.
    pub refs: Vec<Refs>,
    /// SSH keys: files or directories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_files: Vec<String>,
    /// File with an OAuth token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub oauth_token_file: String,
    /// Lines for known_hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_fingerprints: Vec<String>,
    /// 0 is as many as there are refs.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_parallel_workers: i64,
    /// Exit non-zero when a clone fails.
    #[serde(skip_serializing_if = "is_false")]
    pub fail: bool,
    /// Cookie file for git.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cookie_path: String,
    /// API endpoints for App tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub github_api_endpoints: Vec<String>,
    /// GitHub App.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub github_app_id: String,
    /// GitHub App's private key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub github_app_private_key_file: String,
}

/// What the entrypoint runs and where it leaves its traces; the sidecar reads the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WrapperOptions {
    /// Command and arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Name of the container; plank always writes it, also for the only one (`test`). Whether names are part of
    /// the results' file names follows from the number of entries.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_name: String,
    /// Log of the process.
    pub process_log: String,
    /// Written when the process ends, with its exit code.
    pub marker_file: String,
    /// Metadata that the job may write.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata_file: String,
}

/// ENTRYPOINT_OPTIONS. Durations are integer nanoseconds (trap 24).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EntrypointOptions {
    /// Nanoseconds until SIGINT; 0 is the default, 2 h.
    pub timeout: i64,
    /// Nanoseconds until SIGKILL; 0 is the default, 15 s.
    pub grace_period: i64,
    /// Made before the process starts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub artifact_dir: String,
    /// Wait for this marker first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub previous_marker: String,
    /// Exit 0 whatever happens.
    #[serde(skip_serializing_if = "is_false")]
    pub always_zero: bool,
    /// On timeout or interrupt give the process's own code.
    #[serde(skip_serializing_if = "is_false")]
    pub propagate_error_code: bool,
    /// Only copy the binary.
    #[serde(skip_serializing_if = "is_false")]
    pub copy_mode_only: bool,
    /// Where to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub copy_dst: String,
    /// Inlined.
    #[serde(flatten)]
    pub wrapper: WrapperOptions,
}

/// Uploader options: inlined in INITUPLOAD_OPTIONS, nested in SIDECAR_OPTIONS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GcsUploadOptions {
    /// Files and directories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    /// Below the job directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub_dir: String,
    /// Inlined.
    #[serde(flatten)]
    pub gcs: GcsConfiguration,
    /// Credentials of GCS.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gcs_credentials_file: String,
    /// Credentials of S3.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub s3_credentials_file: String,
    /// Always written.
    pub dry_run: bool,
}

/// INITUPLOAD_OPTIONS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InitUploadOptions {
    /// Inlined.
    #[serde(flatten)]
    pub gcs: GcsUploadOptions,
    /// Clone records to read, if anything was cloned.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log: String,
}

/// SIDECAR_OPTIONS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SidecarOptions {
    /// Where to upload; its items are the artifact directories.
    pub gcs_options: GcsUploadOptions,
    /// One a test container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<WrapperOptions>,
    /// Exit non-zero when a test container failed.
    #[serde(skip_serializing_if = "is_false")]
    pub entry_error: bool,
    /// Do not upload early when interrupted.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_interrupts: bool,
    /// Accepted for compatibility; ours has no heap profile to write and says so.
    #[serde(skip_serializing_if = "is_false")]
    pub write_memory_profile: bool,
    /// How to censor; plank always writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub censoring_options: Option<CensoringOptions>,
    /// Deprecated form of `entries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrapper_options: Option<WrapperOptions>,
    /// Deprecated form of the member of `censoring_options`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_directories: Vec<String>,
    /// Deprecated form of the member of `censoring_options`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub censoring_concurrency: Option<i64>,
    /// Deprecated form of the member of `censoring_options`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub censoring_buffer_size: Option<i64>,
}

/// What and how the sidecar censors.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CensoringOptions {
    /// Every file below is a secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_directories: Vec<String>,
    /// Files at a time; default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub censoring_concurrency: Option<i64>,
    /// Bytes; default 10 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub censoring_buffer_size: Option<i64>,
    /// Globs relative to the artifacts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_directories: Vec<String>,
    /// Globs relative to the artifacts; looked at first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_directories: Vec<String>,
    /// Files whose every value is a secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ini_filenames: Vec<String>,
    /// Shorter secrets are not censored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_secret_length: Option<i64>,
    /// Ours, not upstream's, which has no other way: what cannot be censored is uploaded as it is, with a warning,
    /// instead of being withheld.
    #[serde(skip_serializing_if = "is_false")]
    pub upload_uncensored_on_failure: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_the_contracts_shape() {
        let entrypoint = EntrypointOptions {
            timeout: 7_200_000_000_000,
            grace_period: 15_000_000_000,
            artifact_dir: "/logs/artifacts".into(),
            wrapper: WrapperOptions {
                args: vec!["make".into()],
                process_log: "/logs/process-log.txt".into(),
                marker_file: "/logs/marker-file.txt".into(),
                metadata_file: "/logs/artifacts/metadata.json".into(),
                ..WrapperOptions::default()
            },
            ..EntrypointOptions::default()
        };
        assert_eq!(
            serde_json::to_string(&entrypoint).unwrap(),
            r#"{"timeout":7200000000000,"grace_period":15000000000,"artifact_dir":"/logs/artifacts","args":["make"],"process_log":"/logs/process-log.txt","marker_file":"/logs/marker-file.txt","metadata_file":"/logs/artifacts/metadata.json"}"#
        );
        let upload: InitUploadOptions = serde_json::from_str(
            r#"{"bucket":"b","path_strategy":"explicit","dry_run":false,"log":"/logs/clone.json"}"#,
        )
        .unwrap();
        assert_eq!((upload.gcs.gcs.bucket.as_str(), upload.log.as_str()), ("b", "/logs/clone.json"));
        assert_eq!(
            serde_json::to_string(&upload).unwrap(),
            r#"{"bucket":"b","path_strategy":"explicit","dry_run":false,"log":"/logs/clone.json"}"#
        );
    }
}
