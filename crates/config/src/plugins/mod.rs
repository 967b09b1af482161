//! plugins.yaml (prow-config §7): which plugins are on where, and their settings.

mod bugzilla;
mod finish;
mod lookup;
mod projects;
mod read;
mod rules;
mod settings;
mod updater;

pub use bugzilla::*;
pub(crate) use finish::finish;
pub use projects::*;
pub(crate) use read::read;
pub use settings::*;
pub use updater::{ClusterGroup, ConfigMapSpec, ConfigUpdater};

use crate::serde_util::{is_default, is_false};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Help of approve.
pub(crate) const COMMAND_HELP_LINK: &str = "https://go.k8s.io/bot-commands";
/// Process of approve.
pub(crate) const PR_PROCESS_LINK: &str =
    "https://git.k8s.io/community/contributors/guide/owners.md#the-code-review-process";
/// From which merged pull request on contributors are invited.
pub(crate) const MERGED_PR_THRESHOLD: i64 = 3;

/// For sections that are read by rules of their own, beside the rest.
fn elsewhere<'de, D: Deserializer<'de>, T: Default>(deserializer: D) -> Result<T, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| T::default())
}

/// Lists of names, or objects.
fn plugins_map(generator: &mut SchemaGenerator) -> Schema {
    let object = generator.subschema_for::<OrgPlugins>();
    json_schema!({"anyOf": [
        {"type": "object", "additionalProperties": object},
        {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
    ]})
}

/// plugins.yaml after defaulting (§7).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PluginConfig {
    /// Plugins by `org` or `org/repo`. All entries are lists of names, or all are objects.
    #[schemars(schema_with = "plugins_map")]
    #[serde(deserialize_with = "elsewhere", skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, OrgPlugins>,
    /// Plugins that are other servers, by `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub external_plugins: BTreeMap<String, Vec<ExternalPlugin>>,
    /// Settings of all plugins that read OWNERS files.
    pub owners: Owners,
    /// Settings of approve. The first entry that lists the repository wins, else the first that lists its org.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<Approve>,
    /// Settings of blockade. Every entry that lists the repository or its org applies.
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
    /// Settings of config-updater: ConfigMaps that follow files of the repository.
    #[serde(deserialize_with = "elsewhere")]
    pub config_updater: ConfigUpdater,
    /// Settings of dco, by `org/repo`, `org` or `*`.
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
    /// Settings of invalidcommitmsg. The first entry that lists the repository wins, else the first that lists
    /// its org.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invalid_commit_msg: Vec<InvalidCommitMsg>,
    /// Settings of jira.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jira: Option<Jira>,
    /// Settings of label.
    #[serde(skip_serializing_if = "is_default")]
    pub label: Label,
    /// Settings of lgtm. The first entry that lists the repository wins, else the first that lists its org.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lgtm: Vec<Lgtm>,
    /// Settings of milestoneapplier: milestones by branch, by `org` or `org/repo`.
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
    /// Settings of milestone and milestonestatus, by repository; the empty key is for all others.
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
    /// Settings of trigger. The first entry that lists the repository wins, else the first that lists its org.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    /// Settings of welcome. The first entry that lists the repository wins, else the first that lists its org.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub welcome: Vec<Welcome>,
    /// The whole file as generic values, as it was written; see [`PluginConfig::raw`].
    #[serde(skip)]
    pub document: Value,
}

/// Plugins of an org or repository.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OrgPlugins {
    /// Names of plugins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<String>,
    /// Bare names of the organisation's repositories that do not get them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_repos: Vec<String>,
}

/// A plugin that is another server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExternalPlugin {
    /// Name of the plugin.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where events are sent; `http://NAME` unless set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// GitHub event types that are sent; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// Settings of trigger.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Trigger {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Apps whose pull requests are tested without asking, without `[bot]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_apps: Vec<String>,
    /// Members of this organisation are trusted as well.
    #[schemars(extend("deprecationMessage" = "make people members of the organisation itself"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trusted_org: String,
    /// Where to become a member of the trusted organisation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub join_org_url: String,
    /// Collaborators who are no members are not trusted.
    #[serde(skip_serializing_if = "is_false")]
    pub only_org_members: bool,
    /// `/ok-to-test` has no effect.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_ok_to_test: bool,
    /// `/retest` restarts failed GitHub workflows, too.
    #[serde(skip_serializing_if = "is_false")]
    pub trigger_github_workflows: bool,
    /// Telling contributors to become members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_invite: Option<OrgInvite>,
}

/// Invitations to contributors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OrgInvite {
    /// For contributors with several merged pull requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prominent: Option<ProminentInvite>,
}

/// Invitation of contributors with merged pull requests.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProminentInvite {
    /// It is off.
    #[serde(skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// From how many merged pull requests on; 3 unless set.
    #[schemars(extend("default" = MERGED_PR_THRESHOLD))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_pr_threshold: Option<i64>,
    /// The text. `{join_org_url}` in it is replaced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Settings of lgtm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lgtm {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// GitHub reviews count as `/lgtm`.
    #[serde(skip_serializing_if = "is_false")]
    pub review_acts_as_lgtm: bool,
    /// The label stays when a push does not change the files.
    #[serde(skip_serializing_if = "is_false")]
    pub store_tree_hash: bool,
    /// Slug of the team whose pushes keep the label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trusted_team_for_sticky_lgtm: String,
}

/// Settings of cat.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cat {
    /// File with the key of the cat API.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_path: String,
}

/// Settings of approve.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Approve {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// The pull request must name an issue.
    #[serde(skip_serializing_if = "is_false")]
    pub issue_required: bool,
    /// Authors do not approve their own pull requests by being owners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_self_approval: Option<bool>,
    /// `/lgtm` approves, too.
    #[serde(skip_serializing_if = "is_false")]
    pub lgtm_acts_as_approve: bool,
    /// GitHub reviews do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_review_state: Option<bool>,
    /// Link to the description of the commands.
    #[schemars(extend("default" = COMMAND_HELP_LINK))]
    #[serde(rename = "commandHelpLink", skip_serializing_if = "String::is_empty")]
    pub command_help_link: String,
    /// Link to the description of the review process.
    #[schemars(extend("default" = PR_PROCESS_LINK))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pr_process_link: String,
}
