//! What all answers share: security headers, caching, conditional requests, content types that a browser cannot be
//! tricked with, and the path rules of Go's ServeMux that Prow's links rely on (prow-runtime §12.1).

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maud::Markup;
use std::hash::{DefaultHasher, Hash, Hasher};

/// For our own pages: nothing but our own files, no inline script or style, no framing, no plugins.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// For what jobs made: an opaque origin that can run and load nothing.
pub const UNTRUSTED_POLICY: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

/// Prow's "no-cache".
pub fn no_cache(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, must-revalidate"));
    headers.insert(header::EXPIRES, HeaderValue::from_static("0"));
}

/// One of our own pages.
pub fn html(status: StatusCode, page: Markup) -> Response {
    let mut response =
        (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response();
    no_cache(response.headers_mut());
    response
}

/// Plain text, not cached.
pub fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    no_cache(response.headers_mut());
    response
}

/// A redirect to a path of ours. Fails over to 404 when the path cannot be in a header.
pub fn redirect(status: StatusCode, to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(location) => (status, [(header::LOCATION, location)]).into_response(),
        Err(_) => not_found(),
    }
}

/// Go's answer for what is not there.
pub fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A strong ETag over anything that hashes; the same in every process of the same build.
pub fn etag(content: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// True if the client's `If-None-Match` names this ETag.
pub fn is_fresh(request: &HeaderMap, etag: &str) -> bool {
    let Some(given) = request.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()) else { return false };
    given.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

/// A fragment of a page that may be asked for again and again: 304 while it is the same. `body` is only made
/// when it is sent.
pub fn revalidated(request: &HeaderMap, etag: &str, body: impl FnOnce() -> Markup) -> Response {
    let mut response = match is_fresh(request, etag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], body().into_string()).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(value) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, value);
    }
    response
}

/// Adds the headers that every answer carries, unless the handler chose stricter ones.
pub async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Go's ServeMux: unclean paths and the bare form of "directory" routes are answered with 301, keeping the query.
pub async fn clean_paths(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    match moved(path) {
        None => next.run(request).await,
        Some(mut to) => {
            if let Some(query) = request.uri().query() {
                to.push('?');
                to.push_str(query);
            }
            redirect(StatusCode::MOVED_PERMANENTLY, &to)
        }
    }
}

/// Where a path has moved to, if it has.
fn moved(path: &str) -> Option<String> {
    let clean = clean(path);
    if clean != path {
        return Some(clean);
    }
    ["/view", "/job-history", "/pr-history", "/static"].contains(&path).then(|| format!("{path}/"))
}

/// Go's `path.Clean` for request paths, which keeps a trailing slash.
fn clean(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut out = format!("/{}", segments.join("/"));
    if path.ends_with('/') && out.len() > 1 {
        out.push('/');
    }
    out
}

/// Percent-encodes one path segment.
pub fn encode_segment(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,:;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Percent-encodes a path, keeping its slashes.
pub fn encode_path(path: &str) -> String {
    path.split('/').map(encode_segment).collect::<Vec<_>>().join("/")
}

/// A link that may stand in a page: only web addresses and paths of ours, never `javascript:` or `//elsewhere`.
pub fn safe_link(link: &str) -> Option<&str> {
    let lower = link.get(..8).unwrap_or(link).to_ascii_lowercase();
    let web = lower.starts_with("https://") || lower.starts_with("http://");
    let own = link.starts_with('/') && !link.starts_with("//") && !link.starts_with("/\\");
    ((web || own) && !link.chars().any(char::is_control)).then_some(link)
}

/// How bytes that a job made are sent: the type, and whether the browser must save them instead of showing them.
/// Text of any kind is plain text, so that no markup or script of a job runs in Deck's origin.
pub fn untrusted_type(name: &str, stored: Option<&str>) -> (&'static str, bool) {
    const TEXT: (&str, bool) = ("text/plain; charset=utf-8", false);
    let extension = prow_storage::media::extension(name).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "png" => ("image/png", false),
        "jpg" | "jpeg" => ("image/jpeg", false),
        "gif" => ("image/gif", false),
        "webp" => ("image/webp", false),
        "json" => ("application/json", false),
        "txt" | "log" | "xml" | "html" | "htm" | "xhtml" | "svg" | "js" | "mjs" | "css" | "md" | "yaml"
        | "yml" | "csv" | "out" | "err" | "diff" | "patch" | "sh" | "go" | "rs" | "py" | "toml" | "ini"
        | "conf" => TEXT,
        _ => match stored.map(|s| s.split(';').next().unwrap_or(s).trim().to_ascii_lowercase()) {
            Some(stored) if stored == "application/json" => ("application/json", false),
            Some(stored) if stored.starts_with("text/") || stored == "application/yaml" => TEXT,
            _ => ("application/octet-stream", true),
        },
    }
}

/// A `Range: bytes=…` header over an object of `size` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByteRange {
    /// No range, or one that may be ignored (several ranges, other units, malformed).
    Whole,
    /// From, to (exclusive).
    Part(std::ops::Range<u64>),
    /// Beyond the end.
    Unsatisfiable,
}

/// Reads a `Range` header.
pub fn byte_range(request: &HeaderMap, size: u64) -> ByteRange {
    let spec =
        request.get(header::RANGE).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("bytes="));
    let Some((from, to)) = spec.filter(|s| !s.contains(',')).and_then(|s| s.trim().split_once('-')) else {
        return ByteRange::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (from.trim().is_empty(), to.trim().is_empty()) {
        (true, true) => return ByteRange::Whole,
        // The last n bytes.
        (true, false) => match number(to) {
            Some(0) => return ByteRange::Unsatisfiable,
            Some(last) => size.saturating_sub(last)..size,
            None => return ByteRange::Whole,
        },
        (false, open) => match (number(from), open, number(to)) {
            (Some(from), true, _) => from..size,
            (Some(from), false, Some(to)) if to >= from => from..size.min(to.saturating_add(1)),
            _ => return ByteRange::Whole,
        },
    };
    if range.start >= size { ByteRange::Unsatisfiable } else { ByteRange::Part(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_like_gos_mux_does() {
        for (path, expected) in [
            ("/", None),
            ("/view/gs/b/x", None),
            ("/view/gs/b/x/", None),
            ("/view", Some("/view/")),
            ("/pr-history", Some("/pr-history/")),
            ("//view//gs", Some("/view/gs")),
            ("/view/gs/b/../../etc", Some("/view/etc")),
            ("/../../etc", Some("/etc")),
            ("/view/./gs/", Some("/view/gs/")),
            ("//evil.example/", Some("/evil.example/")),
            ("/..", Some("/")),
            ("/a/%2e%2e/b", None), // decoded later, and refused there
        ] {
            assert_eq!(moved(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn only_web_addresses_and_own_paths_are_links() {
        for (link, ok) in [
            ("https://github.com/x", true),
            ("HTTP://x", true),
            ("/view/x", true),
            ("//evil", false),
            ("/\\evil", false),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("", false),
            ("https://x\n", false),
            ("grüße", false),
        ] {
            assert_eq!(safe_link(link).is_some(), ok, "{link}");
        }
    }

    #[test]
    fn what_jobs_made_is_never_markup() {
        let text = ("text/plain; charset=utf-8", false);
        for (name, stored, expected) in [
            ("a/index.html", Some("text/html"), text),
            ("x.svg", Some("image/svg+xml"), text),
            ("x.js", None, text),
            ("junit.XML", None, text),
            ("noextension", Some("text/html; charset=utf-8"), text),
            ("noextension", Some("image/svg+xml"), ("application/octet-stream", true)),
            ("noextension", None, ("application/octet-stream", true)),
            ("a.png", Some("text/html"), ("image/png", false)),
            ("a.tar.gz", Some("application/gzip"), ("application/octet-stream", true)),
            ("a.json", None, ("application/json", false)),
            ("a.pdf", Some("application/pdf"), ("application/octet-stream", true)),
        ] {
            assert_eq!(untrusted_type(name, stored), expected, "{name} {stored:?}");
        }
    }

    #[test]
    fn ranges() {
        use ByteRange::{Part, Unsatisfiable, Whole};
        for (text, size, expected) in [
            ("", 100, Whole),
            ("bytes=0-9", 100, Part(0..10)),
            ("bytes=90-", 100, Part(90..100)),
            ("bytes=90-1000", 100, Part(90..100)),
            ("bytes=-10", 100, Part(90..100)),
            ("bytes=-1000", 100, Part(0..100)),
            ("bytes=-0", 100, Unsatisfiable),
            ("bytes=100-", 100, Unsatisfiable),
            ("bytes=5-4", 100, Whole),
            ("bytes=a-b", 100, Whole),
            ("bytes=-", 100, Whole),
            ("bytes=0-1,3-4", 100, Whole),
            ("lines=0-1", 100, Whole),
            ("bytes=0-18446744073709551615", 100, Part(0..100)),
            ("bytes=0-", 0, Unsatisfiable),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_str(text).unwrap());
            assert_eq!(byte_range(&headers, size), expected, "{text}");
        }
    }

    #[test]
    fn conditional_requests() {
        let tag = etag(&"x");
        for (given, fresh) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("\"a\", {tag}"), true),
            ("*".into(), true),
            ("\"a\"".into(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(&given).unwrap());
            assert_eq!(is_fresh(&headers, &tag), fresh, "{given}");
        }
        assert!(!is_fresh(&HeaderMap::new(), &tag));
    }
}
