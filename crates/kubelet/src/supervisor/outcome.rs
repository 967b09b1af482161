//! One container's process from its start to its end, and how that end is told.

use super::log;
use crate::plan::ContainerPlan;
use crate::poddir::PodDir;
use crate::record::{ContainerState, REASON_COMPLETED, REASON_ERROR, REASON_OOM_KILLED, REASON_START_ERROR};
use crate::sandbox::message::Message;
use jiff::Timestamp;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long output is still read after a container's process has gone, if something holds its pipe open.
pub(super) const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// Kubernetes' bound on a termination message, bytes.
const TERMINATION_MESSAGE_LIMIT: usize = 4096;

/// A moment to come; `None` if it is so far away that the clock cannot tell it.
pub(super) fn after(wait: Duration) -> Option<Instant> {
    Instant::now().checked_add(wait)
}

/// A container whose process has been started and which is not finished yet.
pub(super) struct Active {
    pub(super) pid: Pid,
    pub(super) started_at: Option<Timestamp>,
    pub(super) outcome: Option<Message>,
    pub(super) reaped: Option<(WaitStatus, Instant)>,
    pub(super) channel_closed: bool,
    pub(super) log_closed: bool,
    pub(super) log_problem: Option<String>,
}

impl Active {
    /// True if nothing more is to be learned of it.
    pub(super) fn finished(&self, now: Instant) -> bool {
        self.reaped.is_some_and(|(_, at)| {
            self.channel_closed && (self.log_closed || now.duration_since(at) >= DRAIN_PATIENCE)
        })
    }

    /// How it ended.
    pub(super) fn final_state(self, container: &ContainerPlan, dir: &PodDir) -> ContainerState {
        let finished_at = Timestamp::now();
        let mut reason = None;
        let (exit_code, signal, mut message) = match self.outcome {
            Some(Message::OutOfMemory(code)) => {
                reason = Some(REASON_OOM_KILLED);
                (code, None, None)
            }
            Some(Message::Exited(code)) => (code, None, None),
            Some(Message::Killed(signal)) => (128 + signal, Some(signal), None),
            Some(Message::Failed(why)) if self.started_at.is_none() => return start_error(finished_at, &why),
            // It ran, and how it ended is not known: an engine that went away for good, for instance.
            Some(Message::Failed(why)) => (137, None, Some(why)),
            _ => match self.reaped {
                Some((WaitStatus::Signaled(_, signal, _), _)) => {
                    (128 + signal as i32, Some(signal as i32), None)
                }
                _ if self.started_at.is_none() => {
                    return start_error(finished_at, "the sandbox ended before the process was started");
                }
                _ => (137, Some(9), Some("the sandbox ended without saying how the process did".to_owned())),
            },
        };
        if let Some(text) = termination_message(dir, container, exit_code) {
            message = Some(text);
        }
        if let Some(problem) = self.log_problem {
            message = Some(format!("{}(the log is incomplete: {problem})", message.unwrap_or_default()));
        }
        ContainerState::Terminated {
            exit_code,
            signal,
            reason: reason.unwrap_or(if exit_code == 0 { REASON_COMPLETED } else { REASON_ERROR }).to_owned(),
            message,
            started_at: self.started_at.unwrap_or(finished_at),
            finished_at,
        }
    }
}

fn termination_message(dir: &PodDir, container: &ContainerPlan, exit_code: i32) -> Option<String> {
    let text = log::read_termination_log(&dir.termination_log(&container.name), TERMINATION_MESSAGE_LIMIT);
    if !text.is_empty() {
        return Some(text);
    }
    if container.termination_from_logs && exit_code != 0 {
        let tail = log::tail_for_message(&dir.log(&container.name));
        return (!tail.is_empty()).then_some(tail);
    }
    None
}

/// The state of a container whose process could not be started.
pub(super) fn start_error(now: Timestamp, why: &str) -> ContainerState {
    ContainerState::Terminated {
        exit_code: 128,
        signal: None,
        reason: REASON_START_ERROR.to_owned(),
        message: Some(why.to_owned()),
        started_at: now,
        finished_at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_run_is_no_start_error() {
        let container: ContainerPlan = serde_json::from_value(serde_json::json!({
            "name": "c", "argv": [], "env": [], "mounts": [], "pod_network": true, "utility": false,
            "host_ids": false, "termination_path": "/t", "termination_from_logs": false,
        }))
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let state = |started_at| {
            let active = Active {
                pid: Pid::from_raw(1),
                started_at,
                outcome: Some(Message::Failed("the engine is away".to_owned())),
                reaped: None,
                channel_closed: true,
                log_closed: true,
                log_problem: None,
            };
            match active.final_state(&container, &PodDir::new(dir.path())) {
                ContainerState::Terminated { exit_code, reason, message, .. } => (exit_code, reason, message),
                other => panic!("{other:?}"),
            }
        };
        let why = Some("the engine is away".to_owned());
        assert_eq!(state(None), (128, REASON_START_ERROR.to_owned(), why.clone()));
        assert_eq!(state(Some(Timestamp::UNIX_EPOCH)), (137, REASON_ERROR.to_owned(), why));
    }

    #[test]
    fn a_moment_beyond_the_clock_is_none_and_no_panic() {
        // As far as terminationGracePeriodSeconds and activeDeadlineSeconds reach.
        assert_eq!(after(Duration::from_secs(i64::MAX.unsigned_abs())), None);
        assert!(after(Duration::from_secs(30)).is_some());
    }
}
