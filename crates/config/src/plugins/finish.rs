//! Defaults of plugins.yaml that depend on other keys, and its rules (prow-config §7).

use super::settings::{
    COMMIT_MSG_CHECKS, GRACE_PERIOD, LABELS_DENYLIST, RELEASE_BRANCHES, UNAPPROVED, WAIT_CONTEXT,
    WAIT_DESCRIPTION, WAIT_STATE,
};
use super::{ConfigMapSpec, ConfigUpdater, PluginConfig, SigMention};
use crate::diagnostic::Diagnostic;
use crate::goregex::GoRegex;
use prow_api::duration::parse_go_duration;
use std::collections::{BTreeMap, HashSet};

pub(super) fn or(text: &mut String, default: &str) {
    if text.is_empty() {
        default.clone_into(text);
    }
}

fn settings(config: &mut PluginConfig) {
    config.owners.labels_denylist.get_or_insert_with(|| LABELS_DENYLIST.map(Into::into).into());
    for blunderbuss in std::iter::once(&mut config.blunderbuss).chain(config.rifle.as_mut()) {
        if let Some(wait) = &mut blunderbuss.wait_for_status {
            or(&mut wait.context, WAIT_CONTEXT);
            or(&mut wait.state, WAIT_STATE);
            or(&mut wait.description, WAIT_DESCRIPTION);
        }
    }
    for approved in &mut config.cherry_pick_approved {
        or(&mut approved.branchregexp, RELEASE_BRANCHES);
    }
    or(&mut config.cherry_pick_unapproved.branchregexp, RELEASE_BRANCHES);
    or(&mut config.cherry_pick_unapproved.comment, UNAPPROVED);
    or(&mut config.sigmention.regexp, &SigMention::default().regexp);
    for require in &mut config.require_matching_label {
        or(&mut require.grace_period, GRACE_PERIOD);
    }
}

/// The rules of §7.2.
fn rules(config: &PluginConfig, errors: &mut Vec<Diagnostic>) {
    let mut refuse = |key: String, message: String| errors.push(Diagnostic::error(message).under(key));
    let mut patterns: Vec<(String, &str)> = vec![
        ("cherry_pick_unapproved.branchregexp".into(), &config.cherry_pick_unapproved.branchregexp),
        ("heart.commentregexp".into(), &config.heart.commentregexp),
        ("sigmention.regexp".into(), &config.sigmention.regexp),
    ];
    for (index, entry) in config.blockades.iter().enumerate() {
        patterns.extend(
            entry.branchregexp.iter().map(|p| (format!("blockades[{index}].branchregexp"), p.as_str())),
        );
    }
    for (index, entry) in config.cherry_pick_approved.iter().enumerate() {
        patterns.push((format!("cherry_pick_approved[{index}].branchregexp"), &entry.branchregexp));
    }
    for (index, entry) in config.require_matching_label.iter().enumerate() {
        patterns.push((format!("require_matching_label[{index}].regexp"), &entry.regexp));
    }
    for (name, section) in [("blunderbuss", Some(&config.blunderbuss)), ("rifle", config.rifle.as_ref())] {
        let Some(section) = section else { continue };
        if section.request_count.is_some_and(|n| n < 1) {
            refuse(format!("{name}.request_count"), "it must be at least 1".into());
        }
        if let Some(wait) = &section.wait_for_status {
            patterns.push((format!("{name}.wait_for_status.description"), &wait.description));
        }
    }
    for (key, pattern) in patterns {
        if let Err(error) = GoRegex::new(pattern) {
            refuse(key, error.to_string());
        }
    }
    for (index, entry) in config.require_matching_label.iter().enumerate() {
        let key = format!("require_matching_label[{index}]");
        if entry.org.is_empty() || entry.regexp.is_empty() || entry.missing_label.is_empty() {
            refuse(key.clone(), "org, regexp and missing_label are mandatory".into());
        }
        if entry.repo.contains('/') {
            refuse(format!("{key}.repo"), format!("{:?} is not a bare name", entry.repo));
        }
        if !entry.prs && !entry.issues {
            refuse(key.clone(), "it is for neither prs nor issues".into());
        }
        if !entry.branch.is_empty() && !entry.prs {
            refuse(format!("{key}.branch"), "it has an effect only with prs: true".into());
        }
        if !entry.regexp.is_empty()
            && GoRegex::new(&entry.regexp).is_ok_and(|re| re.is_match(&entry.missing_label))
        {
            refuse(
                format!("{key}.missing_label"),
                "regexp matches it, so it would be taken off at once".into(),
            );
        }
        if let Err(error) = parse_go_duration(&entry.grace_period) {
            refuse(format!("{key}.grace_period"), error.to_string());
        }
    }
    let size = &config.size;
    let given: Vec<i64> =
        [size.s, size.m, size.l, size.xl, size.xxl].into_iter().filter(|n| *n != 0).collect();
    if !given.is_sorted() {
        refuse("size".into(), "the sizes must not decrease from s to xxl".into());
    }
    let approve = config.approve.iter().flat_map(|a| &a.repos).map(|r| ("approve", r));
    let welcome = config.welcome.iter().flat_map(|w| &w.repos).map(|r| ("welcome", r));
    let commits = config.invalid_commit_msg.iter().flat_map(|c| &c.repos).map(|r| ("invalid_commit_msg", r));
    let mut seen = HashSet::new();
    for (section, repo) in approve.chain(welcome).chain(commits) {
        if section == "invalid_commit_msg" && repo.trim().is_empty() {
            refuse(section.into(), "a repository is empty; write org or org/repo".into());
        }
        if !seen.insert((section, repo)) {
            refuse(section.into(), format!("{repo} is in two entries"));
        }
    }
    for check in config.invalid_commit_msg.iter().flat_map(|c| &c.checks) {
        if !COMMIT_MSG_CHECKS.contains(&check.name.as_str()) {
            let message = format!("{:?} is not one of {}", check.name, COMMIT_MSG_CHECKS.join(", "));
            refuse("invalid_commit_msg".into(), message);
        }
    }
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
    settings(config);
    rules(config, errors);
    super::rules::check(config, errors);
    updater_defaults(&mut config.config_updater, errors);
    enablement(config, errors);
}

fn updater_defaults(updater: &mut ConfigUpdater, errors: &mut Vec<Diagnostic>) {
    if updater.maps.is_empty() {
        updater.maps = ConfigUpdater::usual_maps();
    }
    // As upstream, the groups do not outlive their use.
    let groups = std::mem::take(&mut updater.cluster_groups);
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
            spec.clusters = ConfigMapSpec::usual_clusters();
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
