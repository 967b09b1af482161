//! The pages for people, one file a page, and the small answers around them.

mod details;
pub mod job;
pub mod job_history;
pub mod list;
pub mod live;
pub mod pr_history;

use crate::assets as files;
use crate::html;
use crate::state::Shared;
use crate::web;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prow_config::prowconfig::Branding;
use std::sync::Arc;

/// `/static/…`.
pub async fn assets(Path(name): Path<String>, request: HeaderMap) -> Response {
    files::serve(&name, &request)
}

/// `/favicon.ico`: the branding's, else ours.
pub async fn favicon(State(deck): State<Arc<Shared>>) -> Response {
    let view = deck.view();
    let own = view.snapshot.prow.deck.branding.as_ref().map_or("", |b| b.favicon.as_str());
    let to = web::safe_link(own)
        .filter(|own| *own != "/favicon.ico")
        .map_or_else(|| files::ICON.url(), str::to_owned);
    web::redirect(StatusCode::FOUND, &to)
}

/// `/branding.css`: the configuration's colours. A file of its own, since pages carry no inline style.
pub async fn branding(State(deck): State<Arc<Shared>>) -> Response {
    let view = deck.view();
    let css = view.snapshot.prow.deck.branding.as_ref().map(branding_css).unwrap_or_default();
    let mut response = ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], css).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    response
}

fn branding_css(branding: &Branding) -> String {
    let mut css = String::new();
    if is_colour(&branding.background_color) {
        css.push_str(&format!("body{{background:{}}}\n", branding.background_color));
    }
    if is_colour(&branding.header_color) {
        css.push_str(&format!(".top{{background:{}}}\n", branding.header_color));
    }
    css
}

/// A CSS colour and nothing else: a name, `#hex`, or `rgb(…)` and its like.
fn is_colour(text: &str) -> bool {
    let plain = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric());
    let numbers = |t: &str| t.bytes().all(|b| b.is_ascii_digit() || b" ,.%/deg-".contains(&b));
    text.strip_prefix('#').is_some_and(plain)
        || plain(text)
        || text.strip_suffix(')').and_then(|t| t.split_once('(')).is_some_and(|(f, n)| plain(f) && numbers(n))
}

/// `/healthz`: 503 until the first list of ProwJobs is complete.
pub async fn healthz(State(deck): State<Arc<Shared>>) -> Response {
    match deck.is_ready() {
        true => web::text(StatusCode::OK, "OK"),
        false => web::text(StatusCode::SERVICE_UNAVAILABLE, "the list of ProwJobs is not complete yet\n"),
    }
}

/// Everything else. Go's words for programs, a page for people.
pub async fn missing(request: HeaderMap) -> Response {
    let wants_page = request
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    match wants_page {
        true => web::html(
            StatusCode::NOT_FOUND,
            html::error_page(
                "Not found",
                StatusCode::NOT_FOUND,
                "404 page not found: there is nothing at this address.",
            ),
        ),
        false => web::not_found(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branding_is_colours_only() {
        let css = |background: &str, header: &str| {
            branding_css(&Branding {
                background_color: background.into(),
                header_color: header.into(),
                ..Branding::default()
            })
        };
        assert_eq!(css("#fff", "teal"), "body{background:#fff}\n.top{background:teal}\n");
        assert_eq!(css("rgb(1, 2, 3)", ""), "body{background:rgb(1, 2, 3)}\n");
        assert_eq!(css("red}*{display:none", "url(//evil)"), "");
        assert_eq!(css("#", "url(javascript:1)"), "");
    }
}
