//! Ports that a person can remember, when they are free.

use prow_service::listen::{self, ListenError};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// How to choose a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// This one and no other; 0 is any free one.
    Exactly(u16),
    /// This one if it is free, else any.
    Prefer(u16),
}

/// Listens on the loopback address.
pub async fn loopback(what: &str, flag: &str, port: Port) -> Result<TcpListener, ListenError> {
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    match port {
        Port::Exactly(port) => listen::bind(what, flag, at(port)).await,
        Port::Prefer(port) => match listen::bind(what, flag, at(port)).await {
            Ok(listener) => Ok(listener),
            Err(_) => listen::bind(what, flag, at(0)).await,
        },
    }
}
