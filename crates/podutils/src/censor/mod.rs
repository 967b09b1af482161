//! Finds secrets in anything that leaves the Pod and puts `X` in their place (prow-runtime §8.4).
//!
//! Properties:
//! * one pass, whatever the number of secrets; memory does not grow with the input;
//! * length stays: offsets, tar headers and log line numbers keep their meaning;
//! * a secret is found wherever pieces of the stream happen to end, and where secrets overlap all of them go;
//! * what cannot be censored does not pass: see [`Withheld`].

mod glob;
mod reader;
mod secrets;

pub(crate) use glob::matches;
pub(crate) use reader::{Withheld, censored};
pub(crate) use secrets::load;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use base64::Engine as _;
use prow_api::Secret;
use std::collections::BTreeSet;
use std::ops::Range;

/// The automaton knows this much of a secret's beginning; the rest is compared where a beginning is found. So its
/// size is bounded by the number of secrets, not by their length: whole kubeconfigs are secrets too.
const BEGINNING: usize = 64;

/// Every form of every secret, and an automaton over their beginnings. Cannot be printed.
#[derive(Default)]
pub(crate) struct Censor {
    automaton: Option<AhoCorasick>,
    /// Longest first.
    forms: Vec<Vec<u8>>,
    longest: usize,
}

impl Censor {
    /// Each secret counts trimmed, and as base64 of its raw and its trimmed form. Empty ones, `true`, `false`
    /// and those shorter than `minimum` bytes are not secrets.
    pub(crate) fn new(secrets: &[Secret], minimum: usize) -> Result<Censor, String> {
        let mut forms = BTreeSet::new();
        for secret in secrets {
            let raw = secret.expose();
            let trimmed = raw.trim_ascii();
            let boolean = trimmed.eq_ignore_ascii_case(b"true") || trimmed.eq_ignore_ascii_case(b"false");
            if trimmed.is_empty() || boolean || trimmed.len() < minimum {
                continue;
            }
            forms.insert(trimmed.to_vec());
            for form in [raw, trimmed] {
                // Without its padding it is also what URL-safe and JWT-like encoders leave, when no `+/` is in it.
                forms.insert(base64::engine::general_purpose::STANDARD.encode(form).into_bytes());
                forms.insert(base64::engine::general_purpose::STANDARD_NO_PAD.encode(form).into_bytes());
            }
        }
        if forms.is_empty() {
            return Ok(Censor::default());
        }
        let mut forms: Vec<Vec<u8>> = forms.into_iter().collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(forms.iter().map(|form| &form[..form.len().min(BEGINNING)]))
            .map_err(|e| format!("the secrets do not fit an automaton: {e}"))?;
        let longest = forms.first().map_or(0, Vec::len);
        Ok(Censor { automaton: Some(automaton), forms, longest })
    }

    /// True if there is nothing to look for.
    pub(crate) fn is_empty(&self) -> bool {
        self.automaton.is_none()
    }

    /// Masks a text that is whole.
    pub(crate) fn mask(&self, bytes: &mut [u8]) {
        let mut covered = Vec::new();
        self.find(bytes, bytes.len(), |range| covered.push(range));
        for range in covered {
            bytes[range].fill(b'X');
        }
    }

    /// Masks a text. `X` for every byte keeps it UTF-8 but where a secret is half a character; that half is
    /// then shown as the replacement character.
    pub(crate) fn masked(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.mask(&mut bytes);
        String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    /// Every place that begins before `limit` at which a secret begins, with the longest one there: together
    /// they cover each byte that belongs to any secret. Looking on one byte behind each beginning, not behind
    /// its end, is what finds secrets that overlap.
    fn find(&self, bytes: &[u8], limit: usize, mut found: impl FnMut(Range<usize>)) {
        let Some(automaton) = &self.automaton else { return };
        let mut from = 0;
        while let Some(hit) = automaton.find(Input::new(bytes).span(from..bytes.len())) {
            if hit.start() >= limit {
                return;
            }
            let at = hit.start();
            if let Some(form) = self.forms.iter().find(|form| bytes[at..].starts_with(form)) {
                found(at..at + form.len());
            }
            from = at + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
