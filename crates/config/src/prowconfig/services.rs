//! Small sections of config.yaml: horologium, moonraker, push gateway, in-repo configuration, OWNERS denylist,
//! Pub/Sub, webhooks, gangway, scheduler (prow-config §4.1, §4.8 to §4.13).

use crate::goregex::GoRegex;
use crate::serde_util::{is_false, is_zero};
use prow_api::K8sDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Periodics (§4.1).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Horologium {
    /// How often to look, read at start; see [`Horologium::tick_interval`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick_interval: Option<K8sDuration>,
}
impl Horologium {
    /// How often to look; 1m unless set.
    pub fn tick_interval(&self) -> K8sDuration {
        self.tick_interval.unwrap_or(K8sDuration::from_secs(60))
    }
}

/// In-repo configuration server (§4.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moonraker {
    /// 10m.
    pub client_timeout: K8sDuration,
}
impl Default for Moonraker {
    fn default() -> Self {
        Moonraker { client_timeout: K8sDuration::from_secs(600) }
    }
}

/// Prometheus push gateway (§4.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PushGateway {
    /// Where to push; empty does not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// 1m.
    pub interval: K8sDuration,
    /// Serve /metrics even when pushing.
    pub serve_metrics: bool,
}
impl Default for PushGateway {
    fn default() -> Self {
        PushGateway { endpoint: String::new(), interval: K8sDuration::from_secs(60), serve_metrics: false }
    }
}

/// `.prow.yaml` (§4.8).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InRepoConfig {
    /// By `*`, org or org/repo; the nearest wins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub enabled: BTreeMap<String, Option<bool>>,
    /// By `*`, org or org/repo; all that apply are united.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allowed_clusters: BTreeMap<String, Vec<String>>,
}

/// Directories whose OWNERS files do not count (§4.9).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnersDirDenylist {
    /// Patterns by `org/repo` or `org`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub repos: BTreeMap<String, Vec<String>>,
    /// Patterns for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default: Vec<String>,
    /// Leave out the built-in patterns.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_preconfigured_defaults: bool,
}

/// Jobs by Pub/Sub (§4.10).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PubsubTrigger {
    /// Google Cloud project.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// Subscriptions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Aliases, or `*`; empty denies all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_clusters: Vec<String>,
    /// 10.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_outstanding_messages: i64,
}

/// Webhooks that Prow keeps (§4.11).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagedWebhooks {
    /// Accept the global token too.
    pub respect_legacy_global_token: bool,
    /// Accept invitations to repositories.
    pub auto_accept_invitation: bool,
    /// By org or org/repo.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub org_repo_config: BTreeMap<String, ManagedWebhook>,
}

/// A webhook's token.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagedWebhook {
    /// RFC 3339; older tokens are replaced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_created_after: String,
}

/// The job API (§4.12).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Gangway {
    /// Who may ask for what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_api_clients: Vec<AllowedApiClient>,
}

/// A client of the job API.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedApiClient {
    /// A Google Cloud project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcp: Option<GcpClient>,
    /// Which jobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_jobs_filters: Vec<AllowedJobsFilter>,
}

/// A Google Cloud project as client.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GcpClient {
    /// `PROJECT`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint_api_consumer_type: String,
    /// Digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint_api_consumer_number: String,
}

/// Jobs that a client may ask for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedJobsFilter {
    /// Jobs of this tenant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_id: String,
}

/// Choosing clusters (§4.13).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    /// ProwJobs start in `scheduling`.
    #[serde(skip_serializing_if = "is_false")]
    pub enabled: bool,
    /// Fixed mapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverScheduling>,
    /// A service decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalScheduling>,
}

/// Fixed mapping of clusters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FailoverScheduling {
    /// From alias to alias.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mappings: BTreeMap<String, String>,
}

/// A service that decides the cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalScheduling {
    /// POST `{"job":...}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// How long answers hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<ExternalSchedulingCache>,
}

/// How long answers hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalSchedulingCache {
    /// Age of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_timeout_interval: Option<K8sDuration>,
    /// How often to look.
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
