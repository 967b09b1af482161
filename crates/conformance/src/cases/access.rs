//! Who may do what: a viewer reads, and is refused the rest as RBAC refuses it.
// A case is a test: a failed unwrap is a failed case.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::cases;
use crate::Case;
use crate::world::{Answer, World, map, names, pod, send};

pub const CASES: &[Case] = cases! {
    "a viewer reads" => reads,
    "a viewer is refused writes and Secrets" => refused,
    "access can be asked about" => reviews,
    "one can ask who one is" => who,
};

async fn as_viewer(w: &World, method: &str, path: &str, body: &Value) -> Answer {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    send(&w.server.viewer, method, path, &[("content-type", kind)], body).await
}

async fn reads(w: World) {
    w.post(&w.core("pods"), &pod("p")).await.is(201);
    let list = as_viewer(&w, "GET", &w.core("pods"), &Value::Null).await.is(200);
    assert_eq!(names(&list), ["p"]);
    as_viewer(&w, "GET", &format!("{}/p", w.core("pods")), &Value::Null).await.is(200);
    as_viewer(&w, "GET", "/apis/prow.k8s.io/v1/prowjobs", &Value::Null).await.is(200);
    as_viewer(&w, "GET", "/api/v1", &Value::Null).await.is(200);
    let watch = format!("{}?watch=true&timeoutSeconds=1", w.core("pods"));
    as_viewer(&w, "GET", &watch, &Value::Null).await.is(200);
}

async fn refused(w: World) {
    let maps = w.core("configmaps");
    w.post(&maps, &map("m")).await.is(201);
    let status = as_viewer(&w, "POST", &maps, &map("n")).await.refused(403, "Forbidden");
    let expected = format!(
        "configmaps is forbidden: User \"viewer\" cannot create resource \"configmaps\" in API group \"\" in the namespace \"{}\"",
        w.namespace
    );
    assert_eq!(status["message"], json!(expected));
    assert_eq!(status["details"]["kind"], "configmaps");
    let at = format!("{maps}/m");
    let status = as_viewer(&w, "PATCH", &at, &json!({})).await.refused(403, "Forbidden");
    let expected = format!(
        "configmaps \"m\" is forbidden: User \"viewer\" cannot patch resource \"configmaps\" in API group \"\" in the namespace \"{}\"",
        w.namespace
    );
    assert_eq!(status["message"], json!(expected));
    as_viewer(&w, "PUT", &at, &map("m")).await.refused(403, "Forbidden");
    as_viewer(&w, "DELETE", &at, &Value::Null).await.refused(403, "Forbidden");
    as_viewer(&w, "DELETE", &maps, &Value::Null).await.refused(403, "Forbidden");
    as_viewer(&w, "GET", &w.core("secrets"), &Value::Null).await.refused(403, "Forbidden");
    as_viewer(&w, "GET", &format!("{}/absent", w.core("secrets")), &Value::Null)
        .await
        .refused(403, "Forbidden");
    let status = as_viewer(&w, "POST", "/api/v1/namespaces", &json!({})).await.refused(403, "Forbidden");
    let expected = "namespaces is forbidden: User \"viewer\" cannot create resource \"namespaces\" in API group \"\" at \
                    the cluster scope";
    assert_eq!(status["message"], expected);
    let status = as_viewer(&w, "PATCH", &format!("{}/p/status", w.core("pods")), &json!({})).await;
    let status = status.refused(403, "Forbidden");
    assert!(
        status["message"].as_str().unwrap().contains("cannot patch resource \"pods/status\""),
        "{status}"
    );
}

async fn who(w: World) {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let ask = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    assert_eq!(w.post(path, &ask).await.is(201)["status"]["userInfo"]["username"], "admin");
    let viewer = as_viewer(&w, "POST", path, &ask).await.is(201);
    assert_eq!(
        (&viewer["kind"], &viewer["status"]["userInfo"]["username"]),
        (&json!("SelfSubjectReview"), &json!("viewer"))
    );
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let ask = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": w.namespace}});
    let may = |review: &Value, verb: &str, resource: &str| {
        let says = |rule: &Value, list: &str, word: &str| {
            rule[list].as_array().into_iter().flatten().any(|v| v == word || v == "*")
        };
        let rules = review["status"]["resourceRules"].as_array().unwrap();
        rules
            .iter()
            .any(|r| says(r, "verbs", verb) && says(r, "resources", resource) && says(r, "apiGroups", ""))
    };
    assert!(may(&w.post(path, &ask).await.is(201), "delete", "secrets"));
    let viewer = as_viewer(&w, "POST", path, &ask).await.is(201);
    assert!(
        may(&viewer, "list", "pods") && !may(&viewer, "delete", "pods") && !may(&viewer, "get", "secrets")
    );
}

async fn reviews(w: World) {
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let ask = |verb: &str, resource: &str| {
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": w.namespace, "verb": verb, "resource": resource}},
        })
    };
    for (verb, resource, viewer) in [
        ("list", "pods", true),
        ("create", "pods", false),
        ("get", "secrets", false),
        ("delete", "configmaps", false),
    ] {
        let admin = w.post(path, &ask(verb, resource)).await.is(201);
        assert_eq!(admin["status"]["allowed"], true);
        let answer = as_viewer(&w, "POST", path, &ask(verb, resource)).await.is(201);
        assert_eq!(answer["status"]["allowed"], json!(viewer), "{verb} {resource}");
    }
}
