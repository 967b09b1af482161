//! The warnings of checkconfig (prow-config §9), each a function of the loaded configuration.
//!
//! A configuration with warnings works; each warning says why it probably does something else than was meant.

mod jobs;
mod names;
mod orgrepos;
mod plugins;
mod protection;
mod scope;
mod tide;

pub use jobs::rerun_command;
pub use names::{
    Asked, Class, GITHUB_APP_INSTALLATION, NoSuchWarning, Selection, UNKNOWN_FIELDS_ALL,
    VALIDATE_CLUSTER_FIELD, VERIFY_OWNERS_PRESENCE, WARNINGS, Warning, about,
};
pub use orgrepos::{OrgRepos, Place};
pub use plugins::{no_owners, owners_users, without_app};

use crate::finding::{Finding, Home, Level};
use names::*;
use prow_config::{Kind, Snapshot, yaml};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Which of the configuration's files a text is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// config.yaml.
    Config,
    /// A supplemental file of it.
    SupplementalConfig,
    /// plugins.yaml.
    Plugins,
    /// A supplemental file of it.
    SupplementalPlugins,
}

/// A file of the configuration that is not a job file.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Which.
    pub kind: FileKind,
    /// As it was reached, as in the snapshot's findings.
    pub name: Arc<str>,
    /// A supplemental file's path below its directory, with `/`; empty otherwise.
    pub below_root: String,
    /// What is in it.
    pub text: String,
}

/// What is checked.
#[derive(Debug)]
pub struct Input<'a> {
    /// The configuration as it loads.
    pub snapshot: &'a Snapshot,
    /// Its files.
    pub files: &'a [SourceFile],
    /// Whether plugins.yaml was given.
    pub plugins: bool,
    /// What `plank.build_cluster_status_file` says of each cluster; nothing if there is no such file.
    pub cluster_statuses: Option<&'a BTreeMap<String, String>>,
    /// `--required-job-annotations`.
    pub required_annotations: &'a [String],
}

/// Runs the warnings that are on, but those that must ask GitHub. Findings are in the order of [`WARNINGS`].
pub fn run(input: &Input<'_>, on: &Selection) -> Vec<Finding> {
    let mut out = Vec::new();
    let snapshot = input.snapshot;
    keys(input, on, &mut out);
    let checks: [(&str, &dyn Fn(&mut Vec<Finding>)); 19] = [
        (VALIDATE_URLS, &|out| urls(snapshot, out)),
        (LONG_JOB_NAMES, &|out| jobs::long_names(snapshot, out)),
        (NON_DECORATED_JOBS, &|out| jobs::non_decorated(snapshot, out)),
        (VALID_DECORATION_CONFIG, &|out| jobs::decoration(snapshot, out)),
        (DUPLICATE_JOB_REFS, &|out| jobs::duplicate_refs(snapshot, out)),
        (PERIODIC_DEFAULT_CLONE_CONFIG, &|out| jobs::periodic_clone_config(snapshot, out)),
        (VALIDATE_CLUSTER_FIELD, &|out| jobs::clusters(snapshot, input.cluster_statuses, out)),
        (REQUIRED_JOB_ANNOTATIONS, &|out| jobs::annotations(snapshot, input.required_annotations, out)),
        (MISMATCHED_TIDE, &|out| tide::mismatched(input, true, out)),
        (MISMATCHED_TIDE_LENIENT, &|out| {
            if !on.has(MISMATCHED_TIDE) {
                tide::mismatched(input, false, out);
            }
        }),
        (NEEDS_OK_TO_TEST, &|out| tide::needs_ok_to_test(input, out)),
        (TIDE_STRICT_BRANCH, &|out| tide::strict_branches(snapshot, out)),
        (TIDE_CONTEXT_POLICY, &|out| tide::context_policies(snapshot, out)),
        (UNMANAGED_SUBCONFIG, &|out| protection::unmanaged(&snapshot.prow.branch_protection, out)),
        (MANAGED_WEBHOOKS, &|out| managed_webhooks(snapshot, out)),
        (MISSING_TRIGGER, &|out| plugins::missing_trigger(snapshot, out)),
        (VALIDATE_OWNERS, &|out| plugins::owners(&snapshot.plugins, out)),
        (VALIDATE_LABEL, &|out| plugins::labels(&snapshot.plugins, out)),
        (CONFIG_UPDATER_ACLS, &|out| plugins::updater_acls(&snapshot.plugins, out)),
    ];
    for (name, check) in checks {
        let needs_plugins = WARNINGS.iter().any(|w| w.name == name && w.needs_plugins);
        if on.has(name) && (input.plugins || !needs_plugins) {
            check(&mut out);
        }
    }
    if on.has(SUPPLEMENTAL_HIERARCHY) {
        scope::check(input.files, &mut out);
    }
    jobs::rerun_commands(snapshot, &mut out);
    if input.plugins {
        plugins::strangers(&snapshot.plugins, &mut out);
    }
    let strangers = on.strangers().map(|e| Finding::note("load", format!("--exclude-warning: {e}")));
    out.extend(strangers);
    place(&mut out, input.files);
    out
}

/// What the loader found odd. Keys that nothing reads are a warning where that warning is on for their file, else a
/// note; a note is everything else as well.
fn keys(input: &Input<'_>, on: &Selection, out: &mut Vec<Finding>) {
    let strict_files: Vec<&str> = input
        .files
        .iter()
        .filter(|f| matches!(f.kind, FileKind::Config | FileKind::Plugins))
        .map(|f| f.name.as_ref())
        .collect();
    for diagnostic in &input.snapshot.warnings {
        if diagnostic.kind == Kind::Rule {
            out.push(Finding::loaded(diagnostic));
            continue;
        }
        let central = strict_files.contains(&diagnostic.file.as_ref());
        let (level, check) = if on.has(UNKNOWN_FIELDS_ALL) {
            (Level::Warning, UNKNOWN_FIELDS_ALL)
        } else if central && on.has(UNKNOWN_FIELDS) {
            (Level::Warning, UNKNOWN_FIELDS)
        } else if on.excludes(UNKNOWN_FIELDS_ALL) || on.excludes(UNKNOWN_FIELDS) {
            continue;
        } else {
            (Level::Note, UNKNOWN_FIELDS_ALL)
        };
        out.push(Finding::of(diagnostic, level, check));
    }
}

fn urls(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    let link = &snapshot.prow.status_error_link;
    if let Err(reason) = prow_config::prowconfig::check_url(link) {
        let message = format!("{link:?} is no URL: {reason}");
        out.push(Finding::warning(VALIDATE_URLS, message).in_config("status_error_link"));
    }
}

fn managed_webhooks(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    let managed = &snapshot.prow.managed_webhooks.org_repo_config;
    for repo in managed.keys() {
        let Some((org, _)) = repo.split_once('/').filter(|(org, _)| managed.contains_key(*org)) else {
            continue;
        };
        let message =
            format!("{repo} and the whole of {org} have a webhook, so {repo}'s events arrive twice");
        let found =
            Finding::warning(MANAGED_WEBHOOKS, message).suggest(format!("keep one of {org} and {repo}"));
        out.push(found.in_config(format!("managed_webhooks.org_repo_config[{repo:?}]")));
    }
}

/// Gives findings about keys the place of their key. A key may be in config.yaml (or plugins.yaml) or in one of its
/// supplemental files; where it is in none, the nearest key above it in the former stands for it.
pub fn place(findings: &mut [Finding], files: &[SourceFile]) {
    for (home, kinds) in [
        (Home::Config, [FileKind::Config, FileKind::SupplementalConfig]),
        (Home::Plugins, [FileKind::Plugins, FileKind::SupplementalPlugins]),
    ] {
        let mut open: Vec<&mut Finding> = findings.iter_mut().filter(|f| f.home == home).collect();
        if open.is_empty() {
            continue;
        }
        let mut nearest: HashMap<usize, (Arc<str>, yaml::Place)> = HashMap::new();
        for file in files.iter().filter(|f| kinds.contains(&f.kind)) {
            let keys: Vec<&str> = open.iter().map(|f| f.key.as_str()).collect();
            for (index, found) in yaml::locate(&file.text, &keys).into_iter().enumerate() {
                let Some(found) = found else { continue };
                let known = nearest.get(&index);
                if known.is_none() || (found.whole && known.is_some_and(|(_, k)| !k.whole)) {
                    nearest.insert(index, (file.name.clone(), found));
                }
            }
        }
        for (index, (file, at)) in nearest {
            let finding = &mut open[index];
            (finding.file, finding.line, finding.column) = (file, at.line, at.column);
        }
        open.iter_mut().for_each(|f| f.home = Home::Known);
    }
}

#[cfg(test)]
mod tests;
