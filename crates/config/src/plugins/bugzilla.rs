//! `bugzilla` (prow-config §7.3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of bugzilla.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Bugzilla {
    /// What bugs must be like, by branch or `*`, everywhere.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default: BTreeMap<String, BugzillaOptions>,
    /// Settings by organisation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub orgs: BTreeMap<String, BugzillaOrg>,
}

/// Settings of an organisation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BugzillaOrg {
    /// What bugs must be like, by branch or `*`, in this organisation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default: BTreeMap<String, BugzillaOptions>,
    /// Settings by bare name of the repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub repos: BTreeMap<String, BugzillaRepo>,
}

/// Settings of a repository.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BugzillaRepo {
    /// What bugs must be like, by branch or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub branches: BTreeMap<String, BugzillaOptions>,
}

/// What a bug must be like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BugzillaOptions {
    /// Nothing is taken from the levels above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_defaults: Option<bool>,
    /// Read for compatibility; it never takes effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_backporting: Option<bool>,
    /// Pull requests that name no bug are told so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_by_default: Option<bool>,
    /// The bug must be open (true) or closed (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_open: Option<bool>,
    /// Release that the bug must be for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_release: Option<String>,
    /// Statuses that the bug may have.
    #[schemars(extend("deprecationMessage" = "write valid_states: [{status: STATUS}]"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statuses: Option<Vec<String>>,
    /// States that the bug may be in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_states: Option<Vec<BugState>>,
    /// Statuses that the bugs it depends on may have.
    #[schemars(extend("deprecationMessage" = "write dependent_bug_states: [{status: STATUS}]"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_statuses: Option<Vec<String>>,
    /// States that the bugs it depends on may be in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_states: Option<Vec<BugState>>,
    /// Releases that the bugs it depends on may be for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_target_releases: Option<Vec<String>>,
    /// A release that the bugs it depends on may be for.
    #[schemars(extend("deprecationMessage" = "write dependent_bug_target_releases: [RELEASE]"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependent_bug_target_release: Option<String>,
    /// Status that a valid bug is moved to.
    #[schemars(extend("deprecationMessage" = "write state_after_validation: {status: STATUS}"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_after_validation: Option<String>,
    /// State that a valid bug is moved to. It is a valid state itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after_validation: Option<BugState>,
    /// A valid bug gets a link to the pull request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_external_link: Option<bool>,
    /// Status that the bug is moved to when all is merged.
    #[schemars(extend("deprecationMessage" = "write state_after_merge: {status: STATUS}"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_after_merge: Option<String>,
    /// State that the bug is moved to when all is merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after_merge: Option<BugState>,
    /// State that the bug is moved to when the pull request is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after_close: Option<BugState>,
    /// Groups that the bug may be in. Those of all levels are united.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_groups: Vec<String>,
}

/// A state of a bug.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BugState {
    /// Status of the bug.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Resolution of the bug.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resolution: String,
}

/// Settings of this branch, or of all.
fn of_branch(levels: &BTreeMap<String, BugzillaOptions>, branch: &str) -> BugzillaOptions {
    let of = |key: &str| levels.get(key).cloned().unwrap_or_default();
    resolve(&of("*"), &of(branch))
}

impl Bugzilla {
    /// What bugs must be like for a branch: the settings of all levels, the nearest winning. Old forms are folded into
    /// today's; `enable_backporting` is lost, as it is upstream (trap 45).
    pub fn options_for(&self, org: &str, repo: &str, branch: &str) -> BugzillaOptions {
        let everywhere = of_branch(&self.default, branch);
        let Some(of_org) = self.orgs.get(org) else { return everywhere };
        let here = resolve(&everywhere, &of_branch(&of_org.default, branch));
        match of_org.repos.get(repo) {
            Some(of_repo) => resolve(&here, &of_branch(&of_repo.branches, branch)),
            None => here,
        }
    }
}

/// Statuses among the states, sorted.
fn states(states: &Option<Vec<BugState>>, statuses: &Option<Vec<String>>) -> Option<Vec<BugState>> {
    let Some(statuses) = statuses else { return states.clone() };
    let named = statuses.iter().map(|status| BugState { status: status.clone(), ..BugState::default() });
    let mut all: Vec<BugState> = states.iter().flatten().cloned().chain(named).collect();
    all.sort_by(|a, b| (&a.status, &a.resolution).cmp(&(&b.status, &b.resolution)));
    all.dedup();
    (!all.is_empty()).then_some(all)
}

fn state(state: &Option<BugState>, status: &Option<String>) -> Option<BugState> {
    let named = || Some(BugState { status: status.clone()?, ..BugState::default() });
    state.clone().or_else(named)
}

fn releases(options: &BugzillaOptions) -> Option<Vec<String>> {
    let mut all = options.dependent_bug_target_releases.clone();
    if let Some(one) = &options.dependent_bug_target_release {
        let list = all.get_or_insert_default();
        if !list.contains(one) {
            list.push(one.clone());
        }
    }
    all
}

/// The child's settings over its parent's.
fn resolve(parent: &BugzillaOptions, child: &BugzillaOptions) -> BugzillaOptions {
    let nothing = BugzillaOptions::default();
    let parent = if child.exclude_defaults == Some(true) { &nothing } else { parent };
    fn over<T: Clone>(parent: &Option<T>, child: &Option<T>) -> Option<T> {
        child.clone().or_else(|| parent.clone())
    }
    // An old form alone replaces what the parent says in either form.
    let list = |of: fn(&BugzillaOptions) -> (&Option<Vec<BugState>>, &Option<Vec<String>>)| {
        let (today, old) = of(child);
        let (today, old) = if today.is_some() || old.is_some() { (today, old) } else { of(parent) };
        states(today, old)
    };
    let after = |of: fn(&BugzillaOptions) -> (&Option<BugState>, &Option<String>)| {
        let own = |options| {
            let (today, old) = of(options);
            state(today, old)
        };
        own(child).or_else(|| own(parent))
    };
    let mut allowed_groups: Vec<String> =
        parent.allowed_groups.iter().chain(&child.allowed_groups).cloned().collect();
    allowed_groups.sort();
    allowed_groups.dedup();
    BugzillaOptions {
        exclude_defaults: over(&parent.exclude_defaults, &child.exclude_defaults),
        enable_backporting: None,
        validate_by_default: over(&parent.validate_by_default, &child.validate_by_default),
        is_open: over(&parent.is_open, &child.is_open),
        target_release: over(&parent.target_release, &child.target_release),
        statuses: None,
        valid_states: list(|o| (&o.valid_states, &o.statuses)),
        dependent_bug_statuses: None,
        dependent_bug_states: list(|o| (&o.dependent_bug_states, &o.dependent_bug_statuses)),
        dependent_bug_target_releases: releases(child).or_else(|| releases(parent)),
        dependent_bug_target_release: None,
        status_after_validation: None,
        state_after_validation: after(|o| (&o.state_after_validation, &o.status_after_validation)),
        add_external_link: over(&parent.add_external_link, &child.add_external_link),
        status_after_merge: None,
        state_after_merge: after(|o| (&o.state_after_merge, &o.status_after_merge)),
        state_after_close: over(&parent.state_after_close, &child.state_after_close),
        allowed_groups,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resolved(config: Value, org: &str, repo: &str, branch: &str) -> Value {
        let bugzilla: Bugzilla = serde_json::from_value(config).unwrap();
        serde_json::to_value(bugzilla.options_for(org, repo, branch)).unwrap()
    }

    #[test]
    fn the_nearest_setting_wins_and_groups_are_united() {
        let config = json!({
            "default": {"*": {"is_open": true, "allowed_groups": ["b"], "enable_backporting": true}, "main": {"target_release": "1"}},
            "orgs": {"o": {
                "default": {"*": {"allowed_groups": ["a"]}},
                "repos": {"r": {"branches": {"main": {"target_release": "2"}, "own": {"exclude_defaults": true, "is_open": false}}}},
            }},
        });
        for (org, repo, branch, want) in [
            ("p", "r", "dev", json!({"is_open": true, "allowed_groups": ["b"]})),
            ("p", "r", "main", json!({"is_open": true, "target_release": "1", "allowed_groups": ["b"]})),
            ("o", "s", "dev", json!({"is_open": true, "allowed_groups": ["a", "b"]})),
            ("o", "r", "main", json!({"is_open": true, "target_release": "2", "allowed_groups": ["a", "b"]})),
            ("o", "r", "own", json!({"exclude_defaults": true, "is_open": false})),
        ] {
            assert_eq!(resolved(config.clone(), org, repo, branch), want, "{org}/{repo}@{branch}");
        }
    }

    #[test]
    fn old_forms_become_todays() {
        let one = |options: Value| resolved(json!({"default": {"*": options}}), "o", "r", "main");
        assert_eq!(
            one(
                json!({"statuses": ["NEW", "ASSIGNED"], "valid_states": [{"status": "NEW"}, {"status": "CLOSED", "resolution": "ERRATA"}]})
            ),
            json!({"valid_states": [{"status": "ASSIGNED"}, {"status": "CLOSED", "resolution": "ERRATA"}, {"status": "NEW"}]})
        );
        assert_eq!(
            one(
                json!({"status_after_validation": "POST", "status_after_merge": "MODIFIED", "state_after_merge": {"status": "ON_QA"}})
            ),
            json!({"state_after_validation": {"status": "POST"}, "state_after_merge": {"status": "ON_QA"}})
        );
        assert_eq!(
            one(json!({"dependent_bug_target_release": "2", "dependent_bug_target_releases": ["1"]})),
            json!({"dependent_bug_target_releases": ["1", "2"]})
        );
        let config =
            json!({"default": {"*": {"valid_states": [{"status": "NEW"}]}, "main": {"statuses": ["POST"]}}});
        assert_eq!(resolved(config, "o", "r", "main"), json!({"valid_states": [{"status": "POST"}]}));
    }
}
