//! The Pod that a job would get, for refs that are always the same, so that only the configuration makes a difference.

use super::job::Job;
use jiff::Timestamp;
use prow_api::refs::{Pull, Refs};
use prow_config::Snapshot;
use prow_job::build;
use prow_job::pod::{PodOptions, pod};
use serde_json::{Value, json};

const PROWJOB: &str = "00000000-0000-0000-0000-000000000000";
const BUILD_ID: &str = "1";
const BASE_SHA: &str = "0000000000000000000000000000000000000000";
const PULL_SHA: &str = "1111111111111111111111111111111111111111";

/// `org/repo`, where `org` may be a Gerrit host with its scheme.
fn split(repo: &str) -> (&str, &str) {
    let host = repo.find("://").map_or(0, |at| at + 3);
    match repo[host..].find('/') {
        Some(at) => (&repo[..host + at], &repo[host + at + 1..]),
        None => (repo, ""),
    }
}

fn refs(repo: &str, pulls: Vec<Pull>) -> Refs {
    let (org, repo) = split(repo);
    Refs {
        org: org.to_owned(),
        repo: repo.to_owned(),
        base_ref: "main".to_owned(),
        base_sha: BASE_SHA.to_owned(),
        pulls,
        ..Refs::default()
    }
}

/// The Pod as JSON, options in variables laid open. A job of another agent has none; why there is none otherwise is
/// under `error`.
pub(super) fn of(job: &Job<'_>, snapshot: &Snapshot) -> Value {
    if job.base().spec.is_none() {
        return Value::Null;
    }
    let pull = Pull { number: 1, author: "author".to_owned(), sha: PULL_SHA.to_owned(), ..Pull::default() };
    let spec = match job {
        Job::Presubmit(repo, job) => build::presubmit(job, refs(repo, vec![pull])),
        Job::Postsubmit(repo, job) => build::postsubmit(job, refs(repo, Vec::new())),
        Job::Periodic(job) => build::periodic(job),
    };
    let base = job.base();
    let made =
        build::new_prowjob(spec, &base.labels, &base.annotations, PROWJOB, "", Timestamp::UNIX_EPOCH, false);
    let options = PodOptions { namespace: snapshot.prow.pod_namespace.clone(), ..PodOptions::default() };
    match pod(&made, BUILD_ID, &options) {
        Ok(pod) => {
            let mut value = super::value(&pod);
            for list in ["containers", "initContainers"] {
                let containers = value["spec"][list].as_array_mut().into_iter().flatten();
                let env = containers.filter_map(|c| c["env"].as_array_mut()).flatten();
                env.for_each(lay_open);
            }
            value
        }
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// A variable that holds an object as JSON gets the object. JOB_SPEC's decoration_config is left out: it is the job's
/// own, and what it does shows in the options.
fn lay_open(variable: &mut Value) {
    let object = variable["value"].as_str().filter(|text| text.starts_with('{'));
    let Some(mut object) = object.and_then(|text| serde_json::from_str::<Value>(text).ok()) else { return };
    if variable["name"] == "JOB_SPEC"
        && let Some(map) = object.as_object_mut()
    {
        map.remove("decoration_config");
    }
    variable["value"] = object;
}
