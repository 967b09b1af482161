//! What a sandboxed job cannot see, reach or do.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{World, phase, sh, terminated, with};
use serde_json::json;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[tokio::test]
async fn a_job_sees_nothing_of_this_machine_but_its_programs() {
    let Some(world) = World::sandboxed().await else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let me = std::process::id();
    let data = world.dir.display();
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    // Each line is true of a job that is shut away; `bash` has /dev/tcp.
    let script = format!(
        r#"set -e
        fail() {{ echo "FAILED: $1"; exit 1; }}
        [ ! -e /proc/{me}/root/etc ] || fail 'sees processes of this machine'
        [ "$(ls /proc | grep -c '^[0-9]*$')" -lt 12 ] || fail 'sees many processes'
        [ -z "$(ls -A /root)" ] || fail 'sees /root'
        [ "{home}" = /root ] || [ ! -e "{home}" ] || fail 'sees the home directory'
        [ ! -e "{data}" ] || fail 'sees the data directory'
        [ -z "$(ls -A /home)$(ls -A /srv)$(ls -A /mnt)" ] || fail 'sees other directories'
        [ ! -e /var/run/docker.sock ] || fail 'sees the docker socket'
        ! touch /usr/x 2>/dev/null || fail 'writes to /usr'
        ! touch /etc/x 2>/dev/null || fail 'writes to /etc'
        ! cat /etc/shadow 2>/dev/null || fail 'reads /etc/shadow'
        ! mount -o remount,rw /usr 2>/dev/null || fail 'remounts'
        ! umount /usr 2>/dev/null || fail 'unmounts'
        ! mount -t tmpfs none /mnt 2>/dev/null || fail 'mounts'
        ! hostname evil 2>/dev/null || fail 'sets the host name'
        ! (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || fail 'writes to /proc/sys'
        ! bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}' 2>/dev/null || fail 'reaches the machine'\''s loopback'
        ! cat /proc/1/environ 2>/dev/null || fail 'reads the environment of its init'
        [ "$(hostname)" = p ] || fail 'has another host name'
        grep -q 'NoNewPrivs:.1' /proc/self/status || fail 'may gain privileges'
        touch /tmp/a /root/b /c
        echo fine"#
    );
    let done = world.run("p", json!({"containers": [sh("test", &script)]})).await;
    assert_eq!(world.log("p", "test").await, "fine\n");
    assert_eq!(phase(&done), "Succeeded");
}

#[tokio::test]
async fn containers_of_a_pod_share_a_network_and_nothing_else() {
    let Some(world) = World::sandboxed().await else { return };
    if world.kubelet.as_ref().unwrap().capabilities().limits.iter().any(|l| l.contains("loopback")) {
        eprintln!("SKIPPED: loopback cannot be brought up here");
        return;
    }
    let server = r#"python3 -c "
import socket
s = socket.create_server(('127.0.0.1', 8080))
c, _ = s.accept()
c.sendall(b'hello')
c.close()
""#;
    let client =
        r#"until bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080 && cat <&3' 2>/dev/null; do sleep 0.01; done"#;
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: needs python3 for a server in the job");
        return;
    }
    let done = world.run("p", json!({"containers": [sh("server", server), sh("client", client)]})).await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    assert_eq!(world.log("p", "client").await, "hello");
}

#[tokio::test]
async fn volumes_lie_where_the_pod_wants_them() {
    let Some(world) = World::sandboxed().await else { return };
    let done = world
        .run(
            "p",
            json!({
                "volumes": [
                    {"name": "code", "emptyDir": {}},
                    {"name": "info", "downwardAPI": {"items": [{"path": "deep/name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                ],
                "containers": [with(
                    sh("test", "pwd; touch here /etc/deep/er/x; cat /usr/share/brand-new/deep/name; \
                        ! touch /usr/share/brand-new/x 2>/dev/null && ls /outer/inner /etc/deep/er; ls /etc | grep -c passwd"),
                    json!({
                        "workingDir": "/home/prow/go/src/x",
                        "volumeMounts": [
                            {"name": "code", "mountPath": "/outer/inner", "subPath": "s"},
                            {"name": "code", "mountPath": "/outer"},
                            {"name": "code", "mountPath": "/home/prow/go", "subPath": "go"},
                            {"name": "code", "mountPath": "/etc/deep/er"},
                            {"name": "info", "mountPath": "/usr/share/brand-new"},
                        ],
                    }),
                )],
            }),
        )
        .await;
    let log = world.log("p", "test").await;
    assert_eq!(phase(&done), "Succeeded", "{log}{:#?}", done.status);
    assert!(log.starts_with("/home/prow/go/src/x\np/etc/deep/er:\n"), "{log}");
    assert!(log.contains("/outer/inner:"), "{log}");
}

#[tokio::test]
async fn the_data_directory_may_be_reached_through_a_link() {
    let temp = tempfile::tempdir().unwrap();
    let (real, link) = (temp.path().join("real"), temp.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let world = World::open(&link, prow_kubelet::SandboxMode::Auto, |_| {}).await;
    if !world.kubelet.as_ref().unwrap().capabilities().sandboxed() {
        eprintln!("SKIPPED: this machine forbids what the sandbox needs");
        return;
    }
    // Not merely forbidden, as to any stranger, but read-only.
    let done =
        world.run("p", json!({"containers": [sh("test", "touch /usr/x 2>&1 | grep Read-only")]})).await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
}

#[tokio::test]
async fn links_planted_in_a_volume_lead_nowhere() {
    let Some(world) = World::sandboxed().await else { return };
    let outside = world.shared().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let data = world.dir.join("kubelet");
    let volume = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let plant = format!(
        "ln -s {} /v/up; ln -s ../../../.. /v/dots; ln -s {} /v/point",
        data.display(),
        outside.display()
    );
    let cases = [
        ("up", json!({"name": "v", "mountPath": "/m", "subPath": "up"})),
        ("dots", json!({"name": "v", "mountPath": "/m", "subPath": "dots/etc"})),
    ];
    for (name, mount) in cases {
        let done = world
            .run(
                name,
                json!({
                    "volumes": [{"name": "v", "emptyDir": {}}],
                    "initContainers": [with(sh("plant", &plant), volume.clone())],
                    "containers": [with(sh("test", "ls /m"), json!({"volumeMounts": [mount]}))],
                }),
            )
            .await;
        let end = terminated(&done, "test");
        assert_eq!((end.exit_code, end.reason.as_deref()), (128, Some("StartError")), "{name}: {end:#?}");
    }
    // A mount point behind a link is looked for inside the sandbox, where there is no such directory.
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/v/point/new"}]});
    let done = world
        .run(
            "point",
            json!({
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}],
                "initContainers": [with(sh("plant", &plant), volume)],
                "containers": [with(sh("test", "touch /v/point/new/x"), mounts)],
            }),
        )
        .await;
    assert_eq!(terminated(&done, "test").reason.as_deref(), Some("StartError"));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "something was made on this machine");
}

/// A job that has a hostPath may put a link where a directory was, after the Pod's volumes were looked at.
#[test]
fn a_host_path_that_became_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    if std::fs::metadata(dir.path()).is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) != 0) {
        eprintln!("SKIPPED: only root's jobs are run this way");
        return;
    }
    let (pod, shared, outside) =
        (dir.path().join("pod"), dir.path().join("shared"), dir.path().join("outside"));
    for path in [&pod, &shared, &outside] {
        std::fs::create_dir(path).unwrap();
    }
    std::fs::create_dir(shared.join("honest")).unwrap();
    for (name, target) in
        [("absolute", outside.to_str().unwrap()), ("up", "../outside"), ("inside", "honest")]
    {
        std::os::unix::fs::symlink(target, shared.join(name)).unwrap();
    }
    let container = |name: &str, at: &str, sub: Option<&str>| {
        json!({"name": name, "argv": ["/bin/sh", "-c", "ls /m && echo mounted"], "env": [["PATH", "/usr/bin:/bin"]],
               "working_dir": null, "pod_network": true, "utility": false, "host_ids": false,
               "mounts": [{"source": shared.join(at), "below": shared, "sub_path": sub, "path": "/m", "read_only": true}],
               "termination_path": "/dev/termination-log", "termination_from_logs": true})
    };
    let plan = json!({
        "namespace": "n", "name": "p", "uid": "u", "isolation": {"sandboxed": {"user": {"id": 600000}}},
        "grace_seconds": 1, "active_deadline_seconds": null, "hide": [], "init_containers": [],
        "containers": [
            container("absolute", "absolute", None),
            container("up", "up", None),
            container("sub", "", Some("up")),
            container("inside", "inside", None),
        ],
    });
    std::fs::write(pod.join("pod.json"), plan.to_string()).unwrap();
    let out = Command::new(common::HELPER).arg("pod-supervisor").arg(&pod).output().unwrap();
    let status = std::fs::read_to_string(pod.join("status.json")).unwrap_or_default();
    if status.contains("make PID, IPC and UTS namespaces") || status.contains("make a network namespace") {
        eprintln!("SKIPPED: this machine forbids namespaces to root: {status}");
        return;
    }
    let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_else(|_| panic!("{out:?}"));
    for (index, says) in ["leads out of", "leads out of", "use the subPath", ""].iter().enumerate() {
        let state = &status["containers"][index]["state"];
        let want = if says.is_empty() { "Completed" } else { "StartError" };
        assert_eq!(state["reason"], want, "{state}");
        assert!(state["message"].as_str().unwrap_or_default().contains(says), "{state}");
    }
}

/// The whole sandbox for a user without rights: only root can play this, by becoming nobody.
#[test]
fn a_user_without_rights_has_a_sandbox_too() {
    const NOBODY: u32 = 65534;
    if std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) != 0) {
        eprintln!("SKIPPED: the other tests have run as a user without rights already");
        return;
    }
    let dir = tempfile::Builder::new().prefix("prow-nobody").tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    // Nobody may not be let into the directory that the executable was built in.
    let exe = dir.path().join("helper");
    std::fs::copy(common::HELPER, &exe).unwrap();
    let pod = dir.path().join("pod");
    let (volume, memory) = (pod.join("volumes/v"), pod.join("volumes/m"));
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::create_dir_all(&memory).unwrap();
    for path in [&pod, &pod.join("volumes"), &volume, &memory] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let script = "id -u; hostname; touch /usr/x 2>&1; mount -o remount,rw /usr 2>/dev/null || echo locked; \
                  echo y > /v/x; cat /v/x; stat -f -c %T /m; mkdir -p /v/m/x; chmod 500 /v/m; ls /proc | grep -c '^[0-9]*$'; grep CapBnd /proc/self/status | wc -l";
    let container = |name: &str, network: bool, argv: serde_json::Value| {
        json!({"name": name, "argv": argv, "env": [["PATH", "/usr/bin:/bin:/usr/sbin:/sbin"]], "working_dir": null,
               "mounts": [{"source": volume, "sub_path": null, "path": "/v", "read_only": false},
                          {"source": memory, "sub_path": null, "path": "/m", "read_only": false}],
               "pod_network": network, "utility": !network, "host_ids": false,
               "termination_path": "/dev/termination-log", "termination_from_logs": true})
    };
    let plan = json!({
        "namespace": "n", "name": "p", "uid": "u", "isolation": {"sandboxed": "own"}, "grace_seconds": 1,
        "active_deadline_seconds": null, "hide": [],
        "memory": [{"volume": "m", "path": memory, "bytes": 1 << 20, "owner": null, "group": null}],
        "init_containers": [container("clonerefs", false, json!(["/prow/bin/prow", "clonerefs"]))],
        "containers": [container("test", true, json!(["/bin/sh", "-c", script]))],
    });
    std::fs::write(pod.join("pod.json"), plan.to_string()).unwrap();
    let out = Command::new(&exe)
        .arg("pod-supervisor")
        .arg(&pod)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let status = std::fs::read_to_string(pod.join("status.json")).unwrap_or_default();
    if forbidden(&status) {
        eprintln!("SKIPPED: this machine forbids namespaces to users without rights: {status}");
        return;
    }
    let log = std::fs::read_to_string(pod.join("logs/test.log")).unwrap_or_default();
    assert!(out.status.success() && status.contains("\"succeeded\": true"), "{out:?} {status} {log}");
    let lines: Vec<&str> = log.lines().filter_map(|l| l.splitn(4, ' ').nth(3)).collect();
    assert_eq!(lines[..2], ["0", "p"], "{log}");
    assert!(lines[2].contains("Read-only file system"), "{log}");
    assert_eq!(lines[3], "locked", "{log}");
    assert_eq!(lines[4..6], ["y", "tmpfs"], "{log}");
    assert!(!pod.join("volumes").exists(), "a directory that the job closed stayed behind");
}

/// Where user namespaces are refused, root's jobs run as an unprivileged user.
#[test]
fn without_user_namespaces_a_job_of_root_is_nobody() {
    let dir = tempfile::tempdir().unwrap();
    if std::fs::metadata(dir.path()).is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) != 0) {
        eprintln!("SKIPPED: only root's jobs are run this way");
        return;
    }
    let script = "id -u; grep CapEff /proc/self/status; touch /usr/x 2>&1; cat /etc/shadow 2>/dev/null || echo unread; \
                  mount -t tmpfs x /mnt 2>/dev/null || echo unmounted; touch /tmp/x /x && echo fine";
    let plan = json!({
        "namespace": "n", "name": "p", "uid": "u", "isolation": {"sandboxed": {"user": {"id": 600000}}},
        "grace_seconds": 1, "active_deadline_seconds": null, "hide": [], "init_containers": [],
        "containers": [{"name": "test", "argv": ["/bin/sh", "-c", script], "env": [["PATH", "/usr/bin:/bin"]],
            "working_dir": null, "mounts": [], "pod_network": true, "utility": false, "host_ids": false,
            "termination_path": "/dev/termination-log", "termination_from_logs": true}],
    });
    std::fs::write(dir.path().join("pod.json"), plan.to_string()).unwrap();
    let out = Command::new(common::HELPER).arg("pod-supervisor").arg(dir.path()).output().unwrap();
    let status = std::fs::read_to_string(dir.path().join("status.json")).unwrap_or_default();
    if status.contains("make PID, IPC and UTS namespaces") || status.contains("make a network namespace") {
        eprintln!("SKIPPED: this machine forbids namespaces to root: {status}");
        return;
    }
    let log = std::fs::read_to_string(dir.path().join("logs/test.log")).unwrap_or_default();
    assert!(out.status.success() && status.contains("\"succeeded\": true"), "{out:?} {status} {log}");
    let lines: Vec<&str> = log.lines().filter_map(|l| l.splitn(4, ' ').nth(3)).collect();
    assert_eq!(lines[..2], ["600000", "CapEff:\t0000000000000000"], "{log}");
    assert!(lines[2].contains("Read-only file system"), "{log}");
    assert_eq!(lines[3..], ["unread", "unmounted", "fine"], "{log}");
}

fn forbidden(status: &str) -> bool {
    status.contains("make a user namespace") || status.contains("map ids in")
}
