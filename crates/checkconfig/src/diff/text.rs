//! Changes as text for a terminal.

use super::{Change, Changes, Group, JobRef, Section};
use crate::text::count;
use prow_job::explain::printable;
use serde_json::Value;
use std::fmt::Write;

/// Jobs of a group that are named.
const NAMED: usize = 10;
/// Characters of a value that are shown.
const LONGEST: usize = 160;

/// The whole answer.
pub fn text(changes: &Changes) -> String {
    let mut out = format!("{}\n", changes.summary());
    for (mark, jobs) in [('+', &changes.added), ('-', &changes.removed)] {
        if !jobs.is_empty() {
            out.push('\n');
        }
        for job in jobs {
            // Writing to a String cannot fail; the same holds below.
            let _ = writeln!(out, "{mark} {}", placed(job));
        }
    }
    if !changes.renamed.is_empty() {
        out.push('\n');
    }
    for renamed in &changes.renamed {
        let _ = writeln!(out, "> {} was {}", placed(&renamed.new), printable(&renamed.old.name));
    }
    for group in &changes.changed {
        out.push('\n');
        self::group(group, &mut out);
    }
    for (file, sections) in [("config.yaml", &changes.config), ("plugins.yaml", &changes.plugins)] {
        for Section { key, changes } in sections {
            let _ = writeln!(out, "\n{file}: {} ({})", printable(key), count(changes.len(), "change"));
            fields(changes, &mut out);
        }
    }
    out
}

fn placed(job: &JobRef) -> String {
    printable(&format!("{job} ({}:{})", job.file, job.line))
}

fn group(group: &Group, out: &mut String) {
    for job in group.jobs.iter().take(NAMED) {
        let _ = writeln!(out, "~ {}", placed(job));
    }
    if group.jobs.len() > NAMED {
        let _ = writeln!(out, "~ and {} in the same way", count(group.jobs.len() - NAMED, "more job"));
    }
    fields(&group.changes, out);
    let Some(pod) = &group.pod else { return };
    match group.jobs.as_slice() {
        [first, _, ..] => {
            let _ = writeln!(out, "    its Pod (here that of {}):", printable(&first.to_string()));
        }
        _ => out.push_str("    its Pod:\n"),
    }
    for line in pod.diff.lines() {
        let _ = writeln!(out, "    {}", printable(line));
    }
}

fn fields(changes: &[Change], out: &mut String) {
    for change in changes {
        let path = if change.path.is_empty() { "." } else { &change.path };
        let shown = |value: &Option<Value>| value.as_ref().map_or("(none)".to_owned(), |v| shown(v, LONGEST));
        let _ = writeln!(out, "    {}: {} -> {}", printable(path), shown(&change.old), shown(&change.new));
    }
}

/// A value in one line, of at most so many characters.
pub(super) fn shown(value: &Value, longest: usize) -> String {
    let text = printable(&value.to_string());
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
