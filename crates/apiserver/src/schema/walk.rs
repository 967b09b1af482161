//! Holds an object against its type: prunes members that the type does not know, fills in the tables' defaults, and
//! finds what does not fit.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Lists, Ty, Type};
use crate::status::Cause;

/// What a walk finds beside what it changes.
#[derive(Debug, Default)]
pub struct Findings {
    /// Violations, as the API server of a CRD finds them.
    pub causes: Vec<Cause>,
    /// Paths of members that were removed because the type does not know them.
    pub pruned: Vec<String>,
}

/// Prunes what the type does not know and checks the rest. Members that are `null` count as absent and go too.
pub fn walk(of: &Type, value: &mut Value, path: &str, findings: &mut Findings) {
    let Some(members) = value.as_object_mut() else {
        findings.causes.push(wrong(path, value, "object"));
        return;
    };
    let child = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    members.retain(|key, member| {
        let is_known = of.member(key).is_some();
        if !is_known {
            findings.pruned.push(child(key));
        }
        is_known && !member.is_null()
    });
    for member in &of.members {
        match members.get_mut(member.name) {
            Some(value) => walk_member(&member.ty, value, &child(member.name), findings),
            None => match member.default_value().filter(|d| d.as_str() != Some("")) {
                Some(default) => {
                    members.insert(member.name.to_owned(), default);
                }
                None if member.required => findings.causes.push(Cause::required(child(member.name), "")),
                None => {}
            },
        }
    }
}

fn wrong(path: &str, value: &Value, expected: &str) -> Cause {
    Cause::type_invalid(path, value, &format!("{path} in body must be of type {expected}"))
}

fn walk_member(ty: &Ty, value: &mut Value, path: &str, findings: &mut Findings) {
    let expected = match ty {
        Ty::Text | Ty::Bytes => (!value.is_string()).then_some("string"),
        Ty::Time => value.as_str().is_none_or(|t| t.parse::<Timestamp>().is_err()).then_some("date-time"),
        Ty::Bool => (!value.is_boolean()).then_some("boolean"),
        Ty::Number => (!value.is_number()).then_some("number"),
        Ty::Quantity => (!value.is_string() && !value.is_number()).then_some("string"),
        Ty::IntOrText => (!value.is_string() && !value.is_i64()).then_some("integer"),
        Ty::Any => (!value.is_object()).then_some("object"),
        Ty::Int(minimum) => match value.as_i64() {
            None => Some("integer"),
            Some(n) => {
                if let Some(minimum) = minimum.filter(|m| n < *m) {
                    let why = format!("{path} in body should be greater than or equal to {minimum}");
                    findings.causes.push(Cause::invalid(path, value, &why));
                }
                None
            }
        },
        Ty::Enum(allowed) => match value.as_str() {
            None => Some("string"),
            Some(text) => {
                if !allowed.contains(&text) {
                    findings.causes.push(Cause::unsupported(path, value, allowed));
                }
                None
            }
        },
        Ty::Map(of) => match value.as_object_mut() {
            None => Some("object"),
            Some(members) => {
                for (key, member) in members {
                    walk_member(of, member, &format!("{path}.{key}"), findings);
                }
                None
            }
        },
        Ty::List(of, kind) => match value.as_array_mut() {
            None => Some("array"),
            Some(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    walk_member(of, item, &format!("{path}[{i}]"), findings);
                }
                check_list(kind, of, items, path, findings);
                None
            }
        },
        Ty::Object(id) => {
            walk(id.get(), value, path, findings);
            None
        }
    };
    if let Some(expected) = expected {
        findings.causes.push(wrong(path, value, expected));
    }
}

/// No two entries of a set or keyed list may be the same.
fn check_list(kind: &Lists, of: &Ty, items: &[Value], path: &str, findings: &mut Findings) {
    let keys = match kind {
        Lists::Atomic => return,
        Lists::Set => {
            for (i, item) in items.iter().enumerate() {
                if items[..i].contains(item) {
                    findings.causes.push(Cause::duplicate(format!("{path}[{i}]"), item));
                }
            }
            return;
        }
        Lists::Keyed(keys) => keys,
    };
    let mut seen: Vec<Map<String, Value>> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let mut id = Map::new();
        for key in keys {
            let default = || of.object().and_then(|t| t.member(key)?.default_value());
            if let Some(found) = item.get(*key).filter(|v| !v.is_null()).cloned().or_else(default) {
                id.insert((*key).to_owned(), found);
            }
        }
        // An entry without its keys has been found wanting already.
        if id.len() < keys.len() {
            continue;
        }
        if seen.contains(&id) {
            findings.causes.push(Cause::duplicate(format!("{path}[{i}]"), &Value::Object(id)));
        } else {
            seen.push(id);
        }
    }
}
