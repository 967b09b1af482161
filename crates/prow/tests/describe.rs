//! `prow config schema` and `prow config docs` from the outside: what they print is JSON, and a file that loads.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use std::process::{Command, Output};

fn prow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prow")).args(args).output().unwrap()
}

fn printed(args: &[&str]) -> String {
    let output = prow(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_kind_of_file_has_its_schema() {
    for (kind, key) in
        [("config", "plank"), ("plugins", "triggers"), ("jobs", "periodics"), ("prow-yaml", "presubmits")]
    {
        let text = printed(&["config", "schema", "--kind", kind]);
        let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(schema["properties"][key]["description"].is_string(), "{kind} has no {key}");
    }
    let usual: serde_json::Value = serde_json::from_str(&printed(&["config", "schema"])).unwrap();
    assert_eq!(usual["title"], "Prow: config.yaml");
    assert_eq!(prow(&["config", "schema", "--kind", "cats"]).status.code(), Some(2));
}

#[test]
fn the_example_loads_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let config = file("config.yaml", &printed(&["config", "docs"]));
    let jobs = file("jobs.yaml", &printed(&["config", "docs", "--kind", "jobs"]));
    let jobs = printed(&["config", "jobs", "--config-path", &config, "--job-config-path", &jobs]);
    assert_eq!(jobs, "", "the example has no jobs");
}
