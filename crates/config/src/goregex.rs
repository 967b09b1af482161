//! Go's regular expressions (prow-config §0.3) on the regex crate.
//!
//! A pattern is translated and checked when it is made and compiled when it is first used: a configuration has
//! thousands, and a component asks few of them.

mod translate;

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

/// A pattern that means what Go's RE2 means by it. Compares and prints by its source text; a clone is cheap and
/// shares the compiled form.
#[derive(Clone)]
pub struct GoRegex {
    inner: Arc<Inner>,
}

struct Inner {
    source: Box<str>,
    /// In the regex crate's dialect; absent if it is the same text.
    translated: Option<Box<str>>,
    compiled: OnceLock<regex::Regex>,
}

/// A pattern that Go would refuse, too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression {pattern:?}: {reason}")]
pub struct GoRegexError {
    /// As written.
    pub pattern: String,
    /// Why.
    pub reason: String,
}

/// Compiled patterns may take this much; Go's own limits are of this order.
const SIZE_LIMIT: usize = 64 << 20;
/// Patterns up to this length without counted repetition compile for sure, once their syntax is right.
const SURE_LENGTH: usize = 2000;

impl GoRegex {
    /// Translates and checks.
    pub fn new(pattern: &str) -> Result<GoRegex, GoRegexError> {
        let refuse = |reason: String| GoRegexError { pattern: pattern.to_owned(), reason };
        let translated = translate::translate(pattern).map_err(refuse)?;
        let regex = GoRegex::unchecked(pattern, translated);
        if pattern.contains('{') || pattern.len() > SURE_LENGTH {
            let compiled = compile(regex.dialect()).map_err(|e| refuse(e.to_string()))?;
            // A fresh cell takes the value.
            let _ = regex.inner.compiled.set(compiled);
        } else {
            syntax().parse(regex.dialect()).map_err(|e| refuse(last_line(&e.to_string())))?;
        }
        Ok(regex)
    }

    /// A pattern that is right by construction.
    pub(crate) fn trusted(pattern: String, translated: String) -> GoRegex {
        GoRegex::unchecked(&pattern, translated)
    }

    fn unchecked(pattern: &str, translated: String) -> GoRegex {
        let translated = (translated != pattern).then(|| translated.into_boxed_str());
        GoRegex { inner: Arc::new(Inner { source: pattern.into(), translated, compiled: OnceLock::new() }) }
    }

    fn dialect(&self) -> &str {
        self.inner.translated.as_deref().unwrap_or(&self.inner.source)
    }

    fn compiled(&self) -> &regex::Regex {
        self.inner.compiled.get_or_init(|| {
            compile(self.dialect()).unwrap_or_else(|error| {
                tracing::error!(pattern = self.as_str(), %error, "a checked pattern does not compile; it matches nothing");
                NEVER.clone()
            })
        })
    }

    /// Unanchored search, as everywhere in Prow.
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled().is_match(text)
    }

    /// The leftmost match, in bytes.
    pub fn find(&self, text: &str) -> Option<std::ops::Range<usize>> {
        self.compiled().find(text).map(|m| m.range())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.inner.source
    }
}

fn compile(pattern: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).nest_limit(1000).build()
}

fn syntax() -> regex_syntax::Parser {
    regex_syntax::ParserBuilder::new().nest_limit(1000).build()
}

/// The syntax crate draws the pattern; the last line says what is wrong.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or(text);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

static NEVER: LazyLock<regex::Regex> = LazyLock::new(|| {
    #[expect(clippy::unwrap_used, reason = "a constant pattern")]
    regex::Regex::new(r"[^\s\S]").unwrap()
});

static NOTHING: LazyLock<GoRegex> = LazyLock::new(|| {
    let regex = GoRegex::unchecked("", r"[^\s\S]".to_owned());
    let _ = regex.inner.compiled.set(NEVER.clone());
    regex
});

impl Default for GoRegex {
    /// Matches nothing.
    fn default() -> Self {
        NOTHING.clone()
    }
}

impl PartialEq for GoRegex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}
impl fmt::Debug for GoRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.as_str())
    }
}
impl serde::Serialize for GoRegex {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}
impl<'de> serde::Deserialize<'de> for GoRegex {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        GoRegex::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn searches_unanchored_and_by_gos_classes() {
        for (pattern, text, want) in [
            ("master", "master-2", true),
            ("^master$", "master-2", false),
            (r"^\d+$", "\u{0663}", false),
            (r"\bfoo\b", "a foo b", true),
            (r"a{,5}", "a{,5}", true),
            (r"{{.*}}", "{{x}}", true),
            (r"[[]", "[", true),
            (r"[a&&b]", "&", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\Qa.b\E", "axb", false),
            (r"(?m)^/test( | .* )unit,?($|\s.*)", "hello\n/test unit", true),
        ] {
            assert_eq!(GoRegex::new(pattern).unwrap().is_match(text), want, "{pattern} on {text}");
        }
        assert!(!GoRegex::default().is_match(""));
    }

    #[test]
    fn what_go_refuses_is_refused_with_a_reason() {
        for pattern in
            ["a**", "a{1001}", "(?x)a", "[[:foo:]]", "(", "a)", "[z-a]", r"\8", "(?=a)", "*", r"\Z"]
        {
            let error = GoRegex::new(pattern).unwrap_err();
            assert!(!error.reason.is_empty(), "{pattern}");
        }
    }

    #[test]
    fn the_reference_implementation_agrees() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/vectors/regex.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("skipped: {} is not here", path.display());
            return;
        };
        let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
        let inputs: Vec<&str> =
            vectors["inputs"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        let (mut wrong, mut count) = (Vec::new(), 0);
        for (pattern, want) in vectors["patterns"].as_object().unwrap() {
            count += 1;
            match (GoRegex::new(pattern), want.as_array()) {
                (Err(_), None) => {}
                (Ok(regex), Some(spans)) => {
                    for (input, span) in inputs.iter().zip(spans) {
                        let got = regex
                            .find(input)
                            .map(|r| serde_json::json!([r.start, r.end]))
                            .unwrap_or_default();
                        if got != *span {
                            wrong.push(format!("{pattern} on {input:?}: wants {span}, got {got}"));
                        }
                    }
                }
                (got, want) => wrong.push(format!("{pattern}: wants {want:?}, got {:?}", got.err())),
            }
        }
        eprintln!("{count} patterns, {} differences", wrong.len());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
