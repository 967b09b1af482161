//! Every job of the repository with its decision, or with what would be needed to decide. Pure but for reading the
//! lines of the rules.

use super::case::{Case, What};
use super::place::Places;
use prow_config::Snapshot;
use prow_job::comment::{Commands, concerns_trigger, help_note, without_code_blocks};
use prow_job::explain::{Explained, Explanation};
use prow_job::select::{self, Ask, Decision, SelectError};

/// What became of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Runs.
    Yes,
    /// Does not run.
    No,
    /// Depends on the changed files, which are not known.
    Unknown,
}

/// One job's line.
#[derive(Debug, Clone)]
pub struct Row {
    /// Runs or not.
    pub verdict: Verdict,
    /// Asked for by name.
    pub forced: bool,
    /// Job.
    pub job: String,
    /// Status context.
    pub context: String,
    /// The decision as the library explains it; `None` if there is none, or an event-wide reason took its place.
    pub explanation: Option<Explanation>,
    /// In a sentence.
    pub because: String,
    /// File that the job is written in.
    pub file: String,
    /// Line of the key that decided, or of the job.
    pub line: u32,
    /// Line of the job.
    pub job_line: u32,
}

/// What is asked of presubmits.
pub fn ask(case: &Case) -> Ask {
    let ask = match &case.what {
        What::Comment(body) => Ask::comment(body, !case.ignore_ok_to_test),
        What::Update | What::Push => Ask::all(),
    };
    match &case.contexts {
        Some((failed, all)) => ask.with_contexts(failed.clone(), all.clone()),
        None => ask,
    }
}

/// All rows, in the order of the jobs.
pub fn rows(snapshot: &Snapshot, case: &Case) -> anyhow::Result<Vec<Row>> {
    let repo = format!("{}/{}", case.org, case.repo);
    let branch = case.branch.as_deref().unwrap_or_default();
    let files = case.changed_files.as_deref();
    let mut places = Places::default();
    let mut rows: Vec<Row> = Vec::new();
    // Jobs are decided one by one, so that one that cannot be decided does not hide the others.
    if case.what == What::Push {
        for job in snapshot.postsubmits_for(&repo) {
            let decided = select::select_postsubmits(std::slice::from_ref(job), branch, files);
            rows.push(row(job, decided, &mut places));
        }
    } else {
        let ask = ask(case);
        for job in snapshot.presubmits_for(&repo) {
            let decided = select::select(std::slice::from_ref(job), branch, &ask, files);
            rows.push(row(job, decided, &mut places));
        }
    }
    let selected = rows.iter().filter(|r| r.verdict == Verdict::Yes).count();
    if let Some(why) = case.blocked.clone().or_else(|| answered(snapshot, case, &repo, selected)) {
        for row in &mut rows {
            row.verdict = Verdict::No;
            row.forced = false;
            row.explanation = None;
            row.because = format!("does not run because {why}");
            row.line = row.job_line;
        }
    }
    Ok(rows)
}

/// Why a comment starts nothing although jobs may match it.
fn answered(snapshot: &Snapshot, case: &Case, repo: &str, selected: usize) -> Option<String> {
    let What::Comment(body) = &case.what else { return None };
    if !concerns_trigger(body, snapshot.presubmits_for(repo)) {
        return Some("the comment has no command for jobs".into());
    }
    let text = without_code_blocks(body);
    if Commands::parse(&text).ok_to_test_cancel {
        return Some("/ok-to-test cancel takes the label away and starts nothing".into());
    }
    match help_note(&text, selected)? {
        "" => Some("the comment asks for help and gets it".into()),
        note => Some(format!("the comment is answered with help: {note}")),
    }
}

fn row<J: Explained>(
    job: &J,
    decided: Result<Vec<Decision<'_, J>>, SelectError>,
    places: &mut Places,
) -> Row {
    let source = &job.base().source;
    let mut row = Row {
        verdict: Verdict::Unknown,
        forced: false,
        job: job.base().name.clone(),
        context: job.context().to_owned(),
        explanation: None,
        because: "depends on the changed files, which are not known".into(),
        file: source.file.to_string(),
        line: source.line,
        job_line: source.line,
    };
    match decided.ok().and_then(|list| list.into_iter().next()) {
        Some(decision) => {
            let explanation = decision.explain();
            row.verdict = if decision.run { Verdict::Yes } else { Verdict::No };
            row.forced = decision.forced;
            row.because.clone_from(&explanation.because);
            row.line = places.line(&source.file, source.line, &decision.rule);
            row.explanation = Some(explanation);
        }
        None => {
            row.line = places.key_line(&source.file, source.line, &["run_if_changed", "skip_if_only_changed"])
        }
    }
    row
}
