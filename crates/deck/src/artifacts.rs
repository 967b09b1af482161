//! `/artifacts/<storage path>`: what a job left in storage, through Deck. Directories (with a trailing slash) are
//! listed; objects are streamed with types that no browser runs, in a sandbox.

use crate::error::DeckError;
use crate::filter::Params;
use crate::gzip;
use crate::html;
use crate::log::file::gunzip;
use crate::run;
use crate::source::Place;
use crate::state::Shared;
use crate::web::{self, ByteRange};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use jiff::Timestamp;
use maud::{Markup, html};
use prow_api::results::{
    BUILD_LOG_TXT, CLONE_LOG_TXT, CLONE_RECORDS_JSON, FINISHED_JSON, PODINFO_JSON, PROWJOB_JSON,
    SIDECAR_LOGS_JSON, STARTED_JSON,
};
use prow_storage::{Bucket, Listing, ObjectMeta};
use std::sync::Arc;

/// Bytes asked of storage at once for a range.
const PIECE: u64 = 512 << 10;
/// Entries of a directory on one page.
const SIZE: usize = 500;

/// An object or a directory.
pub async fn serve(
    State(deck): State<Arc<Shared>>,
    Path(source): Path<String>,
    uri: Uri,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, DeckError> {
    let view = deck.view();
    let (provider, rest) = source.split_once('/').unwrap_or((&source, ""));
    let place = view.allowed.place(provider, rest)?;
    let bucket = run::open(&deck, &place)?;
    run::check_visible(&deck, &view, &bucket, &place).await?;
    if source.ends_with('/') || place.key.is_empty() {
        let number = Params::parse(query.as_deref()).number::<usize>("page").unwrap_or(1).max(1);
        return directory(&deck, &bucket, &place, number).await;
    }
    match bucket.head(&place.key).await {
        Ok(meta) => object(&bucket, meta, &request).await,
        Err(error) if error.is_not_found() => {
            let listing =
                bucket.list(&place.key).await.map_err(|e| DeckError::storage("list the directory", e))?;
            match listing.objects.is_empty() && listing.prefixes.is_empty() {
                true => Err(DeckError::storage("read the artifact", error)),
                false => Ok(web::redirect(StatusCode::FOUND, &format!("{}/", uri.path()))),
            }
        }
        Err(error) => Err(DeckError::storage("read the artifact", error)),
    }
}

async fn object(bucket: &Bucket, meta: ObjectMeta, request: &HeaderMap) -> Result<Response, DeckError> {
    let failed = |e| DeckError::storage("read the artifact", e);
    let etag = web::etag(&(&meta.name, meta.size, meta.updated));
    let is_packed = meta.attributes.content_encoding.as_deref() == Some("gzip");
    let range = if is_packed { ByteRange::Whole } else { web::byte_range(request, meta.size) };
    let mut headers = HeaderMap::new();
    let (media, download) = web::untrusted_type(&meta.name, meta.attributes.content_type.as_deref());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(web::UNTRUSTED_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    if download {
        headers.insert(header::CONTENT_DISPOSITION, disposition(&meta.name));
    }
    if web::is_fresh(request, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    if is_packed {
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        let stream = bucket.get(&meta.name).await.map_err(failed)?.stream;
        let stream = match gzip::accepts(request) {
            true => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                stream
            }
            false => gunzip(stream, bucket.url().to_string(), meta.name.clone()),
        };
        return Ok((headers, Body::from_stream(stream)).into_response());
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    match range {
        ByteRange::Unsatisfiable => {
            put(&mut headers, header::CONTENT_RANGE, format!("bytes */{}", meta.size));
            Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response())
        }
        ByteRange::Whole => {
            let object = bucket.get(&meta.name).await.map_err(failed)?;
            put(&mut headers, header::CONTENT_LENGTH, object.meta.size.to_string());
            Ok((headers, Body::from_stream(object.stream)).into_response())
        }
        ByteRange::Part(range) => {
            put(
                &mut headers,
                header::CONTENT_RANGE,
                format!("bytes {}-{}/{}", range.start, range.end - 1, meta.size),
            );
            put(&mut headers, header::CONTENT_LENGTH, (range.end - range.start).to_string());
            let (bucket, name) = (bucket.clone(), meta.name.clone());
            let pieces = futures::stream::unfold(range, move |mut left| {
                let (bucket, name) = (bucket.clone(), name.clone());
                async move {
                    if left.start >= left.end {
                        return None;
                    }
                    let piece = bucket.get_range(&name, left.start..left.end.min(left.start + PIECE)).await;
                    match &piece {
                        // An object that became shorter meanwhile: ending early closes the connection.
                        Ok(bytes) if bytes.is_empty() => return None,
                        Ok(bytes) => left.start += bytes.len() as u64,
                        Err(_) => left.start = left.end,
                    }
                    Some((piece, left))
                }
            });
            Ok((StatusCode::PARTIAL_CONTENT, headers, Body::from_stream(pieces.boxed())).into_response())
        }
    }
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(name, value);
    }
}

/// Saved under its own name, reduced to what cannot break out of a header.
fn disposition(name: &str) -> HeaderValue {
    let file = name.rsplit('/').next().unwrap_or(name);
    let safe: String =
        file.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.+".contains(c) { c } else { '_' }).collect();
    HeaderValue::from_str(&format!("attachment; filename=\"{safe}\""))
        .unwrap_or(HeaderValue::from_static("attachment"))
}

async fn directory(
    deck: &Shared,
    bucket: &Bucket,
    place: &Place,
    number: usize,
) -> Result<Response, DeckError> {
    let listing = bucket.list(&place.key).await.map_err(|e| DeckError::storage("list the directory", e))?;
    let total = listing.prefixes.len() + listing.objects.len();
    let run = match run_of(place, &listing) {
        Some(run) if total > 0 => run,
        // A run that has left nothing else yet is known by its ProwJob.
        _ if total > 0 && run::known(deck, place).is_some() => place.key.as_str(),
        _ => return Err(run::nothing_there(place)),
    };
    let pages = total.div_ceil(SIZE);
    let skip = (number - 1).saturating_mul(SIZE);
    let shown = window(listing, skip);
    let title = place.key.rsplit('/').next().filter(|k| !k.is_empty()).unwrap_or("Artifacts").to_owned();
    let body = html! {
        h1 { (crumbs(place, run)) }
        p { a href={ "/view/" (place.path_of(run)) } { "Page of this run" } }
        section.card {
            (table(place, &shown, deck.clock.now()))
            @if pages > 1 {
                nav.pager aria-label="Pages" {
                    @if number > 1 { a rel="prev" href={ "?page=" (number - 1) } { "← Previous" } }
                    span { "page " (number) " of " (pages) }
                    @if number < pages { a rel="next" href={ "?page=" (number + 1) } { "Next →" } }
                }
            }
        }
    };
    Ok(web::html(StatusCode::OK, html::page(&title, body)))
}

/// One page of a listing.
fn window(listing: Listing, skip: usize) -> Listing {
    let directories = listing.prefixes.len();
    let prefixes: Vec<String> = listing.prefixes.into_iter().skip(skip).take(SIZE).collect();
    let room = SIZE - prefixes.len();
    let objects = listing.objects.into_iter().skip(skip.saturating_sub(directories)).take(room).collect();
    Listing { prefixes, objects }
}

/// The run that a directory is of or in. Deck lists no directories above runs: their names would tell of jobs
/// that are hidden.
fn run_of<'k>(place: &'k Place, listing: &Listing) -> Option<&'k str> {
    if let Some(above) = run::above_artifacts(&place.key) {
        return Some(above);
    }
    let marks = [
        STARTED_JSON,
        FINISHED_JSON,
        PROWJOB_JSON,
        PODINFO_JSON,
        BUILD_LOG_TXT,
        CLONE_LOG_TXT,
        CLONE_RECORDS_JSON,
        SIDECAR_LOGS_JSON,
    ];
    let is_mark = |name: &str| marks.contains(&name) || name.ends_with(&format!("-{BUILD_LOG_TXT}"));
    let last = |name: &str| name.rsplit('/').next().map(str::to_owned).unwrap_or_default();
    let is_run = listing.objects.iter().any(|object| is_mark(&last(&object.name)));
    is_run.then_some(place.key.as_str())
}

/// The way from the run to here.
fn crumbs(place: &Place, run: &str) -> Markup {
    let below: Vec<&str> = place.key[run.len()..].split('/').filter(|s| !s.is_empty()).collect();
    let (before, name) = run.rsplit_once('/').unwrap_or(("", run));
    let here =
        |at: usize| below[..at].iter().fold(run.to_owned(), |path, segment| format!("{path}/{segment}"));
    html! {
        nav.crumbs aria-label="Directories" {
            span.quiet { bdi { (place.bucket.object_url(before)) } "/" }
            @if below.is_empty() { bdi { (name) } }
            @else { a href={ "/artifacts/" (place.path_of(run)) "/" } { bdi { (name) } } }
            @for at in 0..below.len() {
                " / "
                @if at + 1 == below.len() { bdi { (below[at]) } }
                @else { a href={ "/artifacts/" (place.path_of(&here(at + 1))) "/" } { bdi { (below[at]) } } }
            }
        }
    }
}

/// Directories and objects as a table.
pub fn table(place: &Place, listing: &Listing, now: Timestamp) -> Markup {
    let last = |name: &str| name.trim_end_matches('/').rsplit('/').next().unwrap_or(name).to_owned();
    let time = |meta: &ObjectMeta| Timestamp::try_from(meta.updated).ok();
    html! {
        table.files {
            thead { tr { th scope="col" { "Name" } th.number scope="col" { "Size" } th scope="col" { "Changed" } } }
            tbody {
                @for prefix in &listing.prefixes {
                    tr {
                        td { a href={ "/artifacts/" (place.path_of(prefix.trim_end_matches('/'))) "/" } { bdi { (last(prefix)) "/" } } }
                        td {} td {}
                    }
                }
                @for object in &listing.objects {
                    tr {
                        td { a href={ "/artifacts/" (place.path_of(&object.name)) } { bdi { (last(&object.name)) } } }
                        td.number { (html::bytes(object.size)) }
                        td.time { @if let Some(at) = time(object) { (html::moment(at, now)) } }
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
    fn names_cannot_break_out_of_the_header() {
        for (name, expected) in [
            ("a/b/x.tar.gz", "attachment; filename=\"x.tar.gz\""),
            ("a/\"; filename=evil.html", "attachment; filename=\"___filename_evil.html\""),
            ("grüße", "attachment; filename=\"gr__e\""),
        ] {
            assert_eq!(disposition(name), expected);
        }
    }
}
