//! `plank`, `jenkins_operators` and `sinker` (prow-config §4.2, §4.3, §4.14).

use crate::gotemplate::GoTemplate;
use crate::serde_util::{is_default, is_false, is_zero};
use prow_api::{DecorationConfig, K8sDuration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of plank, Tide and the Jenkins operators.
pub(super) const MAX_GOROUTINES: i64 = 20;

/// ProwJob to Pod (§4.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Plank {
    /// Go template over the ProwJob: the URL of jobs that are not decorated or have no URL prefix.
    #[serde(skip_serializing_if = "is_default")]
    pub job_url_template: GoTemplate,
    /// Text after a failure comment's table, for all repositories.
    #[schemars(extend("deprecationMessage" = "write report_templates: {\"*\": TEMPLATE}"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_template: Option<GoTemplate>,
    /// Go templates over the ProwJob, by `org/repo`, `org` or `*`: text after a failure comment's table.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub report_templates: BTreeMap<String, GoTemplate>,
    /// ProwJobs that are pending at a time; 0 is unlimited.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "is_zero")]
    pub max_concurrency: i64,
    /// Read for compatibility; the number of workers adapts by itself.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "is_zero")]
    pub max_goroutines: i64,
    /// A Pod that was accepted but does not run after this long is an error.
    pub pod_pending_timeout: K8sDuration,
    /// A Pod that runs longer is aborted.
    pub pod_running_timeout: K8sDuration,
    /// A Pod that no node takes after this long is an error.
    pub pod_unscheduled_timeout: K8sDuration,
    /// How often a Pod that stopped unexpectedly is made again; 0 is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_revivals: Option<i64>,
    /// Decoration defaults by `org/repo`, `org` or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default_decoration_configs: BTreeMap<String, DecorationConfig>,
    /// Decoration defaults. All entries that match apply; later ones win.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_decoration_config_entries: Vec<DefaultDecorationEntry>,
    /// Base URL of job pages, by `org/repo`, `org` or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub job_url_prefix_config: BTreeMap<String, String>,
    /// Leave the storage provider (`gs`, `s3`) out of job URLs.
    #[serde(rename = "jobURLPrefixDisableAppendStorageProvider", skip_serializing_if = "is_false")]
    pub job_url_prefix_disable_append_storage_provider: bool,
    /// Blob that holds the state of each build cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build_cluster_status_file: String,
    /// ProwJobs that run at a time, by queue; 0 blocks the queue, negative is unlimited.
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
            max_goroutines: MAX_GOROUTINES,
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DefaultDecorationEntry {
    /// `org`, `org/repo`, `*` or empty for all; not a regular expression.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// Build cluster alias, `*` or empty for all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Arc<DecorationConfig>>,
}

/// Jenkins (§4.14).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JenkinsOperator {
    /// Go template over the ProwJob: the URL of jobs. `replace OLD NEW TEXT` may be used.
    #[serde(skip_serializing_if = "is_default")]
    pub job_url_template: GoTemplate,
    /// Text after a failure comment's table, for all repositories.
    #[schemars(extend("deprecationMessage" = "write report_templates: {\"*\": TEMPLATE}"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_template: Option<GoTemplate>,
    /// Go templates over the ProwJob, by `org/repo`, `org` or `*`: text after a failure comment's table.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub report_templates: BTreeMap<String, GoTemplate>,
    /// Builds at a time; 0 is unlimited.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "is_zero")]
    pub max_concurrency: i64,
    /// Read for compatibility; the number of workers adapts by itself.
    #[schemars(range(min = 0), extend("default" = MAX_GOROUTINES))]
    #[serde(skip_serializing_if = "is_zero")]
    pub max_goroutines: i64,
    /// Kubernetes label selector of this operator's ProwJobs; mandatory with several operators, forbidden with
    /// one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label_selector: String,
}

/// Cleaning up (§4.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sinker {
    /// How often to clean up.
    pub resync_period: K8sDuration,
    /// Completed ProwJobs are removed this long after their start.
    pub max_prowjob_age: K8sDuration,
    /// Pods are removed this long after their start.
    pub max_pod_age: K8sDuration,
    /// Pods that ended are removed this long after their end; `max_pod_age` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated_pod_ttl: Option<K8sDuration>,
    /// Build cluster aliases to leave alone.
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
