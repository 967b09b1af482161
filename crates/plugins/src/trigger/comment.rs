//! Commands in comments (prow-runtime §3.4).

use super::start::Pull;
use super::trust::{trusted_pull_request, trusted_user};
use super::{in_repo, repo_of, texts};
use crate::context::Context;
use crate::error::Error;
use prow_api::OrgRepo;
use prow_api::labels::{NEEDS_OK_TO_TEST, OK_TO_TEST};
use prow_config::Presubmit;
use prow_github::webhook::GenericComment;
use prow_github::{CombinedStatus, IssueComment, Label, has_label};
use prow_job::comment::{Commands, HELP_MARKERS, concerns_trigger, help, help_note, without_code_blocks};
use prow_job::select::Ask;

/// What is to happen to the two labels of trust.
#[derive(Debug, PartialEq, Eq, Default)]
struct LabelChanges {
    add: Option<&'static str>,
    remove: Option<&'static str>,
}

/// After a command of somebody who may give it.
fn label_changes(ok_to_test: bool, labels: &[Label]) -> LabelChanges {
    let has_ok = has_label(OK_TO_TEST, labels);
    LabelChanges {
        add: (ok_to_test && !has_ok).then_some(OK_TO_TEST),
        remove: ((ok_to_test || has_ok) && has_label(NEEDS_OK_TO_TEST, labels)).then_some(NEEDS_OK_TO_TEST),
    }
}

/// Does what `comment` asks for.
pub async fn act(ctx: &Context, comment: &GenericComment) -> Result<(), Error> {
    let bot = ctx.github.bot_user_checker().await?;
    if bot.is(&comment.user.login) {
        return Ok(());
    }
    let repo = repo_of(comment);
    let (org, name, number) = (repo.org.as_str(), repo.repo.as_str(), comment.number);
    let pr = ctx.github.get_pull_request(org, name, number).await?;
    let pull = Pull::new(ctx, &pr);
    let (presubmits, missing) = pull.presubmits(ctx).await;
    if !concerns_trigger(&comment.body, &presubmits) {
        // Talk has nothing to do with jobs; a command may be that of a job which cannot be read at the moment.
        let command = comment.body.lines().any(|line| line.trim_start().starts_with('/'));
        return if command { in_repo::again(missing) } else { Ok(()) };
    }
    let settings = ctx.config.plugins.trigger_for(org, name);
    let commenter = trusted_user(ctx, &settings, &repo, &comment.user.login).await?;
    if !commenter.trusted && !trusted_pull_request(ctx, &settings, &repo, &pr).await?.trusted {
        return ctx.reply(comment, texts::untrusted(&settings)).await;
    }

    let commands = Commands::parse(&without_code_blocks(&comment.body));
    let labels = ctx.github.get_issue_labels(org, name, number).await?;
    if commands.ok_to_test_cancel {
        if !commenter.trusted {
            return ctx.reply(comment, &texts::may_not_cancel(&commenter.reason)).await;
        }
        if has_label(OK_TO_TEST, &labels) {
            ctx.github.remove_label(org, name, number, OK_TO_TEST).await?;
        }
        if !has_label(NEEDS_OK_TO_TEST, &labels) {
            ctx.github.add_label(org, name, number, NEEDS_OK_TO_TEST).await?;
        }
        return Ok(());
    }
    let changes = label_changes(commands.ok_to_test && !settings.ignore_ok_to_test, &labels);
    if let Some(label) = changes.add {
        ctx.github.add_label(org, name, number, label).await?;
    }
    if let Some(label) = changes.remove {
        ctx.github.remove_label(org, name, number, label).await?;
    }

    if settings.trigger_github_workflows && (commands.ok_to_test || commands.retest || commands.test_all) {
        tracing::warn!(
            org,
            repo = name,
            pr = number,
            "triggers.trigger_github_workflows is set, and this version starts no workflows: start them on GitHub"
        );
    }

    // The selection reads the comment as it was written, code blocks included (trap 6).
    let mut ask = Ask::comment(&comment.body, !settings.ignore_ok_to_test);
    if ask.needs_contexts() {
        let status = ctx.github.get_combined_status(org, name, &pr.head.sha).await?;
        let (failed, all) = contexts(&status);
        ask = ask.with_contexts(failed, all);
    }
    let selected = pull.select(ctx, &presubmits, &ask).await?;
    if commands.prune {
        prune(ctx, &repo, number, comment.comment_id).await?;
    }
    if let Some(note) = help_note(&without_code_blocks(&comment.body), selected.len()) {
        let mut text = help_text(ctx, &pull, &presubmits, note).await?;
        match missing {
            // A list that lacks jobs for a moment is no answer.
            Some(error) if error.may_pass() => return Err(error),
            Some(error) => text.push_str(&texts::own_jobs_missing(&error)),
            None => {}
        }
        return ctx.reply(comment, &text).await;
    }
    let started = pull.start(ctx, &selected, commands.retest || commands.retest_required).await;
    Error::all([started, in_repo::again(missing)])
}

/// Contexts that failed, and all contexts.
fn contexts(status: &CombinedStatus) -> (Vec<String>, Vec<String>) {
    let failed = status.statuses.iter().filter(|s| matches!(s.state.as_str(), "failure" | "error"));
    (failed.map(|s| s.context.clone()).collect(), status.statuses.iter().map(|s| s.context.clone()).collect())
}

async fn help_text(
    ctx: &Context,
    pull: &Pull<'_>,
    presubmits: &[Presubmit],
    note: &str,
) -> Result<String, Error> {
    let files = pull.files_for(ctx, presubmits, &Ask::all()).await?;
    Ok(help(&pull.repo.to_string(), &pull.pr.base.r#ref, note, presubmits, files)?)
}

/// Our earlier help comments. A new command makes them old.
async fn prune(ctx: &Context, repo: &OrgRepo, number: i64, this: Option<i64>) -> Result<(), Error> {
    let bot = ctx.github.bot_user_checker().await?;
    let comments = ctx.github.list_issue_comments(&repo.org, &repo.repo, number).await?;
    for id in outdated_help(&comments, |login| bot.is(login), this) {
        ctx.github.delete_comment(&repo.org, &repo.repo, id).await?;
    }
    Ok(())
}

fn outdated_help(comments: &[IssueComment], is_bot: impl Fn(&str) -> bool, this: Option<i64>) -> Vec<i64> {
    comments
        .iter()
        .filter(|c| is_bot(&c.user.login) && Some(c.id) != this)
        .filter(|c| HELP_MARKERS.iter().any(|marker| c.body.contains(marker)))
        .map(|c| c.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_github::{Status, User};

    #[test]
    fn labels_of_trust_follow_the_command() {
        let none = LabelChanges::default();
        let (ok, needs) = (OK_TO_TEST, NEEDS_OK_TO_TEST);
        for (command, labels, expected) in [
            (false, vec![], LabelChanges { ..none }),
            (false, vec![needs], LabelChanges { ..none }),
            (true, vec![], LabelChanges { add: Some(ok), remove: None }),
            (true, vec![needs], LabelChanges { add: Some(ok), remove: Some(needs) }),
            (true, vec![ok, needs], LabelChanges { add: None, remove: Some(needs) }),
            (false, vec![ok, needs], LabelChanges { add: None, remove: Some(needs) }),
            (true, vec!["OK-to-test"], LabelChanges { ..none }),
        ] {
            let labels: Vec<Label> =
                labels.iter().map(|l| Label { name: (*l).into(), ..Label::default() }).collect();
            assert_eq!(label_changes(command, &labels), expected, "{command} {labels:?}");
        }
    }

    #[test]
    fn only_our_own_help_is_pruned() {
        let comment = |id, login: &str, body: &str| IssueComment {
            id,
            body: body.into(),
            user: User { login: login.into(), ..User::default() },
            ..IssueComment::default()
        };
        let comments = [
            comment(1, "prow", &format!("@dev: {}\n", HELP_MARKERS[0])),
            comment(2, "dev", HELP_MARKERS[0]),
            comment(3, "prow", "The following test **failed**"),
            comment(4, "prow", HELP_MARKERS[5]),
        ];
        assert_eq!(outdated_help(&comments, |l| l == "prow", Some(4)), [1]);
    }

    #[test]
    fn failed_contexts_are_failures_and_errors() {
        let status = |state: &str| Status { state: state.into(), context: state.into(), ..Status::default() };
        let combined = CombinedStatus {
            statuses: ["success", "failure", "pending", "error"].map(status).to_vec(),
            ..CombinedStatus::default()
        };
        let (failed, all) = contexts(&combined);
        assert_eq!((failed, all.len()), (vec!["failure".to_owned(), "error".to_owned()], 4));
    }
}
