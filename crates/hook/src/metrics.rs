//! Webhooks and what plugins make of them, as Prometheus reads it (prow-runtime §13).

use prow_service::metrics::{self, HistogramVec, IntCounterVec};
use std::sync::LazyLock;
use std::time::Duration;

/// Seconds.
const BUCKETS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0];
const HANDLED: [&str; 4] = ["event_type", "action", "plugin", "took_action"];

struct Metrics {
    webhooks: IntCounterVec,
    answers: IntCounterVec,
    durations: HistogramVec,
    errors: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    webhooks: metrics::counters("prow_webhook_counter", "Genuine webhooks", &["event_type"]),
    answers: metrics::counters("prow_webhook_response_codes", "Answers to webhooks", &["response_code"]),
    durations: metrics::histograms(
        "prow_plugin_handle_duration_seconds",
        "How long plugins took over events that they want, each try by itself",
        &HANDLED,
        &BUCKETS,
    ),
    errors: metrics::counters("prow_plugin_handle_errors", "Tries of plugins that failed", &HANDLED),
});

/// A webhook that GitHub has signed.
pub(crate) fn webhook(event_type: &str) {
    METRICS.webhooks.with_label_values(&[event_type]).inc();
}

/// An answer to whatever came in.
pub(crate) fn answered(code: http::StatusCode) {
    METRICS.answers.with_label_values(&[code.as_str()]).inc();
}

/// A plugin's try. A plugin that wants nothing of an event is not asked, so every try took action.
pub(crate) fn handled(event_type: &str, action: Option<&str>, plugin: &str, took: Duration, failed: bool) {
    let labels = [event_type, action.unwrap_or("none"), plugin, "true"];
    METRICS.durations.with_label_values(&labels).observe(took.as_secs_f64());
    if failed {
        METRICS.errors.with_label_values(&labels).inc();
    }
}
