//! Warnings about single jobs.

use super::names::*;
use crate::finding::Finding;
use prow_api::prowjob::{DEFAULT_CLUSTER, JENKINS_AGENT, KUBERNETES_AGENT};
use prow_config::jobs::JobBase;
use prow_config::{Presubmit, Snapshot};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Longest value of a Kubernetes label: the job's name is one.
const MAX_NAME: usize = 63;

/// A job with what it is called in messages.
pub(crate) struct Job<'s> {
    pub base: &'s JobBase,
    kind: &'static str,
    repo: &'s str,
}

impl<'s> Job<'s> {
    /// `presubmit "unit" of org/repo`.
    fn said(&self) -> String {
        match self.repo {
            "" => format!("{} {:?}", self.kind, self.base.name),
            repo => format!("{} {:?} of {repo}", self.kind, self.base.name),
        }
    }

    fn kubernetes(&self) -> bool {
        self.base.agent == KUBERNETES_AGENT
    }

    /// A warning about the job, near one of its keys.
    fn warn(&self, check: &'static str, key: &'static str, message: &str) -> Finding {
        let found = Finding::warning(check, format!("{} {message}", self.said()));
        Finding { job_key: Some(key), ..found.at(&self.base.source.file, self.base.source.line) }
    }
}

/// Every job: presubmits, postsubmits, periodics.
pub(crate) fn all(snapshot: &Snapshot) -> impl Iterator<Item = Job<'_>> {
    let jobs = &snapshot.jobs;
    let presubmits = jobs
        .presubmits
        .iter()
        .flat_map(|(repo, list)| list.iter().map(move |j| Job { base: &j.base, kind: "presubmit", repo }));
    let postsubmits = jobs
        .postsubmits
        .iter()
        .flat_map(|(repo, list)| list.iter().map(move |j| Job { base: &j.base, kind: "postsubmit", repo }));
    let periodics = jobs.periodics.iter().map(|j| Job { base: &j.base, kind: "periodic", repo: "" });
    presubmits.chain(postsubmits).chain(periodics)
}

/// Names that are cut where they become labels, so that nothing finds the job by them.
pub(crate) fn long_names(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    for job in all(snapshot).filter(|j| j.kubernetes() && j.base.name.len() > MAX_NAME) {
        let message = format!(
            "has a name of {} characters; the label {} takes {MAX_NAME}, so it is cut there",
            job.base.name.len(),
            prow_api::labels::JOB
        );
        out.push(job.warn(LONG_JOB_NAMES, "name", &message));
    }
}

pub(crate) fn non_decorated(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    for job in all(snapshot).filter(|j| j.kubernetes() && j.base.decorate != Some(true)) {
        let finding =
            job.warn(NON_DECORATED_JOBS, "decorate", "is not decorated: nothing is cloned, no log is kept");
        out.push(finding.suggest("set decorate: true, or decorate_all_jobs: true in config.yaml"));
    }
}

pub(crate) fn decoration(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    for job in all(snapshot).filter(|j| j.kubernetes() && j.base.decorate == Some(true)) {
        if let Some(config) = &job.base.decoration_config
            && let Err(reason) = prow_config::check_decoration(config)
        {
            let message = format!("is decorated, but {reason}");
            out.push(job.warn(VALID_DECORATION_CONFIG, "decoration_config", &message));
        }
    }
}

/// `extra_refs` of presubmits that name one repository twice, or the one under test.
pub(crate) fn duplicate_refs(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    for job in all(snapshot).filter(|j| j.kind == "presubmit") {
        let mut seen: HashMap<String, usize> = HashMap::from([(job.repo.to_owned(), 1)]);
        for extra in &job.base.extra_refs {
            *seen.entry(extra.org_repo()).or_default() += 1;
        }
        let twice: BTreeSet<&String> = seen.iter().filter(|(_, n)| **n > 1).map(|(repo, _)| repo).collect();
        for repo in twice {
            let message = if repo == job.repo {
                format!("clones {repo}, which it tests, once more through extra_refs")
            } else {
                format!("has {repo} more than once in extra_refs")
            };
            out.push(job.warn(DUPLICATE_JOB_REFS, "extra_refs", &message));
        }
    }
}

pub(crate) fn periodic_clone_config(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    for job in all(snapshot).filter(|j| j.kind == "periodic") {
        for (key, set) in [
            ("clone_depth", job.base.clone_depth != 0),
            ("clone_uri", !job.base.clone_uri.is_empty()),
            ("path_alias", !job.base.path_alias.is_empty()),
        ] {
            if set {
                let message =
                    format!("sets {key}, which has no effect: a periodic has no repository of its own");
                let finding = job.warn(PERIODIC_DEFAULT_CLONE_CONFIG, key, &message);
                out.push(finding.suggest(format!("set {key} in its extra_refs")));
            }
        }
    }
}

pub(crate) fn annotations(snapshot: &Snapshot, required: &[String], out: &mut Vec<Finding>) {
    for job in all(snapshot) {
        let missing: Vec<&String> =
            required.iter().filter(|a| !job.base.annotations.contains_key(*a)).collect();
        if !missing.is_empty() {
            let message = format!(
                "lacks the required annotation{} {}",
                if missing.len() == 1 { "" } else { "s" },
                crate::text::list(&missing)
            );
            out.push(job.warn(REQUIRED_JOB_ANNOTATIONS, "annotations", &message));
        }
    }
}

/// Jobs on clusters that plank does not know, or that their agent cannot use. `statuses` is what plank wrote to its
/// `build_cluster_status_file`, where there is one.
pub(crate) fn clusters(
    snapshot: &Snapshot,
    statuses: Option<&BTreeMap<String, String>>,
    out: &mut Vec<Finding>,
) {
    for job in all(snapshot) {
        let cluster = job.base.cluster.as_str();
        if cluster != DEFAULT_CLUSTER && job.base.agent == JENKINS_AGENT {
            let message = format!("names cluster {cluster:?}, but agent jenkins has no clusters");
            out.push(job.warn(VALIDATE_CLUSTER_FIELD, "cluster", &message));
            continue;
        }
        let Some(statuses) = statuses else { continue };
        match statuses.get(cluster).map(String::as_str) {
            None => {
                let message = format!("names cluster {cluster:?}, which plank does not know");
                let finding = job.warn(VALIDATE_CLUSTER_FIELD, "cluster", &message);
                let meant = prow_config::did_you_mean(cluster, statuses.keys().map(String::as_str));
                let known: Vec<&String> = statuses.keys().collect();
                out.push(finding.suggest(match meant {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("plank knows {}", crate::text::list(&known)),
                }));
            }
            Some("Reachable") => {}
            Some(status) => {
                let message = format!("runs on cluster {cluster:?}, which plank cannot use now: {status}");
                let finding = job.warn(VALIDATE_CLUSTER_FIELD, "cluster", &message);
                out.push(Finding { level: crate::Level::Note, ..finding });
            }
        }
    }
}

/// Always checked: commands that Gerrit's `allowed_presubmit_trigger_re` does not let through.
pub(crate) fn rerun_commands(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    for (repo, list) in &snapshot.jobs.presubmits {
        out.extend(list.iter().filter_map(|job| rerun_command(snapshot, repo, job)));
    }
}

/// A presubmit of a repository whose command Gerrit's `allowed_presubmit_trigger_re` does not let through.
pub fn rerun_command(snapshot: &Snapshot, repo: &str, presubmit: &Presubmit) -> Option<Finding> {
    let allowed = snapshot.prow.gerrit.allowed_presubmit_trigger_re.as_ref()?;
    if allowed.is_match(&presubmit.rerun_command) {
        return None;
    }
    let job = Job { base: &presubmit.base, kind: "presubmit", repo };
    let message = format!(
        "has rerun_command {:?}, which gerrit.allowed_presubmit_trigger_re {:?} does not match",
        presubmit.rerun_command,
        allowed.as_str()
    );
    Some(job.warn(RERUN_COMMAND, "rerun_command", &message))
}
