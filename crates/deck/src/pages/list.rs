//! `/`: all jobs, newest first, filtered and paged by the server; and `/jobs`, the same list as a fragment, which
//! the page's script asks for again and again and gets 304 while nothing changed.

use crate::board::Page;
use crate::error::DeckError;
use crate::filter::{Filter, Params, STATES, TYPES};
use crate::html::{self, thousands};
use crate::links;
use crate::state::{Shared, View};
use crate::web;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use maud::{Markup, html};
use prow_api::{ProwJob, ProwJobStatus};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Rows on a page.
const SIZE: usize = 200;
/// Words offered for each text field of the form.
const SUGGESTIONS: usize = 200;

struct Listing {
    filter: Filter,
    /// From 1.
    number: usize,
    page: Page,
}

fn listing(deck: &Shared, view: &View, query: Option<&str>) -> Result<Listing, DeckError> {
    let params = Params::parse(query);
    let filter = Filter::parse(&params).map_err(|e| DeckError::BadRequest(e.to_string()))?;
    let number = params.number::<usize>("page").unwrap_or(1).clamp(1, 1_000_000);
    let page = deck.rows(view).page(&filter, (number - 1) * SIZE, SIZE);
    Ok(Listing { filter, number, page })
}

/// `/`
pub async fn page(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Result<Response, DeckError> {
    let view = deck.view();
    let list = listing(&deck, &view, query.as_deref())?;
    let form = form(&deck, &view, &list.filter);
    let content = content(&list, &view, deck.clock.now());
    let body = html! {
        h1.sr { "Jobs" }
        (form)
        section #jobs data-refresh={ "/jobs?" (address(&list.filter, list.number)) } { (content) }
    };
    Ok(web::html(StatusCode::OK, html::page("Jobs", body)))
}

/// `/jobs`
pub async fn fragment(
    State(deck): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, DeckError> {
    let view = deck.view();
    let list = listing(&deck, &view, query.as_deref())?;
    let etag = web::etag(&Fingerprint(&list, &view));
    Ok(web::revalidated(&request, &etag, || content(&list, &view, deck.clock.now())))
}

/// What the fragment depends on, but for how long ago things were, which the script keeps current.
struct Fingerprint<'l>(&'l Listing, &'l View);

impl Hash for Fingerprint<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Fingerprint(list, view) = self;
        (&list.filter, list.number, list.page.total, list.page.counts, view.github()).hash(state);
        for job in &list.page.jobs {
            (job.name(), &job.metadata.resource_version, job.status.state).hash(state);
        }
    }
}

/// Query of a page of a filter.
fn address(filter: &Filter, number: usize) -> String {
    let mut query = filter.query();
    if number > 1 {
        query.push_str(if query.is_empty() { "" } else { "&" });
        query.push_str(&format!("page={number}"));
    }
    query
}

fn form(deck: &Shared, view: &View, filter: &Filter) -> Markup {
    let rows = deck.rows(view);
    let (repos, jobs, authors) = rows.suggestions(SUGGESTIONS);
    let text = |name: &str, label: &str, value: &str, words: &[&str]| {
        html! {
            label {
                span { (label) }
                input type="search" name=(name) value=(value) list={ "known-" (name) } autocomplete="off"
                    spellcheck="false";
                datalist id={ "known-" (name) } { @for word in words { option value=(word) {} } }
            }
        }
    };
    html! {
        form.filters method="get" action="/" role="search" aria-label="Filter jobs" {
            (text("repo", "Repository", &filter.repo, &repos))
            (text("job", "Job (* for anything)", &filter.job, &jobs))
            (text("author", "Author", &filter.author, &authors))
            label {
                span { "Type" }
                select name="type" {
                    option value="" { "any" }
                    @for kind in TYPES {
                        option value=(kind) selected[filter.job_type == Some(kind)] { (kind) }
                    }
                }
            }
            label {
                span { "State" }
                select name="state" {
                    option value="" { "any" }
                    @for state in STATES { option value=(state) selected[filter.state == Some(state)] { (state) } }
                }
            }
            @if let Some(pull) = filter.pull { input type="hidden" name="pull" value=(pull); }
            @if !filter.cluster.is_empty() { input type="hidden" name="cluster" value=(filter.cluster); }
            div.buttons {
                button type="submit" { "Filter" }
                @if *filter != Filter::default() { a href="/" { "Clear" } }
            }
        }
    }
}

fn content(list: &Listing, view: &View, now: Timestamp) -> Markup {
    html! {
        (counts(list))
        @if list.page.jobs.is_empty() {
            p.empty { @if list.page.total == 0 { "No jobs match." } @else { "There is no such page." } }
        } @else {
            div.scroll {
                table.jobs {
                    thead {
                        tr {
                            th scope="col" { "State" }
                            th scope="col" { "Job" }
                            th scope="col" { "Repository" }
                            th scope="col" { "Code" }
                            th scope="col" { "Started" }
                            th.number scope="col" { "Duration" }
                        }
                    }
                    tbody { @for job in &list.page.jobs { (row(job, view, now)) } }
                }
            }
        }
        (pager(list))
    }
}

fn counts(list: &Listing) -> Markup {
    let all: usize = list.page.counts.iter().sum();
    let href = |filter: Filter| match filter.query() {
        query if query.is_empty() => "/".to_owned(),
        query => format!("/?{query}"),
    };
    html! {
        nav.counts aria-label="Jobs by state" {
            a href=(href(list.filter.with_state(None))) aria-current=[list.filter.state.is_none().then_some("true")] {
                "all " span.count { (thousands(all as u64)) }
            }
            @for (state, count) in STATES.into_iter().zip(list.page.counts) {
                @let current = list.filter.state == Some(state);
                @if count > 0 || current {
                    a href=(href(list.filter.with_state(Some(state)))) aria-current=[current.then_some("true")] {
                        (html::state_count(state, count))
                    }
                }
            }
        }
    }
}

fn row(job: &ProwJob, view: &View, now: Timestamp) -> Markup {
    let (spec, status) = (&job.spec, &job.status);
    let refs = spec.first_refs();
    let start = status.start_time.as_ref().or(job.metadata.creation_timestamp.as_ref()).map(|t| t.0);
    let end = status.completion_time.as_ref().map(|t| t.0);
    html! {
        tr {
            td { (html::state(status.state)) }
            td.job {
                (html::linked(links::view(job).as_deref(), html! { bdi { (spec.job) } }))
                " " span.kind { (spec.job_type) }
                @if !says_no_more(status) { div.quiet.description { bdi { (status.description) } } }
            }
            td.repo {
                @if let Some(refs) = refs {
                    (html::linked(links::repo(refs, view.github()).as_deref(), html! { bdi { (refs.org_repo()) } }))
                }
            }
            td.code { @if let Some(refs) = refs { (html::refs_line(refs, view.github())) } }
            td.time { @if let Some(start) = start { (html::moment(start, now)) } }
            td.number {
                @if let Some(start) = start {
                    @match end {
                        Some(end) => { (html::duration(end.as_second() - start.as_second())) }
                        None => {
                            span data-since=(start.as_second()) { (html::duration(now.as_second() - start.as_second())) }
                        }
                    }
                }
            }
        }
    }
}

/// Descriptions that repeat the state.
fn says_no_more(status: &ProwJobStatus) -> bool {
    matches!(status.description.as_str(), "" | "Job triggered." | "Job succeeded." | "Job failed.")
}

fn pager(list: &Listing) -> Markup {
    let pages = list.page.total.div_ceil(SIZE).max(1);
    let href = |number: usize| format!("/?{}", address(&list.filter, number));
    let first = (list.number - 1) * SIZE + 1;
    html! {
        @if pages > 1 || list.number > 1 {
            nav.pager aria-label="Pages" {
                @if list.number > 1 { a rel="prev" href=(href((list.number - 1).min(pages))) { "← Newer" } }
                span {
                    @if list.page.jobs.is_empty() { "page " (list.number) " of " (pages) }
                    @else {
                        (thousands(first as u64)) "–" (thousands((first + list.page.jobs.len() - 1) as u64))
                        " of " (thousands(list.page.total as u64))
                    }
                }
                @if list.number < pages { a rel="next" href=(href(list.number + 1)) { "Older →" } }
            }
        }
    }
}
