//! Keys of older Prows that are no fields any more: what they are, and today's form. They load with a warning
//! ([`crate::prowconfig`], [`crate::plugins`], [`crate::jobfile`]), and editors strike them through.

use crate::diagnostic::{Diagnostic, Kind};
use crate::goyaml::{Cursor, Findings};
use prow_api::{DecorationConfig, GoDuration};
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// A key that is read for its old meaning.
pub(crate) struct RetiredKey {
    /// Definitions of the schema that it belongs to.
    pub owners: &'static [&'static str],
    /// The key.
    pub key: &'static str,
    /// What becomes of it.
    pub means: &'static str,
    /// Today's form.
    pub modern: &'static str,
    /// Schema of its value.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// Notes durations of a decoration config that are written as numbers, which mean nanoseconds.
pub(crate) fn note_numbers(config: Cursor<'_, '_>, findings: &mut Findings) {
    for key in ["timeout", "grace_period"] {
        let Some(value) = config.get(key).map(|entry| entry.value) else { continue };
        let Some(number) = value.whole_number().filter(|number| *number != 0) else { continue };
        let today = GoDuration(number);
        let warning = Diagnostic::warning(format!("a number counts nanoseconds: {number} is {today}"));
        findings.note(value, warning.kind(Kind::Retired).suggest(format!("write {today}")));
    }
}

fn any(_: &mut SchemaGenerator) -> Schema {
    Schema::default()
}
fn flag(generator: &mut SchemaGenerator) -> Schema {
    bool::json_schema(generator)
}
fn text(generator: &mut SchemaGenerator) -> Schema {
    String::json_schema(generator)
}
fn decoration(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<DecorationConfig>()
}

pub(crate) const ALLOW_CANCELLATIONS: RetiredKey = RetiredKey {
    owners: &["Plank"],
    key: "allow_cancellations",
    means: "older runs of a pull request's jobs are always aborted today",
    modern: "remove the key",
    schema: flag,
};
pub(crate) const DEFAULT_DECORATION_CONFIG: RetiredKey = RetiredKey {
    owners: &["Plank"],
    key: "default_decoration_config",
    means: "this key is retired; it is taken for the default of all repositories",
    modern: "write default_decoration_configs: {\"*\": ...}",
    schema: decoration,
};
pub(crate) const JOB_URL_PREFIX: RetiredKey = RetiredKey {
    owners: &["Plank"],
    key: "job_url_prefix",
    means: "this key is retired; it is taken for the prefix of all repositories",
    modern: "write job_url_prefix_config: {\"*\": ...}",
    schema: text,
};
pub(crate) const RUN_AFTER_SUCCESS: RetiredKey = RetiredKey {
    owners: &["Presubmit", "Postsubmit", "Periodic"],
    key: "run_after_success",
    means: "jobs after jobs are gone, these never run",
    modern: "write each as a job of its own",
    schema: any,
};
pub(crate) const CONFIG_FILE: RetiredKey = RetiredKey {
    owners: &["ConfigUpdater"],
    key: "config_file",
    means: "this key is retired",
    modern: "write maps: {PATH: {name: config}}",
    schema: text,
};
pub(crate) const PLUGIN_FILE: RetiredKey = RetiredKey {
    owners: &["ConfigUpdater"],
    key: "plugin_file",
    means: "this key is retired",
    modern: "write maps: {PATH: {name: plugins}}",
    schema: text,
};

/// All of them, for the schema.
pub(crate) const RETIRED: [RetiredKey; 6] = [
    ALLOW_CANCELLATIONS,
    DEFAULT_DECORATION_CONFIG,
    JOB_URL_PREFIX,
    RUN_AFTER_SUCCESS,
    CONFIG_FILE,
    PLUGIN_FILE,
];
