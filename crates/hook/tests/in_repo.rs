//! A repository's own jobs, from a push or pull request at the forge through real git to ProwJobs and comments.
#![allow(clippy::unwrap_used)]

mod world;

use async_trait::async_trait;
use prow_api::{OrgRepo, Secret};
use prow_config::inrepo::{EntryKind, InRepoError, RepoError, RepoState, Repositories};
use prow_config::{Postsubmit, Presubmit, Snapshot};
use prow_forge::SeedPull;
use prow_git::{MirrorOptions, Mirrors};
use prow_plugins::Error;
use prow_plugins::jobs::{BranchHead, JobSource, RepositoryJobs};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use world::{ORG, REPO, World};

const SPEC: &str = "spec: {containers: [{image: go, command: [make]}]}";

fn own(name: &str) -> String {
    format!("presubmits:\n- name: {name}\n  always_run: true\n  {SPEC}\n")
}

async fn started() -> World {
    World::with_in_repo(|jobs| Arc::new(jobs)).await
}

async fn open(world: &World, author: &str, files: &[(&str, Option<&str>)]) -> i64 {
    let seed = SeedPull { title: "A change", author, files, ..SeedPull::default() };
    world.forge.seed_pull_request(ORG, REPO, seed).await.unwrap().number
}

async fn push(world: &World, branch: &str, path: &str, text: &str) {
    world.forge.push_files(ORG, REPO, branch, "alice", "push", &[(path, Some(text))]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_jobs_start_beside_those_of_the_configuration() {
    let world = started().await;
    let number = open(&world, "alice", &[(".prow.yaml", Some(&own("own")))]).await;
    world.settle().await;
    assert_eq!(world.states().await, ["own triggered", "unit triggered"]);
    let job = &world.prowjobs().await[0];
    let refs = job.spec.refs.as_ref().unwrap();
    assert_eq!((refs.pulls[0].number, &refs.pulls[0].sha), (number, &world.head(number)));
    assert_eq!((job.spec.context.as_str(), job.spec.cluster.as_str()), ("own", "default"));
    assert_eq!(world.bot_comments(number), [""; 0]);
    world.redeliver("pull_request", "opened").await;
    world.settle().await;
    assert_eq!(world.prowjobs().await.len(), 2, "the same event makes the same jobs");

    // A push asks the pushed commit, whose directory takes the place of a file.
    let text = format!("postsubmits:\n- name: ship\n  {SPEC}\n");
    push(&world, "main", ".prow/release/ship.yaml", &text).await;
    world.settle().await;
    let all = world.states().await;
    assert_eq!(all, ["own triggered", "publish triggered", "ship triggered", "unit triggered"]);

    // The base moved: the pull request's file no longer counts where the base has a directory.
    world.say(number, "alice", "/test own").await;
    world.settle().await;
    assert_eq!(world.prowjobs().await.len(), 4);
    assert!(world.bot_comments(number)[0].contains("were not found"));
    world.forge.close(ORG, REPO, number, "alice").await.unwrap();
    world.settle().await;
    assert_eq!(world.states().await[0], "own aborted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_jobs_are_started_by_their_own_triggers() {
    let world = started().await;
    let text = format!(
        "presubmits:\n- name: deploy\n  trigger: (?m)^please deploy$\n  rerun_command: please deploy\n  {SPEC}\n"
    );
    push(&world, "main", ".prow/deploy.yaml", &text).await;
    let number = open(&world, "alice", &[("main.go", Some("x\n"))]).await;
    world.settle().await;
    world.say(number, "alice", "please deploy").await;
    world.say(number, "alice", "talk").await;
    world.settle().await;
    assert_eq!(world.states().await, ["deploy triggered", "publish triggered", "unit triggered"]);
    assert_eq!(world.bot_comments(number), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_brings_a_fault_is_told_once_and_the_configurations_jobs_run() {
    let world = started().await;
    let bad = own("own").replace("always_run: true", "cluster: trusted");
    let number = open(&world, "alice", &[(".prow.yaml", Some(&bad))]).await;
    world.settle().await;
    assert_eq!(world.states().await, ["unit triggered"]);
    let said = world.bot_comments(number);
    let place = "    .prow.yaml:2: presubmit \"own\": cluster \"trusted\" is not open";
    assert!(said.len() == 1 && said[0].contains("@alice") && said[0].contains(place), "{said:?}");

    push(&world, "pull-1", "more.go", "x\n").await;
    world.settle().await;
    assert_eq!(world.bot_comments(number).len(), 1, "the same fault is told once");
    world.say(number, "alice", "/test ?").await;
    world.settle().await;
    let help = world.bot_comments(number).pop().unwrap();
    assert!(
        help.contains("/test unit") && help.contains("not among these") && help.contains(place),
        "{help}"
    );

    push(&world, "pull-1", ".prow.yaml", &own("unit")).await;
    world.settle().await;
    let said = world.bot_comments(number).pop().unwrap();
    assert!(said.contains("is there twice"), "{said}");
    push(&world, "pull-1", ".prow.yaml", &own("own")).await;
    world.settle().await;
    assert!(world.states().await.contains(&"own triggered".to_owned()), "{:?}", world.states().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_base_is_nobodys_who_does_not_touch_it() {
    let world = started().await;
    push(&world, "main", ".prow.yaml", "presubmits: [").await;
    world.settle().await;
    assert_eq!(world.states().await, ["publish triggered"]);
    let number = open(&world, "alice", &[("main.go", Some("x\n"))]).await;
    world.settle().await;
    assert_eq!(world.states().await, ["publish triggered", "unit triggered"]);
    assert_eq!(world.bot_comments(number), [""; 0]);
    let mender = open(&world, "alice", &[(".prow.yaml", Some(&own("own")))]).await;
    world.settle().await;
    let jobs = world.prowjobs().await;
    let of = |n: i64| {
        jobs.iter().filter(|j| j.spec.refs.as_ref().unwrap().pulls.iter().any(|p| p.number == n)).count()
    };
    assert_eq!((of(number), of(mender)), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_own_jobs_wait_for_trust() {
    let world = started().await;
    let number = open(&world, "mallory", &[(".prow.yaml", Some(&own("own")))]).await;
    world.settle().await;
    assert!(world.prowjobs().await.is_empty());
    world.say(number, "mallory", "/test own").await;
    world.settle().await;
    assert!(world.prowjobs().await.is_empty());
    world.say(number, "alice", "/ok-to-test").await;
    world.settle().await;
    assert_eq!(world.states().await, ["own triggered", "unit triggered"]);
}

/// The first question fails as if the network did.
struct Flaky {
    jobs: RepositoryJobs,
    asked: AtomicUsize,
}

impl Flaky {
    fn fails(&self) -> Result<(), Error> {
        if self.asked.fetch_add(1, Ordering::Relaxed) > 0 {
            return Ok(());
        }
        let down = RepoError::Unreachable { repo: "o/r".into(), base: "b".into(), why: "down".into() };
        Err(InRepoError::Repository(down).into())
    }
}

#[async_trait]
impl JobSource for Flaky {
    async fn presubmits<'c>(
        &self,
        config: &'c Arc<Snapshot>,
        repo: &OrgRepo,
        base: &BranchHead,
        head_sha: &str,
    ) -> Result<Cow<'c, [Presubmit]>, Error> {
        self.fails()?;
        self.jobs.presubmits(config, repo, base, head_sha).await
    }

    async fn postsubmits<'c>(
        &self,
        config: &'c Arc<Snapshot>,
        repo: &OrgRepo,
        sha: &str,
    ) -> Result<Cow<'c, [Postsubmit]>, Error> {
        self.fails()?;
        self.jobs.postsubmits(config, repo, sha).await
    }

    async fn is_changed_by(
        &self,
        config: &Arc<Snapshot>,
        repo: &OrgRepo,
        base: &BranchHead,
        head_sha: &str,
    ) -> Result<bool, Error> {
        self.jobs.is_changed_by(config, repo, base, head_sha).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_jobs_that_cannot_be_read_for_a_moment_start_later_and_the_others_once() {
    let world = World::with_in_repo(|jobs| Arc::new(Flaky { jobs, asked: AtomicUsize::new(0) })).await;
    let number = open(&world, "alice", &[(".prow.yaml", Some(&own("own")))]).await;
    world.settle().await;
    assert_eq!(world.states().await, ["own triggered", "unit triggered"]);
    assert_eq!(world.bot_comments(number), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_repository_is_fetched_with_the_token_and_with_no_other() {
    let world = World::new().await;
    let files = [(".prow.yaml", "presubmits: []\n")];
    world.forge.create_repo_with(ORG, "vault", "main", true, &files).await.unwrap();
    let base = world.forge.branch(ORG, "vault", "main").unwrap();
    let state = RepoState { repo: OrgRepo::new(ORG, "vault"), base, heads: Vec::new(), rebase: false };
    let dir = tempfile::tempdir().unwrap();
    for (name, token, readable) in [
        ("right", Some("the bot's token"), true),
        ("wrong", Some("no token of ours"), false),
        ("none", None, false),
    ] {
        let token = token.map(Secret::new);
        let options = MirrorOptions::at(dir.path().join(name), world.forge.base_url());
        let mirrors = Mirrors::new(options.with_token(move || Ok(token.clone())));
        match mirrors.list(&state, &[".prow.yaml"]).await {
            Ok(entries) => assert!(readable && matches!(entries[0].kind, EntryKind::File { .. }), "{name}"),
            Err(error) => {
                let text = error.to_string();
                assert!(!readable && !text.contains("token of ours"), "{name}: {text}");
            }
        }
    }
    let config = std::fs::read_to_string(dir.path().join("right/acme/vault.git/config")).unwrap();
    assert!(!config.contains("token"), "{config}");
}
