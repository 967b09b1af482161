//! [`Git`]: git in one directory, under Prow's rules for environment and configuration.

use crate::process::{Captured, Exit, Run};
use crate::{GitError, Result};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Removes secrets from a text that is about to be shown.
pub type Censor = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Variables of our own environment that git needs to find programs, its proxy, and certificates.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

/// Runs git in one directory. Cheap to clone; every setting is a builder.
///
/// By default: a clean environment (PATH, HOME, proxies, certificates), no prompts, no system and no user
/// configuration, no hooks, no `ext::` transport, no background maintenance, five minutes and 64 MiB of output.
#[derive(Clone)]
pub struct Git {
    program: PathBuf,
    dir: PathBuf,
    config: Vec<(String, String)>,
    env: BTreeMap<OsString, OsString>,
    inherit_env: bool,
    user_config: bool,
    timeout: Option<Duration>,
    limit: usize,
    censor: Censor,
}

impl fmt::Debug for Git {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Git").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// What a command gave.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Standard output; with [`GitCommand::merged`] standard error too.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
}

impl Git {
    /// git in `dir`: a work tree, a bare repository, or where one is to be made.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Git {
            program: PathBuf::from("git"),
            dir: dir.into(),
            config: Vec::new(),
            env: BTreeMap::new(),
            inherit_env: false,
            user_config: false,
            timeout: Some(Duration::from_secs(300)),
            limit: 64 << 20,
            censor: Arc::new(str::to_owned),
        }
        .with_config("core.hooksPath", "/dev/null")
        .with_config("protocol.ext.allow", "never")
        .with_config("gc.auto", "0")
        .with_config("maintenance.auto", "false")
    }

    /// Another git executable; the default is `git` on the PATH.
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// The same rules in another directory.
    pub fn in_dir(&self, dir: impl Into<PathBuf>) -> Self {
        Git { dir: dir.into(), ..self.clone() }
    }

    /// One `-c key=value`, in force for every command; replaces single-valued defaults such as
    /// `core.hooksPath`. Never a secret: it is an argument.
    pub fn with_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((key.into(), value.into()));
        self
    }

    /// One environment variable for every command.
    pub fn with_env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(key.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Takes the environment and all configuration files as a person at this shell would have them: for the
    /// pod utilities, whose image and Pod are configured by the job's owner.
    pub fn inheriting(mut self) -> Self {
        self.inherit_env = true;
        self.user_config = true;
        self
    }

    /// The time limit of one command; `None` waits forever.
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many bytes of output to keep.
    pub fn with_output_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// What shown texts pass through.
    pub fn with_censor(mut self, censor: Censor) -> Self {
        self.censor = censor;
        self
    }

    /// Where it works.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A text as it may be shown.
    pub fn censored(&self, text: &str) -> String {
        (self.censor)(text)
    }

    /// A command to adjust before it runs. Arguments are the caller's responsibility: what comes from
    /// outside must have passed [`crate::names`].
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> GitCommand<'_> {
        GitCommand {
            git: self,
            args: args.into_iter().map(|a| a.as_ref().to_owned()).collect(),
            env: Vec::new(),
            stdin: None,
            merged: false,
        }
    }

    /// Runs it; any exit code but 0 is an error.
    pub async fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Output> {
        self.command(args).run().await
    }

    /// Runs it and gives standard output as text without trailing white space.
    pub async fn text(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        self.command(args).text().await
    }
}

/// One command, not yet run.
pub struct GitCommand<'a> {
    git: &'a Git,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    merged: bool,
}

impl GitCommand<'_> {
    /// One environment variable for this command only.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Bytes for standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Standard output and error in one stream.
    pub fn merged(mut self) -> Self {
        self.merged = true;
        self
    }

    /// The command line as a person would type it, censored; the `-c` settings of [`Git`] are left out.
    pub fn line(&self) -> String {
        let mut line = String::from("git");
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        self.git.censored(&line)
    }

    /// Runs it to its end, whatever its exit code. Only a command that could not run is an error.
    pub async fn status(self) -> Result<Output> {
        let line = self.line();
        let git = self.git;
        let mut run = Run::new(&git.program).dir(&git.dir).timeout(git.timeout).limit(git.limit);
        if git.inherit_env {
            run = run.inherit_env();
        } else {
            for key in PASSED_ON {
                if let Some(value) = std::env::var_os(key) {
                    run = run.env(key, value);
                }
            }
        }
        if !git.user_config {
            run = run.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        }
        run = run.env("GIT_TERMINAL_PROMPT", "0");
        for (key, value) in git.env.iter().chain(self.env.iter().map(|(k, v)| (k, v))) {
            run = run.env(key, value);
        }
        for (key, value) in &git.config {
            run = run.args([OsStr::new("-c"), OsStr::new(&format!("{key}={value}"))]);
        }
        run = run.args(&self.args);
        if let Some(stdin) = self.stdin {
            run = run.stdin(stdin);
        }
        if self.merged {
            run = run.merged();
        }
        tracing::debug!(dir = %git.dir.display(), command = %line, "running git");
        let finished = run.run().await.map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                GitError::Start { program: git.program.clone(), dir: git.dir.clone(), source }
            } else {
                GitError::Io { command: line, dir: git.dir.clone(), source }
            }
        })?;
        Ok(Output { exit: finished.exit, stdout: finished.stdout, stderr: finished.stderr })
    }

    /// Runs it; any exit code but 0 is an error that carries the last lines of standard error.
    pub async fn run(self) -> Result<Output> {
        let (git, line) = (self.git, self.line());
        let output = self.status().await?;
        if output.exit.success() { Ok(output) } else { Err(git.failure(line, &output)) }
    }

    /// Runs it and gives its whole standard output.
    pub async fn bytes(self) -> Result<Vec<u8>> {
        let (git, line) = (self.git, self.line());
        let output = self.run().await?;
        git.whole(line, output.stdout)
    }

    /// Runs it and gives standard output as text without trailing white space.
    pub async fn text(self) -> Result<String> {
        let line = self.line();
        let bytes = self.bytes().await?;
        let text = String::from_utf8(bytes)
            .map_err(|_| GitError::BadOutput { command: line, detail: "it is not UTF-8".to_owned() })?;
        Ok(text.trim_end().to_owned())
    }
}

impl Git {
    /// The error for a command that ended badly.
    pub(crate) fn failure(&self, command: String, output: &Output) -> GitError {
        if let (Exit::TimedOut, Some(after)) = (output.exit, self.timeout) {
            return GitError::TimedOut { command, dir: self.dir.clone(), after };
        }
        let said = if output.stderr.to_text().trim().is_empty() { &output.stdout } else { &output.stderr };
        let text = said.to_text();
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(8)..].join("\n");
        GitError::Failed { command, dir: self.dir.clone(), exit: output.exit, stderr: self.censored(&last) }
    }

    /// All of an output, or an error if some of it had to be dropped.
    pub(crate) fn whole(&self, command: String, captured: Captured) -> Result<Vec<u8>> {
        if captured.is_truncated() {
            return Err(GitError::TooMuchOutput { command, dir: self.dir.clone(), limit: self.limit });
        }
        Ok(captured.into_bytes())
    }
}
