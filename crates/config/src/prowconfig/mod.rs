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
pub use finish::check_url;
pub(crate) use lookup::by_repo;
pub use lookup::{decoration_matches, gerrit_aware_candidates};
pub use plank::*;
pub use protection::BranchRequirements;
pub use reporters::*;
pub use services::*;
pub use tide::*;

pub(crate) use finish::{check_times, finish};
pub(crate) use retired::find as find_retired;

use crate::jobs::ProwJobDefaultEntry;
use crate::serde_util::is_false;
use prow_api::K8sDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Values of `log_level`, in any case.
pub(crate) const LOG_LEVELS: [&str; 8] =
    ["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"];

fn log_levels(_: &mut SchemaGenerator) -> Schema {
    let any_case: Vec<String> = LOG_LEVELS.iter().map(|l| crate::schema::any_case(l)).collect();
    json_schema!({"anyOf": [{"enum": LOG_LEVELS}, {"type": "string", "pattern": format!("^({})$", any_case.join("|"))}]})
}

/// config.yaml without its jobs (§4.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProwConfig {
    /// Commit that the configuration comes from. The text of a file VERSION beside config.yaml wins.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub config_version_sha: String,
    /// Namespace of the ProwJobs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prowjob_namespace: String,
    /// Namespace of the jobs' Pods, in every build cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_namespace: String,
    /// From which level on log lines are written; case does not matter.
    #[schemars(schema_with = "log_levels")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log_level: String,
    /// Where a person is sent when a status cannot be explained.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status_error_link: String,
    /// Read for compatibility; nothing consults it.
    pub default_job_timeout: K8sDuration,
    /// Kubeconfig contexts that are left out at start-up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disabled_clusters: Vec<String>,
    /// Links to GitHub.
    pub github: GithubOptions,
    /// Tekton jobs.
    pub pipeline: PipelineSection,
    /// What starts periodic jobs.
    pub horologium: Horologium,
    /// Client of the in-repo configuration server.
    pub moonraker: Moonraker,
    /// Prometheus push gateway.
    pub push_gateway: PushGateway,
    /// Tenants and ResultStore projects of jobs, by repository and cluster. Later entries win.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prowjob_default_entries: Vec<ProwJobDefaultEntry>,
    /// What makes Pods of ProwJobs.
    pub plank: Plank,
    /// What cleans up.
    pub sinker: Sinker,
    /// The web page.
    pub deck: Deck,
    /// The Gerrit adapter.
    pub gerrit: Gerrit,
    /// Reporting to GitHub.
    pub github_reporter: GithubReporter,
    /// Reporting to Slack, by `org/repo`, `org` or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub slack_reporter_configs: BTreeMap<String, SlackReporter>,
    /// Jobs in the tested repositories themselves: `.prow.yaml` and `.prow/`.
    pub in_repo_config: InRepoConfig,
    /// Directories whose OWNERS files do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owners_dir_denylist: Option<OwnersDirDenylist>,
    /// Pub/Sub subscriptions by Google Cloud project.
    #[schemars(extend("deprecationMessage" = "write pubsub_triggers: [{project: PROJECT, topics: [...], allowed_clusters: [\"*\"]}]"))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pubsub_subscriptions: BTreeMap<String, Vec<String>>,
    /// Jobs started by Pub/Sub messages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pubsub_triggers: Vec<PubsubTrigger>,
    /// Webhooks whose secrets Prow manages.
    pub managed_webhooks: ManagedWebhooks,
    /// The job API.
    pub gangway: Gangway,
    /// Choosing the build cluster when a job starts.
    pub scheduler: Scheduler,
    /// Jenkins masters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jenkins_operators: Vec<JenkinsOperator>,
    /// Merging.
    pub tide: Tide,
    /// Protection of branches on GitHub: a root policy, and policies by organisation, repository and branch.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GithubOptions {
    /// Base of links to GitHub.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub link_url: String,
}
impl Default for GithubOptions {
    fn default() -> Self {
        GithubOptions { link_url: "https://github.com".into() }
    }
}

/// Tekton.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PipelineSection {
    /// Older runs of a postsubmit go on when a newer one starts.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_concurrent_postsubmit_jobs: bool,
}
