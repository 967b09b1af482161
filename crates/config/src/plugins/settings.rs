//! Settings of the plugins that have a section of their own (prow-config §7.2).

use crate::serde_util::{is_false, is_zero};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Labels that OWNERS files may not give.
pub(super) const LABELS_DENYLIST: [&str; 2] = ["approved", "lgtm"];
/// Context that blunderbuss waits for.
pub(super) const WAIT_CONTEXT: &str = "tide";
/// State that blunderbuss waits for.
pub(super) const WAIT_STATE: &str = "pending";
/// Description that blunderbuss waits for.
pub(super) const WAIT_DESCRIPTION: &str = r"Not mergeable. (PullRequest is missing sufficient approving GitHub review\(s\)|Needs (lgtm|approved|approved, lgtm) labels?)\.?";
/// Branches that cherry-picks go to.
pub(super) const RELEASE_BRANCHES: &str = "^release-.*$";
/// What cherry-picks are told that await approval.
pub(super) const UNAPPROVED: &str = "This PR is not for the master branch but does not have the `cherry-pick-approved`  label. Adding the `do-not-merge/cherry-pick-not-approved`  label.";
/// Branch of the explanation of sign-offs.
pub(super) const CONTRIBUTING_BRANCH: &str = "master";
/// File of the explanation of sign-offs.
pub(super) const CONTRIBUTING_PATH: &str = "CONTRIBUTING.md";
/// Of golint's findings.
pub(super) const MINIMUM_CONFIDENCE: f64 = 0.8;
/// Checks of commit messages.
pub(super) const COMMIT_MSG_CHECKS: [&str; 2] = ["fixupPrefix", "issueClosingKeywords"];
/// How long require-matching-label waits.
pub(super) const GRACE_PERIOD: &str = "5s";
/// Greeting of entries that have none.
pub(super) const WELCOME: &str =
    "Welcome @{{.AuthorLogin}}! It looks like this is your first PR to {{.Org}}/{{.Repo}} 🎉";

/// Settings of all that read OWNERS files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Owners {
    /// Repositories whose Markdown files have YAML headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mdyamlrepos: Vec<String>,
    /// Repositories where only OWNERS files count, not GitHub's collaborators.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip_collaborators: Vec<String>,
    /// Labels that OWNERS files may not give.
    #[schemars(extend("default" = LABELS_DENYLIST))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_denylist: Option<Vec<String>>,
    /// Other file names, by `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub filenames: BTreeMap<String, OwnersFilenames>,
}

/// Names of OWNERS files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OwnersFilenames {
    /// Instead of OWNERS.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owners: String,
    /// Instead of OWNERS_ALIASES.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owners_aliases: String,
}

/// Paths that must not change.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Blockade {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Regular expression of base branches; absent is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branchregexp: Option<String>,
    /// Regular expressions of paths that must not change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockregexps: Vec<String>,
    /// Regular expressions of paths that may change all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exceptionregexps: Vec<String>,
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub explanation: String,
}

/// Asking for reviews.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Blunderbuss {
    /// How many reviews are asked for.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_count: Option<i64>,
    /// How many reviewers there may be; 0 is unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_request_count: i64,
    /// Those who may approve are not asked.
    #[serde(skip_serializing_if = "is_false")]
    pub exclude_approvers: bool,
    /// Those who say they are busy are not asked.
    #[serde(skip_serializing_if = "is_false")]
    pub use_status_availability: bool,
    /// No one is asked for drafts.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_drafts: bool,
    /// No one is asked for pull requests of these logins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_authors: Vec<String>,
    /// No one is asked before this commit status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_for_status: Option<WaitForStatus>,
}
impl Default for Blunderbuss {
    fn default() -> Self {
        Blunderbuss {
            request_count: Some(2),
            max_request_count: 0,
            exclude_approvers: false,
            use_status_availability: false,
            ignore_drafts: false,
            ignore_authors: Vec::new(),
            wait_for_status: None,
        }
    }
}

/// A commit status to wait for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WaitForStatus {
    /// Context of the status.
    #[schemars(extend("default" = WAIT_CONTEXT))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub context: String,
    /// State of the status.
    #[schemars(extend("default" = WAIT_STATE))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Regular expression of the status's description.
    #[schemars(extend("default" = WAIT_DESCRIPTION))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// Deleting branches of merged pull requests.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BranchCleaner {
    /// Names or regular expressions of branches that stay, by `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub preserved_branches: BTreeMap<String, Vec<String>>,
}

/// Who approves cherry-picks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CherryPickApproved {
    /// Organisation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org: String,
    /// Repository.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// Regular expression of base branches.
    #[schemars(extend("default" = RELEASE_BRANCHES))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branchregexp: String,
    /// Logins of those who approve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// The label `approved` is not needed.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_missing_approved_label: bool,
    /// The label `lgtm` is not needed.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_missing_lgtm_label: bool,
}

/// Cherry-picks that await approval.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CherryPickUnapproved {
    /// Regular expression of base branches.
    #[schemars(extend("default" = RELEASE_BRANCHES))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branchregexp: String,
    /// What people are told.
    #[schemars(extend("default" = UNAPPROVED))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// Developer's Certificate of Origin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Dco {
    /// Members of `trusted_org` need not sign off.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_dco_check_for_members: bool,
    /// Apps that need not sign off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_apps: Vec<String>,
    /// Organisation whose members are meant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trusted_org: String,
    /// Collaborators need not sign off.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_dco_check_for_collaborators: bool,
    /// Repository that has the explanation, as `org/repo`; the pull request's own unless set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub contributing_repo: String,
    /// Branch that has the explanation.
    #[schemars(extend("default" = CONTRIBUTING_BRANCH))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub contributing_branch: String,
    /// File that has the explanation.
    #[schemars(extend("default" = CONTRIBUTING_PATH))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub contributing_path: String,
}

/// Settings of golint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Golint {
    /// From which confidence on a finding is reported.
    #[schemars(extend("default" = MINIMUM_CONFIDENCE))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_confidence: Option<f64>,
}

/// Settings of goose.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Goose {
    /// File with the key of the picture API.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_path: String,
}

/// Settings of heart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Heart {
    /// Logins whose comments get a heart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adorees: Vec<String>,
    /// Regular expression of the comments.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commentregexp: String,
}

/// Settings of help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Help {
    /// Link to the guidelines for issues that ask for help.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help_guidelines_url: String,
    /// The guidelines in short.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help_guidelines_summary: String,
}
impl Default for Help {
    fn default() -> Self {
        Help {
            help_guidelines_url: "https://git.k8s.io/community/contributors/guide/help-wanted.md".into(),
            help_guidelines_summary: String::new(),
        }
    }
}

/// Settings of invalidcommitmsg.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InvalidCommitMsg {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Which checks are on or off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CommitMsgCheck>,
}

/// One check of commit messages.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CommitMsgCheck {
    /// Name of the check.
    #[schemars(extend("enum" = COMMIT_MSG_CHECKS))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// It is off.
    #[serde(skip_serializing_if = "is_false")]
    pub disabled: bool,
}

/// Settings of jira.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Jira {
    /// Projects that are left alone; case does not matter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disabled_jira_projects: Vec<String>,
}

/// Settings of label.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Label {
    /// Labels that `/label` may set beside the usual prefixes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_labels: Vec<String>,
    /// Labels that not everyone may set, by `*`, `org` or `org/repo`. Entries of all levels for a label are
    /// united.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub restricted_labels: BTreeMap<String, Vec<RestrictedLabel>>,
}

/// A label that not everyone may set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RestrictedLabel {
    /// The label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Slugs of teams whose members may set it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_teams: Vec<String>,
    /// Logins of users who may set it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_users: Vec<String>,
    /// The label is set when another one is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assign_on: Vec<AssignOn>,
}

/// A label that brings another.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AssignOn {
    /// The other label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
}

/// Settings of override.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Override {
    /// Owners of the repository's root may override.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_top_level_owners: bool,
    /// Slugs of teams whose members may override, by `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allowed_github_teams: BTreeMap<String, Vec<String>>,
}

/// Settings of release-note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReleaseNote {
    /// Link to the guidelines for release notes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub guidelines_url: String,
}
impl Default for ReleaseNote {
    fn default() -> Self {
        ReleaseNote {
            guidelines_url: "https://git.k8s.io/community/contributors/guide/release-notes.md".into(),
        }
    }
}

/// Who sets milestones.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RepoMilestone {
    /// Id of the team that may set milestones.
    #[schemars(extend("deprecationMessage" = "write maintainers_team: SLUG"))]
    #[serde(skip_serializing_if = "is_zero")]
    pub maintainers_id: i64,
    /// Slug of the team that may set milestones.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub maintainers_team: String,
    /// Name of the team, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub maintainers_friendly_name: String,
}

/// Settings of require-matching-label.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RequireMatchingLabel {
    /// Organisation; mandatory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org: String,
    /// Bare name of the repository; empty is all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// Base branch; only with `prs`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branch: String,
    /// For pull requests.
    #[serde(skip_serializing_if = "is_false")]
    pub prs: bool,
    /// For issues.
    #[serde(skip_serializing_if = "is_false")]
    pub issues: bool,
    /// Regular expression of the labels of which one is needed; mandatory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub regexp: String,
    /// Label that is set while there is none; mandatory, and `regexp` may not match it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub missing_label: String,
    /// What people are told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub missing_comment: String,
    /// How long to wait for other plugins to set a label.
    #[schemars(extend("default" = GRACE_PERIOD, "pattern" = prow_api::schema::GO_DURATION_PATTERN, "x-kind" = "duration"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grace_period: String,
}

/// Settings of retitle.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Retitle {
    /// Closed issues and pull requests, too.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_closed_issues: bool,
}

/// Settings of sigmention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SigMention {
    /// Regular expression of mentions; its first group is the group's label, its second the kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub regexp: String,
}
impl Default for SigMention {
    fn default() -> Self {
        let regexp = r"(?m)@kubernetes/sig-([\w-]*)-(misc|test-failures|bugs|feature-requests|proposals|pr-reviews|api-reviews)";
        SigMention { regexp: regexp.into() }
    }
}

/// Lines from which a size begins; zero is the built-in value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Size {
    /// Changed lines from which `size/S` begins; 0 is 10.
    pub s: i64,
    /// Changed lines from which `size/M` begins; 0 is 30.
    pub m: i64,
    /// Changed lines from which `size/L` begins; 0 is 100.
    pub l: i64,
    /// Changed lines from which `size/XL` begins; 0 is 500.
    pub xl: i64,
    /// Changed lines from which `size/XXL` begins; 0 is 1000.
    pub xxl: i64,
}

/// Settings of slackevents.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Slack {
    /// Channels that are told of mentions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentionchannels: Vec<String>,
    /// Warnings of pushes that did not go through Prow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mergewarnings: Vec<MergeWarning>,
}

/// Warning of manual merges.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MergeWarning {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Channels that are told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Logins who may push.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt_users: Vec<String>,
    /// Branches that may be pushed to, by repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exempt_branches: BTreeMap<String, Vec<String>>,
}

/// Greeting of new contributors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Welcome {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Go template over `.Org`, `.Repo`, `.AuthorLogin` and `.AuthorName`.
    #[schemars(extend("default" = WELCOME))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message_template: String,
    /// Everyone is greeted, not only at the first pull request.
    #[serde(skip_serializing_if = "is_false")]
    pub always_post: bool,
}
