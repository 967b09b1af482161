//! `prow run` as people run it: the real executable, real git repositories, real processes.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;
mod tools;

use common::{Prow, processes_mentioning};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use tools::{Fixture, Ran, World, prow, prow_beside};

const CONFIG: &str = "
plank:
  default_decoration_configs:
    '*':
      gcs_configuration: {bucket: results, path_strategy: explicit}
      gcs_credentials_secret: not-here
      oauth_token_secret: {name: clone-token, key: token}
      utility_images:
        clonerefs: gcr.io/k8s-prow/clonerefs:v1
        initupload: gcr.io/k8s-prow/initupload:v1
        entrypoint: gcr.io/k8s-prow/entrypoint:v1
        sidecar: gcr.io/k8s-prow/sidecar:v1
";

/// A presubmit `unit` of acme/rocket that runs `script`, and more of the job's own settings.
fn fixture(script: &str, more: &str) -> Fixture {
    let fixture = Fixture::new();
    fixture.write("config.yaml", CONFIG);
    let script = serde_json::to_string(script).unwrap();
    let jobs = format!(
        "presubmits:\n  acme/rocket:\n  - name: unit\n    decorate: true\n    always_run: true\n    {more}\n    \
         spec: {{containers: [{{image: img, command: [sh, -c, {script}]}}]}}\n"
    );
    fixture.write("jobs.yaml", &jobs);
    fixture
}

fn git(dir: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=n", "-c", "user.email=n@example.com"])
        .args(args)
        .output()
        .unwrap();
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// A checkout on branch `feature`, one commit ahead of main, with a change and a file that are not committed.
fn checkout(fixture: &Fixture) -> String {
    let path = fixture.path("checkout");
    let dir = Path::new(&path);
    std::fs::create_dir(dir).unwrap();
    git(dir, &["init", "-q", "-b", "main"]);
    std::fs::write(dir.join("kept"), "base\n").unwrap();
    std::fs::write(dir.join(".gitignore"), "ignored\n").unwrap();
    git(dir, &["add", "."]);
    git(dir, &["commit", "-q", "-m", "base"]);
    git(dir, &["checkout", "-q", "-b", "feature"]);
    std::fs::write(dir.join("kept"), "committed\n").unwrap();
    git(dir, &["commit", "-q", "-a", "-m", "feature"]);
    std::fs::write(dir.join("kept"), "changed\n").unwrap();
    std::fs::write(dir.join("new"), "new\n").unwrap();
    std::fs::write(dir.join("ignored"), "ignored\n").unwrap();
    path
}

fn run(fixture: &Fixture, args: &[&str], stdin: &str) -> Ran {
    let out = fixture.path("out");
    let own = ["--out-dir", &out, "--runtime=process"];
    let args: Vec<&str> = ["run"].into_iter().chain(args.iter().copied()).chain(own).collect();
    fixture.prow(&args, stdin)
}

/// What the job wrote: all but the line in which its entrypoint says that it failed.
fn of_the_job(stdout: &str) -> String {
    stdout.split_inclusive('\n').filter(|line| !line.starts_with("{\"component\":\"entrypoint\"")).collect()
}

fn result(fixture: &Fixture, name: &str) -> String {
    std::fs::read_to_string(Path::new(&fixture.path("out")).join(name)).unwrap()
}

#[test]
fn a_checkout_is_tested_as_it_is_and_left_alone() {
    let fixture = fixture("cat kept; ls; echo out >$ARTIFACTS/a; echo $JOB_NAME $PULL_BASE_REF; exit 7", "");
    let path = checkout(&fixture);
    let before = git(Path::new(&path), &["status", "--porcelain", "--ignored"]);
    let objects = git(Path::new(&path), &["count-objects", "-v"]);
    let ran = run(&fixture, &["unit", "--path", &path, "--base-ref", "main"], "");
    assert_eq!(
        (ran.code, of_the_job(&ran.stdout).as_str()),
        (Some(7), "changed\nkept\nnew\nunit main\n"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("failed with exit code 7"), "{}", ran.stderr);
    assert!(ran.stderr.contains("cloning without clone-token"), "{}", ran.stderr);
    assert_eq!(git(Path::new(&path), &["status", "--porcelain", "--ignored"]), before);
    assert_eq!(git(Path::new(&path), &["count-objects", "-v"]), objects, "nothing was added to the checkout");

    // What the sidecar would have uploaded.
    assert_eq!(result(&fixture, "artifacts/a"), "out\n");
    assert!(result(&fixture, "build-log.txt").starts_with("changed\n"));
    let finished: Value = serde_json::from_str(&result(&fixture, "finished.json")).unwrap();
    assert_eq!((&finished["passed"], &finished["result"]), (&false.into(), &"FAILURE".into()));
    let job: Value = serde_json::from_str(&result(&fixture, "prowjob.json")).unwrap();
    assert_eq!(job["status"]["state"], "failure");
    assert_eq!(job["spec"]["refs"]["base_sha"], git(Path::new(&path), &["rev-parse", "main"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_is_cloned_and_its_run_can_be_repeated() {
    let world = World::new().await;
    let base = world.forge.base_url().to_owned();
    let fixture = fixture(
        "cat README.md; git rev-parse HEAD; echo $PULL_NUMBER $PULL_PULL_SHA",
        &format!("clone_uri: {}/acme/rocket.git", base.trim_end_matches('/')),
    );
    let (out, again) = (fixture.path("out"), fixture.path("again"));
    let endpoint = format!("{}/api/v3", base.trim_end_matches('/'));
    let args = [
        "run",
        "unit",
        "--repo",
        "acme/rocket",
        "--pr",
        "1",
        "-o",
        "json",
        "--out-dir",
        &out,
        "--runtime=process",
    ];
    let ran = prow_beside(fixture.args_with_github(&args, &endpoint), "").await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("# It flies\n"), "with -o json the log is on standard error: {}", ran.stderr);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&summary["state"], &summary["exitCode"]), (&"success".into(), &0.into()), "{summary}");
    let refs = &summary["prowJob"]["spec"]["refs"];
    assert_eq!(
        (&refs["base_sha"], &refs["pulls"][0]["sha"]),
        (&world.base_sha.clone().into(), &world.head_sha.clone().into())
    );
    assert_eq!(refs["pulls"][0]["author"], "alice");
    assert!(summary["containers"].as_array().unwrap().iter().any(|c| c["name"] == "sidecar"), "{summary}");
    let merged = |text: &str| text.lines().find(|l| l.len() == 40).unwrap().to_owned();

    // Everything is in the file: no configuration, no GitHub, and the same merge commit.
    let url = format!("file://{out}");
    let args =
        ["run", "--from-url", &url, "--out-dir", &again, "--runtime=process"].map(str::to_owned).to_vec();
    let repeated = prow_beside(args, "").await;
    assert_eq!(repeated.code, Some(0), "{}", repeated.stderr);
    assert_eq!(merged(&repeated.stdout), merged(&ran.stderr));
    assert!(repeated.stdout.contains(&format!("1 {}\n", world.head_sha)), "{}", repeated.stdout);
    let (old, new) =
        (result(&fixture, "prowjob.json"), std::fs::read_to_string(format!("{again}/prowjob.json")).unwrap());
    let (old, new): (Value, Value) =
        (serde_json::from_str(&old).unwrap(), serde_json::from_str(&new).unwrap());
    assert_eq!(old["spec"]["refs"], new["spec"]["refs"]);
    assert_eq!(old["spec"]["pod_spec"], new["spec"]["pod_spec"]);
    assert_ne!(old["metadata"]["name"], new["metadata"]["name"]);
}

#[test]
fn secrets_are_stubs_unless_they_are_given() {
    let fixture = Fixture::new();
    fixture.write(
        "jobs.yaml",
        "periodics:\n- name: nightly\n  interval: 1h\n  spec:\n    containers:\n    - image: img\n      \
         command: [sh, -c, 'echo $TOKEN; cat /etc/creds/key /etc/conf/*']\n      \
         env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}]\n      \
         volumeMounts: [{name: creds, mountPath: /etc/creds}, {name: conf, mountPath: /etc/conf}]\n    \
         volumes:\n    - {name: creds, secret: {secretName: creds}}\n    - {name: conf, configMap: {name: conf}}\n",
    );
    for (dir, key, text) in [("creds", "key", "opensesame\n"), ("conf", "a.ini", "level = 3\n")] {
        std::fs::create_dir(fixture.path(dir)).unwrap();
        fixture.write(&format!("{dir}/{key}"), text);
    }
    let creds = format!("creds={}", fixture.path("creds"));
    let conf = format!("conf={}", fixture.path("conf"));
    let ran = run(&fixture, &["nightly", "--secret", &creds, "--config-map", &conf], "");
    assert_eq!(ran.stdout, "stub-of-prow-run\nopensesame\nlevel = 3\n", "{}", ran.stderr);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.contains("stubs stand in for Secret api ("), "{}", ran.stderr);
    assert!(!ran.stderr.contains("opensesame"), "{}", ran.stderr);
}

#[test]
fn a_shell_waits_where_the_job_failed() {
    let fixture = fixture("echo left >left; exit 4", "");
    let path = checkout(&fixture);
    let typed = "cat left; echo $((20+3)); exit 9\n";
    let ran = run(&fixture, &["unit", "--path", &path, "--shell-on-failure"], typed);
    assert_eq!(ran.code, Some(4), "the job's code, not the shell's: {}", ran.stderr);
    assert!(ran.stderr.contains("left\n") && ran.stderr.contains("23\n"), "{}", ran.stderr);
    // Nobody waits where nothing failed.
    let fixture = self::fixture("true", "");
    let path = checkout(&fixture);
    assert_eq!(run(&fixture, &["unit", "--path", &path, "--shell-on-failure"], "").code, Some(0));
}

#[test]
fn ctrl_c_ends_the_job_and_leaves_nothing_behind() {
    let fixture =
        fixture("trap 'echo caught; exit 0' INT TERM; echo started; while :; do sleep 0.1; done", "");
    let (path, out, tmp) = (checkout(&fixture), fixture.path("out"), fixture.path("tmp"));
    std::fs::create_dir(&tmp).unwrap();
    let args = fixture.args(&["run", "unit", "--path", &path, "--out-dir", &out, "--runtime=process"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut prow = Prow::start_with(&args, &[("TMPDIR", &tmp)]);
    prow.line_with("started");
    prow.signal("INT");
    let (status, stdout, stderr) = prow.end();
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert!(stdout.contains("caught"), "the job was told: {stdout}\n{stderr}");
    assert_eq!(processes_mentioning(&tmp), Vec::<String>::new());
    let left: Vec<_> = std::fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new(), "the scratch directory is gone");
    let job: Value = serde_json::from_str(&result(&fixture, "prowjob.json")).unwrap();
    assert_eq!(job["status"]["state"], "aborted");
    let finished: Value = serde_json::from_str(&result(&fixture, "finished.json")).unwrap();
    assert_eq!(finished["result"], "ABORTED", "what there was is kept");
}

#[test]
fn what_a_killed_run_leaves_the_next_one_removes() {
    let fixture = fixture("echo started; while :; do sleep 0.1; done", "");
    let (path, out, tmp) = (checkout(&fixture), fixture.path("out"), fixture.path("tmp"));
    std::fs::create_dir(&tmp).unwrap();
    let args = fixture.args(&["run", "unit", "--path", &path, "--out-dir", &out, "--runtime=process"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut prow = Prow::start_with(&args, &[("TMPDIR", &tmp)]);
    prow.line_with("started");
    prow.signal("KILL");
    prow.end();
    assert_ne!(processes_mentioning(&tmp), Vec::<String>::new(), "the Pod goes on");
    // One that has nothing to run.
    let args = fixture.args(&["run", "nothing", "--path", &path, "--out-dir", &out, "--runtime=process"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (status, _, stderr) = Prow::start_with(&args, &[("TMPDIR", &tmp)]).end();
    assert_eq!(status.code(), Some(125), "{stderr}");
    assert!(stderr.contains("cleaning up after a run that was killed"), "{stderr}");
    assert_eq!(processes_mentioning(&tmp), Vec::<String>::new(), "{stderr}");
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0, "{stderr}");
}

#[test]
fn what_cannot_be_run_says_why() {
    let fixture = fixture("true", "clone_uri: http://127.0.0.1:9/acme/rocket.git");
    let path = checkout(&fixture);
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["unit"], more].concat()
    }
    let cases: [(Vec<&str>, i32, &str); 8] = [
        (vec!["absent"], 125, "no job is called \"absent\""),
        (with(&[]), 125, "give --pr, or --path"),
        (with(&["--path", "/no/such"]), 125, "/no/such is not a directory"),
        (with(&["--path", fixture.dir.path().to_str().unwrap()]), 125, "no checkout that can be used"),
        (with(&["--path", &path, "--base-ref", "absent"]), 125, "no branch \"absent\""),
        (with(&["--path", &path, "--path", "a/b=/tmp"]), 125, "clones no repository a/b"),
        (with(&["--secret", "nameonly"]), 2, "NAME=DIR"),
        (with(&["--from-file", "x"]), 2, "cannot be used with"),
    ];
    for (args, code, says) in cases {
        let ran = run(&fixture, &args, "");
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    fixture.write("not-a-job.json", "{\"kind\": \"ConfigMap\"}");
    let ran = prow(&["run", "--from-file", &fixture.path("not-a-job.json")], "");
    assert_eq!((ran.code, ran.stderr.contains("not a ProwJob")), (Some(125), true), "{}", ran.stderr);

    // An image that brings its own command cannot be run as a process.
    let jobs = "periodics: [{name: bare, interval: 1h, spec: {containers: [{image: img}]}}]\n";
    fixture.write("jobs.yaml", jobs);
    let ran = run(&fixture, &["bare"], "");
    assert_eq!(ran.code, Some(125), "{}", ran.stderr);
    assert!(ran.stderr.contains("ErrImagePull") && ran.stderr.contains("needs a command"), "{}", ran.stderr);
}

#[test]
fn a_clone_that_fails_is_a_failure_whose_log_is_the_clones() {
    let fixture = fixture("echo never", "");
    let path = checkout(&fixture);
    // The base changes the line that the pull request changes.
    let dir = Path::new(&path);
    git(dir, &["commit", "-q", "-a", "-m", "more"]);
    git(dir, &["checkout", "-q", "main"]);
    std::fs::write(dir.join("kept"), "otherwise\n").unwrap();
    git(dir, &["commit", "-q", "-a", "-m", "conflict"]);
    git(dir, &["checkout", "-q", "-f", "feature"]);
    let ran = run(&fixture, &["unit", "--path", &path, "--base-ref", "main"], "");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("# FAILED") && ran.stdout.contains("CONFLICT"),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    assert!(!ran.stdout.contains("never"), "{}", ran.stdout);
}

/// Where there is no Podman: `None`, and a word about it; in CI a failure. Otherwise the environment of a Podman with a
/// store of its own, which has an image of busybox.
fn podman(dir: &Path) -> Option<Vec<(String, String)>> {
    let on_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|d| d.join(program)).find(|p| p.is_file())
    };
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    let (Some(_), Some(busybox), true) = (on_path("podman"), on_path("busybox"), root) else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "CI has to have podman and busybox, and be root"
        );
        eprintln!("SKIPPED: containers are not tested here: podman and busybox-static, and root, are needed");
        return None;
    };
    // Of its own, since a store remembers how it was opened first.
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("podman-run");
    std::fs::create_dir_all(&store).unwrap();
    let conf = dir.join("storage.conf");
    let text = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{0}/store\"\nrunroot = \"{0}/run\"\n",
        store.display()
    );
    std::fs::write(&conf, text).unwrap();
    let env = vec![("CONTAINERS_STORAGE_CONF".to_owned(), conf.to_str().unwrap().to_owned())];
    let podman = |args: &[&str]| {
        Command::new("podman").args(args).envs(env.iter().cloned()).status().unwrap().success()
    };
    if !podman(&["image", "exists", IMAGE]) {
        let root = dir.join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "ls", "sleep"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        let tar = dir.join("image.tar");
        assert!(
            Command::new("tar")
                .arg("-C")
                .arg(&root)
                .arg("-cf")
                .arg(&tar)
                .arg(".")
                .status()
                .unwrap()
                .success()
        );
        assert!(podman(&["import", "-q", "--change", "ENV PATH=/bin", tar.to_str().unwrap(), IMAGE]));
    }
    Some(env)
}

const IMAGE: &str = "localhost/prow-test-busybox:1";

#[test]
fn a_job_runs_in_its_image_with_its_utilities_beside_it() {
    let script = "ls /; cat kept; echo out >$ARTIFACTS/a; cat typed 2>/dev/null; echo typed >typed; exit 7";
    let fixture = fixture(script, "");
    let Some(env) = podman(fixture.dir.path()) else { return };
    let jobs = std::fs::read_to_string(fixture.path("jobs.yaml"))
        .unwrap()
        .replace("image: img", &format!("image: '{IMAGE}'"));
    fixture.write("jobs.yaml", &jobs);
    let (path, out, tmp) = (checkout(&fixture), fixture.path("out"), fixture.path("t"));
    std::fs::create_dir(&tmp).unwrap();
    let args = fixture.args(&[
        "run",
        "unit",
        "--path",
        &path,
        "--out-dir",
        &out,
        "--runtime=podman",
        "--base-ref=main",
        "--shell-on-failure",
    ]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_prow"))
        .args(args)
        .envs(env)
        .env("TMPDIR", &tmp)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"cat typed; exit 2\n").unwrap();
    let ended = child.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(7), "{stdout}\n{stderr}");
    assert!(stderr.contains("containers of Podman Engine") && stderr.contains("started by us"), "{stderr}");
    // Its root is the image's and not this machine's, and clonerefs was there with git.
    assert!(
        stdout.contains("tools\n") && !stdout.contains("usr\n") && of_the_job(&stdout).ends_with("changed\n"),
        "{stdout}"
    );
    assert!(stderr.contains("typed\n"), "the shell is in the container: {stderr}");
    assert_eq!(result(&fixture, "artifacts/a"), "out\n");
    assert!(result(&fixture, "build-log.txt").contains("changed\n"));
    let finished: Value = serde_json::from_str(&result(&fixture, "finished.json")).unwrap();
    assert_eq!(finished["result"], "FAILURE");
    assert_eq!(processes_mentioning(&tmp), Vec::<String>::new(), "Podman's service has ended with us");
    let left: Vec<_> = std::fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new(), "the scratch directory is gone: {stderr}");
}

#[test]
fn help_teaches() {
    let text = prow(&["run", "--help"], "").ok();
    for word in ["Examples:", "--pr 5", "--path .", "--from-url", "--shell-on-failure", "Exit code:", "125"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
