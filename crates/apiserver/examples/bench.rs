//! Figures of the embedded API server: creates with and without sync, a large list, watch fan-out, memory.
//!
//! `cargo run --release -p prow-apiserver --example bench [OBJECTS]` prints one line a figure.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use futures::StreamExt;
use http::{Method, Request};
use prow_apiserver::{ApiServer, Options};
use serde_json::{Value, json};
use tower::ServiceExt;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const JOBS: &str = "/apis/prow.k8s.io/v1/namespaces/default/prowjobs";
const WRITERS: usize = 64;
const WATCHERS: usize = 100;

fn job(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"prow.k8s.io/type": "presubmit", "created-by-prow": "true"}},
        "spec": {"job": "pull-unit", "type": "presubmit", "agent": "kubernetes", "cluster": "default",
                 "refs": {"org": "acme", "repo": "app", "base_ref": "main",
                          "pulls": [{"number": 7, "author": "ann", "sha": "0123456789abcdef0123456789abcdef01234567"}]},
                 "pod_spec": {"containers": [{"name": "test", "image": "golang:1.27", "command": ["make", "test"],
                              "env": [{"name": "TEXT", "value": "x".repeat(1024)}]}]}},
        "status": {"state": "triggered", "startTime": "2026-11-22T07:00:00Z"},
    })
}

async fn send(router: Router, method: Method, path: &str, body: Value) -> Outcome<usize> {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = Request::builder().method(method).uri(path).header("content-type", kind).body(body)?;
    let response = router.oneshot(request).await?;
    let status = response.status();
    // Taken chunk by chunk, as a socket would.
    let mut stream = response.into_body().into_data_stream();
    let mut size = 0;
    while let Some(chunk) = stream.next().await {
        size += chunk?.len();
    }
    if status.is_success() { Ok(size) } else { Err(format!("{path}: {status}").into()) }
}

async fn creates(server: &ApiServer, count: usize) -> Outcome<f64> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let router = server.router();
            tokio::spawn(async move {
                for i in (writer..count).step_by(WRITERS) {
                    send(router.clone(), Method::POST, JOBS, job(&format!("job-{i:06}"))).await?;
                }
                Outcome::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn resident_mb() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    // Without the program's own pages, of which a debug build has many.
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).ok_or("no RssAnon")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse::<f64>()? / 1024.0)
}

async fn fan_out(server: &ApiServer, rounds: usize) -> Outcome<(Duration, Duration)> {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..WATCHERS {
        let path = format!("{JOBS}?watch=true&fieldSelector=metadata.name%3Djob-000000");
        let response = server.router().oneshot(Request::get(path).body(Body::empty())?).await?;
        let mut stream = response.into_body().into_data_stream();
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Some(Ok(_)) = stream.next().await {
                if sender.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
    }
    for _ in 0..WATCHERS {
        seen.recv().await.ok_or("a watcher ended")?;
    }
    let mut delays = Vec::new();
    for round in 0..rounds {
        let start = Instant::now();
        let patch = json!({"status": {"description": round.to_string()}});
        send(server.router(), Method::PATCH, &format!("{JOBS}/job-000000"), patch).await?;
        for _ in 0..WATCHERS {
            delays.push(seen.recv().await.ok_or("a watcher ended")?.duration_since(start));
        }
    }
    delays.sort();
    Ok((delays[delays.len() / 2], delays[delays.len() * 99 / 100]))
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Outcome<()> {
    println!("resident {:.0} MB (anonymous)", resident_mb()?);
    let count: usize = std::env::args().nth(1).map_or(Ok(10_000), |n| n.parse())?;
    for sync in [true, false] {
        let dir = tempfile::tempdir()?;
        let server = ApiServer::open(dir.path(), Options { sync, ..Options::default() })?;
        println!("creates, {WRITERS} writers, sync {sync}: {:.0}/s", creates(&server, count).await?);
        println!("resident {:.0} MB (anonymous)", resident_mb()?);
        if sync {
            continue;
        }
        for what in ["", "?labelSelector=created-by-prow%3Dtrue"] {
            let start = Instant::now();
            let size = send(server.router(), Method::GET, &format!("{JOBS}{what}"), Value::Null).await?;
            let took = start.elapsed();
            println!("resident {:.0} MB (anonymous)", resident_mb()?);
            println!(
                "list of {count} ({:.1} MB) {what}: {:.0} ms",
                size as f64 / 1e6,
                took.as_secs_f64() * 1e3
            );
        }
        let (median, p99) = fan_out(&server, 100).await?;
        println!("write to all of {WATCHERS} watchers: median {median:.1?}, p99 {p99:.1?}");
        let file = std::fs::metadata(dir.path().join(prow_apiserver::FILE_NAME))?.len();
        println!("resident {:.0} MB (anonymous), file {:.0} MB", resident_mb()?, file as f64 / 1e6);
        let request = Request::get("/healthz").body(Body::empty())?;
        let healthy = to_bytes(server.router().oneshot(request).await?.into_body(), 16).await?;
        println!("health: {}", String::from_utf8_lossy(&healthy));
    }
    Ok(())
}
