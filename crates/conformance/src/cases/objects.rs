//! Objects come, are read and go: codes, names, preconditions, finalizers, dry runs, discovery.
// A case is a test: a failed unwrap is a failed case.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::cases;
use crate::Case;
use crate::world::{World, fields, labelled, map, names, pod, version};

pub const CASES: &[Case] = cases! {
    "discovery names every kind" => discovery,
    "OpenAPI has schemas of every kind" => openapi,
    "an object is created, read and deleted" => life,
    "a name that is taken is refused" => taken,
    "a name can be left to the server" => generated,
    "bodies that are not of the kind are refused" => wrong_bodies,
    "names and labels have rules" => names_and_labels,
    "a namespace has to be there" => no_namespace,
    "a deletion can have preconditions" => preconditions,
    "finalizers hold a deletion" => finalizers,
    "a collection is deleted by selector" => collection,
    "a dry run leaves nothing" => dry_run,
    "a deletion's options come from its body, or else its query" => deletion_options,
    "owners are named in full" => owner_references,
    "what is too large is refused" => too_large,
    "what is not there is not found" => absent_paths,
};

async fn discovery(w: World) {
    let core = w.get("/api/v1").await.is(200);
    for plural in [
        "configmaps",
        "events",
        "namespaces",
        "nodes",
        "pods",
        "pods/status",
        "pods/log",
        "pods/binding",
        "secrets",
        "serviceaccounts",
    ] {
        assert!(core["resources"].as_array().unwrap().iter().any(|r| r["name"] == plural), "{plural}");
    }
    let groups = w.get("/apis").await.is(200);
    for group in ["prow.k8s.io", "coordination.k8s.io", "authorization.k8s.io"] {
        assert!(groups["groups"].as_array().unwrap().iter().any(|g| g["name"] == group), "{group}");
    }
    let prow = w.get("/apis/prow.k8s.io/v1").await.is(200);
    let jobs = &prow["resources"][0];
    assert_eq!(
        (&jobs["name"], &jobs["kind"], &jobs["namespaced"]),
        (&json!("prowjobs"), &json!("ProwJob"), &json!(true))
    );
    assert_eq!(jobs["singularName"], "prowjob");
    assert_eq!(prow["resources"].as_array().unwrap().len(), 1, "ProwJobs have no subresources");
    w.get("/apis/nothing.example.com/v1").await.is(404);
    assert_eq!(w.get("/readyz").await.is(200), "ok");
}

async fn openapi(w: World) {
    let index = w.get("/openapi/v3").await.is(200);
    let path = index["paths"]["apis/prow.k8s.io/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = w.get(&path).await.is(200);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let job =
        schemas.values().find(|s| s["x-kubernetes-group-version-kind"][0]["kind"] == "ProwJob").unwrap();
    assert!(job["properties"]["spec"].is_object());
    let path = index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = w.get(&path).await.is(200);
    let spec = document["components"]["schemas"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(name, _)| name.ends_with("PodSpec"));
    let containers = &spec.unwrap().1["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
}

async fn life(w: World) {
    let maps = w.core("configmaps");
    let made = w.post(&maps, &map("m")).await.is(201);
    assert_eq!((&made["kind"], &made["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    for member in ["uid", "creationTimestamp", "resourceVersion"] {
        assert!(made["metadata"][member].as_str().is_some_and(|t| !t.is_empty()), "{member}");
    }
    assert_eq!(made["metadata"]["namespace"], json!(w.namespace));
    assert_eq!(w.get(&format!("{maps}/m")).await.is(200), made);
    let gone = w.delete(&format!("{maps}/m"), &Value::Null).await.is(200);
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone["details"]["uid"], made["metadata"]["uid"]);
    let status = w.get(&format!("{maps}/m")).await.refused(404, "NotFound");
    assert_eq!(status["message"], "configmaps \"m\" not found");
    assert_eq!((&status["details"]["name"], &status["details"]["kind"]), (&json!("m"), &json!("configmaps")));
    w.delete(&format!("{maps}/m"), &Value::Null).await.refused(404, "NotFound");
    w.put(&format!("{maps}/m"), &map("m")).await.refused(404, "NotFound");
    w.merge(&format!("{maps}/m"), &json!({})).await.refused(404, "NotFound");
}

async fn taken(w: World) {
    let maps = w.core("configmaps");
    w.post(&maps, &map("m")).await.is(201);
    let status = w.post(&maps, &map("m")).await.refused(409, "AlreadyExists");
    assert_eq!(status["message"], "configmaps \"m\" already exists");
}

async fn generated(w: World) {
    let maps = w.core("configmaps");
    let mut body = map("");
    body["metadata"] = json!({"generateName": "gen-"});
    let first = w.post(&maps, &body).await.is(201);
    let second = w.post(&maps, &body).await.is(201);
    let name = |v: &Value| v["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name(&first).starts_with("gen-") && name(&first).len() == 9);
    assert_ne!(name(&first), name(&second));
    assert_eq!(first["metadata"]["generateName"], "gen-");
    let status = w.post(&maps, &json!({"metadata": {}})).await;
    assert_eq!(status.code, 422, "{}", status.body);
}

async fn wrong_bodies(w: World) {
    let maps = w.core("configmaps");
    w.post(&maps, &json!("{")).await.refused(400, "BadRequest");
    let mut other = map("m");
    other["kind"] = json!("Secret");
    w.post(&maps, &other).await.refused(400, "BadRequest");
    let mut typed = map("m");
    typed["data"] = json!({"a": 1});
    w.post(&maps, &typed).await.refused(400, "BadRequest");
    let mut elsewhere = map("m");
    elsewhere["metadata"]["namespace"] = json!("elsewhere");
    w.post(&maps, &elsewhere).await.refused(400, "BadRequest");
    w.post(&maps, &map("m")).await.is(201);
    w.put(&format!("{maps}/m"), &map("n")).await.refused(400, "BadRequest");
    let mut versioned = map("v");
    versioned["metadata"]["resourceVersion"] = json!("7");
    let refused = w.post(&maps, &versioned).await;
    assert!(matches!(refused.code, 400 | 500), "{}", refused.body);
    w.patch(&format!("{maps}/m"), "strange", &json!({})).await.refused(415, "UnsupportedMediaType");
    w.put(&maps, &map("m")).await.refused(405, "MethodNotAllowed");
    w.get_as(&format!("{maps}/m"), "application/nonsense").await.is(406);
}

async fn names_and_labels(w: World) {
    let maps = w.core("configmaps");
    for name in ["Upper", "under_score", "-front", "a..b"] {
        let status = w.post(&maps, &map(name)).await.refused(422, "Invalid");
        assert_eq!(fields(&status), ["metadata.name"], "{name}");
    }
    let status = w.post(&maps, &labelled("m", "a b", "x")).await.refused(422, "Invalid");
    assert_eq!(fields(&status), ["metadata.labels"]);
    let status = w.post(&maps, &labelled("m", "a", "no slash/here")).await.refused(422, "Invalid");
    assert_eq!(fields(&status), ["metadata.labels"]);
    w.post(&maps, &map(&"a".repeat(254))).await.refused(422, "Invalid");
    w.post(&maps, &map(&"a".repeat(253))).await.is(201);
}

async fn no_namespace(w: World) {
    let path = "/api/v1/namespaces/there-is-none/configmaps";
    let status = w.post(path, &map("m")).await.refused(404, "NotFound");
    assert_eq!(status["message"], "namespaces \"there-is-none\" not found");
    assert_eq!(w.get(path).await.is(200)["items"], json!([]));
}

async fn preconditions(w: World) {
    let maps = w.core("configmaps");
    let made = w.post(&maps, &map("m")).await.is(201);
    let at = format!("{maps}/m");
    let with = |name: &str, value: &Value| json!({"preconditions": {name: value}});
    w.delete(&at, &with("uid", &json!("another"))).await.refused(409, "Conflict");
    w.delete(&at, &with("resourceVersion", &json!("1"))).await.refused(409, "Conflict");
    w.delete(&at, &with("resourceVersion", &json!(version(&made)))).await.is(200);
    let made = w.post(&maps, &map("m")).await.is(201);
    w.delete(&at, &with("uid", &made["metadata"]["uid"])).await.is(200);
    // The uid of an update is one, too.
    w.post(&maps, &map("m")).await.is(201);
    let mut other = map("m");
    other["metadata"]["uid"] = made["metadata"]["uid"].clone();
    w.put(&at, &other).await.refused(409, "Conflict");
}

async fn finalizers(w: World) {
    let maps = w.core("configmaps");
    let at = format!("{maps}/m");
    let mut held = map("m");
    held["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    w.post(&maps, &held).await.is(201);
    let going = w.delete(&at, &Value::Null).await.is(200);
    assert_eq!(going["kind"], "ConfigMap");
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 0);
    // It stays as it goes, is not deleted twice, and takes no new finalizer.
    let again = w.delete(&at, &Value::Null).await.is(200);
    assert_eq!(version(&again), version(&going));
    let more = json!({"metadata": {"finalizers": ["example.com/a", "example.com/b", "example.com/c"]}});
    w.merge(&at, &more).await.refused(422, "Invalid");
    let less = w.merge(&at, &json!({"metadata": {"finalizers": ["example.com/b"]}})).await.is(200);
    assert_eq!(less["metadata"]["finalizers"], json!(["example.com/b"]));
    w.merge(&at, &json!({"metadata": {"finalizers": null}})).await.is(200);
    w.get(&at).await.refused(404, "NotFound");
    let mut bad = map("n");
    bad["metadata"]["finalizers"] = json!(["no domain"]);
    w.post(&maps, &bad).await.refused(422, "Invalid");
}

async fn collection(w: World) {
    let maps = w.core("configmaps");
    for (name, color) in [("a", "red"), ("b", "red"), ("c", "blue")] {
        w.post(&maps, &labelled(name, "color", color)).await.is(201);
    }
    w.delete(&format!("{maps}?labelSelector=color%3Dred&dryRun=All"), &Value::Null).await.is(200);
    let gone = w.delete(&format!("{maps}?labelSelector=color%3Dred"), &Value::Null).await.is(200);
    assert_eq!(gone["kind"], "ConfigMapList");
    assert_eq!(names(&gone), ["a", "b"]);
    let left = w.get(&format!("{maps}?labelSelector=color")).await.is(200);
    assert_eq!(names(&left), ["c"]);
}

async fn dry_run(w: World) {
    let maps = w.core("configmaps");
    let shown = w.post(&format!("{maps}?dryRun=All"), &map("m")).await.is(201);
    assert!(shown["metadata"]["uid"].is_string());
    w.get(&format!("{maps}/m")).await.refused(404, "NotFound");
    let made = w.post(&maps, &map("m")).await.is(201);
    let at = format!("{maps}/m");
    let shown = w.merge(&format!("{at}?dryRun=All"), &json!({"data": {"a": "2"}})).await.is(200);
    assert_eq!(shown["data"]["a"], "2");
    w.delete(&format!("{at}?dryRun=All"), &Value::Null).await.is(200);
    w.delete(&at, &json!({"dryRun": ["All"]})).await.is(200);
    assert_eq!(w.get(&at).await.is(200), made);
    w.post(&format!("{maps}?dryRun=Some"), &map("n")).await.is(422);
}

async fn deletion_options(w: World) {
    let (maps, pods) = (w.core("configmaps"), w.core("pods"));
    let at = format!("{maps}/m");
    w.post(&maps, &map("m")).await.is(201);
    for query in
        ["dryRun=Some", "propagationPolicy=Sometimes", "propagationPolicy=Orphan&orphanDependents=true"]
    {
        w.delete(&format!("{at}?{query}"), &Value::Null).await.refused(422, "Invalid");
    }
    w.delete(&at, &json!({"propagationPolicy": "Sometimes"})).await.refused(422, "Invalid");
    w.delete(&at, &json!({"dryRun": ["Some"]})).await.refused(422, "Invalid");
    let unreadable = w.delete(&at, &json!({"gracePeriodSeconds": "soon"})).await;
    assert!(matches!(unreadable.code, 400 | 500), "{}", unreadable.body);
    w.delete(&format!("{at}?dryRun=All&propagationPolicy=Background"), &Value::Null).await.is(200);
    w.get(&at).await.is(200);
    // A body leaves nothing to the query.
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = json!("node-1");
    w.post(&pods, &bound).await.is(201);
    let going = w
        .delete(&format!("{pods}/p?gracePeriodSeconds=5"), &json!({"propagationPolicy": "Background"}))
        .await;
    assert_eq!(going.is(200)["metadata"]["deletionGracePeriodSeconds"], 30);
    let sooner = w.delete(&format!("{pods}/p?gracePeriodSeconds=7"), &Value::Null).await.is(200);
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 7);
    w.delete(&format!("{at}?dryRun=All"), &json!({})).await.is(200);
    w.get(&at).await.refused(404, "NotFound");
}

async fn owner_references(w: World) {
    let maps = w.core("configmaps");
    let owned = |name: &str, owner: Value| {
        let mut body = map(name);
        body["metadata"]["ownerReferences"] = json!([owner]);
        body
    };
    let owner = w.post(&maps, &map("owner")).await.is(201);
    let reference =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]});
    let made = w.post(&maps, &owned("m", reference.clone())).await.is(201);
    assert_eq!(made["metadata"]["ownerReferences"], json!([reference]));
    let mut nameless = reference.clone();
    nameless["uid"] = json!("");
    let status = w.post(&maps, &owned("n", nameless)).await.refused(422, "Invalid");
    assert_eq!(fields(&status), ["metadata.ownerReferences.uid"]);
}

async fn too_large(w: World) {
    let maps = w.core("configmaps");
    let of = |bytes: usize| {
        let mut body = map("m");
        body["data"]["a"] = json!("x".repeat(bytes));
        body
    };
    w.post(&maps, &of((1 << 20) + 1)).await.refused(422, "Invalid");
    w.post(&maps, &of(4 << 20)).await.refused(413, "RequestEntityTooLarge");
    w.post(&maps, &of((1 << 20) - 10)).await.is(201);
    let mut noted = map("n");
    noted["metadata"]["annotations"] = json!({"a": "x".repeat(256 << 10)});
    let status = w.post(&maps, &noted).await.refused(422, "Invalid");
    assert_eq!(fields(&status), ["metadata.annotations"]);
}

async fn absent_paths(w: World) {
    let pods = w.core("pods");
    w.post(&pods, &pod("p")).await.is(201);
    w.get(&format!("{pods}/p/nonsense")).await.is(404);
    w.get(&w.core("nonsense")).await.is(404);
    w.get("/apis/nonsense.example.com/v1/things").await.is(404);
    w.get("/api/v9/pods").await.is(404);
    w.merge(&format!("{}/m/status", w.core("configmaps")), &json!({})).await.is(404);
    let version = w.get("/version").await.is(200);
    assert_eq!(version["major"], "1");
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(w.get(path).await.is(200), "ok");
    }
}
