//! Defaults that depend on other keys, old forms into new ones, and the rules of §4 that concern config.yaml alone.

use super::deck::SIZE_LIMIT;
use super::plank::MAX_GOROUTINES;
use super::reporters::{RATELIMIT, REPORTABLE, SLACK_TEMPLATE};
use super::services::{CONSUMER_TYPE, MAX_OUTSTANDING_MESSAGES};
use super::{LOG_LEVELS, LensConfig, LensFileConfig, Plank, ProwConfig};
use crate::diagnostic::Diagnostic;
use crate::goregex::GoRegex;
use crate::gotemplate::GoTemplate;
use crate::quantity;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Errors of a section, under the keys that cause them.
pub(super) struct Errors<'e> {
    pub(super) list: &'e mut Vec<Diagnostic>,
}

impl Errors<'_> {
    pub(super) fn push(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.list.push(Diagnostic::error(message).under(key));
    }

    fn not_negative(&mut self, key: &str, value: i64) {
        if value < 0 {
            self.push(key, format!("{value} is negative; 0 is the default"));
        }
    }

    fn selector(&mut self, key: String, value: &str) {
        if let Err(reason) = crate::labelselector::check(value) {
            self.push(key, format!("{value:?} is no label selector: {reason}"));
        }
    }

    pub(super) fn url(&mut self, key: impl Into<String>, value: &str) {
        if let Err(reason) = check_url(value) {
            self.push(key, format!("{value:?} is no URL: {reason}"));
        }
    }
}

/// Go's `url.Parse` takes nearly everything: only what it refuses is refused.
///
/// # Errors
/// Why it is no URL.
pub fn check_url(value: &str) -> Result<(), String> {
    if value.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err("it has control characters".into());
    }
    match url::Url::parse(value) {
        Ok(_) | Err(url::ParseError::RelativeUrlWithoutBase) => Ok(()),
        Err(error) if value.contains("://") => Err(error.to_string()),
        Err(_) => Ok(()),
    }
}

/// Fills in and checks a config.yaml; what is wrong goes to `list`.
pub(crate) fn finish(prow: &mut ProwConfig, list: &mut Vec<Diagnostic>) {
    let mut errors = Errors { list };
    general(prow, &mut errors);
    plank(&mut prow.plank, &mut errors);
    jenkins(prow, &mut errors);
    deck(prow, &mut errors);
    sections(prow, &mut errors);
    super::tide::finish(&mut prow.tide, &mut errors);
    super::tidequery::check(&prow.tide.queries, &mut errors);
    let defaults = std::mem::take(&mut prow.prowjob_default_entries);
    prow.tide.queries = super::tidequery::unite(std::mem::take(&mut prow.tide.queries), &defaults);
    prow.prowjob_default_entries = defaults;
    if prow.branch_protection.include.as_ref().is_some_and(|l| !l.is_empty())
        && prow.branch_protection.exclude.as_ref().is_some_and(|l| !l.is_empty())
    {
        errors.push("branch-protection", "include and exclude exclude each other");
    }
}

/// Rules about times (§4.11): a token cannot have been made in the future.
pub(crate) fn check_times(prow: &ProwConfig, now: jiff::Timestamp, list: &mut Vec<Diagnostic>) {
    let mut errors = Errors { list };
    for (key, webhook) in &prow.managed_webhooks.org_repo_config {
        let text = &webhook.token_created_after;
        let at = format!("managed_webhooks.org_repo_config[{key:?}].token_created_after");
        match text.parse::<jiff::Timestamp>() {
            _ if text.is_empty() => {}
            Ok(time) if time > now => {
                errors.push(at, format!("{text} is in the future; all tokens would be too old"))
            }
            Ok(_) => {}
            Err(_) => {
                errors.push(at, format!("{text:?} is no RFC 3339 time such as 2026-01-31T12:00:00Z"));
            }
        }
    }
}

fn general(prow: &mut ProwConfig, errors: &mut Errors<'_>) {
    let default = ProwConfig::default();
    let or = |text: &mut String, default: String| {
        if text.is_empty() {
            *text = default;
        }
    };
    or(&mut prow.prowjob_namespace, default.prowjob_namespace);
    or(&mut prow.pod_namespace, default.pod_namespace);
    or(&mut prow.log_level, default.log_level);
    or(&mut prow.status_error_link, default.status_error_link);
    or(&mut prow.github.link_url, default.github.link_url);
    if !LOG_LEVELS.iter().any(|l| l.eq_ignore_ascii_case(&prow.log_level)) {
        errors.push("log_level", format!("{:?} is not one of {}", prow.log_level, LOG_LEVELS.join(", ")));
    }
    errors.url("github.link_url", &prow.github.link_url);
    if prow.sinker.terminated_pod_ttl.is_none() {
        prow.sinker.terminated_pod_ttl = Some(prow.sinker.max_pod_age);
    }
}

/// A template that stands for a map with `*` alone; both together are refused.
fn single_template(
    key: &str,
    single: &mut Option<GoTemplate>,
    map: &mut BTreeMap<String, GoTemplate>,
    errors: &mut Errors<'_>,
) {
    *single = single.take().filter(|t| !t.is_empty());
    let Some(template) = single else { return };
    if !map.is_empty() {
        errors
            .push(format!("{key}.report_template"), "it and report_templates exclude each other; keep those");
    }
    map.insert("*".into(), template.clone());
}

fn plank(plank: &mut Plank, errors: &mut Errors<'_>) {
    errors.not_negative("plank.max_concurrency", plank.max_concurrency);
    errors.not_negative("plank.max_goroutines", plank.max_goroutines);
    if plank.max_goroutines == 0 {
        plank.max_goroutines = MAX_GOROUTINES;
    }
    single_template("plank", &mut plank.report_template, &mut plank.report_templates, errors);
    for (key, prefix) in &plank.job_url_prefix_config {
        errors.url(format!("plank.job_url_prefix_config[{key:?}]"), prefix);
    }
    let mut bad = Vec::new();
    for config in plank.default_decoration_configs.values_mut() {
        bad.extend(quantity::canonicalise_decoration(config));
    }
    for config in plank.default_decoration_config_entries.iter_mut().filter_map(|e| e.config.as_mut()) {
        bad.extend(quantity::canonicalise_decoration(Arc::make_mut(config)));
    }
    for text in bad {
        errors.push(
            "plank",
            format!("{text:?} in a decoration default is not a quantity such as 500m or 1.5Gi"),
        );
    }
    if !plank.default_decoration_configs.is_empty() && !plank.default_decoration_config_entries.is_empty() {
        errors.push(
            "plank",
            "default_decoration_configs and default_decoration_config_entries exclude each other; keep the entries",
        );
    }
}

fn jenkins(prow: &mut ProwConfig, errors: &mut Errors<'_>) {
    let several = prow.jenkins_operators.len() > 1;
    for (index, operator) in prow.jenkins_operators.iter_mut().enumerate() {
        let key = format!("jenkins_operators[{index}]");
        errors.not_negative(&format!("{key}.max_concurrency"), operator.max_concurrency);
        errors.not_negative(&format!("{key}.max_goroutines"), operator.max_goroutines);
        if operator.max_goroutines == 0 {
            operator.max_goroutines = MAX_GOROUTINES;
        }
        single_template(&key, &mut operator.report_template, &mut operator.report_templates, errors);
        errors.selector(format!("{key}.label_selector"), &operator.label_selector);
        if several && operator.label_selector.is_empty() {
            errors.push(format!("{key}.label_selector"), "it is mandatory where there are several operators");
        }
        if !several && !operator.label_selector.is_empty() {
            errors.push(format!("{key}.label_selector"), "it is forbidden where there is a single operator");
        }
    }
}

fn deck(prow: &mut ProwConfig, errors: &mut Errors<'_>) {
    let deck = &mut prow.deck;
    for (index, entry) in deck.external_agent_logs.iter().enumerate() {
        errors.selector(format!("deck.external_agent_logs[{index}].selector"), &entry.selector);
    }
    let spyglass = &mut deck.spyglass;
    if let Err(error) = GoTemplate::new(&spyglass.announcement) {
        errors.push("deck.spyglass.announcement", error.to_string());
    }
    errors.not_negative("deck.spyglass.size_limit", spyglass.size_limit);
    if spyglass.size_limit == 0 {
        spyglass.size_limit = SIZE_LIMIT;
    }
    let mut from_viewers: Vec<LensFileConfig> = Vec::new();
    for (pattern, names) in &spyglass.viewers {
        match GoRegex::new(pattern) {
            Ok(pattern) => from_viewers.extend(names.iter().map(|name| LensFileConfig {
                required_files: vec![pattern.clone()],
                lens: LensConfig { name: name.clone(), config: None },
                ..LensFileConfig::default()
            })),
            Err(error) => errors.push("deck.spyglass.viewers", error.to_string()),
        }
    }
    from_viewers.sort_by(|a, b| a.lens.name.cmp(&b.lens.name));
    spyglass.lenses.extend(from_viewers);
    let prefix = spyglass.gcs_browser_prefix.clone();
    for (key, map) in [
        ("gcs_browser_prefixes", &mut spyglass.gcs_browser_prefixes),
        ("gcs_browser_prefixes_by_bucket", &mut spyglass.gcs_browser_prefixes_by_bucket),
    ] {
        if map.contains_key("*") {
            if !prefix.is_empty() {
                errors.push("deck.spyglass.gcs_browser_prefix", format!("it excludes {key}['*']; remove it"));
            }
        } else {
            map.insert("*".into(), prefix.clone());
        }
    }
    if !deck.rerun_auth_configs.is_empty() && !deck.default_rerun_auth_configs.is_empty() {
        errors.push("deck", "rerun_auth_configs and default_rerun_auth_configs exclude each other");
    }
    // The unnamed entry first, then `*`, organisations, repositories: the last match wins.
    let class = |key: &str| match key {
        "" => 0,
        "*" => 1,
        key => 2 + usize::from(key.contains('/')),
    };
    let mut old: Vec<_> = std::mem::take(&mut deck.rerun_auth_configs).into_iter().collect();
    old.sort_by_key(|(key, _)| class(key));
    // As upstream, which takes the other keys out while it converts them.
    deck.rerun_auth_configs = old.iter().filter(|(key, _)| key.contains('/')).cloned().collect();
    deck.default_rerun_auth_configs.extend(old.into_iter().map(|(repo, config)| {
        super::DefaultRerunAuthEntry { repo, cluster: String::new(), rerun_auth_configs: Some(config) }
    }));
    let auth = deck.default_rerun_auth_configs.iter().filter_map(|e| e.rerun_auth_configs.as_ref());
    for config in auth {
        if let Err(message) = crate::validate::check_rerun_auth(config) {
            errors.push("deck.rerun_auth_configs", message);
        }
    }
    if !deck.additional_allowed_buckets.is_empty() && deck.skip_storage_path_validation != Some(false) {
        errors.push(
            "deck.additional_allowed_buckets",
            "it has an effect only with skip_storage_path_validation: false; set that or remove it",
        );
    }
}

fn sections(prow: &mut ProwConfig, errors: &mut Errors<'_>) {
    if prow.gerrit.ratelimit == 0 {
        prow.gerrit.ratelimit = RATELIMIT;
    }
    errors.url("gerrit.deck_url", &prow.gerrit.deck_url);
    if prow.github_reporter.job_types_to_report.is_empty() {
        prow.github_reporter = super::GithubReporter {
            job_types_to_report: super::GithubReporter::default().job_types_to_report,
            ..std::mem::take(&mut prow.github_reporter)
        };
    }
    for kind in &prow.github_reporter.job_types_to_report {
        if !REPORTABLE.contains(kind) {
            errors.push(
                "github_reporter.job_types_to_report",
                format!("{kind} is not one of presubmit and postsubmit"),
            );
        }
    }
    slack(prow, errors);
    for (key, clusters) in super::InRepoConfig::everyones_clusters() {
        prow.in_repo_config.allowed_clusters.entry(key).or_insert(clusters);
    }
    let denylist = prow.owners_dir_denylist.iter();
    for pattern in denylist.flat_map(|d| d.default.iter().chain(d.repos.values().flatten())) {
        if let Err(error) = GoRegex::new(pattern) {
            errors.push("owners_dir_denylist", error.to_string());
        }
    }
    pubsub(prow, errors);
    gangway(prow, errors);
}

fn slack(prow: &mut ProwConfig, errors: &mut Errors<'_>) {
    for (key, slack) in &mut prow.slack_reporter_configs {
        let at = format!("slack_reporter_configs[{key:?}]");
        if slack.channel.is_empty() {
            errors.push(format!("{at}.channel"), "it is mandatory, even where every job sets one");
        }
        if slack.report_template.is_empty() {
            slack.report_template = SLACK_TEMPLATE.into();
        }
        let empty = crate::template_data(&prow_api::ProwJob::default());
        if let Err(error) = GoTemplate::new(&slack.report_template).and_then(|t| t.render(&empty)) {
            errors.push(
                format!("{at}.report_template"),
                format!(
                    "{error}; it must render over an empty ProwJob, so guard .Spec.Refs with {{{{with}}}}"
                ),
            );
        }
    }
}

fn pubsub(prow: &mut ProwConfig, errors: &mut Errors<'_>) {
    if !prow.pubsub_subscriptions.is_empty() {
        if prow.pubsub_triggers.is_empty() {
            for (project, topics) in prow.pubsub_subscriptions.clone() {
                let allowed_clusters = vec!["*".into()];
                prow.pubsub_triggers.push(super::PubsubTrigger {
                    project,
                    topics,
                    allowed_clusters,
                    max_outstanding_messages: 0,
                });
            }
        } else {
            errors.push(
                "pubsub_subscriptions",
                "it and pubsub_triggers exclude each other; keep pubsub_triggers",
            );
        }
    }
    for trigger in &mut prow.pubsub_triggers {
        if trigger.max_outstanding_messages == 0 {
            trigger.max_outstanding_messages = MAX_OUTSTANDING_MESSAGES;
        }
    }
}

fn gangway(prow: &ProwConfig, errors: &mut Errors<'_>) {
    let mut seen = std::collections::HashSet::new();
    for (index, client) in prow.gangway.allowed_api_clients.iter().enumerate() {
        let key = format!("gangway.allowed_api_clients[{index}]");
        match &client.gcp {
            None => errors.push(&key, "it names no vendor; set gcp"),
            Some(gcp) => {
                if gcp.endpoint_api_consumer_type != CONSUMER_TYPE {
                    errors.push(
                        format!("{key}.gcp.endpoint_api_consumer_type"),
                        format!("{:?} is not {CONSUMER_TYPE}", gcp.endpoint_api_consumer_type),
                    );
                }
                let number = &gcp.endpoint_api_consumer_number;
                if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
                    errors.push(
                        format!("{key}.gcp.endpoint_api_consumer_number"),
                        format!("{number:?} is not digits"),
                    );
                }
                if !seen.insert((&gcp.endpoint_api_consumer_type, number)) {
                    errors.push(&key, format!("the client {number} is there twice"));
                }
            }
        }
        if client.allowed_jobs_filters.is_empty() {
            errors.push(
                format!("{key}.allowed_jobs_filters"),
                "it is empty; say which jobs the client may ask for",
            );
        }
        if client.allowed_jobs_filters.iter().any(|f| f.tenant_id.is_empty()) {
            errors.push(format!("{key}.allowed_jobs_filters"), "a tenant_id is empty");
        }
    }
}
