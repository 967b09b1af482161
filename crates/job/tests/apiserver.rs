//! Every Pod that comes out is one that a real API server takes: by Kubernetes' own OpenAPI definitions, and by the
//! rules that it has beside them.
//!
//! The definitions are Kubernetes', not ours: `.ci/run` puts them into `prow-tests/kubernetes-openapi` of the cache
//! directory (`$XDG_CACHE_HOME`, `~/.cache`), one `.json` a version. Without them that half says that it was skipped.

#![allow(clippy::unwrap_used)]

#[path = "apiserver/fixtures.rs"]
mod fixtures;
#[path = "apiserver/openapi.rs"]
mod openapi;
#[path = "apiserver/rules.rs"]
mod rules;

use flate2::read::MultiGzDecoder;
use openapi::Definitions;
use prow_api::prowjob::ProwJob;
use prow_job::pod::{PodOptions, pod};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

struct ApiServers(Vec<(String, Definitions)>);

impl ApiServers {
    fn load() -> ApiServers {
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let directory = cache.or_else(home).unwrap_or_default().join("prow-tests/kubernetes-openapi");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let definitions = Definitions::parse(&std::fs::read_to_string(&path).unwrap());
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                found.push((
                    name,
                    definitions.unwrap_or_else(|| panic!("{} has no definitions", path.display())),
                ));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        if found.is_empty() {
            eprintln!(
                "skipped: validation against Kubernetes' OpenAPI definitions; there are none in {}; .ci/run fetches them",
                directory.display()
            );
        }
        ApiServers(found)
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "no schema".into() } else { names.join(", ") }
    }

    /// What API servers would say about the Pod of `prowjob`.
    fn refusals(&self, prowjob: &ProwJob, options: &PodOptions) -> Vec<String> {
        let pod = match pod(prowjob, "1799999999999999999", options) {
            Ok(pod) => pod,
            Err(error) => return vec![format!("no Pod: {error}")],
        };
        let mut found = rules::check(&pod);
        let value = json!(pod);
        for (name, definitions) in &self.0 {
            let wrong = definitions.check("io.k8s.api.core.v1.Pod", &value);
            found.extend(wrong.into_iter().map(|what| format!("{name}: {what}")));
        }
        found
    }
}

#[test]
fn pods_of_every_option_are_accepted() {
    let servers = ApiServers::load();
    let mut count = 0;
    for (what, prowjob) in fixtures::prowjobs() {
        for local_output in [None, Some("/tmp/out".to_owned())] {
            let options = PodOptions {
                namespace: "test-pods".into(),
                plank_version: "v20260801-0123456789".into(),
                local_output,
            };
            assert_eq!(servers.refusals(&prowjob, &options), [""; 0], "{what}");
            count += 1;
        }
    }
    eprintln!("{count} Pods of fixtures are accepted ({})", servers.names());
}

#[test]
fn other_things_are_refused() {
    let (_, prowjob) = fixtures::prowjobs().swap_remove(0);
    let good = json!(pod(&prowjob, "17", &PodOptions::default()).unwrap());
    for (name, definitions) in ApiServers::load().0 {
        for (pointer, value) in [
            ("/spec/containers/0/image", json!(1)),
            ("/spec/containers/0/env/0", json!({"value": "without a name"})),
            ("/spec/containers/0/env/0", json!({"name": "A", "valeu": "x"})),
            ("/spec/containers/0/resources/limits/memory", json!(["1Gi"])),
            ("/spec/volumes/0/emptyDir", json!("")),
            ("/spec/securityContext/runAsUser", json!("1000")),
            ("/metadata/labels/mine", json!(true)),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            let found = definitions.check("io.k8s.api.core.v1.Pod", &bad);
            assert_eq!(found.len(), 1, "{name} {pointer}: {found:?}");
        }
    }
}

/// The ProwJobs that upstream made of a real configuration.
fn golden(set: &str, expected: usize) {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../../shared/golden", set, "pods.jsonl.gz"].iter().collect();
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("skipped: there are no golden records at {}", path.display());
        return;
    };
    let servers = ApiServers::load();
    let (mut count, mut refused) = (0, Vec::new());
    for line in BufReader::new(MultiGzDecoder::new(file)).lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let prowjob: ProwJob = serde_json::from_value(record["prowjob"].clone()).unwrap();
        let found = servers.refusals(&prowjob, &PodOptions::default());
        count += 1;
        if !found.is_empty() {
            refused.push(format!("{}: {}", record["job"], found.join("; ")));
        }
    }
    let shown: Vec<&String> = refused.iter().take(5).collect();
    assert!(refused.is_empty(), "{} of {count} Pods are refused, such as {shown:#?}", refused.len());
    assert_eq!(count, expected);
    eprintln!("{set}: {count} Pods are accepted ({})", servers.names());
}

#[test]
fn kyma_pods_are_accepted() {
    golden("kyma-2019", 337);
}

#[test]
fn kubernetes_pods_are_accepted() {
    golden("kubernetes", 4320);
}
