//! The forms in which a job may write a secret: as it is, in base64, in a URL, in JSON (prow-runtime §8.4).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use std::collections::BTreeSet;

/// What base64 makes of a secret in the middle of something longer counts if so many characters follow from the
/// secret alone; fewer would mask words that have nothing to do with it.
const ALIGNED: usize = 8;
/// Larger secrets (whole archives, mostly) are looked for as they are and in base64 only.
const LARGEST: usize = 64 << 10;

/// What URL encoders leave as it is, besides letters and digits: RFC 3986, JavaScript's encodeURIComponent and
/// encodeURI, Go's PathEscape, Python's quote.
const UNRESERVED: [&[u8]; 5] = [b"-_.~", b"-_.~!'()*", b"-_.~!'()*;/?:@&=+$,#", b"-_.~$&+=:@", b"-_.~/"];

/// Every form of a secret; `raw` is the file's content, which may end in a line break, `trimmed` is without.
pub(super) fn forms(raw: &[u8], trimmed: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::from([trimmed.to_vec()]);
    for form in [raw, trimmed] {
        for text in [STANDARD.encode(form), STANDARD_NO_PAD.encode(form)] {
            forms.insert(text.into_bytes());
        }
    }
    forms.extend((0..3).filter_map(|before| aligned(trimmed, before)));
    let url_safe = |form: &Vec<u8>| form.iter().map(|b| swap(*b)).collect::<Vec<_>>();
    let safe: Vec<_> = forms.iter().filter(|form| *form != trimmed).map(url_safe).collect();
    forms.extend(safe);
    if trimmed.len() <= LARGEST {
        let encoded: Vec<_> = forms.iter().flat_map(|form| percent(form)).collect();
        forms.extend(encoded);
        forms.extend(std::str::from_utf8(trimmed).ok().into_iter().flat_map(json));
        forms.extend([raw, trimmed].into_iter().flat_map(wrapped));
        forms.extend(on_a_terminal(trimmed));
    }
    forms
}

fn swap(byte: u8) -> u8 {
    match byte {
        b'+' => b'-',
        b'/' => b'_',
        other => other,
    }
}

/// The part of its base64 that does not depend on what stands around it, when it begins `before` bytes after a
/// boundary of three. Of its first and last byte up to four bits are in characters that do depend on that.
fn aligned(secret: &[u8], before: usize) -> Option<Vec<u8>> {
    let mut shifted = vec![0; before];
    shifted.extend_from_slice(secret);
    let text = STANDARD_NO_PAD.encode(&shifted);
    let core = text.as_bytes().get((before * 8).div_ceil(6)..shifted.len() * 8 / 6)?;
    (core.len() >= ALIGNED).then(|| core.to_vec())
}

/// In base64 with the line breaks that programs make of their own accord: `base64` after 76 characters, `openssl` after
/// 64; mails and terminals have two characters for each.
fn wrapped(secret: &[u8]) -> Vec<Vec<u8>> {
    let text = STANDARD.encode(secret);
    let widths = [64, 76].into_iter().filter(|width| text.len() > *width);
    let lines = widths.map(|width| text.as_bytes().chunks(width).collect::<Vec<_>>());
    lines.flat_map(|lines| [lines.join(&b"\n"[..]), lines.join(&b"\r\n"[..])]).collect()
}

/// A secret of several lines as a container with a terminal writes it.
fn on_a_terminal(secret: &[u8]) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> =
        secret.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    (lines.len() > 1).then(|| lines.join(&b"\r\n"[..]))
}

fn percent(text: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for unreserved in UNRESERVED {
        if text.iter().all(|b| b.is_ascii_alphanumeric() || unreserved.contains(b)) {
            continue;
        }
        for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
            for space in [&b"%20"[..], b"+"] {
                let mut out = Vec::with_capacity(text.len() * 2);
                for byte in text {
                    if byte.is_ascii_alphanumeric() || unreserved.contains(byte) {
                        out.push(*byte);
                    } else if *byte == b' ' {
                        out.extend_from_slice(space);
                    } else {
                        let digit = |nibble: u8| digits[usize::from(nibble)];
                        out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
                    }
                }
                all.push(out);
            }
        }
    }
    all
}

/// Within a JSON text, as most encoders write it; as Go's does, which escapes for HTML too; as Python's does, which writes
/// ASCII only; as PHP's does, which escapes slashes too.
fn json(text: &str) -> Vec<Vec<u8>> {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = quoted[1..quoted.len() - 1].to_owned();
    let go = inner.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let mut ascii = String::with_capacity(inner.len());
    for c in inner.chars() {
        match c.is_ascii() {
            true => ascii.push(c),
            false => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}")))
            }
        }
    }
    let php = ascii.replace('/', "\\/");
    vec![inner.into_bytes(), go.into_bytes(), ascii.into_bytes(), php.into_bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::URL_SAFE;

    fn found_in(secret: &str, text: &str) -> bool {
        let raw = format!("{secret}\n");
        forms(raw.as_bytes(), secret.as_bytes())
            .iter()
            .any(|form| text.as_bytes().windows(form.len()).any(|window| window == form))
    }

    #[test]
    fn every_way_of_writing_a_secret_has_its_form() {
        let secret = "p?>~s w/ü&\"x\"<y>=";
        for text in [
            secret.to_owned(),
            STANDARD.encode(secret),
            URL_SAFE.encode(secret),
            STANDARD.encode(format!("{secret}\n")),
            "p%3F%3E~s+w%2F%C3%BC%26%22x%22%3Cy%3E%3D".into(),
            "p%3F%3E~s%20w%2F%C3%BC%26%22x%22%3Cy%3E%3D".into(),
            "p%3f%3e~s%20w%2f%c3%bc%26%22x%22%3cy%3e%3d".into(),
            "p?%3E~s%20w/%C3%BC&%22x%22%3Cy%3E=".into(),
            "p?>~s w/ü&\\\"x\\\"<y>=".into(),
            "p?\\u003e~s w/ü\\u0026\\\"x\\\"\\u003cy\\u003e=".into(),
            "p?>~s w/\\u00fc&\\\"x\\\"<y>=".into(),
            "p?>~s w\\/\\u00fc&\\\"x\\\"<y>=".into(),
            STANDARD.encode(secret).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"),
        ] {
            assert!(found_in(secret, &format!("<<{text}>>")), "{text}");
        }
        assert!(!found_in(secret, "p%3F"));
    }

    #[test]
    fn base64_in_lines_is_found() {
        let secret = "0123456789abcdef".repeat(8);
        for (width, end) in [(64, "\n"), (76, "\n"), (64, "\r\n"), (76, "\r\n")] {
            for text in [secret.clone(), format!("{secret}\n")] {
                let encoded = STANDARD.encode(text);
                let lines: Vec<_> = encoded.as_bytes().chunks(width).map(String::from_utf8_lossy).collect();
                let whole = format!("key:\n{}\n", lines.join(end));
                let raw = format!("{secret}\n");
                let forms = forms(raw.as_bytes(), secret.as_bytes());
                let censored = forms.iter().filter_map(|form| {
                    whole.find(std::str::from_utf8(form).unwrap_or("?")).map(|at| at..at + form.len())
                });
                assert!(censored.into_iter().any(|found| found == (5..whole.len() - 1)), "{whole}");
            }
        }
    }

    #[test]
    fn a_key_of_several_lines_is_found_as_files_and_as_terminals_have_it() {
        let secret = "-----BEGIN KEY-----\nabc\ndef\n-----END KEY-----";
        assert!(found_in(secret, &format!("<{secret}>")));
        assert!(found_in(secret, &secret.replace('\n', "\r\n")));
        assert!(found_in(&secret.replace('\n', "\r\n"), secret.replace('\n', "\r\n").as_str()));
        assert!(found_in(secret, &format!("{{\"key\": \"{}\"}}", secret.replace('\n', "\\n"))));
    }

    #[test]
    fn inside_longer_base64_it_is_found_at_every_alignment() {
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                for text in ["correct-horse", "??>>~~ÿÿ??>>"] {
                    let whole = format!("{before}{text}{after}");
                    assert!(found_in(text, &STANDARD.encode(&whole)), "{whole}");
                    assert!(found_in(text, &URL_SAFE.encode(&whole)), "{whole}");
                }
            }
        }
    }

    #[test]
    fn short_secrets_have_no_form_that_ordinary_words_contain() {
        let shortest = forms(b"abc", b"abc").into_iter().map(|form| form.len()).min();
        assert_eq!(shortest, Some(3), "itself");
        assert!(forms(b"abcd", b"abcd").iter().all(|form| form.len() >= 4));
    }
}
