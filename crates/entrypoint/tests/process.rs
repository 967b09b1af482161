//! The table of exit codes (prow-runtime §8.3), with real processes and signals.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

const ENTRYPOINT: &str = env!("CARGO_BIN_EXE_entrypoint");

struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        World(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn options(&self, args: &[&str]) -> Value {
        json!({
            "args": args,
            "artifact_dir": self.path("artifacts"),
            "process_log": self.path("log.txt"),
            "marker_file": self.path("marker.txt"),
            "timeout": 600_000_000_000i64,
            "grace_period": 600_000_000_000i64,
        })
    }
    fn start(&self, options: &Value) -> Child {
        Command::new(ENTRYPOINT)
            .env("ENTRYPOINT_OPTIONS", options.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }
    fn run(&self, options: &Value) -> (ExitStatus, String) {
        let done = self.start(options).wait_with_output().unwrap();
        (done.status, String::from_utf8(done.stdout).unwrap())
    }
    fn marker(&self) -> Option<String> {
        std::fs::read_to_string(self.path("marker.txt")).ok()
    }
    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log.txt")).unwrap()
    }
    /// Waits for a file that the command writes to say how far it is.
    fn wait_for(&self, name: &str) -> String {
        // Bounded only so that a broken run fails instead of hanging.
        for _ in 0..6_000 {
            match std::fs::read_to_string(self.path(name)) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
        panic!("{name} never appeared");
    }
    fn sh(&self, script: &str) -> Vec<String> {
        let script = script.replace("$DIR", self.0.path().to_str().unwrap());
        ["bash", "-c", &script].map(str::to_owned).to_vec()
    }
    fn sh_options(&self, script: &str) -> Value {
        let args = self.sh(script);
        self.options(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Whether it has been killed: on a busy machine a process dies a moment after the signal.
fn gone(pid: &str) -> bool {
    let dead = || match std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    (0..6000).any(|_| {
        dead() || {
            std::thread::sleep(std::time::Duration::from_millis(10));
            false
        }
    })
}

#[test]
fn the_commands_own_code_is_marker_and_exit_code() {
    for (script, marker, exit, why) in [
        ("exit 0", "0", 0, ""),
        ("exit 3", "3", 3, "wrapped process failed: exit status 3"),
        ("kill -9 $$", "-1", 255, "wrapped process failed: signal: killed"),
    ] {
        let world = World::new();
        let (status, _) = world.run(&world.sh_options(script));
        let said = world.log();
        let last: Value = said.lines().last().map_or(json!({}), |line| serde_json::from_str(line).unwrap());
        assert_eq!(last["error"].as_str().unwrap_or_default(), why, "{said}");
        assert_eq!(last.get("msg").is_some_and(|msg| msg == "Error executing test process"), exit != 0);
        assert_eq!(world.marker().as_deref(), Some(marker), "{script}");
        assert_eq!(status.code(), Some(exit), "{script}");
        assert!(world.path("artifacts").is_dir());
    }
}

#[test]
fn output_goes_to_both_places_in_order() {
    let world = World::new();
    let (_, stdout) = world.run(&world.sh_options("echo one; echo two >&2; echo three"));
    assert_eq!(stdout, "one\ntwo\nthree\n");
    assert_eq!(world.log(), stdout);
}

#[test]
fn a_command_that_cannot_start_is_127_and_says_why() {
    let world = World::new();
    let (status, _) = world.run(&world.options(&["/no/such/program"]));
    assert_eq!((world.marker().as_deref(), status.code()), (Some("127"), Some(127)));
    assert!(world.log().contains("/no/such/program"), "{}", world.log());
}

#[test]
fn files_that_cannot_be_made_are_127() {
    let world = World::new();
    let mut options = world.options(&["true"]);
    options["process_log"] = json!(world.path("no/dir/log.txt"));
    let (status, stdout) = world.run(&options);
    assert_eq!((world.marker().as_deref(), status.code()), (Some("127"), Some(127)));
    assert!(stdout.contains("no/dir/log.txt"), "{stdout}");
    let mut options = world.options(&["true"]);
    options["marker_file"] = json!(world.path("no/dir/marker.txt"));
    assert_eq!(world.run(&options).0.code(), Some(127), "a marker that cannot be written");
}

#[test]
fn wrong_options_exit_1_and_leave_a_marker_where_its_place_is_known() {
    let world = World::new();
    for text in ["nonsense", "{}", r#"{"args":[]}"#, r#"{"args":["true"],"marker_file":3}"#] {
        let done = Command::new(ENTRYPOINT).env("ENTRYPOINT_OPTIONS", text).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{text}");
        assert!(!done.stderr.is_empty());
    }
    let mut options = world.options(&[]);
    assert_eq!(world.run(&options).0.code(), Some(1));
    assert_eq!(world.marker().as_deref(), Some("1"), "nobody waits for a command that will never run");
    std::fs::remove_file(world.path("marker.txt")).unwrap();
    options["copy_mode_only"] = json!(true);
    options["timeout"] = json!("soon");
    assert_eq!(world.run(&options).0.code(), Some(1));
    assert_eq!(world.marker(), None, "who only copies has no marker");
}

#[test]
fn the_flags_are_told_to_who_asks() {
    let done = Command::new(ENTRYPOINT).arg("--help").output().unwrap();
    assert!(done.status.success());
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("--grace-period VALUE\n") && said.contains("--always-zero\n"), "{said}");
}

#[test]
fn unknown_members_of_the_options_change_nothing() {
    let world = World::new();
    let mut options = world.sh_options("exit 3");
    options["of_tomorrow"] = json!({"deeply": [null]});
    assert_eq!(world.run(&options).0.code(), Some(3));
}

#[test]
fn a_timeout_is_127_or_the_commands_own_code_when_asked() {
    for (propagate, expected) in [(false, 127), (true, 7)] {
        let world = World::new();
        let mut options = world.sh_options("trap 'exit 7' INT; while :; do sleep 0.05; done");
        options["timeout"] = json!(1_000_000_000i64);
        options["propagate_error_code"] = json!(propagate);
        let (status, _) = world.run(&options);
        assert_eq!(status.code(), Some(expected));
        assert_eq!(world.marker(), Some(expected.to_string()));
        assert!(world.log().contains("Process did not finish before 1s timeout"), "{}", world.log());
    }
}

#[test]
fn who_ignores_sigint_is_killed_after_the_grace_period_with_all_its_children() {
    let world = World::new();
    let mut options = world.sh_options(
        "trap '' INT TERM; (trap '' INT TERM; while :; do sleep 0.05; done) & echo $! > $DIR/grandchild; wait",
    );
    options["timeout"] = json!(1_000_000_000i64);
    options["grace_period"] = json!(200_000_000i64);
    let (status, _) = world.run(&options);
    assert_eq!(status.code(), Some(127));
    assert!(world.log().contains("Process did not exit before 200ms grace period"), "{}", world.log());
    assert!(gone(&world.wait_for("grandchild")));
}

#[test]
fn an_interrupt_is_130_and_reaches_the_whole_group() {
    for (signal, propagate, expected) in
        [(Signal::SIGTERM, false, 130), (Signal::SIGINT, false, 130), (Signal::SIGTERM, true, 9)]
    {
        let world = World::new();
        let mut options = world.sh_options(
            "trap 'exit 9' INT; trap '' TERM
             bash -c 'trap \"echo got-int > $DIR/seen; exit\" INT; echo up > $DIR/ready; while :; do sleep 0.05; done'",
        );
        options["propagate_error_code"] = json!(propagate);
        let child = world.start(&options);
        world.wait_for("ready");
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let status = child.wait_with_output().unwrap().status;
        assert_eq!(status.code(), Some(expected), "{signal} {propagate}");
        assert_eq!(world.marker(), Some(expected.to_string()));
        assert_eq!(world.wait_for("seen"), "got-int");
        assert!(world.log().contains("Entrypoint received interrupt"));
    }
}

#[test]
fn sigterm_is_forwarded_after_sigint() {
    let world = World::new();
    let options = world.sh_options(
        "trap 'echo term > $DIR/seen; exit 5' TERM; trap '' INT; echo up > $DIR/ready; while :; do sleep 0.05; done",
    );
    let child = world.start(&options);
    world.wait_for("ready");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert_eq!(world.wait_for("seen"), "term");
}

#[test]
fn previous_markers_decide_whether_the_command_runs() {
    for (previous, marker, exit, ran) in [
        ("0", "0", 0, true),
        ("1", "1130", 106, false),
        ("130", "1130", 106, false),
        ("x", "127", 127, false),
    ] {
        let world = World::new();
        std::fs::write(world.path("previous.txt"), previous).unwrap();
        let mut options = world.sh_options("echo ran");
        options["previous_marker"] = json!(world.path("previous.txt"));
        let (status, stdout) = world.run(&options);
        assert_eq!(world.marker().as_deref(), Some(marker), "{previous}");
        assert_eq!(status.code(), Some(exit), "{previous}");
        assert_eq!(stdout.contains("ran\n"), ran, "{previous}");
    }
}

#[test]
fn a_marker_that_comes_later_is_waited_for_and_an_interrupt_ends_the_wait() {
    let world = World::new();
    let mut options = world.sh_options("echo ran");
    options["previous_marker"] = json!(world.path("previous.txt"));
    let child = world.start(&options);
    std::fs::write(world.path("previous.tmp"), "0").unwrap();
    std::fs::rename(world.path("previous.tmp"), world.path("previous.txt")).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));

    let world = World::new();
    let mut options = world.sh_options("echo ran");
    options["previous_marker"] = json!(world.path("never.txt"));
    let child = world.start(&options);
    while !world.path("log.txt").exists() {
        std::thread::yield_now();
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert_eq!(world.marker().as_deref(), Some("130"));
}

#[test]
fn always_zero_exits_0_and_leaves_the_truth_in_the_marker() {
    let world = World::new();
    let mut options = world.sh_options("exit 4");
    options["always_zero"] = json!(true);
    assert_eq!(world.run(&options).0.code(), Some(0));
    assert_eq!(world.marker().as_deref(), Some("4"));
}

#[test]
fn what_is_left_running_does_not_hold_up_the_job() {
    let world = World::new();
    let mut options = world.sh_options("sleep 600 & echo $! > $DIR/left; echo done; exit 3");
    options["grace_period"] = json!(100_000_000i64);
    let (status, stdout) = world.run(&options);
    assert_eq!(status.code(), Some(3));
    assert!(stdout.starts_with("done\n") && stdout.contains("still holds its output"), "{stdout}");
    assert!(gone(&world.wait_for("left")));
}

#[test]
fn orphans_come_to_us_and_are_collected() {
    let world = World::new();
    // The inner shell goes at once; what it left notes its new parent and ends. Uncollected it would stay in /proc.
    let mut options = world.sh_options(
        "bash -c '(until grep -q \"PPid:.$0$\" /proc/$BASHPID/status; do sleep 0.01; done; echo > $DIR/ours) & echo $!' \
            $PPID > $DIR/orphan
         while test -e /proc/$(cat $DIR/orphan); do sleep 0.01; done
         test -e $DIR/ours && exit 5",
    );
    options["timeout"] = json!(60_000_000_000i64);
    options["grace_period"] = json!(100_000_000i64);
    assert_eq!(world.run(&options).0.code(), Some(5));
}

#[test]
fn late_output_of_a_helper_is_not_lost() {
    let world = World::new();
    let (_, stdout) = world.run(&world.sh_options("exec > >(sleep 0.2; cat; echo tail); echo head; exit 0"));
    assert_eq!(stdout, "head\ntail\n");
    assert_eq!(world.log(), "head\ntail\n");
}

#[test]
fn a_closed_standard_output_does_not_stop_the_job() {
    let world = World::new();
    let mut child = world.start(&world.sh_options("for n in $(seq 2000); do echo line $n; done; exit 6"));
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert!(world.log().contains("line 2000\n"));
}

#[test]
fn a_full_disk_does_not_stop_the_job() {
    let world = World::new();
    let mut options = world.sh_options("echo hello; exit 6");
    options["process_log"] = json!("/dev/full");
    let (status, stdout) = world.run(&options);
    assert_eq!(status.code(), Some(6));
    assert!(stdout.contains("hello\n") && stdout.contains("process log cannot be written"), "{stdout}");
}

#[test]
fn copy_mode_places_a_working_binary_with_its_mode() {
    let world = World::new();
    let destination = world.path("tools-entrypoint");
    let flag = format!("--copy-destination={}", destination.display());
    let status = Command::new(ENTRYPOINT).args(["--copy-mode-only", &flag]).status().unwrap();
    assert!(status.success());
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&destination), mode(Path::new(ENTRYPOINT)));
    let options = world.sh_options("exit 8");
    let status = Command::new(&destination).env("ENTRYPOINT_OPTIONS", options.to_string()).status().unwrap();
    assert_eq!(status.code(), Some(8));
    let made = world.path("made/for/it/entrypoint");
    for (destination, code) in [(made.to_str().unwrap(), 0), ("/proc/no/such/dir/x", 1)] {
        let flag = format!("--copy-destination={destination}");
        let status = Command::new(ENTRYPOINT).args(["--copy-mode-only", &flag]).status();
        assert_eq!(status.unwrap().code(), Some(code), "{destination}");
    }
    assert_eq!(mode(&made), mode(&destination));
}

#[test]
fn a_pipe_where_a_file_should_be_holds_nobody_up() {
    let world = World::new();
    let mode = nix::sys::stat::Mode::S_IRWXU;
    nix::unistd::mkfifo(&world.path("previous.txt"), mode).unwrap();
    let mut options = world.sh_options("exit 0");
    options["previous_marker"] = json!(world.path("previous.txt"));
    assert_eq!(world.run(&options).0.code(), Some(127));
    assert_eq!(world.marker().as_deref(), Some("127"));

    let world = World::new();
    nix::unistd::mkfifo(&world.path("log.txt"), mode).unwrap();
    let (status, _) = world.run(&world.sh_options("exit 0"));
    assert_eq!((status.code(), world.marker().as_deref()), (Some(127), Some("127")));
}
