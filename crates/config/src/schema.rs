//! JSON Schema of the configuration files, made from the types that read them: an editor completes and checks by it.
//!
//! ```text
//!  types (doc comments, Default, serde names) ──► schemars ─┐
//!  Kubernetes' types ──► how they are decoded ──────────────┼──► tidy ──► JSON Schema ──► annotated example
//!  the jobs' keys by kind, retired keys ────────────────────┘
//! ```
//!
//! The schema says what loads without a finding. It is stricter than the decoder in one way, since an editor is for
//! people: keys are written in their own case.

mod example;
mod tidy;

#[cfg(test)]
mod tests;

pub use example::example;

use crate::goregex::GoRegex;
use crate::gotemplate::GoTemplate;
use crate::jobfile::{JobKind, RawJob, RawPreset};
use crate::plugins::PluginConfig;
use crate::prowconfig::ProwConfig;
use crate::retired::RETIRED;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// A sort of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// config.yaml, with or without jobs in it.
    Config,
    /// plugins.yaml.
    Plugins,
    /// A file of jobs.
    Jobs,
    /// `.prow.yaml`, and the files of `.prow/`.
    ProwYaml,
}

impl Kind {
    /// All there are.
    pub const ALL: [Kind; 4] = [Kind::Config, Kind::Plugins, Kind::Jobs, Kind::ProwYaml];

    /// What the file says, in one sentence.
    fn describes(self) -> &'static str {
        match self {
            Kind::Config => "Settings of Prow's components; jobs may be here, too.",
            Kind::Plugins => "Which plugins are on for which repositories, and their settings.",
            Kind::Jobs => "Jobs and presets.",
            Kind::ProwYaml => "Jobs of the repository that has the file.",
        }
    }

    /// The file's usual name.
    pub fn file(self) -> &'static str {
        match self {
            Kind::Config => "config.yaml",
            Kind::Plugins => "plugins.yaml",
            Kind::Jobs => "jobs.yaml",
            Kind::ProwYaml => ".prow.yaml",
        }
    }
}

/// A file of jobs; the keys are [`crate::jobfile::JOB_KEYS`], which are read one by one.
#[derive(JsonSchema)]
#[serde(default)]
#[derive(Default)]
#[allow(dead_code)] // only its schema is wanted
struct JobFileKeys {
    /// Parts of Pods that jobs get by their labels.
    presets: Vec<RawPreset>,
    /// Jobs for pull requests, by `org/repo`.
    #[schemars(schema_with = "presubmits_by_repo")]
    presubmits: Map<String, Value>,
    /// Jobs for pushes, by `org/repo`.
    #[schemars(schema_with = "postsubmits_by_repo")]
    postsubmits: Map<String, Value>,
    /// Jobs for the clock.
    #[schemars(schema_with = "periodics")]
    periodics: Vec<Value>,
    /// Decorate the jobs that do not say. It counts in config.yaml only.
    decorate_all_jobs: bool,
    /// Not read: a place for YAML anchors.
    prow_ignored: Value,
}

/// Jobs in the tested repository itself.
#[derive(JsonSchema)]
#[serde(default)]
#[derive(Default)]
#[allow(dead_code)] // only its schema is wanted
struct ProwYamlKeys {
    /// Parts of Pods that jobs get by their labels, beside those of the central configuration.
    presets: Vec<RawPreset>,
    /// Jobs for pull requests.
    #[schemars(schema_with = "presubmits")]
    presubmits: Vec<Value>,
    /// Jobs for pushes.
    #[schemars(schema_with = "postsubmits")]
    postsubmits: Vec<Value>,
    /// Not read: a place for YAML anchors.
    prow_ignored: Value,
}

fn list(item: Schema) -> Schema {
    json_schema!({"type": "array", "items": item})
}
fn by_repo(item: Schema) -> Schema {
    json_schema!({"type": "object", "additionalProperties": list(item)})
}
fn presubmits(generator: &mut SchemaGenerator) -> Schema {
    list(job(JobKind::Presubmit, generator))
}
fn postsubmits(generator: &mut SchemaGenerator) -> Schema {
    list(job(JobKind::Postsubmit, generator))
}
fn periodics(generator: &mut SchemaGenerator) -> Schema {
    list(job(JobKind::Periodic, generator))
}
fn presubmits_by_repo(generator: &mut SchemaGenerator) -> Schema {
    by_repo(job(JobKind::Presubmit, generator))
}
fn postsubmits_by_repo(generator: &mut SchemaGenerator) -> Schema {
    by_repo(job(JobKind::Postsubmit, generator))
}

/// A job of one kind: the keys that this kind reads.
fn job(kind: JobKind, generator: &mut SchemaGenerator) -> Schema {
    let (name, description) = match kind {
        JobKind::Presubmit => ("Presubmit", "A job for pull requests."),
        JobKind::Postsubmit => ("Postsubmit", "A job for pushes."),
        JobKind::Periodic => {
            ("Periodic", "A job for the clock: with one of cron, interval and minimum_interval.")
        }
    };
    if !generator.definitions().contains_key(name) {
        let mut schema = RawJob::json_schema(generator).to_value();
        schema["description"] = description.into();
        schema["required"] = json!(["name"]);
        if kind == JobKind::Periodic {
            let one = ["cron", "interval", "minimum_interval"].map(|key| json!({"required": [key]}));
            schema["oneOf"] = json!(one);
        }
        if let Some(properties) = schema["properties"].as_object_mut() {
            properties.retain(|key, _| kind.reads(key));
        }
        generator.definitions_mut().insert(name.into(), schema);
    }
    json_schema!({"$ref": format!("#/definitions/{name}")})
}

/// A text in any mixture of upper and lower case, as a pattern.
pub(crate) fn any_case(text: &str) -> String {
    text.chars().map(|c| format!("[{}{c}]", c.to_ascii_uppercase())).collect()
}

impl JsonSchema for GoRegex {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "GoRegex".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "x-kind": "regular expression"})
    }
}

impl JsonSchema for GoTemplate {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "GoTemplate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "x-kind": "template"})
    }
}

/// Singular forms and other spellings of the keys of a job file. Other keys may hold anchors.
const MISSPELT: &str = "^[Pp](re|ost)[_-]?[Ss]ubmit$|^[Pp](re|ost)[_-]?Submits$|^[Pp]eriodic$|^[Pp]reset$";

/// JSON Schema (draft 7) of a sort of file.
pub fn schema(kind: Kind) -> Value {
    let mut out = built(kind);
    tidy::strip_marks(&mut out);
    out
}

/// Outside config.yaml, presets take numbers for texts, which Pods do not (prow-config §0.1): they get Kubernetes'
/// types of their own.
fn coerce_presets(definitions: &mut Map<String, Value>) {
    const STRICT: &str = "#/definitions/kubernetes.";
    const LENIENT: &str = "#/definitions/kubernetes.lenient.";
    let mut left = vec!["RawPreset".to_owned()];
    while let Some(name) = left.pop() {
        let own = name == "RawPreset";
        let copy = if own { name.clone() } else { format!("kubernetes.lenient.{name}") };
        let source = if own { name } else { format!("kubernetes.{name}") };
        let Some(schema) = definitions.get(&source).filter(|_| own || !definitions.contains_key(&copy))
        else {
            continue;
        };
        let text = schema.to_string();
        left.extend(text.split(STRICT).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        // The text of a JSON value with other references is a JSON value.
        let mut lenient: Value = serde_json::from_str(&text.replace(STRICT, LENIENT)).unwrap_or_default();
        lenient[tidy::COERCE] = true.into();
        definitions.insert(copy, lenient);
    }
}

/// The schema with the marks that the example is made by.
fn built(kind: Kind) -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let of_jobs = |generator: &mut SchemaGenerator| JobFileKeys::json_schema(generator).to_value();
    let mut root = match kind {
        Kind::Config => {
            let mut root = ProwConfig::json_schema(&mut generator).to_value();
            let jobs = of_jobs(&mut generator);
            if let (Some(all), Value::Object(mut more)) = (root["properties"].as_object_mut(), jobs)
                && let Some(Value::Object(more)) = more.remove("properties")
            {
                all.extend(more);
            }
            root
        }
        Kind::Plugins => PluginConfig::json_schema(&mut generator).to_value(),
        Kind::Jobs => of_jobs(&mut generator),
        Kind::ProwYaml => ProwYamlKeys::json_schema(&mut generator).to_value(),
    };
    if matches!(kind, Kind::Jobs | Kind::ProwYaml) {
        root["patternProperties"] = json!({MISSPELT: false});
        root["additionalProperties"] = json!(true);
    }
    for retired in &RETIRED {
        let mut schema = (retired.schema)(&mut generator).to_value();
        schema["description"] = retired.means.into();
        schema["deprecationMessage"] = retired.modern.into();
        let definitions = generator.definitions_mut();
        for owner in retired.owners {
            if let Some(properties) =
                definitions.get_mut(*owner).and_then(|d| d["properties"].as_object_mut())
            {
                properties.insert(retired.key.to_owned(), schema.clone());
            }
        }
    }
    let mut definitions = generator.take_definitions(false);
    if matches!(kind, Kind::Jobs | Kind::ProwYaml) {
        coerce_presets(&mut definitions);
    }
    root["definitions"] = Value::Object(definitions);
    tidy::tidy(&mut root, kind == Kind::Plugins);
    root["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    root["title"] = format!("Prow: {}", kind.file()).into();
    root["description"] = kind.describes().into();
    root
}
