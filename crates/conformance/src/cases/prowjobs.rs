//! ProwJobs as their CRD takes them (prow-config §1): validation, pruning, defaults, no status subresource, generation.
// A case is a test: a failed unwrap is a failed case.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::cases;
use crate::Case;
use crate::world::{World, fields, prowjob, version};

pub const CASES: &[Case] = cases! {
    "a ProwJob is validated" => validation,
    "a ProwJob is pruned" => pruning,
    "a ProwJob is pruned inside its pod_spec" => pod_spec_pruning,
    "keyed lists in a pod_spec have no doubles" => keyed_lists,
    "a ProwJob has no status subresource" => no_status,
    "a ProwJob's generation counts its changes" => generation,
    "nulls and empty names" => nulls,
};

fn with(pointer: &str, value: Value) -> Value {
    let mut job = prowjob("j");
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

async fn validation(w: World) {
    let jobs = format!("{}?dryRun=All", w.jobs());
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
        ("/spec/pod_spec/containers", json!(null), "spec.pod_spec.containers"),
        ("/spec/pod_spec/containers/0/command", json!("sh"), "spec.pod_spec.containers[0].command"),
        (
            "/spec/pod_spec/containers/0/env",
            json!([{"value": "x"}]),
            "spec.pod_spec.containers[0].env[0].name",
        ),
        ("/status/state", json!(null), "status.state"),
        ("/status/state", json!("done"), "status.state"),
        ("/status/startTime", json!("yesterday"), "status.startTime"),
        ("/spec", json!(1), "spec"),
    ] {
        let parent = pointer.rsplit_once('/').unwrap().0;
        let job = match parent.strip_suffix("/0") {
            None => with(pointer, value),
            Some(_) => {
                let mut job = prowjob("j");
                let entry = job.pointer_mut(parent).unwrap().as_object_mut().unwrap();
                entry.remove(pointer.rsplit_once('/').unwrap().1);
                if !value.is_null() {
                    entry.insert(pointer.rsplit_once('/').unwrap().1.to_owned(), value);
                }
                job
            }
        };
        let status = w.post(&jobs, &job).await.refused(422, "Invalid");
        assert!(fields(&status).contains(&field.to_owned()), "{field}: {status}");
    }
    for done in ["success", "failure", "error"] {
        w.post(&jobs, &with("/status/state", json!(done))).await.refused(422, "Invalid");
        let mut job = with("/status/state", json!(done));
        job["status"]["completionTime"] = json!("2026-11-22T08:00:00Z");
        w.post(&jobs, &job).await.is(201);
    }
    w.post(&jobs, &with("/status/state", json!("aborted"))).await.is(201);
    w.post(&jobs, &with("/spec", json!(null))).await.is(201);
    w.post(&jobs, &with("/status", json!(null))).await.is(201);
    // An update is held to the same.
    w.post(&w.jobs(), &prowjob("j")).await.is(201);
    w.merge(&format!("{}/j", w.jobs()), &json!({"status": {"state": "success"}}))
        .await
        .refused(422, "Invalid");
}

async fn pruning(w: World) {
    let mut job = with("/spec/typo", json!(1));
    job["spec"]["pipeline_run_spec"] = json!({"anything": {"goes": [1]}});
    job["spec"]["refs"]["pulls"][0]["extra"] = json!("x");
    let answer = w.post(&format!("{}?fieldValidation=Warn", w.jobs()), &job).await;
    let warnings: Vec<_> =
        answer.headers.get_all("warning").iter().map(|v| v.to_str().unwrap().to_owned()).collect();
    assert!(warnings.iter().any(|w| w.contains("unknown field \\\"spec.typo\\\"")), "{warnings:?}");
    let made = answer.is(201);
    assert!(made["spec"].get("typo").is_none() && made["spec"]["refs"]["pulls"][0].get("extra").is_none());
    assert_eq!(made["spec"]["pipeline_run_spec"], json!({"anything": {"goes": [1]}}));
    let strict =
        w.post(&format!("{}?fieldValidation=Strict", w.jobs()), &job).await.refused(400, "BadRequest");
    let message = strict["message"].as_str().unwrap();
    assert!(message.contains("unknown field \"spec.typo\""), "{message}");
    assert!(message.contains("unknown field \"spec.refs.pulls[0].extra\""), "{message}");
}

async fn pod_spec_pruning(w: World) {
    let mut job = prowjob("j");
    job["spec"]["pod_spec"]["typo"] = json!(1);
    job["spec"]["pod_spec"]["containers"][0]["comand"] = json!(["x"]);
    job["spec"]["pod_spec"]["containers"][0]["securityContext"] = json!({"privileged": true, "odd": 1});
    job["spec"]["pod_spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    job["spec"]["pod_spec"]["volumes"] = json!([{"name": "v", "emptyDir": {"medium": "Memory", "odd": 1}}]);
    job["spec"]["decoration_config"] = json!({"resources": {"sidecar": {"limits": {"cpu": "1"}, "odd": 1}}});
    let made = w.post(&w.jobs(), &job).await.is(201);
    assert!(!made["spec"].to_string().contains("odd") && !made["spec"].to_string().contains("typo"));
    let container = &made["spec"]["pod_spec"]["containers"][0];
    assert!(container.get("comand").is_none());
    assert_eq!(container["securityContext"], json!({"privileged": true}));
    assert_eq!(container["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    assert_eq!(made["spec"]["pod_spec"]["volumes"], json!([{"name": "v", "emptyDir": {"medium": "Memory"}}]));
    assert_eq!(made["spec"]["decoration_config"]["resources"]["sidecar"], json!({"limits": {"cpu": "1"}}));
}

async fn keyed_lists(w: World) {
    let container = |more: Value| {
        let mut c = json!({"name": "a", "image": "x"});
        c.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([c])
    };
    for doubled in [
        json!([{"name": "a", "image": "x"}, {"name": "a", "image": "y"}]),
        container(json!({"env": [{"name": "A"}, {"name": "A"}]})),
        container(
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a"}]}),
        ),
        container(json!({"ports": [{"containerPort": 1}, {"containerPort": 1}]})),
        json!([{"image": "nameless"}]),
    ] {
        let mut job = prowjob("j");
        job["spec"]["pod_spec"]["containers"] = doubled.clone();
        let answer = w.post(&w.jobs(), &job).await;
        assert_eq!(
            (answer.code, &answer.body["reason"]),
            (422, &json!("Invalid")),
            "{doubled}: {}",
            answer.body
        );
    }
    let mut job = prowjob("j");
    job["spec"]["pod_spec"]["containers"] = json!([{"name": "", "image": "x", "resources": {}}]);
    w.post(&w.jobs(), &job).await.is(201);
}

async fn no_status(w: World) {
    let jobs = w.jobs();
    w.post(&jobs, &prowjob("j")).await.is(201);
    w.get(&format!("{jobs}/j/status")).await.is(404);
    w.merge(&format!("{jobs}/j/status"), &json!({"status": {"state": "pending"}})).await.is(404);
    let patched = w.merge(&format!("{jobs}/j"), &json!({"status": {"state": "pending"}})).await.is(200);
    assert_eq!(patched["status"]["state"], "pending");
}

async fn generation(w: World) {
    let jobs = w.jobs();
    let at = format!("{jobs}/j");
    let made = w.post(&jobs, &prowjob("j")).await.is(201);
    assert_eq!(made["metadata"]["generation"], 1);
    let labelled = w.merge(&at, &json!({"metadata": {"labels": {"a": "b"}}})).await.is(200);
    assert_eq!(labelled["metadata"]["generation"], 1);
    assert_ne!(version(&labelled), version(&made));
    let pending = w.merge(&at, &json!({"status": {"state": "pending"}})).await.is(200);
    assert_eq!(pending["metadata"]["generation"], 2);
    let mut forged = pending.clone();
    forged["metadata"]["generation"] = json!(9);
    assert_eq!(w.put(&at, &forged).await.is(200)["metadata"]["generation"], 2);
}

async fn nulls(w: World) {
    let mut job = prowjob("j");
    job["metadata"]["creationTimestamp"] = json!(null);
    job["spec"]["pod_spec"]["containers"][0]["resources"] = json!({});
    let made = w.post(&w.jobs(), &job).await.is(201);
    assert!(made["metadata"]["creationTimestamp"].is_string());
    assert_eq!(made["spec"]["pod_spec"]["containers"][0]["resources"], json!({}));
    // A null in a merge patch takes a member away.
    let patched = w.merge(&format!("{}/j", w.jobs()), &json!({"spec": {"refs": null}})).await.is(200);
    assert!(patched["spec"].get("refs").is_none());
}
