//! Supplemental files and their directories: what lies in an organisation's (or a repository's) directory concerns
//! that organisation (or repository) alone, so that its owners can be let to change it (prow-config §9).

use super::names::SUPPLEMENTAL_HIERARCHY;
use super::{FileKind, SourceFile};
use crate::finding::Finding;
use crate::text::list;
use prow_config::prowconfig::{Policy, ProwConfig};
use prow_config::yaml;
use serde_json::Value;
use std::collections::BTreeSet;

/// Whom a file concerns.
#[derive(Debug, Default)]
struct Scope {
    everyone: bool,
    orgs: BTreeSet<String>,
    repos: BTreeSet<String>,
}

impl Scope {
    fn add(&mut self, key: &str) {
        if key.contains('/') {
            self.repos.insert(key.to_owned());
        } else {
            self.orgs.insert(key.to_owned());
        }
    }
}

fn of_config(config: ProwConfig) -> Scope {
    let mut out = Scope::default();
    for (org, of_org) in &config.branch_protection.orgs {
        if of_org.policy() != Policy::default() {
            out.add(org);
        }
        out.repos.extend(of_org.repos.keys().map(|repo| format!("{org}/{repo}")));
    }
    config.tide.merge_method.keys().for_each(|key| out.add(key));
    for query in &config.tide.queries {
        query.orgs.iter().chain(&query.repos).for_each(|key| out.add(key));
    }
    for key in config.slack_reporter_configs.keys() {
        if key == "*" {
            out.everyone = true;
        } else {
            out.add(key);
        }
    }
    let mut rest = config;
    rest.branch_protection.orgs.clear();
    rest.tide.merge_method.clear();
    rest.tide.queries.clear();
    rest.slack_reporter_configs.clear();
    out.everyone |= rest != ProwConfig::default();
    out
}

fn of_plugins(file: &Value) -> Scope {
    let mut out = Scope::default();
    let none = serde_json::Map::new();
    let keys = |value: &Value| value.as_object().unwrap_or(&none).clone();
    for (section, value) in keys(file) {
        match section.as_str() {
            "plugins" | "external_plugins" => keys(&value).keys().for_each(|key| out.add(key)),
            "approve" | "lgtm" | "triggers" | "welcome" => {
                let entries = value.as_array().into_iter().flatten();
                let repos = entries.filter_map(|entry| entry["repos"].as_array()).flatten();
                repos.filter_map(Value::as_str).for_each(|key| out.add(key));
            }
            "bugzilla" => {
                out.everyone |= !value["default"].is_null();
                for (org, of_org) in keys(&value["orgs"]) {
                    if !of_org["default"].is_null() {
                        out.add(&org);
                    }
                    out.repos.extend(keys(&of_org["repos"]).keys().map(|repo| format!("{org}/{repo}")));
                }
            }
            "label" => {
                out.everyone |= value["additional_labels"].as_array().is_some_and(|list| !list.is_empty());
                for key in keys(&value["restricted_labels"]).keys() {
                    if key == "*" {
                        out.everyone = true;
                    } else {
                        out.add(key);
                    }
                }
            }
            // The loader lets nothing else say anything.
            _ => {}
        }
    }
    out
}

/// Checks every supplemental file.
pub(super) fn check(files: &[SourceFile], out: &mut Vec<Finding>) {
    for file in files {
        let bytes = || file.text.clone().into_bytes();
        // What cannot be read was an error of the loader.
        let scope = match file.kind {
            FileKind::SupplementalConfig => {
                yaml::read::<ProwConfig>(&file.name, bytes()).map(|r| of_config(r.0))
            }
            FileKind::SupplementalPlugins => {
                yaml::read::<Value>(&file.name, bytes()).map(|r| of_plugins(&r.0))
            }
            FileKind::Config | FileKind::Plugins => continue,
        };
        let directories: Vec<&str> = file.below_root.split('/').collect();
        let (_, directories) = directories.split_last().unwrap_or((&"", &[]));
        let message = match (directories, scope.unwrap_or_default()) {
            ([], _) => None,
            ([org], scope) => {
                let mut others = scope;
                let own = others.orgs.remove(*org);
                misplaced(own, &others, &format!("organisation {org}"))
            }
            ([org, repo], scope) => {
                let mut others = scope;
                let own = others.repos.remove(&format!("{org}/{repo}"));
                misplaced(own, &others, &format!("repository {org}/{repo}"))
            }
            _ => Some(
                "the file lies too deep: supplemental files lie at the root, in a directory named as an organisation, \
                 or in one named as a repository below that"
                    .to_owned(),
            ),
        };
        if let Some(message) = message {
            out.push(Finding::warning(SUPPLEMENTAL_HIERARCHY, message).at(&file.name, 1));
        }
    }
}

fn misplaced(own: bool, others: &Scope, whose: &str) -> Option<String> {
    let mut wrong = Vec::new();
    if others.everyone {
        wrong.push("everyone".to_owned());
    }
    wrong.extend(others.orgs.iter().map(|org| format!("organisation {org}")));
    wrong.extend(others.repos.iter().map(|repo| format!("repository {repo}")));
    if wrong.is_empty() {
        return (!own)
            .then(|| format!("the file lies in the directory of {whose} and configures nothing of it"));
    }
    Some(format!("the file lies in the directory of {whose}, but it configures {}", list(&wrong)))
}
