//! The censor that logs pass (invariant 8): every secret that this process has loaded is registered here and
//! replaced in what goes out.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use parking_lot::RwLock;
use prow_api::Secret;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

/// What stands in a secret's place.
const MASK: &str = "CENSORED";
/// Shorter values are not censored: they would blot out ordinary words and hide nothing.
const SHORTEST: usize = 4;

/// A set of secrets and the automaton that finds them.
#[derive(Default)]
pub struct Censor {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    values: BTreeSet<Vec<u8>>,
    automaton: Option<Arc<AhoCorasick>>,
}

/// The censor of this process. Logs pass it; [`crate::secrets`] registers what it reads.
pub fn process() -> &'static Censor {
    static CENSOR: LazyLock<Censor> = LazyLock::new(Censor::default);
    &CENSOR
}

impl Censor {
    /// Registers a secret: its value, the value trimmed, and the base64 of both.
    pub fn add(&self, secret: &Secret) {
        let raw = secret.expose();
        let trimmed = raw.trim_ascii();
        let engine = base64::engine::general_purpose::STANDARD;
        let forms = [
            raw.to_vec(),
            trimmed.to_vec(),
            engine.encode(raw).into_bytes(),
            engine.encode(trimmed).into_bytes(),
        ];
        let mut state = self.state.write();
        let before = state.values.len();
        state.values.extend(forms.into_iter().filter(|v| v.len() >= SHORTEST));
        if state.values.len() != before {
            // Longest match first, so that no tail of a longer secret is left standing.
            state.automaton = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                // A DFA, which few patterns would get, takes kilobytes for each byte of a long secret.
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(&state.values)
                .map(Arc::new)
                .map_err(|error| {
                    // Fails closed: with no automaton and values present everything is masked.
                    eprintln!("the log censor could not be built, all log text is masked: {error}");
                })
                .ok();
        }
    }

    /// `text` with every registered secret replaced.
    pub fn censor<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let (automaton, any) = {
            let state = self.state.read();
            (state.automaton.clone(), !state.values.is_empty())
        };
        match automaton {
            Some(automaton) if automaton.is_match(text) => {
                let mut out = String::with_capacity(text.len());
                automaton.replace_all_with(text, &mut out, |_, _, out| {
                    out.push_str(MASK);
                    true
                });
                Cow::Owned(out)
            }
            Some(_) => Cow::Borrowed(text),
            None if any => Cow::Borrowed(MASK),
            None => Cow::Borrowed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced_in_all_their_forms() {
        let censor = Censor::default();
        assert_eq!(censor.censor("token s3cr3t"), "token s3cr3t");
        censor.add(&Secret::new("s3cr3t\n"));
        censor.add(&Secret::new("s3cr3t-and-more"));
        censor.add(&Secret::new("abc"));
        for (text, out) in [
            ("a s3cr3t b", "a CENSORED b"),
            ("s3cr3t-and-more!", "CENSORED!"),
            ("czNjcjN0 and czNjcjN0Cg==", "CENSORED and CENSORED"),
            ("abc is too short to hide", "abc is too short to hide"),
            ("nothing here", "nothing here"),
        ] {
            assert_eq!(censor.censor(text), out);
        }
    }
}
