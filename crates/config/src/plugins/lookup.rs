//! Questions that hook and plugins ask of plugins.yaml.

use super::finish::or;
use super::settings::{CONTRIBUTING_BRANCH, CONTRIBUTING_PATH, MINIMUM_CONFIDENCE, WELCOME};
use super::{
    Approve, COMMAND_HELP_LINK, Dco, ExternalPlugin, Golint, Lgtm, MERGED_PR_THRESHOLD, OwnersFilenames,
    PR_PROCESS_LINK, PluginConfig, ProminentInvite, RestrictedLabel, Trigger, Welcome,
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

fn add_new<T: Clone + PartialEq>(to: &mut Vec<T>, from: &[T]) {
    for item in from {
        if !to.contains(item) {
            to.push(item.clone());
        }
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

    /// Labels that not everyone may set in a repository: those of `*`, the organisation and the repository, those of
    /// one label united. Case does not tell labels apart.
    pub fn restricted_labels_for(&self, org: &str, repo: &str) -> Vec<RestrictedLabel> {
        let mut out: Vec<RestrictedLabel> = Vec::new();
        let keys = ["*".to_owned(), org.to_owned(), format!("{org}/{repo}")];
        for entry in keys.iter().filter_map(|key| self.label.restricted_labels.get(key)).flatten() {
            match out.iter_mut().find(|known| known.label.eq_ignore_ascii_case(&entry.label)) {
                None => out.push(entry.clone()),
                Some(known) => {
                    add_new(&mut known.allowed_teams, &entry.allowed_teams);
                    add_new(&mut known.allowed_users, &entry.allowed_users);
                    add_new(&mut known.assign_on, &entry.assign_on);
                }
            }
        }
        out
    }

    /// Names of the OWNERS and the OWNERS_ALIASES file of a repository. What is configured is taken as it is, even if
    /// one name is empty.
    pub fn owners_filenames(&self, org: &str, repo: &str) -> OwnersFilenames {
        let names = &self.owners.filenames;
        let found = names.get(&format!("{org}/{repo}")).or_else(|| names.get(org));
        found.cloned().unwrap_or_else(|| OwnersFilenames {
            owners: "OWNERS".into(),
            owners_aliases: "OWNERS_ALIASES".into(),
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: Value) -> PluginConfig {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn restrictions_of_all_levels_are_united() {
        let config = config(json!({"label": {"restricted_labels": {
            "*": [{"label": "Hold", "allowed_teams": ["a"]}],
            "o": [{"label": "hold", "allowed_teams": ["a", "b"], "assign_on": [{"label": "x"}]}],
            "o/r": [{"label": "HOLD", "allowed_users": ["u"]}, {"label": "other"}],
        }}}));
        let names = |repo| {
            let of = config.restricted_labels_for("o", repo);
            of.iter()
                .map(|l| (l.label.clone(), l.allowed_teams.join(","), l.allowed_users.join(",")))
                .collect::<Vec<_>>()
        };
        let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(names("r"), [text("Hold", "a,b", "u"), text("other", "", "")]);
        assert_eq!(names("s"), [text("Hold", "a,b", "")]);
        assert_eq!(config.restricted_labels_for("p", "r")[0].allowed_teams, ["a"]);
    }

    #[test]
    fn owners_files_have_their_names() {
        let config =
            config(json!({"owners": {"filenames": {"o": {"owners": "O"}, "o/r": {"owners_aliases": "A"}}}}));
        let names = |org, repo| {
            let found = config.owners_filenames(org, repo);
            (found.owners, found.owners_aliases)
        };
        assert_eq!(names("o", "r"), (String::new(), "A".into()));
        assert_eq!(names("o", "s"), ("O".into(), String::new()));
        assert_eq!(names("p", "r"), ("OWNERS".into(), "OWNERS_ALIASES".into()));
    }

    #[test]
    fn settings_that_are_not_there_have_their_defaults() {
        let config = config(json!({"dco": {"o": {"contributing_branch": "main"}}}));
        let dco = config.dco_for("o", "r").with_defaults();
        assert_eq!(
            (dco.contributing_branch.as_str(), dco.contributing_path.as_str()),
            ("main", CONTRIBUTING_PATH)
        );
        assert_eq!(config.approve_for("o", "r").pr_process_link, PR_PROCESS_LINK);
        assert_eq!(Welcome::default().message_template(), WELCOME);
        let greeting = crate::GoTemplate::new(WELCOME).unwrap();
        let who = json!({"AuthorLogin": "ada", "AuthorName": "Ada", "Org": "o", "Repo": "r"});
        assert!(greeting.render(&who).unwrap().starts_with("Welcome @ada!"));
    }
}
