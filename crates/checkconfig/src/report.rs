//! Findings as text for people, as JSON, and as annotations of a GitHub workflow.

use crate::check::about;
use crate::finding::{Finding, Level};
use crate::text::count;
use prow_job::explain::printable;
use serde_json::json;
use std::fmt::Write;

/// What was found, and in what.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order in which they are shown.
    pub findings: Vec<Finding>,
    /// How many jobs there are; nothing if the configuration did not load.
    pub jobs: Option<usize>,
    /// How many warnings were on.
    pub checks: usize,
    /// Warnings are a reason to fail.
    pub strict: bool,
}

impl Report {
    /// How many findings of a level there are.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|f| f.level == level).count()
    }

    /// Whether it is fit for use.
    pub fn passed(&self) -> bool {
        self.count(Level::Error) == 0 && !(self.strict && self.count(Level::Warning) > 0)
    }

    /// One line: what it comes to.
    pub fn summary(&self) -> String {
        let found: Vec<String> = [Level::Error, Level::Warning, Level::Note]
            .into_iter()
            .filter(|l| self.count(*l) > 0)
            .map(|level| count(self.count(level), level.word()))
            .collect();
        let looked = match self.jobs {
            None => "the configuration does not load".to_owned(),
            Some(jobs) => format!("{}, {}", count(jobs, "job"), count(self.checks, "check")),
        };
        let found = if found.is_empty() { String::new() } else { format!("{}; ", found.join(", ")) };
        let end = if self.count(Level::Error) == 0 && !self.passed() {
            " (--strict: warnings fail)"
        } else if self.count(Level::Error) + self.count(Level::Warning) == 0 {
            "; checkconfig passes without any error!"
        } else {
            ""
        };
        format!("{found}{looked}{end}")
    }

    /// Findings by check, those with errors first, else in the order they came.
    fn groups(&self) -> Vec<(&'static str, Vec<&Finding>)> {
        let mut groups: Vec<(&'static str, Vec<&Finding>)> = Vec::new();
        for finding in &self.findings {
            match groups.iter_mut().find(|(check, _)| *check == finding.check) {
                Some((_, list)) => list.push(finding),
                None => groups.push((finding.check, vec![finding])),
            }
        }
        for (_, list) in &mut groups {
            list.sort_by_key(|f| (f.level, f.file.clone(), f.line, f.column));
        }
        groups.sort_by_key(|(_, list)| list.first().map(|f| f.level));
        groups
    }

    /// For people: grouped by check, each with its place first, the count at the end.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (check, findings) in self.groups() {
            // Writing to a String cannot fail; the same holds below.
            let _ = writeln!(out, "{check}: {} ({})", about(check), findings.len());
            for finding in findings {
                let place = place(finding);
                let colon = if place.is_empty() { "" } else { ": " };
                let _ =
                    writeln!(out, "  {place}{colon}{}: {}", finding.level.word(), printable(&said(finding)));
                if let Some(suggestion) = &finding.suggestion {
                    let _ = writeln!(out, "      {}", printable(suggestion));
                }
            }
            out.push('\n');
        }
        let _ = writeln!(out, "{}", self.summary());
        out
    }

    /// One object: `passed`, `errors`, `warnings`, `notes`, `jobs`, `checks`, and `findings`.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let object = json!({
            "passed": self.passed(),
            "errors": self.count(Level::Error),
            "warnings": self.count(Level::Warning),
            "notes": self.count(Level::Note),
            "jobs": self.jobs,
            "checks": self.checks,
            "findings": self.findings,
        });
        Ok(serde_json::to_string_pretty(&object)? + "\n")
    }

    /// Workflow commands: GitHub shows each at its line of the pull request. Errors come first, since GitHub shows
    /// only so many of a step. With `strict` warnings are errors.
    pub fn github(&self) -> String {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|f| f.level);
        let mut out = String::new();
        for finding in findings {
            let command = match finding.level {
                Level::Error => "error",
                Level::Warning if self.strict => "error",
                Level::Warning => "warning",
                Level::Note => "notice",
            };
            let mut properties = Vec::new();
            if !finding.file.is_empty() {
                properties.push(format!("file={}", property(&finding.file)));
                for (name, value) in [("line", finding.line), ("col", finding.column)] {
                    if value > 0 {
                        properties.push(format!("{name}={value}"));
                    }
                }
            }
            properties.push(format!("title={}", property(finding.check)));
            let mut message = printable(&said(finding));
            if let Some(suggestion) = &finding.suggestion {
                let _ = write!(message, "\n{}", printable(suggestion));
            }
            let _ = writeln!(out, "::{command} {}::{}", properties.join(","), data(&message));
        }
        let _ = writeln!(out, "{}", self.summary());
        out
    }
}

fn place(finding: &Finding) -> String {
    let mut out = printable(&finding.file);
    for number in [finding.line, finding.column] {
        if number == 0 {
            break;
        }
        let _ = write!(out, ":{number}");
    }
    out
}

/// The message after the key it is about.
fn said(finding: &Finding) -> String {
    match finding.key.as_str() {
        "" => finding.message.clone(),
        key => format!("{key}: {}", finding.message),
    }
}

/// Escapes what would end a workflow command's message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes what would end a workflow command's property.
fn property(text: &str) -> String {
    data(&printable(text)).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(strict: bool, findings: Vec<Finding>) -> Report {
        Report { findings, jobs: Some(3), checks: 20, strict }
    }

    fn finding() -> Finding {
        let found =
            Finding::warning("long-job-names", "presubmit \"x\" has a name").at(&"jobs/a.yaml".into(), 7);
        Finding { column: 3, key: "a.b".into(), ..found }.suggest("shorten it")
    }

    #[test]
    fn people_read_groups_with_places_and_a_count() {
        let error = Finding::error("load", "there is no plugin \"trigge\"").at(&"plugins.yaml".into(), 2);
        let text = report(false, vec![finding(), error, Finding::note("load", "odd")]).text();
        let want = "\
load: what the loader found (2)
  plugins.yaml:2: error: there is no plugin \"trigge\"
  note: odd

long-job-names: job names that do not fit into a label (1)
  jobs/a.yaml:7:3: warning: a.b: presubmit \"x\" has a name
      shorten it

1 error, 1 warning, 1 note; 3 jobs, 20 checks
";
        assert_eq!(text, want);
        assert_eq!(report(true, vec![]).text(), "3 jobs, 20 checks; checkconfig passes without any error!\n");
    }

    #[test]
    fn strictly_a_warning_is_a_reason_to_fail_and_a_note_is_not() {
        for (strict, findings, passed) in [
            (false, vec![finding()], true),
            (true, vec![finding()], false),
            (true, vec![Finding::note("load", "odd")], true),
            (false, vec![Finding::error("load", "bad")], false),
        ] {
            assert_eq!(report(strict, findings).passed(), passed);
        }
        assert!(report(true, vec![finding()]).summary().ends_with("(--strict: warnings fail)"));
    }

    #[test]
    fn annotations_have_their_line_and_cannot_be_broken_out_of() {
        let hostile = Finding {
            file: "jobs/a,b:c%.yaml".into(),
            message: "100%\n::error::owned\u{202e}".into(),
            ..finding()
        };
        let text = report(false, vec![hostile, Finding::error("load", "bad")]).github();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "::error title=load::bad",
                "::warning file=jobs/a%2Cb%3Ac%25.yaml,line=7,col=3,title=long-job-names::a.b: 100%25\\n::error::owned\\u{202e}%0Ashorten it",
                "1 error, 1 warning; 3 jobs, 20 checks",
            ]
        );
        assert!(report(true, vec![finding()]).github().starts_with("::error file=jobs/a.yaml,line=7,col=3,"));
    }

    #[test]
    fn json_has_everything() {
        let value: serde_json::Value =
            serde_json::from_str(&report(true, vec![finding()]).json().unwrap()).unwrap();
        assert_eq!((&value["passed"], &value["warnings"]), (&json!(false), &json!(1)));
        assert_eq!(
            value["findings"][0],
            json!({
                "level": "warning", "check": "long-job-names", "file": "jobs/a.yaml", "line": 7, "column": 3,
                "key": "a.b", "message": "presubmit \"x\" has a name", "suggestion": "shorten it",
            })
        );
    }
}
