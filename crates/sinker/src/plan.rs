//! What is old enough to go. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use prow_api::duration::K8sDuration;
use prow_api::labels;
use prow_api::prowjob::{JobType, ProwJob};
use prow_config::prowconfig::Sinker;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A Pod without ProwJob is an orphan after this long; before, its ProwJob may just not be visible yet.
const ORPHAN_AGE: SignedDuration = SignedDuration::from_secs(30);

fn older(since: Timestamp, limit: K8sDuration, now: Timestamp) -> bool {
    now.duration_since(since) > SignedDuration::try_from(limit.to_std()).unwrap_or(SignedDuration::MAX)
}

/// Names of ProwJobs to delete, each with the reason: complete ones that started longer than
/// `sinker.max_prowjob_age` ago. Of a periodic that is still configured the newest stays, since horologium decides
/// from it.
pub fn prowjobs(
    jobs: &[Arc<ProwJob>],
    configured: &BTreeSet<&str>,
    sinker: &Sinker,
    now: Timestamp,
) -> Vec<(String, &'static str)> {
    let mut newest: HashMap<&str, &Arc<ProwJob>> = HashMap::new();
    for job in jobs.iter().filter(|j| j.spec.job_type == JobType::Periodic) {
        let entry = newest.entry(&job.spec.job).or_insert(job);
        if job.status.start_time > entry.status.start_time {
            *entry = job;
        }
    }
    let mut out = Vec::new();
    for job in jobs.iter().filter(|j| j.complete()) {
        let Some(started) = job.status.start_time.as_ref() else { continue };
        if !older(started.0, sinker.max_prowjob_age, now) {
            continue;
        }
        if job.spec.job_type != JobType::Periodic {
            out.push((job.name().to_owned(), "aged"));
        } else if !configured.contains(job.spec.job.as_str())
            || newest.get(job.spec.job.as_str()).is_none_or(|n| n.name() != job.name())
        {
            out.push((job.name().to_owned(), "aged-periodic"));
        }
    }
    out
}

/// What of a Pod matters here.
#[derive(Debug, Clone, PartialEq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Name of its ProwJob: the label, else the Pod's own name.
    pub prowjob: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Crier's finalizer is on it.
    pub held: bool,
    /// It is on its way out already.
    pub deleting: bool,
}

impl PodView {
    /// Looks at a Pod.
    pub fn of(pod: &Pod) -> PodView {
        let meta = &pod.metadata;
        let name = meta.name.clone().unwrap_or_default();
        let label = meta.labels.as_ref().and_then(|l| l.get(labels::PROW_JOB_ID)).cloned();
        let label = label.filter(|l| !l.is_empty());
        PodView {
            prowjob: label.unwrap_or_else(|| name.clone()),
            name,
            created: meta.creation_timestamp.as_ref().map(|t| t.0),
            started: pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0),
            held: meta.finalizers.iter().flatten().any(|f| f == labels::GCSK8S_FINALIZER),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }
}

/// What becomes of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PodFate {
    /// Take crier's finalizer off.
    pub release: bool,
    /// Delete it, for this reason.
    pub delete: Option<&'static str>,
}

/// True if a missing ProwJob would make this Pod an orphan.
pub fn is_old_enough_to_be_an_orphan(pod: &PodView, now: Timestamp) -> bool {
    pod.created.is_none_or(|created| now.duration_since(created) > ORPHAN_AGE)
}

/// Decides about a Pod; `job` is its ProwJob if there is one.
pub fn pod(pod: &PodView, job: Option<&ProwJob>, sinker: &Sinker, now: Timestamp) -> PodFate {
    let reason = match job {
        None if is_old_enough_to_be_an_orphan(pod, now) => Some("orphaned"),
        None => None,
        Some(job) => job.status.completion_time.as_ref().and_then(|completed| {
            if pod.started.is_some_and(|started| older(started, sinker.max_pod_age, now)) {
                Some("aged")
            } else if older(completed.0, sinker.terminated_pod_ttl(), now) {
                Some("ttled")
            } else {
                None
            }
        }),
    };
    let reported = match job {
        None => reason.is_some(),
        Some(job) => {
            job.complete() && job.status.prev_report_states.get("gcsk8sreporter") == Some(&job.status.state)
        }
    };
    PodFate {
        release: pod.held && reported && (reason.is_some() || pod.deleting),
        delete: reason.filter(|_| !pod.deleting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        "2026-01-10T00:00:00Z".parse().unwrap()
    }

    fn job(name: &str, kind: &str, started: &str, done: bool) -> Arc<ProwJob> {
        let mut status = json!({"state": "success", "startTime": started});
        if done {
            status["completionTime"] = started.into();
        }
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": name}, "spec": {"type": kind, "job": "j"}, "status": status}),
            )
            .unwrap(),
        )
    }

    #[test]
    fn old_complete_jobs_go_but_the_newest_run_of_a_periodic_stays() {
        let old = "2026-01-01T00:00:00Z";
        let older = "2025-12-01T00:00:00Z";
        let jobs = [
            job("a", "presubmit", old, true),
            job("b", "presubmit", old, false),
            job("c", "presubmit", "2026-01-09T00:00:00Z", true),
            job("p1", "periodic", older, true),
            job("p2", "periodic", old, true),
        ];
        let sinker = Sinker::default();
        let gone =
            |configured: &[&str]| prowjobs(&jobs, &configured.iter().copied().collect(), &sinker, now());
        assert_eq!(gone(&["j"]), [("a".to_owned(), "aged"), ("p1".to_owned(), "aged-periodic")]);
        assert_eq!(
            gone(&[]),
            [
                ("a".to_owned(), "aged"),
                ("p1".to_owned(), "aged-periodic"),
                ("p2".to_owned(), "aged-periodic")
            ]
        );
    }

    #[test]
    fn the_table_of_pods() {
        let held = json!({"finalizers": ["prow.x-k8s.io/gcsk8sreporter"]});
        let fate = |release, delete| PodFate { release, delete };
        let reported = json!({"prev_report_states": {"gcsk8sreporter": "success"}});
        for (what, metadata, started, job_status, expected) in [
            (
                "no job, young",
                json!({"creationTimestamp": "2026-01-09T23:59:45Z"}),
                None,
                None,
                fate(false, None),
            ),
            (
                "no job",
                json!({"creationTimestamp": "2026-01-09T23:59:00Z"}),
                None,
                None,
                fate(false, Some("orphaned")),
            ),
            (
                "no job, held",
                json!({"creationTimestamp": "2026-01-09T23:59:00Z", "finalizers": held["finalizers"]}),
                None,
                None,
                fate(true, Some("orphaned")),
            ),
            (
                "job runs",
                json!({}),
                Some("2026-01-01T00:00:00Z"),
                Some(json!({"state": "pending"})),
                fate(false, None),
            ),
            (
                "old pod of a complete job",
                json!({}),
                Some("2026-01-08T00:00:00Z"),
                Some(json!({"state": "success", "completionTime": "2026-01-09T23:00:00Z"})),
                fate(false, Some("aged")),
            ),
            (
                "complete for long",
                json!({}),
                None,
                Some(json!({"state": "success", "completionTime": "2026-01-08T00:00:00Z"})),
                fate(false, Some("ttled")),
            ),
            (
                "complete, held, not reported",
                held.clone(),
                None,
                Some(json!({"state": "success", "completionTime": "2026-01-08T00:00:00Z"})),
                fate(false, Some("ttled")),
            ),
            (
                "complete, held, reported",
                held.clone(),
                None,
                Some(
                    json!({"state": "success", "completionTime": "2026-01-08T00:00:00Z", "prev_report_states": reported["prev_report_states"]}),
                ),
                fate(true, Some("ttled")),
            ),
            (
                "complete just now",
                json!({}),
                Some("2026-01-09T23:00:00Z"),
                Some(json!({"state": "success", "completionTime": "2026-01-09T23:30:00Z"})),
                fate(false, None),
            ),
        ] {
            let mut metadata: Value = metadata;
            metadata["name"] = "x".into();
            let object: Pod =
                serde_json::from_value(json!({"metadata": metadata, "status": {"startTime": started}}))
                    .unwrap();
            let job: Option<ProwJob> =
                job_status.map(|s| serde_json::from_value(json!({"status": s})).unwrap());
            assert_eq!(
                pod(&PodView::of(&object), job.as_ref(), &Sinker::default(), now()),
                expected,
                "{what}"
            );
        }
    }

    #[test]
    fn a_pod_without_a_usable_label_goes_by_its_own_name() {
        for (labels, expected) in [
            (json!({}), "pod"),
            (json!({"prow.k8s.io/id": ""}), "pod"),
            (json!({"prow.k8s.io/id": "job"}), "job"),
        ] {
            let object: Pod =
                serde_json::from_value(json!({"metadata": {"name": "pod", "labels": labels}})).unwrap();
            assert_eq!(PodView::of(&object).prowjob, expected);
        }
    }
}
