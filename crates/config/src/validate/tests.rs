//! One job that is right, and every way to make it wrong.

use super::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn decoration() -> Value {
    json!({
        "utility_images": {"clonerefs": "c", "initupload": "i", "entrypoint": "e", "sidecar": "s"},
        "gcs_configuration": {"bucket": "b", "path_strategy": "explicit"}
    })
}

fn base() -> JobBase {
    JobBase {
        name: "unit".into(),
        agent: "kubernetes".into(),
        cluster: "default".into(),
        namespace: "default".into(),
        spec: pod(json!({"containers": [{"image": "i", "command": ["true"]}]})),
        decoration_config: Some(Arc::new(serde_json::from_value(decoration()).unwrap())),
        ..JobBase::default()
    }
}

fn pod(value: Value) -> Option<Arc<crate::podtemplate::PodTemplate>> {
    Some(Arc::new(serde_json::from_value(value).unwrap()))
}

fn refused(change: impl Fn(&mut JobBase)) -> String {
    let mut job = base();
    change(&mut job);
    check_base(&job, JobKind::Presubmit, &ProwConfig::default()).join("\n")
}

#[test]
fn a_right_job_passes() {
    assert!(check_base(&base(), JobKind::Presubmit, &ProwConfig::default()).is_empty());
}

#[test]
fn every_rule_has_its_message() {
    let cases: Vec<(&str, Box<dyn Fn(&mut JobBase)>)> = vec![
        ("name:", Box::new(|j| j.name = "a b".into())),
        ("max_concurrency:", Box::new(|j| j.max_concurrency = -1)),
        ("spec:", Box::new(|j| j.spec = None)),
        ("spec:", Box::new(|j| j.agent = "jenkins".into())),
        ("namespace:", Box::new(|j| j.namespace = "other".into())),
        ("at least one", Box::new(|j| j.spec = pod(json!({"containers": []})))),
        (
            "set twice",
            Box::new(|j| {
                j.spec =
                    pod(json!({"containers": [{"command": ["x"], "env": [{"name": "A"}, {"name": "A"}]}]}))
            }),
        ),
        (
            "set by Prow",
            Box::new(|j| {
                j.spec = pod(json!({"containers": [{"command": ["x"], "env": [{"name": "PULL_NUMBER"}]}]}))
            }),
        ),
        (
            "no volume named",
            Box::new(|j| {
                j.spec = pod(
                    json!({"containers": [{"command": ["x"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}),
                )
            }),
        ),
        (
            "mounted by Prow",
            Box::new(|j| {
                j.spec = pod(
                    json!({"containers": [{"command": ["x"], "volumeMounts": [{"name": "logs", "mountPath": "/v"}]}]}),
                )
            }),
        ),
        (
            "used by Prow",
            Box::new(|j| {
                j.spec = pod(
                    json!({"volumes": [{"name": "v"}], "containers": [{"command": ["x"], "volumeMounts": [{"name": "v", "mountPath": "/tools"}]}]}),
                )
            }),
        ),
        (
            "own volumes",
            Box::new(|j| {
                j.spec = pod(json!({"volumes": [{"name": "code"}], "containers": [{"command": ["x"]}]}))
            }),
        ),
        (
            "initContainers",
            Box::new(|j| {
                j.spec = pod(json!({"initContainers": [{"name": "x"}], "containers": [{"command": ["x"]}]}))
            }),
        ),
        (
            "mandatory where",
            Box::new(|j| {
                j.spec = pod(json!({"containers": [{"name": "a", "command": ["x"]}, {"command": ["x"]}]}))
            }),
        ),
        (
            "own containers",
            Box::new(|j| {
                j.spec = pod(
                    json!({"containers": [{"name": "a", "command": ["x"]}, {"name": "sidecar", "command": ["x"]}]}),
                )
            }),
        ),
        ("must name a command", Box::new(|j| j.spec = pod(json!({"containers": [{"image": "i"}]})))),
        ("labels:", Box::new(|j| drop(j.labels.insert("created-by-prow".into(), "x".into())))),
        ("label value", Box::new(|j| drop(j.labels.insert("k".into(), "-x".into())))),
        ("annotations:", Box::new(|j| drop(j.annotations.insert("a b".into(), "x".into())))),
        ("job_queue_name:", Box::new(|j| j.job_queue_name = "q".into())),
        (
            "rerun_auth_config:",
            Box::new(|j| {
                j.rerun_auth_config = Some(RerunAuthConfig {
                    allow_anyone: true,
                    github_users: vec!["u".into()],
                    ..Default::default()
                })
            }),
        ),
        ("utility_images", Box::new(|j| j.decoration_config = Some(Arc::default()))),
    ];
    for (want, change) in cases {
        let message = refused(change);
        assert!(message.contains(want), "{message:?} should say {want:?}");
    }
}

#[test]
fn periodics_may_name_what_presubmits_may_not() {
    let mut job = base();
    job.spec = pod(json!({"containers": [{"command": ["x"], "env": [{"name": "REPO_OWNER"}]}]}));
    assert!(check_base(&job, JobKind::Periodic, &ProwConfig::default()).is_empty());
    assert!(!check_base(&job, JobKind::Postsubmit, &ProwConfig::default()).is_empty());
}

#[test]
fn schedules_are_exactly_one() {
    let periodic = |cron: &str, interval: &str| Periodic {
        base: base(),
        cron: cron.into(),
        interval: interval.into(),
        ..Periodic::default()
    };
    let prow = ProwConfig::default();
    assert!(check_periodic(&periodic("0 1 * * *", ""), &prow, true).is_empty());
    for (cron, interval, want) in
        [("", "", "one of"), ("0 1 * * *", "1h", "only one"), ("x", "", "cron:"), ("", "1d", "interval:")]
    {
        assert!(check_periodic(&periodic(cron, interval), &prow, true).join("\n").contains(want));
    }
}

#[test]
fn all_that_is_broken_is_told_and_nothing_of_what_was_not_read() {
    let mut job = Periodic { base: base(), cron: "x".into(), interval: "1d".into(), ..Periodic::default() };
    job.base.max_concurrency = -1;
    job.base.job_queue_name = "q".into();
    job.base.labels = ["a b", "prow.k8s.io/id"].map(|key| (key.to_owned(), "-x".to_owned())).into();
    let told = check_periodic(&job, &ProwConfig::default(), true);
    let keys = |told: &[String]| {
        told.iter().map(|t| t.split(':').next().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    let labels = ["labels"; 4].map(str::to_owned);
    let whole = [
        "max_concurrency",
        "job_queue_name",
        "only one of cron, interval and minimum_interval may be set",
        "cron",
        "interval",
    ];
    assert_eq!(keys(&told), [&whole[..1], &labels.each_ref().map(String::as_str), &whole[1..]].concat());
    // The same, of a job whose name, Pod and schedule could not be read.
    job.base = JobBase { name: String::new(), spec: None, ..job.base };
    (job.cron, job.interval) = (String::new(), "1d".into());
    let told = check_periodic(&job, &ProwConfig::default(), false);
    assert_eq!(keys(&told), [&whole[..1], &labels.each_ref().map(String::as_str), &["interval"]].concat());
}

#[test]
fn names_and_contexts_clash_where_branches_meet() {
    let job = |name: &str, context: &str, branches: &[&str]| Presubmit {
        base: JobBase { name: name.into(), ..JobBase::default() },
        context: context.into(),
        brancher: Brancher {
            branches: branches.iter().map(|b| (*b).to_owned()).collect(),
            branches_re: (!branches.is_empty()).then(|| GoRegex::new(&branches.join("|")).unwrap()),
            ..Brancher::default()
        },
        ..Presubmit::default()
    };
    for (a, b, clashes) in [
        (job("a", "a", &["main"]), job("a", "a", &["release"]), 0),
        (job("a", "a", &["main"]), job("a", "a", &["main"]), 1),
        (job("a", "a", &[]), job("a", "a", &["main"]), 1),
        (job("a", "c", &["main"]), job("b", "c", &["main"]), 1),
        (job("a", "c", &["main"]), job("b", "c", &["release"]), 0),
    ] {
        let mut errors = Vec::new();
        check_presubmits("o/r", &[a, b], &mut errors);
        assert_eq!(errors.len(), clashes, "{errors:?}");
    }
}
