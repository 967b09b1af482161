//! Watches: the present state if it is asked for, then every event once and in order, until the time is up.
//!
//! A watcher owns a cursor and reads what came after it, from the ring of recent events or from the events table.
//! Nothing is queued for it, so a slow watcher costs nothing and misses nothing; one that falls behind the history
//! is told 410 and has to list again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Clock;
use crate::list::{self, CHUNK, Flow, Scan, Scope};
use crate::object;
use crate::request::{self, Format, Query};
use crate::status::ApiError;
use crate::store::event::{Change, Event};
use crate::store::tx::parse;
use crate::store::{SinceError, Snapshot, Store, StoreError, split_key};
use crate::table;

/// Events read at once.
const BATCH: usize = 256;
/// How often an idle watcher learns how far it has come.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch lasts that does not say it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);

struct Watch {
    store: Store,
    scope: Scope,
    prefix: String,
    clock: Clock,
    head: watch::Receiver<u64>,
    /// Everything up to here has been told.
    cursor: u64,
    /// The present state, while it is being told.
    initial: Option<mpsc::Receiver<Result<Bytes, io::Error>>>,
    /// The end of the present state is to be marked (`sendInitialEvents`).
    mark_initial: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    stop: CancellationToken,
    done: bool,
}

/// Answers a watch request. `stop` ends it early.
pub fn start(
    store: &Store,
    scope: Scope,
    query: &Query,
    clock: Clock,
    stop: CancellationToken,
) -> Result<Response, ApiError> {
    let bookmarks = query.flag("allowWatchBookmarks")?;
    let initial_asked = query.flag("sendInitialEvents")?;
    request::check_list_options(query, true)?;
    // Without a version a watch begins with what is there, unless that is asked away.
    let initial_declined = !initial_asked && !query.get("sendInitialEvents").is_empty();
    let head = store.head();
    let snapshot = store.snapshot().map_err(ApiError::internal)?;
    let asked = query.version()?;
    if let Some(asked) = asked.filter(|a| *a > snapshot.version) {
        return Err(ApiError::too_large_version(asked, snapshot.version));
    }
    let timeout =
        query.number("timeoutSeconds")?.filter(|s| *s > 0).map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let now = Instant::now();
    let mut watch = Watch {
        store: store.clone(),
        prefix: scope.prefix(),
        scope,
        clock,
        head,
        cursor: asked.unwrap_or(snapshot.version),
        initial: None,
        mark_initial: initial_asked && bookmarks,
        bookmarks,
        next_bookmark: now + BOOKMARK_EVERY,
        // A timeout beyond what the clock can count is as good as none.
        deadline: now.checked_add(timeout).unwrap_or(now + DEFAULT_TIMEOUT),
        stop,
        done: false,
    };
    match asked {
        Some(asked) if !initial_asked => {
            if asked < snapshot.oldest {
                // As Kubernetes does: the answer is 200, and the refusal its first and only event.
                watch.cursor = asked;
            }
        }
        None if initial_declined => {}
        _ => {
            watch.cursor = snapshot.version;
            watch.initial = Some(watch.present(snapshot));
        }
    }
    let stream =
        futures::stream::unfold(
            watch,
            |mut watch| async move { watch.next().await.map(|chunk| (chunk, watch)) },
        );
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

impl Watch {
    /// Sends the present state as ADDED events, at the client's pace.
    fn present(&self, snapshot: Snapshot) -> mpsc::Receiver<Result<Bytes, io::Error>> {
        let mut scan = Scan::new(Arc::new(snapshot), self.scope.clone(), None);
        let now = (self.clock)();
        list::stream(move |out| {
            scan.step(|scope, _, object| {
                line(scope, "ADDED", object, now, out)?;
                Ok(if out.len() < CHUNK { Flow::Next } else { Flow::Pause })
            })
        })
    }

    /// The next piece of the body; `None` at its end.
    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        loop {
            if self.done {
                return None;
            }
            if Instant::now() >= self.deadline {
                return self.finish();
            }
            if let Some(initial) = &mut self.initial {
                let chunk = tokio::select! {
                    chunk = initial.recv() => chunk,
                    () = self.stop.cancelled() => return None,
                    () = tokio::time::sleep_until(self.deadline) => return None,
                };
                match chunk {
                    Some(chunk) => {
                        self.done = chunk.is_err();
                        return Some(chunk);
                    }
                    None => {
                        self.initial = None;
                        if self.mark_initial {
                            return Some(Ok(self.bookmark(true)));
                        }
                    }
                }
            }
            match self.store.since(self.cursor, BATCH).await {
                Ok(events) => {
                    if let Some(last) = events.last() {
                        self.cursor = last.version;
                        match self.lines(&events) {
                            Ok(lines) if lines.is_empty() => continue,
                            Ok(lines) => return Some(Ok(lines)),
                            Err(e) => return Some(Ok(self.error(&ApiError::internal(e)))),
                        }
                    }
                }
                Err(SinceError::Compacted { oldest }) => {
                    return Some(Ok(self.error(&ApiError::expired(self.cursor, oldest))));
                }
                Err(SinceError::Store(e)) => return Some(Ok(self.error(&ApiError::internal(e)))),
            }
            let cursor = self.cursor;
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.deadline) => return self.finish(),
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    return Some(Ok(self.bookmark(false)));
                }
                open = async { self.head.wait_for(|version| *version > cursor).await.is_ok() } => {
                    if !open {
                        return None;
                    }
                }
            }
        }
    }

    /// The time is up: one last bookmark, so that the client resumes from here.
    fn finish(&mut self) -> Option<Result<Bytes, io::Error>> {
        self.done = true;
        (self.bookmarks && self.initial.is_none()).then(|| Ok(self.bookmark(false)))
    }

    fn lines(&self, events: &[Arc<Event>]) -> Result<Bytes, StoreError> {
        let mut out = Vec::new();
        let now = (self.clock)();
        for event in events {
            if let Some(seen) = see(&self.scope, &self.prefix, event) {
                match seen.last_labels {
                    None => line(&self.scope, seen.kind, &event.object, now, &mut out)?,
                    Some(labels) => {
                        let mut object =
                            parse(&event.object).map_err(|e| StoreError::Record(e.to_string()))?;
                        object::set_meta(&mut object, "labels", labels);
                        line(&self.scope, seen.kind, object.to_string().as_bytes(), now, &mut out)?;
                    }
                }
            }
        }
        Ok(out.into())
    }

    fn bookmark(&self, initial_end: bool) -> Bytes {
        let mut meta = json!({"resourceVersion": self.cursor.to_string(), "creationTimestamp": null});
        if initial_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let resource = self.scope.resource;
        let object = match self.scope.format {
            Format::Object => {
                json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": meta})
            }
            Format::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
            }
            Format::Table(_) => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "rows": [],
                "columnDefinitions": table::definitions(resource),
            }),
        };
        Bytes::from(format!("{}\n", json!({"type": "BOOKMARK", "object": object})))
    }

    /// An ERROR event, which ends the watch.
    fn error(&mut self, e: &ApiError) -> Bytes {
        self.done = true;
        Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": e.status()})))
    }
}

/// How an event looks to a watcher.
#[derive(Debug, PartialEq)]
struct Seen {
    kind: &'static str,
    /// The object left the selection: the client gets it with the labels under which it knew it.
    last_labels: Option<Value>,
}

/// `None` if the watcher does not get to see the event.
fn see(scope: &Scope, prefix: &str, event: &Event) -> Option<Seen> {
    if !event.key.starts_with(prefix) {
        return None;
    }
    let (namespace, name) = split_key(&event.key);
    if !scope.selector.matches_key(namespace, name) {
        return None;
    }
    let head = &event.head;
    let now = scope.selector.matches_attrs(&head.now);
    let plain = |kind| Some(Seen { kind, last_labels: None });
    match head.change {
        Change::Added if now => plain("ADDED"),
        Change::Deleted if now => plain("DELETED"),
        Change::Added | Change::Deleted => None,
        Change::Modified => {
            let before = head.before.as_ref().map_or(now, |b| scope.selector.matches_attrs(b));
            match (before, now) {
                (false, true) => plain("ADDED"),
                (true, true) => plain("MODIFIED"),
                (true, false) => {
                    Some(Seen { kind: "DELETED", last_labels: head.before.as_ref().map(|b| json!(b.labels)) })
                }
                (false, false) => None,
            }
        }
    }
}

fn line(
    scope: &Scope,
    kind: &str,
    object: &[u8],
    now: Timestamp,
    out: &mut Vec<u8>,
) -> Result<(), StoreError> {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    scope.write_single(object, now, out)?;
    out.extend_from_slice(b"}\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::find;
    use crate::selector::Selector;
    use crate::store::event::{Attrs, Head};

    #[test]
    fn selector_transitions() {
        let resource = find("", "v1", "pods").unwrap();
        let scope = Scope {
            resource,
            namespace: Some("n".into()),
            selector: Selector::parse(resource, "a=1", "status.phase!=Failed").unwrap(),
            format: Format::Object,
        };
        let attrs = |label: &str, phase: &str| Attrs {
            labels: [("a".to_owned(), label.to_owned())].into(),
            fields: [("status.phase".to_owned(), phase.to_owned())].into(),
        };
        let (inside, relabelled, failed) =
            (attrs("1", "Running"), attrs("2", "Running"), attrs("1", "Failed"));
        for (change, before, now, expected) in [
            (Change::Added, None, &inside, Some("ADDED")),
            (Change::Added, None, &relabelled, None),
            (Change::Modified, None, &inside, Some("MODIFIED")),
            (Change::Modified, Some(&relabelled), &inside, Some("ADDED")),
            (Change::Modified, Some(&inside), &relabelled, Some("DELETED")),
            (Change::Modified, Some(&inside), &failed, Some("DELETED")),
            (Change::Modified, Some(&failed), &relabelled, None),
            (Change::Modified, None, &relabelled, None),
            (Change::Deleted, None, &inside, Some("DELETED")),
            (Change::Deleted, None, &failed, None),
        ] {
            let event = Event {
                version: 9,
                key: "pods\0n\0p".into(),
                head: Head { change, now: now.clone(), before: before.cloned() },
                object: Bytes::new(),
            };
            let seen = see(&scope, &scope.prefix(), &event);
            assert_eq!(seen.as_ref().map(|s| s.kind), expected, "{change:?} {before:?} {now:?}");
            if before == Some(&inside) {
                assert_eq!(seen.unwrap().last_labels, Some(json!({"a": "1"})));
            }
            let elsewhere = Event { key: "pods\0n2\0p".into(), ..event };
            assert!(see(&scope, &scope.prefix(), &elsewhere).is_none());
        }
    }
}
