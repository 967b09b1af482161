//! JSON as Go's encoder writes it (prow-config §0.3): `<`, `>`, `&`, U+2028 and U+2029 are escaped in every
//! string, so that JOB_SPEC and the option variables hold the same bytes as upstream's.

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use std::io;

/// `value` as compact JSON with Go's escaping.
///
/// # Errors
/// Only what `value`'s own `Serialize` reports, such as a map with keys that are not strings.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let mut out = Vec::with_capacity(2048);
    value.serialize(&mut Serializer::with_formatter(&mut out, Go(CompactFormatter)))?;
    String::from_utf8(out).map_err(|e| serde::ser::Error::custom(format!("encoder wrote invalid UTF-8: {e}")))
}

struct Go(CompactFormatter);

impl Formatter for Go {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Nearly all texts have none of these; 0xE2 begins both separators.
        if !fragment.bytes().any(|b| matches!(b, b'<' | b'>' | b'&' | 0xE2)) {
            return self.0.write_string_fragment(out, fragment);
        }
        let mut start = 0;
        for (at, c) in fragment.char_indices() {
            let escaped: &[u8] = match c {
                '<' => b"\\u003c",
                '>' => b"\\u003e",
                '&' => b"\\u0026",
                '\u{2028}' => b"\\u2028",
                '\u{2029}' => b"\\u2029",
                _ => continue,
            };
            out.write_all(&fragment.as_bytes()[start..at])?;
            out.write_all(escaped)?;
            start = at + c.len_utf8();
        }
        self.0.write_string_fragment(out, &fragment[start..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        for (value, want) in [
            ("a<b>&c", r#""a\u003cb\u003e\u0026c""#),
            ("é\u{2027}\u{2030}", "\"é\u{2027}\u{2030}\""),
            ("\u{2028}\u{2029}é", r#""\u2028\u2029é""#),
            ("\n\t\u{0}\u{1f}\u{7f}\"\\/", "\"\\n\\t\\u0000\\u001f\u{7f}\\\"\\\\/\""),
            ("", r#""""#),
        ] {
            assert_eq!(to_string(value).unwrap(), want);
        }
    }

    #[test]
    fn keys_are_escaped_too() {
        let map = std::collections::BTreeMap::from([("<k>", 1)]);
        assert_eq!(to_string(&map).unwrap(), r#"{"\u003ck\u003e":1}"#);
    }
}
