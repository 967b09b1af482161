//! The tables as JSON schema: the ProwJob's CustomResourceDefinition, and OpenAPI v3 components for `kubectl explain`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Lists, Member, Ty, Type, TypeId, find};

/// What a quantity may look like.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// How types that are named elsewhere are written.
enum Style<'a> {
    /// In place: a structural schema refers to nothing.
    Structural,
    /// By reference; the types met are collected.
    Referring(&'a mut BTreeSet<&'static str>),
}

/// The schema of a type's own members.
fn object(of: &Type, style: &mut Style<'_>) -> Value {
    let mut properties = Map::new();
    for member in &of.members {
        properties.insert(member.name.to_owned(), property(member, style));
    }
    let mut schema = json!({"type": "object", "properties": properties});
    let required: Vec<&str> = of.members.iter().filter(|m| m.required).map(|m| m.name).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !of.doc.is_empty() {
        schema["description"] = json!(of.doc);
    }
    if of.atomic {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    schema
}

fn property(member: &Member, style: &mut Style<'_>) -> Value {
    let mut schema = schema(&member.ty, style);
    if !member.doc.is_empty() {
        schema["description"] = json!(member.doc);
    }
    if let Some(default) = member.default_value() {
        schema["default"] = default;
    }
    // Merge keys are for strategic merge patches, which custom resources do not take.
    if let (Style::Referring(_), Some(patch)) = (style, member.patch) {
        let (key, retain) = patch.strip_suffix("+retainKeys").map_or((patch, false), |k| (k, true));
        schema["x-kubernetes-patch-strategy"] = json!(if retain { "merge,retainKeys" } else { "merge" });
        if key != "merge" {
            schema["x-kubernetes-patch-merge-key"] = json!(key);
        }
    }
    schema
}

fn schema(ty: &Ty, style: &mut Style<'_>) -> Value {
    match ty {
        Ty::Text => json!({"type": "string"}),
        Ty::Enum(words) => json!({"type": "string", "enum": words}),
        Ty::Time => json!({"type": "string", "format": "date-time"}),
        Ty::Bytes => json!({"type": "string", "format": "byte"}),
        Ty::Int(None) => json!({"type": "integer", "format": "int64"}),
        Ty::Int(Some(minimum)) => json!({"type": "integer", "format": "int64", "minimum": minimum}),
        Ty::Number => json!({"type": "number"}),
        Ty::Bool => json!({"type": "boolean"}),
        Ty::Quantity => json!({
            "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": QUANTITY, "x-kubernetes-int-or-string": true,
        }),
        Ty::IntOrText => json!({
            "anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true,
        }),
        Ty::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Ty::Map(of) => json!({"type": "object", "additionalProperties": schema(of, style)}),
        Ty::List(of, kind) => {
            let mut list = json!({"type": "array", "items": schema(of, style)});
            match kind {
                Lists::Atomic => list["x-kubernetes-list-type"] = json!("atomic"),
                Lists::Set => list["x-kubernetes-list-type"] = json!("set"),
                Lists::Keyed(keys) => {
                    list["x-kubernetes-list-type"] = json!("map");
                    list["x-kubernetes-list-map-keys"] = json!(keys);
                }
            }
            list
        }
        Ty::Object(id) => match style {
            Style::Structural => object(id.get(), style),
            Style::Referring(met) => {
                let name = id.get().name;
                met.insert(name);
                // A reference stands alone; what is said about it stands beside it.
                json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]})
            }
        },
    }
}

/// The components of an OpenAPI v3 document: the given kinds and every type that they reach.
pub fn components(kinds: &[(&str, Value)]) -> Value {
    let mut met: BTreeSet<&'static str> = BTreeSet::new();
    let mut schemas = Map::new();
    let roots: Vec<TypeId> = kinds.iter().filter_map(|(kind, _)| find(kind)).collect();
    met.extend(roots.iter().map(|id| id.get().name));
    while let Some(name) = met.iter().find(|n| !schemas.contains_key(**n)).copied() {
        let Some(id) = find(name) else { break };
        let mut schema = object(id.get(), &mut Style::Referring(&mut met));
        if let Some((_, gvk)) = kinds.iter().find(|(kind, _)| *kind == name) {
            schema["x-kubernetes-group-version-kind"] = json!([gvk]);
        }
        schemas.insert(name.to_owned(), schema);
    }
    Value::Object(schemas)
}

/// The CustomResourceDefinition of ProwJobs, for a real Kubernetes (prow-config §1.1).
pub fn prowjob_crd() -> Value {
    let prowjob = find("ProwJob").map(|id| object(id.get(), &mut Style::Structural));
    let mut schema = prowjob.expect("the tables have ProwJob");
    // The API server knows metadata itself, and takes no more than this about it.
    schema["properties"]["metadata"] = json!({"type": "object"});
    let status = &mut schema["properties"]["status"];
    status["anyOf"] = json!([
        {"not": {"properties": {"state": {"enum": ["success", "failure", "error"]}}}},
        {"required": ["completionTime"]},
    ]);
    let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "prowjobs.prow.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/test-infra/pull/8669"},
        },
        "spec": {
            "group": "prow.k8s.io",
            "names": {"kind": "ProwJob", "listKind": "ProwJobList", "plural": "prowjobs", "singular": "prowjob"},
            "scope": "Namespaced",
            "preserveUnknownFields": false,
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "additionalPrinterColumns": [
                    column("Job", "string", ".spec.job"),
                    column("BuildId", "string", ".status.build_id"),
                    column("Type", "string", ".spec.type"),
                    column("Org", "string", ".spec.refs.org"),
                    column("Repo", "string", ".spec.refs.repo"),
                    column("Pulls", "string", ".spec.refs.pulls[*].number"),
                    column("StartTime", "date", ".status.startTime"),
                    column("CompletionTime", "date", ".status.completionTime"),
                    column("State", "string", ".status.state"),
                ],
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structural_schema_refers_to_nothing() {
        let crd = prowjob_crd();
        let text = crd.to_string();
        assert!(!text.contains("$ref") && !text.contains("patch-merge-key"));
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let containers = &schema["properties"]["spec"]["properties"]["pod_spec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(schema["properties"]["spec"]["required"], json!(["job", "type"]));
    }

    #[test]
    fn components_hold_what_they_refer_to() {
        let gvk = json!({"group": "", "version": "v1", "kind": "Pod"});
        let found = components(&[("Pod", gvk.clone())]);
        assert_eq!(found["Pod"]["x-kubernetes-group-version-kind"], json!([gvk]));
        for reference in found.to_string().split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(found[name].is_object(), "{name}");
        }
        assert_eq!(
            found["PodSpec"]["properties"]["volumes"]["x-kubernetes-patch-strategy"],
            "merge,retainKeys"
        );
    }
}
