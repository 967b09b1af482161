//! Pods whose runner or supervisor is killed while their containers run.

use super::common::engines::TestEngine;
use super::common::{self, World, phase, until, with};
use super::sh;
use kube::api::PostParams;
use prow_kubelet::{RuntimeChoice, SandboxMode};
use serde_json::json;
use std::path::Path;

const DIR: &str = "PROW_KUBELET_TEST_DIR";
const SOCKET: &str = "PROW_KUBELET_TEST_SOCKET";

#[tokio::test]
#[ignore = "not a test of its own: the process that the tests below kill"]
async fn container_host() {
    let (Some(dir), Some(socket)) = (std::env::var_os(DIR), std::env::var_os(SOCKET)) else { return };
    let dir = Path::new(&dir);
    let world =
        World::open(dir, SandboxMode::Auto, |o| o.runtime = RuntimeChoice::Socket(socket.clone().into()))
            .await;
    let mounts = json!({"volumeMounts": [{"name": "h", "mountPath": "/h"}]});
    let script = "echo run >>/h/runs; while [ ! -e /h/go ]; do sleep 0.05; done; echo over";
    let spec = json!({
        "volumes": [{"name": "h", "hostPath": {"path": common::shared(dir)}}],
        "initContainers": [with(sh("first", "echo first >>/h/runs"), mounts.clone())],
        "containers": [with(sh("test", script), mounts)],
    });
    world.pods().create(&PostParams::default(), &common::pod("p", spec)).await.unwrap();
    std::future::pending::<()>().await;
}

/// A pod runner in a process of its own, killed once its Pod runs.
async fn killed(engine: &TestEngine, dir: &Path) {
    let mut host = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "deaths::container_host", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(SOCKET, engine.socket())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let runs = common::shared(dir).join("runs");
    until("the job to run", || std::fs::read_to_string(&runs).is_ok_and(|t| t.contains("run"))).await;
    host.kill().unwrap();
    host.wait().unwrap();
}

async fn a_pod_survives_the_death_of_the_runner_and_is_run_once(engine: &TestEngine) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    killed(engine, dir).await;
    let world = World::open(dir, SandboxMode::Auto, |o| engine.options(o)).await;
    world.wait("p", |p| phase(p) == "Running").await;
    std::fs::write(dir.join("shared/go"), "").unwrap();
    let done = world.ended("p").await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    assert_eq!(std::fs::read_to_string(dir.join("shared/runs")).unwrap(), "first\nrun\n");
    assert_eq!(world.log("p", "test").await, "over\n");
    until("the containers to be removed", || engine.containers(&world).is_empty()).await;
}

async fn a_pod_whose_supervisor_is_killed_is_evicted_and_leaves_no_container(engine: &TestEngine) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    killed(engine, dir).await;
    // The supervisor and its stages at once, so that none of them can tidy up.
    let mark = dir.join("kubelet/pods").to_str().unwrap().to_owned();
    for pid in common::processes(&mark) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    until("them to be dead", || common::processes(&mark).is_empty()).await;
    let world = World::open(dir, SandboxMode::Auto, |o| engine.options(o)).await;
    let done = world.ended("p").await;
    assert_eq!(done.status.as_ref().unwrap().reason.as_deref(), Some("Evicted"));
    assert_eq!(engine.containers(&world), "", "nothing of it runs on when that is said");
    assert_eq!(std::fs::read_to_string(dir.join("shared/runs")).unwrap(), "first\nrun\n");
}

crate::on_every_engine!(
    a_pod_survives_the_death_of_the_runner_and_is_run_once,
    a_pod_whose_supervisor_is_killed_is_evicted_and_leaves_no_container,
);
