//! Reading the jobs of one file (prow-config §5): every key of every kind of job in one flat structure, since a
//! nested one would lose positions and the decoder's rules.

use crate::diagnostic::{Diagnostic, Kind, did_you_mean};
use crate::goyaml::{Cursor, Findings};
use crate::gozero;
use crate::jobs::{Preset, Retry, Source};
use crate::podtemplate::{PodTemplate, Pool};
use crate::quantity;
use crate::retired::{self, RUN_AFTER_SUCCESS};
use k8s_openapi::api::core::v1::{EnvVar, PodSpec, Toleration, Volume, VolumeMount};
use prow_api::decoration::DecorationConfig;
use prow_api::prowjob::{
    DEFAULT_CLUSTER, JENKINS_AGENT, JenkinsSpec, KUBERNETES_AGENT, ProwJobDefault, ReporterConfig,
    RerunAuthConfig, TEKTON_AGENT, TektonPipelineRunSpec,
};
use prow_api::refs::Refs;
use prow_api::schema::GO_DURATION_PATTERN;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A job as written: every key of every kind of job. Its comments are what `prow config schema` says of them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct RawJob {
    /// Name of the job: letters, digits, `-`, `.` and `_`; for Jenkins `/` as well.
    #[schemars(extend("pattern" = "^[A-Za-z0-9._/-]+$"))]
    pub name: String,
    /// Labels of the ProwJob and its Pod; presets are chosen by them.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the ProwJob and its Pod.
    pub annotations: BTreeMap<String, String>,
    /// Runs of this job at a time; 0 is unlimited.
    #[schemars(range(min = 0))]
    pub max_concurrency: i64,
    /// What runs the job.
    #[schemars(extend("default" = KUBERNETES_AGENT, "examples" = [KUBERNETES_AGENT, TEKTON_AGENT, JENKINS_AGENT]))]
    pub agent: String,
    /// Alias of the build cluster.
    #[schemars(extend("default" = DEFAULT_CLUSTER))]
    pub cluster: String,
    /// Namespace of the Pod: `pod_namespace`, and nothing else unless the agent is tekton-pipeline.
    pub namespace: Option<String>,
    /// A Pod that is evicted is an error instead of being made again.
    pub error_on_eviction: bool,
    /// The Pod, for agent kubernetes.
    #[schemars(schema_with = "prow_api::schema::of::<PodSpec>")]
    pub spec: Option<Box<PodSpec>>,
    /// A PipelineRun's spec, for agent tekton-pipeline.
    #[schemars(extend("deprecationMessage" = "write tekton_pipeline_run_spec: {v1beta1: ...}"))]
    pub pipeline_run_spec: Option<Value>,
    /// A PipelineRun's spec, for agent tekton-pipeline.
    pub tekton_pipeline_run_spec: Option<TektonPipelineRunSpec>,
    /// Where results are reported, beside GitHub.
    pub reporter_config: Option<ReporterConfig>,
    /// Who may run the job again from Deck.
    pub rerun_auth_config: Option<RerunAuthConfig>,
    /// Only a Deck that shows hidden jobs shows it.
    pub hidden: bool,
    /// Tenant and ResultStore project, over `prowjob_default_entries`.
    pub prowjob_defaults: Option<ProwJobDefault>,
    /// Queue that the job waits in, one of `plank.job_queue_capacities`.
    pub job_queue_name: String,
    /// Whether the Pod is decorated: its code cloned, its results uploaded. `decorate_all_jobs` unless set.
    pub decorate: Option<bool>,
    /// Directory below `$GOPATH/src` that the tested repository is cloned to.
    pub path_alias: String,
    /// Where the tested repository is cloned from.
    pub clone_uri: String,
    /// Submodules of the tested repository are not cloned.
    pub skip_submodules: bool,
    /// The first fetch of the tested repository, without refs, is left out.
    pub skip_fetch_head: bool,
    /// Commits of the tested repository to clone; 0 is all.
    pub clone_depth: i64,
    /// Other repositories to clone.
    pub extra_refs: Vec<Refs>,
    /// How the Pod is decorated, over the defaults of plank that match.
    pub decoration_config: Option<Box<DecorationConfig>>,
    /// Presubmits: run for every change. Postsubmits: run for every push; true unless set or the changed files
    /// decide.
    pub always_run: Option<bool>,
    /// The job may fail: its context is not required for merging.
    pub optional: bool,
    /// Regular expression of comments that start the job; `/test NAME` unless set. It goes with `rerun_command`.
    pub trigger: String,
    /// What people are told to write to run the job again; `/test NAME` unless set. `trigger` must match it.
    pub rerun_command: String,
    /// Tide requires and starts the job before merging, though it does not run by itself.
    pub run_before_merge: bool,
    /// Regular expressions of the only branches that the job runs for. They match anywhere in the name: write
    /// `^main$` for one branch.
    pub branches: Vec<String>,
    /// Regular expressions of branches that the job does not run for. They match anywhere in the name.
    pub skip_branches: Vec<String>,
    /// Regular expression of paths: the job runs if a changed file matches.
    pub run_if_changed: String,
    /// Regular expression of paths: the job runs unless all changed files match.
    pub skip_if_only_changed: String,
    /// Commit status context; the job's name unless set.
    pub context: String,
    /// No status and no comment. The context is not required for merging.
    pub skip_report: bool,
    /// For agent jenkins.
    pub jenkins_spec: Option<JenkinsSpec>,
    /// How often to run, counted from the last start.
    #[schemars(extend("pattern" = GO_DURATION_PATTERN, "x-kind" = "duration"))]
    pub interval: String,
    /// How long to wait after the last end.
    #[schemars(extend("pattern" = GO_DURATION_PATTERN, "x-kind" = "duration"))]
    pub minimum_interval: String,
    /// When to run, in UTC: `MINUTE HOUR DAY MONTH WEEKDAY`, or `@hourly`, `@daily`, `@weekly` and the like.
    #[schemars(extend("examples" = ["0 6 * * 1-5", "@daily"]))]
    pub cron: String,
    /// For people and other tools.
    pub tags: Vec<String>,
    /// Running again after a failure.
    pub retry: Option<RawRetry>,
}

/// Running a periodic job again.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct RawRetry {
    /// Run again whatever the result was.
    run_all: bool,
    /// How often at most; 10 is the limit.
    #[schemars(range(min = 0))]
    attempts: i64,
    /// How long to wait. Mandatory.
    #[schemars(extend("pattern" = GO_DURATION_PATTERN, "x-kind" = "duration"))]
    interval: String,
}

impl From<RawRetry> for Retry {
    fn from(raw: RawRetry) -> Retry {
        Retry { run_all: raw.run_all, attempts: raw.attempts, interval: raw.interval }
    }
}

/// Parts of Pods that jobs get by their labels.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct RawPreset {
    /// Jobs that have all of these labels get the preset; without labels all jobs do.
    labels: BTreeMap<String, String>,
    /// Variables of every container.
    #[schemars(schema_with = "prow_api::schema::of::<Vec<EnvVar>>")]
    env: Vec<EnvVar>,
    /// Volumes of the Pod.
    #[schemars(schema_with = "prow_api::schema::of::<Vec<Volume>>")]
    volumes: Vec<Volume>,
    /// Volume mounts of every container.
    #[serde(rename = "volumeMounts")]
    #[schemars(schema_with = "prow_api::schema::of::<Vec<VolumeMount>>")]
    volume_mounts: Vec<VolumeMount>,
    /// Tolerations of the Pod.
    #[schemars(schema_with = "prow_api::schema::of::<Vec<Toleration>>")]
    tolerations: Vec<Toleration>,
}

/// Which list a job is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobKind {
    Presubmit,
    Postsubmit,
    Periodic,
}

const REPO_KEYS: [&str; 7] = [
    "branches",
    "skip_branches",
    "run_if_changed",
    "skip_if_only_changed",
    "context",
    "skip_report",
    "jenkins_spec",
];
const PRESUBMIT_KEYS: [&str; 5] = ["always_run", "optional", "trigger", "rerun_command", "run_before_merge"];
const PERIODIC_KEYS: [&str; 5] = ["interval", "minimum_interval", "cron", "tags", "retry"];

impl JobKind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            JobKind::Presubmit => "presubmit",
            JobKind::Postsubmit => "postsubmit",
            JobKind::Periodic => "periodic",
        }
    }

    /// Whether jobs of this kind read a key that some kind of job reads.
    pub(crate) fn reads(self, key: &str) -> bool {
        let known = |keys: &[&str]| keys.iter().any(|k| k.eq_ignore_ascii_case(key));
        match self {
            JobKind::Presubmit => !known(&PERIODIC_KEYS),
            JobKind::Postsubmit => {
                !known(&PERIODIC_KEYS) && (!known(&PRESUBMIT_KEYS) || key.eq_ignore_ascii_case("always_run"))
            }
            JobKind::Periodic => !known(&REPO_KEYS) && !known(&PRESUBMIT_KEYS),
        }
    }
}

/// A job as written, and where.
#[derive(Debug, Clone)]
pub(crate) struct WrittenJob {
    pub raw: RawJob,
    /// `raw.spec`, taken apart.
    pub spec: Option<PodTemplate>,
    pub source: Source,
    /// Position in its list of the file.
    pub index: u32,
    /// Everything fitted; if not, it was reported, and checking further would only repeat it.
    pub clean: bool,
}

/// The jobs of one file.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobFile {
    pub presets: Vec<(Preset, Source)>,
    pub presubmits: Vec<(String, Vec<WrittenJob>)>,
    pub postsubmits: Vec<(String, Vec<WrittenJob>)>,
    pub periodics: Vec<WrittenJob>,
    /// Honoured in config.yaml only.
    pub decorate_all_jobs: bool,
}

/// Top-level keys of jobs.
pub(crate) const JOB_KEYS: [&str; 6] =
    ["presets", "presubmits", "postsubmits", "periodics", "decorate_all_jobs", "prow_ignored"];

/// Reads one top-level entry of jobs; false if it is none. In job files, presets take numbers for texts.
pub(crate) fn read_entry(
    out: &mut JobFile,
    key: &str,
    value: Cursor<'_, '_>,
    job_file: bool,
    pool: &Pool,
    findings: &mut Findings,
) -> bool {
    match key {
        "presets" => {
            for item in value.items(findings) {
                out.presets.push(preset(item, job_file, findings));
            }
        }
        "presubmits" => by_repo(&mut out.presubmits, value, JobKind::Presubmit, pool, findings),
        "postsubmits" => by_repo(&mut out.postsubmits, value, JobKind::Postsubmit, pool, findings),
        "periodics" => out.periodics.extend(jobs(value, JobKind::Periodic, pool, findings)),
        "decorate_all_jobs" => out.decorate_all_jobs = value.decode(false, findings).0,
        "prow_ignored" => {}
        _ => return false,
    }
    true
}

/// Reads a job file. Keys that hold anchors exist for others to refer to and are passed over in silence.
pub(crate) fn read(root: Cursor<'_, '_>, pool: &Pool, findings: &mut Findings) -> JobFile {
    let mut out = JobFile::default();
    for entry in root.entries(findings) {
        let key = JOB_KEYS.iter().copied().find(|k| k.eq_ignore_ascii_case(&entry.key)).unwrap_or(&entry.key);
        if !read_entry(&mut out, key, entry.value, true, pool, findings) && !entry.value.holds_anchor() {
            entry.note_unknown(JOB_KEYS, findings);
        }
    }
    out
}

/// Top-level keys of `.prow.yaml` (§8). Periodics have no place there.
pub(crate) const IN_REPO_KEYS: [&str; 4] = ["presets", "presubmits", "postsubmits", "prow_ignored"];

/// Jobs and presets that a repository may define itself.
pub(crate) const MAX_OWN: usize = 2_000;

/// Reads a file of a repository's own jobs: lists without repository keys, kept here under an empty one.
/// Nothing if there are more jobs and presets than are `left`, which is told and found out before they are read: a job
/// of four bytes takes a thousand times that.
pub(crate) fn read_in_repo(
    root: Cursor<'_, '_>,
    pool: &Pool,
    left: &mut usize,
    findings: &mut Findings,
) -> Option<JobFile> {
    let mut out = JobFile::default();
    for entry in root.entries(findings) {
        let known = IN_REPO_KEYS.iter().copied().find(|k| k.eq_ignore_ascii_case(&entry.key));
        if known.is_some_and(|key| key != "prow_ignored") {
            // What is no list is told where it is read.
            let items = entry.value.items(&mut Findings::new(findings.file.clone())).len();
            let Some(rest) = left.checked_sub(items) else {
                let message = format!(
                    "with these {items}, the repository has more than {MAX_OWN} jobs and presets of its own, which is more than is read"
                );
                findings.note(entry.key_at, Diagnostic::error(message));
                return None;
            };
            *left = rest;
        }
        match known {
            Some("presubmits") => {
                let list = jobs(entry.value, JobKind::Presubmit, pool, findings);
                out.presubmits.push((String::new(), list));
            }
            Some("postsubmits") => {
                let list = jobs(entry.value, JobKind::Postsubmit, pool, findings);
                out.postsubmits.push((String::new(), list));
            }
            Some(key) => {
                read_entry(&mut out, key, entry.value, true, pool, findings);
            }
            None if entry.value.holds_anchor() => {}
            None => entry.note_unknown(IN_REPO_KEYS, findings),
        }
    }
    Some(out)
}

fn by_repo(
    out: &mut Vec<(String, Vec<WrittenJob>)>,
    value: Cursor<'_, '_>,
    kind: JobKind,
    pool: &Pool,
    findings: &mut Findings,
) {
    for entry in value.entries(findings) {
        out.push((entry.key.into_owned(), jobs(entry.value, kind, pool, findings)));
    }
}

fn source(at: Cursor<'_, '_>, findings: &Findings) -> Source {
    Source { file: findings.file.clone(), line: at.line(), column: at.column() }
}

fn jobs(list: Cursor<'_, '_>, kind: JobKind, pool: &Pool, findings: &mut Findings) -> Vec<WrittenJob> {
    let items = list.items(findings);
    let mut out = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        out.push(job(item, kind, index as u32, pool, findings));
    }
    out
}

fn job(at: Cursor<'_, '_>, kind: JobKind, index: u32, pool: &Pool, findings: &mut Findings) -> WrittenJob {
    let unread = note_keys(at, kind, findings);
    let (mut raw, mut clean): (RawJob, bool) = at.decode_without(&unread, false, findings);
    let mut bad = Vec::new();
    if ![KUBERNETES_AGENT, JENKINS_AGENT, TEKTON_AGENT, ""].contains(&raw.agent.as_str()) {
        let message = format!(
            "{:?} is no agent that Prow knows; the job is not checked and needs one of its own",
            raw.agent
        );
        let place = at.get("agent").map_or(at, |entry| entry.key_at);
        let mut warning = Diagnostic::warning(message);
        if let Some(meant) = did_you_mean(&raw.agent, [KUBERNETES_AGENT, JENKINS_AGENT, TEKTON_AGENT]) {
            warning = warning.suggest(format!("did you mean {meant:?}?"));
        }
        findings.note(place, warning);
    }
    if let Some(spec) = &mut raw.spec {
        gozero::pod(spec);
        bad.extend(quantity::canonicalise_pod(spec));
    }
    if let Some(config) = &mut raw.decoration_config {
        bad.extend(quantity::canonicalise_decoration(config));
    }
    let mut places = Vec::new();
    for text in bad {
        clean = false;
        let message = format!("job {:?}: {text:?} is not a quantity such as 500m, 2 or 1.5Gi", raw.name);
        let place = at.find_text(&text, &QUANTITY_KEYS, &mut places).unwrap_or(at);
        findings.note(place, Diagnostic::error(message));
    }
    if raw.decoration_config.is_some()
        && let Some(config) = at.get("decoration_config")
    {
        retired::note_numbers(config.value, findings);
    }
    let beta = raw.tekton_pipeline_run_spec.as_mut().and_then(|spec| spec.v1beta1.as_mut());
    for spec in raw.pipeline_run_spec.iter_mut().chain(beta) {
        for key in crate::pipeline::prune(spec) {
            let message =
                format!("job {:?}: PipelineRuns of Tekton v1 have no {key}, it has no effect", raw.name);
            findings.note(at, Diagnostic::warning(message).kind(Kind::UnknownKey));
        }
    }
    let spec = raw.spec.take().map(|spec| pool.pod(*spec));
    WrittenJob { raw, spec, source: source(at, findings), index, clean }
}

/// Keys that have quantities below them.
const QUANTITY_KEYS: [&str; 4] = ["resources", "sizeLimit", "divisor", "overhead"];

/// Notes keys that this kind of job does not read, and those of older Prows. Their values: they may be anything.
fn note_keys<'t, 'a>(at: Cursor<'t, 'a>, kind: JobKind, findings: &mut Findings) -> Vec<Cursor<'t, 'a>> {
    let mut unread = Vec::new();
    for entry in at.entries(findings) {
        if kind.reads(&entry.key) && entry.key != RUN_AFTER_SUCCESS.key {
            continue;
        }
        unread.push(entry.value);
        findings.pass_over(entry.key_at);
        let diagnostic = if entry.key == RUN_AFTER_SUCCESS.key {
            Diagnostic::warning(RUN_AFTER_SUCCESS.means).kind(Kind::Retired).suggest(RUN_AFTER_SUCCESS.modern)
        } else {
            Diagnostic::warning(format!("{}s do not read this key, it has no effect", kind.word()))
                .kind(Kind::UnknownKey)
        };
        findings.note(entry.key_at, diagnostic);
    }
    unread
}

fn preset(at: Cursor<'_, '_>, coerce: bool, findings: &mut Findings) -> (Preset, Source) {
    let (mut raw, _): (RawPreset, bool) = at.decode(coerce, findings);
    raw.env.iter_mut().for_each(gozero::env);
    raw.volume_mounts.iter_mut().for_each(gozero::mount);
    raw.volumes.iter_mut().for_each(gozero::volume);
    raw.tolerations.iter_mut().for_each(gozero::toleration);
    let mut carrier = PodSpec { volumes: Some(raw.volumes), ..PodSpec::default() };
    for text in quantity::canonicalise_pod(&mut carrier) {
        findings.note(at, Diagnostic::error(format!("{text:?} is not a quantity such as 500m, 2 or 1.5Gi")));
    }
    let preset = Preset {
        labels: raw.labels,
        env: raw.env,
        volumes: carrier.volumes.unwrap_or_default(),
        volume_mounts: raw.volume_mounts,
        tolerations: raw.tolerations,
    };
    (preset, source(at, findings))
}

/// What messages about a job begin with.
pub(crate) const OF_A_JOB: &str = "job \"";

/// What is wrong with a job. A reason that begins with a key of the job is about that key.
pub(crate) fn of_job(job: &WrittenJob, kind: JobKind, repo: &str, reason: &str) -> Diagnostic {
    let mut path = match kind {
        JobKind::Periodic => format!("periodics[{}]", job.index),
        _ => format!("{}s[{repo:?}][{}]", kind.word(), job.index),
    };
    let is_key = |key: &&str| {
        !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'[' | b']'))
    };
    if let Some(key) = reason.split_once(": ").map(|(key, _)| key).filter(is_key) {
        path = format!("{path}.{key}");
    }
    let Source { file, line, column } = &job.source;
    Diagnostic::error(format!("job {:?}: {reason}", job.raw.name))
        .in_file(file)
        .at(*line, *column)
        .under(path)
}
