//! What one write operation sees and does: reads through its own changes, and leaves nothing behind if it fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;
use serde_json::Value;

use super::event::{Change, Event, Head};
use super::{StoreError, key, prefix_end};
use crate::object;
use crate::resources::Resource;
use crate::status::ApiError;

/// Largest object in bytes of JSON; etcd's limit is half of it, in a denser encoding.
const MAX_BYTES: usize = 3 << 20;
/// Deepest nesting of an object: what is stored has to be readable again, and the reader stops at 128 levels.
const MAX_DEPTH: usize = 100;

fn nests_deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(members) => levels == 0 || members.values().any(|v| nests_deeper_than(v, levels - 1)),
        Value::Array(items) => levels == 0 || items.iter().any(|v| nests_deeper_than(v, levels - 1)),
        _ => false,
    }
}

/// Reading from the objects table, whichever transaction it belongs to.
pub trait Objects {
    /// The object's JSON.
    fn read(&self, key: &str) -> Result<Option<Bytes>, StoreError>;
    /// Up to `limit` keys with the prefix, in order.
    fn keys(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError>;
}

impl<T: ReadableTable<&'static str, &'static [u8]>> Objects for T {
    fn read(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get(key).map_err(StoreError::of)?.map(|v| Bytes::copy_from_slice(v.value())))
    }

    fn keys(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let end = prefix_end(prefix);
        let mut keys = Vec::new();
        for entry in self.range(prefix..end.as_str()).map_err(StoreError::of)?.take(limit) {
            keys.push(entry.map_err(StoreError::of)?.0.value().to_owned());
        }
        Ok(keys)
    }
}

/// One operation within a commit.
pub struct Tx<'a> {
    objects: &'a dyn Objects,
    version: u64,
    changed: BTreeMap<String, Option<Bytes>>,
    events: Vec<Arc<Event>>,
}

/// What an operation did, for the commit to apply.
pub struct Done {
    /// New state by key; `None` where the object is gone.
    pub changed: BTreeMap<String, Option<Bytes>>,
    /// One event a change, versions ascending.
    pub events: Vec<Arc<Event>>,
}

impl<'a> Tx<'a> {
    /// An operation whose first write gets `version + 1`.
    pub fn new(objects: &'a dyn Objects, version: u64) -> Tx<'a> {
        Tx { objects, version, changed: BTreeMap::new(), events: Vec::new() }
    }

    /// True once something was written or removed.
    pub fn has_changes(&self) -> bool {
        !self.events.is_empty()
    }

    /// What is to be applied.
    pub fn done(self) -> Done {
        Done { changed: self.changed, events: self.events }
    }

    /// The object as stored.
    pub fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        let key = key(resource, namespace, name);
        let bytes = match self.changed.get(&key) {
            Some(changed) => changed.clone(),
            None => self.objects.read(&key).map_err(ApiError::internal)?,
        };
        bytes.map(|b| parse(&b)).transpose()
    }

    /// Up to `limit` keys with this prefix that are stored before this operation's own changes and not removed
    /// by them, and those it created.
    pub fn keys(&self, prefix: &str, limit: usize) -> Result<Vec<String>, ApiError> {
        let stored = self
            .objects
            .keys(prefix, limit.saturating_add(self.changed.len()))
            .map_err(ApiError::internal)?;
        let mut keys: Vec<String> = stored.into_iter().filter(|k| !self.changed.contains_key(k)).collect();
        keys.extend(
            self.changed.iter().filter(|(k, v)| v.is_some() && k.starts_with(prefix)).map(|(k, _)| k.clone()),
        );
        keys.sort();
        keys.truncate(limit);
        Ok(keys)
    }

    /// Writes an object under its new resourceVersion. `old` is its state before, if it had one.
    /// Gives the object as stored.
    pub fn put(
        &mut self,
        resource: &Resource,
        old: Option<&Value>,
        mut new: Value,
    ) -> Result<Value, ApiError> {
        let now = object::attrs(resource, &new);
        let before = old.map(|o| object::attrs(resource, o)).filter(|b| *b != now);
        let change = if old.is_some() { Change::Modified } else { Change::Added };
        let (key, bytes) = self.stamp(resource, &mut new)?;
        self.record(key.clone(), Head { change, now, before }, bytes.clone());
        self.changed.insert(key, Some(bytes));
        Ok(new)
    }

    /// Removes an object. Gives its last state with the resourceVersion of the removal.
    pub fn delete(&mut self, resource: &Resource, mut last: Value) -> Result<Value, ApiError> {
        let now = object::attrs(resource, &last);
        let (key, bytes) = self.stamp(resource, &mut last)?;
        self.record(key.clone(), Head { change: Change::Deleted, now, before: None }, bytes);
        self.changed.insert(key, None);
        Ok(last)
    }

    fn stamp(&mut self, resource: &Resource, value: &mut Value) -> Result<(String, Bytes), ApiError> {
        self.version += 1;
        object::set_version(value, self.version);
        if nests_deeper_than(value, MAX_DEPTH) {
            return Err(ApiError::bad_request(format!("the object nests deeper than {MAX_DEPTH} levels")));
        }
        let bytes = serde_json::to_vec(value).map_err(ApiError::internal)?;
        if bytes.len() > MAX_BYTES {
            return Err(ApiError::too_large(MAX_BYTES));
        }
        Ok((key(resource, object::namespace(value), object::name(value)), bytes.into()))
    }

    fn record(&mut self, key: String, head: Head, object: Bytes) {
        self.events.push(Arc::new(Event { version: self.version, key, head, object }));
    }
}

/// A stored object, parsed.
pub fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ApiError::internal(format!("a stored object is not readable: {e}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nesting() {
        assert!(!nests_deeper_than(&json!({"a": [1]}), 2));
        assert!(nests_deeper_than(&json!({"a": [1]}), 1));
        assert!(nests_deeper_than(&json!([[[]]]), 2));
    }
}
