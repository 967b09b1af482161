//! SIGKILL at random points under 625 writes a second, while the store's file is compacted without a pause, a hundred
//! times: no acknowledged write is lost, and a watch that goes on where it was broken off sees every event once.

// Helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{MAPS, World, call, map};
use prow_apiserver::{ApiServer, Options};
use rand::Rng;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Set in the child: the directory it writes to.
const CHILD: &str = "PROW_APISERVER_CRASH_CHILD";
/// How often the child is killed, unless the environment says another number.
const ROUNDS: usize = 100;
/// Most acknowledged writes before a kill.
const WRITES: usize = 150;
/// Events that are kept: more than two rounds make, and few enough for a compaction to be short.
const HISTORY: usize = 2000;
/// A chain of a create, a patch and, every other time, a deletion begins so often, whatever became of those before it.
const CHAIN_EVERY: Duration = Duration::from_millis(4);
/// Writes a second that this comes to.
const OFFERED: u32 = 625;

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// Says something to the parent in one write, so that a kill cuts no line in two.
fn tell(line: &str) {
    std::io::stdout().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

/// The child: begins chains of writes at their times, watches what they do, and compacts, until it is killed.
async fn child(dir: &Path) {
    let round = std::env::var("ROUND").unwrap();
    let sync = round.ends_with(['0', '2', '4', '6', '8']);
    let server = ApiServer::open(dir, Options { sync, history: HISTORY, ..Options::default() }).unwrap();
    let w = World { dir: tempfile::tempdir().unwrap(), server };
    let mut events = w.watch(&format!("{MAPS}?watch=true")).await;
    tokio::spawn(async move {
        loop {
            let event = events.next().await.unwrap();
            tell(&format!("saw {} {}", version(&event["object"]), event["object"]["metadata"]["name"]));
        }
    });
    let server = w.server.clone();
    tokio::spawn(async move {
        loop {
            tell("compacting");
            server.compact().await.unwrap();
        }
    });
    // What was missed is made up for at once: so many are offered, however slow the server.
    let mut clock = tokio::time::interval(CHAIN_EVERY);
    let mut chains = tokio::task::JoinSet::new();
    for i in 0.. {
        clock.tick().await;
        chains.spawn(chain(w.server.router(), format!("r{round}-{i}"), i % 2 == 1));
        while let Some(done) = chains.try_join_next() {
            done.unwrap();
        }
    }
}

async fn chain(router: axum::Router, name: String, delete: bool) {
    let one = format!("{MAPS}/{name}");
    let patch = json!({"data": {"a": "2"}}).to_string();
    let mut steps = vec![
        ("POST", MAPS, "application/json", map(&name).to_string()),
        ("PATCH", one.as_str(), "application/merge-patch+json", patch),
    ];
    if delete {
        steps.push(("DELETE", &one, "application/json", String::new()));
    }
    for (method, path, kind, body) in steps {
        let (code, answer) = call(router.clone(), method, path, kind, body).await;
        assert!(code < 300, "{answer}");
        // A deletion answers without a version.
        let at = answer["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        tell(&format!("wrote {at} {method} {name}"));
    }
}

/// What a watcher that was there all along knows.
struct Mirror {
    at: u64,
    names: BTreeMap<String, Value>,
}

/// What the child said before it was killed.
#[derive(Default)]
struct Told {
    /// Version, method and name of acknowledged writes; 0 where the version is not known.
    wrote: Vec<(u64, String, String)>,
    /// Version and name of events that its watcher saw.
    saw: Vec<(u64, String)>,
    /// Compactions that began; the kill met the last of them.
    compactions: usize,
    /// From the first acknowledged write to the kill.
    wrote_for: Duration,
}

async fn killed(dir: &Path, round: usize) -> Told {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_is_lost_when_killed", "--nocapture"])
        .env(CHILD, dir)
        .env("ROUND", round.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let writes = rand::rng().random_range(1..=WRITES);
    let mut told = Told::default();
    let (mut killed, mut first) = (false, None);
    while let Some(line) = lines.next_line().await.unwrap() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["wrote", at, method, name] => {
                first.get_or_insert_with(Instant::now);
                told.wrote.push((at.parse().unwrap(), method.to_owned(), name.to_owned()));
            }
            ["compacting"] => told.compactions += 1,
            ["saw", at, name] => told.saw.push((at.parse().unwrap(), name.trim_matches('"').to_owned())),
            _ => {}
        }
        // What was said before the kill arrived is read to its end.
        if told.wrote.len() >= writes && !killed {
            killed = true;
            told.wrote_for = first.map_or(Duration::ZERO, |at| at.elapsed());
            child.start_kill().unwrap();
        }
    }
    let status = child.wait().await.unwrap();
    assert!(killed, "the child ended by itself: {status}");
    told
}

/// Goes on watching where the mirror ended, up to the present; every version is one event.
async fn catch_up(w: &World, mirror: &mut Mirror) -> BTreeMap<u64, Value> {
    let (_, list) = w.get(&format!("{MAPS}?limit=1")).await;
    let head = version(&list);
    let mut events = w.watch(&format!("{MAPS}?watch=true&resourceVersion={}", mirror.at)).await;
    let mut seen = BTreeMap::new();
    while mirror.at < head {
        let event = events.next().await.unwrap();
        let at = version(&event["object"]);
        assert_eq!(at, mirror.at + 1, "a gap, or an event twice: {event}");
        mirror.at = at;
        let name = event["object"]["metadata"]["name"].as_str().unwrap().to_owned();
        match event["type"].as_str().unwrap() {
            "ADDED" => assert!(mirror.names.insert(name, event["object"].clone()).is_none()),
            "MODIFIED" => assert!(mirror.names.insert(name, event["object"].clone()).is_some()),
            "DELETED" => assert!(mirror.names.remove(&name).is_some()),
            other => panic!("{other}: {event}"),
        }
        seen.insert(at, event);
    }
    seen
}

#[tokio::test]
async fn nothing_is_lost_when_killed() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return child(Path::new(&dir)).await;
    }
    let rounds = std::env::var("PROW_CRASH_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        ApiServer::open(dir.path(), Options { sync: false, history: HISTORY, ..Options::default() }).unwrap()
    };
    let w = World { dir: tempfile::tempdir().unwrap(), server: open() };
    let mut mirror = Mirror { at: version(&w.get(MAPS).await.1), names: BTreeMap::new() };
    drop(w);
    let (mut writes, mut compactions, mut wrote_for) = (0, 0, Duration::ZERO);
    for round in 0..rounds {
        let told = killed(dir.path(), round).await;
        writes += told.wrote.len();
        compactions += told.compactions;
        wrote_for += told.wrote_for;
        let w = World { dir: tempfile::tempdir().unwrap(), server: open() };
        let before = mirror.at;
        let events = catch_up(&w, &mut mirror).await;
        for (at, method, name) in &told.wrote {
            let is_it = |e: &&Value| e["object"]["metadata"]["name"] == name.as_str();
            let found = match method.as_str() {
                "DELETE" => events.values().filter(is_it).any(|e| e["type"] == "DELETED"),
                _ => events.get(at).as_ref().is_some_and(is_it),
            };
            assert!(found, "round {round}: {method} of {name} at {at} was acknowledged and is lost");
        }
        // What a watcher was told happened. (It began with what was there before.)
        for (at, name) in told.saw.iter().filter(|(at, _)| *at > before) {
            let event =
                events.get(at).unwrap_or_else(|| panic!("round {round}: {at} was told of and is gone"));
            assert_eq!(event["object"]["metadata"]["name"], name.as_str(), "round {round}: version {at}");
        }
        let (_, list) = w.get(MAPS).await;
        let listed: BTreeMap<String, Value> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| (i["metadata"]["name"].as_str().unwrap().to_owned(), i.clone()))
            .collect();
        assert!(listed == mirror.names, "round {round}: the list is not what the events make");
        // A list of bounded size, so that the rounds stay alike.
        if listed.len() > 300 {
            w.delete(MAPS).await;
        }
    }
    eprintln!(
        "{rounds} kills, {writes} acknowledged writes ({:.0}/s of {OFFERED}/s offered), {compactions} compactions",
        writes as f64 / wrote_for.as_secs_f64()
    );
    // Of few rounds chance decides how long they are; of many, a third of the mean is never missed.
    if rounds >= 50 {
        assert!(writes >= rounds * WRITES / 6, "{writes} writes");
        assert!(compactions >= rounds, "{compactions} compactions");
    }
}
