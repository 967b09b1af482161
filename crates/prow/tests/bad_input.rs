//! Bad input gets a clear answer, and nothing is half done.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{Prow, in_time};
use prow_api::Secret;
use std::path::Path;

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Flags of a sound `prow up`; a test breaks one of them.
fn sound(dir: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("--config-path", write(dir, "config.yaml", "log_level: info\n")),
        ("--plugin-config", write(dir, "plugins.yaml", "plugins:\n  o/r:\n    plugins: [trigger]\n")),
        ("--job-config-path", write(dir, "jobs/a.yaml", "periodics: []\n").replace("/a.yaml", "")),
        ("--github-token-path", write(dir, "token", "a-token")),
        ("--hmac-secret-file", write(dir, "hmac", "a-secret")),
        ("--github-endpoint", "http://127.0.0.1:9/api/v3".into()),
        ("--data-dir", dir.join("data").to_str().unwrap().to_owned()),
        ("--port", "0".into()),
        ("--runtime", "process".into()),
        ("--deck-port", "0".into()),
    ]
}

fn start(flags: &[(&str, String)]) -> Prow {
    let args: Vec<&str> =
        std::iter::once("up").chain(flags.iter().flat_map(|(k, v)| [*k, v.as_str()])).collect();
    Prow::start(&args)
}

fn refusal(change: impl FnOnce(&Path, &mut Vec<(&'static str, String)>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut flags = sound(dir.path());
    change(dir.path(), &mut flags);
    let (status, _, stderr) = start(&flags).end();
    assert_eq!(status.code(), Some(1), "{stderr}");
    stderr
}

fn set(flags: &mut Vec<(&'static str, String)>, flag: &str, value: String) {
    flags.iter_mut().find(|(k, _)| *k == flag).unwrap().1 = value;
}

#[test]
fn broken_yaml_is_said_with_file_line_and_column() {
    let stderr = refusal(|dir, _| {
        write(dir, "jobs/broken.yaml", "periodics:\n- name: p\n  interval: 1h\n  labels: [oops\n");
    });
    assert!(stderr.contains("broken.yaml:"), "{stderr}");
    let place = stderr.split("broken.yaml:").nth(1).unwrap();
    let mut numbers = place.split(':').map(str::parse::<u32>);
    assert!(
        matches!((numbers.next(), numbers.next()), (Some(Ok(4..=5)), Some(Ok(_)))),
        "line and column: {stderr}"
    );
}

#[test]
fn a_wrong_job_is_said_with_its_key() {
    let stderr = refusal(|dir, _| {
        write(dir, "jobs/wrong.yaml", "periodics:\n- name: p\n  interval: 1h\n  max_concurrency: many\n");
    });
    assert!(stderr.contains("wrong.yaml:4:") && stderr.contains("max_concurrency"), "{stderr}");
}

#[test]
fn an_unreadable_token_file_is_said_at_the_start() {
    let stderr =
        refusal(|dir, flags| set(flags, "--github-token-path", dir.join("absent").display().to_string()));
    assert!(stderr.contains("GitHub token") && stderr.contains("absent"), "{stderr}");
    let stderr = refusal(|dir, flags| set(flags, "--hmac-secret-file", write(dir, "empty", "\n")));
    assert!(stderr.contains("webhook secret") && stderr.contains("empty"), "{stderr}");
}

#[test]
fn a_port_in_use_is_said_with_the_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let stderr = refusal(|_, flags| set(flags, "--port", port.clone()));
    assert!(stderr.contains("another process uses that port") && stderr.contains("--port"), "{stderr}");
    let stderr = refusal(|_, flags| set(flags, "--deck-port", port));
    assert!(stderr.contains("--deck-port"), "{stderr}");
}

#[test]
fn a_data_directory_serves_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let flags = sound(dir.path());
    let mut first = start(&flags);
    first.line_with("prow up: webhooks on");
    let (status, _, stderr) = start(&flags).end();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("another prow uses the data directory"), "{stderr}");
    first.signal("TERM");
    assert!(first.end().0.success());
}

#[test]
fn unknown_flags_and_commands_are_usage_errors() {
    let (status, _, stderr) = Prow::start(&["up", "--no-such-flag"]).end();
    assert_eq!(status.code(), Some(2), "{stderr}");
    let (status, stdout, _) = Prow::start(&["--help"]).end();
    assert!(status.success() && stdout.contains("demo") && stdout.contains("up"), "{stdout}");
}

#[tokio::test]
async fn webhooks_are_refused_or_ignored_as_the_contract_says() {
    prow_github::install_tls();
    let dir = tempfile::tempdir().unwrap();
    let mut prow = start(&sound(dir.path()));
    let line = prow.line_with("prow up: webhooks on ");
    let hook = line.split("webhooks on ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let body = r#"{"repository":{"full_name":"o/r","owner":{"login":"o"},"name":"r"}}"#;
    let good = prow_github::hmac::sign(body.as_bytes(), &Secret::new("a-secret"));
    let wrong = prow_github::hmac::sign(body.as_bytes(), &Secret::new("another"));
    for (what, event, signature, status, text) in [
        ("wrong signature", "push", Some(wrong.as_str()), 403, "403 Forbidden"),
        ("no signature", "push", None, 403, "Missing X-Hub-Signature-256"),
        ("an event nobody knows", "brand_new_event", Some(good.as_str()), 200, "Event received"),
        ("a known event that nobody asked for", "status", Some(good.as_str()), 200, "Event received"),
    ] {
        let mut request = reqwest::Client::new()
            .post(&hook)
            .header("X-GitHub-Event", event)
            .header("X-GitHub-Delivery", "g")
            .header("content-type", "application/json")
            .body(body);
        if let Some(signature) = signature {
            request = request.header("X-Hub-Signature-256", signature);
        }
        let answer = in_time(what, request.send()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{what}");
        let told = answer.text().await.unwrap();
        assert!(told.contains(text), "{what}: {told}");
    }
    // A configuration that breaks while it runs changes nothing, and it still ends in order.
    write(dir.path(), "jobs/a.yaml", "periodics: {broken\n");
    prow.signal("TERM");
    let (status, _, stderr) = prow.end();
    assert!(status.success(), "{stderr}");
}
