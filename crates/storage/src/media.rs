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

/// First bytes that tell a type. In a pattern `?` stands for any byte.
const BY_SIGNATURE: &[(&[u8], &str)] = &[
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xfe\xff", "text/plain; charset=utf-16be"),
    (b"\xff\xfe", "text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf", "text/plain; charset=utf-8"),
    (b"\0\0\x01\0", "image/x-icon"),
    (b"\0\0\x02\0", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"RIFF????WEBPVP", "image/webp"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"FORM????AIFF", "audio/aiff"),
    (b"ID3", "audio/mpeg"),
    (b"OggS\0", "application/ogg"),
    (b"MThd\0\0\0\x06", "audio/midi"),
    (b"RIFF????AVI ", "video/avi"),
    (b"RIFF????WAVE", "audio/wave"),
    (b"????ftypmp4", "video/mp4"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"\0\x01\0\0", "font/ttf"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1a\x07\0", "application/x-rar-compressed"),
    (b"Rar!\x1a\x07\x01\0", "application/x-rar-compressed"),
    (b"\0asm", "application/wasm"),
];

/// Tags that an HTML page begins with; a blank or `>` follows, but for the comment.
const HTML: &[&str] = &[
    "!DOCTYPE HTML",
    "HTML",
    "HEAD",
    "SCRIPT",
    "IFRAME",
    "H1",
    "DIV",
    "FONT",
    "TABLE",
    "A",
    "STYLE",
    "TITLE",
    "B",
    "BODY",
    "BR",
    "P",
    "!--",
];

/// The content type that the first bytes (up to 512) suggest, as the MIME sniffing standard has it and so a storage
/// client would: markup, signatures, else text if there is no control character that text does not have, else bytes.
pub fn sniff(first: &[u8]) -> &'static str {
    let first = &first[..first.len().min(512)];
    let begin = first.iter().position(|b| !matches!(b, b'\t' | b'\n' | 0x0c | b'\r' | b' '));
    if let Some(begin) = begin.map(|at| &first[at..]) {
        if is_html(begin) {
            return "text/html; charset=utf-8";
        }
        if begin.starts_with(b"<?xml") {
            return "text/xml; charset=utf-8";
        }
    }
    let matches = |pattern: &[u8]| {
        first.len() >= pattern.len() && pattern.iter().zip(first).all(|(p, b)| *p == b'?' || p == b)
    };
    if let Some((_, media)) = BY_SIGNATURE.iter().find(|(pattern, _)| matches(pattern)) {
        return media;
    }
    let text = first.iter().all(|b| !matches!(b, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f));
    if text { "text/plain; charset=utf-8" } else { "application/octet-stream" }
}

fn is_html(text: &[u8]) -> bool {
    let Some(text) = text.strip_prefix(b"<") else { return false };
    HTML.iter().any(|tag| {
        let Some((begin, rest)) = text.split_at_checked(tag.len()) else { return false };
        begin.eq_ignore_ascii_case(tag.as_bytes())
            && (tag.starts_with("!--") || matches!(rest.first(), Some(b' ' | b'>')))
    })
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
        for (html, is) in [
            (&b" \n<!doctype html>"[..], true),
            (b"<a href=x>", true),
            (b"<P>", true),
            (b"<!-- x", true),
            (b"<divx>", false),
            (b"<b", false),
            (b"x<html>", false),
        ] {
            assert_eq!(sniff(html) == "text/html; charset=utf-8", is, "{html:?}");
        }
        for (bytes, media) in [
            (&b"  <?xml version=1"[..], "text/xml; charset=utf-8"),
            (b"RIFF\x01\x02\x03\x04WAVEfmt", "audio/wave"),
            (b"RIFF\x01\x02\x03\x04WEBX", "application/octet-stream"),
            (b"GIF8x", "text/plain; charset=utf-8"),
            (b"\xff\xfeh\0", "text/plain; charset=utf-16le"),
            (b"\0\0\0\x18ftypmp42", "video/mp4"),
        ] {
            assert_eq!(sniff(bytes), media, "{bytes:?}");
        }
    }
}
