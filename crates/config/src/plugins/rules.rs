//! Rules of plugins.yaml about things that must not meet: columns of projects, keys of ConfigMaps; and what loads but
//! is probably not meant (prow-config §7.1, §7.2, §7.4).

use super::{ConfigUpdater, PluginConfig, ProjectManager};
use crate::diagnostic::Diagnostic;
use crate::gotemplate::GoTemplate;
use std::collections::{BTreeSet, HashMap};

/// Checks the file as it was written, before sets of clusters are resolved.
pub(super) fn check(config: &PluginConfig, errors: &mut Vec<Diagnostic>) {
    project_manager(&config.project_manager, errors);
    config_maps(&config.config_updater, errors);
    let mut warn = |key: String, message: String| errors.push(Diagnostic::warning(message).under(key));
    for (index, welcome) in config.welcome.iter().enumerate() {
        if let Err(error) = GoTemplate::new(&welcome.message_template) {
            warn(format!("welcome[{index}].message_template"), format!("{error}; no one will be greeted"));
        }
    }
    for (index, trigger) in config.triggers.iter().enumerate() {
        if !trigger.trusted_org.is_empty() {
            let message = "this key is deprecated; members of the organisation itself are trusted".to_owned();
            warn(format!("triggers[{index}].trusted_org"), message);
        }
    }
    for (repo, milestone) in &config.repo_milestone {
        if milestone.maintainers_id != 0 {
            let message = "this key is deprecated; write maintainers_team: SLUG".to_owned();
            warn(format!("repo_milestone[{repo:?}].maintainers_id"), message);
        }
    }
    let named = config.document.get("plugins").is_some();
    if named && config.plugins.is_empty() {
        warn("plugins".into(), "no plugin is enabled anywhere".into());
    }
}

fn project_manager(manager: &ProjectManager, errors: &mut Vec<Diagnostic>) {
    let mut refuse = |key: &str, message: &str| errors.push(Diagnostic::error(message).under(key));
    for (repo, managed) in &manager.orgs_repos {
        let of_repo = format!("project_manager.orgsRepos[{repo:?}]");
        if managed.projects.is_empty() {
            refuse(&of_repo, "it has no projects");
        }
        for (project, managed) in &managed.projects {
            let of_project = format!("{of_repo}.projects[{project:?}]");
            if managed.columns.is_empty() {
                refuse(&of_project, "it has no columns");
            }
            let mut seen: Vec<BTreeSet<&String>> = Vec::new();
            for (index, column) in managed.columns.iter().enumerate() {
                let of_column = format!("{of_project}.columns[{index}]");
                if column.id.is_none() && column.name.is_empty() {
                    refuse(&of_column, "it has neither id nor name");
                }
                if column.labels.is_empty() {
                    refuse(&format!("{of_column}.labels"), "there are none");
                }
                if column.org.is_empty() {
                    refuse(&format!("{of_column}.org"), "it is mandatory");
                }
                let labels: BTreeSet<&String> = column.labels.iter().collect();
                if !labels.is_empty() && seen.contains(&labels) {
                    refuse(&format!("{of_column}.labels"), "another column has the same ones");
                }
                seen.push(labels);
            }
        }
    }
}

/// Two entries may not write the same key of the same ConfigMap. The key of a glob is its base name, so that two
/// that end in `*.yaml` meet; entries with sets of clusters are not looked at, as upstream does not.
fn config_maps(updater: &ConfigUpdater, errors: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<(String, String, String, &str), &str> = HashMap::new();
    let usual = super::ConfigMapSpec::usual_clusters();
    for (glob, spec) in &updater.maps {
        if !spec.cluster_groups.is_empty() {
            continue;
        }
        let name = if spec.name.is_empty() { spec.partitioned_names.join(",") } else { spec.name.clone() };
        let base = glob.trim_end_matches('/').rsplit('/').next().unwrap_or(glob);
        let key = if spec.key.is_empty() { base } else { &spec.key };
        let clusters = if spec.clusters.is_empty() { &usual } else { &spec.clusters };
        for (cluster, namespaces) in clusters {
            for namespace in namespaces {
                let place = (name.clone(), namespace.clone(), cluster.clone(), key);
                if let Some(other) = seen.insert(place, glob).filter(|other| *other != glob.as_str()) {
                    let message =
                        format!("it writes the key {key:?} of ConfigMap {name:?}, as {other:?} does");
                    errors.push(Diagnostic::error(message).under(format!("config_updater.maps[{glob:?}]")));
                }
            }
        }
    }
}
