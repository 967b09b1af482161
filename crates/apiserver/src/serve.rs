//! The socket: the router behind TLS and bearer tokens, over HTTP/1.1 and HTTP/2.
//!
//! Everything that a client can make the server hold is bounded: connections, requests on each, the time to agree on
//! TLS, to send headers and a body, and to show a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::header;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::status::ApiError;
use crate::{Access, ApiServer, Credentials, Error, handlers};

/// How long requests under way may take to end at shutdown.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's headers, and to show a token after it has connected.
const GREETING: Duration = Duration::from_secs(30);
/// Connections at a time; a further one waits until another ends.
const CONNECTIONS: usize = 1024;
/// Requests, watches among them, that one connection has at a time.
const STREAMS: u32 = 250;
/// How often a quiet client is asked whether it is still there, and how long it may take to say so.
const ARE_YOU_THERE: Duration = Duration::from_secs(30);
/// Pause after a failed accept, which usually means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// See [`ApiServer::serve`].
pub async fn serve(
    server: ApiServer,
    listener: TcpListener,
    credentials: Credentials,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let at = listener.local_addr().map_err(Error::Socket)?;
    if !at.ip().is_loopback() && !credentials.are_for_others() {
        return Err(Error::NotLoopback(at));
    }
    let tls = credentials.tls().map_err(|why| Error::Identity { path: "in memory".into(), why })?;
    let tls = TlsAcceptor::from(Arc::new(tls));
    let router = handlers::router(server, shutdown.clone())
        .layer(middleware::from_fn_with_state(credentials, authenticate));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        // The semaphore is never closed, so there is a place, now or later.
        let accepted = tokio::select! {
            accepted = async { (room.clone().acquire_owned().await, listener.accept().await) } => accepted,
            () = shutdown.cancelled() => break,
        };
        let (place, accepted) = accepted;
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::warn!(error = %e, "the API server cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let watcher = graceful.watcher();
        let known = Known::default();
        let service = TowerToHyperService::new(router.clone().layer(Extension(known.clone())));
        let tls = tls.clone();
        tokio::spawn(async move {
            let _place = place;
            let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(e)) => {
                    tracing::debug!(error = %e, %peer, "a client did not agree on TLS");
                    return;
                }
                Err(_) => {
                    tracing::debug!(%peer, "a client took too long to agree on TLS");
                    return;
                }
            };
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(GREETING);
            builder
                .http2()
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .keep_alive_interval(ARE_YOU_THERE)
                .keep_alive_timeout(ARE_YOU_THERE);
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            tokio::select! {
                ended = watcher.watch(connection) => if let Err(e) = ended {
                    // A client that hangs up in the middle of a watch is no event.
                    tracing::debug!(error = %e, %peer, "an API connection ended");
                },
                () = known.nobody() => tracing::debug!(%peer, "a client that showed no token was cut off"),
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(LAST_REQUESTS, graceful.shutdown()).await.is_err() {
        tracing::warn!("some API requests were still under way at shutdown and were cut off");
    }
    Ok(())
}

/// Has somebody with a token spoken on this connection? Strangers do not get to keep one.
#[derive(Debug, Clone, Default)]
struct Known(Arc<AtomicBool>);

impl Known {
    /// Ends if nobody has by the time that a client has for it.
    async fn nobody(&self) {
        tokio::time::sleep(GREETING).await;
        if self.0.load(Ordering::Acquire) {
            std::future::pending().await
        }
    }
}

async fn authenticate(State(known): State<Credentials>, mut request: Request, next: Next) -> Response {
    // Health is for anybody, as on a real API server: it tells nothing but that the process lives.
    if matches!(request.uri().path(), "/healthz" | "/livez" | "/readyz") {
        return next.run(request).await;
    }
    let sent = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.as_bytes().split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, token)| token);
    let access = sent.and_then(|sent| {
        [Access::Everything, Access::ReadOnly].into_iter().find(|a| equal(sent, known.token_for(*a).expose()))
    });
    match access {
        Some(access) => {
            if let Some(Known(seen)) = request.extensions().get() {
                seen.store(true, Ordering::Release);
            }
            request.extensions_mut().insert(access);
            next.run(request).await
        }
        None => ApiError::unauthorized().into_response(),
    }
}

/// Compares without telling by its time how much is right; only the length may show.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |d, (x, y)| std::hint::black_box(d | (x ^ y)));
    a.len() == b.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_compare_whole() {
        assert!(equal(b"abc", b"abc"));
        for wrong in [&b""[..], b"ab", b"abd", b"abcd"] {
            assert!(!equal(wrong, b"abc"));
        }
    }
}
