//! Core kinds: Pods with their defaults, limits of change, binding, endings and logs; Secrets, Events, Leases, namespaces.
// A case is a test: a failed unwrap is a failed case.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::cases;
use crate::Case;
use crate::world::{World, fields, map, names, pod, version};

pub const CASES: &[Case] = cases! {
    "Pods get their defaults" => pod_defaults,
    "Pods that cannot be are refused" => pod_refusals,
    "resources are quantities" => quantities,
    "a running Pod's spec does not change" => pod_changes,
    "status and spec are written apart" => pod_status,
    "a Pod is bound to a node once" => binding,
    "a bound Pod ends gracefully" => pod_deletion,
    "logs are asked for properly" => logs,
    "Secrets take plain text" => secrets,
    "Events are found by what they are about" => events,
    "Leases are taken by version" => leases,
    "a namespace holds what is in it" => namespaces,
    "service accounts and nodes are kept" => others,
};

async fn pod_defaults(w: World) {
    let mut body = pod("p");
    body["status"] = json!({"phase": "Running"});
    body["spec"]["containers"] = json!([
        {"name": "a", "image": "busybox", "ports": [{"containerPort": 80}],
         "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
         "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        {"name": "b", "image": "busybox:1.36"},
    ]);
    body["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "c"}}, {"name": "e"}]);
    let made = w.post(&w.core("pods"), &body).await.is(201);
    let spec = &made["spec"];
    for (member, expected) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
        ("enableServiceLinks", json!(true)),
    ] {
        assert_eq!(spec[member], expected, "{member}");
    }
    let a = &spec["containers"][0];
    assert_eq!(
        (&a["imagePullPolicy"], &spec["containers"][1]["imagePullPolicy"]),
        (&json!("Always"), &json!("IfNotPresent"))
    );
    assert_eq!(
        (&a["terminationMessagePath"], &a["terminationMessagePolicy"]),
        (&json!("/dev/termination-log"), &json!("File"))
    );
    assert_eq!(a["ports"][0]["protocol"], "TCP");
    assert_eq!(a["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(a["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    let volumes = spec["volumes"].as_array().unwrap();
    let volume = |name: &str| volumes.iter().find(|v| v["name"] == name).unwrap();
    assert_eq!(volume("v")["configMap"]["defaultMode"], 420);
    assert_eq!(volume("e")["emptyDir"], json!({}));
    assert_eq!(made["status"]["phase"], "Pending", "a client does not say how a new Pod is");
    assert_eq!(made["status"]["qosClass"], "Burstable");
    assert_eq!(made["metadata"]["generation"], 1);
}

async fn pod_refusals(w: World) {
    let pods = w.core("pods");
    let with = |pointer: &str, value: Value| {
        let mut body = pod("p");
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        match body.pointer_mut(parent).unwrap() {
            Value::Object(members) => members.insert(last.to_owned(), value),
            _ => panic!("{pointer}"),
        };
        body
    };
    for (pointer, value, field) in [
        ("/spec/containers", json!([]), "spec.containers"),
        ("/spec/restartPolicy", json!("Sometimes"), "spec.restartPolicy"),
        (
            "/spec/containers",
            json!([{"name": "a", "image": "x"}, {"name": "a", "image": "y"}]),
            "spec.containers[1].name",
        ),
        ("/spec/containers", json!([{"name": "No", "image": "x"}]), "spec.containers[0].name"),
        ("/spec/containers", json!([{"name": "a"}]), "spec.containers[0].image"),
        (
            "/spec/containers",
            json!([{"name": "a", "image": "x", "imagePullPolicy": "Maybe"}]),
            "spec.containers[0].imagePullPolicy",
        ),
        (
            "/spec/containers",
            json!([{"name": "a", "image": "x", "env": [{"value": "v"}]}]),
            "spec.containers[0].env[0].name",
        ),
        (
            "/spec/containers",
            json!([{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]),
            "spec.containers[0].volumeMounts[0].name",
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]),
            "spec.volumes[1].name",
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]),
            "spec.volumes[0].secret",
        ),
        ("/spec/volumes", json!([{"name": "v", "secret": {}}]), "spec.volumes[0].secret.secretName"),
        ("/spec/volumes", json!([{"name": "v", "configMap": {}}]), "spec.volumes[0].configMap.name"),
        ("/spec/volumes", json!([{"name": "v", "hostPath": {"path": ""}}]), "spec.volumes[0].hostPath.path"),
        ("/spec/activeDeadlineSeconds", json!(0), "spec.activeDeadlineSeconds"),
        (
            "/spec/containers",
            json!([{"name": "a", "image": "x", "env": [{"name": "A=B"}]}]),
            "spec.containers[0].env[0].name",
        ),
        (
            "/spec/containers",
            json!([{"name": "a", "image": "x", "ports": [{"containerPort": 70000}]}]),
            "spec.containers[0].ports[0].containerPort",
        ),
        (
            "/spec/containers",
            json!([{"name": "a", "image": "x", "ports": [{}]}]),
            "spec.containers[0].ports[0].containerPort",
        ),
        (
            "/spec/containers",
            json!([{"name": "a", "image": "x", "securityContext": {"privileged": true, "allowPrivilegeEscalation": false}}]),
            "spec.containers[0].securityContext",
        ),
    ] {
        let status = w.post(&pods, &with(pointer, value)).await.refused(422, "Invalid");
        assert!(fields(&status).contains(&field.to_owned()), "{field}: {status}");
    }
    w.post(&pods, &with("/spec/hostname", json!(1))).await.refused(400, "BadRequest");
}

async fn quantities(w: World) {
    let pods = w.core("pods");
    let with = |name: &str, resources: Value| {
        let mut body = pod(name);
        body["spec"]["containers"][0]["resources"] = resources;
        body
    };
    let made = w.post(&pods, &with("p", json!({"limits": {"cpu": 1, "memory": "1Gi"}}))).await.is(201);
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources["limits"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(resources["requests"], resources["limits"]);
    w.post(&pods, &with("q", json!({"limits": {"cpu": "lots"}}))).await.refused(400, "BadRequest");
    let above = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1500m"}});
    let status = w.post(&pods, &with("q", above)).await.refused(422, "Invalid");
    assert_eq!(fields(&status), ["spec.containers[0].resources.requests"]);
    let below = json!({"limits": {"memory": "-1"}});
    let status = w.post(&pods, &with("q", below)).await.refused(422, "Invalid");
    assert!(fields(&status).contains(&"spec.containers[0].resources.limits[memory]".to_owned()), "{status}");
}

async fn pod_changes(w: World) {
    let pods = w.core("pods");
    let at = format!("{pods}/p");
    w.post(&pods, &pod("p")).await.is(201);
    let image = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "busybox:2"}]);
    let changed = w.patch(&at, "json-patch", &image).await.is(200);
    assert_eq!(changed["metadata"]["generation"], 2);
    let command = json!([{"op": "add", "path": "/spec/containers/0/command", "value": ["sh"]}]);
    let status = w.patch(&at, "json-patch", &command).await.refused(422, "Invalid");
    assert_eq!(fields(&status), ["spec"]);
    w.merge(&at, &json!({"spec": {"activeDeadlineSeconds": 60}})).await.is(200);
    w.merge(&at, &json!({"spec": {"restartPolicy": "Never"}})).await.refused(422, "Invalid");
}

async fn pod_status(w: World) {
    let pods = w.core("pods");
    let at = format!("{pods}/p");
    let made = w.post(&pods, &pod("p")).await.is(201);
    let mut both = made.clone();
    both["status"]["phase"] = json!("Running");
    both["metadata"]["labels"]["by"] = json!("main");
    let main = w.put(&at, &both).await.is(200);
    assert_eq!(
        (&main["status"]["phase"], &main["metadata"]["labels"]["by"]),
        (&json!("Pending"), &json!("main"))
    );
    let mut both = main.clone();
    both["status"]["phase"] = json!("Running");
    both["spec"]["activeDeadlineSeconds"] = json!(5);
    let status = w.put(&format!("{at}/status"), &both).await.is(200);
    assert_eq!(status["status"]["phase"], "Running");
    assert!(status["spec"].get("activeDeadlineSeconds").is_none());
    assert_eq!(w.get(&format!("{at}/status")).await.is(200), status);
}

async fn binding(w: World) {
    let pods = w.core("pods");
    w.post(&pods, &pod("p")).await.is(201);
    let bind = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"}});
    w.post(&format!("{pods}/p/binding"), &bind).await.is(201);
    let bound = w.get(&format!("{pods}/p")).await.is(200);
    assert_eq!(bound["spec"]["nodeName"], "node-1");
    let conditions = bound["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "PodScheduled" && c["status"] == "True"));
    w.post(&format!("{pods}/p/binding"), &bind).await.refused(409, "Conflict");
    let mut absent = bind.clone();
    absent["metadata"]["name"] = json!("absent");
    w.post(&format!("{pods}/absent/binding"), &absent).await.refused(404, "NotFound");
    let found = w.get(&format!("{pods}?fieldSelector=spec.nodeName%3Dnode-1")).await.is(200);
    assert_eq!(names(&found), ["p"]);
}

async fn pod_deletion(w: World) {
    let pods = w.core("pods");
    let at = format!("{pods}/p");
    // Bound to no node, it goes at once.
    w.post(&pods, &pod("p")).await.is(201);
    w.delete(&at, &Value::Null).await.is(200);
    w.get(&at).await.refused(404, "NotFound");
    let mut body = pod("p");
    body["spec"]["nodeName"] = json!("node-1");
    w.post(&pods, &body).await.is(201);
    let going = w.delete(&at, &json!({"gracePeriodSeconds": 20})).await.is(200);
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 20);
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let sooner = w.delete(&at, &json!({"gracePeriodSeconds": 5})).await.is(200);
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 5);
    let later = w.delete(&at, &json!({"gracePeriodSeconds": 60})).await.is(200);
    assert_eq!(later["metadata"]["deletionGracePeriodSeconds"], 5);
    // Its kubelet ends it so.
    w.delete(&at, &json!({"gracePeriodSeconds": 0})).await.is(200);
    w.get(&at).await.refused(404, "NotFound");
    w.post(&pods, &body).await.is(201);
    w.merge(&format!("{at}/status"), &json!({"status": {"phase": "Succeeded"}})).await.is(200);
    w.delete(&at, &Value::Null).await.is(200);
    w.get(&at).await.refused(404, "NotFound");
}

async fn logs(w: World) {
    let pods = w.core("pods");
    w.get(&format!("{pods}/absent/log")).await.refused(404, "NotFound");
    let mut body = pod("p");
    body["spec"]["containers"] = json!([{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]);
    w.post(&pods, &body).await.is(201);
    let status = w.get(&format!("{pods}/p/log")).await.refused(400, "BadRequest");
    let message = "a container name must be specified for pod p, choose one of: [a b]";
    assert_eq!(status["message"], message);
    let status = w.get(&format!("{pods}/p/log?container=c")).await.refused(400, "BadRequest");
    assert_eq!(status["message"], "container c is not valid for pod p");
    w.get(&format!("{pods}/p/log?container=a&sinceSeconds=1&sinceTime=2026-11-22T07:00:00Z")).await.is(422);
}

async fn secrets(w: World) {
    let secrets = w.core("secrets");
    let body =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}});
    let made = w.post(&secrets, &body).await.is(201);
    assert_eq!((&made["data"]["k"], &made["type"]), (&json!("dg=="), &json!("Opaque")));
    assert!(made.get("stringData").is_none());
    let mut wrong = body.clone();
    wrong["metadata"]["name"] = json!("t");
    wrong["data"] = json!({"k": "not base64!"});
    w.post(&secrets, &wrong).await.refused(400, "BadRequest");
    wrong["data"] = json!({"not/a key": "dg=="});
    w.post(&secrets, &wrong).await.refused(422, "Invalid");
    let changed = w.merge(&format!("{secrets}/s"), &json!({"type": "example.com/other"})).await;
    changed.refused(422, "Invalid");
    let found = w.get(&format!("{secrets}?fieldSelector=type%3DOpaque")).await.is(200);
    assert_eq!(names(&found), ["s"]);
}

async fn events(w: World) {
    let events = w.core("events");
    let event = |name: &str, about: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": about, "namespace": w.namespace, "uid": "u"},
            "reason": "Started", "message": "Started container", "type": "Normal", "count": 1,
            "firstTimestamp": "2026-11-22T07:00:00Z", "lastTimestamp": "2026-11-22T07:00:00Z",
            "source": {"component": "kubelet"},
        })
    };
    w.post(&events, &event("a", "p")).await.is(201);
    w.post(&events, &event("b", "q")).await.is(201);
    for (selector, expected) in [
        ("involvedObject.name%3Dp", vec!["a"]),
        ("involvedObject.kind%3DPod,involvedObject.name%3Dq", vec!["b"]),
        ("reason%3DStarted,type%3DNormal", vec!["a", "b"]),
        ("type%3DWarning", vec![]),
    ] {
        let found = w.get(&format!("{events}?fieldSelector={selector}")).await.is(200);
        assert_eq!(names(&found), expected, "{selector}");
    }
    let patched =
        w.patch(&format!("{events}/a"), "strategic-merge-patch", &json!({"count": 2})).await.is(200);
    assert_eq!(patched["count"], 2);
}

async fn leases(w: World) {
    let leases = w.leases();
    let lease = |holder: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0,
                     "acquireTime": "2026-11-22T07:00:00.000001Z", "renewTime": "2026-11-22T07:00:00.123456Z"},
        })
    };
    let made = w.post(&leases, &lease("one")).await.is(201);
    assert_eq!(made["spec"]["renewTime"], "2026-11-22T07:00:00.123456Z");
    let at = format!("{leases}/leader");
    w.put(&at, &lease("two")).await.refused(422, "Invalid");
    let take = |holder: &str| {
        let mut body = lease(holder);
        body["metadata"]["resourceVersion"] = json!(version(&made));
        body
    };
    w.put(&at, &take("two")).await.is(200);
    w.put(&at, &take("three")).await.refused(409, "Conflict");
    assert_eq!(w.get(&at).await.is(200)["spec"]["holderIdentity"], "two");
}

async fn namespaces(w: World) {
    let at = format!("/api/v1/namespaces/{}", w.namespace);
    let own = w.get(&at).await.is(200);
    assert_eq!(own["status"]["phase"], "Active");
    assert_eq!(own["metadata"]["labels"]["kubernetes.io/metadata.name"], json!(w.namespace));
    let mut held = map("m");
    held["metadata"]["finalizers"] = json!(["example.com/a"]);
    w.post(&w.core("configmaps"), &held).await.is(201);
    let going = w.delete(&at, &Value::Null).await.is(200);
    assert_eq!(going["status"]["phase"], "Terminating");
    let refused = w.post(&w.core("configmaps"), &map("n")).await.refused(403, "Forbidden");
    assert!(refused["message"].as_str().unwrap().contains("because it is being terminated"), "{refused}");
    w.delete("/api/v1/namespaces/default", &Value::Null).await.refused(403, "Forbidden");
    w.post("/api/v1/namespaces", &json!({"metadata": {"name": "has.dot"}})).await.refused(422, "Invalid");
}

async fn others(w: World) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa"}, "imagePullSecrets": [{"name": "pull"}]});
    let made = w.post(&w.core("serviceaccounts"), &account).await.is(201);
    assert_eq!(made["imagePullSecrets"], json!([{"name": "pull"}]));
    let name = format!("node-{}", w.namespace);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}}});
    w.post("/api/v1/nodes", &node).await.is(201);
    let status =
        json!({"status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "2"}}});
    let at = format!("/api/v1/nodes/{name}");
    let patched = w.patch(&format!("{at}/status"), "strategic-merge-patch", &status).await.is(200);
    assert_eq!(patched["status"]["allocatable"]["cpu"], "2");
    w.delete(&at, &Value::Null).await.is(200);
}
