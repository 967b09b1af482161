//! What a SIGKILL leaves: a copy of the data directory taken while the forge runs is what its disk would have been.

use std::path::Path;

use prow_api::Secret;
use prow_github::webhook::Event;

use crate::harness::{HOOK_SECRET, Receiver, World, open};

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
