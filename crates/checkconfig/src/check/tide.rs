//! Warnings about Tide's queries and what belongs to them.

use super::names::*;
use super::orgrepos::{OrgRepos, Place, org_of};
use super::{FileKind, Input};
use crate::finding::Finding;
use crate::text::list;
use prow_config::Snapshot;
use prow_config::prowconfig::{Policy, TideQuery};
use prow_config::tide::{Contexts, ContextsError};
use prow_config::yaml;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const PRACTICE: &str = "https://docs.prow.k8s.io/docs/components/core/tide/maintainers/#best-practices";

/// A plugin and the label it sets.
struct Pair {
    plugin: &'static str,
    label: &'static str,
    /// The label lets merge; otherwise it keeps from merging.
    requires: bool,
    external: bool,
}

const fn pair(plugin: &'static str, label: &'static str, requires: bool) -> Pair {
    Pair { plugin, label, requires, external: false }
}

const LENIENT: [Pair; 2] = [pair("lgtm", "lgtm", true), pair("approve", "approved", true)];
const FORBIDDING: [Pair; 8] = [
    pair("hold", "do-not-merge/hold", false),
    pair("wip", "do-not-merge/work-in-progress", false),
    pair("bugzilla", "bugzilla/invalid-bug", false),
    pair("verify-owners", "do-not-merge/invalid-owners-file", false),
    pair("release-note", "do-not-merge/release-note-label-needed", false),
    pair("cherry-pick-unapproved", "do-not-merge/cherry-pick-not-approved", false),
    pair("blockade", "do-not-merge/blocked-paths", false),
    // Tide refuses conflicting pull requests anyway, so a query need not forbid the label.
    Pair { plugin: "needs-rebase", label: "needs-rebase", requires: false, external: true },
];

impl Pair {
    fn honoured_by(&self, query: &TideQuery) -> bool {
        let labels = if self.requires { &query.labels } else { &query.missing_labels };
        labels.iter().any(|l| l == self.label)
    }
}

/// A query as it is written. Loading sorts and unites queries, so places come from the files.
struct Written {
    query: TideQuery,
    key: String,
}

fn written(input: &Input<'_>) -> Vec<Written> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Tide {
        queries: Vec<TideQuery>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct File {
        tide: Tide,
    }
    let mut out = Vec::new();
    for file in
        input.files.iter().filter(|f| matches!(f.kind, FileKind::Config | FileKind::SupplementalConfig))
    {
        // It loaded: what is odd about it was said then.
        let Ok((read, _)) = yaml::read::<File>(&file.name, file.text.clone().into_bytes()) else { continue };
        let queries = read.tide.queries.into_iter().enumerate();
        out.extend(queries.map(|(i, query)| Written { query, key: format!("tide.queries[{i}]") }));
    }
    out
}

fn covers(query: &TideQuery, place: &Place) -> bool {
    let org = org_of(place.name());
    query.orgs.iter().any(|o| o == org) || query.repos.iter().any(|r| r == place.name())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mismatch {
    /// Tide waits for a label that nothing sets.
    NeverSet,
    /// Tide forbids a label that nothing sets.
    NeverForbidden,
    /// A plugin sets a label that Tide does not wait for.
    NotRequired,
    /// A plugin sets a label that Tide merges in spite of.
    NotForbidden,
}

/// Where plugins and queries do not go together, both ways, a finding for each place.
pub(super) fn mismatched(input: &Input<'_>, forbidding: bool, out: &mut Vec<Finding>) {
    let plugins = &input.snapshot.plugins;
    let queries = &input.snapshot.prow.tide.queries;
    let all = OrgRepos::of_queries(queries.iter());
    let pairs = LENIENT.iter().chain(FORBIDDING.iter().filter(|_| forbidding));
    let mut found: BTreeMap<(Place, Mismatch), Vec<&Pair>> = BTreeMap::new();
    for pair in pairs {
        let honoured = OrgRepos::of_queries(queries.iter().filter(|q| pair.honoured_by(q)));
        let enabled = if pair.external {
            OrgRepos::of_external_plugin(plugins, pair.plugin)
        } else {
            OrgRepos::of_plugin(plugins, pair.plugin)
        };
        let (no_plugin, no_query) = if pair.requires {
            (Mismatch::NeverSet, Mismatch::NotRequired)
        } else {
            (Mismatch::NeverForbidden, Mismatch::NotForbidden)
        };
        for place in honoured.without(&enabled).places() {
            found.entry((place, no_plugin)).or_default().push(pair);
        }
        if !pair.external {
            for place in enabled.and(&all).without(&honoured).places() {
                found.entry((place, no_query)).or_default().push(pair);
            }
        }
    }
    let check = if forbidding { MISMATCHED_TIDE } else { MISMATCHED_TIDE_LENIENT };
    let written = written(input);
    for ((place, mismatch), pairs) in found {
        out.push(mismatch_at(check, &place, mismatch, &pairs, input, &written));
    }
}

fn mismatch_at(
    check: &'static str,
    place: &Place,
    mismatch: Mismatch,
    pairs: &[&Pair],
    input: &Input<'_>,
    written: &[Written],
) -> Finding {
    let labels = list(&pairs.iter().map(|p| p.label).collect::<Vec<_>>());
    let names = list(&pairs.iter().map(|p| p.plugin).collect::<Vec<_>>());
    let (said, one) = (place.said(), pairs.len() == 1);
    let plugin = if one { "plugin" } else { "plugins" };
    let label = if one { "label" } else { "labels" };
    let them = if one { "it" } else { "them" };
    match mismatch {
        Mismatch::NeverSet | Mismatch::NeverForbidden => {
            let why =
                if mismatch == Mismatch::NeverSet { "so nothing merges" } else { "so that has no effect" };
            let verb = if mismatch == Mismatch::NeverSet { "requires" } else { "forbids" };
            let external = if pairs.iter().any(|p| p.external) { "external_plugins" } else { "plugins" };
            let message = format!(
                "Tide {verb} {labels} in {said}, but the {plugin} that {} {them} ({names}) {} not enabled there, {why}",
                if one { "sets" } else { "set" },
                if one { "is" } else { "are" },
            );
            let query = written
                .iter()
                .find(|w| covers(&w.query, place) && pairs.iter().any(|p| p.honoured_by(&w.query)));
            let key = query.map_or("tide.queries", |w| w.key.as_str());
            let keys = if mismatch == Mismatch::NeverSet { "labels" } else { "missingLabels" };
            Finding::warning(check, message)
                .suggest(format!("enable {names} under {external}, or take {labels} out of {keys}"))
                .in_config(key)
        }
        Mismatch::NotRequired | Mismatch::NotForbidden => {
            let (how, keys) = match mismatch {
                Mismatch::NotRequired => ("without", "labels"),
                _ => ("in spite of", "missingLabels"),
            };
            let message = format!("{said} enables {names}, but Tide merges there {how} the {label} {labels}");
            let enabled = &input.snapshot.plugins.plugins;
            let own = enabled
                .get(place.name())
                .is_some_and(|p| pairs.iter().any(|q| p.plugins.iter().any(|n| n == q.plugin)));
            let key = if own { place.name() } else { org_of(place.name()) };
            Finding::warning(check, message)
                .suggest(format!("add {labels} to {keys} of each query for it"))
                .in_plugins(format!("plugins[{key:?}]"))
        }
    }
}

pub(super) fn needs_ok_to_test(input: &Input<'_>, out: &mut Vec<Finding>) {
    use prow_api::labels::{LGTM, NEEDS_OK_TO_TEST as LABEL};
    for Written { query, key } in written(input) {
        if query.labels.iter().any(|l| l == LGTM) && query.missing_labels.iter().any(|l| l == LABEL) {
            let message = format!(
                "the query requires {LGTM} and forbids {LABEL}: who may give {LGTM} may as well say /ok-to-test, and \
                 a pull request that was tested by hand is kept back"
            );
            let found = Finding::warning(NEEDS_OK_TO_TEST, message);
            out.push(
                found.suggest(format!("take {LABEL} out of missingLabels; see {PRACTICE}")).in_config(key),
            );
        }
    }
}

fn strict(policy: &Policy) -> bool {
    policy.protect == Some(true)
        && policy.required_status_checks.as_ref().is_some_and(|c| c.strict == Some(true))
}

/// A branch that must be up to date before it merges makes Tide test every pull request anew after each merge. A
/// repository counts as a whole: for one strict branch, and for one query.
pub(super) fn strict_branches(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    let prow = &snapshot.prow;
    let tree = &prow.branch_protection;
    if prow.tide.queries.is_empty() {
        return;
    }
    let mut warn = |key: String, message: String| {
        let found = Finding::warning(TIDE_STRICT_BRANCH, message);
        out.push(found.suggest(format!("set strict: false; see {PRACTICE}")).in_config(key));
    };
    if strict(&tree.policy()) {
        let message =
            "strict is on for everything, and Tide is in use: it already tests against the newest base";
        warn("branch-protection.required_status_checks.strict".into(), message.into());
        return;
    }
    let tide = OrgRepos::of_queries(prow.tide.queries.iter());
    let mut found = OrgRepos::default();
    let mut undecided = Vec::new();
    for (org, of_org) in &tree.orgs {
        let mut lax = BTreeSet::new();
        let above = tree.policy().apply(&of_org.policy());
        for (repo, of_repo) in &of_org.repos {
            let name = format!("{org}/{repo}");
            let own = above.apply(&of_repo.policy());
            for branch in of_repo.branches.keys() {
                if let Err(error) = tree.tree_policy(org, repo, branch) {
                    let key = format!("branch-protection.orgs[{org:?}].repos[{repo:?}].branches[{branch:?}]");
                    undecided.push((key, error));
                }
            }
            let branch = |branch: &Policy| strict(&own.apply(branch));
            if strict(&own) || of_repo.branches.values().any(branch) {
                found.repos.insert(name);
            } else {
                lax.insert(name);
            }
        }
        if strict(&above) {
            found.repos.retain(|repo| org_of(repo) != org);
            found.orgs.insert(org.clone(), lax);
        }
    }
    for place in found.and(&tide).places() {
        let org = org_of(place.name());
        let key = match place.name().split_once('/') {
            Some((_, repo)) if tree.orgs.get(org).is_some_and(|o| o.repos.contains_key(repo)) => {
                format!("branch-protection.orgs[{org:?}].repos[{repo:?}]")
            }
            _ => format!("branch-protection.orgs[{org:?}]"),
        };
        let said = place.said();
        warn(
            key,
            format!(
                "{said} has strict status checks, and Tide merges there: it already tests against the newest base"
            ),
        );
    }
    for (key, error) in undecided {
        out.push(Finding::warning(TIDE_STRICT_BRANCH, error).in_config(key));
    }
}

/// Every branch that the configuration names, by repository; `master` where none is named. Others cannot be known
/// without asking GitHub.
fn known_branches(snapshot: &Snapshot) -> BTreeMap<String, BTreeSet<&str>> {
    let mut out: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (repo, jobs) in &snapshot.jobs.presubmits {
        let branches = jobs.iter().flat_map(|j| &j.brancher.branches).map(String::as_str);
        out.entry(repo.clone()).or_default().extend(branches);
    }
    for (org, of_org) in &snapshot.prow.branch_protection.orgs {
        for (repo, of_repo) in &of_org.repos {
            let branches = of_repo.branches.keys().map(String::as_str);
            out.entry(format!("{org}/{repo}")).or_default().extend(branches);
        }
    }
    for (org, of_org) in &snapshot.prow.tide.context_options.orgs {
        for (repo, of_repo) in &of_org.repos {
            let branches = of_repo.branches.keys().map(String::as_str);
            out.entry(format!("{org}/{repo}")).or_default().extend(branches);
        }
    }
    for branches in out.values_mut().filter(|b| b.is_empty()) {
        branches.insert("master");
    }
    out
}

/// Branches for which no context policy can be made. What is wrong for several branches of a repository is said once.
pub(super) fn context_policies(snapshot: &Snapshot, out: &mut Vec<Finding>) {
    for (name, branches) in known_branches(snapshot) {
        // Gerrit has no contexts.
        let Some((org, repo)) = name.split_once('/').filter(|(_, repo)| !repo.contains('/')) else {
            continue;
        };
        let mut said: Vec<(ContextsError, Finding, usize)> = Vec::new();
        for branch in branches {
            let presubmits = snapshot.presubmits_for(&name);
            let Err(error) = Contexts::of(&snapshot.prow, org, repo, branch, presubmits) else { continue };
            let mut same = error.clone();
            let (ContextsError::Twice { branch: of, .. }
            | ContextsError::Overreaching { branch: of, .. }
            | ContextsError::Pattern { branch: of, .. }) = &mut same;
            of.clear();
            if let Some(known) = said.iter_mut().find(|(known, ..)| *known == same) {
                known.2 += 1;
                continue;
            }
            let key = format!("tide.context_options.orgs[{org:?}].repos[{repo:?}].branches[{branch:?}]");
            let finding = Finding::warning(TIDE_CONTEXT_POLICY, error.to_string()).in_config(key);
            said.push((same, finding, 0));
        }
        for (_, mut finding, more) in said {
            if more > 0 {
                let branches =
                    if more == 1 { "1 more branch".to_owned() } else { format!("{more} more branches") };
                finding.message = format!("{} (and so for {branches})", finding.message);
            }
            out.push(finding);
        }
    }
}
