//! Which organizations and repositories a component works for: the `--github-enabled-org`, `--github-enabled-repo`,
//! `--github-disabled-org`, `--github-disabled-repo` flags of hook, crier and branchprotector (prow-runtime §1.2).

use std::collections::BTreeSet;

/// The four lists. Empty lists allow everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GithubEnablement {
    /// If this or `enabled_repos` has entries, only what they name is worked for.
    pub enabled_orgs: BTreeSet<String>,
    /// `org/repo`.
    pub enabled_repos: BTreeSet<String>,
    /// Never worked for.
    pub disabled_orgs: BTreeSet<String>,
    /// `org/repo`; never worked for.
    pub disabled_repos: BTreeSet<String>,
}

/// Lists that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnablementError {
    /// Not `org/repo`.
    #[error("--github-{list}-repo {value:?} is not a repository: write it as org/repo")]
    NotARepo {
        /// `enabled` or `disabled`.
        list: &'static str,
        /// As given.
        value: String,
    },
    /// Named in both lists.
    #[error("{value:?} is both enabled and disabled for GitHub: remove it from one of the lists")]
    Both {
        /// As given.
        value: String,
    },
}

impl GithubEnablement {
    /// Refuses lists that contradict each other.
    pub fn check(&self) -> Result<(), EnablementError> {
        for (list, repos) in [("enabled", &self.enabled_repos), ("disabled", &self.disabled_repos)] {
            if let Some(value) = repos.iter().find(|r| r.parse::<prow_api::OrgRepo>().is_err()) {
                return Err(EnablementError::NotARepo { list, value: value.clone() });
            }
        }
        let both = self
            .enabled_orgs
            .intersection(&self.disabled_orgs)
            .chain(self.enabled_repos.intersection(&self.disabled_repos))
            .next();
        match both {
            Some(value) => Err(EnablementError::Both { value: value.clone() }),
            None => Ok(()),
        }
    }

    /// Whether to work for a repository.
    pub fn allows(&self, org: &str, repo: &str) -> bool {
        let full = format!("{org}/{repo}");
        let unrestricted = self.enabled_orgs.is_empty() && self.enabled_repos.is_empty();
        let enabled = unrestricted || self.enabled_orgs.contains(org) || self.enabled_repos.contains(&full);
        enabled && !self.disabled_orgs.contains(org) && !self.disabled_repos.contains(&full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(enabled: &[&str], disabled: &[&str]) -> GithubEnablement {
        let pick = |of: &[&str], repo: bool| {
            of.iter().filter(|v| v.contains('/') == repo).map(|v| (*v).to_owned()).collect()
        };
        GithubEnablement {
            enabled_orgs: pick(enabled, false),
            enabled_repos: pick(enabled, true),
            disabled_orgs: pick(disabled, false),
            disabled_repos: pick(disabled, true),
        }
    }

    #[test]
    fn enabled_lists_narrow_and_disabled_lists_take_away() {
        for (enabled, disabled, org, repo, expected) in [
            (&[][..], &[][..], "o", "r", true),
            (&["o"], &[], "o", "r", true),
            (&["o"], &[], "p", "r", false),
            (&["p/r"], &[], "p", "r", true),
            (&["p/r"], &[], "p", "s", false),
            (&[], &["o"], "o", "r", false),
            (&["o"], &["o/r"], "o", "r", false),
            (&["o"], &["o/r"], "o", "s", true),
        ] {
            let lists = lists(enabled, disabled);
            lists.check().unwrap();
            assert_eq!(lists.allows(org, repo), expected, "{enabled:?} {disabled:?} {org}/{repo}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(
            lists(&["o/r", "o"], &["o/r"]).check(),
            Err(EnablementError::Both { value: "o/r".into() })
        );
        assert!(lists(&["a/b/c"], &[]).check().is_err());
    }
}
