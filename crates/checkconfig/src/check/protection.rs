//! Branch protection that is written but not in force, since a level above it is unmanaged.

use super::names::UNMANAGED_SUBCONFIG;
use crate::finding::Finding;
use prow_config::prowconfig::{BranchProtectionConfig, Policy, ProtectedOrg, ProtectedRepo};

fn managed(policy: &Policy) -> bool {
    policy.unmanaged == Some(false)
}

fn off(policy: &Policy) -> bool {
    policy.unmanaged == Some(true)
}

/// Anything beside `unmanaged` is set.
fn settings(policy: &Policy) -> bool {
    Policy { unmanaged: None, ..policy.clone() } != Policy::default()
}

fn branches_managed(repo: &ProtectedRepo) -> bool {
    repo.branches.values().any(managed)
}

/// The repository, or a branch of it, is managed again.
fn repo_managed(repo: &ProtectedRepo) -> bool {
    managed(&repo.policy()) || branches_managed(repo)
}

fn org_managed(org: &ProtectedOrg) -> bool {
    managed(&org.policy()) || org.repos.values().any(repo_managed)
}

/// Levels that are unmanaged and have settings, or have levels below that do not say `unmanaged: false`.
pub(super) fn unmanaged(tree: &BranchProtectionConfig, out: &mut Vec<Finding>) {
    let mut warn = |key: String, message: &str| {
        let found = Finding::warning(UNMANAGED_SUBCONFIG, message);
        out.push(
            found.suggest("remove it, or set unmanaged: false at the level that is meant").in_config(key),
        );
    };
    let own = "it is unmanaged, so its settings have no effect";
    let below = "a level above it is unmanaged, so it has no effect";
    if off(&tree.policy()) {
        if settings(&tree.policy()) && !tree.orgs.values().any(org_managed) {
            warn("branch-protection".into(), own);
        }
        for (org, _) in tree.orgs.iter().filter(|(_, o)| !org_managed(o)) {
            warn(format!("branch-protection.orgs[{org:?}]"), below);
        }
    }
    for (org, of_org) in &tree.orgs {
        let at = format!("branch-protection.orgs[{org:?}]");
        if off(&of_org.policy()) {
            if settings(&of_org.policy()) && !of_org.repos.values().any(repo_managed) {
                warn(at.clone(), own);
            }
            for (repo, _) in of_org.repos.iter().filter(|(_, r)| !repo_managed(r)) {
                warn(format!("{at}.repos[{repo:?}]"), below);
            }
        }
        for (repo, of_repo) in &of_org.repos {
            let at = format!("{at}.repos[{repo:?}]");
            let repo_off = off(&of_repo.policy());
            if repo_off && settings(&of_repo.policy()) && !branches_managed(of_repo) {
                warn(at.clone(), own);
            }
            for (branch, policy) in &of_repo.branches {
                if off(policy) && settings(policy) {
                    warn(format!("{at}.branches[{branch:?}]"), own);
                } else if repo_off && !managed(policy) {
                    warn(format!("{at}.branches[{branch:?}]"), below);
                }
            }
        }
    }
}
