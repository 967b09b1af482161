//! Sets of repositories, of which some are named and others are all of an organisation but a few.

use prow_config::PluginConfig;
use prow_config::prowconfig::TideQuery;
use std::collections::{BTreeMap, BTreeSet};

/// A set of repositories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrgRepos {
    /// Whole organisations, each without these (`org/repo`).
    pub orgs: BTreeMap<String, BTreeSet<String>>,
    /// Repositories (`org/repo`).
    pub repos: BTreeSet<String>,
}

/// An organisation without some repositories, or a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Name, and what is left out.
    Org(String, BTreeSet<String>),
    /// `org/repo`.
    Repo(String),
}

impl Place {
    /// `org` or `org/repo`.
    pub fn name(&self) -> &str {
        match self {
            Place::Org(name, _) | Place::Repo(name) => name,
        }
    }

    /// As it is said in a sentence.
    pub fn said(&self) -> String {
        /// So many exceptions are named.
        const NAMED: usize = 3;
        match self {
            Place::Org(org, without) if !without.is_empty() => {
                let mut names: Vec<String> = without.iter().take(NAMED).cloned().collect();
                if without.len() > NAMED {
                    names.push(format!("{} more", without.len() - NAMED));
                }
                format!("{org} (all but {})", crate::text::list(&names))
            }
            place => place.name().to_owned(),
        }
    }
}

pub(crate) fn org_of(repo: &str) -> &str {
    repo.split('/').next().unwrap_or_default()
}

impl OrgRepos {
    /// The repositories that a set of Tide queries is about. What one query leaves out of an organisation, another
    /// may take in.
    pub fn of_queries<'q>(queries: impl Iterator<Item = &'q TideQuery>) -> OrgRepos {
        let mut out = OrgRepos::default();
        for query in queries {
            for org in &query.orgs {
                let excluded: BTreeSet<String> =
                    query.excluded_repos.iter().filter(|r| org_of(r) == org).cloned().collect();
                match out.orgs.get_mut(org) {
                    Some(known) => known.retain(|repo| excluded.contains(repo)),
                    None => {
                        out.orgs.insert(org.clone(), excluded);
                    }
                }
            }
            out.repos.extend(query.repos.iter().cloned());
        }
        let named = out.repos.clone();
        out.orgs.values_mut().for_each(|excluded| excluded.retain(|repo| !named.contains(repo)));
        out
    }

    /// Where a plugin is enabled.
    pub fn of_plugin(plugins: &PluginConfig, plugin: &str) -> OrgRepos {
        let mut out = OrgRepos::default();
        for (key, enabled) in &plugins.plugins {
            if !enabled.plugins.iter().any(|p| p == plugin) {
                continue;
            }
            if key.contains('/') {
                out.repos.insert(key.clone());
            } else {
                let excluded = enabled.excluded_repos.iter().map(|repo| format!("{key}/{repo}")).collect();
                out.orgs.insert(key.clone(), excluded);
            }
        }
        let named = out.repos.clone();
        out.orgs.values_mut().for_each(|excluded| excluded.retain(|repo| !named.contains(repo)));
        out
    }

    /// Where an external plugin is enabled.
    pub fn of_external_plugin(plugins: &PluginConfig, plugin: &str) -> OrgRepos {
        let mut out = OrgRepos::default();
        for (key, _) in
            plugins.external_plugins.iter().filter(|(_, list)| list.iter().any(|p| p.name == plugin))
        {
            if key.contains('/') {
                out.repos.insert(key.clone());
            } else {
                out.orgs.insert(key.clone(), BTreeSet::new());
            }
        }
        out
    }

    /// Whether a repository is in the set.
    pub fn contains(&self, repo: &str) -> bool {
        self.repos.contains(repo)
            || self.orgs.get(org_of(repo)).is_some_and(|without| !without.contains(repo))
    }

    /// What is in this set and not in the other.
    pub fn without(&self, other: &OrgRepos) -> OrgRepos {
        let mut out = OrgRepos::default();
        for (org, excluded) in &self.orgs {
            if let Some(theirs) = other.orgs.get(org) {
                // Nothing of it is left but what the other leaves out.
                out.repos.extend(theirs.iter().filter(|r| !excluded.contains(*r)).cloned());
            } else {
                let named = other.repos.iter().filter(|r| org_of(r) == org);
                out.orgs.insert(org.clone(), excluded.iter().chain(named).cloned().collect());
            }
        }
        out.repos.extend(self.repos.iter().cloned());
        out.repos.retain(|repo| !other.contains(repo));
        out
    }

    /// What is in both sets.
    pub fn and(&self, other: &OrgRepos) -> OrgRepos {
        let mut out = OrgRepos::default();
        for (org, excluded) in &self.orgs {
            if let Some(theirs) = other.orgs.get(org) {
                out.orgs.insert(org.clone(), excluded.union(theirs).cloned().collect());
            }
        }
        let named = self.repos.iter().chain(&other.repos);
        out.repos.extend(named.filter(|repo| self.contains(repo) && other.contains(repo)).cloned());
        let covered: Vec<String> =
            out.repos.iter().filter(|r| out.orgs.contains_key(org_of(r))).cloned().collect();
        for repo in covered {
            // The organisation has it already, or has it left out by one of the two that names it elsewhere.
            if let Some(excluded) = out.orgs.get_mut(org_of(&repo)) {
                excluded.remove(&repo);
            }
            out.repos.remove(&repo);
        }
        out
    }

    /// What is in one of the sets.
    pub fn or(&self, other: &OrgRepos) -> OrgRepos {
        let mut out = OrgRepos::default();
        for (org, excluded) in self.orgs.iter().chain(&other.orgs) {
            let left = excluded.iter().filter(|repo| !self.contains(repo) && !other.contains(repo));
            out.orgs.insert(org.clone(), left.cloned().collect());
        }
        let named = self.repos.iter().chain(&other.repos).filter(|repo| !out.contains(repo));
        let named: Vec<String> = named.cloned().collect();
        out.repos.extend(named);
        out
    }

    /// The parts of the set: organisations, then repositories.
    pub fn places(&self) -> Vec<Place> {
        let orgs = self.orgs.iter().map(|(org, without)| Place::Org(org.clone(), without.clone()));
        orgs.chain(self.repos.iter().cloned().map(Place::Repo)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(orgs: &[(&str, &[&str])], repos: &[&str]) -> OrgRepos {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        OrgRepos {
            orgs: orgs.iter().map(|(org, without)| ((*org).to_owned(), owned(without))).collect(),
            repos: owned(repos),
        }
    }

    /// Whatever the sets are, a repository is in the result if and only if the rule says so.
    #[test]
    fn sets_mean_what_they_mean_for_every_repository() {
        let sets = [
            set(&[], &[]),
            set(&[("o", &[])], &[]),
            set(&[("o", &["o/a"])], &[]),
            set(&[("o", &["o/a", "o/b"])], &["p/a"]),
            set(&[("p", &[]), ("o", &["o/b"])], &[]),
            set(&[], &["o/a"]),
            set(&[], &["o/a", "o/b", "p/b"]),
            set(&[("p", &["p/a"])], &["o/b"]),
        ];
        for one in &sets {
            for other in &sets {
                for repo in ["o/a", "o/b", "o/c", "p/a", "p/b", "q/a"] {
                    let (x, y) = (one.contains(repo), other.contains(repo));
                    assert_eq!(
                        one.without(other).contains(repo),
                        x && !y,
                        "{repo} in {one:?} without {other:?}"
                    );
                    assert_eq!(one.and(other).contains(repo), x && y, "{repo} in {one:?} and {other:?}");
                    assert_eq!(one.or(other).contains(repo), x || y, "{repo} in {one:?} or {other:?}");
                }
            }
        }
    }

    #[test]
    fn an_organisation_that_two_queries_name_lacks_what_both_leave_out() {
        let query = |orgs: &[&str], excluded: &[&str], repos: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
            TideQuery {
                orgs: owned(orgs),
                excluded_repos: owned(excluded),
                repos: owned(repos),
                ..TideQuery::default()
            }
        };
        let queries = [
            query(&["o"], &["o/a", "o/b", "o/c"], &[]),
            query(&["o"], &["o/a", "o/b"], &[]),
            query(&[], &[], &["o/b"]),
        ];
        let found = OrgRepos::of_queries(queries.iter());
        assert!(!found.contains("o/a") && found.contains("o/b") && found.contains("o/c"), "{found:?}");
    }
}
