//! What is asked of Deck, how long it takes and how much it sends, as Prometheus reads it (prow-runtime §13).

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::USER_AGENT;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use prow_service::metrics::{self, HistogramVec};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Instant;

const LABELS: [&str; 4] = ["path", "method", "status", "user_agent"];
/// Seconds.
const DURATIONS: [f64; 14] =
    [0.005, 0.0078125, 0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0];
/// Bytes.
const SIZES: [f64; 12] = [
    16384.0, 32768.0, 65536.0, 131072.0, 262144.0, 524288.0, 1048576.0, 2097152.0, 4194304.0, 8388608.0,
    16777216.0, 33554432.0,
];
/// Whoever asks says who they are: so many different answers are kept apart.
const AGENTS: usize = 50;
const LONGEST_AGENT: usize = 200;

struct Metrics {
    durations: HistogramVec,
    sizes: HistogramVec,
    agents: Mutex<BTreeSet<String>>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    durations: metrics::histograms(
        "deck_http_request_duration_seconds",
        "From a request to the end of its answer",
        &LABELS,
        &DURATIONS,
    ),
    sizes: metrics::histograms("deck_http_response_size_bytes", "Bodies of answers", &LABELS, &SIZES),
    agents: Mutex::default(),
});

/// Counts a request, when its answer has gone or was given up.
pub async fn count(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let path = template(request.uri().path()).to_owned();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let agent = request.headers().get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let agent = kept(&mut METRICS.agents.lock(), agent);
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    let labels = [path, method, status, agent];
    response.map(|inner| Body::new(Counted { inner, sent: 0, began, labels }))
}

/// Upstream's templates, then those of pages that only this Deck has. The first that fits is a path's label; `:path` takes
/// the rest of a path, any other placeholder one part of it.
const TEMPLATES: [&str; 48] = [
    "/",
    "/badge.svg",
    "/command-help",
    "/config",
    "/configured-jobs",
    "/configured-jobs/:org",
    "/data.js",
    "/favicon.ico",
    "/github-login",
    "/github-login/redirect",
    "/github-link",
    "/git-provider-link",
    "/job-history",
    "/job-history/:job",
    "/log",
    "/plugin-config",
    "/plugin-help",
    "/plugins",
    "/pr",
    "/pr-data.js",
    "/pr-history",
    "/prowjob",
    "/prowjobs.js",
    "/rerun",
    "/spyglass",
    "/spyglass/static",
    "/spyglass/static/:path",
    "/spyglass/lens",
    "/spyglass/lens/:lens",
    "/spyglass/lens/:lens/:job",
    "/static",
    "/static/:path",
    "/tide",
    "/tide-history",
    "/tide-history.js",
    "/tide.js",
    "/view",
    "/view/:job",
    "/view/gs/:bucket",
    "/view/gs/:bucket/logs",
    "/view/gs/:bucket/logs/:job",
    "/view/gs/:bucket/logs/:job/:build",
    "/jobs",
    "/live",
    "/lines/:path",
    "/artifacts/:path",
    "/branding.css",
    "/healthz",
];

/// The label of a path. As upstream's, it is `unmatched` for several pages, such as a pull request's runs.
fn template(path: &str) -> &'static str {
    TEMPLATES.into_iter().find(|template| fits(template, path)).unwrap_or("unmatched")
}

fn fits(template: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    for known in template.split('/') {
        match parts.next() {
            Some(_) if known == ":path" => return true,
            Some(part) if known.starts_with(':') || known == part => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

fn kept(agents: &mut BTreeSet<String>, agent: &str) -> String {
    if agent.len() > LONGEST_AGENT || !agents.contains(agent) && agents.len() >= AGENTS {
        return "other".to_owned();
    }
    agents.insert(agent.to_owned());
    agent.to_owned()
}

struct Counted {
    inner: Body,
    sent: u64,
    began: Instant,
    labels: [String; 4],
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        METRICS.durations.with_label_values(&self.labels).observe(self.began.elapsed().as_secs_f64());
        METRICS.sizes.with_label_values(&self.labels).observe(self.sent as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_few_whoever_asks() {
        for (path, want) in [
            ("/", "/"),
            ("/view/gs/b/logs/j/1", "/view/gs/:bucket/logs/:job/:build"),
            ("/view/gs", "/view/:job"),
            ("/view/gs/b/pr-logs/pull/o_r/7/j/1", "unmatched"),
            ("/job-history/gs/b/logs/j", "unmatched"),
            ("/configured-jobs/org", "/configured-jobs/:org"),
            ("/static/v/style.css", "/static/:path"),
            ("/artifacts/gs/b/logs/j/1/a.txt", "/artifacts/:path"),
            ("/prowjobs.js", "/prowjobs.js"),
            ("/wp-login.php", "unmatched"),
        ] {
            assert_eq!(template(path), want);
        }
        let mut agents = BTreeSet::new();
        assert_eq!(kept(&mut agents, "curl/8"), "curl/8");
        for number in 0..1000 {
            kept(&mut agents, &format!("agent-{number}"));
        }
        assert_eq!((agents.len(), kept(&mut agents, "curl/8").as_str()), (AGENTS, "curl/8"));
        assert_eq!(kept(&mut agents, "another"), "other");
        assert_eq!(kept(&mut BTreeSet::new(), &"x".repeat(5000)), "other");
    }
}
