//! Comments that ask for tests (prow-runtime §3.4): which commands are in them, and when the answer is help.

use prow_config::goregex::GoRegex;
use prow_config::jobs::Presubmit;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::select::{Ask, SelectError, branch_rule, has_test_line, select, triggers};

macro_rules! patterns {
    ($($name:ident = $pattern:literal;)*) => {
        $(static $name: LazyLock<GoRegex> = LazyLock::new(|| {
            GoRegex::new($pattern).expect("a constant pattern, compiled by this file's tests")
        });)*
        #[cfg(test)]
        fn compile_all() {
            $(LazyLock::force(&$name);)*
        }
    };
}

patterns! {
    TEST_ALL = r"(?m)^/test all,?($|\s.*)";
    RETEST = r"(?m)^/retest\s*$";
    RETEST_REQUIRED = r"(?m)^/retest-required\s*$";
    TEST_MANUAL_REQUIRED = r"(?m)^/test-manual-required\s*$";
    OK_TO_TEST = r"(?m)^/ok-to-test\s*$";
    OK_TO_TEST_CANCEL = r"(?m)^/ok-to-test\s+cancel\s*$";
    TEST_HELP = r"(?m)^/test[ \t]*\?\s*$";
    TEST_NOTHING = r"(?m)^/test\s*$";
    RETEST_TARGET = r"(?m)^/retest[ \t]+\S+";
    TEST_TARGET = r"(?m)^/test[ \t]+\S+";
    PRUNE = r"(?m)^/(?:re)?test\b";
}

/// The commands of the trigger plugin that a text holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Commands {
    /// `/test all`
    pub test_all: bool,
    /// `/retest`
    pub retest: bool,
    /// `/retest-required`
    pub retest_required: bool,
    /// `/test-manual-required`
    pub test_manual_required: bool,
    /// `/ok-to-test`
    pub ok_to_test: bool,
    /// `/ok-to-test cancel`
    pub ok_to_test_cancel: bool,
    /// `/test ?`
    pub test_help: bool,
    /// `/test` and nothing after it.
    pub test_nothing: bool,
    /// `/retest something`, which is a mistake.
    pub retest_target: bool,
    /// `/test something`
    pub test_target: bool,
    /// Any of `/test` and `/retest`: older help comments are to be deleted.
    pub prune: bool,
}

impl Commands {
    /// The commands in `body`. They count outside of code blocks: give the text of [`without_code_blocks`]. Only the
    /// selection ([`Ask::comment`]) reads the comment as it was written.
    pub fn parse(body: &str) -> Commands {
        Commands {
            test_all: TEST_ALL.is_match(body),
            retest: RETEST.is_match(body),
            retest_required: RETEST_REQUIRED.is_match(body),
            test_manual_required: TEST_MANUAL_REQUIRED.is_match(body),
            ok_to_test: OK_TO_TEST.is_match(body),
            ok_to_test_cancel: OK_TO_TEST_CANCEL.is_match(body),
            test_help: TEST_HELP.is_match(body),
            test_nothing: TEST_NOTHING.is_match(body),
            retest_target: RETEST_TARGET.is_match(body),
            test_target: TEST_TARGET.is_match(body),
            prune: PRUNE.is_match(body),
        }
    }

    /// True if there is any command at all.
    pub fn any(&self) -> bool {
        *self != Commands::default()
    }
}

/// True if the trigger plugin has to look at this comment: outside of code blocks there is one of its commands or
/// the trigger of a job.
pub fn concerns_trigger(body: &str, presubmits: &[Presubmit]) -> bool {
    let text = without_code_blocks(body);
    let has_test = has_test_line(&text);
    Commands::parse(&text).any() || presubmits.iter().any(|job| triggers(job, &text, has_test))
}

/// `body` without its fenced code blocks: from a line that begins with three or more backticks or tildes to a line
/// with at least as many of the same and nothing else. A fence without end is kept.
pub fn without_code_blocks(body: &str) -> String {
    let lines: Vec<&str> = body.split_inclusive('\n').collect();
    let mut out = String::with_capacity(body.len());
    // The shortest fence of each kind that was seen to have no end; nothing that long has one further down. Without
    // this a comment of nothing but opening fences would cost the square of its length.
    let mut unclosed = [usize::MAX; 2];
    let mut at = 0;
    while at < lines.len() {
        if let Some((kind, length, _)) = fence(lines[at])
            && length < unclosed[kind]
        {
            let closes = |line: &&str| matches!(fence(line), Some((k, n, true)) if k == kind && n >= length);
            if let Some(end) = lines[at + 1..].iter().position(closes) {
                at += end + 2;
                continue;
            }
            unclosed[kind] = length;
        }
        out.push_str(lines[at]);
        at += 1;
    }
    out
}

/// Kind (0 backtick, 1 tilde) and length of the fence at the start of a line, and whether it stands alone.
fn fence(line: &str) -> Option<(usize, usize, bool)> {
    let (kind, mark) = match line.as_bytes().first()? {
        b'`' => (0, '`'),
        b'~' => (1, '~'),
        _ => return None,
    };
    let rest = line.trim_start_matches(mark);
    let length = line.len() - rest.len();
    (length >= 3).then(|| (kind, length, rest.trim_end().is_empty()))
}

/// Notes of the help comment; later comments are pruned by them (prow-runtime §3.4 step 8).
pub const TEST_WITHOUT_TARGET_NOTE: &str = "The `/test` command needs one or more targets.";
/// See [`TEST_WITHOUT_TARGET_NOTE`].
pub const RETEST_WITH_TARGET_NOTE: &str = "The `/retest` command does not accept any targets.";
/// See [`TEST_WITHOUT_TARGET_NOTE`].
pub const TEST_ALL_NOTHING_NOTE: &str = "No jobs can be run with `/test all`.";
/// See [`TEST_WITHOUT_TARGET_NOTE`].
pub const TARGET_NOT_FOUND_NOTE: &str = "The specified target(s) for `/test` were not found.";
/// First sentence of the list of required jobs.
pub const REQUIRED_JOBS_SENTENCE: &str = "The following commands are available to trigger required jobs:";
/// First sentence of the list of optional jobs.
pub const OPTIONAL_JOBS_SENTENCE: &str = "The following commands are available to trigger optional jobs:";

/// All texts by which an older help comment is known.
pub const HELP_MARKERS: [&str; 6] = [
    TEST_WITHOUT_TARGET_NOTE,
    RETEST_WITH_TARGET_NOTE,
    TEST_ALL_NOTHING_NOTE,
    TARGET_NOT_FOUND_NOTE,
    REQUIRED_JOBS_SENTENCE,
    OPTIONAL_JOBS_SENTENCE,
];

/// Whether `body` (without code blocks), by which `selected` jobs would run, is answered with help instead:
/// `Some(note)`, the note empty for a plain question.
pub fn help_note(body: &str, selected: usize) -> Option<&'static str> {
    let c = Commands::parse(body);
    if c.test_help {
        Some("")
    } else if c.test_nothing {
        Some(TEST_WITHOUT_TARGET_NOTE)
    } else if c.retest_target {
        Some(RETEST_WITH_TARGET_NOTE)
    } else if selected == 0 && c.test_all {
        Some(TEST_ALL_NOTHING_NOTE)
    } else if selected == 0 && c.test_target {
        Some(TARGET_NOT_FOUND_NOTE)
    } else {
        None
    }
}

/// The body of the help reply for pull requests to `branch` of `repo` (`org/repo`): `note`, the rerun commands of
/// the branch's jobs, and what runs by itself.
///
/// # Errors
/// [`SelectError::ChangedFilesNeeded`] if `changed_files` is `None` and what runs by itself depends on them
/// (ask [`crate::select::needs_changed_files`] with [`Ask::all`]).
pub fn help(
    repo: &str,
    branch: &str,
    note: &str,
    presubmits: &[Presubmit],
    changed_files: Option<&[String]>,
) -> Result<String, SelectError> {
    let automatic: BTreeSet<&str> = select(presubmits, branch, &Ask::all(), changed_files)?
        .into_iter()
        .filter(|d| d.run)
        .map(|d| d.job.base.name.as_str())
        .collect();
    let commands = |optional: bool| -> BTreeSet<&str> {
        presubmits
            .iter()
            .filter(|job| job.optional == optional && branch_rule(&job.brancher, branch).is_none())
            .map(|job| job.rerun_command.as_str())
            .collect()
    };
    let (required, optional) = (commands(false), commands(true));
    if automatic.is_empty() && required.is_empty() && optional.is_empty() {
        return Ok(format!("No presubmit jobs available for {repo}@{branch}"));
    }
    let mut out = String::new();
    if !note.is_empty() {
        out.push_str(note);
        out.push('\n');
    }
    for (sentence, commands) in [(REQUIRED_JOBS_SENTENCE, &required), (OPTIONAL_JOBS_SENTENCE, &optional)] {
        if commands.is_empty() {
            continue;
        }
        out.push_str(sentence);
        for command in commands {
            out.push_str(&format!("\n```\n{command}\n```"));
        }
        out.push_str("\n\n");
    }
    if automatic.len() == required.len() + optional.len() {
        out.push_str("Use `/test all` to run all jobs.\n");
    } else if !automatic.is_empty() {
        out.push_str("Use `/test all` to run the following jobs that were automatically triggered:");
        for name in automatic {
            out.push_str(&format!("\n```\n{name}\n```"));
        }
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_config::jobs::JobBase;

    fn job(name: &str, always_run: bool, optional: bool) -> Presubmit {
        Presubmit {
            base: JobBase { name: name.into(), ..JobBase::default() },
            trigger: GoRegex::new(&format!(r"(?m)^/test( | .* ){name},?($|\s.*)")).unwrap(),
            rerun_command: format!("/test {name}"),
            context: name.into(),
            always_run,
            optional,
            ..Presubmit::default()
        }
    }

    #[test]
    fn every_pattern_compiles() {
        compile_all();
    }

    #[test]
    fn commands_are_known_by_their_lines() {
        let none = Commands::default();
        for (body, want) in [
            ("hello", none),
            (" /retest", none),
            ("/retest\r\n", Commands { retest: true, prune: true, ..none }),
            ("hi\r\n/retest \t\r\nthere", Commands { retest: true, prune: true, ..none }),
            ("/retest all", Commands { retest_target: true, prune: true, ..none }),
            ("/retest-required", Commands { retest_required: true, prune: true, ..none }),
            ("/test", Commands { test_nothing: true, prune: true, ..none }),
            ("/test ?", Commands { test_help: true, test_target: true, prune: true, ..none }),
            ("/test?", Commands { test_help: true, prune: true, ..none }),
            ("/test all, please", Commands { test_all: true, test_target: true, prune: true, ..none }),
            ("/test allx", Commands { test_target: true, prune: true, ..none }),
            ("/test-manual-required", Commands { test_manual_required: true, prune: true, ..none }),
            ("/ok-to-test", Commands { ok_to_test: true, ..none }),
            ("/ok-to-test cancel", Commands { ok_to_test_cancel: true, ..none }),
            ("/testing", none),
            // U+00A0 is no white space in Go's patterns.
            ("/retest\u{a0}", Commands { prune: true, ..none }),
        ] {
            assert_eq!(Commands::parse(body), want, "{body:?}");
        }
    }

    #[test]
    fn code_blocks_are_cut_out() {
        for (body, want) in [
            ("a\n```\n/test all\n```\nb\n", "a\nb\n"),
            ("```go\n/retest\r\n```\r\nx", "x"),
            ("~~~\n/retest\n```\n~~~", ""),
            ("````\n```\n/retest\n````\nx", "x"),
            ("```\n/retest", "```\n/retest"),
            ("```\n/retest\n``` not closed", "```\n/retest\n``` not closed"),
            (" ```\n/retest\n ```", " ```\n/retest\n ```"),
            ("", ""),
        ] {
            assert_eq!(without_code_blocks(body), want, "{body:?}");
        }
        let hostile = "```x\n".repeat(30_000);
        assert_eq!(without_code_blocks(&hostile), hostile);
    }

    #[test]
    fn only_comments_with_a_command_concern_trigger() {
        let mut special = job("unit", false, false);
        special.trigger = GoRegex::new("(?m)^/special$").unwrap();
        let jobs = [special];
        for (body, want) in
            [("/special", true), ("```\n/special\n```", false), ("/test unit", true), ("/lgtm", false)]
        {
            assert_eq!(concerns_trigger(body, &jobs), want, "{body:?}");
        }
    }

    #[test]
    fn mistakes_are_answered_with_help() {
        for (body, selected, want) in [
            ("/test ?", 3, Some("")),
            ("/test ?\n/test unit", 1, Some("")),
            ("/test", 0, Some(TEST_WITHOUT_TARGET_NOTE)),
            ("/retest unit", 2, Some(RETEST_WITH_TARGET_NOTE)),
            ("/test all", 0, Some(TEST_ALL_NOTHING_NOTE)),
            ("/test all", 1, None),
            ("/test nothere", 0, Some(TARGET_NOT_FOUND_NOTE)),
            ("/test unit", 1, None),
            ("/retest", 0, None),
        ] {
            assert_eq!(help_note(body, selected), want, "{body:?}");
        }
    }

    #[test]
    fn help_lists_what_can_be_asked_for() {
        let jobs = [job("unit", true, false), job("e2e", false, false), job("lint", false, true)];
        assert_eq!(
            help("o/r", "main", TARGET_NOT_FOUND_NOTE, &jobs, None).unwrap(),
            "The specified target(s) for `/test` were not found.\n\
             The following commands are available to trigger required jobs:\
             \n```\n/test e2e\n```\n```\n/test unit\n```\n\n\
             The following commands are available to trigger optional jobs:\
             \n```\n/test lint\n```\n\n\
             Use `/test all` to run the following jobs that were automatically triggered:\
             \n```\nunit\n```\n"
        );
        assert!(
            help("o/r", "main", "", &jobs[..1], None)
                .unwrap()
                .ends_with("Use `/test all` to run all jobs.\n")
        );
        assert_eq!(help("o/r", "main", "", &[], None).unwrap(), "No presubmit jobs available for o/r@main");
    }
}
