//! Tables of the selection rules.

use super::*;
use prow_config::goregex::GoRegex;
use prow_config::jobs::JobBase;

fn regex(pattern: &str) -> Option<GoRegex> {
    Some(GoRegex::new(pattern).unwrap())
}

fn job(name: &str) -> Presubmit {
    Presubmit {
        base: JobBase { name: name.into(), ..JobBase::default() },
        trigger: GoRegex::new(&format!(r"(?m)^/test( | .* ){name},?($|\s.*)")).unwrap(),
        rerun_command: format!("/test {name}"),
        context: format!("ci/{name}"),
        ..Presubmit::default()
    }
}

fn brancher(branches: &[&str], skip: &[&str]) -> Brancher {
    let joined = |list: &[&str]| (!list.is_empty()).then(|| GoRegex::new(&list.join("|")).unwrap());
    let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect();
    Brancher {
        branches: owned(branches),
        skip_branches: owned(skip),
        branches_re: joined(branches),
        skip_branches_re: joined(skip),
    }
}

fn files(list: &[&str]) -> Vec<String> {
    list.iter().map(|&s| s.to_owned()).collect()
}

/// One job of each kind, for the tables below.
fn jobs() -> Vec<Presubmit> {
    vec![
        Presubmit { always_run: true, ..job("always") },
        Presubmit {
            changes: ChangeMatcher { run_if_changed: regex(r"\.go$"), ..ChangeMatcher::default() },
            ..job("go")
        },
        Presubmit {
            changes: ChangeMatcher { skip_if_only_changed: regex(r"\.md$"), ..ChangeMatcher::default() },
            optional: true,
            ..job("nodocs")
        },
        job("manual"),
        Presubmit { optional: true, ..job("extra") },
        Presubmit { always_run: true, brancher: brancher(&["^release"], &[]), ..job("release") },
    ]
}

fn names(decisions: &[Decision<'_, Presubmit>]) -> String {
    decisions
        .iter()
        .filter(|d| d.run)
        .map(|d| format!("{}{}", d.job.base.name, if d.forced { "!" } else { "" }))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn what_runs() {
    let jobs = jobs();
    let comment = |body: &str| Ask::comment(body, true);
    for (ask, changed, want) in [
        (Ask::all(), &["a.go"][..], "always go nodocs"),
        (Ask::all(), &["a.md"], "always"),
        (Ask::all(), &["a.md", "b.txt"], "always nodocs"),
        (Ask::all(), &[], "always"),
        (comment("/test all"), &["a.go"], "always go nodocs"),
        (comment("/ok-to-test"), &["a.go"], "always go nodocs"),
        (Ask::comment("/ok-to-test", false), &["a.go"], ""),
        (comment("/test manual"), &[], "manual!"),
        (comment("/test go, extra"), &["a.md"], "go! extra!"),
        (comment("/test release"), &[], ""),
        (comment("/test-manual-required"), &["a.go"], "manual!"),
        (comment("/test extra\n/test all"), &["a.go"], "always go nodocs extra!"),
        (comment("```\n/test manual\n```"), &[], "manual!"),
        (comment("nothing"), &["a.go"], ""),
    ] {
        let decisions = select(&jobs, "main", &ask, Some(&files(changed))).unwrap();
        assert_eq!(names(&decisions), want, "{ask:?} {changed:?}");
        assert_eq!(decisions.len(), jobs.len(), "every job has its decision");
    }
}

#[test]
fn what_runs_again() {
    let jobs = jobs();
    for (body, failed, all, changed, want) in [
        // Nothing reported: as an event, and what failed runs whatever changed.
        ("/retest", &[][..], &[][..], &["a.go"][..], "always go nodocs"),
        ("/retest", &["ci/go"], &["ci/go", "ci/always", "ci/nodocs"], &["a.md"], "go"),
        (
            "/retest",
            &["ci/manual", "ci/nodocs"],
            &["ci/manual", "ci/nodocs"],
            &["a.md"],
            "always nodocs manual",
        ),
        ("/retest-required", &["ci/nodocs", "ci/extra", "ci/manual"], &[], &["a.txt"], "always manual"),
        ("/retest", &[], &["ci/always"], &["a.md"], ""),
        // The command is asked first: it forces.
        ("/retest\n/test go", &["ci/go"], &["ci/always"], &["a.md"], "go!"),
    ] {
        let ask = Ask::comment(body, true);
        assert!(ask.needs_contexts() && ask.is_retest());
        let ask = ask.with_contexts(files(failed), files(all));
        let decisions = select(&jobs, "main", &ask, Some(&files(changed))).unwrap();
        assert_eq!(names(&decisions), want, "{body:?} failed {failed:?} of {all:?}, changed {changed:?}");
    }
}

#[test]
fn every_job_is_told_why() {
    let jobs = jobs();
    let why = |ask: &Ask, branch: &str, changed: &[&str]| -> Vec<String> {
        let decisions = select(&jobs, branch, ask, Some(&files(changed))).unwrap();
        decisions.iter().map(|d| format!("{} {}", if d.run { "+" } else { "-" }, d.rule)).collect()
    };
    assert_eq!(
        why(&Ask::all(), "main", &["x.md"]),
        [
            "+ always_run is true",
            r#"- no changed file matches run_if_changed "\\.go$""#,
            r#"- every changed file matches skip_if_only_changed "\\.md$""#,
            r#"- it only runs when asked for with "/test manual""#,
            r#"- it only runs when asked for with "/test extra""#,
            r#"- the branch does not match branches "^release""#,
        ]
    );
    assert_eq!(
        why(&Ask::comment("/test manual", true), "main", &[]),
        [
            r#"- the comment does not ask for it ("/test always" would)"#,
            r#"- the comment does not ask for it ("/test go" would)"#,
            r#"- the comment does not ask for it ("/test nodocs" would)"#,
            "+ it was asked for by name",
            r#"- the comment does not ask for it ("/test extra" would)"#,
            r#"- the comment does not ask for it ("/test release" would)"#,
        ]
    );
    let retest = Ask::comment("/retest-required", true)
        .with_contexts(files(&["ci/go"]), files(&["ci/go", "ci/always"]));
    assert_eq!(
        why(&retest, "release-1", &[]),
        [
            r#"- its context "ci/always" did not fail"#,
            r#"+ its context "ci/go" failed"#,
            "- it is optional",
            r#"- it only runs when asked for with "/test manual""#,
            "- it is optional",
            "+ always_run is true",
        ]
    );
    let json =
        serde_json::to_value(&select(&jobs, "main", &Ask::all(), Some(&files(&["x.go"]))).unwrap()[1].rule);
    assert_eq!(
        json.unwrap(),
        serde_json::json!({"rule": "file-matches", "pattern": r"\.go$", "file": "x.go"})
    );
}

#[test]
fn changed_files_are_only_fetched_when_they_decide() {
    let jobs = jobs();
    for (ask, branch, want) in [
        (Ask::all(), "main", true),
        (Ask::comment("/test go", true), "main", false),
        (Ask::comment("/test all", true), "main", true),
        (Ask::comment("/retest", true).with_contexts(files(&["ci/go", "ci/nodocs"]), []), "main", false),
        (Ask::comment("/retest", true), "main", true),
        (Ask::comment("hello", true), "main", false),
    ] {
        assert_eq!(needs_changed_files(&jobs, branch, &ask), want, "{ask:?}");
        assert_eq!(select(&jobs, branch, &ask, None).is_err(), want, "{ask:?}");
    }
    let off = Presubmit { brancher: brancher(&["^dev$"], &[]), ..jobs[1].clone() };
    assert!(!needs_changed_files(&[off, jobs[0].clone()], "main", &Ask::all()));
    let error = select(&jobs, "main", &Ask::all(), None).unwrap_err();
    assert_eq!(error, SelectError::ChangedFilesNeeded { job: "go".into() });
}

#[test]
fn branches() {
    for (branches, skip, branch, want) in [
        (&[][..], &[][..], "any", true),
        (&["master"], &[], "master-2", true),
        (&["^master$"], &[], "master-2", false),
        (&["a", "^b$"], &[], "b", true),
        (&["a", "^b$"], &[], "bb", false),
        (&[], &["^gh-pages$"], "gh-pages", false),
        (&[], &["^gh-pages$"], "main", true),
        (&["release"], &["release-1.0"], "release-1.0", false),
        (&["release"], &["release-1.0"], "release-1.1", true),
    ] {
        assert_eq!(runs_on_branch(&brancher(branches, skip), branch), want, "{branches:?} {skip:?} {branch}");
    }
}

#[test]
fn branch_lists_meet_as_texts() {
    for (a, b, want) in [
        ((&[][..], &[][..]), (&["x"][..], &[][..]), true),
        ((&["x"], &[]), (&["x", "y"], &[]), true),
        ((&["^x$"], &[]), (&["x"], &[]), false),
        ((&["x"], &[]), (&[], &["x"]), false),
        ((&["x", "y"], &[]), (&[], &["x"]), true),
        ((&[], &["x"]), (&[], &["y"]), true),
    ] {
        let (a, b) = (brancher(a.0, a.1), brancher(b.0, b.1));
        assert_eq!((intersects(&a, &b), intersects(&b, &a)), (want, want), "{a:?} {b:?}");
    }
}

#[test]
fn pushes() {
    let post = |name: &str| Postsubmit {
        base: JobBase { name: name.into(), ..JobBase::default() },
        ..Postsubmit::default()
    };
    let jobs = [
        post("plain"),
        Postsubmit { always_run: Some(true), ..post("yes") },
        Postsubmit { always_run: Some(false), ..post("no") },
        Postsubmit {
            always_run: Some(false),
            changes: ChangeMatcher { run_if_changed: regex("^a/"), ..ChangeMatcher::default() },
            ..post("changed")
        },
        Postsubmit { brancher: brancher(&[], &["^main$"]), ..post("skipped") },
    ];
    let show = |branch: &str, changed: &[&str]| -> Vec<String> {
        let decisions = select_postsubmits(&jobs, branch, Some(&files(changed))).unwrap();
        decisions.iter().map(|d| format!("{} {} {}", d.job.base.name, d.run, d.rule)).collect()
    };
    assert_eq!(
        show("main", &["a/x"]),
        [
            "plain true it runs on every push to its branches",
            "yes true always_run is true",
            "no false always_run is false",
            r#"changed true the changed file "a/x" matches run_if_changed "^a/""#,
            r#"skipped false the branch matches skip_branches "^main$""#,
        ]
    );
    assert_eq!(
        show("dev", &[])[3],
        r#"changed false nothing changed, and it depends on changed files by "^a/""#
    );
    assert!(
        postsubmits_need_changed_files(&jobs, "main") && !postsubmits_need_changed_files(&jobs[..3], "main")
    );
    assert!(select_postsubmits(&jobs, "main", None).is_err());
}

#[test]
fn what_must_pass() {
    assert!(context_required(&job("a")));
    assert!(!context_required(&Presubmit { optional: true, ..job("a") }));
    assert!(!context_required(&Presubmit { skip_report: true, ..job("a") }));
}
