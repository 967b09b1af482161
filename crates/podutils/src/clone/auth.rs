//! How clones reach their servers: SSH keys, host keys, tokens, cookies (prow-runtime §8.1, steps 1–4).
//!
//! A token goes from its file to git through a credential helper that reads a private file. It is never in a
//! URL, an argument, the repository's configuration or a record, and it is offered to the one repository it is
//! for: a submodule that a pull request adds cannot make us fetch with it from elsewhere.

use super::repository::Recorder;
use prow_api::Secret;
use prow_api::options::CloneRefsOptions;
use prow_api::results::CloneRecord;
use prow_git::process::Run;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const KNOWN_HOSTS: &str = "/tmp/known_hosts";
/// The agent makes its socket at once; this is for a machine that is very busy.
const AGENT_PATIENCE: u32 = 500;

/// Everything a clone needs to be let in. The agent ends and the files vanish with it.
pub(crate) struct Access {
    /// GIT_SSH_COMMAND and SSH_AUTH_SOCK, as set for every command.
    pub ssh_env: Vec<(String, String)>,
    /// Cookie file, for commands whose configuration is not the user's.
    pub cookie_path: String,
    credentials: Option<Credentials>,
    token: Option<Secret>,
    _agent: Option<Agent>,
}

struct Credentials {
    _dir: tempfile::TempDir,
    file: PathBuf,
}

struct Agent {
    _child: tokio::process::Child,
    _dir: tempfile::TempDir,
    socket: PathBuf,
}

impl Access {
    /// Gives the record of the setup, and no access if that failed.
    pub(crate) async fn set_up(options: &CloneRefsOptions) -> (CloneRecord, Option<Access>) {
        let mut recorder = Recorder::new();
        match Access::attempt(options, &mut recorder).await {
            Ok(access) => (recorder.record(Default::default(), false), Some(access)),
            Err(()) => (recorder.record(Default::default(), true), None),
        }
    }

    async fn attempt(options: &CloneRefsOptions, recorder: &mut Recorder) -> Result<Access, ()> {
        let mut ssh_env = Vec::new();
        let mut agent = None;
        if !options.key_files.is_empty() {
            let started = recorder.step("ssh-agent", start_agent()).await?;
            ssh_env.push(("SSH_AUTH_SOCK".to_owned(), started.socket.display().to_string()));
            for key in key_files(&options.key_files, recorder)? {
                let shown = format!("ssh-add {}", key.display());
                recorder.step(&shown, add_key(&key, &started.socket)).await?;
            }
            agent = Some(started);
        }
        if !options.host_fingerprints.is_empty() {
            let shown = format!("append host fingerprints to {KNOWN_HOSTS}");
            recorder
                .step(&shown, async {
                    append_hosts(&options.host_fingerprints).map(|()| ((), String::new()))
                })
                .await?;
            let ssh = find_on_path("ssh").unwrap_or_else(|| PathBuf::from("ssh"));
            let command = format!("{} -o UserKnownHostsFile={KNOWN_HOSTS}", ssh.display());
            ssh_env.push(("GIT_SSH_COMMAND".to_owned(), command));
        }
        let mut token = None;
        let mut credentials = None;
        if !options.oauth_token_file.is_empty() {
            let (secret, written) = recorder
                .silent_step("read the OAuth token", async {
                    credentials_from(Path::new(&options.oauth_token_file))
                })
                .await?;
            token = Some(secret);
            credentials = Some(written);
        } else if !options.github_app_id.is_empty() {
            let why = "this clonerefs cannot make GitHub App tokens yet; use an OAuth token (oauth_token_secret) or SSH keys";
            recorder.silent_step::<()>("make a GitHub App token", async { Err(why.to_owned()) }).await?;
        }
        if !options.cookie_path.is_empty() && options.refs.iter().any(|refs| !refs.skip_submodules) {
            let args = ["config", "--global", "http.cookiefile", options.cookie_path.as_str()];
            let run = Run::new("git").args(args).inherit_env().merged();
            recorder.step(&format!("git {}", args.join(" ")), finish(run)).await?;
        }
        let cookie_path = options.cookie_path.clone();
        Ok(Access { ssh_env, cookie_path, credentials, token, _agent: agent })
    }

    /// Variables that let git use the token for this URI, and for nothing else.
    pub(crate) fn credential_env(&self, uri: &str) -> Vec<(String, String)> {
        let Some(credentials) = &self.credentials else { return Vec::new() };
        if !uri.starts_with("https://") && !uri.starts_with("http://") {
            return Vec::new();
        }
        let key = format!("credential.{uri}.helper");
        let helper = format!(
            "!f() {{ test \"$1\" = get && cat '{}'; }}; f",
            credentials.file.display().to_string().replace('\'', "'\\''")
        );
        // The empty helper first: it forgets the helpers of the image's own configuration.
        [
            ("GIT_CONFIG_COUNT", "2"),
            ("GIT_CONFIG_KEY_0", &key),
            ("GIT_CONFIG_VALUE_0", ""),
            ("GIT_CONFIG_KEY_1", &key),
            ("GIT_CONFIG_VALUE_1", &helper),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
    }

    /// A text as it may be recorded.
    pub(crate) fn censored(&self, text: &str) -> String {
        match self.token.as_ref().and_then(Secret::expose_str) {
            Some(token) if !token.is_empty() => text.replace(token, "CENSORED"),
            _ => text.to_owned(),
        }
    }
}

fn credentials_from(token_file: &Path) -> Result<(Secret, Credentials), String> {
    let text = fs::read_to_string(token_file)
        .map_err(|e| format!("cannot read the OAuth token file {}: {e}", token_file.display()))?;
    let token = text.trim();
    if token.is_empty() || token.chars().any(char::is_control) {
        return Err(format!("the OAuth token file {} does not hold one token", token_file.display()));
    }
    let write = || {
        let dir = tempfile::Builder::new()
            .prefix("clonerefs-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()?;
        let file = dir.path().join("credential");
        let mut out = fs::OpenOptions::new().write(true).create_new(true).open(&file)?;
        out.set_permissions(fs::Permissions::from_mode(0o600))?;
        write!(out, "username=x-access-token\npassword={token}\n")?;
        Ok(Credentials { _dir: dir, file })
    };
    let credentials = write().map_err(|e: io::Error| format!("cannot hand the token to git: {e}"))?;
    Ok((Secret::new(token), credentials))
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

fn append_hosts(lines: &[String]) -> Result<(), String> {
    let append = || {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(KNOWN_HOSTS)?;
        for line in lines {
            writeln!(file, "{}", line.trim_end())?;
        }
        Ok(())
    };
    append().map_err(|e: io::Error| format!("cannot write {KNOWN_HOSTS}: {e}"))
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}
