//! Runs one program in its own process group, bounded in time and in the output that is kept.
//!
//! Properties: nothing the program starts in its group outlives the run, not on success, not on timeout, not
//! when the caller drops the future; a program that writes forever costs no memory; standard input is closed
//! unless bytes are given, so nothing can wait for a person.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// How long output may trickle in after the program itself has ended and its group was killed: only a process
/// that left the group on purpose still holds the pipe then.
const DRAIN: Duration = Duration::from_secs(2);

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// Killed by this signal number.
    Signal(i32),
    /// The time limit passed and its group was killed.
    TimedOut,
}

impl Exit {
    /// Exit code 0.
    pub fn success(self) -> bool {
        self == Exit::Code(0)
    }
}

impl fmt::Display for Exit {
    /// In the words that Go's `os/exec` uses, since clone records show them (prow-runtime §8.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit status {code}"),
            Exit::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal: {}", signal.as_str()),
                Err(_) => write!(f, "signal: {number}"),
            },
            Exit::TimedOut => f.write_str("timed out"),
        }
    }
}

/// Output kept within a limit: its beginning and its end. What had to go is counted.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    half: usize,
    dropped: u64,
}

impl Captured {
    fn with_limit(limit: usize) -> Self {
        Captured { half: (limit / 2).max(1), ..Captured::default() }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        let room = self.half - self.head.len();
        if room > 0 {
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.head.extend_from_slice(now);
            bytes = rest;
        }
        self.tail.extend(bytes);
        if self.tail.len() > self.half {
            let excess = self.tail.len() - self.half;
            self.tail.drain(..excess);
            self.dropped += excess as u64;
        }
    }

    /// True if the limit was exceeded and the middle is missing.
    pub fn is_truncated(&self) -> bool {
        self.dropped > 0
    }

    /// Everything kept, as it was written; a gap is not marked (see [`Captured::is_truncated`]).
    pub fn into_bytes(self) -> Vec<u8> {
        let mut all = self.head;
        all.extend(self.tail);
        all
    }

    /// Everything kept as text for people, with a line that marks the gap if there is one.
    pub fn to_text(&self) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if self.dropped == 0 {
            let mut all = self.head.clone();
            all.extend(tail);
            return String::from_utf8_lossy(&all).into_owned();
        }
        let (head, tail) = (String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&tail));
        format!("{head}\n… {} bytes left out …\n{tail}", self.dropped)
    }
}

/// A program that ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// Standard output; with [`Run::merged`] standard error too, in the order of writing.
    pub stdout: Captured,
    /// Standard error; empty with [`Run::merged`].
    pub stderr: Captured,
}

/// One program to run.
#[derive(Debug)]
pub struct Run {
    program: OsString,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    inherit_env: bool,
    stdin: Option<Vec<u8>>,
    merged: bool,
    timeout: Option<Duration>,
    limit: usize,
}

impl Run {
    /// `program` is looked up in this process's own PATH. The environment starts empty.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Run {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            dir: None,
            env: Vec::new(),
            inherit_env: false,
            stdin: None,
            merged: false,
            timeout: None,
            limit: 1 << 20,
        }
    }

    /// Appends arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Working directory.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Sets one environment variable; the last setting of a name counts.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts from this process's own environment instead of an empty one.
    pub fn inherit_env(mut self) -> Self {
        self.inherit_env = true;
        self
    }

    /// Feeds these bytes to standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// One pipe for standard output and error, so that their order is kept.
    pub fn merged(mut self) -> Self {
        self.merged = true;
        self
    }

    /// Kills the group after this time. None by default.
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Bytes of output to keep from each pipe; default 1 MiB.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Runs it to its end. Errors are those of starting and of the pipes; a failing program is not an error
    /// here, see [`Finished::exit`].
    pub async fn run(self) -> std::io::Result<Finished> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).process_group(0).kill_on_drop(true);
        if !self.inherit_env {
            command.env_clear();
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let merged = if self.merged {
            let (reader, writer) = std::io::pipe()?;
            command.stdout(writer.try_clone()?).stderr(writer);
            Some(tokio::net::unix::pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?)
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            None
        };
        let mut child = command.spawn()?;
        // The command holds the write ends of the merged pipe: without them gone, its end is never seen.
        drop(command);
        let mut group = Group(child.id());
        let stdin = child.stdin.take();
        let input = self.stdin.unwrap_or_default();
        let mut stdout = Captured::with_limit(self.limit);
        let mut stderr = Captured::with_limit(self.limit);
        let (out_pipe, err_pipe) = (child.stdout.take(), child.stderr.take());

        let exit = {
            let feed = async {
                if let Some(mut stdin) = stdin {
                    // A program that does not read its input to the end is its own business.
                    let _ = stdin.write_all(&input).await;
                }
                std::future::pending::<()>().await
            };
            let read = async {
                match merged {
                    Some(pipe) => read_into(Some(pipe), &mut stdout).await,
                    None => {
                        let (a, b) =
                            tokio::join!(read_into(out_pipe, &mut stdout), read_into(err_pipe, &mut stderr));
                        a.and(b)
                    }
                }
            };
            let limit = async {
                match self.timeout {
                    Some(after) => tokio::time::sleep(after).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(feed, read, limit);
            let mut read_result = None;
            let status = loop {
                tokio::select! {
                    status = child.wait() => break Some(status?),
                    result = &mut read, if read_result.is_none() => read_result = Some(result),
                    () = &mut feed => {}
                    () = &mut limit => break None,
                }
            };
            group.kill();
            if status.is_none() {
                child.wait().await?;
            }
            if read_result.is_none() {
                read_result = tokio::time::timeout(DRAIN, read).await.ok();
            }
            if let (Some(Err(error)), Some(_)) = (read_result, status) {
                return Err(error);
            }
            match status {
                None => Exit::TimedOut,
                Some(status) => match (status.code(), status.signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, signal) => Exit::Signal(signal.unwrap_or_default()),
                },
            }
        };
        Ok(Finished { exit, stdout, stderr })
    }
}

async fn read_into(pipe: Option<impl AsyncRead + Unpin>, into: &mut Captured) -> std::io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match pipe.read(&mut buffer).await? {
            0 => return Ok(()),
            n => into.push(&buffer[..n]),
        }
    }
}

/// Kills the process group once, at the latest when dropped.
struct Group(Option<u32>);

impl Group {
    fn kill(&mut self) {
        if let Some(id) = self.0.take().and_then(|id| i32::try_from(id).ok()) {
            // ESRCH, nobody left, is what we want to hear.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Run {
        Run::new("sh").args(["-c", script]).env("PATH", std::env::var_os("PATH").unwrap())
    }

    #[tokio::test]
    async fn exit_codes_signals_and_both_pipes_are_reported() {
        let done = sh("echo out; echo err >&2; exit 3").run().await.unwrap();
        assert_eq!(done.exit, Exit::Code(3));
        assert_eq!(done.exit.to_string(), "exit status 3");
        assert_eq!(done.stdout.into_bytes(), b"out\n");
        assert_eq!(done.stderr.into_bytes(), b"err\n");
        let done = sh("kill -TERM $$").run().await.unwrap();
        assert_eq!(done.exit, Exit::Signal(15));
    }

    #[tokio::test]
    async fn merged_output_keeps_its_order() {
        let done = sh("echo 1; echo 2 >&2; echo 3").merged().run().await.unwrap();
        assert_eq!(done.stdout.into_bytes(), b"1\n2\n3\n");
    }

    #[tokio::test]
    async fn the_environment_is_empty_but_for_what_is_given() {
        let done = Run::new("/usr/bin/env").env("A", "1").run().await.unwrap();
        assert_eq!(done.stdout.into_bytes(), b"A=1\n");
    }

    #[tokio::test]
    async fn a_timeout_kills_the_whole_group_and_keeps_what_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let script = format!(
            "echo hello; (trap '' INT TERM; echo $BASHPID; sleep 600) & echo $! > {0}; wait",
            pid_file.display()
        );
        let done = sh(&script).timeout(Some(Duration::from_secs(3))).run().await.unwrap();
        assert_eq!(done.exit, Exit::TimedOut);
        assert!(done.stdout.to_text().starts_with("hello\n"));
        let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        // Killed: gone, or a zombie that init has not yet collected. On a busy machine it dies a moment after the signal.
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let dead = |state: &str| state.is_empty() || state.contains(") Z ");
        for _ in 0..6000 {
            if dead(&state()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it lives: {}", state());
    }

    #[tokio::test]
    async fn endless_output_is_bounded_and_the_gap_is_marked() {
        let done = sh("echo begin; yes | head -c 3000000; echo end").limit(1000).run().await.unwrap();
        assert!(done.stdout.is_truncated());
        let text = done.stdout.to_text();
        assert!(text.len() < 1200, "{}", text.len());
        assert!(
            text.starts_with("begin\n") && text.ends_with("end\n") && text.contains("bytes left out"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn input_is_fed_and_a_program_that_ignores_it_does_no_harm() {
        let done =
            Run::new("cat").env("PATH", std::env::var_os("PATH").unwrap()).stdin("abc").run().await.unwrap();
        assert_eq!(done.stdout.into_bytes(), b"abc");
        let done = sh("exit 0").stdin(vec![0; 1 << 20]).run().await.unwrap();
        assert!(done.exit.success());
    }

    #[tokio::test]
    async fn a_background_process_does_not_keep_the_run_open() {
        let done = sh("sleep 600 & echo done").run().await.unwrap();
        assert_eq!(done.stdout.into_bytes(), b"done\n");
    }

    #[test]
    fn captured_is_exact_at_its_limit() {
        for (limit, write, dropped) in [(10, 10, 0), (10, 11, 1), (1, 5, 3), (2, 2, 0)] {
            let mut captured = Captured::with_limit(limit);
            for n in 0..write {
                captured.push(&[n]);
            }
            assert_eq!(captured.dropped, dropped, "{limit} {write}");
        }
    }
}
