//! Every method of Prow's GitHub client against the forge.

use prow_github::{MergeMethod, NewPullRequest, Status};

use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_is_read_edited_and_merged() {
    let world = World::new().await;
    let (alice, pr) = world.pull_request().await;
    let bot = world.client("bot");
    assert_eq!((pr.number, pr.state.as_str(), pr.user.login.as_str()), (1, "open", "alice"));
    assert_eq!(
        (pr.base.r#ref.as_str(), pr.head.r#ref.as_str(), pr.body.as_str()),
        ("main", "feature", "Please.")
    );
    assert_eq!((pr.mergeable, pr.commits, pr.changed_files), (Some(true), 1, 3));
    assert_eq!(pr.html_url, format!("{}/acme/rocket/pull/1", world.forge.base_url()));
    assert_eq!(bot.get_pull_request("acme", "rocket", 1).await.unwrap(), pr);
    assert_eq!(bot.list_open_pull_requests("acme", "rocket").await.unwrap().len(), 1);

    let changes = bot.get_pull_request_changes("acme", "rocket", 1).await.unwrap();
    let short: Vec<_> = changes
        .iter()
        .map(|c| (c.filename.as_str(), c.status.as_str(), c.previous_filename.as_str()))
        .collect();
    assert_eq!(
        short,
        [("README.md", "modified", ""), ("moved.txt", "renamed", "old.txt"), ("new.txt", "added", "")]
    );
    assert_eq!((changes[0].additions, changes[0].deletions), (2, 0));
    let commits = bot.list_pull_request_commits("acme", "rocket", 1).await.unwrap();
    assert_eq!((commits.len(), commits[0].commit.message.as_str()), (1, "Make it fly"));
    assert_eq!(commits[0].parents[0].sha, pr.base.sha);

    assert_eq!(bot.close_pull_request("acme", "rocket", 1).await.unwrap().state, "closed");
    assert_eq!(bot.reopen_pull_request("acme", "rocket", 1).await.unwrap().state, "open");
    let edited =
        bot.edit_pull_request("acme", "rocket", 1, &serde_json::json!({"title": "Fly"})).await.unwrap();
    assert_eq!(edited.title, "Fly");

    assert_eq!(bot.merged_pull_request_count("acme", "alice").await.unwrap(), 0);
    let stale = bot.merge("acme", "rocket", 1, &pr.base.sha, MergeMethod::Merge).await.unwrap_err();
    assert_eq!(stale.status().unwrap().as_u16(), 409, "{stale}");
    let sha = bot.merge("acme", "rocket", 1, &pr.head.sha, MergeMethod::Merge).await.unwrap();
    let merged = bot.get_pull_request("acme", "rocket", 1).await.unwrap();
    assert_eq!(
        (merged.merged, merged.state.as_str(), merged.merge_commit_sha.as_ref()),
        (true, "closed", Some(&sha))
    );
    assert_eq!(bot.get_ref("acme", "rocket", "heads/main").await.unwrap(), sha);
    let commit = bot.get_single_commit("acme", "rocket", &sha).await.unwrap();
    assert_eq!(commit.parents.len(), 2, "a merge commit");
    assert!(commit.commit.message.starts_with("Merge pull request #1 from acme/feature"));
    assert_eq!(commit.author.login, "bot");
    assert_eq!(bot.merged_pull_request_count("acme", "alice").await.unwrap(), 1);
    let again = bot.merge("acme", "rocket", 1, &pr.head.sha, MergeMethod::Merge).await.unwrap_err();
    assert!(again.is_refused(), "{again}");
    alice.git(&["fetch", "--quiet", "origin", "main"]).await;
    assert_eq!(alice.git(&["show", "FETCH_HEAD:README.md"]).await, "# Rocket\n\nIt flies.");
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_seen_and_squashes_are_one_commit() {
    let world = World::new().await;
    let (_, pr) = world.pull_request().await;
    let bot = world.client("bot");
    let forge = &world.forge;
    forge
        .push_files("acme", "rocket", "main", "owner", "Clash", &[("README.md", Some("# Boat\n"))])
        .await
        .unwrap();
    let clashing = bot.get_pull_request("acme", "rocket", pr.number).await.unwrap();
    assert_eq!(clashing.mergeable, Some(false));
    let refused = bot.merge("acme", "rocket", pr.number, &pr.head.sha, MergeMethod::Merge).await.unwrap_err();
    assert_eq!(refused.status().unwrap().as_u16(), 405, "{refused}");
    forge
        .push_files("acme", "rocket", "main", "owner", "Back", &[("README.md", Some("# Rocket\n"))])
        .await
        .unwrap();
    let sha = bot.merge("acme", "rocket", pr.number, &pr.head.sha, MergeMethod::Squash).await.unwrap();
    let commit = bot.get_single_commit("acme", "rocket", &sha).await.unwrap();
    assert_eq!((commit.parents.len(), commit.commit.message.as_str()), (1, "Make it fly (#1)\n\nPlease."));
    assert!(bot.get_pull_request("acme", "rocket", pr.number).await.unwrap().merged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_can_propose() {
    let world = World::new().await;
    let mallory = world.forge.find_user("mallory").unwrap();
    let repo = world.forge.find_repo("acme", "rocket").unwrap();
    world.forge.fork(&mallory, &repo).await.unwrap();
    let clone = world.clone("mallory").await;
    clone.write("gift", "x\n");
    let first = clone.commit("A gift").await;
    let url = format!("{}/mallory/rocket.git", world.forge.base_url());
    clone.git(&["push", "--quiet", &url, "HEAD:refs/heads/gift"]).await;
    let client = world.client("mallory");
    let new = NewPullRequest {
        title: "Gift".into(),
        head: "mallory:gift".into(),
        base: "main".into(),
        ..Default::default()
    };
    let pr = client.create_pull_request("acme", "rocket", &new).await.unwrap();
    assert_eq!((pr.head.sha.as_str(), pr.head.repo.full_name.as_str()), (first.as_str(), "mallory/rocket"));
    assert_eq!((pr.head.label.as_str(), pr.base.repo.full_name.as_str()), ("mallory:gift", "acme/rocket"));
    clone.write("gift", "y\n");
    let second = clone.commit("A better gift").await;
    clone.git(&["push", "--quiet", &url, "HEAD:refs/heads/gift"]).await;
    assert_eq!(client.get_pull_request("acme", "rocket", pr.number).await.unwrap().head.sha, second);
    let reader = world.clone("").await;
    reader.git(&["fetch", "--quiet", "origin", &format!("pull/{}/head", pr.number)]).await;
    assert_eq!(reader.git(&["rev-parse", "FETCH_HEAD"]).await, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_are_set_listed_and_combined_over_pages() {
    let world = World::new().await;
    let (_, pr) = world.pull_request().await;
    let bot = world.client("bot");
    let sha = &pr.head.sha;
    assert_eq!(bot.get_combined_status("acme", "rocket", sha).await.unwrap().state, "pending");
    for i in 0..105 {
        let status = Status { state: "success".into(), context: format!("job-{i:03}"), ..Default::default() };
        bot.create_status("acme", "rocket", sha, &status).await.unwrap();
    }
    let failed = Status {
        state: "failure".into(),
        context: "job-003".into(),
        description: "Job failed.".into(),
        target_url: "https://deck/view".into(),
        ..Default::default()
    };
    bot.create_status("acme", "rocket", sha, &failed).await.unwrap();
    let combined = bot.get_combined_status("acme", "rocket", sha).await.unwrap();
    assert_eq!((combined.statuses.len(), combined.state.as_str(), &combined.sha), (105, "failure", sha));
    let third = combined.statuses.iter().find(|s| s.context == "job-003").unwrap();
    assert_eq!(
        (third.state.as_str(), third.description.as_str(), third.creator.login.as_str()),
        ("failure", "Job failed.", "bot")
    );
    let all = bot.list_statuses("acme", "rocket", sha).await.unwrap();
    assert_eq!((all.len(), all[0].context.as_str()), (106, "job-003"), "newest first");
    assert_eq!(world.forge.statuses("acme", "rocket", sha)["job-003"].state, "failure");

    let nowhere = bot.create_status("acme", "rocket", &"0".repeat(40), &failed).await.unwrap_err();
    assert!(nowhere.to_string().contains("No commit found for SHA"), "{nowhere}");
    let stranger = world.client("mallory").create_status("acme", "rocket", sha, &failed).await.unwrap_err();
    assert!(stranger.is_forbidden(), "{stranger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_and_labels_come_and_go() {
    let world = World::new().await;
    let (_, pr) = world.pull_request().await;
    let (bot, n) = (world.client("bot"), pr.number);
    for i in 0..103 {
        bot.create_comment("acme", "rocket", n, &format!("comment {i}")).await.unwrap();
    }
    let comments = bot.list_issue_comments("acme", "rocket", n).await.unwrap();
    assert_eq!((comments.len(), comments[102].body.as_str()), (103, "comment 102"));
    let id = comments[0].id;
    assert_eq!(bot.edit_comment("acme", "rocket", id, "changed").await.unwrap().body, "changed");
    let stranger = world.client("mallory");
    assert!(stranger.edit_comment("acme", "rocket", id, "mine").await.unwrap_err().is_forbidden());
    bot.delete_comment("acme", "rocket", id).await.unwrap();
    bot.delete_comment("acme", "rocket", id).await.expect("a comment that is gone is gone");
    assert_eq!(world.forge.comments("acme", "rocket", n).len(), 102);
    assert!(bot.edit_comment("acme", "rocket", id, "again").await.unwrap_err().is_not_found());

    assert!(bot.get_issue_labels("acme", "rocket", n).await.unwrap().is_empty());
    bot.add_label("acme", "rocket", n, "do-not-merge/hold 100%").await.unwrap();
    bot.add_label("acme", "rocket", n, "lgtm").await.unwrap();
    bot.add_label("acme", "rocket", n, "LGTM").await.unwrap();
    let names: Vec<_> =
        bot.get_issue_labels("acme", "rocket", n).await.unwrap().into_iter().map(|l| l.name).collect();
    assert_eq!(names, ["do-not-merge/hold 100%", "lgtm"]);
    bot.remove_label("acme", "rocket", n, "do-not-merge/hold 100%").await.unwrap();
    bot.remove_label("acme", "rocket", n, "never-there").await.unwrap();
    assert_eq!(bot.get_pull_request("acme", "rocket", n).await.unwrap().labels.len(), 1);
    assert!(stranger.add_label("acme", "rocket", n, "lgtm").await.unwrap_err().is_forbidden());

    let issue = bot.create_issue("acme", "rocket", "It leaks", "Oil.").await.unwrap();
    assert_eq!((issue.number, issue.is_pull_request()), (2, false));
    let as_issue = bot.get_issue("acme", "rocket", n).await.unwrap();
    assert!(as_issue.is_pull_request() && as_issue.title == "Make it fly");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_repositories_and_files_are_found() {
    let world = World::new().await;
    let bot = world.client("bot");
    for (user, member, collaborator) in [
        ("owner", true, true),
        ("bot", true, true),
        ("alice", false, true),
        ("mallory", false, false),
        ("nobody", false, false),
    ] {
        assert_eq!(bot.is_member("acme", user).await.unwrap(), member, "{user}");
        assert_eq!(bot.is_collaborator("acme", "rocket", user).await.unwrap(), collaborator, "{user}");
    }
    assert!(!bot.is_member("no-such-org", "owner").await.unwrap());
    let me = bot.bot_user().await.unwrap();
    assert_eq!((me.login.as_str(), me.r#type.as_str()), ("bot", "Bot"));
    assert!(bot.bot_user_checker().await.unwrap().is("bot[bot]"));

    let repo = bot.get_repo("acme", "rocket").await.unwrap();
    assert_eq!((repo.default_branch.as_str(), repo.owner_login()), ("main", "acme"));
    assert!(repo.permissions.push && !repo.permissions.admin);
    world.forge.create_repo("acme", "boat", &[("a", "b")]).await.unwrap();
    let names: Vec<_> = bot.get_repos("acme").await.unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["rocket", "boat"]);
    assert!(bot.get_repos("mallory").await.unwrap().is_empty(), "a user without repositories");
    assert!(bot.get_repos("nobody").await.unwrap_err().is_not_found());

    let file = bot.get_file("acme", "rocket", "src/main.sh", "").await.unwrap();
    assert_eq!(file, b"#!/bin/sh\nexit 0\n");
    let main = bot.get_ref("acme", "rocket", "heads/main").await.unwrap();
    assert_eq!(bot.get_file("acme", "rocket", "README.md", &main).await.unwrap(), b"# Rocket\n");
    assert!(bot.get_file("acme", "rocket", "nope", "main").await.unwrap_err().is_not_found());
    assert!(bot.get_file("acme", "rocket", "src", "main").await.is_err(), "a directory is no file");
    let big = "x".repeat(1_200_000);
    world.forge.push_files("acme", "rocket", "main", "owner", "Big", &[("big", Some(&big))]).await.unwrap();
    assert_eq!(bot.get_file("acme", "rocket", "big", "main").await.unwrap().len(), big.len());
    assert!(bot.get_ref("acme", "rocket", "heads/mai").await.unwrap_err().is_not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_and_wrong_requests_are_refused() {
    let world = World::new().await;
    let wrong = world.client("nobody").get_repo("acme", "rocket").await.unwrap_err();
    assert_eq!(wrong.status().unwrap().as_u16(), 401);
    assert!(
        wrong.to_string().contains("--github-token-path") && !wrong.to_string().contains("token-of"),
        "{wrong}"
    );
    assert!(world.client("").get_repo("acme", "rocket").await.is_ok(), "anonymous reading");
    assert!(world.client("").create_comment("acme", "rocket", 1, "x").await.unwrap_err().is_forbidden());
    let alice = world.client("alice");
    let new = |head: &str, base: &str| NewPullRequest {
        title: "t".into(),
        head: head.into(),
        base: base.into(),
        ..Default::default()
    };
    for (head, base, says) in [
        ("nope", "main", "no branch"),
        ("main", "nope", "no branch"),
        ("main", "main", "No commits between"),
        ("mallory:x", "main", "no fork"),
        ("--upload-pack=x", "main", "no branch"),
    ] {
        let refused = alice.create_pull_request("acme", "rocket", &new(head, base)).await.unwrap_err();
        assert!(refused.is_refused() && refused.to_string().contains(says), "{head} {base}: {refused}");
    }
    let (_, pr) = world.pull_request().await;
    let twice = alice.create_pull_request("acme", "rocket", &new("feature", "main")).await.unwrap_err();
    assert!(twice.to_string().contains("already exists"), "{twice}");
    assert!(
        world
            .client("mallory")
            .close_pull_request("acme", "rocket", pr.number)
            .await
            .unwrap_err()
            .is_forbidden()
    );
}
