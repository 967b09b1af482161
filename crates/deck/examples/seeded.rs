//! A Deck with made-up jobs, to look at: `cargo run -p prow-deck --example seeded -- [port] [ProwJobs] [MB of log]`.
//! Prints its address, then how long the store and the first page took.

#![allow(clippy::unwrap_used, reason = "an example over the tests' world")]

#[path = "../tests/support/mod.rs"]
mod support;

use prow_api::{JobType, ProwJob, State};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use support::{NOW, World, presubmit};

const TITLES: [&str; 6] = [
    "Sell more cheese",
    "fix(cart): do not lose the last item when two tabs are open",
    "Bump the <b>bold</b> & \"quoted\" dependency",
    "docs: explain returns",
    "WIP: new checkout, part 3 of 7, behind a flag that is off by default",
    "Ünïcödé and 日本語 in a title",
];
const JOBS: [&str; 5] =
    ["pull-shop-unit", "pull-shop-integration", "pull-shop-lint", "pull-shop-e2e-kind", "pull-shop-build"];
const AUTHORS: [&str; 4] = ["ann", "bob", "carol-of-the-long-login", "dependabot[bot]"];

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>().expect("arguments are numbers"));
    let port = arguments.next().unwrap_or(0) as u16;
    let count = arguments.next().unwrap_or(260);
    let megabytes = arguments.next().unwrap_or(0);
    let world = World::new().await;
    // The made-up times are told from the world's clock; the page's script tells from the browser's.
    let later = jiff::Timestamp::now().as_second() - NOW;
    world.clock.advance(Duration::from_secs(later.unsigned_abs()));
    let now = NOW + later;
    let begin = Instant::now();
    let mut names = Vec::new();
    for n in 0..count {
        let job = job(n, now);
        names.push(job.name().to_owned());
        world.create(job).await;
    }
    world.store.wait_for(|store| (store.len() as u64 == count).then_some(())).await;
    eprintln!("{count} ProwJobs are in the store after {:?}", begin.elapsed());
    results(&world, now, megabytes);
    let mut log = "Cloning acme/shop\n\x1b[32m✓\x1b[0m 120 packages\n".to_owned();
    world.pod("job-0", &[("test", &log)]).await;
    let logs = std::sync::Arc::clone(&world.logs);
    tokio::spawn(async move {
        for n in 1.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = writeln!(log, "test {n} passed");
            logs.set("job-0", "test", &log);
        }
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    println!("http://{}/", listener.local_addr().unwrap());
    println!(
        "http://{}/view/{}/pr-logs/pull/acme_shop/7/pull-shop-integration/1",
        listener.local_addr().unwrap(),
        world.path()
    );
    for path in ["/", "/jobs", "/jobs?repo=acme/shop&state=failure", "/?page=3"] {
        let begin = Instant::now();
        let answer = world.get(path).await;
        eprintln!("{path}: {} bytes in {:?}", answer.bytes.len(), begin.elapsed());
    }
    axum::serve(listener, world.router.clone()).await.unwrap();
}

fn job(n: u64, now: i64) -> ProwJob {
    let pick = |from: usize| (n.wrapping_mul(2_654_435_761) >> 7) as usize % from;
    let state = match n {
        0 => State::Pending,
        1 => State::Failure,
        _ => [
            State::Success,
            State::Success,
            State::Success,
            State::Failure,
            State::Pending,
            State::Aborted,
            State::Triggered,
            State::Error,
        ][pick(8)],
    };
    let mut job = presubmit(&format!("job-{n}"), JOBS[n as usize % JOBS.len()], state, &n.to_string());
    let start = now - 40 - (n as i64) * 97;
    job.status.start_time.as_mut().unwrap().0 = jiff::Timestamp::from_second(start).unwrap();
    if let Some(end) = &mut job.status.completion_time {
        end.0 = jiff::Timestamp::from_second(start + 30 + (n as i64 * 37) % 4000).unwrap();
    }
    job.status.description = match state {
        State::Failure => "Job failed.",
        State::Error => "Pod scheduling timeout.",
        State::Success => "Job succeeded.",
        State::Aborted => "Aborted as the newer version of the PR is running.",
        _ => "Job triggered.",
    }
    .into();
    if n > 1 {
        let refs = job.spec.refs.as_mut().unwrap();
        refs.repo = ["shop", "shop", "bank", "infrastructure-live"][pick(4)].into();
        refs.pulls[0].number = 7 + (n as i64 / 5);
        refs.pulls[0].title = TITLES[pick(TITLES.len())].into();
        refs.pulls[0].author = AUTHORS[pick(AUTHORS.len())].into();
    }
    if n % 11 == 10 {
        job.spec.job_type = JobType::Periodic;
        job.spec.job = "ci-shop-nightly".into();
        job.spec.refs = None;
    } else if n % 11 == 9 {
        job.spec.job_type = JobType::Postsubmit;
        job.spec.job = "post-shop-images".into();
        job.spec.refs.as_mut().unwrap().pulls.clear();
    }
    job
}

fn results(world: &World, now: i64, megabytes: u64) {
    for id in 1..=30 {
        let run = format!("pr-logs/pull/acme_shop/7/pull-shop-integration/{id}");
        let start = now - 40 - 97 - (30 - id) * 5000;
        world.put(&format!("{run}/started.json"), format!(r#"{{"timestamp": {start}, "node": "gke-build-pool-1a2b", "repos": {{"acme/shop": "main:bbb,7:aaa"}}, "metadata": {{"links": {{"Trace": {{"url": "https://trace.example/1"}}}}}}}}"#));
        let result = if id % 4 == 1 { "FAILURE" } else { "SUCCESS" };
        world.put(&format!("{run}/finished.json"), format!(r#"{{"timestamp": {}, "passed": {}, "result": "{result}", "revision": "{}", "metadata": {{"infra-commit": "9f8e7d6c5", "pod": {{"cpu": "3.2 cores", "memory": "5.1 GiB"}}}}}}"#, start + 67, result == "SUCCESS", format!("{id:02x}").repeat(20)));
        let from = format!("file://{}/{run}", world.bucket().display());
        world.put(&format!("pr-logs/directory/pull-shop-integration/{id}.txt"), from);
    }
    world.put("pr-logs/directory/pull-shop-integration/latest-build.txt", "30");
    let run = "pr-logs/pull/acme_shop/7/pull-shop-integration/1";
    let mut log = String::new();
    let lines = if megabytes > 0 { megabytes * 1_048_576 / 75 } else { 3000 };
    for n in 1..=lines {
        let _ = match n {
            1203 => writeln!(log, "\x1b[31m--- FAIL: TestCheckoutKeepsItems (3.42s)\x1b[0m"),
            1204 => writeln!(
                log,
                "    checkout_test.go:88: expected 3 items, got 2: see https://wiki.example/cart?q=1"
            ),
            1207 => writeln!(log, "\x1b[1;31mFAIL\x1b[0m    github.com/acme/shop/checkout    12.204s"),
            2410 => writeln!(
                log,
                "E0701 11:58:02.113] panic: runtime error: index out of range [3] with length 3"
            ),
            n if n % 37 == 0 => {
                writeln!(log, "\x1b[32mok\x1b[0m      github.com/acme/shop/pkg/{n}    0.{n}s")
            }
            n => writeln!(
                log,
                "I0701 11:5{}:{:02}.{:03}] reconciled item {n} of warehouse eu-west-1 in {} ms",
                n / 500 % 10,
                n / 9 % 60,
                n % 1000,
                n % 83
            ),
        };
    }
    let _ = writeln!(log, "make: *** [Makefile:41: test] Error 1\n\x1b[33m+ EXIT_VALUE=2\x1b[0m");
    world.put(&format!("{run}/build-log.txt"), log);
    world.put(&format!("{run}/clone-log.txt"), "# cloning\n");
    world.put(&format!("{run}/sidecar-logs.json"), "{}\n");
    for name in ["junit_01.xml", "coverage.html", "screens/cart.png", "cluster.tar.gz"] {
        world.put(&format!("{run}/artifacts/{name}"), "x".repeat(name.len() * 997));
    }
}
