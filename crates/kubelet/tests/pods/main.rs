//! Pods from creation to their end, through the API, in the sandbox and without it.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../common/mod.rs"]
mod common;

use common::{World, container, phase, pod, sh, terminated, until, waiting_reason, with};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::PostParams;
use prow_kubelet::{LogQuery, SandboxMode};
use serde_json::json;

/// Runs the same story in both modes.
macro_rules! both_modes {
    ($name:ident, $story:ident) => {
        mod $name {
            use super::*;
            #[tokio::test]
            async fn sandboxed() {
                if let Some(world) = World::sandboxed().await {
                    $story(world).await;
                }
            }
            #[tokio::test]
            async fn unsandboxed() {
                $story(World::new(SandboxMode::Off, |_| {}).await).await;
            }
        }
    };
}

mod sidecars;

both_modes!(init_containers_run_in_order_and_containers_side_by_side, order);
async fn order(world: World) {
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/data"}]});
    // Each of the two waits for the other: one after the other they would never end.
    let meet = |own: &str, other: &str| {
        format!(
            "cat /data/order; touch /data/{own}; while [ ! -e /data/{other} ]; do sleep 0.01; done; echo met"
        )
    };
    let done = world
        .run(
            "p",
            json!({
                "volumes": [{"name": "v", "emptyDir": {}}],
                "initContainers": [
                    with(sh("one", "echo 1 >> /data/order"), mounts.clone()),
                    with(sh("two", "echo 2 >> /data/order"), mounts.clone()),
                ],
                "containers": [
                    with(sh("a", &meet("a", "b")), mounts.clone()),
                    with(sh("b", &meet("b", "a")), mounts),
                ],
            }),
        )
        .await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    assert_eq!(world.log("p", "a").await, "1\n2\nmet\n");
    assert_eq!(world.log("p", "b").await, "1\n2\nmet\n");
    for name in ["one", "two", "a", "b"] {
        let end = terminated(&done, name);
        assert_eq!((end.exit_code, end.reason.as_deref()), (0, Some("Completed")), "{name}");
        assert!(end.finished_at.is_some() && end.started_at.is_some());
    }
    let status = done.status.unwrap();
    assert_eq!(status.pod_ip.as_deref(), Some("127.0.0.1"));
    assert!(status.start_time.is_some());
    let truth =
        |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind).unwrap().status.clone();
    assert_eq!([truth("PodScheduled"), truth("Initialized"), truth("Ready")], ["True", "True", "False"]);
}

both_modes!(exit_codes_signals_and_messages_are_reported, exits);
async fn exits(world: World) {
    let from_logs = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let done = world
        .run(
            "p",
            json!({"containers": [
                sh("three", "exit 3"),
                sh("killed", "kill -9 $$$$"),
                sh("message", "echo because > /dev/termination-log; exit 1"),
                with(sh("fallback", "echo last words; exit 1"), from_logs),
                json!({"name": "missing", "image": "x", "command": ["/no/such/program"]}),
                sh("fine", "exit 0"),
            ]}),
        )
        .await;
    assert_eq!(phase(&done), "Failed");
    assert_eq!(done.status.as_ref().unwrap().reason, None);
    let end = |name: &str| {
        let t = terminated(&done, name);
        (t.exit_code, t.reason.clone().unwrap(), t.message.clone().unwrap_or_default())
    };
    let text = |a: i32, b: &str, c: &str| (a, b.to_owned(), c.to_owned());
    assert_eq!(end("three"), text(3, "Error", ""));
    assert_eq!(end("killed"), text(137, "Error", ""));
    assert_eq!(end("message"), text(1, "Error", "because\n"));
    assert_eq!(end("fallback"), text(1, "Error", "last words\n"));
    assert_eq!(end("fine"), text(0, "Completed", ""));
    let (code, reason, message) = end("missing");
    assert_eq!((code, reason.as_str()), (128, "StartError"));
    assert!(message.contains("/no/such/program") && message.contains("No such file"), "{message}");
}

both_modes!(a_failing_init_container_stops_the_pod, init_fails);
async fn init_fails(world: World) {
    let done = world
        .run(
            "p",
            json!({
                "initContainers": [sh("bad", "exit 7"), sh("next", "true")],
                "containers": [sh("test", "true")],
            }),
        )
        .await;
    assert_eq!(phase(&done), "Failed");
    assert_eq!(terminated(&done, "bad").exit_code, 7);
    assert_eq!(waiting_reason(&done, "test"), "PodInitializing");
    assert!(container(&done, "next").state.as_ref().unwrap().waiting.is_some());
}

both_modes!(the_environment_is_what_the_pod_says_and_nothing_else, environment);
async fn environment(world: World) {
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "stringData": {"token": "t0p"}})).unwrap();
    Api::<Secret>::default_namespaced(world.client.clone())
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "c"}, "data": {"A": "a", "B": "b"}})).unwrap();
    Api::<ConfigMap>::default_namespaced(world.client.clone())
        .create(&PostParams::default(), &map)
        .await
        .unwrap();
    let mut p = pod(
        "p",
        json!({"containers": [{
            "name": "test", "image": "x",
            "command": ["/bin/sh", "-c", "echo '$(GREETING)' $0; env | sort"],
            "args": ["$(NAME)"],
            "envFrom": [{"configMapRef": {"name": "c"}, "prefix": "MAP_"}],
            "env": [
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "GREETING", "value": "hello-$(NAME)-$(MAP_A)-$(NOPE)-$$(NAME)"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
                {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": true}}},
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['prow.k8s.io/job']"}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
                {"name": "MAP_B", "value": "mine"},
            ],
            "resources": {"requests": {"memory": "3Mi"}},
        }]}),
    );
    p.metadata.labels = Some([("prow.k8s.io/job".to_owned(), "unit".to_owned())].into());
    world.pods().create(&PostParams::default(), &p).await.unwrap();
    let done = world.ended("p").await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    let log = world.log("p", "test").await;
    let mut lines: Vec<&str> = log.lines().collect();
    // The shell sets these itself, HOME and TMPDIR differ between the modes.
    lines.retain(|l| {
        !["PWD=", "SHLVL=", "_=", "OLDPWD=", "HOME=", "TMPDIR="].iter().any(|p| l.starts_with(p))
    });
    assert_eq!(
        lines,
        [
            "hello-p-a-$(NOPE)-$(NAME) p",
            "GREETING=hello-p-a-$(NOPE)-$(NAME)",
            "HOSTNAME=p",
            "LABEL=unit",
            "MAP_A=a",
            "MAP_B=mine",
            "MEM=3",
            "NAME=p",
            "NODE=here",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "TOKEN=t0p",
        ]
    );
}

both_modes!(a_missing_secret_is_waited_for, missing_secret);
async fn missing_secret(world: World) {
    world
        .create(
            "p",
            json!({
                "volumes": [{"name": "keys", "secret": {"secretName": "s", "defaultMode": 0o400}}],
                "containers": [with(
                    sh("test", "cat /keys/token; stat -Lc %a /keys/token"),
                    json!({"volumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": true}]}),
                )],
            }),
        )
        .await;
    let waits = world.wait("p", |p| waiting_reason(p, "test") == "ContainerCreating").await;
    assert_eq!(phase(&waits), "Pending");
    assert!(waits.status.unwrap().start_time.is_some());
    let events = world.events().await;
    assert!(events.iter().any(|(r, m)| r == "FailedMount" && m.contains("\"s\" not found")), "{events:?}");
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "stringData": {"token": "t0p\n"}})).unwrap();
    Api::<Secret>::default_namespaced(world.client.clone())
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    assert_eq!(phase(&world.ended("p").await), "Succeeded");
    assert_eq!(world.log("p", "test").await, "t0p\n400\n");
}

both_modes!(what_cannot_be_run_waits_and_says_why, refusals);
async fn refusals(world: World) {
    world.create("image", json!({"containers": [{"name": "test", "image": "golang:1"}]})).await;
    let waits = world.wait("image", |p| waiting_reason(p, "test") == "ErrImagePull").await;
    let message =
        container(&waits, "test").state.as_ref().unwrap().waiting.as_ref().unwrap().message.clone().unwrap();
    assert!(message.contains("needs a command") && message.contains("golang:1"), "{message}");

    let key = json!({"env": [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k"}}}]});
    world.create("env", json!({"containers": [with(sh("test", "true"), key)]})).await;
    world.wait("env", |p| waiting_reason(p, "test") == "CreateContainerConfigError").await;

    world
        .create(
            "host",
            json!({"volumes": [{"name": "h", "hostPath": {"path": "/var"}}], "containers": [sh("test", "true")]}),
        )
        .await;
    world.wait("host", |p| waiting_reason(p, "test") == "ContainerCreating").await;
    let events = world.events().await;
    assert!(events.iter().any(|(_, m)| m.contains("hostPath /var is not below a directory")), "{events:?}");
    for name in ["image", "env", "host"] {
        world.delete(name, 0).await;
        world.gone(name).await;
    }
}

both_modes!(what_ignores_sigterm_is_killed_with_all_its_children, delete);
async fn delete(world: World) {
    let mark = format!("prow-test-{}-{:?}", std::process::id(), world.sandbox);
    // A stubborn tree: the job, a child, and a grandchild that has left the session.
    let script = format!(
        "trap '' TERM; sh -c ': {mark}; trap \"\" TERM; setsid sh -c \": {mark}; while :; do sleep 1; done\" & while :; do sleep 1; done' & echo up; while :; do sleep 1; done"
    );
    world.create("p", json!({"containers": [sh("test", &script)]})).await;
    until("the tree to stand", || common::processes(&mark).len() >= 3).await;
    world.wait("p", |p| phase(p) == "Running").await;
    world.delete("p", 1).await;
    world.gone("p").await;
    assert_eq!(common::processes(&mark), Vec::<i32>::new());
    let pods = world.dir.join("kubelet/pods");
    until("the Pod's directory to go", || std::fs::read_dir(&pods).unwrap().next().is_none()).await;
}

both_modes!(a_job_may_end_well_within_its_grace, graceful);
async fn graceful(world: World) {
    let trap = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done";
    world.create("p", json!({"terminationGracePeriodSeconds": 50, "containers": [sh("test", trap)]})).await;
    let follow = LogQuery { follow: true, ..LogQuery::default() };
    world.wait("p", |p| phase(p) == "Running").await;
    let log = world.logs("p", follow);
    let end = async {
        until("the job to listen", || {
            let uids = std::fs::read_dir(world.dir.join("kubelet/pods")).unwrap();
            uids.flatten().any(|d| {
                std::fs::read_to_string(d.path().join("logs/test.log")).is_ok_and(|t| t.contains("up"))
            })
        })
        .await;
        world.delete("p", 50).await;
    };
    let (log, ()) = tokio::join!(log, end);
    assert_eq!(log, "up\nbye\n");
    world.gone("p").await;
}

both_modes!(a_job_starts_with_no_signal_blocked, unblocked);
async fn unblocked(world: World) {
    // Not by a shell: some clear the mask for themselves.
    let job = json!({"name": "test", "image": "i", "command": ["grep", "^SigBlk", "/proc/self/status"]});
    let done = world.run("p", json!({"containers": [job]})).await;
    assert_eq!(phase(&done), "Succeeded");
    assert_eq!(world.logs("p", LogQuery::default()).await, "SigBlk:\t0000000000000000\n");
}

both_modes!(a_pod_past_its_deadline_is_ended, deadline);
async fn deadline(world: World) {
    let done = world
        .run(
            "p",
            json!({"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1, "containers": [sh("test", "sleep 1000")]}),
        )
        .await;
    assert_eq!(phase(&done), "Failed");
    assert_eq!(done.status.as_ref().unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(terminated(&done, "test").exit_code, 143);
}

both_modes!(pod_utilities_are_our_own_executable, utilities);
async fn utilities(world: World) {
    let shared = world.shared();
    let mounts =
        json!({"volumeMounts": [{"name": "out", "mountPath": "/output"}, {"name": "v", "mountPath": "/v"}]});
    let done = world
        .run(
            "p",
            json!({
                "volumes": [{"name": "out", "hostPath": {"path": shared, "type": "Directory"}}, {"name": "v", "emptyDir": {}}],
                "initContainers": [
                    {"name": "clonerefs", "image": "gcr.io/k8s-prow/clonerefs:v1@sha256:00", "args": ["--to=/v/x"],
                     "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
                ],
                "containers": [
                    sh("test", "true"),
                    with(json!({"name": "sidecar", "image": "sidecar"}), mounts),
                ],
            }),
        )
        .await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    let cloned = world.log("p", "clonerefs").await;
    assert!(cloned.starts_with("utility clonerefs --to=") && cloned.ends_with("/v/x\n"), "{cloned}");
    assert_eq!(world.log("p", "sidecar").await, "utility sidecar \n");
}

both_modes!(a_job_may_name_its_own_output, output);
async fn output(world: World) {
    let script =
        "umask; echo one > /dev/stdout; echo two > /dev/stderr; echo three | tee /dev/stderr >/dev/null";
    let done = world.run("p", json!({"containers": [sh("test", script)]})).await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    assert_eq!(world.log("p", "test").await, "0022\none\ntwo\nthree\n");
}

both_modes!(an_ended_pod_keeps_its_logs_and_nothing_else, discarded);
async fn discarded(world: World) {
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    // A directory closed to its owner, as Go's module cache has them.
    let script = "mkdir -p /v/mod/x && touch /v/mod/x/y && chmod 555 /v/mod/x /v/mod && echo done";
    let spec =
        json!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [with(sh("test", script), mounts)]});
    let done = world.run("p", spec).await;
    let dir = world.dir.join("kubelet/pods").join(done.metadata.uid.unwrap());
    until("volumes, scratch space and plan to go", || {
        ["volumes", "containers", "pod.json"].iter().all(|n| !dir.join(n).exists())
    })
    .await;
    assert_eq!(world.log("p", "test").await, "done\n");
    world.delete("p", 0).await;
    world.gone("p").await;
    until("the directory to go", || !dir.exists()).await;
}

/// Mounts of memory below a directory, as any process of this machine sees them.
fn memory_mounts(dir: &std::path::Path) -> Vec<String> {
    let mark = format!("{}/kubelet/pods/", dir.display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.path().join("mountinfo"));
    let texts = processes.filter_map(|p| std::fs::read_to_string(p).ok());
    let lines = texts.flat_map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|l| l.contains(&mark) && l.contains("/volumes/") && l.contains(" - tmpfs ")).collect()
}

both_modes!(an_empty_dir_may_be_in_memory, memory);
async fn memory(world: World) {
    if world.sandbox == SandboxMode::Off && !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: without a sandbox only root can mount");
        return;
    }
    let mounts =
        json!({"volumeMounts": [{"name": "m", "mountPath": "/m"}, {"name": "h", "mountPath": "/h"}]});
    let test = "cat /m/a; stat -f -c %T /m; stat -c %a /m; head -c 3000000 /dev/zero > /m/big 2>/dev/null || echo full; \
                rm /m/big; touch /m/seen /h/up; while [ ! -e /h/go ]; do sleep 0.01; done";
    let other = "while [ ! -e /m/seen ]; do sleep 0.01; done; cat /m/a";
    world
        .create(
            "p",
            json!({
                "volumes": [
                    {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                    {"name": "h", "hostPath": {"path": world.shared()}},
                ],
                "initContainers": [with(sh("first", "echo made > /m/a"), mounts.clone())],
                "containers": [with(sh("test", test), mounts.clone()), with(sh("other", other), mounts)],
            }),
        )
        .await;
    let up = world.shared().join("up");
    until("the job to be up", || up.exists()).await;
    assert!(!memory_mounts(&world.dir).is_empty(), "nothing is in memory");
    let ours = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!ours.contains(world.dir.to_str().unwrap()), "the machine sees it: {ours}");
    std::fs::write(world.shared().join("go"), "").unwrap();
    let done = world.ended("p").await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    assert_eq!(world.log("p", "test").await, "made\ntmpfs\n777\nfull\n");
    assert_eq!(world.log("p", "other").await, "made\n");
    until("the memory to be given back", || memory_mounts(&world.dir).is_empty()).await;
    assert!(!world.events().await.iter().any(|(_, m)| m.contains("directory on disk")));
}

both_modes!(memory_goes_with_a_killed_supervisor, memory_killed);
async fn memory_killed(world: World) {
    if world.sandbox == SandboxMode::Off && !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: without a sandbox only root can mount");
        return;
    }
    let mounts = json!({"volumeMounts": [{"name": "m", "mountPath": "/m"}]});
    let spec = json!({
        "volumes": [{"name": "m", "emptyDir": {"medium": "Memory"}}],
        "containers": [with(sh("test", "echo held > /m/a; while :; do sleep 0.1; done"), mounts)],
    });
    world.create("p", spec).await;
    world.wait("p", |p| phase(p) == "Running").await;
    assert!(!memory_mounts(&world.dir).is_empty(), "nothing is in memory");
    for pid in common::processes(&format!("pod-supervisor\0{}", world.dir.display())) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    assert_eq!(world.ended("p").await.status.unwrap().reason.as_deref(), Some("Evicted"));
    until("the memory to be given back", || memory_mounts(&world.dir).is_empty()).await;
}

both_modes!(a_volume_beyond_its_size_limit_evicts_its_pod, size_limit);
async fn size_limit(world: World) {
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let script = "trap '' TERM; mkdir -p /v/deep; head -c 3000000 /dev/zero > /v/deep/big; while :; do sleep 0.1; done";
    let spec = json!({
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
        "containers": [with(sh("test", script), mounts)],
    });
    let done = world.run("p", spec).await;
    let status = done.status.as_ref().unwrap();
    assert_eq!((phase(&done), status.reason.as_deref()), ("Failed", Some("Evicted")));
    assert_eq!(status.message.as_deref(), Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "));
    assert_eq!(terminated(&done, "test").exit_code, 137);
}
