//! plugins.yaml (prow-config §7): which plugins are on where, and their settings.

mod bugzilla;
mod finish;
mod lookup;
mod projects;
mod read;
mod settings;
mod updater;

pub use bugzilla::*;
pub(crate) use finish::finish;
pub use projects::*;
pub(crate) use read::read;
pub use settings::*;
pub use updater::{ClusterGroup, ConfigMapSpec, ConfigUpdater};

use crate::serde_util::{is_default, is_false};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// plugins.yaml after defaulting (§7).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginConfig {
    /// By `org` or `org/repo` (§7.1).
    #[serde(skip_deserializing, skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, OrgPlugins>,
    /// Plugins that are other servers, by `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub external_plugins: BTreeMap<String, Vec<ExternalPlugin>>,
    /// Settings of all that read OWNERS files.
    pub owners: Owners,
    /// Settings of approve; see [`PluginConfig::approve_for`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<Approve>,
    /// Settings of blockade; every entry that lists a repository applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockades: Vec<Blockade>,
    /// Settings of blunderbuss.
    pub blunderbuss: Blunderbuss,
    /// Settings of branchcleaner.
    #[serde(skip_serializing_if = "is_default")]
    pub branch_cleaner: BranchCleaner,
    /// Settings of bugzilla (§7.3).
    #[serde(skip_serializing_if = "is_default")]
    pub bugzilla: Bugzilla,
    /// Settings of cat.
    #[serde(skip_serializing_if = "is_default")]
    pub cat: Cat,
    /// Settings of cherry-pick-approved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cherry_pick_approved: Vec<CherryPickApproved>,
    /// Settings of cherry-pick-unapproved.
    pub cherry_pick_unapproved: CherryPickUnapproved,
    /// Settings of config-updater (§7.4).
    #[serde(skip_deserializing)]
    pub config_updater: ConfigUpdater,
    /// Settings of dco, by `org/repo`, `org` or `*`; see [`PluginConfig::dco_for`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dco: BTreeMap<String, Dco>,
    /// Settings of golint.
    #[serde(skip_serializing_if = "is_default")]
    pub golint: Golint,
    /// Settings of goose.
    #[serde(skip_serializing_if = "is_default")]
    pub goose: Goose,
    /// Settings of heart.
    #[serde(skip_serializing_if = "is_default")]
    pub heart: Heart,
    /// Settings of help.
    pub help: Help,
    /// Settings of invalidcommitmsg.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invalid_commit_msg: Vec<InvalidCommitMsg>,
    /// Settings of jira.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jira: Option<Jira>,
    /// Settings of label.
    #[serde(skip_serializing_if = "is_default")]
    pub label: Label,
    /// Settings of lgtm; see [`PluginConfig::lgtm_for`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lgtm: Vec<Lgtm>,
    /// Milestone by branch, by `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub milestone_applier: BTreeMap<String, BTreeMap<String, String>>,
    /// Settings of override.
    #[serde(rename = "override", skip_serializing_if = "is_default")]
    pub override_: Override,
    /// Settings of project.
    #[serde(skip_serializing_if = "is_default")]
    pub project_config: ProjectConfig,
    /// Settings of project-manager.
    #[serde(skip_serializing_if = "is_default")]
    pub project_manager: ProjectManager,
    /// Settings of release-note.
    pub release_note: ReleaseNote,
    /// Settings of milestone, by repository; the empty key is the default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub repo_milestone: BTreeMap<String, RepoMilestone>,
    /// Settings of require-matching-label.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require_matching_label: Vec<RequireMatchingLabel>,
    /// Settings of retitle.
    #[serde(skip_serializing_if = "is_default")]
    pub retitle: Retitle,
    /// Settings of rifle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rifle: Option<Blunderbuss>,
    /// Settings of sigmention.
    pub sigmention: SigMention,
    /// Settings of size.
    pub size: Size,
    /// Settings of slackevents.
    #[serde(skip_serializing_if = "is_default")]
    pub slack: Slack,
    /// Settings of trigger; see [`PluginConfig::trigger_for`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    /// Settings of welcome.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub welcome: Vec<Welcome>,
    /// The whole file as generic values, as it was written; see [`PluginConfig::raw`].
    #[serde(skip)]
    pub document: Value,
}

/// Plugins of an org or repository.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OrgPlugins {
    /// Names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<String>,
    /// Bare names of the org's repositories that do not get them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_repos: Vec<String>,
}

/// A plugin that is another server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalPlugin {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where events go; `http://<name>` unless set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// GitHub event types; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// Settings of trigger.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Trigger {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Apps, without `[bot]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_apps: Vec<String>,
    /// Deprecated: members of this org are trusted as well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trusted_org: String,
    /// Where to become a member.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub join_org_url: String,
    /// Collaborators are not trusted.
    #[serde(skip_serializing_if = "is_false")]
    pub only_org_members: bool,
    /// `/ok-to-test` unlocks nothing.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_ok_to_test: bool,
    /// `/retest` restarts failed workflows too.
    #[serde(skip_serializing_if = "is_false")]
    pub trigger_github_workflows: bool,
    /// Invitations to contributors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_invite: Option<OrgInvite>,
}

/// Invitations to contributors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OrgInvite {
    /// For those with merged pull requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prominent: Option<ProminentInvite>,
}

/// Invitation of contributors with merged pull requests.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProminentInvite {
    /// Off.
    #[serde(skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// How many; 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_pr_threshold: Option<i64>,
    /// With `{join_org_url}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Settings of lgtm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lgtm {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// GitHub reviews count.
    #[serde(skip_serializing_if = "is_false")]
    pub review_acts_as_lgtm: bool,
    /// Remember the tree.
    #[serde(skip_serializing_if = "is_false")]
    pub store_tree_hash: bool,
    /// Their pushes keep it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trusted_team_for_sticky_lgtm: String,
}

/// Settings of cat.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cat {
    /// File with the API key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_path: String,
}

/// Settings of approve.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Approve {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// An issue must be named.
    #[serde(skip_serializing_if = "is_false")]
    pub issue_required: bool,
    /// Authors do not approve by being owners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_self_approval: Option<bool>,
    /// /lgtm approves.
    #[serde(skip_serializing_if = "is_false")]
    pub lgtm_acts_as_approve: bool,
    /// GitHub reviews do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_review_state: Option<bool>,
    /// Help.
    #[serde(rename = "commandHelpLink", skip_serializing_if = "String::is_empty")]
    pub command_help_link: String,
    /// Help.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pr_process_link: String,
}
