//! How a Pod ends: deadlines and grace, what is left of its containers, and its last record.

use super::{Supervisor, memory, outcome};
use crate::error::Error;
use crate::plan::Isolation;
use crate::record::{Cause, ContainerRecord, Ended, REASON_DEADLINE_EXCEEDED};
use crate::sandbox::plain::kill_descendants;
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::thread;
use std::time::{Duration, Instant};

/// How long a sandbox may take to die after it was told to kill everything, before it is killed itself.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// The same of an engine: a stage that is killed before the engine has ended and removed its container leaves it running.
const ENGINE_PATIENCE: Duration = Duration::from_secs(60);

impl Supervisor {
    pub(super) fn signal_all(&self, signal: Signal) {
        for index in self.active.keys() {
            self.signal(*index, signal);
        }
    }

    /// Signals a container that runs.
    pub(super) fn signal(&self, index: usize, signal: Signal) {
        if let Some(active) = self.active.get(&index).filter(|a| a.reaped.is_none()) {
            // It may have died since; then its end is about to be reported anyway.
            let _ = kill(active.pid, signal);
        }
    }

    /// How long those that were told to kill everything, or to remove it, may take for it.
    pub(super) fn kill_patience(&self) -> Duration {
        if self.plan.isolation == Isolation::Container { ENGINE_PATIENCE } else { KILL_PATIENCE }
    }

    /// Begins (or hastens) the end of the Pod.
    pub(super) fn terminate(&mut self, grace: Duration, cause: Cause) -> Result<(), Error> {
        let first = self.record.termination.is_none();
        if first {
            // How the others ended is how the Pod ends, whatever becomes of its sidecars: a job that has succeeded must not
            // be run again because the machine shut down while they took their time.
            self.record.termination = Some(if self.winding_down { Cause::default() } else { cause });
            self.dir.write_record(&self.record)?;
            // Sidecars serve the others to their end: their turn comes after it.
            for index in self.active.keys().filter(|i| !self.container(**i).restart) {
                self.signal(*index, Signal::SIGTERM);
            }
        }
        // What has been told to die already is not told again; it is only watched until it has.
        if self.killed_at.is_none() {
            self.kill_at = [self.kill_at, outcome::after(grace)].into_iter().flatten().min();
        }
        Ok(())
    }

    pub(super) fn keep_deadlines(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.deadline.is_some_and(|at| now >= at) {
            self.deadline = None;
            if self.record.termination.is_none() {
                let cause = Cause {
                    reason: Some(REASON_DEADLINE_EXCEEDED.to_owned()),
                    message: Some("Pod was active on the node longer than the specified deadline".to_owned()),
                };
                self.terminate(Duration::from_secs(self.plan.grace_seconds), cause)?;
            }
        }
        if self.kill_at.is_some_and(|at| now >= at) && self.killed_at.is_none() {
            self.signal_all(Signal::SIGUSR1);
            self.kill_at = None;
            self.killed_at = Some(now);
        }
        if self.killed_at.is_some_and(|at| now >= at + self.kill_patience()) {
            self.signal_all(Signal::SIGKILL);
            self.killed_at = Some(now);
        }
        Ok(())
    }

    pub(super) fn collect_finished(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let done: Vec<usize> = self.active.iter().filter(|(_, a)| a.finished(now)).map(|(i, _)| *i).collect();
        for index in done {
            if let Some(active) = self.active.remove(&index) {
                let state = active.final_state(self.container(index), &self.dir);
                self.has_ended(index, state)?;
            }
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> Result<(), Error> {
        if let Some((pid, _)) = self.network.take() {
            // Where it keeps a container, it has to remove it.
            let contained = self.plan.isolation == Isolation::Container;
            let _ = kill(pid, if contained { Signal::SIGTERM } else { Signal::SIGKILL });
        }
        // Whatever is still ours dies before we say that the Pod has ended.
        if self.plan.isolation == Isolation::None {
            kill_descendants();
        }
        let until = Instant::now() + self.kill_patience();
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if Instant::now() < until => {
                    thread::sleep(Duration::from_millis(5))
                }
                Ok(WaitStatus::StillAlive) => {
                    self.notice("some process of this Pod could not be ended".to_owned())?;
                    break;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let all_succeeded = self.record.all().filter(|c| !c.sidecar).all(ContainerRecord::succeeded);
        let ended = match &self.record.termination {
            Some(cause) if cause.reason.is_some() => {
                Ended { succeeded: false, at: Timestamp::now(), cause: cause.clone() }
            }
            _ => Ended { succeeded: all_succeeded, at: Timestamp::now(), cause: Cause::default() },
        };
        self.record.ended = Some(ended);
        self.dir.write_record(&self.record)?;
        memory::release(&self.plan);
        self.dir.discard_all_but_the_account();
        Ok(())
    }
}
