//! A query as GitHub's search reads it, whole and for one organisation at a time (prow-config §4.15.1).

use crate::prowconfig::TideQuery;
use std::collections::BTreeMap;

/// Where a query looks, in the order in which it names organisations: `org:`, `repo:` and `-repo:` terms of each.
/// Names that are not `org/repo` are left out, as GitHub's search does.
pub fn by_org(query: &TideQuery) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |org: &str, term: String, once: bool| match out.iter_mut().find(|(o, _)| o == org) {
        Some((_, terms)) if !once => terms.push(term),
        Some(_) => {}
        None => out.push((org.to_owned(), vec![term])),
    };
    for org in &query.orgs {
        add(org, format!("org:\"{org}\""), true);
    }
    for (sign, repos) in [("", &query.repos), ("-", &query.excluded_repos)] {
        for repo in repos {
            if let Some((org, name)) = repo.split_once('/')
                && !name.contains('/')
            {
                add(org, format!("{sign}repo:\"{repo}\""), false);
            }
        }
    }
    out
}

impl TideQuery {
    /// What the query asks of a pull request, wherever it is.
    pub fn conditions(&self) -> String {
        let mut terms = vec!["is:pr state:open archived:false".to_owned()];
        if !self.author.is_empty() {
            terms.push(format!("author:\"{}\"", self.author));
        }
        terms.extend(self.excluded_branches.iter().map(|branch| format!("-base:\"{branch}\"")));
        terms.extend(self.included_branches.iter().map(|branch| format!("base:\"{branch}\"")));
        for label in &self.labels {
            // A comma makes alternatives.
            let alternatives: Vec<String> = label.split(',').map(|a| format!("\"{a}\"")).collect();
            terms.push(format!("label:{}", alternatives.join(",")));
        }
        terms.extend(self.missing_labels.iter().map(|label| format!("-label:\"{label}\"")));
        if !self.milestone.is_empty() {
            terms.push(format!("milestone:\"{}\"", self.milestone));
        }
        if self.review_approved_required {
            terms.push("review:approved".to_owned());
        }
        terms.join(" ")
    }

    /// The search text for everything the query is about, organisations in the order in which it names them.
    /// Upstream's order is that of a Go map: any.
    pub fn search(&self) -> String {
        let mut out = self.conditions();
        for term in by_org(self).into_iter().flat_map(|(_, terms)| terms) {
            out.push(' ');
            out.push_str(&term);
        }
        out
    }

    /// One search text for each organisation: a GitHub App's token sees one only.
    pub fn org_searches(&self) -> BTreeMap<String, String> {
        let conditions = self.conditions();
        by_org(self)
            .into_iter()
            .map(|(org, terms)| (org, format!("{conditions} {}", terms.join(" "))))
            .collect()
    }

    /// Whether the query is about a repository: its organisation is listed and it is not excluded, or it is listed.
    pub fn is_for(&self, org: &str, repo: &str) -> bool {
        let full = format!("{org}/{repo}");
        if self.orgs.iter().any(|o| o == org) {
            return !self.excluded_repos.contains(&full);
        }
        self.repos.contains(&full)
    }
}
