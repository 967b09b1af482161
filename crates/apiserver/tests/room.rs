//! The store's file: it shrinks while the server runs, and a disk without room costs no more than the writes that found
//! none.

// Helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{MAPS, World, call, map};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use prow_apiserver::{ApiServer, Error, FILE_NAME, Options, StoreError};
use serde_json::{Value, json};

/// Set in the child: the directory it writes to.
const CHILD: &str = "PROW_APISERVER_ROOM_CHILD";
/// Writes after which a thing that has to happen has not happened.
const ENOUGH: usize = 3000;

fn size(dir: &Path) -> u64 {
    std::fs::metadata(dir.join(FILE_NAME)).unwrap().len()
}

fn large(name: &str, bytes: usize) -> Value {
    let mut body = map(name);
    // Text that does not look like the one before it.
    body["data"]["text"] = json!(name.bytes().cycle().take(bytes).map(char::from).collect::<String>());
    body
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_file_shrinks_while_the_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { sync: false, history: 20, compact_above: 1 << 20, ..Options::default() };
    let w = World {
        server: ApiServer::open(dir.path(), options.clone()).unwrap(),
        dir: tempfile::tempdir().unwrap(),
    };
    for i in 0..200 {
        assert_eq!(w.post(MAPS, large(&format!("m{i:03}"), 60_000)).await.0, 201);
    }
    let full = size(dir.path());
    assert!(full > 10 << 20, "{full}");
    // Somebody watches and somebody lists all the while.
    let (_, page) = w.get(&format!("{MAPS}?limit=1")).await;
    let mut at = version(&page);
    let mut events = w.watch(&format!("{MAPS}?watch=true&resourceVersion={at}")).await;
    let token = page["metadata"]["continue"].as_str().unwrap();
    let mut writes = 0;
    while writes < 198 || size(dir.path()) > full / 4 {
        assert!(writes < ENOUGH, "the file is not made smaller: {} of {full}", size(dir.path()));
        let expected = if writes < 198 {
            let name = format!("m{writes:03}");
            assert_eq!(w.delete(&format!("{MAPS}/{name}")).await.0, 200);
            format!("DELETED {name}")
        } else {
            let patch = json!({"data": {"n": writes.to_string()}});
            assert_eq!(w.merge(&format!("{MAPS}/m199"), patch).await.0, 200);
            "MODIFIED m199".to_owned()
        };
        writes += 1;
        let event = events.next().await.unwrap();
        assert_eq!(version(&event["object"]), at + 1, "a gap, or an event twice");
        at += 1;
        let seen = [&event["type"], &event["object"]["metadata"]["name"]].map(|v| v.as_str().unwrap());
        assert_eq!(seen.join(" "), expected);
    }
    // The page's moment is gone with the old file; the answer says how to go on without it.
    let (code, answer) = w.get(&format!("{MAPS}?limit=1&continue={token}")).await;
    assert_eq!((code, &answer["reason"]), (410, &json!("Expired")), "{answer}");
    let next = answer["metadata"]["continue"].as_str().unwrap();
    let (code, rest) = w.get(&format!("{MAPS}?continue={next}")).await;
    assert_eq!((code, &rest["items"][0]["metadata"]["name"]), (200, &json!("m198")));
    // The new file is what counts: private, locked, and all there.
    let mode = std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let e = ApiServer::open(dir.path(), options.clone()).unwrap_err();
    assert!(matches!(e, Error::Store(StoreError::InUse { .. })), "{e}");
    let (_, before) = w.get(MAPS).await;
    assert_eq!(before["items"].as_array().unwrap().len(), 2);
    drop(events);
    drop(w);
    let server = reopened(dir.path(), &options);
    let (_, after) = call(server.router(), "GET", MAPS, "", String::new()).await;
    assert_eq!(after, before);
}

/// Opens it as soon as whatever is still being compacted is done.
fn reopened(dir: &Path, options: &Options) -> ApiServer {
    for _ in 0..ENOUGH {
        match ApiServer::open(dir, options.clone()) {
            Err(Error::Store(StoreError::InUse { .. })) => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("the file stays locked");
}

#[tokio::test]
async fn what_a_killed_compaction_left_is_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join(format!("{FILE_NAME}.new"));
    std::fs::write(&left, "half a copy").unwrap();
    let server = ApiServer::open(dir.path(), Options { sync: false, ..Options::default() }).unwrap();
    assert!(!left.exists());
    call(server.router(), "POST", MAPS, "application/json", map("a").to_string()).await;
    let done = server.compact().await.unwrap().unwrap();
    assert!(done.after > 0 && !left.exists());
    assert_eq!(call(server.router(), "GET", &format!("{MAPS}/a"), "", String::new()).await.0, 200);
}

/// The child writes until there is no room, sees that what is there can be read, and goes on when there is room again.
async fn child(dir: &Path) {
    let options = Options { sync: false, compact_above: u64::MAX, ..Options::default() };
    let w = World { server: ApiServer::open(dir, options).unwrap(), dir: tempfile::tempdir().unwrap() };
    let limit = |bytes| setrlimit(Resource::RLIMIT_FSIZE, bytes, RLIM_INFINITY).unwrap();
    let mut names = Vec::new();
    for round in 0..3 {
        limit(size(dir) + (1 << 20));
        let refused = loop {
            let name = format!("r{round}-{}", names.len());
            let (code, answer) = w.post(MAPS, large(&name, 100_000)).await;
            match code {
                201 => names.push(name),
                _ => break (code, answer),
            }
            assert!(names.len() < ENOUGH, "there is always room");
        };
        assert_eq!((refused.0, &refused.1["reason"]), (500, &json!("InternalError")), "{}", refused.1);
        let message = refused.1["message"].as_str().unwrap();
        assert!(message.contains("has no room on its disk") && message.contains("make room"), "{message}");
        // Once is not enough: it stays so, and a compaction changes nothing either.
        for _ in 0..3 {
            let (code, answer) = w.post(MAPS, large("again", 1_000_000)).await;
            assert_eq!(code, 500, "{answer}");
        }
        limit(1 << 20);
        let e = w.server.compact().await.unwrap_err();
        assert!(matches!(e, StoreError::Full(_)), "{e}");
        limit(size(dir));
        let (code, list) = w.get(MAPS).await;
        assert_eq!((code, list["items"].as_array().unwrap().len()), (200, names.len()));
        let (code, one) = w.get(&format!("{MAPS}/{}", names[0])).await;
        assert_eq!((code, &one["metadata"]["name"]), (200, &json!(names[0])));
        assert_eq!(w.get("/readyz").await.0, 200);
        let mut events = w.watch(&format!("{MAPS}?watch=true&resourceVersion={}", version(&list))).await;
        limit(RLIM_INFINITY);
        let name = format!("r{round}-after");
        let (code, answer) = w.post(MAPS, map(&name)).await;
        assert_eq!(code, 201, "{answer}");
        assert_eq!(version(&answer), version(&list) + 1, "what was refused has no version");
        assert_eq!(events.brief().await, format!("ADDED {name}"));
        names.push(name);
        w.server.compact().await.unwrap().unwrap();
    }
    // A server that starts at a full disk reads what is there, and writes as soon as there is room.
    let World { dir: own, server } = w;
    drop(server);
    limit(size(dir));
    let options = Options { sync: false, ..Options::default() };
    let w = World { server: ApiServer::open(dir, options).unwrap(), dir: own };
    let (code, list) = w.get(MAPS).await;
    assert_eq!((code, list["items"].as_array().unwrap().len()), (200, names.len()));
    limit(RLIM_INFINITY);
    assert_eq!(w.post(MAPS, map("restarted")).await.0, 201);
    names.push("restarted".to_owned());
    names.sort();
    std::fs::write(dir.join("names"), json!(names).to_string()).unwrap();
    // As a kill would, without a goodbye to the file.
    std::process::exit(0);
}

#[tokio::test]
async fn a_full_disk_costs_the_writes_that_found_no_room() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return child(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    // The limit is the process's, so it is one of its own; the signal that comes with it is ignored as by a daemon.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_full_disk_costs_the_writes_that_found_no_room", "--nocapture"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    let names: Value = serde_json::from_slice(&std::fs::read(dir.path().join("names")).unwrap()).unwrap();
    let server = ApiServer::open(dir.path(), Options { sync: false, ..Options::default() }).unwrap();
    let (_, list) = call(server.router(), "GET", MAPS, "", String::new()).await;
    let mut there: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect();
    there.sort_unstable();
    assert_eq!(json!(there), names);
}
