//! What a pending ProwJob's Pod means (prow-runtime §6.2, the table). Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use prow_api::duration::K8sDuration;
use prow_api::prowjob::{ProwJob, State};
use prow_config::prowconfig::Plank as PlankConfig;
use std::time::Duration;

/// Time limits and revivals in force for one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From the Pod's start time, while it is Pending.
    pub pending: K8sDuration,
    /// From the Pod's start time, while it is Running.
    pub running: K8sDuration,
    /// From the Pod's creation, while it has no start time.
    pub unscheduled: K8sDuration,
    /// How often a Pod that stopped unexpectedly is made again.
    pub revivals: i64,
}

impl Limits {
    /// The configuration's, overridden by the job's decoration.
    pub fn of(job: &ProwJob, config: &PlankConfig) -> Limits {
        let own = job.spec.decoration_config.as_deref();
        Limits {
            pending: own.and_then(|d| d.pod_pending_timeout).unwrap_or(config.pod_pending_timeout),
            running: own.and_then(|d| d.pod_running_timeout).unwrap_or(config.pod_running_timeout),
            unscheduled: own
                .and_then(|d| d.pod_unscheduled_timeout)
                .unwrap_or(config.pod_unscheduled_timeout),
            revivals: config.max_revivals.unwrap_or(3),
        }
    }
}

/// What to do about a pending job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet; look again after this long even if nothing changes.
    Wait(Option<Duration>),
    /// The Pod is missing: make one.
    Start,
    /// The Pod stopped unexpectedly: count it, release its finalizer, delete it; the next look makes a new one.
    Revive,
    /// The Pod stopped unexpectedly and is on its way out already.
    Leaving,
    /// It is over.
    Complete {
        /// Final state.
        state: State,
        /// For people.
        description: String,
        /// The Pod is of no more use.
        delete_pod: bool,
    },
}

fn complete(state: State, description: impl Into<String>, delete_pod: bool) -> Verdict {
    Verdict::Complete { state, description: description.into(), delete_pod }
}

/// Decides from the Pod as it is now.
pub fn pending(job: &ProwJob, pod: Option<&Pod>, limits: &Limits, now: Timestamp) -> Verdict {
    let Some(pod) = pod else { return Verdict::Start };
    let deleting = pod.metadata.deletion_timestamp.is_some();
    let verdict = by_status(job, pod, limits, deleting, now);
    match verdict {
        Verdict::Wait(_) if deleting => complete(State::Error, "Pod got deleted unexpectedly", false),
        verdict => verdict,
    }
}

/// Whether the Pod of a complete job is still to be deleted: whoever completed the job because of a time limit, or on
/// request, could not delete it any more.
pub fn leftover(job: &ProwJob, pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    let of_no_use = match phase {
        "Pending" => true,
        "Running" => job.status.state == State::Aborted,
        _ => false,
    };
    of_no_use && job.complete() && pod.metadata.deletion_timestamp.is_none()
}

fn by_status(job: &ProwJob, pod: &Pod, limits: &Limits, deleting: bool, now: Timestamp) -> Verdict {
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    let reason = status.and_then(|s| s.reason.as_deref()).unwrap_or_default();
    let evicted = reason == "Evicted";
    if evicted && job.spec.error_on_eviction {
        return complete(State::Error, "Job pod was evicted by the cluster.", false);
    }
    if phase == "Running" && containers(pod).any(oom_killed) {
        return complete(State::Error, "Job pod was OOM killed by the cluster.", false);
    }
    let cause = if evicted {
        Some("evicted")
    } else if reason == "NodeLost" && deleting {
        Some("unreachable")
    } else if phase == "Unknown" {
        Some("unknown")
    } else {
        None
    };
    if let Some(cause) = cause {
        let revived = job.status.pod_revival_count;
        return if revived >= limits.revivals {
            complete(
                State::Error,
                format!(
                    "Job pod reached max revivals ({revived}) after being stopped unexpectedly ({cause})"
                ),
                false,
            )
        } else if deleting {
            Verdict::Leaving
        } else {
            Verdict::Revive
        };
    }
    let started = status.and_then(|s| s.start_time.as_ref()).map(|t| t.0);
    match phase {
        "Succeeded" if containers(pod).all(ended_well) => complete(State::Success, "Job succeeded.", false),
        "Succeeded" => {
            complete(State::Error, "Pod was in succeeded phase but some containers didn't finish", false)
        }
        "Failed" => complete(State::Failure, "Job failed.", false),
        "Running" => match left(started, limits.running, now) {
            Left::Over => complete(State::Aborted, "Pod running timeout.", true),
            Left::For(rest) => Verdict::Wait(Some(rest)),
            Left::Unknown => Verdict::Wait(None),
        },
        _ => {
            let (since, limit, text) = match started {
                Some(at) => (Some(at), limits.pending, "Pod pending timeout."),
                None => (
                    pod.metadata.creation_timestamp.as_ref().map(|t| t.0),
                    limits.unscheduled,
                    "Pod scheduling timeout.",
                ),
            };
            match left(since, limit, now) {
                Left::Over => complete(State::Error, text, true),
                Left::For(rest) => Verdict::Wait(Some(rest)),
                Left::Unknown => Verdict::Wait(None),
            }
        }
    }
}

enum Left {
    Over,
    For(Duration),
    Unknown,
}

fn left(since: Option<Timestamp>, limit: K8sDuration, now: Timestamp) -> Left {
    let Some(since) = since else { return Left::Unknown };
    let age = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    match limit.to_std().checked_sub(age) {
        Some(rest) if !rest.is_zero() => Left::For(rest),
        _ => Left::Over,
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    let regular = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    init.iter().chain(regular)
}

fn ended_well(status: &ContainerStatus) -> bool {
    let ended = status.state.as_ref().and_then(|s| s.terminated.as_ref());
    ended.is_some_and(|t| t.exit_code == 0 && t.finished_at.is_some())
}

fn oom_killed(status: &ContainerStatus) -> bool {
    let ended = status.state.as_ref().and_then(|s| s.terminated.as_ref());
    ended.is_some_and(|t| t.reason.as_deref() == Some("OOMKilled"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn limits() -> Limits {
        Limits {
            pending: K8sDuration::from_secs(600),
            running: K8sDuration::from_secs(3600),
            unscheduled: K8sDuration::from_secs(300),
            revivals: 3,
        }
    }

    fn judge(job: Value, pod: Option<Value>, now: &str) -> Verdict {
        let mut base = json!({"spec": {"type": "presubmit", "job": "j"}, "status": {"state": "pending"}});
        merge(&mut base, &job);
        let job: ProwJob = serde_json::from_value(base).unwrap();
        let pod: Option<Pod> = pod.map(|p| serde_json::from_value(p).unwrap());
        pending(&job, pod.as_ref(), &limits(), now.parse().unwrap())
    }

    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (k, v) in from {
                    merge(into.entry(k.clone()).or_insert(Value::Null), v);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }

    fn ended(code: i32, reason: &str) -> Value {
        json!({"name": "test", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-01-01T00:10:00Z"}}})
    }

    #[test]
    fn the_table_of_pod_states() {
        let created = json!({"creationTimestamp": "2026-01-01T00:00:00Z"});
        let leaving =
            json!({"creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:09:00Z"});
        let start = "2026-01-01T00:01:00Z";
        let done = |state, text: &str, delete| complete(state, text, delete);
        for (what, job, metadata, status, now, verdict) in [
            (
                "succeeded",
                json!({}),
                &created,
                json!({"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}),
                "00:11:00",
                done(State::Success, "Job succeeded.", false),
            ),
            (
                "succeeded but not all ended",
                json!({}),
                &created,
                json!({"phase": "Succeeded", "containerStatuses": [ended(0, ""), {"name": "s", "image": "i", "imageID": "", "ready": true, "restartCount": 0}]}),
                "00:11:00",
                done(State::Error, "Pod was in succeeded phase but some containers didn't finish", false),
            ),
            (
                "failed",
                json!({}),
                &created,
                json!({"phase": "Failed", "containerStatuses": [ended(1, "Error")]}),
                "00:11:00",
                done(State::Failure, "Job failed.", false),
            ),
            (
                "running",
                json!({}),
                &created,
                json!({"phase": "Running", "startTime": start}),
                "00:31:00",
                Verdict::Wait(Some(Duration::from_secs(1800))),
            ),
            (
                "ran too long",
                json!({}),
                &created,
                json!({"phase": "Running", "startTime": start}),
                "01:01:00",
                done(State::Aborted, "Pod running timeout.", true),
            ),
            (
                "a container was OOM killed",
                json!({}),
                &created,
                json!({"phase": "Running", "startTime": start, "initContainerStatuses": [ended(137, "OOMKilled")]}),
                "00:02:00",
                done(State::Error, "Job pod was OOM killed by the cluster.", false),
            ),
            (
                "pending",
                json!({}),
                &created,
                json!({"phase": "Pending", "startTime": start}),
                "00:10:59",
                Verdict::Wait(Some(Duration::from_secs(1))),
            ),
            (
                "pending too long",
                json!({}),
                &created,
                json!({"phase": "Pending", "startTime": start}),
                "00:11:00",
                done(State::Error, "Pod pending timeout.", true),
            ),
            (
                "not scheduled",
                json!({}),
                &created,
                json!({"phase": "Pending"}),
                "00:04:00",
                Verdict::Wait(Some(Duration::from_secs(60))),
            ),
            (
                "never scheduled",
                json!({}),
                &created,
                json!({"phase": "Pending"}),
                "00:05:00",
                done(State::Error, "Pod scheduling timeout.", true),
            ),
            (
                "evicted",
                json!({}),
                &created,
                json!({"phase": "Failed", "reason": "Evicted"}),
                "00:02:00",
                Verdict::Revive,
            ),
            (
                "evicted, on its way out",
                json!({}),
                &leaving,
                json!({"phase": "Failed", "reason": "Evicted"}),
                "00:02:00",
                Verdict::Leaving,
            ),
            (
                "evicted, job wants an error",
                json!({"spec": {"error_on_eviction": true}}),
                &created,
                json!({"phase": "Failed", "reason": "Evicted"}),
                "00:02:00",
                done(State::Error, "Job pod was evicted by the cluster.", false),
            ),
            (
                "evicted too often",
                json!({"status": {"pod_revival_count": 3}}),
                &created,
                json!({"phase": "Failed", "reason": "Evicted"}),
                "00:02:00",
                done(
                    State::Error,
                    "Job pod reached max revivals (3) after being stopped unexpectedly (evicted)",
                    false,
                ),
            ),
            (
                "node lost",
                json!({}),
                &leaving,
                json!({"phase": "Running", "reason": "NodeLost", "startTime": start}),
                "00:02:00",
                Verdict::Leaving,
            ),
            ("unknown", json!({}), &created, json!({"phase": "Unknown"}), "00:02:00", Verdict::Revive),
            (
                "deleted by somebody",
                json!({}),
                &leaving,
                json!({"phase": "Running", "startTime": start}),
                "00:09:30",
                done(State::Error, "Pod got deleted unexpectedly", false),
            ),
            (
                "deleted after it ended",
                json!({}),
                &leaving,
                json!({"phase": "Succeeded", "containerStatuses": [ended(0, "")]}),
                "00:09:30",
                done(State::Success, "Job succeeded.", false),
            ),
        ] {
            let pod = json!({"metadata": metadata, "status": status});
            assert_eq!(judge(job, Some(pod), &format!("2026-01-01T{now}Z")), verdict, "{what}");
        }
        assert_eq!(judge(json!({}), None, "2026-01-01T00:00:00Z"), Verdict::Start);
    }

    #[test]
    fn a_job_may_have_limits_of_its_own() {
        let job: ProwJob =
            serde_json::from_value(json!({"spec": {"decoration_config": {"pod_running_timeout": "5m"}}}))
                .unwrap();
        let limits = Limits::of(&job, &PlankConfig::default());
        assert_eq!(limits.running, K8sDuration::from_secs(300));
        assert_eq!(limits.pending, K8sDuration::from_secs(600));
    }
}
