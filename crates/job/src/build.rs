//! A job and its refs become a ProwJob (prow-config §1.5, §1.9, §1.11, §2.2).

use crate::labels::{Map, labels_and_annotations};
use prow_api::decoration::DecorationConfig;
use prow_api::labels as keys;
use prow_api::prowjob::{JobType, ProwJob, ProwJobSpec, ProwJobStatus, ReporterConfig, State};
use prow_api::refs::{Pull, Refs};
use prow_api::{ObjectMeta, Time};
use prow_config::jobs::{JobBase, Periodic, Postsubmit, Presubmit};

/// What a pull request's refs are made of. Texts are as GitHub gives them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullRequest {
    /// Organisation or user of the base repository.
    pub org: String,
    /// Name of the base repository.
    pub repo: String,
    /// Web URL of the base repository, `html_url`.
    pub repo_link: String,
    /// Base branch.
    pub base_ref: String,
    /// Head of the base branch as the branch is now, not as the payload says.
    pub base_sha: String,
    /// Number.
    pub number: i64,
    /// Login of the author.
    pub author: String,
    /// Web URL of the author, `html_url`.
    pub author_link: String,
    /// Head commit.
    pub head_sha: String,
    /// Head branch.
    pub head_ref: String,
    /// Title.
    pub title: String,
    /// Web URL of the pull request, `html_url`.
    pub link: String,
}

/// Longest title, head branch and author's login that reach a ProwJob, in bytes. GitHub allows 256 characters; a
/// longer text is cut, because it would be copied into several variables of every container, and those have limits.
pub const MAX_TEXT: usize = 1024;

/// The refs of a pull request's jobs, with the links that Deck and the comments show. Title, head branch
/// and author are cut to [`MAX_TEXT`].
pub fn pull_request_refs(pr: &PullRequest) -> Refs {
    Refs {
        org: pr.org.clone(),
        repo: pr.repo.clone(),
        repo_link: pr.repo_link.clone(),
        base_ref: pr.base_ref.clone(),
        base_sha: pr.base_sha.clone(),
        base_link: format!("{}/commit/{}", pr.repo_link, pr.base_sha),
        pulls: vec![Pull {
            number: pr.number,
            author: cut(&pr.author),
            sha: pr.head_sha.clone(),
            title: cut(&pr.title),
            ref_: String::new(),
            head_ref: cut(&pr.head_ref),
            link: pr.link.clone(),
            commit_link: format!("{}/pull/{}/commits/{}", pr.repo_link, pr.number, pr.head_sha),
            author_link: pr.author_link.clone(),
        }],
        ..Refs::default()
    }
}

fn cut(text: &str) -> String {
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].to_owned()
}

/// The refs of a push's jobs. `base_link` is the payload's `compare`.
pub fn push_refs(org: &str, repo: &str, repo_link: &str, branch: &str, after: &str, compare: &str) -> Refs {
    Refs {
        org: org.to_owned(),
        repo: repo.to_owned(),
        repo_link: repo_link.to_owned(),
        base_ref: branch.to_owned(),
        base_sha: after.to_owned(),
        base_link: compare.to_owned(),
        ..Refs::default()
    }
}

/// The spec of a presubmit's run on `refs` (one pull).
pub fn presubmit(job: &Presubmit, refs: Refs) -> ProwJobSpec {
    ProwJobSpec {
        report: !job.skip_report,
        rerun_command: job.rerun_command.clone(),
        ..batch_or_presubmit(JobType::Presubmit, job, refs)
    }
}

/// The spec of a presubmit's run on `refs` with several pulls, for Tide. It reports nothing.
pub fn batch(job: &Presubmit, refs: Refs) -> ProwJobSpec {
    // Only presubmits carry the payload of Jenkins.
    ProwJobSpec { jenkins_spec: None, ..batch_or_presubmit(JobType::Batch, job, refs) }
}

fn batch_or_presubmit(job_type: JobType, job: &Presubmit, refs: Refs) -> ProwJobSpec {
    ProwJobSpec {
        context: job.context.clone(),
        refs: Some(completed_primary(refs, &job.base)),
        jenkins_spec: job.jenkins_spec.clone(),
        ..spec(job_type, &job.base)
    }
}

/// The spec of a postsubmit's run on `refs` (no pulls).
pub fn postsubmit(job: &Postsubmit, refs: Refs) -> ProwJobSpec {
    ProwJobSpec {
        context: job.context.clone(),
        report: !job.skip_report,
        refs: Some(completed_primary(refs, &job.base)),
        jenkins_spec: job.jenkins_spec.clone(),
        ..spec(JobType::Postsubmit, &job.base)
    }
}

/// The spec of a periodic's run.
pub fn periodic(job: &Periodic) -> ProwJobSpec {
    ProwJobSpec { report: true, ..spec(JobType::Periodic, &job.base) }
}

fn spec(job_type: JobType, base: &JobBase) -> ProwJobSpec {
    let decoration = base.decoration_config.as_deref();
    ProwJobSpec {
        job_type,
        agent: base.agent.clone(),
        cluster: base.cluster.clone(),
        namespace: base.namespace.clone(),
        job: base.name.clone(),
        refs: None,
        extra_refs: base.extra_refs.iter().map(|refs| completed_extra(refs, decoration)).collect(),
        report: false,
        context: String::new(),
        rerun_command: String::new(),
        max_concurrency: base.max_concurrency,
        error_on_eviction: base.error_on_eviction,
        pod_spec: base.spec.as_deref().map(|spec| Box::new(spec.to_pod_spec())),
        jenkins_spec: None,
        pipeline_run_spec: base.pipeline_run_spec.clone(),
        tekton_pipeline_run_spec: base.tekton_pipeline_run_spec.clone(),
        decoration_config: decoration.map(|config| Box::new(config.clone())),
        reporter_config: base.reporter_config.clone().map(with_slack_report),
        rerun_auth_config: base.rerun_auth_config.clone(),
        hidden: base.hidden,
        prowjob_defaults: base.prowjob_defaults.clone(),
        job_queue_name: base.job_queue_name.clone(),
    }
}

/// Captures "report nothing": an empty list of states would be lost in the ProwJob's JSON (trap 40).
fn with_slack_report(mut config: ReporterConfig) -> ReporterConfig {
    if let Some(slack) = &mut config.slack
        && slack.report.is_none()
    {
        slack.report = Some(slack.job_states_to_report.as_ref().is_none_or(|states| !states.is_empty()));
    }
    config
}

/// The primary refs with the job's clone settings, where those are set.
fn completed_primary(mut refs: Refs, base: &JobBase) -> Refs {
    if !base.path_alias.is_empty() {
        refs.path_alias.clone_from(&base.path_alias);
    }
    if !base.clone_uri.is_empty() {
        refs.clone_uri.clone_from(&base.clone_uri);
    }
    refs.skip_submodules |= base.skip_submodules;
    if base.clone_depth > 0 {
        refs.clone_depth = base.clone_depth;
    }
    refs.skip_fetch_head |= base.skip_fetch_head;
    let Some(decoration) = base.decoration_config.as_deref() else { return refs };
    if !decoration.sparse_checkout_files.is_empty() {
        refs.sparse_checkout_files.clone_from(&decoration.sparse_checkout_files);
    }
    completed_extra(&refs, Some(decoration))
}

fn completed_extra(refs: &Refs, decoration: Option<&DecorationConfig>) -> Refs {
    let mut refs = refs.clone();
    refs.blobless_fetch = refs.blobless_fetch.or_else(|| decoration.and_then(|d| d.blobless_fetch));
    refs
}

/// Labels that a presubmit made through a pull request has besides the job's: the delivery and whether the job is
/// optional; after `/retest` that, too.
pub fn presubmit_labels(job: &Presubmit, event_guid: &str, retest: bool) -> Map {
    let mut labels = job.base.labels.clone();
    if retest {
        labels.insert(keys::RETEST.to_owned(), "true".to_owned());
    }
    labels.insert(keys::EVENT_GUID.to_owned(), event_guid.to_owned());
    labels.insert(keys::IS_OPTIONAL.to_owned(), job.optional.to_string());
    labels
}

/// Labels that a postsubmit made by a push has: the job's and the delivery.
pub fn postsubmit_labels(job: &Postsubmit, event_guid: &str) -> Map {
    let mut labels = job.base.labels.clone();
    labels.insert(keys::EVENT_GUID.to_owned(), event_guid.to_owned());
    labels
}

/// A new ProwJob. `labels` and `annotations` are the job's own with the caller's laid over them; `now` is its start;
/// with `scheduling` (`scheduler.enabled`) it waits for the scheduler.
pub fn new_prowjob(
    spec: ProwJobSpec,
    labels: &Map,
    annotations: &Map,
    name: &str,
    namespace: &str,
    now: jiff::Timestamp,
    scheduling: bool,
) -> ProwJob {
    let (labels, annotations) = labels_and_annotations(&spec, labels, annotations);
    ProwJob {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec,
        status: ProwJobStatus {
            // Kubernetes keeps whole seconds; a fraction would be gone after the first read.
            start_time: Some(Time(jiff::Timestamp::from_second(now.as_second()).unwrap_or(now))),
            state: if scheduling { State::Scheduling } else { State::Triggered },
            ..ProwJobStatus::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::prowjob::SlackReporterConfig;
    use serde_json::json;
    use std::sync::Arc;

    fn base() -> JobBase {
        JobBase {
            name: "unit".into(),
            agent: "kubernetes".into(),
            cluster: "default".into(),
            namespace: "pods".into(),
            ..JobBase::default()
        }
    }

    fn refs() -> Refs {
        pull_request_refs(&PullRequest {
            org: "o".into(),
            repo: "r".into(),
            repo_link: "https://h/o/r".into(),
            base_ref: "main".into(),
            base_sha: "b".into(),
            number: 5,
            author: "dev".into(),
            author_link: "https://h/dev".into(),
            head_sha: "s".into(),
            head_ref: "fix".into(),
            title: "t".into(),
            link: "https://h/o/r/pull/5".into(),
        })
    }

    #[test]
    fn pull_requests_link_to_what_they_are() {
        assert_eq!(
            serde_json::to_value(refs()).unwrap(),
            json!({
                "org": "o", "repo": "r", "repo_link": "https://h/o/r", "base_ref": "main", "base_sha": "b",
                "base_link": "https://h/o/r/commit/b",
                "pulls": [{
                    "number": 5, "author": "dev", "sha": "s", "title": "t", "head_ref": "fix",
                    "link": "https://h/o/r/pull/5", "commit_link": "https://h/o/r/pull/5/commits/s",
                    "author_link": "https://h/dev"
                }]
            })
        );
    }

    #[test]
    fn types_differ_in_what_they_tell() {
        let pre = Presubmit {
            base: base(),
            context: "ci/unit".into(),
            rerun_command: "/test unit".into(),
            jenkins_spec: Some(prow_api::prowjob::JenkinsSpec::default()),
            ..Presubmit::default()
        };
        let post = Postsubmit {
            base: base(),
            context: "ci/unit".into(),
            skip_report: true,
            ..Postsubmit::default()
        };
        let show = |s: ProwJobSpec| {
            format!(
                "{} report={} context={} rerun={} jenkins={} refs={}",
                s.job_type,
                s.report,
                s.context,
                s.rerun_command,
                s.jenkins_spec.is_some(),
                s.refs.is_some()
            )
        };
        for (spec, want) in [
            (
                presubmit(&pre, refs()),
                "presubmit report=true context=ci/unit rerun=/test unit jenkins=true refs=true",
            ),
            (batch(&pre, refs()), "batch report=false context=ci/unit rerun= jenkins=false refs=true"),
            (
                postsubmit(&post, refs()),
                "postsubmit report=false context=ci/unit rerun= jenkins=false refs=true",
            ),
            (
                periodic(&Periodic { base: base(), ..Periodic::default() }),
                "periodic report=true context= rerun= jenkins=false refs=false",
            ),
        ] {
            assert_eq!(show(spec), want);
        }
    }

    #[test]
    fn clone_settings_reach_the_refs() {
        let decoration: DecorationConfig =
            serde_json::from_value(json!({"blobless_fetch": true, "sparse_checkout_files": ["a"]})).unwrap();
        let mut job = Presubmit {
            base: JobBase {
                path_alias: "k8s.io/r".into(),
                clone_uri: "git@h:o/r".into(),
                skip_submodules: true,
                clone_depth: 3,
                skip_fetch_head: true,
                extra_refs: vec![Refs::default(), Refs { blobless_fetch: Some(false), ..Refs::default() }],
                decoration_config: Some(Arc::new(decoration)),
                ..base()
            },
            ..Presubmit::default()
        };
        let spec = presubmit(&job, refs());
        let primary = spec.refs.unwrap();
        assert_eq!((primary.path_alias.as_str(), primary.clone_uri.as_str()), ("k8s.io/r", "git@h:o/r"));
        assert!(primary.skip_submodules && primary.skip_fetch_head);
        assert_eq!(
            (primary.clone_depth, primary.blobless_fetch, primary.sparse_checkout_files.len()),
            (3, Some(true), 1)
        );
        assert_eq!(
            spec.extra_refs.iter().map(|r| r.blobless_fetch).collect::<Vec<_>>(),
            [Some(true), Some(false)]
        );
        assert!(spec.extra_refs.iter().all(|r| r.sparse_checkout_files.is_empty()), "the primary refs only");

        job.base = JobBase { extra_refs: vec![Refs::default()], ..base() };
        let spec = presubmit(&job, refs());
        assert_eq!(spec.refs, Some(refs()), "nothing set, nothing changed");
        assert_eq!(spec.extra_refs, [Refs::default()]);
    }

    #[test]
    fn an_empty_list_of_states_is_remembered_as_no_report() {
        let report = |states: Option<Vec<State>>, report: Option<bool>| {
            let slack = SlackReporterConfig {
                job_states_to_report: states,
                report,
                ..SlackReporterConfig::default()
            };
            with_slack_report(ReporterConfig { slack: Some(slack) }).slack.unwrap().report
        };
        assert_eq!(report(None, None), Some(true));
        assert_eq!(report(Some(vec![]), None), Some(false));
        assert_eq!(report(Some(vec![State::Failure]), None), Some(true));
        assert_eq!(report(Some(vec![]), Some(true)), Some(true));
        assert_eq!(report(None, Some(false)), Some(false));
        assert_eq!(with_slack_report(ReporterConfig::default()), ReporterConfig::default());
    }

    #[test]
    fn a_new_prowjob_says_when_it_began() {
        let now: jiff::Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let job = Presubmit { base: base(), optional: true, ..Presubmit::default() };
        let labels = presubmit_labels(&job, "guid", true);
        let made = new_prowjob(presubmit(&job, refs()), &labels, &Map::new(), "n", "jobs", now, false);
        let json = serde_json::to_value(&made).unwrap();
        assert_eq!(json["status"], json!({"startTime": "2026-01-02T03:04:05Z", "state": "triggered"}));
        assert_eq!(json["metadata"]["namespace"], "jobs");
        for (key, value) in [("event-GUID", "guid"), (keys::IS_OPTIONAL, "true"), (keys::RETEST, "true")] {
            assert_eq!(made.label(key), Some(value));
        }
        let waiting = new_prowjob(presubmit(&job, refs()), &labels, &Map::new(), "n", "", now, true);
        assert_eq!((waiting.status.state, waiting.metadata.namespace), (State::Scheduling, None));
    }
}
