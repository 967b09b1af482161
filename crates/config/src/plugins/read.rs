//! Reading and defaulting plugins.yaml (prow-config §7).

use super::{
    Approve, Cat, ConfigMapSpec, ConfigUpdater, ExternalPlugin, Lgtm, OrgPlugins, PluginConfig, Trigger,
};
use crate::diagnostic::{Diagnostic, Kind};
use crate::goyaml::{Cursor, Findings};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The typed sections.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Typed {
    triggers: Vec<Trigger>,
    approve: Vec<Approve>,
    lgtm: Vec<Lgtm>,
    cat: Cat,
    external_plugins: BTreeMap<String, Vec<ExternalPlugin>>,
}

/// Every section there is.
const SECTIONS: [&str; 42] = [
    "plugins",
    "external_plugins",
    "owners",
    "approve",
    "blockades",
    "blunderbuss",
    "branch_cleaner",
    "bugzilla",
    "cat",
    "cherry_pick_approved",
    "cherry_pick_unapproved",
    "config_updater",
    "dco",
    "golint",
    "goose",
    "heart",
    "help",
    "invalid_commit_msg",
    "jira",
    "label",
    "lgtm",
    "milestone_applier",
    "override",
    "project_config",
    "project_manager",
    "release_note",
    "repo_milestone",
    "require_matching_label",
    "retitle",
    "rifle",
    "sigmention",
    "size",
    "slack",
    "triggers",
    "welcome",
    "dog",
    "hold",
    "pony",
    "requiresig",
    "blockade",
    "lifecycle",
    "stage",
];

/// Reads a plugins.yaml.
pub(crate) fn read(root: Cursor<'_, '_>, findings: &mut Findings) -> PluginConfig {
    let mut out = PluginConfig::default();
    for entry in root.entries(findings) {
        findings.pass_over(entry.key_at);
        match entry.key.as_ref() {
            "plugins" => out.plugins = plugins(entry.value, findings),
            "config_updater" => out.config_updater = updater(entry.value, findings),
            key if SECTIONS.contains(&key) || entry.value.holds_anchor() => {}
            _ => note_unknown_section(&entry, findings),
        }
    }
    let (typed, _): (Typed, bool) = root.decode(true, findings);
    out.triggers = typed.triggers;
    out.approve = typed.approve;
    out.lgtm = typed.lgtm;
    out.cat = typed.cat;
    out.external_plugins = typed.external_plugins;
    // The generic reading repeats what the typed one found wrong; it is wanted for its value alone.
    let mut ignored = Findings::new(findings.file.clone());
    out.document = root.decode::<Value>(true, &mut ignored).0;
    out
}

fn note_unknown_section(entry: &crate::goyaml::Entry<'_, '_>, findings: &mut Findings) {
    let mut diagnostic = Diagnostic::warning("unknown key, it has no effect").kind(Kind::UnknownKey);
    if let Some(meant) = crate::diagnostic::did_you_mean(&entry.key, SECTIONS) {
        diagnostic = diagnostic.suggest(format!("did you mean {meant:?}?"));
    }
    findings.note(entry.key_at, diagnostic);
}

/// The map is in one of two styles as a whole: lists of names, or objects (§7.1).
fn plugins(value: Cursor<'_, '_>, findings: &mut Findings) -> BTreeMap<String, OrgPlugins> {
    let entries = value.entries(findings);
    let lists = entries.iter().filter(|e| e.value.is_list()).count();
    if lists > 0 && lists < entries.iter().filter(|e| !e.value.is_null()).count() {
        let message =
            "lists and objects are mixed; write every entry as {plugins: [...], excluded_repos: [...]}";
        findings.note(value, Diagnostic::error(message));
        return BTreeMap::new();
    }
    let mut out = BTreeMap::new();
    for entry in entries {
        let plugins = if lists > 0 {
            OrgPlugins { plugins: entry.value.decode(false, findings).0, excluded_repos: Vec::new() }
        } else {
            entry.value.decode(false, findings).0
        };
        out.insert(entry.key.into_owned(), plugins);
    }
    out
}

fn updater(value: Cursor<'_, '_>, findings: &mut Findings) -> ConfigUpdater {
    for (key, name) in [("config_file", "config"), ("plugin_file", "plugins")] {
        if let Some(entry) = value.get(key) {
            findings.pass_over(entry.key_at);
            let warning = Diagnostic::warning("this key is retired").kind(Kind::Retired);
            findings.note(entry.key_at, warning.suggest(format!("write maps: {{PATH: {{name: {name}}}}}")));
        }
    }
    let (mut out, _): (ConfigUpdater, bool) = value.decode(false, findings);
    for (key, name) in [("config_file", "config"), ("plugin_file", "plugins")] {
        if let Some(entry) = value.get(key) {
            let (path, _): (String, bool) = entry.value.decode(false, findings);
            if !path.is_empty() {
                out.maps
                    .entry(path)
                    .or_insert_with(|| ConfigMapSpec { name: name.into(), ..ConfigMapSpec::default() });
            }
        }
    }
    out
}

/// Defaults and rules over the whole file.
pub(crate) fn finish(config: &mut PluginConfig, errors: &mut Vec<Diagnostic>) {
    for external in config.external_plugins.values_mut().flatten() {
        if external.endpoint.is_empty() {
            external.endpoint = format!("http://{}", external.name);
        }
    }
    for trigger in &mut config.triggers {
        if !trigger.trusted_org.is_empty() && trigger.join_org_url.is_empty() {
            trigger.join_org_url = format!("https://github.com/orgs/{}/people", trigger.trusted_org);
        }
    }
    for approve in &mut config.approve {
        for (link, default) in [
            (&mut approve.command_help_link, "https://go.k8s.io/bot-commands"),
            (
                &mut approve.pr_process_link,
                "https://git.k8s.io/community/contributors/guide/owners.md#the-code-review-process",
            ),
        ] {
            if link.is_empty() {
                default.clone_into(link);
            }
        }
    }
    updater_defaults(&mut config.config_updater, errors);
    enablement(config, errors);
}

fn updater_defaults(updater: &mut ConfigUpdater, errors: &mut Vec<Diagnostic>) {
    if updater.maps.is_empty() {
        for (path, name) in [("config/prow/config.yaml", "config"), ("config/prow/plugins.yaml", "plugins")] {
            let spec = ConfigMapSpec { name: name.into(), ..ConfigMapSpec::default() };
            updater.maps.insert(path.into(), spec);
        }
    }
    let groups = updater.cluster_groups.clone();
    for (glob, spec) in &mut updater.maps {
        let mut refuse = |message: String| {
            errors.push(Diagnostic::error(message).under(format!("config_updater.maps[{glob:?}]")));
        };
        if !spec.name.is_empty() && !spec.partitioned_names.is_empty() {
            refuse("name and partitioned_names exclude each other".into());
        }
        if spec.partitioned_names.len() > 256 {
            refuse(format!("partitioned_names has {} names; 256 are allowed", spec.partitioned_names.len()));
        }
        if !spec.clusters.is_empty() && !spec.cluster_groups.is_empty() {
            refuse("clusters and cluster_groups exclude each other".into());
        }
        let mut clusters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in &spec.cluster_groups {
            match groups.get(name) {
                None => refuse(format!("there is no cluster group {name:?}")),
                Some(group) => {
                    for cluster in &group.clusters {
                        clusters.entry(cluster.clone()).or_default().extend(group.namespaces.clone());
                    }
                }
            }
        }
        if !spec.cluster_groups.is_empty() {
            // Upstream builds the entry anew and forgets the rest (trap 45).
            *spec = ConfigMapSpec {
                name: std::mem::take(&mut spec.name),
                partitioned_names: std::mem::take(&mut spec.partitioned_names),
                key: std::mem::take(&mut spec.key),
                gzip: spec.gzip,
                clusters,
                ..ConfigMapSpec::default()
            };
        } else if spec.clusters.is_empty() {
            spec.clusters = BTreeMap::from([("default".to_owned(), vec![String::new()])]);
        }
    }
}

/// A plugin is enabled at one level only; blunderbuss and rifle exclude each other (§7.1).
fn enablement(config: &PluginConfig, errors: &mut Vec<Diagnostic>) {
    for (key, own) in &config.plugins {
        let at = format!("plugins[{key:?}]");
        let mut effective: Vec<&str> = own.plugins.iter().map(String::as_str).collect();
        if let Some((org, repo)) = key.split_once('/')
            && let Some(of_org) = config.plugins.get(org)
            && !of_org.excluded_repos.iter().any(|r| r == repo)
        {
            for name in own.plugins.iter().filter(|p| of_org.plugins.contains(p)) {
                errors.push(
                    Diagnostic::error(format!("{name} is enabled for the whole of {org} already")).under(&at),
                );
            }
            effective.extend(of_org.plugins.iter().map(String::as_str));
        }
        if effective.contains(&"blunderbuss") && effective.contains(&"rifle") {
            errors.push(Diagnostic::error("blunderbuss and rifle exclude each other").under(&at));
        }
    }
    for (key, own) in &config.external_plugins {
        let Some((org, _)) = key.split_once('/') else { continue };
        for plugin in own {
            if config.external_plugins.get(org).is_some_and(|list| list.iter().any(|p| p.name == plugin.name))
            {
                let message = format!("{} is enabled for the whole of {org} already", plugin.name);
                errors.push(Diagnostic::error(message).under(format!("external_plugins[{key:?}]")));
            }
        }
    }
}
