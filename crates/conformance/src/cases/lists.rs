//! Lists: selectors, pages that show one moment, versions, tables.
// A case is a test: a failed unwrap is a failed case.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::cases;
use crate::Case;
use crate::world::{World, fields, labelled, map, names, pod, prowjob, version};

pub const CASES: &[Case] = cases! {
    "label selectors" => label_selectors,
    "field selectors" => field_selectors,
    "a list goes over all namespaces" => all_namespaces,
    "pages show the moment of the first one" => pages,
    "a page of a moment that is gone is refused with a way on" => expired_page,
    "lists take and give versions" => versions,
    "options of a list fit together" => options,
    "tables have a kind's columns" => tables,
    "metadata alone" => metadata_only,
};

async fn label_selectors(w: World) {
    let maps = w.core("configmaps");
    for (name, env) in [("a", "prod"), ("b", "test"), ("c", "dev")] {
        let mut body = labelled(name, "env", env);
        body["metadata"]["labels"][name] = json!("");
        body["metadata"]["labels"]["rank"] = json!((name.as_bytes()[0] - b'a').to_string());
        w.post(&maps, &body).await.is(201);
    }
    for (selector, expected) in [
        ("env=prod", vec!["a"]),
        ("env==prod", vec!["a"]),
        ("env!=prod,env", vec!["b", "c"]),
        ("env in (prod,test)", vec!["a", "b"]),
        ("env notin (prod,test),env", vec!["c"]),
        ("!a,env", vec!["b", "c"]),
        ("a", vec!["a"]),
        ("a=", vec!["a"]),
        ("rank>0", vec!["b", "c"]),
        ("rank<1", vec!["a"]),
        ("env=prod,b", vec![]),
    ] {
        let encoded =
            selector.replace(' ', "%20").replace('=', "%3D").replace('>', "%3E").replace('<', "%3C");
        let found = w.get(&format!("{maps}?labelSelector={encoded}")).await.is(200);
        assert_eq!(names(&found), expected, "{selector}");
    }
    for wrong in ["env in prod", "a=b=c", "!", "env in (a"] {
        let encoded = wrong.replace(' ', "%20").replace('=', "%3D");
        let status = w.get(&format!("{maps}?labelSelector={encoded}")).await.refused(400, "BadRequest");
        assert!(
            status["message"].as_str().unwrap().contains("unable to parse requirement")
                || status["message"].as_str().unwrap().contains("found"),
            "{status}"
        );
    }
}

async fn field_selectors(w: World) {
    let (maps, pods) = (w.core("configmaps"), w.core("pods"));
    for name in ["a", "b"] {
        w.post(&maps, &map(name)).await.is(201);
        w.post(&pods, &pod(name)).await.is(201);
    }
    let found = w.get(&format!("{maps}?fieldSelector=metadata.name%3Db")).await.is(200);
    assert_eq!(names(&found), ["b"]);
    let found = w
        .get(&format!("{maps}?fieldSelector=metadata.name!%3Db,metadata.name!%3Dkube-root-ca.crt"))
        .await
        .is(200);
    assert_eq!(names(&found), ["a"]);
    w.merge(&format!("{pods}/a/status"), &json!({"status": {"phase": "Running"}})).await.is(200);
    for (selector, expected) in [
        ("status.phase%3DRunning", vec!["a"]),
        ("status.phase!%3DRunning", vec!["b"]),
        ("spec.nodeName%3D", vec!["a", "b"]),
        ("spec.restartPolicy%3DAlways,metadata.name%3Da", vec!["a"]),
    ] {
        let found = w.get(&format!("{pods}?fieldSelector={selector}")).await.is(200);
        assert_eq!(names(&found), expected, "{selector}");
    }
    w.get(&format!("{maps}?fieldSelector=data.a%3D1")).await.refused(400, "BadRequest");
    w.get(&format!("{}?fieldSelector=spec.job%3Dunit", w.jobs())).await.refused(400, "BadRequest");
}

async fn all_namespaces(w: World) {
    w.post(&w.jobs(), &prowjob("everywhere")).await.is(201);
    let found = w.get("/apis/prow.k8s.io/v1/prowjobs?fieldSelector=metadata.name%3Deverywhere").await.is(200);
    assert_eq!(names(&found), ["everywhere"]);
    assert_eq!((&found["kind"], &found["apiVersion"]), (&json!("ProwJobList"), &json!("prow.k8s.io/v1")));
    assert_eq!(found["items"][0]["metadata"]["namespace"], json!(w.namespace));
}

async fn pages(w: World) {
    let maps = w.core("configmaps");
    for i in 0..7 {
        w.post(&maps, &labelled(&format!("m{i}"), "paged", "yes")).await.is(201);
    }
    let query = format!("{maps}?labelSelector=paged&limit=3");
    let first = w.get(&query).await.is(200);
    assert_eq!(names(&first), ["m0", "m1", "m2"]);
    // What happens between pages belongs to another moment.
    w.delete(&format!("{maps}/m4"), &Value::Null).await.is(200);
    w.merge(&format!("{maps}/m5"), &json!({"data": {"a": "2"}})).await.is(200);
    w.post(&maps, &labelled("m35", "paged", "yes")).await.is(201);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = w.get(&format!("{query}&continue={token}")).await.is(200);
    assert_eq!(names(&second), ["m3", "m4", "m5"]);
    assert_eq!(second["items"][2]["data"]["a"], "1");
    assert_eq!(version(&second), version(&first));
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = w.get(&format!("{query}&continue={token}")).await.is(200);
    assert_eq!(names(&third), ["m6"]);
    assert!(third["metadata"]["continue"].as_str().unwrap_or("").is_empty());
    w.get(&format!("{query}&continue=nonsense")).await.refused(400, "BadRequest");
    let plain = w.get(&format!("{maps}?limit=1")).await.is(200);
    assert!(
        plain["metadata"]["remainingItemCount"].as_i64().is_some_and(|n| n >= 6),
        "{}",
        plain["metadata"]
    );
}

async fn expired_page(w: World) {
    // Events, as a real server keeps no memory of them; see the watch of compacted history.
    let events = w.core("events");
    for name in ["a", "b", "c"] {
        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "type": "Normal",
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": w.namespace}});
        w.post(&events, &event).await.is(201);
    }
    let first = w.get(&format!("{events}?limit=1")).await.is(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (mut count, mut answer) = (0, w.get(&format!("{events}?limit=1&continue={token}")).await);
    while answer.code == 200 {
        for _ in 0..100 {
            count += 1;
            w.merge(&format!("{events}/a"), &json!({"count": count})).await.is(200);
        }
        answer = w.get(&format!("{events}?limit=1&continue={token}")).await;
    }
    let status = answer.refused(410, "Expired");
    let next = status["metadata"]["continue"].as_str().unwrap();
    let rest = w.get(&format!("{events}?limit=9&continue={next}")).await.is(200);
    assert_eq!(names(&rest), ["b", "c"]);
}

async fn options(w: World) {
    let maps = w.core("configmaps");
    for (query, field) in [
        ("resourceVersionMatch=Exact", "resourceVersionMatch"),
        ("resourceVersionMatch=NotOlderThan", "resourceVersionMatch"),
        ("resourceVersion=0&resourceVersionMatch=Exact", "resourceVersionMatch"),
        ("resourceVersion=1&resourceVersionMatch=Nearly", "resourceVersionMatch"),
        ("sendInitialEvents=true", "sendInitialEvents"),
    ] {
        let status = w.get(&format!("{maps}?{query}")).await.refused(422, "Invalid");
        assert!(fields(&status).contains(&field.to_owned()), "{query}: {status}");
    }
    w.get(&format!("{maps}?resourceVersion=0&resourceVersionMatch=NotOlderThan")).await.is(200);
    for name in ["a", "b"] {
        w.post(&maps, &map(name)).await.is(201);
    }
    let first = w.get(&format!("{maps}?limit=1")).await.is(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let version = version(&first);
    w.get(&format!("{maps}?continue={token}&resourceVersion={version}")).await.refused(400, "BadRequest");
    let both =
        w.get(&format!("{maps}?continue={token}&resourceVersion={version}&resourceVersionMatch=Exact")).await;
    both.refused(422, "Invalid");
}

async fn versions(w: World) {
    let maps = w.core("configmaps");
    let made = w.post(&maps, &map("m")).await.is(201);
    let list = w.get(&maps).await.is(200);
    assert!(version(&list).parse::<u64>().unwrap() >= version(&made).parse::<u64>().unwrap());
    w.get(&format!("{maps}?resourceVersion=0")).await.is(200);
    w.get(&format!("{maps}?resourceVersion={}&resourceVersionMatch=NotOlderThan", version(&made)))
        .await
        .is(200);
    let exact =
        w.get(&format!("{maps}?resourceVersion={}&resourceVersionMatch=Exact", version(&list))).await.is(200);
    assert_eq!(version(&exact), version(&list));
    let future = version(&list).parse::<u64>().unwrap() + 1_000_000;
    let status = w.get(&format!("{maps}?resourceVersion={future}")).await.refused(504, "Timeout");
    assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge", "{status}");
    w.get(&format!("{maps}?resourceVersion=nonsense")).await.is(400);
}

async fn tables(w: World) {
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    w.post(&w.jobs(), &prowjob("j")).await.is(201);
    w.post(&w.core("pods"), &pod("p")).await.is(201);
    let columns = |t: &Value| -> Vec<String> {
        t["columnDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let table = w.get_as(&w.jobs(), accept).await.is(200);
    assert_eq!(table["kind"], "Table");
    let expected =
        ["Name", "Job", "BuildId", "Type", "Org", "Repo", "Pulls", "StartTime", "CompletionTime", "State"];
    assert_eq!(columns(&table), expected);
    let row = &table["rows"][0];
    assert_eq!(
        (&row["cells"][0], &row["cells"][1], &row["cells"][9]),
        (&json!("j"), &json!("unit"), &json!("triggered"))
    );
    assert_eq!(row["cells"][6], "7");
    assert_eq!(row["object"]["metadata"]["name"], "j");
    let table = w.get_as(&w.core("pods"), accept).await.is(200);
    let expected =
        ["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"];
    assert_eq!(columns(&table), expected);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..3], [json!("p"), json!("0/1"), json!("Pending")]);
    let table = w.get_as(&format!("{}/p?includeObject=None", w.core("pods")), accept).await.is(200);
    assert!(table["rows"][0]["object"].is_null());
}

async fn metadata_only(w: World) {
    w.post(&w.jobs(), &prowjob("j")).await.is(201);
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = w.get_as(&w.jobs(), accept).await.is(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["name"], "j");
    assert!(list["items"][0].get("spec").is_none());
    let one = w
        .get_as(&format!("{}/j", w.jobs()), "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
        .await;
    assert_eq!(one.is(200)["kind"], "PartialObjectMetadata");
}
