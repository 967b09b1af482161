//! `Table` output: the columns that `kubectl get` shows, computed here as the real server does.

mod age;
mod pods;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::object;
use crate::request::Include;
use crate::resources::Resource;

/// A column: name, OpenAPI type, format, priority (above 0 only with `-o wide`).
type Column = (&'static str, &'static str, &'static str, i32);

const NAME: Column = ("Name", "string", "name", 0);
const AGE: Column = ("Age", "string", "", 0);

const PROWJOB: &[Column] = &[
    NAME,
    ("Job", "string", "", 0),
    ("BuildId", "string", "", 0),
    ("Type", "string", "", 0),
    ("Org", "string", "", 0),
    ("Repo", "string", "", 0),
    ("Pulls", "string", "", 0),
    ("StartTime", "date", "", 0),
    ("CompletionTime", "date", "", 0),
    ("State", "string", "", 0),
];
const POD: &[Column] = &[
    NAME,
    ("Ready", "string", "", 0),
    ("Status", "string", "", 0),
    ("Restarts", "string", "", 0),
    AGE,
    ("IP", "string", "", 1),
    ("Node", "string", "", 1),
    ("Nominated Node", "string", "", 1),
    ("Readiness Gates", "string", "", 1),
];
const EVENT: &[Column] = &[
    ("Last Seen", "string", "", 0),
    ("Type", "string", "", 0),
    ("Reason", "string", "", 0),
    ("Object", "string", "", 0),
    ("Subobject", "string", "", 1),
    ("Source", "string", "", 1),
    ("Message", "string", "", 0),
    ("First Seen", "string", "", 1),
    ("Count", "string", "", 1),
    ("Name", "string", "name", 1),
];
const CONFIG_MAP: &[Column] = &[NAME, ("Data", "integer", "", 0), AGE];
const SECRET: &[Column] = &[NAME, ("Type", "string", "", 0), ("Data", "integer", "", 0), AGE];
const SERVICE_ACCOUNT: &[Column] = &[NAME, ("Secrets", "string", "", 0), AGE];
const NAMESPACE: &[Column] = &[NAME, ("Status", "string", "", 0), AGE];
const LEASE: &[Column] = &[NAME, ("Holder", "string", "", 0), AGE];
const NODE: &[Column] = &[
    NAME,
    ("Status", "string", "", 0),
    ("Roles", "string", "", 0),
    AGE,
    ("Version", "string", "", 0),
    ("Internal-IP", "string", "", 1),
    ("OS-Image", "string", "", 1),
];
const PLAIN: &[Column] = &[NAME, AGE];

fn columns(resource: &Resource) -> &'static [Column] {
    match resource.kind {
        "ProwJob" => PROWJOB,
        "Pod" => POD,
        "Event" => EVENT,
        "ConfigMap" => CONFIG_MAP,
        "Secret" => SECRET,
        "ServiceAccount" => SERVICE_ACCOUNT,
        "Namespace" => NAMESPACE,
        "Lease" => LEASE,
        "Node" => NODE,
        _ => PLAIN,
    }
}

/// `columnDefinitions`.
pub fn definitions(resource: &Resource) -> Value {
    columns(resource)
        .iter()
        .map(|(name, kind, format, priority)| {
            json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority})
        })
        .collect()
}

/// One element of `rows`.
pub fn row(resource: &Resource, object: &Value, include: Include, now: Timestamp) -> Value {
    let cells = cells(resource, object, now);
    match include {
        Include::None => json!({"cells": cells}),
        Include::Metadata => json!({"cells": cells, "object": partial(object)}),
        Include::Object => json!({"cells": cells, "object": object}),
    }
}

/// A `PartialObjectMetadata` of an object.
pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// A whole table of one object, as a get or a watch event carries it.
pub fn single(resource: &Resource, object: &Value, include: Include, now: Timestamp) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": object::meta_str(object, "resourceVersion")},
        "columnDefinitions": definitions(resource),
        "rows": [row(resource, object, include, now)],
    })
}

/// A text as a cell, or `<none>`.
fn or_none(value: &Value) -> Value {
    match value.as_str() {
        None | Some("") => json!("<none>"),
        Some(text) => json!(text),
    }
}

fn count(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len) + value.as_array().map_or(0, Vec::len)
}

fn cells(resource: &Resource, o: &Value, now: Timestamp) -> Vec<Value> {
    let name = json!(object::name(o));
    let age = json!(age::since(&o["metadata"]["creationTimestamp"], now));
    match resource.kind {
        "ProwJob" => prowjob(o, name, now),
        "Pod" => pods::cells(o, name, age, now),
        "Event" => event(o, name, now),
        "ConfigMap" => vec![name, json!(count(&o["data"]) + count(&o["binaryData"])), age],
        "Secret" => vec![name, o["type"].clone(), json!(count(&o["data"])), age],
        "ServiceAccount" => vec![name, json!(count(&o["secrets"]).to_string()), age],
        "Namespace" => vec![name, o["status"]["phase"].clone(), age],
        "Lease" => vec![name, json!(o["spec"]["holderIdentity"].as_str().unwrap_or("")), age],
        "Node" => node(o, name, age),
        _ => vec![name, age],
    }
}

/// The CRD's printer columns. A column of type string prints the first match of its path, a missing one is an
/// empty cell, a date is an age.
fn prowjob(o: &Value, name: Value, now: Timestamp) -> Vec<Value> {
    let text = |v: &Value| match v {
        Value::Null => Value::Null,
        Value::String(s) => json!(s),
        other => json!(other.to_string()),
    };
    let date = |v: &Value| if v.is_null() { Value::Null } else { json!(age::since(v, now)) };
    let (spec, status) = (&o["spec"], &o["status"]);
    vec![
        name,
        text(&spec["job"]),
        text(&status["build_id"]),
        text(&spec["type"]),
        text(&spec["refs"]["org"]),
        text(&spec["refs"]["repo"]),
        text(&spec["refs"]["pulls"][0]["number"]),
        date(&status["startTime"]),
        date(&status["completionTime"]),
        text(&status["state"]),
    ]
}

fn event(o: &Value, name: Value, now: Timestamp) -> Vec<Value> {
    let first_set = |candidates: [&Value; 3]| -> Value {
        json!(age::since(candidates.into_iter().find(|v| v.is_string()).unwrap_or(&Value::Null), now))
    };
    let involved = &o["involvedObject"];
    let about = format!(
        "{}/{}",
        involved["kind"].as_str().unwrap_or("").to_lowercase(),
        involved["name"].as_str().unwrap_or("")
    );
    let source = [&o["source"]["component"], &o["source"]["host"]];
    let source: Vec<&str> = source.iter().filter_map(|v| v.as_str()).filter(|s| !s.is_empty()).collect();
    vec![
        first_set([&o["series"]["lastObservedTime"], &o["lastTimestamp"], &o["eventTime"]]),
        o["type"].clone(),
        o["reason"].clone(),
        json!(about),
        json!(involved["fieldPath"].as_str().unwrap_or("")),
        json!(source.join(", ")),
        json!(o["message"].as_str().unwrap_or("").trim()),
        first_set([&o["firstTimestamp"], &o["eventTime"], &Value::Null]),
        json!(o["series"]["count"].as_i64().or(o["count"].as_i64()).unwrap_or(1).to_string()),
        name,
    ]
}

fn node(o: &Value, name: Value, age: Value) -> Vec<Value> {
    let conditions = o["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|c| c["type"] == "Ready").map(|c| &c["status"]);
    let mut status = match ready.and_then(Value::as_str) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if o["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let labels = o["metadata"]["labels"].as_object();
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| match k.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if k == "kubernetes.io/role" => v.as_str(),
            None => None,
        })
        .filter(|r| !r.is_empty())
        .collect();
    roles.sort_unstable();
    let addresses = o["status"]["addresses"].as_array();
    let internal = addresses.into_iter().flatten().find(|a| a["type"] == "InternalIP").map(|a| &a["address"]);
    let info = &o["status"]["nodeInfo"];
    vec![
        name,
        json!(status),
        json!(if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }),
        age,
        json!(info["kubeletVersion"].as_str().unwrap_or("")),
        or_none(internal.unwrap_or(&Value::Null)),
        json!(info["osImage"].as_str().unwrap_or("<unknown>")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::RESOURCES;

    fn resource(kind: &str) -> &'static Resource {
        RESOURCES.iter().find(|r| r.kind == kind).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-22T07:00:00Z".parse().unwrap()
    }

    #[test]
    fn prowjob_columns_are_the_crds() {
        let names: Vec<&str> = columns(resource("ProwJob")).iter().map(|c| c.0).collect();
        assert_eq!(
            names,
            [
                "Name",
                "Job",
                "BuildId",
                "Type",
                "Org",
                "Repo",
                "Pulls",
                "StartTime",
                "CompletionTime",
                "State"
            ]
        );
        let job = json!({"metadata": {"name": "n"}, "spec": {"job": "j", "type": "presubmit",
            "refs": {"org": "o", "repo": "r", "pulls": [{"number": 7}, {"number": 8}]}},
            "status": {"state": "pending", "build_id": "12", "startTime": "2026-11-22T06:57:30Z"}});
        assert_eq!(
            Value::Array(cells(resource("ProwJob"), &job, now())),
            json!(["n", "j", "12", "presubmit", "o", "r", "7", "2m30s", null, "pending"])
        );
        let periodic = json!({"metadata": {"name": "n"}, "spec": {"job": "j", "type": "periodic"}});
        assert_eq!(
            Value::Array(cells(resource("ProwJob"), &periodic, now())),
            json!(["n", "j", null, "periodic", null, null, null, null, null, null])
        );
    }

    #[test]
    fn every_kind_has_a_cell_for_each_column() {
        for r in RESOURCES {
            let empty = json!({"metadata": {"name": "x"}});
            assert_eq!(cells(r, &empty, now()).len(), columns(r).len(), "{}", r.kind);
        }
    }

    #[test]
    fn the_other_kinds() {
        let meta = json!({"name": "x", "creationTimestamp": "2026-11-22T06:00:00Z"});
        for (kind, object, expected) in [
            ("ConfigMap", json!({"data": {"a": "b"}, "binaryData": {"c": ""}}), json!(["x", 2, "60m"])),
            ("Secret", json!({"type": "Opaque", "data": {"a": "b"}}), json!(["x", "Opaque", 1, "60m"])),
            ("Namespace", json!({"status": {"phase": "Active"}}), json!(["x", "Active", "60m"])),
            ("Lease", json!({"spec": {"holderIdentity": "me"}}), json!(["x", "me", "60m"])),
            (
                "Event",
                json!({"involvedObject": {"kind": "Pod", "name": "p"}, "type": "Normal", "reason": "Started",
                    "message": "it has ", "lastTimestamp": "2026-11-22T06:59:50Z", "count": 3,
                    "source": {"component": "kubelet"}}),
                json!(["10s", "Normal", "Started", "pod/p", "", "kubelet", "it has", "<unknown>", "3", "x"]),
            ),
        ] {
            let mut o = object;
            o["metadata"] = meta.clone();
            assert_eq!(Value::Array(cells(resource(kind), &o, now())), expected, "{kind}");
        }
    }
}
