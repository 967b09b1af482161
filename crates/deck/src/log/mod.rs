//! Logs of any size on a page: indexed once by streaming, then read by range, shown in the parts that matter.
//!
//! ```text
//!  file ──stream──▶ index (lines, marks, failure lines) ──plan──▶ which lines ──range reads──▶ lines ──▶ HTML
//! ```

pub mod ansi;
pub mod file;
pub mod index;
pub mod plan;
pub mod render;

use prow_config::Snapshot;
use regex::bytes::{Regex, RegexBuilder};

/// What the buildlog lens marks when its configuration says nothing.
const DEFAULT_PATTERN: &str = r"timed out|ERROR:|(FAIL|Failure \[)\b|panic\b|^E\d{4} \d\d:\d\d:\d\d\.\d\d\d]";
/// Longer lines are not looked at, `highlight_line_length_max` of the lens.
const DEFAULT_LONGEST: usize = 10_000;

/// Which lines of a log matter.
#[derive(Debug, Clone)]
pub struct Highlight {
    regex: Regex,
    longest: usize,
}

impl Highlight {
    /// From the settings of the configuration's `buildlog` lens. Patterns that do not compile are reported and the
    /// default is used.
    pub fn of(snapshot: &Snapshot) -> Highlight {
        let lenses = &snapshot.prow.deck.spyglass.lenses;
        let config = lenses
            .iter()
            .find(|lens| lens.lens.name == "buildlog")
            .and_then(|lens| lens.lens.config.as_ref());
        let patterns: Vec<&str> = config
            .and_then(|c| c.get("highlight_regexes")?.as_array())
            .map(|list| list.iter().filter_map(|p| p.as_str()).collect())
            .unwrap_or_default();
        let longest = config.and_then(|c| c.get("highlight_line_length_max")?.as_u64());
        let longest = longest.map_or(DEFAULT_LONGEST, |l| l as usize);
        if !patterns.is_empty() {
            match compile(&patterns.join("|")) {
                Ok(regex) => return Highlight { regex, longest },
                Err(error) => tracing::warn!(
                    %error,
                    "highlight_regexes of the buildlog lens do not compile; the default is used, correct them in deck.spyglass.lenses"
                ),
            }
        }
        Highlight { regex: default_regex(), longest }
    }

    /// True for a line that matters.
    pub fn marks(&self, line: &[u8]) -> bool {
        line.len() <= self.longest && self.regex.is_match(line)
    }

    /// Bytes of a line that are enough to decide.
    fn longest(&self) -> usize {
        self.longest
    }

    /// Tells two apart.
    fn id(&self) -> (String, usize) {
        (self.regex.as_str().to_owned(), self.longest)
    }
}

impl Default for Highlight {
    fn default() -> Self {
        Highlight { regex: default_regex(), longest: DEFAULT_LONGEST }
    }
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    // Bytes first: logs need not be UTF-8, and it is quicker. Patterns with Unicode classes need the other.
    RegexBuilder::new(pattern)
        .unicode(false)
        .build()
        .or_else(|_| RegexBuilder::new(pattern).size_limit(4 << 20).build())
}

fn default_regex() -> Regex {
    compile(DEFAULT_PATTERN).expect("a constant pattern, compiled by a test")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_config::prowconfig::{LensConfig, LensFileConfig};

    #[test]
    fn the_default_marks_failures() {
        let highlight = Highlight::default();
        for (line, marked) in [
            (&b"--- FAIL: TestX (0.01s)"[..], true),
            (b"FAILURE", false),
            (b"ERROR: no such target", true),
            (b"error: lower case", false),
            (b"panic: runtime error", true),
            (b"panicking", false),
            (b"test timed out after 5m", true),
            (b"E0102 03:04:05.678] broken", true),
            (b" E0102 03:04:05.678] not at the start", false),
            (b"\xff\xfe ERROR: not UTF-8", true),
            (b"ok", false),
        ] {
            assert_eq!(highlight.marks(line), marked, "{}", String::from_utf8_lossy(line));
        }
        let long = [vec![b'x'; 10_000], b"ERROR:".to_vec()].concat();
        assert!(!highlight.marks(&long));
    }

    #[test]
    fn the_lens_decides() {
        let with = |config: serde_json::Value| {
            let mut snapshot = Snapshot::default();
            let lens = LensConfig { name: "buildlog".into(), config: Some(config) };
            snapshot.prow.deck.spyglass.lenses = vec![LensFileConfig { lens, ..LensFileConfig::default() }];
            Highlight::of(&snapshot)
        };
        let own = with(
            serde_json::json!({"highlight_regexes": ["broken", "^bad\\p{Greek}"], "highlight_line_length_max": 20}),
        );
        assert!(own.marks(b"it is broken") && own.marks("badα".as_bytes()) && !own.marks(b"ERROR: x"));
        assert!(!own.marks(b"it is broken, but in a long line"));
        assert!(with(serde_json::json!({"highlight_regexes": ["("]})).marks(b"ERROR: the default"));
    }
}
