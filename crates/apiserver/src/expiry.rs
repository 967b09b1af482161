//! Core events do not stay: an hour after they were last written they go, as on a real API server.
//!
//! Whoever creates events pays for it: every so many of them, the old ones are looked for.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::ApiServer;
use crate::resources::find;
use crate::status::ApiError;
use crate::store::{prefix, split_key};
use crate::write::{self, DeleteOptions};

/// How long an event stays.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// Creates between two sweeps.
const EVERY: u64 = 256;
/// Events that one operation deletes.
const CHUNK: usize = 200;

/// Counts the events created, so that the first and every so many after it start a sweep.
#[derive(Debug, Default)]
pub struct Sweeps(AtomicU64);

impl Sweeps {
    /// Counts one; true if it is time.
    pub fn is_due(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVERY)
    }
}

/// The last time that an event was written, as far as it says so itself.
fn last_written(event: &Value) -> Option<Timestamp> {
    [&event["metadata"]["creationTimestamp"], &event["lastTimestamp"], &event["series"]["lastObservedTime"]]
        .into_iter()
        .filter_map(|t| t.as_str()?.parse().ok())
        .max()
}

fn is_over(event: &Value, now: Timestamp) -> bool {
    last_written(event).is_some_and(|at| now.duration_since(at) > LIFETIME)
}

/// Deletes the events that are over.
pub async fn sweep(server: ApiServer) {
    let now = server.now();
    let found = {
        let server = server.clone();
        tokio::task::spawn_blocking(move || over(&server, now)).await
    };
    let outcome = match found {
        Ok(Ok(keys)) => delete(&server, &keys, now).await,
        Ok(Err(e)) => Err(e),
        Err(e) => Err(ApiError::internal(e)),
    };
    if let Err(e) = outcome {
        tracing::warn!(error = %e, "old events could not be cleaned up; the next sweep tries again");
    }
}

fn over(server: &ApiServer, now: Timestamp) -> Result<Vec<String>, ApiError> {
    let events = find("", "v1", "events").ok_or_else(ApiError::no_such_path)?;
    let snapshot = server.inner.store.snapshot().map_err(ApiError::internal)?;
    let mut keys = Vec::new();
    snapshot
        .scan(&prefix(events, None), None, |key, event| {
            if serde_json::from_slice(event).is_ok_and(|event| is_over(&event, now)) {
                keys.push(key.to_owned());
            }
            true
        })
        .map_err(ApiError::internal)?;
    Ok(keys)
}

async fn delete(server: &ApiServer, keys: &[String], now: Timestamp) -> Result<(), ApiError> {
    let events = find("", "v1", "events").ok_or_else(ApiError::no_such_path)?;
    for chunk in keys.chunks(CHUNK) {
        let chunk = chunk.to_vec();
        server
            .inner
            .store
            .write(move |tx| {
                for key in &chunk {
                    let (namespace, name) = split_key(key);
                    // It may have been written again, or be gone.
                    if tx.get(events, namespace, name)?.is_some_and(|event| is_over(&event, now)) {
                        write::delete(tx, events, (namespace, name), &DeleteOptions::default(), now)?;
                    }
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_over_an_hour_after_its_last_write() {
        let now: Timestamp = "2026-11-22T07:00:00Z".parse().unwrap();
        for (event, over) in [
            (json!({"metadata": {"creationTimestamp": "2026-11-22T05:59:59Z"}}), true),
            (json!({"metadata": {"creationTimestamp": "2026-11-22T06:00:00Z"}}), false),
            (
                json!({"metadata": {"creationTimestamp": "2026-11-22T01:00:00Z"}, "lastTimestamp": "2026-11-22T06:30:00Z"}),
                false,
            ),
            (json!({"metadata": {}}), false),
        ] {
            assert_eq!(is_over(&event, now), over, "{event}");
        }
    }

    #[test]
    fn the_first_create_sweeps_and_then_every_so_many() {
        let sweeps = Sweeps::default();
        let due: Vec<u64> = (0..=EVERY).filter(|_| sweeps.is_due()).collect();
        assert_eq!(due, [0, EVERY]);
    }
}
