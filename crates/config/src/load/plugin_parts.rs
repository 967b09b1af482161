//! Parts of plugins.yaml that live in files of their own (prow-config §7.5).

use super::supplemental::{Unknown, says_nothing};
use super::{Found, LoadOptions, with_document};
use crate::diagnostic::Diagnostic;
use crate::goyaml::Findings;
use crate::plugins::{self, Bugzilla, BugzillaOptions, PluginConfig};
use crate::walk;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// All that a supplemental file may set; of `label` only `restricted_labels`.
const ALLOWED: [&str; 8] =
    ["plugins", "external_plugins", "bugzilla", "approve", "lgtm", "triggers", "welcome", "label"];

/// Reads the supplemental files and lays them into plugins.yaml; what is set twice is an error.
pub(super) fn merge(config: &mut PluginConfig, options: &LoadOptions, found: &mut Found) {
    if options.supplemental_plugin_configs_suffix.is_empty() {
        return;
    }
    for directory in &options.supplemental_plugin_config_dirs {
        let files = match walk::suffixed_files(directory, &options.supplemental_plugin_configs_suffix) {
            Ok(files) => files,
            Err(error) => {
                let message = format!(
                    "cannot list {}, which has supplemental configuration: {error}",
                    directory.display()
                );
                found.error(Diagnostic::error(message));
                continue;
            }
        };
        for file in files {
            let mut findings = Findings::new(file.to_string_lossy().into());
            let part = with_document(&file, false, &mut findings, |root, findings| {
                let unknown = Unknown::of(root, |root, seen| {
                    plugins::read(root, seen);
                });
                for entry in root.entries(findings) {
                    let allowed = ALLOWED.iter().any(|k| k.eq_ignore_ascii_case(&entry.key));
                    let free = entry.value.holds_anchor() || unknown.has(&entry) || says_nothing(entry.value);
                    if !allowed && !free {
                        let message = format!("supplemental files may set only {}", ALLOWED.join(", "));
                        findings.note(entry.key_at, Diagnostic::error(message));
                    }
                }
                if let Some(label) = root.get("label") {
                    for entry in label.value.entries(findings) {
                        let allowed = entry.key.eq_ignore_ascii_case("restricted_labels");
                        if allowed || unknown.has(&entry) || says_nothing(entry.value) {
                            continue;
                        }
                        let message = "supplemental files may set only restricted_labels of label";
                        findings.note(entry.key_at, Diagnostic::error(message));
                    }
                }
                plugins::read(root, findings)
            });
            let mut errors = Vec::new();
            merge_part(config, part, &mut errors);
            findings.list.extend(errors.into_iter().map(|d| d.in_file(&findings.file)));
            found.take(findings.list);
        }
    }
}

fn twice(key: String) -> Diagnostic {
    Diagnostic::error("it is set in another file already").under(key)
}

fn put_all<T>(
    to: &mut BTreeMap<String, T>,
    from: BTreeMap<String, T>,
    at: &str,
    errors: &mut Vec<Diagnostic>,
) {
    for (key, value) in from {
        match to.entry(key) {
            Entry::Occupied(there) => errors.push(twice(format!("{at}[{:?}]", there.key()))),
            Entry::Vacant(free) => {
                free.insert(value);
            }
        }
    }
}

fn merge_part(to: &mut PluginConfig, from: PluginConfig, errors: &mut Vec<Diagnostic>) {
    put_all(&mut to.plugins, from.plugins, "plugins", errors);
    put_all(&mut to.external_plugins, from.external_plugins, "external_plugins", errors);
    to.approve.extend(from.approve);
    to.lgtm.extend(from.lgtm);
    to.triggers.extend(from.triggers);
    to.welcome.extend(from.welcome);
    for (key, list) in from.label.restricted_labels {
        let mine = to.label.restricted_labels.entry(key.clone()).or_default();
        for restricted in list {
            if mine.iter().any(|r| r.label == restricted.label) {
                errors.push(twice(format!("label.restricted_labels[{key:?}]: {:?}", restricted.label)));
            } else {
                mine.push(restricted);
            }
        }
    }
    bugzilla(&mut to.bugzilla, from.bugzilla, errors);
    merge_values(&mut to.document, from.document);
}

/// The defaults of a level, and a repository, come from one place each.
fn bugzilla(to: &mut Bugzilla, from: Bugzilla, errors: &mut Vec<Diagnostic>) {
    let mut defaults =
        |to: &mut BTreeMap<String, BugzillaOptions>, from: BTreeMap<String, BugzillaOptions>, at: String| {
            if to.is_empty() {
                *to = from;
            } else if !from.is_empty() {
                errors.push(twice(at));
            }
        };
    defaults(&mut to.default, from.default, "bugzilla.default".into());
    let mut repos = Vec::new();
    for (org, theirs) in from.orgs {
        let mine = to.orgs.entry(org.clone()).or_default();
        defaults(&mut mine.default, theirs.default, format!("bugzilla.orgs[{org:?}].default"));
        repos.push((org, theirs.repos));
    }
    for (org, theirs) in repos {
        let at = format!("bugzilla.orgs[{org:?}].repos");
        put_all(&mut to.orgs.entry(org).or_default().repos, theirs, &at, errors);
    }
}

/// The generic form follows: maps are united, lists appended. What is set twice was reported by the typed form.
fn merge_values(to: &mut Value, from: Value) {
    match (to, from) {
        (Value::Object(to), Value::Object(from)) => {
            for (key, value) in from {
                match to.get_mut(&key) {
                    None => {
                        to.insert(key, value);
                    }
                    Some(there) => merge_values(there, value),
                }
            }
        }
        (Value::Array(to), Value::Array(from)) => to.extend(from),
        (to @ Value::Null, from) => *to = from,
        _ => {}
    }
}
