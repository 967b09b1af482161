//! `prow config diff` between directories, revisions and the work tree, with real git.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod tools;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use tools::shared;

/// A git repository with a configuration below `prow/`, in two commits on `main` and one on `topic`.
struct Repo {
    dir: tempfile::TempDir,
}

fn job(name: &str, image: &str) -> String {
    format!("- name: {name}\n  interval: 1h\n  spec: {{containers: [{{image: {image}, command: [make]}}]}}\n")
}

fn git(dir: &Path, args: &[&str]) -> String {
    let ran = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=n", "-c", "user.email=e@example.com"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(ran.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

impl Repo {
    fn new() -> Repo {
        let repo = Repo { dir: tempfile::tempdir().unwrap() };
        git(repo.dir.path(), &["init", "-q", "-b", "main"]);
        repo.write("prow/config.yaml", "plank: {max_goroutines: 3}\n");
        repo.write("prow/jobs/a.yaml", &format!("periodics:\n{}", job("one", "a:1")));
        repo.write("unrelated.txt", "x");
        repo.commit("first");
        git(repo.dir.path(), &["branch", "topic"]);
        repo.write("prow/jobs/b.yaml", &format!("periodics:\n{}", job("two", "a:1")));
        repo.commit("second");
        git(repo.dir.path(), &["checkout", "-q", "topic"]);
        repo.write("prow/jobs/a.yaml", &format!("periodics:\n{}", job("one", "a:2")));
        repo.commit("topic");
        repo
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn commit(&self, message: &str) {
        git(self.dir.path(), &["add", "-A"]);
        git(self.dir.path(), &["commit", "-qm", message]);
    }

    /// Runs in the directory `below`, where the configuration is at `config.yaml` and `jobs` from `prefix`.
    fn diff_in(&self, below: &str, prefix: &str, args: &[&str]) -> (Option<i32>, String, String) {
        let (config, jobs) = (format!("{prefix}config.yaml"), format!("{prefix}jobs/"));
        let ran = Command::new(env!("CARGO_BIN_EXE_prow"))
            .current_dir(self.dir.path().join(below))
            .args(["config", "diff", "--config-path", &config, "--job-config-path", &jobs])
            .args(args)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ran.status.code(), text(ran.stdout), text(ran.stderr))
    }

    fn diff(&self, args: &[&str]) -> String {
        let (code, out, err) = self.diff_in("", "prow/", args);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        out
    }
}

#[test]
fn revisions_ranges_and_the_work_tree_are_compared() {
    let repo = Repo::new();
    assert!(repo.diff(&["main..topic"]).starts_with("1 job removed, 1 changed\n"));
    assert!(repo.diff(&["main...topic"]).starts_with("1 job changed\n"));
    assert!(repo.diff(&["main", "topic"]).starts_with("1 job removed, 1 changed\n"));
    assert!(repo.diff(&["main~1", "main"]).starts_with("1 job added\n"));
    assert_eq!(repo.diff(&["topic"]), "nothing changes\n");
    repo.write("prow/jobs/new.yaml", &format!("periodics:\n{}", job("three", "a:1")));
    repo.write("prow/config.yaml", "plank: {max_goroutines: 4}\n");
    let out = repo.diff(&["HEAD"]);
    assert!(out.contains("+ periodic three (prow/jobs/new.yaml:2)\n"), "{out}");
    assert!(out.contains("config.yaml: plank (1 change)\n    plank.max_goroutines: 3 -> 4\n"), "{out}");
    // Nothing of the repository was touched.
    let status = git(repo.dir.path(), &["status", "--short"]);
    assert_eq!(status, " M prow/config.yaml\n?? prow/jobs/new.yaml\n");
}

#[test]
fn the_pod_is_compared_and_exit_codes_are_those_of_diff() {
    let repo = Repo::new();
    let (code, out, _) = repo.diff_in("", "prow/", &["--exit-code", "main...topic"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("@@ spec.containers[test].image\n"), "{out}");
    assert!(out.contains("    -    image: a:1\n    +    image: a:2\n"), "{out}");
    assert_eq!(repo.diff_in("", "prow/", &["--exit-code", "topic"]).0, Some(0));
    let (code, out, err) = repo.diff_in("", "prow/", &["--exit-code", "nowhere", "topic"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("\"nowhere\" is neither a directory nor a revision"), "{err}");
    repo.write("prow/jobs/a.yaml", "periodics: [{name: 'no name'}]\n");
    let (code, _, err) = repo.diff_in("", "prow/", &["HEAD"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("cannot load the files as they are now") && err.contains("prow/jobs/a.yaml:1:"),
        "{err}"
    );
}

#[test]
fn paths_are_relative_to_where_one_stands() {
    let repo = Repo::new();
    let (code, out, err) = repo.diff_in("prow", "", &["main...topic", "-o", "json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let value: Value = serde_json::from_str(&out).unwrap();
    let job = &value["changed"][0]["jobs"][0];
    assert_eq!((&job["name"], &job["file"], &job["line"]), (&"one".into(), &"jobs/a.yaml".into(), &2.into()));
    let (code, _, err) = repo.diff_in("prow", "../../", &["main...topic"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is not in the repository"), "{err}");
}

#[test]
fn links_in_a_revision_lead_where_they_lead() {
    let repo = Repo::new();
    repo.write("elsewhere/c.yaml", &format!("periodics:\n{}", job("linked", "a:1")));
    std::os::unix::fs::symlink("../../elsewhere/c.yaml", repo.dir.path().join("prow/jobs/c.yaml")).unwrap();
    repo.commit("link");
    assert!(repo.diff(&["HEAD~1..HEAD"]).contains("+ periodic linked (prow/jobs/c.yaml:2)"));
}

#[test]
fn directories_are_compared_and_markdown_is_a_comment() {
    let repo = Repo::new();
    let copy = tempfile::tempdir().unwrap();
    let old = copy.path().join("old/prow");
    std::fs::create_dir_all(old.join("jobs")).unwrap();
    std::fs::write(old.join("config.yaml"), "").unwrap();
    let top = copy.path().join("old");
    let (code, out, err) = repo.diff_in("", "prow/", &[top.to_str().unwrap(), ".", "-o", "markdown"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with("<!-- prow config diff -->\n### Prow: 1 job added, plank of config.yaml\n"),
        "{out}"
    );
    assert!(out.contains("| added | periodic `one` | `prow/jobs/a.yaml:2` |"), "{out}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A new default image for all of kubernetes' jobs is two things to read, and fits into a comment.
#[test]
fn a_default_of_thousands_of_jobs_is_shown_once() {
    let Some(old) = shared("corpus/kubernetes") else { return };
    let dir = tempfile::tempdir().unwrap();
    copy(&old, dir.path());
    let config = std::fs::read_to_string(dir.path().join("config.yaml")).unwrap();
    let image = config.lines().find(|l| l.trim_start().starts_with("clonerefs:")).unwrap();
    std::fs::write(
        dir.path().join("config.yaml"),
        config.replace(image, &image.replace("clonerefs:v", "clonerefs:next-v")),
    )
    .unwrap();
    let run = |output: &str| {
        let ran = Command::new(env!("CARGO_BIN_EXE_prow"))
            .args([
                "config",
                "diff",
                "--config-path",
                "config.yaml",
                "--job-config-path",
                "jobs",
                "-o",
                output,
            ])
            .args([&old, dir.path()])
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let text = run("text");
    assert!(text.starts_with("3849 jobs changed in 2 ways, plank of config.yaml\n"), "{}", &text[..200]);
    assert!(text.contains("@@ spec.initContainers[clonerefs].image\n"));
    assert!(text.lines().count() < 60, "{}", text.lines().count());
    let comment = run("markdown");
    assert!(comment.len() < 65_536 && !comment.contains("did not fit"), "{}", comment.len());
}
