//! JSON merge patches (RFC 7386) of exactly what changed, so that two writers of different members never undo
//! each other (invariant 7, trap 22).

use serde::Serialize;
use serde_json::{Map, Value};

/// The merge patch that turns `before` into `after`; `None` if they are equal.
pub fn merge_diff(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(b), Value::Object(a)) => {
            let mut patch = Map::new();
            for (key, new) in a {
                match b.get(key) {
                    Some(old) => {
                        if let Some(change) = merge_diff(old, new) {
                            patch.insert(key.clone(), change);
                        }
                    }
                    // A null in a merge patch deletes; a member that is null on our side and absent on the
                    // other is no change.
                    None if new.is_null() => {}
                    None => {
                        patch.insert(key.clone(), new.clone());
                    }
                }
            }
            for key in b.keys().filter(|k| !a.contains_key(*k)) {
                patch.insert(key.clone(), Value::Null);
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ if before == after => None,
        _ => Some(after.clone()),
    }
}

/// Carries out a merge patch.
pub fn apply(object: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(members) = object else { return };
    for (key, change) in changes {
        if change.is_null() {
            members.remove(key);
        } else {
            apply(members.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

/// [`merge_diff`] of two typed objects.
pub fn diff<T: Serialize>(before: &T, after: &T) -> Result<Option<Value>, serde_json::Error> {
    Ok(merge_diff(&serde_json::to_value(before)?, &serde_json::to_value(after)?))
}

/// Adds the precondition that the object is still at `resource_version`: the API server answers 409 otherwise.
pub fn guard(patch: &mut Value, resource_version: &str) {
    if let Some(object) = patch.as_object_mut()
        && let Some(metadata) =
            object.entry("metadata").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
    {
        metadata.insert("resourceVersion".into(), resource_version.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_told_apart_is_put_together_again() {
        for (before, after) in [
            (json!({"a": 1, "b": {"c": 2, "d": [1]}}), json!({"a": 1, "b": {"d": [2, 3]}, "e": {"f": {}}})),
            (json!({"a": {"b": 1}}), json!({"a": 7})),
            (json!({"a": 7}), json!({"a": {"b": {"c": 1}}})),
        ] {
            let mut object = before.clone();
            apply(&mut object, &merge_diff(&before, &after).unwrap());
            assert_eq!(object, after);
        }
    }

    #[test]
    fn a_patch_holds_only_what_changed() {
        for (before, after, patch) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (
                json!({"a": 1, "b": {"c": 1, "d": 2}}),
                json!({"a": 1, "b": {"c": 1, "d": 3}}),
                Some(json!({"b": {"d": 3}})),
            ),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), Some(json!({"b": null}))),
            (json!({"a": [1]}), json!({"a": [1, 2]}), Some(json!({"a": [1, 2]}))),
            (json!({}), json!({"a": null}), None),
        ] {
            assert_eq!(merge_diff(&before, &after), patch, "{before} -> {after}");
        }
    }

    #[test]
    fn a_guard_is_a_precondition_on_the_version() {
        let mut patch = json!({"status": {"state": "aborted"}});
        guard(&mut patch, "17");
        assert_eq!(patch, json!({"metadata": {"resourceVersion": "17"}, "status": {"state": "aborted"}}));
    }
}
