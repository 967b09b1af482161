//! What every part of a schema needs beside its type: null, closed objects, defaults that say something, plain
//! descriptions.

use serde_json::{Map, Value, json};

/// Mark of a section that may be absent, which is not the same as an empty one.
pub(super) const OPTIONAL: &str = "x-optional";

/// Mark of a part where numbers and booleans may stand for texts.
pub(super) const COERCE: &str = "x-coerce";

/// Tidies a schema and everything below it. `coerce`: numbers and booleans may stand for texts.
pub(super) fn tidy(schema: &mut Value, coerce: bool) {
    let mut coerce = coerce;
    if let Value::Object(members) = schema {
        without_null(members);
        coerce |= members.remove(COERCE).is_some();
    }
    each_below(schema, &mut |below| tidy(below, coerce));
    let Value::Object(members) = schema else { return };
    default(members);
    members.remove("format").filter(|f| f == "date-time").map(|f| members.insert("format".into(), f));
    if members.contains_key("properties") && !members.contains_key("additionalProperties") {
        members.insert("additionalProperties".into(), false.into());
    }
    if let Some(Value::String(text)) = members.get_mut("description") {
        *text = plain(text);
    }
    if members.contains_key("deprecationMessage") {
        members.insert("deprecated".into(), true.into());
    }
    if let Some(reference) = members.get("$ref").cloned().filter(|_| members.len() > 1) {
        // What stands beside a reference does not count in draft 7.
        members.remove("$ref");
        members.insert("allOf".into(), json!([{"$ref": reference}]));
    }
    if members.get("x-kind").is_some_and(|kind| kind == "duration") {
        // Editors show it instead of the pattern.
        members.insert("patternErrorMessage".into(), "Write a duration such as 90s, 15m or 1h30m.".into());
    }
    with_null(members, coerce);
}

/// Every schema directly below.
fn each_below(schema: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    let Value::Object(members) = schema else { return };
    for (key, value) in members.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "definitions" | "patternProperties", Value::Object(map)) => {
                map.values_mut().for_each(&mut *visit);
            }
            ("items" | "additionalProperties", value @ Value::Object(_)) => visit(value),
            ("anyOf" | "allOf" | "oneOf", Value::Array(list)) => list.iter_mut().for_each(&mut *visit),
            _ => {}
        }
    }
}

/// Rust's `Option` is a null beside the type. Null is everywhere the zero value, see [`with_null`]; here it only
/// tells an optional section.
fn without_null(members: &mut Map<String, Value>) {
    if let Some(Value::Array(list)) = members.get_mut("anyOf") {
        let before = list.len();
        list.retain(|s| !matches!(s.get("type"), Some(Value::String(t)) if t == "null"));
        let optional = list.len() < before;
        if optional
            && list.len() == 1
            && let Some(Value::Object(only)) = list.pop()
        {
            members.remove("anyOf");
            for (key, value) in only {
                members.entry(key).or_insert(value);
            }
        }
        if optional {
            members.insert(OPTIONAL.into(), true.into());
        }
    }
    if let Some(Value::Array(types)) = members.get_mut("type") {
        let before = types.len();
        types.retain(|t| t != "null");
        let optional = types.len() < before;
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".into(), only);
        }
        if optional {
            members.insert(OPTIONAL.into(), true.into());
        }
    }
}

/// Empty defaults say nothing, those of sections are said by their keys; false and 0 are worth saying.
fn default(members: &mut Map<String, Value>) {
    let section = members.contains_key("$ref");
    let says_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty() || section,
        _ => false,
    };
    if members.get("default").is_some_and(says_nothing) {
        members.remove("default");
    }
    if ["default", "deprecationMessage", OPTIONAL].iter().any(|key| members.contains_key(*key)) {
        return;
    }
    let zero = match members.get("type").and_then(Value::as_str) {
        Some("boolean") => json!(false),
        Some("integer") => json!(0),
        _ => return,
    };
    members.insert("default".into(), zero);
}

/// Without sections of the contract and line breaks.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = [" (§", " (prow-config §"].iter().filter_map(|mark| rest.find(mark)).min() {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once(')').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn with_null(members: &mut Map<String, Value>, coerce: bool) {
    let free_text = !members.contains_key("enum") && !members.contains_key("const");
    if let Some(types) = members.get_mut("type") {
        let mut list = match types.take() {
            Value::Array(list) => list,
            one => vec![one],
        };
        if coerce && free_text && list.iter().any(|t| t == "string") {
            list.extend(
                ["number", "boolean"]
                    .map(Value::from)
                    .into_iter()
                    .filter(|t| !list.contains(t))
                    .collect::<Vec<_>>(),
            );
        }
        list.push("null".into());
        *types = Value::Array(list);
    }
    if let Some(Value::Array(words)) = members.get_mut("enum") {
        words.push(Value::Null);
    }
    if let Some(Value::Array(list)) = members.get_mut("oneOf")
        && list.iter().any(|s| s.get("const").is_some())
    {
        for one in list.iter_mut() {
            if let Some(word) = one.get("const").cloned() {
                one["type"] = match word {
                    Value::String(_) => "string".into(),
                    _ => Value::Null,
                };
            }
        }
        list.push(json!({"type": "null"}));
    }
}

/// Removes what only the example needs.
pub(super) fn strip_marks(schema: &mut Value) {
    each_below(schema, &mut strip_marks);
    if let Value::Object(members) = schema {
        members.remove(OPTIONAL);
        members.remove("x-kind");
    }
}
