//! `/job-history/…` (prow-runtime §12.6.1): the runs of a job, newest first, twenty a page.

use crate::error::DeckError;
use crate::filter::Params;
use crate::html;
use crate::run::{self, json_if_readable};
use crate::source::{Allowed, Place};
use crate::state::{Shared, View};
use crate::web;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use futures::StreamExt;
use http::StatusCode;
use jiff::Timestamp;
use maud::{Markup, html};
use prow_api::ProwJob;
use prow_api::results::{FINISHED_JSON, Finished, LATEST_BUILD_TXT, PROWJOB_JSON, STARTED_JSON, Started};
use prow_storage::{Bucket, Listing};
use std::sync::Arc;
use std::time::Duration;

/// Runs on a page.
const SIZE: usize = 20;
/// Runs read at one time.
const AT_ONCE: usize = 10;
/// How long a listing may take.
const LISTING: Duration = Duration::from_secs(10);
/// Pointer files are small.
const LARGEST_POINTER: u64 = 4095;

/// `/job-history/[<provider>/]<bucket>/<root>?buildId=`
pub async fn page(
    State(deck): State<Arc<Shared>>,
    Path(source): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, DeckError> {
    let view = deck.view();
    let root = root_of(&view.allowed, &source)?;
    let bucket = run::open(&deck, &root)?;
    let latest = latest(&bucket, &root).await?;
    let asked = Params::parse(query.as_deref()).number::<u64>("buildId");
    let top = asked.filter(|id| *id <= latest).unwrap_or(latest);
    let listing = tokio::select! {
        listing = bucket.list(&root.key) => listing.map_err(|e| DeckError::storage("list the job's runs", e))?,
        () = deck.clock.sleep(LISTING) => {
            return Err(DeckError::Cluster {
                what: format!("list the runs below {}", root.bucket.object_url(&root.key)),
                why: "the storage did not answer within 10 s".to_owned(),
            });
        }
    };
    let ids = build_ids(&listing, root.key.starts_with("logs"));
    let shown = window(&ids, top);
    let rows: Vec<(u64, Option<Build>)> = futures::stream::iter(shown.ids.iter().copied())
        .map(|id| {
            let (deck, view, bucket, root) = (&deck, &view, &bucket, &root);
            async move { (id, build(deck, view, bucket, root, id).await) }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let name = root.key.rsplit('/').next().unwrap_or_default().to_owned();
    let now = deck.clock.now();
    let here = format!("/job-history/{}", root.path());
    let body = html! {
        section.card {
            h1 { "History of " bdi { (name) } }
            @if rows.is_empty() { p.empty { "No runs are kept." } }
            @else {
                div.scroll {
                    table {
                        thead { tr {
                            th scope="col" { "Result" } th scope="col" { "Build" } th scope="col" { "Code" }
                            th scope="col" { "Started" } th.number scope="col" { "Duration" }
                        } }
                        tbody { @for (id, build) in &rows { (row(*id, build.as_ref(), now)) } }
                    }
                }
            }
            nav.pager aria-label="Pages" {
                @if let Some(newer) = &shown.newer { a rel="prev" href={ (here) "?buildId=" (newer) } { "← Newer" } }
                @if top != latest { a href=(here) { "Latest" } }
                @if let Some(older) = shown.older { a rel="next" href={ (here) "?buildId=" (older) } { "Older →" } }
            }
        }
    };
    Ok(web::html(StatusCode::OK, html::page(&format!("{name} history"), body)))
}

/// A path without provider is of `gs`.
fn root_of(allowed: &Allowed, source: &str) -> Result<Place, DeckError> {
    let source = source.trim_matches('/');
    let place = match source.split_once('/') {
        Some((provider @ ("gs" | "gcs" | "s3" | "file"), rest)) => allowed.place(provider, rest)?,
        _ => allowed.place("gs", source)?,
    };
    match place.key.is_empty() {
        true => Err(DeckError::BadRequest(
            "A job's history is at /job-history/<provider>/<bucket>/logs/<job> or …/pr-logs/directory/<job>."
                .to_owned(),
        )),
        false => Ok(place),
    }
}

async fn latest(bucket: &Bucket, root: &Place) -> Result<u64, DeckError> {
    let name = root.below(LATEST_BUILD_TXT);
    let bytes = bucket
        .get_bytes(&name, LARGEST_POINTER)
        .await
        .map_err(|e| DeckError::storage("get the job's history", e))?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim().parse().map_err(|_| {
        DeckError::NotFound(format!("The job's history cannot be shown: {name} does not hold a build id."))
    })
}

/// Build ids, newest first: directories below `logs/<job>`, pointer files below `pr-logs/directory/<job>`.
fn build_ids(listing: &Listing, directories: bool) -> Vec<u64> {
    let last = |name: &str| name.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let mut ids: Vec<u64> = match directories {
        true => listing.prefixes.iter().filter_map(|p| last(p).parse().ok()).collect(),
        false => {
            listing.objects.iter().filter_map(|o| last(&o.name).strip_suffix(".txt")?.parse().ok()).collect()
        }
    };
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.dedup();
    ids
}

/// A page of ids.
#[derive(Debug, PartialEq, Eq)]
struct Window<'i> {
    ids: &'i [u64],
    /// Value of `buildId` of the newer page; empty is the newest.
    newer: Option<String>,
    older: Option<u64>,
}

fn window(ids: &[u64], top: u64) -> Window<'_> {
    let first = ids.partition_point(|id| *id > top);
    let end = ids.len().min(first + SIZE);
    Window {
        ids: &ids[first..end],
        newer: match first {
            0 => None,
            n if n < SIZE => Some(String::new()),
            n => Some(ids[n - SIZE].to_string()),
        },
        older: ids.get(end).copied(),
    }
}

/// What a row shows.
pub struct Build {
    /// Its page.
    pub href: String,
    /// Word for how it ended.
    pub result: String,
    /// When it began.
    pub start: Option<Timestamp>,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// Commit, or "Unknown".
    pub commit: String,
    /// The ProwJob: the store's, else the copy beside the results.
    pub job: Option<Arc<ProwJob>>,
}

async fn build(deck: &Shared, view: &View, bucket: &Bucket, root: &Place, id: u64) -> Option<Build> {
    let place = if root.key.starts_with("logs") {
        Place { bucket: root.bucket.clone(), key: root.below(&id.to_string()) }
    } else {
        let pointer = bucket.get_bytes(&root.below(&format!("{id}.txt")), LARGEST_POINTER).await.ok()?;
        let place = view.allowed.place_of_url(&String::from_utf8_lossy(&pointer)).ok()?;
        // Scheme and bucket of a pointer are not followed.
        Place { bucket: root.bucket.clone(), key: place.key }
    };
    read_build(deck, view, bucket, &place).await
}

/// Reads what a row shows of a run; `None` for one that this Deck does not show.
pub async fn read_build(deck: &Shared, view: &View, bucket: &Bucket, place: &Place) -> Option<Build> {
    let known = run::known(deck, place);
    let (started, finished, job) = futures::join!(
        json_if_readable::<Started>(bucket, place.below(STARTED_JSON)),
        json_if_readable::<Finished>(bucket, place.below(FINISHED_JSON)),
        async {
            match known {
                Some(job) => Some(job),
                None => json_if_readable::<ProwJob>(bucket, place.below(PROWJOB_JSON)).await.map(Arc::new),
            }
        },
    );
    if job.as_ref().is_some_and(|job| !view.rule.shows(job)) {
        return None;
    }
    Some(Build {
        href: format!("/view/{}", place.path()),
        result: finished.as_ref().map_or("pending".to_owned(), run::result_of),
        start: started.as_ref().and_then(|s| Timestamp::from_second(s.timestamp).ok()),
        end: finished.as_ref().and_then(|f| Timestamp::from_second(f.timestamp?).ok()),
        commit: commit(started.as_ref(), finished.as_ref()),
        job,
    })
}

/// finished.json's revision, else the head of a single pull in started.json.
fn commit(started: Option<&Started>, finished: Option<&Finished>) -> String {
    if let Some(finished) = finished.filter(|f| !f.revision.is_empty()) {
        return finished.revision.clone();
    }
    let of_pull = |pull: &str| {
        let (base, pull) = pull.split_once(',')?;
        let (_, base_sha) = base.split_once(':')?;
        let (number, sha) = pull.split_once(':')?;
        let is_sha = |s: &str| s.len() == 40 && s.bytes().all(|b| b.is_ascii_alphanumeric());
        (is_sha(base_sha) && is_sha(sha) && number.bytes().all(|b| b.is_ascii_digit()))
            .then(|| sha.to_owned())
    };
    started.and_then(|s| of_pull(&s.pull)).unwrap_or_else(|| "Unknown".to_owned())
}

fn row(id: u64, build: Option<&Build>, now: Timestamp) -> Markup {
    let Some(build) = build else {
        return html! { tr { td { span.state { "not shown" } } td { (id) } td {} td {} td {} } };
    };
    let refs = build.job.as_ref().and_then(|j| j.spec.first_refs());
    html! {
        tr {
            td { (html::result(&build.result)) }
            td { a href=(build.href) { (id) } }
            td.code {
                @if let Some(refs) = refs { (html::refs_line(refs, "https://github.com")) " " }
                @if build.commit != "Unknown" || refs.is_none() { code { bdi { (html::short(&build.commit)) } } }
            }
            td.time { @if let Some(start) = build.start { (html::moment(start, now)) } }
            td.number {
                @if let Some(start) = build.start {
                    (html::duration(build.end.unwrap_or(now).as_second() - start.as_second()))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_ids() {
        let ids: Vec<u64> = (1..=50).rev().collect();
        for (top, first, last, newer, older) in [
            (50, 50, 31, None, Some(30)),
            (49, 49, 30, Some(""), Some(29)),
            (30, 30, 11, Some("50"), Some(10)),
            (29, 29, 10, Some("49"), Some(9)),
            (10, 10, 1, Some("30"), None),
        ] {
            let window = window(&ids, top);
            assert_eq!((window.ids[0], *window.ids.last().unwrap()), (first, last), "{top}");
            assert_eq!((window.newer.as_deref(), window.older), (newer, older), "{top}");
        }
        assert_eq!(window(&[], 5), Window { ids: &[], newer: None, older: None });
    }

    #[test]
    fn the_commit_of_a_run() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        for (pull, revision, expected) in [
            (format!("main:{a},7:{b}"), "", b.as_str()),
            (format!("main:{a},7:{b}"), "rev", "rev"),
            (format!("main:{a},7:{b},8:{b}"), "", "Unknown"),
            ("7".to_owned(), "", "Unknown"),
        ] {
            let started = Started { pull, ..Started::default() };
            let finished = Finished { revision: revision.into(), ..Finished::default() };
            assert_eq!(commit(Some(&started), Some(&finished)), expected);
        }
    }
}
