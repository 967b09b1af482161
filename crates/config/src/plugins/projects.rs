//! `project_config` and `project_manager` (prow-config §7.2).

use crate::serde_util::is_zero;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of project.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProjectConfig {
    /// Settings by organisation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub project_org_configs: BTreeMap<String, ProjectOrgConfig>,
}

/// Projects of an organisation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProjectOrgConfig {
    /// Id of the team that may move things.
    #[serde(skip_serializing_if = "is_zero")]
    pub org_maintainers_team_id: i64,
    /// Default column by project.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub org_default_column_map: BTreeMap<String, String>,
    /// Settings by repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub project_repo_configs: BTreeMap<String, ProjectRepoConfig>,
}

/// Projects of a repository.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProjectRepoConfig {
    /// Id of the team that may move things.
    #[serde(skip_serializing_if = "is_zero")]
    pub repo_maintainers_team_id: i64,
    /// Default column by project.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub repo_default_column_map: BTreeMap<String, String>,
}

/// Settings of project-manager.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProjectManager {
    /// By `org` or `org/repo`.
    #[serde(rename = "orgsRepos", skip_serializing_if = "BTreeMap::is_empty")]
    pub orgs_repos: BTreeMap<String, ManagedOrgRepo>,
}

/// Projects to fill.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ManagedOrgRepo {
    /// Projects by name; at least one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub projects: BTreeMap<String, ManagedProject>,
}

/// Columns to fill.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ManagedProject {
    /// Columns to fill; at least one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ManagedColumn>,
}

/// What goes into a column.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ManagedColumn {
    /// Id of the column; it or the name is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// Name of the column; it or the id is needed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// State of the issues and pull requests that go here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Labels of the issues and pull requests that go here. No two columns have the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Organisation of the project; mandatory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org: String,
}
