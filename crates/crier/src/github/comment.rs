//! The one comment of a pull request that lists failed jobs: reads earlier ones, decides what becomes of them, and
//! writes the new one (prow-runtime §10.2, trap 39). Everything here is pure.

use prow_api::labels::IS_OPTIONAL;
use prow_api::prowjob::{JobType, ProwJob, State};
use prow_github::IssueComment;
use prow_service::bot::about_this_bot;

/// Marks our report comments.
const MARKER: &str = "<!-- test report -->";
const SEPARATOR: &str = " | ";

/// What is to be done with a pull request's comments, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Ids.
    pub delete: Vec<i64>,
    /// Id and new text.
    pub edit: Option<(i64, String)>,
    /// Text.
    pub create: Option<String>,
}

/// Decides from the comments there are, oldest first, and the complete ProwJobs to report. `below` is the configured
/// text after the table; with `summary` there is a comment even if nothing failed.
pub fn changes(
    comments: &[IssueComment],
    is_bot: impl Fn(&str) -> bool,
    jobs: &[&ProwJob],
    author: &str,
    below: Option<&str>,
    summary: bool,
) -> Changes {
    let ours: Vec<&IssueComment> =
        comments.iter().filter(|c| is_bot(&c.user.login) && c.body.contains(MARKER)).collect();
    let entries: Vec<&str> = ours.iter().flat_map(|c| entries(&c.body)).collect();
    let mut kept: Vec<String> = entries
        .iter()
        .enumerate()
        .filter(|(at, entry)| {
            let superseded = entries[at + 1..].iter().any(|later| key(later) == key(entry));
            let reported = jobs.iter().any(|job| job.spec.context == key(entry));
            !superseded && !reported
        })
        .map(|(_, entry)| (*entry).to_owned())
        .collect();
    let failures: Vec<String> =
        jobs.iter().filter(|job| job.status.state == State::Failure).map(|job| entry(job)).collect();
    let new_failure = !failures.is_empty();
    kept.extend(failures);

    let mut delete: Vec<i64> = ours.iter().map(|c| c.id).collect();
    // The newest is edited in place, unless there is something new that people should be notified of.
    let newest = if new_failure || kept.is_empty() {
        None
    } else {
        delete.pop().and_then(|id| ours.iter().find(|c| c.id == id))
    };
    if kept.is_empty() && !summary {
        return Changes { delete, ..Changes::default() };
    }
    let text = text(author, &kept, below);
    match newest {
        Some(newest) if newest.body == text => Changes { delete, ..Changes::default() },
        Some(newest) => Changes { delete, edit: Some((newest.id, text)), create: None },
        None => Changes { delete, edit: None, create: Some(text) },
    }
}

/// The rows of a report comment: the lines from one that begins with `---` to an empty one.
fn entries(body: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut in_table = false;
    for line in body.lines().map(str::trim) {
        if line.starts_with("---") {
            in_table = true;
        } else if line.is_empty() {
            in_table = false;
        } else if in_table {
            out.push(line);
        }
    }
    out
}

/// The context of a row.
fn key(entry: &str) -> &str {
    entry.split(SEPARATOR).next().unwrap_or(entry)
}

/// The row of a failed job.
fn entry(job: &ProwJob) -> String {
    let sha = job.spec.refs.iter().flat_map(|refs| &refs.pulls).map(|pull| pull.sha.as_str()).next();
    let required = match (job.spec.job_type, job.label(IS_OPTIONAL)) {
        (JobType::Presubmit, Some("true")) => "false",
        (JobType::Presubmit, Some("false")) => "true",
        _ => "unknown",
    };
    [
        job.spec.context.as_str(),
        sha.unwrap_or_default(),
        &format!("[link]({})", job.status.url),
        required,
        &format!("`{}`", job.spec.rerun_command),
    ]
    .join(SEPARATOR)
}

fn text(author: &str, entries: &[String], below: Option<&str>) -> String {
    let mut lines = Vec::new();
    if entries.is_empty() {
        lines.push(format!("@{author}: all tests **passed!**"));
        lines.push(String::new());
    } else {
        let plural = if entries.len() > 1 { "s" } else { "" };
        lines.push(format!(
            "@{author}: The following test{plural} **failed**, say `/retest` to rerun all failed tests or \
             `/retest-required` to rerun all mandatory failed tests:"
        ));
        lines.push(String::new());
        lines.push("Test name | Commit | Details | Required | Rerun command".into());
        lines.push("--- | --- | --- | --- | ---".into());
        lines.extend_from_slice(entries);
    }
    if let Some(below) = below {
        lines.push(String::new());
        lines.push(below.to_owned());
    }
    lines.extend([
        String::new(),
        "<details>".into(),
        String::new(),
        about_this_bot(),
        "</details>".into(),
        MARKER.into(),
    ]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::{Pull, Refs};
    use prow_github::User;

    fn job(context: &str, state: State) -> ProwJob {
        let mut job = ProwJob::default();
        job.spec.context = context.into();
        job.spec.rerun_command = format!("/test {context}");
        job.spec.refs =
            Some(Refs { pulls: vec![Pull { sha: "sha2".into(), ..Pull::default() }], ..Refs::default() });
        job.status.state = state;
        job.status.url = format!("https://deck/{context}");
        job.metadata.labels = Some([(IS_OPTIONAL.to_owned(), "false".to_owned())].into());
        job
    }

    fn row(context: &str, sha: &str) -> String {
        format!("{context} | {sha} | [link](https://deck/{context}) | true | `/test {context}`")
    }

    fn report(id: i64, login: &str, rows: &[String]) -> IssueComment {
        IssueComment {
            id,
            user: User { login: login.into(), ..User::default() },
            body: text("dev", rows, Some("Full PR test history.")),
            ..IssueComment::default()
        }
    }

    /// Ids to delete, id to edit, rows of the edited or created comment.
    fn decide(
        comments: &[IssueComment],
        jobs: &[ProwJob],
        summary: bool,
    ) -> (Vec<i64>, Option<i64>, Option<Vec<String>>) {
        let jobs: Vec<&ProwJob> = jobs.iter().collect();
        let done =
            changes(comments, |login| login == "prow", &jobs, "dev", Some("Full PR test history."), summary);
        let written = done.edit.as_ref().map(|(_, text)| text).or(done.create.as_ref());
        let rows = written.map(|text| entries(text).into_iter().map(str::to_owned).collect());
        (done.delete, done.edit.map(|(id, _)| id), rows)
    }

    #[test]
    fn a_comment_lists_failures_and_nothing_else() {
        use State::{Aborted, Error, Failure, Success};
        let (a1, a2, b1) = (row("a", "sha1"), row("a", "sha2"), row("b", "sha1"));
        let old =
            |rows: &[&String]| report(5, "prow", &rows.iter().map(|r| (*r).clone()).collect::<Vec<_>>());
        for (what, comments, jobs, summary, expected) in [
            ("nothing failed, nothing said", vec![], vec![job("a", Success)], false, (vec![], None, None)),
            ("a failure", vec![], vec![job("a", Failure)], false, (vec![], None, Some(vec![a2.clone()]))),
            (
                "neither errors nor aborted jobs are listed",
                vec![],
                vec![job("a", Error), job("b", Aborted)],
                false,
                (vec![], None, None),
            ),
            (
                "a new failure makes a new comment",
                vec![old(&[&b1])],
                vec![job("a", Failure)],
                false,
                (vec![5], None, Some(vec![b1.clone(), a2.clone()])),
            ),
            (
                "the same job fails again",
                vec![old(&[&a1])],
                vec![job("a", Failure)],
                false,
                (vec![5], None, Some(vec![a2.clone()])),
            ),
            (
                "one of two passes: edited in place",
                vec![old(&[&a1, &b1])],
                vec![job("a", Success)],
                false,
                (vec![], Some(5), Some(vec![b1.clone()])),
            ),
            ("the last one passes", vec![old(&[&a1])], vec![job("a", Success)], false, (vec![5], None, None)),
            (
                "another job passes: nothing to change",
                vec![old(&[&b1])],
                vec![job("a", Success)],
                false,
                (vec![], None, None),
            ),
            (
                "only the newest report stays",
                vec![report(3, "prow", std::slice::from_ref(&a1)), old(&[&a2, &b1])],
                vec![job("c", Success)],
                false,
                (vec![3], None, None),
            ),
            (
                "rows of an older report are merged",
                vec![report(3, "prow", std::slice::from_ref(&a1)), old(&[&b1])],
                vec![job("c", Success)],
                false,
                (vec![3], Some(5), Some(vec![a1.clone(), b1.clone()])),
            ),
            (
                "others' comments are left alone",
                vec![report(3, "dev", std::slice::from_ref(&a1))],
                vec![job("a", Success)],
                false,
                (vec![], None, None),
            ),
            (
                "a summary is written though all passed",
                vec![old(&[&a1])],
                vec![job("a", Success)],
                true,
                (vec![5], None, Some(vec![])),
            ),
        ] {
            assert_eq!(decide(&comments, &jobs, summary), expected, "{what}");
        }
    }

    #[test]
    fn the_text_is_what_later_runs_and_people_read() {
        let one = text("dev", &[row("a", "s")], Some("See [history](https://deck/pr)."));
        let head = "@dev: The following test **failed**, say `/retest` to rerun all failed tests or `/retest-required` \
                    to rerun all mandatory failed tests:\n\nTest name | Commit | Details | Required | Rerun command\n\
                    --- | --- | --- | --- | ---\na | s | [link](https://deck/a) | true | `/test a`\n\n\
                    See [history](https://deck/pr).\n\n<details>\n\n";
        assert!(one.starts_with(head), "{one}");
        assert!(one.ends_with("\n</details>\n<!-- test report -->"), "{one}");
        assert!(
            text("dev", &[row("a", "s"), row("b", "s")], None).contains("The following tests **failed**")
        );
        assert!(text("dev", &[], None).starts_with("@dev: all tests **passed!**\n\n"));
    }

    proptest::proptest! {
        /// Whatever people and we wrote before: after one report there is at most one comment of ours, and another
        /// job's success changes nothing.
        #[test]
        fn a_report_leaves_nothing_to_do(
            bodies in proptest::collection::vec(("[a-c|\\-\n `]{0,60}", proptest::bool::ANY), 0..4),
            failed in proptest::bool::ANY,
        ) {
            let mut comments: Vec<IssueComment> = (1..)
                .zip(&bodies)
                .map(|(id, (body, marked))| IssueComment {
                    id,
                    user: User { login: "prow".into(), ..User::default() },
                    body: if *marked { format!("---\n{body}\n\n{MARKER}") } else { body.clone() },
                    ..IssueComment::default()
                })
                .collect();
            let apply = |comments: &mut Vec<IssueComment>, job: &ProwJob| {
                let done = changes(comments, |l| l == "prow", &[job], "dev", None, false);
                comments.retain(|c| !done.delete.contains(&c.id));
                if let Some((id, text)) = &done.edit {
                    for c in comments.iter_mut().filter(|c| c.id == *id) {
                        c.body.clone_from(text);
                    }
                }
                if let Some(body) = &done.create {
                    let user = User { login: "prow".into(), ..User::default() };
                    comments.push(IssueComment { id: 99, user, body: body.clone(), ..IssueComment::default() });
                }
                done
            };
            apply(&mut comments, &job("unit", if failed { State::Failure } else { State::Success }));
            let ours = comments.iter().filter(|c| c.body.contains(MARKER)).count();
            proptest::prop_assert!(ours <= 1, "{:?}", comments);
            if failed {
                proptest::prop_assert_eq!(ours, 1);
            }
            let again = apply(&mut comments, &job("another", State::Success));
            proptest::prop_assert_eq!(again, Changes::default());
        }
    }

    #[test]
    fn required_is_the_opposite_of_optional() {
        let mut job = job("a", State::Failure);
        for (label, expected) in [(Some("true"), "false"), (Some("false"), "true"), (None, "unknown")] {
            job.metadata.labels = label.map(|l| [(IS_OPTIONAL.to_owned(), l.to_owned())].into());
            assert!(entry(&job).contains(&format!(" | {expected} | ")), "{label:?}");
        }
    }
}
