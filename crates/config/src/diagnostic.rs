//! What is wrong with a file, where, and what to do about it.

use std::fmt;
use std::sync::Arc;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Loads, but is probably not meant.
    Warning,
    /// The configuration is refused.
    Error,
}

/// What sort of finding it is: what `--strict` refuses, what checkconfig sorts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Kind {
    /// A rule is broken, or something deserves a look.
    #[default]
    Rule,
    /// A key that nothing reads.
    UnknownKey,
    /// A key of an older Prow.
    Retired,
}

/// One finding. Shown as `file:line:column: key.path: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// What sort.
    pub kind: Kind,
    /// File as it was reached; empty when no single file is at fault.
    pub file: Arc<str>,
    /// From 1; 0 when unknown.
    pub line: u32,
    /// From 1; 0 when unknown.
    pub column: u32,
    /// Keys from the top of the file, e.g. `presubmits["org/repo"][0].spec`; may be empty.
    pub key_path: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What was probably meant, or the modern form.
    pub suggestion: Option<String>,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            kind: Kind::Rule,
            file: Arc::default(),
            line: 0,
            column: 0,
            key_path: String::new(),
            message: message.into(),
            suggestion: None,
        }
    }
    /// A warning without a place.
    pub fn warning(message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(message) }
    }
    /// The same of a kind.
    pub fn kind(mut self, kind: Kind) -> Diagnostic {
        self.kind = kind;
        self
    }
    /// The same in a file.
    pub fn in_file(mut self, file: &Arc<str>) -> Diagnostic {
        self.file = file.clone();
        self
    }
    /// The same at a place.
    pub fn at(mut self, line: u32, column: u32) -> Diagnostic {
        self.line = line;
        self.column = column;
        self
    }
    /// The same below a key.
    pub fn under(mut self, key_path: impl Into<String>) -> Diagnostic {
        self.key_path = key_path.into();
        self
    }
    /// The same with a suggestion.
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Diagnostic {
        self.suggestion = Some(suggestion.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
            if self.line > 0 {
                write!(f, "{}:", self.line)?;
                if self.column > 0 {
                    write!(f, "{}:", self.column)?;
                }
            }
            f.write_str(" ")?;
        }
        if !self.key_path.is_empty() {
            write!(f, "{}: ", self.key_path)?;
        }
        f.write_str(&self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, " ({suggestion})")?;
        }
        Ok(())
    }
}

/// Why a configuration was refused: every error that was found, not the first, and the warnings beside them.
#[derive(Debug, Clone, Default, thiserror::Error)]
pub struct LoadErrors {
    /// Why it was refused; never empty.
    pub errors: Vec<Diagnostic>,
    /// What else was found.
    pub warnings: Vec<Diagnostic>,
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} error(s):", self.errors.len())?;
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

/// The candidate that `word` was probably meant to be: within two edits, or a third of its length.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|c| c.len().abs_diff(word.len()) <= limit)
        .map(|c| (edits(word, c), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Edits (insert, delete, replace, swap neighbours) between two words, case and hyphens aside.
fn edits(a: &str, b: &str) -> usize {
    let fold = |c: u8| if c == b'-' { b'_' } else { c.to_ascii_lowercase() };
    let a: Vec<u8> = a.bytes().map(fold).collect();
    let b: Vec<u8> = b.bytes().map(fold).collect();
    let mut rows: [Vec<usize>; 3] = [Vec::new(), (0..=b.len()).collect(), (0..=b.len()).collect()];
    for i in 1..=a.len() {
        rows.rotate_left(1);
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut best =
                (rows[1][j] + 1).min(row[j - 1] + 1).min(rows[1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[0][j - 2] + 1);
            }
            row.push(best);
        }
        rows[2] = row;
    }
    rows[2][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_place_path_message_and_suggestion() {
        let d = Diagnostic::error("unknown key")
            .in_file(&"jobs/a.yaml".into())
            .at(3, 7)
            .under("periodics[0].crn");
        assert_eq!(d.to_string(), "jobs/a.yaml:3:7: periodics[0].crn: unknown key");
        assert_eq!(d.suggest("did you mean \"cron\"?").to_string().split('(').count(), 2);
        assert_eq!(Diagnostic::warning("w").to_string(), "w");
    }

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let keys = ["max_concurrency", "run_if_changed", "cron"];
        assert_eq!(did_you_mean("max_concurency", keys), Some("max_concurrency"));
        assert_eq!(did_you_mean("run-if-changed", keys), Some("run_if_changed"));
        assert_eq!(did_you_mean("crn", keys), Some("cron"));
        assert_eq!(did_you_mean("job_template", keys), None);
    }
}
