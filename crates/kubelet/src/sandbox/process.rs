//! Being the process around a job: passing signals in, reaping what dies, and learning how the job ended.

use crate::error::Error;
use crate::plan::ContainerPlan;
use crate::sandbox::message::Message;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::process::{Command, Stdio};

/// Signals that a stage passes on to the process inside it.
const FORWARDED: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
/// Means: kill everything inside, now. Job processes never see it.
pub const KILL_ALL: Signal = Signal::SIGUSR1;

/// Blocks the signals that [`around`] waits for. Whoever is started now inherits that: see [`unblocked`].
pub fn block_signals() -> Result<SigSet, Error> {
    let mut set = SigSet::empty();
    for signal in FORWARDED.into_iter().chain([Signal::SIGCHLD, KILL_ALL]) {
        set.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(|e| Error::system("block signals", e))?;
    Ok(set)
}

/// Starts the job without the blocked signals, which it would inherit and never hear. A signal that comes in between is
/// lost on us; the supervisor repeats its own once it knows that the job runs.
pub fn unblocked<T>(signals: &SigSet, start: impl FnOnce() -> T) -> Result<T, Error> {
    let change = |how| sigprocmask(how, Some(signals), None).map_err(|e| Error::system("block signals", e));
    change(SigmaskHow::SIG_UNBLOCK)?;
    let started = start();
    change(SigmaskHow::SIG_BLOCK)?;
    Ok(started)
}

/// Waits until `child` has ended, reaping everything else meanwhile. A forwarded signal goes to the child alone, as a
/// container runtime signals the container's first process; `kill_all` is called for [`KILL_ALL`].
pub fn around(child: Pid, signals: &SigSet, kill_all: impl Fn()) -> Result<WaitStatus, Error> {
    loop {
        // Before waiting: the child may have ended before its SIGCHLD was blocked.
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)))
                    if pid == child =>
                {
                    return Ok(status);
                }
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) => {}
                Err(e) => return Err(Error::system("wait for the job's process", e)),
            }
        }
        match signals.wait().map_err(|e| Error::system("wait for a signal", e))? {
            Signal::SIGCHLD => {}
            KILL_ALL => kill_all(),
            // It cannot have been reaped yet; a refusal would only mean that it is ending.
            signal => _ = kill(child, signal),
        }
    }
}

/// As a message to the stage around.
pub fn outcome(status: WaitStatus) -> Message {
    match status {
        WaitStatus::Exited(_, code) => Message::Exited(code),
        WaitStatus::Signaled(_, signal, _) => Message::Killed(signal as i32),
        other => Message::Failed(format!("the process ended in an unexpected way: {other:?}")),
    }
}

/// The job's own command: its arguments, its environment and nothing else of ours, no input.
pub fn job(container: &ContainerPlan) -> Result<Command, Error> {
    let (program, args) = container
        .argv
        .split_first()
        .ok_or_else(|| Error::Other(format!("container {} has an empty command", container.name)))?;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(container.env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
    Ok(command)
}

/// "cannot start" with what was to be started and where.
pub fn cannot_start(container: &ContainerPlan, e: &std::io::Error) -> Error {
    let program = container.argv.first().map_or("", String::as_str);
    Error::Other(format!("cannot start {program:?} in container {}: {e}", container.name))
}
