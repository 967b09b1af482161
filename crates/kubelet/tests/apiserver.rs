//! A job cannot reach the API server, wherever that listens.

// Helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{SocketAddr, UdpSocket};

use common::{World, phase, sh};
use prow_apiserver::{ApiServer, Credentials, Options};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// This machine's address on the way out, if it has one. Nothing is sent.
fn outward() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

#[tokio::test]
async fn a_job_does_not_reach_the_api_server() {
    let Some(world) = World::sandboxed().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = ApiServer::open(dir.path(), Options { sync: false, ..Options::default() }).unwrap();
    let credentials = Credentials::load_or_create_for(dir.path(), &["ci.example.com".to_owned()]).unwrap();
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move { server.serve(listener, credentials, stop).await }
    });
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(tokio::net::TcpStream::connect(here).await.is_ok(), "it can be reached from this machine");
    let mut addresses = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    addresses.extend(outward());
    // `bash` has /dev/tcp, so that no program is needed. Without it every door would seem shut: then there is such a file
    // missing, or no bash, and nothing was tried.
    let script = format!(
        "for at in {}; do \
           if why=$(bash -c \"exec 3<>/dev/tcp/$at/{port}\" 2>&1); then echo \"reached $at\"; exit 1; fi; \
           case $why in *'No such file'*|*'not found'*|'') echo \"not tried: $why\"; exit 1;; esac; \
         done; \
         echo shut",
        addresses.join(" ")
    );
    let done = world.run("p", json!({"containers": [sh("test", &script)]})).await;
    assert_eq!(world.log("p", "test").await, "shut\n");
    assert_eq!(phase(&done), "Succeeded");
    stop.cancel();
    serving.await.unwrap().unwrap();
}
