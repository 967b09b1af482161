//! How clones reach their servers: SSH keys, host keys, cookies; tokens are in `credentials` (prow-runtime §8.1,
//! steps 1–4).

use super::credentials::Tokens;
use super::repository::Recorder;
use prow_api::options::CloneRefsOptions;
use prow_api::results::CloneRecord;
use prow_git::process::Run;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where host keys are added.
pub(crate) const KNOWN_HOSTS: &str = "/tmp/known_hosts";
/// The agent makes its socket at once; this is for a machine that is very busy.
const AGENT_PATIENCE: u32 = 500;

/// Everything a clone needs to be let in. The agent ends and the files vanish with it.
pub(crate) struct Access {
    /// GIT_SSH_COMMAND and SSH_AUTH_SOCK, as set for every command.
    pub ssh_env: Vec<(String, String)>,
    /// Cookie file, for commands whose configuration is not the user's.
    pub cookie_path: String,
    pub tokens: Tokens,
    _agent: Option<Agent>,
}

struct Agent {
    _child: tokio::process::Child,
    _dir: tempfile::TempDir,
    socket: PathBuf,
}

impl Access {
    /// Gives the record of the setup, and no access if that failed.
    pub(crate) async fn set_up(
        options: &CloneRefsOptions,
        known_hosts: &Path,
    ) -> (CloneRecord, Option<Access>) {
        let mut recorder = Recorder::new();
        match Access::attempt(options, known_hosts, &mut recorder).await {
            // The setup's record has no time, as upstream has it.
            Ok(access) => {
                (CloneRecord { duration: 0, ..recorder.record(Default::default(), false) }, Some(access))
            }
            Err(()) => (recorder.record(Default::default(), true), None),
        }
    }

    async fn attempt(
        options: &CloneRefsOptions,
        known_hosts: &Path,
        recorder: &mut Recorder,
    ) -> Result<Access, ()> {
        let mut ssh_env = Vec::new();
        let mut agent = None;
        if !options.key_files.is_empty() {
            let started = recorder.step("ssh-agent", start_agent()).await?;
            ssh_env.push(("SSH_AUTH_SOCK".to_owned(), started.socket.display().to_string()));
            for key in key_files(&options.key_files, recorder)? {
                let shown = format!("ssh-add {key:?}");
                recorder.step(&shown, add_key(&key, &started.socket)).await?;
            }
            agent = Some(started);
        }
        if !options.host_fingerprints.is_empty() {
            let shown = format!("golang: append {known_hosts:?}");
            recorder
                .step(&shown, async {
                    append_hosts(known_hosts, &options.host_fingerprints).map(|()| ((), String::new()))
                })
                .await?;
            let ssh = find_on_path("ssh").unwrap_or_else(|| PathBuf::from("ssh"));
            let command = format!("{} -o UserKnownHostsFile={}", ssh.display(), known_hosts.display());
            ssh_env.push(("GIT_SSH_COMMAND".to_owned(), command));
        }
        let tokens = recorder
            .silent_step("read the token or key of GitHub", async { Tokens::from_options(options) })
            .await?;
        if !options.cookie_path.is_empty() && options.refs.iter().any(|refs| !refs.skip_submodules) {
            let args = ["config", "--global", "http.cookiefile", options.cookie_path.as_str()];
            let run = Run::new("git").args(args).inherit_env().merged();
            recorder.step(&format!("git {}", args.join(" ")), finish(run)).await?;
        }
        let cookie_path = options.cookie_path.clone();
        Ok(Access { ssh_env, cookie_path, tokens, _agent: agent })
    }
}

/// Every key file; the entries of a Secret's volume that begin with `..` are its machinery.
fn key_files(paths: &[String], recorder: &mut Recorder) -> Result<Vec<PathBuf>, ()> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = paths.iter().rev().map(PathBuf::from).collect();
    while let Some(path) = pending.pop() {
        let listed = fs::metadata(&path).and_then(|meta| {
            if meta.is_file() {
                found.push(path.clone());
            } else if meta.is_dir() {
                let mut entries: Vec<PathBuf> =
                    fs::read_dir(&path)?.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>()?;
                entries.retain(|e| e.file_name().is_some_and(|n| !n.as_encoded_bytes().starts_with(b"..")));
                entries.sort();
                pending.extend(entries.into_iter().rev());
            }
            Ok(())
        });
        if let Err(error) = listed {
            recorder.failed(&format!("read SSH keys in {}", path.display()), &error.to_string());
            return Err(());
        }
    }
    Ok(found)
}

/// In the foreground with a socket of our own choosing: no daemon to lose sight of, it ends with us.
async fn start_agent() -> Result<(Agent, String), String> {
    let attempt = async {
        let dir = tempfile::Builder::new()
            .prefix("ssh-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()?;
        let socket = dir.path().join("agent");
        let mut child = tokio::process::Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        for _ in 0..AGENT_PATIENCE {
            if socket.exists() {
                return Ok(Agent { _child: child, _dir: dir, socket });
            }
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("it ended at once ({status})")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(io::Error::other("it made no socket"))
    };
    attempt
        .await
        .map(|agent| (agent, String::new()))
        .map_err(|e: io::Error| format!("cannot start ssh-agent: {e}"))
}

async fn add_key(key: &Path, socket: &Path) -> Result<((), String), String> {
    let run = Run::new("ssh-add")
        .args([key])
        .inherit_env()
        .env("SSH_AUTH_SOCK", socket)
        // A key with a passphrase must fail, not ask.
        .env("SSH_ASKPASS_REQUIRE", "never")
        .merged()
        .timeout(Some(Duration::from_secs(60)));
    finish(run).await
}

async fn finish(run: Run) -> Result<((), String), String> {
    let finished = run.run().await.map_err(|e| e.to_string())?;
    let said = finished.stdout.to_text();
    if finished.exit.success() { Ok(((), said)) } else { Err(format!("{}: {}", finished.exit, said.trim())) }
}

fn append_hosts(file: &Path, lines: &[String]) -> Result<(), String> {
    let append = || {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(file)?;
        for line in lines {
            writeln!(file, "{}", line.trim_end())?;
        }
        Ok(())
    };
    append().map_err(|e: io::Error| format!("cannot write {}: {e}", file.display()))
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}
