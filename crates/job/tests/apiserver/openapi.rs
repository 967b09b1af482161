//! A validator for Kubernetes' own OpenAPI definitions, as far as those of a Pod need one.
//!
//! It reads `swagger.json` of Kubernetes (`definitions`) and its JSON Schema form (`$defs`). As an API server with
//! strict field validation does, it refuses members that the schema does not know.

use serde_json::{Map, Value};

pub struct Definitions(Map<String, Value>);

impl Definitions {
    /// `None` if `text` is no such document.
    pub fn parse(text: &str) -> Option<Definitions> {
        let mut document: Value = serde_json::from_str(text).ok()?;
        ["definitions", "$defs"].iter().find_map(|key| match document[*key].take() {
            Value::Object(definitions) => Some(Definitions(definitions)),
            _ => None,
        })
    }

    /// Where `value` is not a `kind` (such as `io.k8s.api.core.v1.Pod`), as `path: what is wrong`.
    pub fn check(&self, kind: &str, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        match self.0.get(kind) {
            Some(schema) => self.walk(kind, schema, value, "", &mut found),
            None => found.push(format!("the document has no {kind}")),
        }
        found
    }

    fn walk(&self, kind: &str, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        if let Some(target) = schema["$ref"].as_str() {
            let kind = target.rsplit('/').next().unwrap_or(target);
            return match self.0.get(kind) {
                Some(schema) => self.walk(kind, schema, value, at, found),
                None => found.push(format!("{at}: the document has no {kind}")),
            };
        }
        let mut wrong = |what: String| found.push(format!("{at}: {what}"));
        // swagger.json says "string" of both of these, and means text or number.
        if kind.ends_with(".IntOrString") || kind.ends_with(".Quantity") {
            let whole = value.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
            if !(value.is_string() || whole || (kind.ends_with("Quantity") && value.is_number())) {
                wrong(format!("is no {kind}: {value}"));
            }
            return;
        }
        if let Some(types) = types(schema)
            && !types.iter().any(|name| is_type(value, name))
        {
            return wrong(format!("is {value}, not of type {types:?}"));
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            wrong(format!("is {value}, not one of {allowed:?}"));
        }
        match (schema["format"].as_str(), value) {
            (Some("int32"), Value::Number(n)) if n.as_i64().is_none_or(|n| i32::try_from(n).is_err()) => {
                wrong(format!("{n} is no int32"));
            }
            (Some("date-time"), Value::String(text)) if text.parse::<jiff::Timestamp>().is_err() => {
                wrong(format!("{text:?} is no time"));
            }
            (Some("byte"), Value::String(text))
                if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)) =>
            {
                wrong("is not base64".into());
            }
            _ => {}
        }
        match value {
            Value::Object(members) => self.object(schema, members, at, found),
            Value::Array(entries) => {
                for (i, entry) in entries.iter().enumerate() {
                    self.walk("", &schema["items"], entry, &format!("{at}[{i}]"), found);
                }
                keyed(schema, entries, at, found);
            }
            _ => {}
        }
    }

    fn object(&self, schema: &Value, members: &Map<String, Value>, at: &str, found: &mut Vec<String>) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if members.get(name).is_none_or(Value::is_null) {
                found.push(format!("{at}.{name}: is required"));
            }
        }
        for (name, member) in members {
            let at = format!("{at}.{name}");
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(schema), _) | (None, schema @ Value::Object(_)) => {
                    self.walk("", schema, member, &at, found)
                }
                // An object of which nothing is said may hold anything.
                (None, _) if schema["properties"].is_null() => {}
                (None, _) => found.push(format!("{at}: is unknown")),
            }
        }
    }
}

/// `x-kubernetes-list-type`: entries of a set, and keys of a map's, are there once. An API server takes variables and
/// ports that are there twice, and says so in a warning; of variables the last one counts, which is what jobs with a
/// GOPATH of their own rely on.
fn keyed(schema: &Value, entries: &[Value], at: &str, found: &mut Vec<String>) {
    if at.ends_with(".env") || at.ends_with(".ports") {
        return;
    }
    let keys: Vec<&str> = match schema["x-kubernetes-list-type"].as_str() {
        Some("map") => schema["x-kubernetes-list-map-keys"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect(),
        Some("set") => Vec::new(),
        _ => return,
    };
    let mut seen = Vec::new();
    for entry in entries {
        let key = if keys.is_empty() { vec![entry] } else { keys.iter().map(|key| &entry[*key]).collect() };
        if seen.contains(&key) {
            found.push(format!("{at}: has {key:?} twice"));
        }
        seen.push(key);
    }
}

fn types(schema: &Value) -> Option<Vec<&str>> {
    match &schema["type"] {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => Some(names.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("the schema has a type {other:?}"),
    }
}

#[test]
fn the_validator_finds_what_is_wrong() {
    let text = serde_json::json!({"definitions": {
        "Thing": {
            "type": "object", "required": ["name"], "properties": {
                "name": {"type": ["string", "null"]},
                "count": {"type": "integer", "format": "int32"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "amount": {"$ref": "#/definitions/api.resource.Quantity"},
                "port": {"$ref": "#/definitions/intstr.IntOrString"},
                "when": {"type": "string", "format": "date-time"},
                "any": {"type": "object"},
                "mode": {"type": "string", "enum": ["a", "b"]},
                "list": {
                    "type": "array", "items": {"$ref": "#/definitions/Entry"},
                    "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]
                }
            }
        },
        "Entry": {"type": "object", "properties": {"k": {"type": "string"}}},
        "api.resource.Quantity": {"type": "string"},
        "intstr.IntOrString": {"type": "string", "format": "int-or-string"},
    }});
    let definitions = Definitions::parse(&text.to_string()).unwrap();
    let good = serde_json::json!({
        "name": "n", "count": 1, "labels": {"a": "b"}, "amount": 1.5, "port": 80, "any": {"x": [1]}, "mode": "a",
        "when": "2026-01-02T03:04:05Z", "list": [{"k": "1"}, {"k": "2"}]
    });
    assert_eq!(definitions.check("Thing", &good), [""; 0]);
    for (member, value, want) in [
        ("name", serde_json::json!(null), ".name: is required"),
        ("name", serde_json::json!(1), ".name: is 1, not of type"),
        ("count", serde_json::json!(1_i64 << 40), ".count: 1099511627776 is no int32"),
        ("labels", serde_json::json!({"a": 1}), ".labels.a: is 1"),
        ("amount", serde_json::json!([]), ".amount: is no api.resource.Quantity"),
        ("port", serde_json::json!(1.5), ".port: is no intstr.IntOrString"),
        ("when", serde_json::json!("today"), ".when: \"today\" is no time"),
        ("mode", serde_json::json!("c"), ".mode: is \"c\", not one of"),
        ("list", serde_json::json!([{"k": "1"}, {"k": "1"}]), ".list: has"),
        ("list", serde_json::json!([{"z": "1"}]), ".list[0].z: is unknown"),
        ("other", serde_json::json!(1), ".other: is unknown"),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        let found = definitions.check("Thing", &bad);
        assert!(found.len() == 1 && found[0].starts_with(want), "{want}: {found:?}");
    }
    assert!(!definitions.check("Nothing", &good).is_empty());
    assert!(Definitions::parse("{}").is_none());
}
