//! Reading plugins.yaml (prow-config §7): the sections with their own rules here, the rest by their types.

use super::{ConfigMapSpec, ConfigUpdater, OrgPlugins, PluginConfig};
use crate::diagnostic::{Diagnostic, Kind};
use crate::goyaml::{Cursor, Findings};
use crate::retired::{CONFIG_FILE, PLUGIN_FILE};
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads a plugins.yaml.
pub(crate) fn read(root: Cursor<'_, '_>, findings: &mut Findings) -> PluginConfig {
    let mut plugins_map = BTreeMap::new();
    let mut config_updater = ConfigUpdater::default();
    for entry in root.entries(findings) {
        match entry.key.as_ref() {
            "plugins" => plugins_map = plugins(entry.value, findings),
            "config_updater" => config_updater = updater(entry.value, findings),
            _ if entry.value.holds_anchor() => {}
            _ => continue,
        }
        findings.pass_over(entry.key_at);
    }
    let (mut out, _): (PluginConfig, bool) = root.decode(true, findings);
    out.plugins = plugins_map;
    out.config_updater = config_updater;
    // The generic reading repeats what the typed one found wrong; it is wanted for its value alone.
    let mut ignored = Findings::new(findings.file.clone());
    out.document = root.decode::<Value>(true, &mut ignored).0;
    out
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
    for retired in [CONFIG_FILE, PLUGIN_FILE] {
        if let Some(entry) = value.get(retired.key) {
            findings.pass_over(entry.key_at);
            let warning = Diagnostic::warning(retired.means).kind(Kind::Retired);
            findings.note(entry.key_at, warning.suggest(retired.modern));
        }
    }
    let (mut out, _): (ConfigUpdater, bool) = value.decode(false, findings);
    for (key, name) in [(CONFIG_FILE.key, "config"), (PLUGIN_FILE.key, "plugins")] {
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
