//! How reporting goes, as Prometheus reads it (prow-runtime §13).

use prow_api::ProwJob;
use prow_service::clock::Clock;
use prow_service::metrics::{self, HistogramVec, IntCounterVec};
use std::sync::LazyLock;

/// Seconds.
const BUCKETS: [f64; 15] =
    [1.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 2700.0, 3600.0, 5400.0, 7200.0];

struct Metrics {
    latency: HistogramVec,
    results: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let help = "Seconds from a job's end to the end of its report";
    Metrics {
        latency: metrics::histograms("crier_report_latency", help, &["reporter"], &BUCKETS),
        results: metrics::counters("crier_reporting_results", "Reports", &["reporter", "result"]),
    }
});

/// Counts a report of a ProwJob that has just ended.
pub fn reported(reporter: &str, job: &ProwJob, clock: &dyn Clock, went_well: bool) {
    let result = if went_well { "SUCCESS" } else { "ERROR" };
    METRICS.results.with_label_values(&[reporter, result]).inc();
    if let Some(ended) = job.status.completion_time.as_ref().filter(|_| went_well) {
        let seconds = clock.now().duration_since(ended.0).as_secs_f64();
        METRICS.latency.with_label_values(&[reporter]).observe(seconds.max(0.0));
    }
}
