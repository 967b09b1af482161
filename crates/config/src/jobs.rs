//! Job configuration after loading (prow-config §5): what selection, building and decoration read.

use crate::goregex::GoRegex;
pub use crate::joblist::{JobList, Periodics};
use crate::podtemplate::PodTemplate;
use k8s_openapi::api::core::v1::{EnvVar, Toleration, Volume, VolumeMount};
use prow_api::decoration::DecorationConfig;
use prow_api::prowjob::{
    JenkinsSpec, ProwJobDefault, ReporterConfig, RerunAuthConfig, TektonPipelineRunSpec,
};
use prow_api::refs::Refs;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a job was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// File, as it was reached from the job-config path.
    pub file: Arc<str>,
    /// Line of the job's first key, from 1.
    pub line: u32,
    /// Column of the job's first key, from 1.
    pub column: u32,
}

/// What all jobs share (§5.1), after defaulting: presets merged, decoration resolved, defaults filled.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobBase {
    /// Job name.
    pub name: String,
    /// Labels for ProwJob and Pod; presets select by them.
    pub labels: BTreeMap<String, String>,
    /// Annotations for ProwJob and Pod.
    pub annotations: BTreeMap<String, String>,
    /// 0 is unlimited.
    pub max_concurrency: i64,
    /// Executor, `kubernetes` by default.
    pub agent: String,
    /// Build cluster alias, `default` by default.
    pub cluster: String,
    /// `pod_namespace` by default.
    pub namespace: String,
    /// Evicted Pods are errors.
    pub error_on_eviction: bool,
    /// Pod, presets merged.
    pub spec: Option<Arc<PodTemplate>>,
    /// Deprecated Tekton payload.
    pub pipeline_run_spec: Option<Value>,
    /// Tekton payload.
    pub tekton_pipeline_run_spec: Option<TektonPipelineRunSpec>,
    /// Reporter settings.
    pub reporter_config: Option<ReporterConfig>,
    /// Rerun rights.
    pub rerun_auth_config: Option<RerunAuthConfig>,
    /// Hidden in Deck.
    pub hidden: bool,
    /// Tenant; always filled.
    pub prowjob_defaults: Option<ProwJobDefault>,
    /// Plank's queue.
    pub job_queue_name: String,
    /// Decorated or not; resolved from `decorate_all_jobs` when the job does not say.
    pub decorate: Option<bool>,
    /// Clone directory of the primary refs.
    pub path_alias: String,
    /// Clone URI of the primary refs.
    pub clone_uri: String,
    /// For the primary refs.
    pub skip_submodules: bool,
    /// For the primary refs.
    pub clone_depth: i64,
    /// For the primary refs.
    pub skip_fetch_head: bool,
    /// Additional clones.
    pub extra_refs: Vec<Refs>,
    /// Resolved if decorated, as written otherwise.
    pub decoration_config: Option<Arc<DecorationConfig>>,
    /// Where the job was written.
    pub source: Source,
}

/// Which branches a job is for (§5.5).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Brancher {
    /// As written.
    pub branches: Vec<String>,
    /// As written.
    pub skip_branches: Vec<String>,
    /// `branches` joined with `|`, unanchored; `None` if empty.
    pub branches_re: Option<GoRegex>,
    /// `skip_branches` joined with `|`, unanchored; `None` if empty.
    pub skip_branches_re: Option<GoRegex>,
}

impl Brancher {
    /// Whether a job with this filter is for a branch.
    pub fn runs_on(&self, branch: &str) -> bool {
        if self.skip_branches_re.as_ref().is_some_and(|re| re.is_match(branch)) {
            return false;
        }
        self.branches_re.as_ref().is_none_or(|re| re.is_match(branch))
    }

    /// Whether some branch is in both filters, as far as validation tells (§5.6): two lists of branches are
    /// compared as texts.
    pub fn intersects(&self, other: &Brancher) -> bool {
        let all = |b: &Brancher| b.branches.is_empty() && b.skip_branches.is_empty();
        if all(self) || all(other) {
            return true;
        }
        match (self.branches.is_empty(), other.branches.is_empty()) {
            (false, false) => self.branches.iter().any(|b| other.branches.contains(b)),
            (false, true) => self.branches.iter().any(|b| other.runs_on(b)),
            (true, false) => other.branches.iter().any(|b| self.runs_on(b)),
            (true, true) => true,
        }
    }
}

/// Which changed files a job is for (§5.5). At most one is set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChangeMatcher {
    /// Run if any changed path matches.
    pub run_if_changed: Option<GoRegex>,
    /// Run if any changed path does not match.
    pub skip_if_only_changed: Option<GoRegex>,
}

/// A job for pull requests (§5.2).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Presubmit {
    /// What all jobs share.
    pub base: JobBase,
    /// Runs on every change.
    pub always_run: bool,
    /// Its context is not required.
    pub optional: bool,
    /// Comment that starts it.
    pub trigger: GoRegex,
    /// What to tell people to write.
    pub rerun_command: String,
    /// Tide requires it though it does not run by itself.
    pub run_before_merge: bool,
    /// Branches.
    pub brancher: Brancher,
    /// Changed files.
    pub changes: ChangeMatcher,
    /// Commit status context; the name by default.
    pub context: String,
    /// No status, no comment.
    pub skip_report: bool,
    /// Jenkins payload.
    pub jenkins_spec: Option<JenkinsSpec>,
}

/// A job for pushes (§5.3).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Postsubmit {
    /// What all jobs share.
    pub base: JobBase,
    /// Absent means yes unless a change matcher decides.
    pub always_run: Option<bool>,
    /// Branches.
    pub brancher: Brancher,
    /// Changed files.
    pub changes: ChangeMatcher,
    /// Commit status context; the name by default.
    pub context: String,
    /// No status.
    pub skip_report: bool,
    /// Jenkins payload.
    pub jenkins_spec: Option<JenkinsSpec>,
}

/// A job for the clock (§5.4).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Periodic {
    /// What all jobs share.
    pub base: JobBase,
    /// Go duration since the last start, as written.
    pub interval: String,
    /// Go duration since the last end, as written.
    pub minimum_interval: String,
    /// Cron spec, as written; evaluated in UTC.
    pub cron: String,
    /// Unused by core.
    pub tags: Vec<String>,
    /// Retries.
    pub retry: Option<Retry>,
}

/// Retries of a periodic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retry {
    /// Retry whatever the result.
    pub run_all: bool,
    /// At most; capped at 10.
    pub attempts: i64,
    /// Go duration, as written.
    pub interval: String,
}

/// Settings that jobs select by label (§10).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Preset {
    /// All must be on the job with the same value.
    pub labels: BTreeMap<String, String>,
    /// For every regular container.
    pub env: Vec<EnvVar>,
    /// For the Pod.
    pub volumes: Vec<Volume>,
    /// For every regular container.
    pub volume_mounts: Vec<VolumeMount>,
    /// For the Pod.
    pub tolerations: Vec<Toleration>,
}

/// All jobs of one snapshot. Lists are in the contract's order: config.yaml first, then walk order.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    /// By `org/repo` (or Gerrit identifier) as written.
    pub presubmits: BTreeMap<String, JobList<Presubmit>>,
    /// By `org/repo` (or Gerrit identifier) as written.
    pub postsubmits: BTreeMap<String, JobList<Postsubmit>>,
    /// All periodics.
    pub periodics: Periodics,
    /// All presets.
    pub presets: Vec<Preset>,
    /// Jobs that do not say otherwise are decorated; config.yaml's word, which in-repo jobs heed, too.
    pub decorate_all_jobs: bool,
    /// Presubmits of Gerrit repositories that are written with and without scheme: all, by the key with scheme.
    pub gerrit_presubmits: BTreeMap<String, JobList<Presubmit>>,
    /// Postsubmits of Gerrit repositories that are written with and without scheme: all, by the key with scheme.
    pub gerrit_postsubmits: BTreeMap<String, JobList<Postsubmit>>,
}

impl Jobs {
    /// Prepares the answers for Gerrit repositories that are written under both of their spellings.
    pub(crate) fn join_spellings(&mut self) {
        self.gerrit_presubmits = joined(&self.presubmits);
        self.gerrit_postsubmits = joined(&self.postsubmits);
    }

    /// Presubmits of a repository (`org/repo`; for Gerrit `https://host/repo`), in order.
    pub fn presubmits_for(&self, repo: &str) -> &[Presubmit] {
        by_identifier(&self.presubmits, &self.gerrit_presubmits, repo)
    }

    /// Postsubmits of a repository (`org/repo`; for Gerrit `https://host/repo`), in order.
    pub fn postsubmits_for(&self, repo: &str) -> &[Postsubmit] {
        by_identifier(&self.postsubmits, &self.gerrit_postsubmits, repo)
    }

    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.presubmits.values().map(|list| list.len()).sum::<usize>()
            + self.postsubmits.values().map(|list| list.len()).sum::<usize>()
            + self.periodics.len()
    }

    /// No job at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a repository's key is without `https://`; nothing for keys that have none.
fn without_scheme(repo: &str) -> Option<&str> {
    repo.strip_prefix("https://").or_else(|| repo.strip_prefix("http://"))
}

/// The lists of Gerrit repositories whose jobs are written under both spellings: those with scheme first (§5).
fn joined<T: Clone>(map: &BTreeMap<String, JobList<T>>) -> BTreeMap<String, JobList<T>> {
    let both = map.iter().filter_map(|(repo, list)| {
        let bare = map.get(without_scheme(repo)?)?;
        let both: Vec<T> = list.iter().chain(bare).cloned().collect();
        Some((repo.clone(), both.into()))
    });
    both.collect()
}

/// A list by its key; a Gerrit repository is asked for with its scheme and may be written without.
fn by_identifier<'j, T>(
    map: &'j BTreeMap<String, JobList<T>>,
    joined: &'j BTreeMap<String, JobList<T>>,
    repo: &str,
) -> &'j [T] {
    let bare = || map.get(without_scheme(repo)?);
    joined.get(repo).or_else(|| map.get(repo)).or_else(bare).map_or(&[], |list| list)
}

/// A tenant default for the jobs that its filters match (§1.10).
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct ProwJobDefaultEntry {
    /// `org`, `org/repo`, `*` or empty for all; not a regular expression.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// Build cluster alias, `*` or empty for all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ProwJobDefault>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gerrit_repositories_have_the_jobs_of_both_spellings() {
        let named = |name: &str| Presubmit { context: name.into(), ..Presubmit::default() };
        let mut jobs = Jobs::default();
        for (repo, name) in [
            ("https://host/r", "with"),
            ("host/r", "without"),
            ("host/only", "only"),
            ("https://host/other", "other"),
        ] {
            jobs.presubmits.insert(repo.into(), vec![named(name)].into());
        }
        jobs.join_spellings();
        for (repo, want) in [
            ("https://host/r", &["with", "without"][..]),
            ("host/r", &["without"]),
            ("https://host/only", &["only"]),
            ("host/only", &["only"]),
            ("https://host/other", &["other"]),
            ("host/other", &[]),
            ("none/r", &[]),
        ] {
            let got: Vec<&str> = jobs.presubmits_for(repo).iter().map(|j| j.context.as_str()).collect();
            assert_eq!(got, want, "{repo}");
        }
        assert_eq!(jobs.len(), 4, "no job counts twice");
    }
}
