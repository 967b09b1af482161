//! Runs the suite against the embedded API server, in process.

// Helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

use kube::Client;
use prow_apiserver::{Access, ApiServer, Options};
use prow_conformance::{Server, cases, run};

#[tokio::test]
async fn the_embedded_server_behaves() {
    let dir = tempfile::tempdir().unwrap();
    // Short of memory, so that history ends within the suite.
    let options = Options { sync: false, history: 300, ..Options::default() };
    let server = ApiServer::open(dir.path(), options).unwrap();
    let client = |access| Client::new(server.router_for(access), "default");
    let tested = Server { admin: client(Access::Everything), viewer: client(Access::ReadOnly) };
    let only = std::env::var("CASE").unwrap_or_default();
    let chosen: Vec<_> = cases().into_iter().filter(|c| c.name.contains(&only)).collect();
    let outcomes = run(&tested, &chosen, |o| {
        if let Some(why) = &o.failure {
            eprintln!("FAILED  {}: {why}", o.name);
        }
    })
    .await;
    let failed: Vec<&str> = outcomes.iter().filter(|o| o.failure.is_some()).map(|o| o.name).collect();
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:#?}", failed.len(), outcomes.len());
    assert!(!outcomes.is_empty(), "no case is called {only:?}");
}
