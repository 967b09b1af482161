//! Which jobs an event asks for, and why (prow-config §5.5, prow-runtime §3.5, §3.6).
//!
//! Every job gets a [`Decision`] with the [`Rule`] that made it, whether it runs or not.

use crate::comment::Commands;
use prow_config::jobs::{Brancher, ChangeMatcher, Postsubmit, Presubmit};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// What an event asks for: everything that runs by itself, or what a comment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The comment as it was written, code blocks included; empty for events.
    body: String,
    /// A line of it begins with `/test`.
    has_test: bool,
    /// In the contract's order: the first that matches a job decides.
    filters: Vec<Filter>,
    failed_contexts: BTreeSet<String>,
    all_contexts: BTreeSet<String>,
}

/// Why a job is looked at at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// The comment matches the job's trigger.
    Command,
    /// `/retest`
    Retest,
    /// `/retest-required`
    RetestRequired,
    /// `/test-manual-required`
    TestManualRequired,
    /// `/test all`, `/ok-to-test`, or an event that runs everything that runs by itself.
    TestAll,
    /// A push.
    Push,
}

/// What was decided about one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<'a, J> {
    /// The job; its `base.source` says where it was written.
    pub job: &'a J,
    /// It runs.
    pub run: bool,
    /// It was asked for by name: changed files and `always_run` do not matter.
    pub forced: bool,
    /// What made it be looked at; `None` if nothing did.
    pub asked_by: Option<Filter>,
    /// The rule that decided.
    pub rule: Rule,
}

/// The rule that decided about a job. `Display` is a clause that follows "runs because" or "does not run because".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum Rule {
    /// Runs: `always_run`.
    AlwaysRun,
    /// Runs: asked for by a comment that names it.
    Forced,
    /// Runs: a changed file matches `run_if_changed`.
    FileMatches {
        /// `run_if_changed`.
        pattern: String,
        /// The first file that matches.
        file: String,
    },
    /// Runs: a changed file is outside of `skip_if_only_changed`.
    FileOutside {
        /// `skip_if_only_changed`.
        pattern: String,
        /// The first file that does not match.
        file: String,
    },
    /// Runs: `/retest`, and its context failed.
    ContextFailed {
        /// Context.
        context: String,
    },
    /// Runs: a postsubmit that says nothing runs on every push.
    EveryPush,
    /// Does not run: `always_run: false` on a postsubmit.
    NeverRun,
    /// Does not run: `skip_branches` matches.
    BranchSkipped {
        /// `skip_branches`, joined.
        pattern: String,
    },
    /// Does not run: `branches` does not match.
    BranchNotListed {
        /// `branches`, joined.
        pattern: String,
    },
    /// Does not run: no changed file matches `run_if_changed`.
    NoFileMatches {
        /// `run_if_changed`.
        pattern: String,
    },
    /// Does not run: every changed file matches `skip_if_only_changed`.
    OnlySkippedFiles {
        /// `skip_if_only_changed`.
        pattern: String,
    },
    /// Does not run: there are no changed files, and it depends on them.
    NothingChanged {
        /// `run_if_changed` or `skip_if_only_changed`.
        pattern: String,
    },
    /// Does not run: it only runs when asked for by name.
    ExplicitOnly {
        /// What to write.
        rerun_command: String,
    },
    /// Does not run: the comment does not ask for it.
    NotNamed {
        /// What to write.
        rerun_command: String,
    },
    /// Does not run: `/retest`, and its context has reported and did not fail.
    ContextNotFailed {
        /// Context.
        context: String,
    },
    /// Does not run: `/retest-required`, and it is optional.
    Optional,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::AlwaysRun => f.write_str("always_run is true"),
            Rule::Forced => f.write_str("it was asked for by name"),
            Rule::FileMatches { pattern, file } => {
                write!(f, "the changed file {file:?} matches run_if_changed {pattern:?}")
            }
            Rule::FileOutside { pattern, file } => {
                write!(f, "the changed file {file:?} does not match skip_if_only_changed {pattern:?}")
            }
            Rule::ContextFailed { context } => write!(f, "its context {context:?} failed"),
            Rule::EveryPush => f.write_str("it runs on every push to its branches"),
            Rule::NeverRun => f.write_str("always_run is false"),
            Rule::BranchSkipped { pattern } => write!(f, "the branch matches skip_branches {pattern:?}"),
            Rule::BranchNotListed { pattern } => write!(f, "the branch does not match branches {pattern:?}"),
            Rule::NoFileMatches { pattern } => {
                write!(f, "no changed file matches run_if_changed {pattern:?}")
            }
            Rule::OnlySkippedFiles { pattern } => {
                write!(f, "every changed file matches skip_if_only_changed {pattern:?}")
            }
            Rule::NothingChanged { pattern } => {
                write!(f, "nothing changed, and it depends on changed files by {pattern:?}")
            }
            Rule::ExplicitOnly { rerun_command } => {
                write!(f, "it only runs when asked for with {rerun_command:?}")
            }
            Rule::NotNamed { rerun_command } => {
                write!(f, "the comment does not ask for it ({rerun_command:?} would)")
            }
            Rule::ContextNotFailed { context } => write!(f, "its context {context:?} did not fail"),
            Rule::Optional => f.write_str("it is optional"),
        }
    }
}

/// Why nothing could be decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The caller did not ask [`needs_changed_files`] first.
    #[error(
        "job {job:?} depends on the changed files of this event, and they were not fetched; fetch them first"
    )]
    ChangedFilesNeeded {
        /// The first such job.
        job: String,
    },
}

impl Ask {
    /// A pull request that was opened or updated: all that runs by itself.
    pub fn all() -> Ask {
        Ask {
            body: String::new(),
            has_test: false,
            filters: vec![Filter::TestAll],
            failed_contexts: BTreeSet::new(),
            all_contexts: BTreeSet::new(),
        }
    }

    /// A comment, as it was written. `/ok-to-test` counts as `/test all` if `honour_ok_to_test`
    /// (`!ignore_ok_to_test`).
    pub fn comment(body: &str, honour_ok_to_test: bool) -> Ask {
        let commands = Commands::parse(body);
        let mut filters = vec![Filter::Command];
        for (given, filter) in [
            (commands.retest, Filter::Retest),
            (commands.retest_required, Filter::RetestRequired),
            (commands.test_manual_required, Filter::TestManualRequired),
            (commands.test_all || (honour_ok_to_test && commands.ok_to_test), Filter::TestAll),
        ] {
            if given {
                filters.push(filter);
            }
        }
        Ask {
            body: body.to_owned(),
            has_test: has_test_line(body),
            filters,
            failed_contexts: BTreeSet::new(),
            all_contexts: BTreeSet::new(),
        }
    }

    /// True if the statuses of the head commit matter: fetch them and give them to [`Ask::with_contexts`].
    pub fn needs_contexts(&self) -> bool {
        self.is_retest()
    }

    /// True for `/retest` and `/retest-required`; the ProwJobs get the `prow.k8s.io/retest` label.
    pub fn is_retest(&self) -> bool {
        self.filters.iter().any(|f| matches!(f, Filter::Retest | Filter::RetestRequired))
    }

    /// With the contexts on the head commit: those whose state is `failure` or `error`, and all.
    #[must_use]
    pub fn with_contexts(
        mut self,
        failed: impl IntoIterator<Item = String>,
        all: impl IntoIterator<Item = String>,
    ) -> Ask {
        self.failed_contexts = failed.into_iter().collect();
        self.all_contexts = all.into_iter().collect();
        self
    }

    /// The first filter that matches `job`, and what it asks for.
    fn of(&self, job: &Presubmit) -> Option<Asked> {
        self.filters.iter().find_map(|&by| {
            let asked = |forced, default| Some(Asked { by, forced, default });
            let failed = || self.failed_contexts.contains(&job.context);
            let unreported = || !needs_explicit_trigger(job) && !self.all_contexts.contains(&job.context);
            match by {
                Filter::Command if triggers(job, &self.body, self.has_test) => asked(true, true),
                Filter::RetestRequired if job.optional => None,
                Filter::Retest | Filter::RetestRequired if failed() => asked(false, true),
                Filter::Retest | Filter::RetestRequired if unreported() => asked(false, false),
                Filter::TestManualRequired if !job.optional && needs_explicit_trigger(job) => {
                    asked(true, true)
                }
                Filter::TestAll if !needs_explicit_trigger(job) => asked(false, false),
                _ => None,
            }
        })
    }

    /// Why no filter matches `job`.
    fn why_not(&self, job: &Presubmit) -> Rule {
        let rerun_command = job.rerun_command.clone();
        if self.filters.contains(&Filter::TestAll) {
            Rule::ExplicitOnly { rerun_command }
        } else if self.is_retest() && !self.filters.contains(&Filter::Retest) && job.optional {
            Rule::Optional
        } else if self.is_retest() && self.all_contexts.contains(&job.context) {
            Rule::ContextNotFailed { context: job.context.clone() }
        } else if self.is_retest() {
            Rule::ExplicitOnly { rerun_command }
        } else {
            Rule::NotNamed { rerun_command }
        }
    }
}

/// Whether a line begins with `/test`, without which no default trigger matches.
pub(crate) fn has_test_line(body: &str) -> bool {
    body.split('\n').any(|line| line.starts_with("/test"))
}

/// Whether a job's trigger matches. A repository has hundreds of jobs, most with the default trigger, and most
/// comments are talk or name one of them: only those patterns that could match are compiled and asked.
pub(crate) fn triggers(job: &Presubmit, body: &str, has_test: bool) -> bool {
    let trigger = job.trigger.as_str();
    if trigger.starts_with("(?m)^/test") && !has_test {
        return false;
    }
    if default_trigger_name(trigger).is_some_and(|name| !body.contains(name)) {
        return false;
    }
    job.trigger.is_match(body)
}

/// The name in a default trigger, if it means itself as a pattern.
fn default_trigger_name(trigger: &str) -> Option<&str> {
    let name = trigger.strip_prefix("(?m)^/test( | .* )")?.strip_suffix(r",?($|\s.*)")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    name.bytes().all(plain).then_some(name)
}

#[derive(Clone, Copy)]
struct Asked {
    by: Filter,
    forced: bool,
    default: bool,
}

/// True if a presubmit only runs when a comment names it.
pub fn needs_explicit_trigger(job: &Presubmit) -> bool {
    !job.always_run && !depends_on_changes(&job.changes)
}

/// True if a presubmit's context must pass before a merge.
pub fn context_required(job: &Presubmit) -> bool {
    !job.optional && !job.skip_report
}

/// True if the job looks at changed files.
pub fn depends_on_changes(changes: &ChangeMatcher) -> bool {
    changes.run_if_changed.is_some() || changes.skip_if_only_changed.is_some()
}

/// Whether the decision depends on the list of changed files, so that it has to be fetched.
pub fn needs_changed_files(presubmits: &[Presubmit], branch: &str, ask: &Ask) -> bool {
    presubmits.iter().any(|job| {
        !job.always_run
            && depends_on_changes(&job.changes)
            && ask.of(job).is_some_and(|asked| !asked.forced && !asked.default)
            && branch_rule(&job.brancher, branch).is_none()
    })
}

/// As [`needs_changed_files`], for pushes.
pub fn postsubmits_need_changed_files(postsubmits: &[Postsubmit], branch: &str) -> bool {
    postsubmits
        .iter()
        .any(|job| depends_on_changes(&job.changes) && branch_rule(&job.brancher, branch).is_none())
}

/// Decides about every presubmit of a repository, in order.
///
/// # Errors
/// [`SelectError::ChangedFilesNeeded`] if `changed_files` is `None` and [`needs_changed_files`].
pub fn select<'a>(
    presubmits: &'a [Presubmit],
    branch: &str,
    ask: &Ask,
    changed_files: Option<&[String]>,
) -> Result<Vec<Decision<'a, Presubmit>>, SelectError> {
    presubmits.iter().map(|job| decide(job, branch, ask, changed_files)).collect()
}

fn decide<'a>(
    job: &'a Presubmit,
    branch: &str,
    ask: &Ask,
    changed_files: Option<&[String]>,
) -> Result<Decision<'a, Presubmit>, SelectError> {
    let Some(asked) = ask.of(job) else {
        return Ok(Decision { job, run: false, forced: false, asked_by: None, rule: ask.why_not(job) });
    };
    let decision =
        |run, rule| Ok(Decision { job, run, forced: asked.forced, asked_by: Some(asked.by), rule });
    if let Some(rule) = branch_rule(&job.brancher, branch) {
        return decision(false, rule);
    }
    if job.always_run {
        return decision(true, Rule::AlwaysRun);
    }
    if asked.forced {
        return decision(true, Rule::Forced);
    }
    // Only a failed context asks for a default of "run" without force; then changed files cannot say no.
    if asked.default {
        return decision(true, Rule::ContextFailed { context: job.context.clone() });
    }
    match change_rule(&job.changes, changed_files, &job.base.name)? {
        Some((run, rule)) => decision(run, rule),
        None => decision(false, Rule::ExplicitOnly { rerun_command: job.rerun_command.clone() }),
    }
}

/// Decides about every postsubmit of a repository for a push to `branch`, in order. `changed_files` is the union of
/// the added, removed and modified paths of all commits of the push.
///
/// # Errors
/// [`SelectError::ChangedFilesNeeded`] if `changed_files` is `None` and [`postsubmits_need_changed_files`].
pub fn select_postsubmits<'a>(
    postsubmits: &'a [Postsubmit],
    branch: &str,
    changed_files: Option<&[String]>,
) -> Result<Vec<Decision<'a, Postsubmit>>, SelectError> {
    postsubmits
        .iter()
        .map(|job| {
            let decision =
                |run, rule| Ok(Decision { job, run, forced: false, asked_by: Some(Filter::Push), rule });
            if let Some(rule) = branch_rule(&job.brancher, branch) {
                return decision(false, rule);
            }
            if let Some((run, rule)) = change_rule(&job.changes, changed_files, &job.base.name)? {
                return decision(run, rule);
            }
            match job.always_run {
                Some(true) => decision(true, Rule::AlwaysRun),
                Some(false) => decision(false, Rule::NeverRun),
                None => decision(true, Rule::EveryPush),
            }
        })
        .collect()
}

/// Why a job is not for `branch`; `None` if it is. `skip_branches` is asked first.
pub fn branch_rule(brancher: &Brancher, branch: &str) -> Option<Rule> {
    if let Some(skip) = brancher.skip_branches_re.as_ref().filter(|re| re.is_match(branch)) {
        return Some(Rule::BranchSkipped { pattern: skip.as_str().to_owned() });
    }
    let listed = brancher.branches_re.as_ref().filter(|re| !re.is_match(branch))?;
    Some(Rule::BranchNotListed { pattern: listed.as_str().to_owned() })
}

/// Whether a job is for `branch`.
pub fn runs_on_branch(brancher: &Brancher, branch: &str) -> bool {
    branch_rule(brancher, branch).is_none()
}

/// Whether two jobs may meet on a branch. Lists of branches are compared as texts, not as patterns (trap 6).
pub fn intersects(a: &Brancher, b: &Brancher) -> bool {
    let unrestricted = |x: &Brancher| x.branches.is_empty() && x.skip_branches.is_empty();
    if unrestricted(a) || unrestricted(b) {
        return true;
    }
    match (a.branches.is_empty(), b.branches.is_empty()) {
        (true, true) => true,
        (false, false) => a.branches.iter().any(|branch| b.branches.contains(branch)),
        (false, true) => a.branches.iter().any(|branch| runs_on_branch(b, branch)),
        (true, false) => b.branches.iter().any(|branch| runs_on_branch(a, branch)),
    }
}

/// What the changed files say; `None` if the job does not look at them.
fn change_rule(
    changes: &ChangeMatcher,
    changed_files: Option<&[String]>,
    job: &str,
) -> Result<Option<(bool, Rule)>, SelectError> {
    let (regex, runs_if_matching) = match (&changes.run_if_changed, &changes.skip_if_only_changed) {
        (Some(regex), _) => (regex, true),
        (None, Some(regex)) => (regex, false),
        (None, None) => return Ok(None),
    };
    let files = changed_files.ok_or_else(|| SelectError::ChangedFilesNeeded { job: job.to_owned() })?;
    let pattern = regex.as_str().to_owned();
    let found = files.iter().find(|file| regex.is_match(file) == runs_if_matching).cloned();
    Ok(Some(match (found, runs_if_matching) {
        (Some(file), true) => (true, Rule::FileMatches { pattern, file }),
        (Some(file), false) => (true, Rule::FileOutside { pattern, file }),
        (None, _) if files.is_empty() => (false, Rule::NothingChanged { pattern }),
        (None, true) => (false, Rule::NoFileMatches { pattern }),
        (None, false) => (false, Rule::OnlySkippedFiles { pattern }),
    }))
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
