//! What becomes of an object that a client sends: server-owned members, defaults, pruning, validation.
//!
//! Pure functions of the old object, the new object and the time; ids come in as arguments.

mod pods;
mod prowjob;
mod quantity;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::names;
use crate::object;
use crate::resources::{Generation, Resource};
use crate::schema;
use crate::schema::walk::{Findings, walk};
use crate::status::{ApiError, Cause};

/// Members of metadata that only the server writes.
const SERVER_OWNED: [&str; 5] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"];
/// Data of a ConfigMap or Secret together, in bytes.
const DATA_LIMIT: usize = 1 << 20;

/// Which part of an object a request writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but the status, if the kind has a status subresource; all otherwise.
    Main,
    /// The status alone.
    Status,
}

/// An object as it may be stored, with the paths that were pruned from it.
pub type Accepted = (Value, Vec<String>);

/// Checks that a body is an object of the kind that the path names, and fills in kind and version if it leaves
/// them out.
pub fn expect_kind(resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    let Some(members) = object.as_object_mut() else {
        return Err(ApiError::bad_request(format!("the body is not a {} object", resource.kind)));
    };
    for (member, expected) in [("apiVersion", resource.api_version()), ("kind", resource.kind.to_owned())] {
        match members.get(member).and_then(Value::as_str).unwrap_or("") {
            "" => {
                members.insert(member.to_owned(), Value::from(expected));
            }
            found if found == expected => {}
            found => {
                return Err(ApiError::bad_request(format!(
                    "the {member} in the data ({found}) does not match the expected {member} ({expected})"
                )));
            }
        }
    }
    Ok(())
}

/// A new object. Name and namespace are decided already.
pub fn create(
    resource: &Resource,
    mut object: Value,
    uid: &str,
    now: Timestamp,
) -> Result<Accepted, ApiError> {
    typed(resource, &mut object)?;
    if !object::meta_str(&object, "resourceVersion").is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    for member in SERVER_OWNED.into_iter().chain(["resourceVersion", "selfLink", "managedFields"]) {
        object::set_meta(&mut object, member, Value::Null);
    }
    object::set_meta(&mut object, "uid", Value::from(uid));
    object::set_meta(&mut object, "creationTimestamp", object::time(now));
    if resource.generation != Generation::None {
        object::set_meta(&mut object, "generation", json!(1));
    }
    if resource.is_pods() {
        pods::default_spec(&mut object["spec"]);
        object["status"] = pods::initial_status(&object["spec"]);
    }
    if resource.is_namespaces() {
        let name = Value::from(object::name(&object));
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        object["spec"] = json!({"finalizers": ["kubernetes"]});
        object["status"] = json!({"phase": "Active"});
    }
    let mut causes = Vec::new();
    let pruned = finish(resource, &mut object, &mut causes)?;
    refuse(resource, &object, causes)?;
    Ok((object, pruned))
}

/// The object after a PUT or patch. Conflicts are the caller's business.
pub fn update(resource: &Resource, old: &Value, mut new: Value, part: Part) -> Result<Accepted, ApiError> {
    typed(resource, &mut new)?;
    if !resource.is_prowjobs() {
        drop_nulls(&mut new);
    }
    for member in SERVER_OWNED.into_iter().chain(["name", "namespace"]) {
        object::set_meta(&mut new, member, old["metadata"][member].clone());
    }
    object::set_meta(&mut new, "selfLink", Value::Null);
    // The stored version; a write replaces it, and without one the object stays as it is.
    object::set_meta(&mut new, "resourceVersion", old["metadata"]["resourceVersion"].clone());
    if resource.has_status {
        new = match part {
            Part::Main => keep(new, old, |member| member == "status"),
            Part::Status => keep(new, old, |member| member != "status" && member != "metadata"),
        };
    }
    let mut causes = Vec::new();
    if resource.is_pods() {
        pods::default_spec(&mut new["spec"]);
        pods::check_update(old, &new, &mut causes);
    }
    let pruned = finish(resource, &mut new, &mut causes)?;
    check_immutable(resource, old, &new, &mut causes);
    if object::is_deleting(old) {
        let before = object::finalizers(old);
        if object::finalizers(&new).iter().any(|f| !before.contains(f)) {
            causes.push(Cause::forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted",
            ));
        }
    }
    refuse(resource, &new, causes)?;
    let counts = match resource.generation {
        Generation::None => false,
        Generation::Spec => old["spec"] != new["spec"],
        Generation::AllButMetadata => without_metadata(old) != without_metadata(&new),
    };
    if counts {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        object::set_meta(&mut new, "generation", json!(generation));
    }
    Ok((new, pruned))
}

fn without_metadata(object: &Value) -> Vec<(&String, &Value)> {
    object.as_object().into_iter().flatten().filter(|(k, _)| *k != "metadata").collect()
}

/// `new` with the members that `kept` names taken from `old`.
fn keep(mut new: Value, old: &Value, kept: impl Fn(&str) -> bool) -> Value {
    if let (Some(members), Some(old)) = (new.as_object_mut(), old.as_object()) {
        members.retain(|k, _| !kept(k));
        members.extend(old.iter().filter(|(k, _)| kept(k)).map(|(k, v)| (k.clone(), v.clone())));
    }
    new
}

/// Kind-specific defaults and checks that creation and update share; gives what was pruned.
fn finish(resource: &Resource, object: &mut Value, causes: &mut Vec<Cause>) -> Result<Vec<String>, ApiError> {
    let pruned = if resource.is_prowjobs() {
        let findings = prowjob::prune_and_check(object);
        causes.extend(findings.causes);
        findings.pruned
    } else {
        drop_nulls(object);
        // What the kind's own checks below and its decoder refuse is theirs; here unknown members go, as the real
        // server's decoder drops them.
        let mut findings = Findings::default();
        if let Some(of) = schema::find(resource.kind) {
            walk(of.get(), object, "", &mut findings);
        }
        findings.pruned
    };
    match resource.kind {
        "Pod" => pods::check(object, causes),
        "Secret" => secret(object, causes),
        "ConfigMap" => data_size(object, causes),
        _ => {}
    }
    names::check_metadata(resource, object, causes);
    Ok(pruned)
}

fn refuse(resource: &Resource, object: &Value, causes: Vec<Cause>) -> Result<(), ApiError> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(resource, object::name(object), &causes))
}

fn secret(secret: &mut Value, causes: &mut Vec<Cause>) {
    if let Some(plain) = secret.as_object_mut().and_then(|s| s.remove("stringData")) {
        for (key, value) in plain.as_object().into_iter().flatten() {
            secret["data"][key] = Value::from(STANDARD.encode(value.as_str().unwrap_or("")));
        }
    }
    if secret["type"].is_null() {
        secret["type"] = json!("Opaque");
    }
    data_size(secret, causes);
}

/// Data that was declared immutable, and the type of a Secret, stay as they are.
fn check_immutable(resource: &Resource, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if resource.kind == "Secret" && old["type"] != new["type"] {
        causes.push(Cause::invalid("type", &new["type"], "field is immutable"));
    }
    if matches!(resource.kind, "Secret" | "ConfigMap") && old["immutable"] == true {
        for member in ["immutable", "data", "binaryData"] {
            if old[member] != new[member] {
                causes.push(Cause::forbidden(member, "field is immutable when `immutable` is set"));
            }
        }
    }
}

fn data_size(object: &Value, causes: &mut Vec<Cause>) {
    let mut total = 0;
    for member in ["data", "binaryData"] {
        for (key, value) in object[member].as_object().into_iter().flatten() {
            let ok = !key.is_empty()
                && key.len() <= 253
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                && key != "."
                && key != "..";
            if !ok {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
                causes.push(Cause::invalid(format!("{member}[{key}]"), &Value::from(key.as_str()), why));
            }
            total += value.as_str().unwrap_or("").len();
        }
    }
    if total > DATA_LIMIT {
        causes.push(Cause::too_long("data", DATA_LIMIT));
    }
}

/// Members that are null are members that are not there.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, v| !v.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Refuses what does not have the kind's types, as the real server's decoder does.
fn typed(resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    let refused = |why: &dyn std::fmt::Display| {
        ApiError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {why}",
            kind = resource.kind,
            version = resource.version,
        ))
    };
    if resource.is_pods() {
        quantity::read(&mut object["spec"]).map_err(|e| refused(&e))?;
    }
    let object = &*object;
    let problem = match resource.kind {
        "Pod" => Pod::deserialize(object).err(),
        "Secret" => Secret::deserialize(object).err(),
        "ConfigMap" => ConfigMap::deserialize(object).err(),
        "Event" => Event::deserialize(object).err(),
        "Namespace" => Namespace::deserialize(object).err(),
        "Node" => Node::deserialize(object).err(),
        "ServiceAccount" => ServiceAccount::deserialize(object).err(),
        "Lease" => Lease::deserialize(object).err(),
        _ => ObjectMeta::deserialize(&object["metadata"]).err(),
    };
    match problem {
        None => Ok(()),
        Some(e) => Err(refused(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::find;

    fn now() -> Timestamp {
        "2026-11-22T07:00:00Z".parse().unwrap()
    }

    fn resource(plural: &str) -> &'static Resource {
        crate::resources::RESOURCES.iter().find(|r| r.plural == plural).unwrap()
    }

    fn pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
               "spec": {"containers": [{"name": "a", "image": "x"}]}})
    }

    #[test]
    fn creation_owns_what_the_server_owns() {
        let mut sent = pod();
        sent["metadata"]["uid"] = json!("mine");
        sent["metadata"]["creationTimestamp"] = json!("1999-01-01T00:00:00Z");
        sent["metadata"]["deletionTimestamp"] = json!("1999-01-01T00:00:00Z");
        sent["status"] = json!({"phase": "Succeeded"});
        let (made, _) = create(resource("pods"), sent, "u-1", now()).unwrap();
        assert_eq!(made["metadata"]["uid"], "u-1");
        assert_eq!(made["metadata"]["creationTimestamp"], "2026-11-22T07:00:00Z");
        assert_eq!(made["metadata"]["generation"], 1);
        assert!(!object::is_deleting(&made));
        assert_eq!(made["status"]["phase"], "Pending");
    }

    #[test]
    fn a_status_write_leaves_the_spec_and_a_main_write_the_status() {
        let r = resource("pods");
        let (old, _) = create(r, pod(), "u", now()).unwrap();
        let mut new = old.clone();
        new["status"]["phase"] = json!("Running");
        new["metadata"]["labels"] = json!({"a": "b"});
        let (main, _) = update(r, &old, new.clone(), Part::Main).unwrap();
        assert_eq!(
            (&main["status"]["phase"], &main["metadata"]["labels"]["a"]),
            (&json!("Pending"), &json!("b"))
        );
        new["spec"]["restartPolicy"] = json!("Never");
        let (status, _) = update(r, &old, new, Part::Status).unwrap();
        assert_eq!(status["status"]["phase"], "Running");
        assert_eq!(status["spec"], old["spec"]);
        assert_eq!(status["metadata"]["generation"], 1);
    }

    #[test]
    fn generation_of_a_prowjob_counts_all_but_metadata() {
        let r = find("prow.k8s.io", "v1", "prowjobs").unwrap();
        let job = json!({"apiVersion": "prow.k8s.io/v1", "kind": "ProwJob", "metadata": {"name": "j"},
            "spec": {"job": "j", "type": "periodic"}, "status": {"state": "triggered"}});
        let (old, _) = create(r, job, "u", now()).unwrap();
        let mut labelled = old.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(update(r, &old, labelled, Part::Main).unwrap().0["metadata"]["generation"], 1);
        let mut pending = old.clone();
        pending["status"]["state"] = json!("pending");
        assert_eq!(update(r, &old, pending, Part::Main).unwrap().0["metadata"]["generation"], 2);
    }

    #[test]
    fn secrets_encode_string_data_and_refuse_what_is_not_base64() {
        let r = resource("secrets");
        let s = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}});
        let (made, _) = create(r, s, "u", now()).unwrap();
        assert_eq!(made["data"]["k"], "dg==");
        assert!(made.get("stringData").is_none());
        assert_eq!(made["type"], "Opaque");
        let s = json!({"metadata": {"name": "s"}, "data": {"k": "%"}, "apiVersion": "v1", "kind": "Secret"});
        assert_eq!(create(r, s, "u", now()).unwrap_err().code, 400);
    }

    #[test]
    fn wrong_types_are_400_and_wrong_values_422() {
        let mut p = pod();
        p["spec"]["containers"][0]["command"] = json!("sh");
        assert_eq!(create(resource("pods"), p, "u", now()).unwrap_err().code, 400);
        let mut p = pod();
        p["metadata"]["labels"] = json!({"a": "not valid"});
        let e = create(resource("pods"), p, "u", now()).unwrap_err();
        assert_eq!((e.code, e.reason), (422, "Invalid"));
        let mut p = pod();
        p["metadata"]["resourceVersion"] = json!("7");
        assert_eq!(create(resource("pods"), p, "u", now()).unwrap_err().code, 400);
    }

    #[test]
    fn no_finalizer_joins_a_deletion() {
        let r = resource("configmaps");
        let old = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": ["a.b/c"],
            "deletionTimestamp": "2026-11-22T07:00:00Z"}});
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!(["a.b/c", "d.e/f"]);
        assert_eq!(update(r, &old, new, Part::Main).unwrap_err().code, 422);
    }

    #[test]
    fn the_kind_has_to_be_the_paths() {
        let r = resource("configmaps");
        let mut bare = json!({"metadata": {}});
        expect_kind(r, &mut bare).unwrap();
        assert_eq!((&bare["kind"], &bare["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
        assert_eq!(expect_kind(r, &mut pod()).unwrap_err().code, 400);
        assert_eq!(expect_kind(r, &mut json!([])).unwrap_err().code, 400);
    }
}
