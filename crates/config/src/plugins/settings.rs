//! Settings of the plugins that have a section of their own (prow-config §7.2).

use crate::serde_util::{is_false, is_zero};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of all that read OWNERS files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Owners {
    /// Repositories whose Markdown files have YAML headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mdyamlrepos: Vec<String>,
    /// Repositories where only OWNERS count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip_collaborators: Vec<String>,
    /// Labels that OWNERS files may not give; approved and lgtm unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_denylist: Option<Vec<String>>,
    /// Other file names, by `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub filenames: BTreeMap<String, OwnersFilenames>,
}

/// Names of OWNERS files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnersFilenames {
    /// For OWNERS.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owners: String,
    /// For OWNERS_ALIASES.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owners_aliases: String,
}

/// Paths that must not change.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Blockade {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Only these branches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branchregexp: Option<String>,
    /// Paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockregexps: Vec<String>,
    /// Paths that may change all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exceptionregexps: Vec<String>,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub explanation: String,
}

/// Asking for reviews.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blunderbuss {
    /// How many; 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_count: Option<i64>,
    /// At most; 0 is unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_request_count: i64,
    /// Not those who may approve.
    #[serde(skip_serializing_if = "is_false")]
    pub exclude_approvers: bool,
    /// Not those who are busy.
    #[serde(skip_serializing_if = "is_false")]
    pub use_status_availability: bool,
    /// Not for drafts.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_drafts: bool,
    /// Not for these authors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_authors: Vec<String>,
    /// Not before this status.
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WaitForStatus {
    /// tide unless set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub context: String,
    /// pending unless set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Pattern of its description.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// Deleting branches of merged pull requests.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BranchCleaner {
    /// Names or patterns, by `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub preserved_branches: BTreeMap<String, Vec<String>>,
}

/// Who approves cherry-picks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CherryPickApproved {
    /// Organisation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org: String,
    /// Repository.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// Branches; `^release-.*$`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branchregexp: String,
    /// Logins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// Without `approved`.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_missing_approved_label: bool,
    /// Without `lgtm`.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_missing_lgtm_label: bool,
}

/// Cherry-picks that await approval.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CherryPickUnapproved {
    /// Branches; `^release-.*$`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branchregexp: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// Developer's Certificate of Origin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dco {
    /// Not for members.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_dco_check_for_members: bool,
    /// Not for these apps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_apps: Vec<String>,
    /// Whose members.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trusted_org: String,
    /// Not for collaborators.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_dco_check_for_collaborators: bool,
    /// Where the explanation is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub contributing_repo: String,
    /// master unless set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub contributing_branch: String,
    /// CONTRIBUTING.md unless set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub contributing_path: String,
}

/// Settings of golint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Golint {
    /// 0.8 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_confidence: Option<f64>,
}

/// Settings of goose.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Goose {
    /// File with the API key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_path: String,
}

/// Settings of heart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Heart {
    /// Logins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adorees: Vec<String>,
    /// Comments.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commentregexp: String,
}

/// Settings of help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Help {
    /// Guidelines.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help_guidelines_url: String,
    /// In short.
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InvalidCommitMsg {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Which.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CommitMsgCheck>,
}

/// One check of commit messages.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CommitMsgCheck {
    /// fixupPrefix or issueClosingKeywords.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Off.
    #[serde(skip_serializing_if = "is_false")]
    pub disabled: bool,
}

/// Settings of jira.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Jira {
    /// Case does not matter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disabled_jira_projects: Vec<String>,
}

/// Settings of label.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Label {
    /// Labels that `/label` may set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_labels: Vec<String>,
    /// By `*`, `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub restricted_labels: BTreeMap<String, Vec<RestrictedLabel>>,
}

/// A label that not everyone may set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RestrictedLabel {
    /// Label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Slugs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_teams: Vec<String>,
    /// Logins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_users: Vec<String>,
    /// Set when another label is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assign_on: Vec<AssignOn>,
}

/// A label that brings another.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AssignOn {
    /// Label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
}

/// Settings of override.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Override {
    /// Root OWNERS may override.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_top_level_owners: bool,
    /// Slugs, by `org` or `org/repo`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allowed_github_teams: BTreeMap<String, Vec<String>>,
}

/// Settings of release-note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseNote {
    /// Guidelines.
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RepoMilestone {
    /// Deprecated.
    #[serde(skip_serializing_if = "is_zero")]
    pub maintainers_id: i64,
    /// Slug.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub maintainers_team: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub maintainers_friendly_name: String,
}

/// Settings of require-matching-label.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequireMatchingLabel {
    /// Organisation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org: String,
    /// Repository.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// Branch of pull requests.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branch: String,
    /// For pull requests.
    #[serde(skip_serializing_if = "is_false")]
    pub prs: bool,
    /// For issues.
    #[serde(skip_serializing_if = "is_false")]
    pub issues: bool,
    /// Labels of which one is needed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub regexp: String,
    /// Set while there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub missing_label: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub missing_comment: String,
    /// Go duration; 5s.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grace_period: String,
}

/// Settings of retitle.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Retitle {
    /// Closed ones too.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_closed_issues: bool,
}

/// Settings of sigmention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SigMention {
    /// Mentions.
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Size {
    /// 10.
    pub s: i64,
    /// 30.
    pub m: i64,
    /// 100.
    pub l: i64,
    /// 500.
    pub xl: i64,
    /// 1000.
    pub xxl: i64,
}

/// Settings of slackevents.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Slack {
    /// Channels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentionchannels: Vec<String>,
    /// Manual merges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mergewarnings: Vec<MergeWarning>,
}

/// Warning of manual merges.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MergeWarning {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Channels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Logins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt_users: Vec<String>,
    /// By repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exempt_branches: BTreeMap<String, Vec<String>>,
}

/// Greeting of new contributors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Welcome {
    /// `org` or `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Go template over Org, Repo, AuthorLogin, AuthorName.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message_template: String,
    /// To everyone.
    #[serde(skip_serializing_if = "is_false")]
    pub always_post: bool,
}
