//! Updates and patches: conflicts, what each kind of patch does, writes that change nothing, owners of fields.
// A case is a test: a failed unwrap is a failed case.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::cases;
use crate::Case;
use crate::world::{World, fields, map, pod, prowjob, send, version};

pub const CASES: &[Case] = cases! {
    "an update of an old version is a conflict" => conflicts,
    "a write that changes nothing writes nothing" => no_change,
    "JSON patches" => json_patches,
    "merge patches" => merge_patches,
    "strategic merge patches" => strategic,
    "a patch can be guarded by a version" => guarded,
    "immutable data stays" => immutable,
    "unknown fields are dropped, warned of or refused" => unknown_fields,
    "updates own what they change" => owners,
};

async fn conflicts(w: World) {
    let maps = w.core("configmaps");
    let at = format!("{maps}/m");
    let first = w.post(&maps, &map("m")).await.is(201);
    let mut second = first.clone();
    second["data"]["a"] = json!("2");
    let second = w.put(&at, &second).await.is(200);
    assert_ne!(version(&second), version(&first));
    assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(second["metadata"]["creationTimestamp"], first["metadata"]["creationTimestamp"]);
    let mut stale = first.clone();
    stale["data"]["a"] = json!("3");
    let status = w.put(&at, &stale).await.refused(409, "Conflict");
    assert!(status["message"].as_str().unwrap().contains("the object has been modified"), "{status}");
    // Without a version the last one wins, for kinds that allow it.
    w.put(&at, &map("m")).await.is(200);
    let jobs = w.jobs();
    w.post(&jobs, &prowjob("j")).await.is(201);
    let status = w.put(&format!("{jobs}/j"), &prowjob("j")).await.refused(422, "Invalid");
    assert_eq!(fields(&status), ["metadata.resourceVersion"]);
}

async fn no_change(w: World) {
    let maps = w.core("configmaps");
    let at = format!("{maps}/m");
    let made = w.post(&maps, &map("m")).await.is(201);
    assert_eq!(w.put(&at, &made).await.is(200), made);
    assert_eq!(w.merge(&at, &json!({"data": {"a": "1", "b": null}})).await.is(200), made);
    assert_eq!(w.patch(&at, "json-patch", &json!([])).await.is(200), made);
}

async fn json_patches(w: World) {
    let maps = w.core("configmaps");
    let at = format!("{maps}/m");
    w.post(&maps, &map("m")).await.is(201);
    let patch = json!([
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "add", "path": "/data/b", "value": "2"},
        {"op": "replace", "path": "/data/a", "value": "3"},
        {"op": "copy", "from": "/data/b", "path": "/data/c"},
        {"op": "move", "from": "/data/c", "path": "/data/d"},
        {"op": "add", "path": "/metadata/annotations", "value": {"example.com/x": "y"}},
        {"op": "remove", "path": "/metadata/annotations/example.com~1x"},
    ]);
    let patched = w.patch(&at, "json-patch", &patch).await.is(200);
    assert_eq!(patched["data"], json!({"a": "3", "b": "2", "d": "2"}));
    for refused in [
        json!([{"op": "test", "path": "/data/a", "value": "1"}, {"op": "remove", "path": "/data/b"}]),
        json!([{"op": "remove", "path": "/data/absent"}]),
        json!([{"op": "replace", "path": "/absent/member", "value": "1"}]),
    ] {
        w.patch(&at, "json-patch", &refused).await.refused(422, "Invalid");
    }
    assert_eq!(w.get(&at).await.is(200), patched, "a patch that fails leaves nothing behind");
    w.patch(&at, "json-patch", &json!({"op": "add"})).await.is(400);
}

async fn merge_patches(w: World) {
    let jobs = w.jobs();
    let at = format!("{jobs}/j");
    w.post(&jobs, &prowjob("j")).await.is(201);
    let patch = json!({
        "metadata": {"labels": {"new": "1", "prow.k8s.io/type": null}},
        "status": {"state": "pending", "build_id": null, "pod_name": "p"},
        "spec": {"pod_spec": {"containers": [{"name": "other", "image": "x"}]}},
    });
    let patched = w.merge(&at, &patch).await.is(200);
    assert_eq!(patched["metadata"]["labels"], json!({"new": "1"}));
    assert_eq!(
        (&patched["status"]["state"], &patched["status"]["pod_name"]),
        (&json!("pending"), &json!("p"))
    );
    assert!(patched["status"].get("build_id").is_none());
    let containers = patched["spec"]["pod_spec"]["containers"].as_array().unwrap();
    assert_eq!((containers.len(), &containers[0]["name"]), (1, &json!("other")), "lists are replaced");
    w.merge(&at, &json!([])).await.is(400);
}

async fn strategic(w: World) {
    let pods = w.core("pods");
    let mut body = pod("p");
    body["spec"]["containers"] = json!([
        {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]},
        {"name": "b", "image": "b:1"},
    ]);
    w.post(&pods, &body).await.is(201);
    let at = format!("{pods}/p");
    let patch = json!({"metadata": {"labels": {"more": "1"}}, "spec": {"containers": [{"name": "b", "image": "b:2"}]}});
    let patched = w.patch(&at, "strategic-merge-patch", &patch).await.is(200);
    let images: Vec<_> = patched["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["image"].as_str().unwrap())
        .collect();
    assert_eq!(images, ["a:1", "b:2"], "containers are known by their names");
    assert_eq!(patched["metadata"]["labels"], json!({"app": "test", "more": "1"}));
    let patch = json!({"metadata": {"labels": {"app": null}, "finalizers": ["example.com/a"]}});
    w.patch(&at, "strategic-merge-patch", &patch).await.is(200);
    let patch = json!({"metadata": {"finalizers": ["example.com/b"]}});
    let both = w.patch(&at, "strategic-merge-patch", &patch).await.is(200);
    assert_eq!(both["metadata"]["labels"], json!({"more": "1"}));
    assert_eq!(both["metadata"]["finalizers"].as_array().unwrap().len(), 2);
    let patch =
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a", "example.com/b"]}});
    let none = w.patch(&at, "strategic-merge-patch", &patch).await.is(200);
    assert!(none["metadata"].get("finalizers").is_none_or(|f| f == &json!([])), "{none}");
    let conditions = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    let status = format!("{at}/status");
    w.patch(&status, "strategic-merge-patch", &conditions("False")).await.is(200);
    let other = json!({"status": {"conditions": [{"type": "Initialized", "status": "True"}]}});
    w.patch(&status, "strategic-merge-patch", &other).await.is(200);
    let ready = w.patch(&status, "strategic-merge-patch", &conditions("True")).await.is(200);
    let found = ready["status"]["conditions"].as_array().unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|c| c["status"] == "True"));
    // Custom resources have no merge keys.
    w.post(&w.jobs(), &prowjob("j")).await.is(201);
    let refused = w.patch(&format!("{}/j", w.jobs()), "strategic-merge-patch", &json!({})).await;
    refused.refused(415, "UnsupportedMediaType");
}

async fn guarded(w: World) {
    let maps = w.core("configmaps");
    let at = format!("{maps}/m");
    let made = w.post(&maps, &map("m")).await.is(201);
    let patch = |v: &str| json!({"metadata": {"resourceVersion": v}, "data": {"a": v}});
    let next = w.merge(&at, &patch(&version(&made))).await.is(200);
    w.merge(&at, &patch(&version(&made))).await.refused(409, "Conflict");
    let uid = json!({"metadata": {"uid": "another"}, "data": {"a": "x"}});
    w.merge(&at, &uid).await.refused(422, "Invalid");
    assert_eq!(w.get(&at).await.is(200), next);
}

async fn immutable(w: World) {
    let maps = w.core("configmaps");
    let mut body = map("m");
    body["immutable"] = json!(true);
    w.post(&maps, &body).await.is(201);
    let at = format!("{maps}/m");
    w.merge(&at, &json!({"data": {"a": "2"}})).await.refused(422, "Invalid");
    w.merge(&at, &json!({"immutable": false})).await.refused(422, "Invalid");
    w.merge(&at, &json!({"metadata": {"labels": {"a": "b"}}})).await.is(200);
}

async fn unknown_fields(w: World) {
    let pods = w.core("pods");
    let mut body = pod("p");
    body["spec"]["containers"][0]["typo"] = json!(1);
    body["spec"]["alsoTypo"] = json!("x");
    let answer = w.post(&pods, &body).await;
    let warnings: Vec<_> =
        answer.headers.get_all("warning").iter().map(|v| v.to_str().unwrap().to_owned()).collect();
    assert!(
        warnings.iter().any(|w| w.contains("unknown field \\\"spec.containers[0].typo\\\"")),
        "{warnings:?}"
    );
    let made = answer.is(201);
    assert!(made["spec"].get("alsoTypo").is_none() && made["spec"]["containers"][0].get("typo").is_none());
    let quiet = w
        .post(&format!("{pods}?fieldValidation=Ignore&dryRun=All"), &{
            body["metadata"]["name"] = json!("q");
            body.clone()
        })
        .await;
    assert!(quiet.headers.get("warning").is_none());
    quiet.is(201);
    let status = w.post(&format!("{pods}?fieldValidation=Strict"), &body).await.refused(400, "BadRequest");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("strict decoding error") && message.contains("unknown field \"spec.alsoTypo\""),
        "{message}"
    );
    w.post(&format!("{pods}?fieldValidation=Sometimes"), &body).await.is(422);
}

async fn owners(w: World) {
    let maps = w.core("configmaps");
    let json = [("content-type", "application/json"), ("user-agent", "someone/1.2 (linux)")];
    let made = send(&w.server.admin, "POST", &maps, &json, &map("m")).await.is(201);
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!((&entry["manager"], &entry["operation"]), (&json!("someone"), &json!("Update")));
    assert_eq!((&entry["apiVersion"], &entry["fieldsType"]), (&json!("v1"), &json!("FieldsV1")));
    assert_eq!(entry["fieldsV1"], json!({"f:data": {".": {}, "f:a": {}}}));
    let at = format!("{maps}/m");
    let merge = [("content-type", "application/merge-patch+json")];
    let patch = json!({"data": {"a": "2", "b": "1"}});
    let path = format!("{at}?fieldManager=other");
    let patched = send(&w.server.admin, "PATCH", &path, &merge, &patch).await.is(200);
    let owned = |object: &serde_json::Value, manager: &str| {
        let all = object["metadata"]["managedFields"].as_array().unwrap();
        all.iter().find(|e| e["manager"] == manager).map(|e| e["fieldsV1"].clone())
    };
    assert_eq!(owned(&patched, "other"), Some(json!({"f:data": {"f:a": {}, "f:b": {}}})));
    assert_eq!(owned(&patched, "someone"), Some(json!({"f:data": {}})));
    let cleared = w.merge(&at, &json!({"metadata": {"managedFields": [{}]}})).await.is(200);
    assert!(cleared["metadata"].get("managedFields").is_none());
    w.put(&format!("{at}?fieldManager={}", "x".repeat(129)), &map("m")).await.is(422);
}
