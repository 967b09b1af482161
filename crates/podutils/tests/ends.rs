//! How a run can end, with real processes and signals: what storage says of each (prow-runtime §8.3, §8.4).
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

mod world;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::process::Child;
use world::*;

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// An entrypoint that runs a script, and the sidecar of its Pod.
struct Pod {
    world: World,
    entrypoint: Child,
    sidecar: Child,
}

impl Pod {
    /// Up when the script wrote `up` and the sidecar listens. `$UP` in the script is the file to write.
    fn start(script: &str, grace: i64, change: impl FnOnce(&mut Value)) -> Pod {
        let world = World::new();
        let up = world.path("up");
        let mut options = world.entry();
        let script = script.replace("$UP", up.to_str().unwrap());
        options["args"] = json!(["bash", "-c", script]);
        options["grace_period"] = json!(grace);
        let entrypoint = world
            .command("entrypoint", &[("ENTRYPOINT_OPTIONS", &options)])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let sidecar = world.sidecar(&world.spec(None), change);
        wait(|| up.exists() && listens(sidecar.id()));
        Pod { world, entrypoint, sidecar }
    }

    fn result(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.world.path(&format!("{PERIODIC}/finished.json"))).ok()?;
        let finished: Value = serde_json::from_str(&text).ok()?;
        Some(finished["result"].as_str()?.to_owned())
    }

    /// Waits until storage says so.
    fn says(&self, result: &str) {
        wait(|| self.result().as_deref() == Some(result));
    }
}

const OBEDIENT: &str = "trap 'echo bye; exit 3' INT TERM; echo > $UP; while :; do sleep 0.02; done";
const DEAF: &str = "trap '' INT TERM; (trap '' INT TERM; echo > $UP; while :; do sleep 0.02; done)";
const SHORT_GRACE: i64 = 200_000_000;
const LONG_GRACE: i64 = 600_000_000_000;

#[test]
fn an_abort_or_eviction_of_the_whole_pod_is_aborted() {
    for (script, grace) in [(OBEDIENT, LONG_GRACE), (DEAF, SHORT_GRACE)] {
        let mut pod = Pod::start(script, grace, |_| {});
        send(&pod.entrypoint, Signal::SIGTERM);
        send(&pod.sidecar, Signal::SIGTERM);
        assert_eq!(pod.entrypoint.wait().unwrap().code(), Some(130));
        assert!(pod.sidecar.wait().unwrap().success());
        assert_eq!(pod.result().as_deref(), Some("ABORTED"));
        let log = pod.world.read(&format!("{PERIODIC}/build-log.txt"));
        assert!(log.contains("Entrypoint received interrupt: terminated"), "{log}");
    }
}

#[test]
fn an_eviction_whose_grace_runs_out_leaves_what_there_was() {
    let mut pod = Pod::start(DEAF, LONG_GRACE, |_| {});
    send(&pod.entrypoint, Signal::SIGTERM);
    send(&pod.sidecar, Signal::SIGTERM);
    pod.says("ABORTED");
    // Kubernetes' patience ends.
    send(&pod.sidecar, Signal::SIGKILL);
    pod.sidecar.wait().unwrap();
    send(&pod.entrypoint, Signal::SIGKILL);
    pod.entrypoint.wait().unwrap();
    end_container(&pod);
    assert_eq!(pod.result().as_deref(), Some("ABORTED"));
    assert!(pod.world.path(&format!("{PERIODIC}/build-log.txt")).exists());
}

/// What the end of a container would end too: the command of an entrypoint that was killed, known by its file.
fn end_container(pod: &Pod) {
    let up = pod.world.path("up");
    let needle = up.to_str().unwrap();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let ours = String::from_utf8_lossy(&command).contains(needle);
        if ours && pid != std::process::id() as i32 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[test]
fn an_interrupt_of_the_sidecar_alone_gives_way_to_how_it_really_ended() {
    for (code, result) in [(0, "SUCCESS"), (1, "FAILURE")] {
        let script = format!("echo > $UP; while test -e $UP; do sleep 0.02; done; exit {code}");
        let mut pod = Pod::start(&script, LONG_GRACE, |_| {});
        send(&pod.sidecar, Signal::SIGINT);
        pod.says("ABORTED");
        // A second one changes nothing.
        send(&pod.sidecar, Signal::SIGTERM);
        std::fs::remove_file(pod.world.path("up")).unwrap();
        assert_eq!(pod.entrypoint.wait().unwrap().code(), Some(code));
        assert!(pod.sidecar.wait().unwrap().success());
        assert_eq!(pod.result().as_deref(), Some(result));
    }
}

#[test]
fn a_sidecar_that_ignores_interrupts_says_nothing_until_the_end() {
    let script = "echo > $UP; while test -e $UP; do sleep 0.02; done";
    let mut pod = Pod::start(script, LONG_GRACE, |o| o["ignore_interrupts"] = json!(true));
    send(&pod.sidecar, Signal::SIGTERM);
    std::fs::remove_file(pod.world.path("up")).unwrap();
    assert!(pod.entrypoint.wait().unwrap().success());
    let done = pod.sidecar.wait_with_output().unwrap();
    assert!(done.status.success());
    assert!(String::from_utf8_lossy(&done.stderr).contains("ignoring..."));
    let finished = pod.world.json(&format!("{PERIODIC}/finished.json"));
    assert_eq!(finished["result"], "SUCCESS");
}

#[test]
fn a_timeout_is_a_failure_and_no_abort() {
    let world = World::new();
    let mut options = world.entry();
    options["args"] = json!(["bash", "-c", "trap '' INT; while :; do sleep 0.02; done"]);
    options["timeout"] = json!(200_000_000);
    options["grace_period"] = json!(SHORT_GRACE);
    let sidecar = world.sidecar(&world.spec(None), |_| {});
    let ended = world.command("entrypoint", &[("ENTRYPOINT_OPTIONS", &options)]).output().unwrap();
    assert_eq!(ended.status.code(), Some(127));
    assert!(sidecar.wait_with_output().unwrap().status.success());
    let finished = world.json(&format!("{PERIODIC}/finished.json"));
    assert_eq!((&finished["passed"], &finished["result"]), (&json!(false), &json!("FAILURE")));
    assert!(world.read(&format!("{PERIODIC}/build-log.txt")).contains("did not finish before 200ms timeout"));
}

#[test]
fn a_job_that_kills_its_entrypoint_fails_at_once() {
    for interrupted in [false, true] {
        let script = "echo output; echo > $UP; while test -e $UP; do sleep 0.02; done; kill -9 $PPID";
        let mut pod = Pod::start(script, LONG_GRACE, |_| {});
        if interrupted {
            send(&pod.sidecar, Signal::SIGTERM);
            pod.says("ABORTED");
        }
        std::fs::remove_file(pod.world.path("up")).unwrap();
        assert!(pod.entrypoint.wait().unwrap().code().is_none());
        assert!(pod.sidecar.wait().unwrap().success(), "not even interrupted, it does not wait for ever");
        let finished = pod.world.json(&format!("{PERIODIC}/finished.json"));
        assert_eq!((&finished["passed"], &finished["result"]), (&json!(false), &json!("FAILURE")));
        let why = finished["metadata"]["sidecar-errors"]["0"].as_str().unwrap();
        assert!(why.contains("the entrypoint was killed"), "{why}");
        assert_eq!(pod.world.read(&format!("{PERIODIC}/build-log.txt")), "output\n");
    }
}

#[test]
fn what_a_run_cost_is_told_for_each_container() {
    let world = World::new();
    let entry = |name: &str| {
        let marker = world.path(&format!("logs/{name}-marker.txt"));
        world.write(&format!("logs/{name}-marker.txt"), "0");
        json!({"container_name": name, "process_log": world.path("logs/log"), "marker_file": marker,
            "metadata_file": world.path("logs/artifacts/metadata.json")})
    };
    let entries = json!([entry("one"), entry("two"), entry("upstreams")]);
    world.write("logs/one-marker.txt.usage.json", r#"{"cgroup":2,"cpu_seconds":1.5,"oom_kills":0}"#);
    world.write("logs/two-marker.txt.usage.json", r#"{"cgroup":2,"cpu_seconds":0.25}"#);
    world.write("logs/artifacts/metadata.json", r#"{"k":1}"#);
    let sidecar = world.sidecar(&world.spec(None), |o| o["entries"] = entries);
    assert!(sidecar.wait_with_output().unwrap().status.success());
    let usage = json!({"one": {"cgroup": 2, "cpu_seconds": 1.5, "oom_kills": 0},
        "two": {"cgroup": 2, "cpu_seconds": 0.25}});
    assert_eq!(world.json(&format!("{PERIODIC}/usage.json")), json!({ "containers": usage }));
    let finished = world.json(&format!("{PERIODIC}/finished.json"));
    assert_eq!(finished["metadata"], json!({"k": 1, "resource-usage": usage}));
}
