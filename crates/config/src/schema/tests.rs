//! Schema and decoder agree on every key; defaults are what loads; descriptions are there; real files validate.

use super::*;
use crate::goyaml::{Document, Findings};
use crate::jobfile::{IN_REPO_KEYS, JOB_KEYS};
use crate::plugins;
use crate::prowconfig;
use crate::{LoadOptions, load};
use prow_api::schema::{Shape, shape};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn target<'s>(root: &'s Value, mut schema: &'s Value) -> &'s Value {
    while let Some(reference) =
        schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str)
    {
        schema = root.pointer(reference.trim_start_matches('#')).expect("a definition");
    }
    schema
}

/// Keys that differ between what a decoder reads and what the schema has.
fn compare(root: &Value, schema: &Value, shape: &Shape, path: &str, out: &mut Vec<String>) {
    let schema = target(root, schema);
    match shape {
        Shape::Struct(_, fields) => {
            let Some(properties) = schema["properties"].as_object() else {
                let list = schema["anyOf"].as_array();
                match list.and_then(|l| l.iter().find(|s| target(root, s)["properties"].is_object())) {
                    Some(choice) => compare(root, choice, shape, path, out),
                    None => out.push(format!("{path}: no properties")),
                }
                return;
            };
            let mut left: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            for (field, shape) in fields {
                if left.remove(field) {
                    compare(root, &properties[*field], shape, &format!("{path}.{field}"), out);
                } else {
                    out.push(format!("{path}.{field}: the decoder reads it, the schema does not have it"));
                }
            }
            left.retain(|key| RETIRED.iter().all(|r| r.key != *key));
            out.extend(
                left.iter()
                    .map(|key| format!("{path}.{key}: the schema has it, the decoder does not read it")),
            );
        }
        Shape::List(item) => compare(root, &schema["items"], item, &format!("{path}[]"), out),
        Shape::Map(item) => {
            compare(root, &schema["additionalProperties"], item, &format!("{path}[KEY]"), out)
        }
        // Of all types of jobs, GitHub is told of two.
        Shape::OneOf(_) if path.ends_with("github_reporter.job_types_to_report[]") => {}
        Shape::OneOf(words) => {
            let known = schema.to_string();
            let missing = words.iter().filter(|w| !known.contains(&format!("{w:?}")));
            out.extend(missing.map(|w| format!("{path}: no {w}")));
        }
        Shape::Bool | Shape::Integer | Shape::Number | Shape::Text => {
            let want = match shape {
                Shape::Bool => "boolean",
                Shape::Integer => "integer",
                Shape::Number => "number",
                _ => "string",
            };
            let known = schema.to_string();
            if !known.contains(&format!("{want:?}")) {
                out.push(format!("{path}: the decoder wants a {want}, the schema says {known}"));
            }
        }
        Shape::Any | Shape::Again(_) => {}
    }
}

#[test]
fn the_schema_has_the_keys_that_the_decoder_reads_and_no_others() {
    let mut wrong = Vec::new();
    let config = schema(Kind::Config);
    // config.yaml has the keys of job files, too; those are read one by one.
    let mut of_config = config.clone();
    let properties = of_config["properties"].as_object_mut().unwrap();
    let jobs: BTreeSet<&str> = JOB_KEYS.into_iter().filter(|k| properties.remove(*k).is_some()).collect();
    assert_eq!(jobs, JOB_KEYS.into_iter().collect());
    compare(&of_config, &of_config, &shape::<ProwConfig>(), "config", &mut wrong);
    let of_plugins = schema(Kind::Plugins);
    // What is read by rules of its own is compared by its own type.
    let sections = [
        ("plugins", shape::<std::collections::BTreeMap<String, plugins::OrgPlugins>>()),
        ("config_updater", shape::<plugins::ConfigUpdater>()),
    ];
    let mut whole = shape::<PluginConfig>();
    if let Shape::Struct(_, fields) = &mut whole {
        for (field, shape) in fields.iter_mut() {
            if let Some((_, own)) = sections.iter().find(|(name, _)| name == field) {
                *shape = own.clone();
            }
        }
    }
    let mut of_plugins_objects = of_plugins.clone();
    let objects = of_plugins_objects["properties"]["plugins"]["anyOf"][0].take();
    of_plugins_objects["properties"]["plugins"] = objects;
    compare(&of_plugins_objects, &of_plugins_objects, &whole, "plugins", &mut wrong);
    let of_jobs = schema(Kind::Jobs);
    let keys: BTreeSet<&str> =
        of_jobs["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, JOB_KEYS.into_iter().collect());
    let in_repo = schema(Kind::ProwYaml);
    let own: BTreeSet<&str> = in_repo["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(own, IN_REPO_KEYS.into_iter().collect());
    let Shape::Struct(_, job) = shape::<RawJob>() else { panic!("a job is a struct") };
    for (name, kind) in [
        ("Presubmit", JobKind::Presubmit),
        ("Postsubmit", JobKind::Postsubmit),
        ("Periodic", JobKind::Periodic),
    ] {
        let read = job.iter().filter(|(key, _)| kind.reads(key)).cloned().collect();
        compare(&of_jobs, &of_jobs["definitions"][name], &Shape::Struct("Job", read), name, &mut wrong);
    }
    compare(&of_jobs, &of_jobs["definitions"]["RawPreset"], &shape::<RawPreset>(), "preset", &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(keys.len() > 4 && job.len() > 40, "the walk saw next to nothing");
}

/// Visits every property with its path.
fn properties(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    for place in ["properties", "definitions"] {
        for (key, below) in schema[place].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            visit(&path, below);
            properties(below, &path, visit);
        }
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            properties(&schema[key], path, visit);
        }
    }
    for key in ["anyOf", "allOf", "oneOf"] {
        for below in schema[key].as_array().into_iter().flatten() {
            properties(below, path, visit);
        }
    }
}

#[test]
fn everything_is_described_and_nothing_of_the_code_shows() {
    for kind in Kind::ALL {
        let schema = schema(kind);
        let (mut count, mut wrong) = (0, Vec::new());
        properties(&schema, "", &mut |path, property| {
            count += 1;
            let text = property["description"].as_str().unwrap_or_default();
            let bad = ["§", "::", "[`", "\n"].iter().any(|s| text.contains(s));
            if text.len() < 6
                || !text.ends_with(['.', ':', ']', '*']) && property.get("deprecationMessage").is_none()
                || bad
            {
                wrong.push(format!("{kind:?}{path}: {text:?}"));
            }
        });
        assert!(count > 200, "{kind:?} has {count} properties");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(schema["description"].as_str().is_some_and(|d| d.ends_with('.')), "{kind:?}");
    }
}

/// An instance with one empty entry in every list and map of sections, so that each default has a place to show.
fn instance(root: &Value, schema: &Value, depth: usize) -> Option<Value> {
    let schema = target(root, schema);
    if schema["description"].as_str().is_some_and(|d| d.starts_with("Kubernetes'")) || depth > 12 {
        return None;
    }
    if let Some(properties) = schema["properties"].as_object() {
        let members: Map<String, Value> = properties
            .iter()
            .filter(|(_, p)| p.get("deprecationMessage").is_none())
            .filter_map(|(key, p)| Some((key.clone(), instance(root, p, depth + 1)?)))
            .collect();
        return Some(Value::Object(members));
    }
    let below =
        |key: &str| schema.get(key).filter(|s| s.is_object()).and_then(|s| instance(root, s, depth + 1));
    if let Some(item) = below("items") {
        return Some(json!([item]));
    }
    if let Some(item) = below("additionalProperties") {
        return Some(json!({"key": item}));
    }
    None
}

/// Stated defaults that are not what is there.
fn defaults(
    root: &Value,
    schema: &Value,
    value: &Value,
    path: &str,
    out: &mut Vec<String>,
    seen: &mut usize,
) {
    let schema = target(root, schema);
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        let got = &value[key];
        if let Some(want) = property.get("default") {
            *seen += 1;
            // Zero values are left out when written.
            let zero = got.is_null() && (want == &json!(false) || want == &json!(0));
            if got != want && !zero {
                out.push(format!("{path}: the schema says {want}, loading gives {got}"));
            }
        } else if property.get("deprecationMessage").is_none() && !got.is_null() {
            defaults(root, property, got, &path, out, seen);
        }
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for item in list {
            defaults(root, items, item, &format!("{path}[]"), out, seen);
        }
    }
    if let (Some(items @ Value::Object(_)), Some(map)) =
        (schema.get("additionalProperties"), value.as_object())
    {
        for item in map.values() {
            defaults(root, items, item, &format!("{path}[KEY]"), out, seen);
        }
    }
}

#[test]
fn stated_defaults_are_what_loading_gives() {
    let schema_of_config = schema(Kind::Config);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for start in [json!({}), instance(&schema_of_config, &schema_of_config, 0).unwrap()] {
        let mut start = start;
        for key in JOB_KEYS {
            start.as_object_mut().unwrap().remove(key);
        }
        let mut prow: ProwConfig = serde_json::from_value(start).unwrap();
        // Half of the instance is against some rule: only the defaults count.
        prowconfig::finish(&mut prow, &mut Vec::new());
        // Two that are filled in where they are asked for, as upstream writes them.
        prow.horologium.tick_interval = Some(prow.horologium.tick_interval());
        prow.deck.spyglass.pr_history_link_template = Some(prow.deck.spyglass.pr_history_link());
        let value = serde_json::to_value(&prow).unwrap();
        let mut of_config = schema_of_config.clone();
        let properties = of_config["properties"].as_object_mut().unwrap();
        JOB_KEYS.iter().for_each(|k| drop(properties.remove(*k)));
        defaults(&of_config, &of_config, &value, "config", &mut wrong, &mut seen);
    }
    let of_plugins = schema(Kind::Plugins);
    for start in [json!({}), instance(&of_plugins, &of_plugins, 0).unwrap()] {
        let mut config: PluginConfig = serde_json::from_value(start).unwrap();
        plugins::finish(&mut config, &mut Vec::new());
        // What is filled in where it is asked for, since the file's own text is kept.
        config.approve.iter_mut().for_each(|a| *a = a.clone().with_defaults());
        config.dco.values_mut().for_each(|d| *d = d.clone().with_defaults());
        config.golint.minimum_confidence = Some(config.golint.minimum_confidence());
        config.welcome.iter_mut().for_each(|w| w.message_template = w.message_template().to_owned());
        for invite in config.triggers.iter_mut().filter_map(|t| t.org_invite.as_mut()) {
            invite.prominent.iter_mut().for_each(|p| p.merged_pr_threshold = Some(p.merged_pr_threshold()));
        }
        let value = serde_json::to_value(&config).unwrap();
        defaults(&of_plugins, &of_plugins, &value, "plugins", &mut wrong, &mut seen);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "only {seen} defaults were seen");
}

#[test]
fn stated_defaults_of_jobs_are_what_loading_gives() {
    let dir = tempfile::tempdir().unwrap();
    let pod = "spec: {containers: [{image: i, command: [c]}]}";
    let jobs = format!(
        "presubmits: {{o/r: [{{name: a, {pod}}}]}}\npostsubmits: {{o/r: [{{name: b, {pod}}}]}}\nperiodics: [{{name: c, interval: 1h, {pod}}}]\n"
    );
    fs::write(dir.path().join("config.yaml"), jobs).unwrap();
    let options = LoadOptions { config_path: dir.path().join("config.yaml"), ..LoadOptions::default() };
    let snapshot = load(&options).unwrap();
    let root = schema(Kind::Jobs);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for record in crate::golden::job_records(&snapshot.jobs) {
        let name = match record["kind"].as_str().unwrap() {
            "presubmit" => "Presubmit",
            "postsubmit" => "Postsubmit",
            _ => "Periodic",
        };
        defaults(&root, &root["definitions"][name], &record["job"], name, &mut wrong, &mut seen);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 20, "only {seen} defaults were seen");
}

fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is not here", path.display());
    None
}

fn validator(kind: Kind) -> jsonschema::Validator {
    jsonschema::draft7::options().build(&schema(kind)).expect("a schema")
}

/// A file as generic values, as Prow reads it.
fn generic(text: &str) -> Value {
    let mut findings = Findings::new("f".into());
    let document = Document::parse(text, &mut findings).expect("YAML");
    document.root().map(|root| root.decode::<Value>(false, &mut findings).0).unwrap_or_default()
}

fn complaints(validator: &jsonschema::Validator, text: &str) -> Vec<String> {
    validator.iter_errors(&generic(text)).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[test]
fn the_schemas_are_schemas() {
    for kind in Kind::ALL {
        assert!(jsonschema::draft7::meta::is_valid(&schema(kind)), "{kind:?}");
    }
}

fn yaml_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            out.push(path);
        }
    }
}

#[test]
fn real_files_fit() {
    let Some(corpus) = shared() else { return };
    let mut wrong = Vec::new();
    let mut seen = 0;
    let validators = Kind::ALL.map(|kind| (kind, validator(kind)));
    for name in ["kubernetes", "kyma-2019"] {
        let root = corpus.join(name);
        let mut files =
            vec![(Kind::Config, root.join("config.yaml")), (Kind::Plugins, root.join("plugins.yaml"))];
        let mut jobs = Vec::new();
        yaml_files(&root.join("jobs"), &mut jobs);
        files.extend(jobs.into_iter().map(|f| (Kind::Jobs, f)));
        for (kind, file) in files {
            let text = fs::read_to_string(&file).unwrap();
            let (_, validator) = validators.iter().find(|(k, _)| *k == kind).unwrap();
            seen += 1;
            let found = complaints(validator, &text);
            wrong.extend(found.into_iter().map(|c| format!("{}: {c}", file.display())));
        }
    }
    eprintln!("{seen} files");
    assert!(seen > 600, "the corpus has more files");
    // The decoder takes keys in any case, the schema does not; and postsubmits do not read `optional`, which is a
    // warning when it is loaded.
    let explained = [
        ("sig-storage-local-static-provisioner.yaml: /periodics/0/spec/containers/0/env/2", "'NAME'"),
        ("kyma-integration.yaml: /postsubmits/kyma-project~1kyma/2", "'optional'"),
    ];
    for (place, what) in explained {
        let before = wrong.len();
        wrong.retain(|w| !(w.contains(place) && w.contains(what)));
        assert_eq!(wrong.len(), before - 1, "{place} is no longer complained of");
    }
    let shown: Vec<&String> = wrong.iter().take(40).collect();
    assert!(wrong.is_empty(), "{} complaints:\n{shown:#?}", wrong.len());
}

#[test]
fn mistakes_do_not_fit() {
    let pod = "spec: {containers: [{image: i}]}";
    let validators = Kind::ALL.map(|kind| (kind, validator(kind)));
    let of = |kind: Kind| &validators.iter().find(|(k, _)| *k == kind).unwrap().1;
    for (kind, text, place) in [
        (Kind::Config, "planck: {}", ""),
        (Kind::Config, "plank: {pod_pending_timeout: 10}", "/plank/pod_pending_timeout"),
        (Kind::Config, "plank: {pod_pending_timeout: 10 minutes}", "/plank/pod_pending_timeout"),
        (Kind::Config, "plank: {max_concurrency: -1}", "/plank/max_concurrency"),
        (Kind::Config, "log_level: loud", "/log_level"),
        (Kind::Config, "tide: {merge_method: {o: sqash}}", "/tide/merge_method/o"),
        (Kind::Config, "tide: {queries: [{missing_labels: [x]}]}", "/tide/queries/0"),
        (
            Kind::Config,
            "github_reporter: {job_types_to_report: [periodic]}",
            "/github_reporter/job_types_to_report/0",
        ),
        (
            Kind::Config,
            "plank: {default_decoration_configs: {'*': {gcs_configuration: {path_strategy: flat}}}}",
            "/plank/default_decoration_configs/*/gcs_configuration/path_strategy",
        ),
        (Kind::Plugins, "plugins: {o: trigger}", "/plugins"),
        (Kind::Plugins, "trigers: []", ""),
        (Kind::Plugins, "blunderbuss: {request_count: 0}", "/blunderbuss/request_count"),
        (
            Kind::Plugins,
            "invalid_commit_msg: [{checks: [{name: spelling}]}]",
            "/invalid_commit_msg/0/checks/0/name",
        ),
        (Kind::Jobs, "presubmit: {}", "/presubmit"),
        (Kind::Jobs, "periodics: [{name: a}]", "/periodics/0"),
        (Kind::Jobs, "periodics: [{name: a, cron: x, interval: 1h}]", "/periodics/0"),
        (Kind::Jobs, "periodics: [{interval: 1h}]", "/periodics/0"),
        (Kind::Jobs, "periodics: [{name: a, interval: daily}]", "/periodics/0/interval"),
        (Kind::Jobs, "periodics: [{name: a, cron: x, always_run: true}]", "/periodics/0"),
        (Kind::Jobs, "postsubmits: {o/r: [{name: a, optional: true}]}", "/postsubmits/o~1r/0"),
        (
            Kind::Jobs,
            "presubmits: {o/r: [{name: a, max_concurrency: '1'}]}",
            "/presubmits/o~1r/0/max_concurrency",
        ),
        (Kind::Jobs, "presubmits: {o/r: [{name: a b}]}", "/presubmits/o~1r/0/name"),
        (
            Kind::Jobs,
            "presubmits: {o/r: [{name: a, spec: {containers: [{img: i}]}}]}",
            "/presubmits/o~1r/0/spec/containers/0",
        ),
        (Kind::Jobs, "presubmits: {o/r: [{name: a, labels: {x: true}}]}", "/presubmits/o~1r/0/labels/x"),
        (Kind::ProwYaml, "presubmits: {o/r: []}", "/presubmits"),
    ] {
        let found: Vec<String> =
            of(kind).iter_errors(&generic(text)).map(|e| e.instance_path().to_string()).collect();
        assert_eq!(found, [place], "{kind:?}: {text}");
    }
    for text in [
        "",
        "presubmits:\nperiodics: ~",
        "presubmits: {o/r: }",
        &format!("job_template: &t {{ {pod} }}\nperiodics: [{{name: a, cron: '@daily', <<: *t}}]"),
        &format!("presubmits: {{o/r: [{{name: a, {pod}, decoration_config: {{timeout: 3600000000000}}}}]}}"),
        "presubmits: {o/r: [{name: ci/a, agent: jenkins, run_after_success: [{name: b}]}]}",
    ] {
        assert_eq!(complaints(of(Kind::Jobs), text), Vec::<String>::new(), "{text}");
    }
}

fn loaded(kind: Kind, text: &str) -> crate::Snapshot {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("config.yaml"), "").unwrap();
    fs::write(path(kind.file()), text).unwrap();
    let options = LoadOptions {
        config_path: path("config.yaml"),
        job_config_path: Some(path("jobs.yaml")).filter(|p| p.exists()),
        plugin_config: Some(path("plugins.yaml")).filter(|p| p.exists()),
        ..LoadOptions::default()
    };
    load(&options).unwrap_or_else(|errors| panic!("{kind:?}: {errors}\n{text}"))
}

#[test]
fn the_example_loads_in_silence_and_changes_nothing() {
    for kind in [Kind::Config, Kind::Plugins, Kind::Jobs] {
        let text = example(kind);
        let got = loaded(kind, &text);
        let warnings: Vec<String> = got.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, Vec::<String>::new(), "{kind:?}");
        let mut want = loaded(kind, "");
        // What is filled in where it is asked for.
        want.prow.horologium.tick_interval = got.prow.horologium.tick_interval;
        want.prow.deck.spyglass.pr_history_link_template =
            got.prow.deck.spyglass.pr_history_link_template.clone();
        let usual = crate::ProwConfig::default();
        assert_eq!(want.prow.horologium.tick_interval(), usual.horologium.tick_interval());
        let link = want.prow.deck.spyglass.pr_history_link();
        assert_eq!(link, usual.deck.spyglass.pr_history_link());
        assert!(!link.is_empty(), "a template that does not compile is empty");
        assert_eq!(got.prow, want.prow, "{kind:?}");
        assert!(got.jobs.is_empty());
        let mut of_file = got.plugins.clone();
        of_file.document = want.plugins.document.clone();
        if let Some(filled) = of_file.golint.minimum_confidence.take() {
            assert_eq!(filled, want.plugins.golint.minimum_confidence());
        }
        assert_eq!(of_file, want.plugins, "{kind:?}");
    }
}

/// The example with every key active.
fn all_active(text: &str) -> String {
    let prose = |line: &&str| line.trim_start_matches(['#', ' ']).is_empty() || line.contains("## ");
    text.lines().filter(|line| !prose(line)).map(|l| format!("{}\n", l.replacen('#', "", 1))).collect()
}

fn count_keys(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.values().map(|v| 1 + count_keys(v)).sum(),
        Value::Array(list) => list.iter().map(count_keys).sum(),
        _ => 0,
    }
}

#[test]
fn every_key_of_the_example_is_a_key() {
    for kind in Kind::ALL {
        let text = all_active(&example(kind));
        let active = generic(&text);
        let validator = validator(kind);
        let mut wrong: Vec<String> =
            validator.iter_errors(&active).map(|e| format!("{}: {e}", e.instance_path())).collect();
        // A sample of a mandatory text is empty, and the ways to say when a periodic runs exclude each other.
        let of_samples = ["does not match", "more than one of", "date-time"];
        wrong.retain(|w| of_samples.iter().all(|s| !w.contains(s)));
        assert!(wrong.is_empty(), "{kind:?}: {wrong:#?}\n{text}");
        let least = if kind == Kind::Config { 300 } else { 90 };
        assert!(count_keys(&active) > least, "{kind:?}: only {} keys\n{text}", count_keys(&active));
    }
}

#[test]
fn files_with_every_section_fit() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/other-installations");
    for (kind, file) in
        [(Kind::Config, "config.yaml"), (Kind::Plugins, "plugins.yaml"), (Kind::Jobs, "jobs/all.yaml")]
    {
        let text = fs::read_to_string(dir.join(file)).unwrap();
        assert_eq!(complaints(&validator(kind), &text), Vec::<String>::new(), "{file}");
    }
}
