//! `config_updater` (prow-config §7.4).

use crate::serde_util::is_false;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of config-updater.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigUpdater {
    /// Compress by default.
    pub gzip: bool,
    /// Names for sets of clusters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cluster_groups: BTreeMap<String, ClusterGroup>,
    /// From glob over the repository to ConfigMap.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub maps: BTreeMap<String, ConfigMapSpec>,
}

/// A set of clusters and namespaces.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterGroup {
    /// Aliases.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// Namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// A ConfigMap that follows files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigMapSpec {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Names to spread keys over; exclusive with `name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitioned_names: Vec<String>,
    /// Key instead of the base name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Overrides the general setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gzip: Option<bool>,
    /// Namespaces by alias; `default: [""]` unless set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<String, Vec<String>>,
    /// Exclusive with `clusters`; resolved after loading.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_groups: Vec<String>,
    /// The path with `-` for `/` is the key.
    #[serde(skip_serializing_if = "is_false")]
    pub use_full_path_as_key: bool,
    /// Only these may update.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_repos: Vec<String>,
    /// These may not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_repos: Vec<String>,
}
