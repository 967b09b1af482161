//! What to do about one Pod next: a pure function of what the API wants and what the runtime finds.
//!
//! Properties: a Pod is prepared at most once and launched only while nothing of it was ever started; one that was lost
//! is closed and never started again; a Pod that is being deleted is reported before it goes.

use crate::record::{Cause, REASON_EVICTED, TerminateRequest};
use crate::runtime::RunState;
use crate::status::{terminal, was_started};
use k8s_openapi::api::core::v1::Pod;

/// Said of Pods that a shutdown ends.
pub const SHUTTING_DOWN: &str = "node is shutting down";
/// Kubernetes' default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE: i64 = 30;

/// What is known of one Pod.
#[derive(Debug)]
pub struct View<'a> {
    /// As the API has it; none if it is gone.
    pub pod: Option<&'a Pod>,
    /// As the runtime finds it.
    pub run: &'a RunState,
    /// Set while the pod runner shuts down: the longest grace a Pod gets, in seconds.
    pub shutdown: Option<u64>,
    /// The grace that was last asked of the runtime.
    pub asked: Option<u64>,
    /// The API's status says what there is to say.
    pub reported: bool,
    /// The API was asked to let the Pod go.
    pub released: bool,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing until something changes.
    Nothing,
    /// The Pod is gone everywhere.
    Forget,
    /// Delete what the runtime keeps.
    Remove,
    /// Ask the runtime to end it.
    Terminate(TerminateRequest),
    /// Resolve and lay ready.
    Prepare,
    /// Start.
    Launch,
    /// Close the account of a lost run.
    CloseLost,
    /// Write the status.
    Report,
    /// Write that nothing is left of a Pod that had started.
    ReportVanished,
    /// Tell the API that the Pod may go.
    Release,
}

/// Decides.
pub fn decide(view: &View<'_>) -> Step {
    let Some(pod) = view.pod else { return gone(view) };
    let deleting = pod.metadata.deletion_timestamp.is_some();
    let over = terminal(pod);
    match view.run {
        RunState::Absent | RunState::Prepared if deleting => release(view),
        RunState::Absent if over => Step::Nothing,
        RunState::Absent if was_started(pod) => Step::ReportVanished,
        // The API says it is over, and nothing of it has run here: leave it so.
        RunState::Prepared if over => Step::Nothing,
        RunState::Absent | RunState::Prepared if view.shutdown.is_some() => Step::Nothing,
        RunState::Absent => Step::Prepare,
        RunState::Prepared => Step::Launch,
        RunState::Launching => Step::Nothing,
        RunState::Lost => Step::CloseLost,
        RunState::Running(_) => {
            let grace = pod_grace(pod);
            if deleting || over {
                return terminate(view, grace, Cause::default());
            }
            if let Some(cap) = view.shutdown {
                let cause = Cause {
                    reason: Some(REASON_EVICTED.to_owned()),
                    message: Some(SHUTTING_DOWN.to_owned()),
                };
                return terminate(view, grace.min(cap), cause);
            }
            report(view)
        }
        RunState::Ended(_) if !view.reported && !over => Step::Report,
        RunState::Ended(_) if deleting => release(view),
        RunState::Ended(_) => Step::Nothing,
    }
}

fn gone(view: &View<'_>) -> Step {
    match view.run {
        RunState::Absent => Step::Forget,
        RunState::Prepared | RunState::Ended(_) => Step::Remove,
        RunState::Launching => Step::Nothing,
        RunState::Lost => Step::CloseLost,
        // Nobody can say any more how long it may take; the usual grace lets a sidecar upload.
        RunState::Running(_) => terminate(view, DEFAULT_GRACE.unsigned_abs(), Cause::default()),
    }
}

fn report(view: &View<'_>) -> Step {
    if view.reported { Step::Nothing } else { Step::Report }
}

fn release(view: &View<'_>) -> Step {
    if view.released { Step::Nothing } else { Step::Release }
}

fn terminate(view: &View<'_>, grace: u64, cause: Cause) -> Step {
    // Asked again only to hasten: a second delete may give less time, never more.
    if view.asked.is_some_and(|asked| asked <= grace) {
        return report(view);
    }
    Step::Terminate(TerminateRequest { grace_seconds: grace, cause })
}

/// The Pod's grace in seconds; what a delete asks for goes before what the Pod says.
fn pod_grace(pod: &Pod) -> u64 {
    pod.metadata
        .deletion_grace_period_seconds
        .or_else(|| pod.spec.as_ref()?.termination_grace_period_seconds)
        .unwrap_or(DEFAULT_GRACE)
        .max(0)
        .unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Ended, PodRecord};
    use jiff::Timestamp;
    use serde_json::json;

    fn pod(deleting: bool, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z"),
                         "deletionGracePeriodSeconds": deleting.then_some(7)},
            "spec": {"containers": [], "terminationGracePeriodSeconds": 60},
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    fn record(ended: bool) -> PodRecord {
        PodRecord {
            supervisor_pid: 1,
            started_at: Timestamp::UNIX_EPOCH,
            init_containers: vec![],
            containers: vec![],
            termination: None,
            ended: ended.then(|| Ended {
                succeeded: true,
                at: Timestamp::UNIX_EPOCH,
                cause: Cause::default(),
            }),
            notices: vec![],
        }
    }

    #[test]
    fn each_situation_has_its_step() {
        let (running, ended) = (RunState::Running(record(false)), RunState::Ended(record(true)));
        let end = |grace, reason: Option<&str>| {
            let message = reason.map(|_| SHUTTING_DOWN.to_owned());
            Step::Terminate(TerminateRequest {
                grace_seconds: grace,
                cause: Cause { reason: reason.map(str::to_owned), message },
            })
        };
        let base = View {
            pod: None,
            run: &RunState::Absent,
            shutdown: None,
            asked: None,
            reported: false,
            released: false,
        };
        let (new, live) = (pod(false, "Pending"), pod(false, "Running"));
        let (dying, done) = (pod(true, "Running"), pod(false, "Succeeded"));
        let cases = [
            ("gone everywhere", View { ..base }, Step::Forget),
            ("gone, runs", View { run: &running, ..base }, end(30, None)),
            (
                "gone, runs, asked",
                View { run: &running, asked: Some(30), reported: true, ..base },
                Step::Nothing,
            ),
            ("gone, ended", View { run: &ended, ..base }, Step::Remove),
            ("gone, lost", View { run: &RunState::Lost, ..base }, Step::CloseLost),
            ("new", View { pod: Some(&new), ..base }, Step::Prepare),
            ("new, shutting down", View { pod: Some(&new), shutdown: Some(9), ..base }, Step::Nothing),
            ("ready", View { pod: Some(&new), run: &RunState::Prepared, ..base }, Step::Launch),
            ("starting", View { pod: Some(&new), run: &RunState::Launching, ..base }, Step::Nothing),
            ("runs", View { pod: Some(&live), run: &running, ..base }, Step::Report),
            (
                "runs, reported",
                View { pod: Some(&live), run: &running, reported: true, ..base },
                Step::Nothing,
            ),
            (
                "runs, shutting down",
                View { pod: Some(&live), run: &running, shutdown: Some(9), ..base },
                end(9, Some("Evicted")),
            ),
            ("runs, deleted", View { pod: Some(&dying), run: &running, ..base }, end(7, None)),
            (
                "runs, deleted again, sooner",
                View { pod: Some(&dying), run: &running, asked: Some(30), ..base },
                end(7, None),
            ),
            (
                "runs, deleted, asked",
                View { pod: Some(&dying), run: &running, asked: Some(7), reported: true, ..base },
                Step::Nothing,
            ),
            (
                "runs though the API says it is over",
                View { pod: Some(&done), run: &running, ..base },
                end(60, None),
            ),
            ("started, nothing left", View { pod: Some(&live), ..base }, Step::ReportVanished),
            ("over, nothing left", View { pod: Some(&done), ..base }, Step::Nothing),
            ("lost", View { pod: Some(&live), run: &RunState::Lost, ..base }, Step::CloseLost),
            ("ended", View { pod: Some(&live), run: &ended, ..base }, Step::Report),
            (
                "ended, reported",
                View { pod: Some(&done), run: &ended, reported: true, ..base },
                Step::Nothing,
            ),
            ("ended, deleted", View { pod: Some(&dying), run: &ended, ..base }, Step::Report),
            (
                "ended, deleted, reported",
                View { pod: Some(&dying), run: &ended, reported: true, ..base },
                Step::Release,
            ),
            (
                "released",
                View { pod: Some(&dying), run: &ended, reported: true, released: true, ..base },
                Step::Nothing,
            ),
            (
                "deleted before it started",
                View { pod: Some(&dying), run: &RunState::Prepared, ..base },
                Step::Release,
            ),
        ];
        for (name, view, want) in cases {
            assert_eq!(decide(&view), want, "{name}");
        }
    }
}
