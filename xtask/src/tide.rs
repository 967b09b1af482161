//! The tide records of a configuration: one for each query, and one for each of some branches of every repository
//! with presubmits.

use prow_config::Snapshot;
use prow_config::golden::{tide_branch_record, tide_query_record};
use prow_config::prowconfig::TideQuery;
use prow_config::tide::by_org;
use serde_json::{Value, json};

/// Branches that every repository has a record for.
const BRANCHES: [&str; 3] = ["master", "main", "release-1.30"];

/// All records; with `like`, those for the branches that it asks about.
pub fn records(snapshot: &Snapshot, like: Option<&[Value]>) -> Vec<Value> {
    let queries = snapshot.prow.tide.queries.iter().map(|query| {
        let mut record = tide_query_record(query);
        if let Some(search) =
            like.unwrap_or_default().iter().find_map(|theirs| reordered(query, &record, theirs))
        {
            record["search"] = json!(search);
        }
        record
    });
    let mut out: Vec<Value> = queries.collect();
    let branch = |org: &str, repo: &str, branch: &str| tide_branch_record(snapshot, org, repo, branch);
    match like {
        Some(like) => {
            let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
            let asked = like.iter().filter(|record| record.get("branch").is_some());
            out.extend(asked.map(|r| branch(&text(r, "org"), &text(r, "repo"), &text(r, "branch"))));
        }
        None => {
            let repos = snapshot.jobs.presubmits.keys().filter_map(|repo| repo.split_once('/'));
            out.extend(repos.flat_map(|(org, repo)| BRANCHES.map(|b| branch(org, repo, b))));
        }
    }
    out
}

/// The search text of a record for the same query, if it is ours but for the order of the organisations, which is
/// that of a Go map there: any.
fn reordered(query: &TideQuery, ours: &Value, theirs: &Value) -> Option<String> {
    if theirs["query"] != ours["query"] {
        return None;
    }
    let whole = theirs["search"].as_str()?;
    let mut rest = whole.strip_prefix(&query.conditions())?;
    let mut groups: Vec<String> =
        by_org(query).into_iter().map(|(_, terms)| format!(" {}", terms.join(" "))).collect();
    while !rest.is_empty() {
        let next = groups.iter().position(|group| rest.starts_with(group.as_str()))?;
        rest = &rest[groups.swap_remove(next).len()..];
    }
    groups.is_empty().then(|| whole.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_order_of_organisations_is_taken_over() {
        let query = TideQuery { orgs: vec!["a".into(), "b".into()], ..TideQuery::default() };
        let ours = tide_query_record(&query);
        let theirs = |search: &str| {
            let search = format!("is:pr state:open archived:false {search}");
            (reordered(&query, &ours, &json!({"query": ours["query"], "search": search})), search)
        };
        let (got, want) = theirs("org:\"b\" org:\"a\"");
        assert_eq!(got, Some(want));
        for wrong in
            ["org:\"a\"", "org:\"b\" org:\"a\" org:\"c\"", "org:\"a\" org:\"a\"", "org:\"b\" org:\"a\"x"]
        {
            assert_eq!(theirs(wrong).0, None, "{wrong}");
        }
        let other = json!({"query": {"orgs": ["b"]}, "search": ours["search"]});
        assert_eq!(reordered(&query, &ours, &other), None);
    }
}
