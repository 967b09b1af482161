//! Init containers with `restartPolicy: Always`: they run beside the others from before them until after them, are started
//! again when they end early, and decide nothing about how the Pod ends.

use super::{Supervisor, outcome};
use crate::error::Error;
use crate::record::ContainerState;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// After the second early end, doubled with each further one; the first is made good at once. As a kubelet has it.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// Who has run this long is given a fresh start.
const STEADY: Duration = Duration::from_secs(600);

/// A sidecar that is started again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again {
    /// When; none while it runs.
    due: Option<Instant>,
    /// How often it has ended early, one time after the other.
    times: u32,
}

/// How long to wait after so many early ends before this one.
fn pause(times: u32) -> Duration {
    match times {
        0 => Duration::ZERO,
        n => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(n - 1)).min(LAST_PAUSE),
    }
}

impl Supervisor {
    /// Takes down that a container has ended, or that it is to be started again.
    pub(super) fn has_ended(&mut self, index: usize, state: ContainerState) -> Result<(), Error> {
        let goes_on = self.record.termination.is_none() && !self.winding_down;
        if !self.container(index).restart || !goes_on {
            return self.set_state(index, state);
        }
        let ran = match &state {
            ContainerState::Terminated { started_at, finished_at, .. } => {
                finished_at.duration_since(*started_at)
            }
            _ => jiff::SignedDuration::ZERO,
        };
        let again = self.again.entry(index).or_insert(Again { due: None, times: 0 });
        if Duration::try_from(ran).is_ok_and(|ran| ran >= STEADY) {
            again.times = 0;
        }
        let wait = pause(again.times);
        again.times += 1;
        again.due = outcome::after(wait);
        let slot = self.slot(index);
        slot.last = Some(state);
        slot.back_off_seconds = Some(wait.as_secs());
        self.set_state(index, ContainerState::Waiting)
    }

    /// When the next sidecar is to be started again.
    pub(super) fn next_start(&self) -> Option<Instant> {
        self.again.values().filter_map(|a| a.due).min()
    }

    /// Starts those again whose time has come.
    pub(super) fn start_again(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.record.termination.is_some() || self.winding_down {
            self.again.clear();
            return Ok(());
        }
        let due: Vec<usize> =
            self.again.iter().filter(|(_, a)| a.due.is_some_and(|at| now >= at)).map(|(i, _)| *i).collect();
        for index in due {
            if let Some(again) = self.again.get_mut(&index) {
                again.due = None;
            }
            let slot = self.slot(index);
            slot.restarts += 1;
            slot.back_off_seconds = None;
            self.start(index)?;
        }
        Ok(())
    }

    /// Ends the sidecars, the last first, within the Pod's grace.
    pub(super) fn end_sidecars(&mut self) -> Result<(), Error> {
        self.winding_down = true;
        self.again.clear();
        let sidecars: Vec<usize> =
            (0..self.plan.init_containers.len()).filter(|i| self.container(*i).restart).rev().collect();
        if sidecars.iter().any(|i| self.active.contains_key(i))
            && self.kill_at.is_none()
            && self.killed_at.is_none()
        {
            self.kill_at = outcome::after(Duration::from_secs(self.plan.grace_seconds));
        }
        for index in sidecars {
            self.signal(index, Signal::SIGTERM);
            self.ending = Some(index);
            self.pump(|s| !s.active.contains_key(&index))?;
            // One that waited to be started again is what it was before.
            let slot = self.slot(index);
            slot.back_off_seconds = None;
            if slot.state == ContainerState::Waiting
                && let Some(last) = slot.last.take()
            {
                self.set_state(index, last)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 5, 6, 7, 60].map(|n| pause(n).as_secs()).to_vec();
        assert_eq!(seconds, [0, 10, 20, 40, 160, 300, 300, 300]);
    }
}
