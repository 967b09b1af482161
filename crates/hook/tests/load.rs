//! Many webhooks at once: all are answered, each is handled, and nothing is lost when the hook ends in between.
#![allow(clippy::unwrap_used)]

mod world;

use futures::stream::{self, StreamExt};
use http::StatusCode;
use std::time::Instant;
use world::World;

const EVENTS: usize = 600;
const CONNECTIONS: usize = 64;

fn push(n: usize) -> String {
    serde_json::json!({
        "ref": "refs/heads/main", "after": format!("{n:040x}"), "compare": "https://h/compare",
        "repository": {"name": "rocket", "full_name": "acme/rocket", "owner": {"name": "acme", "login": "acme"}},
        "commits": [{"message": "x".repeat(6000), "added": ["a"]}],
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_kept_and_each_event_starts_its_job_once() {
    let world = World::new().await;
    let http = reqwest::Client::new();
    let begun = Instant::now();
    let answers: Vec<StatusCode> = stream::iter(1..=EVENTS)
        .map(|n| {
            let (world, http) = (&world, &http);
            async move { world.post_with(http, "push", &format!("guid-{n}"), push(n).as_bytes()).await }
        })
        .buffer_unordered(CONNECTIONS)
        .collect()
        .await;
    let took = begun.elapsed();
    assert!(answers.iter().all(|status| *status == StatusCode::OK));
    assert_eq!(world.hook.stats().open, EVENTS as u64);
    println!("{EVENTS} webhooks of 6 KB kept in {took:?} ({:.0}/s)", EVENTS as f64 / took.as_secs_f64());

    let mut world = world.restart().await;
    let begun = Instant::now();
    world.run();
    world.settle().await;
    println!("{EVENTS} events handled in {:?}", begun.elapsed());
    let mut tested: Vec<String> =
        world.prowjobs().await.into_iter().map(|j| j.spec.refs.unwrap().base_sha).collect();
    tested.sort();
    let expected: Vec<String> = (1..=EVENTS).map(|n| format!("{n:040x}")).collect();
    assert!(tested == expected, "{} jobs for {EVENTS} pushes", tested.len());
}
