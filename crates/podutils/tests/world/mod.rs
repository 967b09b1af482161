//! One Pod's volumes, the repository it tests and its bucket, for the tests of the pod utilities' processes.
#![allow(dead_code)] // Each test file is a program of its own and uses its part of this.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub const PODUTILS: &str = env!("CARGO_BIN_EXE_podutils");

/// Where the results of [`World::spec`] without refs go.
pub const PERIODIC: &str = "bucket/pre/logs/nightly/17";

/// One Pod's volumes, the repository it tests and the bucket.
pub struct World(pub tempfile::TempDir);

pub struct Repository {
    pub base: String,
    pub pulls: Vec<String>,
}

impl World {
    pub fn new() -> Self {
        let world = World(tempfile::tempdir().unwrap());
        for dir in ["logs", "home", "bucket"] {
            std::fs::create_dir(world.path(dir)).unwrap();
        }
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    pub fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn git(&self, args: &[&str]) -> String {
        let done = Command::new("git")
            .args([
                "-c",
                "user.name=Ada",
                "-c",
                "user.email=ada@example.com",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(args)
            .current_dir(self.path("repo"))
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// A base with a few files and one pull request for each pair of file and content.
    pub fn repository(&self, pulls: &[(&str, &str)]) -> Repository {
        std::fs::create_dir_all(self.path("repo")).unwrap();
        self.git(&["init", "--quiet"]);
        self.write("repo/a", "a\n");
        self.write("repo/b", "b\n");
        self.write("repo/d/x", "x\n");
        self.write("repo/e/y", "y\n");
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "-m", "base"]);
        let base = self.git(&["rev-parse", "HEAD"]);
        let mut heads = Vec::new();
        for (number, (file, content)) in pulls.iter().enumerate() {
            self.git(&["checkout", "--quiet", "-B", "work", &base]);
            self.write(&format!("repo/{file}"), content);
            self.git(&["commit", "--quiet", "-am", "change"]);
            let head = self.git(&["rev-parse", "HEAD"]);
            self.git(&["update-ref", &format!("refs/pull/{}/head", number + 1), &head]);
            heads.push(head);
        }
        self.git(&["checkout", "--quiet", "main"]);
        Repository { base, pulls: heads }
    }

    pub fn refs(&self, repository: &Repository) -> Value {
        let pulls: Vec<Value> = repository
            .pulls
            .iter()
            .enumerate()
            .map(|(n, sha)| json!({"number": n + 1, "author": "ada", "sha": sha}))
            .collect();
        json!({"org": "org", "repo": "repo", "base_ref": "main", "base_sha": repository.base, "pulls": pulls,
            "clone_uri": format!("file://{}", self.path("repo").display())})
    }

    pub fn spec(&self, refs: Option<&Value>) -> Value {
        let mut spec = json!({"type": "periodic", "job": "nightly", "buildid": "17", "prowjobid": "x"});
        if let Some(refs) = refs {
            spec =
                json!({"type": "presubmit", "job": "unit", "buildid": "17", "prowjobid": "x", "refs": refs});
        }
        spec
    }

    pub fn upload_options(&self) -> Value {
        json!({"bucket": format!("file://{}", self.path("bucket").display()), "path_strategy": "explicit",
            "path_prefix": "pre", "dry_run": false})
    }

    pub fn entry(&self) -> Value {
        json!({"args": [], "process_log": self.path("logs/process-log.txt"),
            "marker_file": self.path("logs/marker-file.txt"),
            "metadata_file": self.path("logs/artifacts/metadata.json")})
    }

    pub fn command(&self, tool: &str, variables: &[(&str, &Value)]) -> Command {
        let mut command = Command::new(PODUTILS);
        command.arg(tool).env("HOME", self.path("home")).stdin(Stdio::null());
        for (name, value) in variables {
            command.env(name, value.to_string());
        }
        command
    }

    pub fn clonerefs(&self, src: &str, refs: &[&Value]) -> Output {
        let options = json!({"src_root": self.path(src), "log": self.path("logs/clone.json"), "refs": refs});
        self.command("clonerefs", &[("CLONEREFS_OPTIONS", &options)]).output().unwrap()
    }

    pub fn initupload(&self, spec: &Value) -> Output {
        let mut options = self.upload_options();
        options["log"] = json!(self.path("logs/clone.json"));
        self.command("initupload", &[("INITUPLOAD_OPTIONS", &options), ("JOB_SPEC", spec)]).output().unwrap()
    }

    pub fn entrypoint(&self, dir: &Path, script: &str) -> Output {
        let mut options = self.entry();
        options["args"] = json!(["sh", "-c", script]);
        options["timeout"] = json!(600_000_000_000i64);
        options["grace_period"] = json!(0);
        options["artifact_dir"] = json!(self.path("logs/artifacts"));
        self.command("entrypoint", &[("ENTRYPOINT_OPTIONS", &options)]).current_dir(dir).output().unwrap()
    }

    pub fn sidecar(&self, spec: &Value, change: impl FnOnce(&mut Value)) -> Child {
        let mut gcs = self.upload_options();
        gcs["items"] = json!([self.path("logs/artifacts")]);
        let mut options = json!({"gcs_options": gcs, "entries": [self.entry()], "censoring_options": {}});
        change(&mut options);
        self.command("sidecar", &[("SIDECAR_OPTIONS", &options), ("JOB_SPEC", spec)])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Every object of the bucket.
    pub fn objects(&self) -> Vec<String> {
        fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut found = Vec::new();
        let root = self.path("bucket");
        walk(&root, &root, &mut found);
        found.retain(|name| !name.starts_with(".prow/"));
        found.sort();
        found
    }
}

pub fn success(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// True once the process catches SIGTERM.
pub fn listens(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
    u64::from_str_radix(&caught, 16).unwrap_or_default() & (1 << (15 - 1)) != 0
}

/// Bounded only so that a broken run fails instead of hanging.
pub fn wait(mut until: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if until() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it never happened");
}
