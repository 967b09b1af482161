//! `/view/…`: one run of a job (prow-runtime §12.6), and `/lines/…`, more lines of its log.

use super::live;
use crate::artifacts;
use crate::error::DeckError;
use crate::filter::Params;
use crate::html;
use crate::links;
use crate::log::Highlight;
use crate::log::file::LogFile;
use crate::log::index::LogIndex;
use crate::log::plan::{self, Part, Side};
use crate::log::render::{self, Links};
use crate::pages::details;
use crate::run::{self, Run};
use crate::source::Place;
use crate::state::{Shared, View};
use crate::web;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use maud::{Markup, html};
use prow_api::results::BUILD_LOG_TXT;
use prow_storage::Bucket;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long a page waits for the index of a large log before it shows the end without line numbers.
const PATIENCE: Duration = Duration::from_millis(400);
/// Bytes of the end that are shown meanwhile.
const BLIND_TAIL: u64 = 48 << 10;
/// Pointer files are small.
const LARGEST_POINTER: u64 = 4095;

/// `/view/<provider>/<bucket>/<path>` or `/view/prowjob/<job>/<build>`
pub async fn page(
    State(deck): State<Arc<Shared>>,
    Path(source): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, DeckError> {
    let view = deck.view();
    let params = Params::parse(query.as_deref());
    let (provider, rest) = source.trim_end_matches('/').split_once('/').unwrap_or((&source, ""));
    let run = if provider == "prowjob" {
        let (job, build) = rest.rsplit_once('/').unwrap_or((rest, ""));
        let found = deck.build(job, build).filter(|job| view.rule.shows(job)).ok_or_else(|| {
            DeckError::NotFound(format!(
                "There is no run of the job {job:?} with the build id {build:?} in the cluster."
            ))
        })?;
        if let Some(results) = links::results(&found) {
            return Ok(web::redirect(StatusCode::FOUND, &format!("/view/{results}")));
        }
        Run::of_job(found)
    } else {
        let place = view.allowed.place(provider, rest)?;
        let run = Run::load(&deck, &view, place).await?;
        if run.is_nothing() {
            return moved(&view, &run).await;
        }
        run
    };
    let logs = logs(&deck, &view, &run, &params).await;
    let title = format!("{} {}", run.job_name(), run.build_id());
    let now = deck.clock.now();
    let body = html! {
        (details::header(&run, &view, now))
        @for problem in &run.problems { p.warning { (problem) } }
        (logs)
        @if let Some((place, _)) = &run.place {
            @if !run.listing.objects.is_empty() || !run.listing.prefixes.is_empty() {
                section.card aria-labelledby="artifacts-title" {
                    header { h2 #artifacts-title { "Files" } }
                    div.scroll { (artifacts::table(place, &run.listing, now)) }
                }
            }
        }
        (details::metadata(&run))
    };
    Ok(web::html(StatusCode::OK, html::page(&title, body)))
}

/// Where a pointer file leads (`pr-logs/directory/<job>/<build>.txt`), if there is one.
async fn moved(view: &View, run: &Run) -> Result<Response, DeckError> {
    let Some((place, bucket)) = &run.place else { return Ok(web::not_found()) };
    if place.key.is_empty() {
        return Err(run::nothing_there(place));
    }
    let pointer = match bucket.get_bytes(&format!("{}.txt", place.key), LARGEST_POINTER).await {
        Ok(pointer) => pointer,
        Err(error) if error.is_not_found() => return Err(run::nothing_there(place)),
        Err(error) => return Err(DeckError::storage("follow the pointer to the results", error)),
    };
    let to = view.allowed.place_of_url(&String::from_utf8_lossy(&pointer))?;
    if to == *place {
        return Err(run::nothing_there(place));
    }
    Ok(web::redirect(StatusCode::FOUND, &format!("/view/{}", to.path())))
}

/// The log's part of the page: of storage, else of the Pod.
async fn logs(deck: &Shared, view: &View, run: &Run, params: &Params) -> Markup {
    let names = log_names(run);
    let Some((place, bucket)) = run.place.as_ref().filter(|_| !names.is_empty()) else {
        return match &run.job {
            Some(job) if run.is_live => live::section(deck, view, job, params.get("container")).await,
            _ if run.is_running() => html! {
                section.card.log { p.quiet { "The log comes when the job ends: it runs out of this Deck's sight." } }
            },
            _ => html! { section.card.log { p.quiet { "This run left no build log." } } },
        };
    };
    let name = names.iter().find(|n| *n == params.get("log")).unwrap_or(&names[0]);
    let file_path = place.path_of(&place.below(name));
    let pane = match pane(deck, view, bucket, place, name, params.number("line")).await {
        Ok(pane) => pane,
        Err(error) => html! { p.warning { (error) } },
    };
    html! {
        section.card.log aria-labelledby="log-title" {
            header {
                h2 #log-title { "Build log" }
                @if names.len() > 1 {
                    nav.tabs aria-label="Logs" {
                        @for other in &names {
                            a href={ "?" (log_query(other)) "#log-title" }
                                aria-current=[(other == name).then_some("true")] { bdi { (other) } }
                        }
                    }
                }
                nav.actions { a href={ "/artifacts/" (file_path) } { "raw" } }
            }
            (pane)
        }
    }
}

fn log_query(name: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair("log", name).finish()
}

/// Names of the run's logs, the main one first.
fn log_names(run: &Run) -> Vec<String> {
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let mut names: Vec<String> = run
        .listing
        .objects
        .iter()
        .map(|object| last(&object.name))
        .filter(|name| name == BUILD_LOG_TXT || name.ends_with(&format!("-{BUILD_LOG_TXT}")))
        .collect();
    names.sort_by_key(|name| (name != BUILD_LOG_TXT, name.clone()));
    names
}

/// The log's first screen.
async fn pane(
    deck: &Shared,
    view: &View,
    bucket: &Bucket,
    place: &Place,
    name: &str,
    focus: Option<u64>,
) -> Result<Markup, DeckError> {
    let failed = |e| DeckError::storage("read the log", e);
    let file = LogFile::open(bucket, &place.below(name)).await.map_err(failed)?;
    let highlight = &view.highlight;
    let page = format!("/view/{}?{}&", place.path(), log_query(name));
    let fragment = format!("/lines/{}?", place.path_of(&file.name));
    let links = Links { page: &page, fragment: &fragment };
    let indexing = deck.indexes.start(&file, highlight);
    let index = match file.is_seekable() {
        // Such a log cannot be shown without: its end is not known.
        false => Some(indexing.finished().await.map_err(failed)?),
        true => tokio::select! {
            biased;
            index = indexing.finished() => Some(index.map_err(failed)?),
            () = deck.clock.sleep(PATIENCE) => None,
        },
    };
    let Some(index) = index else {
        let rows = blind_tail(&file, highlight).await.map_err(failed)?;
        return Ok(html! {
            p.facts.quiet data-indexing="true" {
                (html::bytes(file.stored)) " · the lines are being counted; below is the end. "
                a href=(page) { "Show the whole" }
            }
            div.lines tabindex="0" role="region" aria-label="log lines" { (rows) }
        });
    };
    let parts = plan::first(index.lines, &index.hits, focus);
    let rows = rows(&file, &index, &parts, highlight, &links).await?;
    Ok(html! {
        p.facts.quiet {
            (html::thousands(index.lines)) @if index.lines == 1 { " line" } @else { " lines" }
            " · " (html::bytes(index.size))
            @if index.hits_total > 0 {
                " · " strong.hits { (html::thousands(index.hits_total)) " marked" }
                @if let Some(first) = index.hits.first() {
                    ", first in " a href={ (page) "line=" (first) "#L" (first) } data-line=(first) { "line " (first) }
                }
            }
        }
        div.lines tabindex="0" role="region" aria-label="log lines" data-page=(page) {
            @if index.lines == 0 { p.quiet.waiting { "The log is empty." } }
            (rows)
        }
    })
}

async fn rows(
    file: &LogFile,
    index: &LogIndex,
    parts: &[Part],
    highlight: &Highlight,
    links: &Links<'_>,
) -> Result<Markup, DeckError> {
    let wanted: Vec<Range<u64>> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Lines(range) => Some(range.clone()),
            Part::Gap(_) => None,
        })
        .collect();
    let lines =
        render::read(file, index, &wanted).await.map_err(|e| DeckError::storage("read the log", e))?;
    Ok(render::rows(parts, &lines, highlight, links))
}

/// The end of a log whose lines are not counted yet.
async fn blind_tail(file: &LogFile, highlight: &Highlight) -> Result<Markup, prow_storage::StorageError> {
    let lines = render::last_lines(file, BLIND_TAIL).await?;
    Ok(html! { @for line in &lines { (render::unnumbered(line, highlight)) } })
}

/// `/lines/<storage path of a log>?from&to[&side=bottom]`: the lines of a gap.
pub async fn lines(
    State(deck): State<Arc<Shared>>,
    Path(source): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, DeckError> {
    let view = deck.view();
    let params = Params::parse(query.as_deref());
    let (provider, rest) = source.split_once('/').unwrap_or((&source, ""));
    let place = view.allowed.place(provider, rest)?;
    let bucket = run::open(&deck, &place)?;
    run::check_visible(&deck, &view, &bucket, &place).await?;
    let failed = |e| DeckError::storage("read the log", e);
    let file = LogFile::open(&bucket, &place.key).await.map_err(failed)?;
    let highlight = &view.highlight;
    let index = deck.indexes.start(&file, highlight).finished().await.map_err(failed)?;
    let from = params.number::<u64>("from").unwrap_or(1).max(1);
    let to = params.number::<u64>("to").unwrap_or(u64::MAX).min(index.lines + 1);
    let side = if params.get("side") == "bottom" { Side::Bottom } else { Side::Top };
    let parts = plan::more(from..to, side);
    let (directory, name) = place.key.rsplit_once('/').unwrap_or(("", &place.key));
    let page = format!("/view/{}?{}&", place.path_of(directory), log_query(name));
    let fragment = format!("/lines/{}?", place.path());
    let rows = rows(&file, &index, &parts, highlight, &Links { page: &page, fragment: &fragment }).await?;
    let mut response =
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], rows.into_string()).into_response();
    web::no_cache(response.headers_mut());
    Ok(response)
}
