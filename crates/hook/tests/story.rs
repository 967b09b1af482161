//! What people and GitHub do, and what comes of it: webhooks through hook and its plugins to ProwJobs and comments.
#![allow(clippy::unwrap_used)]

mod world;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use prow_api::{State, labels};
use prow_forge::SeedPull;
use prow_github::Status;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use world::{ORG, REPO, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_members_pull_request_is_tested_once_however_often_it_is_told() {
    let world = World::running().await;
    let number = world.open_pull("alice", &["docs/manual.md"]).await;
    world.settle().await;
    assert_eq!(world.states().await, ["docs triggered", "unit triggered"]);

    let jobs = world.prowjobs().await;
    let refs = jobs[0].spec.refs.as_ref().unwrap();
    assert_eq!((refs.org.as_str(), refs.repo.as_str(), refs.base_ref.as_str()), (ORG, REPO, "main"));
    assert_eq!(Some(&refs.base_sha), world.forge.branch(ORG, REPO, "main").as_ref());
    assert_eq!((refs.pulls[0].number, &refs.pulls[0].sha), (number, &world.head(number)));
    assert_eq!(jobs[0].label(labels::IS_OPTIONAL), Some("false"));
    assert_eq!(jobs[0].metadata.namespace.as_deref(), Some("prow"));
    let opened = world.forge.deliveries().into_iter().find(|d| d.event == "pull_request").unwrap();
    assert_eq!(jobs[0].label(labels::EVENT_GUID), Some(opened.guid.as_str()));

    world.redeliver("pull_request", "opened").await;
    world.settle().await;
    let mut world = world.restart().await;
    world.run();
    world.redeliver("pull_request", "opened").await;
    world.settle().await;
    assert_eq!(world.prowjobs().await.len(), 2, "the same event makes the same jobs");
    assert_eq!(world.bot_comments(number), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_the_answer_and_the_handling() {
    let world = World::new().await;
    world.open_pull("alice", &["main.go"]).await;
    world.delivered().await;
    assert!(world.prowjobs().await.is_empty(), "answered, but nobody has handled it");
    assert!(world.hook.stats().open > 0);

    let mut world = world.restart().await;
    assert!(world.hook.stats().open > 0);
    world.run();
    world.settle().await;
    assert_eq!(world.states().await, ["unit triggered"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_pull_request_waits_for_ok_to_test() {
    let world = World::running().await;
    let number = world.open_pull("mallory", &["main.go"]).await;
    world.settle().await;
    assert!(world.prowjobs().await.is_empty());
    assert_eq!(world.pull(number).labels, [labels::NEEDS_OK_TO_TEST]);
    let said = world.bot_comments(number);
    assert!(said.len() == 1 && said[0].contains("@mallory") && said[0].contains("`/ok-to-test`"), "{said:?}");

    world.redeliver("pull_request", "opened").await;
    world.settle().await;
    assert_eq!(world.bot_comments(number).len(), 1, "nobody is welcomed twice");

    world.say(number, "mallory", "/test all").await;
    world.settle().await;
    assert!(world.prowjobs().await.is_empty());
    let said = world.bot_comments(number);
    assert!(said.len() == 2 && said[1].contains("Cannot start tests"), "{said:?}");

    world.say(number, "alice", "/ok-to-test\r\n").await;
    world.settle().await;
    assert_eq!(world.pull(number).labels, [labels::OK_TO_TEST]);
    assert_eq!(world.states().await, ["unit triggered"]);

    // From now on the author's commits are tested, and may be by the author's own command.
    world
        .forge
        .push_files(ORG, REPO, "pull-1", "mallory", "more", &[("more.go", Some("x\n"))])
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(world.states().await, ["unit triggered", "unit aborted"]);
    let jobs = world.prowjobs().await;
    assert_eq!(jobs[0].spec.refs.as_ref().unwrap().pulls[0].sha, world.head(number));
    assert_eq!(jobs[1].status.description, "Aborted by trigger plugin.");
    assert!(!jobs[1].complete(), "plank completes it when the Pod is gone");
    world.say(number, "mallory", "/test deep").await;
    world.settle().await;
    assert_eq!(world.states().await[0], "deep triggered");

    world.say(number, "alice", "/ok-to-test cancel").await;
    world.settle().await;
    assert_eq!(world.pull(number).labels, [labels::NEEDS_OK_TO_TEST]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_start_jobs_or_are_answered_with_what_there_is() {
    let world = World::running().await;
    let number = world.open_pull("alice", &["main.go"]).await;
    world.settle().await;
    world.say(number, "alice", "/test nonsense").await;
    world.settle().await;
    let said = world.bot_comments(number);
    assert!(
        said.len() == 1 && said[0].contains("were not found") && said[0].contains("/test deep"),
        "{said:?}"
    );

    world.say(number, "alice", "/test ?").await;
    world.settle().await;
    let said = world.bot_comments(number);
    assert_eq!(said.len(), 1, "the older help is gone: {said:?}");
    assert!(!said[0].contains("were not found"));
    assert_eq!(world.states().await, ["unit triggered"], "help starts nothing");

    world.say(number, "alice", "please\n```\n/test deep\n```").await;
    world.settle().await;
    assert_eq!(world.states().await, ["unit triggered"], "code is no command");

    world.say(number, "alice", "/test deep").await;
    world.settle().await;
    assert_eq!(world.states().await, ["deep triggered", "unit triggered"]);
    assert!(world.bot_comments(number).is_empty(), "a real command makes the help old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retest_runs_what_failed() {
    let world = World::running().await;
    let number = world.open_pull("alice", &["docs/a.md"]).await;
    world.settle().await;
    for job in world.prowjobs().await {
        let state = if job.spec.job == "unit" { State::Failure } else { State::Success };
        world.end(&job, state).await;
        let status =
            Status { state: state.to_string(), context: job.spec.context.clone(), ..Status::default() };
        world.github().create_status(ORG, REPO, &world.head(number), &status).await.unwrap();
    }
    world.say(number, "alice", "/retest").await;
    world.settle().await;
    assert_eq!(world.states().await, ["docs success", "unit triggered", "unit failure"]);
    let jobs = world.prowjobs().await;
    assert_eq!(jobs[1].label(labels::RETEST), Some("true"));
    assert_eq!(jobs[2].label(labels::RETEST), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_the_main_branch_starts_postsubmits_and_a_closed_pull_request_stops() {
    let world = World::running().await;
    let number = world.open_pull("alice", &["main.go"]).await;
    world.settle().await;
    world.forge.close(ORG, REPO, number, "alice").await.unwrap();
    world.settle().await;
    assert_eq!(world.states().await, ["unit aborted"]);

    let sha =
        world.forge.push_files(ORG, REPO, "main", "alice", "release", &[("v1", Some("x\n"))]).await.unwrap();
    world.settle().await;
    assert_eq!(world.states().await, ["publish triggered", "unit aborted"]);
    let jobs = world.prowjobs().await;
    let refs = jobs[0].spec.refs.as_ref().unwrap();
    assert_eq!((refs.base_ref.as_str(), &refs.base_sha, refs.pulls.len()), ("main", &sha, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_is_tested_when_it_is_ready() {
    let world = World::running().await;
    let seed = SeedPull { author: "alice", draft: true, ..SeedPull::default() };
    let number = world.open(seed, &["main.go"]).await;
    world.settle().await;
    assert!(world.prowjobs().await.is_empty());
    let said = world.bot_comments(number);
    assert!(said.len() == 1 && said[0].contains("`/test all`"), "{said:?}");

    let (alice, repo) = (world.forge.find_user("alice").unwrap(), world.forge.find_repo(ORG, REPO).unwrap());
    world.forge.set_draft(&alice, &repo, number, false).await.unwrap();
    world.settle().await;
    assert_eq!(world.states().await, ["unit triggered"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_request_with_conflicts_is_not_tested() {
    let world = World::running().await;
    let number = world.open_pull("mallory", &["README.md"]).await;
    let theirs = [("README.md", Some("# Another rocket\n"))];
    world.forge.push_files(ORG, REPO, "main", "alice", "rename", &theirs).await.unwrap();
    world.settle().await;
    world.say(number, "alice", "/ok-to-test").await;
    world.settle().await;
    assert_eq!(world.pull(number).labels, [labels::OK_TO_TEST]);
    assert_eq!(world.states().await, ["publish triggered"], "only the push is tested");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cat_comes_when_called() {
    let world = World::running().await;
    let number = world.open_pull("alice", &["main.go"]).await;
    world.say(number, "mallory", "/meow").await;
    world.settle().await;
    let said = world.bot_comments(number);
    assert!(said.len() == 1 && said[0].starts_with("@mallory: ![cat image](http"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_signed_comes_in() {
    let world = World::running().await;
    let push = format!(
        r#"{{"ref":"refs/heads/main","after":"{}","repository":{{"name":"rocket","full_name":"acme/rocket",
            "owner":{{"name":"acme","login":"acme"}}}}}}"#,
        "a".repeat(40)
    );
    let (status, text) = world.post("push", "g-1", push.as_bytes(), "another secret").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(
        text,
        "403 Forbidden: Invalid X-Hub-Signature-256 - misconfigured webhook secret from organization/repo: acme/rocket\n"
    );
    let (status, text) = world.post("star", "g-2", push.as_bytes(), world::SECRET).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "Event received. Have a nice day."));
    world.settle().await;
    assert!(world.prowjobs().await.is_empty());

    let http = reqwest::Client::new();
    let get = |path: &str| http.get(format!("{}{path}", world.url)).send();
    assert_eq!(get("/hook").await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get("/anything").await.unwrap().status(), StatusCode::OK);
    let help: serde_json::Value = get("/plugin-help").await.unwrap().json().await.unwrap();
    assert_eq!(help["AllRepos"], serde_json::json!(["acme/rocket"]));
    assert_eq!(help["RepoPlugins"]["acme"], serde_json::json!(["trigger", "cat"]));
    assert_eq!(help["PluginHelp"]["trigger"]["Commands"][1]["Usage"], "/test [<job name>|all]");

    let (status, _) = world.post("push", "g-3", push.as_bytes(), world::SECRET).await;
    assert_eq!(status, StatusCode::OK);
    world.settle().await;
    assert_eq!(world.states().await, ["publish triggered"]);
}

/// A server that keeps what it is sent.
async fn external_plugin() -> (String, UnboundedReceiver<(HeaderMap, Bytes)>) {
    let (sent, received) = unbounded_channel();
    let router = axum::Router::new().route(
        "/events",
        axum::routing::post(move |headers: HeaderMap, body: Bytes| async move {
            sent.send((headers, body)).unwrap();
        }),
    );
    (format!("{}/events", world::serve(router).await), received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_plugins_get_what_github_sent() {
    let (endpoint, mut received) = external_plugin().await;
    let plugins = format!(
        "{}external_plugins:\n  acme/rocket:\n  - name: needs-rebase\n    endpoint: {endpoint}\n    events: [star, push]\n",
        world::PLUGINS
    );
    let mut world = World::with_plugins(&plugins).await;
    let body = br#"{"action":"created","repository":{"name":"rocket","full_name":"acme/rocket","owner":{"login":"acme"}}}"#;
    assert_eq!(world.post("star", "g-1", body, world::SECRET).await.0, StatusCode::OK);
    assert_eq!(world.post("fork", "g-2", body, world::SECRET).await.0, StatusCode::OK);
    assert_eq!(world.hook.stats().open, 1, "of the types that we do not know only the wanted one is kept");
    world = world.restart().await;
    world.run();
    world.settle().await;

    let (headers, payload) = received.recv().await.unwrap();
    assert_eq!(payload, &body[..]);
    assert_eq!(headers["user-agent"], "ProwHook");
    let secrets = prow_github::hmac::Secrets::global(prow_api::Secret::new(world::SECRET));
    let genuine = prow_github::webhook::validate(&http::Method::POST, &headers, &payload, &secrets).unwrap();
    assert_eq!((genuine.event_type.as_str(), genuine.guid.as_str()), ("star", "g-1"));
    assert!(received.try_recv().is_err());
}
