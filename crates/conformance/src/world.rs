//! What a case works with: raw requests through a `kube::Client`, watches, objects to put into its namespace.
// A case is a test, and helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::Server;

/// Longest wait for a watch event that has to come.
const EVENT: Duration = Duration::from_secs(60);

/// A server and a namespace in it.
pub struct World {
    /// For kube-rs' own machinery.
    pub server: Server,
    /// The case's own namespace.
    pub namespace: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as JSON; as a JSON string if it is none.
    pub body: Value,
}

impl Answer {
    /// The body, if the code is this one.
    #[track_caller]
    pub fn is(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.body);
        self.body
    }

    /// The `Status`, if the code and reason are these.
    #[track_caller]
    pub fn refused(self, code: u16, reason: &str) -> Value {
        assert_eq!((self.code, self.body["reason"].as_str()), (code, Some(reason)), "{}", self.body);
        assert_eq!((&self.body["kind"], &self.body["status"]), (&json!("Status"), &json!("Failure")));
        assert_eq!(self.body["code"], code);
        self.body
    }
}

/// The causes of a refusal, as fields.
pub fn fields(status: &Value) -> Vec<String> {
    let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    causes.iter().map(|c| c["field"].as_str().unwrap_or("").to_owned()).collect()
}

/// `metadata.resourceVersion`.
pub fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// Names of a list's items, in order.
pub fn names(list: &Value) -> Vec<String> {
    let name = |i: &Value| i["metadata"]["name"].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(name).collect()
}

/// Sends a request with any client.
pub async fn send(
    client: &Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = match body {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        body => body.to_string().into_bytes(),
    };
    let response = client.send(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
    Answer { code: parts.status.as_u16(), headers: parts.headers, body }
}

impl World {
    /// A namespace that no other case has.
    pub async fn new(server: Server, number: usize) -> World {
        let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": format!("case{number}-")}});
        let json = [("content-type", "application/json")];
        let made = send(&server.admin, "POST", "/api/v1/namespaces", &json, &made).await.is(201);
        World { server, namespace: made["metadata"]["name"].as_str().unwrap().to_owned() }
    }

    /// Path of a core kind's collection in the namespace.
    pub fn core(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.namespace)
    }

    /// Path of the ProwJobs in the namespace.
    pub fn jobs(&self) -> String {
        format!("/apis/prow.k8s.io/v1/namespaces/{}/prowjobs", self.namespace)
    }

    /// Path of the Leases in the namespace.
    pub fn leases(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        send(&self.server.admin, "GET", path, &[], &Value::Null).await
    }

    /// GET with an `Accept`.
    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        send(&self.server.admin, "GET", path, &[("accept", accept)], &Value::Null).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        send(&self.server.admin, "POST", path, &[("content-type", "application/json")], body).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        send(&self.server.admin, "PUT", path, &[("content-type", "application/json")], body).await
    }

    /// PATCH; `kind` is `merge-patch`, `json-patch`, `strategic-merge-patch`.
    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let kind = format!("application/{kind}+json");
        send(&self.server.admin, "PATCH", path, &[("content-type", &kind)], body).await
    }

    /// A merge patch.
    pub async fn merge(&self, path: &str, body: &Value) -> Answer {
        self.patch(path, "merge-patch", body).await
    }

    /// A server-side apply.
    pub async fn apply(&self, path: &str, manager: &str, force: bool, body: &Value) -> Answer {
        let path = format!("{path}?fieldManager={manager}&force={force}");
        let kind = [("content-type", "application/apply-patch+yaml")];
        send(&self.server.admin, "PATCH", &path, &kind, body).await
    }

    /// DELETE, with options unless they are null.
    pub async fn delete(&self, path: &str, options: &Value) -> Answer {
        send(&self.server.admin, "DELETE", path, &[("content-type", "application/json")], options).await
    }

    /// Opens a watch; the path has its query.
    pub async fn watch(&self, path: &str) -> Events {
        self.watch_as(path, "application/json").await
    }

    /// Opens a watch with an `Accept`.
    pub async fn watch_as(&self, path: &str, accept: &str) -> Events {
        let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
        let response = self.server.admin.send(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Events { body: response.into_body(), buffer: Vec::new() }
    }
}

/// The events of a watch, as they come.
pub struct Events {
    body: Body,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event; `None` at the end of the watch.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame =
                tokio::time::timeout(EVENT, self.body.frame()).await.expect("an event comes in time")?;
            let data: Bytes = frame.unwrap().into_data().unwrap_or_default();
            self.buffer.extend_from_slice(&data);
        }
    }

    /// The next event as `TYPE name`; `end` at the end.
    pub async fn brief(&mut self) -> String {
        match self.next().await {
            None => "end".to_owned(),
            Some(e) => {
                let text = |v: &Value| v.as_str().unwrap_or("-").to_owned();
                format!("{} {}", text(&e["type"]), text(&e["object"]["metadata"]["name"]))
            }
        }
    }
}

/// A ConfigMap.
pub fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// A ConfigMap with a label.
pub fn labelled(name: &str, key: &str, value: &str) -> Value {
    let mut map = map(name);
    map["metadata"]["labels"] = json!({key: value});
    map
}

/// A Pod.
pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "test"}},
        "spec": {"containers": [{"name": "test", "image": "busybox"}]},
    })
}

/// A ProwJob.
pub fn prowjob(name: &str) -> Value {
    json!({
        "apiVersion": "prow.k8s.io/v1", "kind": "ProwJob",
        "metadata": {"name": name, "labels": {"prow.k8s.io/type": "presubmit"}},
        "spec": {"job": "unit", "type": "presubmit", "agent": "kubernetes",
                 "refs": {"org": "acme", "repo": "app", "pulls": [{"number": 7, "author": "ann", "sha": "abc"}]},
                 "pod_spec": {"containers": [{"name": "test", "image": "busybox", "command": ["true"]}]}},
        "status": {"state": "triggered", "build_id": "1001", "startTime": "2026-11-22T07:00:00Z"},
    })
}
