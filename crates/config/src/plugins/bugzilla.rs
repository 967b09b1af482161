//! `bugzilla` (prow-config §7.3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of bugzilla.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Bugzilla {
    /// What bugs must be like, by branch or `*`, everywhere.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default: BTreeMap<String, BugzillaOptions>,
    /// Settings by organisation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub orgs: BTreeMap<String, BugzillaOrg>,
}

/// Settings of an organisation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BugzillaOrg {
    /// What bugs must be like, by branch or `*`, in this organisation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default: BTreeMap<String, BugzillaOptions>,
    /// Settings by bare name of the repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub repos: BTreeMap<String, BugzillaRepo>,
}

/// Settings of a repository.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BugzillaRepo {
    /// What bugs must be like, by branch or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub branches: BTreeMap<String, BugzillaOptions>,
}

/// What a bug must be like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BugzillaOptions {
    /// Nothing is taken from the levels above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_defaults: Option<bool>,
    /// Read for compatibility; it never takes effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_backporting: Option<bool>,
    /// Pull requests that name no bug are told so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_by_default: Option<bool>,
    /// The bug must be open (true) or closed (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_open: Option<bool>,
    /// Release that the bug must be for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_release: Option<String>,
    /// Statuses that the bug may have.
    #[schemars(extend("deprecationMessage" = "write valid_states: [{status: STATUS}]"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statuses: Option<Vec<String>>,
    /// States that the bug may be in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_states: Option<Vec<BugState>>,
    /// Statuses that the bugs it depends on may have.
    #[schemars(extend("deprecationMessage" = "write dependent_bug_states: [{status: STATUS}]"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_statuses: Option<Vec<String>>,
    /// States that the bugs it depends on may be in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_states: Option<Vec<BugState>>,
    /// Releases that the bugs it depends on may be for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_target_releases: Option<Vec<String>>,
    /// A release that the bugs it depends on may be for.
    #[schemars(extend("deprecationMessage" = "write dependent_bug_target_releases: [RELEASE]"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_target_release: Option<String>,
    /// Status that a valid bug is moved to.
    #[schemars(extend("deprecationMessage" = "write state_after_validation: {status: STATUS}"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_after_validation: Option<String>,
    /// State that a valid bug is moved to. It is a valid state itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after_validation: Option<BugState>,
    /// A valid bug gets a link to the pull request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_external_link: Option<bool>,
    /// Status that the bug is moved to when all is merged.
    #[schemars(extend("deprecationMessage" = "write state_after_merge: {status: STATUS}"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_after_merge: Option<String>,
    /// State that the bug is moved to when all is merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after_merge: Option<BugState>,
    /// State that the bug is moved to when the pull request is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after_close: Option<BugState>,
    /// Groups that the bug may be in. Those of all levels are united.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_groups: Vec<String>,
}

/// A state of a bug.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BugState {
    /// Status of the bug.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Resolution of the bug.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resolution: String,
}
