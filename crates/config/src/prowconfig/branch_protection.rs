//! `branch-protection` (prow-config §4.16).

use crate::serde_util::none_or_empty;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Required reviews.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReviewPolicy {
    /// Who may dismiss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dismissal_restrictions: Option<DismissalRestrictions>,
    /// Pushing dismisses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dismiss_stale_reviews: Option<bool>,
    /// Owners must approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_code_owner_reviews: Option<bool>,
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_approving_review_count: Option<i64>,
    /// Who may push without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass_pull_request_allowances: Option<BypassRestrictions>,
}

/// Who may dismiss reviews.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DismissalRestrictions {
    /// Logins.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub users: Option<Vec<String>>,
    /// Slugs.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub teams: Option<Vec<String>>,
}

/// Who may push without a pull request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BypassRestrictions {
    /// Logins.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub users: Option<Vec<String>>,
    /// Slugs.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub teams: Option<Vec<String>>,
}

/// Who may push.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Restrictions {
    /// Slugs.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub apps: Option<Vec<String>>,
    /// Logins.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub users: Option<Vec<String>>,
    /// Slugs.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub teams: Option<Vec<String>>,
}

/// Required status checks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequiredStatusChecks {
    /// Contexts.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub contexts: Option<Vec<String>>,
    /// Up to date with the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}
macro_rules! with_policy {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $type:ty = $skip:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            /// Leave this level and all below it alone.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub unmanaged: Option<bool>,
            /// Protect or explicitly do not.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub protect: Option<bool>,
            /// Required status checks.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub required_status_checks: Option<RequiredStatusChecks>,
            /// For administrators too.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub enforce_admins: Option<bool>,
            /// Who may push.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub restrictions: Option<Restrictions>,
            /// Jobs that only a comment starts are required too.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub require_manually_triggered_jobs: Option<bool>,
            /// Required reviews.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub required_pull_request_reviews: Option<ReviewPolicy>,
            /// No merge commits.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub required_linear_history: Option<bool>,
            /// Force pushes.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub allow_force_pushes: Option<bool>,
            /// Deleting the branch.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub allow_deletions: Option<bool>,
            /// Signed commits.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub require_signed_commits: Option<bool>,
            /// Patterns of branches to leave out.
            #[serde(skip_serializing_if = "none_or_empty")]
            pub exclude: Option<Vec<String>>,
            /// Patterns of the only branches to protect.
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
        /// Protect what has presubmits.
        #[serde(rename = "protect-tested-repos")]
        protect_tested_repos: Option<bool> = "Option::is_none",
        /// Settings without protection are no error.
        allow_disabled_policies: Option<bool> = "Option::is_none",
        /// Required jobs without protection are no error.
        allow_disabled_job_policies: Option<bool> = "Option::is_none",
        /// Optional jobs count as a reason to protect.
        protect_repos_with_optional_jobs: Option<bool> = "Option::is_none",
        /// By organisation.
        orgs: BTreeMap<String, ProtectedOrg> = "BTreeMap::is_empty",
    }
);
with_policy!(
    /// An organisation.
    ProtectedOrg {
        /// By repository.
        repos: BTreeMap<String, ProtectedRepo> = "BTreeMap::is_empty",
    }
);
with_policy!(
    /// A repository.
    ProtectedRepo {
        /// By exact branch name.
        branches: BTreeMap<String, Policy> = "BTreeMap::is_empty",
    }
);
