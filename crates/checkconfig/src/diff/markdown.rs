//! Changes as Markdown for a comment on a pull request.
//!
//! Names, values and Pods come from a pull request, so they are hostile: whatever they hold, they are shown as code,
//! mention nobody, link nowhere, and end no table, fence or fold. The text is never longer than a comment may be; what
//! does not fit is counted.

use super::text::shown;
use super::{Change, Changes, Group, JobRef};
use crate::text::count;
use prow_job::explain::printable;
use serde_json::Value;
use std::fmt::Write;

/// How long a comment on GitHub may be. Bytes are counted, of which there are at least as many as characters.
pub const MAX_COMMENT: usize = 65_536;
/// First line, by which whoever keeps the comment up to date finds it.
pub const MARKER: &str = "<!-- prow config diff -->";

/// Rows of a table.
const ROWS: usize = 40;
/// Lines of a Pod's diff.
const DIFF_LINES: usize = 200;
/// Bytes of a Pod's diff.
const DIFF_BYTES: usize = 12_000;
/// Characters of a value.
const VALUE: usize = 120;
/// Characters of a name.
const NAME: usize = 200;
/// Kept free for the line that says what did not fit.
const RESERVE: usize = 200;

/// The whole answer in at most `max` bytes; [`MAX_COMMENT`] for GitHub.
pub fn markdown(changes: &Changes, max: usize) -> String {
    let mut out = format!("{MARKER}\n### Prow: {}\n", heading(changes));
    let mut left_out = 0;
    for block in blocks(changes) {
        if out.len() + block.len() + RESERVE <= max {
            out.push_str(&block);
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        let parts = count(left_out, "part");
        // Writing to a String cannot fail; the same holds below.
        let _ = write!(out, "\n{parts} did not fit into a comment; `prow config diff` shows everything.\n");
    }
    out
}

fn heading(changes: &Changes) -> String {
    // Keys of the configuration come from its types, names of jobs are not in it: there is nothing to escape.
    changes.summary()
}

fn blocks(changes: &Changes) -> Vec<String> {
    let mut out = Vec::new();
    let mut rows = Vec::new();
    for (what, jobs) in [("added", &changes.added), ("removed", &changes.removed)] {
        rows.extend(jobs.iter().map(|job| row(what, job, "")));
    }
    for renamed in &changes.renamed {
        rows.push(row("renamed", &renamed.new, &format!(", was {}", code(&renamed.old.name, NAME))));
    }
    if !rows.is_empty() {
        out.push(table("| | Job | Where |\n|---|---|---|\n", &rows, "job"));
    }
    out.extend(changes.changed.iter().map(group));
    for (file, sections) in [("config.yaml", &changes.config), ("plugins.yaml", &changes.plugins)] {
        for section in sections {
            let head = format!("<code>{}</code> of {file}", html(&section.key));
            out.push(folded(&head, &fields(&section.changes)));
        }
    }
    out
}

fn row(what: &str, job: &JobRef, more: &str) -> String {
    format!("| {what} | {}{more} | {} |\n", named(job), code(&format!("{}:{}", job.file, job.line), NAME))
}

/// `presubmit `unit` of `org/repo``.
fn named(job: &JobRef) -> String {
    let name = code(&job.name, NAME);
    match job.repo.as_str() {
        "" => format!("{} {name}", job.kind),
        repo => format!("{} {name} of {}", job.kind, code(repo, NAME)),
    }
}

fn table(head: &str, rows: &[String], what: &str) -> String {
    let mut out = format!("\n{head}");
    rows.iter().take(ROWS).for_each(|row| out.push_str(row));
    if rows.len() > ROWS {
        let _ = write!(out, "\n… and {}\n", count(rows.len() - ROWS, &format!("more {what}")));
    }
    out
}

fn folded(head: &str, body: &str) -> String {
    format!("\n<details><summary>{head}</summary>\n{body}\n</details>\n")
}

fn group(group: &Group) -> String {
    let names: Vec<String> =
        group.jobs.iter().take(3).map(|j| format!("<code>{}</code>", html(&j.name))).collect();
    let what = match group.jobs.as_slice() {
        [one] if one.repo.is_empty() => format!("{} ", one.kind),
        [one] => format!("{} of <code>{}</code>: ", one.kind, html(&one.repo)),
        many => format!("{} alike: ", count(many.len(), "job")),
    };
    let more = if group.jobs.len() > 3 { ", …" } else { "" };
    let head = format!("changed {what}{}{more}", names.join(", "));
    let mut body = String::new();
    if group.jobs.len() > 1 {
        let rows: Vec<String> = group.jobs.iter().map(|job| row("changed", job, "")).collect();
        body.push_str(&table("| | Job | Where |\n|---|---|---|\n", &rows, "job"));
    } else if let [job] = group.jobs.as_slice() {
        let _ = write!(body, "\n{}\n", code(&format!("{}:{}", job.file, job.line), NAME));
    }
    if !group.changes.is_empty() {
        body.push_str(&fields(&group.changes));
    }
    if let Some(pod) = &group.pod {
        let whose = match group.jobs.as_slice() {
            [first, _, ..] => format!("Pod of {}, the others alike", named(first)),
            _ => "Pod".to_owned(),
        };
        let _ = write!(body, "\n{whose}:\n\n{}", diff(&pod.diff));
    }
    folded(&head, &body)
}

fn fields(changes: &[Change]) -> String {
    let shown =
        |value: &Option<Value>| value.as_ref().map_or(String::new(), |v| code(&shown(v, VALUE), VALUE * 2));
    let row = |change: &Change| {
        format!("| {} | {} | {} |\n", code(&change.path, NAME), shown(&change.old), shown(&change.new))
    };
    let rows: Vec<String> = changes.iter().map(row).collect();
    table("| Field | Before | After |\n|---|---|---|\n", &rows, "field")
}

/// A fenced diff, cut where it gets long.
fn diff(text: &str) -> String {
    let mut body = String::new();
    for (shown, line) in text.lines().enumerate() {
        let line = printable(line);
        if shown == DIFF_LINES || body.len() + line.len() > DIFF_BYTES {
            let _ = writeln!(body, "… {}", count(text.lines().count() - shown, "more line"));
            break;
        }
        let _ = writeln!(body, "{line}");
    }
    let fence = "`".repeat(longest_run(&body).max(2) + 1);
    format!("{fence}diff\n{body}{fence}\n")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

/// A text as inline code, fit for a table: one line, no end of the cell, no end of the code.
fn code(text: &str, longest: usize) -> String {
    let mut text = printable(text);
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
        text.push('…');
    }
    if text.is_empty() {
        return String::new();
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    let space = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    // In a table an escaped bar is a bar even within code.
    format!("{fence}{space}{}{space}{fence}", text.replace('|', "\\|"))
}

/// A text within HTML.
fn html(text: &str) -> String {
    let mut text = printable(text);
    if let Some((end, _)) = text.char_indices().nth(NAME) {
        text.truncate(end);
        text.push('…');
    }
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::{PodChange, Renamed, Section};
    use serde_json::json;

    fn job(name: &str) -> JobRef {
        JobRef {
            kind: "presubmit",
            repo: "acme/rocket".into(),
            name: name.into(),
            file: "jobs/a.yaml".into(),
            line: 3,
        }
    }

    fn group(names: &[&str], diff: &str) -> Group {
        Group {
            jobs: names.iter().map(|n| job(n)).collect(),
            changes: vec![Change {
                path: "always_run".into(),
                old: Some(json!(false)),
                new: Some(json!(true)),
            }],
            pod: Some(PodChange { changes: vec![], diff: diff.into() }),
        }
    }

    #[test]
    fn a_comment_reads_well() {
        let changes = Changes {
            added: vec![job("new")],
            renamed: vec![Renamed { old: job("was"), new: job("is") }],
            changed: vec![group(&["unit"], "@@ -1,1 +1,1 @@ spec.x\n-a\n+b\n")],
            config: vec![Section {
                key: "plank".into(),
                changes: vec![Change { path: "plank.max_goroutines".into(), old: None, new: Some(json!(3)) }],
            }],
            ..Changes::default()
        };
        let want = "<!-- prow config diff -->
### Prow: 1 job added, 1 renamed, 1 changed, plank of config.yaml

| | Job | Where |
|---|---|---|
| added | presubmit `new` of `acme/rocket` | `jobs/a.yaml:3` |
| renamed | presubmit `is` of `acme/rocket`, was `was` | `jobs/a.yaml:3` |

<details><summary>changed presubmit of <code>acme/rocket</code>: <code>unit</code></summary>

`jobs/a.yaml:3`

| Field | Before | After |
|---|---|---|
| `always_run` | `false` | `true` |

Pod:

```diff
@@ -1,1 +1,1 @@ spec.x
-a
+b
```

</details>

<details><summary><code>plank</code> of config.yaml</summary>

| Field | Before | After |
|---|---|---|
| `plank.max_goroutines` |  | `3` |

</details>
";
        assert_eq!(markdown(&changes, MAX_COMMENT), want);
        assert_eq!(
            markdown(&Changes::default(), MAX_COMMENT),
            format!("{MARKER}\n### Prow: nothing changes\n")
        );
    }

    #[test]
    fn hostile_names_and_pods_stay_code() {
        let hostile = "a|b`c``d</code></details>\n@acme/all <img src=x> [x](http://x)\u{202e}";
        let mut changes = Changes {
            added: vec![job(hostile)],
            changed: vec![group(&[hostile, "x"], "+````\n+</details>\n+@acme\u{1b}[31m\n")],
            ..Changes::default()
        };
        changes.changed[0].changes[0].new = Some(json!(hostile));
        let text = markdown(&changes, MAX_COMMENT);
        // One fold is opened and one is closed, outside of fences.
        let outside: Vec<&str> = text.split("`````").step_by(2).collect();
        assert_eq!(text.split("`````").count(), 3, "{text}");
        let closing = outside.iter().flat_map(|t| t.lines()).filter(|l| l.trim() == "</details>").count();
        assert_eq!(closing, 1, "{text}");
        assert!(!text.contains(['\u{202e}', '\u{1b}']), "{text}");
        for line in outside.iter().flat_map(|t| t.lines()) {
            if line.starts_with('|') {
                // Cells end where a bar is not escaped: there are three in every row.
                let bars = line.replace("\\|", "").matches('|').count();
                assert_eq!(bars, 4, "{line}");
                assert!(!line.contains("@acme") || line.contains("``` ") || line.contains("```a"), "{line}");
            }
            if line.contains("<summary>") {
                assert!(line.contains("&lt;/code&gt;") && !line.contains("<img"), "{line}");
            }
        }
    }

    #[test]
    fn a_comment_is_never_too_long() {
        let long = "+x".repeat(100) + "\n";
        let diff = long.repeat(500);
        let groups: Vec<Group> = (0..50).map(|i| group(&[&format!("job-{i}")], &diff)).collect();
        let changes =
            Changes { changed: groups, added: vec![job(&"n".repeat(5000)); 4000], ..Changes::default() };
        let text = markdown(&changes, MAX_COMMENT);
        assert!(text.len() <= MAX_COMMENT && text.len() > MAX_COMMENT / 2, "{}", text.len());
        assert!(
            text.contains("… and 3960 more jobs") && text.contains("did not fit into a comment"),
            "{}",
            &text[text.len() - 300..]
        );
        assert!(text.contains(" more lines\n```"));
        assert!(markdown(&changes, 400).len() <= 400);
    }
}
