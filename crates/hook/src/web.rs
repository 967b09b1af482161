//! The HTTP side: who may say what, in Prow's order, codes and words (prow-runtime §2.1, §2.6).

use crate::Hook;
use crate::error::Error;
use crate::journal::{Accepted, Delivery};
use crate::metrics;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::LengthLimitError;
use prow_github::webhook::{Rejection, validate};
use prow_service::clock::SharedClock;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

const PLUGIN_HELP: &str = "/plugin-help";
/// GitHub sends at most this.
const LARGEST_PAYLOAD: usize = 25 << 20;
/// GitHub itself waits ten seconds for our answer.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// Refuses paths that [`router`] cannot route.
pub(crate) fn check_path(path: &str) -> Result<(), Error> {
    let why = if !path.starts_with('/') {
        "it does not begin with a slash"
    } else if path == PLUGIN_HELP {
        "the help of the plugins is there"
    } else if path.contains(['{', '}', '*', '?', '#']) {
        "it contains one of { } * ? #"
    } else {
        return Ok(());
    };
    Err(Error::WebhookPath { path: path.to_owned(), why })
}

pub(crate) fn router(hook: Hook) -> Router {
    Router::new()
        .route(&hook.inner.options.webhook_path, any(webhook))
        .route(PLUGIN_HELP, any(plugin_help))
        // An older kind of health check asks for any path.
        .fallback(|| async { StatusCode::OK })
        .with_state(hook)
}

/// As Go's `http.Error`.
fn refuse(status: StatusCode, text: &str) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, format!("{text}\n")).into_response()
}

fn rejected(rejection: &Rejection, guid: &str) -> Response {
    tracing::debug!(event_guid = guid, %rejection, "refused a webhook");
    refuse(rejection.status(), &rejection.to_string())
}

async fn webhook(State(hook): State<Hook>, request: Request<Body>) -> Response {
    let answer = answer(hook, request).await;
    metrics::answered(answer.status());
    answer
}

async fn answer(hook: Hook, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let secrets = hook.inner.hmac.secrets();
    let guid = head.headers.get("x-github-delivery").and_then(|v| v.to_str().ok()).unwrap_or_default();
    // Everything that the headers decide comes before the body is read: an empty one is no payload.
    match validate(&head.method, &head.headers, b"", &secrets) {
        Ok(_) | Err(Rejection::Payload) => {}
        Err(rejection) => return rejected(&rejection, guid),
    }
    let payload = match read(body, hook.inner.work.clock(), guid).await {
        Ok(payload) => payload,
        Err(refusal) => return refusal,
    };
    let genuine = match validate(&head.method, &head.headers, &payload, &secrets) {
        Ok(genuine) => genuine,
        Err(rejection) => return rejected(&rejection, guid),
    };
    metrics::webhook(&genuine.event_type);
    accept(&hook, genuine, &head.headers, payload).await
}

/// The whole body, or the answer to one that is too large, breaks off or takes too long: until it is whole, nobody has
/// shown that they may say anything.
async fn read(body: Body, clock: &SharedClock, guid: &str) -> Result<Bytes, Response> {
    let unreadable = || {
        refuse(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error: Failed to read request body")
    };
    let read = tokio::select! {
        read = axum::body::to_bytes(body, LARGEST_PAYLOAD) => read,
        () = clock.sleep(READ_WITHIN) => {
            tracing::warn!(event_guid = guid, within = ?READ_WITHIN, "a webhook's body did not come in time");
            return Err(unreadable());
        }
    };
    match read {
        Ok(payload) => Ok(payload),
        Err(error) if error.source().is_some_and(|s| s.is::<LengthLimitError>()) => {
            let text = format!("413 Payload Too Large: Hook accepts at most {LARGEST_PAYLOAD} bytes");
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &text))
        }
        Err(error) => {
            tracing::warn!(event_guid = guid, %error, "could not read a webhook");
            Err(unreadable())
        }
    }
}

/// Keeps a genuine event, then says so.
async fn accept(
    hook: &Hook,
    genuine: prow_github::webhook::Delivery,
    headers: &HeaderMap,
    payload: Bytes,
) -> Response {
    const RECEIVED: &str = "Event received. Have a nice day.";
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let delivery = Arc::new(Delivery {
        guid: genuine.guid,
        event: genuine.event_type,
        received: hook.inner.work.now(),
        headers: headers.iter().filter_map(text).collect(),
        payload,
    });
    if !hook.inner.work.is_for_somebody(&delivery) {
        tracing::debug!(
            event_type = delivery.event,
            event_guid = delivery.guid,
            "nobody handles this type of event; ignoring it"
        );
        return RECEIVED.into_response();
    }
    match hook.inner.journal.accept(Arc::clone(&delivery)).await {
        Ok(Accepted::New(_)) => RECEIVED.into_response(),
        Ok(Accepted::StillOpen(seq)) => {
            tracing::info!(
                event_guid = delivery.guid,
                seq,
                "delivered again while it is still being handled"
            );
            RECEIVED.into_response()
        }
        Err(error) => {
            tracing::error!(event_guid = delivery.guid, %error, "a webhook is lost unless it is delivered again");
            refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                "500 Internal Server Error: The event could not be kept; deliver it again",
            )
        }
    }
}

async fn plugin_help(State(hook): State<Hook>, method: Method) -> Response {
    if method != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "405 Method not allowed");
    }
    let help = hook.inner.help.help().await;
    ([(CACHE_CONTROL, "no-cache")], Json(help)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let clock = prow_service::clock::ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let shared = clock.shared();
        let never = Body::from_stream(futures::stream::pending::<std::io::Result<Bytes>>());
        let reading = tokio::spawn(async move { read(never, &shared, "guid").await });
        while !reading.is_finished() {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        let refusal = reading.await.unwrap().unwrap_err();
        assert_eq!(refusal.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn only_paths_that_can_be_routed_are_taken() {
        for (path, fine) in [
            ("/hook", true),
            ("/", true),
            ("/a/b", true),
            ("hook", false),
            ("", false),
            ("/plugin-help", false),
            ("/{x}", false),
        ] {
            assert_eq!(check_path(path).is_ok(), fine, "{path}");
            if fine {
                // Panics on paths that it cannot route.
                let _ = Router::<()>::new().route(path, any(|| async {}));
            }
        }
    }
}
