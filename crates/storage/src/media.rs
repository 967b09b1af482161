//! Content types by file extension, and by looking at the first bytes (prow-runtime §8.5, trap 33).
//!
//! Go's `mime.TypeByExtension` knows the built-in table below plus whatever the image's mime.types files say;
//! ours is the built-in table plus the types that job artifacts commonly have, and does not depend on the image.

/// Extension (lower case, no dot) and content type.
const BY_EXTENSION: &[(&str, &str)] = &[
    // Go's built-in table.
    ("avif", "image/avif"),
    ("css", "text/css; charset=utf-8"),
    ("gif", "image/gif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("wasm", "application/wasm"),
    ("webp", "image/webp"),
    ("xml", "text/xml; charset=utf-8"),
    // Common artifacts; values as Debian's mime.types has them, text with its charset.
    ("bz2", "application/x-bzip2"),
    ("csv", "text/csv; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("log", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("mp4", "video/mp4"),
    ("tar", "application/x-tar"),
    ("tgz", "application/gzip"),
    ("txt", "text/plain; charset=utf-8"),
    ("webm", "video/webm"),
    ("xz", "application/x-xz"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

/// The last extension of a file name, without its dot: `txt` for `a/b.tar.txt`; `None` without one.
pub fn extension(name: &str) -> Option<&str> {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.rsplit_once('.').map(|(_, extension)| extension).filter(|e| !e.is_empty())
}

/// The content type of an extension, case not counting.
pub fn by_extension(extension: &str) -> Option<&'static str> {
    BY_EXTENSION.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension)).map(|(_, media)| *media)
}

/// The content type that the first bytes (up to 512) suggest, as a storage client would sniff it: a few
/// signatures, else text if there is no control character that text does not have, else bytes.
pub fn sniff(first: &[u8]) -> &'static str {
    let first = &first[..first.len().min(512)];
    for (signature, media) in [
        (&b"\x1f\x8b\x08"[..], "application/x-gzip"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"%PDF-", "application/pdf"),
    ] {
        if first.starts_with(signature) {
            return media;
        }
    }
    let text = first.iter().all(|b| !matches!(b, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f));
    if text { "text/plain; charset=utf-8" } else { "application/octet-stream" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_the_last_one_and_ignore_case() {
        for (name, expected) in [
            ("a/build-log.txt", Some("txt")),
            ("a.b/c", None),
            ("x.tar.gz", Some("gz")),
            (".bashrc", Some("bashrc")),
            ("x.", None),
        ] {
            assert_eq!(extension(name), expected, "{name}");
        }
        assert_eq!(by_extension("JSON"), Some("application/json"));
        assert_eq!(by_extension("weird"), None);
    }

    #[test]
    fn bytes_are_sniffed() {
        assert_eq!(sniff(b"\x1f\x8b\x08\x00"), "application/x-gzip");
        assert_eq!(sniff("grüße\t\x1b[31m\n".as_bytes()), "text/plain; charset=utf-8");
        assert_eq!(sniff(b""), "text/plain; charset=utf-8");
        assert_eq!(sniff(b"a\0b"), "application/octet-stream");
    }
}
