//! What a SIGKILL leaves: a forge killed in the middle of its work, and copies of a running forge's data directory,
//! which are what its disk would have been.

use std::path::Path;

use prow_api::Secret;
use prow_github::webhook::Event;

use crate::harness::{HOOK_SECRET, Receiver, World, open, seed, token};

/// Copies the directory as it is at this moment. The database file goes first: what it names must be in git already.
fn snapshot(from: &Path, to: &Path) {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else if !target.exists() {
                std::fs::copy(entry.path(), &target).unwrap();
            }
        }
    }
    std::fs::create_dir_all(to).unwrap();
    std::fs::copy(from.join("forge.redb"), to.join("forge.redb")).unwrap();
    copy(from, to);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_there_after_a_kill_and_webhooks_arrive_late() {
    let world = World::new().await;
    // Nobody listens at that address yet: deliveries wait.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/hook");
    world
        .forge
        .create_webhook("acme", None, &url, &Secret::new(HOOK_SECRET), &["pull_request"])
        .await
        .unwrap();
    let (_, pr) = world.pull_request().await;
    let bot = world.client("bot");
    let comment = bot.create_comment("acme", "rocket", pr.number, "hello").await.unwrap();
    let status =
        prow_github::Status { state: "pending".into(), context: "unit".into(), ..Default::default() };
    bot.create_status("acme", "rocket", &pr.head.sha, &status).await.unwrap();
    bot.add_label("acme", "rocket", pr.number, "lgtm").await.unwrap();
    let guids: Vec<String> = world.forge.deliveries().into_iter().map(|d| d.guid).collect();
    assert_eq!(guids.len(), 2, "opened and labeled");

    let copy = world.dir.path().join("after-kill");
    snapshot(&world.dir.path().join("forge"), &copy);
    let mut receiver = Receiver::on(tokio::net::TcpListener::bind(address).await.unwrap(), 0);
    let (again, _stop) = open(&copy).await;
    let pulls = again.pull_requests("acme", "rocket");
    assert_eq!((pulls.len(), pulls[0].labels.as_slice()), (1, ["lgtm".to_owned()].as_slice()));
    assert_eq!(again.comments("acme", "rocket", pr.number)[0].id, comment.id);
    assert_eq!(again.statuses("acme", "rocket", &pr.head.sha)["unit"].state, "pending");
    // Both forges live now and both deliver; the GUIDs say that it is the same news.
    let mut came = Vec::new();
    while came.len() < 2 {
        let guid = receiver.next().await.guid().to_owned();
        assert!(guids.contains(&guid));
        if !came.contains(&guid) {
            came.push(guid);
        }
    }
    again.wait_for(|f| f.deliveries().iter().all(|d| d.delivered).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_was_not_told_before_the_kill_is_told_after_it() {
    let world = World::new().await;
    let mut receiver = Receiver::new(0).await;
    world.forge.create_webhook("acme", None, &receiver.url, &Secret::new(HOOK_SECRET), &["*"]).await.unwrap();
    let (clone, pr) = world.pull_request().await;
    receiver.next_of("pull_request", Some("opened")).await;
    let copy = world.dir.path().join("after-kill");
    snapshot(&world.dir.path().join("forge"), &copy);
    // git moved the branch, and the process died before anything else: done here by git alone, in the copy.
    clone.write("new.txt", "newer\n");
    let sha = clone.commit("Untold").await;
    let repo = world.forge.find_repo("acme", "rocket").unwrap();
    let bare = copy.join("repos").join(format!("{}.git", repo.id));
    clone.git(&["push", "--quiet", bare.to_str().unwrap(), "feature"]).await;

    let (again, stop) = open(&copy).await;
    let Event::PullRequest(sync) = receiver.next_of("pull_request", Some("synchronize")).await else {
        unreachable!()
    };
    assert_eq!((&sync.after, &sync.before), (&sha, &pr.head.sha));
    assert_eq!(again.branch("acme", "rocket", "feature"), Some(sha.clone()));
    again.wait_for(|f| f.deliveries().iter().all(|d| d.delivered).then_some(())).await;
    let told = again.deliveries().len();
    let reader = world.clone("").await;
    let url = format!("{}/acme/rocket.git", again.base_url());
    reader.git(&["fetch", "--quiet", &url, &format!("refs/pull/{}/head", pr.number)]).await;
    assert_eq!(reader.git(&["rev-parse", "FETCH_HEAD"]).await, sha);

    // A third start has nothing to add.
    let third = world.dir.path().join("third");
    snapshot(&copy, &third);
    drop(stop);
    let (last, _stop) = open(&third).await;
    assert_eq!(last.deliveries().len(), told);
}

/// The variable that makes this very test program a forge to be killed.
const CHILD_DIR: &str = "FORGE_TEST_CHILD_DIR";

/// Not a test of its own: what `a_forge_killed_at_work_loses_nothing_acknowledged` runs in another process.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_serves_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (forge, _stop) = open(Path::new(&dir)).await;
    seed(&forge).await;
    eprintln!("serving at {}", forge.base_url());
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_killed_at_work_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_serves_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir.path().join("forge"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let base = lines.find_map(|l| l.unwrap().strip_prefix("serving at ").map(str::to_owned)).unwrap();
    let client = prow_github::Client::new(
        prow_github::ClientOptions {
            endpoint: vec![format!("{base}/api/v3").parse().unwrap()],
            token: prow_github::TokenSource::Static(token("bot")),
            max_retries: 0,
            ..Default::default()
        },
        prow_service::clock::SystemClock::shared(),
    )
    .unwrap();
    let issue = client.create_issue("acme", "rocket", "Under load", "").await.unwrap();
    // Four writers write until the process is gone; it is killed once forty comments were acknowledged.
    let (acked, mut seen) = tokio::sync::mpsc::unbounded_channel();
    for writer in 0..4 {
        let (client, acked) = (client.clone(), acked.clone());
        tokio::spawn(async move {
            for i in 0.. {
                let body = format!("{writer}-{i}");
                match client.create_comment("acme", "rocket", issue.number, &body).await {
                    Ok(comment) => acked.send((comment.id, body)).unwrap(),
                    Err(_) => return,
                }
            }
        });
    }
    drop(acked);
    let mut acknowledged = Vec::new();
    while let Some(comment) = seen.recv().await {
        acknowledged.push(comment);
        if acknowledged.len() == 40 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= 40);

    let (again, _stop) = open(&dir.path().join("forge")).await;
    let kept = again.comments("acme", "rocket", issue.number);
    for (id, body) in &acknowledged {
        assert!(
            kept.iter().any(|c| c.id == *id && c.body == *body),
            "{id} {body} was acknowledged and is lost"
        );
    }
    // What was written but not answered any more may be there too: one of each writer at most.
    assert!(kept.len() <= acknowledged.len() + 4, "{} kept, {} acknowledged", kept.len(), acknowledged.len());
    let after = again.say("acme", "rocket", issue.number, "bot", "still here").await.unwrap();
    assert!(kept.iter().all(|c| c.id < after.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_was_shut_down_can_be_opened_again_at_once() {
    let world = World::new().await;
    world.forge.shutdown().await;
    let refused = world.client("bot").create_issue("acme", "rocket", "too late", "").await.unwrap_err();
    assert_eq!(refused.status().unwrap().as_u16(), 500, "{refused}");
    let (again, _stop) = open(&world.dir.path().join("forge")).await;
    assert!(again.find_repo("acme", "rocket").is_some());
}
