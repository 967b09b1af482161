//! `/pr-history/?org&repo&pr` (prow-runtime §12.6.2): all runs for a pull request, a row a job, a column a commit.
//! From the store's index of pulls, and from storage for what the cluster has forgotten.

use super::job_history::read_build;
use crate::error::DeckError;
use crate::filter::Params;
use crate::html;
use crate::links;
use crate::run;
use crate::source::Place;
use crate::state::{Shared, View};
use crate::web;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use futures::StreamExt;
use http::StatusCode;
use jiff::Timestamp;
use maud::{Markup, html};
use prow_api::GcsConfiguration;
use prow_job::paths::repo_segment;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Runs of a job that are read from storage, the newest ones.
const RUNS: usize = 20;
/// Runs read at one time.
const AT_ONCE: usize = 10;
/// Commits shown.
const COMMITS: usize = 15;

/// One run, wherever it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    job: String,
    build: String,
    commit: String,
    result: String,
    start: Option<Timestamp>,
    href: Option<String>,
}

/// `/pr-history/`
pub async fn page(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Result<Response, DeckError> {
    let params = Params::parse(query.as_deref());
    let (org, repo) = (params.get("org"), params.get("repo"));
    let Some(number) = params.number::<u64>("pr").filter(|_| !org.is_empty() && !repo.is_empty()) else {
        return Err(DeckError::BadRequest("A pull request's history needs org, repo and pr.".to_owned()));
    };
    let view = deck.view();
    if !view.rule.shows_repo(org, repo) {
        return Err(DeckError::NotFound(format!("There are no runs for {org}/{repo}#{number}.")));
    }
    let mut entries = of_store(&deck, &view, &format!("{org}/{repo}#{number}"));
    let known: BTreeSet<(String, String)> =
        entries.iter().map(|e| (e.job.clone(), e.build.clone())).collect();
    for directory in directories(&view, org, repo, number) {
        match of_storage(&deck, &view, &directory, &known).await {
            Ok(found) => entries.extend(found),
            Err(error) => {
                tracing::warn!(%error, "a pull request's history is shown without what is in storage")
            }
        }
    }
    let now = deck.clock.now();
    let title = format!("{org}/{repo}#{number}");
    let link = format!("{}/{org}/{repo}/pull/{number}", view.github());
    let body = html! {
        section.card {
            h1 { "History of " (html::linked(web::safe_link(&link), html! { bdi { (title) } })) }
            (table(&entries, now))
        }
    };
    Ok(web::html(StatusCode::OK, html::page(&format!("{title} history"), body)))
}

fn of_store(deck: &Shared, view: &View, pull: &str) -> Vec<Entry> {
    let jobs = deck.of_pull(pull);
    let shown = jobs.iter().filter(|job| view.rule.shows(job));
    shown
        .map(|job| Entry {
            job: job.spec.job.clone(),
            build: job.status.build_id.clone(),
            commit: job
                .spec
                .refs
                .iter()
                .flat_map(|r| &r.pulls)
                .next()
                .map(|p| p.sha.clone())
                .unwrap_or_default(),
            result: job.status.state.to_string(),
            start: job.status.start_time.as_ref().map(|t| t.0),
            href: links::view(job),
        })
        .collect()
}

/// Where runs for the pull request are: one directory for each way in which the configuration lays out results of
/// the repository's presubmits.
fn directories(view: &View, org: &str, repo: &str, number: u64) -> Vec<Place> {
    let jobs = view.snapshot.presubmits_for(&format!("{org}/{repo}"));
    let of_jobs = jobs.iter().filter_map(|job| job.base.decoration_config.as_deref());
    let entries = &view.snapshot.prow.plank.default_decoration_config_entries;
    let of_defaults = entries.iter().filter_map(|entry| entry.config.as_deref());
    let configs: Vec<&GcsConfiguration> = of_jobs
        .chain(of_defaults)
        .filter_map(|c| c.gcs_configuration.as_ref())
        .filter(|g| !g.bucket.is_empty())
        .collect();
    let mut seen = BTreeSet::new();
    let mut places = Vec::new();
    for gcs in configs {
        let Ok(segment) = repo_segment(gcs, org, repo) else { continue };
        let parts = [
            gcs.bucket.trim_end_matches('/'),
            &gcs.path_prefix,
            "pr-logs/pull",
            &segment,
            &number.to_string(),
        ]
        .map(str::to_owned);
        let (bucket, rest) = (&parts[0], &parts[1..]);
        let path: Vec<&str> = rest.iter().map(|p| p.trim_matches('/')).filter(|p| !p.is_empty()).collect();
        let url = format!("{bucket}/{}", path.join("/"));
        if seen.insert(url.clone())
            && let Ok(place) = view.allowed.place_of_url(&url)
        {
            places.push(place);
        }
    }
    places
}

async fn of_storage(
    deck: &Shared,
    view: &View,
    directory: &Place,
    known: &BTreeSet<(String, String)>,
) -> Result<Vec<Entry>, DeckError> {
    let bucket = run::open(deck, directory)?;
    let failed = |e| DeckError::storage("list the pull request's runs", e);
    let last = |name: &str| name.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let jobs = bucket.list(&directory.key).await.map_err(failed)?;
    let mut runs = Vec::new();
    for job in &jobs.prefixes {
        let builds = bucket.list(job).await.map_err(failed)?;
        let mut ids: Vec<u64> = builds.prefixes.iter().filter_map(|p| last(p).parse().ok()).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        runs.extend(ids.into_iter().take(RUNS).map(|id| (last(job), id.to_string())));
    }
    runs.retain(|run| !known.contains(run));
    let found = futures::stream::iter(runs)
        .map(|(job, build)| {
            let (bucket, place) = (
                &bucket,
                Place { bucket: directory.bucket.clone(), key: directory.below(&format!("{job}/{build}")) },
            );
            async move {
                let read = read_build(deck, view, bucket, &place).await?;
                Some(Entry {
                    job,
                    build,
                    commit: read
                        .job
                        .as_ref()
                        .and_then(|j| Some(j.spec.refs.as_ref()?.pulls.first()?.sha.clone()))
                        .unwrap_or(read.commit),
                    result: read.result,
                    start: read.start,
                    href: Some(read.href),
                })
            }
        })
        .buffered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    Ok(found)
}

/// Commits by their newest run, newest first; what is no commit comes last.
fn commits(entries: &[Entry]) -> Vec<String> {
    let mut newest: BTreeMap<&str, Option<Timestamp>> = BTreeMap::new();
    for entry in entries {
        let at = newest.entry(&entry.commit).or_default();
        *at = (*at).max(entry.start);
    }
    let mut commits: Vec<(&str, Option<Timestamp>)> = newest.into_iter().collect();
    commits.sort_by(|(a, at_a), (b, at_b)| (b.len() == 40).cmp(&(a.len() == 40)).then(at_b.cmp(at_a)));
    commits.into_iter().take(COMMITS).map(|(commit, _)| commit.to_owned()).collect()
}

fn table(entries: &[Entry], now: Timestamp) -> Markup {
    let commits = commits(entries);
    let jobs: BTreeSet<&str> = entries.iter().map(|e| e.job.as_str()).collect();
    let cell = |job: &str, commit: &str| {
        let mut runs: Vec<&Entry> = entries.iter().filter(|e| e.job == job && e.commit == commit).collect();
        runs.sort_by_key(|e| std::cmp::Reverse(e.start));
        html! {
            @for run in runs {
                div.cell {
                    (html::linked(run.href.as_deref(), html::result(&run.result)))
                    @if let Some(start) = run.start { " " span.quiet { (html::ago(start, now)) } }
                }
            }
        }
    };
    html! {
        @if entries.is_empty() { p.empty { "No runs are known for this pull request." } }
        @else {
            div.scroll {
                table.matrix {
                    thead { tr {
                        th scope="col" { "Job" }
                        @for commit in &commits { th scope="col" { code { bdi { (html::short(commit)) } } } }
                    } }
                    tbody {
                        @for job in jobs {
                            tr {
                                th scope="row" { bdi { (job) } }
                                @for commit in &commits { td { (cell(job, commit)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_ordered_by_their_newest_run() {
        let entry = |commit: &str, start: i64| Entry {
            job: "j".into(),
            build: start.to_string(),
            commit: commit.into(),
            result: "success".into(),
            start: Timestamp::from_second(start).ok(),
            href: None,
        };
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let entries = [entry(&a, 5), entry(&b, 3), entry(&b, 9), entry("Unknown", 99)];
        assert_eq!(commits(&entries), [b, a, "Unknown".to_owned()]);
    }
}
