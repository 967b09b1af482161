//! Our own static files, compiled in and named by their content, so that browsers keep them for ever.

use crate::web;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use std::sync::LazyLock;

/// A static file.
pub struct Asset {
    name: &'static str,
    media: &'static str,
    content: &'static str,
    etag: LazyLock<String>,
}

macro_rules! asset {
    ($id:ident, $name:literal, $media:literal) => {
        /// See its name.
        pub static $id: Asset = Asset {
            name: $name,
            media: $media,
            content: include_str!(concat!("../assets/", $name)),
            etag: LazyLock::new(|| web::etag(&include_str!(concat!("../assets/", $name)))),
        };
    };
}

asset!(STYLE, "deck.css", "text/css; charset=utf-8");
asset!(SCRIPT, "deck.js", "text/javascript; charset=utf-8");
asset!(LOGO, "logo.svg", "image/svg+xml");
asset!(ICON, "favicon.svg", "image/svg+xml");

static ALL: [&Asset; 4] = [&STYLE, &SCRIPT, &LOGO, &ICON];

impl Asset {
    /// Its address, which changes with its content.
    pub fn url(&self) -> String {
        format!("/static/{}?v={}", self.name, self.etag.trim_matches('"'))
    }

    fn answer(&self, request: &HeaderMap) -> Response {
        let fresh = web::is_fresh(request, &self.etag);
        let headers = [
            (header::CONTENT_TYPE, self.media),
            (header::CACHE_CONTROL, "public, max-age=315360000"),
            (header::ETAG, self.etag.as_str()),
        ];
        match fresh {
            true => (StatusCode::NOT_MODIFIED, headers).into_response(),
            false => (headers, self.content).into_response(),
        }
    }
}

/// The file of that name below `/static/`.
pub fn serve(name: &str, request: &HeaderMap) -> Response {
    match ALL.iter().find(|asset| asset.name == name) {
        Some(asset) => asset.answer(request),
        None => web::not_found(),
    }
}
