//! What deciding costs (issue bounds: selection for one pull request of a large repository ≤ 1 ms, ProwJob and Pod
//! ≤ 50 µs each). Prints medians beside the bounds; run with `cargo bench -p prow-job`. With kubernetes' configuration
//! beside the checkout these are its presubmits, else generated ones.

use prow_config::goregex::GoRegex;
use prow_config::jobs::{ChangeMatcher, JobBase, Presubmit};
use prow_config::{LoadOptions, load};
use prow_job::build::{PullRequest, new_prowjob, presubmit, presubmit_labels, pull_request_refs};
use prow_job::names::prowjob_name;
use prow_job::pod::{PodOptions, pod};
use prow_job::select::{Ask, select};
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// About as many presubmits as kubernetes/kubernetes has.
const JOBS: usize = 600;
const ROUNDS: usize = 201;

fn generated() -> Vec<Presubmit> {
    let decoration = serde_json::json!({
        "timeout": "2h", "grace_period": "15m",
        "utility_images": {"clonerefs": "c:v1", "initupload": "i:v1", "entrypoint": "e:v1", "sidecar": "s:v1"},
        "resources": {"clonerefs": {"requests": {"cpu": "100m"}}, "sidecar": {"requests": {"cpu": "100m"}}},
        "gcs_configuration": {"bucket": "ci-logs", "path_strategy": "legacy", "default_org": "o", "default_repo": "r"},
        "gcs_credentials_secret": "service-account",
    });
    let spec = serde_json::json!({
        "containers": [{
            "name": "", "image": "registry.example/kubekins-e2e:v20260101-abc", "command": ["runner.sh"],
            "args": ["./scripts/verify", "--flag=value", "--timeout=120m"],
            "env": [{"name": "GOPROXY", "value": "https://proxy"}, {"name": "DOCKER_IN_DOCKER_ENABLED", "value": "true"}],
            "resources": {"requests": {"cpu": "4", "memory": "8Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}},
            "securityContext": {"privileged": true},
        }],
    });
    let decoration = Arc::new(serde_json::from_value(decoration).expect("a decoration config"));
    let spec = Arc::new(serde_json::from_value(spec).expect("a pod spec"));
    let pattern =
        |i: usize| format!(r"^(cluster/gce|staging/src/k8s.io/part{}/|test/e2e/area{}/.*\.go$)", i % 90, i);
    (0..JOBS)
        .map(|i| {
            let name = format!("pull-kubernetes-e2e-{i}");
            let regex = |text: &str| Some(GoRegex::new(text).expect("a pattern"));
            Presubmit {
                base: JobBase {
                    name: name.clone(),
                    agent: "kubernetes".into(),
                    cluster: "default".into(),
                    spec: Some(Arc::clone(&spec)),
                    decoration_config: Some(Arc::clone(&decoration)),
                    ..JobBase::default()
                },
                always_run: i % 10 == 0,
                changes: ChangeMatcher {
                    run_if_changed: (i % 10 == 1 || i % 10 == 2).then(|| regex(&pattern(i))).flatten(),
                    skip_if_only_changed: (i % 10 == 3)
                        .then(|| regex(r"^docs/|\.(md|adoc)$|^OWNERS$"))
                        .flatten(),
                },
                trigger: GoRegex::new(&format!(r"(?m)^/test( | .* ){name},?($|\s.*)")).expect("a pattern"),
                rerun_command: format!("/test {name}"),
                context: name,
                ..Presubmit::default()
            }
        })
        .collect()
}

/// kubernetes/kubernetes' presubmits as its configuration has them, or generated ones where that is not at hand.
fn presubmits() -> (String, Vec<Presubmit>) {
    let corpus: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../../shared/corpus/kubernetes"].iter().collect();
    if !corpus.is_dir() {
        return (format!("{JOBS} generated presubmits"), generated());
    }
    let options = LoadOptions {
        config_path: corpus.join("config.yaml"),
        job_config_path: Some(corpus.join("jobs")),
        ..LoadOptions::default()
    };
    let snapshot = load(&options).expect("the corpus is valid");
    let jobs = snapshot.presubmits_for("kubernetes/kubernetes").to_vec();
    (format!("{} presubmits of kubernetes/kubernetes", jobs.len()), jobs)
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

/// Medians of `work` for each of `items`, and prints their mean and their maximum.
fn each<T>(what: &str, items: &[T], bound: Duration, mut work: impl FnMut(&T)) {
    let times: Vec<Duration> = items.iter().map(|item| median(|| work(item))).collect();
    let mean = times.iter().sum::<Duration>() / u32::try_from(times.len().max(1)).unwrap_or(u32::MAX);
    report(&format!("{what}, mean of all"), mean, bound);
    report(&format!("{what}, slowest"), times.into_iter().max().unwrap_or_default(), bound);
}

fn report(what: &str, took: Duration, bound: Duration) {
    let ratio = took.as_secs_f64() / bound.as_secs_f64();
    println!("{what:<52} {took:>10.1?}   bound {bound:>6.1?}   ratio {ratio:.2}");
}

fn pull_request() -> PullRequest {
    PullRequest {
        org: "kubernetes".into(),
        repo: "kubernetes".into(),
        repo_link: "https://github.com/kubernetes/kubernetes".into(),
        base_ref: "master".into(),
        base_sha: "1".repeat(40),
        number: 12345,
        author: "octo-dev".into(),
        author_link: "https://github.com/octo-dev".into(),
        head_sha: "2".repeat(40),
        head_ref: "fix".into(),
        title: "Fix the thing".into(),
        link: "https://github.com/kubernetes/kubernetes/pull/12345".into(),
    }
}

fn selection(jobs: &[Presubmit]) {
    const BOUND: Duration = Duration::from_millis(1);
    let files: Vec<String> = (0..30).map(|i| format!("pkg/scheduler/framework/plugins/file{i}.go")).collect();
    let first = |ask: &Ask| {
        let start = Instant::now();
        black_box(select(jobs, "master", ask, Some(&files)).expect("the files are there"));
        start.elapsed()
    };
    let contexts = || jobs.iter().map(|job| job.context.clone());
    let named = jobs.first().map(|job| job.rerun_command.clone()).unwrap_or_default();
    for (what, ask) in [
        ("select, a push to the pull request", Ask::all()),
        ("select, /test all", Ask::comment("/test all", true)),
        ("select, /test and a name", Ask::comment(&named, true)),
        ("select, /retest", Ask::comment("/retest", true).with_contexts(contexts().take(5), contexts())),
        ("select, a comment that is talk", Ask::comment(&"I like this very much. ".repeat(50), true)),
    ] {
        // A snapshot compiles a pattern when it is first asked: once a reload, not once an event.
        let once = first(&ask);
        let took = median(|| {
            black_box(select(jobs, "master", &ask, Some(&files)).expect("the files are there"));
        });
        report(&format!("{what}, {} files", files.len()), took, BOUND);
        println!("    the first of a snapshot, which compiles what is not compiled yet: {once:.1?}");
    }
}

fn main() {
    let (what, jobs) = presubmits();
    println!("{what}; medians of {ROUNDS} runs");
    selection(&jobs);

    const GUID: &str = "b1f8f2d0-0000-11f0-8000-000000000000";
    let bound = Duration::from_micros(50);
    let pr = pull_request();
    let build = |job: &Presubmit| {
        let spec = presubmit(job, pull_request_refs(&pr));
        let name = prowjob_name(GUID, &spec);
        let labels = presubmit_labels(job, GUID, false);
        let now = jiff::Timestamp::UNIX_EPOCH;
        new_prowjob(spec, &labels, &job.base.annotations, &name, "jobs", now, false)
    };
    each("presubmit -> ProwJob", &jobs, bound, |job| {
        black_box(build(job));
    });
    let made: Vec<_> = jobs.iter().map(build).collect();
    let options = PodOptions::default();
    each("ProwJob -> Pod", &made, bound, |made| {
        black_box(pod(made, "1799999999999999999", &options).expect("a job that can run"));
    });
}
