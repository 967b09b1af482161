//! Ends that nobody has a last word in: being killed, a full disk, memory that runs out. And what the command cost,
//! from real control groups.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ENTRYPOINT: &str = env!("CARGO_BIN_EXE_entrypoint");

fn options(dir: &Path, script: &str) -> Value {
    json!({"args": ["bash", "-c", script], "process_log": dir.join("log.txt"),
        "marker_file": dir.join("marker.txt"), "timeout": 600_000_000_000i64})
}

#[test]
fn who_is_killed_leaves_a_free_lock_and_no_marker() {
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("marker.txt");
    let script = format!("test -e {} && kill -9 $PPID", prow_entrypoint::lock_file(&marker).display());
    let status = Command::new(ENTRYPOINT)
        .env("ENTRYPOINT_OPTIONS", options(dir.path(), &script).to_string())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9));
    assert!(!marker.exists() && prow_entrypoint::died(&marker));

    // The next of a chain does not wait for what will never come.
    let mut next = options(dir.path(), "echo ran");
    next["previous_marker"] = json!(marker);
    next["marker_file"] = json!(dir.path().join("next.txt"));
    let done = Command::new(ENTRYPOINT).env("ENTRYPOINT_OPTIONS", next.to_string()).output().unwrap();
    assert_eq!(done.status.code(), Some(127));
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("its entrypoint was killed") && !said.contains("ran\n"), "{said}");
}

/// In a container it is process 1, which the kernel keeps from being killed by what it contains.
#[test]
fn as_process_1_it_cannot_be_killed_by_its_command_and_takes_all_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "kill -9 1; kill -9 $PPID; test $PPID = 1 || exit 9; setsid sleep 600 >/dev/null 2>&1 & echo up > {}; exit 4",
        dir.path().join("up").display()
    );
    let done = Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", ENTRYPOINT])
        .env("ENTRYPOINT_OPTIONS", options(dir.path(), &script).to_string())
        .output()
        .unwrap();
    if !dir.path().join("log.txt").exists() {
        eprintln!(
            "skipped: no namespace of processes can be made here: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        return;
    }
    assert_eq!(done.status.code(), Some(4), "{done:?}");
    assert_eq!(std::fs::read_to_string(dir.path().join("marker.txt")).unwrap(), "4");
}

#[test]
fn a_marker_counts_even_if_its_entrypoint_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let run = |options: Value| {
        Command::new(ENTRYPOINT).env("ENTRYPOINT_OPTIONS", options.to_string()).output().unwrap().status
    };
    assert!(run(options(dir.path(), "exit 0")).success());
    assert!(prow_entrypoint::died(&dir.path().join("marker.txt")));
    let mut next = options(dir.path(), "exit 4");
    next["previous_marker"] = json!(dir.path().join("marker.txt"));
    next["marker_file"] = json!(dir.path().join("next.txt"));
    assert_eq!(run(next).code(), Some(4));
}

/// A disk of 64 KB in a mount namespace of its own, for whom the kernel grants one.
#[test]
fn a_disk_that_the_command_filled_still_takes_the_marker() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let script = "head -c 1000000 /dev/zero | tr '\\0' x; echo; head -c 1000000 /dev/zero > $LOGS/fill; echo end; exit 6";
    let outer = "mount -t tmpfs -o size=64k tmpfs $LOGS || exit 99
        \"$0\"; echo code=$? marker=$(cat $LOGS/marker.txt) log=$(stat -c %s $LOGS/log.txt)";
    let done = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", outer, ENTRYPOINT])
        .env("LOGS", &logs)
        .env("ENTRYPOINT_OPTIONS", options(&logs, script).to_string())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let Some(last) = said.lines().last().filter(|line| line.starts_with("code=")) else {
        eprintln!("skipped: no disk of our own can be mounted here (unshare --user --mount)");
        return;
    };
    assert!(last.starts_with("code=6 marker=6 log="), "{last}");
    assert!(said.contains("process log cannot be written") && said.contains("\nend\n"), "{}", said.len());
    let size: u64 = last.rsplit_once('=').unwrap().1.parse().unwrap();
    assert!((1..=64 << 10).contains(&size), "{size}");
}

/// Control groups of version 1 or 2 of our own, removed in the end; `None` where we may not make any.
struct Groups(Vec<PathBuf>);

impl Groups {
    fn new(name: &str) -> Option<Self> {
        let mount = Path::new("/sys/fs/cgroup");
        let name = format!("prow-test-{name}-{}", std::process::id());
        let mut made = Groups(Vec::new());
        let places = match mount.join("cgroup.controllers").exists() {
            true => vec![mount.join(name)],
            false => ["cpuacct", "cpu", "memory", "blkio"].map(|c| mount.join(c).join(&name)).into(),
        };
        for place in places {
            if let Err(error) = std::fs::create_dir(&place) {
                eprintln!("skipped: cannot make a control group here: {}: {error}", place.display());
                return None;
            }
            made.0.push(place);
        }
        Some(made)
    }

    /// The first file of these names, in the group that has it.
    fn file(&self, names: [&str; 2]) -> Option<PathBuf> {
        self.0.iter().flat_map(|dir| names.map(|name| dir.join(name))).find(|path| path.exists())
    }

    /// Runs an entrypoint in them and gives its exit code and what it wrote about its usage.
    fn run(&self, dir: &Path, script: &str) -> (Option<i32>, Value) {
        let enter: String =
            self.0.iter().map(|g| format!("echo $$ > {}/cgroup.procs; ", g.display())).collect();
        let status = Command::new("sh")
            .args(["-c", &format!("{enter} exec {ENTRYPOINT}")])
            .env("ENTRYPOINT_OPTIONS", options(dir, script).to_string())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        let usage = prow_entrypoint::usage_file(&dir.join("marker.txt"));
        let text = std::fs::read_to_string(usage).unwrap();
        (status.code(), serde_json::from_str(&text).unwrap())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for dir in &self.0 {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

#[test]
fn what_the_command_cost_is_read_from_its_own_control_group() {
    let Some(groups) = Groups::new("cost") else { return };
    let dir = tempfile::tempdir().unwrap();
    let script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); for i in $(seq 100000); do :; done";
    let (code, usage) = groups.run(dir.path(), script);
    assert_eq!(code, Some(0));
    assert!(usage["cpu_seconds"].as_f64().unwrap() > 0.0, "{usage}");
    assert!(usage["cpu_peak_cores"].as_f64() >= usage["cpu_mean_cores"].as_f64(), "{usage}");
    assert!(usage["seconds"].as_f64().unwrap() > 0.0, "{usage}");
    if groups.file(["memory.peak", "memory.max_usage_in_bytes"]).is_some() {
        assert!(usage["memory_peak_bytes"].as_u64().unwrap() > 15_000_000, "{usage}");
        assert_eq!(usage["oom_kills"], 0, "{usage}");
    }
}

#[test]
fn memory_that_runs_out_is_seen() {
    let Some(groups) = Groups::new("oom") else { return };
    let Some(limit) = groups.file(["memory.max", "memory.limit_in_bytes"]) else {
        eprintln!("skipped: this machine's control groups do not limit memory");
        return;
    };
    std::fs::write(&limit, "33554432").unwrap();
    // Nor may it move to swap, where there is any.
    for (name, value) in [("memory.memsw.limit_in_bytes", "33554432"), ("memory.swap.max", "0")] {
        let _ = std::fs::write(limit.with_file_name(name), value);
    }
    let dir = tempfile::tempdir().unwrap();
    // The child is the largest and goes; its parent tells with what code.
    let script = "(x=$(head -c 100000000 /dev/zero | tr '\\0' x); true); exit $(($? == 137 ? 5 : 6))";
    let (code, usage) = groups.run(dir.path(), script);
    assert_eq!(code, Some(5), "{usage}");
    assert!(usage["oom_kills"].as_u64().unwrap() >= 1, "{usage}");
    assert_eq!(usage["memory_limit_bytes"], 33_554_432, "{usage}");
    assert!(usage["memory_peak_bytes"].as_u64().unwrap() > 20_000_000, "{usage}");
}

#[test]
fn without_a_control_group_of_our_own_nothing_is_claimed() {
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(ENTRYPOINT)
        .env("ENTRYPOINT_OPTIONS", options(dir.path(), "exit 0").to_string())
        .status()
        .unwrap();
    assert!(status.success());
    // This test's own process is in the group, too.
    assert!(!prow_entrypoint::usage_file(&dir.path().join("marker.txt")).exists());
}
