//! What is acknowledged stays over a restart; one directory has one server. What SIGKILL leaves is in `crashes`.

// Helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{MAPS, World, call, map};
use prow_apiserver::{ApiServer, Error, FILE_NAME, Options, StoreError};
use serde_json::Value;

#[tokio::test]
async fn objects_and_history_outlive_the_server() {
    let World { dir, server } = World::new();
    let (_, first) = call(server.router(), "POST", MAPS, "application/json", map("a").to_string()).await;
    call(server.router(), "POST", MAPS, "application/json", map("b").to_string()).await;
    drop(server);
    let w = World { server: ApiServer::open(dir.path(), Options::default()).unwrap(), dir };
    assert_eq!(w.get(&format!("{MAPS}/a")).await, (200, first.clone()));
    // A watch resumes across the restart.
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = w.watch(&format!("{MAPS}?watch=true&resourceVersion={version}")).await;
    assert_eq!(events.brief().await, "ADDED b");
    let (_, third) = w.post(MAPS, map("c")).await;
    let number = |v: &Value| v["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(number(&third), number(&first) + 2, "versions go on where they were");
    assert_eq!(events.brief().await, "ADDED c");
}

#[tokio::test]
async fn one_directory_has_one_server() {
    for sync in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { sync, ..Options::default() };
        let first = ApiServer::open(dir.path(), options.clone()).unwrap();
        let e = ApiServer::open(dir.path(), options.clone()).unwrap_err();
        assert!(matches!(e, Error::Store(StoreError::InUse { .. })), "{e}");
        assert!(e.to_string().contains("another process has"), "{e}");
        drop(first);
        ApiServer::open(dir.path(), options).unwrap();
        let mode = std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "there are Secrets in it");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let e = ApiServer::open(file.path(), Options::default()).unwrap_err();
    assert!(e.to_string().contains("cannot open the object store"), "{e}");
}
