//! Which contexts a pull request must have passed before it is merged (prow-config §4.15.3).

use crate::GoRegex;
use crate::jobs::Presubmit;
use crate::prowconfig::{BranchRequirements, ContextPolicy, ContextPolicyOptions, ProwConfig};
use std::collections::BTreeSet;

/// Why no policy can be made of what is configured for a branch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextsError {
    /// A context is in two lists.
    #[error("{branch}: context {context:?} is both {one} and {other}; take it out of one of them")]
    Twice {
        /// `org/repo@branch`.
        branch: String,
        /// The context.
        context: String,
        /// The first list.
        one: &'static str,
        /// The second list.
        other: &'static str,
    },
    /// An optional pattern matches what must pass.
    #[error(
        "{branch}: optional-regex-contexts {pattern:?} matches the {list} context {context:?}; narrow it"
    )]
    Overreaching {
        /// `org/repo@branch`.
        branch: String,
        /// As written.
        pattern: String,
        /// The context.
        context: String,
        /// What it is otherwise.
        list: &'static str,
    },
    /// A pattern is none.
    #[error("{branch}: optional-regex-contexts: {reason}")]
    Pattern {
        /// `org/repo@branch`.
        branch: String,
        /// What is wrong.
        reason: String,
    },
}

/// The policy in force for a branch. Lists are sorted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contexts {
    /// Must pass.
    pub required: Vec<String>,
    /// Must pass if they exist.
    pub required_if_present: Vec<String>,
    /// May fail.
    pub optional: Vec<String>,
    /// May fail, by pattern.
    pub optional_patterns: Vec<GoRegex>,
    /// What is in none of the lists may fail.
    pub skip_unknown: bool,
    /// Contexts still pending on a batch's pull requests become successes when it is merged.
    pub overwrite_pending: bool,
    /// Branch protection was asked for and could not be made out; its contexts are missing here.
    pub without_protection: Option<String>,
}

fn union(parent: &[String], child: &[String]) -> Vec<String> {
    parent.iter().chain(child).collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

impl ContextPolicy {
    /// This policy with one of a lower level laid over: switches are replaced, lists are united and sorted.
    pub fn apply(&self, child: &ContextPolicy) -> ContextPolicy {
        ContextPolicy {
            skip_unknown_contexts: child.skip_unknown_contexts.or(self.skip_unknown_contexts),
            required_contexts: union(&self.required_contexts, &child.required_contexts),
            required_if_present_contexts: union(
                &self.required_if_present_contexts,
                &child.required_if_present_contexts,
            ),
            optional_contexts: union(&self.optional_contexts, &child.optional_contexts),
            optional_regex_contexts: union(&self.optional_regex_contexts, &child.optional_regex_contexts),
            from_branch_protection: child.from_branch_protection.or(self.from_branch_protection),
            overwrite_pending_contexts: child.overwrite_pending_contexts.or(self.overwrite_pending_contexts),
        }
    }
}

impl ContextPolicyOptions {
    /// What `context_options` says about a branch, merged downwards. Where no level below the root is about it, the
    /// root's lists stay in their own order.
    pub fn policy_for(&self, org: &str, repo: &str, branch: &str) -> ContextPolicy {
        let mut policy = self.policy();
        if let Some(of_org) = self.orgs.get(org) {
            policy = policy.apply(&of_org.policy());
            if let Some(of_repo) = of_org.repos.get(repo) {
                policy = policy.apply(&of_repo.policy());
                if let Some(of_branch) = of_repo.branches.get(branch) {
                    policy = policy.apply(of_branch);
                }
            }
        }
        policy
    }
}

impl Contexts {
    /// The policy in force for a branch with these presubmits, those of the repository itself among them.
    pub fn of(
        prow: &ProwConfig,
        org: &str,
        repo: &str,
        branch: &str,
        presubmits: &[Presubmit],
    ) -> Result<Contexts, ContextsError> {
        let options = prow.tide.context_options.policy_for(org, repo, branch);
        let (mut manual, mut protected, mut without_protection) = (false, Vec::new(), None);
        if options.from_branch_protection == Some(true) {
            match prow.branch_protection.branch_policy(org, repo, branch, presubmits) {
                Ok(Some(policy)) => {
                    manual = policy.require_manually_triggered_jobs == Some(true);
                    if policy.protect == Some(true) {
                        protected =
                            policy.required_status_checks.and_then(|c| c.contexts).unwrap_or_default();
                    }
                }
                Ok(None) => {}
                Err(reason) => without_protection = Some(reason),
            }
        }
        let jobs = BranchRequirements::of(presubmits, branch, manual);
        let mut optional_patterns = Vec::with_capacity(options.optional_regex_contexts.len());
        for pattern in &options.optional_regex_contexts {
            optional_patterns.push(GoRegex::new(pattern).map_err(|error| ContextsError::Pattern {
                branch: format!("{org}/{repo}@{branch}"),
                reason: error.to_string(),
            })?);
        }
        let out = Contexts {
            required: union(&union(&options.required_contexts, &protected), &jobs.required),
            required_if_present: union(&options.required_if_present_contexts, &jobs.required_if_present),
            optional: union(&options.optional_contexts, &jobs.optional),
            optional_patterns,
            skip_unknown: options.skip_unknown_contexts == Some(true),
            overwrite_pending: options.overwrite_pending_contexts == Some(true),
            without_protection,
        };
        out.check(&format!("{org}/{repo}@{branch}"))?;
        Ok(out)
    }

    fn check(&self, branch: &str) -> Result<(), ContextsError> {
        let lists = [
            ("required", &self.required),
            ("required-if-present", &self.required_if_present),
            ("optional", &self.optional),
        ];
        for (i, (one, first)) in lists.iter().enumerate() {
            for (other, second) in &lists[i + 1..] {
                if let Some(context) = first.iter().find(|c| second.binary_search(c).is_ok()) {
                    return Err(ContextsError::Twice {
                        branch: branch.to_owned(),
                        context: context.clone(),
                        one,
                        other,
                    });
                }
            }
        }
        for pattern in &self.optional_patterns {
            for (list, contexts) in &lists[..2] {
                if let Some(context) = contexts.iter().find(|c| pattern.is_match(c)) {
                    return Err(ContextsError::Overreaching {
                        branch: branch.to_owned(),
                        pattern: pattern.as_str().to_owned(),
                        context: context.clone(),
                        list,
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether a context that a pull request has may fail.
    pub fn is_optional(&self, context: &str) -> bool {
        let listed = |list: &[String]| list.binary_search_by(|c| c.as_str().cmp(context)).is_ok();
        if listed(&self.optional) || self.optional_patterns.iter().any(|p| p.is_match(context)) {
            return true;
        }
        if listed(&self.required) || listed(&self.required_if_present) {
            return false;
        }
        self.skip_unknown
    }

    /// The required contexts that are not among these, sorted.
    pub fn missing<'s>(&'s self, present: &[impl AsRef<str>]) -> Vec<&'s str> {
        let there: BTreeSet<&str> = present.iter().map(AsRef::as_ref).collect();
        self.required.iter().map(String::as_str).filter(|c| !there.contains(c)).collect()
    }
}
