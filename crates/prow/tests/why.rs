//! `prow why` as people run it: offline, on payloads, against a forge, and on real configuration.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod tools;

use serde_json::{Value, json};
use tools::{Fixture, World, prow, prow_beside, shared};

const BRANCH: [&str; 7] = ["why", "--org", "acme", "--repo", "rocket", "--branch", "main"];

fn why<'a>(more: &[&'a str]) -> Vec<&'a str> {
    BRANCH.into_iter().chain(more.iter().copied()).collect()
}

/// `job: yes|no|? rule` of each job in a JSON answer.
fn summary(answer: &Value) -> Vec<String> {
    let jobs = answer["jobs"].as_array().unwrap().iter();
    jobs.map(|j| {
        let runs = match &j["runs"] {
            Value::Bool(true) => "yes",
            Value::Bool(false) => "no",
            _ => "?",
        };
        let forced = if j["forced"] == true { "!" } else { "" };
        format!("{}: {runs}{forced} {}", j["job"].as_str().unwrap(), j["rule"].as_str().unwrap())
    })
    .collect()
}

fn parsed(text: String) -> Value {
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_table_names_the_rule_its_file_and_its_line() {
    let fixture = Fixture::new();
    let ran = fixture.prow(&why(&["--changed-files", "README.md,a.go"]), "");
    assert_eq!(ran.stderr, "");
    let (out, jobs) = (ran.ok(), fixture.path("jobs.yaml"));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "a pull request to main of acme/rocket: 2 of 4 presubmits run");
    for (line, start, end) in [
        (3, "yes   -       unit", format!("{jobs}:4   runs because always_run is true")),
        (
            4,
            "no    -       unit",
            format!("{jobs}:14  does not run because the branch does not match branches \"release\""),
        ),
        (
            5,
            "yes   -       docs",
            format!(
                "{jobs}:19  runs because the changed file \"README.md\" matches run_if_changed \"\\\\.md$\""
            ),
        ),
        (
            6,
            "no    -       e2e",
            format!("{jobs}:23  does not run because it only runs when asked for with \"/test e2e\""),
        ),
    ] {
        assert!(lines[line].starts_with(start) && lines[line].ends_with(&end), "{line}: {out}");
    }
    assert!(out.contains("Note: taken for granted: the plugin trigger is enabled"), "{out}");
}

#[test]
fn what_is_not_known_offline_is_said() {
    let fixture = Fixture::new();
    let answer = parsed(fixture.prow(&why(&["--offline", "-o", "json"]), "").ok());
    assert_eq!(
        summary(&answer),
        ["unit: yes always-run", "unit: no branch-not-listed", "docs: ? unknown", "e2e: no explicit-only"]
    );
    assert_eq!((&answer["jobs"][2]["line"], &answer["jobs"][2]["job_line"]), (&json!(19), &json!(17)));
    assert!(answer["notes"].to_string().contains("changed files are not known"), "{answer}");
    let answer = parsed(fixture.prow(&why(&["--offline", "--comment", "/retest", "-o", "json"]), "").ok());
    assert!(answer["notes"].to_string().contains("statuses of the head commit are not known"), "{answer}");
}

#[test]
fn comments_start_what_they_name() {
    let fixture = Fixture::new();
    let ask = |text: &str| {
        let args = why(&["--changed-files-from", "-", "--comment", text, "-o", "json"]);
        parsed(fixture.prow(&args, "main.go\n").ok())
    };
    let rest = ["unit: no not-named", "unit: no not-named", "docs: no not-named"];
    assert_eq!(summary(&ask("/test e2e"))[..3], rest);
    assert_eq!(summary(&ask("please\r\n/test e2e\r\n"))[3], "e2e: yes! forced");
    assert_eq!(
        summary(&ask("/test all")),
        [
            "unit: yes always-run",
            "unit: no branch-not-listed",
            "docs: no no-file-matches",
            "e2e: no explicit-only"
        ]
    );
    for (text, why) in [
        ("nice work", "no command for jobs"),
        ("/test ?", "asks for help"),
        ("/test nonesuch", "target(s)"),
        ("/test", "one or more targets"),
        ("/ok-to-test cancel", "takes the label away"),
    ] {
        let answer = ask(text);
        assert!(summary(&answer).iter().all(|s| s.ends_with("no event")), "{text}: {answer}");
        assert!(answer["jobs"][0]["because"].as_str().unwrap().contains(why), "{text}: {answer}");
    }
}

#[test]
fn payloads_say_what_they_are() {
    let fixture = Fixture::new();
    let repository = json!({"name": "rocket", "owner": {"login": "acme", "name": "acme"}});
    let pull = |action: &str, draft: bool| {
        json!({
            "action": action, "number": 5, "repository": repository,
            "pull_request": {"number": 5, "state": "open", "draft": draft, "base": {"ref": "release"}, "head": {"sha": "h"}},
        })
    };
    let push = json!({
        "ref": "refs/heads/main", "after": "a", "repository": repository,
        "commits": [{"added": ["docs/new.md"], "modified": ["README.md"]}],
    });
    let comment = json!({
        "action": "created", "repository": repository, "comment": {"body": "/test e2e"},
        "issue": {"number": 5, "state": "open", "pull_request": {}},
    });
    let ask = |payload: &Value, more: &[&str]| {
        let mut args = vec!["why", "--event", "-", "-o", "json"];
        args.extend(more);
        parsed(fixture.prow(&args, &payload.to_string()).ok())
    };
    let opened = ask(&pull("opened", false), &["--changed-files", "a.md"]);
    assert_eq!(
        summary(&opened),
        [
            "unit: no branch-not-listed",
            "unit: yes always-run",
            "docs: yes file-matches",
            "e2e: no explicit-only"
        ]
    );
    assert_eq!((&opened["pr"], &opened["branch"]), (&json!(5), &json!("release")));
    let draft = ask(&pull("opened", true), &[]);
    assert!(draft["jobs"][1]["because"].as_str().unwrap().contains("draft"), "{draft}");
    let on_draft = ask(&pull("opened", true), &["--comment", "/test e2e", "--offline"]);
    assert_eq!(summary(&on_draft)[3], "e2e: yes! forced", "a comment starts jobs of a draft");
    let closed = ask(&pull("closed", false), &[]);
    assert_eq!(summary(&closed)[1], "unit: no event");
    assert_eq!(summary(&ask(&push, &[])), ["publish: no only-skipped-files"]);
    assert_eq!(summary(&ask(&push, &["--changed-files", "a.go"])), ["publish: yes file-outside"]);
    let commented = ask(&comment, &["--branch", "main", "--offline", "--event-type", "issue_comment"]);
    assert_eq!(summary(&commented)[3], "e2e: yes! forced");
    let mut issue = comment.clone();
    issue["issue"].as_object_mut().unwrap().remove("pull_request");
    assert!(ask(&issue, &["--branch", "main", "--offline"]).to_string().contains("this is an issue"));
}

#[test]
fn plugins_yaml_decides_too() {
    let fixture = Fixture::new();
    let plugins = fixture.write("plugins.yaml", "plugins:\n  acme/other: {plugins: [trigger]}\n");
    let out = fixture.prow(&why(&["--offline", "--plugin-config", &plugins]), "").ok();
    assert!(
        out.contains("0 of 4 presubmits run") && out.contains("trigger is not enabled for acme/rocket"),
        "{out}"
    );
    let plugins = fixture.write(
        "plugins.yaml",
        "plugins:\n  acme: {plugins: [trigger]}\ntriggers:\n- repos: [acme]\n  ignore_ok_to_test: true\n",
    );
    let flags = ["--changed-files", "a.go", "--plugin-config", &plugins, "--comment", "/ok-to-test"];
    let out = fixture.prow(&why(&flags), "").ok();
    assert!(out.contains("0 of 4 presubmits run") && !out.contains("taken for granted: the plugin"), "{out}");
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let fixture = Fixture::new();
    let out = fixture.prow(&why(&["--changed-files-from", "-"]), "\u{1b}[31m\u{202e}x.md\n").ok();
    assert!(!out.contains('\u{1b}') && !out.contains('\u{202e}'), "{out:?}");
    assert!(out.contains("x.md"), "{out}");
}

#[test]
fn what_cannot_be_answered_is_said() {
    let fixture = Fixture::new();
    let said = |args: &[&str], stdin: &str| fixture.prow(args, stdin).refused();
    assert!(said(&["why", "--event", "-"], "{}").contains("give --event-type"));
    assert!(said(&["why", "--event", "-"], "nonsense").contains("not JSON"));
    assert!(said(&["why", "--event", "-", "--event-type", "push"], "{}").contains("which repository"));
    assert!(said(&["why", "--org", "acme", "--repo", "rocket"], "").contains("give --branch"));
    assert!(
        said(&["why", "--org", "acme", "--repo", "rocket", "--pr", "1", "--offline"], "")
            .contains("give --branch")
    );
    let stderr = said(&["why", "--org", "acme", "--repo", "rocket", "--pr", "1"], "");
    assert!(stderr.contains("cannot fetch pull request acme/rocket#1"), "{stderr}");
    assert_eq!(prow(&["why", "--config-path", "c"], "").code, Some(2));
    let help = prow(&["why", "--help"], "").ok();
    assert!(help.contains("that does not exist yet") && help.contains("--changed-files-from"), "{help}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_come_from_github() {
    let (fixture, world) = (Fixture::new(), World::new().await);
    let ask = |more: &[&str]| {
        let args: Vec<&str> = ["why", "--org", "acme", "--repo", "rocket", "--pr", "1", "-o", "json"]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        prow_beside(fixture.args_with_github(&args, world.forge.api_url().as_ref()), "")
    };
    let answer = parsed(ask(&[]).await.ok());
    assert_eq!(
        summary(&answer),
        [
            "unit: yes always-run",
            "unit: no branch-not-listed",
            "docs: yes file-matches",
            "e2e: no explicit-only"
        ]
    );
    assert_eq!(answer["changed_files"], json!(["README.md"]));
    let docs = &answer["jobs"][2];
    assert_eq!((&docs["changed_file"], &docs["pattern"]), (&json!("README.md"), &json!(r"\.md$")));
    assert!(docs["file"].as_str().unwrap().ends_with("jobs.yaml"), "{docs}");
    let answer = parsed(ask(&["--comment", "/retest"]).await.ok());
    assert_eq!(
        summary(&answer),
        [
            "unit: no context-not-failed",
            "unit: no context-not-failed",
            "docs: yes context-failed",
            "e2e: no explicit-only"
        ]
    );
}

/// A comment's payload says neither base branch nor changed files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_is_completed_from_github() {
    let (fixture, world) = (Fixture::new(), World::new().await);
    let payload = |number: i64| {
        json!({
            "action": "created", "comment": {"body": "/test all"},
            "repository": {"name": "rocket", "owner": {"login": "acme"}},
            "issue": {"number": number, "state": "open", "pull_request": {}},
        })
    };
    let event = fixture.write("event.json", &payload(1).to_string());
    let args = ["why", "--event", &event, "-o", "json"];
    let ran = prow_beside(fixture.args_with_github(&args, world.forge.api_url().as_ref()), "").await;
    let answer = parsed(ran.ok());
    assert_eq!(summary(&answer)[2..], ["docs: yes file-matches", "e2e: no explicit-only"]);
    assert_eq!((&answer["branch"], &answer["comment"]), (&json!("main"), &json!("/test all")));
    // Without GitHub it is said what to give instead.
    let unreachable = fixture.prow(&args, "").refused();
    assert!(unreachable.contains("acme/rocket#1") && unreachable.contains("--offline"), "{unreachable}");
    // A pull request that is closed by now starts nothing.
    world.forge.close("acme", "rocket", 1, "alice").await.unwrap();
    let ran = prow_beside(fixture.args_with_github(&args, world.forge.api_url().as_ref()), "").await;
    assert!(ran.ok().contains("the pull request is closed"));
}

/// The line that is named holds the key that decided, over hundreds of real jobs. (That the decisions are upstream's is
/// proved by the golden records, in `crates/job` and by `cargo xtask golden`.)
#[test]
fn real_configuration_is_explained_to_the_line() {
    let Some(corpus) = shared("corpus/kubernetes") else { return };
    let (config, jobs) = (corpus.join("config.yaml"), corpus.join("jobs"));
    let args = [
        "why",
        "--config-path",
        config.to_str().unwrap(),
        "--job-config-path",
        jobs.to_str().unwrap(),
        "--org",
        "kubernetes",
        "--repo",
        "kubernetes",
        "--branch",
        "master",
        "--changed-files",
        "docs/a.md,pkg/kubelet/x.go",
        "-o",
        "json",
    ];
    let answer = parsed(prow(&args, "").ok());
    let jobs = answer["jobs"].as_array().unwrap();
    assert!(jobs.len() > 100, "{}", jobs.len());
    let mut exact = 0;
    for job in jobs {
        let text = std::fs::read_to_string(job["file"].as_str().unwrap()).unwrap();
        let line = text.lines().nth(job["line"].as_u64().unwrap() as usize - 1).unwrap();
        let key = match job["rule"].as_str().unwrap() {
            "always-run" => "always_run",
            "branch-not-listed" => "branches",
            "branch-skipped" => "skip_branches",
            "file-matches" | "no-file-matches" => "run_if_changed",
            "file-outside" | "only-skipped-files" => "skip_if_only_changed",
            "explicit-only" => continue,
            other => panic!("{other}: {job}"),
        };
        assert!(line.contains(key), "{job}: {line}");
        exact += 1;
    }
    assert!(exact > 50, "{exact}");
}

const OWN: &str = "presubmits:\n- name: own\n  always_run: true\n  spec: {containers: [{image: alpine}]}\n";
const IN_REPO: &str = "in_repo_config: {enabled: {acme: true}}\n";

#[test]
fn a_checkouts_own_jobs_are_asked_too() {
    let fixture = Fixture::new();
    fixture.write("config.yaml", IN_REPO);
    let yaml = fixture.write(".prow.yaml", OWN);
    let own = ["--prow-yaml-repo-name", "acme/rocket", "--prow-yaml-path", &yaml, "--offline", "-o", "json"];
    let answer = parsed(fixture.prow(&why(&own), "").ok());
    assert_eq!(summary(&answer).last().unwrap(), "own: yes always-run");
    assert_eq!(
        (&answer["jobs"][4]["file"], &answer["jobs"][4]["job_line"]),
        (&json!(".prow.yaml"), &json!(2))
    );
    assert!(!answer["notes"].to_string().contains("in_repo_config"), "{answer}");

    let without = parsed(fixture.prow(&why(&["--offline", "-o", "json"]), "").ok());
    assert_eq!(summary(&without).len(), 4);
    assert!(without["notes"].to_string().contains("own jobs are not known"), "{without}");

    fixture.write("config.yaml", "prowjob_namespace: default\n");
    let off = parsed(fixture.prow(&why(&own), "").ok());
    assert!(off["notes"].to_string().contains("in_repo_config is not enabled"), "{off}");

    fixture.write(".prow.yaml", &OWN.replace("own", "unit"));
    let refused = fixture.prow(&why(&own), "").refused();
    assert!(refused.contains("acme/rocket") && refused.contains(".prow.yaml:2"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_requests_own_jobs_are_fetched() {
    let (fixture, world) = (Fixture::new(), World::new().await);
    fixture.write("config.yaml", IN_REPO);
    let ask = async || {
        let host = world.forge.base_url().to_owned();
        let args =
            ["why", "--org", "acme", "--repo", "rocket", "--pr", "1", "-o", "json", "--github-host", &host];
        parsed(prow_beside(fixture.args_with_github(&args, world.forge.api_url().as_ref()), "").await.ok())
    };
    assert_eq!(summary(&ask().await).len(), 4);
    let push = async |text: &str| {
        let files = [(".prow/own.yaml", Some(text))];
        world.forge.push_files("acme", "rocket", "fly", "alice", "own jobs", &files).await.unwrap();
    };
    push(OWN).await;
    assert_eq!(summary(&ask().await)[4], "own: yes always-run");
    push("presubmits: [").await;
    let answer = ask().await;
    assert_eq!(summary(&answer).len(), 4, "the configuration's jobs run");
    assert!(answer["notes"].to_string().contains(".prow/own.yaml"), "{answer}");
}
