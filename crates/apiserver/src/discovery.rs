//! Discovery: which groups, versions and kinds there are, for kubectl and kube-rs.

use serde_json::{Value, json};

use crate::resources::{RESOURCES, groups};

/// Reviews of the asker, which are answered but not stored: group, name in paths, kind.
const REVIEWS: [(&str, &str, &str); 3] = [
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
];

/// The kind of review that is asked for by a POST to this path.
pub fn review(path: &str) -> Option<&'static str> {
    let (group, plural) = path.strip_prefix("/apis/")?.split_once("/v1/")?;
    REVIEWS.iter().find(|(g, p, _)| (*g, *p) == (group, plural)).map(|(_, _, kind)| *kind)
}

/// The answer to a discovery path, `None` if it is not one.
pub fn answer(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["version"] => Some(version()),
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [],
        })),
        ["api", "v1"] => Some(resource_list("", "v1")),
        ["apis"] => {
            let groups: Vec<Value> = all_groups().into_iter().map(|(g, v)| group(g, v)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => all_groups().into_iter().find(|(g, _)| g == name).map(|(g, v)| {
            let mut group = group(g, v);
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            group
        }),
        ["apis", name, version] => all_groups()
            .into_iter()
            .find(|(g, v)| g == name && v == version)
            .map(|(g, v)| resource_list(g, v)),
        _ => None,
    }
}

fn all_groups() -> Vec<(&'static str, &'static str)> {
    let mut all = groups();
    all.extend([("authorization.k8s.io", "v1"), ("authentication.k8s.io", "v1")]);
    all
}

/// The Kubernetes version whose behaviour is followed: clients only compare it with their own.
fn version() -> Value {
    json!({
        "major": "1", "minor": "32", "gitVersion": concat!("v1.32.0+prow.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn group(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

fn resource_list(group: &str, version: &str) -> Value {
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut resources = Vec::new();
    for r in RESOURCES.iter().filter(|r| r.group == group && r.version == version) {
        let mut verbs = vec!["create", "delete", "get", "list", "patch", "update", "watch"];
        if !r.is_namespaces() {
            verbs.insert(2, "deletecollection");
        }
        let mut entry = json!({
            "name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": verbs,
        });
        if !r.short_names.is_empty() {
            entry["shortNames"] = json!(r.short_names);
        }
        if !r.categories.is_empty() {
            entry["categories"] = json!(r.categories);
        }
        resources.push(entry);
        let mut sub = |name: &str, kind: &str, verbs: &[&str]| {
            resources.push(json!({
                "name": format!("{}/{name}", r.plural), "singularName": "", "namespaced": r.namespaced,
                "kind": kind, "verbs": verbs,
            }));
        };
        if r.has_status {
            sub("status", r.kind, &["get", "patch", "update"]);
        }
        if r.is_pods() {
            sub("binding", "Binding", &["create"]);
            sub("log", "Pod", &["get"]);
        }
    }
    for (_, plural, kind) in REVIEWS.iter().filter(|(g, _, _)| *g == group && version == "v1") {
        resources.push(json!({
            "name": plural, "singularName": kind.to_lowercase(), "namespaced": false, "kind": kind, "verbs": ["create"],
        }));
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_discovered() {
        for r in RESOURCES {
            let path = if r.group.is_empty() {
                "/api/v1".to_owned()
            } else {
                format!("/apis/{}/{}", r.group, r.version)
            };
            let list = answer(&path).unwrap();
            let names: Vec<&str> =
                list["resources"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
            assert!(names.contains(&r.plural), "{names:?}");
            assert_eq!(names.contains(&format!("{}/status", r.plural).as_str()), r.has_status);
        }
        assert_eq!(answer("/apis").unwrap()["groups"][1]["name"], "prow.k8s.io");
        assert_eq!(answer("/apis/prow.k8s.io").unwrap()["kind"], "APIGroup");
        assert!(answer("/apis/apps/v1").is_none());
        assert!(answer("/api/v2").is_none());
    }
}
