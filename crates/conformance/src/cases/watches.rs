//! Watches: every change once and in order, resumed where they ended, selected, bookmarked, refused where history ends.
// A case is a test: a failed unwrap is a failed case.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::cases;
use crate::Case;
use crate::world::{World, fields, labelled, map, pod, version};

pub const CASES: &[Case] = cases! {
    "a watch tells every change after its version" => changes,
    "a watch resumes where it ended" => resumption,
    "a watch without a version begins with what is there" => from_nothing,
    "a watch selects by what an object is and was" => selected,
    "a watch ends in time with a bookmark" => bookmark,
    "a streaming list marks its end" => streaming_list,
    "history that is gone is refused with 410" => compacted,
    "a watch is asked for properly" => malformed,
    "the present can be declined" => declined,
    "a watch of metadata and of rows" => shaped,
};

async fn changes(w: World) {
    let maps = w.core("configmaps");
    let at = format!("{maps}/m");
    let start = version(&w.get(&maps).await.is(200));
    let mut events =
        w.watch(&format!("{maps}?watch=true&resourceVersion={start}&fieldSelector=metadata.name%3Dm")).await;
    let made = w.post(&maps, &map("m")).await.is(201);
    let changed = w.merge(&at, &json!({"data": {"a": "2"}})).await.is(200);
    w.delete(&at, &Value::Null).await.is(200);
    let added = events.next().await.unwrap();
    assert_eq!((&added["type"], &added["object"]), (&json!("ADDED"), &made));
    let modified = events.next().await.unwrap();
    assert_eq!((&modified["type"], &modified["object"]), (&json!("MODIFIED"), &changed));
    let deleted = events.next().await.unwrap();
    assert_eq!((&deleted["type"], &deleted["object"]["data"]["a"]), (&json!("DELETED"), &json!("2")));
    let number = |v: &str| v.parse::<u64>().unwrap();
    assert!(
        number(&version(&deleted["object"])) > number(&version(&changed)),
        "the removal has a version of its own"
    );
}

async fn resumption(w: World) {
    let maps = w.core("configmaps");
    let start = version(&w.get(&maps).await.is(200));
    for i in 0..30 {
        w.post(&maps, &labelled(&format!("m{i:02}"), "watched", "yes")).await.is(201);
    }
    // Broken off after every few events, each goes on behind the last one that was seen.
    let (mut from, mut seen) = (start, Vec::new());
    while seen.len() < 30 {
        let mut events =
            w.watch(&format!("{maps}?watch=1&labelSelector=watched&resourceVersion={from}")).await;
        for _ in 0..4.min(30 - seen.len()) {
            let event = events.next().await.unwrap();
            assert_eq!(event["type"], "ADDED", "{event}");
            from = version(&event["object"]);
            seen.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
        }
    }
    let expected: Vec<String> = (0..30).map(|i| format!("m{i:02}")).collect();
    assert_eq!(seen, expected);
}

async fn from_nothing(w: World) {
    let maps = w.core("configmaps");
    w.post(&maps, &labelled("a", "w", "1")).await.is(201);
    w.post(&maps, &labelled("b", "w", "1")).await.is(201);
    for query in ["", "&resourceVersion=0"] {
        let mut events = w.watch(&format!("{maps}?watch=true&labelSelector=w{query}")).await;
        let mut first = [events.brief().await, events.brief().await];
        first.sort();
        assert_eq!(first, ["ADDED a", "ADDED b"]);
    }
}

async fn selected(w: World) {
    let maps = w.core("configmaps");
    let start = version(&w.get(&maps).await.is(200));
    let mut red =
        w.watch(&format!("{maps}?watch=true&resourceVersion={start}&labelSelector=color%3Dred")).await;
    w.post(&maps, &labelled("m", "color", "blue")).await.is(201);
    let at = format!("{maps}/m");
    w.merge(&at, &json!({"metadata": {"labels": {"color": "red"}}})).await.is(200);
    w.merge(&at, &json!({"data": {"a": "2"}})).await.is(200);
    let left = w.merge(&at, &json!({"metadata": {"labels": {"color": "green"}}})).await.is(200);
    w.delete(&at, &Value::Null).await.is(200);
    assert_eq!(red.brief().await, "ADDED m");
    assert_eq!(red.brief().await, "MODIFIED m");
    let gone = red.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(
        gone["object"]["metadata"]["labels"]["color"], "red",
        "as it was when it was last in the selection"
    );
    assert_eq!(version(&gone["object"]), version(&left));
    w.post(&maps, &labelled("n", "color", "red")).await.is(201);
    assert_eq!(red.brief().await, "ADDED n");
    // By field.
    let pods = w.core("pods");
    let start = version(&w.get(&pods).await.is(200));
    let mut running = w
        .watch(&format!("{pods}?watch=true&resourceVersion={start}&fieldSelector=status.phase%3DRunning"))
        .await;
    w.post(&pods, &pod("p")).await.is(201);
    for phase in ["Running", "Succeeded"] {
        w.merge(&format!("{pods}/p/status"), &json!({"status": {"phase": phase}})).await.is(200);
    }
    assert_eq!(running.brief().await, "ADDED p");
    assert_eq!(running.brief().await, "DELETED p");
}

async fn bookmark(w: World) {
    let maps = w.core("configmaps");
    let made = w.post(&maps, &map("m")).await.is(201);
    // Nothing happens in the selection; the bookmark says how far the world has come around it.
    let query = "watch=true&timeoutSeconds=6&allowWatchBookmarks=true&labelSelector=nobody";
    let mut events = w.watch(&format!("{maps}?{query}&resourceVersion={}", version(&made))).await;
    let elsewhere = version(&w.post(&maps, &map("n")).await.is(201)).parse::<u64>().unwrap();
    let mut last = None;
    while let Some(event) = events.next().await {
        assert_eq!(event["type"], "BOOKMARK", "{event}");
        assert_eq!(event["object"]["kind"], "ConfigMap");
        last = Some(version(&event["object"]).parse::<u64>().unwrap());
    }
    assert!(last.unwrap() >= elsewhere);
    // Not asked for, none comes.
    let query = format!("watch=true&timeoutSeconds=1&resourceVersion={}", last.unwrap());
    assert_eq!(w.watch(&format!("{maps}?{query}")).await.brief().await, "end");
}

async fn streaming_list(w: World) {
    let maps = w.core("configmaps");
    for name in ["a", "b"] {
        w.post(&maps, &labelled(name, "s", "1")).await.is(201);
    }
    let query =
        "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = w.watch(&format!("{maps}?{query}&labelSelector=s&timeoutSeconds=30")).await;
    let mut first = [events.brief().await, events.brief().await];
    first.sort();
    assert_eq!(first, ["ADDED a", "ADDED b"]);
    let end = events.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    w.post(&maps, &labelled("c", "s", "1")).await.is(201);
    assert_eq!(events.brief().await, "ADDED c");
}

async fn compacted(w: World) {
    // Events are what a real server keeps no memory of: a watch of them sees etcd's history, which the tests have cut
    // every few seconds. The embedded server keeps some hundreds of writes in them.
    let events = w.core("events");
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "Test", "type": "Normal",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": w.namespace}});
    let first = version(&w.post(&events, &event).await.is(201));
    let (mut count, mut seen) = (0, json!({"type": "ADDED"}));
    while seen["type"] != "ERROR" {
        for _ in 0..100 {
            count += 1;
            w.merge(&format!("{events}/e"), &json!({"count": count})).await.is(200);
        }
        seen = w.watch(&format!("{events}?watch=true&resourceVersion={first}")).await.next().await.unwrap();
    }
    let status = &seen["object"];
    assert_eq!(
        (&status["kind"], &status["code"], &status["reason"]),
        (&json!("Status"), &json!(410), &json!("Expired"))
    );
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("too old"), "{message}");
    let mut after = w.watch(&format!("{events}?watch=true&resourceVersion={first}")).await;
    assert_eq!(after.brief().await, "ERROR -");
    assert_eq!(after.brief().await, "end");
}

async fn malformed(w: World) {
    let maps = w.core("configmaps");
    let refused = w.get(&format!("{maps}?watch=true&resourceVersion=nonsense")).await;
    assert!(refused.code >= 400, "{}", refused.body);
    for query in [
        "sendInitialEvents=true",
        "sendInitialEvents=true&resourceVersionMatch=Exact",
        "sendInitialEvents=false",
        "resourceVersionMatch=NotOlderThan&resourceVersion=1",
    ] {
        let status = w.get(&format!("{maps}?watch=true&{query}")).await.refused(422, "Invalid");
        assert!(fields(&status).contains(&"resourceVersionMatch".to_owned()), "{query}: {status}");
    }
}

async fn declined(w: World) {
    let maps = w.core("configmaps");
    w.post(&maps, &labelled("a", "w", "1")).await.is(201);
    let query = "watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&timeoutSeconds=30";
    let mut events = w.watch(&format!("{maps}?{query}&labelSelector=w")).await;
    w.post(&maps, &labelled("b", "w", "1")).await.is(201);
    assert_eq!(events.brief().await, "ADDED b");
}

async fn shaped(w: World) {
    let maps = w.core("configmaps");
    w.post(&maps, &labelled("a", "w", "1")).await.is(201);
    let path = format!("{maps}?watch=true&labelSelector=w");
    let accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";
    let event = w.watch_as(&path, accept).await.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["kind"]),
        (&json!("ADDED"), &json!("PartialObjectMetadata"))
    );
    assert_eq!(event["object"]["metadata"]["name"], "a");
    assert!(event["object"].get("data").is_none());
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut rows = w.watch_as(&path, accept).await;
    let event = rows.next().await.unwrap();
    assert_eq!(
        (&event["object"]["kind"], &event["object"]["rows"][0]["cells"][0]),
        (&json!("Table"), &json!("a"))
    );
    w.post(&maps, &labelled("b", "w", "1")).await.is(201);
    let event = rows.next().await.unwrap();
    assert_eq!(event["object"]["rows"][0]["object"]["metadata"]["name"], "b");
}
