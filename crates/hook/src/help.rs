//! `/plugin-help`: which plugins are on where, and what people can write (prow-runtime §2.6).

use crate::Deps;
use futures::future::join_all;
use jiff::Timestamp;
use parking_lot::Mutex;
use prow_api::OrgRepo;
use prow_config::{PluginConfig, Snapshot};
use prow_plugins::help::{Help, PluginHelp};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the repositories of an organization are remembered.
const REPOS_FOR: Duration = Duration::from_secs(3600);
/// How long GitHub may take to tell them; what it does not tell in time is left out.
const REPOS_WAIT: Duration = Duration::from_secs(5);
/// How long external plugins may take to answer, together.
const EXTERNAL_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct HelpSource {
    deps: Deps,
    http: reqwest::Client,
    // By org, with the time of asking.
    repos: Mutex<BTreeMap<String, (Timestamp, Vec<String>)>>,
    // One asks, the others wait for the same answer.
    asking: tokio::sync::Mutex<()>,
}

impl HelpSource {
    pub(crate) fn new(deps: Deps, http: reqwest::Client) -> HelpSource {
        HelpSource { deps, http, repos: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// The whole answer, for the configuration as it is now.
    pub(crate) async fn help(&self) -> Help {
        let config = self.deps.config.snapshot();
        let wanted = orgs(&config.plugins);
        tokio::select! {
            () = self.learn_repos(&wanted) => {}
            () = self.deps.clock.sleep(REPOS_WAIT) => {
                tracing::warn!("plugin help does not wait longer for the repositories of organizations");
            }
        }
        let orgs = self.known_repos(&wanted);
        let all_repos = all_repos(&config.plugins, &orgs);
        let all_names: Vec<&str> = self.deps.registry.names().collect();
        Help {
            repo_plugins: repo_plugins(&config.plugins, &all_names),
            repo_external_plugins: repo_external_plugins(&config.plugins),
            plugin_help: self.plugin_help(&config, &all_names),
            external_plugin_help: self.external_help(&config.plugins, &orgs).await,
            all_repos,
        }
    }

    fn plugin_help(&self, config: &Snapshot, names: &[&str]) -> BTreeMap<String, PluginHelp> {
        let mut out = BTreeMap::new();
        for name in names {
            if let Some(plugin) = self.deps.registry.get(name) {
                let on = config.plugins.plugins.iter().filter(|(_, p)| p.plugins.iter().any(|n| n == name));
                let repos: Vec<OrgRepo> = on.map(|(key, _)| split(key)).collect();
                out.insert((*name).to_owned(), plugin.help(config, &repos));
            }
        }
        out
    }

    /// Asks GitHub for repositories that are not known, or not known lately.
    async fn learn_repos(&self, orgs: &BTreeSet<&str>) {
        let _one_asks = self.asking.lock().await;
        let now = self.deps.clock.now();
        for org in orgs {
            if self.repos.lock().get(*org).is_some_and(|(asked, _)| now < *asked + REPOS_FOR) {
                continue;
            }
            match self.deps.github.get_repos(org).await {
                Ok(repos) => {
                    let names = repos.into_iter().map(|r| r.name).collect();
                    self.repos.lock().insert((*org).to_owned(), (now, names));
                }
                Err(error) => {
                    tracing::warn!(org, %error, "plugin help cannot list the repositories of an organization");
                }
            }
        }
    }

    fn known_repos(&self, orgs: &BTreeSet<&str>) -> BTreeMap<String, Vec<String>> {
        let mut known = self.repos.lock();
        known.retain(|org, _| orgs.contains(org.as_str()));
        known.iter().map(|(org, (_, repos))| (org.clone(), repos.clone())).collect()
    }

    async fn external_help(
        &self,
        plugins: &PluginConfig,
        orgs: &BTreeMap<String, Vec<String>>,
    ) -> BTreeMap<String, PluginHelp> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Repo {
            org: String,
            repo: String,
        }
        let asked = external_plugins(plugins, orgs).into_iter().map(|(name, external)| async move {
            let repos: Vec<Repo> =
                external.repos.into_iter().map(|r| Repo { org: r.org, repo: r.repo }).collect();
            let url = format!("{}/help", external.endpoint.trim_end_matches('/'));
            let ask = async {
                let answer = self.http.post(url).json(&repos).send().await?.error_for_status()?;
                answer.json::<PluginHelp>().await
            };
            let answer = tokio::select! {
                answer = ask => answer,
                () = self.deps.clock.sleep(EXTERNAL_WAIT) => return None,
            };
            match answer {
                Ok(mut help) => {
                    help.events = external.events.into_iter().collect();
                    Some((name, help))
                }
                Err(error) => {
                    tracing::debug!(plugin = name, error = %error.without_url(), "an external plugin gave no help");
                    None
                }
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

/// An external plugin over all places where it is configured.
#[derive(Debug, Default, PartialEq)]
struct External {
    endpoint: String,
    events: BTreeSet<String>,
    repos: Vec<OrgRepo>,
}

fn external_plugins(
    plugins: &PluginConfig,
    orgs: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, External> {
    let mut out: BTreeMap<String, External> = BTreeMap::new();
    for (key, externals) in &plugins.external_plugins {
        for plugin in externals {
            let entry = out.entry(plugin.name.clone()).or_default();
            entry.endpoint.clone_from(&plugin.endpoint);
            entry.events.extend(plugin.events.iter().cloned());
            match key.split_once('/') {
                Some((org, repo)) => entry.repos.push(OrgRepo::new(org, repo)),
                None => entry.repos.extend(orgs.get(key).into_iter().flatten().map(|r| OrgRepo::new(key, r))),
            }
        }
    }
    out
}

/// Keys without a slash.
fn orgs(plugins: &PluginConfig) -> BTreeSet<&str> {
    let keys = plugins.plugins.keys().chain(plugins.external_plugins.keys());
    keys.map(String::as_str).filter(|key| !key.contains('/')).collect()
}

fn all_repos(plugins: &PluginConfig, orgs: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut all: BTreeSet<String> = BTreeSet::new();
    for key in plugins.plugins.keys().chain(plugins.external_plugins.keys()) {
        match orgs.get(key) {
            Some(repos) => all.extend(repos.iter().map(|repo| format!("{key}/{repo}"))),
            None if key.contains('/') => {
                all.insert(key.clone());
            }
            None => {}
        }
    }
    all.into_iter().collect()
}

fn repo_plugins(plugins: &PluginConfig, all: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> =
        plugins.plugins.iter().map(|(key, p)| (key.clone(), p.plugins.clone())).collect();
    out.insert(String::new(), all.iter().map(|n| (*n).to_owned()).collect());
    out
}

fn repo_external_plugins(plugins: &PluginConfig) -> BTreeMap<String, Vec<String>> {
    let names = |externals: &[prow_config::plugins::ExternalPlugin]| -> Vec<String> {
        externals.iter().map(|p| p.name.clone()).collect()
    };
    let mut out: BTreeMap<String, Vec<String>> =
        plugins.external_plugins.iter().map(|(key, e)| (key.clone(), names(e))).collect();
    let all: BTreeSet<String> = plugins.external_plugins.values().flat_map(|e| names(e)).collect();
    out.insert(String::new(), all.into_iter().collect());
    out
}

fn split(key: &str) -> OrgRepo {
    let (org, repo) = key.split_once('/').unwrap_or((key, ""));
    OrgRepo::new(org, repo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_config::plugins::{ExternalPlugin, OrgPlugins};

    #[test]
    fn organizations_are_shown_as_their_repositories() {
        let on = |names: &[&str]| OrgPlugins {
            plugins: names.iter().map(|n| (*n).to_owned()).collect(),
            ..OrgPlugins::default()
        };
        let needs_rebase = ExternalPlugin {
            name: "needs-rebase".into(),
            endpoint: "http://needs-rebase".into(),
            events: vec!["pull_request".into()],
        };
        let plugins = PluginConfig {
            plugins: [("o".into(), on(&["trigger"])), ("p/x".into(), on(&["cat"]))].into(),
            external_plugins: [("o".into(), vec![needs_rebase])].into(),
            ..PluginConfig::default()
        };
        let known = BTreeMap::from([("o".to_owned(), vec!["b".to_owned(), "a".to_owned()])]);
        assert_eq!(orgs(&plugins), BTreeSet::from(["o"]));
        assert_eq!(all_repos(&plugins, &known), ["o/a", "o/b", "p/x"]);
        assert_eq!(all_repos(&plugins, &BTreeMap::new()), ["p/x"]);
        assert_eq!(repo_plugins(&plugins, &["cat", "trigger"])[""], ["cat", "trigger"]);
        assert_eq!(repo_plugins(&plugins, &[])["o"], ["trigger"]);
        assert_eq!(repo_external_plugins(&plugins)[""], ["needs-rebase"]);
        let external = &external_plugins(&plugins, &known)["needs-rebase"];
        assert_eq!(external.repos, [OrgRepo::new("o", "b"), OrgRepo::new("o", "a")]);
        assert_eq!(external.events, BTreeSet::from(["pull_request".to_owned()]));
    }
}
