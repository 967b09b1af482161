//! "Why did this run, or not run?": decisions as something to read or to process (`prow why`, Deck, logs).

use crate::select::{Decision, Filter, Rule};
use prow_config::jobs::{JobBase, Postsubmit, Presubmit};
use serde::Serialize;

/// One job's decision, ready for a table or JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Job name.
    pub job: String,
    /// Status context.
    pub context: String,
    /// It runs.
    pub runs: bool,
    /// It was asked for by name.
    pub forced: bool,
    /// What made it be looked at; absent if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Filter>,
    /// The rule, with what it was applied to.
    #[serde(flatten)]
    pub rule: Rule,
    /// The rule as a sentence.
    pub because: String,
    /// File that the job is written in.
    pub file: String,
    /// Line of the job's first key, from 1; 0 if unknown.
    pub line: u32,
}

/// A job that decisions are made about.
pub trait Explained {
    /// What all jobs share.
    fn base(&self) -> &JobBase;
    /// Status context.
    fn context(&self) -> &str;
}

impl Explained for Presubmit {
    fn base(&self) -> &JobBase {
        &self.base
    }
    fn context(&self) -> &str {
        &self.context
    }
}

impl Explained for Postsubmit {
    fn base(&self) -> &JobBase {
        &self.base
    }
    fn context(&self) -> &str {
        &self.context
    }
}

impl<J: Explained> Decision<'_, J> {
    /// This decision, explained.
    pub fn explain(&self) -> Explanation {
        let base = self.job.base();
        Explanation {
            job: base.name.clone(),
            context: self.job.context().to_owned(),
            runs: self.run,
            forced: self.forced,
            asked_by: self.asked_by,
            because: self.to_string(),
            rule: self.rule.clone(),
            file: base.source.file.to_string(),
            line: base.source.line,
        }
    }
}

impl<J> std::fmt::Display for Decision<'_, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} because {}", if self.run { "runs" } else { "does not run" }, self.rule)
    }
}

/// A table of all decisions: one line a job, in order. Names come from configuration that a pull request may have
/// written, and files from the pull request: control characters are shown escaped.
pub fn table(explanations: &[Explanation]) -> String {
    let width = |of: fn(&Explanation) -> &str, head: &str| {
        explanations.iter().map(|e| of(e).chars().count()).max().unwrap_or(0).max(head.len())
    };
    let (jobs, files) = (width(|e| &e.job, "JOB"), width(|e| &e.file, "FILE") + 6);
    let mut out = format!("{:<4}  {:<jobs$}  {:<files$}  WHY\n", "RUNS", "JOB", "FILE");
    for e in explanations {
        let runs = match (e.runs, e.forced) {
            (true, true) => "yes!",
            (true, false) => "yes",
            (false, _) => "no",
        };
        let place = if e.line == 0 { e.file.clone() } else { format!("{}:{}", e.file, e.line) };
        let line = format!("{runs:<4}  {:<jobs$}  {place:<files$}  {}", e.job, e.because);
        out.push_str(&printable(line.trim_end()));
        out.push('\n');
    }
    out
}

/// `text` with control characters and those that turn its direction escaped, fit for a terminal.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_direction_mark(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that turn the direction of the text around them, so that it reads as something else.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::{Ask, select};
    use prow_config::jobs::Source;

    fn job(name: &str, always_run: bool, line: u32) -> Presubmit {
        Presubmit {
            base: JobBase {
                name: name.into(),
                source: Source { file: "jobs/a.yaml".into(), line, column: 3 },
                ..JobBase::default()
            },
            context: name.into(),
            rerun_command: format!("/test {name}"),
            always_run,
            ..Presubmit::default()
        }
    }

    #[test]
    fn a_table_names_rule_file_and_line() {
        let jobs = [job("unit", true, 3), job("e2e\u{202e}\n", false, 120)];
        let decisions = select(&jobs, "main", &Ask::all(), None).unwrap();
        let explained: Vec<_> = decisions.iter().map(Decision::explain).collect();
        assert_eq!(
            table(&explained),
            "RUNS  JOB    FILE               WHY\n\
             yes   unit   jobs/a.yaml:3      runs because always_run is true\n\
             no    e2e\\u{202e}\\n  jobs/a.yaml:120    does not run because it only runs when asked for with \
             \"/test e2e\\u{202e}\\n\"\n"
        );
        assert_eq!(
            serde_json::to_value(&explained[0]).unwrap(),
            serde_json::json!({
                "job": "unit", "context": "unit", "runs": true, "forced": false, "asked_by": "test-all",
                "rule": "always-run", "because": "runs because always_run is true", "file": "jobs/a.yaml", "line": 3
            })
        );
        assert_eq!(table(&[]), "RUNS  JOB  FILE        WHY\n");
    }
}
