//! Object names, content types and encodings from file names: the rules of prow-runtime §8.5, as pure functions.

use prow_storage::media;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;

/// The configured part of the rules. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Naming(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    media: BTreeMap<String, String>,
    compress: Vec<String>,
}

/// What a name says about an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Name of the object: the file's without `.gz`.
    pub name: String,
    /// Content type, if the extension tells.
    pub content_type: Option<String>,
    /// The name promises gzip whose inner type is known, to be marked with Content-Encoding.
    pub gzip_encoding: bool,
    /// Worth compressing on the way.
    pub compress: bool,
}

impl Naming {
    /// `mediaTypes` (extension to type) and `compress_file_types` (extensions, or `*`).
    pub(crate) fn new(media: &BTreeMap<String, String>, compress: &[String]) -> Self {
        let plain = |e: &str| e.trim_start_matches('.').to_ascii_lowercase();
        Naming(Arc::new(Rules {
            media: media.iter().map(|(extension, media)| (plain(extension), media.clone())).collect(),
            compress: compress.to_vec(),
        }))
    }

    /// The rules for one object name.
    pub(crate) fn of(&self, name: &str) -> Named {
        let extension = media::extension(name).unwrap_or_default();
        // To the letter, as upstream compares them.
        let compress =
            |extension: &str| self.0.compress.iter().any(|e| e == "*" || !e.is_empty() && e == extension);
        if matches!(extension, "gz" | "gzip") {
            let stripped = &name[..name.len() - extension.len() - 1];
            let inner = media::extension(stripped).and_then(|e| self.media_type(e));
            return Named {
                name: stripped.to_owned(),
                gzip_encoding: inner.is_some(),
                content_type: inner.or_else(|| Some("application/gzip".to_owned())),
                // For what has the name and is not gzip.
                compress: compress(media::extension(stripped).unwrap_or_default()),
            };
        }
        Named {
            name: name.to_owned(),
            content_type: self.media_type(extension),
            gzip_encoding: false,
            compress: compress(extension),
        }
    }

    fn media_type(&self, extension: &str) -> Option<String> {
        let configured = self.0.media.get(&extension.to_ascii_lowercase()).cloned();
        configured.or_else(|| media::by_extension(extension).map(str::to_owned))
    }
}

/// A file's name as part of an object's name: `#` becomes `%23` as upstream has it; so do control characters and what
/// is not UTF-8, which no store takes.
pub(crate) fn escape(name: &OsStr) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '#' || c.is_ascii_control() {
                out.push_str(&format!("%{:02X}", u32::from(c)));
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_gz_rules() {
        let naming = Naming::new(&BTreeMap::from([("xyz".into(), "my/type".into())]), &["txt".into()]);
        for (name, object, media, gzip, compress) in [
            ("a/build-log.txt", "a/build-log.txt", Some("text/plain; charset=utf-8"), false, true),
            ("a/x.TXT", "a/x.TXT", Some("text/plain; charset=utf-8"), false, false),
            ("a/x.json.gz", "a/x.json", Some("application/json"), true, false),
            ("a/x.txt.gz", "a/x.txt", Some("text/plain; charset=utf-8"), true, true),
            ("a/x.xyz.gzip", "a/x.xyz", Some("my/type"), true, false),
            ("a/x.weird.gz", "a/x.weird", Some("application/gzip"), false, false),
            ("a/x.tar.gz", "a/x.tar", Some("application/x-tar"), true, false),
            ("a/x.gz", "a/x", Some("application/gzip"), false, false),
            ("a/noext", "a/noext", None, false, false),
        ] {
            let named = naming.of(name);
            assert_eq!(named.name, object);
            assert_eq!(named.content_type.as_deref(), media, "{name}");
            assert_eq!((named.gzip_encoding, named.compress), (gzip, compress), "{name}");
        }
        assert!(Naming::new(&BTreeMap::new(), &["*".into()]).of("noext").compress);
    }

    #[test]
    fn odd_names_are_escaped() {
        let odd: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes("a#b\nc ü%".as_bytes());
        assert_eq!(escape(odd), "a%23b%0Ac ü%");
        assert_eq!(escape(std::os::unix::ffi::OsStrExt::from_bytes(b"a\xff/\x00\xc3")), "a%FF/%00%C3");
    }
}
