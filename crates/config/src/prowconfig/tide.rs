//! `tide` (prow-config §4.15).

use super::plank::MAX_GOROUTINES;
use super::reporters::RATELIMIT;
use crate::gotemplate::GoTemplate;
use crate::serde_util::{is_default, is_false, is_zero};
use prow_api::K8sDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Merging (§4.15).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tide {
    /// How often pull requests are looked for and merged.
    pub sync_period: K8sDuration,
    /// How often Tide's own commit statuses are updated; `sync_period` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_update_period: Option<K8sDuration>,
    /// Read for compatibility; the number of workers adapts by itself.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "is_zero")]
    pub max_goroutines: i64,
    /// Which pull requests to merge. Queries that differ only in where they look are united, and all are
    /// sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<TideQuery>,
    /// How pull requests are merged, by `org`, `org/repo` or `org/repo@branch`, or as a tree of repositories
    /// and patterns of branches; `merge` unless set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub merge_method: BTreeMap<String, OrgMergeMethod>,
    /// Text of merge commits, by `org/repo` or `org`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub merge_commit_template: BTreeMap<String, MergeCommitTemplate>,
    /// Link of Tide's commit status, for all repositories.
    #[schemars(extend("deprecationMessage" = "write target_urls: {\"*\": URL}"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_url: String,
    /// Link of Tide's commit status, by `org/repo`, `org` or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub target_urls: BTreeMap<String, String>,
    /// Base URL of the pull request dashboard, for all repositories.
    #[schemars(extend("deprecationMessage" = "write pr_status_base_urls: {\"*\": URL}"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pr_status_base_url: String,
    /// Base URL of the pull request dashboard, by `org/repo`, `org` or `*`. There must be a `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pr_status_base_urls: BTreeMap<String, String>,
    /// Label of issues that block merging into a branch; empty disables them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub blocker_label: String,
    /// Label of pull requests that are squashed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub squash_label: String,
    /// Label of pull requests that are rebased.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rebase_label: String,
    /// Label of pull requests that are merged with a merge commit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub merge_label: String,
    /// Which commit status contexts count for merging.
    #[serde(skip_serializing_if = "is_default")]
    pub context_options: ContextPolicyOptions,
    /// Pull requests that are tested together, by `org/repo`, `org` or `*`; 0 is unlimited, -1 is no batches.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub batch_size_limit: BTreeMap<String, i64>,
    /// Whether a batch that is being tested is waited for, by `org/repo`, `org` or `*`; true unless set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub prioritize_existing_batches: BTreeMap<String, bool>,
    /// What to do about merges that GitHub blocks, by `org/repo`, `org` or `*`; `permit` unless set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub github_merge_blocks_policy: BTreeMap<String, MergeBlocksPolicy>,
    /// Pull requests to merge first; earlier entries come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priority: Vec<TidePriority>,
    /// The status explains every query, not only the nearest.
    #[serde(skip_serializing_if = "is_false")]
    pub display_all_tide_queries_in_status: bool,
    /// Merging Gerrit changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gerrit: Option<TideGerrit>,
}
impl Default for Tide {
    fn default() -> Self {
        Tide {
            sync_period: K8sDuration::from_secs(60),
            status_update_period: None,
            max_goroutines: MAX_GOROUTINES,
            queries: Vec::new(),
            merge_method: BTreeMap::new(),
            merge_commit_template: BTreeMap::new(),
            target_url: String::new(),
            target_urls: BTreeMap::new(),
            pr_status_base_url: String::new(),
            pr_status_base_urls: BTreeMap::new(),
            blocker_label: String::new(),
            squash_label: String::new(),
            rebase_label: String::new(),
            merge_label: String::new(),
            context_options: ContextPolicyOptions::default(),
            batch_size_limit: BTreeMap::new(),
            prioritize_existing_batches: BTreeMap::new(),
            github_merge_blocks_policy: BTreeMap::new(),
            priority: Vec::new(),
            display_all_tide_queries_in_status: false,
            gerrit: None,
        }
    }
}

/// One search for pull requests (§4.15.1). Keys are camelCase.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TideQuery {
    /// Login of the author.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The pull request has all of these labels. A text with commas is a list of alternatives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The pull request has none of these labels.
    #[serde(rename = "missingLabels", skip_serializing_if = "Vec::is_empty")]
    pub missing_labels: Vec<String>,
    /// Not these base branches.
    #[serde(rename = "excludedBranches", skip_serializing_if = "Vec::is_empty")]
    pub excluded_branches: Vec<String>,
    /// Only these base branches.
    #[serde(rename = "includedBranches", skip_serializing_if = "Vec::is_empty")]
    pub included_branches: Vec<String>,
    /// Title of the milestone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub milestone: String,
    /// GitHub's own review must have approved.
    #[serde(rename = "reviewApprovedRequired", skip_serializing_if = "is_false")]
    pub review_approved_required: bool,
    /// Whole organisations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orgs: Vec<String>,
    /// Repositories as `org/repo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// `org/repo` of the listed organisations to leave out.
    #[serde(rename = "excludedRepos", skip_serializing_if = "Vec::is_empty")]
    pub excluded_repos: Vec<String>,
}

/// Text of merge commits, over the pull request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MergeCommitTemplate {
    /// Go template over the pull request: the first line.
    #[serde(skip_serializing_if = "unset")]
    pub title: Option<GoTemplate>,
    /// Go template over the pull request: everything below the first line.
    #[serde(skip_serializing_if = "unset")]
    pub body: Option<GoTemplate>,
}

/// An empty template is none.
fn unset(template: &Option<GoTemplate>) -> bool {
    template.as_ref().is_none_or(GoTemplate::is_empty)
}

/// Pull requests to take first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TidePriority {
    /// The pull request has all of these labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// Gerrit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TideGerrit {
    /// Which changes to merge.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<super::GerritOrgConfig>,
    /// Queries in one sync; 0 is the default.
    #[schemars(extend("default" = RATELIMIT))]
    #[serde(skip_serializing_if = "is_zero")]
    pub ratelimit: i64,
}
/// How a pull request is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MergeMethod {
    /// A merge commit.
    Merge,
    /// One commit.
    Squash,
    /// Rebased commits.
    Rebase,
}

/// What Tide does about merges that GitHub blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MergeBlocksPolicy {
    /// As if nothing were blocked.
    Ignore,
    /// Try if the reason may go away.
    Permit,
    /// Never try.
    Block,
}

/// `merge_method` of an org (or of `org/repo`, `org/repo@branch`): a method, or methods by repository.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OrgMergeMethod {
    /// One method.
    Method(MergeMethod),
    /// By repository or `*`.
    Repos(BTreeMap<String, RepoMergeMethod>),
}

/// `merge_method` of a repository below its org: a method, or methods by branch pattern.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RepoMergeMethod {
    /// One method.
    Method(MergeMethod),
    /// By regular expression over branches.
    Branches(BTreeMap<String, MergeMethod>),
}

/// Which contexts count (§4.15.3). Keys are hyphenated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContextPolicy {
    /// Contexts that are not listed are optional.
    #[serde(rename = "skip-unknown-contexts", skip_serializing_if = "Option::is_none")]
    pub skip_unknown_contexts: Option<bool>,
    /// Contexts that must pass.
    #[serde(rename = "required-contexts", skip_serializing_if = "Vec::is_empty")]
    pub required_contexts: Vec<String>,
    /// Contexts that must pass if they are there.
    #[serde(rename = "required-if-present-contexts", skip_serializing_if = "Vec::is_empty")]
    pub required_if_present_contexts: Vec<String>,
    /// Contexts that may fail.
    #[serde(rename = "optional-contexts", skip_serializing_if = "Vec::is_empty")]
    pub optional_contexts: Vec<String>,
    /// Regular expressions of contexts that may fail.
    #[serde(rename = "optional-regex-contexts", skip_serializing_if = "Vec::is_empty")]
    pub optional_regex_contexts: Vec<String>,
    /// Contexts that branch protection requires are required here.
    #[serde(rename = "from-branch-protection", skip_serializing_if = "Option::is_none")]
    pub from_branch_protection: Option<bool>,
    /// Contexts that hang at pending are overwritten.
    #[serde(rename = "overwrite-pending-contexts", skip_serializing_if = "Option::is_none")]
    pub overwrite_pending_contexts: Option<bool>,
}
macro_rules! with_context_policy {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(default, rename_all = "kebab-case")]
        pub struct $name {
            /// Contexts that are not listed are optional.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub skip_unknown_contexts: Option<bool>,
            /// Contexts that must pass.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub required_contexts: Vec<String>,
            /// Contexts that must pass if they are there.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub required_if_present_contexts: Vec<String>,
            /// Contexts that may fail.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub optional_contexts: Vec<String>,
            /// Regular expressions of contexts that may fail.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub optional_regex_contexts: Vec<String>,
            /// Contexts that branch protection requires are required here.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub from_branch_protection: Option<bool>,
            /// Contexts that hang at pending are overwritten.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub overwrite_pending_contexts: Option<bool>,
            $($(#[$fdoc])* #[serde(skip_serializing_if = "BTreeMap::is_empty")] pub $field: $type,)*
        }
        impl $name {
            /// The policy of this level alone.
            pub fn policy(&self) -> ContextPolicy {
                ContextPolicy {
                    skip_unknown_contexts: self.skip_unknown_contexts,
                    required_contexts: self.required_contexts.clone(),
                    required_if_present_contexts: self.required_if_present_contexts.clone(),
                    optional_contexts: self.optional_contexts.clone(),
                    optional_regex_contexts: self.optional_regex_contexts.clone(),
                    from_branch_protection: self.from_branch_protection,
                    overwrite_pending_contexts: self.overwrite_pending_contexts,
                }
            }
        }
    };
}

with_context_policy!(
    /// Root of the tree of context policies.
    ContextPolicyOptions {
        /// Policies by organisation.
        orgs: BTreeMap<String, OrgContextPolicy>,
    }
);
with_context_policy!(
    /// Context policy of an organisation.
    OrgContextPolicy {
        /// Policies by bare name of the repository.
        repos: BTreeMap<String, RepoContextPolicy>,
    }
);
with_context_policy!(
    /// Context policy of a repository.
    RepoContextPolicy {
        /// Policies by exact name of the branch.
        branches: BTreeMap<String, ContextPolicy>,
    }
);

impl MergeMethod {
    fn parse(text: &str) -> Option<MergeMethod> {
        Some(match text {
            "merge" => MergeMethod::Merge,
            "squash" => MergeMethod::Squash,
            "rebase" => MergeMethod::Rebase,
            _ => return None,
        })
    }
}

macro_rules! method_or_map {
    ($name:ident, $map_variant:ident, $value:ty, $what:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct V;
                impl<'de> serde::de::Visitor<'de> for V {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("merge, squash, rebase, or a map by ", $what))
                    }
                    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<$name, E> {
                        MergeMethod::parse(v).map($name::Method).ok_or_else(|| {
                            E::custom(format!(
                                "{v:?} is not a merge method; allowed are merge, squash and rebase"
                            ))
                        })
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut out = BTreeMap::new();
                        while let Some((key, value)) = map.next_entry::<String, $value>()? {
                            out.insert(key, value);
                        }
                        Ok($name::$map_variant(out))
                    }
                }
                d.deserialize_any(V)
            }
        }
    };
}
method_or_map!(OrgMergeMethod, Repos, RepoMergeMethod, "repository");
method_or_map!(RepoMergeMethod, Branches, MergeMethod, "branch pattern");

/// Old forms into new ones and the rules of the section (§4.15).
pub(super) fn finish(tide: &mut Tide, errors: &mut super::finish::Errors<'_>) {
    if tide.status_update_period.is_none() {
        tide.status_update_period = Some(tide.sync_period);
    }
    if tide.max_goroutines < 0 {
        errors.push("tide.max_goroutines", format!("{} is negative; 0 is the default", tide.max_goroutines));
    }
    if tide.max_goroutines == 0 {
        tide.max_goroutines = MAX_GOROUTINES;
    }
    for (single, map, key) in [
        (&tide.target_url, &mut tide.target_urls, "target_url"),
        (&tide.pr_status_base_url, &mut tide.pr_status_base_urls, "pr_status_base_url"),
    ] {
        if single.is_empty() {
            continue;
        }
        if !map.is_empty() {
            errors.push(format!("tide.{key}"), format!("it and {key}s exclude each other; keep {key}s"));
        }
        map.insert("*".into(), single.clone());
    }
    if !tide.pr_status_base_urls.is_empty() && !tide.pr_status_base_urls.contains_key("*") {
        errors.push("tide.pr_status_base_urls", "it must have an entry for '*'");
    }
    for (org, method) in &tide.merge_method {
        let OrgMergeMethod::Repos(repos) = method else { continue };
        for (repo, method) in repos {
            let RepoMergeMethod::Branches(branches) = method else { continue };
            for pattern in branches.keys() {
                if let Err(error) = crate::GoRegex::new(pattern) {
                    errors.push(format!("tide.merge_method[{org:?}][{repo:?}]"), error.to_string());
                }
            }
        }
    }
    if let Some(gerrit) = &mut tide.gerrit
        && gerrit.ratelimit == 0
    {
        gerrit.ratelimit = RATELIMIT;
    }
}
