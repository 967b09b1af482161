//! Structural schemas: what is checked, and what is pruned because it is unknown. The ProwJob's is in `prowjob`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use serde::Deserialize;
use serde_json::Value;

use crate::status::Cause;

/// A structural schema, as far as this CRD needs one.
pub enum Schema {
    /// Any text.
    Text,
    /// A text that is an RFC 3339 time.
    Time,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int {
        /// Not below this.
        minimum: Option<i64>,
    },
    /// One of these texts.
    Enum(&'static [&'static str]),
    /// A Kubernetes quantity: text or a number.
    Quantity,
    /// Entries that are all alike.
    List(&'static Schema),
    /// Any names, values that are all alike.
    Map(&'static Schema),
    /// Known members; others are pruned.
    Object {
        /// Names and their schemas.
        members: &'static [(&'static str, &'static Schema)],
        /// Those that must be there.
        required: &'static [&'static str],
    },
    /// An object whose members are preserved, whatever they are.
    Opaque,
    /// A core/v1 PodSpec: typed, `containers` required, its keyed lists without duplicates; nothing is pruned.
    PodSpec,
}

use Schema::{Bool, Enum, Int, List, Map, Object, Opaque, Quantity, Text, Time};

/// What a check finds beside what it changes.
#[derive(Debug, Default)]
pub struct Findings {
    /// Violations.
    pub causes: Vec<Cause>,
    /// Paths of members that were removed because the schema does not know them.
    pub pruned: Vec<String>,
}

/// Prunes what the schema does not know and checks the rest. Members that are `null` count as absent and go too.
pub fn walk(schema: &Schema, value: &mut Value, path: &str, findings: &mut Findings) {
    let wrong = |value: &Value, expected: &str| {
        Cause::type_invalid(path, value, &format!("{path} in body must be of type {expected}"))
    };
    match schema {
        Text => {
            if !value.is_string() {
                findings.causes.push(wrong(value, "string"));
            }
        }
        Time => match value.as_str() {
            Some(text) if text.parse::<Timestamp>().is_ok() => {}
            _ => findings.causes.push(wrong(value, "date-time")),
        },
        Bool => {
            if !value.is_boolean() {
                findings.causes.push(wrong(value, "boolean"));
            }
        }
        Int { minimum } => match (value.as_i64(), minimum) {
            (None, _) => findings.causes.push(wrong(value, "integer")),
            (Some(n), Some(minimum)) if n < *minimum => findings.causes.push(Cause::invalid(
                path,
                value,
                &format!("{path} in body should be greater than or equal to {minimum}"),
            )),
            _ => {}
        },
        Enum(allowed) => match value.as_str() {
            None => findings.causes.push(wrong(value, "string")),
            Some(text) if !allowed.contains(&text) => {
                findings.causes.push(Cause::unsupported(path, value, allowed));
            }
            Some(_) => {}
        },
        Quantity => {
            if !value.is_string() && !value.is_number() {
                findings.causes.push(wrong(value, "string"));
            }
        }
        Opaque => {
            if !value.is_object() {
                findings.causes.push(wrong(value, "object"));
            }
        }
        List(of) => match value.as_array_mut() {
            None => findings.causes.push(wrong(value, "array")),
            Some(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    walk(of, item, &format!("{path}[{i}]"), findings);
                }
            }
        },
        Map(of) => match value.as_object_mut() {
            None => findings.causes.push(wrong(value, "object")),
            Some(members) => {
                for (key, member) in members {
                    walk(of, member, &format!("{path}.{key}"), findings);
                }
            }
        },
        Object { members: known, required } => {
            let Some(members) = value.as_object_mut() else {
                findings.causes.push(wrong(value, "object"));
                return;
            };
            let child = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            members.retain(|key, member| {
                let is_known = known.iter().any(|(k, _)| k == key);
                if !is_known {
                    findings.pruned.push(child(key));
                }
                is_known && !member.is_null()
            });
            for key in *required {
                if !members.contains_key(*key) {
                    findings.causes.push(Cause::required(child(key), ""));
                }
            }
            for (key, schema) in *known {
                if let Some(member) = members.get_mut(*key) {
                    walk(schema, member, &child(key), findings);
                }
            }
        }
        Schema::PodSpec => pod_spec(value, path, findings),
    }
}

/// The lists of a container that are maps: member, key, and whether an entry must have it.
const CONTAINER_LISTS: &[(&str, &[&str])] =
    &[("env", &["name"]), ("volumeMounts", &["mountPath"]), ("ports", &["containerPort", "protocol"])];

fn pod_spec(value: &mut Value, path: &str, findings: &mut Findings) {
    if !value.is_object() {
        let detail = format!("{path} in body must be of type object");
        findings.causes.push(Cause::type_invalid(path, value, &detail));
        return;
    }
    if value["containers"].is_null() {
        findings.causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    if let Err(e) = PodSpec::deserialize(&*value) {
        findings.causes.push(Cause::type_invalid(path, &Value::from("pod spec"), &e.to_string()));
        return;
    }
    for list in ["containers", "initContainers"] {
        let Some(containers) = value[list].as_array_mut() else { continue };
        let at = format!("{path}.{list}");
        for (i, container) in containers.iter_mut().enumerate() {
            for port in container["ports"].as_array_mut().into_iter().flatten() {
                if port["protocol"].is_null() {
                    port["protocol"] = Value::from("TCP");
                }
            }
            for (member, keys) in CONTAINER_LISTS {
                keyed(&container[*member], &format!("{at}[{i}].{member}"), keys, findings);
            }
            for (m, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
                if mount["name"].is_null() {
                    findings.causes.push(Cause::required(format!("{at}[{i}].volumeMounts[{m}].name"), ""));
                }
            }
            if let Some(members) = container.as_object_mut() {
                members.retain(|_, v| !v.is_null());
            }
        }
        keyed(&value[list], &at, &["name"], findings);
    }
    keyed(&value["volumes"], &format!("{path}.volumes"), &["name"], findings);
    keyed(&value["imagePullSecrets"], &format!("{path}.imagePullSecrets"), &["name"], findings);
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, v| !v.is_null());
    }
}

/// A list that is a map: every entry has its keys, no two have the same.
fn keyed(list: &Value, path: &str, keys: &[&str], findings: &mut Findings) {
    let mut seen: Vec<Vec<&Value>> = Vec::new();
    for (i, item) in list.as_array().into_iter().flatten().enumerate() {
        let id: Vec<&Value> = keys.iter().map(|k| &item[*k]).collect();
        if let Some(missing) = keys.iter().zip(&id).find(|(_, v)| v.is_null()) {
            findings.causes.push(Cause::required(format!("{path}[{i}].{}", missing.0), ""));
        } else if seen.contains(&id) {
            let shown: serde_json::Map<String, Value> =
                keys.iter().zip(&id).map(|(k, v)| ((*k).to_owned(), (*v).clone())).collect();
            findings.causes.push(Cause::duplicate(format!("{path}[{i}]"), &Value::Object(shown)));
        } else {
            seen.push(id);
        }
    }
}
