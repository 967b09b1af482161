//! Starting a container's stage, and the keeper of what all of a Pod's containers share.

use super::outcome::{Active, start_error};
use super::{Event, Supervisor, log};
use crate::error::Error;
use crate::plan::Isolation;
use crate::poddir;
use crate::record::{Cause, REASON_EVICTED};
use crate::sandbox::message::{Channel, Message};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// How long the Pod's network may take to be made, which is all that an engine that hangs can hold us up for.
const NETWORK_PATIENCE: Duration = Duration::from_secs(120);

impl Supervisor {
    /// The stage that is called so where the Pod runs in containers, else the other.
    fn verb(&self, contained: &'static str, sandboxed: &'static str) -> &'static str {
        if self.plan.isolation == Isolation::Container { contained } else { sandboxed }
    }

    fn sandbox_command(&self, verb: &str, stdin: UnixStream) -> Command {
        // Our own file may have been replaced by a newer version meanwhile; this path still means the one we are.
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["pod-sandbox", verb])
            .arg(self.dir.path())
            .env_clear()
            .env("PATH", crate::build::env::DEFAULT_PATH)
            .stdin(Stdio::from(OwnedFd::from(stdin)));
        command
    }

    /// The process that keeps what the Pod has for its whole life, its network above all, and then only waits.
    pub(super) fn start_keeper(&mut self) -> Result<(), Error> {
        let (ours, theirs) = socket_pair()?;
        ours.set_read_timeout(Some(NETWORK_PATIENCE)).map_err(channel_error)?;
        let child = self
            .sandbox_command(self.verb("engine-network", "network"), theirs)
            .arg(nix::unistd::getpid().to_string())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| Error::Other(format!("cannot start the keeper of the Pod's network: {e}")))?;
        let pid = pid_of(child.id());
        let mut channel = Channel::new(ours.try_clone().map_err(channel_error)?).map_err(channel_error)?;
        loop {
            match channel.receive() {
                Ok(Some(Message::Ready)) => break,
                Ok(Some(Message::Notice(text))) => self.notice(text)?,
                Ok(Some(Message::Failed(why))) => return self.fail_before_start(&why),
                Ok(Some(_)) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    // What it may have made nevertheless goes when the Pod is removed.
                    let _ = kill(pid, Signal::SIGKILL);
                    return self.fail_before_start("the keeper of the Pod's network does not get it made");
                }
                Err(e) => return Err(channel_error(e)),
                Ok(None) => {
                    return self.fail_before_start("the keeper of the Pod's network ended unexpectedly");
                }
            }
        }
        self.network = Some((pid, OwnedFd::from(ours)));
        Ok(())
    }

    /// Nothing could be started, which is this machine's failure and not the job's: the Pod may be tried again.
    pub(super) fn fail_before_start(&mut self, why: &str) -> Result<(), Error> {
        self.record.termination = Some(Cause {
            reason: Some(REASON_EVICTED.to_owned()),
            message: Some(format!("the Pod's sandbox could not be made: {why}")),
        });
        self.dir.write_record(&self.record)
    }

    /// Starts a container, if need be for another time.
    pub(super) fn start(&mut self, index: usize) -> Result<(), Error> {
        let name = self.container(index).name.clone();
        match self.spawn(index, &name) {
            Ok(active) => {
                self.active.insert(index, active);
                Ok(())
            }
            Err(e) => self.has_ended(index, start_error(Timestamp::now(), &e.to_string())),
        }
    }

    fn spawn(&self, index: usize, name: &str) -> Result<Active, Error> {
        let private = self.dir.container(name);
        if self.slot_of(index).restarts > 0 {
            poddir::remove_tree(&private)?;
            self.dir.put_log_aside(name)?;
        }
        poddir::private_dir(&private)?;
        poddir::private_dir(&self.dir.logs())?;
        let log = log::Writer::create(&self.dir.log(name))?;
        let (output, out) = std::io::pipe().map_err(|e| Error::Other(format!("cannot make a pipe: {e}")))?;
        let err = out.try_clone().map_err(|e| Error::Other(format!("cannot make a pipe: {e}")))?;
        let container = self.container(index);
        if let Isolation::Sandboxed(identity) = self.plan.isolation
            && let Some(id) = identity.owner().filter(|_| !container.host_ids)
        {
            // So that the job may open its own /dev/stdout and /dev/stderr by name.
            nix::unistd::fchown(&out, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))
                .map_err(|e| Error::system("give the job its output", e))?;
        }
        let (ours, theirs) = socket_pair()?;
        let mut command = self.sandbox_command(self.verb("engine", "container"), theirs);
        command.arg(nix::unistd::getpid().to_string()).arg(name).stdout(out).stderr(err);
        if let Some((pid, _)) = self.network.as_ref().filter(|_| self.plan.isolation != Isolation::Container)
        {
            command.arg(pid.to_string());
        }
        let child = command
            .spawn()
            .map_err(|e| Error::Other(format!("cannot start the sandbox of container {name}: {e}")))?;
        // The command holds our copies of the pipe's write end; with them open the pipe would never end.
        drop(command);
        let sender = self.sender.clone();
        thread::spawn(move || {
            let problem = log.copy(output);
            let _ = sender.send(Event::LogClosed(index, problem.err().map(|e| e.to_string())));
        });
        let sender = self.sender.clone();
        let mut channel = Channel::new(ours).map_err(channel_error)?;
        thread::spawn(move || {
            while let Ok(Some(message)) = channel.receive() {
                let _ = sender.send(Event::Message(index, message));
            }
            let _ = sender.send(Event::ChannelClosed(index));
        });
        Ok(Active {
            pid: pid_of(child.id()),
            started_at: None,
            outcome: None,
            reaped: None,
            channel_closed: false,
            log_closed: false,
            log_problem: None,
        })
    }
}

fn channel_error(e: std::io::Error) -> Error {
    Error::Other(format!("cannot talk to the sandbox: {e}"))
}

fn socket_pair() -> Result<(UnixStream, UnixStream), Error> {
    UnixStream::pair().map_err(|e| Error::Other(format!("cannot make a socket pair: {e}")))
}

fn pid_of(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap_or(i32::MAX))
}
