//! Serves an embedded API server on a loopback port until it is killed: for kubectl by hand, and for the crash test.
//!
//! `cargo run -p prow-apiserver --example serve -- DIR [PORT]` prints the path of a kubeconfig once it listens.

use std::path::PathBuf;

use prow_apiserver::{ApiServer, Credentials, Options};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let dir = PathBuf::from(args.next().ok_or("usage: serve DIR [PORT]")?);
    let port: u16 = match args.next() {
        Some(port) => port.to_string_lossy().parse()?,
        None => 0,
    };
    let server = ApiServer::open(&dir, Options::default())?;
    let credentials = Credentials::load_or_create(&dir)?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let path = credentials.write_kubeconfig(&dir, listener.local_addr()?)?;
    println!("{}", path.display());
    server.serve(listener, credentials, CancellationToken::new()).await?;
    Ok(())
}
