//! `/github-link` and `/git-provider-link` (prow-runtime §12.2): redirects to GitHub or Gerrit, which pages and
//! dashboards of others link to. They lead nowhere but to the configured GitHub, or to the Gerrit host that is named.

use crate::filter::Params;
use crate::state::Shared;
use crate::web::{self, encode_path, encode_segment};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use std::sync::Arc;

/// `/github-link?dest=org/repo/…`
pub async fn github(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.as_deref());
    let view = deck.view();
    let dest = params.get("dest").trim_start_matches('/');
    go(Some(format!("{}/{}", view.github().trim_end_matches('/'), encode_destination(dest))))
}

/// A destination may have a query of its own.
fn encode_destination(dest: &str) -> String {
    match dest.split_once('?') {
        Some((path, query)) => {
            let pairs = url::form_urlencoded::parse(query.as_bytes());
            let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            format!("{}?{query}", encode_path(path))
        }
        None => encode_path(dest),
    }
}

/// `/git-provider-link?target=…&repo=…`
pub async fn provider(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.as_deref());
    go(target(&params, deck.view().github()))
}

fn go(to: Option<String>) -> Response {
    match to.as_deref().and_then(web::safe_link) {
        Some(to) => web::redirect(StatusCode::FOUND, to),
        None => web::not_found(),
    }
}

/// Where the parameters lead; `None` if they say nothing that there is.
fn target(params: &Params, github: &str) -> Option<String> {
    let repo = params.get("repo").trim_matches('\'').trim_matches('/');
    let (branch, commit) = (encode_path(params.get("branch")), encode_segment(params.get("commit")));
    let number = encode_segment(params.get("number"));
    if repo.starts_with("http://") || repo.starts_with("https://") {
        let (scheme, rest) = repo.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        let path = encode_path(path);
        // Changes are reviewed on one host and browsed on another.
        let (name, domain) = host.split_once('.').unwrap_or((host, ""));
        let code = format!("{scheme}://{}.{domain}", name.strip_suffix("-review").unwrap_or(name));
        return match params.get("target") {
            "commit" | "prcommit" => Some(format!("{code}/{path}/+/{commit}")),
            "branch" => Some(format!("{code}/{path}/+/refs/heads/{branch}")),
            "pr" => Some(format!("{scheme}://{host}/c/{path}/+/{number}")),
            _ => None,
        };
    }
    let base = github.trim_end_matches('/');
    let repo = encode_path(repo);
    match params.get("target") {
        "commit" => Some(format!("{base}/{repo}/commit/{commit}")),
        "branch" => Some(format!("{base}/{repo}/tree/{branch}")),
        "pr" => Some(format!("{base}/{repo}/pull/{number}")),
        "prcommit" => Some(format!("{base}/{repo}/pull/{number}/{commit}")),
        "author" => Some(format!("{base}/{}", encode_segment(params.get("author")))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let gerrit = "repo='https://x-review.googlesource.com/a/b'";
        for (query, expected) in [
            ("target=commit&repo=o/r&commit=abc".to_owned(), Some("https://github.com/o/r/commit/abc")),
            (
                "target=branch&repo='o/r'&branch=release/1.2".to_owned(),
                Some("https://github.com/o/r/tree/release/1.2"),
            ),
            ("target=pr&repo=o/r&number=7".to_owned(), Some("https://github.com/o/r/pull/7")),
            (
                "target=prcommit&repo=o/r&number=7&commit=abc".to_owned(),
                Some("https://github.com/o/r/pull/7/abc"),
            ),
            ("target=author&repo=o/r&author=ann".to_owned(), Some("https://github.com/ann")),
            (
                "target=author&author=..//evil.example".to_owned(),
                Some("https://github.com/..%2F%2Fevil.example"),
            ),
            (format!("target=commit&{gerrit}&commit=abc"), Some("https://x.googlesource.com/a/b/+/abc")),
            (
                format!("target=branch&{gerrit}&branch=main"),
                Some("https://x.googlesource.com/a/b/+/refs/heads/main"),
            ),
            (format!("target=pr&{gerrit}&number=7"), Some("https://x-review.googlesource.com/c/a/b/+/7")),
            (format!("target=author&{gerrit}&author=a"), None),
            ("target=pr&repo=https://nowhere".to_owned(), None),
            ("repo=o/r".to_owned(), None),
        ] {
            assert_eq!(
                target(&Params::parse(Some(&query)), "https://github.com").as_deref(),
                expected,
                "{query}"
            );
        }
        assert_eq!(encode_destination("o/r/pulls?q=a b&x=\r\n"), "o/r/pulls?q=a+b&x=%0D%0A");
    }
}
