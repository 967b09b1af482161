//! The specs of Tekton PipelineRuns in jobs: what of older forms Prow does not read (prow-config §5). Below the
//! pipeline's own keys, specs are taken as they are: Tekton knows what they mean.

use serde_json::{Map, Value};

/// Keys of a PipelineRun's spec, Tekton v1.
const RUN: [&str; 9] = [
    "pipelineRef",
    "pipelineSpec",
    "params",
    "status",
    "timeouts",
    "taskRunTemplate",
    "workspaces",
    "taskRunSpecs",
    "managedBy",
];
/// Keys of its `pipelineSpec`.
const PIPELINE: [&str; 7] =
    ["displayName", "description", "tasks", "params", "workspaces", "results", "finally"];

/// Takes out what Prow does not read, and writes keys as Tekton does. The keys that went, as paths.
pub(crate) fn prune(spec: &mut Value) -> Vec<String> {
    let mut gone = Vec::new();
    if let Value::Object(run) = spec {
        keep(run, &RUN, "", &mut gone);
        if let Some(Value::Object(pipeline)) = run.get_mut("pipelineSpec") {
            keep(pipeline, &PIPELINE, "pipelineSpec.", &mut gone);
        }
    }
    gone
}

fn keep(map: &mut Map<String, Value>, known: &[&str], under: &str, gone: &mut Vec<String>) {
    for (key, value) in std::mem::take(map) {
        match known.iter().find(|k| k.eq_ignore_ascii_case(&key)) {
            Some(known) => {
                map.insert((*known).to_owned(), value);
            }
            None => gone.push(format!("{under}{key}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn older_keys_go() {
        let mut spec = json!({
            "resources": [{"name": "git"}], "ServiceAccountName": "robot",
            "pipelinespec": {"resources": [], "tasks": [{"taskRef": {"name": "PROW_IMPLICIT_GIT_REF"}}]},
            "params": [{"name": "a", "value": "b"}],
        });
        assert_eq!(prune(&mut spec), ["ServiceAccountName", "resources", "pipelineSpec.resources"]);
        let want = json!({
            "pipelineSpec": {"tasks": [{"taskRef": {"name": "PROW_IMPLICIT_GIT_REF"}}]},
            "params": [{"name": "a", "value": "b"}],
        });
        assert_eq!(spec, want);
    }
}
