//! Create, get, update, patch and delete, with the answers that Kubernetes gives.

// Helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};

use common::{JOBS, MAPS, PODS, World, map, pod, prowjob};
use jiff::{SignedDuration, Timestamp};
use prow_apiserver::Options;
use serde_json::{Value, json};

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn creation() {
    let w = World::new();
    let (code, made) = w.post(JOBS, prowjob("a")).await;
    assert_eq!(code, 201, "{made}");
    assert!(!made["metadata"]["uid"].as_str().unwrap().is_empty());
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(w.get(&format!("{JOBS}/a")).await, (200, made));

    let (code, status) = w.post(JOBS, prowjob("a")).await;
    assert_eq!((code, &status["reason"]), (409, &json!("AlreadyExists")));
    assert_eq!(status["message"], "prowjobs.prow.k8s.io \"a\" already exists");
    assert_eq!(status["details"], json!({"name": "a", "group": "prow.k8s.io", "kind": "prowjobs"}));

    let mut generated = map("");
    generated["metadata"] = json!({"generateName": "conf-"});
    let (code, made) = w.post(MAPS, generated).await;
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(code == 201 && name.starts_with("conf-") && name.len() == 10, "{name}");
    assert_eq!(made["metadata"]["namespace"], "default");
}

#[tokio::test]
async fn refused_creations() {
    let w = World::new();
    let mut elsewhere = prowjob("a");
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    let mut unnamed = prowjob("a");
    unnamed["metadata"].as_object_mut().unwrap().remove("name");
    let mut bad_type = prowjob("a");
    bad_type["spec"]["type"] = json!("nightly");
    let mut complete = prowjob("a");
    complete["status"]["state"] = json!("success");
    for (path, body, code, reason, mentions) in [
        (JOBS, elsewhere, 400, "BadRequest", "does not match the namespace"),
        (JOBS, unnamed, 422, "Invalid", "name or generateName is required"),
        (JOBS, bad_type, 422, "Invalid", "spec.type: Unsupported value: \"nightly\""),
        (JOBS, complete, 422, "Invalid", "status.completionTime: Required value"),
        (JOBS, pod("a"), 400, "BadRequest", "does not match the expected"),
        (
            PODS,
            json!({"metadata": {"name": "a"}, "spec": {}}),
            422,
            "Invalid",
            "spec.containers: Required value",
        ),
        (PODS, json!([]), 400, "BadRequest", "not a Pod object"),
        ("/api/v1/namespaces/nowhere/pods", pod("a"), 404, "NotFound", "namespaces \"nowhere\" not found"),
        ("/api/v1/pods", pod("a"), 405, "MethodNotAllowed", "does not allow this method"),
        (
            "/api/v1/namespaces/default/gadgets",
            json!({}),
            404,
            "NotFound",
            "could not find the requested resource",
        ),
    ] {
        let (got, status) = w.post(path, body).await;
        assert_eq!((got, status["reason"].as_str().unwrap()), (code, reason), "{status}");
        assert_eq!(
            (&status["kind"], &status["status"], &status["code"]),
            (&json!("Status"), &json!("Failure"), &json!(code))
        );
        assert!(status["message"].as_str().unwrap().contains(mentions), "{status}");
    }
    let (code, status) = w.call("POST", PODS, "application/yaml", json!({})).await;
    assert_eq!((code, &status["reason"]), (415, &json!("UnsupportedMediaType")));
    let (code, _) = w.call("POST", PODS, "application/json", json!("x".repeat(4 << 20))).await;
    assert_eq!(code, 413);
    // What is stored has to be readable again.
    let mut deep = json!({});
    for _ in 0..110 {
        deep = json!({"a": deep});
    }
    let mut job = prowjob("deep");
    job["spec"]["pipeline_run_spec"] = deep;
    assert_eq!(w.post(JOBS, job).await.0, 400);
    let (_, list) = w.get("/api/v1/pods").await;
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn unknown_members_are_pruned_with_a_warning_or_refused() {
    let w = World::new();
    let mut job = prowjob("a");
    job["spec"]["typo"] = json!(1);
    let (code, status) = w.post(&format!("{JOBS}?fieldValidation=Strict"), job.clone()).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().unwrap().contains("unknown field \"spec.typo\""));
    let (code, made) = w.post(JOBS, job).await;
    assert_eq!((code, made["spec"].get("typo")), (201, None));
}

#[tokio::test]
async fn updates_conflict_on_a_stale_version() {
    let w = World::new();
    let (_, first) = w.post(MAPS, map("m")).await;
    let path = format!("{MAPS}/m");
    let mut second = first.clone();
    second["data"]["a"] = json!("2");
    let (code, second) = w.put(&path, second).await;
    assert_eq!(code, 200);
    assert!(version(&second) > version(&first));
    let mut stale = first.clone();
    stale["data"]["a"] = json!("3");
    let (code, status) = w.put(&path, stale.clone()).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    // Without a version a ConfigMap is replaced, a ProwJob not.
    stale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let (code, third) = w.put(&path, stale).await;
    assert_eq!((code, &third["data"]["a"]), (200, &json!("3")));
    w.post(JOBS, prowjob("j")).await;
    let (code, status) = w.put(&format!("{JOBS}/j"), prowjob("j")).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    // Nothing changes: nothing is written.
    let (code, same) = w.put(&path, third.clone()).await;
    assert_eq!((code, version(&same)), (200, version(&third)));
    // Others' identity is refused.
    let mut other = third.clone();
    other["metadata"]["uid"] = json!("other");
    assert_eq!(w.put(&path, other).await.0, 409);
    let mut renamed = third;
    renamed["metadata"]["name"] = json!("n");
    assert_eq!(w.put(&path, renamed).await.0, 400);
    assert_eq!(w.put(&format!("{MAPS}/absent"), map("absent")).await.0, 404);
}

#[tokio::test]
async fn patches() {
    let w = World::new();
    let (_, made) = w.post(JOBS, prowjob("j")).await;
    let job = format!("{JOBS}/j");
    let (code, pending) =
        w.merge(&job, json!({"status": {"state": "pending"}, "metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!((code, &pending["status"]["state"]), (200, &json!("pending")));
    assert_eq!(pending["metadata"]["labels"], json!({"prow.k8s.io/type": "presubmit", "x": "y"}));
    assert_eq!(pending["metadata"]["generation"], 2);
    // A resourceVersion in the patch is a precondition.
    let stale = json!({"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "status": {"state": "error"}});
    assert_eq!(w.merge(&job, stale).await.0, 409);
    let fresh = json!({"metadata": {"resourceVersion": pending["metadata"]["resourceVersion"]}, "status": {"description": "d"}});
    assert_eq!(w.merge(&job, fresh).await.0, 200);

    w.post(PODS, pod("p")).await;
    let p = format!("{PODS}/p");
    for (path, kind, body, code) in [
        (&job, MERGE, json!({"status": {"state": "done"}}), 422),
        (&job, MERGE, json!({"metadata": {"name": "other"}}), 400),
        (&job, STRATEGIC, json!({}), 415),
        (&job, JSON_PATCH, json!([{"op": "test", "path": "/status/state", "value": "error"}]), 422),
        (&job, JSON_PATCH, json!([{"op": "replace", "path": "/status/state", "value": "triggered"}]), 200),
        (&p, STRATEGIC, json!({"metadata": {"finalizers": ["prow.x-k8s.io/gcsk8sreporter"]}}), 200),
        (&p, STRATEGIC, json!({"metadata": {"labels": {"a": "b"}}}), 200),
        (&p, MERGE, json!({"spec": {"restartPolicy": "Never"}}), 422),
    ] {
        let (got, answer) = w.call("PATCH", path, kind, body.clone()).await;
        assert_eq!(got, code, "{kind} {body}: {answer}");
    }
    assert_eq!(w.merge(&format!("{JOBS}/absent"), json!({})).await.0, 404);
}

#[tokio::test]
async fn prowjobs_have_no_status_subresource_and_pods_have_one() {
    let w = World::new();
    w.post(JOBS, prowjob("j")).await;
    let (code, status) = w.merge(&format!("{JOBS}/j/status"), json!({"status": {"state": "pending"}})).await;
    assert_eq!((code, &status["reason"]), (404, &json!("NotFound")));
    assert_eq!(w.get(&format!("{JOBS}/j/status")).await.0, 404);

    w.post(PODS, pod("p")).await;
    let phase = json!({"status": {"phase": "Running"}, "spec": {"nodeName": "n"}});
    let (_, main) = w.merge(&format!("{PODS}/p"), phase.clone()).await;
    assert_eq!((&main["status"]["phase"], &main["spec"]["nodeName"]), (&json!("Pending"), &json!("n")));
    let (code, running) = w.merge(&format!("{PODS}/p/status"), phase).await;
    assert_eq!((code, &running["status"]["phase"]), (200, &json!("Running")));
    assert_eq!(running["status"]["qosClass"], "BestEffort");
}

#[tokio::test]
async fn binding() {
    let w = World::new();
    w.post(PODS, pod("p")).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "here"}});
    assert_eq!(w.post(&format!("{PODS}/p/binding"), binding.clone()).await.0, 201);
    let (_, bound) = w.get(&format!("{PODS}/p")).await;
    assert_eq!(bound["spec"]["nodeName"], "here");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(w.post(&format!("{PODS}/p/binding"), binding).await.0, 409);
}

#[tokio::test]
async fn dry_runs_change_nothing() {
    let w = World::new();
    let (code, would) = w.post(&format!("{MAPS}?dryRun=All"), map("m")).await;
    assert_eq!((code, &would["metadata"]["name"]), (201, &json!("m")));
    assert_eq!(w.get(&format!("{MAPS}/m")).await.0, 404);
    let (_, made) = w.post(MAPS, map("m")).await;
    assert_eq!(
        w.merge(&format!("{MAPS}/m?dryRun=All"), json!({"data": {"a": "2"}})).await.1["data"]["a"],
        "2"
    );
    assert_eq!(w.delete(&format!("{MAPS}/m?dryRun=All")).await.0, 200);
    assert_eq!(w.get(&format!("{MAPS}/m")).await.1, made);
    assert_eq!(w.delete(&format!("{MAPS}/m?dryRun=Some")).await.0, 422);
}

#[tokio::test]
async fn deletion_and_its_preconditions() {
    let w = World::new();
    let (_, made) = w.post(MAPS, map("m")).await;
    let path = format!("{MAPS}/m");
    for preconditions in [json!({"uid": "other"}), json!({"resourceVersion": "1"})] {
        let (code, status) =
            w.call("DELETE", &path, "application/json", json!({"preconditions": preconditions})).await;
        assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    }
    let right = json!({"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}});
    let (code, status) = w.call("DELETE", &path, "application/json", right).await;
    assert_eq!(
        (code, &status["status"], &status["details"]["uid"]),
        (200, &json!("Success"), &made["metadata"]["uid"])
    );
    assert_eq!(w.delete(&path).await.0, 404);
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let w = World::new();
    let mut held = map("m");
    held["metadata"]["finalizers"] = json!(["a.b/one", "a.b/two"]);
    w.post(MAPS, held).await;
    let path = format!("{MAPS}/m");
    let (code, pending) = w.delete(&path).await;
    assert_eq!((code, &pending["kind"]), (200, &json!("ConfigMap")));
    let (_, again) = w.delete(&path).await;
    assert_eq!(version(&again), version(&pending), "deleting twice changes nothing");
    let (code, _) = w.merge(&path, json!({"metadata": {"finalizers": ["a.b/one", "a.b/three"]}})).await;
    assert_eq!(code, 422, "no finalizer joins");
    assert_eq!(w.merge(&path, json!({"metadata": {"finalizers": ["a.b/two"]}})).await.0, 200);
    assert_eq!(w.get(&path).await.0, 200);
    assert_eq!(w.merge(&path, json!({"metadata": {"finalizers": null}})).await.0, 200);
    assert_eq!(w.get(&path).await.0, 404);
}

#[tokio::test]
async fn pods_go_gracefully() {
    let w = World::new();
    let at = |name: &str| format!("{PODS}/{name}");
    // Never bound: gone at once, whatever its grace period.
    w.post(PODS, pod("unbound")).await;
    let (code, last) = w.delete(&at("unbound")).await;
    assert_eq!((code, &last["kind"]), (200, &json!("Pod")));
    assert_eq!(w.get(&at("unbound")).await.0, 404);
    // Bound: marked, and finished by its kubelet.
    w.post(PODS, pod("bound")).await;
    w.merge(&at("bound"), json!({"spec": {"nodeName": "n"}})).await;
    let (_, marked) = w.delete(&at("bound")).await;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let (_, shorter) = w.delete(&format!("{}?gracePeriodSeconds=5", at("bound"))).await;
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let (_, longer) = w.delete(&format!("{}?gracePeriodSeconds=9", at("bound"))).await;
    assert_eq!(longer, shorter);
    assert_eq!(w.get(&at("bound")).await.0, 200);
    w.delete(&format!("{}?gracePeriodSeconds=0", at("bound"))).await;
    assert_eq!(w.get(&at("bound")).await.0, 404);
    // With a finalizer the kubelet's delete does not suffice, and neither does the finalizer's end alone.
    w.post(PODS, pod("held")).await;
    w.merge(&at("held"), json!({"spec": {"nodeName": "n"}, "metadata": {"finalizers": ["a.b/c"]}})).await;
    w.delete(&at("held")).await;
    w.delete(&format!("{}?gracePeriodSeconds=0", at("held"))).await;
    assert_eq!(w.get(&at("held")).await.1["metadata"]["deletionGracePeriodSeconds"], 0);
    w.merge(&at("held"), json!({"metadata": {"finalizers": []}})).await;
    assert_eq!(w.get(&at("held")).await.0, 404);
    // Ended: gone at once.
    w.post(PODS, pod("ended")).await;
    w.merge(&at("ended"), json!({"spec": {"nodeName": "n"}})).await;
    w.merge(&format!("{}/status", at("ended")), json!({"status": {"phase": "Succeeded"}})).await;
    w.delete(&at("ended")).await;
    assert_eq!(w.get(&at("ended")).await.0, 404);
}

#[tokio::test]
async fn deletecollection_takes_selectors() {
    let w = World::new();
    for i in 0..4 {
        let mut m = map(&format!("m{i}"));
        m["metadata"]["labels"] = json!({"odd": (i % 2 == 1).to_string()});
        w.post(MAPS, m).await;
    }
    let (code, list) = w.delete(&format!("{MAPS}?labelSelector=odd%3Dtrue")).await;
    assert_eq!((code, list["items"].as_array().unwrap().len()), (200, 2));
    let (_, left) = w.get(MAPS).await;
    let names: Vec<&str> =
        left["items"].as_array().unwrap().iter().map(|m| m["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["m0", "m2"]);
}

#[tokio::test]
async fn a_namespace_goes_with_what_is_in_it() {
    let w = World::new();
    let ns = "/api/v1/namespaces/work";
    assert_eq!(w.post("/api/v1/namespaces", json!({"metadata": {"name": "work"}})).await.0, 201);
    w.server.ensure_namespace("work").await.unwrap();
    for i in 0..600 {
        // More than one step deletes.
        w.post(&format!("{ns}/configmaps"), map(&format!("m{i}"))).await;
    }
    w.post(&format!("{ns}/pods"), pod("p")).await;
    w.merge(&format!("{ns}/pods/p"), json!({"spec": {"nodeName": "n"}})).await;
    let (code, ending) = w.delete(ns).await;
    assert_eq!((code, &ending["status"]["phase"]), (200, &json!("Terminating")));
    assert_eq!(w.get(&format!("{ns}/configmaps")).await.1["items"], json!([]));
    let (code, status) = w.post(&format!("{ns}/configmaps"), map("late")).await;
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    // The kubelet ends the last pod, and the namespace goes with it.
    w.delete(&format!("{ns}/pods/p?gracePeriodSeconds=0")).await;
    assert_eq!(w.get(ns).await.0, 404);
    // An empty one goes at once; the ones that are always there stay.
    w.post("/api/v1/namespaces", json!({"metadata": {"name": "work"}})).await;
    w.delete(ns).await;
    assert_eq!(w.get(ns).await.0, 404);
    assert_eq!(w.delete("/api/v1/namespaces/default").await.0, 403);
}

#[tokio::test]
async fn leases_are_made_by_put_and_access_reviews_allow() {
    let w = World::new();
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
                       "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    assert_eq!(w.put(path, lease.clone()).await.0, 201);
    assert_eq!(w.put(path, lease).await.0, 422, "a version is needed from now on");
    let review = json!({"spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}}});
    let (code, answer) = w.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).await;
    assert_eq!((code, &answer["status"]["allowed"]), (201, &json!(true)));
}

#[tokio::test]
async fn events_go_after_an_hour() {
    let now = Arc::new(Mutex::new("2026-11-22T07:00:00Z".parse::<Timestamp>().unwrap()));
    let clock = now.clone();
    let w = World::with(Options {
        sync: false,
        clock: Arc::new(move || *clock.lock().unwrap()),
        ..Options::default()
    });
    let path = "/api/v1/namespaces/default/events";
    let event = |name: &str| json!({"metadata": {"name": name}, "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Started"});
    assert_eq!(w.post(path, event("old")).await.0, 201);
    let start = w.get(path).await.1["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut events = w.watch(&format!("{path}?watch=true&resourceVersion={start}")).await;
    *now.lock().unwrap() += SignedDuration::from_mins(61);
    // Old ones are looked for every so many creates.
    for i in 0..256 {
        w.post(path, event(&format!("new-{i}"))).await;
    }
    while events.brief().await != "DELETED old" {}
    let (_, list) = w.get(path).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 256);
}
