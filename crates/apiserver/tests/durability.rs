//! What is acknowledged stays: over a restart, over SIGKILL; and one directory has one server.

// Helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use common::{MAPS, World, call, map};
use prow_apiserver::{ApiServer, Error, FILE_NAME, Options, StoreError};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Set in the child of [`killed_in_the_middle`]: the directory it writes to.
const CHILD: &str = "PROW_APISERVER_TEST_CHILD";

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

/// The child: eight writers at once, each name printed once its create is acknowledged, until it is killed.
async fn write_forever(dir: &Path, sync: bool, run: &str) {
    let server = ApiServer::open(dir, Options { sync, ..Options::default() }).unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (router, run) = (server.router(), run.to_owned());
            tokio::spawn(async move {
                for i in 0.. {
                    let name = format!("r{run}-w{writer}-{i}");
                    let body = map(&name).to_string();
                    let (code, _) = call(router.clone(), "POST", MAPS, "application/json", body).await;
                    assert_eq!(code, 201);
                    println!("wrote {name}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn killed_in_the_middle() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let run = std::env::var("RUN").unwrap();
        write_forever(Path::new(&dir), run != "0", &run).await;
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for run in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_in_the_middle", "--nocapture"])
            .env(CHILD, dir.path())
            .env("RUN", run.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut count = 0;
        // Killed at another point of its work each time.
        while count < 40 + 17 * run {
            let line = lines.next_line().await.unwrap().expect("the child ended by itself");
            if let Some(at) = line.find("wrote ") {
                acknowledged.push(line[at + 6..].to_owned());
                count += 1;
            }
        }
        child.kill().await.unwrap();
        while let Some(line) = lines.next_line().await.unwrap() {
            // A line that the kill cut off was acknowledged too, but its name is not known whole.
            if let Some(at) = line.find("wrote ").filter(|_| line.len() > 12) {
                acknowledged.push(line[at + 6..].to_owned());
            }
        }
    }
    let w = World { server: ApiServer::open(dir.path(), Options::default()).unwrap(), dir };
    let (_, list) = w.get(MAPS).await;
    let stored: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect();
    for name in &acknowledged {
        assert!(stored.iter().any(|s| s.starts_with(name.as_str())), "{name} was acknowledged and is gone");
    }
    // The history is whole: replayed from its beginning, it builds the same set of objects.
    let mut events = w.watch(&format!("{MAPS}?watch=true&resourceVersion=1")).await;
    let mut replayed = Vec::new();
    for _ in 0..stored.len() {
        let event = events.next().await.unwrap();
        assert_eq!(event["type"], json!("ADDED"));
        replayed.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
    }
    replayed.sort();
    let mut stored: Vec<String> = stored.into_iter().map(str::to_owned).collect();
    stored.sort();
    assert_eq!(replayed, stored);
    assert!(acknowledged.len() >= 4 * 40);
}
