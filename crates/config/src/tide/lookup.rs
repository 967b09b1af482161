//! How a repository's pull requests are merged, and the other per-repository settings (prow-config §4.15, §4.15.2).

use crate::prowconfig::{
    MergeBlocksPolicy, MergeCommitTemplate, MergeMethod, OrgMergeMethod, RepoMergeMethod, Tide, TideQuery,
    by_repo,
};

impl Tide {
    /// The queries that are about a repository, in their order.
    pub fn queries_for(&self, org: &str, repo: &str) -> Vec<&TideQuery> {
        self.queries.iter().filter(|query| query.is_for(org, repo)).collect()
    }

    /// How pull requests to a branch are merged (§4.15.2). An empty branch asks for the repository as a whole; patterns
    /// such as `.*` match it, too (trap 33).
    pub fn merge_method(&self, org: &str, repo: &str, branch: &str) -> MergeMethod {
        let methods = &self.merge_method;
        if !branch.is_empty()
            && let Some(OrgMergeMethod::Method(method)) = methods.get(&format!("{org}/{repo}@{branch}"))
        {
            return *method;
        }
        let of_repo = match methods.get(org) {
            Some(OrgMergeMethod::Repos(repos)) => repos.get(repo).or_else(|| repos.get("*")),
            _ => None,
        };
        if let Some(RepoMergeMethod::Branches(branches)) = of_repo {
            let matching = |p: &str| crate::GoRegex::new(p).is_ok_and(|re| re.is_match(branch));
            if let Some((_, method)) = branches.iter().find(|(pattern, _)| matching(pattern)) {
                return *method;
            }
        }
        if let Some(OrgMergeMethod::Method(method)) = methods.get(&format!("{org}/{repo}")) {
            return *method;
        }
        if let Some(RepoMergeMethod::Method(method)) = of_repo {
            return *method;
        }
        match methods.get(org) {
            Some(OrgMergeMethod::Method(method)) => *method,
            _ => MergeMethod::Merge,
        }
    }

    /// How many pull requests may be tested and merged together: 0 is unlimited, -1 none.
    pub fn batch_limit(&self, org: &str, repo: &str) -> i64 {
        by_repo(&self.batch_size_limit, org, repo).copied().unwrap_or(0)
    }

    /// Whether a batch that is being tested goes on when more pull requests become ready.
    pub fn keeps_batches(&self, org: &str, repo: &str) -> bool {
        by_repo(&self.prioritize_existing_batches, org, repo).copied().unwrap_or(true)
    }

    /// What to do about merges that GitHub blocks.
    pub fn merge_blocks(&self, org: &str, repo: &str) -> MergeBlocksPolicy {
        by_repo(&self.github_merge_blocks_policy, org, repo).copied().unwrap_or(MergeBlocksPolicy::Permit)
    }

    /// Texts of merge commits. There is no entry for all.
    pub fn commit_template(&self, org: &str, repo: &str) -> Option<&MergeCommitTemplate> {
        let templates = &self.merge_commit_template;
        templates.get(&format!("{org}/{repo}")).or_else(|| templates.get(org))
    }

    /// Where Tide's own status leads; empty if nowhere.
    pub fn target_url(&self, org: &str, repo: &str) -> &str {
        by_repo(&self.target_urls, org, repo).map_or("", String::as_str)
    }

    /// Base of the pull request dashboard; empty if there is none.
    pub fn pr_status_base_url(&self, org: &str, repo: &str) -> &str {
        by_repo(&self.pr_status_base_urls, org, repo).map_or("", String::as_str)
    }
}
