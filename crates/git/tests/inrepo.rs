//! Mirrors and checkouts as in-repo configuration asks them, over real repositories with hostile content.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

use prow_api::OrgRepo;
use prow_config::inrepo::{EntryKind, InRepo, RepoError, RepoState, Repositories};
use prow_config::{ProwConfig, Snapshot};
use prow_git::{Checkout, CommitTree, Expect, Git, MirrorOptions, Mirrors, Signature};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const FILE: &str = "100644";
const LINK: &str = "120000";
const SUBMODULE: &str = "160000";

struct Origin {
    dir: tempfile::TempDir,
    git: Git,
}

impl Origin {
    async fn new() -> Origin {
        let dir = tempfile::tempdir().unwrap();
        let git = Git::new(dir.path().join("origin/o/r.git"));
        git.init_bare("main").await.unwrap();
        Origin { dir, git }
    }

    /// A commit with exactly these entries.
    async fn commit(&self, entries: &[(&str, &str, &str)], parents: &[&str]) -> String {
        let mut index = Vec::new();
        for (mode, path, content) in entries {
            let id = match *mode {
                SUBMODULE => (*content).to_owned(),
                _ => self.git.command(["hash-object", "-w", "--stdin"]).stdin(*content).text().await.unwrap(),
            };
            index.extend_from_slice(format!("{mode} {id}\t{path}\0").as_bytes());
        }
        let file = tempfile::tempdir().unwrap();
        let at = file.path().join("index");
        let with_index = |args: &'static [&'static str]| self.git.command(args).env("GIT_INDEX_FILE", &at);
        with_index(&["update-index", "-z", "--index-info"]).stdin(index).run().await.unwrap();
        let tree = with_index(&["write-tree"]).text().await.unwrap();
        let who = Signature { name: "Ada".into(), email: "a@example.com".into(), seconds: 1_700_000_000 };
        let parents = parents.iter().map(|p| (*p).to_owned()).collect();
        let commit = CommitTree { tree, parents, message: "m".into(), author: who.clone(), committer: who };
        self.git.commit_tree(&commit).await.unwrap()
    }

    /// Makes a commit reachable, as a branch or pull request would.
    async fn publish(&self, name: &str, id: &str) {
        self.git.update_ref(&format!("refs/heads/{name}"), id, &Expect::Anything).await.unwrap();
    }

    fn mirrors(&self) -> Mirrors {
        let base = self.dir.path().join("origin");
        Mirrors::new(MirrorOptions::at(self.dir.path().join("mirrors"), base.to_str().unwrap()))
    }
}

fn state(base: &str, heads: &[&str]) -> RepoState {
    let heads = heads.iter().map(|h| (*h).to_owned()).collect();
    RepoState { repo: OrgRepo::new("o", "r"), base: base.into(), heads, rebase: false }
}

const NAMES: [&str; 3] = [".prow", ".prow.yaml", ".prowignore"];

async fn listed(repositories: &impl Repositories, state: &RepoState) -> BTreeMap<String, EntryKind> {
    let entries = repositories.list(state, &NAMES).await.unwrap();
    entries.into_iter().map(|e| (e.path, e.kind)).collect()
}

async fn content(repositories: &impl Repositories, state: &RepoState, path: &str) -> String {
    let entries = listed(repositories, state).await;
    let Some(EntryKind::File { id, .. }) = entries.get(path) else { panic!("{path}: {entries:?}") };
    let mut contents = repositories.read(state, std::slice::from_ref(id)).await.unwrap();
    String::from_utf8(contents.remove(0)).unwrap()
}

#[tokio::test]
async fn heads_are_merged_on_the_base_and_only_what_is_missing_is_fetched() {
    let origin = Origin::new().await;
    let base = origin.commit(&[(FILE, ".prow.yaml", "one\n"), (FILE, "code", "1\n")], &[]).await;
    let head = origin.commit(&[(FILE, ".prow.yaml", "one\n"), (FILE, "code", "2\n")], &[&base]).await;
    let ahead = origin.commit(&[(FILE, ".prow.yaml", "two\n"), (FILE, "code", "1\n")], &[&base]).await;
    for (name, id) in [("main", &ahead), ("pull", &head)] {
        origin.publish(name, id).await;
    }
    let mirrors = origin.mirrors();
    let merged = state(&ahead, &[&head]);
    assert_eq!(content(&mirrors, &merged, ".prow.yaml").await, "two\n", "the base's, not the head's own");
    assert_eq!(content(&mirrors, &state(&head, &[]), ".prow.yaml").await, "one\n");
    // The origin is gone: what is here is enough, what is not cannot be had.
    std::fs::rename(origin.dir.path().join("origin"), origin.dir.path().join("gone")).unwrap();
    assert_eq!(content(&mirrors, &merged, ".prow.yaml").await, "two\n");
    let error = mirrors.list(&state(&"f".repeat(40), &[]), &NAMES).await.unwrap_err();
    assert!(matches!(error, RepoError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn what_a_merge_wrote_and_tidying_took_is_written_again() {
    let origin = Origin::new().await;
    let base = origin.commit(&[(FILE, ".prow.yaml", "1\n2\n3\n4\n5\n")], &[]).await;
    let head = origin.commit(&[(FILE, ".prow.yaml", "1\n2\n3\n4\nfive\n")], &[&base]).await;
    let ahead = origin.commit(&[(FILE, ".prow.yaml", "one\n2\n3\n4\n5\n")], &[&base]).await;
    for (name, id) in [("main", &ahead), ("pull", &head)] {
        origin.publish(name, id).await;
    }
    let (mirrors, merged) = (origin.mirrors(), state(&ahead, &[&head]));
    let entries = listed(&mirrors, &merged).await;
    let Some(EntryKind::File { id, .. }) = entries.get(".prow.yaml") else { panic!("{entries:?}") };
    let loose = origin.dir.path().join("mirrors/o/r.git/objects").join(&id[..2]).join(&id[2..]);
    std::fs::remove_file(loose).unwrap();
    let contents = mirrors.read(&merged, std::slice::from_ref(id)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&contents[0]), "one\n2\n3\n4\nfive\n");
}

#[tokio::test]
async fn a_lock_that_a_killed_git_left_is_broken_once_it_is_old() {
    let origin = Origin::new().await;
    let base = origin.commit(&[(FILE, ".prow.yaml", "one\n")], &[]).await;
    origin.publish("main", &base).await;
    let refs = origin.dir.path().join("mirrors/o/r.git/refs/prow/base");
    std::fs::create_dir_all(&refs).unwrap();
    let lock = std::fs::File::create(refs.join(format!("{}.lock", &base[39..]))).unwrap();
    let error = origin.mirrors().list(&state(&base, &[]), &NAMES).await.unwrap_err();
    assert!(error.to_string().contains(".lock"), "a young lock may be held: {error}");
    lock.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(7200)).unwrap();
    assert_eq!(listed(&origin.mirrors(), &state(&base, &[])).await.len(), 1);
}

#[tokio::test]
async fn a_batch_is_merged_in_its_order_and_conflicts_are_told() {
    let origin = Origin::new().await;
    let files = |a: &'static str, b: &'static str| [(FILE, ".prow/a.yaml", a), (FILE, ".prow/b.yaml", b)];
    let base = origin.commit(&files("0\n", "0\n"), &[]).await;
    let one = origin.commit(&files("1\n", "0\n"), &[&base]).await;
    let two = origin.commit(&files("0\n", "2\n"), &[&base]).await;
    let clash = origin.commit(&files("3\n", "0\n"), &[&base]).await;
    let orphan = origin.commit(&files("9\n", "9\n"), &[]).await;
    for (name, id) in [("main", &base), ("one", &one), ("two", &two), ("clash", &clash), ("orphan", &orphan)]
    {
        origin.publish(name, id).await;
    }
    let mirrors = origin.mirrors();
    for rebase in [false, true] {
        let both = RepoState { rebase, ..state(&base, &[&one, &two]) };
        assert_eq!(content(&mirrors, &both, ".prow/a.yaml").await, "1\n");
        assert_eq!(content(&mirrors, &both, ".prow/b.yaml").await, "2\n");
        let wrong = RepoState { rebase, ..state(&base, &[&one, &clash]) };
        let error = mirrors.list(&wrong, &NAMES).await.unwrap_err();
        let RepoError::Conflict { head, why, .. } = &error else { panic!("{error}") };
        assert!(*head == clash && why.contains(".prow/a.yaml"), "{error}");
    }
    let error = mirrors.list(&state(&base, &[&orphan]), &NAMES).await.unwrap_err();
    assert!(matches!(error, RepoError::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn a_rebase_lays_commits_one_by_one_and_leaves_merges_out() {
    let origin = Origin::new().await;
    let base = origin.commit(&[(FILE, ".prow.yaml", "a\n"), (FILE, "x", "0\n")], &[]).await;
    let ahead = origin.commit(&[(FILE, ".prow.yaml", "a\n"), (FILE, "x", "1\n")], &[&base]).await;
    let first = origin.commit(&[(FILE, ".prow.yaml", "b\n"), (FILE, "x", "0\n")], &[&base]).await;
    let merge = origin.commit(&[(FILE, ".prow.yaml", "b\n"), (FILE, "x", "1\n")], &[&first, &ahead]).await;
    let last = origin.commit(&[(FILE, ".prow.yaml", "c\n"), (FILE, "x", "1\n")], &[&merge]).await;
    for (name, id) in [("main", &ahead), ("pull", &last)] {
        origin.publish(name, id).await;
    }
    let rebased = RepoState { rebase: true, ..state(&ahead, &[&last]) };
    assert_eq!(content(&origin.mirrors(), &rebased, ".prow.yaml").await, "c\n");
}

#[tokio::test]
async fn links_are_followed_inside_the_tree_and_never_out_of_it() {
    let origin = Origin::new().await;
    let secret = origin.dir.path().join("secret.yaml");
    std::fs::write(&secret, "secret").unwrap();
    let submodule = "1".repeat(40);
    let base = origin
        .commit(
            &[
                (FILE, "ci/jobs.yaml", "shared\n"),
                (FILE, ".prow/own.yaml", "own\n"),
                (LINK, ".prow/in.yaml", "../ci/jobs.yaml"),
                (LINK, ".prow/chain.yaml", "in.yaml"),
                (LINK, ".prow/out.yaml", "../../secret.yaml"),
                (LINK, ".prow/root.yaml", secret.to_str().unwrap()),
                (LINK, ".prow/none.yaml", "../nothing.yaml"),
                (LINK, ".prow/loop.yaml", "loop.yaml"),
                (LINK, ".prow/through.yaml", "own.yaml/x"),
                (LINK, ".prow/dir.yaml", "../ci"),
                (LINK, ".prow/long.yaml", "x\nblob y\n"),
                (SUBMODULE, ".prow/sub.yaml", &submodule),
                (FILE, ".prow/odd\nname.yaml", "odd\n"),
                (FILE, ".prow/white space.yaml", "space\n"),
                (FILE, ".prow.yaml", "single\n"),
                (FILE, ".prowsomething", "not asked for\n"),
            ],
            &[],
        )
        .await;
    origin.publish("main", &base).await;
    let mirrors = origin.mirrors();
    let at = state(&base, &[]);
    let entries = listed(&mirrors, &at).await;
    for path in [".prow/in.yaml", ".prow/chain.yaml"] {
        assert_eq!(content(&mirrors, &at, path).await, "shared\n", "{path}");
    }
    assert_eq!(content(&mirrors, &at, ".prow/white space.yaml").await, "space\n");
    assert_eq!(
        (&entries[".prow"], &entries[".prow/dir.yaml"]),
        (&EntryKind::Directory, &EntryKind::DirectoryLink)
    );
    for (path, says) in [
        ("out", "out of the repository"),
        ("root", "out of the repository"),
        ("none", "nowhere"),
        ("loop", "itself"),
        ("through", "no directory"),
        ("long", "nowhere"),
        ("sub", "submodule"),
        ("odd\\nname", "control characters"),
    ] {
        let entry = &entries[&format!(".prow/{path}.yaml")];
        assert!(matches!(entry, EntryKind::Unreadable(why) if why.contains(says)), "{path}: {entry:?}");
    }
    assert!(!entries.contains_key(".prowsomething") && entries.contains_key(".prow.yaml"));
}

#[tokio::test]
async fn nothing_of_a_repository_is_run_and_no_name_becomes_an_option() {
    let origin = Origin::new().await;
    let mark = origin.dir.path().join("ran");
    let attributes = "* merge=evil filter=evil diff=evil\n";
    let hook = format!("#!/bin/sh\ntouch {}\n", mark.display());
    let module = format!("[submodule \"s\"]\n\tpath = s\n\turl = ext::touch {}\n", mark.display());
    let entries = |yaml: &'static str| {
        vec![
            (FILE, ".gitattributes".to_owned(), attributes.to_owned()),
            (FILE, ".gitmodules".to_owned(), module.clone()),
            ("100755", ".git-hooks/post-merge".to_owned(), hook.clone()),
            (FILE, ".prow.yaml".to_owned(), yaml.to_owned()),
        ]
    };
    let of =
        |list: &[(&'static str, String, String)]| -> Vec<(&'static str, String, String)> { list.to_vec() };
    let commit = async |list: Vec<(&'static str, String, String)>, parents: &[&str]| {
        let list: Vec<(&str, &str, &str)> =
            list.iter().map(|(m, p, c)| (*m, p.as_str(), c.as_str())).collect();
        origin.commit(&list, parents).await
    };
    let base = commit(of(&entries("a\n")), &[]).await;
    let head = commit(of(&entries("b\n")), &[&base]).await;
    origin.publish("main", &base).await;
    origin.publish("pull", &head).await;
    assert_eq!(content(&origin.mirrors(), &state(&base, &[&head]), ".prow.yaml").await, "b\n");
    assert!(!mark.exists());
    for evil in ["--upload-pack=touch x", "main", "", "HEAD"] {
        assert!(origin.mirrors().list(&state(evil, &[]), &NAMES).await.is_err(), "{evil}");
    }
    for (org, repo) in [("..", "r"), ("o", "a/b"), ("o", "-x y"), ("", "r")] {
        let state = RepoState { repo: OrgRepo::new(org, repo), ..state(&base, &[]) };
        assert!(origin.mirrors().list(&state, &NAMES).await.is_err(), "{org}/{repo}");
    }
}

#[tokio::test]
async fn in_repo_jobs_come_from_a_mirror_and_from_a_checkout_alike() {
    let origin = Origin::new().await;
    let job = "presubmits:\n- name: unit\n  spec: {containers: [{image: i}]}\n";
    let base = origin.commit(&[(FILE, "code", "1\n")], &[]).await;
    let head = origin.commit(&[(FILE, "code", "1\n"), (FILE, ".prow/ci.yaml", job)], &[&base]).await;
    origin.publish("main", &base).await;
    origin.publish("pull", &head).await;
    let mut prow = ProwConfig::default();
    prow.in_repo_config.enabled.insert("*".into(), Some(true));
    prow.in_repo_config.allowed_clusters.insert("*".into(), vec!["default".into()]);
    let config = Arc::new(Snapshot { prow, ..Snapshot::default() });
    let repo = OrgRepo::new("o", "r");
    let checkout = Checkout::new(origin.git.dir());
    assert_eq!(checkout.commit("pull").await.unwrap().as_deref(), Some(head.as_str()));
    for in_repo in [InRepo::new(Arc::new(origin.mirrors())), InRepo::new(Arc::new(checkout.clone()))] {
        let jobs = in_repo.jobs(&config, &repo, &base, &[&head]).await.unwrap();
        assert_eq!(jobs.presubmits[0].base.name, "unit");
        assert!(in_repo.jobs(&config, &repo, &base, &[]).await.unwrap().presubmits.is_empty());
        assert!(in_repo.is_changed_by(&config, &repo, &base, &[&head]).await.unwrap());
    }
    let missing = Checkout::new(Path::new("/nonexistent")).list(&state(&base, &[]), &NAMES).await;
    assert!(matches!(missing, Err(RepoError::Unreachable { .. })));
}
