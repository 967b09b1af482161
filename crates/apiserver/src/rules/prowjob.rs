//! ProwJobs as their CRD takes them (prow-config §1.1): the type's table, and the one rule that spans members.

use serde_json::Value;

use crate::schema::find;
use crate::schema::walk::{Findings, walk};
use crate::status::Cause;

/// States in which completionTime must be set. `aborted` is exempt.
const COMPLETE: &[&str] = &["success", "failure", "error"];

/// Prunes unknown members of a ProwJob and checks the rest. Members that are `null` count as absent and go too.
pub fn prune_and_check(prowjob: &mut Value) -> Findings {
    let mut findings = Findings::default();
    let of = find("ProwJob").expect("the tables have ProwJob").get();
    walk(of, prowjob, "", &mut findings);
    let status = &prowjob["status"];
    let state = status["state"].as_str().unwrap_or("");
    if COMPLETE.contains(&state) && status["completionTime"].is_null() {
        findings.causes.push(Cause::required("status.completionTime", &format!("state is {state}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{Ty, Type};

    fn base() -> Value {
        json!({
            "apiVersion": "prow.k8s.io/v1", "kind": "ProwJob", "metadata": {"name": "a"},
            "spec": {"job": "j", "type": "presubmit", "refs": {"org": "o", "repo": "r",
                "pulls": [{"number": 1, "author": "a", "sha": "s"}]},
                "pod_spec": {"containers": [{"name": "", "image": "x"}]}},
            "status": {"state": "triggered", "startTime": "2026-11-22T07:00:00Z"},
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut job = base();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        match job.pointer_mut(parent).unwrap() {
            Value::Object(map) if value.is_null() => {
                map.remove(last);
            }
            Value::Object(map) => {
                map.insert(last.to_owned(), value);
            }
            _ => panic!("{pointer}"),
        }
        job
    }

    #[test]
    fn violations_name_the_field() {
        assert!(prune_and_check(&mut base()).causes.is_empty());
        for (pointer, value, field) in [
            ("/spec/job", json!(null), "spec.job"),
            ("/spec/type", json!(null), "spec.type"),
            ("/spec/type", json!("nightly"), "spec.type"),
            ("/spec/max_concurrency", json!(-1), "spec.max_concurrency"),
            ("/spec/max_concurrency", json!("1"), "spec.max_concurrency"),
            ("/spec/refs/org", json!(null), "spec.refs.org"),
            ("/spec/refs/pulls/0/sha", json!(null), "spec.refs.pulls[0].sha"),
            ("/spec/extra_refs", json!([{"org": "o"}]), "spec.extra_refs[0].repo"),
            ("/spec/report", json!("yes"), "spec.report"),
            ("/spec/decoration_config", json!({"timeout": 7200}), "spec.decoration_config.timeout"),
            (
                "/spec/rerun_auth_config",
                json!({"github_team_slugs": [{"slug": "s"}]}),
                "spec.rerun_auth_config.github_team_slugs[0].org",
            ),
            ("/spec/pod_spec/containers", json!(null), "spec.pod_spec.containers"),
            ("/spec/pod_spec/containers", json!([{"image": "x"}]), "spec.pod_spec.containers[0].name"),
            (
                "/spec/pod_spec/containers",
                json!([{"name": "a"}, {"name": "a"}]),
                "spec.pod_spec.containers[1]",
            ),
            (
                "/spec/pod_spec/containers/0/env",
                json!([{"name": "A"}, {"name": "A"}]),
                "spec.pod_spec.containers[0].env[1]",
            ),
            (
                "/spec/pod_spec/containers/0/volumeMounts",
                json!([{"mountPath": "/a"}]),
                "spec.pod_spec.containers[0].volumeMounts[0].name",
            ),
            (
                "/spec/pod_spec/containers/0/ports",
                json!([{"containerPort": 1}, {"containerPort": 1}]),
                "spec.pod_spec.containers[0].ports[1]",
            ),
            ("/spec/pod_spec/containers/0/command", json!("sh"), "spec.pod_spec.containers[0].command"),
            ("/status/state", json!(null), "status.state"),
            ("/status/state", json!("done"), "status.state"),
            ("/status/state", json!("success"), "status.completionTime"),
            ("/status/startTime", json!("yesterday"), "status.startTime"),
            ("/spec", json!(1), "spec"),
        ] {
            let found = prune_and_check(&mut with(pointer, value.clone()));
            let fields: Vec<&str> = found.causes.iter().map(|c| c.field.as_str()).collect();
            assert_eq!(fields, [field], "{pointer} = {value}");
        }
    }

    #[test]
    fn aborted_needs_no_completion_time_and_spec_and_status_are_optional() {
        assert!(prune_and_check(&mut with("/status/state", json!("aborted"))).causes.is_empty());
        assert!(prune_and_check(&mut with("/spec", json!(null))).causes.is_empty());
        assert!(prune_and_check(&mut with("/status", json!(null))).causes.is_empty());
    }

    #[test]
    fn unknown_members_are_pruned_and_opaque_ones_kept() {
        let mut job = with("/spec/typo", json!(1));
        job["spec"]["pipeline_run_spec"] = json!({"anything": {"goes": [1]}});
        job["spec"]["refs"]["pulls"][0]["extra"] = json!("x");
        job["status"]["completionTime"] = json!(null);
        let found = prune_and_check(&mut job);
        assert_eq!(found.pruned, ["spec.typo", "spec.refs.pulls[0].extra"]);
        assert!(found.causes.is_empty(), "{:?}", found.causes);
        assert!(job["spec"].get("typo").is_none() && job["status"].get("completionTime").is_none());
        assert_eq!(job["spec"]["pipeline_run_spec"]["anything"]["goes"], json!([1]));
    }

    /// A value with every member that the type knows.
    fn sample(of: &Type) -> Value {
        of.members.iter().map(|m| (m.name.to_owned(), sample_member(&m.ty))).collect()
    }

    fn sample_member(ty: &Ty) -> Value {
        match ty {
            Ty::Text | Ty::Bytes => json!("5m"),
            Ty::Time => json!("2026-11-22T07:00:00Z"),
            Ty::Bool => json!(true),
            Ty::Int(_) | Ty::Number | Ty::IntOrText => json!(7),
            Ty::Enum(allowed) => json!(allowed[0]),
            Ty::Quantity => json!("1Gi"),
            Ty::List(of, _) => json!([sample_member(of)]),
            Ty::Map(of) => json!({"pending": sample_member(of)}),
            Ty::Any => json!({}),
            Ty::Object(id) => match id.get().name {
                "PodSpec" => json!({"containers": [{"name": "a", "image": "x"}]}),
                // Kubernetes' own types are not what is compared here.
                "Affinity" | "Toleration" | "ResourceRequirements" => json!({}),
                _ => sample(id.get()),
            },
        }
    }

    #[test]
    fn the_schema_has_the_members_that_prow_has() {
        // Lists of states and maps to states hold states.
        let mut whole = sample(find("ProwJob").unwrap().get());
        whole["apiVersion"] = json!("prow.k8s.io/v1");
        whole["kind"] = json!("ProwJob");
        whole["metadata"] = json!({"name": "a"});
        whole["spec"]["reporter_config"]["slack"]["job_states_to_report"] = json!(["pending"]);
        whole["status"]["prev_report_states"] = json!({"crier": "pending"});
        let typed: prow_api::ProwJob = serde_json::from_value(whole.clone()).unwrap();
        let back = serde_json::to_value(&typed).unwrap();
        fn missing(path: &str, all: &Value, found: &Value, out: &mut Vec<String>) {
            match (all, found) {
                (Value::Object(all), Value::Object(found)) => {
                    for (key, value) in all {
                        match found.get(key) {
                            Some(other) => missing(&format!("{path}.{key}"), value, other, out),
                            None => out.push(format!("{path}.{key}")),
                        }
                    }
                }
                (Value::Array(all), Value::Array(found)) => {
                    all.iter().zip(found).for_each(|(a, f)| missing(path, a, f, out));
                }
                _ => {}
            }
        }
        let (mut only_schema, mut only_types) = (Vec::new(), Vec::new());
        missing("", &whole, &back, &mut only_schema);
        missing("", &back, &whole, &mut only_types);
        only_types.retain(|p| !p.starts_with(".spec.pod_spec"));
        assert_eq!((only_schema, only_types), (Vec::<String>::new(), Vec::<String>::new()));
    }

    #[test]
    fn ports_get_their_protocol() {
        let mut job = with("/spec/pod_spec/containers/0/ports", json!([{"containerPort": 1}]));
        prune_and_check(&mut job);
        assert_eq!(job["spec"]["pod_spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
    }
}
