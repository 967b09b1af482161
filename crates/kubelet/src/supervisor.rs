//! The supervisor: one process per Pod, which outlives the process that started it.
//!
//! It holds the Pod's lock, runs init containers in order and containers side by side, each once (`restartPolicy:
//! Never`; sidecars are started again), writes `status.json` at every change, pipes logs to disk, and on SIGTERM ends the Pod within its grace.
//! It never runs a Pod that has a `status.json` already. When it dies, the kernel takes its sandboxes with it.
//!
//! Synchronous on purpose: one main thread that starts, signals and reaps (so that a process id is never signalled after
//! it was reaped, and the parent-death signal of the sandboxes is tied to a thread that lives as long as we do), and
//! helper threads that only read and report through one channel.

mod ending;
mod limits;
mod log;
mod memory;
mod outcome;
mod sidecars;
mod starting;

use crate::error::Error;
use crate::plan::{ContainerPlan, PodPlan};
use crate::poddir::{self, Lock, PodDir};
use crate::record::{Cause, ContainerRecord, ContainerState, PodRecord, REASON_EVICTED};
use crate::sandbox::message::Message;
use jiff::Timestamp;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use outcome::{Active, DRAIN_PATIENCE};
use sidecars::Again;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How long a new supervisor waits for the lock, which a dying one may hold for a moment more.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

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
    /// A volume is too large.
    Evict(String),
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
    /// Sidecars that are started again when they end.
    again: HashMap<usize, Again>,
    /// Only sidecars are left, if anything is.
    winding_down: bool,
    /// The sidecar whose turn to end it is; later ones have ended.
    ending: Option<usize>,
    /// Notices from before the record was there.
    unsaid: Vec<String>,
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
        let mut plan = PodPlan::read(&dir.plan())?;
        // Orphans of our sandboxes come to us, so that none stays behind as a zombie of a machine whose first process
        // does not reap.
        nix::sys::prctl::set_child_subreaper(true).map_err(|e| Error::system("adopt orphans", e))?;
        let unsaid = memory::mount_all(&mut plan);
        let (sender, events) = mpsc::channel();
        watch_signals(sender.clone())?;
        let waiting = |c: &Vec<ContainerPlan>| {
            let one = |c: &ContainerPlan| ContainerRecord {
                image_id: c.engine.as_ref().map(|e| e.image_id.clone()),
                sidecar: c.restart,
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
            again: HashMap::new(),
            winding_down: false,
            ending: None,
            unsaid,
            _lock: lock,
        })
    }

    fn run(mut self) -> Result<(), Error> {
        for text in std::mem::take(&mut self.unsaid) {
            self.notice(text)?;
        }
        if self.plan.needs_keeper() {
            self.start_keeper()?;
        }
        limits::watch(self.plan.limits.clone(), self.sender.clone());
        if self.initialize()? {
            let inits = self.plan.init_containers.len();
            for index in inits..inits + self.plan.containers.len() {
                self.start(index)?;
            }
            self.pump(|s| !s.active.keys().any(|index| *index >= inits))?;
        }
        self.end_sidecars()?;
        self.end()
    }

    /// Runs the init containers, each to success; sidecars among them until they run. True if the others may start.
    fn initialize(&mut self) -> Result<bool, Error> {
        for index in 0..self.plan.init_containers.len() {
            // A request to stop may have come before anything was started.
            self.catch_up()?;
            if self.record.termination.is_some() {
                return Ok(false);
            }
            self.start(index)?;
            if self.container(index).restart {
                let runs = |s: &Self| matches!(s.slot_of(index).state, ContainerState::Running { .. });
                self.pump(|s| runs(s) || s.record.termination.is_some())?;
            } else {
                self.pump(|s| !s.active.contains_key(&index))?;
                if !self.slot_of(index).succeeded() {
                    return Ok(false);
                }
            }
        }
        self.catch_up()?;
        Ok(self.record.termination.is_none())
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

    fn slot_of(&self, index: usize) -> &ContainerRecord {
        let inits = self.plan.init_containers.len();
        if index < inits {
            &self.record.init_containers[index]
        } else {
            &self.record.containers[index - inits]
        }
    }

    fn set_state(&mut self, index: usize, state: ContainerState) -> Result<(), Error> {
        self.slot(index).state = state;
        self.dir.write_record(&self.record)
    }

    fn notice(&mut self, text: String) -> Result<(), Error> {
        if !self.record.notices.contains(&text) {
            self.record.notices.push(text);
            self.dir.write_record(&self.record)?;
        }
        Ok(())
    }

    /// Handles events until `done`.
    fn pump(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), Error> {
        loop {
            self.keep_deadlines()?;
            self.collect_finished()?;
            self.start_again()?;
            if done(self) {
                return Ok(());
            }
            let drain =
                self.active.values().filter_map(|a| a.reaped.map(|(_, at)| at + DRAIN_PATIENCE)).min();
            let killed = self.killed_at.map(|at| at + self.kill_patience());
            let again = self.next_start();
            let next = [self.deadline, self.kill_at, killed, drain, again].into_iter().flatten().min();
            let event = match next {
                Some(at) => self.events.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(event) => self.handle(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Other("the supervisor lost its own event channel".to_owned()));
                }
            }
        }
    }

    /// Handles what has happened already.
    fn catch_up(&mut self) -> Result<(), Error> {
        while let Ok(event) = self.events.try_recv() {
            self.handle(event)?;
        }
        self.keep_deadlines()
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
                    let told = match self.plan.init_containers.get(index).is_some_and(|c| c.restart) {
                        true => self.ending.is_some_and(|at| index >= at),
                        false => self.record.termination.is_some(),
                    };
                    if told {
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
            Event::Evict(message) => {
                let cause = Cause { reason: Some(REASON_EVICTED.to_owned()), message: Some(message) };
                if self.record.termination.is_none() { self.terminate(Duration::ZERO, cause) } else { Ok(()) }
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
