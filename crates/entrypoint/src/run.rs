//! Runs the command to its end: time limit, signals, orphans, marker.
//!
//! Three threads feed one channel (the command's output, its end, signals); the main thread decides.

use crate::alive::{Alive, died};
use crate::output::Output;
use crate::usage::Sampler;
use crate::{INTERNAL_ERROR, INTERRUPTED, Options, PREVIOUS_FAILED, marker};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::iterator::Signals;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often a previous container's marker is looked for: inotify would cost more code than it saves time.
const MARKER_POLL: Duration = Duration::from_millis(100);
/// After the group was killed: time for the pipe to close.
const AFTER_KILL: Duration = Duration::from_secs(2);

enum Event {
    /// The command ended.
    Ended(End),
    /// Nobody can write to the command's output any more.
    OutputClosed,
    /// A signal came for us.
    Signal(i32),
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Code(i32),
    /// Killed by a signal; true if it left a core.
    Signal(Signal, bool),
}

impl End {
    /// -1 when a signal killed it, as Go's `ExitStatus` has it.
    fn code(self) -> i32 {
        match self {
            End::Code(code) => code,
            End::Signal(..) => -1,
        }
    }

    /// Go's words for it; `None` if there is nothing to tell.
    fn why(self) -> Option<String> {
        let how = match self {
            End::Code(0) => return None,
            End::Code(code) => format!("exit status {code}"),
            End::Signal(signal, core) => {
                format!("signal: {}{}", in_words(signal), if core { " (core dumped)" } else { "" })
            }
        };
        Some(format!("wrapped process failed: {how}"))
    }
}

/// Runs everything and gives the code that this process exits with.
pub(crate) fn run(options: &Options) -> i32 {
    let (events, inbox) = channel();
    // First of all, so that a signal that comes early is not the end of us without a marker.
    let signals = listen(events.clone());
    // Until this function returns, which is after the marker.
    let alive = Alive::announce(&options.marker_file);
    let reserved = marker::Reserved::at(&options.marker_file);
    // Before the command: then the control group has nobody in it but us.
    let sampler = Sampler::start(&options.marker_file);
    let (output, code) = match prepare(options) {
        Ok(output) => {
            if let Err(error) = &alive {
                let message =
                    format!("if the entrypoint is killed, the sidecar cannot know: no lock file: {error}");
                output.say("warning", &message);
            }
            let code = match &signals {
                Ok(()) => attempt(options, &output, events, &inbox),
                Err(error) => {
                    output.say("error", &format!("cannot listen for signals: {error}"));
                    INTERNAL_ERROR
                }
            };
            (output, code)
        }
        Err(error) => {
            let output = Output::stdout_only();
            output.say_why(&error);
            (output, INTERNAL_ERROR)
        }
    };
    if let Some(Err(error)) = sampler.map(Sampler::finish) {
        output.say("warning", &format!("what the command cost is not recorded: {error}"));
    }
    output.finish();
    let code = match reserved.write(code) {
        Ok(()) => code,
        Err(error) => {
            output
                .say("error", &format!("cannot write the marker {}: {error}", options.marker_file.display()));
            return INTERNAL_ERROR;
        }
    };
    if options.always_zero { 0 } else { code }
}

fn prepare(options: &Options) -> Result<Output, String> {
    if let Some(dir) = &options.artifact_dir {
        std::fs::create_dir_all(dir)
            .map_err(|e| format!("cannot make the artifact directory {}: {e}", dir.display()))?;
    }
    Output::create(&options.process_log)
        .map_err(|e| format!("cannot create the process log {}: {e}", options.process_log.display()))
}

fn listen(events: Sender<Event>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

fn attempt(options: &Options, output: &Output, events: Sender<Event>, inbox: &Receiver<Event>) -> i32 {
    if let Some(previous) = &options.previous_marker {
        match wait_for(previous, inbox) {
            Ok(Previous::Passed) => {}
            Ok(Previous::Failed(code)) => {
                output.say("info", &format!("Skipping as previous step exited {code}"));
                return PREVIOUS_FAILED;
            }
            Ok(Previous::Interrupted(signal)) => {
                output.say("error", &format!("Entrypoint received interrupt: {}", name(signal)));
                return INTERRUPTED;
            }
            Err(error) => {
                output.say_why(&format!("cannot wait for the previous marker: {error}"));
                return INTERNAL_ERROR;
            }
        }
    }
    match start(options, output, events) {
        Ok(pid) => watch(options, output, pid, inbox),
        Err(error) => {
            let why = format!("could not start the process: {error}");
            output.write(format!("{why}\n").as_bytes());
            output.say_why(&why);
            INTERNAL_ERROR
        }
    }
}

enum Previous {
    Passed,
    Failed(i32),
    Interrupted(i32),
}

fn wait_for(previous: &Path, inbox: &Receiver<Event>) -> Result<Previous, String> {
    loop {
        match marker::read(previous)? {
            Some(0) => return Ok(Previous::Passed),
            Some(code) => return Ok(Previous::Failed(code)),
            // Read again: it may have come with the end.
            None if died(previous) => match marker::read(previous)? {
                Some(0) => return Ok(Previous::Passed),
                Some(code) => return Ok(Previous::Failed(code)),
                None => return Err(format!("{}: its entrypoint was killed", previous.display())),
            },
            None => {}
        }
        match inbox.recv_timeout(MARKER_POLL) {
            Ok(Event::Signal(signal)) if interrupts(signal) => return Ok(Previous::Interrupted(signal)),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("the signal listener is gone".to_owned()),
        }
    }
}

/// Starts the command in its own group, its output copied by a thread, its end and that of every orphan that is
/// handed to us collected by another.
fn start(options: &Options, output: &Output, events: Sender<Event>) -> Result<Pid, String> {
    let [program, args @ ..] = options.args.as_slice() else { return Err("no command".to_owned()) };
    // As process 1 of a container orphans come to us anyway; elsewhere this asks for them. Old kernels refuse.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let (reader, writer) = std::io::pipe().map_err(|e| format!("no pipe for its output: {e}"))?;
    let second = writer.try_clone().map_err(|e| format!("no pipe for its output: {e}"))?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(writer).stderr(second).process_group(0);
    let child = command.spawn().map_err(|e| format!("{}: {e}", program.to_string_lossy()))?;
    // It holds the write end: only with it gone does the pipe ever end.
    drop(command);
    let pid = i32::try_from(child.id()).map(Pid::from_raw).map_err(|e| e.to_string())?;

    let (copy_to, copied) = (output.clone(), events.clone());
    let spawned = std::thread::Builder::new().name("output".to_owned()).spawn(move || {
        copy_to.copy(reader);
        let _ = copied.send(Event::OutputClosed);
    });
    let spawned = spawned.and_then(|_| {
        std::thread::Builder::new().name("children".to_owned()).spawn(move || {
            // Ends with ECHILD, when there is nobody left to wait for.
            while let Ok(status) = waitpid(None, None) {
                let end = match status {
                    WaitStatus::Exited(who, code) if who == pid => End::Code(code),
                    WaitStatus::Signaled(who, signal, core) if who == pid => End::Signal(signal, core),
                    _ => continue,
                };
                let _ = events.send(Event::Ended(end));
            }
        })
    });
    match spawned {
        Ok(_) => Ok(pid),
        Err(error) => {
            let _ = killpg(pid, Signal::SIGKILL);
            Err(format!("no thread to watch it: {error}"))
        }
    }
}

/// Why the command is being ended before its time.
#[derive(Clone, Copy)]
enum Cut {
    Timeout,
    Interrupt,
}

fn watch(options: &Options, output: &Output, pid: Pid, inbox: &Receiver<Event>) -> i32 {
    let mut deadline = Instant::now().checked_add(options.timeout);
    let mut cut: Option<Cut> = None;
    let mut killed = false;
    let mut output_closed = false;
    let end = loop {
        match next(inbox, deadline) {
            Some(Event::Ended(end)) => break end,
            Some(Event::OutputClosed) => output_closed = true,
            Some(Event::Signal(signal)) if interrupts(signal) && cut.is_none() => {
                output.say("error", &format!("Entrypoint received interrupt: {}", name(signal)));
                cut = Some(Cut::Interrupt);
                send(pid, Signal::SIGINT);
                forward(pid, signal);
                deadline = Instant::now().checked_add(options.grace_period);
            }
            Some(Event::Signal(signal)) => forward(pid, signal),
            None if cut.is_none() => {
                output
                    .say("error", &format!("Process did not finish before {} timeout", go(options.timeout)));
                cut = Some(Cut::Timeout);
                send(pid, Signal::SIGINT);
                deadline = Instant::now().checked_add(options.grace_period);
            }
            None if !killed => {
                output.say(
                    "error",
                    &format!("Process did not exit before {} grace period", go(options.grace_period)),
                );
                killed = true;
                send(pid, Signal::SIGKILL);
                deadline = None;
            }
            // The listener for its end is a thread that cannot go away before it; wait on.
            None => deadline = Instant::now().checked_add(MARKER_POLL),
        }
    };
    drain(options, output, pid, inbox, output_closed, cut.is_some());
    if cut.is_some() && !killed {
        let grace = go(options.grace_period);
        output.say("error", &format!("Process gracefully exited before {grace} grace period"));
    }
    let why = match cut {
        None => end.why(),
        Some(Cut::Timeout) => Some("process timed out".to_owned()),
        Some(Cut::Interrupt) => Some("process aborted".to_owned()),
    };
    if let Some(why) = why {
        output.say_why(&why);
    }
    match (cut, options.propagate_error_code) {
        (None, _) | (Some(_), true) => end.code(),
        (Some(Cut::Timeout), false) => INTERNAL_ERROR,
        (Some(Cut::Interrupt), false) => INTERRUPTED,
    }
}

/// The command is gone. What it left running may still have something to say (a `tee` behind it), but does not
/// get to hold up the job: it has the grace period, or nothing if time was up already.
fn drain(
    options: &Options,
    output: &Output,
    pid: Pid,
    inbox: &Receiver<Event>,
    closed: bool,
    cut_short: bool,
) {
    let mut closed = closed;
    if !closed && !cut_short {
        let until = Instant::now().checked_add(options.grace_period);
        loop {
            match next(inbox, until) {
                Some(Event::OutputClosed) => {
                    closed = true;
                    break;
                }
                Some(Event::Signal(signal)) if interrupts(signal) => break,
                Some(_) => {}
                None => break,
            }
        }
        if !closed {
            output.say(
                "warning",
                "The process ended, but something it started still holds its output: killing that",
            );
        }
    }
    send(pid, Signal::SIGKILL);
    let until = Instant::now().checked_add(AFTER_KILL);
    while !closed {
        match next(inbox, until) {
            Some(Event::OutputClosed) => closed = true,
            Some(_) => {}
            None => break,
        }
    }
}

/// The next event, `None` when the deadline passes first. No deadline waits forever.
fn next(inbox: &Receiver<Event>, deadline: Option<Instant>) -> Option<Event> {
    match deadline {
        None => inbox.recv().ok(),
        Some(deadline) => inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok(),
    }
}

fn interrupts(signal: i32) -> bool {
    matches!(signal, signal_hook::consts::SIGINT | signal_hook::consts::SIGTERM)
}

fn forward(pid: Pid, signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        send(pid, signal);
    }
}

/// To the whole group. That it is gone already is no news.
fn send(pid: Pid, signal: Signal) {
    let _ = killpg(pid, signal);
}

/// Go's words for the two signals that interrupt, as people know them from Prow's logs.
fn name(signal: i32) -> &'static str {
    if signal == signal_hook::consts::SIGINT { "interrupt" } else { "terminated" }
}

/// Go's words for the signals that end a process.
fn in_words(signal: Signal) -> String {
    let words = match signal {
        Signal::SIGHUP => "hangup",
        Signal::SIGINT => "interrupt",
        Signal::SIGQUIT => "quit",
        Signal::SIGILL => "illegal instruction",
        Signal::SIGTRAP => "trace/breakpoint trap",
        Signal::SIGABRT => "aborted",
        Signal::SIGBUS => "bus error",
        Signal::SIGFPE => "floating point exception",
        Signal::SIGKILL => "killed",
        Signal::SIGSEGV => "segmentation fault",
        Signal::SIGPIPE => "broken pipe",
        Signal::SIGALRM => "alarm clock",
        Signal::SIGTERM => "terminated",
        other => return format!("signal {}", other as i32),
    };
    words.to_owned()
}

/// A duration as Go prints it: 2h0m0s, 1m30s, 15s, 1.5s, 300ms.
fn go(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return format!("{}ms", duration.as_micros() as f64 / 1000.0);
    }
    let fraction = f64::from(duration.subsec_millis()) / 1000.0;
    let rest = (seconds % 60) as f64 + fraction;
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_read_as_go_says_them() {
        for (end, code, why) in [
            (End::Code(0), 0, None),
            (End::Code(3), 3, Some("wrapped process failed: exit status 3")),
            (End::Signal(Signal::SIGKILL, false), -1, Some("wrapped process failed: signal: killed")),
            (
                End::Signal(Signal::SIGSEGV, true),
                -1,
                Some("wrapped process failed: signal: segmentation fault (core dumped)"),
            ),
        ] {
            assert_eq!((end.code(), end.why().as_deref()), (code, why));
        }
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        for (millis, text) in
            [(7_200_000, "2h0m0s"), (90_000, "1m30s"), (15_000, "15s"), (1_500, "1.5s"), (300, "300ms")]
        {
            assert_eq!(go(Duration::from_millis(millis)), text);
        }
    }
}
