//! Lists: a snapshot, streamed object by object, so that memory does not grow with what is listed.
//!
//! A page that continues another one reads the same snapshot, which the store keeps for it, and carries its
//! resourceVersion. A continuation whose snapshot is gone (it is older than the history, too many others came since, the
//! store's file was compacted, or the server was started again) is answered with 410, as by Kubernetes: the client lists
//! again, or takes the token in that answer, which goes on behind the same object in what is there by then.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::object;
use crate::request::{self, Format, Query, Target};
use crate::resources::Resource;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::event::Attrs;
use crate::store::{Snapshot, Store, StoreError, key, prefix, split_key};
use crate::table;

/// Size at which a piece of a body is handed on.
pub const CHUNK: usize = 32 << 10;
/// Objects that one step looks at, so that none takes long.
const STEP: usize = 2000;
/// A client that takes no chunk for this long is given up, since its snapshot keeps old pages alive.
const STALLED: Duration = Duration::from_secs(60);

/// Which objects, in which shape: what lists and watches share.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The kind.
    pub resource: &'static Resource,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Which of them.
    pub selector: Selector,
    /// In which shape.
    pub format: Format,
}

#[derive(Deserialize)]
struct Labelled {
    metadata: Labels,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

fn unreadable(e: serde_json::Error) -> StoreError {
    StoreError::Record(format!("a stored object: {e}"))
}

impl Scope {
    /// Reads path and query.
    pub fn of(target: &Target, query: &Query, format: Format) -> Result<Scope, ApiError> {
        Ok(Scope {
            resource: target.resource,
            namespace: Some(target.namespace.clone())
                .filter(|ns| target.resource.namespaced && !ns.is_empty()),
            selector: query.selector(target.resource)?,
            format,
        })
    }

    /// Prefix of the keys.
    pub fn prefix(&self) -> String {
        prefix(self.resource, self.namespace.as_deref())
    }

    /// Does a stored object belong to it? Looks no deeper into the object than the selector does.
    pub fn matches(&self, key: &str, object: &[u8]) -> Result<bool, StoreError> {
        let (namespace, name) = split_key(key);
        if !self.selector.matches_key(namespace, name) {
            return Ok(false);
        }
        if !self.selector.needs_attrs() {
            return Ok(true);
        }
        let attrs = if self.selector.needs_fields() {
            object::attrs(self.resource, &serde_json::from_slice(object).map_err(unreadable)?)
        } else {
            let found: Labelled = serde_json::from_slice(object).map_err(unreadable)?;
            Attrs { labels: found.metadata.labels.unwrap_or_default(), ..Attrs::default() }
        };
        Ok(self.selector.matches_attrs(&attrs))
    }

    /// Writes an object as an item of a list: as it is, as metadata, or as a row.
    fn write_item(&self, object: &[u8], now: Timestamp, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let shaped = match self.format {
            Format::Object => {
                out.extend_from_slice(object);
                return Ok(());
            }
            Format::Metadata => table::partial(&serde_json::from_slice(object).map_err(unreadable)?),
            Format::Table(include) => {
                let object = serde_json::from_slice(object).map_err(unreadable)?;
                table::row(self.resource, &object, include, now)
            }
        };
        serde_json::to_writer(out, &shaped).map_err(unreadable)
    }

    /// Writes an object as the answer of a get or the object of a watch event.
    pub fn write_single(&self, object: &[u8], now: Timestamp, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let shaped = match self.format {
            Format::Object => {
                out.extend_from_slice(object);
                return Ok(());
            }
            Format::Metadata => table::partial(&serde_json::from_slice(object).map_err(unreadable)?),
            Format::Table(include) => {
                let object = serde_json::from_slice(object).map_err(unreadable)?;
                table::single(self.resource, &object, include, now)
            }
        };
        serde_json::to_writer(out, &shaped).map_err(unreadable)
    }

    fn head(&self) -> Value {
        match self.format {
            Format::Object => {
                json!({"kind": format!("{}List", self.resource.kind), "apiVersion": self.resource.api_version()})
            }
            Format::Metadata => json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}),
            Format::Table(_) => json!({
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "columnDefinitions": table::definitions(self.resource),
            }),
        }
    }
}

/// Where a list goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    /// resourceVersion of the first page; 0 to go on in what is there now.
    v: u64,
    /// Last key of the page before.
    k: String,
    /// How many objects are left behind it, where that was counted.
    #[serde(default)]
    n: Option<u64>,
}

impl Continue {
    fn token(&self) -> Result<String, ApiError> {
        Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).map_err(ApiError::internal)?))
    }
}

/// What comes of looking at one object.
pub enum Flow {
    /// On to the next.
    Next,
    /// Enough for now; the next step goes on behind this object.
    Pause,
    /// Enough for good.
    Stop,
}

/// The objects of a scope in a snapshot, step by step.
pub struct Scan {
    snapshot: Arc<Snapshot>,
    /// Which objects.
    pub scope: Scope,
    /// Everything up to this key has been looked at.
    after: Option<String>,
}

impl Scan {
    /// A scan that begins behind the key `after`, if one is given.
    pub fn new(snapshot: Arc<Snapshot>, scope: Scope, after: Option<String>) -> Scan {
        Scan { snapshot, scope, after }
    }

    /// Calls `each` with the objects that match; a step looks at a bounded number of them. True if there is more.
    pub fn step(
        &mut self,
        mut each: impl FnMut(&Scope, &str, &[u8]) -> Result<Flow, StoreError>,
    ) -> Result<bool, StoreError> {
        // One object by its name needs no search.
        if let (Some(namespace), Some(name)) = (&self.scope.namespace, self.scope.selector.pinned_name()) {
            let key = key(self.scope.resource, namespace, name);
            if self.after.as_ref().is_none_or(|after| *after < key)
                && let Some(object) = self.snapshot.get(&key)?
                && self.scope.matches(&key, &object)?
            {
                each(&self.scope, &key, &object)?;
            }
            return Ok(false);
        }
        let (mut seen, mut last, mut more, mut failure) = (0, String::new(), false, None);
        self.snapshot.scan(&self.scope.prefix(), self.after.as_deref(), |key, object| {
            seen += 1;
            let flow = match self.scope.matches(key, object) {
                Ok(true) => each(&self.scope, key, object),
                Ok(false) => Ok(Flow::Next),
                Err(e) => Err(e),
            };
            match flow {
                Ok(Flow::Next) if seen < STEP => return true,
                Ok(Flow::Next | Flow::Pause) => {
                    more = true;
                    key.clone_into(&mut last);
                }
                Ok(Flow::Stop) => {}
                Err(e) => failure = Some(e),
            }
            false
        })?;
        if let Some(e) = failure {
            return Err(e);
        }
        if more {
            self.after = Some(last);
        }
        Ok(more)
    }
}

/// A body whose pieces `step` makes, one at a time and no faster than the client takes them, away from the threads
/// that serve requests. `step` appends to the buffer and tells whether there is more.
pub fn stream(
    mut step: impl FnMut(&mut Vec<u8>) -> Result<bool, StoreError> + Send + 'static,
) -> mpsc::Receiver<Result<Bytes, io::Error>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let made = tokio::task::spawn_blocking(move || {
                let mut out = Vec::new();
                let more = step(&mut out);
                (step, out, more)
            });
            let failure = match made.await {
                Ok((next, out, Ok(more))) => {
                    step = next;
                    if !out.is_empty() && sender.send_timeout(Ok(out.into()), STALLED).await.is_err() {
                        tracing::debug!("the client of a list or watch went away or takes nothing");
                        return;
                    }
                    if !more {
                        return;
                    }
                    continue;
                }
                Ok((_, _, Err(e))) => e.to_string(),
                Err(e) => e.to_string(),
            };
            tracing::error!(error = %failure, "a list or watch was broken off");
            // The body breaks off, so that the client does not take it for whole; if it is gone, nobody need know.
            let _ = sender.send(Err(io::Error::other(failure))).await;
            return;
        }
    });
    receiver
}

/// Answers a list request.
pub fn list(store: &Store, scope: Scope, query: &Query, now: Timestamp) -> Result<Response, ApiError> {
    let limit = query.number("limit")?.filter(|l| *l > 0);
    let (snapshot, after) = start(store, &scope, query)?;
    let version = snapshot.version;
    let (after, ahead) = after.map_or((None, None), |at| (Some(at.k), at.n));
    let mut page = Page {
        store: store.clone(),
        scan: Scan::new(snapshot, scope, after),
        version,
        limit,
        ahead,
        now,
        opened: false,
        taken: 0,
        last: String::new(),
    };
    let mut response =
        Response::new(Body::from_stream(ReceiverStream::new(stream(move |out| page.step(out)))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The snapshot to read and where to go on in it.
fn start(store: &Store, scope: &Scope, query: &Query) -> Result<(Arc<Snapshot>, Option<Continue>), ApiError> {
    request::check_list_options(query, false)?;
    let snapshot = store.snapshot().map_err(ApiError::internal)?;
    let token = query.get("continue");
    if !token.is_empty() {
        let read =
            URL_SAFE_NO_PAD.decode(token).ok().and_then(|t| serde_json::from_slice::<Continue>(&t).ok());
        let at = read
            .filter(|c| c.k.starts_with(&scope.prefix()))
            .ok_or_else(|| ApiError::bad_request("continue key is not valid for this list"))?;
        if query.version()?.is_some() {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        if at.v == 0 {
            return Ok((Arc::new(snapshot), Some(Continue { n: None, ..at })));
        }
        return match store.pinned(at.v) {
            Some(first) => Ok((first, Some(at))),
            None => Err(ApiError::expired_continue(Continue { v: 0, n: None, ..at }.token()?)),
        };
    }
    let asked = query.version()?;
    match (query.get("resourceVersionMatch"), asked) {
        (_, Some(asked)) if asked > snapshot.version => {
            Err(ApiError::too_large_version(asked, snapshot.version))
        }
        ("Exact", Some(asked)) if asked < snapshot.version => {
            // Old states are not kept, only what changed since.
            Err(ApiError::expired(asked, snapshot.version))
        }
        _ => Ok((Arc::new(snapshot), None)),
    }
}

/// A list in the making.
struct Page {
    store: Store,
    scan: Scan,
    version: u64,
    limit: Option<u64>,
    /// How many objects the page before has left, if it said so.
    ahead: Option<u64>,
    now: Timestamp,
    opened: bool,
    taken: u64,
    /// Key of the last object taken, if there is a limit.
    last: String,
}

impl Page {
    fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, StoreError> {
        if !self.opened {
            self.opened = true;
            let head = self.scan.scope.head().to_string();
            let items = if matches!(self.scan.scope.format, Format::Table(_)) { "rows" } else { "items" };
            // An object without its closing brace: what is known only at the end comes after the items.
            out.extend_from_slice(head.strip_suffix('}').unwrap_or(&head).as_bytes());
            out.extend_from_slice(format!(",\"{items}\":[").as_bytes());
        }
        let (limit, now) = (self.limit, self.now);
        let (taken, last, mut full) = (&mut self.taken, &mut self.last, false);
        let more = self.scan.step(|scope, key, object| {
            if limit.is_some_and(|limit| *taken >= limit) {
                full = true;
                return Ok(Flow::Stop);
            }
            if *taken > 0 {
                out.push(b',');
            }
            scope.write_item(object, now, out)?;
            *taken += 1;
            if limit.is_some() {
                key.clone_into(last);
            }
            Ok(if out.len() < CHUNK { Flow::Next } else { Flow::Pause })
        })?;
        if !more {
            let mut meta = json!({"resourceVersion": self.version.to_string()});
            if full {
                self.store.pin(self.scan.snapshot.clone());
                let scope = &self.scan.scope;
                let mut left = None;
                if scope.selector == Selector::default() {
                    // Counted once for all pages: they are of one snapshot.
                    left = Some(match self.ahead {
                        Some(ahead) => ahead.saturating_sub(self.taken),
                        None => self.scan.snapshot.count(&scope.prefix(), &self.last)? as u64,
                    });
                    meta["remainingItemCount"] = json!(left);
                }
                let next = Continue { v: self.version, k: std::mem::take(&mut self.last), n: left };
                meta["continue"] = Value::from(next.token().map_err(|e| StoreError::Record(e.message))?);
            }
            out.extend_from_slice(format!("],\"metadata\":{meta}}}\n").as_bytes());
        }
        Ok(more)
    }
}
