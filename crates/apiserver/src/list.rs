//! Lists: a snapshot, streamed object by object, so that memory does not grow with what is listed.
//!
//! A page that continues another one reads the present, not the past, and carries the resourceVersion of the first
//! page: a client that watches from there sees every later change, some of them a second time. A continuation whose
//! first page is older than the history is answered with 410, as by Kubernetes.

use std::collections::BTreeMap;
use std::io;
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
use crate::request::{Format, Query, Target};
use crate::resources::Resource;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::event::Attrs;
use crate::store::{Snapshot, Store, StoreError, prefix, split_key};
use crate::table;

/// Size at which a chunk is handed on.
const CHUNK: usize = 32 << 10;
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
    /// resourceVersion of the first page.
    v: u64,
    /// Last key of the page before.
    k: String,
}

/// Chunks of a body, made by a blocking task and taken at the client's pace.
pub struct Chunks {
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
    buffer: Vec<u8>,
}

/// The client went away or takes nothing.
pub struct Stopped;

impl Chunks {
    /// The writing and the reading end.
    pub fn channel() -> (Chunks, mpsc::Receiver<Result<Bytes, io::Error>>) {
        let (sender, receiver) = mpsc::channel(4);
        (Chunks { sender, buffer: Vec::with_capacity(CHUNK + 4096) }, receiver)
    }

    /// Adds to the body what `write` appends.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Stopped> {
        write(&mut self.buffer);
        if self.buffer.len() < CHUNK { Ok(()) } else { self.flush() }
    }

    /// Hands on what there is. Only for blocking tasks.
    pub fn flush(&mut self) -> Result<(), Stopped> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK + 4096)));
        self.send(Ok(chunk))
    }

    fn send(&self, chunk: Result<Bytes, io::Error>) -> Result<(), Stopped> {
        let sent = match self.sender.try_send(chunk) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stopped),
            Err(mpsc::error::TrySendError::Full(chunk)) => tokio::runtime::Handle::current()
                .block_on(async { self.sender.send_timeout(chunk, STALLED).await }),
        };
        sent.map_err(|_| Stopped)
    }

    /// Breaks the body off, so that the client does not take it for whole.
    pub fn fail(self, e: impl std::fmt::Display) {
        tracing::error!(error = %e, "a response was broken off");
        // If the client is gone as well, there is nobody left to tell.
        let _ = self.send(Err(io::Error::other(e.to_string())));
    }
}

/// Answers a list request.
pub fn list(store: &Store, scope: Scope, query: &Query, now: Timestamp) -> Result<Response, ApiError> {
    let snapshot = store.snapshot().map_err(ApiError::internal)?;
    let limit = query.number("limit")?.filter(|l| *l > 0);
    let (version, after) = start(&snapshot, &scope, query)?;
    let (chunks, receiver) = Chunks::channel();
    tokio::task::spawn_blocking(move || {
        produce(&snapshot, &scope, version, after.as_deref(), limit, now, chunks)
    });
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(receiver)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The resourceVersion to report and the key to start after.
fn start(snapshot: &Snapshot, scope: &Scope, query: &Query) -> Result<(u64, Option<String>), ApiError> {
    let token = query.get("continue");
    if !token.is_empty() {
        let read =
            URL_SAFE_NO_PAD.decode(token).ok().and_then(|t| serde_json::from_slice::<Continue>(&t).ok());
        let at = read
            .filter(|c| c.k.starts_with(&scope.prefix()))
            .ok_or_else(|| ApiError::bad_request("continue key is not valid for this list"))?;
        if at.v < snapshot.oldest {
            return Err(ApiError::expired(at.v, snapshot.oldest));
        }
        return Ok((at.v, Some(at.k)));
    }
    let asked = query.version()?;
    match (query.get("resourceVersionMatch"), asked) {
        ("" | "NotOlderThan", Some(asked)) if asked > snapshot.version => {
            Err(ApiError::too_large_version(asked, snapshot.version))
        }
        ("Exact", Some(asked)) if asked > snapshot.version => {
            Err(ApiError::too_large_version(asked, snapshot.version))
        }
        ("Exact", Some(asked)) if asked < snapshot.version => {
            // Old states are not kept, only what changed since.
            Err(ApiError::expired(asked, snapshot.version))
        }
        ("" | "NotOlderThan", _) | ("Exact", Some(_)) => Ok((snapshot.version, None)),
        (other, _) => Err(ApiError::bad_request(format!(
            "resourceVersionMatch: {other:?} is not allowed with resourceVersion {:?}",
            query.get("resourceVersion")
        ))),
    }
}

fn produce(
    snapshot: &Snapshot,
    scope: &Scope,
    version: u64,
    after: Option<&str>,
    limit: Option<u64>,
    now: Timestamp,
    mut chunks: Chunks,
) {
    let head = scope.head().to_string();
    let items = if matches!(scope.format, Format::Table(_)) { "rows" } else { "items" };
    // The head is an object without its closing brace; what varies comes after the items.
    let open = format!("{},\"{items}\":[", head.strip_suffix('}').unwrap_or(&head));
    let mut outcome = chunks.add(|out| out.extend_from_slice(open.as_bytes()));
    let (mut taken, mut last, mut more) = (0_u64, String::new(), false);
    let mut failure: Option<StoreError> = None;
    let scanned = snapshot.scan(&scope.prefix(), after, |key, object| {
        if outcome.is_err() {
            return false;
        }
        match scope.matches(key, object) {
            Ok(false) => return true,
            Ok(true) => {}
            Err(e) => {
                failure = Some(e);
                return false;
            }
        }
        if limit.is_some_and(|l| taken >= l) {
            more = true;
            return false;
        }
        let mut written = Ok(());
        outcome = chunks.add(|out| {
            if taken > 0 {
                out.push(b',');
            }
            written = scope.write_item(object, now, out);
        });
        taken += 1;
        if limit.is_some() {
            key.clone_into(&mut last);
        }
        failure = written.err();
        failure.is_none()
    });
    if let Some(e) = failure.or(scanned.err()) {
        chunks.fail(e);
        return;
    }
    let mut meta = json!({"resourceVersion": version.to_string()});
    if more {
        match serde_json::to_vec(&Continue { v: version, k: last }) {
            Ok(token) => meta["continue"] = Value::from(URL_SAFE_NO_PAD.encode(token)),
            Err(e) => {
                chunks.fail(e);
                return;
            }
        }
    }
    let end = format!("],\"metadata\":{meta}}}\n");
    let ended = outcome
        .and_then(|()| chunks.add(|out| out.extend_from_slice(end.as_bytes())))
        .and_then(|()| chunks.flush());
    if ended.is_err() {
        tracing::debug!(resource = scope.resource.plural, "the client went away during a list");
    }
}
