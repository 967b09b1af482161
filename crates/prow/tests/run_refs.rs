//! Which job `prow run` runs and on which commits: jobs that a repository defines itself, git servers without an API,
//! and checkouts of every sort.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod tools;

use prow_forge::SeedPull;
use std::path::Path;
use std::process::Command;
use tools::{Fixture, Ran, World, prow_beside};

const CONFIG: &str = "
in_repo_config:
  enabled: {acme/rocket: true, acme/own: true}
plank:
  default_decoration_configs:
    '*':
      gcs_configuration: {bucket: results, path_strategy: explicit}
      utility_images: {clonerefs: x/clonerefs, initupload: x/initupload, entrypoint: x/entrypoint, sidecar: x/sidecar}
";

const JOBS: &str = "
presubmits:
  acme/rocket:
  - name: unit
    decorate: true
    always_run: true
    branches: [release]
    clone_uri: https://example.invalid/acme/rocket.git
    spec: {containers: [{image: i, command: [sh, -c, 'cat kept sub/f; ls']}]}
  acme/station:
  - {name: unit, decorate: true, always_run: true, spec: {containers: [{image: i, command: ['true']}]}}
  - {name: remote, agent: jenkins, always_run: true}
periodics:
- {name: nightly, interval: 1h, spec: {containers: [{image: i, command: ['true']}]}}
";

fn own(word: &str) -> String {
    format!(
        "presubmits:\n- {{name: mine, decorate: true, always_run: true, spec: {{containers: [{{image: i, command: \
         [sh, -c, 'echo {word} $PULL_NUMBER $PULL_PULL_SHA; cat kept']}}]}}}}\n\
         postsubmits:\n- {{name: publish, decorate: true, spec: {{containers: [{{image: i, command: \
         [sh, -c, 'echo {word} $PULL_BASE_REF; cat kept']}}]}}}}\n"
    )
}

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.write("config.yaml", CONFIG);
    fixture.write("jobs.yaml", JOBS);
    fixture
}

fn git(dir: &Path, args: &[&str]) -> String {
    let who = ["-c", "user.name=n", "-c", "user.email=n@example.com", "-c", "protocol.file.allow=always"];
    let out = Command::new("git").arg("-C").arg(dir).args(who).args(args).output().unwrap();
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn run(fixture: &Fixture, args: &[&str]) -> Ran {
    let out = fixture.path("out");
    let own = ["--out-dir", &out, "--runtime=process"];
    let args: Vec<&str> = ["run"].into_iter().chain(args.iter().copied()).chain(own).collect();
    fixture.prow(&args, "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repositorys_own_job_runs_on_its_pull_request_and_its_branch() {
    let world = World::new().await;
    let files = [(".prow.yaml", own("base")), ("kept", "kept\n".to_owned())];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    world.forge.create_repo("acme", "own", &files).await.unwrap();
    let changed = own("head");
    let seed = SeedPull {
        title: "Another word",
        author: "alice",
        head: "word",
        files: &[(".prow.yaml", Some(&changed))],
        ..SeedPull::default()
    };
    world.forge.seed_pull_request("acme", "own", seed).await.unwrap();
    let head = world.forge.branch("acme", "own", "word").unwrap();
    let fixture = fixture();
    let host = world.forge.base_url().trim_end_matches('/').to_owned();
    let (api, nowhere) = (format!("{host}/api/v3"), "http://127.0.0.1:9/api/v3");
    let ask = async |endpoint: &str, job: &str, more: &[&str]| {
        let out = fixture.path("out");
        let fixed = [
            "run",
            job,
            "--repo",
            "acme/own",
            "--github-host",
            &host,
            "--out-dir",
            &out,
            "--runtime=process",
        ];
        let args: Vec<&str> = fixed.into_iter().chain(more.iter().copied()).collect();
        prow_beside(fixture.args_with_github(&args, endpoint), "").await
    };
    // As GitHub has it, and as its git has it where the API does not answer.
    for endpoint in [api.as_str(), nowhere] {
        let ran = ask(endpoint, "mine", &["--pr", "1"]).await;
        assert_eq!((ran.code, ran.stdout), (Some(0), format!("head 1 {head}\nkept\n")), "{}", ran.stderr);
        assert_eq!(ran.stderr.contains("GitHub does not say"), endpoint == nowhere, "{}", ran.stderr);
        assert!(ran.stderr.contains("prow run: cloning\n"), "what is waited for is said: {}", ran.stderr);
        let ran = ask(endpoint, "publish", &["--base-ref", "main"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "base main\nkept\n"), "{}", ran.stderr);
    }
    for (job, more, says) in [
        ("mine", ["--base-ref", "main"], "defines no such postsubmit"),
        ("publish", ["--pr", "1"], "defines no such presubmit"),
        ("mien", ["--pr", "1"], "did you mean \"mine\"?"),
        ("mine", ["--pr", "7"], "#7"),
    ] {
        let ran = ask(&api, job, &more).await;
        assert_eq!(ran.code, Some(125), "{job}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{job}: {}", ran.stderr);
    }
}

/// A checkout of acme/rocket on branch `feature` with a submodule that has a commit of its own, a repository that is no
/// submodule, and changes.
fn checkout(fixture: &Fixture) -> String {
    let dir = fixture.dir.path();
    for name in ["sub", "origin"] {
        git(dir, &["init", "-q", "-b", "main", name]);
    }
    let (sub, origin) = (dir.join("sub"), dir.join("origin"));
    std::fs::write(sub.join("f"), "pushed\n").unwrap();
    git(&sub, &["add", "."]);
    git(&sub, &["commit", "-q", "-m", "sub"]);
    std::fs::write(origin.join("kept"), "first\n").unwrap();
    git(&origin, &["add", "."]);
    git(&origin, &["commit", "-q", "-m", "first"]);
    std::fs::write(origin.join("kept"), "base\n").unwrap();
    std::fs::write(origin.join(".prow.yaml"), own("base")).unwrap();
    git(&origin, &["submodule", "--quiet", "add", sub.to_str().unwrap(), "sub"]);
    let url = "https://example.invalid/acme/sub.git";
    git(&origin, &["config", "-f", ".gitmodules", "submodule.sub.url", url]);
    git(&origin, &["add", "."]);
    git(&origin, &["commit", "-q", "-m", "base"]);

    let top = fixture.path("checkout");
    // Not all of its history.
    let from = format!("file://{}", origin.display());
    git(dir, &["clone", "-q", "--depth=1", &from, &top]);
    let at = Path::new(&top);
    git(at, &["remote", "set-url", "origin", "git@github.example:acme/rocket.git"]);
    git(at, &["config", "submodule.sub.url", sub.to_str().unwrap()]);
    git(at, &["submodule", "--quiet", "update", "--init"]);
    git(at, &["checkout", "-q", "-b", "feature"]);
    std::fs::write(at.join("sub/f"), "not pushed\n").unwrap();
    git(&at.join("sub"), &["commit", "-q", "-a", "-m", "not pushed"]);
    std::fs::write(at.join("sub/f"), "not committed\n").unwrap();
    std::fs::write(at.join("kept"), "changed\n").unwrap();
    git(at, &["init", "-q", "nested"]);
    git(&at.join("nested"), &["commit", "-q", "--allow-empty", "-m", "nested"]);
    std::fs::create_dir(at.join("deep")).unwrap();
    top
}

#[test]
fn a_checkout_has_its_submodules_and_its_own_jobs_from_wherever_one_stands() {
    let fixture = fixture();
    let path = checkout(&fixture);
    // Its repository is the one of two that its origin is; submodules come from the checkout, not from their hosts.
    let deep = format!("{path}/deep");
    let ran = run(&fixture, &["unit", "--path", &deep, "--base-ref", "main"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "changed\nnot pushed\nkept\nsub\n"),
        "{}",
        ran.stderr
    );
    for says in [
        "nested is a repository of its own",
        "sub has changes that are not committed",
        "not for branch main",
        "on acme/rocket main",
    ] {
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
    // What that run tested is gone: another checkout has to take its place.
    let file = format!("{}/prowjob.json", fixture.path("out"));
    let ran = tools::prow(&["run", "--from-file", &file, "--runtime=process"], "");
    assert_eq!(ran.code, Some(125), "{}", ran.stderr);
    assert!(ran.stderr.contains("--path acme/rocket=DIR"), "{}", ran.stderr);

    // Its own jobs, committed or not, as presubmit and as postsubmit.
    let at = Path::new(&path);
    std::fs::write(at.join(".prow.yaml"), own("mine")).unwrap();
    git(at, &["worktree", "add", "-q", "../tree", "-b", "other"]);
    let tree = fixture.dir.path().join("tree");
    git(&tree, &["submodule", "--quiet", "update", "--init"]);
    std::fs::write(tree.join("kept"), "in a work tree\n").unwrap();
    for (args, want) in [
        (["mine", "--path", &path, "--base-ref=main"], "mine 0 "),
        (["publish", "--path", &path, "--base-ref=main"], "mine main\nchanged\n"),
        (["publish", "--path", &fixture.path("tree"), "--repo=acme/rocket"], "base other\nin a work tree\n"),
    ] {
        let ran = run(&fixture, &args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        assert!(ran.stdout.starts_with(want), "{args:?}: {}\n{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn a_name_that_does_not_say_which_job_is_asked_about() {
    let fixture = fixture();
    let cases: [(&[&str], &str); 7] = [
        (&["unit", "--pr", "5"], "--repo says which is meant: acme/rocket, acme/station"),
        (&["nigthly"], "did you mean \"nightly\"?"),
        (&["mine", "--repo", "acme/own"], "acme/own may define it itself: give --pr, --base-ref or --path"),
        (&["mine", "--pr", "5"], "if a repository defines it itself, --repo says which"),
        (&["mine", "--repo", "acme/station", "--pr", "5"], "in_repo_config is not enabled for acme/station"),
        (&["nightly", "--repo", "acme/station"], "it is a periodic; leave --repo out"),
        (
            &["remote", "--pr=5", "--base-ref=main", "--base-sha=a", "--pull-sha=b"],
            "runs on jenkins, not in a Pod of its own",
        ),
    ];
    for (args, says) in cases {
        let ran = run(&fixture, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(125), ""), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
    }
    // Texts of a file are shown, so they must not drive the terminal.
    let hostile = r#"{"spec": {"job": "\u001b]0;x\u0007", "agent": "kubernetes", "type": "periodic",
                      "pod_spec": {"containers": [{"image": "i", "command": ["true"]}]}}}"#;
    let file = fixture.write("hostile.json", hostile);
    let ran = tools::prow(&["run", "--from-file", &file, "--runtime=process"], "");
    assert_eq!(
        (ran.code, ran.stderr.contains("has control characters")),
        (Some(125), true),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
}
