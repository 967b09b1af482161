//! Pods as containers of a real Podman and a real Docker: what `pods` shows of processes, and what only containers
//! have.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../common/mod.rs"]
mod common;
mod deaths;
mod nested;
mod sidecars;

use common::engines::{BUSYBOX, SPEAKER, TestEngine, registry};
use common::{container, phase, terminated, until, waiting_reason, with};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};
use prow_kubelet::{LogQuery, Network};
use serde_json::{Value, json};
use std::io::Write;

/// A container of the test image.
fn sh(name: &str, script: &str) -> Value {
    json!({"name": name, "image": BUSYBOX, "command": ["/bin/sh", "-c", script]})
}

async fn a_pod_runs_as_containers_with_its_volumes_environment_and_results(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let described = world.kubelet.as_ref().unwrap().capabilities().describe();
    assert!(described.contains(&format!("containers of {}", engine.title())), "{described}");
    let secrets: Api<Secret> = Api::default_namespaced(world.client.clone());
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"key": "sesame", "other": "x"}});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(world.client.clone());
    let map = json!({"metadata": {"name": "m"}, "data": {"a.ini": "level = 3\n"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();

    let work = json!([{"name": "work", "mountPath": "/w"}]);
    let script = "cat /w/made /etc/s/deep/k /etc/a.ini; stat -c %a /etc/s/deep/k; echo \"$A $B $POD $LIMIT $FROM_key\"; pwd; \
                  touch /etc/s/new 2>/dev/null || echo read-only; echo err >&2; echo last >/dev/termination-log; exit 3";
    let pod = json!({
        "volumes": [
            {"name": "work", "emptyDir": {}},
            {"name": "s", "secret": {"secretName": "s", "items": [{"key": "key", "path": "deep/k", "mode": 0o400}]}},
            {"name": "m", "configMap": {"name": "m"}},
        ],
        "initContainers": [with(sh("first", "echo made >/w/made"), json!({"volumeMounts": work}))],
        "containers": [with(sh("test", script), json!({
            "workingDir": "/w",
            "volumeMounts": [
                {"name": "work", "mountPath": "/w"},
                {"name": "s", "mountPath": "/etc/s"},
                {"name": "m", "mountPath": "/etc/a.ini", "subPath": "a.ini"},
            ],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A)2"},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            ],
            "envFrom": [{"prefix": "FROM_", "secretRef": {"name": "s"}}],
            "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
        }))],
    });
    let done = world.run("p", pod).await;
    assert_eq!(phase(&done), "Failed");
    let ended = terminated(&done, "test");
    assert_eq!(
        (ended.exit_code, ended.reason.as_deref(), ended.message.as_deref()),
        (3, Some("Error"), Some("last\n"))
    );
    assert_eq!(terminated(&done, "first").reason.as_deref(), Some("Completed"));
    let status = container(&done, "test");
    assert!(status.image_id.starts_with("sha256:") || status.image_id.contains('@'), "{}", status.image_id);
    assert!(
        status.container_id.as_deref().unwrap().starts_with(&format!("{}://", engine.scheme())),
        "{status:?}"
    );
    let log = world.log("p", "test").await;
    let mut lines: Vec<&str> = log.lines().collect();
    // The two streams are two pipes: where the one line of the other falls is not said.
    lines.retain(|l| *l != "err");
    assert_eq!(lines, ["made", "sesamelevel = 3", "400", "1 12 p 64 sesame", "/w", "read-only"], "{log}");
    assert!(log.contains("err\n"), "{log}");
    assert_eq!(
        world
            .logs(
                "p",
                LogQuery { tail_lines: Some(1), container: Some("test".into()), ..LogQuery::default() }
            )
            .await
            .lines()
            .count(),
        1
    );
    until("the containers to be removed", || engine.containers(&world).is_empty()).await;
}

async fn names_terminals_and_more_cpu_than_there_is_are_as_the_pod_says(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let pod = json!({
        "hostname": "builder",
        "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["cache.example"]}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["192.0.2.53"], "searches": ["jobs.example"]},
        "containers": [
            with(sh("test", "hostname; echo $HOSTNAME; grep cache.example /etc/hosts; cat /etc/resolv.conf; test -t 1 || echo no terminal"),
                 json!({"resources": {"limits": {"cpu": "500"}}})),
            with(sh("terminal", "test -t 1 && echo a terminal"), json!({"tty": true})),
        ],
    });
    let done = world.run("p", pod).await;
    let log = world.log("p", "test").await;
    assert_eq!(phase(&done), "Succeeded", "{log} {:#?}", done.status);
    assert!(log.starts_with("builder\nbuilder\n192.0.2.7"), "{log}");
    assert!(log.contains("nameserver 192.0.2.53") && log.contains("search jobs.example"), "{log}");
    assert!(log.ends_with("no terminal\n"), "{log}");
    assert_eq!(world.log("p", "terminal").await.trim_end(), "a terminal");
}

async fn an_image_runs_its_own_program_and_arguments_replace_its(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let done = world.run("own", json!({"containers": [{"name": "test", "image": SPEAKER}]})).await;
    assert_eq!(
        (phase(&done), world.log("own", "test").await.as_str()),
        ("Succeeded", "spoken by the image as 0\n")
    );
    let args = json!({"containers": [{"name": "test", "image": SPEAKER, "args": ["/bin/echo", "mine"]}]});
    world.run("args", args).await;
    assert_eq!(world.log("args", "test").await, "mine\n");
    let absent = json!({"containers": [{"name": "test", "image": BUSYBOX, "command": ["/no/such"]}]});
    let done = world.run("absent", absent).await;
    let ended = terminated(&done, "test");
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (128, Some("StartError")));
    assert!(ended.message.as_deref().unwrap().contains("/no/such"), "{ended:?}");
}

async fn images_that_cannot_be_had_are_said_as_a_kubelet_does(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let of =
        |image: &str, more: Value| with(json!({"name": "test", "image": image, "command": ["true"]}), more);
    let cases = [
        ("invalid", of("Not An Image", json!({})), "InvalidImageName", "it is not the name of an image"),
        (
            "never",
            of("localhost/absent:1", json!({"imagePullPolicy": "Never"})),
            "ErrImageNeverPull",
            "not present",
        ),
        ("backoff", of("127.0.0.1:9/absent:1", json!({})), "ImagePullBackOff", "Back-off pulling image"),
        ("bare", json!({"name": "test", "image": BUSYBOX}), "CreateContainerError", "has no command"),
        (
            "root",
            with(sh("test", "true"), json!({"securityContext": {"runAsNonRoot": true}})),
            "CreateContainerConfigError",
            "image will run as root",
        ),
    ];
    for (name, one, reason, says) in cases {
        world.create(name, json!({"containers": [one]})).await;
        let pod = world.wait(name, |p| waiting_reason(p, "test") == reason).await;
        assert_eq!(phase(&pod), "Pending", "{name}");
        let state = container(&pod, "test").state.clone().unwrap();
        let message = state.waiting.unwrap().message.unwrap();
        assert!(message.contains(says), "{name}: {message}");
        world.delete(name, 0).await;
        world.gone(name).await;
    }
    let events = world.events().await;
    assert!(events.iter().any(|(r, m)| r == "Failed" && m.contains("Failed to pull image")), "{events:?}");
}

async fn a_pod_whose_image_never_comes_can_be_deleted(engine: &TestEngine) {
    // It takes every connection, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (asked, was_asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in silent.incoming() {
            kept.push(stream);
            let _ = asked.send(());
        }
    });
    let engine = engine.trusting(port);
    let world = engine.world(|_| {}).await;
    let image = format!("127.0.0.1:{port}/slow:1");
    world.create("p", json!({"containers": [{"name": "test", "image": image}]})).await;
    until("the registry to be asked", || was_asked.try_recv().is_ok()).await;
    world.delete("p", 0).await;
    world.gone("p").await;
}

async fn security_contexts_are_followed(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let show = "id -u; id -g; id -G; stat -c '%g %a' /v; touch /v/x && stat -c %g /v/x; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; \
                touch /y 2>/dev/null || echo root is read-only";
    let pod = json!({
        "securityContext": {"runAsUser": 1000, "fsGroup": 2000, "supplementalGroups": [3000]},
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [with(sh("test", show), json!({
            "securityContext": {"runAsGroup": 1001, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
                                "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }))],
    });
    let done = world.run("p", pod).await;
    let log = world.log("p", "test").await;
    assert_eq!(phase(&done), "Succeeded", "{log}");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..2], ["1000", "1001"], "{log}");
    let groups: Vec<&str> = lines[2].split(' ').collect();
    assert!(groups.contains(&"2000") && groups.contains(&"3000"), "{log}");
    assert_eq!(lines[3..5], ["2000 2777", "2000"], "{log}");
    assert_eq!(lines[5..], ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "root is read-only"], "{log}");

    // Privileged is for those who say so at the start.
    let caps = "grep ^CapEff /proc/self/status";
    let privileged =
        json!({"containers": [with(sh("test", caps), json!({"securityContext": {"privileged": true}}))]});
    world.run("refused", privileged.clone()).await;
    let refused = world.log("refused", "test").await;
    let events = world.events().await;
    assert!(
        events.iter().any(|(r, m)| r == "PrivilegedNotGranted" && m.contains("--allow-privileged")),
        "{events:?}"
    );
    let world = engine.world(|o| o.allow_privileged = true).await;
    world.run("granted", privileged).await;
    assert_ne!(world.log("granted", "test").await, refused);
}

async fn a_container_beyond_its_memory_is_oom_killed(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let limits = &world.kubelet.as_ref().unwrap().capabilities().limits;
    if limits.iter().any(|l| l.contains("limits of CPU and memory are not enforced")) {
        eprintln!("SKIPPED: {limits:?}");
        return;
    }
    let hungry = with(sh("test", "tail /dev/zero"), json!({"resources": {"limits": {"memory": "32Mi"}}}));
    let done = world.run("p", json!({"containers": [hungry]})).await;
    let ended = terminated(&done, "test");
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (137, Some("OOMKilled")), "{ended:?}");
}

async fn a_pods_containers_share_a_network_that_this_machine_is_not_on(engine: &TestEngine) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"the machine\n");
        }
    });
    // The machine as seen from a bridge, if there is one.
    let gateway = "set -- $(ip route list default); nc -w 2 ${3:-127.0.0.1}";
    for network in [Network::Outbound, Network::Isolated, Network::Host] {
        let world = engine.world(|o| o.network = network).await;
        // From a file, which can be read at once: who asks has nothing to say, and nc goes when it hears that first.
        let serve = "echo shared >/tmp/said; nc -l -p 8080 </tmp/said; echo served";
        // Over and over, until the other listens.
        let ask = format!(
            "while ! nc 127.0.0.1 8080 2>/dev/null; do sleep 0.1; done; nc -w 2 127.0.0.1 {port} 2>/dev/null || echo unreachable; \
             [ {network:?} = Host ] || {{ {gateway} {port} 2>/dev/null || echo unreachable by its gateway; }}"
        );
        let done = world.run("p", json!({"containers": [sh("server", serve), sh("client", &ask)]})).await;
        let log = world.log("p", "client").await;
        let want = if network == Network::Host {
            "shared\nthe machine\n"
        } else {
            "shared\nunreachable\nunreachable by its gateway\n"
        };
        assert_eq!(log, want, "{network:?}");
        assert_eq!(phase(&done), "Succeeded", "{network:?}");
    }
}

async fn pods_are_ended_within_their_grace_and_by_their_deadline(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let trap = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    world
        .create("graceful", json!({"terminationGracePeriodSeconds": 50, "containers": [sh("test", trap)]}))
        .await;
    let follow = LogQuery { follow: true, ..LogQuery::default() };
    world.wait("graceful", |p| phase(p) == "Running").await;
    let log = world.logs("graceful", follow);
    let end = async {
        until("the job to listen", || {
            let uids = std::fs::read_dir(world.dir.join("kubelet/pods")).unwrap();
            let log = |d: std::fs::DirEntry| std::fs::read_to_string(d.path().join("logs/test.log"));
            uids.flatten().any(|d| log(d).is_ok_and(|t| t.contains("up")))
        })
        .await;
        world.delete("graceful", 50).await;
    };
    let (log, ()) = tokio::join!(log, end);
    assert_eq!(log, "up\nbye\n");
    world.gone("graceful").await;

    let stubborn = "trap '' TERM; while :; do sleep 0.05; done";
    let spec = json!({"activeDeadlineSeconds": 4, "terminationGracePeriodSeconds": 1, "containers": [sh("test", stubborn)]});
    let done = world.run("late", spec).await;
    assert_eq!(done.status.as_ref().unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    // On a machine that is busy enough it may never have started.
    if container(&done, "test").state.as_ref().is_some_and(|s| s.waiting.is_none()) {
        assert_eq!(terminated(&done, "test").exit_code, 137);
    }
    until("the containers to be removed", || engine.containers(&world).is_empty()).await;
}

async fn a_subpath_that_a_job_made_a_link_leads_nowhere(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let plant = "ln -s /etc /v/link; mkdir /v/plain; echo here >/v/plain/f";
    let plant = with(sh("plant", plant), json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}));
    let at = |name: &str, sub: &str, script: &str| {
        let mount = json!({"name": "v", "mountPath": "/in", "subPath": sub});
        with(sh(name, script), json!({"volumeMounts": [mount]}))
    };
    let pod = |name: &'static str, containers: Value| {
        let spec = json!({"volumes": [{"name": "v", "emptyDir": {}}], "initContainers": [plant], "containers": containers});
        world.run(name, spec)
    };
    pod("good", json!([at("test", "plain", "cat /in/f")])).await;
    assert_eq!(world.log("good", "test").await, "here\n");
    let new = pod("new", json!([at("test", "a/b", "ls /in; echo made >/in/g")])).await;
    assert_eq!(terminated(&new, "test").exit_code, 0);
    let bad = pod("bad", json!([at("test", "link", "ls /in")])).await;
    let ended = terminated(&bad, "test");
    assert_eq!(ended.reason.as_deref(), Some("StartError"), "{ended:?}");
    assert!(ended.message.as_deref().unwrap().contains("subPath"), "{ended:?}");

    // Where another container could do so while this one is made, there is none.
    let writer = with(sh("writer", "true"), json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}));
    let spec = json!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [at("test", "plain", "true"), writer]});
    world.create("race", spec).await;
    let race = world.wait("race", |p| waiting_reason(p, "test") == "CreateContainerConfigError").await;
    let message = container(&race, "test").state.clone().unwrap().waiting.unwrap().message.unwrap();
    assert!(message.contains("container writer can write to that volume"), "{message}");
}

async fn pod_utilities_are_our_executable_in_an_image_of_our_own(engine: &TestEngine) {
    let world = engine.world(|o| o.entrypoint = Some(common::HELPER.into())).await;
    let shared = world.shared();
    let pod = json!({
        "volumes": [{"name": "out", "hostPath": {"path": shared}}],
        "initContainers": [
            {"name": "clonerefs", "image": "gcr.io/k8s-prow/clonerefs:v20260101-abc", "args": ["--x"]},
        ],
        "containers": [{"name": "sidecar", "image": "registry.example/sidecar@sha256:0",
                        "volumeMounts": [{"name": "out", "mountPath": "/output"}]}],
    });
    let done = world.run("p", pod).await;
    assert_eq!(phase(&done), "Succeeded");
    assert_eq!(world.log("p", "clonerefs").await, "utility clonerefs --x\n");
    assert_eq!(world.log("p", "sidecar").await, "utility sidecar \n");
    // Under the name of the static one it is called with its arguments alone.
    let place = json!({"containers": [
        {"name": "place-entrypoint", "image": "gcr.io/k8s-prow/entrypoint:v1", "args": ["--copy-mode-only"]},
    ]});
    world.run("place", place.clone()).await;
    let log = world.log("place", "place-entrypoint").await;
    assert!(log.contains("no such subcommand: Some(\"--copy-mode-only\")"), "{log}");

    let without = engine.world(|_| {}).await;
    without.create("p", place).await;
    let pod =
        without.wait("p", |p| waiting_reason(p, "place-entrypoint") == "CreateContainerConfigError").await;
    let message =
        container(&pod, "place-entrypoint").state.clone().unwrap().waiting.unwrap().message.unwrap();
    assert!(message.contains("statically linked"), "{message}");
}

async fn an_image_is_pulled_from_a_private_registry_with_the_pods_secret(engine: &TestEngine) {
    let port = registry();
    let engine = engine.trusting(port);
    let world = engine.world(|_| {}).await;
    let image = format!("127.0.0.1:{port}/private/speaker:v1");
    let pod = |secrets: Value| json!({"imagePullSecrets": secrets, "containers": [{"name": "test", "image": image, "imagePullPolicy": "Always"}]});
    world.create("without", pod(json!([]))).await;
    world.wait("without", |p| waiting_reason(p, "test") == "ImagePullBackOff").await;
    world.delete("without", 0).await;
    world.gone("without").await;

    let config = json!({"auths": {format!("127.0.0.1:{port}"): {"username": "robot", "password": "sesame"}}});
    let secret = json!({"metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config.to_string()}});
    let secrets: Api<Secret> = Api::default_namespaced(world.client.clone());
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let done = world.run("with", pod(json!([{"name": "missing"}, {"name": "pull"}]))).await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    assert_eq!(world.log("with", "test").await, "spoken by the image as 0\n");
    assert!(
        container(&done, "test").image_id.contains("/private/speaker@sha256:"),
        "{:?}",
        container(&done, "test")
    );
    let events = world.events().await;
    assert!(events.iter().any(|(r, m)| r == "Pulled" && m.contains("Successfully pulled")), "{events:?}");
    assert!(!format!("{events:?}").contains("sesame"), "{events:?}");
    engine.says(&["rmi", "-f", &image]);
}

on_every_engine!(
    a_pod_whose_image_never_comes_can_be_deleted,
    names_terminals_and_more_cpu_than_there_is_are_as_the_pod_says,
    a_pod_runs_as_containers_with_its_volumes_environment_and_results,
    an_image_runs_its_own_program_and_arguments_replace_its,
    images_that_cannot_be_had_are_said_as_a_kubelet_does,
    security_contexts_are_followed,
    a_container_beyond_its_memory_is_oom_killed,
    a_pods_containers_share_a_network_that_this_machine_is_not_on,
    pods_are_ended_within_their_grace_and_by_their_deadline,
    a_subpath_that_a_job_made_a_link_leads_nowhere,
    pod_utilities_are_our_executable_in_an_image_of_our_own,
    an_image_is_pulled_from_a_private_registry_with_the_pods_secret,
);
