//! Real configurations against what the reference implementation makes of them. Says so when they are not here.

use prow_config::golden::{
    branch_protection_record, config_record, job_records, plugin_records, tide_branch_record,
    tide_query_record,
};
use prow_config::{LoadOptions, Snapshot, load};
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is not here", path.display());
    None
}

fn records(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("a golden file is readable");
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("a golden file is gzip");
    text.lines().map(|l| serde_json::from_str(l).expect("a golden record is JSON")).collect()
}

/// Nulls and empty objects mean the same as absent members.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(k, v)| (k, normal(v)))
                .filter(|(_, v)| !v.is_null() && v.as_object().is_none_or(|o| !o.is_empty()))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(normal).collect()),
        other => other,
    }
}

fn key(record: &Value) -> String {
    format!("{} {} {}", record["kind"], record["repo"], record["job"]["name"])
}

fn index(records: impl Iterator<Item = Value>) -> HashMap<String, Vec<Value>> {
    let mut out: HashMap<String, Vec<Value>> = HashMap::new();
    for record in records {
        out.entry(key(&record)).or_default().push(normal(record));
    }
    out
}

fn differences(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for k in keys {
                differences(
                    &format!("{path}.{k}"),
                    a.get(k).unwrap_or(&Value::Null),
                    b.get(k).unwrap_or(&Value::Null),
                    out,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), x, y, out);
            }
        }
        _ if want != got => out.push(format!("{path}: wants {want}, got {got}")),
        _ => {}
    }
}

/// Queries in their order, then branches.
fn tide_differences(name: &str, snapshot: &Snapshot, wanted: &[Value]) -> Vec<String> {
    let mut queries = snapshot.prow.tide.queries.iter().map(tide_query_record);
    let mut wrong = Vec::new();
    for record in wanted {
        let text = |key: &str| record[key].as_str().unwrap_or_default();
        let got = if record.get("query").is_some() {
            queries.next().unwrap_or_default()
        } else {
            tide_branch_record(snapshot, text("org"), text("repo"), text("branch"))
        };
        let mut found = Vec::new();
        differences("", &normal(record.clone()), &normal(got), &mut found);
        if !found.is_empty() {
            let what = format!("{}/{}@{}", text("org"), text("repo"), text("branch"));
            wrong.push(format!("tide {what}: {}", found.join("; ")));
        }
    }
    eprintln!("{name}: tide: {} of {} agree", wanted.len() - wrong.len(), wanted.len());
    wrong.extend(queries.map(|query| format!("tide: not expected: {query}")));
    wrong
}

fn compare(name: &str, expected: &Path, options: &LoadOptions) {
    let started = std::time::Instant::now();
    let snapshot = match load(options) {
        Ok(snapshot) => snapshot,
        Err(errors) => panic!("{name}: {errors}"),
    };
    let took = started.elapsed();
    let mut got = index(job_records(&snapshot.jobs));
    let want = index(records(expected).into_iter());
    let (mut same, mut wrong) = (0, Vec::new());
    for (key, wanted) in want {
        let mut have = got.remove(&key).unwrap_or_default().into_iter();
        for record in wanted {
            let mut found = Vec::new();
            differences("", &record, &have.next().unwrap_or_default(), &mut found);
            if found.is_empty() {
                same += 1;
            } else {
                wrong.push(format!("{key}: {}", found.join("; ")));
            }
        }
        wrong.extend(have.map(|_| format!("{key}: not expected")));
    }
    wrong.extend(got.keys().map(|k| format!("{k}: not expected")));
    eprintln!(
        "{name}: {same} jobs agree, {} differ; loaded in {took:?} with {} warnings",
        wrong.len(),
        snapshot.warnings.len()
    );
    let expected_config = records(&expected.with_file_name("config.jsonl.gz")).remove(0);
    let mut found = Vec::new();
    differences("", &normal(expected_config), &normal(config_record(&snapshot.prow)), &mut found);
    eprintln!("{name}: config.yaml: {} differences", found.len());
    wrong.extend(found);
    let wanted = records(&expected.with_file_name("branch_protection.jsonl.gz"));
    let (total, before) = (wanted.len(), wrong.len());
    for record in wanted {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let (org, repo, branch) = (text("org"), text("repo"), text("branch"));
        let got = branch_protection_record(&snapshot, &org, &repo, &branch);
        let mut found = Vec::new();
        differences("", &normal(record), &normal(got), &mut found);
        if !found.is_empty() {
            wrong.push(format!("branch protection of {org}/{repo}@{branch}: {}", found.join("; ")));
        }
    }
    eprintln!("{name}: branch protection: {} of {total} agree", total - (wrong.len() - before));
    wrong.extend(tide_differences(name, &snapshot, &records(&expected.with_file_name("tide.jsonl.gz"))));
    if options.plugin_config.is_some() {
        let id = |r: &Value| format!("{} {}", r["org"], r["repo"]);
        let got: HashMap<String, Value> = plugin_records(&snapshot.plugins, &snapshot.jobs)
            .into_iter()
            .map(|r| (id(&r), normal(r)))
            .collect();
        let wanted = records(&expected.with_file_name("plugins.jsonl.gz"));
        let (total, before) = (wanted.len(), wrong.len());
        for record in wanted {
            let mut found = Vec::new();
            differences(
                "",
                &normal(record.clone()),
                got.get(&id(&record)).unwrap_or(&Value::Null),
                &mut found,
            );
            if !found.is_empty() {
                wrong.push(format!("plugins {}: {}", id(&record), found.join("; ")));
            }
        }
        eprintln!("{name}: plugins: {} of {total} agree", total - (wrong.len() - before));
    }
    wrong.truncate(20);
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

#[test]
fn kyma_2019_with_its_original_configuration() {
    let Some(shared) = shared() else { return };
    let corpus = shared.join("corpus/kyma-2019");
    let options = LoadOptions {
        config_path: corpus.join("config.yaml"),
        job_config_path: Some(corpus.join("jobs")),
        plugin_config: Some(corpus.join("plugins.yaml")),
        ..LoadOptions::default()
    };
    compare("kyma-2019, original", &shared.join("golden/kyma-2019/jobs.jsonl.gz"), &options);
}

#[test]
fn kyma_2019_with_its_keys_made_modern() {
    let Some(shared) = shared() else { return };
    let options = LoadOptions {
        config_path: shared.join("golden/kyma-2019/config.modern.yaml"),
        job_config_path: Some(shared.join("corpus/kyma-2019/jobs")),
        ..LoadOptions::default()
    };
    compare("kyma-2019, modern", &shared.join("golden/kyma-2019/jobs.jsonl.gz"), &options);
}

#[test]
fn kubernetes() {
    let Some(shared) = shared() else { return };
    let corpus = shared.join("corpus/kubernetes");
    let options = LoadOptions {
        config_path: corpus.join("config.yaml"),
        job_config_path: Some(corpus.join("jobs")),
        plugin_config: Some(corpus.join("plugins.yaml")),
        ..LoadOptions::default()
    };
    compare("kubernetes", &shared.join("golden/kubernetes/jobs.jsonl.gz"), &options);
}
