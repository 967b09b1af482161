//! Reading and writing the members of an object's metadata, on untyped JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::resources::Resource;
use crate::store::event::Attrs;

/// `metadata.NAME` as text, empty if it is not there.
pub fn meta_str<'a>(object: &'a Value, name: &str) -> &'a str {
    object["metadata"][name].as_str().unwrap_or("")
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    meta_str(object, "name")
}

/// `metadata.namespace`, empty for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    meta_str(object, "namespace")
}

/// `metadata`, made if it is not there. `None` if the object or its metadata is not a JSON object.
pub fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

/// Sets `metadata.NAME`, or removes it if the value is null.
pub fn set_meta(object: &mut Value, name: &str, value: Value) {
    if let Some(meta) = metadata(object) {
        if value.is_null() {
            meta.remove(name);
        } else {
            meta.insert(name.to_owned(), value);
        }
    }
}

/// Sets `metadata.resourceVersion`.
pub fn set_version(object: &mut Value, version: u64) {
    set_meta(object, "resourceVersion", Value::from(version.to_string()));
}

/// `metadata.finalizers`, as far as they are text.
pub fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"]
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// True once somebody asked to delete it.
pub fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// A time as Kubernetes writes it: RFC 3339 in UTC, whole seconds.
pub fn time(at: Timestamp) -> Value {
    Value::from(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// What selectors look at.
pub fn attrs(resource: &Resource, object: &Value) -> Attrs {
    let labels = object["metadata"]["labels"]
        .as_object()
        .map(|labels| labels.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect())
        .unwrap_or_default();
    let mut fields = BTreeMap::new();
    for path in resource.fields {
        let text = field(resource, object, path);
        if !text.is_empty() {
            fields.insert((*path).to_owned(), text);
        }
    }
    Attrs { labels, fields }
}

/// A selectable field as text; empty if it is not set.
fn field(resource: &Resource, object: &Value, path: &str) -> String {
    // Kubernetes selects an event's source by its component.
    if resource.is_events() && path == "source" {
        return scalar(&object["source"]["component"]);
    }
    scalar(path.split('.').fold(object, |v, part| &v[part]))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::find;

    #[test]
    fn attrs_are_labels_and_the_selectable_fields_that_are_set() {
        let pods = find("", "v1", "pods").unwrap();
        let pod =
            json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"nodeName": "n"}, "status": {}});
        let a = attrs(pods, &pod);
        assert_eq!(a.labels["x"], "1");
        assert_eq!(a.fields, BTreeMap::from([("spec.nodeName".to_owned(), "n".to_owned())]));
        let events = find("", "v1", "events").unwrap();
        let event = json!({"source": {"component": "kubelet"}, "involvedObject": {"uid": "u"}});
        let a = attrs(events, &event);
        assert_eq!(a.fields["source"], "kubelet");
        assert_eq!(a.fields["involvedObject.uid"], "u");
    }

    #[test]
    fn times_are_whole_seconds_in_utc() {
        let at: Timestamp = "2026-11-22T08:00:00.987+01:00".parse().unwrap();
        assert_eq!(time(at), "2026-11-22T07:00:00Z");
    }
}
