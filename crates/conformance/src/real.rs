//! A real control plane on loopback: etcd and kube-apiserver, RBAC, tokens, the ProwJob CRD. It ends with the value.
//!
//! The two programs are given ([`Binaries`]); `cargo xtask kubernetes-test` builds them. There is no controller manager
//! and no scheduler: namespaces that are deleted stay `Terminating`, and Pods are bound by whoever plays the node.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::Server;
use crate::world::send;

/// Longest wait for the programs to be ready: they share the machine with everything else.
const READY: Duration = Duration::from_secs(120);
/// Pause between two looks at whether they are.
const POLL: Duration = Duration::from_millis(100);

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// etcd.
    pub etcd: PathBuf,
    /// kube-apiserver.
    pub apiserver: PathBuf,
}

impl Binaries {
    /// The directory in which `cargo xtask kubernetes-test` keeps the programs of a version.
    pub fn cache(version: &str) -> Option<PathBuf> {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache =
            cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
        Some(cache.join("prow-tests/kubernetes").join(version))
    }

    /// Both programs in a directory.
    pub fn of(dir: &Path) -> Binaries {
        Binaries { etcd: dir.join("etcd"), apiserver: dir.join("kube-apiserver") }
    }

    /// They are there.
    pub fn exist(&self) -> bool {
        self.etcd.is_file() && self.apiserver.is_file()
    }
}

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum RealError {
    /// A file or program could not be used.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was to be done.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A program ended or did not become ready.
    #[error("{program} {what}; its log ends with:\n{log}")]
    Program {
        /// `etcd` or `kube-apiserver`.
        program: &'static str,
        /// What it did instead.
        what: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// The client refused the kubeconfig.
    #[error("the client cannot be made: {0}")]
    Client(String),
    /// A thing that the tests need was refused.
    #[error("cannot make {what}: {answer}")]
    Setup {
        /// The thing.
        what: String,
        /// The server's answer.
        answer: Value,
    },
}

/// A running control plane.
pub struct RealCluster {
    dir: tempfile::TempDir,
    /// In the order in which they end.
    programs: Vec<Program>,
    kubeconfig: PathBuf,
    view_kubeconfig: PathBuf,
}

struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    fn start(name: &'static str, dir: &Path, command: &mut Command) -> Result<Program, RealError> {
        let log = dir.join(format!("{name}.log"));
        let io = |source| RealError::Io { what: format!("start {name}"), source };
        let out = fs::File::create(&log).map_err(io)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(io)?)
            .stderr(out)
            .spawn()
            .map_err(io)?;
        Ok(Program { name, child, log })
    }

    fn failed(&self, what: String) -> RealError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let log = lines[lines.len().saturating_sub(15)..].join("\n");
        RealError::Program { program: self.name, what, log }
    }

    /// An error if it has ended.
    fn check(&mut self) -> Result<(), RealError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(self.failed(format!("ended with {status}"))),
            _ => Ok(()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing of it is kept, so nothing has to be saved.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of loopback that was free a moment ago: neither program can be asked which port it took.
fn free_port() -> Result<SocketAddr, RealError> {
    let io = |source| RealError::Io { what: "find a free port".to_owned(), source };
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(io)
}

fn write_private(path: &Path, text: &str) -> Result<(), RealError> {
    let io = |source| RealError::Io { what: format!("write {}", path.display()), source };
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)
}

/// A token that cannot be guessed, made by the system.
fn token() -> Result<String, RealError> {
    let mut bytes = [0_u8; 24];
    let read = fs::File::open("/dev/urandom").and_then(|mut f| std::io::Read::read_exact(&mut f, &mut bytes));
    read.map_err(|source| RealError::Io { what: "read randomness".to_owned(), source })?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

impl RealCluster {
    /// Starts etcd and kube-apiserver on loopback with RBAC, installs the CRDs, and waits until all of it answers.
    pub async fn start(binaries: &Binaries, crds: &[Value]) -> Result<RealCluster, RealError> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| RealError::Io { what, source }
        };
        let dir = tempfile::tempdir().map_err(io("make a directory"))?;
        let at = dir.path().to_owned();
        let (client, peer, secure) = (free_port()?, free_port()?, free_port()?);
        let (admin, viewer) = (token()?, token()?);
        write_private(
            &at.join("tokens.csv"),
            &format!("{admin},admin,admin,\"system:masters\"\n{viewer},viewer,viewer\n"),
        )?;
        let key = at.join("service-account.key");
        service_account_key(&key)?;
        let etcd = Program::start(
            "etcd",
            &at,
            Command::new(&binaries.etcd)
                .arg(format!("--data-dir={}", at.join("etcd").display()))
                .arg(format!("--listen-client-urls=http://{client}"))
                .arg(format!("--advertise-client-urls=http://{client}"))
                .arg(format!("--listen-peer-urls=http://{peer}"))
                .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
                .arg(format!("--initial-cluster=default=http://{peer}"))
                .arg("--unsafe-no-fsync"),
        )?;
        let apiserver = Program::start(
            "kube-apiserver",
            &at,
            Command::new(&binaries.apiserver)
                .arg(format!("--etcd-servers=http://{client}"))
                .arg(format!("--bind-address={}", secure.ip()))
                .arg(format!("--secure-port={}", secure.port()))
                .arg(format!("--cert-dir={}", at.join("certificates").display()))
                .arg(format!("--token-auth-file={}", at.join("tokens.csv").display()))
                .arg(format!("--service-account-key-file={}", key.display()))
                .arg(format!("--service-account-signing-key-file={}", key.display()))
                .args([
                    "--service-account-issuer=https://kubernetes.default.svc",
                    "--authorization-mode=RBAC",
                ])
                .arg("--service-cluster-ip-range=10.0.0.0/24")
                // So that history ends while the suite runs.
                .arg("--etcd-compaction-interval=5s")
                // Nobody makes the service accounts and tokens that it would ask for.
                .arg("--disable-admission-plugins=ServiceAccount"),
        )?;
        let mut cluster = RealCluster {
            kubeconfig: at.join("kubeconfig"),
            view_kubeconfig: at.join("kubeconfig.view"),
            programs: vec![apiserver, etcd],
            dir,
        };
        // It makes itself a certificate, which is there once it serves.
        let authority = cluster.wait_for_file(&at.join("certificates/apiserver.crt")).await?;
        for (path, token) in [(&cluster.kubeconfig, &admin), (&cluster.view_kubeconfig, &viewer)] {
            write_private(path, &kubeconfig(secure, &authority, token))?;
        }
        cluster.ready(crds).await?;
        Ok(cluster)
    }

    /// A kubeconfig with the one context `real`, which may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The directory of its files, for more of them.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Clients of both users.
    pub async fn server(&self) -> Result<Server, RealError> {
        Ok(Server { admin: client(&self.kubeconfig).await?, viewer: client(&self.view_kubeconfig).await? })
    }

    async fn wait_for_file(&mut self, path: &Path) -> Result<String, RealError> {
        let until = Instant::now() + READY;
        loop {
            match fs::read_to_string(path) {
                Ok(text) if text.contains("END CERTIFICATE") => return Ok(text),
                _ => self.pause(until, "made no certificate").await?,
            }
        }
    }

    /// Waits a moment; an error if a program has ended or the time is up.
    async fn pause(&mut self, until: Instant, what: &str) -> Result<(), RealError> {
        for program in &mut self.programs {
            program.check()?;
        }
        if Instant::now() > until {
            return Err(self.programs[0].failed(format!("{what} within {} s", READY.as_secs())));
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    async fn ready(&mut self, crds: &[Value]) -> Result<(), RealError> {
        let until = Instant::now() + READY;
        let admin = client(&self.kubeconfig).await?;
        // `send` takes a refused connection for a failed test, so the socket is tried first.
        let ready = http::Request::get("/readyz").body(Vec::new());
        let ready = ready.map_err(|e| RealError::Client(e.to_string()))?;
        while admin.request_text(ready.clone()).await.is_err() {
            self.pause(until, "was not ready").await?;
        }
        let default = "/api/v1/namespaces/default";
        while send(&admin, "GET", default, &[], &Value::Null).await.code != 200 {
            self.pause(until, "made no default namespace").await?;
        }
        for crd in crds {
            make(&admin, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd).await?;
            let spec = &crd["spec"];
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
            let version = text(&spec["versions"][0]["name"]);
            let list = format!("/apis/{group}/{version}/{plural}");
            while send(&admin, "GET", &list, &[], &Value::Null).await.code != 200 {
                self.pause(until, &format!("did not serve {plural}")).await?;
            }
            // OpenAPI follows a moment later.
            let openapi = format!("/openapi/v3/apis/{group}/{version}");
            while send(&admin, "GET", &openapi, &[], &Value::Null).await.code != 200 {
                self.pause(until, &format!("did not describe {plural}")).await?;
            }
        }
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let rules = json!([
            {"apiGroups": [""], "verbs": ["get", "list", "watch"], "resources": ["configmaps", "events", "namespaces",
                "nodes", "pods", "pods/log", "serviceaccounts"]},
            {"apiGroups": ["prow.k8s.io"], "verbs": ["get", "list", "watch"], "resources": ["prowjobs"]},
            {"apiGroups": ["coordination.k8s.io"], "verbs": ["get", "list", "watch"], "resources": ["leases"]},
        ]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "viewer"}, "rules": rules});
        make(&admin, &format!("{rbac}/clusterroles"), &role).await?;
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "viewer"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "viewer"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "viewer"}]});
        make(&admin, &format!("{rbac}/clusterrolebindings"), &binding).await?;
        // The authorizer learns of the role by a watch of its own.
        let viewer = client(&self.view_kubeconfig).await?;
        while send(&viewer, "GET", "/api/v1/pods", &[], &Value::Null).await.code != 200 {
            self.pause(until, "did not let the viewer in").await?;
        }
        Ok(())
    }
}

async fn make(admin: &Client, path: &str, object: &Value) -> Result<(), RealError> {
    let answer = send(admin, "POST", path, &[("content-type", "application/json")], object).await;
    if answer.code == 201 {
        return Ok(());
    }
    Err(RealError::Setup { what: object["metadata"]["name"].to_string(), answer: answer.body })
}

/// kube-apiserver signs service account tokens with it; openssl is where kubectl is tested.
fn service_account_key(path: &Path) -> Result<(), RealError> {
    let io = |source| RealError::Io { what: "make a key with openssl".to_owned(), source };
    let made = Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
        .arg(path)
        .stderr(Stdio::null())
        .status()
        .map_err(io)?;
    if made.success() {
        return Ok(());
    }
    Err(io(std::io::Error::other(format!("it ended with {made}"))))
}

fn kubeconfig(addr: SocketAddr, authority: &str, token: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "real",
        "clusters": [{"name": "real", "cluster": {
            "server": format!("https://{addr}"), "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{"name": "real", "user": {"token": token}}],
        "contexts": [{"name": "real", "context": {"cluster": "real", "user": "real", "namespace": "default"}}],
    })
    .to_string()
}

async fn client(kubeconfig: &Path) -> Result<Client, RealError> {
    let failed = |e: &dyn std::fmt::Display| RealError::Client(e.to_string());
    let config = Kubeconfig::read_from(kubeconfig).map_err(|e| failed(&e))?;
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .map_err(|e| failed(&e))?;
    // Quiet watches are quiet on purpose; cases bound their own time.
    config.read_timeout = None;
    // A refusal is what a case looks at; it is not to be tried again.
    config.default_retry = false;
    Client::try_from(config).map_err(|e| failed(&e))
}
