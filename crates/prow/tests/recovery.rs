//! SIGKILL in the middle of the story, at several places: started again on the same data directory it carries on, no
//! job is lost, none is run twice.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{Prow, client, in_time};
use kube::Api;
use kube::api::ListParams;
use prow_api::prowjob::ProwJob;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Every build directory that has a build log, by job: a run that ran.
fn builds(results: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut stack = vec![results.to_owned()];
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                stack.push(path);
            } else if path.file_name().is_some_and(|n| n == "started.json") {
                let build = path.parent().unwrap();
                let job = build.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
                out.entry(job).or_default().insert(build.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    out
}

async fn jobs(data: &Path) -> Vec<ProwJob> {
    let api: Api<ProwJob> = Api::default_namespaced(client(&data.join("kubeconfig")).await);
    in_time("the list of ProwJobs", api.list(&ListParams::default())).await.unwrap().items
}

fn killed_after(line: &str) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().canonicalize().unwrap();
    let args = ["demo", "--data-dir", data.to_str().unwrap(), "--deck-port", "0"];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let mut first = Prow::start(&args);
    first.line_with(line);
    first.signal("KILL");
    drop(first.end());
    let before = builds(&data.join("results"));

    let mut second = Prow::start(&args);
    second.line_with("13 steps, all seen to happen");
    let all = runtime.block_on(jobs(&data));
    second.signal("INT");
    let (status, stdout, stderr) = second.end();
    assert!(status.success(), "{stdout}\n{stderr}");

    // No run was lost: what had started before the kill is known afterwards, by its build id.
    let known: BTreeSet<&str> = all.iter().map(|j| j.status.build_id.as_str()).collect();
    for (job, ids) in &before {
        for id in ids {
            assert!(
                known.contains(id.as_str()),
                "build {id} of {job} ran before the kill and is no ProwJob's build now"
            );
        }
    }
    // None was run twice: as many builds started as there are ProwJobs of the job, and none was revived.
    for (job, ids) in builds(&data.join("results")) {
        let of_job: Vec<&ProwJob> = all.iter().filter(|j| j.spec.job == job).collect();
        assert!(ids.len() <= of_job.len(), "{job} started {} times for {} ProwJobs", ids.len(), of_job.len());
        for pj in of_job {
            assert_eq!(pj.status.pod_revival_count, 0, "{} of {job} was revived", pj.name());
            assert!(pj.complete(), "{} of {job} is {}", pj.name(), pj.status.state);
        }
    }
    // The same event made the same job once: per job and head commit one run of the push, at most one of /retest.
    let mut per_question: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for pj in &all {
        let guid = pj.label("event-GUID").unwrap_or("none").to_owned();
        let sha =
            pj.spec.refs.as_ref().and_then(|r| r.pulls.first()).map_or("none".to_owned(), |p| p.sha.clone());
        *per_question.entry((pj.spec.job.clone(), guid, sha)).or_default() += 1;
    }
    assert!(per_question.values().all(|n| *n == 1), "{per_question:#?}");
    assert_eq!(common::processes_mentioning(data.to_str().unwrap()), Vec::<String>::new());
}

#[test]
fn killed_right_after_the_webhook_was_accepted() {
    killed_after("webhook accepted");
}

#[test]
fn killed_while_pods_run() {
    killed_after("Pods made");
}

#[test]
fn killed_while_results_are_reported() {
    killed_after("one passes, one fails");
}

#[test]
fn killed_right_after_the_retest() {
    killed_after("fix pushed, /retest");
}
