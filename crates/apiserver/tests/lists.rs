//! Lists and watches: selectors, pages, versions, resumption, compaction, bookmarks, tables.

// Helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

mod common;

use axum::body::Body;
use common::{Events, JOBS, MAPS, PODS, World, map, pod, prowjob};
use http::Request;
use prow_apiserver::Options;
use serde_json::{Value, json};
use tower::ServiceExt;

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
    items.iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

async fn seeded() -> World {
    let w = World::new();
    w.server.ensure_namespace("test-pods").await.unwrap();
    for (ns, name, color, node) in
        [("default", "a", "red", ""), ("default", "b", "blue", "n1"), ("test-pods", "c", "red", "n1")]
    {
        let mut p = pod(name);
        p["metadata"]["labels"] = json!({"color": color});
        if !node.is_empty() {
            p["spec"]["nodeName"] = json!(node);
        }
        assert_eq!(w.post(&format!("/api/v1/namespaces/{ns}/pods"), p).await.0, 201);
    }
    w
}

#[tokio::test]
async fn selectors() {
    let w = seeded().await;
    for (query, expected) in [
        ("", vec!["a", "b", "c"]),
        ("labelSelector=color%3Dred", vec!["a", "c"]),
        ("labelSelector=color+in+(red,green)", vec!["a", "c"]),
        ("labelSelector=color+notin+(red)", vec!["b"]),
        ("labelSelector=!color", vec![]),
        ("fieldSelector=metadata.name%3Da", vec!["a"]),
        ("fieldSelector=metadata.namespace%3Dtest-pods", vec!["c"]),
        ("fieldSelector=spec.nodeName%3Dn1", vec!["b", "c"]),
        ("fieldSelector=spec.nodeName%3Dn1&labelSelector=color%3Dred", vec!["c"]),
        ("fieldSelector=status.phase!%3DPending", vec![]),
    ] {
        let (code, list) = w.get(&format!("/api/v1/pods?{query}")).await;
        assert_eq!((code, names(&list)), (200, expected.into_iter().map(str::to_owned).collect()), "{query}");
    }
    let (_, list) = w.get(PODS).await;
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("PodList"), &json!("v1")));
    for query in [
        "labelSelector=a%3D%3D%3D",
        "fieldSelector=spec.hostname%3Dx",
        "limit=x",
        "resourceVersion=x",
        "watch=maybe",
        "continue=zzz",
    ] {
        assert_eq!(w.get(&format!("{PODS}?{query}")).await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn pages_and_versions() {
    let w = World::new();
    for i in 0..5 {
        w.post(MAPS, map(&format!("m{i}"))).await;
    }
    let (mut found, mut token, mut versions, mut left) = (Vec::new(), String::new(), Vec::new(), Vec::new());
    loop {
        let (code, page) = w.get(&format!("{MAPS}?limit=2&continue={token}")).await;
        assert_eq!(code, 200);
        assert!(page["items"].as_array().unwrap().len() <= 2);
        found.extend(names(&page));
        versions.push(page["metadata"]["resourceVersion"].clone());
        left.push(page["metadata"]["remainingItemCount"].clone());
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
        // A write between pages does not move the version that a watch is to start from.
        w.merge(&format!("{MAPS}/m0"), json!({"data": {"a": token}})).await;
    }
    assert_eq!(found, ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!(left, [json!(3), json!(1), Value::Null]);
    assert!(versions.len() == 3 && versions.iter().all(|v| *v == versions[0]), "{versions:?}");
    assert_eq!(w.get(&format!("{PODS}?limit=2&continue={token}")).await.0, 400, "a token of another list");

    let (_, list) = w.get(MAPS).await;
    let now: u64 = list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    for (query, code) in [
        ("resourceVersion=0".to_owned(), 200),
        (format!("resourceVersion={now}"), 200),
        (format!("resourceVersion={}", now - 1), 200),
        (format!("resourceVersion={now}&resourceVersionMatch=Exact"), 200),
        (format!("resourceVersion={}&resourceVersionMatch=Exact", now - 1), 410),
        (format!("resourceVersion={}", now + 1), 504),
    ] {
        assert_eq!(w.get(&format!("{MAPS}?{query}")).await.0, code, "{query}");
    }
}

#[tokio::test]
async fn a_watch_without_version_tells_the_present_and_then_what_comes() {
    let w = seeded().await;
    for version in ["", "resourceVersion=0"] {
        let mut events = w.watch(&format!("{PODS}?watch=true&{version}")).await;
        assert_eq!([events.brief().await, events.brief().await], ["ADDED a", "ADDED b"]);
        w.merge(&format!("{PODS}/a"), json!({"metadata": {"annotations": {"x": version}}})).await;
        assert_eq!(events.brief().await, "MODIFIED a");
    }
}

#[tokio::test]
async fn a_watch_resumes_without_gap_or_repetition() {
    let w = World::with(Options { sync: false, history: 10_000, ..Options::default() });
    let (_, list) = w.get(MAPS).await;
    let start = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    // Enough bytes that the first of them are only on disk by now.
    let big = "x".repeat(100_000);
    for i in 0..60 {
        let mut m = map(&format!("m{i:02}"));
        m["data"]["big"] = json!(big);
        w.post(MAPS, m).await;
    }
    let mut events = w.watch(&format!("{MAPS}?watch=true&resourceVersion={start}")).await;
    let (mut seen, mut last) = (Vec::new(), 0_u64);
    for i in 0..60 {
        if i % 10 == 0 {
            w.post(MAPS, map(&format!("n{i:02}"))).await;
        }
    }
    for _ in 0..66 {
        let event = events.next().await.unwrap();
        let version: u64 = event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(version > last);
        last = version;
        seen.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
    }
    let expected: Vec<String> =
        (0..60).map(|i| format!("m{i:02}")).chain((0..60).step_by(10).map(|i| format!("n{i:02}"))).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_watcher_sees_every_write_once_and_in_order() {
    let w = World::new();
    let (writers, each) = (4, 60);
    // Watchers that begin before, while and after the writing; the objects are large, so that the slow ones are
    // fed from disk. Each begins with the present state, which counts as seen.
    let open = async |start: &str| w.watch(&format!("{MAPS}?watch=true&resourceVersion={start}")).await;
    let collect = |mut events: Events, resumed: bool| {
        tokio::spawn(async move {
            let (mut seen, mut newest) = (std::collections::BTreeMap::new(), 0);
            while seen.len() < writers * each {
                let event = events.next().await.unwrap();
                assert_eq!(event["type"], "ADDED", "{event}");
                let meta = &event["object"]["metadata"];
                let version: u64 = meta["resourceVersion"].as_str().unwrap().parse().unwrap();
                // The present state comes in the order of names, all that follows in the order of versions.
                assert!(!resumed || version > newest, "{version} after {newest}");
                assert!(
                    seen.insert(meta["name"].as_str().unwrap().to_owned(), version).is_none(),
                    "twice: {meta}"
                );
                newest = newest.max(version);
            }
            seen
        })
    };
    let start = w.get(MAPS).await.1["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watching = vec![collect(open(&start).await, true), collect(open("").await, false)];
    let writing: Vec<_> = (0..writers)
        .map(|writer| {
            let router = w.server.router();
            tokio::spawn(async move {
                for i in 0..each {
                    let mut m = map(&format!("w{writer}-{i:03}"));
                    m["data"]["big"] = json!("x".repeat(50_000));
                    common::call(router.clone(), "POST", MAPS, "application/json", m.to_string()).await;
                }
            })
        })
        .collect();
    for _ in 0..6 {
        watching.push(collect(open(&start).await, true));
        watching.push(collect(open("").await, false));
        tokio::task::yield_now().await;
    }
    for task in writing {
        task.await.unwrap();
    }
    watching.push(collect(open(&start).await, true));
    let mut all = Vec::new();
    for task in watching {
        all.push(tokio::time::timeout(std::time::Duration::from_secs(120), task).await.unwrap().unwrap());
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn compacted_history_is_410() {
    let w = World::with(Options { sync: false, history: 5, ..Options::default() });
    let (_, first) = w.post(MAPS, map("m0")).await;
    let old = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let (_, page) = w.get("/api/v1/namespaces?limit=1").await;
    let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
    for i in 1..=10 {
        w.post(MAPS, map(&format!("m{i}"))).await;
    }
    let mut events = w.watch(&format!("{MAPS}?watch=true&resourceVersion={old}")).await;
    let event = events.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(events.next().await, None);
    let (code, status) = w.get(&format!("/api/v1/namespaces?limit=1&continue={token}")).await;
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
    // The last five can be had.
    let newest: u64 = w.get(MAPS).await.1["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let mut events = w.watch(&format!("{MAPS}?watch=true&resourceVersion={}", newest - 5)).await;
    assert_eq!(events.brief().await, "ADDED m6");
    let future = Request::get(format!("{MAPS}?watch=true&resourceVersion={}", newest + 1))
        .body(Body::empty())
        .unwrap();
    assert_eq!(w.server.router().oneshot(future).await.unwrap().status(), 504);
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let w = World::new();
    let start = w.get(MAPS).await.1["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut events =
        w.watch(&format!("{MAPS}?watch=true&resourceVersion={start}&labelSelector=color%3Dred")).await;
    w.post(MAPS, map("other")).await;
    w.post(MAPS, map("m")).await;
    let m = format!("{MAPS}/m");
    let label = |v: Value| json!({"metadata": {"labels": {"color": v}}});
    w.merge(&m, label(json!("red"))).await;
    w.merge(&m, json!({"data": {"a": "2"}})).await;
    w.merge(&m, label(json!("blue"))).await;
    w.delete(&m).await;
    assert_eq!(events.brief().await, "ADDED m");
    assert_eq!(events.brief().await, "MODIFIED m");
    let left = events.next().await.unwrap();
    assert_eq!(
        (&left["type"], &left["object"]["metadata"]["labels"]["color"]),
        (&json!("DELETED"), &json!("red"))
    );
    // Its removal is nothing to this watcher; the next it sees is another object.
    let mut red = map("red");
    red["metadata"]["labels"] = json!({"color": "red"});
    w.post(MAPS, red).await;
    w.delete(&format!("{MAPS}/red")).await;
    assert_eq!([events.brief().await, events.brief().await], ["ADDED red", "DELETED red"]);
}

#[tokio::test]
async fn bookmarks_and_the_end_of_a_watch() {
    let w = World::new();
    w.post(MAPS, map("m")).await;
    let newest = w.get(MAPS).await.1["metadata"]["resourceVersion"].clone();
    let mut events = w.watch(&format!("{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1")).await;
    assert_eq!(events.brief().await, "ADDED m");
    let bookmark = events.next().await.unwrap();
    assert_eq!(
        bookmark,
        json!({"type": "BOOKMARK", "object": {"kind": "ConfigMap", "apiVersion": "v1",
               "metadata": {"resourceVersion": newest, "creationTimestamp": null}}})
    );
    assert_eq!(events.next().await, None);
    let mut silent = w
        .watch(&format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={}", newest.as_str().unwrap()))
        .await;
    assert_eq!(silent.next().await, None);
    let mut streamed = w
        .watch(&format!("{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"))
        .await;
    assert_eq!(streamed.brief().await, "ADDED m");
    let end = streamed.next().await.unwrap();
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

async fn accepting(w: &World, accept: &str, path: &str) -> Value {
    let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
    let response = w.server.router().oneshot(request).await.unwrap();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    // The first line of a watch, the whole of anything else.
    serde_json::from_slice(bytes.split(|b| *b == b'\n').next().unwrap()).unwrap()
}

#[tokio::test]
async fn tables_and_metadata() {
    let w = World::new();
    w.post(JOBS, prowjob("j")).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let list = accepting(&w, table, JOBS).await;
    let columns: Vec<&str> =
        list["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(
        columns,
        ["Name", "Job", "BuildId", "Type", "Org", "Repo", "Pulls", "StartTime", "CompletionTime", "State"]
    );
    let cells = list["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(Value::from(&cells[..7]), json!(["j", "unit", "1001", "presubmit", "acme", "app", "7"]));
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert!(list["metadata"]["resourceVersion"].is_string());
    assert_eq!(accepting(&w, table, &format!("{JOBS}/j")).await["rows"][0]["cells"][0], "j");
    let event = accepting(&w, table, &format!("{JOBS}?watch=true&timeoutSeconds=1")).await;
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!("Table")));
    let whole = accepting(&w, table, &format!("{JOBS}?includeObject=Object")).await;
    assert_eq!(whole["rows"][0]["object"]["spec"]["job"], "unit");

    let meta = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = accepting(&w, meta, JOBS).await;
    assert_eq!(
        (&list["kind"], &list["items"][0]["kind"]),
        (&json!("PartialObjectMetadataList"), &json!("PartialObjectMetadata"))
    );
    assert!(list["items"][0].get("spec").is_none());
    assert_eq!(accepting(&w, "text/html", JOBS).await["reason"], "NotAcceptable");
}
