//! The supervisor: one process per Pod, which outlives the process that started it.
//!
//! It holds the Pod's lock, runs init containers in order and containers side by side, each once (`restartPolicy:
//! Never`), writes `status.json` at every change, pipes logs to disk, and on SIGTERM ends the Pod within its grace.
//! It never runs a Pod that has a `status.json` already. When it dies, the kernel takes its sandboxes with it.
//!
//! Synchronous on purpose: one main thread that starts, signals and reaps (so that a process id is never signalled after
//! it was reaped, and the parent-death signal of the sandboxes is tied to a thread that lives as long as we do), and
//! helper threads that only read and report through one channel.

mod log;
mod outcome;

use crate::error::Error;
use crate::plan::{ContainerPlan, Isolation, PodPlan};
use crate::poddir::{self, Lock, PodDir};
use crate::record::{
    Cause, ContainerRecord, ContainerState, Ended, PodRecord, REASON_DEADLINE_EXCEEDED, REASON_EVICTED,
};
use crate::sandbox::message::{Channel, Message};
use crate::sandbox::plain::kill_descendants;
use jiff::Timestamp;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};
use outcome::{Active, DRAIN_PATIENCE, start_error};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How long a sandbox may take to die after it was told to kill everything, before it is killed itself.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long the Pod's network may take to be made, which is all that an engine that hangs can hold us up for.
const NETWORK_PATIENCE: Duration = Duration::from_secs(120);
/// How long a new supervisor waits for the lock, which a dying one may hold for a moment more.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// The hidden subcommand `pod-supervisor <pod directory>`. `args` are those after the subcommand's name.
/// Call it before any thread is started.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(path) = args.into_iter().next() else {
        eprintln!("pod-supervisor: which Pod directory? This subcommand is for the pod runner only.");
        return ExitCode::from(2);
    };
    match Supervisor::begin(PodDir::new(path)).and_then(Supervisor::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("pod-supervisor: {e}");
            ExitCode::FAILURE
        }
    }
}

enum Event {
    Signal(Signal),
    Message(usize, Message),
    ChannelClosed(usize),
    LogClosed(usize, Option<String>),
}

struct Supervisor {
    dir: PodDir,
    plan: PodPlan,
    record: PodRecord,
    active: HashMap<usize, Active>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    network: Option<(Pid, OwnedFd)>,
    deadline: Option<Instant>,
    kill_at: Option<Instant>,
    killed_at: Option<Instant>,
    _lock: Lock,
}

impl Supervisor {
    fn begin(dir: PodDir) -> Result<Supervisor, Error> {
        // A session of our own: a terminal's Ctrl-C is for the main process, which then decides.
        // It fails only if we lead a process group already, and then there is nothing to leave.
        let _ = nix::unistd::setsid();
        // What we make for jobs they must be able to use, whatever the user who started us likes.
        nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
        let began = Instant::now();
        let lock = loop {
            match poddir::try_lock(&dir.lock())? {
                Some(lock) => break lock,
                None if began.elapsed() < LOCK_PATIENCE => thread::sleep(Duration::from_millis(20)),
                None => return Err(Error::AlreadySupervised { path: dir.path().to_owned() }),
            }
        };
        if dir.read_record()?.is_some() {
            return Err(Error::AlreadyStarted { path: dir.path().to_owned() });
        }
        let plan = PodPlan::read(&dir.plan())?;
        // Orphans of our sandboxes come to us, so that none stays behind as a zombie of a machine whose first process
        // does not reap.
        nix::sys::prctl::set_child_subreaper(true).map_err(|e| Error::system("adopt orphans", e))?;
        let (sender, events) = mpsc::channel();
        watch_signals(sender.clone())?;
        let waiting = |c: &Vec<ContainerPlan>| {
            let one = |c: &ContainerPlan| ContainerRecord {
                image_id: c.engine.as_ref().map(|e| e.image_id.clone()),
                ..ContainerRecord::waiting(&c.name)
            };
            c.iter().map(one).collect()
        };
        let record = PodRecord {
            supervisor_pid: nix::unistd::getpid().as_raw(),
            started_at: Timestamp::now(),
            init_containers: waiting(&plan.init_containers),
            containers: waiting(&plan.containers),
            termination: None,
            ended: None,
            notices: Vec::new(),
        };
        dir.write_record(&record)?;
        let deadline = plan.active_deadline_seconds.and_then(|s| outcome::after(Duration::from_secs(s)));
        Ok(Supervisor {
            dir,
            plan,
            record,
            active: HashMap::new(),
            events,
            sender,
            network: None,
            deadline,
            kill_at: None,
            killed_at: None,
            _lock: lock,
        })
    }

    fn run(mut self) -> Result<(), Error> {
        if self.plan.needs_network() {
            self.start_network()?;
        }
        let inits = self.plan.init_containers.len();
        let mut go_on = true;
        for index in 0..inits {
            // A request to stop may have come before anything was started.
            self.pump(Some(Duration::ZERO))?;
            if self.record.termination.is_some() {
                go_on = false;
                break;
            }
            self.start(index)?;
            self.pump(None)?;
            if self.record.termination.is_some() || !self.record.init_containers[index].succeeded() {
                go_on = false;
                break;
            }
        }
        self.pump(Some(Duration::ZERO))?;
        if go_on && self.record.termination.is_none() {
            for index in inits..inits + self.plan.containers.len() {
                self.start(index)?;
            }
            self.pump(None)?;
        }
        self.end()
    }

    /// Index over init containers, then containers.
    fn container(&self, index: usize) -> &ContainerPlan {
        let inits = self.plan.init_containers.len();
        if index < inits { &self.plan.init_containers[index] } else { &self.plan.containers[index - inits] }
    }

    fn slot(&mut self, index: usize) -> &mut ContainerRecord {
        let inits = self.plan.init_containers.len();
        if index < inits {
            &mut self.record.init_containers[index]
        } else {
            &mut self.record.containers[index - inits]
        }
    }

    fn set_state(&mut self, index: usize, state: ContainerState) -> Result<(), Error> {
        self.slot(index).state = state;
        self.dir.write_record(&self.record)
    }

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

    /// The process that keeps the Pod's network namespace: it brings loopback up and then only waits.
    fn start_network(&mut self) -> Result<(), Error> {
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
    fn fail_before_start(&mut self, why: &str) -> Result<(), Error> {
        self.record.termination = Some(Cause {
            reason: Some(REASON_EVICTED.to_owned()),
            message: Some(format!("the Pod's sandbox could not be made: {why}")),
        });
        self.dir.write_record(&self.record)
    }

    fn notice(&mut self, text: String) -> Result<(), Error> {
        if !self.record.notices.contains(&text) {
            self.record.notices.push(text);
            self.dir.write_record(&self.record)?;
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<(), Error> {
        let name = self.container(index).name.clone();
        match self.spawn(index, &name) {
            Ok(active) => {
                self.active.insert(index, active);
                Ok(())
            }
            Err(e) => {
                let now = Timestamp::now();
                self.set_state(index, start_error(now, &e.to_string()))
            }
        }
    }

    fn spawn(&self, index: usize, name: &str) -> Result<Active, Error> {
        let private = self.dir.container(name);
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

    /// Handles events until no container is active, or for at most `limit`.
    fn pump(&mut self, limit: Option<Duration>) -> Result<(), Error> {
        let until = limit.map(|l| Instant::now() + l);
        loop {
            self.keep_deadlines()?;
            self.collect_finished()?;
            if self.active.is_empty() && until.is_none() {
                return Ok(());
            }
            let now = Instant::now();
            let drain =
                self.active.values().filter_map(|a| a.reaped.map(|(_, at)| at + DRAIN_PATIENCE)).min();
            let killed = self.killed_at.map(|at| at + KILL_PATIENCE);
            let next = [self.deadline, self.kill_at, killed, drain, until].into_iter().flatten().min();
            let event = match next {
                Some(at) => self.events.recv_timeout(at.saturating_duration_since(now)),
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(event) => self.handle(event)?,
                Err(RecvTimeoutError::Timeout) => {
                    if until.is_some_and(|u| Instant::now() >= u) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Other("the supervisor lost its own event channel".to_owned()));
                }
            }
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Signal(Signal::SIGCHLD) => {
                self.reap();
                Ok(())
            }
            Event::Signal(_) => {
                let request = self.dir.read_terminate()?;
                let (grace, cause) = match request {
                    Some(r) => (r.grace_seconds, r.cause),
                    None => (self.plan.grace_seconds, Cause::default()),
                };
                self.terminate(Duration::from_secs(grace), cause)
            }
            Event::Message(_, Message::Notice(text)) => self.notice(text),
            Event::Message(index, Message::Started) => {
                let started_at = Timestamp::now();
                if let Some(active) = self.active.get_mut(&index) {
                    active.started_at = Some(started_at);
                    if self.record.termination.is_some() {
                        // The sandbox may have been starting the job when it was told, and not have heard.
                        let _ = kill(active.pid, Signal::SIGTERM);
                    }
                }
                self.set_state(index, ContainerState::Running { started_at })
            }
            Event::Message(index, Message::Created(id)) => {
                self.slot(index).container_id = Some(id);
                Ok(())
            }
            Event::Message(index, outcome) => {
                if let Some(active) = self.active.get_mut(&index) {
                    active.outcome = Some(outcome);
                }
                Ok(())
            }
            Event::ChannelClosed(index) => {
                if let Some(active) = self.active.get_mut(&index) {
                    active.channel_closed = true;
                }
                Ok(())
            }
            Event::LogClosed(index, problem) => {
                if let Some(active) = self.active.get_mut(&index) {
                    active.log_closed = true;
                    active.log_problem = problem;
                }
                Ok(())
            }
        }
    }

    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let Some(pid) = status.pid() else { return };
            if let Some(active) = self.active.values_mut().find(|a| a.pid == pid && a.reaped.is_none()) {
                active.reaped = Some((status, Instant::now()));
            }
            if self.network.as_ref().is_some_and(|(keeper, _)| *keeper == pid) {
                // The namespace lives on in the containers that have joined it.
                self.network = None;
            }
        }
    }

    fn signal_all(&self, signal: Signal) {
        for active in self.active.values().filter(|a| a.reaped.is_none()) {
            // It may have died since; then its end is about to be reported anyway.
            let _ = kill(active.pid, signal);
        }
    }

    /// Begins (or hastens) the end of the Pod.
    fn terminate(&mut self, grace: Duration, cause: Cause) -> Result<(), Error> {
        let first = self.record.termination.is_none();
        if first {
            self.record.termination = Some(cause);
            self.dir.write_record(&self.record)?;
            self.signal_all(Signal::SIGTERM);
        }
        // What has been told to die already is not told again; it is only watched until it has.
        if self.killed_at.is_none() {
            self.kill_at = [self.kill_at, outcome::after(grace)].into_iter().flatten().min();
        }
        Ok(())
    }

    fn keep_deadlines(&mut self) -> Result<(), Error> {
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
        if self.killed_at.is_some_and(|at| now >= at + KILL_PATIENCE) {
            self.signal_all(Signal::SIGKILL);
            self.killed_at = Some(now);
        }
        Ok(())
    }

    fn collect_finished(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let done: Vec<usize> = self.active.iter().filter(|(_, a)| a.finished(now)).map(|(i, _)| *i).collect();
        for index in done {
            if let Some(active) = self.active.remove(&index) {
                let state = active.final_state(self.container(index), &self.dir);
                self.set_state(index, state)?;
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Error> {
        if let Some((pid, _)) = self.network.take() {
            // Where it keeps a container, it has to remove it.
            let contained = self.plan.isolation == Isolation::Container;
            let _ = kill(pid, if contained { Signal::SIGTERM } else { Signal::SIGKILL });
        }
        // Whatever is still ours dies before we say that the Pod has ended.
        if self.plan.isolation == Isolation::None {
            kill_descendants();
        }
        let until = Instant::now() + KILL_PATIENCE;
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
        let all_succeeded = self.record.all().all(ContainerRecord::succeeded);
        let ended = match &self.record.termination {
            Some(cause) if cause.reason.is_some() => {
                Ended { succeeded: false, at: Timestamp::now(), cause: cause.clone() }
            }
            _ => Ended { succeeded: all_succeeded, at: Timestamp::now(), cause: Cause::default() },
        };
        self.record.ended = Some(ended);
        self.dir.write_record(&self.record)?;
        self.dir.discard_all_but_the_account();
        Ok(())
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

/// Blocks the signals we act on, in this and all later threads, and has a thread turn them into events.
fn watch_signals(sender: Sender<Event>) -> Result<(), Error> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        set.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(|e| Error::system("block signals", e))?;
    thread::spawn(move || {
        while let Ok(signal) = set.wait() {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}
