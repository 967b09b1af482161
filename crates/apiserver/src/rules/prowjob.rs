//! The ProwJob CRD's schema as data (prow-config §1.1 to §1.10).

use serde_json::Value;

use super::schema::Schema::{self, Bool, Enum, Int, List, Map, Object, Opaque, Quantity, Text, Time};
use super::schema::{Findings, walk};
use crate::status::Cause;

const TYPES: &[&str] = &["presubmit", "postsubmit", "periodic", "batch"];
const STATES: &[&str] = &["scheduling", "triggered", "pending", "success", "failure", "aborted", "error"];
/// States in which completionTime must be set. `aborted` is exempt.
const COMPLETE: &[&str] = &["success", "failure", "error"];

const INT: Schema = Int { minimum: None };
const TEXTS: Schema = List(&Text);

static PULL: Schema = Object {
    members: &[
        ("number", &INT),
        ("author", &Text),
        ("sha", &Text),
        ("title", &Text),
        ("ref", &Text),
        ("head_ref", &Text),
        ("link", &Text),
        ("commit_link", &Text),
        ("author_link", &Text),
    ],
    required: &["number", "author", "sha"],
};

static REFS: Schema = Object {
    members: &[
        ("org", &Text),
        ("repo", &Text),
        ("repo_link", &Text),
        ("base_ref", &Text),
        ("base_sha", &Text),
        ("base_link", &Text),
        ("pulls", &List(&PULL)),
        ("path_alias", &Text),
        ("workdir", &Bool),
        ("auxiliary", &Bool),
        ("clone_uri", &Text),
        ("skip_submodules", &Bool),
        ("clone_depth", &INT),
        ("skip_fetch_head", &Bool),
        ("blobless_fetch", &Bool),
        ("sparse_checkout_files", &TEXTS),
    ],
    required: &["org", "repo"],
};

static KEYED_SECRET: Schema = Object { members: &[("name", &Text), ("key", &Text)], required: &[] };

static DECORATION: Schema = Object {
    members: &[
        ("timeout", &Text),
        ("grace_period", &Text),
        (
            "utility_images",
            &Object {
                members: &[
                    ("clonerefs", &Text),
                    ("initupload", &Text),
                    ("entrypoint", &Text),
                    ("sidecar", &Text),
                ],
                required: &[],
            },
        ),
        (
            "resources",
            &Object {
                members: &[
                    ("clonerefs", &Opaque),
                    ("initupload", &Opaque),
                    ("place_entrypoint", &Opaque),
                    ("sidecar", &Opaque),
                ],
                required: &[],
            },
        ),
        (
            "gcs_configuration",
            &Object {
                members: &[
                    ("bucket", &Text),
                    ("path_prefix", &Text),
                    ("path_strategy", &Text),
                    ("default_org", &Text),
                    ("default_repo", &Text),
                    ("mediaTypes", &Map(&Text)),
                    ("job_url_prefix", &Text),
                    ("local_output_dir", &Text),
                    ("compress_file_types", &TEXTS),
                ],
                required: &[],
            },
        ),
        ("gcs_credentials_secret", &Text),
        ("s3_credentials_secret", &Text),
        ("default_service_account_name", &Text),
        ("ssh_key_secrets", &TEXTS),
        ("ssh_host_fingerprints", &TEXTS),
        ("blobless_fetch", &Bool),
        ("sparse_checkout_files", &TEXTS),
        ("skip_cloning", &Bool),
        ("cookiefile_secret", &Text),
        ("oauth_token_secret", &KEYED_SECRET),
        ("github_api_endpoints", &TEXTS),
        ("github_app_id", &Text),
        ("github_app_private_key_secret", &KEYED_SECRET),
        ("censor_secrets", &Bool),
        (
            "censoring_options",
            &Object {
                members: &[
                    ("censoring_concurrency", &INT),
                    ("censoring_buffer_size", &INT),
                    ("include_directories", &TEXTS),
                    ("exclude_directories", &TEXTS),
                    ("minimum_secret_length", &INT),
                    ("upload_uncensored_on_failure", &Bool),
                ],
                required: &[],
            },
        ),
        ("upload_ignores_interrupts", &Bool),
        ("set_limit_equals_memory_request", &Bool),
        ("default_memory_request", &Quantity),
        (
            "scheduling_options",
            &Object { members: &[("affinity", &Opaque), ("tolerations", &List(&Opaque))], required: &[] },
        ),
        ("pod_pending_timeout", &Text),
        ("pod_running_timeout", &Text),
        ("pod_unscheduled_timeout", &Text),
        ("run_as_user", &INT),
        ("run_as_group", &INT),
        ("fs_group", &INT),
    ],
    required: &[],
};

static SPEC: Schema = Object {
    members: &[
        ("type", &Enum(TYPES)),
        ("agent", &Text),
        ("cluster", &Text),
        ("namespace", &Text),
        ("job", &Text),
        ("refs", &REFS),
        ("extra_refs", &List(&REFS)),
        ("report", &Bool),
        ("context", &Text),
        ("rerun_command", &Text),
        ("max_concurrency", &Int { minimum: Some(0) }),
        ("error_on_eviction", &Bool),
        ("pod_spec", &Schema::PodSpec),
        ("jenkins_spec", &Object { members: &[("github_branch_source_job", &Bool)], required: &[] }),
        ("pipeline_run_spec", &Opaque),
        ("tekton_pipeline_run_spec", &Object { members: &[("v1beta1", &Opaque)], required: &[] }),
        ("decoration_config", &DECORATION),
        (
            "reporter_config",
            &Object {
                members: &[(
                    "slack",
                    &Object {
                        members: &[
                            ("host", &Text),
                            ("channel", &Text),
                            ("job_states_to_report", &TEXTS),
                            ("report_template", &Text),
                            ("report", &Bool),
                        ],
                        required: &[],
                    },
                )],
                required: &[],
            },
        ),
        (
            "rerun_auth_config",
            &Object {
                members: &[
                    ("allow_anyone", &Bool),
                    ("github_team_ids", &List(&INT)),
                    (
                        "github_team_slugs",
                        &List(&Object {
                            members: &[("slug", &Text), ("org", &Text)],
                            required: &["org", "slug"],
                        }),
                    ),
                    ("github_users", &TEXTS),
                    ("github_orgs", &TEXTS),
                ],
                required: &[],
            },
        ),
        ("hidden", &Bool),
        (
            "prowjob_defaults",
            &Object {
                members: &[
                    ("resultstore_config", &Object { members: &[("project_id", &Text)], required: &[] }),
                    ("tenant_id", &Text),
                ],
                required: &[],
            },
        ),
        ("job_queue_name", &Text),
    ],
    required: &["job", "type"],
};

static STATUS: Schema = Object {
    members: &[
        ("startTime", &Time),
        ("pendingTime", &Time),
        ("completionTime", &Time),
        ("state", &Enum(STATES)),
        ("description", &Text),
        ("url", &Text),
        ("pod_revival_count", &INT),
        ("pod_name", &Text),
        ("build_id", &Text),
        ("jenkins_build_id", &Text),
        ("prev_report_states", &Map(&Text)),
    ],
    required: &["state"],
};

static ROOT: Schema = Object {
    members: &[
        ("apiVersion", &Text),
        ("kind", &Text),
        ("metadata", &Opaque),
        ("spec", &SPEC),
        ("status", &STATUS),
    ],
    required: &[],
};

/// Prunes unknown members of a ProwJob and checks the rest. Members that are `null` count as absent and go too.
pub fn prune_and_check(prowjob: &mut Value) -> Findings {
    let mut findings = Findings::default();
    walk(&ROOT, prowjob, "", &mut findings);
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
            ("/spec/pod_spec/containers/0/command", json!("sh"), "spec.pod_spec"),
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

    /// A value with every member that the schema knows.
    fn sample(schema: &Schema) -> Value {
        match schema {
            Text => json!("5m"),
            Time => json!("2026-11-22T07:00:00Z"),
            Bool => json!(true),
            Int { .. } => json!(7),
            Enum(allowed) => json!(allowed[0]),
            Quantity => json!("1Gi"),
            List(of) => json!([sample(of)]),
            Map(of) => json!({"pending": sample(of)}),
            Opaque => json!({}),
            Schema::PodSpec => json!({"containers": [{"name": "a", "image": "x"}]}),
            Object { members, .. } => members.iter().map(|(k, s)| ((*k).to_owned(), sample(s))).collect(),
        }
    }

    #[test]
    fn the_schema_has_the_members_that_prow_has() {
        // Lists of states and maps to states hold states.
        let mut whole = sample(&ROOT);
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
