//! Small sections of config.yaml: horologium, moonraker, push gateway, in-repo configuration, OWNERS denylist,
//! Pub/Sub, webhooks, gangway, scheduler (prow-config §4.1, §4.8 to §4.13).

use crate::goregex::GoRegex;
use crate::serde_util::{is_false, is_zero};
use prow_api::K8sDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often horologium looks.
const TICK_INTERVAL: K8sDuration = K8sDuration::from_secs(60);
/// Pub/Sub messages that are worked on at a time.
pub(super) const MAX_OUTSTANDING_MESSAGES: i64 = 10;
/// The one type of consumer that gangway knows.
pub(super) const CONSUMER_TYPE: &str = "PROJECT";

/// Periodics (§4.1).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Horologium {
    /// How often to look which periodic jobs are due; read at start-up.
    #[schemars(extend("default" = TICK_INTERVAL))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick_interval: Option<K8sDuration>,
}
impl Horologium {
    /// How often to look; 1m unless set.
    pub fn tick_interval(&self) -> K8sDuration {
        self.tick_interval.unwrap_or(TICK_INTERVAL)
    }
}

/// In-repo configuration server (§4.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Moonraker {
    /// How long to wait for an answer.
    pub client_timeout: K8sDuration,
}
impl Default for Moonraker {
    fn default() -> Self {
        Moonraker { client_timeout: K8sDuration::from_secs(600) }
    }
}

/// Prometheus push gateway (§4.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PushGateway {
    /// URL to push metrics to; empty does not push.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// How often to push.
    pub interval: K8sDuration,
    /// Serve /metrics as well.
    pub serve_metrics: bool,
}
impl Default for PushGateway {
    fn default() -> Self {
        PushGateway { endpoint: String::new(), interval: K8sDuration::from_secs(60), serve_metrics: false }
    }
}

/// `.prow.yaml` (§4.8).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InRepoConfig {
    /// Whether jobs in the repository count, by `org/repo`, `org` or `*`. The nearest wins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub enabled: BTreeMap<String, Option<bool>>,
    /// Build clusters that such jobs may use, by `org/repo`, `org` or `*`. All that apply are united.
    #[schemars(extend("default" = InRepoConfig::everyones_clusters()))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allowed_clusters: BTreeMap<String, Vec<String>>,
}

impl InRepoConfig {
    /// What `allowed_clusters` has unless it says something of `*`.
    pub(super) fn everyones_clusters() -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([("*".to_owned(), vec![prow_api::prowjob::DEFAULT_CLUSTER.to_owned()])])
    }
}

/// Directories whose OWNERS files do not count (§4.9).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OwnersDirDenylist {
    /// Regular expressions of directories, by `org/repo` or `org`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub repos: BTreeMap<String, Vec<String>>,
    /// Regular expressions of directories, for all repositories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default: Vec<String>,
    /// Without the built-in patterns for `.git`, `_output` and `vendor`.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_preconfigured_defaults: bool,
}

/// Jobs by Pub/Sub (§4.10).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PubsubTrigger {
    /// Google Cloud project.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// Names of subscriptions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Build clusters that jobs may use, or `*`; empty denies all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_clusters: Vec<String>,
    /// Messages that are worked on at a time; 0 is the default.
    #[schemars(extend("default" = MAX_OUTSTANDING_MESSAGES))]
    #[serde(skip_serializing_if = "is_zero")]
    pub max_outstanding_messages: i64,
}

/// Webhooks that Prow keeps (§4.11).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ManagedWebhooks {
    /// The old global token is accepted as well.
    pub respect_legacy_global_token: bool,
    /// Invitations to repositories are accepted.
    pub auto_accept_invitation: bool,
    /// Webhooks by `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub org_repo_config: BTreeMap<String, ManagedWebhook>,
}

/// A webhook's token.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ManagedWebhook {
    /// Tokens that are older than this time are replaced. It may not be in the future.
    #[schemars(extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_created_after: String,
}

/// The job API (§4.12).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gangway {
    /// Who may ask for which jobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_api_clients: Vec<AllowedApiClient>,
}

/// A client of the job API.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AllowedApiClient {
    /// A Google Cloud project that asks through Cloud Endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcp: Option<GcpClient>,
    /// Which jobs the client may ask for; at least one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_jobs_filters: Vec<AllowedJobsFilter>,
}

/// A Google Cloud project as client.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GcpClient {
    /// Type of the consumer.
    #[schemars(extend("enum" = [CONSUMER_TYPE]))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint_api_consumer_type: String,
    /// Number of the Google Cloud project.
    #[schemars(extend("pattern" = "^[0-9]+$"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint_api_consumer_number: String,
}

/// Jobs that a client may ask for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AllowedJobsFilter {
    /// Jobs of this tenant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_id: String,
}

/// Choosing clusters (§4.13).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Scheduler {
    /// ProwJobs begin in state `scheduling` and wait for the scheduler.
    #[serde(skip_serializing_if = "is_false")]
    pub enabled: bool,
    /// A fixed mapping of clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverScheduling>,
    /// A service decides. `failover` wins if both are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalScheduling>,
}

/// Fixed mapping of clusters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FailoverScheduling {
    /// The cluster to use, by the cluster that the job names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mappings: BTreeMap<String, String>,
}

/// A service that decides the cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExternalScheduling {
    /// Where the service answers `{"job": NAME}` with `{"cluster": ALIAS}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// How long answers hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<ExternalSchedulingCache>,
}

/// How long answers hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExternalSchedulingCache {
    /// How long an answer holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_timeout_interval: Option<K8sDuration>,
    /// How often old answers are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup_interval: Option<K8sDuration>,
}
/// Built-in patterns of directories whose OWNERS files do not count.
pub const OWNERS_DIR_DENYLIST_DEFAULTS: [&str; 3] = [r"\.git$", "_output$", "vendor/.*/.*"];

/// All patterns that apply to a repository, from the section if there is one (§4.9). Patterns are checked at load.
pub fn owners_dir_denylist(section: Option<&OwnersDirDenylist>, org: &str, repo: &str) -> Vec<GoRegex> {
    let mut patterns: Vec<&str> = Vec::new();
    if let Some(section) = section {
        patterns.extend(section.default.iter().map(String::as_str));
        for key in [org.to_owned(), format!("{org}/{repo}")] {
            patterns.extend(section.repos.get(&key).into_iter().flatten().map(String::as_str));
        }
    }
    if !section.is_some_and(|s| s.ignore_preconfigured_defaults) {
        patterns.extend(OWNERS_DIR_DENYLIST_DEFAULTS);
    }
    patterns.into_iter().filter_map(|p| GoRegex::new(p).ok()).collect()
}
