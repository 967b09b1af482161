//! Docker in Docker: how jobs build and run images.

use super::common::engines::{TestEngine, which};
use super::common::phase;
use serde_json::json;
use std::path::Path;

async fn a_privileged_pod_builds_and_runs_an_image_with_a_docker_of_its_own(engine: &TestEngine) {
    if which("dockerd").is_none() || which("docker").is_none() {
        eprintln!("SKIPPED: Docker in a container is not tested here: docker and dockerd are not installed");
        return;
    }
    let world = engine
        .world(|o| {
            o.allow_privileged = true;
            o.allow_host_paths.push("/usr".into());
        })
        .await;
    let script = r#"
        dockerd --host "$DOCKER_HOST" --data-root /docker-graph --exec-opt native.cgroupdriver=cgroupfs \
            --cgroup-parent "$GROUP" --iptables=false --ip6tables=false --ip-forward=false --bridge=none >/tmp/log 2>&1 &
        until docker version >/dev/null 2>&1; do
            kill -0 $! || { cat /tmp/log; exit 1; }
            sleep 0.1
        done
        mkdir /tmp/image && cp "$BUSYBOX" /tmp/image/busybox && cd /tmp/image || exit
        printf 'FROM scratch\nCOPY busybox /busybox\nRUN ["/busybox", "touch", "/made"]\n' >Dockerfile
        docker build -q --network none -t built . >&2 || { cat /tmp/log; exit 1; }
        docker run --rm --network none built /busybox ls /made || { cat /tmp/log; exit 1; }
        "#;
    // The volumes are those of the preset that most Prow installations have for Docker in Docker.
    let group = format!("prow-nested-{}-{}", std::process::id(), engine.scheme());
    // Where this kernel has none, the runner would make the directory.
    let modules = if Path::new("/lib/modules").exists() { "/lib/modules" } else { "/sys/fs/cgroup" };
    let pod = json!({
        "volumes": [
            {"name": "usr", "hostPath": {"path": "/usr"}},
            {"name": "modules", "hostPath": {"path": modules, "type": "Directory"}},
            {"name": "cgroup", "hostPath": {"path": "/sys/fs/cgroup", "type": "Directory"}},
            {"name": "docker-graph", "emptyDir": {}},
        ],
        "containers": [{
            "name": "test", "image": engine.hollow(), "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script],
            "env": [
                {"name": "PATH", "value": "/usr/local/bin:/usr/sbin:/usr/bin"},
                {"name": "DOCKER_HOST", "value": "unix:///run/docker.sock"},
                {"name": "DOCKER_BUILDKIT", "value": "0"},
                {"name": "GROUP", "value": group},
                {"name": "BUSYBOX", "value": which("busybox").unwrap().canonicalize().unwrap()},
            ],
            "securityContext": {"privileged": true},
            "volumeMounts": [
                {"name": "usr", "mountPath": "/usr", "readOnly": true},
                {"name": "modules", "mountPath": "/mnt/modules", "readOnly": true},
                {"name": "cgroup", "mountPath": "/sys/fs/cgroup"},
                {"name": "docker-graph", "mountPath": "/docker-graph"},
            ],
        }],
    });
    let done = world.run("p", pod).await;
    let log = world.log("p", "test").await;
    // Empty groups in the machine's tree, which the Pod was given, are all that a nested engine leaves.
    let find = [
        "/sys/fs/cgroup",
        "-depth",
        "-type",
        "d",
        "-path",
        &format!("*/{group}*"),
        "-exec",
        "rmdir",
        "{}",
        "+",
    ];
    let _ = std::process::Command::new("find").args(find).output();
    assert_eq!(phase(&done), "Succeeded", "{log} {:#?}", done.status);
    assert!(log.ends_with("/made\n"), "{log}");
}

crate::on_every_engine!(a_privileged_pod_builds_and_runs_an_image_with_a_docker_of_its_own);
