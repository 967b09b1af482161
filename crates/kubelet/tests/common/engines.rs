//! The container engines that tests run Pods on, and images made of busybox in each. A test of containers is a function
//! of an engine; [`on_every_engine`](crate::on_every_engine) makes a test of it for each engine that there is.

use super::World;
use super::dockerd::{self, Dockerd};
use super::podman::Podman;
use prow_kubelet::{Network, Options, RuntimeChoice, SandboxMode};
use serde_json::json;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// An image of busybox with a shell, without a program of its own.
pub const BUSYBOX: &str = "localhost/prow-test-busybox:2";
/// The same with one.
pub const SPEAKER: &str = "localhost/prow-test-speaker:2";
const HOLLOW: &str = "localhost/prow-test-hollow:1";
/// The speaker's.
const SPEAKS: &str = "echo spoken by the image as $(id -u)";
const APPLETS: &str = "sh cat echo ls id sleep nc grep stat touch mkdir ln true env dd tail pwd kill wget hostname ip route test";

/// A running engine; dropping it ends it, unless others use it.
pub struct TestEngine(Kind);

enum Kind {
    Podman(Podman),
    Docker(Arc<Dockerd>),
}

/// `$name::podman` and `$name::docker`, which are tests, for each of these functions of an engine.
#[macro_export]
macro_rules! on_every_engine {
    ($($name:ident),* $(,)?) => {
        mod on_podman {
            $(#[tokio::test]
            async fn $name() {
                let Some(engine) = $crate::common::engines::podman() else { return };
                super::$name(&engine).await;
            })*
        }
        mod on_docker {
            $(#[tokio::test]
            async fn $name() {
                let Some(engine) = $crate::common::engines::docker() else { return };
                super::$name(&engine).await;
            })*
        }
    };
}

/// Podman, or `None` and a word about it; in CI that is a failure.
pub fn podman() -> Option<TestEngine> {
    Podman::start("").map(|podman| TestEngine(Kind::Podman(podman)).with_images())
}

/// Docker, or `None` and a word about it; where `.ci/run` has installed it that is a failure.
pub fn docker() -> Option<TestEngine> {
    dockerd::shared().map(|docker| TestEngine(Kind::Docker(docker)).with_images())
}

/// True if tests of this engine can be run; if they must be, which this variable says, it is a failure if they cannot.
pub fn needed(engine: &str, missing: &[&str], variable: &str) -> bool {
    let why = match missing {
        [] if nix::unistd::geteuid().is_root() => return true,
        [] => "not root".to_owned(),
        _ => format!("not installed: {}", missing.join(", ")),
    };
    assert!(!is_set(variable), "containers of {engine} have to be tested here, and cannot be: {why}");
    eprintln!("SKIPPED: containers of {engine} are not tested here: {why}");
    false
}

pub fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|v| ["1", "true"].contains(&v.as_str()))
}

/// Where programs are, those for root included.
pub fn path_with_sbin() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::join_paths(std::env::split_paths(&path).chain(sbin)).unwrap()
}

pub fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&path_with_sbin()).map(|dir| dir.join(program)).find(|p| p.is_file())
}

impl TestEngine {
    fn with_images(self) -> TestEngine {
        let dir = tempfile::tempdir().unwrap();
        self.image(dir.path(), BUSYBOX, None);
        self.image(dir.path(), SPEAKER, Some(&format!("CMD [\"/bin/sh\", \"-c\", \"{SPEAKS}\"]")));
        self
    }

    /// In the id of a container's status.
    pub fn scheme(&self) -> &str {
        match self.0 {
            Kind::Podman(_) => "podman",
            Kind::Docker(_) => "docker",
        }
    }

    /// As the pod runner describes it.
    pub fn title(&self) -> &str {
        match self.0 {
            Kind::Podman(_) => "Podman Engine",
            Kind::Docker(_) => "Docker Engine",
        }
    }

    pub fn socket(&self) -> PathBuf {
        match &self.0 {
            Kind::Podman(podman) => podman.socket(),
            Kind::Docker(docker) => docker.socket(),
        }
    }

    /// The same engine, told that the registry behind this port of ours does not speak TLS.
    pub fn trusting(&self, port: u16) -> TestEngine {
        match &self.0 {
            Kind::Podman(_) => {
                let registry = format!("[[registry]]\nlocation = \"127.0.0.1:{port}\"\ninsecure = true\n");
                TestEngine(Kind::Podman(Podman::start(&registry).unwrap()))
            }
            // It believes what listens on loopback.
            Kind::Docker(docker) => TestEngine(Kind::Docker(docker.clone())),
        }
    }

    fn command(&self) -> Command {
        match &self.0 {
            Kind::Podman(podman) => podman.command(),
            Kind::Docker(docker) => {
                let mut command = Command::new("docker");
                command.arg("--host").arg(format!("unix://{}", docker.socket().display()));
                command
            }
        }
    }

    /// The image with nothing in it but links into `/usr`, for what is to be mounted there.
    pub fn hollow(&self) -> &'static str {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        for name in ["etc/containers", "proc", "root", "run", "sys", "tmp", "usr", "var/lib", "var/tmp"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
        let tar = packed(&root, &dir.path().join("hollow.tar"));
        self.import(HOLLOW, &tar, None);
        HOLLOW
    }

    /// Makes an image of busybox if there is none.
    fn image(&self, dir: &Path, name: &str, change: Option<&str>) {
        let known = self
            .command()
            .args(["image", "inspect", name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if known.unwrap().success() {
            return;
        }
        self.import(name, &busybox(dir), change);
    }

    fn import(&self, name: &str, tar: &Path, change: Option<&str>) {
        let mut import = self.command();
        import.args(["import", "--change", "ENV PATH=/bin"]);
        if let Some(change) = change {
            import.args(["--change", change]);
        }
        let made = import.arg(tar).arg(name).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// What the engine's own command says.
    pub fn says(&self, args: &[&str]) -> String {
        let out = self.command().args(args).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// Containers of this data directory, running or not.
    pub fn containers(&self, world: &World) -> String {
        let filter = format!("label=prow.k8s.io/pod-runner={}", world.dir.join("kubelet").display());
        let out = self
            .command()
            .args(["ps", "-a", "--filter", &filter, "--format", "{{.Names}} {{.Status}}"])
            .output();
        let out = out.unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
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

/// The content of an image, as a tar file.
fn busybox(dir: &Path) -> PathBuf {
    let (root, tar) = (dir.join("root"), dir.join("image.tar"));
    if tar.exists() {
        return tar;
    }
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("tmp")).unwrap();
    fs::copy(which("busybox").unwrap(), root.join("bin/busybox")).unwrap();
    for applet in APPLETS.split(' ') {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    packed(&root, &tar)
}

fn packed(root: &Path, tar: &Path) -> PathBuf {
    let made = Command::new("tar").arg("-C").arg(root).arg("-cf").arg(tar).arg(".").status().unwrap();
    assert!(made.success());
    tar.to_owned()
}

fn sha256(path: &Path) -> String {
    let out = Command::new("sha256sum").arg(path).output().unwrap();
    format!("sha256:{}", String::from_utf8_lossy(&out.stdout).split(' ').next().unwrap())
}

/// An OCI registry on loopback with the speaker's image in it, for `robot` with the password `sesame`. Gives its port.
pub fn registry() -> u16 {
    let dir = tempfile::tempdir().unwrap();
    let layer = busybox(dir.path());
    let blob = |name: &str, content: serde_json::Value| {
        let path = dir.path().join(name);
        fs::write(&path, content.to_string()).unwrap();
        path
    };
    let about = |path: &Path, kind: &str| {
        let size = fs::metadata(path).unwrap().len();
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": sha256(path), "size": size})
    };
    let config = blob(
        "config.json",
        json!({
            "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh", "-c", SPEAKS]},
            "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]},
        }),
    );
    let manifest = blob(
        "manifest.json",
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": about(&config, "config.v1+json"),
            "layers": [about(&layer, "layer.v1.tar")],
        }),
    );
    let blobs: Vec<(String, Vec<u8>)> =
        [&layer, &config, &manifest].map(|path| (sha256(path), fs::read(path).unwrap())).to_vec();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let blobs = blobs.clone();
            std::thread::spawn(move || answer(&stream.unwrap(), &blobs));
        }
    });
    port
}

/// One request a connection.
fn answer(mut stream: &std::net::TcpStream, blobs: &[(String, Vec<u8>)]) {
    // Who tries TLS first sends no lines.
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|l| !l.is_empty()).collect();
    let Some(path) = head.first().and_then(|l| l.split(' ').nth(1)) else { return };
    // robot:sesame
    let known = head
        .iter()
        .any(|l| l.to_lowercase().starts_with("authorization: basic") && l.ends_with("cm9ib3Q6c2VzYW1l"));
    let manifest = path.contains("/manifests/");
    let wanted = match path.rsplit_once('/') {
        Some((_, "v1")) if manifest => blobs.last(),
        Some((_, digest)) => blobs.iter().find(|(name, _)| name == digest),
        None => None,
    };
    let kind =
        if manifest { "application/vnd.oci.image.manifest.v1+json" } else { "application/octet-stream" };
    let (status, more, body) = match wanted {
        _ if !known => {
            ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"private\"\r\n".to_owned(), &[][..])
        }
        Some((digest, body)) => ("200 OK", format!("Docker-Content-Digest: {digest}\r\n"), &body[..]),
        None if path == "/v2/" => ("200 OK", String::new(), &b"{}"[..]),
        None => ("404 Not Found", String::new(), &b"{}"[..]),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\n{more}Docker-Distribution-Api-Version: registry/2.0\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let body = if head[0].starts_with("HEAD") { &[][..] } else { body };
    // Whoever asked may have gone.
    let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(body));
}
