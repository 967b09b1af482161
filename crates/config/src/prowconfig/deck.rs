//! `deck` (prow-config §4.4).

use crate::goregex::GoRegex;
use crate::gotemplate::GoTemplate;
use crate::serde_util::{is_default, is_false, is_zero};
use prow_api::K8sDuration;
use prow_api::prowjob::RerunAuthConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The web page (§4.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deck {
    /// Job pages.
    #[serde(skip_serializing_if = "is_default")]
    pub spyglass: Spyglass,
    /// 10s.
    pub tide_update_period: K8sDuration,
    /// `org` or `org/repo` whose jobs are hidden.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hidden_repos: Vec<String>,
    /// Logs of jobs that are not Pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_agent_logs: Vec<ExternalAgentLog>,
    /// Looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branding: Option<Branding>,
    /// Tracking id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub google_analytics: String,
    /// Old form of `default_rerun_auth_configs`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rerun_auth_configs: BTreeMap<String, RerunAuthConfig>,
    /// Who may run jobs again; the last match wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_rerun_auth_configs: Vec<DefaultRerunAuthEntry>,
    /// Buckets are checked only when explicitly false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_storage_path_validation: Option<bool>,
    /// Beside those of jobs and decoration defaults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_allowed_buckets: Vec<String>,
}
impl Default for Deck {
    fn default() -> Self {
        Deck {
            spyglass: Spyglass::default(),
            tide_update_period: K8sDuration::from_secs(10),
            hidden_repos: Vec::new(),
            external_agent_logs: Vec::new(),
            branding: None,
            google_analytics: String::new(),
            rerun_auth_configs: BTreeMap::new(),
            default_rerun_auth_configs: Vec::new(),
            skip_storage_path_validation: None,
            additional_allowed_buckets: Vec::new(),
        }
    }
}

/// Where the log of a job that is not a Pod is found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalAgentLog {
    /// Agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// Kubernetes label selector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Over the ProwJob.
    #[serde(skip_serializing_if = "is_default")]
    pub url_template: GoTemplate,
}

/// Looks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Branding {
    /// Path or URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub logo: String,
    /// Path or URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub favicon: String,
    /// CSS colour.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub background_color: String,
    /// CSS colour.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub header_color: String,
}

/// Who may run a job again, for the jobs that the filters match.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DefaultRerunAuthEntry {
    /// `org`, `org/repo`, `*` or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// Alias, `*` or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_auth_configs: Option<RerunAuthConfig>,
}

/// Job pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spyglass {
    /// In order; the index is part of URLs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lenses: Vec<LensFileConfig>,
    /// Retired form of `lenses`; empty after loading.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub viewers: BTreeMap<String, Vec<String>>,
    /// Bytes; 100000000.
    #[serde(skip_serializing_if = "is_zero")]
    pub size_limit: i64,
    /// Old form of `gcs_browser_prefixes['*']`; empty after loading.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gcs_browser_prefix: String,
    /// By `org/repo`, `org` or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gcs_browser_prefixes: BTreeMap<String, String>,
    /// By bucket or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gcs_browser_prefixes_by_bucket: BTreeMap<String, String>,
    /// HTML template over ArtifactPath.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub announcement: String,
    /// Location of TestGrid's configuration.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub testgrid_config: String,
    /// TestGrid's URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub testgrid_root: String,
    /// No link to the pull request's history.
    #[serde(skip_serializing_if = "is_false")]
    pub hide_pr_history_link: bool,
    /// Over Org, Repo, Number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pr_history_link_template: Option<GoTemplate>,
    /// Other names of buckets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bucket_aliases: BTreeMap<String, String>,
}
impl Default for Spyglass {
    fn default() -> Self {
        Spyglass {
            lenses: Vec::new(),
            viewers: BTreeMap::new(),
            size_limit: 100_000_000,
            gcs_browser_prefix: String::new(),
            gcs_browser_prefixes: BTreeMap::new(),
            gcs_browser_prefixes_by_bucket: BTreeMap::new(),
            announcement: String::new(),
            testgrid_config: String::new(),
            testgrid_root: String::new(),
            hide_pr_history_link: false,
            pr_history_link_template: None,
            bucket_aliases: BTreeMap::new(),
        }
    }
}

/// A lens and the artifacts it shows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LensFileConfig {
    /// All must match some artifact.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_files: Vec<GoRegex>,
    /// Shown too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub optional_files: Vec<GoRegex>,
    /// Which lens.
    #[serde(skip_serializing_if = "is_default")]
    pub lens: LensConfig,
    /// A lens outside Deck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_config: Option<LensRemoteConfig>,
}

/// Which lens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LensConfig {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The lens's own settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// A lens outside Deck.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LensRemoteConfig {
    /// Where.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Static files.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub static_root: String,
    /// Title.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Ascending order on the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// No title bar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hide_title: Option<bool>,
}
