//! From a job as written to a job as it runs: defaults, decoration, tenant, presets, patterns (prow-config §1.6,
//! §1.10, §5, §10).

use crate::diagnostic::Diagnostic;
use crate::goregex::GoRegex;
use crate::jobfile::{JobKind, RawJob, WrittenJob, of_job};
use crate::jobs::{Brancher, ChangeMatcher, JobBase, Periodic, Postsubmit, Presubmit};
use crate::podtemplate::Pool;
use crate::presets::Layers;
use crate::prowconfig::{ProwConfig, decoration_matches};
use prow_api::DecorationConfig;
use prow_api::prowjob::{DEFAULT_CLUSTER, KUBERNETES_AGENT, ProwJobDefault};
use std::collections::HashMap;
use std::sync::Arc;

/// Tenant of jobs that name none.
pub(crate) const DEFAULT_TENANT: &str = "GlobalDefaultID";

/// What all jobs are defaulted from; one for each thread, for its caches.
pub(crate) struct Defaulter<'c> {
    pub prow: &'c ProwConfig,
    presets: &'c Layers<'c>,
    pool: &'c Pool,
    decorate_all_jobs: bool,
    decorations: HashMap<(String, String), Arc<DecorationConfig>>,
    patterns: HashMap<String, Result<GoRegex, String>>,
    /// Errors so far.
    pub errors: Vec<Diagnostic>,
}

impl<'c> Defaulter<'c> {
    pub(crate) fn new(
        prow: &'c ProwConfig,
        presets: &'c Layers<'c>,
        pool: &'c Pool,
        decorate_all_jobs: bool,
    ) -> Defaulter<'c> {
        Defaulter {
            prow,
            presets,
            pool,
            decorate_all_jobs,
            decorations: HashMap::new(),
            patterns: HashMap::new(),
            errors: Vec::new(),
        }
    }

    fn error(&mut self, job: &WrittenJob, kind: JobKind, repo: &str, message: impl std::fmt::Display) {
        if job.clean {
            self.errors.push(of_job(job, kind, repo, &message.to_string()));
        }
    }

    fn pattern(&mut self, text: &str) -> Result<GoRegex, String> {
        if let Some(known) = self.patterns.get(text) {
            return known.clone();
        }
        let made = GoRegex::new(text).map_err(|e| e.to_string());
        self.patterns.insert(text.to_owned(), made.clone());
        made
    }

    /// A pattern if there is one; a bad one is an error of the job.
    fn matcher(
        &mut self,
        job: &WrittenJob,
        kind: JobKind,
        repo: &str,
        key: &str,
        text: &str,
    ) -> Option<GoRegex> {
        if text.is_empty() { None } else { self.checked(job, kind, repo, key, text) }
    }

    /// A pattern; a bad one is an error of the job.
    fn checked(
        &mut self,
        job: &WrittenJob,
        kind: JobKind,
        repo: &str,
        key: &str,
        text: &str,
    ) -> Option<GoRegex> {
        match self.pattern(text) {
            Ok(regex) => Some(regex),
            Err(reason) => {
                // A pattern that was read is wrong whatever else of the job was not.
                self.errors.push(of_job(job, kind, repo, &format!("{key}: {reason}")));
                None
            }
        }
    }

    fn brancher(&mut self, job: &mut WrittenJob, kind: JobKind, repo: &str) -> Brancher {
        let branches = std::mem::take(&mut job.raw.branches);
        let skip_branches = std::mem::take(&mut job.raw.skip_branches);
        let joined = |list: &[String]| (!list.is_empty()).then(|| list.join("|"));
        Brancher {
            branches_re: joined(&branches).and_then(|text| self.checked(job, kind, repo, "branches", &text)),
            skip_branches_re: joined(&skip_branches)
                .and_then(|text| self.checked(job, kind, repo, "skip_branches", &text)),
            branches,
            skip_branches,
        }
    }

    fn changes(&mut self, job: &mut WrittenJob, kind: JobKind, repo: &str) -> ChangeMatcher {
        let run = std::mem::take(&mut job.raw.run_if_changed);
        let skip = std::mem::take(&mut job.raw.skip_if_only_changed);
        ChangeMatcher {
            run_if_changed: self.matcher(job, kind, repo, "run_if_changed", &run),
            skip_if_only_changed: self.matcher(job, kind, repo, "skip_if_only_changed", &skip),
        }
    }

    /// Decoration of a decorated job: its own settings over the defaults that match (§1.6).
    fn decoration(
        &mut self,
        own: Option<Box<DecorationConfig>>,
        repo: &str,
        cluster: &str,
    ) -> Arc<DecorationConfig> {
        let key = (repo.to_owned(), cluster.to_owned());
        let default = match self.decorations.get(&key) {
            Some(default) => default.clone(),
            None => {
                let default =
                    self.pool.decoration(self.prow.default_decoration(repo, cluster).unwrap_or_default());
                self.decorations.insert(key, default.clone());
                default
            }
        };
        match own {
            None => default,
            Some(mut own) => {
                own.apply_default(&default);
                self.pool.decoration(*own)
            }
        }
    }

    /// Tenant settings: the entries that match, later ones first, below the job's own (§1.10).
    fn tenant(&self, own: Option<ProwJobDefault>, repo: &str, cluster: &str) -> ProwJobDefault {
        let mut merged = own.unwrap_or_default();
        for entry in self.prow.prowjob_default_entries.iter().rev() {
            let Some(config) = &entry.config else { continue };
            if decoration_matches(&entry.repo, &entry.cluster, repo, cluster) {
                if merged.tenant_id.is_empty() {
                    merged.tenant_id.clone_from(&config.tenant_id);
                }
                match (&mut merged.resultstore_config, &config.resultstore_config) {
                    (Some(mine), Some(default)) if mine.project_id.is_empty() => {
                        mine.project_id.clone_from(&default.project_id);
                    }
                    (mine @ None, default) => mine.clone_from(default),
                    _ => {}
                }
            }
        }
        if merged.tenant_id.is_empty() {
            merged.tenant_id = DEFAULT_TENANT.to_owned();
        }
        merged
    }

    fn base(&mut self, job: &mut WrittenJob, kind: JobKind, repo: &str) -> JobBase {
        let raw: &mut RawJob = &mut job.raw;
        let or = |text: &mut String, default: &str| {
            let text = std::mem::take(text);
            if text.is_empty() { default.to_owned() } else { text }
        };
        let agent = or(&mut raw.agent, KUBERNETES_AGENT);
        let cluster = or(&mut raw.cluster, DEFAULT_CLUSTER);
        let namespace =
            raw.namespace.take().filter(|n| !n.is_empty()).unwrap_or_else(|| self.prow.pod_namespace.clone());
        let owner = match kind {
            JobKind::Periodic => raw.extra_refs.first().map(|r| r.org_repo()).unwrap_or_default(),
            _ => repo.to_owned(),
        };
        let decorate = raw.decorate.unwrap_or(self.decorate_all_jobs);
        let own = raw.decoration_config.take();
        let own_defaults = raw.prowjob_defaults.take();
        let decoration_config = if decorate {
            Some(self.decoration(own, &owner, &cluster))
        } else {
            own.map(|own| self.pool.decoration(*own))
        };
        let prowjob_defaults = Some(self.tenant(own_defaults, &owner, &cluster));
        let mut spec = job.spec.take();
        if let Some(spec) = &mut spec
            && let Err(reason) = self.presets.apply(&job.raw.labels, spec)
        {
            self.error(job, kind, repo, reason);
        }
        let raw = &mut job.raw;
        JobBase {
            name: raw.name.clone(),
            labels: std::mem::take(&mut raw.labels),
            annotations: std::mem::take(&mut raw.annotations),
            max_concurrency: raw.max_concurrency,
            agent,
            cluster,
            namespace,
            error_on_eviction: raw.error_on_eviction,
            spec: spec.map(Arc::new),
            pipeline_run_spec: raw.pipeline_run_spec.take(),
            tekton_pipeline_run_spec: raw.tekton_pipeline_run_spec.take(),
            reporter_config: raw.reporter_config.take(),
            rerun_auth_config: raw.rerun_auth_config.take(),
            hidden: raw.hidden,
            prowjob_defaults,
            job_queue_name: std::mem::take(&mut raw.job_queue_name),
            decorate: Some(decorate),
            path_alias: std::mem::take(&mut raw.path_alias),
            clone_uri: std::mem::take(&mut raw.clone_uri),
            skip_submodules: raw.skip_submodules,
            clone_depth: raw.clone_depth,
            skip_fetch_head: raw.skip_fetch_head,
            extra_refs: std::mem::take(&mut raw.extra_refs),
            decoration_config,
            source: job.source.clone(),
        }
    }

    fn context(job: &mut WrittenJob) -> String {
        let context = std::mem::take(&mut job.raw.context);
        if context.is_empty() { job.raw.name.clone() } else { context }
    }

    /// The comment that starts a presubmit, and what to tell people to write.
    fn trigger(&mut self, job: &mut WrittenJob, repo: &str) -> (GoRegex, String) {
        let trigger = std::mem::take(&mut job.raw.trigger);
        let rerun = std::mem::take(&mut job.raw.rerun_command);
        let kind = JobKind::Presubmit;
        if trigger.is_empty() && rerun.is_empty() {
            let name = &job.raw.name;
            // The name is not quoted: its dots match anything (trap 5).
            let pattern = format!(r"(?m)^/test( | .* ){name},?($|\s.*)");
            let plain = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            let regex = if plain {
                let translated = format!(r"(?m)^/test( | .* ){name},?($|[\t\n\f\r ].*)");
                GoRegex::trusted(pattern, translated)
            } else {
                self.matcher(job, kind, repo, "trigger", &pattern).unwrap_or_default()
            };
            return (regex, format!("/test {}", job.raw.name));
        }
        if trigger.is_empty() || rerun.is_empty() {
            self.error(job, kind, repo, "either both of trigger and rerun_command are set or neither is");
            return (GoRegex::default(), rerun);
        }
        let regex = self.matcher(job, kind, repo, "trigger", &trigger);
        if let Some(regex) = &regex
            && !regex.is_match(&rerun)
        {
            self.error(
                job,
                kind,
                repo,
                format!("rerun_command {rerun:?} does not match trigger {trigger:?}"),
            );
        }
        (regex.unwrap_or_default(), rerun)
    }

    pub(crate) fn presubmit(&mut self, job: &mut WrittenJob, repo: &str) -> Presubmit {
        let kind = JobKind::Presubmit;
        let (trigger, rerun_command) = self.trigger(job, repo);
        Presubmit {
            context: Self::context(job),
            brancher: self.brancher(job, kind, repo),
            changes: self.changes(job, kind, repo),
            always_run: job.raw.always_run.unwrap_or(false),
            optional: job.raw.optional,
            trigger,
            rerun_command,
            run_before_merge: job.raw.run_before_merge,
            skip_report: job.raw.skip_report,
            jenkins_spec: job.raw.jenkins_spec.take(),
            base: self.base(job, kind, repo),
        }
    }

    pub(crate) fn postsubmit(&mut self, job: &mut WrittenJob, repo: &str) -> Postsubmit {
        let kind = JobKind::Postsubmit;
        Postsubmit {
            context: Self::context(job),
            brancher: self.brancher(job, kind, repo),
            changes: self.changes(job, kind, repo),
            always_run: job.raw.always_run,
            skip_report: job.raw.skip_report,
            jenkins_spec: job.raw.jenkins_spec.take(),
            base: self.base(job, kind, repo),
        }
    }

    pub(crate) fn periodic(&mut self, job: &mut WrittenJob) -> Periodic {
        Periodic {
            interval: std::mem::take(&mut job.raw.interval),
            minimum_interval: std::mem::take(&mut job.raw.minimum_interval),
            cron: std::mem::take(&mut job.raw.cron),
            tags: std::mem::take(&mut job.raw.tags),
            retry: job.raw.retry.take().map(Into::into),
            base: self.base(job, JobKind::Periodic, ""),
        }
    }
}
