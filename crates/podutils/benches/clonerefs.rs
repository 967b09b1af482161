//! clonerefs beside the plain git commands that it runs: `cargo bench -p prow-podutils --bench clonerefs`.
//! PODUTILS names another build of ours to measure, such as the static one of `cargo xtask static`.
//!
//! A repository of 2,000 files, 300 commits and two pull requests, cloned over `file://` in turn by clonerefs, by a
//! shell script of the very commands that its record names, and by another clonerefs if UPSTREAM_CLONEREFS names one.
//! Prints the median of each in time on processors, of the program and all that it starts, and in time on the clock;
//! and ours as a ratio to the commands: at most 1.1, the noise of a machine. On a machine that does other things as
//! well only the time on processors means something.
#![allow(clippy::unwrap_used)] // A benchmark may fail by panicking.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;

fn git(dir: &Path, args: &[&str]) -> String {
    let identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "gc.auto=0"];
    let done = Command::new("git").args(identity).args(args).current_dir(dir).output().unwrap();
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Refs of a repository with a past, and two pull requests that merge.
fn repository(dir: &Path) -> Value {
    std::fs::create_dir_all(dir).unwrap();
    git(dir, &["init", "--quiet", "--initial-branch=main"]);
    let file = |n: usize| dir.join(format!("d{}/f{n}", n % 50));
    for n in 0..2_000 {
        std::fs::create_dir_all(file(n).parent().unwrap()).unwrap();
        std::fs::write(file(n), format!("file {n}\n").repeat(100)).unwrap();
    }
    git(dir, &["add", "."]);
    git(dir, &["commit", "--quiet", "-m", "base"]);
    for n in 0..300 {
        std::fs::write(file(n * 6), format!("commit {n}\n").repeat(100)).unwrap();
        git(dir, &["commit", "--quiet", "-am", "next"]);
    }
    git(dir, &["repack", "-adq"]);
    let base = git(dir, &["rev-parse", "HEAD"]);
    let mut pulls = Vec::new();
    for number in 1..=2 {
        git(dir, &["checkout", "--quiet", "-B", "work", &base]);
        std::fs::write(file(number), "changed\n").unwrap();
        git(dir, &["commit", "--quiet", "-am", "change"]);
        let sha = git(dir, &["rev-parse", "HEAD"]);
        git(dir, &["update-ref", &format!("refs/pull/{number}/head"), &sha]);
        pulls.push(json!({"number": number, "author": "ada", "sha": sha}));
    }
    git(dir, &["checkout", "--quiet", "main"]);
    json!({"org": "org", "repo": "repo", "base_ref": "main", "base_sha": base, "pulls": pulls,
        "clone_uri": format!("file://{}", dir.display())})
}

/// What a run took.
#[derive(Clone, Copy)]
struct Cost {
    clock: Duration,
    processors: Duration,
}

/// Runs a program to its end.
fn measured(command: &mut Command) -> Cost {
    let (begun, before) = (Instant::now(), processors());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let cost = Cost { clock: begun.elapsed(), processors: processors() - before };
    assert!(status.success());
    cost
}

/// Time on processors of all children so far that have ended, and theirs.
fn processors() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
    [usage.user_time(), usage.system_time()]
        .map(|t| Duration::from_micros((t.tv_sec() * 1_000_000 + t.tv_usec()) as u64))
        .iter()
        .sum()
}

/// Runs clonerefs into a fresh directory; gives what it took and the records.
fn clonerefs(program: &[PathBuf], dir: &Path, refs: &Value) -> (Cost, Value) {
    let (src, log) = (dir.join("go"), dir.join("clone.json"));
    let _ = std::fs::remove_dir_all(&src);
    let options = json!({"src_root": src, "log": log, "refs": [refs], "git_user_name": "ci-robot",
        "git_user_email": "ci-robot@k8s.io"});
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).env("CLONEREFS_OPTIONS", options.to_string());
    let took = measured(&mut command);
    let records: Value = serde_json::from_slice(&std::fs::read(log).unwrap()).unwrap();
    assert_ne!(records[1]["failed"], true, "{records:#}");
    (took, records)
}

/// Runs what a record names as a script.
fn plain(record: &Value, dir: &Path) -> Cost {
    let _ = std::fs::remove_dir_all(dir.join("go"));
    let mut script = String::from("set -e\n");
    for command in record["commands"].as_array().unwrap() {
        let (place, command) = command["command"].as_str().unwrap().split_once(' ').unwrap();
        script.push_str(&format!("cd {}\n{command}\n", place.strip_prefix("PWD=").unwrap()));
    }
    script.push_str("git rev-parse HEAD\n");
    measured(Command::new("sh").args(["-c", &script]))
}

fn median(costs: &[Cost], of: fn(&Cost) -> Duration) -> Duration {
    let mut times: Vec<Duration> = costs.iter().map(of).collect();
    times.sort();
    times[times.len() / 2]
}

fn main() {
    // `cargo test` runs benchmarks too, to see whether they work: once is enough for that.
    let rounds = if std::env::args().any(|arg| arg == "--bench") { ROUNDS } else { 1 };
    let dir = tempfile::tempdir().unwrap();
    let refs = repository(&dir.path().join("repo"));
    let built = std::env::var_os("PODUTILS").unwrap_or_else(|| env!("CARGO_BIN_EXE_podutils").into());
    let ours = [PathBuf::from(built), PathBuf::from("clonerefs")];
    let upstream = std::env::var_os("UPSTREAM_CLONEREFS").map(PathBuf::from);
    let (mut mine, mut commands, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let mut commits = Vec::new();
    for _ in 0..rounds {
        let (took, records) = clonerefs(&ours, dir.path(), &refs);
        mine.push(took);
        commands.push(plain(&records[1], dir.path()));
        commits.push(records[1]["final_sha"].clone());
        if let Some(upstream) = &upstream {
            let (took, records) = clonerefs(std::slice::from_ref(upstream), dir.path(), &refs);
            theirs.push(took);
            commits.push(records[1]["final_sha"].clone());
        }
    }
    assert!(commits.iter().all(|commit| *commit == commits[0]), "{commits:?}");
    for (name, of) in [
        ("on processors", (|cost: &Cost| cost.processors) as fn(&Cost) -> Duration),
        ("on the clock", |cost: &Cost| cost.clock),
    ] {
        let (mine, commands) = (median(&mine, of), median(&commands, of));
        println!("{name}:");
        println!("  clonerefs           {:>6} ms", mine.as_millis());
        println!("  its commands alone  {:>6} ms", commands.as_millis());
        if !theirs.is_empty() {
            println!("  upstream's          {:>6} ms", median(&theirs, of).as_millis());
        }
        println!(
            "  ratio {:.2} to the commands alone, at most 1.10",
            mine.as_secs_f64() / commands.as_secs_f64()
        );
    }
}
