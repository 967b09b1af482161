//! What deciding costs (issue bounds: selection for one pull request of a large repository ≤ 1 ms, ProwJob and Pod
//! ≤ 50 µs each). Prints medians beside the bounds; run with `cargo bench -p prow-job`.

use prow_config::goregex::GoRegex;
use prow_config::jobs::{ChangeMatcher, JobBase, Presubmit};
use prow_job::build::{PullRequest, new_prowjob, presubmit, presubmit_labels, pull_request_refs};
use prow_job::names::prowjob_name;
use prow_job::pod::{PodOptions, pod};
use prow_job::select::{Ask, select};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// About as many presubmits as kubernetes/kubernetes has.
const JOBS: usize = 600;
const ROUNDS: usize = 201;

fn jobs() -> Vec<Presubmit> {
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

fn report(what: &str, took: Duration, bound: Duration) {
    let ratio = took.as_secs_f64() / bound.as_secs_f64();
    println!("{what:<46} {took:>10.1?}   bound {bound:>6.1?}   ratio {ratio:.2}");
}

fn main() {
    let jobs = jobs();
    let files: Vec<String> = (0..30).map(|i| format!("pkg/scheduler/framework/plugins/file{i}.go")).collect();
    let took = median(|| {
        black_box(select(&jobs, "master", &Ask::all(), Some(&files)).expect("the files are there"));
    });
    report(&format!("select, {JOBS} presubmits, {} files", files.len()), took, Duration::from_millis(1));

    let job = &jobs[0];
    let pr = PullRequest {
        org: "o".into(),
        repo: "r".into(),
        repo_link: "https://github.com/o/r".into(),
        base_ref: "master".into(),
        base_sha: "1".repeat(40),
        number: 12345,
        author: "octo-dev".into(),
        author_link: "https://github.com/octo-dev".into(),
        head_sha: "2".repeat(40),
        head_ref: "fix".into(),
        title: "Fix the thing".into(),
        link: "https://github.com/o/r/pull/12345".into(),
    };
    let build = || {
        let spec = presubmit(job, pull_request_refs(&pr));
        let name = prowjob_name("b1f8f2d0-0000-11f0-8000-000000000000", &spec);
        let labels = presubmit_labels(job, "b1f8f2d0-0000-11f0-8000-000000000000", false);
        new_prowjob(spec, &labels, &job.base.annotations, &name, "jobs", jiff::Timestamp::UNIX_EPOCH, false)
    };
    let took = median(|| {
        black_box(build());
    });
    report("presubmit -> ProwJob", took, Duration::from_micros(50));
    let made = build();
    let options = PodOptions::default();
    let took = median(|| {
        black_box(pod(&made, "1799999999999999999", &options).expect("a decorated job"));
    });
    report("ProwJob -> Pod", took, Duration::from_micros(50));
}
