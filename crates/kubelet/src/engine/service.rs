//! `podman system service`, run by ourselves where there is a podman executable and nobody serves its API.
//!
//! It outlives us when we are killed, as the Pods do, and the next start finds it by its socket; an orderly end ends it.

use super::http::Client;
use crate::error::Error;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Longer than any machine takes to start it, busy ones included.
const TRIES: u32 = 600;
/// How long an end is waited for before it is made.
const END_TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);
/// Of a unix socket's path in Linux.
const SOCKET_PATH_LIMIT: usize = 107;

/// A service of ours.
pub struct Service {
    dir: PathBuf,
    flags: &'static [&'static str],
    /// Held while it is started; true once it is not to be started any more.
    stopped: tokio::sync::Mutex<bool>,
}

impl Service {
    /// The service in `dir`, started with these flags of podman's if it does not run.
    ///
    /// # Errors
    /// If there is no podman, or it does not come to answer.
    pub async fn start(dir: &Path, flags: &'static [&'static str]) -> Result<Service, Error> {
        crate::poddir::private_dir(dir)?;
        let service = Service { dir: dir.to_owned(), flags, stopped: tokio::sync::Mutex::new(false) };
        if service.socket().as_os_str().len() > SOCKET_PATH_LIMIT {
            return Err(Error::Other(format!(
                "{} is too long for a socket; choose a shorter data directory",
                service.socket().display()
            )));
        }
        service.ensure(&Client::new(&service.socket(), "")).await?;
        Ok(service)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("podman.sock")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("podman.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("podman.pid")
    }

    /// Starts it if it does not answer, unless it was stopped.
    pub async fn ensure(&self, client: &Client) -> Result<(), Error> {
        let stopped = self.stopped.lock().await;
        if *stopped || client.about().await.is_ok() {
            return Ok(());
        }
        self.kill(Signal::SIGKILL);
        // A service that was killed leaves its socket, and a new one would not bind to it.
        let _ = std::fs::remove_file(self.socket());
        let path = self.log();
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let log = log.map_err(|e| Error::io("open", &path, e))?;
        let log2 = log.try_clone().map_err(|e| Error::io("open", &path, e))?;
        let mut child = tokio::process::Command::new("podman")
            .args(self.flags)
            .args(["system", "service", "--time=0"])
            .arg(format!("unix://{}", self.socket().display()))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log2)
            // A terminal's Ctrl-C is for us, and the Pods need it until they have ended.
            .process_group(0)
            .spawn()
            .map_err(|e| Error::Other(format!("cannot start podman system service: {e}")))?;
        let pid = child.id().unwrap_or_default();
        std::fs::write(self.pid_file(), pid.to_string())
            .map_err(|e| Error::io("write", &self.pid_file(), e))?;
        for _ in 0..TRIES {
            if client.about().await.is_ok() {
                // Reaped when it ends.
                tokio::spawn(async move {
                    if let Ok(status) = child.wait().await {
                        tracing::debug!("podman system service ended with {status}");
                    }
                });
                return Ok(());
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(Error::Other(format!(
                    "podman system service ended with {status}: {}",
                    tail(&path)
                )));
            }
            tokio::time::sleep(PAUSE).await;
        }
        // It has not answered, so nobody misses it.
        let _ = child.start_kill();
        Err(Error::Other(format!("podman system service does not answer: {}", tail(&path))))
    }

    /// Ends it, and waits a little until it has.
    pub async fn stop(&self) {
        *self.stopped.lock().await = true;
        self.kill(Signal::SIGTERM);
        for _ in 0..END_TRIES {
            if tokio::net::UnixStream::connect(self.socket()).await.is_err() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.kill(Signal::SIGKILL);
    }

    /// Signals the process that we started, if that is still who has its number.
    fn kill(&self, signal: Signal) {
        let Ok(text) = std::fs::read_to_string(self.pid_file()) else { return };
        let Ok(pid) = text.trim().parse::<i32>() else { return };
        let socket = self.socket();
        let ours = std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*socket.to_string_lossy()));
        if ours {
            // It may have ended since; that is what was wanted.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// The last line of its log.
fn tail(path: &Path) -> String {
    let text = File::open(path).and_then(std::io::read_to_string).unwrap_or_default();
    text.lines().last().unwrap_or("it says nothing").to_owned()
}
