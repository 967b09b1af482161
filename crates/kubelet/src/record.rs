//! What a Pod's supervisor writes down as it goes: `status.json`, the one account of what ran and how it ended.
//!
//! The supervisor is the only writer while it lives; the runner writes only after it has found the supervisor dead.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Reason of a Pod whose run was lost or cut short by the machine; plank revives such Pods (prow-runtime §6.2).
pub const REASON_EVICTED: &str = "Evicted";
/// Reason of a Pod that ran past `activeDeadlineSeconds`.
pub const REASON_DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// Reason of a container that ended with exit code 0.
pub const REASON_COMPLETED: &str = "Completed";
/// Reason of a container that ended with another exit code.
pub const REASON_ERROR: &str = "Error";
/// Reason of a container that the kernel ended for lack of memory.
pub const REASON_OOM_KILLED: &str = "OOMKilled";
/// Reason of a container whose process could not be started.
pub const REASON_START_ERROR: &str = "StartError";
/// Reason of a container of which nobody knows how it ended.
pub const REASON_STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

/// How one run of a Pod stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// Process id of the supervisor; only to be signalled while the supervisor's lock is held.
    pub supervisor_pid: i32,
    /// When the supervisor began.
    pub started_at: Timestamp,
    /// Init containers, in the Pod's order.
    pub init_containers: Vec<ContainerRecord>,
    /// Containers, in the Pod's order.
    pub containers: Vec<ContainerRecord>,
    /// Set once the Pod was told to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination: Option<Cause>,
    /// Set once, when nothing of the Pod runs any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// What the sandbox could not do as asked, in full sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// One container's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// The container's name.
    pub name: String,
    /// Where it stands.
    pub state: ContainerState,
    /// What it is made of, where that is an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Its engine's name for it, `docker://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// An init container with `restartPolicy: Always`.
    #[serde(default)]
    pub sidecar: bool,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
    /// How it ended the time before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<ContainerState>,
    /// Set while it waits to be started again: how long, from its end on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_off_seconds: Option<u64>,
}

/// The three states a kubelet knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum ContainerState {
    /// Not started yet.
    Waiting,
    /// Its process runs.
    Running {
        /// When its process was started.
        started_at: Timestamp,
    },
    /// Its process is gone, with everything that it started.
    Terminated {
        /// As a container runtime gives it: 128 + signal for a process ended by a signal.
        exit_code: i32,
        /// The signal that ended it, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
        reason: String,
        /// The termination message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// When its process was started; the same as `finished_at` if it never was.
        started_at: Timestamp,
        /// When its process was gone.
        finished_at: Timestamp,
    },
}

/// Why a Pod was told to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The Pod's `status.reason`; none for a Pod that was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The Pod's `status.message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How the Pod ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// True for phase Succeeded, false for Failed.
    pub succeeded: bool,
    /// When.
    pub at: Timestamp,
    /// The Pod's `status.reason` and `status.message`.
    #[serde(flatten)]
    pub cause: Cause,
}

/// `terminate.json`: what the runner asks of a supervisor that it sends SIGTERM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminateRequest {
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_seconds: u64,
    /// Why.
    #[serde(flatten)]
    pub cause: Cause,
}

impl ContainerRecord {
    /// A container that has not begun.
    pub fn waiting(name: &str) -> Self {
        ContainerRecord {
            name: name.to_owned(),
            state: ContainerState::Waiting,
            image_id: None,
            container_id: None,
            sidecar: false,
            restarts: 0,
            last: None,
            back_off_seconds: None,
        }
    }

    /// True if nothing of it runs, though it has run.
    pub fn has_ended(&self) -> bool {
        match self.state {
            ContainerState::Waiting => self.last.is_some(),
            ContainerState::Running { .. } => false,
            ContainerState::Terminated { .. } => true,
        }
    }

    /// True if it ended with exit code 0.
    pub fn succeeded(&self) -> bool {
        matches!(self.state, ContainerState::Terminated { exit_code: 0, .. })
    }
}

impl PodRecord {
    /// All containers, init containers first.
    pub fn all(&self) -> impl Iterator<Item = &ContainerRecord> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// All containers, init containers first.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut ContainerRecord> {
        self.init_containers.iter_mut().chain(&mut self.containers)
    }

    /// Closes the account of a Pod whose supervisor died without doing so: what still ran is now
    /// `ContainerStatusUnknown` with exit code 137, as a kubelet reports containers it lost, and the Pod is Failed
    /// with reason `Evicted` unless it had been told to stop for another reason. One of which only sidecars were left, and
    /// whose others had succeeded, has succeeded: to run it again would be to run it twice.
    pub fn close_as_lost(&mut self, now: Timestamp, message: &str) {
        for container in self.all_mut() {
            container.back_off_seconds = None;
            if container.state == ContainerState::Waiting
                && let Some(last) = container.last.take()
            {
                container.state = last;
            }
            if let ContainerState::Running { started_at } = container.state {
                container.state = ContainerState::Terminated {
                    exit_code: 137,
                    signal: None,
                    reason: REASON_STATUS_UNKNOWN.to_owned(),
                    message: Some(message.to_owned()),
                    started_at,
                    finished_at: now,
                };
            }
        }
        let told = self.termination.as_ref().is_some_and(|cause| cause.reason.is_some());
        let done = !self.containers.is_empty() && self.all().filter(|c| !c.sidecar).all(|c| c.succeeded());
        if done && !told {
            self.ended = Some(Ended { succeeded: true, at: now, cause: Cause::default() });
            return;
        }
        let cause = match &self.termination {
            Some(cause) if cause.reason.is_some() => cause.clone(),
            _ => Cause { reason: Some(REASON_EVICTED.to_owned()), message: Some(message.to_owned()) },
        };
        self.ended = Some(Ended { succeeded: false, at: now, cause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_succeeded_before_it_was_lost_has_succeeded() {
        let now = Timestamp::UNIX_EPOCH;
        let over = |exit_code| ContainerState::Terminated {
            exit_code,
            signal: None,
            reason: String::new(),
            message: None,
            started_at: now,
            finished_at: now,
        };
        let running = || ContainerState::Running { started_at: now };
        let evicted = Some(REASON_EVICTED);
        let told = |reason: Option<&str>| Cause { reason: reason.map(str::to_owned), message: None };
        let cases = [
            ("only a sidecar is left", over(0), running(), None, (true, None)),
            ("it is being deleted", over(0), running(), Some(told(None)), (true, None)),
            ("the job still runs", running(), running(), None, (false, evicted)),
            ("the job failed, perhaps with the machine", over(1), over(0), None, (false, evicted)),
            ("the job never ran", ContainerState::Waiting, running(), None, (false, evicted)),
            ("too late", over(0), running(), Some(told(Some("Deadline"))), (false, Some("Deadline"))),
        ];
        for (name, job, side, termination, want) in cases {
            let container = |name: &str, state| ContainerRecord { state, ..ContainerRecord::waiting(name) };
            let mut record = PodRecord {
                supervisor_pid: 1,
                started_at: now,
                init_containers: vec![ContainerRecord { sidecar: true, ..container("side", side) }],
                containers: vec![container("test", job)],
                termination,
                ended: None,
                notices: Vec::new(),
            };
            record.close_as_lost(now, "lost");
            let ended = record.ended.unwrap();
            assert_eq!((ended.succeeded, ended.cause.reason.as_deref()), want, "{name}");
        }
    }
}
