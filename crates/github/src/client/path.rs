//! API paths from untrusted names: every segment is escaped, and none can climb out of its place.

use crate::Error;

/// `segments` as an absolute, percent-encoded path. Refuses empty segments, `.` and `..` (which URL parsers
/// resolve even when escaped).
pub(crate) fn path<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Result<String, Error> {
    let mut out = String::new();
    for segment in segments {
        let segment = segment.as_ref();
        if matches!(segment, "" | "." | "..") {
            return Err(Error::InvalidPath { segment: segment.to_owned() });
        }
        out.push('/');
        encode_into(&mut out, segment);
    }
    Ok(out)
}

/// `path?key=value&…`, escaped.
pub(crate) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (i, (key, value)) in query.iter().enumerate() {
        out.push(if i == 0 { '?' } else { '&' });
        encode_into(&mut out, key);
        out.push('=');
        encode_into(&mut out, value);
    }
    out
}

fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// The address of the next page from a `Link` header, as path and query below `endpoint`. Only path and query are
/// taken over, so an answer cannot send our token to another host.
pub(crate) fn next_page(link: &str, endpoint: &url::Url) -> Option<String> {
    let next = link
        .split(',')
        .find(|part| part.split(';').skip(1).any(|p| matches!(p.trim(), r#"rel="next""# | "rel=next")))?;
    let target = next.split(';').next()?.trim().strip_prefix('<')?.strip_suffix('>')?;
    let url = endpoint.join(target).ok()?;
    let prefix = endpoint.path().trim_end_matches('/');
    let path = url.path().strip_prefix(prefix).filter(|p| p.starts_with('/')).unwrap_or(url.path());
    Some(match url.query() {
        Some(q) => format!("{path}?{q}"),
        None => path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_escaped_and_cannot_climb() {
        assert_eq!(path(["repos", "o", "a b/c?d"]).unwrap(), "/repos/o/a%20b%2Fc%3Fd");
        for bad in ["", ".", ".."] {
            assert!(matches!(path(["repos", bad]), Err(Error::InvalidPath { .. })), "{bad:?}");
        }
        assert_eq!(with_query("/x", &[("q", "is:pr a&b"), ("p", "1")]), "/x?q=is%3Apr%20a%26b&p=1");
    }

    #[test]
    fn the_next_page_stays_below_the_endpoint() {
        let ghe = url::Url::parse("http://ghe.example/api/v3").unwrap();
        let com = url::Url::parse("http://ghproxy").unwrap();
        let cases = [
            (
                &ghe,
                r#"<http://ghe.example/api/v3/x?page=2>; rel="next", <http://ghe.example/api/v3/x?page=9>; rel="last""#,
                Some("/x?page=2"),
            ),
            (
                &com,
                r#"<https://api.github.com/repositories/1/x?page=3>; rel="next""#,
                Some("/repositories/1/x?page=3"),
            ),
            (&com, r#"<https://api.github.com/x?page=1>; rel="prev""#, None),
            (&com, "nonsense", None),
        ];
        for (endpoint, link, want) in cases {
            assert_eq!(next_page(link, endpoint).as_deref(), want, "{link}");
        }
    }
}
