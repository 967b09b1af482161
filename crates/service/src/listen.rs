//! Listening sockets: errors that say what to do, and serving until told to stop.

use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A socket that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {what}: {hint}")]
pub struct ListenError {
    /// For what.
    pub what: String,
    /// Where.
    pub address: SocketAddr,
    /// Why, and what to do.
    pub hint: String,
}

/// Binds `address` for `what` (named in the error).
pub async fn bind(what: &str, flag: &str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|error| ListenError {
        what: what.to_owned(),
        address,
        hint: match error.kind() {
            ErrorKind::AddrInUse => {
                format!("another process uses that port. Stop it, or choose another with {flag} (0 takes any free one)")
            }
            ErrorKind::PermissionDenied => {
                format!("this user may not use that port. Choose one above 1023 with {flag}")
            }
            ErrorKind::AddrNotAvailable => format!("this machine has no such address. Choose another with {flag}"),
            _ => error.to_string(),
        },
    })
}

/// Serves until `stop` is cancelled, then lets requests under way end.
pub async fn serve(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_said_with_what_to_do() {
        let first = bind("webhooks", "--port", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let error = bind("webhooks", "--port", first.local_addr().unwrap()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("another process uses that port") && text.contains("--port"), "{text}");
    }
}
