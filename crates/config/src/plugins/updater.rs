//! `config_updater` (prow-config §7.4).

use crate::serde_util::is_false;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of config-updater.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConfigUpdater {
    /// ConfigMaps are compressed unless they say otherwise.
    pub gzip: bool,
    /// Sets of clusters and namespaces by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cluster_groups: BTreeMap<String, ClusterGroup>,
    /// ConfigMaps by glob over the repository's files; `**` crosses directories.
    #[schemars(extend("default" = ConfigUpdater::usual_maps()))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub maps: BTreeMap<String, ConfigMapSpec>,
}

impl ConfigUpdater {
    /// What is followed when nothing is named.
    pub(super) fn usual_maps() -> BTreeMap<String, ConfigMapSpec> {
        let follow = |path: &str, name: &str| {
            let clusters = ConfigMapSpec::usual_clusters();
            (path.to_owned(), ConfigMapSpec { name: name.into(), clusters, ..ConfigMapSpec::default() })
        };
        [follow("config/prow/config.yaml", "config"), follow("config/prow/plugins.yaml", "plugins")].into()
    }
}

/// A set of clusters and namespaces.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClusterGroup {
    /// Cluster aliases.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// Namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// A ConfigMap that follows files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConfigMapSpec {
    /// Name of the ConfigMap.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Names of ConfigMaps to spread the keys over, at most 256; exclusive with `name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitioned_names: Vec<String>,
    /// Key instead of the file's base name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Whether to compress; the general setting unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gzip: Option<bool>,
    /// Namespaces by cluster alias; `default: [""]`, which is `prowjob_namespace`, unless set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<String, Vec<String>>,
    /// Names of cluster groups; exclusive with `clusters`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_groups: Vec<String>,
    /// The path with `-` for `/` is the key.
    #[serde(skip_serializing_if = "is_false")]
    pub use_full_path_as_key: bool,
    /// Only these `org` or `org/repo` may update it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_repos: Vec<String>,
    /// These `org` or `org/repo` may not update it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_repos: Vec<String>,
}

impl ConfigMapSpec {
    /// Where a ConfigMap goes that names no place: `prowjob_namespace` of the cluster that Prow runs in.
    pub(super) fn usual_clusters() -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([(prow_api::prowjob::DEFAULT_CLUSTER.to_owned(), vec![String::new()])])
    }
}
