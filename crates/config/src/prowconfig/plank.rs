//! `plank`, `jenkins_operators` and `sinker` (prow-config §4.2, §4.3, §4.14).

use crate::gotemplate::GoTemplate;
use crate::serde_util::{is_default, is_false, is_zero};
use prow_api::{DecorationConfig, K8sDuration};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// ProwJob to Pod (§4.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plank {
    /// URL of jobs that are not decorated, over the ProwJob.
    #[serde(skip_serializing_if = "is_default")]
    pub job_url_template: GoTemplate,
    /// Old form of `report_templates['*']`; absent after loading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_template: Option<GoTemplate>,
    /// Text after a failure comment's table, by `org/repo`, `org` or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub report_templates: BTreeMap<String, GoTemplate>,
    /// Pending ProwJobs at most; 0 is unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_concurrency: i64,
    /// Kept for compatibility; 20.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_goroutines: i64,
    /// From the Pod's start time; 10m.
    pub pod_pending_timeout: K8sDuration,
    /// 48h.
    pub pod_running_timeout: K8sDuration,
    /// From the Pod's creation; 5m.
    pub pod_unscheduled_timeout: K8sDuration,
    /// Pods made again after unexpected stops; 3, and 0 is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_revivals: Option<i64>,
    /// Defaults by `org/repo`, `org` or `*`; old form of the entries.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default_decoration_configs: BTreeMap<String, DecorationConfig>,
    /// Defaults in order; later ones win.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_decoration_config_entries: Vec<DefaultDecorationEntry>,
    /// Base of job pages, by `org/repo`, `org` or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub job_url_prefix_config: BTreeMap<String, String>,
    /// Leave the storage provider out of job URLs.
    #[serde(rename = "jobURLPrefixDisableAppendStorageProvider", skip_serializing_if = "is_false")]
    pub job_url_prefix_disable_append_storage_provider: bool,
    /// Blob with the state of each build cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build_cluster_status_file: String,
    /// ProwJobs at a time by queue; 0 blocks, negative is unlimited.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub job_queue_capacities: BTreeMap<String, i64>,
}
impl Default for Plank {
    fn default() -> Self {
        Plank {
            job_url_template: GoTemplate::default(),
            report_template: None,
            report_templates: BTreeMap::new(),
            max_concurrency: 0,
            max_goroutines: 20,
            pod_pending_timeout: K8sDuration::from_secs(600),
            pod_running_timeout: K8sDuration::from_secs(48 * 3600),
            pod_unscheduled_timeout: K8sDuration::from_secs(300),
            max_revivals: Some(3),
            default_decoration_configs: BTreeMap::new(),
            default_decoration_config_entries: Vec::new(),
            job_url_prefix_config: BTreeMap::new(),
            job_url_prefix_disable_append_storage_provider: false,
            build_cluster_status_file: String::new(),
            job_queue_capacities: BTreeMap::new(),
        }
    }
}

impl Plank {
    /// All decoration defaults as (repo, cluster, config), later ones winning: the entries, or the map's `*` first,
    /// then organisations, then repositories.
    pub fn decoration_defaults(&self) -> Vec<(&str, &str, &DecorationConfig)> {
        if !self.default_decoration_config_entries.is_empty() {
            let entries = self.default_decoration_config_entries.iter();
            return entries
                .filter_map(|e| Some((e.repo.as_str(), e.cluster.as_str(), e.config.as_deref()?)))
                .collect();
        }
        let class = |key: &str| if key == "*" { 0 } else { 1 + usize::from(key.contains('/')) };
        let mut all: Vec<_> =
            self.default_decoration_configs.iter().map(|(k, c)| (k.as_str(), "", c)).collect();
        all.sort_by_key(|(key, _, _)| class(key));
        all
    }
}

/// A decoration default for the jobs that its filters match (§1.6).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DefaultDecorationEntry {
    /// `org`, `org/repo`, `*` or empty; not a regular expression.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// Alias, `*` or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// What it sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Arc<DecorationConfig>>,
}

/// Jenkins (§4.14).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JenkinsOperator {
    /// URL of jobs.
    #[serde(skip_serializing_if = "is_default")]
    pub job_url_template: GoTemplate,
    /// Old form of `report_templates['*']`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_template: Option<GoTemplate>,
    /// Text after a failure comment's table.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub report_templates: BTreeMap<String, GoTemplate>,
    /// 0 is unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_concurrency: i64,
    /// 20.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_goroutines: i64,
    /// Which ProwJobs; mandatory with several operators, forbidden with one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label_selector: String,
}

/// Cleaning up (§4.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sinker {
    /// 1h.
    pub resync_period: K8sDuration,
    /// 168h.
    pub max_prowjob_age: K8sDuration,
    /// 24h.
    pub max_pod_age: K8sDuration,
    /// `max_pod_age` unless set; always there after loading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated_pod_ttl: Option<K8sDuration>,
    /// Aliases to leave alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_clusters: Vec<String>,
}
impl Default for Sinker {
    fn default() -> Self {
        Sinker {
            resync_period: K8sDuration::from_secs(3600),
            max_prowjob_age: K8sDuration::from_secs(168 * 3600),
            max_pod_age: K8sDuration::from_secs(24 * 3600),
            terminated_pod_ttl: None,
            exclude_clusters: Vec::new(),
        }
    }
}

impl Sinker {
    /// How long a Pod stays after its end.
    pub fn terminated_pod_ttl(&self) -> K8sDuration {
        self.terminated_pod_ttl.unwrap_or(self.max_pod_age)
    }
}
