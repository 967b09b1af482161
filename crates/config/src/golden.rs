//! Jobs back in the form of the reference implementation's records: one `{kind, repo, job}` a job, under the keys
//! of the configuration file, after defaulting. `cargo xtask golden` writes them and `prow config jobs` shows them.

use crate::jobs::{Brancher, ChangeMatcher, JobBase, Jobs, Periodic, Postsubmit, Presubmit};
use crate::plugins::PluginConfig;
use crate::prowconfig::{BranchRequirements, Policy, ProwConfig, TideQuery};
use crate::snapshot::Snapshot;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Members of one job; what is empty is left out, as in Go.
struct Members(Map<String, Value>);

impl Members {
    fn put<T: Serialize>(&mut self, key: &str, value: &T) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        let empty = match &value {
            Value::Null => true,
            Value::Bool(b) => !b,
            Value::Number(n) => n.as_i64() == Some(0),
            Value::String(s) => s.is_empty(),
            Value::Array(a) => a.is_empty(),
            Value::Object(o) => o.is_empty(),
        };
        if !empty {
            self.0.insert(key.to_owned(), value);
        }
    }

    /// A pointer in Go: there when set, whatever its value.
    fn put_some<T: Serialize>(&mut self, key: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
        }
    }
}

fn base(job: &JobBase) -> Members {
    let mut out = Members(Map::new());
    out.put("name", &job.name);
    out.put("labels", &job.labels);
    out.put("annotations", &job.annotations);
    out.put("max_concurrency", &job.max_concurrency);
    out.put("agent", &job.agent);
    out.put("cluster", &job.cluster);
    out.put("namespace", &job.namespace);
    out.put("error_on_eviction", &job.error_on_eviction);
    out.put_some("spec", job.spec.as_deref());
    out.put_some("pipeline_run_spec", job.pipeline_run_spec.as_ref());
    out.put_some("tekton_pipeline_run_spec", job.tekton_pipeline_run_spec.as_ref());
    out.put_some("reporter_config", job.reporter_config.as_ref());
    out.put_some("rerun_auth_config", job.rerun_auth_config.as_ref());
    out.put("hidden", &job.hidden);
    out.put_some("prowjob_defaults", job.prowjob_defaults.as_ref());
    out.put("job_queue_name", &job.job_queue_name);
    out.put_some("decorate", job.decorate.as_ref());
    out.put("path_alias", &job.path_alias);
    out.put("clone_uri", &job.clone_uri);
    out.put("skip_submodules", &job.skip_submodules);
    out.put("clone_depth", &job.clone_depth);
    out.put("skip_fetch_head", &job.skip_fetch_head);
    out.put("extra_refs", &job.extra_refs);
    out.put_some("decoration_config", job.decoration_config.as_deref());
    out
}

fn filters(out: &mut Members, brancher: &Brancher, changes: &ChangeMatcher) {
    out.put("branches", &brancher.branches);
    out.put("skip_branches", &brancher.skip_branches);
    out.put("run_if_changed", &changes.run_if_changed);
    out.put("skip_if_only_changed", &changes.skip_if_only_changed);
}

/// A presubmit under the keys of the configuration file, after defaulting.
pub fn presubmit(job: &Presubmit) -> Value {
    let mut out = base(&job.base);
    out.put_some("always_run", Some(&job.always_run));
    out.put("optional", &job.optional);
    out.put("trigger", &job.trigger);
    out.put("rerun_command", &job.rerun_command);
    out.put("run_before_merge", &job.run_before_merge);
    filters(&mut out, &job.brancher, &job.changes);
    out.put("context", &job.context);
    out.put("skip_report", &job.skip_report);
    out.put_some("jenkins_spec", job.jenkins_spec.as_ref());
    Value::Object(out.0)
}

/// A postsubmit under the keys of the configuration file, after defaulting.
pub fn postsubmit(job: &Postsubmit) -> Value {
    let mut out = base(&job.base);
    out.put_some("always_run", job.always_run.as_ref());
    filters(&mut out, &job.brancher, &job.changes);
    out.put("context", &job.context);
    out.put("skip_report", &job.skip_report);
    out.put_some("jenkins_spec", job.jenkins_spec.as_ref());
    Value::Object(out.0)
}

/// A periodic under the keys of the configuration file, after defaulting.
pub fn periodic(job: &Periodic) -> Value {
    let mut out = base(&job.base);
    out.put("interval", &job.interval);
    out.put("minimum_interval", &job.minimum_interval);
    out.put("cron", &job.cron);
    out.put("tags", &job.tags);
    if let Some(retry) = &job.retry {
        let mut members = Members(Map::new());
        members.put("run_all", &retry.run_all);
        members.put("attempts", &retry.attempts);
        members.put("interval", &retry.interval);
        out.0.insert("retry".into(), Value::Object(members.0));
    }
    Value::Object(out.0)
}

/// A record for each job: presubmits and postsubmits by repository, then periodics.
pub fn job_records(jobs: &Jobs) -> impl Iterator<Item = Value> + '_ {
    let presubmits = jobs.presubmits.iter().flat_map(|(repo, list)| {
        list.iter().map(move |job| json!({"kind": "presubmit", "repo": repo, "job": presubmit(job)}))
    });
    let postsubmits = jobs.postsubmits.iter().flat_map(|(repo, list)| {
        list.iter().map(move |job| json!({"kind": "postsubmit", "repo": repo, "job": postsubmit(job)}))
    });
    let periodics = jobs.periodics.iter().map(|job| json!({"kind": "periodic", "job": periodic(job)}));
    presubmits.chain(postsubmits).chain(periodics)
}

/// The `{config}` record: config.yaml without its jobs, after defaulting.
pub fn config_record(prow: &ProwConfig) -> Value {
    json!({"config": prow})
}

/// The `{plugins}` record, then one for each repository that has presubmits: what applies to it.
pub fn plugin_records(plugins: &PluginConfig, jobs: &Jobs) -> Vec<Value> {
    let mut out = vec![json!({"plugins": plugins})];
    for identifier in jobs.presubmits.keys() {
        let Some((org, repo)) = identifier.split_once('/') else { continue };
        let mut enabled = plugins.enabled(org, repo);
        enabled.sort_unstable();
        out.push(json!({
            "org": org, "repo": repo, "enabled": enabled,
            "trigger": plugins.trigger_for(org, repo), "lgtm": plugins.lgtm_for(org, repo),
            "approve": plugins.approve_for(org, repo), "dco": plugins.dco_for(org, repo),
        }));
    }
    out
}

/// A branch protection record: the policy in force, and the contexts of the branch's jobs.
pub fn branch_protection_record(snapshot: &Snapshot, org: &str, repo: &str, branch: &str) -> Value {
    let presubmits = snapshot.presubmits_for(&format!("{org}/{repo}"));
    let tree = &snapshot.prow.branch_protection;
    let manual = |policy: &Policy| policy.require_manually_triggered_jobs == Some(true);
    let manual = tree.tree_policy(org, repo, branch).ok().flatten().is_some_and(|p| manual(&p));
    let jobs = BranchRequirements::of(presubmits, branch, manual);
    let mut record = json!({
        "org": org, "repo": repo, "branch": branch,
        "required": none_if_empty(jobs.required),
        "required_if_present": none_if_empty(jobs.required_if_present),
        "optional": none_if_empty(jobs.optional),
    });
    match tree.branch_policy(org, repo, branch, presubmits) {
        Ok(policy) => record["policy"] = json!(policy),
        Err(error) => record["error"] = json!(error),
    }
    record
}

/// A tide record of a query: as loaded, and as GitHub's search reads it.
pub fn tide_query_record(query: &TideQuery) -> Value {
    json!({"query": query, "search": query.search(), "org_queries": query.org_searches()})
}

/// A tide record of a branch: what `context_options` says about it, before its jobs; how and how many are merged.
pub fn tide_branch_record(snapshot: &Snapshot, org: &str, repo: &str, branch: &str) -> Value {
    let tide = &snapshot.prow.tide;
    json!({
        "org": org, "repo": repo, "branch": branch,
        "context_policy": tide.context_options.policy_for(org, repo, branch),
        "merge_method": tide.merge_method(org, repo, branch),
        "batch_size_limit": tide.batch_limit(org, repo),
    })
}

/// Go writes a list that was never made as null.
fn none_if_empty(list: Vec<String>) -> Option<Vec<String>> {
    (!list.is_empty()).then_some(list)
}
