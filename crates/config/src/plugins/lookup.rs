//! Questions that hook and plugins ask of plugins.yaml.

use super::finish::or;
use super::settings::{CONTRIBUTING_BRANCH, CONTRIBUTING_PATH, MINIMUM_CONFIDENCE, WELCOME};
use super::{
    Approve, COMMAND_HELP_LINK, Dco, ExternalPlugin, Golint, Lgtm, MERGED_PR_THRESHOLD, PR_PROCESS_LINK,
    PluginConfig, ProminentInvite, Trigger, Welcome,
};
use serde_json::Value;

/// The first entry that lists `org/repo`, else the first that lists `org` (§7.2).
fn entry_for<'e, T>(
    entries: &'e [T],
    repos: impl Fn(&T) -> &[String],
    org: &str,
    repo: &str,
) -> Option<&'e T> {
    let full = format!("{org}/{repo}");
    let listing = |wanted: &str| entries.iter().find(|e| repos(e).iter().any(|r| r == wanted));
    listing(&full).or_else(|| listing(org))
}

// Defaults that are filled in when a setting is asked for: the file's own text stays as it was written.

impl Approve {
    /// With the links that people are given.
    pub fn with_defaults(mut self) -> Approve {
        or(&mut self.command_help_link, COMMAND_HELP_LINK);
        or(&mut self.pr_process_link, PR_PROCESS_LINK);
        self
    }
}

impl Dco {
    /// With the place of the explanation; an empty repository is the pull request's own.
    pub fn with_defaults(mut self) -> Dco {
        or(&mut self.contributing_branch, CONTRIBUTING_BRANCH);
        or(&mut self.contributing_path, CONTRIBUTING_PATH);
        self
    }
}

impl Golint {
    /// From which confidence on findings are reported.
    pub fn minimum_confidence(&self) -> f64 {
        self.minimum_confidence.unwrap_or(MINIMUM_CONFIDENCE)
    }
}

impl ProminentInvite {
    /// From how many merged pull requests on contributors are invited.
    pub fn merged_pr_threshold(&self) -> i64 {
        self.merged_pr_threshold.unwrap_or(MERGED_PR_THRESHOLD)
    }
}

impl Welcome {
    /// The greeting, the usual one unless one is set.
    pub fn message_template(&self) -> &str {
        if self.message_template.is_empty() { WELCOME } else { &self.message_template }
    }
}

impl PluginConfig {
    /// Plugins of a repository: the org's unless the repository is excluded, then its own (§7.1).
    pub fn enabled(&self, org: &str, repo: &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        if let Some(of_org) = self.plugins.get(org).filter(|p| !p.excluded_repos.iter().any(|r| r == repo)) {
            names.extend(of_org.plugins.iter().map(String::as_str));
        }
        if let Some(own) = self.plugins.get(&format!("{org}/{repo}")) {
            names.extend(own.plugins.iter().map(String::as_str));
        }
        names
    }

    /// Settings of trigger for a repository; all zero when none are listed.
    pub fn trigger_for(&self, org: &str, repo: &str) -> Trigger {
        entry_for(&self.triggers, |t| &t.repos, org, repo).cloned().unwrap_or_default()
    }

    /// Settings of approve for a repository, with the links that people are given.
    pub fn approve_for(&self, org: &str, repo: &str) -> Approve {
        entry_for(&self.approve, |t| &t.repos, org, repo).cloned().unwrap_or_default().with_defaults()
    }

    /// Settings of lgtm for a repository.
    pub fn lgtm_for(&self, org: &str, repo: &str) -> Lgtm {
        entry_for(&self.lgtm, |t| &t.repos, org, repo).cloned().unwrap_or_default()
    }

    /// Settings of dco for a repository, as written; see [`Dco::with_defaults`].
    pub fn dco_for(&self, org: &str, repo: &str) -> Dco {
        let keys = [format!("{org}/{repo}"), org.to_owned(), "*".to_owned()];
        keys.iter().find_map(|key| self.dco.get(key)).cloned().unwrap_or_default()
    }

    /// Other servers that want an event of this type from a repository: the org's, then its own.
    pub fn external_plugins_for(&self, org: &str, repo: &str, event: &str) -> Vec<&ExternalPlugin> {
        [org.to_owned(), format!("{org}/{repo}")]
            .iter()
            .filter_map(|key| self.external_plugins.get(key))
            .flatten()
            .filter(|p| p.events.is_empty() || p.events.iter().any(|e| e == event))
            .collect()
    }

    /// A section of the file as generic values, as it was written.
    pub fn raw(&self, section: &str) -> Option<&Value> {
        self.document.get(section)
    }
}
