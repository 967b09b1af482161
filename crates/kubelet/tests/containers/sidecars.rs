//! Sidecars as containers: made again under the same name, and ended in reverse order after the others.

use super::common::engines::TestEngine;
use super::common::{container, phase, terminated, until, with};
use super::sh;
use prow_kubelet::LogQuery;
use serde_json::json;

async fn sidecars_are_started_again_and_ended_after_the_others(engine: &TestEngine) {
    let world = engine.world(|_| {}).await;
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let always = with(json!({"restartPolicy": "Always"}), mounts.clone());
    let serve = |name: &str| {
        format!("trap 'echo {name} >>/v/order; exit 3' TERM; touch /v/{name}; while :; do sleep 0.05; done")
    };
    let unsteady = "if [ ! -e /v/once ]; then echo first; touch /v/once; exit 1; fi; echo again; touch /v/again; \
                    while [ ! -e /v/over ]; do sleep 0.05; done";
    let test = "for f in one two again; do while [ ! -e /v/$f ]; do sleep 0.05; done; done; echo main >>/v/order; touch /v/over";
    let spec = json!({
        "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}, {"name": "h", "hostPath": {"path": world.shared()}}],
        "initContainers": [
            with(sh("one", &serve("one").replace("exit 3", "cp /v/order /h/order; exit 3")), json!({
                "restartPolicy": "Always",
                "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "h", "mountPath": "/h"}],
            })),
            with(sh("between", "while [ ! -e /v/one ]; do sleep 0.05; done"), mounts.clone()),
            with(sh("two", &serve("two")), always.clone()),
            with(sh("unsteady", unsteady), always),
        ],
        "containers": [with(sh("test", test), mounts)],
    });
    let done = world.run("p", spec).await;
    assert_eq!(phase(&done), "Succeeded", "{:#?}", done.status);
    assert_eq!(std::fs::read_to_string(world.shared().join("order")).unwrap(), "main\ntwo\none\n");
    assert_eq!((terminated(&done, "one").exit_code, terminated(&done, "two").exit_code), (3, 3));
    let unsteady = container(&done, "unsteady");
    assert!(unsteady.restart_count >= 1, "{unsteady:?}");
    let previous = LogQuery { container: Some("unsteady".to_owned()), previous: true, ..LogQuery::default() };
    if unsteady.restart_count == 1 {
        assert_eq!(world.logs("p", previous).await, "first\n");
    }
    until("the containers to be removed", || engine.containers(&world).is_empty()).await;
}

crate::on_every_engine!(sidecars_are_started_again_and_ended_after_the_others);
