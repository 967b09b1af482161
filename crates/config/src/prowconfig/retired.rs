//! Keys of Prows of 2018 and 2019: they load with a warning that names today's form, and mean what they meant.

use super::{LensConfig, LensFileConfig, ProwConfig};
use crate::diagnostic::{Diagnostic, Kind};
use crate::goregex::GoRegex;
use crate::goyaml::{Cursor, Entry, Findings};
use crate::retired::{
    ALLOW_CANCELLATIONS, DEFAULT_DECORATION_CONFIG, JOB_URL_PREFIX, RetiredKey, note_numbers,
};
use prow_api::DecorationConfig;

/// Retired keys of one config.yaml, read before the rest.
#[derive(Default)]
pub(crate) struct Retired {
    decoration: Option<DecorationConfig>,
    job_url_prefix: Option<String>,
    lenses: Vec<LensFileConfig>,
}

fn retired(entry: &Entry<'_, '_>, key: &RetiredKey, findings: &mut Findings) {
    warn(entry, key.means, key.modern, findings);
}

fn warn(entry: &Entry<'_, '_>, message: &str, modern: &str, findings: &mut Findings) {
    findings.pass_over(entry.key_at);
    findings.note(entry.key_at, Diagnostic::warning(message).kind(Kind::Retired).suggest(modern));
}

/// Finds the retired keys of a document and says so.
pub(crate) fn find(root: Cursor<'_, '_>, findings: &mut Findings) -> Retired {
    let mut out = Retired::default();
    if let Some(plank) = root.get("plank").map(|e| e.value) {
        if let Some(entry) = plank.get(ALLOW_CANCELLATIONS.key) {
            retired(&entry, &ALLOW_CANCELLATIONS, findings);
        }
        if let Some(entry) = plank.get(DEFAULT_DECORATION_CONFIG.key) {
            retired(&entry, &DEFAULT_DECORATION_CONFIG, findings);
            note_numbers(entry.value, findings);
            out.decoration = Some(entry.value.decode(false, findings).0);
        }
        // Other shapes than these are reported where the sections are read.
        let mut ignored = Findings::new(findings.file.clone());
        if let Some(by_repo) = plank.get("default_decoration_configs") {
            for entry in by_repo.value.entries(&mut ignored) {
                note_numbers(entry.value, findings);
            }
        }
        if let Some(list) = plank.get("default_decoration_config_entries") {
            for config in list.value.items(&mut ignored).into_iter().filter_map(|item| item.get("config")) {
                note_numbers(config.value, findings);
            }
        }
        if let Some(entry) = plank.get(JOB_URL_PREFIX.key) {
            retired(&entry, &JOB_URL_PREFIX, findings);
            out.job_url_prefix = Some(entry.value.decode(false, findings).0);
        }
    }
    if let Some(entry) =
        root.get("deck").and_then(|d| d.value.get("spyglass")).and_then(|s| s.value.get("viewers"))
    {
        out.lenses = viewers(&entry, findings);
    }
    out
}

/// Today's name of a viewer of 2018.
fn lens_name(viewer: &str) -> Option<&'static str> {
    Some(match viewer {
        "build-log-viewer" => "buildlog",
        "junit-viewer" => "junit",
        "metadata-viewer" => "metadata",
        "coverage-viewer" => "coverage",
        "restcoverage-viewer" => "restcoverage",
        _ => return None,
    })
}

/// `viewers` maps a pattern to lens names. With names of 2018 it means lenses in the order of the file. Otherwise
/// it is what upstream still reads: lenses after the others, by name; see `finish`.
fn viewers(entry: &Entry<'_, '_>, findings: &mut Findings) -> Vec<LensFileConfig> {
    let modern = "write lenses: [{required_files: [PATTERN], lens: {name: NAME}}]";
    warn(entry, "this key is retired; its viewers are taken for lenses", modern, findings);
    let mut lenses = Vec::new();
    let mut old = false;
    for viewer in entry.value.entries(findings) {
        let names: Vec<String> = viewer.value.decode(false, findings).0;
        let pattern = match GoRegex::new(&viewer.key) {
            Ok(pattern) => pattern,
            Err(error) => {
                findings.note(viewer.key_at, Diagnostic::error(error.to_string()));
                continue;
            }
        };
        for name in names {
            let today = lens_name(&name);
            old |= today.is_some();
            let name = today.map_or(name, str::to_owned);
            let lens = LensConfig { name, config: None };
            lenses.push(LensFileConfig {
                required_files: vec![pattern.clone()],
                lens,
                ..LensFileConfig::default()
            });
        }
    }
    if old { lenses } else { Vec::new() }
}

impl Retired {
    /// Gives the retired keys the effect that they had, where today's keys do not say otherwise.
    pub(crate) fn apply(self, prow: &mut ProwConfig) {
        if let Some(config) = self.decoration
            && prow.plank.default_decoration_config_entries.is_empty()
        {
            prow.plank.default_decoration_configs.entry("*".into()).or_insert(config);
        }
        if let Some(prefix) = self.job_url_prefix {
            prow.plank.job_url_prefix_config.entry("*".into()).or_insert(prefix);
        }
        if !self.lenses.is_empty() {
            prow.deck.spyglass.lenses.extend(self.lenses);
            prow.deck.spyglass.viewers.clear();
        }
    }
}
