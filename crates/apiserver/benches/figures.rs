//! Figures of the embedded API server: creates with and without sync, a large list, watch fan-out, memory.
//!
//! `cargo bench -p prow-apiserver` prints ours beside the bound and how many times better it is (below 1 is a miss).

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

/// One line: what, ours, the bound, and their ratio. `floor` says that more is better.
fn figure(what: &str, ours: f64, bound: f64, unit: &str, floor: bool) {
    let (sign, ratio) = if floor { ('≥', ours / bound) } else { ('≤', bound / ours) };
    println!("{what:<52} {ours:>9.1} {unit:<4} {sign} {bound:>6} {unit:<4} {ratio:>6.1}x");
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
    // Cargo passes flags of its own to benchmarks.
    let count = std::env::args().skip(1).find_map(|n| n.parse().ok()).unwrap_or(10_000);
    let start = resident_mb()?;
    for (sync, bound) in [(true, 1_000.0), (false, 5_000.0)] {
        let dir = tempfile::tempdir()?;
        let server = ApiServer::open(dir.path(), Options { sync, ..Options::default() })?;
        let what = if sync { "synced to the disk" } else { "without sync" };
        figure(
            &format!("creates, {WRITERS} writers, {what}"),
            creates(&server, count).await?,
            bound,
            "/s",
            true,
        );
        if sync {
            continue;
        }
        for (what, query) in [
            ("", ""),
            (", by label", "?labelSelector=created-by-prow%3Dtrue"),
            (", in pages of 500", "?limit=500"),
        ] {
            let begin = Instant::now();
            let size = list(&server, query).await?;
            let took = begin.elapsed().as_secs_f64() * 1e3;
            figure(
                &format!("list of {count} ProwJobs ({:.0} MB){what}", size as f64 / 1e6),
                took,
                150.0,
                "ms",
                false,
            );
        }
        figure(&format!("memory with {count} ProwJobs"), resident_mb()?, 60.0, "MB", false);
        let (median, p99) = fan_out(&server, 100).await?;
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        figure(&format!("write to all of {WATCHERS} watchers, median"), ms(median), 50.0, "ms", false);
        figure(&format!("write to all of {WATCHERS} watchers, p99"), ms(p99), 50.0, "ms", false);
        figure("memory after that", resident_mb()?, 60.0, "MB", false);
        let file = std::fs::metadata(dir.path().join(prow_apiserver::FILE_NAME))?.len();
        println!("memory before anything {start:.1} MB; the store's file {:.0} MB", file as f64 / 1e6);
    }
    Ok(())
}

/// Lists all ProwJobs, page by page if the query has a limit; gives the bytes.
async fn list(server: &ApiServer, query: &str) -> Outcome<usize> {
    let paged = query.contains("limit=");
    let (mut size, mut token) = (0, String::new());
    loop {
        let path = if token.is_empty() {
            format!("{JOBS}{query}")
        } else {
            format!("{JOBS}{query}&continue={token}")
        };
        if !paged {
            return send(server.router(), Method::GET, &path, Value::Null).await;
        }
        let response = server.router().oneshot(Request::get(&path).body(Body::empty())?).await?;
        let body = to_bytes(response.into_body(), usize::MAX).await?;
        size += body.len();
        // The metadata stands behind the items.
        let text = std::str::from_utf8(&body)?;
        let next = text.rsplit_once("\"continue\":\"").and_then(|(_, rest)| rest.split('"').next());
        match next {
            Some(next) if !next.is_empty() => next.clone_into(&mut token),
            _ => return Ok(size),
        }
    }
}
