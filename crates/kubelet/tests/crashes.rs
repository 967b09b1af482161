//! Whatever is killed when: a Pod is run once, and nothing of it is left behind.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{World, phase, pod, processes, sh, terminated, until, with};
use kube::api::PostParams;
use prow_kubelet::SandboxMode;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

const DIR: &str = "PROW_KUBELET_TEST_DIR";
const PLAIN: &str = "PROW_KUBELET_TEST_PLAIN";

fn mode(plain: bool) -> SandboxMode {
    if plain { SandboxMode::Off } else { SandboxMode::Auto }
}

/// Appends to `runs`, then waits for `go`.
fn patient(dir: &Path) -> Value {
    let mounts = json!({"volumeMounts": [{"name": "h", "mountPath": "/h"}]});
    let mark = dir.display();
    let script =
        format!(": {mark}; echo run >> /h/runs; while [ ! -e /h/go ]; do sleep 0.01; done; echo over");
    json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "h", "hostPath": {"path": common::shared(dir)}}],
        "containers": [with(sh("test", &script), mounts)],
    })
}

#[tokio::test]
#[ignore = "not a test of its own: the process that the tests below kill"]
async fn host_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let world = World::open(dir, mode(std::env::var_os(PLAIN).is_some()), |_| {}).await;
    world.pods().create(&PostParams::default(), &pod("p", patient(dir))).await.unwrap();
    std::future::pending::<()>().await;
}

/// A process that is killed, without a warning, when this is dropped.
struct Host(std::process::Child);

impl Drop for Host {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A pod runner with its API server in a process of their own, with one Pod that runs.
async fn hosted(dir: &Path, plain: bool) -> Host {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "host_process", "--ignored", "--nocapture"]).env(DIR, dir);
    if plain {
        command.env(PLAIN, "1");
    }
    let child = Host(command.stdout(Stdio::null()).spawn().unwrap());
    let runs = dir.join("shared/runs");
    until("the job to run", || runs.exists()).await;
    child
}

async fn killed_and_started_again(plain: bool) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let host = hosted(dir, plain).await;
    drop(host);
    let world = World::open(dir, mode(plain), |_| {}).await;
    world.wait("p", |p| phase(p) == "Running").await;
    std::fs::write(dir.join("shared/go"), "").unwrap();
    let done = world.ended("p").await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    assert_eq!(std::fs::read_to_string(dir.join("shared/runs")).unwrap(), "run\n");
    assert_eq!(world.log("p", "test").await, "over\n");
}

#[tokio::test]
async fn a_pod_survives_the_death_of_the_runner_and_is_run_once() {
    killed_and_started_again(false).await;
}

#[tokio::test]
async fn an_unsandboxed_pod_survives_the_death_of_the_runner_and_is_run_once() {
    killed_and_started_again(true).await;
}

/// A volume in memory, a sidecar that has just been started again and one that waits for it, while the runner is killed.
#[tokio::test]
#[ignore = "not a test of its own: the process that the test below kills"]
async fn host_of_sidecars() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let world = World::open(dir, mode(std::env::var_os(PLAIN).is_some()), |_| {}).await;
    let mounts =
        json!({"volumeMounts": [{"name": "h", "mountPath": "/h"}, {"name": "m", "mountPath": "/m"}]});
    let always = with(json!({"restartPolicy": "Always"}), mounts.clone());
    // In memory, each time counts the ones before.
    let side = "echo x >> /m/times; cp /m/times /h/times; [ -s /m/second ] || { echo x > /m/second; exit 1; }; exec sleep 600";
    let script = format!(
        ": {}; echo run >> /h/runs; while [ ! -e /h/go ]; do sleep 0.01; done; cat /m/times; stat -f -c %T /m",
        dir.display()
    );
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [
            {"name": "h", "hostPath": {"path": common::shared(dir)}},
            {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
        "initContainers": [
            with(sh("side", side), always.clone()),
            with(sh("crashing", "exit 1"), always),
        ],
        "containers": [with(sh("test", &script), mounts)],
    });
    world.pods().create(&PostParams::default(), &pod("p", spec)).await.unwrap();
    std::future::pending::<()>().await;
}

async fn sidecars_survive(plain: bool) {
    if plain && !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: without a sandbox only root can mount");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "host_of_sidecars", "--ignored", "--nocapture"]).env(DIR, dir);
    if plain {
        command.env(PLAIN, "1");
    }
    let host = Host(command.stdout(Stdio::null()).spawn().unwrap());
    let says = |name: &str| std::fs::read_to_string(dir.join("shared").join(name)).unwrap_or_default();
    until("the sidecar to run again", || says("times") == "x\nx\n" && says("runs") == "run\n").await;
    drop(host);
    let world = World::open(dir, mode(plain), |_| {}).await;
    let again = |p: &k8s_openapi::api::core::v1::Pod| {
        phase(p) == "Running" && common::waiting_reason(p, "crashing") == "CrashLoopBackOff"
    };
    let runs = world.wait("p", again).await;
    assert_eq!(common::container(&runs, "side").restart_count, 1);
    std::fs::write(dir.join("shared/go"), "").unwrap();
    let done = world.ended("p").await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    let log = world.log("p", "test").await;
    let in_memory = plain || world.kubelet.as_ref().unwrap().capabilities().sandboxed();
    assert!(log.starts_with("x\nx\n") && log.ends_with("tmpfs\n") == in_memory, "{log}");
    assert_ne!(terminated(&done, "crashing").exit_code, 0);
    assert_eq!((says("runs"), says("times")), ("run\n".to_owned(), "x\nx\n".to_owned()));
    until("everything to be gone", || processes(&dir.display().to_string()).is_empty()).await;
}

#[tokio::test]
async fn sidecars_and_memory_survive_the_death_of_the_runner() {
    sidecars_survive(false).await;
}

#[tokio::test]
async fn unsandboxed_sidecars_and_memory_survive_the_death_of_the_runner() {
    sidecars_survive(true).await;
}

/// Else a job that has succeeded would be run again.
#[tokio::test]
async fn a_shutdown_while_only_sidecars_are_left_changes_nothing_of_how_the_pod_ended() {
    let mut world = World::new(SandboxMode::Auto, |_| {}).await;
    let mounts = json!({"volumeMounts": [{"name": "h", "mountPath": "/h"}]});
    let side = format!(
        ": {}; trap 'touch /h/asked' TERM; touch /h/up; while [ ! -e /h/go ]; do sleep 0.01; done",
        world.dir.display()
    );
    let spec = json!({
        "terminationGracePeriodSeconds": 600,
        "volumes": [{"name": "h", "hostPath": {"path": world.shared()}}],
        "initContainers": [with(with(sh("side", &side), json!({"restartPolicy": "Always"})), mounts.clone())],
        "containers": [with(sh("test", "while [ ! -e /h/up ]; do sleep 0.01; done"), mounts)],
    });
    let uid = world.create("p", spec).await.metadata.uid.unwrap();
    let asked = world.shared().join("asked");
    until("the sidecar to be asked to end", || asked.exists()).await;
    let kubelet = world.kubelet.take().unwrap();
    let record = world.dir.join("kubelet/pods").join(uid).join("status.json");
    let told = || std::fs::read_to_string(&record).is_ok_and(|text| text.contains("\"termination\""));
    let end = async {
        until("the supervisor to be told", told).await;
        std::fs::write(world.shared().join("go"), "").unwrap();
    };
    tokio::join!(kubelet.shutdown(), end);
    assert_eq!(processes(&format!(": {}", world.dir.display())), Vec::<i32>::new());
    let pod = world.pods().get("p").await.unwrap();
    let status = pod.status.as_ref().unwrap();
    assert_eq!((phase(&pod), status.reason.as_deref()), ("Succeeded", None), "{status:#?}");
    assert_eq!(terminated(&pod, "side").exit_code, 0);
}

const MANY: &str = "PROW_KUBELET_TEST_MANY";
const PODS_A_ROUND: usize = 4;

#[tokio::test]
#[ignore = "not a test of its own: the process that the test below kills"]
async fn host_of_many() {
    let (Some(dir), Some(round)) = (std::env::var_os(DIR), std::env::var(MANY).ok()) else { return };
    let dir = Path::new(&dir);
    let world = World::open(dir, SandboxMode::Auto, |_| {}).await;
    for i in 0..PODS_A_ROUND {
        let name = format!("p-{round}-{i}");
        let mounts = json!({"volumeMounts": [{"name": "h", "mountPath": "/h"}]});
        let script = format!(": {}; echo run >> /h/{name}", dir.display());
        let spec = json!({
            "volumes": [{"name": "h", "hostPath": {"path": common::shared(dir)}}],
            "initContainers": [with(sh("first", "true"), mounts.clone())],
            "containers": [with(sh("test", &script), mounts)],
        });
        world.pods().create(&PostParams::default(), &pod(&name, spec)).await.unwrap();
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn whenever_the_runner_is_killed_every_pod_is_run_exactly_once() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let shared = common::shared(dir);
    let pods = dir.join("kubelet/pods");
    let count = |dir: &Path| std::fs::read_dir(dir).map_or(0, Iterator::count);
    let rounds = 2 * PODS_A_ROUND;
    for round in 0..rounds {
        let before = [count(&pods), count(&shared)];
        let host = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "host_of_many", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .env(MANY, round.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let host = Host(host);
        // Killed at another point each time: so many Pods made ready, or so many run.
        let (what, least) = if round % 2 == 0 { (&pods, round / 2) } else { (&shared, round / 2) };
        until("the point to kill at", || count(what) > before[round % 2] + least).await;
        drop(host);
    }
    let world = World::open(dir, SandboxMode::Auto, |_| {}).await;
    let all = world.pods().list(&kube::api::ListParams::default()).await.unwrap().items;
    assert!(all.len() >= PODS_A_ROUND, "{} Pods", all.len());
    for pod in all {
        let name = pod.metadata.name.unwrap();
        let done = world.ended(&name).await;
        assert_eq!(phase(&done), "Succeeded", "{name}: {:#?}", done.status);
        assert_eq!(std::fs::read_to_string(shared.join(&name)).unwrap(), "run\n", "{name}");
    }
}

#[tokio::test]
async fn what_ended_while_nobody_looked_is_reported() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let host = hosted(dir, false).await;
    drop(host);
    std::fs::write(dir.join("shared/go"), "").unwrap();
    until("the Pod to end", || processes(&dir.display().to_string()).is_empty()).await;
    let world = World::open(dir, SandboxMode::Auto, |_| {}).await;
    assert_eq!(phase(&world.ended("p").await), "Succeeded");
    assert_eq!(std::fs::read_to_string(dir.join("shared/runs")).unwrap(), "run\n");
}

async fn supervisor_killed(plain: bool) {
    let world = World::new(mode(plain), |_| {}).await;
    world.create("p", patient(&world.dir)).await;
    world.wait("p", |p| phase(p) == "Running").await;
    until("the job to run", || world.shared().join("runs").exists()).await;
    let mark = format!("pod-supervisor\0{}", world.dir.display());
    let supervisors = processes(&mark);
    assert_eq!(supervisors.len(), 1);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisors[0]), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let done = world.ended("p").await;
    let status = done.status.as_ref().unwrap();
    assert_eq!((phase(&done), status.reason.as_deref()), ("Failed", Some("Evicted")));
    assert!(status.message.as_ref().unwrap().contains("its run is lost"));
    let end = terminated(&done, "test");
    assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
    until("the job to be dead", || processes(&world.dir.display().to_string()).is_empty()).await;
    assert_eq!(std::fs::read_to_string(world.shared().join("runs")).unwrap(), "run\n");
}

#[tokio::test]
async fn a_pod_whose_supervisor_is_killed_is_evicted() {
    supervisor_killed(false).await;
}

#[tokio::test]
async fn an_unsandboxed_pod_whose_supervisor_is_killed_is_evicted() {
    supervisor_killed(true).await;
}

#[tokio::test]
async fn a_shutdown_evicts_and_leaves_no_process_behind() {
    let mut world = World::new(SandboxMode::Auto, |_| {}).await;
    world.create("p", patient(&world.dir)).await;
    world.wait("p", |p| phase(p) == "Running").await;
    world.kubelet.take().unwrap().shutdown().await;
    assert_eq!(processes(&world.dir.display().to_string()), Vec::<i32>::new());
    let pod = world.pods().get("p").await.unwrap();
    let status = pod.status.as_ref().unwrap();
    assert_eq!(
        (phase(&pod), status.reason.as_deref(), status.message.as_deref()),
        ("Failed", Some("Evicted"), Some("node is shutting down"))
    );
}

#[tokio::test]
async fn a_pod_that_vanished_from_the_api_is_ended_and_removed() {
    let mut world = World::new(SandboxMode::Auto, |_| {}).await;
    world.create("p", patient(&world.dir)).await;
    world.wait("p", |p| phase(p) == "Running").await;
    // Nobody tells the runner: it is away while the Pod is deleted for good.
    drop(world.kubelet.take());
    world.delete("p", 0).await;
    world.gone("p").await;
    world.start(|_| {}).await;
    let pods = world.dir.join("kubelet/pods");
    until("the Pod's directory to go", || std::fs::read_dir(&pods).unwrap().next().is_none()).await;
    assert_eq!(processes(&format!(": {}", world.dir.display())), Vec::<i32>::new());
}

#[tokio::test]
async fn a_started_pod_whose_directory_is_gone_is_evicted_and_not_run_again() {
    let mut world = World::new(SandboxMode::Auto, |_| {}).await;
    world.create("p", patient(&world.dir)).await;
    world.wait("p", |p| phase(p) == "Running").await;
    drop(world.kubelet.take());
    for pid in processes(&format!("pod-supervisor\0{}", world.dir.display())) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    until("the job to be dead", || processes(&world.dir.display().to_string()).is_empty()).await;
    std::fs::remove_dir_all(world.dir.join("kubelet")).unwrap();
    world.start(|_| {}).await;
    let done = world.ended("p").await;
    assert_eq!(done.status.as_ref().unwrap().reason.as_deref(), Some("Evicted"));
    assert_eq!(std::fs::read_to_string(world.shared().join("runs")).unwrap(), "run\n");
}

#[tokio::test]
async fn one_directory_has_one_runner() {
    let world = World::new(SandboxMode::Off, |_| {}).await;
    let options = prow_kubelet::Options::new("other", world.dir.join("kubelet"), common::HELPER);
    let clock = prow_service::clock::SystemClock::shared();
    let Err(refused) = prow_kubelet::Kubelet::start(options, world.client.clone(), clock).await else {
        panic!("a second runner was let in");
    };
    assert!(matches!(refused, prow_kubelet::Error::DataDirInUse { .. }), "{refused}");
}

#[tokio::test]
async fn pods_beyond_the_limit_wait_their_turn() {
    let world = World::new(SandboxMode::Off, |o| o.max_pods = Some(1)).await;
    world.create("first", patient(&world.dir)).await;
    world.wait("first", |p| phase(p) == "Running").await;
    world.create("second", json!({"containers": [sh("test", "true")]})).await;
    let unscheduled = |p: &k8s_openapi::api::core::v1::Pod| {
        let conditions = p.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("Unschedulable"))
    };
    let waits = world.wait("second", unscheduled).await;
    assert_eq!(phase(&waits), "Pending");
    assert!(waits.status.unwrap().start_time.is_none(), "plank counts its unscheduled timeout from this");
    std::fs::write(world.dir.join("shared/go"), "").unwrap();
    assert_eq!(phase(&world.ended("second").await), "Succeeded");
}
