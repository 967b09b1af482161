//! Who owns which field: `metadata.managedFields`, and server-side apply, which decides by it.
//!
//! A write that is no apply owns what it changes, and takes it from whoever had it. An apply owns what it says: what
//! it said before and says no more goes, unless somebody else owns it too; what it would change of another's fields is
//! a conflict, unless it is forced. (Kubernetes API concepts, "Server-Side Apply".)

mod set;
mod typed;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::object;
use crate::resources::Resource;
use crate::schema::{Ty, find};
use crate::status::{ApiError, Conflict};
use set::{Set, Step};
use typed::{compare, fields, merge, without};

/// Managers by update that are kept apart; the oldest beyond them become one.
const MAX_UPDATERS: usize = 10;
/// Name of the manager that the oldest become.
const ANCIENT: &str = "ancient-changes";
/// Name of the manager of what was there before anybody was counted.
const BEFORE: &str = "before-first-apply";
/// Where `kubectl apply` keeps what it said last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Longest name of a manager, in bytes.
const MAX_NAME: usize = 128;

/// Fields that nobody owns.
const NOBODYS: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "generateName"],
    &["metadata", "uid"],
    &["metadata", "creationTimestamp"],
    &["metadata", "deletionTimestamp"],
    &["metadata", "deletionGracePeriodSeconds"],
    &["metadata", "generation"],
    &["metadata", "resourceVersion"],
    &["metadata", "selfLink"],
    &["metadata", "managedFields"],
];

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// `fieldManager`, or what the User-Agent begins with.
    pub name: String,
    /// `status` or another subresource, empty for the object itself.
    pub subresource: String,
}

impl Manager {
    /// From what a request says about itself.
    pub fn of(field_manager: &str, user_agent: &str, subresource: &str) -> Result<Manager, ApiError> {
        if field_manager.len() > MAX_NAME || field_manager.chars().any(char::is_control) {
            let why =
                format!("Invalid value: a name has no more than {MAX_NAME} bytes, all of them printable");
            return Err(ApiError::invalid_options("PatchOptions.meta.k8s.io", "fieldManager", &why));
        }
        let agent: String = user_agent.split('/').next().unwrap_or("").chars().take(MAX_NAME).collect();
        let name = [field_manager, &agent, "unknown"].into_iter().find(|n| !n.is_empty()).unwrap_or_default();
        Ok(Manager { name: name.to_owned(), subresource: subresource.to_owned() })
    }
}

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    apply: bool,
    subresource: String,
    api_version: String,
    time: Value,
    set: Set,
}

impl Entry {
    fn read(value: &Value) -> Option<Entry> {
        let text = |name: &str| value[name].as_str().unwrap_or("").to_owned();
        let apply = match value["operation"].as_str()? {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        Some(Entry {
            manager: text("manager"),
            apply,
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: value["time"].clone(),
            set: Set::read(&value["fieldsV1"]),
        })
    }

    fn write(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager,
            "operation": if self.apply { "Apply" } else { "Update" },
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.set.write(),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }

    fn is(&self, manager: &Manager, apply: bool) -> bool {
        self.apply == apply && self.manager == manager.name && self.subresource == manager.subresource
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten().filter_map(Entry::read).collect()
}

/// Writes the entries into an object: those by apply first, then the others, oldest first.
fn put(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|e| !e.set.is_empty());
    entries.sort_by_key(|e| (!e.apply, e.time.as_str().unwrap_or("").to_owned()));
    let updaters = entries.iter().filter(|e| !e.apply).count();
    if updaters > MAX_UPDATERS {
        let first = entries.len() - updaters;
        let old: Vec<Entry> = entries.drain(first..=first + updaters - MAX_UPDATERS).collect();
        let joined = old.iter().fold(Set::default(), |all, e| all.union(&e.set));
        if let Some(last) = old.into_iter().next_back() {
            let ancient =
                Entry { manager: ANCIENT.to_owned(), subresource: String::new(), set: joined, ..last };
            entries.insert(first, ancient);
        }
    }
    let written: Vec<Value> = entries.iter().map(Entry::write).collect();
    object::set_meta(object, "managedFields", if written.is_empty() { Value::Null } else { json!(written) });
}

fn type_of(resource: &Resource) -> Option<Ty> {
    find(resource.kind).map(Ty::Object)
}

/// The fields of an object that can be owned.
fn owned_fields(object: &Value, ty: Option<&Ty>) -> Set {
    let mut set = fields(object, ty);
    ownable(&mut set);
    set
}

fn ownable(set: &mut Set) {
    for path in NOBODYS {
        set.remove(path);
    }
    // What every object has is nobody's as a whole.
    set.own = false;
    for name in ["metadata", "spec", "status"] {
        let step = Step::Field(name.to_owned());
        if let Some(part) = set.children.get_mut(&step) {
            part.own &= part.children.is_empty() && name != "metadata";
            if part.is_empty() {
                set.children.remove(&step);
            }
        }
    }
}

/// Notes in a new object who owns what after a create, update or patch that was no apply.
pub fn track(resource: &Resource, old: Option<&Value>, new: &mut Value, manager: &Manager, now: Timestamp) {
    let sent = new["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    // One entry with nothing in it asks to forget all owners.
    if sent.len() == 1 && sent[0].as_object().is_some_and(Map::is_empty) {
        object::set_meta(new, "managedFields", Value::Null);
        return;
    }
    let stored = old.map_or(Value::Null, |old| old["metadata"]["managedFields"].clone());
    // Who sends none means those that are there. Who sends some may have changed them.
    if sent.is_empty() || sent.iter().any(|e| Entry::read(e).is_none()) {
        object::set_meta(new, "managedFields", stored);
    }
    let ty = type_of(resource);
    let mut found = compare(old, Some(new), ty.as_ref());
    ownable(&mut found.changed);
    ownable(&mut found.removed);
    if found.changed.is_empty() && found.removed.is_empty() {
        return;
    }
    let mut all = entries(new);
    if !all.iter().any(|e| e.is(manager, false)) {
        all.push(Entry {
            manager: manager.name.clone(),
            apply: false,
            subresource: manager.subresource.clone(),
            api_version: resource.api_version(),
            time: Value::Null,
            set: Set::default(),
        });
    }
    for entry in &mut all {
        if entry.is(manager, false) {
            entry.set = entry.set.union(&found.changed).minus(&found.removed);
            entry.time = object::time(now);
        } else {
            entry.set = entry.set.minus(&found.changed).minus(&found.removed);
        }
    }
    put(new, all);
}

/// An apply on its way.
#[derive(Debug)]
pub struct Applied {
    /// The object as the apply leaves it; defaults and checks are still to come.
    pub object: Value,
    entries: Vec<Entry>,
    manager: Manager,
    set: Set,
}

/// Lays a configuration over an object, or (without one) makes it the object.
pub fn apply(
    resource: &Resource,
    old: Option<&Value>,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Applied, ApiError> {
    if !config["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let ty = type_of(resource);
    let ty = ty.as_ref();
    let set = owned_fields(config, ty);
    let Some(old) = old else {
        let object = config.clone();
        return Ok(Applied { object, entries: Vec::new(), manager: manager.clone(), set });
    };
    let mut entries = entries(old);
    if entries.is_empty() {
        entries.push(Entry {
            manager: BEFORE.to_owned(),
            apply: false,
            subresource: String::new(),
            api_version: resource.api_version(),
            time: old["metadata"]["creationTimestamp"].clone(),
            set: owned_fields(old, ty),
        });
    }
    let mut object = merge(old, config, ty);
    let before = entries.iter().find(|e| e.is(manager, true)).map(|e| e.set.clone()).unwrap_or_default();
    let others = || entries.iter().filter(|e| !e.is(manager, true));
    // What was said before and is said no more goes, unless somebody else holds it.
    let mut gone = before.minus(&set);
    for other in others() {
        gone = gone.minus(&other.set);
    }
    // Nothing below an entry goes with it that others hold: then the entry stays, too.
    let held = others().fold(set.clone(), |all, e| all.union(&e.set));
    release(&mut gone, &held);
    if !gone.is_empty() {
        object = without(&object, &gone, ty).unwrap_or(object);
    }
    let mut found = compare(Some(old), Some(&object), ty);
    ownable(&mut found.changed);
    let conflicts: Vec<Conflict> = others()
        .flat_map(|e| {
            let mut by = format!("{:?}", e.manager);
            if !e.subresource.is_empty() {
                by += &format!(" with subresource {:?}", e.subresource);
            }
            if !e.apply {
                by += &format!(" using {}", e.api_version);
            }
            e.set
                .common(&found.changed)
                .paths()
                .into_iter()
                .map(move |field| Conflict { by: by.clone(), field })
        })
        .collect();
    if !conflicts.is_empty() && !force && !moves_over(old, &entries, manager, &found.changed, ty) {
        return Err(ApiError::apply_conflicts(resource, object::name(old), &conflicts));
    }
    for entry in entries.iter_mut().filter(|e| !e.is(manager, true)) {
        entry.set = entry.set.minus(&found.changed).minus(&found.removed);
    }
    Ok(Applied { object, entries, manager: manager.clone(), set })
}

/// `kubectl apply --server-side` of what `kubectl apply` owned: what that said by its own book-keeping, and nobody
/// else applied, is the same hand's to change.
fn moves_over(old: &Value, entries: &[Entry], manager: &Manager, changed: &Set, ty: Option<&Ty>) -> bool {
    if manager.name != "kubectl" {
        return false;
    }
    let last = old["metadata"]["annotations"][LAST_APPLIED].as_str();
    let Some(last) = last.and_then(|text| serde_json::from_str::<Value>(text).ok()) else { return false };
    let said = owned_fields(&last, ty);
    let others = entries.iter().filter(|e| !e.is(manager, true));
    others
        .map(|e| (e, e.set.common(changed)))
        .all(|(e, taken)| taken.is_empty() || (!e.apply && taken.minus(&said).is_empty()))
}

/// Takes out of `gone` what holds something within it that is held.
fn release(gone: &mut Set, held: &Set) {
    gone.own &= held.is_empty();
    for (step, below) in &mut gone.children {
        if let Some(held) = held.children.get(step) {
            release(below, held);
        }
    }
    gone.tidy();
}

impl Applied {
    /// Notes the owners in the object as it will be stored. `old` is its state before the apply.
    pub fn finish(self, resource: &Resource, old: Option<&Value>, new: &mut Value, now: Timestamp) {
        let Applied { mut entries, manager, set, .. } = self;
        let own = entries.iter().position(|e| e.is(&manager, true));
        let same =
            own.is_some_and(|at| entries[at].set == set) && old.is_some_and(|old| same_but_owners(old, new));
        if same {
            let stored = old.map_or(Value::Null, |old| old["metadata"]["managedFields"].clone());
            object::set_meta(new, "managedFields", stored);
            return;
        }
        let entry = Entry {
            manager: manager.name,
            apply: true,
            subresource: manager.subresource,
            api_version: resource.api_version(),
            time: object::time(now),
            set,
        };
        match own {
            Some(at) => entries[at] = entry,
            None => entries.push(entry),
        }
        put(new, entries);
    }
}

fn same_but_owners(old: &Value, new: &Value) -> bool {
    let mut new = new.clone();
    object::set_meta(&mut new, "managedFields", old["metadata"]["managedFields"].clone());
    new == *old
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> &'static Resource {
        crate::resources::find("", "v1", "configmaps").unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-22T07:00:00Z".parse().unwrap()
    }

    fn by(name: &str) -> Manager {
        Manager { name: name.to_owned(), subresource: String::new() }
    }

    fn config(data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
    }

    fn applied(old: Option<&Value>, data: Value, name: &str, force: bool) -> Result<Value, ApiError> {
        let done = apply(maps(), old, &config(data), &by(name), force)?;
        let mut new = done.object.clone();
        done.finish(maps(), old, &mut new, now());
        Ok(new)
    }

    #[test]
    fn an_apply_owns_what_it_says_and_takes_back_what_it_says_no_more() {
        let first = applied(None, json!({"a": "1", "b": "1"}), "ann", false).unwrap();
        let entry = &first["metadata"]["managedFields"][0];
        assert_eq!((&entry["manager"], &entry["operation"]), (&json!("ann"), &json!("Apply")));
        assert_eq!(entry["fieldsV1"], json!({"f:data": {"f:a": {}, "f:b": {}}}));
        assert_eq!(applied(Some(&first), json!({"a": "1", "b": "1"}), "ann", false).unwrap(), first);
        // The same value from another hand is shared, and outlives either.
        let shared = applied(Some(&first), json!({"b": "1"}), "ben", false).unwrap();
        let left = applied(Some(&shared), json!({}), "ann", false).unwrap();
        assert_eq!(left["data"], json!({"b": "1"}));
        let none = applied(Some(&left), json!({}), "ben", false).unwrap();
        assert_eq!(none.get("data").cloned().unwrap_or(json!({})), json!({}));
    }

    #[test]
    fn another_ones_field_is_a_conflict_until_it_is_forced() {
        let first = applied(None, json!({"a": "1"}), "ann", false).unwrap();
        let e = applied(Some(&first), json!({"a": "2"}), "ben", false).unwrap_err();
        assert_eq!((e.code, e.reason), (409, "Conflict"));
        assert!(e.message.contains("conflict with \"ann\": .data.a"), "{}", e.message);
        let taken = applied(Some(&first), json!({"a": "2"}), "ben", true).unwrap();
        assert_eq!(taken["data"]["a"], "2");
        let managers: Vec<&Value> =
            taken["metadata"]["managedFields"].as_array().unwrap().iter().map(|e| &e["manager"]).collect();
        assert_eq!(managers, ["ben"]);
    }

    #[test]
    fn an_update_takes_what_it_changes() {
        let first = applied(None, json!({"a": "1", "b": "1"}), "ann", false).unwrap();
        let mut new = first.clone();
        new["data"]["a"] = json!("2");
        track(maps(), Some(&first), &mut new, &by("kubectl"), now());
        let owners = new["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(owners[0]["fieldsV1"], json!({"f:data": {"f:b": {}}}));
        assert_eq!((&owners[1]["manager"], &owners[1]["operation"]), (&json!("kubectl"), &json!("Update")));
        let mut cleared = new.clone();
        cleared["metadata"]["managedFields"] = json!([{}]);
        track(maps(), Some(&new), &mut cleared, &by("kubectl"), now());
        assert!(cleared["metadata"].get("managedFields").is_none());
        let mut same = new.clone();
        same["metadata"].as_object_mut().unwrap().remove("managedFields");
        track(maps(), Some(&new), &mut same, &by("other"), now());
        assert_eq!(same, new);
    }

    #[test]
    fn many_updaters_become_one() {
        let mut object = config(json!({}));
        for i in 0..15 {
            let old = object.clone();
            object["data"][format!("k{i}")] = json!("1");
            track(maps(), Some(&old), &mut object, &by(&format!("m{i}")), now());
        }
        let owners = object["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(owners.len(), MAX_UPDATERS);
        assert!(owners.iter().any(|o| o["manager"] == ANCIENT));
    }
}
