//! Warnings about plugins.yaml.

use super::names::*;
use super::orgrepos::{OrgRepos, org_of};
use crate::finding::Finding;
use crate::text::list;
use prow_config::jobs::Source;
use prow_config::{PluginConfig, Snapshot, did_you_mean};
use std::collections::{BTreeMap, BTreeSet};

/// Every plugin of Prow (prow-config §7.1).
const PLUGINS: [&str; 52] = [
    "approve",
    "assign",
    "blockade",
    "blunderbuss",
    "branchcleaner",
    "bugzilla",
    "buildifier",
    "cat",
    "cherry-pick-approved",
    "cherry-pick-unapproved",
    "cla",
    "config-updater",
    "dco",
    "dog",
    "golint",
    "goose",
    "heart",
    "help",
    "hold",
    "invalidcommitmsg",
    "issue-management",
    "jira",
    "label",
    "lgtm",
    "lifecycle",
    "merge-method-comment",
    "mergecommitblocker",
    "milestone",
    "milestoneapplier",
    "milestonestatus",
    "override",
    "owners-label",
    "pony",
    "project",
    "project-manager",
    "release-note",
    "require-matching-label",
    "retitle",
    "rifle",
    "shrug",
    "sigmention",
    "size",
    "skip",
    "slackevents",
    "stage",
    "testfreeze",
    "trick-or-treat",
    "trigger",
    "verify-owners",
    "welcome",
    "wip",
    "yuks",
];

/// Plugins that read OWNERS files.
const OWNERS_READERS: [&str; 4] = ["approve", "blunderbuss", "rifle", "owners-label"];

/// Always checked: names that are no plugins. Hook passes over them, so what they were meant to do never happens.
pub(super) fn strangers(plugins: &PluginConfig, out: &mut Vec<Finding>) {
    for (place, enabled) in &plugins.plugins {
        for name in enabled.plugins.iter().filter(|name| !PLUGINS.contains(&name.as_str())) {
            let finding = Finding::error("load", format!("there is no plugin {name:?}"));
            let finding = match did_you_mean(name, PLUGINS) {
                Some(meant) => finding.suggest(format!("did you mean {meant:?}?")),
                None => {
                    finding.suggest("a plugin that is a server of its own belongs under external_plugins")
                }
            };
            out.push(finding.in_plugins(format!("plugins[{place:?}]")));
        }
    }
}

fn key_of(plugins: &PluginConfig, place: &str) -> String {
    let key = if plugins.plugins.contains_key(place) { place } else { org_of(place) };
    format!("plugins[{key:?}]")
}

pub(super) fn missing_trigger(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    let jobs = &snapshot.jobs;
    let mut repos: BTreeMap<&str, usize> = BTreeMap::new();
    for (repo, n) in jobs
        .presubmits
        .iter()
        .map(|(r, l)| (r, l.len()))
        .chain(jobs.postsubmits.iter().map(|(r, l)| (r, l.len())))
    {
        *repos.entry(repo).or_default() += n;
    }
    let enabled = OrgRepos::of_plugin(&snapshot.plugins, "trigger");
    for (repo, jobs_there) in repos.into_iter().filter(|(repo, _)| !enabled.contains(repo)) {
        let presubmits = jobs.presubmits.get(repo).and_then(|list| list.first()).map(|j| &j.base.source);
        let source = presubmits.or_else(|| jobs.postsubmits.get(repo)?.first().map(|j| &j.base.source));
        let message = format!(
            "{repo} has {} but not the plugin trigger, so no event starts them",
            crate::text::count(jobs_there, "job")
        );
        let finding = Finding::warning(MISSING_TRIGGER, message)
            .suggest(format!("enable trigger for {repo} or {} in plugins.yaml", org_of(repo)));
        out.push(match source {
            Some(source) => finding.at(&source.file, source.line),
            None => finding,
        });
    }
}

/// Where a plugin reads OWNERS files. That is as near as the configuration comes to who uses them.
pub fn owners_users(plugins: &PluginConfig) -> OrgRepos {
    OWNERS_READERS
        .iter()
        .map(|plugin| OrgRepos::of_plugin(plugins, plugin))
        .fold(OrgRepos::default(), |all, one| all.or(&one))
}

/// Which of the plugins that read OWNERS files a repository or organisation has.
fn readers(plugins: &PluginConfig, place: &str) -> String {
    let there = |plugin: &&str| {
        let enabled = OrgRepos::of_plugin(plugins, plugin);
        enabled.orgs.contains_key(place) || enabled.contains(place)
    };
    list(&OWNERS_READERS.into_iter().filter(there).collect::<Vec<_>>())
}

pub(super) fn owners(plugins: &PluginConfig, out: &mut Vec<Finding>) {
    let verified = OrgRepos::of_plugin(plugins, "verify-owners");
    for place in owners_users(plugins).without(&verified).places() {
        let message = format!(
            "{} enables {}, which read OWNERS files, but not verify-owners: a broken OWNERS file can be merged",
            place.said(),
            readers(plugins, place.name())
        );
        let finding = Finding::warning(VALIDATE_OWNERS, message).suggest("enable verify-owners there");
        out.push(finding.in_plugins(key_of(plugins, place.name())));
    }
}

/// A repository without a root OWNERS file, as GitHub says.
pub fn no_owners(plugins: &PluginConfig, repo: &str) -> Finding {
    let message = format!(
        "{repo} enables {}, which read OWNERS files, but its default branch has none at its root",
        readers(plugins, repo)
    );
    Finding::warning(VERIFY_OWNERS_PRESENCE, message).in_plugins(key_of(plugins, repo))
}

/// Organisations that have jobs or repositories in Tide's queries, and are not among those (lower-case or not) where
/// the GitHub App is installed.
pub fn without_app(snapshot: &Snapshot, installed: &[String]) -> Vec<Finding> {
    let jobs = &snapshot.jobs;
    let presubmits = jobs.presubmits.iter().map(|(repo, list)| (repo, list.first().map(|j| &j.base.source)));
    let postsubmits =
        jobs.postsubmits.iter().map(|(repo, list)| (repo, list.first().map(|j| &j.base.source)));
    let queries = snapshot.prow.tide.queries.iter().flat_map(|q| &q.repos).map(|repo| (repo, None));
    let mut orgs: BTreeMap<&str, Option<&Source>> = BTreeMap::new();
    for (repo, source) in presubmits.chain(postsubmits).chain(queries) {
        let known = orgs.entry(org_of(repo)).or_default();
        *known = known.or(source);
    }
    let missing = orgs.into_iter().filter(|(org, _)| !installed.iter().any(|i| i.eq_ignore_ascii_case(org)));
    missing
        .map(|(org, source)| {
            let message = format!("{org} has configuration, but the GitHub App is not installed there");
            let finding = Finding::warning(GITHUB_APP_INSTALLATION, message);
            match source {
                Some(source) => finding.at(&source.file, source.line),
                None => finding.in_config("tide.queries"),
            }
        })
        .collect()
}

pub(super) fn labels(plugins: &PluginConfig, out: &mut Vec<Finding>) {
    let additional: BTreeSet<&String> = plugins.label.additional_labels.iter().collect();
    for (place, restricted) in &plugins.label.restricted_labels {
        for (index, label) in restricted.iter().map(|r| &r.label).enumerate() {
            let finding = if label.is_empty() {
                let message = "it restricts a label without a name".to_owned();
                Finding::warning(VALIDATE_LABEL, message).suggest("set label")
            } else if additional.contains(label) {
                let message = format!(
                    "{label:?} is restricted, but in additional_labels too, where everyone may set it"
                );
                Finding::warning(VALIDATE_LABEL, message).suggest("keep one of the two")
            } else {
                continue;
            };
            out.push(finding.in_plugins(format!("label.restricted_labels[{place:?}][{index}]")));
        }
    }
}

pub(super) fn updater_acls(plugins: &PluginConfig, out: &mut Vec<Finding>) {
    for (glob, spec) in &plugins.config_updater.maps {
        for (key, list) in [("allowed_repos", &spec.allowed_repos), ("denied_repos", &spec.denied_repos)] {
            for (index, entry) in list.iter().enumerate() {
                let why = if entry.is_empty() {
                    "it is empty"
                } else if entry.matches('/').count() > 1 {
                    "it has more than one slash"
                } else if entry.starts_with('/') {
                    "it has no organisation"
                } else {
                    continue;
                };
                let message = format!("{entry:?} is neither org nor org/repo: {why}");
                let key = format!("config_updater.maps[{glob:?}].{key}[{index}]");
                out.push(Finding::warning(CONFIG_UPDATER_ACLS, message).in_plugins(key));
            }
        }
    }
}
