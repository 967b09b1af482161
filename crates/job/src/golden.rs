//! The golden records: what upstream makes of real configuration, compared with what this crate makes of the same
//! jobs. The rules of comparison are those of `golden-diff`. Absent records are said and skipped.

use crate::build::{batch, new_prowjob, periodic, postsubmit, presubmit};
use crate::env::job_env;
use crate::paths::{JobPaths, root};
use crate::pod::{PodOptions, pod};
use crate::select::{Ask, needs_changed_files, select};
use crate::url::{UrlConfig, job_url};
use prow_api::decoration::{DecorationConfig, GcsConfiguration};
use prow_api::jobspec::JobSpec;
use prow_api::prowjob::ProwJob;
use prow_api::refs::{Pull, Refs};
use prow_config::goregex::GoRegex;
use prow_config::jobs::{Brancher, ChangeMatcher, JobBase, Periodic, Postsubmit, Presubmit};
use prow_config::{GoTemplate, template_data};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

const NAME: &str = "11111111-2222-3333-4444-555555555555";
const BUILD_ID: &str = "1799999999999999999";
/// Differing records that are printed.
const SHOWN: usize = 5;

fn records(set: &str, file: &str) -> Option<Vec<Value>> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../../shared/golden", set, file].iter().collect();
    let Ok(opened) = std::fs::File::open(&path) else {
        eprintln!("skipped: there are no golden records at {}", path.display());
        return None;
    };
    let lines = BufReader::new(flate2::read::MultiGzDecoder::new(opened)).lines();
    Some(lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect())
}

// ---- comparison ----

/// Finds where two values differ in meaning. Nulls and empty objects are as absent members; quantities are equal by
/// amount, texts of JSON objects as those objects.
struct Comparison {
    differences: Vec<String>,
    /// Texts of JSON that mean the same and differ in bytes.
    reordered: usize,
}

impl Comparison {
    fn values(&mut self, at: &str, parent: &str, want: &Value, got: &Value) {
        match (want, got) {
            (Value::Object(a), Value::Object(b)) => {
                let resources = matches!(parent, "requests" | "limits");
                for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                    let of = |map: &Map<String, Value>| map.get(key).unwrap_or(&Value::Null).clone();
                    let parent = if resources { parent } else { key };
                    match (a.get(key), b.get(key)) {
                        (Some(a), Some(b)) => self.values(&format!("{at}.{key}"), parent, a, b),
                        _ => self.values(&format!("{at}.{key}"), parent, &of(a), &of(b)),
                    }
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (i, (a, b)) in a.iter().zip(b).enumerate() {
                    self.values(&format!("{at}[{i}]"), parent, a, b);
                }
            }
            _ if want == got || (is_nothing(want) && is_nothing(got)) => {}
            (Value::String(a), Value::String(b)) => self.texts(at, parent, a, b),
            _ => self.differ(at, want, got),
        }
    }

    fn texts(&mut self, at: &str, parent: &str, want: &str, got: &str) {
        if matches!(parent, "requests" | "limits" | "sizeLimit" | "divisor") && amount(want) == amount(got) {
            return;
        }
        let object = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
        match (object(want), object(got)) {
            (Some(a), Some(b)) => {
                self.reordered += 1;
                self.values(at, "", &a, &b);
            }
            _ => self.differ(at, &want.into(), &got.into()),
        }
    }

    fn differ(&mut self, at: &str, want: &Value, got: &Value) {
        let short = |v: &Value| v.to_string().chars().take(200).collect::<String>();
        self.differences.push(format!("{at}: expected {} got {}", short(want), short(got)));
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(|map| map.values().all(is_nothing))
}

/// A quantity's amount; `None` if the text is none.
fn amount(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// Counts agreement, prints the first differences, and fails unless every record agrees.
struct Tally {
    what: String,
    agree: usize,
    total: usize,
    reordered: usize,
}

impl Tally {
    fn new(what: String) -> Tally {
        Tally { what, agree: 0, total: 0, reordered: 0 }
    }
    fn compare(&mut self, record: &str, want: &Value, got: &Value) {
        self.total += 1;
        let mut found = Comparison { differences: Vec::new(), reordered: 0 };
        found.values("", "", want, got);
        self.reordered += found.reordered;
        if found.differences.is_empty() {
            self.agree += 1;
        } else if self.total - self.agree <= SHOWN {
            found.differences.truncate(6);
            eprintln!("{} {record}\n    {}", self.what, found.differences.join("\n    "));
        }
    }
    fn done(self, expected: usize) {
        eprintln!(
            "{}: {}/{} agree; {} texts of JSON differ in bytes only",
            self.what, self.agree, self.total, self.reordered
        );
        assert_eq!((self.agree, self.total), (expected, expected), "{}", self.what);
    }
}

// ---- jobs as the records have them ----

#[derive(Deserialize)]
struct JobRecord {
    kind: String,
    #[serde(default)]
    repo: String,
    job: JobKeys,
}

/// A job with the keys of its configuration file.
#[derive(Deserialize, Default)]
#[serde(default)]
struct JobKeys {
    name: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    max_concurrency: i64,
    agent: String,
    cluster: String,
    namespace: String,
    error_on_eviction: bool,
    spec: Option<k8s_openapi::api::core::v1::PodSpec>,
    reporter_config: Option<prow_api::prowjob::ReporterConfig>,
    rerun_auth_config: Option<prow_api::prowjob::RerunAuthConfig>,
    hidden: bool,
    prowjob_defaults: Option<prow_api::prowjob::ProwJobDefault>,
    job_queue_name: String,
    decorate: Option<bool>,
    path_alias: String,
    clone_uri: String,
    skip_submodules: bool,
    clone_depth: i64,
    skip_fetch_head: bool,
    extra_refs: Vec<Refs>,
    decoration_config: Option<DecorationConfig>,
    always_run: Option<bool>,
    optional: bool,
    trigger: String,
    rerun_command: String,
    run_before_merge: bool,
    branches: Vec<String>,
    skip_branches: Vec<String>,
    run_if_changed: String,
    skip_if_only_changed: String,
    context: String,
    skip_report: bool,
}

enum Job {
    Pre(Presubmit),
    Post(Postsubmit),
    Per(Periodic),
}

fn regex(pattern: &str) -> Option<GoRegex> {
    (!pattern.is_empty()).then(|| GoRegex::new(pattern).unwrap())
}

impl JobKeys {
    fn base(&self) -> JobBase {
        JobBase {
            name: self.name.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            max_concurrency: self.max_concurrency,
            agent: self.agent.clone(),
            cluster: self.cluster.clone(),
            namespace: self.namespace.clone(),
            error_on_eviction: self.error_on_eviction,
            spec: self.spec.clone().map(|spec| Arc::new(spec.into())),
            reporter_config: self.reporter_config.clone(),
            rerun_auth_config: self.rerun_auth_config.clone(),
            hidden: self.hidden,
            prowjob_defaults: self.prowjob_defaults.clone(),
            job_queue_name: self.job_queue_name.clone(),
            decorate: self.decorate,
            path_alias: self.path_alias.clone(),
            clone_uri: self.clone_uri.clone(),
            skip_submodules: self.skip_submodules,
            clone_depth: self.clone_depth,
            skip_fetch_head: self.skip_fetch_head,
            extra_refs: self.extra_refs.clone(),
            decoration_config: self.decoration_config.clone().map(Arc::new),
            ..JobBase::default()
        }
    }
    fn brancher(&self) -> Brancher {
        Brancher {
            branches: self.branches.clone(),
            skip_branches: self.skip_branches.clone(),
            branches_re: regex(&self.branches.join("|")),
            skip_branches_re: regex(&self.skip_branches.join("|")),
        }
    }
    fn changes(&self) -> ChangeMatcher {
        ChangeMatcher {
            run_if_changed: regex(&self.run_if_changed),
            skip_if_only_changed: regex(&self.skip_if_only_changed),
        }
    }
    /// The job; without its patterns where nothing is selected, since compiling them all takes seconds.
    fn job(&mut self, kind: &str, patterns: bool) -> Job {
        if !patterns {
            for text in [&mut self.trigger, &mut self.run_if_changed, &mut self.skip_if_only_changed] {
                text.clear();
            }
            self.branches.clear();
            self.skip_branches.clear();
        }
        match kind {
            "presubmit" => Job::Pre(Presubmit {
                base: self.base(),
                always_run: self.always_run.unwrap_or_default(),
                optional: self.optional,
                trigger: regex(&self.trigger).unwrap_or_default(),
                rerun_command: self.rerun_command.clone(),
                run_before_merge: self.run_before_merge,
                brancher: self.brancher(),
                changes: self.changes(),
                context: self.context.clone(),
                skip_report: self.skip_report,
                jenkins_spec: None,
            }),
            "postsubmit" => Job::Post(Postsubmit {
                base: self.base(),
                always_run: self.always_run,
                brancher: self.brancher(),
                changes: self.changes(),
                context: self.context.clone(),
                skip_report: self.skip_report,
                jenkins_spec: None,
            }),
            "periodic" => Job::Per(Periodic { base: self.base(), ..Periodic::default() }),
            other => panic!("a {other} job"),
        }
    }
}

/// All jobs by kind, repository and name; several of one name in the order of the records.
fn jobs(set: &str, patterns: bool) -> Option<Vec<(String, String, Job)>> {
    let records = records(set, "jobs.jsonl.gz")?;
    let parsed = records.into_iter().map(|r| serde_json::from_value::<JobRecord>(r).unwrap());
    Some(parsed.map(|mut r| (r.kind.clone(), r.repo, r.job.job(&r.kind, patterns))).collect())
}

fn name_of(job: &Job) -> &str {
    match job {
        Job::Pre(job) => &job.base.name,
        Job::Post(job) => &job.base.name,
        Job::Per(job) => &job.base.name,
    }
}

// ---- pods ----

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
    refs.pulls.push(Pull {
        number: 1234,
        author: "octo-dev".into(),
        sha: "2".repeat(40),
        title: "Fix the thing".into(),
        head_ref: "fix-branch".into(),
        link: format!("{link}/pull/1234"),
        ..Pull::default()
    });
    if kind == "batch" {
        refs.pulls.push(Pull {
            number: 1240,
            author: "other-dev".into(),
            sha: "3".repeat(40),
            title: "Second".into(),
            head_ref: "second".into(),
            ..Pull::default()
        });
    }
    refs.repo_link = link;
    refs
}

fn build(job: &Job, kind: &str, repo: &str) -> ProwJob {
    let (spec, base) = match job {
        Job::Pre(job) if kind == "batch" => (batch(job, refs_of(repo, kind)), &job.base),
        Job::Pre(job) => (presubmit(job, refs_of(repo, kind)), &job.base),
        Job::Post(job) => (postsubmit(job, refs_of(repo, kind)), &job.base),
        Job::Per(job) => (periodic(job), &job.base),
    };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let mut made = new_prowjob(spec, &base.labels, &base.annotations, NAME, "", now, false);
    // The records have no start time, and the labels that plank adds when it makes the Pod.
    made.status.start_time = None;
    made.status.build_id = BUILD_ID.into();
    let labels = made.metadata.labels.get_or_insert_default();
    labels.insert("prow.k8s.io/id".into(), NAME.into());
    labels.insert("prow.k8s.io/build-id".into(), BUILD_ID.into());
    made
}

fn paths_of(prowjob: &ProwJob) -> Value {
    let spec = JobSpec::of(prowjob);
    let of = |strategy: &str| {
        let gcs = GcsConfiguration {
            path_strategy: strategy.into(),
            default_org: "kubernetes".into(),
            default_repo: "kubernetes".into(),
            ..GcsConfiguration::default()
        };
        let paths = JobPaths::new(&spec, &gcs).unwrap();
        json!({
            "dir": paths.dir,
            "alias": paths.alias.map(|a| a.path).unwrap_or_default(),
            "latest": paths.latest_builds,
            "root": root(&spec).unwrap(),
        })
    };
    json!({"explicit": of("explicit"), "legacy": of("legacy"), "single": of("single")})
}

fn pods(set: &str, expected: usize) {
    let (Some(jobs), Some(pods), Some(config)) =
        (jobs(set, false), records(set, "pods.jsonl.gz"), records(set, "config.jsonl.gz"))
    else {
        return;
    };
    let plank = &config[0]["config"]["plank"];
    let prefixes: BTreeMap<String, String> =
        serde_json::from_value(plank["job_url_prefix_config"].clone()).unwrap();
    let template = GoTemplate::new(plank["job_url_template"].as_str().unwrap_or_default()).unwrap();
    let url = UrlConfig { prefixes: Some(&prefixes), omit_storage_provider: false };
    let mut by_name: HashMap<(&str, &str, &str), Vec<&Job>> = HashMap::new();
    for (kind, repo, job) in &jobs {
        by_name.entry((kind, repo, name_of(job))).or_default().push(job);
    }
    let mut seen: HashMap<(&str, &str, &str), usize> = HashMap::new();
    let mut tally = Tally::new(format!("{set} pods"));
    for record in &pods {
        let text = |key: &str| record[key].as_str().unwrap_or_default();
        let kind = text("kind");
        let key = (if kind == "batch" { "presubmit" } else { kind }, text("repo"), text("job"));
        // A batch follows the presubmit that it is of.
        let nth = seen.entry(key).or_default();
        *nth += usize::from(kind != "batch");
        let prowjob = build(by_name[&key][*nth - 1], kind, text("repo"));
        let env = job_env(&prowjob, BUILD_ID).unwrap();
        let job_url = job_url(&prowjob, url, |job| template.render(&template_data(job)).unwrap()).unwrap();
        let mut made = json!(pod(&prowjob, BUILD_ID, &PodOptions::default()).unwrap());
        // The records' Pods do not say that they are Pods.
        made.as_object_mut().unwrap().retain(|key, _| key == "metadata" || key == "spec");
        tally.compare(
            &format!("{key:?} {kind}"),
            record,
            &json!({
                "kind": kind, "repo": key.1, "job": key.2, "prowjob": prowjob, "pod": made, "job_url": job_url,
                "env": env, "paths": paths_of(&prowjob),
            }),
        );
    }
    tally.done(expected);
}

#[test]
fn kyma_pods_agree() {
    pods("kyma-2019", 337);
}

#[test]
fn kubernetes_pods_agree() {
    pods("kubernetes", 4320);
}

// ---- triggers ----

fn triggers(set: &str, expected: usize) {
    let (Some(jobs), Some(triggers)) = (jobs(set, true), records(set, "triggers.jsonl.gz")) else { return };
    let mut by_repo: HashMap<String, Vec<Presubmit>> = HashMap::new();
    for (_, repo, job) in jobs {
        if let Job::Pre(job) = job {
            by_repo.entry(repo).or_default().push(job);
        }
    }
    let mut tally = Tally::new(format!("{set} triggers"));
    for record in &triggers {
        let text = |key: &str| record[key].as_str().unwrap();
        let list = |key: &str| -> Vec<String> { serde_json::from_value(record[key].clone()).unwrap() };
        let ask = if text("body").is_empty() { Ask::all() } else { Ask::comment(text("body"), true) };
        let ask = ask.with_contexts(list("failed_contexts"), list("all_contexts"));
        let presubmits = &by_repo[text("repo")];
        let files = list("changes");
        // Without files where none are needed: asking first has to be enough.
        let needed = needs_changed_files(presubmits, text("branch"), &ask).then_some(files.as_slice());
        let decisions = select(presubmits, text("branch"), &ask, needed).unwrap();
        let run: Vec<&str> = decisions.iter().filter(|d| d.run).map(|d| d.job.base.name.as_str()).collect();
        let mut got = record.clone();
        got["run"] = json!(run);
        tally.compare(&format!("{} {} {:?}", text("repo"), text("branch"), text("body")), record, &got);
    }
    tally.done(expected);
}

#[test]
fn kyma_triggers_agree() {
    triggers("kyma-2019", 276);
}

#[test]
fn kubernetes_triggers_agree() {
    triggers("kubernetes", 4056);
}
