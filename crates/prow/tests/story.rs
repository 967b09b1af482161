//! The whole story of `prow demo`, played by the real executable.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::Prow;

/// With `PROW_TEST_KUBECONFIG`, which `cargo xtask kubernetes-test` gives: the same story, its ProwJobs and Pods kept
/// by a real API server, this machine its node.
#[test]
fn a_pull_request_goes_all_the_way_on_real_kubernetes() {
    let Ok(kubeconfig) = std::env::var("PROW_TEST_KUBECONFIG") else {
        eprintln!("skipped: PROW_TEST_KUBECONFIG is not set; cargo xtask kubernetes-test sets it");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().canonicalize().unwrap();
    let args = ["demo", "--once", "--data-dir", data.to_str().unwrap(), "--kubeconfig", &kubeconfig];
    let (status, stdout, stderr) = Prow::start(&args).end();
    assert!(status.success(), "exit {status}\n{stdout}\n{stderr}");
    assert!(stdout.contains("13 steps, all seen to happen"), "{stdout}");
    assert_eq!(common::processes_mentioning(data.to_str().unwrap()), Vec::<String>::new());
}

#[test]
fn a_pull_request_goes_all_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().canonicalize().unwrap();
    let prow = Prow::start(&["demo", "--once", "--data-dir", data.to_str().unwrap()]);
    let (status, stdout, stderr) = prow.end();
    assert!(status.success(), "exit {status}\n{stdout}\n{stderr}");
    for step in [
        "branch pushed",
        "pull request opened",
        "webhook accepted",
        "presubmits triggered",
        "Pods made",
        "one passes, one fails",
        "results stored",
        "reported to the forge",
        "shown in Deck",
        "fix pushed, /retest",
        "green",
        "merged, postsubmit run",
        "periodic run",
    ] {
        assert!(stdout.contains(&format!("{step}: ")), "step {step:?} was not told\n{stdout}");
    }
    assert!(stdout.contains("13 steps, all seen to happen"), "{stdout}");
    assert!(!stdout.contains("NOT SEEN"), "{stdout}");
    // What a run leaves in Prow's layout, whoever reads it.
    let results = data.join("results");
    for file in [
        "pr-logs/directory/unit/latest-build.txt",
        "pr-logs/directory/lint/latest-build.txt",
        "logs/package/latest-build.txt",
        "logs/audit/latest-build.txt",
    ] {
        assert!(results.join(file).is_file(), "{file} is missing");
    }
    assert_eq!(
        common::processes_mentioning(data.to_str().unwrap()),
        Vec::<String>::new(),
        "a process was left behind"
    );
    // Secrets are on disk for their owner only and nowhere in what was said.
    for name in ["hmac", "acme-prow-token", "maya-token"] {
        let secret = std::fs::read_to_string(data.join("secrets").join(name)).unwrap();
        assert!(!stdout.contains(secret.trim()) && !stderr.contains(secret.trim()), "{name} was printed");
    }
}

#[test]
fn ctrl_c_ends_everything_that_was_started() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().canonicalize().unwrap();
    let mut prow = Prow::start(&["demo", "--data-dir", data.to_str().unwrap(), "--deck-port", "0"]);
    // In the middle of the first runs: Pods have processes.
    prow.line_with("Pods made");
    prow.signal("INT");
    let (status, stdout, stderr) = prow.end();
    assert_eq!(status.code(), Some(1), "the story was not complete\n{stdout}\n{stderr}");
    assert!(stdout.contains("ended; every process that was started has ended"), "{stdout}\n{stderr}");
    assert_eq!(common::processes_mentioning(data.to_str().unwrap()), Vec::<String>::new());
}
