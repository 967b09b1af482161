//! What the last cycle did, as Prometheus reads it (prow-runtime §13).

use prow_service::metrics::{self, Gauge, IntGauge, IntGaugeVec};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

/// How many, by reason.
pub type ByReason = BTreeMap<String, i64>;

/// What one cycle met and did.
#[derive(Debug, Default)]
pub struct Seen {
    /// Pods of ours in the clusters that answered.
    pub pods: i64,
    /// ProwJobs.
    pub prowjobs: i64,
    /// Pods that were deleted.
    pub pods_removed: ByReason,
    /// Pods that could not be, by the API's reason.
    pub pod_errors: ByReason,
    /// ProwJobs that were deleted.
    pub prowjobs_cleaned: ByReason,
    /// ProwJobs that could not be, by the API's reason.
    pub prowjob_errors: ByReason,
}

struct Metrics {
    pods: IntGauge,
    prowjobs: IntGauge,
    seconds: Gauge,
    pods_removed: IntGaugeVec,
    pod_errors: IntGaugeVec,
    prowjobs_cleaned: IntGaugeVec,
    prowjob_errors: IntGaugeVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let by_reason = |name, help| metrics::gauges(name, help, &["reason"]);
    Metrics {
        pods: metrics::gauge("sinker_pods_existing", "Pods of ProwJobs that the last cycle met"),
        prowjobs: metrics::gauge("sinker_prow_jobs_existing", "ProwJobs that the last cycle met"),
        seconds: metrics::fraction("sinker_loop_duration_seconds", "How long the last cycle took"),
        pods_removed: by_reason("sinker_pods_removed", "Pods that the last cycle deleted"),
        pod_errors: by_reason("sinker_pod_removal_errors", "Pods that the last cycle could not delete"),
        prowjobs_cleaned: by_reason("sinker_prow_jobs_cleaned", "ProwJobs that the last cycle deleted"),
        prowjob_errors: by_reason(
            "sinker_prow_jobs_cleaning_errors",
            "ProwJobs that the last cycle could not delete",
        ),
    }
});

/// Counts one.
pub fn count(by: &mut ByReason, reason: &str) {
    *by.entry(reason.to_owned()).or_default() += 1;
}

/// Counts a deletion that failed.
pub fn failed(by: &mut ByReason, error: &kube::Error) {
    count(
        by,
        match error {
            kube::Error::Api(status) if !status.reason.is_empty() => &status.reason,
            _ => "unknown",
        },
    );
}

/// Shows what a cycle did in the place of what the one before did.
pub fn show(seen: &Seen, took: Duration) {
    let all = &*METRICS;
    all.pods.set(seen.pods);
    all.prowjobs.set(seen.prowjobs);
    all.seconds.set(took.as_secs_f64());
    for (metric, by) in [
        (&all.pods_removed, &seen.pods_removed),
        (&all.pod_errors, &seen.pod_errors),
        (&all.prowjobs_cleaned, &seen.prowjobs_cleaned),
        (&all.prowjob_errors, &seen.prowjob_errors),
    ] {
        metric.reset();
        for (reason, count) in by {
            metric.with_label_values(&[reason]).set(*count);
        }
    }
}
