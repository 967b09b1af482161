//! The answer, as a table for people or as JSON.

use super::case::{Case, What};
use super::decide::{Row, Verdict};
use prow_job::explain::printable;
use prow_job::select::Rule;
use serde_json::{Value, json};
use std::fmt::Write;

fn question(case: &Case) -> String {
    let repo = format!("{}/{}", case.org, case.repo);
    let branch = case.branch.as_deref().unwrap_or_default();
    let pull = match case.number {
        0 => format!("a pull request to {branch} of {repo}"),
        number => format!("pull request {repo}#{number} to {branch}"),
    };
    match &case.what {
        What::Update => pull,
        What::Comment(body) => format!("the comment {:?} on {pull}", body.trim()),
        What::Push => format!("a push to {branch} of {repo}"),
    }
}

/// One line a job, what it is about above, and what was not known below.
pub fn table(case: &Case, rows: &[Row]) -> String {
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            let runs = match row.verdict {
                Verdict::Yes => "yes",
                Verdict::No => "no",
                Verdict::Unknown => "?",
            };
            let forced = if row.forced { "forced" } else { "-" };
            let place = match row.line {
                0 => row.file.clone(),
                line => format!("{}:{line}", row.file),
            };
            [runs, forced, &row.job, &place, &row.because].map(printable)
        })
        .collect();
    let heads = ["RUNS", "FORCED", "JOB", "DECIDED AT", "WHY"];
    let mut widths = heads.map(|head| head.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let count = |verdict: Verdict| rows.iter().filter(|r| r.verdict == verdict).count();
    let kind = if case.what == What::Push { "postsubmits" } else { "presubmits" };
    let unknown = match count(Verdict::Unknown) {
        0 => String::new(),
        n => format!(", {n} cannot be told"),
    };
    // Writing to a String cannot fail; the same holds below.
    let mut out = format!(
        "{}: {} of {} {kind} run{unknown}\n",
        printable(&question(case)),
        count(Verdict::Yes),
        rows.len()
    );
    if !rows.is_empty() {
        out.push('\n');
        for row in std::iter::once(&heads.map(str::to_owned)).chain(&cells) {
            let [runs, forced, job, place, why] = row;
            let [a, b, c, d, _] = widths;
            let _ = writeln!(out, "{runs:<a$}  {forced:<b$}  {job:<c$}  {place:<d$}  {why}");
        }
    }
    if !case.notes.is_empty() {
        out.push('\n');
    }
    for note in &case.notes {
        let _ = writeln!(out, "Note: {note}.");
    }
    out
}

/// One object; `jobs` in the order of the table.
pub fn json(case: &Case, rows: &[Row]) -> anyhow::Result<String> {
    let jobs = rows.iter().map(job).collect::<Result<Vec<Value>, _>>()?;
    let answer = json!({
        "question": question(case),
        "org": case.org, "repo": case.repo, "pr": (case.number > 0).then_some(case.number),
        "branch": case.branch, "changed_files": case.changed_files,
        "comment": if let What::Comment(body) = &case.what { Some(body) } else { None },
        "jobs": jobs, "notes": case.notes,
    });
    Ok(serde_json::to_string_pretty(&answer)? + "\n")
}

fn job(row: &Row) -> Result<Value, serde_json::Error> {
    // The library's explanation, rule and what it was applied to included; an event-wide reason has none.
    let mut out = match &row.explanation {
        Some(explanation) => serde_json::to_value(explanation)?,
        None if row.verdict == Verdict::Unknown => json!({"rule": "unknown"}),
        None => json!({"rule": "event"}),
    };
    if let Some(Rule::FileMatches { file, .. } | Rule::FileOutside { file, .. }) =
        row.explanation.as_ref().map(|e| &e.rule)
    {
        // Under "file" is the job's file.
        out["changed_file"] = json!(file);
    }
    out["job"] = json!(row.job);
    out["context"] = json!(row.context);
    out["runs"] = match row.verdict {
        Verdict::Yes => json!(true),
        Verdict::No => json!(false),
        Verdict::Unknown => Value::Null,
    };
    out["forced"] = json!(row.forced);
    out["because"] = json!(row.because);
    out["file"] = json!(row.file);
    out["line"] = json!(row.line);
    out["job_line"] = json!(row.job_line);
    Ok(out)
}
