//! Compresses text for clients that take it (prow-runtime §12.1), piece by piece: what is streamed stays streamed.

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::io::Write;

/// Smaller bodies are sent as they are.
const LEAST: u64 = 1400;

/// The layer.
pub async fn gzip(request: Request, next: Next) -> Response {
    let wanted = accepts(request.headers());
    let response = next.run(request).await;
    match wanted && worth_it(&response) {
        true => compress(response),
        false => response,
    }
}

/// True if the client takes gzip.
pub fn accepts(request: &HeaderMap) -> bool {
    let Some(codings) = request.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    codings.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.split_once("q=").is_some_and(|(_, q)| q.trim().parse::<f32>() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

fn worth_it(response: &Response) -> bool {
    let headers = response.headers();
    let media = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_text = media.starts_with("text/")
        || ["application/json", "application/javascript", "image/svg+xml"].contains(&media);
    response.status() == StatusCode::OK
        && is_text
        && !headers.contains_key(header::CONTENT_ENCODING)
        && response.body().size_hint().exact().is_none_or(|size| size >= LEAST)
}

fn compress(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let headers = &mut parts.headers;
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    // The same content in other bytes: its tag is a weak one.
    if let Some(etag) =
        headers.get(header::ETAG).and_then(|v| v.to_str().ok()).filter(|t| !t.starts_with("W/"))
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{etag}"))
    {
        headers.insert(header::ETAG, weak);
    }
    let state = Some((body.into_data_stream(), GzEncoder::new(Vec::new(), Compression::fast())));
    let pieces = futures::stream::unfold(state, |state| async move {
        let (mut body, mut encoder) = state?;
        loop {
            let out = match body.next().await {
                Some(Ok(piece)) => encoder.write_all(&piece).map(|()| std::mem::take(encoder.get_mut())),
                Some(Err(error)) => return Some((Err(std::io::Error::other(error)), None)),
                None => return Some((encoder.finish().map(Bytes::from), None)),
            };
            match out {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Some((Ok(Bytes::from(out)), Some((body, encoder)))),
                Err(error) => return Some((Err(error), None)),
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_gzip() {
        for (accept, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("br", false),
            ("x-gzip-not", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(accept).unwrap());
            assert_eq!(accepts(&headers), expected, "{accept}");
        }
        assert!(!accepts(&HeaderMap::new()));
    }
}
