//! Finds secrets in anything that leaves the Pod and puts `X` in their place (prow-runtime §8.4).
//!
//! Properties:
//! * one pass, whatever the number of secrets; memory does not grow with the input;
//! * length stays: offsets and line numbers of a log keep their meaning;
//! * a secret is found wherever pieces of the stream happen to end, and where secrets overlap all of them go;
//! * archives are looked into and written anew ([`inside`]); what cannot be looked into does not pass
//!   ([`Withheld`]).

mod forms;
mod glob;
mod inside;
mod pipes;
mod scan;
mod secrets;
mod stream;
mod tar;
mod zip;
#[cfg(test)]
mod zip_tests;

pub(crate) use glob::{excludes, includes};
pub(crate) use inside::{Withheld, censored, peek, placeholder};
pub(crate) use secrets::Secrets;

use prow_api::Secret;
use scan::Finder;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// Read at once, unless `censoring_buffer_size` says something else.
const BUFFER: usize = 256 << 10;
/// All that one upload may unpack, beyond [`UNPACK_RATIO`] times what it reads: bombs end here.
const UNPACK_FLOOR: u64 = 4 << 30;
/// How much larger than its archive the content of an honest one may be.
const UNPACK_RATIO: u64 = 100;

/// Every form of every secret, and what one upload may spend on looking for them. Cannot be printed.
pub(crate) struct Censor {
    finder: Finder,
    longest: usize,
    buffer: usize,
    /// Bytes that may still be unpacked.
    unpack: AtomicU64,
}

impl Default for Censor {
    fn default() -> Self {
        Censor { finder: Finder::default(), longest: 0, buffer: BUFFER, unpack: AtomicU64::new(UNPACK_FLOOR) }
    }
}

impl Censor {
    /// Each secret counts trimmed, in all its [`forms`]. Empty ones, `true`, `false` and those shorter than
    /// `minimum` bytes are not secrets.
    pub(crate) fn new(secrets: &[Secret], minimum: usize) -> Result<Censor, String> {
        let mut forms = BTreeSet::new();
        for secret in secrets {
            let raw = secret.expose();
            let trimmed = raw.trim_ascii();
            let boolean = trimmed.eq_ignore_ascii_case(b"true") || trimmed.eq_ignore_ascii_case(b"false");
            if !trimmed.is_empty() && !boolean && trimmed.len() >= minimum {
                forms.extend(forms::forms(raw, trimmed));
            }
        }
        let longest = forms.iter().map(Vec::len).max().unwrap_or_default();
        Ok(Censor { finder: Finder::new(forms)?, longest, ..Censor::default() })
    }

    /// Reads so many bytes at once, within reason: upstream's `censoring_buffer_size`.
    pub(crate) fn with_buffer(self, bytes: Option<i64>) -> Self {
        let asked = bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        Censor { buffer: asked.unwrap_or(BUFFER).clamp(4 << 10, 16 << 20), ..self }
    }

    /// True if there is nothing to look for.
    pub(crate) fn is_empty(&self) -> bool {
        self.longest == 0
    }

    /// Masks a text that is whole.
    pub(crate) fn mask(&self, bytes: &mut [u8]) {
        let mut hits = stream::Hits::default();
        self.finder.find(bytes, bytes.len(), |range| hits.add(range));
        for hit in hits.0 {
            bytes[hit].fill(b'X');
        }
    }

    /// Masks a text. `X` for every byte keeps it UTF-8 but where a secret is half a character; that half is
    /// then shown as the replacement character.
    pub(crate) fn masked(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.mask(&mut bytes);
        String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    /// A file of this length is about to be read: its content may be so much larger.
    fn allow(&self, length: u64) {
        self.unpack.fetch_add(length.saturating_mul(UNPACK_RATIO), Ordering::Relaxed);
    }

    /// Takes from what may still be unpacked; false when that is used up.
    fn spend(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        self.unpack.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// What becomes of a file.
    pub(super) fn censored(input: &[u8], secrets: &[&str]) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        super::censored(&mut &*input, input.len() as u64, &mut out, &censor(secrets, 0))?;
        Ok(out)
    }

    pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(super) fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    /// A program that must succeed.
    pub(super) fn run(dir: &std::path::Path, program: &str, args: &[&str]) {
        let done = std::process::Command::new(program).args(args).current_dir(dir).output().unwrap();
        assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Whether there is such a program; says so if a test has to do without. CI installs them.
    pub(super) fn has(program: &str) -> bool {
        let there = std::process::Command::new(program).arg("-v").output().is_ok();
        if !there {
            eprintln!("skipped: there is no {program}");
        }
        there
    }

    fn censor(secrets: &[&str], minimum: usize) -> Censor {
        Censor::new(&secrets.iter().map(Secret::new).collect::<Vec<_>>(), minimum).unwrap()
    }

    #[test]
    fn every_form_of_a_secret_is_masked_with_its_length() {
        let censor = censor(&["s3cr3t\n"], 0);
        for (text, masked) in [
            ("a s3cr3t b", "a XXXXXX b"),
            ("czNjcjN0", "XXXXXXXX"),
            ("czNjcjN0Cg==.", "XXXXXXXXXXXX."),
            ("czNjcjN0Cg.", "XXXXXXXXXX."),
            ("s3cr3", "s3cr3"),
        ] {
            assert_eq!(censor.masked(text), masked);
        }
    }

    #[test]
    fn overlapping_and_nested_secrets_all_go() {
        let censor = censor(&["secret", "secret123", "123abc", "ret"], 0);
        for (text, masked) in [
            ("secret123", "XXXXXXXXX"),
            ("secret123abc!", "XXXXXXXXXXXX!"),
            ("secret12", "XXXXXX12"),
            ("retsecret", "XXXXXXXXX"),
        ] {
            assert_eq!(censor.masked(text), masked);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let censor = censor(&["", "  \n", "true", "FALSE", "ab", "abcd"], 4);
        assert_eq!(censor.masked("true false ab abcd"), "true false ab XXXX");
        assert!(super::tests::censor(&["true"], 0).is_empty());
        // Short ones are looked for unless the options say otherwise.
        assert_eq!(super::tests::censor(&["~"], 0).masked("a~b"), "aXb");
    }

    #[test]
    fn the_buffer_is_what_was_asked_for_within_reason() {
        for (asked, given) in [
            (None, BUFFER),
            (Some(0), BUFFER),
            (Some(-1), BUFFER),
            (Some(1), 4 << 10),
            (Some(1 << 20), 1 << 20),
            (Some(i64::MAX), 16 << 20),
        ] {
            assert_eq!(Censor::default().with_buffer(asked).buffer, given, "{asked:?}");
        }
    }
}
