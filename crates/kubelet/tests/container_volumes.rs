//! Volumes in memory as a real Podman and a real Docker keep them, and that nothing of them stays.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::engines::{BUSYBOX, TestEngine};
use common::{World, phase, terminated, until, with};
use serde_json::{Value, json};

fn sh(name: &str, script: &str) -> Value {
    json!({"name": name, "image": BUSYBOX, "command": ["/bin/sh", "-c", script]})
}

/// What the engine and the machine still have of a world's volumes.
fn left(engine: &TestEngine, world: &World) -> String {
    let filter = format!("label=prow.k8s.io/pod-runner={}", world.dir.join("kubelet").display());
    let volumes = engine.says(&["volume", "ls", "--filter", &filter, "--format", "{{.Name}}"]);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mounted = volumes.lines().filter(|name| mounts.contains(&format!("/{name}/_data tmpfs"))).count();
    format!("{volumes}{}", if mounted > 0 { " mounted" } else { "" })
}

async fn volumes_in_memory_are_shared_bounded_and_removed(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let mount = |more: Value| json!({"volumeMounts": [with(json!({"name": "m", "mountPath": "/m"}), more)]});
    let test = "cat /m/a; stat -f -c %T /m; stat -c '%a %g' /m; \
                dd if=/dev/zero of=/m/big bs=65536 count=32 2>/dev/null || echo full; touch /m/seen";
    // Not before the other is made: what it has of the volume is a subPath of it.
    let other = "while [ ! -e /m/seen ]; do sleep 0.01; done; ls /m";
    let pod = |containers: Value| {
        json!({
            "securityContext": {"fsGroup": 2000},
            "volumes": [{"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
            "initContainers": [with(sh("first", "echo made >/m/a; mkdir /m/sub; echo deep >/m/sub/b"), mount(json!({})))],
            "containers": containers,
        })
    };
    let both = json!([
        with(sh("test", test), mount(json!({}))),
        with(sh("other", other), mount(json!({"readOnly": true})))
    ]);
    let done = world.run("p", pod(both)).await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    assert_eq!(world.log("p", "test").await, "made\ntmpfs\n2777 2000\nfull\n");
    assert_eq!(world.log("p", "other").await, "a\nbig\nseen\nsub\n");

    let done =
        world.run("sub", pod(json!([with(sh("test", "cat /m/b"), mount(json!({"subPath": "sub"})))]))).await;
    if engine.scheme() == "podman" {
        assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
        assert_eq!(world.log("sub", "test").await, "deep\n");
    } else {
        // The tests' Docker has a mount namespace of its own.
        let ended = terminated(&done, "test");
        assert_eq!(ended.reason.as_deref(), Some("StartError"), "{ended:?}");
        assert!(ended.message.as_deref().unwrap().contains("where this process cannot see it"), "{ended:?}");
    }
    until("the volumes to be removed", || left(engine, &world).is_empty()).await;
}

async fn volumes_in_memory_go_with_whatever_is_killed(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let spec = json!({
        "volumes": [{"name": "m", "emptyDir": {"medium": "Memory"}}],
        "containers": [with(sh("test", "while :; do sleep 0.1; done"), json!({"volumeMounts": [{"name": "m", "mountPath": "/m"}]}))],
    });
    world.create("p", spec).await;
    world.wait("p", |p| phase(p) == "Running").await;
    let there = left(engine, &world);
    assert!(
        there.starts_with("prow-") && there.ends_with("-m mounted") == (engine.scheme() == "podman"),
        "{there}"
    );
    // The supervisor and its stages at once, so that none of them can tidy up.
    let mark = world.dir.join("kubelet/pods").to_str().unwrap().to_owned();
    for pid in common::processes(&mark) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let done = world.ended("p").await;
    assert_eq!(done.status.as_ref().unwrap().reason.as_deref(), Some("Evicted"));
    assert_eq!(terminated(&done, "test").reason.as_deref(), Some("ContainerStatusUnknown"));
    assert_eq!(left(engine, &world), "", "nothing of it is left when that is said");
}

on_every_engine!(
    volumes_in_memory_are_shared_bounded_and_removed,
    volumes_in_memory_go_with_whatever_is_killed
);
