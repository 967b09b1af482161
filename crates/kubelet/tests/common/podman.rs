//! A Podman of the tests' own: its service with a store of its own.

use super::engines::{needed, which};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than it takes to start on any machine.
const SETTLE: Duration = Duration::from_secs(120);

/// A running service; dropping it ends it.
pub struct Podman {
    child: Child,
    dir: tempfile::TempDir,
    store: PathBuf,
}

impl Podman {
    /// With this registries.conf; `None`, and a word about it, where there can be none.
    pub fn start(registries: &str) -> Option<Podman> {
        let missing: Vec<&str> = ["podman", "busybox"].into_iter().filter(|p| which(p).is_none()).collect();
        if !needed("Podman", &missing, "CI") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // Kept between runs: making images anew every time would cost more than the tests.
        let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("podman");
        fs::create_dir_all(&store).unwrap();
        fs::write(dir.path().join("registries.conf"), registries).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = command(&store)
            .args(["system", "service", "--time=0"])
            .arg(format!("unix://{}", dir.path().join("podman.sock").display()))
            .env("CONTAINERS_REGISTRIES_CONF", dir.path().join("registries.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let podman = Podman { child, dir, store };
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(podman.socket()).is_err() {
            assert!(
                began.elapsed() < SETTLE,
                "{}",
                fs::read_to_string(podman.dir.path().join("log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(podman)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("podman.sock")
    }

    /// `podman` on the same store.
    pub fn command(&self) -> Command {
        command(&self.store)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(store: &Path) -> Command {
    let mut command = Command::new("podman");
    // Where cgroups are of the older kind, crun refuses what runc does.
    if which("runc").is_some() {
        command.args(["--runtime=runc", "--cgroup-manager=cgroupfs"]);
    }
    command.arg("--root").arg(store.join("store")).arg("--runroot").arg(store.join("run"));
    command
}
