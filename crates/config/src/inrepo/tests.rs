//! In-repo configuration over a repository that is a map, so that what is asked of it can be counted.

use super::*;
use crate::jobs::Jobs;
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Contents by path; the id of a content is the content.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, String>,
    others: BTreeMap<String, EntryKind>,
    fails: Option<RepoError>,
    lists: AtomicUsize,
    reads: AtomicUsize,
}

#[async_trait::async_trait]
impl Repositories for Tree {
    async fn list(&self, state: &RepoState, _names: &[&str]) -> Result<Vec<RepoEntry>, RepoError> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        if let Some(error) = &self.fails {
            return Err(error.clone());
        }
        // A head named `empty` takes everything away.
        if state.heads.iter().any(|h| h == "empty") {
            return Ok(Vec::new());
        }
        let mut kinds: BTreeMap<String, EntryKind> = self.others.clone();
        for (path, text) in &self.files {
            kinds.insert(path.clone(), EntryKind::File { id: text.clone(), size: text.len() as u64 });
            if path.starts_with(".prow/") {
                kinds.insert(".prow".into(), EntryKind::Directory);
            }
        }
        Ok(kinds.into_iter().map(|(path, kind)| RepoEntry { path, kind }).collect())
    }

    async fn read(&self, _state: &RepoState, ids: &[String]) -> Result<Vec<Vec<u8>>, RepoError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(ids.iter().map(|id| id.clone().into_bytes()).collect())
    }
}

fn tree(files: &[(&str, &str)]) -> Tree {
    let files = files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
    Tree { files, ..Tree::default() }
}

fn presubmit(name: &str) -> String {
    format!("presubmits:\n- name: {name}\n  always_run: true\n  spec: {{containers: [{{image: i}}]}}\n")
}

fn config(value: Value) -> Arc<Snapshot> {
    let mut value = value;
    if value["in_repo_config"].is_null() {
        value["in_repo_config"] = json!({"enabled": {"*": true}, "allowed_clusters": {"*": ["default"]}});
    }
    Arc::new(Snapshot { prow: serde_json::from_value(value).unwrap(), ..Snapshot::default() })
}

fn repo() -> OrgRepo {
    OrgRepo::new("o", "r")
}

fn jobs(tree: Tree, config: &Arc<Snapshot>) -> Result<Arc<InRepoJobs>, InRepoError> {
    block_on(InRepo::new(Arc::new(tree)).jobs(config, &repo(), "b", &["h"]))
}

fn names(jobs: &InRepoJobs) -> Vec<&str> {
    jobs.presubmits.iter().map(|j| j.base.name.as_str()).collect()
}

fn refused(files: &[(&str, &str)], config: &Arc<Snapshot>) -> String {
    jobs(tree(files), config).unwrap_err().to_string()
}

#[test]
fn a_single_file_gives_defaulted_jobs() {
    let text = "prow_ignored: {a: &x {image: i}}\npresets:\n- labels: {p: '1'}\n  env: [{name: A, value: 1}]\npresubmits:\n\
                - name: unit\n  labels: {p: '1'}\n  spec: {containers: [*x]}\npostsubmits:\n- name: push\n  spec: {containers: [*x]}\n";
    let got = jobs(tree(&[(".prow.yaml", text)]), &config(json!({"pod_namespace": "pods"}))).unwrap();
    let unit = &got.presubmits[0];
    assert_eq!((unit.context.as_str(), unit.rerun_command.as_str()), ("unit", "/test unit"));
    assert_eq!((unit.base.cluster.as_str(), unit.base.namespace.as_str()), ("default", "pods"));
    assert_eq!((&*unit.base.source.file, unit.base.source.line), (".prow.yaml", 6));
    let env = unit.base.spec.as_ref().unwrap().containers[0].env.as_ref().unwrap();
    assert_eq!((env[0].name.as_str(), env[0].value.as_deref()), ("A", Some("1")), "the file's own preset");
    assert_eq!(got.postsubmits[0].base.name, "push");
}

#[test]
fn the_directory_alone_counts_in_walk_order_with_its_ignore_rules() {
    let got = jobs(
        tree(&[
            (".prow.yaml", &presubmit("single")),
            (".prow.yml", &presubmit("misspelt")),
            (".prow/b.yml", &presubmit("b")),
            (".prow/a.yaml", &presubmit("a-file")),
            (".prow/a/z.yaml", &presubmit("in-a")),
            (".prow/notes.md", "no: yaml: at: all"),
            (".prow/skip/x.yaml", &presubmit("skipped")),
            (".prow/deep/x.yaml", &presubmit("not-here")),
            (".prow/deep/y.yaml", &presubmit("kept")),
            (".prow/deep/.prowignore", "x.yaml\n"),
            (".prowignore", "skip/\n"),
        ]),
        &config(json!({})),
    )
    .unwrap();
    assert_eq!(names(&got), ["in-a", "a-file", "b", "kept"]);
}

#[test]
fn nothing_is_asked_where_it_is_not_enabled_and_nothing_comes_of_nothing() {
    let counted = Arc::new(tree(&[(".prow.yaml", &presubmit("unit"))]));
    let in_repo = InRepo::new(counted.clone());
    let off = config(json!({"in_repo_config": {"enabled": {"*": true, "o/r": false}}}));
    assert!(block_on(in_repo.jobs(&off, &repo(), "b", &["h"])).unwrap().presubmits.is_empty());
    assert_eq!(counted.lists.load(Ordering::Relaxed), 0);
    assert!(jobs(tree(&[]), &config(json!({}))).unwrap().presubmits.is_empty());
    let empty = jobs(tree(&[(".prow.yaml", "")]), &config(json!({}))).unwrap();
    assert!(empty.presubmits.is_empty() && empty.warnings.is_empty());
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    let plain = config(json!({}));
    for (files, says) in [
        (
            vec![(".prow.yaml", "presubmits: [{name: a}]\n")],
            ".prow.yaml:1:14: presubmits[0].spec: job \"a\": spec:",
        ),
        (vec![(".prow.yaml", "a: [")], "is not YAML"),
        (vec![(".prow/x.yaml", "presubmits: {o/r: []}\n")], ".prow/x.yaml:1"),
        (
            vec![(
                ".prow.yaml",
                "presubmits:\n- {name: a, cluster: trusted, spec: {containers: [{image: i}]}}\n",
            )],
            "cluster \"trusted\" is not open",
        ),
        (
            vec![(
                ".prow.yaml",
                "postsubmits:\n- {name: a, cluster: trusted, spec: {containers: [{image: i}]}}\n",
            )],
            "postsubmit \"a\"",
        ),
        (vec![(".prow", "file")], ".prow is a file"),
        (
            vec![(
                ".prow.yaml",
                "presubmits:\n- {name: a, trigger: '(', rerun_command: x, spec: {containers: [{image: i}]}}\n",
            )],
            "trigger",
        ),
    ] {
        let error = refused(&files, &plain);
        assert!(error.contains(says) && error.contains("o/r"), "{files:?}: {error}");
    }
    let (one, two) = (presubmit("same"), presubmit("same"));
    let error = refused(&[(".prow/a.yaml", &one), (".prow/b.yaml", &two)], &plain);
    assert!(error.contains(".prow/b.yaml:2") && error.contains(".prow/a.yaml:2"), "{error}");
}

#[test]
fn one_bad_file_keeps_all_of_the_repositorys_own_jobs_away_and_all_errors_are_told() {
    let error = refused(
        &[
            (".prow/a.yaml", &presubmit("a")),
            (".prow/b.yaml", "x: ["),
            (".prow/c.yaml", "presubmits: [{name: c}]"),
        ],
        &config(json!({})),
    );
    assert!(error.contains(".prow/b.yaml") && error.contains(".prow/c.yaml"), "{error}");
}

#[test]
fn unknown_keys_and_periodics_are_warnings() {
    let text = format!("{}periodics: []\nanchors: &x 1\n", presubmit("unit"));
    let got = jobs(tree(&[(".prow.yaml", &text)]), &config(json!({}))).unwrap();
    assert_eq!(got.warnings.len(), 1, "{:?}", got.warnings);
    assert!(got.warnings[0].to_string().contains("periodics"));
}

#[test]
fn names_and_contexts_of_the_configurations_jobs_are_taken() {
    let mut snapshot = Arc::unwrap_or_clone(config(json!({})));
    let mut own = crate::Presubmit { context: "ci/unit".into(), ..Default::default() };
    own.base.name = "unit".into();
    snapshot.jobs =
        Jobs { presubmits: BTreeMap::from([("o/r".to_owned(), vec![own].into())]), ..Jobs::default() };
    let snapshot = Arc::new(snapshot);
    let error = refused(&[(".prow.yaml", &presubmit("unit"))], &snapshot);
    assert!(error.contains("there twice"), "{error}");
    let text = presubmit("other").replace("  always_run", "  context: ci/unit\n  always_run");
    assert!(refused(&[(".prow.yaml", &text)], &snapshot).contains("reports to context"));
    let text = presubmit("unit").replace("  always_run", "  branches: [never]\n  always_run");
    assert!(refused(&[(".prow.yaml", &text)], &snapshot).contains("there twice"));
    assert_eq!(names(&jobs(tree(&[(".prow.yaml", &presubmit("new"))]), &snapshot).unwrap()), ["new"]);
}

#[test]
fn the_configurations_presets_decoration_and_clusters_apply() {
    let plank = json!({"default_decoration_config_entries": [{"config": {"timeout": "1h0m0s",
        "gcs_configuration": {"bucket": "b", "path_strategy": "explicit"}, "gcs_credentials_secret": "s",
        "utility_images": {"clonerefs": "c", "initupload": "i", "entrypoint": "e", "sidecar": "s"}}}]});
    let set = json!({"plank": plank, "in_repo_config": {"enabled": {"o": true}, "allowed_clusters": {"*": ["default"], "o": ["big"], "o/r": ["small"]}}});
    let mut snapshot = Arc::unwrap_or_clone(config(set));
    snapshot.jobs.decorate_all_jobs = true;
    let text = |cluster: &str| {
        format!(
            "presubmits:\n- name: a\n  cluster: {cluster}\n  spec: {{containers: [{{image: i, command: [x]}}]}}\n"
        )
    };
    let snapshot = Arc::new(snapshot);
    for cluster in ["default", "big", "small"] {
        let got = jobs(tree(&[(".prow.yaml", &text(cluster))]), &snapshot).unwrap();
        let base = &got.presubmits[0].base;
        assert!(
            base.decorate == Some(true) && base.decoration_config.as_ref().unwrap().timeout.is_some(),
            "{cluster}"
        );
    }
    assert!(refused(&[(".prow.yaml", &text("other"))], &snapshot).contains("not open"));
}

#[test]
fn the_same_content_is_parsed_once_and_defaulted_once_a_snapshot() {
    let counted = Arc::new(tree(&[(".prow.yaml", &presubmit("unit"))]));
    let in_repo = InRepo::new(counted.clone());
    let first = config(json!({"pod_namespace": "one"}));
    let ask =
        |config: &Arc<Snapshot>, head: &str| block_on(in_repo.jobs(config, &repo(), "b", &[head])).unwrap();
    let one = ask(&first, "h1");
    let again = ask(&first, "h2");
    assert!(Arc::ptr_eq(&one, &again), "another pull request, the same files");
    assert_eq!((counted.lists.load(Ordering::Relaxed), counted.reads.load(Ordering::Relaxed)), (2, 1));
    assert!(Arc::ptr_eq(&one, &ask(&first, "h1")));
    assert_eq!(counted.lists.load(Ordering::Relaxed), 2, "the same commits are not asked for again");
    let second = config(json!({"pod_namespace": "two"}));
    let other = ask(&second, "h1");
    assert_eq!(other.presubmits[0].base.namespace, "two", "another snapshot, other defaults");
    assert_eq!(counted.reads.load(Ordering::Relaxed), 1);
}

#[test]
fn a_repository_that_cannot_be_read_is_asked_again() {
    let why = RepoError::Unreachable { repo: "o/r".into(), base: "b".into(), why: "down".into() };
    let down = Arc::new(Tree { fails: Some(why), ..Tree::default() });
    let in_repo = InRepo::new(down.clone());
    for _ in 0..2 {
        let error = block_on(in_repo.jobs(&config(json!({})), &repo(), "b", &["h"])).unwrap_err();
        assert!(!error.is_of_author(), "{error}");
    }
    assert_eq!(down.lists.load(Ordering::Relaxed), 2);
    let bad = jobs(tree(&[(".prow.yaml", "[")]), &config(json!({}))).unwrap_err();
    assert!(bad.is_of_author());
}

#[test]
fn whether_a_head_changes_the_jobs_is_known_without_reading_them() {
    let counted = Arc::new(tree(&[(".prow.yaml", &presubmit("unit"))]));
    let in_repo = InRepo::new(counted.clone());
    let config = config(json!({}));
    let changed = |head: &str| block_on(in_repo.is_changed_by(&config, &repo(), "b", &[head])).unwrap();
    assert!(!changed("h") && changed("empty"));
    assert_eq!(counted.reads.load(Ordering::Relaxed), 0);
}

#[test]
fn the_repositorys_merge_method_decides_how_heads_are_laid_on() {
    let set =
        config(json!({"tide": {"merge_method": {"o/r": "rebase", "o/r@main": "merge", "p": "squash"}}}));
    assert!(state(&set, &repo(), "b", &["h", ""]).rebase);
    assert_eq!(state(&set, &repo(), "b", &["h", ""]).heads, ["h"]);
    assert!(!state(&set, &OrgRepo::new("p", "r"), "b", &[]).rebase);
}

#[test]
fn oversized_and_unreadable_entries_are_refused_before_anything_is_read() {
    let file =
        |path: &str, size| RepoEntry { path: path.into(), kind: EntryKind::File { id: "i".into(), size } };
    let directory = RepoEntry { path: ".prow".into(), kind: EntryKind::Directory };
    let of = |entries: Vec<RepoEntry>| {
        Listing::of(&entries).findings().into_iter().map(|d| d.to_string()).collect::<String>()
    };
    assert!(of(vec![file(".prow.yaml", 5 << 20)]).contains("larger than 4 MiB"));
    let many = (0..2_001).map(|n| file(&format!(".prow/{n}.yaml"), 1));
    assert!(of(std::iter::once(directory.clone()).chain(many).collect()).contains("2001 files"));
    let heavy = (0..5).map(|n| file(&format!(".prow/{n}.yaml"), 4 << 20));
    assert!(of(std::iter::once(directory.clone()).chain(heavy).collect()).contains("bytes together"));
    let out =
        RepoEntry { path: ".prow/x.yaml".into(), kind: EntryKind::Unreadable("leads out of the repository") };
    assert_eq!(of(vec![directory.clone(), out]), ".prow/x.yaml: it leads out of the repository");
    assert!(
        of(vec![RepoEntry { path: ".prow".into(), kind: EntryKind::DirectoryLink }]).contains("not followed")
    );
    let sub = RepoEntry { path: ".prow/x.yaml".into(), kind: EntryKind::Directory };
    assert_eq!(of(vec![directory, sub]), "", "a directory may be called anything");
}

#[test]
fn what_is_small_to_write_and_large_to_read_is_refused() {
    let plain = config(json!({}));
    let says = |text: &str, wanted: &str| {
        let error = refused(&[(".prow.yaml", text)], &plain);
        assert!(
            error.contains(wanted) && error.len() < 2_000,
            "{wanted}: {}",
            &error[..error.len().min(2_000)]
        );
    };
    says(&format!("presubmits:\n{}", "- {}\n".repeat(500_000)), "with these 500000");
    says(&format!("presets:\n{}", "- {}\n".repeat(2_001)), "2000 jobs and presets");
    let env: String = (0..501).map(|i| format!("{{name: a{i}}},")).collect();
    says(&format!("presets: [{{env: [{env}]}}]\n{}", presubmit("a")), "presets more than 500");
    let branches = "a,".repeat(20_001);
    let text = presubmit("a").replace("  always_run", &format!("  branches: [{branches}]\n  always_run"));
    says(&text, "containers and branches");
    let half = format!("presubmits:\n{}", "- {}\n".repeat(1_001));
    let error = refused(&[(".prow/a.yaml", &half), (".prow/b.yaml", &half)], &plain);
    assert!(
        error.contains(".prow/b.yaml:1:1: presubmits: with these 1001"),
        "{}",
        &error[error.len() - 500..]
    );
    let rules = "*.md\n".repeat(4_000);
    let error = refused(&[(".prow/a.yaml", &presubmit("a")), (".prowignore", &rules)], &plain);
    assert!(error.contains("its .prowignore files hold 20000 bytes"), "{error}");
}

#[test]
fn what_is_defaulted_again_weighs_what_it_weighed() {
    let text = format!("{}# {}\n", presubmit("unit"), "x".repeat(3_000_000));
    let in_repo = InRepo::new(Arc::new(tree(&[(".prow.yaml", &text)])));
    let kept = |in_repo: &InRepo| in_repo.caches().finished.weight();
    for _ in 0..2 {
        block_on(in_repo.jobs(&config(json!({})), &repo(), "b", &["h"])).unwrap();
        assert!(kept(&in_repo) > 3_000_000, "{}", kept(&in_repo));
    }
}

proptest! {
    /// Whatever a pull request brings, there is an answer, and never jobs from a file that does not parse.
    #[test]
    fn any_text_is_answered(text in "(presubmits|postsubmits|presets|[a-z]{0,4}): ?\n?[- \\[\\]{}&*:a-z0-9\n<]{0,80}") {
        let outcome = jobs(tree(&[(".prow.yaml", &text)]), &config(json!({})));
        if let Ok(jobs) = outcome {
            prop_assert!(jobs.presubmits.iter().all(|j| j.base.spec.is_some()));
        }
    }

    /// The order in which a tree lists its files does not matter.
    #[test]
    fn files_come_in_walk_order(mut names in prop::collection::hash_set("[ab.]{1,3}(/[ab.]{1,2})?", 1..8).prop_map(Vec::from_iter)) {
        names.retain(|n| !n.split('/').any(|c| c == "." || c == ".."));
        let entries = |names: &[String]| {
            let files = names.iter().map(|n| RepoEntry {
                path: format!(".prow/{n}.yaml"), kind: EntryKind::File { id: n.clone(), size: 1 },
            });
            std::iter::once(RepoEntry { path: ".prow".into(), kind: EntryKind::Directory }).chain(files).collect::<Vec<_>>()
        };
        let one = Listing::of(&entries(&names));
        names.reverse();
        let other = Listing::of(&entries(&names));
        prop_assert_eq!(one.fingerprint(), other.fingerprint());
    }
}
