//! config.yaml without its jobs (prow-config §4): one field for each key, in the words of the file.
//!
//! After loading every default is filled in and every rule of §4 that concerns the section alone was checked.

mod branch_protection;
mod deck;
mod finish;
mod lookup;
mod plank;
mod protection;
mod reporters;
mod retired;
mod services;
mod tide;
mod tidequery;

pub use branch_protection::*;
pub use deck::*;
pub(crate) use lookup::by_repo;
pub use lookup::{decoration_matches, gerrit_aware_candidates};
pub use plank::*;
pub use protection::BranchRequirements;
pub use reporters::*;
pub use services::*;
pub use tide::*;

pub(crate) use finish::finish;
pub(crate) use retired::find as find_retired;

use crate::jobs::ProwJobDefaultEntry;
use crate::serde_util::is_false;
use prow_api::K8sDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// config.yaml without its jobs (§4.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProwConfig {
    /// Commit that the configuration comes from; the VERSION file's text wins.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub config_version_sha: String,
    /// Where ProwJobs live; `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prowjob_namespace: String,
    /// Where Pods run; `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_namespace: String,
    /// panic, fatal, error, warn(ing), info, debug or trace, any case; `info`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log_level: String,
    /// Where a person is sent when a status cannot be explained.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status_error_link: String,
    /// Parsed and defaulted (24h), consulted by nothing.
    pub default_job_timeout: K8sDuration,
    /// Kubeconfig contexts to leave out, at start-up only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disabled_clusters: Vec<String>,
    /// Links to GitHub.
    pub github: GithubOptions,
    /// Tekton.
    pub pipeline: PipelineSection,
    /// Periodics.
    pub horologium: Horologium,
    /// In-repo configuration server.
    pub moonraker: Moonraker,
    /// Prometheus push gateway.
    pub push_gateway: PushGateway,
    /// Tenants by repository and cluster (§1.10).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prowjob_default_entries: Vec<ProwJobDefaultEntry>,
    /// ProwJob to Pod (§4.2).
    pub plank: Plank,
    /// Cleaning up (§4.3).
    pub sinker: Sinker,
    /// The web page (§4.4).
    pub deck: Deck,
    /// Gerrit adapter (§4.5).
    pub gerrit: Gerrit,
    /// Reporting to GitHub (§4.6).
    pub github_reporter: GithubReporter,
    /// Reporting to Slack, by `org/repo`, `org` or `*` (§4.7).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub slack_reporter_configs: BTreeMap<String, SlackReporter>,
    /// `.prow.yaml` (§4.8).
    pub in_repo_config: InRepoConfig,
    /// Directories whose OWNERS files do not count (§4.9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owners_dir_denylist: Option<OwnersDirDenylist>,
    /// Old form of `pubsub_triggers`; empty after loading.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pubsub_subscriptions: BTreeMap<String, Vec<String>>,
    /// Jobs by Pub/Sub (§4.10).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pubsub_triggers: Vec<PubsubTrigger>,
    /// Webhooks that Prow keeps (§4.11).
    pub managed_webhooks: ManagedWebhooks,
    /// The job API (§4.12).
    pub gangway: Gangway,
    /// Choosing clusters (§4.13).
    pub scheduler: Scheduler,
    /// Jenkins (§4.14).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jenkins_operators: Vec<JenkinsOperator>,
    /// Merging (§4.15).
    pub tide: Tide,
    /// Branch protection (§4.16).
    #[serde(rename = "branch-protection")]
    pub branch_protection: BranchProtectionConfig,
}
impl Default for ProwConfig {
    fn default() -> Self {
        ProwConfig {
            config_version_sha: String::new(),
            prowjob_namespace: "default".into(),
            pod_namespace: "default".into(),
            log_level: "info".into(),
            status_error_link: "https://github.com/kubernetes/test-infra/issues".into(),
            default_job_timeout: K8sDuration::from_secs(24 * 3600),
            disabled_clusters: Vec::new(),
            github: GithubOptions::default(),
            pipeline: PipelineSection::default(),
            horologium: Horologium::default(),
            moonraker: Moonraker::default(),
            push_gateway: PushGateway::default(),
            prowjob_default_entries: Vec::new(),
            plank: Plank::default(),
            sinker: Sinker::default(),
            deck: Deck::default(),
            gerrit: Gerrit::default(),
            github_reporter: GithubReporter::default(),
            slack_reporter_configs: BTreeMap::new(),
            in_repo_config: InRepoConfig::default(),
            owners_dir_denylist: None,
            pubsub_subscriptions: BTreeMap::new(),
            pubsub_triggers: Vec::new(),
            managed_webhooks: ManagedWebhooks::default(),
            gangway: Gangway::default(),
            scheduler: Scheduler::default(),
            jenkins_operators: Vec::new(),
            tide: Tide::default(),
            branch_protection: BranchProtectionConfig::default(),
        }
    }
}

/// Links to GitHub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GithubOptions {
    /// Base of links; `https://github.com`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub link_url: String,
}
impl Default for GithubOptions {
    fn default() -> Self {
        GithubOptions { link_url: "https://github.com".into() }
    }
}

/// Tekton.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PipelineSection {
    /// Older duplicates of postsubmits are left running.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_concurrent_postsubmit_jobs: bool,
}
