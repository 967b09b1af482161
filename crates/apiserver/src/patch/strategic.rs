//! Strategic merge patch for the core kinds served here.
//!
//! Kubernetes reads merge keys from Go struct tags. The lists below are those of Pod, Node, Namespace,
//! ServiceAccount and metadata, by member name; any other list is replaced as a whole, as for atomic lists.
//! Directives: `$patch` (replace, delete, merge), `$deleteFromPrimitiveList/LIST`, `$setElementOrder/LIST`,
//! `$retainKeys`.

use serde_json::{Map, Value};

use crate::status::ApiError;

/// Lists of objects: member name, key within an entry.
const MERGE_KEYS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("ports", "containerPort"),
    ("imagePullSecrets", "name"),
    ("resourceClaims", "name"),
    ("secrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("conditions", "type"),
    ("addresses", "type"),
    ("podIPs", "ip"),
    ("hostIPs", "ip"),
    ("ownerReferences", "uid"),
];

/// Lists of texts that are sets.
const SETS: &[&str] = &["finalizers", "podCIDRs"];

const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";
const RETAIN: &str = "$retainKeys";
const PATCH: &str = "$patch";

fn merge_key(list: &str) -> Option<&'static str> {
    MERGE_KEYS.iter().find(|(name, _)| *name == list).map(|(_, key)| *key)
}

fn bad(why: String) -> ApiError {
    ApiError::bad_request(format!("the strategic merge patch cannot be applied: {why}"))
}

/// Applies `patch` to `target`, both JSON objects.
pub fn merge(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    match target {
        Value::Object(target) => merge_objects(target, patch),
        _ => Ok(()),
    }
}

fn merge_objects(target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), ApiError> {
    match patch.get(PATCH).map(|d| d.as_str().unwrap_or("")) {
        Some("replace") => {
            *target = patch.clone();
            target.remove(PATCH);
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        None | Some("merge") => {}
        Some(other) => return Err(bad(format!("unknown $patch directive {other:?}"))),
    }
    if let Some(retain) = patch.get(RETAIN) {
        let keep: Vec<&str> = retain
            .as_array()
            .map(|l| l.iter().filter_map(Value::as_str).collect())
            .ok_or_else(|| bad("$retainKeys is not a list".to_owned()))?;
        target.retain(|k, _| keep.contains(&k.as_str()));
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            let gone = value.as_array().ok_or_else(|| bad(format!("{name} is not a list")))?;
            if let Some(Value::Array(items)) = target.get_mut(list) {
                items.retain(|i| !gone.contains(i));
            }
        }
    }
    for (name, value) in patch {
        if name.starts_with('$') {
            continue;
        }
        if value.is_null() {
            target.remove(name);
            continue;
        }
        match value {
            Value::Array(items) if merge_key(name).is_some() || SETS.contains(&name.as_str()) => {
                let slot = target.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
                let mut list = match slot.take() {
                    Value::Array(list) => list,
                    _ => Vec::new(),
                };
                match merge_key(name) {
                    Some(key) => merge_keyed(name, &mut list, items, key)?,
                    None => items.iter().for_each(|i| {
                        if !list.contains(i) {
                            list.push(i.clone());
                        }
                    }),
                }
                *slot = Value::Array(list);
            }
            _ => merge(target.entry(name.clone()).or_insert(Value::Null), value)?,
        }
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(ORDER) {
            let order = value.as_array().ok_or_else(|| bad(format!("{name} is not a list")))?;
            if let Some(Value::Array(items)) = target.get_mut(list) {
                sort_by_order(items, order, merge_key(list));
            }
        }
    }
    Ok(())
}

fn merge_keyed(name: &str, list: &mut Vec<Value>, patches: &[Value], key: &str) -> Result<(), ApiError> {
    if patches.iter().any(|p| p.get(PATCH).and_then(Value::as_str) == Some("replace") && p.get(key).is_none())
    {
        list.clear();
    }
    for patch in patches {
        let Some(id) = patch.get(key) else {
            if patch.get(PATCH).is_some() {
                continue;
            }
            return Err(bad(format!("an entry of {name:?} has no {key:?}")));
        };
        let at = list.iter().position(|item| item.get(key) == Some(id));
        let directive = patch.get(PATCH).and_then(Value::as_str);
        match (at, directive) {
            (at, Some("delete")) => {
                if let Some(at) = at {
                    list.remove(at);
                }
            }
            (Some(at), _) => merge(&mut list[at], patch)?,
            (None, _) => {
                let mut item = Value::Object(Map::new());
                merge(&mut item, patch)?;
                list.push(item);
            }
        }
    }
    Ok(())
}

/// Sorts the items that `order` names into its order; the others keep their place behind their predecessor.
fn sort_by_order(items: &mut [Value], order: &[Value], key: Option<&str>) {
    let rank = |item: &Value| {
        order.iter().position(|o| match key {
            Some(key) => o.get(key) == item.get(key),
            None => o == item,
        })
    };
    let mut last = 0;
    let mut ranked: Vec<(usize, Value)> = items
        .iter_mut()
        .map(|item| {
            last = rank(item).map_or(last, |r| r + 1);
            (last, item.take())
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    for (slot, (_, item)) in items.iter_mut().zip(ranked) {
        *slot = item;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patches() {
        let containers = json!({"spec": {"containers": [{"name": "a", "image": "x", "args": ["1", "2"]}, {"name": "b", "image": "y"}]}});
        for (name, target, patch, expected) in [
            (
                "containers merge by name, plain lists are replaced",
                containers.clone(),
                json!({"spec": {"containers": [{"name": "a", "image": "z", "args": ["3"]}, {"name": "c"}]}}),
                json!({"spec": {"containers": [{"name": "a", "image": "z", "args": ["3"]}, {"name": "b", "image": "y"}, {"name": "c"}]}}),
            ),
            (
                "an entry is deleted",
                containers.clone(),
                json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
                json!({"spec": {"containers": [{"name": "b", "image": "y"}]}}),
            ),
            (
                "a list is replaced",
                containers.clone(),
                json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "q"}]}}),
                json!({"spec": {"containers": [{"name": "q"}]}}),
            ),
            (
                "an object is replaced",
                json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
                json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
                json!({"metadata": {"labels": {"c": "3"}}}),
            ),
            (
                "null removes",
                json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
                json!({"metadata": {"labels": {"a": null}}}),
                json!({"metadata": {"labels": {"b": "2"}}}),
            ),
            (
                "conditions merge by type",
                json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
                json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "True"}]}}),
                json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "True"}]}}),
            ),
            (
                "finalizers are a set",
                json!({"metadata": {"finalizers": ["a", "b"]}}),
                json!({"metadata": {"finalizers": ["b", "c"]}}),
                json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            ),
            (
                "of which members can be removed",
                json!({"metadata": {"finalizers": ["a", "b"]}}),
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
                json!({"metadata": {"finalizers": ["b"]}}),
            ),
            (
                "an order is kept",
                json!({"spec": {"volumes": [{"name": "a"}, {"name": "b"}]}}),
                json!({"spec": {"$setElementOrder/volumes": [{"name": "c"}, {"name": "b"}, {"name": "a"}], "volumes": [{"name": "c"}]}}),
                json!({"spec": {"volumes": [{"name": "c"}, {"name": "b"}, {"name": "a"}]}}),
            ),
            (
                "only the named members stay",
                json!({"spec": {"volumes": [{"name": "a", "emptyDir": {}}]}}),
                json!({"spec": {"volumes": [{"name": "a", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
                json!({"spec": {"volumes": [{"name": "a", "hostPath": {"path": "/x"}}]}}),
            ),
        ] {
            let mut object = target;
            merge(&mut object, &patch).unwrap();
            assert_eq!(object, expected, "{name}");
        }
    }

    #[test]
    fn bad_patches_are_400() {
        for patch in [
            json!({"spec": {"containers": [{"image": "x"}]}}),
            json!({"spec": {"$patch": "explode"}}),
            json!({"spec": {"$retainKeys": 1}}),
        ] {
            assert_eq!(merge(&mut json!({"spec": {"a": 1}}), &patch).unwrap_err().code, 400, "{patch}");
        }
    }
}
