//! `prow checkconfig` as people and presubmits run it.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod tools;

use serde_json::Value;
use std::process::Command;
use tools::{Fixture, World, prow, prow_beside, shared};

const DECORATED: &str = "decorate_all_jobs: true
plank:
  default_decoration_config_entries:
  - config:
      utility_images: {clonerefs: c, initupload: i, entrypoint: e, sidecar: s}
      gcs_configuration: {bucket: b, path_strategy: explicit}
      gcs_credentials_secret: s
";

/// A configuration with nothing to complain about.
fn clean() -> Fixture {
    let fixture = Fixture::new();
    fixture.write("config.yaml", DECORATED);
    fixture.write(
        "jobs.yaml",
        "periodics:\n- name: audit\n  interval: 1h\n  spec: {containers: [{image: a, command: [c]}]}\n",
    );
    fixture
}

#[test]
fn a_clean_configuration_passes_strictly_and_says_so() {
    let out = clean().prow(&["checkconfig", "--strict"], "").ok();
    assert_eq!(out, "1 job, 20 checks; checkconfig passes without any error!\n");
}

#[test]
fn warnings_fail_only_strictly_and_stand_at_the_line_of_their_key() {
    let fixture = clean();
    fixture.write(
        "jobs.yaml",
        "periodics:\n- name: audit\n  interval: 1h\n  # why not\n  decorate: false\n  spec: {containers: [{image: a}]}\n",
    );
    let lax = fixture.prow(&["checkconfig"], "").ok();
    let place = format!("{}:5: warning: periodic \"audit\" is not decorated", fixture.path("jobs.yaml"));
    assert!(lax.contains(&place), "{lax}");
    let strict = fixture.prow(&["checkconfig", "--strict"], "");
    assert_eq!(strict.code, Some(1));
    assert!(
        strict.stdout.ends_with("1 warning; 1 job, 20 checks (--strict: warnings fail)\n"),
        "{}",
        strict.stdout
    );
    assert_eq!(fixture.prow(&["checkconfig", "--strict=false"], "").code, Some(0));
    let excluded = fixture.prow(&["checkconfig", "--strict", "--exclude-warning", "non-decorated-jobs"], "");
    assert_eq!(excluded.code, Some(0), "{}", excluded.stdout);
    let other = fixture.prow(&["checkconfig", "--strict", "--warnings=long-job-names,missing-trigger"], "");
    assert_eq!(other.code, Some(0), "{}", other.stdout);
}

#[test]
fn what_does_not_load_is_said_whole() {
    let fixture = clean();
    fixture.write("config.yaml", "plank: {max_goroutines: -1}\nplonk: 1\nlog_level: loud\n");
    let ran = fixture.prow(&["checkconfig", "-o", "json"], "");
    assert_eq!(ran.code, Some(1));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["passed"], &report["jobs"]), (&Value::Bool(false), &Value::Null));
    let found: Vec<String> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            format!(
                "{}:{} {} {}",
                f["level"].as_str().unwrap(),
                f["line"],
                f["column"],
                f["key"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(found, ["error:1 25 plank.max_goroutines", "error:3 12 log_level", "note:2 1 plonk"]);
}

#[test]
fn annotations_name_files_below_the_checkout() {
    let fixture = clean();
    fixture.write("plugins.yaml", "plugins:\n  acme: {plugins: [triger]}\n");
    let ran = Command::new(env!("CARGO_BIN_EXE_prow"))
        .current_dir(fixture.dir.path())
        .env("GITHUB_WORKSPACE", fixture.dir.path())
        .args([
            "checkconfig",
            "--config-path=./config.yaml",
            "--plugin-config",
            "plugins.yaml",
            "--output",
            "github",
        ])
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(1));
    let text = String::from_utf8(ran.stdout).unwrap();
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "::error file=plugins.yaml,line=2,col=3,title=load::plugins[\"acme\"]: there is no plugin \"triger\"%0Adid you mean \"trigger\"?"
    );
}

#[test]
fn it_answers_to_its_own_name() {
    let fixture = clean();
    let link = fixture.dir.path().join("checkconfig");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_prow"), &link).unwrap();
    let ran = Command::new(&link).args(["-config-path", &fixture.path("config.yaml")]).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(String::from_utf8(ran.stdout).unwrap().contains("passes"));
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let fixture = clean();
    let said = fixture.prow(&["checkconfig", "--warnings", "long-job-name"], "").refused();
    assert!(
        said.contains("there is no warning \"long-job-name\", did you mean \"long-job-names\"?"),
        "{said}"
    );
    let plugins = fixture.write("plugins.yaml", "plugins: {acme: {plugins: [approve, verify-owners]}}\n");
    let asked = ["checkconfig", "--plugin-config", &plugins, "--warnings", "verify-owners-presence"];
    let said = fixture.prow(&asked, "").refused();
    assert!(said.contains("needs a token: give --github-token-path"), "{said}");
    assert_eq!(prow(&["checkconfig"], "").code, Some(2));
}

#[test]
fn a_repository_checks_its_own_jobs() {
    let fixture = clean();
    let checkout = fixture.dir.path().join("rocket");
    std::fs::create_dir_all(checkout.join(".prow/more")).unwrap();
    let check = |args: &[&str]| {
        let ran = Command::new(env!("CARGO_BIN_EXE_prow"))
            .current_dir(&checkout)
            .args(["checkconfig", "--config-path", &fixture.path("config.yaml")])
            .args(["--prow-yaml-repo-name", "acme/rocket"])
            .args(args)
            .output()
            .unwrap();
        (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
    };
    let job = |more: &str| {
        format!(
            "presubmits:\n- name: own\n{more}  always_run: true\n  spec: {{containers: [{{image: a, command: [c]}}]}}\n"
        )
    };
    let write = |text: &str| std::fs::write(checkout.join(".prow/more/jobs.yaml"), text).unwrap();
    write(&job(""));
    assert_eq!(check(&["--strict"]).0, Some(0), "{}", check(&["--strict"]).1);
    write(&job("  cluster: secret\n"));
    let (code, out) = check(&[]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains(".prow/more/jobs.yaml:2: error: ") && out.contains("cluster \"secret\" is not open"),
        "{out}"
    );
    write(&job("  alwys_run: true\n"));
    let (code, out) = check(&["--strict"]);
    assert!(code == Some(0) && out.contains("note: presubmits[0].alwys_run: unknown key"), "{out}");
    let (code, out) = check(&["--warnings", "unknown-fields-all"]);
    assert!(code == Some(1) && out.contains("error: presubmits[0].alwys_run"), "{out}");
    std::os::unix::fs::symlink(fixture.write("out.yaml", &job("")), checkout.join(".prow/out.yaml")).unwrap();
    let (code, out) = check(&[]);
    assert!(code == Some(1) && out.contains("it is a link that leads out of the repository"), "{out}");
    // From elsewhere, by the path of the file.
    std::fs::remove_dir_all(checkout.join(".prow")).unwrap();
    std::fs::write(checkout.join(".prow.yaml"), "presubmits: [{name: '?'}]\n").unwrap();
    let path = fixture.path("rocket/.prow.yaml");
    let ran =
        fixture.prow(&["checkconfig", "--prow-yaml-repo-name=acme/rocket", "--prow-yaml-path", &path], "");
    assert!(ran.code == Some(1) && ran.stdout.contains(&format!("{path}:1:14: error: ")), "{}", ran.stdout);
    assert_eq!(fixture.prow(&["checkconfig", "--prow-yaml-path", &path], "").code, Some(2));
    std::fs::remove_file(&path).unwrap();
    assert!(check(&[]).1.contains("there is neither .prow nor .prow.yaml in ."));
}

#[test]
fn clusters_are_those_that_plank_wrote_down() {
    let fixture = clean();
    let statuses = fixture.path("statuses.json");
    fixture.write("config.yaml", &format!("{DECORATED}  build_cluster_status_file: file://{statuses}\n"));
    let note = fixture.prow(&["checkconfig", "--strict"], "").ok();
    assert!(
        note.contains("note: plank.build_cluster_status_file") && note.contains("not there yet"),
        "{note}"
    );
    fixture.write("statuses.json", r#"{"default": "Reachable"}"#);
    fixture.prow(&["checkconfig", "--strict"], "").ok();
    fixture.write("statuses.json", r#"{"build": "Reachable"}"#);
    let ran = fixture.prow(&["checkconfig", "--strict"], "");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("names cluster \"default\", which plank does not know"), "{}", ran.stdout);
    fixture.write("statuses.json", "oops");
    let ran = fixture.prow(&["checkconfig", "--strict"], "");
    assert!(ran.code == Some(1) && ran.stdout.contains("is no map of clusters"), "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_without_an_owners_file_are_found_at_github() {
    let world = World::new().await;
    world.forge.create_repo("acme", "station", &[("OWNERS", "approvers: [alice]\n")]).await.unwrap();
    let fixture = clean();
    let plugins = fixture.write("plugins.yaml", "plugins:\n  acme: {plugins: [approve, verify-owners]}\n");
    let token = fixture.write("token", "token-of-alice\n");
    let args = [
        "checkconfig",
        "--plugin-config",
        &plugins,
        "--warnings",
        "verify-owners-presence",
        "--github-token-path",
        &token,
    ];
    let ran = prow_beside(fixture.args_with_github(&args, world.forge.api_url().as_ref()), "").await;
    let out = ran.ok();
    assert!(
        out.contains("plugins.yaml:2:3: warning: plugins[\"acme\"]: acme/rocket enables approve"),
        "{out}"
    );
    assert!(out.contains("1 warning;"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn organisations_without_the_app_are_found_at_github() {
    use axum::{Json, Router, routing::get};
    let fixture = clean();
    let key = fixture.path("key.pem");
    let made = Command::new("openssl").args(["genrsa", "-out", &key, "2048"]).output();
    if !made.is_ok_and(|m| m.status.success()) {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let answer = || async { Json(serde_json::json!([{"id": 1, "account": {"login": "Other"}}])) };
    let app = Router::new().route("/api/v3/app/installations", get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/api/v3", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    fixture.write(
        "jobs.yaml",
        "postsubmits:\n  acme/a:\n  - name: unit\n    spec: {containers: [{image: a, command: [c]}]}\n",
    );
    let args = ["checkconfig", "--github-app-id=7", "--github-app-private-key-path", &key];
    let out = prow_beside(fixture.args_with_github(&args, &endpoint), "").await.ok();
    assert!(
        out.contains("jobs.yaml:3: warning: acme has configuration, but the GitHub App is not installed"),
        "{out}"
    );
    assert!(out.contains("1 warning; 1 job, 21 checks"), "{out}");
    let said = fixture.prow(&["checkconfig", "--warnings", "validate-github-app-installation"], "").refused();
    assert!(said.contains("needs a GitHub App: give --github-app-id"), "{said}");
}

/// The figures are what upstream's rules make of these files: names over 63 characters, and so on.
#[test]
fn real_configurations_give_what_they_gave() {
    for (name, want) in [("kubernetes", "353 warnings; 3849 jobs, 20 checks"), ("kyma-2019", "9 warnings, ")]
    {
        let Some(dir) = shared(&format!("corpus/{name}")) else { return };
        let at = |file: &str| dir.join(file).to_str().unwrap().to_owned();
        let (config, jobs, plugins) = (at("config.yaml"), at("jobs"), at("plugins.yaml"));
        let args = [
            "checkconfig",
            "--config-path",
            &config,
            "--job-config-path",
            &jobs,
            "--plugin-config",
            &plugins,
        ];
        let out = prow(&args, "").ok();
        let summary = out.lines().last().unwrap_or_default();
        assert!(summary.starts_with(want), "{summary}");
    }
}
