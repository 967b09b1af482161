//! What the tests share: a server in a temporary directory, objects to put into it, raw requests.
//! Each test program uses its part of it.
#![allow(dead_code)]

use axum::Router;
use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::Request;
use prow_apiserver::{ApiServer, Options};
use serde_json::{Value, json};
use tower::ServiceExt;

/// A server and the directory it lives in.
pub struct World {
    pub dir: tempfile::TempDir,
    pub server: ApiServer,
}

impl World {
    pub fn new() -> World {
        World::with(Options { sync: false, ..Options::default() })
    }

    pub fn with(options: Options) -> World {
        let dir = tempfile::tempdir().unwrap();
        let server = ApiServer::open(dir.path(), options).unwrap();
        World { dir, server }
    }

    /// Sends a request; gives status code and body.
    pub async fn call(&self, method: &str, path: &str, content_type: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        call(self.server.router(), method, path, content_type, body).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, "", Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, "application/json", body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("PUT", path, "application/json", body).await
    }

    pub async fn merge(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("PATCH", path, "application/merge-patch+json", body).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.call("DELETE", path, "application/json", Value::Null).await
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Events {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.server.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Events { body: response.into_body().into_data_stream(), buffer: Vec::new() }
    }
}

pub async fn call(
    router: Router,
    method: &str,
    path: &str,
    content_type: &str,
    body: String,
) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    let response = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let code = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))))
}

/// The events of a watch, as they come.
pub struct Events {
    body: BodyDataStream,
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
            self.buffer.extend_from_slice(&self.body.next().await?.unwrap());
        }
    }

    /// The next event as `TYPE name`.
    pub async fn brief(&mut self) -> String {
        match self.next().await {
            Some(e) => format!(
                "{} {}",
                e["type"].as_str().unwrap(),
                e["object"]["metadata"]["name"].as_str().unwrap_or("-")
            ),
            None => "end".to_owned(),
        }
    }
}

pub const JOBS: &str = "/apis/prow.k8s.io/v1/namespaces/default/prowjobs";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub fn prowjob(name: &str) -> Value {
    json!({
        "apiVersion": "prow.k8s.io/v1", "kind": "ProwJob",
        "metadata": {"name": name, "namespace": "default", "labels": {"prow.k8s.io/type": "presubmit"}},
        "spec": {"job": "unit", "type": "presubmit", "agent": "kubernetes",
                 "refs": {"org": "acme", "repo": "app", "pulls": [{"number": 7, "author": "ann", "sha": "abc"}]},
                 "pod_spec": {"containers": [{"name": "test", "image": "busybox", "command": ["true"]}]}},
        "status": {"state": "triggered", "build_id": "1001", "startTime": "2026-11-22T07:00:00Z"},
    })
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "test", "image": "busybox"}]},
    })
}

pub fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}
