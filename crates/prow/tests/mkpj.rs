//! `prow mkpj` and `prow config jobs` as people run them.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;
mod tools;

use common::Prow;
use serde_json::{Value, json};
use tools::{Fixture, World, prow_beside, yaml};

const FACTS: [&str; 10] = [
    "--pull-number=5",
    "--pull-author",
    "alice",
    "--pull-sha",
    "hhh",
    "--base-ref",
    "main",
    "--base-sha",
    "bbb",
    "--pull-head-ref=fly",
];

fn mkpj<'a>(job: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["mkpj", "--job", job].into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn a_presubmit_whose_facts_are_given_needs_no_github() {
    let fixture = Fixture::new();
    let text = fixture.prow(&mkpj("unit", &FACTS), "").ok();
    let job = yaml(&text);
    assert_eq!(
        job["spec"]["refs"],
        json!({
            "org": "acme", "repo": "rocket", "base_ref": "main", "base_sha": "bbb",
            "pulls": [{"number": 5, "author": "alice", "sha": "hhh", "head_ref": "fly"}],
        })
    );
    assert_eq!((&job["kind"], &job["apiVersion"]), (&json!("ProwJob"), &json!("prow.k8s.io/v1")));
    assert_eq!(job["status"]["state"], "triggered");
    assert_eq!(job["metadata"]["labels"]["prow.k8s.io/refs.pull"], "5");
    assert_eq!(job["metadata"]["labels"]["team"], "yes", "a text stays a text: {text}");
    assert_eq!(job["metadata"]["namespace"], Value::Null);
    assert_eq!(job["spec"]["pod_spec"]["containers"][0]["args"], json!(["test"]));
    // As sigs.k8s.io/yaml writes it: keys sorted, lists not indented.
    let top: Vec<&str> = text.lines().filter(|l| !l.starts_with([' ', '-'])).collect();
    assert_eq!(top, ["apiVersion: prow.k8s.io/v1", "kind: ProwJob", "metadata:", "spec:", "status:"]);
    assert!(text.contains("    - args:\n      - test\n      command:\n      - make\n"), "{text}");

    let args: Vec<&str> = FACTS.iter().copied().chain(["-o", "json"]).collect();
    let again: Value = serde_json::from_str(&fixture.prow(&mkpj("unit", &args), "").ok()).unwrap();
    assert_eq!(again["spec"], job["spec"]);
    assert_ne!(again["metadata"]["name"], job["metadata"]["name"], "each has a name of its own");
}

#[test]
fn the_job_of_the_base_branch_is_taken() {
    let fixture = Fixture::new();
    let facts: Vec<&str> = FACTS.iter().map(|f| if *f == "main" { "release" } else { f }).collect();
    let ran = fixture.prow(&mkpj("unit", &facts), "");
    assert!(
        ran.stderr.contains("2 jobs are called \"unit\"") && ran.stderr.contains("jobs.yaml:12"),
        "{}",
        ran.stderr
    );
    assert_eq!(yaml(&ran.ok())["spec"]["max_concurrency"], 7);
}

#[test]
fn postsubmits_and_periodics_ask_for_what_they_lack() {
    let fixture = Fixture::new();
    let ran = fixture.prow(&mkpj("publish", &["--base-sha", "bbb"]), "main\n");
    assert!(ran.stderr.contains("Base ref (e.g. master): "), "{}", ran.stderr);
    let job = yaml(&ran.ok());
    assert_eq!(
        (&job["spec"]["type"], &job["spec"]["refs"]["base_ref"]),
        (&json!("postsubmit"), &json!("main"))
    );
    assert_eq!(job["spec"]["refs"]["pulls"], Value::Null);
    let ran = fixture.prow(&mkpj("audit", &[]), "");
    assert_eq!(ran.stderr, "");
    assert_eq!(yaml(&ran.ok())["spec"]["type"], "periodic");
}

#[test]
fn what_cannot_be_done_is_said() {
    let fixture = Fixture::new();
    let said = |args: &[&str], stdin: &str| fixture.prow(args, stdin).refused();
    assert!(said(&mkpj("nonesuch", &[]), "").contains("no job is called \"nonesuch\""));
    assert!(said(&mkpj("unit", &[]), "").contains("give --pull-number"));
    assert!(said(&mkpj("unit", &[]), "five\n").contains("\"five\" is not the number"));
    assert!(said(&mkpj("publish", &[]), "\n").contains("give --base-ref"));
    let stderr = said(&mkpj("unit", &["--pull-number", "5"]), "");
    assert!(
        stderr.contains("cannot fetch pull request acme/rocket#5") && stderr.contains("--pull-sha"),
        "{stderr}"
    );
    let stderr = said(&mkpj("audit", &["--trigger-job", "--kubeconfig", "/nonesuch"]), "");
    assert!(stderr.contains("cannot use --kubeconfig /nonesuch"), "{stderr}");
    let missing = tools::prow(&["mkpj", "--config-path", "c"], "");
    assert!(missing.code == Some(2) && missing.stderr.contains("--job <NAME>"), "{}", missing.stderr);
    let help = tools::prow(&["mkpj", "--help"], "").ok();
    assert!(help.contains("--trigger-job") && help.contains("is asked for"), "{help}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_come_from_github() {
    let (fixture, world) = (Fixture::new(), World::new().await);
    let run = |args: &[&str], stdin| {
        prow_beside(fixture.args_with_github(args, world.forge.api_url().as_ref()), stdin)
    };
    let ran = run(&mkpj("unit", &[]), "1\n").await;
    assert!(ran.stderr.contains("PR Number: "), "{}", ran.stderr);
    let refs = json!({
        "org": "acme", "repo": "rocket", "base_ref": "main", "base_sha": world.base_sha,
        "pulls": [{"number": 1, "author": "alice", "sha": world.head_sha}],
    });
    assert_eq!(yaml(&ran.ok())["spec"]["refs"], refs);
    let given = run(&mkpj("unit", &["--pull-number=1", "--pull-author=bob"]), "").await.ok();
    assert_eq!(yaml(&given)["spec"]["refs"]["pulls"][0]["author"], "bob", "what is given stays");
    let publish = run(&mkpj("publish", &["--base-ref=main"]), "").await.ok();
    assert_eq!(yaml(&publish)["spec"]["refs"]["base_sha"], world.base_sha);
    let token = fixture.write("token", "token-of-alice\n");
    let with_token = run(&mkpj("unit", &["--pull-number=1", "--github-token-path", &token]), "").await.ok();
    assert_eq!(yaml(&with_token)["spec"]["refs"], refs);
    let absent =
        run(&mkpj("unit", &["--pull-number=99", "--github-client.initial-delay=1ms"]), "").await.refused();
    assert!(absent.contains("acme/rocket#99") && absent.contains("404"), "{absent}");
}

/// The whole way: created in an embedded API server, run as a Pod, watched to its end.
#[test]
fn a_triggered_job_is_watched_to_its_end() {
    let fixture = Fixture::new();
    fixture.write(
        "jobs.yaml",
        "periodics:\n\
         - {name: good, interval: 1000h, spec: {containers: [{image: any, command: [\"true\"]}]}}\n\
         - {name: bad, interval: 1000h, spec: {containers: [{image: any, command: [\"false\"]}]}}\n",
    );
    let empty = fixture.write("none.yaml", "periodics: []\n");
    let data = fixture.path("data");
    let plugins = fixture.write("plugins.yaml", "plugins: {}\n");
    let (token, hmac) = (fixture.write("token", "a-token"), fixture.write("hmac", "a-secret"));
    let config = fixture.path("config.yaml");
    let mut up = Prow::start(&[
        "up",
        "--runtime=process",
        "--config-path",
        &config,
        "--job-config-path",
        &empty,
        "--plugin-config",
        &plugins,
        "--github-token-path",
        &token,
        "--hmac-secret-file",
        &hmac,
        "--github-endpoint",
        "http://127.0.0.1:9/api/v3",
        "--data-dir",
        &data,
        "--port",
        "0",
        "--deck-port",
        "0",
    ]);
    up.line_with("prow up: webhooks on");
    let kubeconfig = fixture.path("data/kubeconfig");
    let flags = ["--trigger-job", "--kubeconfig", &kubeconfig];
    let ran = fixture.prow(&mkpj("good", &flags), "");
    assert!(ran.stderr.contains("is complete: success"), "{}", ran.stderr);
    assert_eq!(ran.ok(), "");
    let ran = fixture.prow(&mkpj("bad", &flags), "");
    assert!(ran.code == Some(0) && ran.stderr.contains("is complete: failure"), "{}", ran.stderr);
    let flags = ["--trigger-job=true", "--fail-with-job", "--kubeconfig", &kubeconfig];
    assert!(fixture.prow(&mkpj("bad", &flags), "").refused().contains("is complete: failure"));
    up.signal("TERM");
    assert!(up.end().0.success());
}

#[test]
fn config_jobs_prints_every_job_with_its_defaults() {
    let fixture = Fixture::new();
    let (config, jobs) = (fixture.path("config.yaml"), fixture.path("jobs.yaml"));
    let out = tools::prow(&["config", "jobs", "--config-path", &config, "--job-config-path", &jobs], "").ok();
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let names: Vec<&str> = lines.iter().map(|l| l["job"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["unit", "unit", "docs", "e2e", "publish", "audit"]);
    assert_eq!((&lines[0]["kind"], &lines[0]["repo"]), (&json!("presubmit"), &json!("acme/rocket")));
    assert_eq!(lines[0]["job"]["cluster"], "default");
    let broken = fixture.write("broken.yaml", "periodics: [\n");
    let said = tools::prow(&["config", "jobs", "--config-path", &config, "--job-config-path", &broken], "")
        .refused();
    assert!(said.contains("broken.yaml:"), "{said}");
}

#[test]
fn a_checkouts_own_jobs_are_made_and_listed() {
    let fixture = Fixture::new();
    let text = "presubmits:\n- name: own\n  spec: {containers: [{image: alpine}]}\n";
    let yaml_path = fixture.write(".prow.yaml", text);
    let own = ["--prow-yaml-repo-name", "acme/rocket", "--prow-yaml-path", &yaml_path];
    let all: Vec<&str> = FACTS.iter().chain(&own).copied().collect();
    let job = yaml(&fixture.prow(&mkpj("own", &all), "").ok());
    assert_eq!((&job["spec"]["job"], &job["spec"]["refs"]["repo"]), (&json!("own"), &json!("rocket")));
    let refused = fixture.prow(&mkpj("own", &FACTS), "").refused();
    assert!(refused.contains("no job is called"), "{refused}");
    let config =
        ["--config-path", &fixture.path("config.yaml"), "--job-config-path", &fixture.path("jobs.yaml")];
    let args: Vec<&str> = ["config", "jobs"].iter().chain(&config).chain(&own).copied().collect();
    let listed = tools::prow(&args, "").ok();
    assert!(listed.lines().any(|l| l.contains("\"own\"") && l.contains("acme/rocket")), "{listed}");
}
