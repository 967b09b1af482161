//! The runner and its questions against real repositories.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

use prow_git::{CommitTree, Expect, Git, GitError, Merge, Signature};
use std::sync::Arc;
use std::time::Duration;

fn who() -> Signature {
    Signature { name: "Ada".into(), email: "ada@example.com".into(), seconds: 1_700_000_000 }
}

/// Writes one file per entry as a commit with the given parents, without any work tree.
async fn commit(git: &Git, files: &[(&str, &str)], parents: &[&str]) -> String {
    let mut listing = String::new();
    for (path, content) in files {
        let blob = git.command(["hash-object", "-w", "--stdin"]).stdin(*content).text().await.unwrap();
        listing.push_str(&format!("100644 blob {blob}\t{path}\n"));
    }
    let tree = git.command(["mktree"]).stdin(listing).text().await.unwrap();
    let commit = CommitTree {
        tree,
        parents: parents.iter().map(|p| (*p).to_owned()).collect(),
        message: "a message\n".into(),
        author: who(),
        committer: who(),
    };
    git.commit_tree(&commit).await.unwrap()
}

async fn repository() -> (tempfile::TempDir, Git) {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path().join("r.git"));
    git.init_bare("main").await.unwrap();
    (dir, git)
}

#[tokio::test]
async fn a_story_of_refs_commits_and_merges() {
    let (_dir, git) = repository().await;
    assert_eq!(git.rev_parse("main").await.unwrap(), None);
    let base = commit(&git, &[("a", "1\n"), ("b", "1\n")], &[]).await;
    assert_eq!(base, commit(&git, &[("a", "1\n"), ("b", "1\n")], &[]).await, "same input, same id");
    git.update_ref("refs/heads/main", &base, &Expect::Absent).await.unwrap();
    assert_eq!(git.rev_parse("main").await.unwrap().as_deref(), Some(base.as_str()));

    let left = commit(&git, &[("a", "2\n"), ("b", "1\n")], &[&base]).await;
    let right = commit(&git, &[("a", "1\n"), ("b", "2\n")], &[&base]).await;
    let clash = commit(&git, &[("a", "3\n"), ("b", "1\n")], &[&base]).await;
    assert_eq!(git.merge_base(&left, &right).await.unwrap().as_deref(), Some(base.as_str()));
    assert!(git.is_ancestor(&base, &left).await.unwrap());
    assert!(!git.is_ancestor(&left, &base).await.unwrap());
    let orphan = commit(&git, &[("z", "z")], &[]).await;
    assert_eq!(git.merge_base(&left, &orphan).await.unwrap(), None);

    let Merge::Clean { tree } = git.merge_tree_write_tree(&left, &right).await.unwrap() else {
        panic!("clean")
    };
    let merged = CommitTree {
        tree,
        parents: vec![left.clone(), right.clone()],
        message: "merge".into(),
        author: who(),
        committer: who(),
    };
    let merged = git.commit_tree(&merged).await.unwrap();
    assert_eq!(git.read_file(&merged, "a").await.unwrap().unwrap(), b"2\n");
    assert_eq!(git.read_file(&merged, "b").await.unwrap().unwrap(), b"2\n");
    assert_eq!(git.read_file(&merged, "nope").await.unwrap(), None);
    assert_eq!(
        git.merge_tree_write_tree(&left, &clash).await.unwrap(),
        Merge::Conflicts { paths: vec!["a".into()] }
    );

    let changes = git.diff_name_status(&base, &merged).await.unwrap();
    assert_eq!(
        changes.iter().map(|c| (c.status, c.path.as_str())).collect::<Vec<_>>(),
        [('M', "a"), ('M', "b")]
    );

    let moved = git.update_ref("refs/heads/main", &merged, &Expect::Is(left.clone())).await;
    assert!(matches!(moved, Err(GitError::Failed { .. })), "compare-and-swap holds");
    git.update_ref("refs/heads/main", &merged, &Expect::Is(base.clone())).await.unwrap();
    git.update_ref("refs/pull/1/head", &left, &Expect::Absent).await.unwrap();
    let refs = git.for_each_ref("refs/").await.unwrap();
    assert_eq!(
        refs.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        ["refs/heads/main", "refs/pull/1/head"]
    );
    assert_eq!(refs[0].object, merged);
    git.delete_ref("refs/pull/1/head", &Expect::Is(left)).await.unwrap();
    assert!(git.for_each_ref("refs/pull/").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_error_says_what_where_and_why_and_hides_secrets() {
    let (_dir, git) = repository().await;
    let git = git.with_censor(Arc::new(|t| t.replace("hunter2", "CENSORED")));
    let error = git.run(["fetch", "/nowhere/hunter2"]).await.unwrap_err();
    assert_eq!(error.exit_code(), Some(128));
    let text = error.to_string();
    assert!(text.contains("git fetch /nowhere/CENSORED") && text.contains("r.git"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let error = Git::new("/nowhere/at/all").run(["status"]).await.unwrap_err();
    assert!(matches!(error, GitError::Start { .. }), "{error}");
}

#[tokio::test]
async fn hostile_names_never_reach_git() {
    let (_dir, git) = repository().await;
    for evil in ["--upload-pack=x", "a b", "a..b", ":/x", "HEAD^{/x}"] {
        assert!(matches!(git.rev_parse(evil).await, Err(GitError::BadName { .. })), "{evil}");
        assert!(matches!(git.merge_base(evil, "main").await, Err(GitError::BadName { .. })), "{evil}");
    }
    assert!(git.read_file("main", "../../etc/passwd").await.is_err());
}

#[tokio::test]
async fn hooks_user_configuration_and_ext_transport_are_off() {
    let (dir, git) = repository().await;
    let hooks = dir.path().join("r.git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join("reference-transaction");
    std::fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let base = commit(&git, &[("a", "1\n")], &[]).await;
    git.update_ref("refs/heads/main", &base, &Expect::Absent).await.expect("the hook must not run");
    let witness = dir.path().join("witness");
    let url = format!("ext::touch {}", witness.display());
    assert!(git.run(["fetch", &url]).await.is_err());
    assert!(!witness.exists());
    let home = dir.path().join("home");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join(".gitconfig"), "[prow]\n\tseen = yes\n").unwrap();
    let git = git.with_env("HOME", &home);
    assert!(git.text(["config", "--get", "prow.seen"]).await.is_err());
    assert_eq!(git.inheriting().text(["config", "--get", "prow.seen"]).await.unwrap(), "yes");
}

#[tokio::test]
async fn time_and_output_are_bounded() {
    let (_dir, git) = repository().await;
    let slow =
        git.clone().with_config("alias.slow", "!sleep 600").with_timeout(Some(Duration::from_millis(300)));
    assert!(matches!(slow.run(["slow"]).await, Err(GitError::TimedOut { .. })));
    let loud = git.with_config("alias.loud", "!yes | head -c 100000").with_output_limit(1000);
    assert!(matches!(loud.text(["loud"]).await, Err(GitError::TooMuchOutput { limit: 1000, .. })));
}
