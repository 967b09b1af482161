//! `branch-protection` (prow-config §4.16).

use crate::serde_util::none_or_empty;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Required reviews.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReviewPolicy {
    /// Only these users and teams may dismiss reviews.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dismissal_restrictions: Option<DismissalRestrictions>,
    /// A push to the pull request dismisses its approvals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dismiss_stale_reviews: Option<bool>,
    /// Code owners of the changed files must approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_code_owner_reviews: Option<bool>,
    /// How many approvals are needed. Without it nothing is required of reviews.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_approving_review_count: Option<i64>,
    /// These users and teams may push without a pull request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass_pull_request_allowances: Option<BypassRestrictions>,
}

/// Who may dismiss reviews.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DismissalRestrictions {
    /// Logins of users.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub users: Option<Vec<String>>,
    /// Slugs of teams.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub teams: Option<Vec<String>>,
}

/// Who may push without a pull request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BypassRestrictions {
    /// Logins of users.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub users: Option<Vec<String>>,
    /// Slugs of teams.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub teams: Option<Vec<String>>,
}

/// Who may push.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Restrictions {
    /// Slugs of GitHub Apps; they need branchprotector's `--enable-apps-restrictions`.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub apps: Option<Vec<String>>,
    /// Logins of users.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub users: Option<Vec<String>>,
    /// Slugs of teams.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub teams: Option<Vec<String>>,
}

/// Required status checks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RequiredStatusChecks {
    /// Commit status contexts that must pass, beside those of the branch's jobs.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub contexts: Option<Vec<String>>,
    /// A pull request must be up to date with its base before it is merged. Tide cannot work with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}
macro_rules! with_policy {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $type:ty = $skip:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct $name {
            /// Leave this level and everything below it as it is on GitHub.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub unmanaged: Option<bool>,
            /// Protect the branches of this level, or explicitly do not. Absent takes the level above.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub protect: Option<bool>,
            /// Status checks that must pass before merging.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub required_status_checks: Option<RequiredStatusChecks>,
            /// The rules hold for administrators, too.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub enforce_admins: Option<bool>,
            /// Only these users, teams and apps may push.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub restrictions: Option<Restrictions>,
            /// Jobs that only a comment starts are required as well.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub require_manually_triggered_jobs: Option<bool>,
            /// Reviews that are needed before merging.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub required_pull_request_reviews: Option<ReviewPolicy>,
            /// Merge commits are refused.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub required_linear_history: Option<bool>,
            /// Force pushes are allowed.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub allow_force_pushes: Option<bool>,
            /// The branch may be deleted.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub allow_deletions: Option<bool>,
            /// Commits must be signed.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub require_signed_commits: Option<bool>,
            /// Regular expressions of branches to leave alone. A branch that is listed by name is protected all
            /// the same.
            #[serde(skip_serializing_if = "none_or_empty")]
            pub exclude: Option<Vec<String>>,
            /// Regular expressions of the only branches to protect. `exclude` is not looked at then.
            #[serde(skip_serializing_if = "none_or_empty")]
            pub include: Option<Vec<String>>,
            $($(#[$fdoc])* #[serde(skip_serializing_if = $skip)] pub $field: $type,)*
        }
        impl $name {
            /// The policy of this level alone.
            pub fn policy(&self) -> Policy {
                Policy {
                    unmanaged: self.unmanaged,
                    protect: self.protect,
                    required_status_checks: self.required_status_checks.clone(),
                    enforce_admins: self.enforce_admins,
                    restrictions: self.restrictions.clone(),
                    require_manually_triggered_jobs: self.require_manually_triggered_jobs,
                    required_pull_request_reviews: self.required_pull_request_reviews.clone(),
                    required_linear_history: self.required_linear_history,
                    allow_force_pushes: self.allow_force_pushes,
                    allow_deletions: self.allow_deletions,
                    require_signed_commits: self.require_signed_commits,
                    exclude: self.exclude.clone(),
                    include: self.include.clone(),
                }
            }
            /// Replaces the policy of this level alone.
            pub fn set_policy(&mut self, policy: Policy) {
                self.unmanaged = policy.unmanaged;
                self.protect = policy.protect;
                self.required_status_checks = policy.required_status_checks;
                self.enforce_admins = policy.enforce_admins;
                self.restrictions = policy.restrictions;
                self.require_manually_triggered_jobs = policy.require_manually_triggered_jobs;
                self.required_pull_request_reviews = policy.required_pull_request_reviews;
                self.required_linear_history = policy.required_linear_history;
                self.allow_force_pushes = policy.allow_force_pushes;
                self.allow_deletions = policy.allow_deletions;
                self.require_signed_commits = policy.require_signed_commits;
                self.exclude = policy.exclude;
                self.include = policy.include;
            }
        }
    };
}

with_policy!(
    /// What one level of the tree says about protection (§4.16.1).
    Policy {}
);
with_policy!(
    /// Root of the tree.
    BranchProtectionConfig {
        /// Protect the branches of every repository that has required presubmits.
        #[serde(rename = "protect-tested-repos")]
        protect_tested_repos: Option<bool> = "Option::is_none",
        /// Settings where `protect` is false are no error.
        allow_disabled_policies: Option<bool> = "Option::is_none",
        /// Required jobs where `protect` is false are no error.
        allow_disabled_job_policies: Option<bool> = "Option::is_none",
        /// Optional and conditional jobs are a reason to protect, too.
        protect_repos_with_optional_jobs: Option<bool> = "Option::is_none",
        /// Policies by organisation.
        orgs: BTreeMap<String, ProtectedOrg> = "BTreeMap::is_empty",
    }
);
with_policy!(
    /// An organisation.
    ProtectedOrg {
        /// Policies by bare name of the repository.
        repos: BTreeMap<String, ProtectedRepo> = "BTreeMap::is_empty",
    }
);
with_policy!(
    /// A repository.
    ProtectedRepo {
        /// Policies by exact name of the branch. Each must set `protect` or `unmanaged`, here or above.
        branches: BTreeMap<String, Policy> = "BTreeMap::is_empty",
    }
);
