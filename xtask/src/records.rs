//! The pods, triggers and branch_protection records of a configuration, in the form of the reference implementation's
//! golden records: fixed refs, one fixed name and build id, the same branches for every repository.

use prow_api::decoration::GcsConfiguration;
use prow_api::jobspec::JobSpec;
use prow_api::labels as keys;
use prow_api::prowjob::{ProwJob, ProwJobSpec};
use prow_api::refs::{Pull, Refs};
use prow_config::golden::branch_protection_record;
use prow_config::jobs::JobBase;
use prow_config::{Snapshot, template_data};
use prow_job::build;
use prow_job::env::job_env;
use prow_job::paths::{JobPaths, root};
use prow_job::pod::{PodOptions, pod};
use prow_job::select::{Ask, needs_changed_files, select};
use prow_job::url::{UrlConfig, job_url};
use serde_json::{Value, json};
use std::collections::HashMap;

type Failure = Box<dyn std::error::Error>;

const NAME: &str = "11111111-2222-3333-4444-555555555555";
const BUILD_ID: &str = "1799999999999999999";
/// Branches that every repository has a branch_protection record for.
const BRANCHES: [&str; 4] = ["master", "main", "release-1.30", "release-0.6"];

/// A run that a record is made of: kind, repository, job name.
pub type Run = (String, String, String);

/// The runs that `pods` records have.
pub fn runs_like(records: &[Value]) -> Vec<Run> {
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    records.iter().map(|r| (text(r, "kind"), text(r, "repo"), text(r, "job"))).collect()
}

/// Every job once, and every presubmit as a batch after it.
pub fn all_runs(snapshot: &Snapshot) -> Vec<Run> {
    let mut runs = Vec::new();
    for (repo, jobs) in &snapshot.jobs.presubmits {
        for job in jobs {
            runs.push(("presubmit".into(), repo.clone(), job.base.name.clone()));
            runs.push(("batch".into(), repo.clone(), job.base.name.clone()));
        }
    }
    for (repo, jobs) in &snapshot.jobs.postsubmits {
        runs.extend(jobs.iter().map(|job| ("postsubmit".into(), repo.clone(), job.base.name.clone())));
    }
    let periodics = snapshot.jobs.periodics.iter();
    runs.extend(periodics.map(|job| ("periodic".into(), String::new(), job.base.name.clone())));
    runs
}

/// A record a run. Several jobs of one name are taken in their order; a batch is of the presubmit before it.
pub fn pods(snapshot: &Snapshot, runs: &[Run]) -> Result<Vec<Value>, Failure> {
    let mut seen: HashMap<(&str, &str, &str), usize> = HashMap::new();
    let mut out = Vec::with_capacity(runs.len());
    for (kind, repo, job) in runs {
        let of = if kind == "batch" { "presubmit" } else { kind };
        let nth = seen.entry((of, repo, job)).or_default();
        *nth += usize::from(kind != "batch");
        let absent = || format!("there is no {of} {job:?} of {repo:?} (number {nth}) in this configuration");
        let prowjob = prowjob(snapshot, kind, repo, job, nth.saturating_sub(1)).ok_or_else(absent)?;
        out.push(pod_record(snapshot, kind, repo, job, &prowjob)?);
    }
    Ok(out)
}

fn prowjob(snapshot: &Snapshot, kind: &str, repo: &str, job: &str, nth: usize) -> Option<ProwJob> {
    let named = |base: &JobBase| base.name == job;
    let (spec, base): (ProwJobSpec, &JobBase) = match kind {
        "presubmit" | "batch" => {
            let job = snapshot.jobs.presubmits.get(repo)?.iter().filter(|j| named(&j.base)).nth(nth)?;
            let make = if kind == "batch" { build::batch } else { build::presubmit };
            (make(job, refs_of(repo, kind)), &job.base)
        }
        "postsubmit" => {
            let job = snapshot.jobs.postsubmits.get(repo)?.iter().filter(|j| named(&j.base)).nth(nth)?;
            (build::postsubmit(job, refs_of(repo, kind)), &job.base)
        }
        _ => {
            let job = snapshot.jobs.periodics.iter().filter(|j| named(&j.base)).nth(nth)?;
            (build::periodic(job), &job.base)
        }
    };
    let epoch = jiff::Timestamp::UNIX_EPOCH;
    let mut made = build::new_prowjob(spec, &base.labels, &base.annotations, NAME, "", epoch, false);
    // The records have no start time, and the labels that plank adds when it makes the Pod.
    made.status.start_time = None;
    BUILD_ID.clone_into(&mut made.status.build_id);
    let labels = made.metadata.labels.get_or_insert_default();
    labels.insert(keys::PROW_JOB_ID.to_owned(), NAME.to_owned());
    labels.insert(keys::BUILD_ID.to_owned(), BUILD_ID.to_owned());
    Some(made)
}

fn refs_of(repo: &str, kind: &str) -> Refs {
    let (org, name) = repo.split_once('/').unwrap_or((repo, ""));
    let link = format!("https://github.com/{repo}");
    let mut refs = Refs {
        org: org.into(),
        repo: name.into(),
        base_ref: "master".into(),
        base_sha: "1".repeat(40),
        ..Refs::default()
    };
    if kind == "postsubmit" {
        refs.base_link = format!("{link}/compare/a...b");
        return refs;
    }
    let pull = |number, author: &str, sha: &str, title: &str, head_ref: &str| Pull {
        number,
        author: author.into(),
        sha: sha.repeat(40),
        title: title.into(),
        head_ref: head_ref.into(),
        ..Pull::default()
    };
    let first = pull(1234, "octo-dev", "2", "Fix the thing", "fix-branch");
    refs.pulls.push(Pull { link: format!("{link}/pull/1234"), ..first });
    if kind == "batch" {
        refs.pulls.push(pull(1240, "other-dev", "3", "Second", "second"));
    }
    refs.repo_link = link;
    refs
}

fn pod_record(
    snapshot: &Snapshot,
    kind: &str,
    repo: &str,
    job: &str,
    prowjob: &ProwJob,
) -> Result<Value, Failure> {
    let plank = &snapshot.prow.plank;
    let config = UrlConfig {
        prefixes: Some(&plank.job_url_prefix_config),
        omit_storage_provider: plank.job_url_prefix_disable_append_storage_provider,
    };
    let template = |job: &ProwJob| plank.job_url_template.render(&template_data(job)).unwrap_or_default();
    let mut record = json!({
        "kind": kind, "repo": repo, "job": job, "prowjob": prowjob, "env": job_env(prowjob, BUILD_ID)?,
        "job_url": job_url(prowjob, config, template)?, "paths": paths_of(prowjob)?,
    });
    match pod(prowjob, BUILD_ID, &PodOptions::default()) {
        // The records' Pods do not say that they are Pods.
        Ok(pod) => record["pod"] = json!({"metadata": pod.metadata, "spec": pod.spec}),
        Err(error) => record["pod_error"] = json!(error.to_string()),
    }
    Ok(record)
}

fn paths_of(prowjob: &ProwJob) -> Result<Value, Failure> {
    let spec = JobSpec::of(prowjob);
    let mut out = json!({});
    for strategy in ["explicit", "legacy", "single"] {
        let gcs = GcsConfiguration {
            path_strategy: strategy.into(),
            default_org: "kubernetes".into(),
            default_repo: "kubernetes".into(),
            ..GcsConfiguration::default()
        };
        let paths = JobPaths::new(&spec, &gcs)?;
        out[strategy] = json!({
            "dir": paths.dir,
            "alias": paths.alias.map(|a| a.path).unwrap_or_default(),
            "latest": paths.latest_builds,
            "root": root(&spec)?,
        });
    }
    Ok(out)
}

/// Questions for `triggers`, for every repository with presubmits: its branches, files and comments of all sorts.
pub fn questions(snapshot: &Snapshot) -> Vec<Value> {
    let mut out = Vec::new();
    for (repo, jobs) in &snapshot.jobs.presubmits {
        let contexts: Vec<&str> = jobs.iter().map(|j| j.context.as_str()).collect();
        // Every second context has reported, and of those every third has failed: some of each kind.
        let all: Vec<&str> = contexts.iter().copied().step_by(2).collect();
        let failed: Vec<&str> = all.iter().copied().step_by(3).collect();
        let named = jobs.first().map(|j| j.rerun_command.clone()).unwrap_or_default();
        for branch in BRANCHES {
            for files in [&["README.md", "docs/guide.md"][..], &["cmd/main.go", "go.mod"]] {
                for body in ["", "/test all", "/retest", "/retest-required", named.as_str()] {
                    out.push(json!({
                        "repo": repo, "branch": branch, "changes": files, "body": body,
                        "failed_contexts": failed, "all_contexts": all,
                    }));
                }
            }
        }
    }
    out
}

/// The questions with their answers: which presubmits run.
pub fn triggers(snapshot: &Snapshot, questions: Vec<Value>) -> Result<Vec<Value>, Failure> {
    questions.into_iter().map(|question| answered(snapshot, question)).collect()
}

fn answered(snapshot: &Snapshot, mut question: Value) -> Result<Value, Failure> {
    let text = |key: &str| question[key].as_str().unwrap_or_default();
    let list = |key: &str| serde_json::from_value::<Option<Vec<String>>>(question[key].clone());
    let files = list("changes")?.unwrap_or_default();
    let ask = if text("body").is_empty() { Ask::all() } else { Ask::comment(text("body"), true) };
    let ask = ask.with_contexts(
        list("failed_contexts")?.unwrap_or_default(),
        list("all_contexts")?.unwrap_or_default(),
    );
    let (presubmits, branch) = (snapshot.presubmits_for(text("repo")), text("branch"));
    // Without files where none are needed: asking first has to be enough.
    let needed = needs_changed_files(presubmits, branch, &ask).then_some(files.as_slice());
    let decisions = select(presubmits, branch, &ask, needed)?;
    let run: Vec<&str> = decisions.iter().filter(|d| d.run).map(|d| d.job.base.name.as_str()).collect();
    let run = json!(run);
    if let Some(members) = question.as_object_mut() {
        // An answer that the question came with does not stay beside ours.
        members.remove("error");
    }
    question["run"] = run;
    Ok(question)
}

/// A record for each of the branches of every repository with presubmits.
pub fn branch_protection(snapshot: &Snapshot) -> impl Iterator<Item = Value> + '_ {
    let repos = snapshot.jobs.presubmits.keys().filter_map(|repo| repo.split_once('/'));
    repos.flat_map(move |(org, repo)| {
        BRANCHES.iter().map(move |branch| branch_protection_record(snapshot, org, repo, branch))
    })
}
