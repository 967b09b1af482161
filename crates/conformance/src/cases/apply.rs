//! Server-side apply: fields have owners, and who says nothing of a field any more lets it go.
// A case is a test: a failed unwrap is a failed case.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::cases;
use crate::Case;
use crate::world::{World, fields, map, pod, prowjob, version};

pub const CASES: &[Case] = cases! {
    "apply makes an object and owns what it says" => creates,
    "apply again with the same changes nothing" => repeats,
    "apply takes back what it says no more" => takes_back,
    "apply of another's field is a conflict until forced" => conflicts,
    "appliers with one value share it" => shares,
    "apply knows list entries by their keys" => keyed_lists,
    "apply of a ProwJob" => custom,
    "apply of a status" => status,
    "an apply is asked for properly" => malformed,
    "apply after an update goes on from it" => after_update,
};

fn config(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn owned(object: &Value, manager: &str, operation: &str) -> Option<Value> {
    let all = object["metadata"]["managedFields"].as_array()?;
    all.iter().find(|e| e["manager"] == manager && e["operation"] == operation).map(|e| e["fieldsV1"].clone())
}

async fn creates(w: World) {
    let at = format!("{}/m", w.core("configmaps"));
    let made = w.apply(&at, "ann", false, &config("m", json!({"a": "1"}))).await.is(201);
    assert_eq!(owned(&made, "ann", "Apply"), Some(json!({"f:data": {"f:a": {}}})));
    assert_eq!(made["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    // YAML is what it is called after.
    let yaml = json!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yaml\n  labels: {a: b}\ndata:\n  k: 'v'\n"
    );
    let made = w.apply(&format!("{}/yaml", w.core("configmaps")), "ann", false, &yaml).await.is(201);
    assert_eq!((&made["data"]["k"], &made["metadata"]["labels"]["a"]), (&json!("v"), &json!("b")));
}

async fn repeats(w: World) {
    let at = format!("{}/m", w.core("configmaps"));
    let made = w.apply(&at, "ann", false, &config("m", json!({"a": "1"}))).await.is(201);
    assert_eq!(w.apply(&at, "ann", false, &config("m", json!({"a": "1"}))).await.is(200), made);
}

async fn takes_back(w: World) {
    let at = format!("{}/m", w.core("configmaps"));
    let mut body = config("m", json!({"a": "1", "b": "1"}));
    body["metadata"]["labels"] = json!({"x": "1"});
    w.apply(&at, "ann", false, &body).await.is(201);
    w.merge(&at, &json!({"data": {"c": "1"}})).await.is(200);
    let less = w.apply(&at, "ann", false, &config("m", json!({"a": "2"}))).await.is(200);
    assert_eq!(less["data"], json!({"a": "2", "c": "1"}), "c is another's");
    assert!(less["metadata"].get("labels").is_none_or(|l| l == &json!({})));
}

async fn conflicts(w: World) {
    let at = format!("{}/m", w.core("configmaps"));
    w.apply(&at, "ann", false, &config("m", json!({"a": "1", "b": "1"}))).await.is(201);
    let theirs = config("m", json!({"a": "2"}));
    let status = w.apply(&at, "ben", false, &theirs).await.refused(409, "Conflict");
    assert_eq!(fields(&status), [".data.a"]);
    assert_eq!(status["details"]["causes"][0]["reason"], "FieldManagerConflict");
    assert_eq!(status["message"], "Apply failed with 1 conflict: conflict with \"ann\": .data.a");
    let taken = w.apply(&at, "ben", true, &theirs).await.is(200);
    assert_eq!(taken["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(owned(&taken, "ann", "Apply"), Some(json!({"f:data": {"f:b": {}}})));
    assert_eq!(owned(&taken, "ben", "Apply"), Some(json!({"f:data": {"f:a": {}}})));
    // Against an update the message says by which version.
    w.merge(&format!("{at}?fieldManager=hand"), &json!({"data": {"h": "1"}})).await.is(200);
    let status =
        w.apply(&at, "ann", false, &config("m", json!({"b": "1", "h": "2"}))).await.refused(409, "Conflict");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.starts_with("Apply failed with 1 conflict: conflict with \"hand\" using v1: .data.h"),
        "{message}"
    );
    let both =
        w.apply(&at, "cat", false, &config("m", json!({"a": "9", "b": "9"}))).await.refused(409, "Conflict");
    assert!(both["message"].as_str().unwrap().starts_with("Apply failed with 2 conflicts: "), "{both}");
}

async fn shares(w: World) {
    let at = format!("{}/m", w.core("configmaps"));
    w.apply(&at, "ann", false, &config("m", json!({"a": "1", "b": "1"}))).await.is(201);
    let shared = w.apply(&at, "ben", false, &config("m", json!({"a": "1"}))).await.is(200);
    assert_eq!(owned(&shared, "ann", "Apply"), Some(json!({"f:data": {"f:a": {}, "f:b": {}}})));
    let left = w.apply(&at, "ann", false, &config("m", json!({"b": "1"}))).await.is(200);
    assert_eq!(left["data"], json!({"a": "1", "b": "1"}), "ben still says a");
    let gone = w
        .apply(
            &at,
            "ben",
            false,
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}}),
        )
        .await;
    assert_eq!(gone.is(200)["data"], json!({"b": "1"}));
}

async fn keyed_lists(w: World) {
    let at = format!("{}/p", w.core("pods"));
    let mut body = pod("p");
    body["metadata"]["finalizers"] = json!(["example.com/a"]);
    body["spec"]["containers"] = json!([
        {"name": "a", "image": "a:1", "ports": [{"containerPort": 80}], "env": [{"name": "X", "value": "1"}]},
        {"name": "b", "image": "b:1"},
    ]);
    let made = w.apply(&at, "ann", false, &body).await.is(201);
    let spec = owned(&made, "ann", "Apply").unwrap()["f:spec"].clone();
    let a = &spec["f:containers"]["k:{\"name\":\"a\"}"];
    assert_eq!(a["."], json!({}));
    assert_eq!(a["f:env"], json!({"k:{\"name\":\"X\"}": {".": {}, "f:name": {}, "f:value": {}}}));
    let port = &a["f:ports"]["k:{\"containerPort\":80,\"protocol\":\"TCP\"}"];
    assert_eq!(port, &json!({".": {}, "f:containerPort": {}}));
    assert!(spec.get("f:restartPolicy").is_none(), "defaults are nobody's");
    // Another says a container's image and a finalizer of its own, and nothing of the rest goes.
    let theirs = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": ["example.com/b"]},
        "spec": {"containers": [{"name": "b", "image": "b:2"}]}});
    let status = w.apply(&at, "ben", false, &theirs).await.refused(409, "Conflict");
    assert_eq!(fields(&status), [".spec.containers[name=\"b\"].image"]);
    let both = w.apply(&at, "ben", true, &theirs).await.is(200);
    let images: Vec<_> =
        both["spec"]["containers"].as_array().unwrap().iter().map(|c| c["image"].as_str().unwrap()).collect();
    assert_eq!(images, ["a:1", "b:2"]);
    let mut held: Vec<_> =
        both["metadata"]["finalizers"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    held.sort_unstable();
    assert_eq!(held, ["example.com/a", "example.com/b"]);
    let mut without = body.clone();
    without["metadata"].as_object_mut().unwrap().remove("finalizers");
    without["spec"]["containers"][1]["image"] = json!("b:2");
    let left = w.apply(&at, "ann", false, &without).await.is(200);
    assert_eq!(left["metadata"]["finalizers"], json!(["example.com/b"]));
}

async fn custom(w: World) {
    let at = format!("{}/j", w.jobs());
    let made = w.apply(&at, "ann", false, &prowjob("j")).await.is(201);
    assert_eq!(made["metadata"]["generation"], 1);
    let all = owned(&made, "ann", "Apply").unwrap();
    assert_eq!(all["f:spec"]["f:refs"]["f:pulls"], json!({}), "an atomic list");
    let container = &all["f:spec"]["f:pod_spec"]["f:containers"]["k:{\"name\":\"test\"}"];
    assert_eq!(container["f:command"], json!({}));
    let report = |who: &str| {
        json!({"apiVersion": "prow.k8s.io/v1", "kind": "ProwJob", "metadata": {"name": "j"},
        "status": {"state": "triggered", "prev_report_states": {who: "triggered"}}})
    };
    w.apply(&at, "one", false, &report("one")).await.is(200);
    let two = w.apply(&at, "two", false, &report("two")).await.is(200);
    assert_eq!(two["status"]["prev_report_states"], json!({"one": "triggered", "two": "triggered"}));
    let mut wrong = prowjob("j");
    wrong["spec"]["type"] = json!("nightly");
    w.apply(&at, "ann", true, &wrong).await.refused(422, "Invalid");
}

async fn status(w: World) {
    let at = format!("{}/p", w.core("pods"));
    w.apply(&at, "ann", false, &pod("p")).await.is(201);
    let condition = |kind: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "status": {"conditions": [{"type": kind, "status": "True"}]}})
    };
    w.apply(&format!("{at}/status"), "one", false, &condition("example.com/One")).await.is(200);
    let both = w.apply(&format!("{at}/status"), "two", false, &condition("example.com/Two")).await.is(200);
    let kinds: Vec<_> = both["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["example.com/One", "example.com/Two"]);
    let entry =
        both["metadata"]["managedFields"].as_array().unwrap().iter().find(|e| e["manager"] == "two").unwrap();
    assert_eq!(entry["subresource"], "status");
    let none = w.apply(&format!("{}/absent/status", w.core("pods")), "one", false, &condition("x")).await;
    none.refused(404, "NotFound");
}

async fn malformed(w: World) {
    let maps = w.core("configmaps");
    let at = format!("{maps}/m");
    let yaml = [("content-type", "application/apply-patch+yaml")];
    let nobody = crate::world::send(&w.server.admin, "PATCH", &at, &yaml, &map("m")).await;
    nobody.is(422);
    let mut owned = map("m");
    owned["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": {}}]);
    w.apply(&at, "ann", false, &owned).await.refused(400, "BadRequest");
    w.apply(&at, "ann", false, &json!({"apiVersion": "v1"})).await.is(400);
    w.apply(&at, "ann", false, &map("other")).await.refused(400, "BadRequest");
    let mut versioned = map("m");
    versioned["metadata"]["uid"] = json!("u");
    w.apply(&at, "ann", false, &versioned).await.refused(409, "Conflict");
    w.get(&at).await.refused(404, "NotFound");
    w.merge(&format!("{at}?force=true"), &json!({})).await.is(422);
    let made = w.apply(&at, "ann", false, &map("m")).await.is(201);
    let mut stale = map("m");
    stale["metadata"]["resourceVersion"] = json!(version(&made));
    stale["data"]["a"] = json!("2");
    w.apply(&at, "ann", false, &stale).await.is(200);
    stale["data"]["a"] = json!("3");
    w.apply(&at, "ann", false, &stale).await.refused(409, "Conflict");
}

async fn after_update(w: World) {
    let maps = w.core("configmaps");
    let at = format!("{maps}/m");
    w.post(&format!("{maps}?fieldManager=maker"), &map("m")).await.is(201);
    // The same value is no conflict; another one is.
    let same = w.apply(&at, "ann", false, &map("m")).await.is(200);
    assert_eq!(owned(&same, "ann", "Apply"), Some(json!({"f:data": {"f:a": {}}})));
    let status = w.apply(&at, "ann", false, &config("m", json!({"a": "2"}))).await.refused(409, "Conflict");
    assert_eq!(fields(&status), [".data.a"]);
    let forced = w.apply(&at, "ann", true, &config("m", json!({"a": "2"}))).await.is(200);
    assert_eq!(forced["data"]["a"], "2");
    // What was there before anybody was counted has an owner, too.
    w.merge(&at, &json!({"metadata": {"managedFields": [{}]}})).await.is(200);
    let status = w.apply(&at, "ben", false, &config("m", json!({"a": "3"}))).await.refused(409, "Conflict");
    assert!(status["message"].as_str().unwrap().contains("\"before-first-apply\""), "{status}");
}
