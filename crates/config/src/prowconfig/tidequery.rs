//! Tide's queries: what is wrong with one, and which become one (prow-config §4.15.1).

use super::finish::Errors;
use super::{TideQuery, decoration_matches};
use crate::defaults::DEFAULT_TENANT;
use crate::jobs::ProwJobDefaultEntry;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Reports every broken rule of every query.
pub(super) fn check(queries: &[TideQuery], errors: &mut Errors<'_>) {
    for (index, query) in queries.iter().enumerate() {
        for (key, message) in broken(query) {
            errors.push(format!("tide.queries[{index}]{key}"), message);
        }
    }
}

fn is_repo(repo: &str) -> bool {
    matches!(repo.split('/').collect::<Vec<_>>().as_slice(), [org, name] if !org.is_empty() && !name.is_empty())
}

fn org_of(repo: &str) -> &str {
    repo.split('/').next().unwrap_or_default()
}

fn broken(query: &TideQuery) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    for org in &query.orgs {
        if org.is_empty() || org.contains('/') {
            out.push((".orgs", format!("{org:?} is no organisation")));
        }
    }
    for repo in &query.repos {
        if !is_repo(repo) {
            out.push((".repos", format!("{repo:?} is not written as org/repo")));
        } else if query.orgs.iter().any(|o| o == org_of(repo)) {
            out.push((".repos", format!("{repo} is in orgs already")));
        }
    }
    if query.orgs.is_empty() && query.repos.is_empty() {
        out.push(("", "it names neither orgs nor repos".into()));
    }
    for repo in &query.excluded_repos {
        if !is_repo(repo) {
            out.push((".excludedRepos", format!("{repo:?} is not written as org/repo")));
        } else if !query.orgs.iter().any(|o| o == org_of(repo)) {
            out.push((".excludedRepos", format!("{repo} is not in one of the orgs of this query")));
        }
    }
    for label in query.labels.iter().filter(|l| query.missing_labels.contains(l)) {
        out.push((".missingLabels", format!("{label:?} is in labels, too")));
    }
    if !query.included_branches.is_empty() && !query.excluded_branches.is_empty() {
        out.push(("", "includedBranches and excludedBranches exclude each other".into()));
    }
    for (key, list) in [
        (".orgs", &query.orgs),
        (".repos", &query.repos),
        (".excludedRepos", &query.excluded_repos),
        (".labels", &query.labels),
        (".missingLabels", &query.missing_labels),
        (".includedBranches", &query.included_branches),
        (".excludedBranches", &query.excluded_branches),
    ] {
        let mut seen = HashSet::new();
        for twice in list.iter().filter(|item| !seen.insert(*item)) {
            out.push((key, format!("{twice:?} is there twice")));
        }
    }
    out
}

/// Unites queries that differ only in where they look, and sorts all by their JSON text: the order of the file
/// does not count (trap 31).
pub(super) fn unite(queries: Vec<TideQuery>, defaults: &[ProwJobDefaultEntry]) -> Vec<TideQuery> {
    let mut united: BTreeMap<(String, BTreeSet<String>), TideQuery> = BTreeMap::new();
    for mut query in queries {
        for list in [
            &mut query.labels,
            &mut query.missing_labels,
            &mut query.included_branches,
            &mut query.excluded_branches,
        ] {
            list.sort();
        }
        let tenants = query.orgs.iter().chain(&query.repos).map(|place| tenant(place, defaults)).collect();
        let orgs = std::mem::take(&mut query.orgs);
        let repos = std::mem::take(&mut query.repos);
        let excluded = std::mem::take(&mut query.excluded_repos);
        let same = united.entry((go_json(&query), tenants)).or_insert(query);
        same.orgs.extend(orgs);
        same.repos.extend(repos);
        same.excluded_repos.extend(excluded);
    }
    let mut out: Vec<TideQuery> = united.into_values().collect();
    out.sort_by_cached_key(go_json);
    out
}

/// Tenant of an org or repository; the last entry that matches wins.
fn tenant(place: &str, defaults: &[ProwJobDefaultEntry]) -> String {
    let matching = defaults.iter().rev().filter(|e| decoration_matches(&e.repo, &e.cluster, place, "*"));
    let named = matching.filter_map(|e| e.config.as_ref()).map(|c| &c.tenant_id).find(|t| !t.is_empty());
    named.map_or(DEFAULT_TENANT.to_owned(), String::clone)
}

/// JSON as Go writes it: `<`, `>` and `&` escaped, which matters for the order.
fn go_json(query: &TideQuery) -> String {
    let text = serde_json::to_string(query).unwrap_or_default();
    text.replace('<', r"\u003c").replace('>', r"\u003e").replace('&', r"\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(labels: &[&str], repos: &[&str]) -> TideQuery {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        TideQuery { labels: owned(labels), repos: owned(repos), ..TideQuery::default() }
    }

    #[test]
    fn queries_that_ask_the_same_become_one_in_json_order() {
        let united = unite(
            vec![query(&["b", "a"], &["o/z"]), query(&["x"], &["o/x"]), query(&["a", "b"], &["o/a"])],
            &[],
        );
        assert_eq!(united.len(), 2);
        assert_eq!(
            (united[0].labels.clone(), united[0].repos.clone()),
            (vec!["a".into(), "b".to_owned()], vec!["o/z".into(), "o/a".to_owned()])
        );
    }

    #[test]
    fn tenants_are_kept_apart() {
        let config = Some(prow_api::prowjob::ProwJobDefault { tenant_id: "t".into(), ..Default::default() });
        let defaults = [ProwJobDefaultEntry { repo: "o/a".into(), cluster: String::new(), config }];
        assert_eq!(unite(vec![query(&["l"], &["o/a"]), query(&["l"], &["o/b"])], &defaults).len(), 2);
    }

    #[test]
    fn every_rule_has_its_message() {
        let wrong = |change: &dyn Fn(&mut TideQuery)| {
            let mut query = query(&["l"], &["o/r"]);
            change(&mut query);
            broken(&query)
        };
        assert!(wrong(&|_| {}).is_empty());
        let cases: [&dyn Fn(&mut TideQuery); 8] = [
            &|q| q.orgs = vec!["a/b".into()],
            &|q| q.repos = vec!["r".into()],
            &|q| q.orgs = vec!["o".into()],
            &|q| q.repos.clear(),
            &|q| q.excluded_repos = vec!["p/r".into()],
            &|q| q.missing_labels = vec!["l".into()],
            &|q| (q.included_branches, q.excluded_branches) = (vec!["a".into()], vec!["b".into()]),
            &|q| q.labels.push("l".into()),
        ];
        for (index, change) in cases.iter().enumerate() {
            assert_eq!(wrong(change).len(), 1, "case {index}: {:?}", wrong(change));
        }
    }
}
