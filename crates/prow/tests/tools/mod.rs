//! What the tests of the command-line tools share: running the real executable to its end, files, a forge.
#![allow(dead_code)] // each test file uses its own part of this

use prow_api::Secret;
use prow_forge::{Forge, ForgeOptions, SeedPull};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a run of `prow` came to.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output of a run that succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Standard error of a run that failed with exit code 1 and said nothing on standard output.
    pub fn refused(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        self.stderr
    }
}

/// Runs `prow` with `args`, giving it `stdin`.
pub fn prow(args: &[&str], stdin: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_prow"))
        .args(args)
        .env_remove("KUBECONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A run that fails early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let out = child.wait_with_output().unwrap();
    Ran {
        code: out.status.code(),
        stdout: String::from_utf8(out.stdout).unwrap(),
        stderr: String::from_utf8(out.stderr).unwrap(),
    }
}

/// As [`prow`], beside a forge that this test's runtime serves.
pub async fn prow_beside(args: Vec<String>, stdin: &'static str) -> Ran {
    let run = move || prow(&args.iter().map(String::as_str).collect::<Vec<_>>(), stdin);
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// A directory with a configuration: `acme/rocket` with presubmits of all sorts, a postsubmit, and a periodic.
pub struct Fixture {
    pub dir: tempfile::TempDir,
}

pub const JOBS: &str = r#"presubmits:
  acme/rocket:
  - name: unit
    always_run: true
    branches: [main]
    labels: {team: "yes"}
    spec:
      containers:
      - image: alpine
        command: [make]
        args: [test]
  - name: unit
    always_run: true
    branches: [release]
    max_concurrency: 7
    spec: {containers: [{image: alpine}]}
  - name: docs
    context: ci/docs
    run_if_changed: '\.md$'
    optional: true
    spec: {containers: [{image: alpine}]}
  - name: e2e
    always_run: false
    spec: {containers: [{image: alpine}]}
postsubmits:
  acme/rocket:
  - name: publish
    branches: [main]
    skip_if_only_changed: '\.md$'
    spec: {containers: [{image: alpine}]}
periodics:
- name: audit
  interval: 1h
  spec: {containers: [{image: alpine}]}
"#;

impl Fixture {
    pub fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Fixture { dir };
        fixture.write("config.yaml", "prowjob_namespace: default\n");
        fixture.write("jobs.yaml", JOBS);
        fixture
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self.path(name)
    }

    /// `args` with the flags of the configuration, and a GitHub that cannot be reached.
    pub fn args(&self, args: &[&str]) -> Vec<String> {
        self.args_with_github(args, "http://127.0.0.1:9/api/v3")
    }

    pub fn args_with_github(&self, args: &[&str], endpoint: &str) -> Vec<String> {
        let mut all: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        all.extend(["--config-path".into(), self.path("config.yaml")]);
        all.extend(["--job-config-path".into(), self.path("jobs.yaml")]);
        all.extend(["--github-endpoint".into(), endpoint.to_owned()]);
        all.extend(["--github-client.max-retries".into(), "0".into()]);
        all
    }

    /// Runs `prow` with the flags of the configuration.
    pub fn prow(&self, args: &[&str], stdin: &str) -> Ran {
        let all = self.args(args);
        prow(&all.iter().map(String::as_str).collect::<Vec<_>>(), stdin)
    }
}

/// The value that a line of YAML output reads back as.
pub fn yaml(text: &str) -> serde_json::Value {
    prow_config::yaml::read("output", text.as_bytes().to_vec()).unwrap().0
}

/// A forge with `acme/rocket`, and pull request 1 of `alice`, which changes a Markdown file.
pub struct World {
    pub forge: Forge,
    pub base_sha: String,
    pub head_sha: String,
    _dir: tempfile::TempDir,
    _stop: DropGuard,
}

impl World {
    pub async fn new() -> World {
        prow_github::install_tls();
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let forge = Forge::open(dir.path().join("forge"), ForgeOptions::new(base)).await.unwrap();
        let stop = CancellationToken::new();
        let (serving, until) = (forge.clone(), stop.clone());
        tokio::spawn(async move { serving.serve(listener, until).await.unwrap() });
        let alice = forge.create_user("alice", &Secret::new("token-of-alice")).await.unwrap();
        forge.create_org("acme").await.unwrap();
        let repo = forge.create_repo("acme", "rocket", &[("README.md", "# Rocket\n")]).await.unwrap();
        let seed = SeedPull {
            title: "Make it fly",
            author: "alice",
            head: "fly",
            files: &[("README.md", Some("# It flies\n"))],
            ..SeedPull::default()
        };
        forge.seed_pull_request("acme", "rocket", seed).await.unwrap();
        let base_sha = forge.branch("acme", "rocket", "main").unwrap();
        let head_sha = forge.branch("acme", "rocket", "fly").unwrap();
        let failed = serde_json::json!({"state": "failure", "context": "ci/docs"});
        forge.set_status(&alice, &repo, &head_sha, &failed).await.unwrap();
        let passed = serde_json::json!({"state": "success", "context": "unit"});
        forge.set_status(&alice, &repo, &head_sha, &passed).await.unwrap();
        World { forge, base_sha, head_sha, _dir: dir, _stop: stop.drop_guard() }
    }
}

/// The material that stands beside the workspace in CI; `None` (and a word about it) elsewhere.
pub fn shared(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(what);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: ../shared/{what} is not on this machine");
    None
}
