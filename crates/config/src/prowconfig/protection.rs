//! The policy of one branch: the tree merged downwards, and the contexts that its jobs ask for
//! (prow-config §4.16.2 to §4.16.4).

use super::{
    BranchProtectionConfig, BypassRestrictions, DismissalRestrictions, Policy, RequiredStatusChecks,
    Restrictions, ReviewPolicy,
};
use crate::jobs::Presubmit;

/// Contexts of the presubmits that run on a branch, in the order of the jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BranchRequirements {
    /// Must pass.
    pub required: Vec<String>,
    /// Must pass if they exist.
    pub required_if_present: Vec<String>,
    /// May fail.
    pub optional: Vec<String>,
}

impl BranchRequirements {
    /// Sorts a repository's presubmits. `manual` makes those that only a comment starts required as well.
    pub fn of(presubmits: &[Presubmit], branch: &str, manual: bool) -> BranchRequirements {
        let mut out = BranchRequirements::default();
        for job in presubmits.iter().filter(|j| j.brancher.runs_on(branch)) {
            let by_change =
                job.changes.run_if_changed.is_some() || job.changes.skip_if_only_changed.is_some();
            let by_comment = !job.always_run && !by_change;
            let bucket = if job.optional || job.skip_report {
                &mut out.optional
            } else if (manual && by_comment) || !(by_comment || by_change) {
                &mut out.required
            } else {
                &mut out.required_if_present
            };
            bucket.push(job.context.clone());
        }
        out
    }
}

fn either<T: Clone>(parent: &Option<T>, child: &Option<T>) -> Option<T> {
    child.clone().or_else(|| parent.clone())
}

/// Lists only grow: one alone, or the sorted union.
fn union(parent: &Option<Vec<String>>, child: &Option<Vec<String>>) -> Option<Vec<String>> {
    match (parent, child) {
        (Some(a), Some(b)) => {
            let mut all: Vec<String> = a.iter().chain(b).cloned().collect();
            all.sort();
            all.dedup();
            Some(all)
        }
        _ => either(parent, child),
    }
}

fn merge<T: Clone>(parent: &Option<T>, child: &Option<T>, both: impl FnOnce(&T, &T) -> T) -> Option<T> {
    match (parent, child) {
        (Some(a), Some(b)) => Some(both(a, b)),
        _ => either(parent, child),
    }
}

impl Policy {
    /// This policy with `child` below it laid over.
    pub fn apply(&self, child: &Policy) -> Policy {
        Policy {
            unmanaged: either(&self.unmanaged, &child.unmanaged),
            protect: either(&self.protect, &child.protect),
            required_status_checks: merge(
                &self.required_status_checks,
                &child.required_status_checks,
                |a, b| RequiredStatusChecks {
                    contexts: union(&a.contexts, &b.contexts),
                    strict: either(&a.strict, &b.strict),
                },
            ),
            enforce_admins: either(&self.enforce_admins, &child.enforce_admins),
            restrictions: merge(&self.restrictions, &child.restrictions, |a, b| Restrictions {
                apps: union(&a.apps, &b.apps),
                users: union(&a.users, &b.users),
                teams: union(&a.teams, &b.teams),
            }),
            require_manually_triggered_jobs: either(
                &self.require_manually_triggered_jobs,
                &child.require_manually_triggered_jobs,
            ),
            required_pull_request_reviews: merge(
                &self.required_pull_request_reviews,
                &child.required_pull_request_reviews,
                reviews,
            ),
            required_linear_history: either(&self.required_linear_history, &child.required_linear_history),
            allow_force_pushes: either(&self.allow_force_pushes, &child.allow_force_pushes),
            allow_deletions: either(&self.allow_deletions, &child.allow_deletions),
            require_signed_commits: either(&self.require_signed_commits, &child.require_signed_commits),
            exclude: union(&self.exclude, &child.exclude),
            include: union(&self.include, &child.include),
        }
    }

    /// Anything beside `unmanaged`, `include` and `exclude` is set.
    pub fn defined(&self) -> bool {
        let bare = Policy { unmanaged: None, include: None, exclude: None, ..self.clone() };
        bare != Policy::default()
    }
}

fn reviews(a: &ReviewPolicy, b: &ReviewPolicy) -> ReviewPolicy {
    ReviewPolicy {
        dismissal_restrictions: merge(&a.dismissal_restrictions, &b.dismissal_restrictions, |a, b| {
            DismissalRestrictions { users: union(&a.users, &b.users), teams: union(&a.teams, &b.teams) }
        }),
        dismiss_stale_reviews: either(&a.dismiss_stale_reviews, &b.dismiss_stale_reviews),
        require_code_owner_reviews: either(&a.require_code_owner_reviews, &b.require_code_owner_reviews),
        required_approving_review_count: either(
            &a.required_approving_review_count,
            &b.required_approving_review_count,
        ),
        bypass_pull_request_allowances: merge(
            &a.bypass_pull_request_allowances,
            &b.bypass_pull_request_allowances,
            |a, b| BypassRestrictions { users: union(&a.users, &b.users), teams: union(&a.teams, &b.teams) },
        ),
    }
}

impl BranchProtectionConfig {
    /// The tree's own policy for a branch, without its jobs; nothing for organisations that are not in the tree.
    pub fn tree_policy(&self, org: &str, repo: &str, branch: &str) -> Result<Option<Policy>, String> {
        let Some(of_org) = self.orgs.get(org) else { return Ok(None) };
        let mut policy = self.policy().apply(&of_org.policy());
        if let Some(of_repo) = of_org.repos.get(repo) {
            policy = policy.apply(&of_repo.policy());
            if let Some(of_branch) = of_repo.branches.get(branch) {
                policy = policy.apply(of_branch);
                if policy.protect.is_none() && policy.unmanaged != Some(true) {
                    return Err(format!(
                        "branch-protection: {org}/{repo} lists branch {branch}, so protect must be true or false there; \
                         set it, or unmanaged: true"
                    ));
                }
            }
        }
        Ok(Some(policy))
    }

    /// The policy in force for a branch with these presubmits (§4.16.4); nothing if nothing is asked for.
    pub fn branch_policy(
        &self,
        org: &str,
        repo: &str,
        branch: &str,
        presubmits: &[Presubmit],
    ) -> Result<Option<Policy>, String> {
        let Some(mut policy) = self.tree_policy(org, repo, branch)? else { return Ok(None) };
        let manual = policy.require_manually_triggered_jobs == Some(true);
        let jobs = BranchRequirements::of(presubmits, branch, manual);
        let others = !jobs.required_if_present.is_empty() || !jobs.optional.is_empty();
        let by_optional = self.protect_repos_with_optional_jobs == Some(true) && others;
        if !jobs.required.is_empty() || by_optional {
            if policy.protect == Some(false) {
                if self.allow_disabled_job_policies == Some(true) {
                    return Ok(None);
                }
                return Err(format!(
                    "branch-protection: {org}/{repo}@{branch} has required jobs and protect: false; protect it, or set \
                     allow_disabled_job_policies: true"
                ));
            }
            let contexts = Some(jobs.required);
            let protect = (self.protect_tested_repos == Some(true)).then_some(true);
            policy = policy.apply(&Policy {
                required_status_checks: Some(RequiredStatusChecks { contexts, strict: None }),
                protect,
                ..Policy::default()
            });
        }
        if policy.protect == Some(false) {
            let rest = Policy { protect: None, ..policy.clone() };
            if rest.defined() && self.allow_disabled_policies != Some(true) {
                return Err(format!(
                    "branch-protection: {org}/{repo}@{branch} has settings and protect: false; protect it, or set \
                     allow_disabled_policies: true"
                ));
            }
        }
        Ok(policy.defined().then_some(policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goregex::GoRegex;
    use crate::jobs::ChangeMatcher;
    use serde_json::json;

    fn config(value: serde_json::Value) -> BranchProtectionConfig {
        serde_json::from_value(value).unwrap()
    }

    fn job(context: &str, change: impl Fn(&mut Presubmit)) -> Presubmit {
        let mut job = Presubmit { context: context.into(), always_run: true, ..Presubmit::default() };
        change(&mut job);
        job
    }

    #[test]
    fn jobs_fall_into_three_buckets() {
        let conditional =
            ChangeMatcher { run_if_changed: Some(GoRegex::new("x").unwrap()), ..Default::default() };
        let jobs = [
            job("always", |_| {}),
            job("optional", |j| j.optional = true),
            job("silent", |j| j.skip_report = true),
            job("manual", |j| j.always_run = false),
            job("changed", |j| (j.always_run, j.changes) = (false, conditional.clone())),
        ];
        let out = BranchRequirements::of(&jobs, "main", false);
        assert_eq!(out.required, ["always"]);
        assert_eq!(out.required_if_present, ["manual", "changed"]);
        assert_eq!(out.optional, ["optional", "silent"]);
        assert_eq!(BranchRequirements::of(&jobs, "main", true).required, ["always", "manual"]);
    }

    #[test]
    fn the_tree_merges_downwards_and_jobs_add_contexts() {
        let tree = config(json!({
            "protect-tested-repos": true, "enforce_admins": false, "required_status_checks": {"contexts": ["cla"]},
            "orgs": {"o": {"repos": {"r": {"branches": {"main": {"enforce_admins": true, "protect": true, "required_status_checks": {"contexts": ["b"]}}}}}}}
        }));
        let policy = tree.branch_policy("o", "r", "main", &[job("a", |_| {})]).unwrap().unwrap();
        assert_eq!((policy.enforce_admins, policy.protect), (Some(true), Some(true)));
        assert_eq!(policy.required_status_checks.unwrap().contexts.unwrap(), ["a", "b", "cla"]);
        let other = tree.branch_policy("o", "r", "dev", &[]).unwrap().unwrap();
        assert_eq!((other.protect, other.enforce_admins), (None, Some(false)));
        assert_eq!(tree.branch_policy("elsewhere", "r", "main", &[]), Ok(None));
    }

    #[test]
    fn contradictions_are_errors_unless_allowed() {
        let undecided = config(json!({"orgs": {"o": {"repos": {"r": {"branches": {"main": {}}}}}}}));
        assert!(undecided.branch_policy("o", "r", "main", &[]).unwrap_err().contains("protect must be"));
        let off = json!({"orgs": {"o": {"protect": false}}});
        assert!(
            config(off)
                .branch_policy("o", "r", "main", &[job("a", |_| {})])
                .unwrap_err()
                .contains("required jobs")
        );
        let off = json!({"allow_disabled_job_policies": true, "orgs": {"o": {"protect": false}}});
        assert_eq!(config(off).branch_policy("o", "r", "main", &[job("a", |_| {})]), Ok(None));
        let set = json!({"orgs": {"o": {"protect": false, "enforce_admins": true}}});
        assert!(config(set).branch_policy("o", "r", "main", &[]).unwrap_err().contains("has settings"));
    }
}
