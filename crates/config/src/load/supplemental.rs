//! Parts of config.yaml that live in files of their own (prow-config §6.4).

use super::{Found, LoadOptions, with_document};
use crate::diagnostic::{Diagnostic, Kind};
use crate::goyaml::{Cursor, Entry, Findings};
use crate::prowconfig::{
    BranchProtectionConfig, OrgMergeMethod, Policy, ProtectedRepo, ProwConfig, SlackReporter, TideQuery,
};
use crate::walk;
use serde::Deserialize;
use serde_json::Value;
use std::collections::btree_map;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// All that a supplemental file may set.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Part {
    #[serde(rename = "branch-protection")]
    branch_protection: BranchProtectionConfig,
    slack_reporter_configs: BTreeMap<String, SlackReporter>,
    tide: TidePart,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TidePart {
    merge_method: BTreeMap<String, OrgMergeMethod>,
    queries: Vec<TideQuery>,
}

const ALLOWED: [&str; 3] = ["branch-protection", "slack_reporter_configs", "tide"];
/// Job keys in a supplemental file are passed over, as upstream does.
const PASSED_OVER: [&str; 6] = crate::jobfile::JOB_KEYS;

/// What of `tide` a supplemental file may set.
const TIDE: [&str; 2] = ["queries", "merge_method"];

/// Keys of a document that the whole configuration does not have either: nobody reads them, so they set nothing.
pub(super) struct Unknown(HashSet<(u32, u32)>);

impl Unknown {
    /// Those of `root`, as the reader of the whole configuration reports them.
    pub(super) fn of<'t, 'a>(
        root: Cursor<'t, 'a>,
        read: impl FnOnce(Cursor<'t, 'a>, &mut Findings),
    ) -> Unknown {
        let mut seen = Findings::new(Arc::default());
        read(root, &mut seen);
        let unknown = seen.list.iter().filter(|d| d.kind == Kind::UnknownKey);
        Unknown(unknown.map(|d| (d.line, d.column)).collect())
    }

    pub(super) fn has(&self, entry: &Entry<'_, '_>) -> bool {
        self.0.contains(&(entry.key_at.line(), entry.key_at.column()))
    }
}

/// Whether a value is zero as Go has it: then it sets nothing either.
pub(super) fn says_nothing(value: Cursor<'_, '_>) -> bool {
    let (value, _): (Value, bool) = value.decode(false, &mut Findings::new(Arc::default()));
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.is_empty(),
    }
}

/// Reads the supplemental files and lays them into config.yaml; what is set twice is an error.
pub(super) fn merge(prow: &mut ProwConfig, options: &LoadOptions, found: &mut Found) {
    for directory in &options.supplemental_prow_config_dirs {
        let files = match walk::suffixed_files(directory, &options.supplemental_prow_configs_suffix) {
            Ok(files) => files,
            Err(error) => {
                let message = format!(
                    "cannot list {}, which has supplemental configuration: {error}",
                    directory.display()
                );
                found.error(Diagnostic::error(message));
                continue;
            }
        };
        for file in files {
            let mut findings = Findings::new(file.to_string_lossy().into());
            let part = with_document(&file, true, &mut findings, |root, findings| {
                let unknown = Unknown::of(root, |root, seen| {
                    root.decode::<ProwConfig>(true, seen);
                });
                for entry in root.entries(findings) {
                    let known = |list: &[&str]| list.iter().any(|k| k.eq_ignore_ascii_case(&entry.key));
                    let free = known(&PASSED_OVER) || entry.value.holds_anchor();
                    if !free && unknown.has(&entry) {
                        continue;
                    }
                    findings.pass_over(entry.key_at);
                    if !free && !known(&ALLOWED) && !says_nothing(entry.value) {
                        let message = format!(
                            "supplemental files may set only {} and tide.queries, tide.merge_method",
                            ALLOWED[..2].join(", ")
                        );
                        findings.note(entry.key_at, Diagnostic::error(message));
                    }
                }
                if let Some(tide) = root.get("tide") {
                    for entry in tide.value.entries(findings) {
                        if unknown.has(&entry) || TIDE.iter().any(|k| k.eq_ignore_ascii_case(&entry.key)) {
                            continue;
                        }
                        findings.pass_over(entry.key_at);
                        if !says_nothing(entry.value) {
                            findings.note(
                                entry.key_at,
                                Diagnostic::error(
                                    "supplemental files may set only queries and merge_method of tide",
                                ),
                            );
                        }
                    }
                }
                root.decode::<Part>(true, findings).0
            });
            let mut errors = Vec::new();
            merge_part(prow, part, &mut errors);
            findings.list.extend(errors.into_iter().map(|d| d.in_file(&findings.file)));
            found.take(findings.list);
        }
    }
}

fn twice(key: String) -> Diagnostic {
    Diagnostic::error("it is set in another file already").under(key)
}

fn put<T>(map: &mut BTreeMap<String, T>, key: String, value: T, at: &str, errors: &mut Vec<Diagnostic>) {
    match map.entry(key) {
        btree_map::Entry::Occupied(there) => errors.push(twice(format!("{at}[{:?}]", there.key()))),
        btree_map::Entry::Vacant(free) => {
            free.insert(value);
        }
    }
}

fn merge_part(prow: &mut ProwConfig, part: Part, errors: &mut Vec<Diagnostic>) {
    prow.tide.queries.extend(part.tide.queries);
    for (key, method) in part.tide.merge_method {
        put(&mut prow.tide.merge_method, key, method, "tide.merge_method", errors);
    }
    for (key, slack) in part.slack_reporter_configs {
        put(&mut prow.slack_reporter_configs, key, slack, "slack_reporter_configs", errors);
    }
    protection(&mut prow.branch_protection, part.branch_protection, errors);
}

fn policy(to: &mut Policy, from: Policy, key: impl FnOnce() -> String, errors: &mut Vec<Diagnostic>) {
    if from == Policy::default() {
        return;
    }
    if *to == Policy::default() {
        *to = from;
    } else {
        errors.push(twice(key()));
    }
}

/// Maps are united; a switch, or the policy of a level, comes from one place.
fn protection(
    to: &mut BranchProtectionConfig,
    mut from: BranchProtectionConfig,
    errors: &mut Vec<Diagnostic>,
) {
    for (mine, theirs, key) in [
        (&mut to.protect_tested_repos, from.protect_tested_repos.take(), "protect-tested-repos"),
        (&mut to.allow_disabled_policies, from.allow_disabled_policies.take(), "allow_disabled_policies"),
        (
            &mut to.allow_disabled_job_policies,
            from.allow_disabled_job_policies.take(),
            "allow_disabled_job_policies",
        ),
        (
            &mut to.protect_repos_with_optional_jobs,
            from.protect_repos_with_optional_jobs.take(),
            "protect_repos_with_optional_jobs",
        ),
    ] {
        match (mine.is_some(), theirs.is_some()) {
            (true, true) => errors.push(twice(format!("branch-protection.{key}"))),
            (false, true) => *mine = theirs,
            _ => {}
        }
    }
    let mut root = to.policy();
    policy(&mut root, from.policy(), || "branch-protection".into(), errors);
    to.set_policy(root);
    for (org, theirs) in from.orgs {
        let at = format!("branch-protection.orgs[{org:?}]");
        let mine = to.orgs.entry(org).or_default();
        let mut own = mine.policy();
        policy(&mut own, theirs.policy(), || at.clone(), errors);
        mine.set_policy(own);
        for (repo, theirs) in theirs.repos {
            repository(
                mine.repos.entry(repo.clone()).or_default(),
                theirs,
                &format!("{at}.repos[{repo:?}]"),
                errors,
            );
        }
    }
}

fn repository(to: &mut ProtectedRepo, from: ProtectedRepo, at: &str, errors: &mut Vec<Diagnostic>) {
    let mut own = to.policy();
    policy(&mut own, from.policy(), || at.to_owned(), errors);
    to.set_policy(own);
    for (branch, theirs) in from.branches {
        let key = format!("{at}.branches[{branch:?}]");
        policy(to.branches.entry(branch).or_default(), theirs, || key, errors);
    }
}
