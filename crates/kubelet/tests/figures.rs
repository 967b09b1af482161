//! How fast Pods come and go, and what watching over one costs. Prints; run with `--ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{World, phase, processes, sh};
use serde_json::json;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn figures() {
    let Some(world) = World::sandboxed().await else { return };
    let init: Vec<_> = (0..3).map(|i| sh(&format!("init{i}"), "true")).collect();
    let spec = json!({"initContainers": init, "containers": [sh("test", "true"), sh("sidecar", "true")]});
    let mut alone = Vec::new();
    for i in 0..10 {
        let began = Instant::now();
        world.run(&format!("alone-{i}"), spec.clone()).await;
        alone.push(began.elapsed());
    }
    alone.sort();
    println!(
        "a Pod of three init containers and two containers, created to Succeeded: median {:?}",
        alone[5]
    );

    let began = Instant::now();
    for i in 0..50 {
        world.create(&format!("many-{i}"), spec.clone()).await;
    }
    for i in 0..50 {
        assert_eq!(phase(&world.ended(&format!("many-{i}")).await), "Succeeded");
    }
    println!("50 of them at once: {:?}", began.elapsed());

    let mark = format!("pod-supervisor\0{}", world.dir.display());
    for i in 0..10 {
        world.create(&format!("idle-{i}"), json!({"containers": [sh("test", "sleep 1000")]})).await;
        world.wait(&format!("idle-{i}"), |p| phase(p) == "Running").await;
    }
    let pss = |mark: &str| -> u64 {
        let pss = |pid: &i32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find(|l| l.starts_with("Pss:")).unwrap_or_default().to_owned();
            line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
        };
        processes(mark).iter().map(pss).sum::<u64>()
    };
    println!("ten idle Pods: {} KiB in supervisors, {} KiB in sandboxes", pss(&mark), pss("pod-sandbox\0"));
    world.kubelet.as_ref().unwrap().shutdown().await;
}
