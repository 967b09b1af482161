//! A Podman of the tests' own: its service with a store of its own, and images made of busybox.

use super::World;
use prow_kubelet::{Network, Options, RuntimeChoice, SandboxMode};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// An image of busybox with a shell, without a program of its own.
pub const BUSYBOX: &str = "localhost/prow-test-busybox:1";
/// The same with one.
pub const SPEAKER: &str = "localhost/prow-test-speaker:1";
const SETTLE: Duration = Duration::from_secs(30);

/// A running service; dropping it ends it.
pub struct Podman {
    child: Child,
    dir: tempfile::TempDir,
    store: PathBuf,
}

/// `None`, and a word about it, where there is no Podman; in CI that is a failure.
pub fn podman() -> Option<Podman> {
    Podman::start("")
}

impl Podman {
    /// With this registries.conf.
    pub fn start(registries: &str) -> Option<Podman> {
        let missing: Vec<&str> = ["podman", "busybox"].into_iter().filter(|p| which(p).is_none()).collect();
        let root = nix::unistd::geteuid().is_root();
        if !missing.is_empty() || !root {
            let why =
                if root { format!("not installed: {}", missing.join(", ")) } else { "not root".to_owned() };
            assert!(std::env::var("CI").as_deref() != Ok("true"), "container tests cannot run in CI: {why}");
            eprintln!("SKIPPED: containers are not tested here: {why}");
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
        podman.image(BUSYBOX, None);
        podman.image(SPEAKER, Some("CMD [\"/bin/sh\", \"-c\", \"echo spoken by the image as $(id -u)\"]"));
        Some(podman)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("podman.sock")
    }

    /// Makes an image of busybox if there is none.
    fn image(&self, name: &str, change: Option<&str>) {
        if command(&self.store).args(["image", "exists", name]).status().unwrap().success() {
            return;
        }
        let root = self.dir.path().join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("tmp")).unwrap();
        fs::copy(which("busybox").unwrap(), root.join("bin/busybox")).unwrap();
        for applet in
            "sh cat echo ls id sleep nc grep stat touch mkdir ln true env dd tail pwd kill wget hostname"
                .split(' ')
        {
            let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(applet));
        }
        let tar = self.dir.path().join("image.tar");
        let made = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
        assert!(made.success());
        let mut import = command(&self.store);
        import.args(["import", "-q", "--change", "ENV PATH=/bin"]);
        if let Some(change) = change {
            import.args(["--change", change]);
        }
        let made = import.arg(&tar).arg(name).stdout(Stdio::null()).status().unwrap();
        assert!(made.success());
    }

    /// What `podman` says, run on the same store.
    pub fn says(&self, args: &[&str]) -> String {
        let out = command(&self.store).args(args).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// Containers of this data directory, running or not.
    pub fn containers(&self, world: &World) -> String {
        let filter = format!("label=prow.k8s.io/pod-runner={}", world.dir.join("kubelet").display());
        self.says(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}} {{.Status}}"])
    }

    /// A world whose Pods run here.
    pub async fn world(&self, change: impl Fn(&mut Options)) -> World {
        World::new(SandboxMode::Auto, |o| {
            self.options(o);
            change(o);
        })
        .await
    }

    pub fn options(&self, options: &mut Options) {
        options.runtime = RuntimeChoice::Socket(self.socket());
        options.network = Network::Outbound;
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

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file())
}
