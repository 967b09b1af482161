//! Questions that components ask of config.yaml: which setting applies to a repository.

use super::ProwConfig;
use crate::gotemplate::GoTemplate;
use prow_api::DecorationConfig;
use std::collections::BTreeMap;

/// `org/repo`, then `org`, then `*`: the order of every per-repository map.
pub(crate) fn by_repo<'m, T>(map: &'m BTreeMap<String, T>, org: &str, repo: &str) -> Option<&'m T> {
    if org.is_empty() {
        return map.get("*");
    }
    map.get(&format!("{org}/{repo}")).or_else(|| map.get(org)).or_else(|| map.get("*"))
}

/// Whether an entry with these filters applies to a repository (`org/repo`, Gerrit identifier or empty) and
/// cluster (§1.6): plain texts, not patterns.
pub fn decoration_matches(entry_repo: &str, entry_cluster: &str, repo: &str, cluster: &str) -> bool {
    if !(entry_cluster.is_empty() || entry_cluster == "*" || entry_cluster == cluster) {
        return false;
    }
    if entry_repo.is_empty() || entry_repo == "*" || entry_repo == repo {
        return true;
    }
    let normal = normalise(repo);
    entry_repo == normal || normal.split('/').next() == Some(entry_repo)
}

/// Strips a `-review` suffix from the first dot-separated label and the scheme: Gerrit's two spellings of a host.
fn normalise(repo: &str) -> String {
    let (head, tail) = match repo.split_once('.') {
        Some((head, tail)) => (head, Some(tail)),
        None => (repo, None),
    };
    let head = head.strip_suffix("-review").unwrap_or(head);
    let whole = match tail {
        Some(tail) => format!("{head}.{tail}"),
        None => head.to_owned(),
    };
    whole.trim_start_matches("https://").trim_start_matches("http://").to_owned()
}

/// Keys to look under for an identifier in `in_repo_config` (§4.8), nearest first.
pub fn gerrit_aware_candidates(identifier: &str) -> Vec<String> {
    let identifier = if identifier.starts_with("http://") || identifier.starts_with("https://") {
        identifier.trim_end_matches('/')
    } else {
        identifier
    };
    let without_scheme = identifier.trim_start_matches("https://").trim_start_matches("http://");
    let scheme = &identifier[..identifier.len() - without_scheme.len()];
    let org = without_scheme.split('/').next().unwrap_or_default();
    let mut out: Vec<String> = Vec::new();
    for candidate in [
        identifier.to_owned(),
        without_scheme.to_owned(),
        format!("{scheme}{org}"),
        org.to_owned(),
        "*".to_owned(),
    ] {
        if !out.contains(&candidate) {
            out.push(candidate);
        }
    }
    out
}

impl ProwConfig {
    /// Base of the pages of a repository's jobs (§11.3); empty when none is set. An empty `org` asks for `*`.
    pub fn job_url_prefix(&self, org: &str, repo: &str) -> &str {
        let map = &self.plank.job_url_prefix_config;
        let keys = if org.is_empty() {
            vec!["*".to_owned()]
        } else {
            vec![format!("{org}/{repo}"), org.to_owned(), "*".to_owned()]
        };
        keys.iter().filter_map(|k| map.get(k)).find(|v| !v.is_empty()).map_or("", String::as_str)
    }

    /// The decoration defaults that apply to a repository (`org/repo`, or empty for none) and cluster (§1.6).
    pub fn default_decoration(&self, repo: &str, cluster: &str) -> Option<DecorationConfig> {
        let mut merged: Option<DecorationConfig> = None;
        for (entry_repo, entry_cluster, config) in self.plank.decoration_defaults() {
            if !decoration_matches(entry_repo, entry_cluster, repo, cluster) {
                continue;
            }
            let mut next = config.clone();
            if let Some(before) = &merged {
                next.apply_default(before);
            }
            merged = Some(next);
        }
        merged
    }

    /// The text after a failure comment's table for a repository (§4.2). An empty `org` asks for `*`.
    pub fn report_template(&self, org: &str, repo: &str) -> Option<&GoTemplate> {
        by_repo(&self.plank.report_templates, org, repo)
    }

    /// Whether `.prow.yaml` counts for an identifier (§4.8).
    pub fn in_repo_config_enabled(&self, identifier: &str) -> bool {
        let enabled = &self.in_repo_config.enabled;
        gerrit_aware_candidates(identifier)
            .iter()
            .find_map(|k| enabled.get(k).copied().flatten())
            .unwrap_or(false)
    }

    /// Whether jobs of `.prow.yaml` may run on a cluster (§4.8).
    pub fn in_repo_config_allows_cluster(&self, cluster: &str, identifier: &str) -> bool {
        let allowed = &self.in_repo_config.allowed_clusters;
        gerrit_aware_candidates(identifier)
            .iter()
            .filter_map(|k| allowed.get(k))
            .flatten()
            .any(|c| c == cluster)
    }
}
