//! What a defaulted job must fulfil (prow-config §5.6).

mod clashes;
mod pod;

pub(crate) use clashes::{check_periodics, check_postsubmits, check_presubmits};
pub use pod::check_decoration;

use crate::jobfile::JobKind;
use crate::jobs::{Brancher, ChangeMatcher, JobBase, Periodic, Postsubmit, Presubmit};
use crate::prowconfig::ProwConfig;
use crate::{GoRegex, Schedule};
use prow_api::duration::parse_go_duration;
use prow_api::labels::{GERRIT_REPORT_LABEL, RESERVED};
use prow_api::prowjob::{JENKINS_AGENT, KUBERNETES_AGENT, RerunAuthConfig, TEKTON_AGENT};
use std::sync::LazyLock;

type Check = Result<(), String>;

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

fn is_jenkins_name(name: &str) -> bool {
    let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let Some((&first, rest)) = name.as_bytes().split_first() else { return false };
    let Some((&last, middle)) = rest.split_last() else { return part(first) };
    part(first) && middle.iter().all(|&b| part(b) || b == b'/') && part(last) && last != b'.'
}

/// What every job must fulfil, whatever else of it could be read: all that is broken of it.
fn check_own(job: &JobBase, broken: &mut Vec<String>) {
    let named = if job.agent == JENKINS_AGENT { is_jenkins_name(&job.name) } else { is_name(&job.name) };
    if !named && !job.name.is_empty() {
        broken.push(format!(
            "name: {:?} is no job name; letters, digits, dots, hyphens and underscores are allowed",
            job.name
        ));
    }
    if job.max_concurrency < 0 {
        broken.push(format!("max_concurrency: {} is negative; 0 is unlimited", job.max_concurrency));
    }
    check_labels(job, broken);
}

/// What all jobs must fulfil: everything that is broken, where upstream stops at the first.
fn check_base(job: &JobBase, kind: JobKind, prow: &ProwConfig) -> Vec<String> {
    let mut broken = Vec::new();
    if job.name.is_empty() {
        broken.push("name: it is missing; every job has one".to_owned());
    }
    check_own(job, &mut broken);
    broken.extend(check_agent(job, prow).err());
    if let Some(spec) = &job.spec {
        pod::check_spec(spec, job, kind, &mut broken);
    }
    if job.agent == TEKTON_AGENT {
        broken.extend(pod::check_pipeline_refs(job, kind).err());
    }
    if !job.job_queue_name.is_empty() && !prow.plank.job_queue_capacities.contains_key(&job.job_queue_name) {
        broken.push(format!("job_queue_name: {:?} is not in plank.job_queue_capacities", job.job_queue_name));
    }
    if let Some(spec) = job.spec.as_ref().filter(|s| !s.containers.is_empty()) {
        if let Some(auth) = &job.rerun_auth_config {
            broken.extend(check_rerun_auth(auth).map_err(|e| format!("rerun_auth_config: {e}")).err());
        }
        broken.extend(check_clone_uris(job).err());
        if let Some(config) = &job.decoration_config {
            broken.extend(check_decoration(config).map_err(|e| format!("decoration_config: {e}")).err());
            broken.extend(pod::check_commands(spec).err());
        }
    }
    broken
}

fn check_agent(job: &JobBase, prow: &ProwConfig) -> Check {
    let tekton = job.tekton_pipeline_run_spec.is_some() || job.pipeline_run_spec.is_some();
    let agent = job.agent.as_str();
    if ![KUBERNETES_AGENT, JENKINS_AGENT, TEKTON_AGENT].contains(&agent) {
        return Ok(());
    }
    let kubernetes = agent == KUBERNETES_AGENT;
    if job.spec.is_some() && !kubernetes {
        return Err(format!("spec: only jobs of agent kubernetes have one, this one's agent is {agent}"));
    }
    if kubernetes && job.spec.is_none() {
        return Err("spec: jobs of agent kubernetes must have one".into());
    }
    if tekton && agent != TEKTON_AGENT {
        return Err(format!("a pipeline run spec is for agent tekton-pipeline, this job's agent is {agent}"));
    }
    if agent == TEKTON_AGENT && !tekton {
        return Err("jobs of agent tekton-pipeline must have a tekton_pipeline_run_spec".into());
    }
    if job.decoration_config.is_some() && !kubernetes {
        return Err(format!(
            "decoration_config: only jobs of agent kubernetes are decorated, this one's agent is {agent}; set decorate: false"
        ));
    }
    if job.error_on_eviction && !kubernetes {
        return Err("error_on_eviction: only jobs of agent kubernetes can be evicted".into());
    }
    if job.namespace.is_empty() {
        return Err("namespace: it is empty; set pod_namespace".into());
    }
    if job.namespace != prow.pod_namespace && agent != TEKTON_AGENT {
        return Err(format!(
            "namespace: Pods run in {:?} (pod_namespace), not in {:?}; remove the key",
            prow.pod_namespace, job.namespace
        ));
    }
    Ok(())
}

/// What a key of labels or annotations looks like.
const KEY_FORM: &str = "write NAME or DNS.NAME/NAME, a NAME being at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends";

fn check_labels(job: &JobBase, broken: &mut Vec<String>) {
    for (key, value) in &job.labels {
        if RESERVED.contains(&key.as_str()) {
            broken.push(format!("labels: {key} is set by Prow itself"));
        } else if !is_qualified_name(key) {
            broken.push(format!("labels: {key:?} is no label key; {KEY_FORM}"));
        }
        if !is_label_value(value) {
            broken.push(format!(
                "labels: {value:?} is no label value; at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
            ));
        }
    }
    for key in job.annotations.keys().filter(|k| !is_qualified_name(k)) {
        broken.push(format!("annotations: {key:?} is no annotation key; {KEY_FORM}"));
    }
}

/// Kubernetes' rule for label values.
pub(crate) fn is_label_value(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let ends = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|&b| inner(b)) && ends(bytes.first()) && ends(bytes.last())
}

/// Kubernetes' rule for label and annotation keys: `[dns.subdomain/]name`.
pub(crate) fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let dns = |p: &str| {
        p.len() <= 253
            && p.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    };
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(dns)
}

/// §1.8: anyone and a list exclude each other.
pub(crate) fn check_rerun_auth(auth: &RerunAuthConfig) -> Check {
    let listed = !(auth.github_users.is_empty()
        && auth.github_team_ids.is_empty()
        && auth.github_team_slugs.is_empty()
        && auth.github_orgs.is_empty());
    if auth.allow_anyone && listed {
        return Err("allow_anyone is set beside lists of who is allowed; remove one of them".into());
    }
    Ok(())
}

/// Extra refs are looked at only when the job itself has a clone URI, as upstream does.
fn check_clone_uris(job: &JobBase) -> Check {
    if job.clone_uri.is_empty() {
        return Ok(());
    }
    let oauth = job.decoration_config.as_ref().is_some_and(|d| d.oauth_token_secret.is_some());
    let uris = std::iter::once(&job.clone_uri).chain(job.extra_refs.iter().map(|r| &r.clone_uri));
    for uri in uris {
        let bare = uri.split_once('@').map_or(uri.as_str(), |(_, rest)| rest);
        let web = bare.starts_with("http://") || bare.starts_with("https://");
        if web && let Err(error) = url::Url::parse(bare) {
            return Err(format!("clone_uri: {uri:?} is no URL: {error}"));
        }
        if oauth && !web {
            return Err(format!(
                "clone_uri: {uri:?} must be http or https, since an OAuth token is used to clone"
            ));
        }
    }
    Ok(())
}

fn check_changes(changes: &ChangeMatcher, always_run: bool) -> Check {
    if changes.run_if_changed.is_some() && changes.skip_if_only_changed.is_some() {
        return Err("run_if_changed and skip_if_only_changed exclude each other".into());
    }
    if always_run {
        if changes.run_if_changed.is_some() {
            return Err("always_run and run_if_changed exclude each other".into());
        }
        if changes.skip_if_only_changed.is_some() {
            return Err("always_run and skip_if_only_changed exclude each other".into());
        }
    }
    Ok(())
}

fn check_reporting(base: &JobBase, skip_report: bool, context: &str) -> Check {
    if !skip_report && context.is_empty() {
        return Err("context: jobs that report must have one".into());
    }
    if skip_report && base.labels.get(GERRIT_REPORT_LABEL).is_some_and(|v| !v.is_empty()) {
        return Err(format!("skip_report is set, and the label {GERRIT_REPORT_LABEL} says to report"));
    }
    Ok(())
}

/// Everything that is broken of a job. Of one that could not be read whole (`whole`), only what is broken for sure:
/// what was not read is not missing.
pub(crate) fn check_presubmit(job: &Presubmit, prow: &ProwConfig, whole: bool) -> Vec<String> {
    if !whole {
        return own(&job.base);
    }
    let mut broken = check_base(&job.base, JobKind::Presubmit, prow);
    broken.extend(check_changes(&job.changes, job.always_run).err());
    broken.extend(check_reporting(&job.base, job.skip_report, &job.context).err());
    broken
}

/// As [`check_presubmit`].
pub(crate) fn check_postsubmit(job: &Postsubmit, prow: &ProwConfig, whole: bool) -> Vec<String> {
    if !whole {
        return own(&job.base);
    }
    let mut broken = check_base(&job.base, JobKind::Postsubmit, prow);
    broken.extend(check_changes(&job.changes, job.always_run == Some(true)).err());
    broken.extend(check_reporting(&job.base, job.skip_report, &job.context).err());
    broken
}

/// As [`check_presubmit`].
pub(crate) fn check_periodic(job: &Periodic, prow: &ProwConfig, whole: bool) -> Vec<String> {
    let mut broken = if whole { check_base(&job.base, JobKind::Periodic, prow) } else { own(&job.base) };
    let given = [&job.cron, &job.interval, &job.minimum_interval].iter().filter(|t| !t.is_empty()).count();
    match given {
        0 if whole => broken.push("one of cron, interval and minimum_interval must be set".to_owned()),
        0 | 1 => {}
        _ => broken.push("only one of cron, interval and minimum_interval may be set".to_owned()),
    }
    if !job.cron.is_empty() {
        broken.extend(Schedule::parse(&job.cron).map_err(|e| format!("cron: {e}")).err());
    }
    let retry = job.retry.as_ref().filter(|retry| whole || !retry.interval.is_empty());
    for (key, text) in [
        ("interval", Some(&job.interval).filter(|text| !text.is_empty())),
        ("minimum_interval", Some(&job.minimum_interval).filter(|text| !text.is_empty())),
        ("retry.interval", retry.map(|retry| &retry.interval)),
    ] {
        if let Some(text) = text {
            broken.extend(parse_go_duration(text).map_err(|e| format!("{key}: {e}")).err());
        }
    }
    broken
}

fn own(job: &JobBase) -> Vec<String> {
    let mut broken = Vec::new();
    check_own(job, &mut broken);
    broken
}

/// Where two jobs may both run; see [`Brancher::intersects`].
pub(crate) fn overlap(a: &Brancher, b: &Brancher) -> bool {
    a.intersects(b)
}

/// References of a pipeline's tasks to the code under test.
pub(crate) static PIPELINE_REF: LazyLock<GoRegex> = LazyLock::new(|| {
    GoRegex::trusted(r"^PROW_EXTRA_GIT_REF_(\d+)$".into(), r"^PROW_EXTRA_GIT_REF_([0-9]+)$".into())
});

#[cfg(test)]
mod tests;
