//! kube-rs' own machinery, unmodified: watcher, reflector, Controller, typed server-side apply.
// A case is a test: a failed unwrap is a failed case.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, WatchStreamExt, reflector, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::cases;
use crate::Case;
use crate::world::World;

pub const CASES: &[Case] = cases! {
    "kube-rs' watcher and reflector mirror a namespace" => mirror,
    "kube-rs' Controller reconciles" => controller,
    "kube-rs applies" => applies,
};

fn maps(w: &World) -> Api<ConfigMap> {
    Api::namespaced(w.server.admin.clone(), &w.namespace)
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"ours": "yes"}}, "data": {"n": "0"}}))
        .unwrap()
}

async fn mirror(w: World) {
    let maps = maps(&w);
    for i in 0..20 {
        maps.create(&PostParams::default(), &map(&format!("m{i:02}"))).await.unwrap();
    }
    // Small pages, so that lists continue.
    let paged = watcher::Config::default().labels("ours").page_size(7);
    for (round, config) in
        [paged, watcher::Config::default().labels("ours").streaming_lists()].into_iter().enumerate()
    {
        let (store, writer) = reflector::store();
        let mut touched =
            watcher(maps.clone(), config).default_backoff().reflect(writer).applied_objects().boxed();
        for _ in 0..20 {
            touched.next().await.unwrap().unwrap();
        }
        let patch = Patch::Merge(json!({"data": {"n": format!("changed {round}")}}));
        maps.patch("m07", &PatchParams::default(), &patch).await.unwrap();
        while touched.next().await.unwrap().unwrap().name_any() != "m07" {}
        assert_eq!(store.state().len(), 20);
        let seen = store.find(|m| m.name_any() == "m07").unwrap();
        assert_eq!(seen.data.as_ref().unwrap()["n"], format!("changed {round}"));
    }
}

async fn controller(w: World) {
    let maps = maps(&w);
    for i in 0..5 {
        maps.create(&PostParams::default(), &map(&format!("m{i}"))).await.unwrap();
    }
    let reconcile = |map: Arc<ConfigMap>, maps: Arc<Api<ConfigMap>>| async move {
        if map.annotations().contains_key("example.com/done") {
            return Ok(Action::await_change());
        }
        let patch = json!({"metadata": {"annotations": {"example.com/done": "yes"}}});
        maps.patch(&map.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok::<_, kube::Error>(Action::await_change())
    };
    let config = watcher::Config::default().labels("ours");
    let run = Controller::new(maps.clone(), config)
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(maps.clone()))
        .for_each(|_| std::future::ready(()));
    let task = tokio::spawn(run);
    let mut watch =
        watcher(maps.clone(), watcher::Config::default().labels("ours")).applied_objects().boxed();
    let mut done = std::collections::BTreeSet::new();
    while done.len() < 5 {
        let map = watch.next().await.unwrap().unwrap();
        if map.annotations().contains_key("example.com/done") {
            done.insert(map.name_any());
        }
    }
    task.abort();
}

async fn applies(w: World) {
    let maps = maps(&w);
    let mut config = map("m");
    config.metadata.managed_fields = None;
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"n": "1"}});
    let made = maps.patch("m", &PatchParams::apply("ours"), &Patch::Apply(&body)).await.unwrap();
    assert_eq!(made.managed_fields()[0].manager.as_deref(), Some("ours"));
    let other =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"n": "2"}});
    match maps.patch("m", &PatchParams::apply("theirs"), &Patch::Apply(&other)).await {
        Err(kube::Error::Api(status)) => assert_eq!((status.code, status.reason.as_str()), (409, "Conflict")),
        other => panic!("{other:?}"),
    }
    let forced = maps.patch("m", &PatchParams::apply("theirs").force(), &Patch::Apply(&other)).await.unwrap();
    assert_eq!(forced.data.unwrap()["n"], "2");
}
