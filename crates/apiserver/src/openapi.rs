//! OpenAPI v3, as far as kubectl reads it: which kinds take `fieldValidation`, how lists are merged, and what
//! `kubectl explain` shows. The types come from the tables in `schema`.

use serde_json::{Value, json};

use crate::resources::{RESOURCES, Resource};
use crate::schema::document::components;

/// The answer to a path below `/openapi/v3`.
pub fn answer(path: &str) -> Option<Value> {
    match path.strip_prefix("/openapi/v3")?.trim_matches('/') {
        "" => {
            let mut paths = json!({});
            for r in RESOURCES {
                let at = group_path(r);
                paths[&at] = json!({"serverRelativeURL": format!("/openapi/v3/{at}")});
            }
            Some(json!({"paths": paths}))
        }
        group => {
            let kinds: Vec<&Resource> = RESOURCES.iter().filter(|r| group_path(r) == group).collect();
            (!kinds.is_empty()).then(|| document(&kinds))
        }
    }
}

fn group_path(r: &Resource) -> String {
    if r.group.is_empty() { format!("api/{}", r.version) } else { format!("apis/{}/{}", r.group, r.version) }
}

fn gvk(r: &Resource) -> Value {
    json!({"group": r.group, "kind": r.kind, "version": r.version})
}

fn document(kinds: &[&Resource]) -> Value {
    let mut paths = json!({});
    for r in kinds {
        let scope = if r.namespaced { "/namespaces/{namespace}" } else { "" };
        let path = format!("/{}{scope}/{}/{{name}}", group_path(r), r.plural);
        let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
            .collect();
        paths[path] = json!({"patch": {
            "operationId": format!("patch{}", r.kind),
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": gvk(r),
        }});
    }
    let types: Vec<(&str, Value)> = kinds.iter().map(|r| (r.kind, gvk(r))).collect();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.32.0"},
        "paths": paths,
        "components": {"schemas": components(&types)},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_takes_field_validation() {
        let index = answer("/openapi/v3").unwrap();
        for (group, entry) in index["paths"].as_object().unwrap() {
            let document = answer(entry["serverRelativeURL"].as_str().unwrap()).unwrap();
            assert!(!document["paths"].as_object().unwrap().is_empty(), "{group}");
        }
        let document = answer("/openapi/v3/apis/prow.k8s.io/v1").unwrap();
        let path = "/apis/prow.k8s.io/v1/namespaces/{namespace}/prowjobs/{name}";
        assert_eq!(document["paths"][path]["patch"]["x-kubernetes-group-version-kind"]["kind"], "ProwJob");
        assert!(answer("/openapi/v3/apis/apps/v1").is_none());
        assert!(answer("/openapi/v2").is_none());
    }
}
