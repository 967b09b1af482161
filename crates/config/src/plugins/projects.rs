//! `project_config` and `project_manager` (prow-config §7.2).

use crate::serde_util::is_zero;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of project.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectConfig {
    /// By organisation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub project_org_configs: BTreeMap<String, ProjectOrgConfig>,
}

/// Projects of an organisation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectOrgConfig {
    /// Team.
    #[serde(skip_serializing_if = "is_zero")]
    pub org_maintainers_team_id: i64,
    /// Column by project.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub org_default_column_map: BTreeMap<String, String>,
    /// By repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub project_repo_configs: BTreeMap<String, ProjectRepoConfig>,
}

/// Projects of a repository.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectRepoConfig {
    /// Team.
    #[serde(skip_serializing_if = "is_zero")]
    pub repo_maintainers_team_id: i64,
    /// Column by project.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub repo_default_column_map: BTreeMap<String, String>,
}

/// Settings of project-manager.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectManager {
    /// By `org` or `org/repo`.
    #[serde(rename = "orgsRepos", skip_serializing_if = "BTreeMap::is_empty")]
    pub orgs_repos: BTreeMap<String, ManagedOrgRepo>,
}

/// Projects to fill.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagedOrgRepo {
    /// By name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub projects: BTreeMap<String, ManagedProject>,
}

/// Columns to fill.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagedProject {
    /// Columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ManagedColumn>,
}

/// What goes into a column.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagedColumn {
    /// Column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// Column, by name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// State of issues.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Labels of issues.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Organisation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org: String,
}
