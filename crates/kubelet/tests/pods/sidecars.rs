//! Sidecars: when they start, that they are started again, and how they end.

use super::common::{World, container, phase, sh, terminated, waiting_reason, with};
use prow_kubelet::{LogQuery, SandboxMode};
use serde_json::json;

both_modes!(sidecars_run_beside_the_others_and_end_after_them, sidecars);
async fn sidecars(world: World) {
    let mounts = json!({"restartPolicy": "Always", "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let plain = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let serve = |name: &str, last: &str| {
        format!(
            "trap 'echo {name} >> /v/order; {last}; exit 3' TERM; touch /v/{name}; while :; do sleep 0.01; done"
        )
    };
    let unsteady = "if [ ! -e /v/once ]; then echo first; touch /v/once; exit 1; fi; echo again; \
                    trap 'exit 0' TERM; touch /v/again; while :; do sleep 0.01; done";
    let patient = |files: &str| {
        format!("for f in {files}; do while [ ! -e /v/$f ]; do sleep 0.01; done; done; echo main >> /v/order")
    };
    world
        .create(
            "p",
            json!({
                "volumes": [{"name": "v", "emptyDir": {}}],
                "initContainers": [
                    with(sh("one", &serve("one", "cat /v/order")), mounts.clone()),
                    with(sh("between", "while [ ! -e /v/one ]; do sleep 0.01; done"), plain.clone()),
                    with(sh("two", &serve("two", "true")), mounts.clone()),
                    with(sh("unsteady", unsteady), mounts),
                ],
                "containers": [with(sh("test", &patient("one two again")), plain)],
            }),
        )
        .await;
    let done = world.ended("p").await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    assert_eq!(world.log("p", "one").await, "main\ntwo\none\n");
    assert_eq!((terminated(&done, "one").exit_code, terminated(&done, "two").exit_code), (3, 3));
    let unsteady = container(&done, "unsteady");
    assert_eq!((unsteady.restart_count, terminated(&done, "unsteady").exit_code), (1, 0));
    let last = unsteady.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    assert_eq!(world.log("p", "unsteady").await, "again\n");
    let query =
        |name: &str| LogQuery { container: Some(name.to_owned()), previous: true, ..LogQuery::default() };
    assert_eq!(world.logs("p", query("unsteady")).await, "first\n");
    let Err(none) = world.kubelet.as_ref().unwrap().logs("default", "p", &query("test")).await else {
        panic!("a log of a time that was not");
    };
    assert_eq!(none.to_string(), "previous terminated container \"test\" in pod \"p\" not found");
}

both_modes!(sidecars_are_ended_with_a_pod_that_fails_or_is_deleted, sidecars_end);
async fn sidecars_end(world: World) {
    let always = json!({"restartPolicy": "Always"});
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let stubborn = "trap '' TERM; while :; do sleep 0.01; done";
    let done = world
        .run(
            "fails",
            json!({
                "terminationGracePeriodSeconds": 1,
                "volumes": [{"name": "v", "emptyDir": {}}],
                // Not before the other has stopped its ears.
                "initContainers": [
                    with(sh("side", "trap '' TERM; touch /v/deaf; while :; do sleep 0.01; done"), with(always.clone(), mounts.clone())),
                    with(sh("bad", "while [ ! -e /v/deaf ]; do sleep 0.01; done; exit 7"), mounts),
                ],
                "containers": [sh("test", "true")],
            }),
        )
        .await;
    assert_eq!((phase(&done), terminated(&done, "bad").exit_code), ("Failed", 7));
    assert_eq!(terminated(&done, "side").exit_code, 137);
    assert_eq!(waiting_reason(&done, "test"), "PodInitializing");
    let spec = json!({
        "initContainers": [with(sh("side", stubborn), always)],
        "containers": [sh("test", "while :; do sleep 0.1; done")],
    });
    world.create("deleted", spec).await;
    let runs = world.wait("deleted", |p| phase(p) == "Running").await;
    let side = container(&runs, "side");
    assert_eq!((side.ready, side.started), (true, Some(true)));
    world.delete("deleted", 1).await;
    world.gone("deleted").await;
}

both_modes!(a_pod_whose_sidecar_never_starts_ends_when_it_is_told_to, never_starts);
async fn never_starts(world: World) {
    let absent = json!({"name": "side", "image": "x", "command": ["/no/such"], "restartPolicy": "Always"});
    let spec = json!({"initContainers": [absent], "containers": [sh("test", "true")]});
    world.create("deleted", spec.clone()).await;
    let waits = world.wait("deleted", |p| waiting_reason(p, "side") == "CrashLoopBackOff").await;
    assert_eq!((phase(&waits), waiting_reason(&waits, "test").as_str()), ("Pending", "PodInitializing"));
    let last = container(&waits, "side").last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (128, Some("StartError")));
    // Far less than the pause that it is in by then.
    world.delete("deleted", 1).await;
    world.gone("deleted").await;

    let done = world.run("late", with(spec, json!({"activeDeadlineSeconds": 3}))).await;
    assert_eq!(done.status.as_ref().unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    let side = container(&done, "side").state.clone().unwrap();
    // On a machine that is busy enough it may never have come to that.
    assert!(side.waiting.is_some() || terminated(&done, "side").exit_code == 128, "{side:?}");
    assert_eq!(waiting_reason(&done, "test"), "PodInitializing");
}
