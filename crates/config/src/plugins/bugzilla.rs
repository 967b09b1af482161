//! `bugzilla` (prow-config §7.3).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of bugzilla.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Bugzilla {
    /// By branch or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default: BTreeMap<String, BugzillaOptions>,
    /// By organisation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub orgs: BTreeMap<String, BugzillaOrg>,
}

/// Settings of an organisation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BugzillaOrg {
    /// By branch or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default: BTreeMap<String, BugzillaOptions>,
    /// By repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub repos: BTreeMap<String, BugzillaRepo>,
}

/// Settings of a repository.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BugzillaRepo {
    /// By branch or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub branches: BTreeMap<String, BugzillaOptions>,
}

/// What a bug must be like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BugzillaOptions {
    /// Take nothing from above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_defaults: Option<bool>,
    /// Cherry-picks clone bugs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_backporting: Option<bool>,
    /// Without being asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_by_default: Option<bool>,
    /// Open or closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_open: Option<bool>,
    /// Release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_release: Option<String>,
    /// Old form of `valid_states`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statuses: Option<Vec<String>>,
    /// States.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_states: Option<Vec<BugState>>,
    /// Old form of `dependent_bug_states`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_statuses: Option<Vec<String>>,
    /// States of the bugs it depends on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_states: Option<Vec<BugState>>,
    /// Their releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_target_releases: Option<Vec<String>>,
    /// Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_target_release: Option<String>,
    /// Old form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_after_validation: Option<String>,
    /// Set when valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after_validation: Option<BugState>,
    /// Link the pull request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_external_link: Option<bool>,
    /// Old form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_after_merge: Option<String>,
    /// Set when merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after_merge: Option<BugState>,
    /// Set when closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after_close: Option<BugState>,
    /// Groups that bugs may be in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_groups: Vec<String>,
}

/// A state of a bug.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BugState {
    /// Status.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Resolution.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resolution: String,
}
