//! Go's regular expressions (prow-config §0.3) on the regex crate.

use std::fmt;

/// A compiled pattern that means what Go's RE2 means by it. Compares and prints by its source text.
#[derive(Clone)]
pub struct GoRegex {
    source: String,
    compiled: regex::Regex,
}

/// A pattern that Go would refuse, too.
#[derive(Debug, Clone, thiserror::Error)]
#[error("invalid regular expression {pattern:?}: {reason}")]
pub struct GoRegexError {
    /// As written.
    pub pattern: String,
    /// Why.
    pub reason: String,
}

impl GoRegex {
    /// Translates and compiles.
    pub fn new(pattern: &str) -> Result<GoRegex, GoRegexError> {
        let compiled = regex::Regex::new(pattern)
            .map_err(|e| GoRegexError { pattern: pattern.to_owned(), reason: e.to_string() })?;
        Ok(GoRegex { source: pattern.to_owned(), compiled })
    }
    /// Unanchored search, as everywhere in Prow.
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl Default for GoRegex {
    /// Matches nothing.
    fn default() -> Self {
        GoRegex { source: String::new(), compiled: never() }
    }
}

fn never() -> regex::Regex {
    static NEVER: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| {
        #[expect(clippy::unwrap_used, reason = "a constant pattern")]
        regex::Regex::new(r"[^\s\S]").unwrap()
    });
    NEVER.clone()
}

impl PartialEq for GoRegex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
impl fmt::Debug for GoRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.source)
    }
}
