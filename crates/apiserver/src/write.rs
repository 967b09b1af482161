//! Create, update, patch, bind and delete: what each does inside one operation of the store.
//!
//! The functions here run in the store's writer with the state before them settled, so there is nothing to retry.

use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use serde_json::{Value, json};

use crate::managed::{self, Manager};
use crate::object;
use crate::patch::Patch;
use crate::resources::{RESOURCES, Resource, find};
use crate::rules::{self, Part};
use crate::status::{ApiError, Cause};
use crate::store::tx::Tx;
use crate::store::{prefix, split_key};

/// Letters of generated names: no vowels, so that no words come out.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Names that a create with generateName tries before it gives up.
const NAME_TRIES: usize = 8;
/// Objects that one operation of a namespace's removal deletes.
const NAMESPACE_CHUNK: usize = 500;

/// What a write gives back.
#[derive(Debug)]
pub struct Written {
    /// The object as stored (or as it was last, if it is gone).
    pub object: Value,
    /// Members that were pruned.
    pub pruned: Vec<String>,
    /// A PUT made the object.
    pub created: bool,
}

/// What a delete did.
#[derive(Debug)]
pub enum Deleted {
    /// The object is gone; its last state.
    Gone(Value),
    /// It waits for its kubelet, its finalizers or its contents; its state now.
    Pending(Value),
}

/// `DeleteOptions`, as far as they matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds; only pods have a grace period.
    pub grace: Option<i64>,
    /// Precondition.
    pub uid: Option<String>,
    /// Precondition.
    pub version: Option<String>,
}

/// Who writes when, and the uid that a new object gets.
#[derive(Debug, Clone)]
pub struct Author {
    /// Owner of the fields that are written.
    pub manager: Manager,
    /// For an object that is created.
    pub uid: String,
    /// The time.
    pub now: Timestamp,
    /// Unknown members are refused instead of pruned (`fieldValidation=Strict`).
    pub strict: bool,
}

impl Author {
    /// Refuses what was pruned, if it is to be.
    fn allow_pruned(&self, resource: &Resource, pruned: &[String]) -> Result<(), ApiError> {
        if !self.strict || pruned.is_empty() {
            return Ok(());
        }
        let unknown: Vec<String> = pruned.iter().map(|p| format!("unknown field \"{p}\"")).collect();
        Err(ApiError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
            unknown.join(", "),
            kind = resource.kind,
            version = resource.version,
        )))
    }
}

/// Creates an object whose body has been checked to be of the kind.
pub fn create(
    tx: &mut Tx<'_>,
    resource: &Resource,
    namespace: &str,
    body: Value,
    author: &Author,
) -> Result<Written, ApiError> {
    create_owned(tx, resource, namespace, body, author, |new| {
        managed::track(resource, None, new, &author.manager, author.now);
    })
}

/// [`create`], with a say in who owns the fields.
fn create_owned(
    tx: &mut Tx<'_>,
    resource: &Resource,
    namespace: &str,
    mut body: Value,
    author: &Author,
    own: impl FnOnce(&mut Value),
) -> Result<Written, ApiError> {
    if resource.namespaced {
        match object::namespace(&body) {
            "" => object::set_meta(&mut body, "namespace", Value::from(namespace)),
            found if found == namespace => {}
            _ => {
                return Err(ApiError::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
        }
    } else {
        object::set_meta(&mut body, "namespace", Value::Null);
    }
    let generated = object::name(&body).is_empty();
    let base = object::meta_str(&body, "generateName").to_owned();
    if generated && base.is_empty() {
        let cause = Cause::required("metadata.name", "name or generateName is required");
        return Err(ApiError::invalid(resource, "", &[cause]));
    }
    if resource.namespaced {
        let namespaces = namespaces();
        let Some(home) = tx.get(namespaces, "", namespace)? else {
            return Err(ApiError::not_found(namespaces, namespace));
        };
        if object::is_deleting(&home) {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            return Err(ApiError::forbidden(resource, object::name(&body), &why));
        }
    }
    let tries = if generated { NAME_TRIES } else { 1 };
    if generated {
        object::set_meta(&mut body, "name", Value::from(generate_name(&base)));
    }
    // What cannot be is refused as such, whether its name is taken or not.
    let (mut accepted, pruned) = rules::create(resource, body, &author.uid, author.now)?;
    author.allow_pruned(resource, &pruned)?;
    for last in (0..tries).rev() {
        if tx.get(resource, namespace, object::name(&accepted))?.is_none() {
            break;
        }
        if last == 0 {
            return Err(ApiError::already_exists(resource, object::name(&accepted)));
        }
        object::set_meta(&mut accepted, "name", Value::from(generate_name(&base)));
    }
    own(&mut accepted);
    Ok(Written { object: tx.put(resource, None, accepted)?, pruned, created: true })
}

fn namespaces() -> &'static Resource {
    find("", "v1", "namespaces").expect("the table of resources has namespaces")
}

fn generate_name(base: &str) -> String {
    // Names are cut so that the suffix fits into 63 characters, as Kubernetes does.
    let mut end = base.len().min(58);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut rng = rand::rng();
    let suffix: String = (0..5).map(|_| char::from(SUFFIX[rng.random_range(0..SUFFIX.len())])).collect();
    format!("{}{suffix}", &base[..end])
}

/// How an update finds its new state.
pub enum Change {
    /// A PUT: the whole object.
    Replace(Value),
    /// A PATCH.
    Patch(Patch),
    /// A server-side apply of a configuration, by force or not.
    Apply(Value, bool),
}

/// Replaces or patches an object.
pub fn update(
    tx: &mut Tx<'_>,
    resource: &Resource,
    (namespace, name): (&str, &str),
    part: Part,
    change: Change,
    author: &Author,
) -> Result<Written, ApiError> {
    let is_patch = !matches!(change, Change::Replace(_));
    let old = tx.get(resource, namespace, name)?;
    let Some(old) = old else {
        return match change {
            Change::Replace(body) if resource.create_on_update && part == Part::Main => {
                create(tx, resource, namespace, body, author)
            }
            Change::Apply(config, force) if part == Part::Main => {
                apply_new(tx, resource, (namespace, name), config, force, author)
            }
            _ => Err(ApiError::not_found(resource, name)),
        };
    };
    let mut applied = None;
    let mut new = match change {
        Change::Replace(body) => body,
        Change::Patch(patch) => patch.apply(old.clone())?,
        Change::Apply(mut config, force) => {
            rules::expect_kind(resource, &mut config)?;
            check_identity(resource, &old, &mut config)?;
            let sent = object::meta_str(&config, "resourceVersion");
            if !sent.is_empty() && sent != object::meta_str(&old, "resourceVersion") {
                return Err(ApiError::modified(resource, name));
            }
            object::set_meta(&mut config, "resourceVersion", Value::Null);
            let done = managed::apply(resource, Some(&old), &config, &author.manager, force)?;
            let object = done.object.clone();
            applied = Some(done);
            object
        }
    };
    rules::expect_kind(resource, &mut new)?;
    if is_patch
        && !object::meta_str(&new, "uid").is_empty()
        && new["metadata"]["uid"] != old["metadata"]["uid"]
    {
        let cause = Cause::invalid("metadata.uid", &new["metadata"]["uid"], "field is immutable");
        return Err(ApiError::invalid(resource, name, &[cause]));
    }
    check_identity(resource, &old, &mut new)?;
    let version = object::meta_str(&new, "resourceVersion");
    if version.is_empty() {
        if !is_patch && !resource.unconditional_update {
            let cause =
                Cause::invalid("metadata.resourceVersion", &json!(""), "must be specified for an update");
            return Err(ApiError::invalid(resource, name, &[cause]));
        }
    } else if version != object::meta_str(&old, "resourceVersion") {
        return Err(ApiError::modified(resource, name));
    }
    let (mut new, pruned) = rules::update(resource, &old, new, part)?;
    author.allow_pruned(resource, &pruned)?;
    match applied {
        Some(applied) => applied.finish(resource, Some(&old), &mut new, author.now),
        None => managed::track(resource, Some(&old), &mut new, &author.manager, author.now),
    }
    let removed = object::is_deleting(&new)
        && object::finalizers(&new).is_empty()
        && new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    let object = if removed && !resource.is_namespaces() {
        remove(tx, resource, new)?
    } else if new == old {
        // Nothing to write: the version stays, and nobody is told.
        new
    } else {
        tx.put(resource, Some(&old), new)?
    };
    Ok(Written { object, pruned, created: false })
}

/// An apply of what is not there makes it.
fn apply_new(
    tx: &mut Tx<'_>,
    resource: &Resource,
    (namespace, name): (&str, &str),
    mut config: Value,
    force: bool,
    author: &Author,
) -> Result<Written, ApiError> {
    rules::expect_kind(resource, &mut config)?;
    match object::name(&config) {
        "" => object::set_meta(&mut config, "name", Value::from(name)),
        found if found == name => {}
        found => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({found}) does not match the name on the URL ({name})"
            )));
        }
    }
    if !object::meta_str(&config, "uid").is_empty() {
        let why = "uid mismatch: the provided object specified uid, and no existing object was found";
        return Err(ApiError::conflict(resource, name, why));
    }
    let applied = managed::apply(resource, None, &config, &author.manager, force)?;
    create_owned(tx, resource, namespace, config, author, |new| {
        applied.finish(resource, None, new, author.now);
    })
}

/// Name, namespace and uid of an update have to be those of the object.
fn check_identity(resource: &Resource, old: &Value, new: &mut Value) -> Result<(), ApiError> {
    let name = object::name(old);
    match object::name(new) {
        "" => object::set_meta(new, "name", Value::from(name)),
        found if found == name => {}
        found => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({found}) does not match the name on the URL ({name})"
            )));
        }
    }
    let namespace = object::namespace(new);
    if resource.namespaced && !namespace.is_empty() && namespace != object::namespace(old) {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let (sent, stored) = (object::meta_str(new, "uid"), object::meta_str(old, "uid"));
    if !sent.is_empty() && sent != stored {
        let why = format!("Precondition failed: UID in precondition: {sent}, UID in object meta: {stored}");
        return Err(ApiError::conflict(resource, name, &why));
    }
    Ok(())
}

/// Binds a pod to the node that a `Binding` names.
pub fn bind(
    tx: &mut Tx<'_>,
    (namespace, name): (&str, &str),
    binding: &Value,
    author: &Author,
) -> Result<(), ApiError> {
    let pods = find("", "v1", "pods").expect("the table of resources has pods");
    let node = binding["target"]["name"].as_str().unwrap_or("");
    if node.is_empty() {
        return Err(ApiError::invalid(pods, name, &[Cause::required("target.name", "")]));
    }
    let old = tx.get(pods, namespace, name)?.ok_or_else(|| ApiError::not_found(pods, name))?;
    if object::is_deleting(&old) {
        return Err(ApiError::conflict(
            pods,
            name,
            &format!("pod {name} is being deleted, cannot be assigned to a host"),
        ));
    }
    for (part, of) in [("uid", "UID"), ("resourceVersion", "resource version")] {
        let asked = binding["metadata"][part].as_str().unwrap_or("");
        if !asked.is_empty() && old["metadata"][part] != asked {
            return Err(ApiError::conflict(
                pods,
                name,
                &format!("the pod has another {of} than the binding asks for"),
            ));
        }
    }
    let bound = old["spec"]["nodeName"].as_str().unwrap_or("");
    if !bound.is_empty() {
        return Err(ApiError::conflict(
            pods,
            name,
            &format!("pod {name} is already assigned to node {bound:?}"),
        ));
    }
    let mut new = old.clone();
    new["spec"]["nodeName"] = Value::from(node);
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
                           "lastTransitionTime": object::time(author.now)});
    let mut conditions = new["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|c| c["type"] != "PodScheduled");
    conditions.push(scheduled);
    new["status"]["conditions"] = Value::Array(conditions);
    managed::track(pods, Some(&old), &mut new, &author.manager, author.now);
    tx.put(pods, Some(&old), new)?;
    Ok(())
}

/// Deletes one object by name.
pub fn delete(
    tx: &mut Tx<'_>,
    resource: &Resource,
    (namespace, name): (&str, &str),
    options: &DeleteOptions,
    now: Timestamp,
) -> Result<Deleted, ApiError> {
    let old = tx.get(resource, namespace, name)?.ok_or_else(|| ApiError::not_found(resource, name))?;
    let stored = object::meta_str(&old, "uid");
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != stored) {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
        return Err(ApiError::conflict(resource, name, &why));
    }
    let stored = object::meta_str(&old, "resourceVersion");
    if let Some(version) = options.version.as_deref().filter(|v| *v != stored) {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {stored}"
        );
        return Err(ApiError::conflict(resource, name, &why));
    }
    if resource.is_namespaces() {
        return delete_namespace(tx, old, now);
    }
    delete_object(tx, resource, old, options.grace, now)
}

/// The grace period of a pod's deletion in seconds; 0 for every other kind.
fn grace_period(resource: &Resource, object: &Value, asked: Option<i64>) -> i64 {
    if !resource.is_pods() {
        return 0;
    }
    let never_bound = object["spec"]["nodeName"].as_str().unwrap_or("").is_empty();
    let ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if never_bound || ended {
        return 0;
    }
    match asked.or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(0) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

fn delete_object(
    tx: &mut Tx<'_>,
    resource: &Resource,
    old: Value,
    asked: Option<i64>,
    now: Timestamp,
) -> Result<Deleted, ApiError> {
    let grace = grace_period(resource, &old, asked);
    if grace == 0 && object::finalizers(&old).is_empty() {
        return Ok(Deleted::Gone(remove(tx, resource, old)?));
    }
    let since = match old["metadata"]["deletionTimestamp"].as_str() {
        None => now,
        Some(at) => {
            let current = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
            if grace >= current {
                // Under way already, and sooner than asked for now.
                return Ok(Deleted::Pending(old));
            }
            at.parse::<Timestamp>().unwrap_or(now) - SignedDuration::from_secs(current)
        }
    };
    let mut new = old.clone();
    // A grace period beyond the end of time is refused by its type long before.
    let at = since.checked_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
    object::set_meta(&mut new, "deletionTimestamp", object::time(at));
    object::set_meta(&mut new, "deletionGracePeriodSeconds", json!(grace));
    if let Some(generation) = old["metadata"]["generation"].as_i64() {
        object::set_meta(&mut new, "generation", json!(generation + 1));
    }
    Ok(Deleted::Pending(tx.put(resource, Some(&old), new)?))
}

/// Removes an object, and its namespace too if that only waited for this one.
fn remove(tx: &mut Tx<'_>, resource: &Resource, last: Value) -> Result<Value, ApiError> {
    let namespace = object::namespace(&last).to_owned();
    let last = tx.delete(resource, last)?;
    if resource.namespaced {
        finish_namespace(tx, &namespace)?;
    }
    Ok(last)
}

/// Marks a namespace as ending and deletes what is in it, a bounded number of objects at a time: the caller
/// repeats until nothing more happens. It goes away with the last of its objects.
fn delete_namespace(tx: &mut Tx<'_>, old: Value, now: Timestamp) -> Result<Deleted, ApiError> {
    let name = object::name(&old).to_owned();
    if matches!(name.as_str(), "default" | "kube-system") {
        return Err(ApiError::forbidden(namespaces(), &name, "this namespace may not be deleted"));
    }
    let current = if object::is_deleting(&old) {
        old
    } else {
        let mut new = old.clone();
        object::set_meta(&mut new, "deletionTimestamp", object::time(now));
        new["status"]["phase"] = json!("Terminating");
        tx.put(namespaces(), Some(&old), new)?
    };
    let mut deleted = 0;
    for (resource, key) in contents(tx, &name, usize::MAX)? {
        let (_, object_name) = split_key(&key);
        if let Some(object) = tx.get(resource, &name, object_name)?.filter(|o| !object::is_deleting(o)) {
            delete_object(tx, resource, object, None, now)?;
            deleted += 1;
            if deleted == NAMESPACE_CHUNK {
                break;
            }
        }
    }
    if contents(tx, &name, 1)?.is_empty() {
        // The last removal has taken the namespace along; without contents it goes here.
        return match tx.get(namespaces(), "", &name)? {
            Some(empty) => Ok(Deleted::Gone(tx.delete(namespaces(), empty)?)),
            None => Ok(Deleted::Gone(current)),
        };
    }
    Ok(Deleted::Pending(current))
}

/// Up to `limit` objects of a namespace.
fn contents(
    tx: &Tx<'_>,
    namespace: &str,
    limit: usize,
) -> Result<Vec<(&'static Resource, String)>, ApiError> {
    let mut found = Vec::new();
    for resource in RESOURCES.iter().filter(|r| r.namespaced) {
        let room = limit - found.len();
        if room == 0 {
            break;
        }
        found.extend(tx.keys(&prefix(resource, Some(namespace)), room)?.into_iter().map(|k| (resource, k)));
    }
    Ok(found)
}

fn finish_namespace(tx: &mut Tx<'_>, namespace: &str) -> Result<(), ApiError> {
    if let Some(home) = tx.get(namespaces(), "", namespace)?
        && object::is_deleting(&home)
        && contents(tx, namespace, 1)?.is_empty()
    {
        tx.delete(namespaces(), home)?;
    }
    Ok(())
}
