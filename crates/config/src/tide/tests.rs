//! Each rule of §4.15 with small configurations of our own, and what must hold for all queries.

use super::*;
use crate::jobs::Presubmit;
use crate::prowconfig::{ContextPolicyOptions, MergeBlocksPolicy, MergeMethod, ProwConfig, Tide, TideQuery};
use proptest::prelude::*;
use serde_json::{Value, json};

fn tide(value: Value) -> Tide {
    serde_json::from_value(value).unwrap()
}

fn query(value: Value) -> TideQuery {
    serde_json::from_value(value).unwrap()
}

fn options(value: Value) -> ContextPolicyOptions {
    serde_json::from_value(value).unwrap()
}

fn job(context: &str, always_run: bool, optional: bool) -> Presubmit {
    Presubmit { context: context.into(), always_run, optional, ..Presubmit::default() }
}

#[test]
fn the_nearest_merge_method_wins() {
    let tide = tide(json!({"merge_method": {
        "plain": "squash", "plain/other": "rebase", "plain/other@main": "merge",
        "deep": {"r": {"release-.*": "rebase", "main": "squash"}, "s": "squash", "*": "rebase"},
        "both": {"r": {"main": "rebase"}}, "both/r": "squash",
        "any": {"*": {".*": "rebase"}},
        "first": {"r": {"b.*": "rebase", "a.*|b.*": "squash"}}
    }}));
    for (org, repo, branch, want) in [
        ("none", "r", "main", MergeMethod::Merge),
        ("plain", "r", "main", MergeMethod::Squash),
        ("plain", "other", "main", MergeMethod::Merge),
        ("plain", "other", "dev", MergeMethod::Rebase),
        ("plain", "other", "", MergeMethod::Rebase),
        ("deep", "r", "release-1", MergeMethod::Rebase),
        ("deep", "r", "main", MergeMethod::Squash),
        ("deep", "r", "dev", MergeMethod::Merge),
        ("deep", "s", "dev", MergeMethod::Squash),
        ("deep", "t", "dev", MergeMethod::Rebase),
        ("both", "r", "main", MergeMethod::Rebase),
        ("both", "r", "dev", MergeMethod::Squash),
        ("any", "r", "", MergeMethod::Rebase),
        ("first", "r", "bc", MergeMethod::Squash),
    ] {
        assert_eq!(tide.merge_method(org, repo, branch), want, "{org}/{repo}@{branch}");
    }
}

#[test]
fn per_repository_settings_are_taken_from_the_nearest_key_and_have_defaults() {
    let set = tide(json!({
        "batch_size_limit": {"*": 5, "o": 3, "o/r": -1},
        "prioritize_existing_batches": {"o": false, "o/r": true},
        "github_merge_blocks_policy": {"*": "ignore", "o/r": "block"},
        "target_urls": {"*": "https://t", "o": "https://o"},
        "pr_status_base_urls": {"*": "https://p", "o/r": "https://r"},
        "merge_commit_template": {"o": {"title": "T"}, "*": {"title": "never"}}
    }));
    for (org, repo, batch, keeps, blocks, target, status) in [
        ("o", "r", -1, true, MergeBlocksPolicy::Block, "https://o", "https://r"),
        ("o", "s", 3, false, MergeBlocksPolicy::Ignore, "https://o", "https://p"),
        ("p", "r", 5, true, MergeBlocksPolicy::Ignore, "https://t", "https://p"),
    ] {
        let got = (set.batch_limit(org, repo), set.keeps_batches(org, repo), set.merge_blocks(org, repo));
        assert_eq!(got, (batch, keeps, blocks), "{org}/{repo}");
        assert_eq!((set.target_url(org, repo), set.pr_status_base_url(org, repo)), (target, status));
    }
    assert!(set.commit_template("o", "r").is_some_and(|t| t.title.is_some()));
    assert!(set.commit_template("p", "r").is_none(), "templates have no entry for all");
    let unset = Tide::default();
    let got = (unset.batch_limit("o", "r"), unset.keeps_batches("o", "r"), unset.merge_blocks("o", "r"));
    assert_eq!(got, (0, true, MergeBlocksPolicy::Permit));
    assert_eq!((unset.target_url("o", "r"), unset.pr_status_base_url("o", "r")), ("", ""));
}

#[test]
fn every_part_of_a_query_has_its_term_in_githubs_order() {
    let all = query(json!({
        "author": "bot", "labels": ["a", "b,c d"], "missingLabels": ["x"], "milestone": "v1",
        "includedBranches": ["main"], "excludedBranches": ["dev"], "reviewApprovedRequired": true,
        "orgs": ["o"], "repos": ["p/r", "p/s", "bad", "a/b/c"], "excludedRepos": ["o/x"]
    }));
    let conditions = "is:pr state:open archived:false author:\"bot\" -base:\"dev\" base:\"main\" label:\"a\" \
                      label:\"b\",\"c d\" -label:\"x\" milestone:\"v1\" review:approved";
    assert_eq!(all.search(), format!("{conditions} org:\"o\" -repo:\"o/x\" repo:\"p/r\" repo:\"p/s\""));
    let by_org = all.org_searches();
    assert_eq!(by_org.len(), 2);
    assert_eq!(by_org["o"], format!("{conditions} org:\"o\" -repo:\"o/x\""));
    assert_eq!(by_org["p"], format!("{conditions} repo:\"p/r\" repo:\"p/s\""));
}

#[test]
fn organisations_come_in_the_order_in_which_the_query_names_them() {
    let mixed =
        query(json!({"orgs": ["z", "m"], "repos": ["b/1", "a/1", "b/2"], "excludedRepos": ["m/x", "z/x"]}));
    let end = "org:\"z\" -repo:\"z/x\" org:\"m\" -repo:\"m/x\" repo:\"b/1\" repo:\"b/2\" repo:\"a/1\"";
    assert_eq!(mixed.search(), format!("is:pr state:open archived:false {end}"));
}

#[test]
fn a_query_is_for_listed_repositories_and_for_those_of_listed_orgs_that_are_not_excluded() {
    let tide = tide(json!({"queries": [
        {"orgs": ["o"], "excludedRepos": ["o/not"]}, {"repos": ["o/not", "p/r"]}
    ]}));
    for (org, repo, want) in [("o", "any", 1), ("o", "not", 1), ("p", "r", 1), ("p", "s", 0), ("q", "r", 0)] {
        assert_eq!(tide.queries_for(org, repo).len(), want, "{org}/{repo}");
    }
    assert!(!tide.queries[0].is_for("o", "not") && tide.queries[1].is_for("o", "not"));
}

#[test]
fn context_policies_merge_downwards_and_the_root_alone_stays_as_written() {
    let tree = options(json!({
        "skip-unknown-contexts": true, "required-contexts": ["z", "a"], "optional-regex-contexts": ["r2"],
        "orgs": {"o": {
            "from-branch-protection": true, "required-contexts": ["m"],
            "repos": {"r": {
                "skip-unknown-contexts": false, "optional-contexts": ["y", "b"],
                "branches": {"main": {"required-if-present-contexts": ["p"], "optional-regex-contexts": ["r1"],
                                      "overwrite-pending-contexts": true, "required-contexts": ["m"]}}
            }}
        }}
    }));
    let root = tree.policy_for("elsewhere", "r", "main");
    assert_eq!(
        (root.required_contexts, root.skip_unknown_contexts),
        (vec!["z".into(), "a".to_owned()], Some(true))
    );
    let org = tree.policy_for("o", "other", "main");
    assert_eq!(org.required_contexts, ["a", "m", "z"]);
    assert_eq!((org.skip_unknown_contexts, org.from_branch_protection), (Some(true), Some(true)));
    let repo = tree.policy_for("o", "r", "dev");
    assert_eq!(
        (repo.skip_unknown_contexts, repo.optional_contexts),
        (Some(false), vec!["b".into(), "y".to_owned()])
    );
    let branch = tree.policy_for("o", "r", "main");
    assert_eq!(branch.required_contexts, ["a", "m", "z"]);
    assert_eq!(branch.optional_regex_contexts, ["r1", "r2"]);
    assert_eq!((branch.overwrite_pending_contexts, branch.from_branch_protection), (Some(true), Some(true)));
}

#[test]
fn contexts_come_from_options_branch_protection_and_jobs() {
    let prow: ProwConfig = serde_json::from_value(json!({
        "tide": {"context_options": {"required-contexts": ["cla"], "orgs": {"o": {"from-branch-protection": true}}}},
        "branch-protection": {
            "require_manually_triggered_jobs": true, "protect": true,
            "required_status_checks": {"contexts": ["dco"]},
            "orgs": {"o": {"repos": {"off": {"protect": false}}}}
        }
    }))
    .unwrap();
    let jobs = [job("unit", true, false), job("manual", false, false), job("lint", true, true)];
    let with = Contexts::of(&prow, "o", "r", "main", &jobs).unwrap();
    assert_eq!(with.required, ["cla", "dco", "manual", "unit"]);
    assert_eq!(
        (with.optional.as_slice(), with.without_protection.as_deref()),
        (&["lint".to_owned()][..], None)
    );
    let without = Contexts::of(&prow, "p", "r", "main", &jobs).unwrap();
    assert_eq!(
        (without.required, without.required_if_present),
        (vec!["cla".into(), "unit".to_owned()], vec!["manual".to_owned()])
    );
    let broken = Contexts::of(&prow, "o", "off", "main", &jobs).unwrap();
    assert_eq!(broken.required, ["cla", "unit"], "a protection that cannot be made out adds nothing");
    assert!(broken.without_protection.unwrap().contains("required jobs"));
}

#[test]
fn contradictory_contexts_are_refused() {
    for (wrong, says) in [
        (json!({"required-contexts": ["a"], "optional-contexts": ["a"]}), "both required and optional"),
        (json!({"required-contexts": ["a"], "required-if-present-contexts": ["a"]}), "required-if-present"),
        (
            json!({"optional-contexts": ["a"], "required-if-present-contexts": ["a"]}),
            "required-if-present and optional",
        ),
        (json!({"required-contexts": ["ci/a"], "optional-regex-contexts": ["^ci/"]}), "narrow it"),
        (json!({"required-if-present-contexts": ["ci/a"], "optional-regex-contexts": ["a$"]}), "narrow it"),
        (json!({"optional-regex-contexts": ["("]}), "optional-regex-contexts"),
    ] {
        let mut prow = ProwConfig::default();
        prow.tide.context_options = options(wrong.clone());
        let error = Contexts::of(&prow, "o", "r", "main", &[]).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("o/r@main"), "{wrong}: {error}");
    }
    let mut prow = ProwConfig::default();
    prow.tide.context_options = options(json!({"optional-contexts": ["unit"]}));
    assert!(
        Contexts::of(&prow, "o", "r", "main", &[job("unit", true, false)]).is_err(),
        "a job clashes, too"
    );
}

#[test]
fn a_context_is_optional_when_listed_matched_or_unknown_and_skipped() {
    let mut prow = ProwConfig::default();
    prow.tide.context_options = options(json!({
        "optional-contexts": ["o"], "optional-regex-contexts": ["^x/"], "required-contexts": ["r"],
        "required-if-present-contexts": ["p"]
    }));
    let mut contexts = Contexts::of(&prow, "o", "r", "main", &[]).unwrap();
    for (context, strict, lenient) in [
        ("o", true, true),
        ("x/1", true, true),
        ("r", false, false),
        ("p", false, false),
        ("unknown", false, true),
    ] {
        contexts.skip_unknown = false;
        assert_eq!(contexts.is_optional(context), strict, "{context}");
        contexts.skip_unknown = true;
        assert_eq!(contexts.is_optional(context), lenient, "{context}");
    }
    assert_eq!(contexts.missing(&["p"]), ["r"]);
    assert!(contexts.missing(&["r", "x"]).is_empty());
}

proptest! {
    /// The parts for single organisations say together exactly what the whole says.
    #[test]
    fn organisations_share_out_the_whole_search(
        orgs in prop::collection::vec("[a-c]{1,2}", 0..3),
        repos in prop::collection::vec("[a-d]{1,2}/[x-z]", 0..5),
        excluded in prop::collection::vec("[a-c]{1,2}/[x-z]", 0..4),
    ) {
        let query = TideQuery { orgs, repos, excluded_repos: excluded, ..TideQuery::default() };
        let prefix = query.conditions();
        let words = |text: &str| -> Vec<String> {
            text.strip_prefix(&prefix).unwrap().split_whitespace().map(str::to_owned).collect()
        };
        let mut whole = words(&query.search());
        let mut parts: Vec<String> = query.org_searches().values().flat_map(|text| words(text)).collect();
        whole.sort();
        parts.sort();
        prop_assert_eq!(whole, parts);
        for (org, text) in query.org_searches() {
            let terms = words(&text);
            let own = |t: &String| t.contains(&format!("\"{org}\"")) || t.contains(&format!("\"{org}/"));
            prop_assert!(terms.iter().all(own));
        }
    }

    /// Laying over is idempotent, and lists only grow.
    #[test]
    fn laying_a_policy_over_twice_changes_nothing(
        one in prop::collection::vec("[a-e]", 0..4),
        two in prop::collection::vec("[a-e]", 0..4),
        switch in prop::option::of(any::<bool>()),
    ) {
        let policy = |list: &[String]| crate::prowconfig::ContextPolicy {
            required_contexts: list.to_vec(), skip_unknown_contexts: switch, ..Default::default()
        };
        let once = policy(&one).apply(&policy(&two));
        prop_assert_eq!(&once, &once.apply(&policy(&two)));
        prop_assert!(one.iter().chain(&two).all(|c| once.required_contexts.contains(c)));
    }
}
