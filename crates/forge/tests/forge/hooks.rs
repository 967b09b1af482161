//! Webhooks: what is told, in which form, signed so that hook's own check takes it.

use prow_api::Secret;
use prow_forge::{Edit, Happening, SeedPull};
use prow_github::MergeMethod;
use prow_github::webhook::{Event, GenericComment};

use crate::harness::{HOOK_SECRET, Receiver, World};

pub async fn listening() -> (World, Receiver) {
    let world = World::new().await;
    let receiver = Receiver::new(0).await;
    let secret = Secret::new(HOOK_SECRET);
    world.forge.create_webhook("acme", None, &receiver.url, &secret, &["*"]).await.unwrap();
    (world, receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_a_pull_request_is_told() {
    let (world, mut receiver) = listening().await;
    let (clone, pr) = world.pull_request().await;
    let Event::Push(push) = receiver.next_of("push", None).await else { unreachable!() };
    assert_eq!((push.branch(), push.org(), push.created, push.forced), ("feature", "acme", true, false));
    assert_eq!((push.after.as_str(), push.before.as_str()), (pr.head.sha.as_str(), "0".repeat(40).as_str()));
    assert_eq!(push.changed_files(), ["README.md", "moved.txt", "new.txt", "old.txt"]);
    assert_eq!((push.pusher.name.as_str(), push.sender.login.as_str()), ("alice", "alice"));
    assert_eq!(push.head_commit.unwrap().message, "Make it fly");
    let Event::PullRequest(opened) = receiver.next_of("pull_request", Some("opened")).await else {
        unreachable!()
    };
    assert_eq!(opened.pull_request, pr, "the payload has what REST answers");
    assert_eq!((opened.number, opened.organization.login.as_str()), (1, "acme"));
    assert_eq!(opened.repository.full_name, "acme/rocket");

    clone.write("new.txt", "newer\n");
    let second = clone.commit("Fly higher").await;
    clone.git(&["push", "--quiet", "origin", "feature"]).await;
    let Event::PullRequest(sync) = receiver.next_of("pull_request", Some("synchronize")).await else {
        unreachable!()
    };
    assert_eq!((&sync.before, &sync.after, &sync.pull_request.head.sha), (&pr.head.sha, &second, &second));

    let bot = world.client("bot");
    bot.create_comment("acme", "rocket", 1, "/retest").await.unwrap();
    let said = receiver.next_of("issue_comment", Some("created")).await;
    let generic = GenericComment::from_event(&said).unwrap();
    assert!(generic.is_pr && generic.body == "/retest" && generic.issue_author.login == "alice");
    assert_eq!((generic.issue_state.as_str(), generic.user.login.as_str()), ("open", "bot"));

    bot.add_label("acme", "rocket", 1, "lgtm").await.unwrap();
    let Event::PullRequest(labeled) = receiver.next_of("pull_request", Some("labeled")).await else {
        unreachable!()
    };
    assert_eq!((labeled.label.name.as_str(), labeled.sender.login.as_str()), ("lgtm", "bot"));
    bot.remove_label("acme", "rocket", 1, "lgtm").await.unwrap();
    receiver.next_of("pull_request", Some("unlabeled")).await;

    let status =
        prow_github::Status { state: "success".into(), context: "unit".into(), ..Default::default() };
    bot.create_status("acme", "rocket", &second, &status).await.unwrap();
    let Event::Status(told) = receiver.next_of("status", None).await else { unreachable!() };
    assert_eq!(
        (told.sha.as_str(), told.context.as_str(), told.state.as_str()),
        (second.as_str(), "unit", "success")
    );

    let sha = bot.merge("acme", "rocket", 1, &second, MergeMethod::Merge).await.unwrap();
    // Two receivers' tasks may overtake one another; both must come.
    let (mut main, mut closed) = (None, None);
    while main.is_none() || closed.is_none() {
        match receiver.next().await {
            Event::Push(p) if p.branch() == "main" => main = Some(p),
            Event::PullRequest(e) if e.action == "closed" => closed = Some(e),
            _ => {}
        }
    }
    let (main, closed) = (main.unwrap(), closed.unwrap());
    assert_eq!((&main.after, main.commits.len()), (&sha, 3), "two commits and the merge");
    assert!(main.compare.contains(&pr.base.sha[..12]) && main.compare.contains("..."));
    assert!(closed.pull_request.merged && closed.pull_request.merge_commit_sha.as_ref() == Some(&sha));
    assert_eq!(closed.sender.login, "bot");
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_drafts_branches_and_tags_are_told() {
    let (world, mut receiver) = listening().await;
    let (clone, pr) = world.pull_request().await;
    let forge = &world.forge;
    let (alice, repo) = (forge.find_user("alice").unwrap(), forge.find_repo("acme", "rocket").unwrap());
    forge.push_files("acme", "rocket", "release", "owner", "Release", &[("r", Some("1"))]).await.unwrap();
    let edit = Edit { base: Some("release".into()), title: Some("New".into()), ..Edit::default() };
    forge.edit_pull(&alice, &repo, pr.number, edit).await.unwrap();
    let Event::PullRequest(edited) = receiver.next_of("pull_request", Some("edited")).await else {
        unreachable!()
    };
    assert_eq!(edited.changes.base.unwrap().r#ref.from, "main");
    assert_eq!(edited.changes.title.unwrap().from, "Make it fly");
    assert_eq!(edited.pull_request.base.r#ref, "release");
    forge.set_draft(&alice, &repo, pr.number, true).await.unwrap();
    receiver.next_of("pull_request", Some("converted_to_draft")).await;
    forge.set_draft(&alice, &repo, pr.number, false).await.unwrap();
    receiver.next_of("pull_request", Some("ready_for_review")).await;
    forge.review_pull(&alice, &repo, pr.number, "APPROVE", "/lgtm").await.unwrap();
    let review = receiver.next_of("pull_request_review", Some("submitted")).await;
    assert_eq!(GenericComment::from_event(&review).unwrap().body, "/lgtm");

    clone.git(&["tag", "-a", "v1", "-m", "First"]).await;
    clone.git(&["push", "--quiet", "origin", "v1"]).await;
    let Event::Push(tag) = receiver.next_of("push", None).await else { unreachable!() };
    // The first pushes were those of the branches.
    let tag = if tag.r#ref == "refs/tags/v1" {
        tag
    } else {
        loop {
            match receiver.next().await {
                Event::Push(p) if p.r#ref == "refs/tags/v1" => break p,
                _ => {}
            }
        }
    };
    assert!(tag.branch() == "v1" && tag.created && tag.commits.is_empty());

    clone.git(&["push", "--quiet", "origin", ":feature"]).await;
    let Event::PullRequest(closed) = receiver.next_of("pull_request", Some("closed")).await else {
        unreachable!()
    };
    assert!(!closed.pull_request.merged);
    assert_eq!(forge.branch("acme", "rocket", "feature"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_contains_a_pull_request_merges_it() {
    let world = World::new().await;
    let (clone, pr) = world.pull_request().await;
    clone.git(&["push", "--quiet", "origin", "feature:main"]).await;
    let merged = world.client("bot").get_pull_request("acme", "rocket", pr.number).await.unwrap();
    assert!(merged.merged && merged.merge_commit_sha == Some(pr.head.sha));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_delivery_comes_again_with_the_same_guid() {
    let world = World::new().await;
    let mut receiver = Receiver::new(2).await;
    let secret = Secret::new(HOOK_SECRET);
    world.forge.create_webhook("acme", Some("rocket"), &receiver.url, &secret, &["issues"]).await.unwrap();
    world.client("bot").create_issue("acme", "rocket", "It leaks", "").await.unwrap();
    let guids =
        [receiver.next().await, receiver.next().await, receiver.next().await].map(|e| e.guid().to_owned());
    assert!(guids.iter().all(|g| *g == guids[0]), "{guids:?}");
    let done = world.forge.wait_for(|f| f.deliveries().into_iter().find(|d| d.delivered)).await;
    assert_eq!((done.attempts, done.status, done.guid.as_str()), (3, Some(200), guids[0].as_str()));
    assert_eq!(done.event, "issues", "nothing but what the webhook asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn seeded_pull_requests_are_real() {
    let (world, mut receiver) = listening().await;
    let mut happenings = world.forge.events();
    let seed = SeedPull {
        number: Some(1234),
        title: "Seeded",
        author: "mallory",
        files: &[("components/api/main.go", Some("package main\n")), ("old.txt", None)],
        labels: &["needs-ok-to-test"],
        ..SeedPull::default()
    };
    let issue = world.forge.seed_pull_request("acme", "rocket", seed.clone()).await.unwrap();
    assert_eq!(issue.number, 1234);
    let Event::PullRequest(opened) = receiver.next_of("pull_request", Some("opened")).await else {
        unreachable!()
    };
    assert_eq!((opened.number, opened.pull_request.labels[0].name.as_str()), (1234, "needs-ok-to-test"));
    let changes = world.client("").get_pull_request_changes("acme", "rocket", 1234).await.unwrap();
    let short: Vec<_> = changes.iter().map(|c| (c.filename.as_str(), c.status.as_str())).collect();
    assert_eq!(short, [("components/api/main.go", "added"), ("old.txt", "removed")]);
    let told = loop {
        if let Happening::PullRequest { number, action, .. } = happenings.recv().await.unwrap() {
            break (number, action);
        }
    };
    assert_eq!(told, (1234, "opened".to_owned()));
    assert!(world.forge.seed_pull_request("acme", "rocket", seed).await.is_err(), "the number is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_revalidated_by_etag() {
    let world = World::new().await;
    let url = format!("{}/repos/acme/rocket", world.forge.api_url());
    let http = reqwest::Client::new();
    let first = http.get(&url).send().await.unwrap();
    let etag = first.headers()["etag"].clone();
    let second = http.get(&url).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(second.status(), 304);
    world.client("bot").create_issue("acme", "rocket", "t", "").await.unwrap();
    let third = http.get(&url).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(third.status(), 200, "open_issues_count changed");
}
