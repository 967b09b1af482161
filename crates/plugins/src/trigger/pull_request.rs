//! What happens when a pull request is opened, changed, labelled or closed (prow-runtime §3.3).

use super::abort::abort_all;
use super::start::Pull;
use super::trust::{trusted_pull_request, trusted_user};
use super::{in_repo, texts};
use crate::context::Context;
use crate::error::Error;
use prow_api::labels::{LGTM, NEEDS_OK_TO_TEST, OK_TO_TEST};
use prow_config::Presubmit;
use prow_config::plugins::{ProminentInvite, Trigger as Settings};
use prow_github::webhook::PullRequestEvent;
use prow_github::{PullRequest, has_label};
use prow_job::select::Ask;

/// What an action asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Run everything, or welcome the author.
    Opened,
    /// Run everything if the pull request is trusted.
    RunIfTrusted,
    /// Stop what runs for the old head, then as `RunIfTrusted`.
    Supersede,
    /// `lgtm` vouches for a pull request that is not trusted.
    Lgtm,
    /// `ok-to-test` was put on by hand.
    OkToTest,
    /// Stop what runs.
    Abort,
}

/// What `event` asks for, if anything.
pub fn what(event: &PullRequestEvent) -> Option<What> {
    match event.action.as_str() {
        "opened" => Some(What::Opened),
        "reopened" | "ready_for_review" => Some(What::RunIfTrusted),
        "edited" => {
            let base = event.changes.base.as_ref()?;
            let moved = !base.r#ref.from.is_empty() || !base.sha.from.is_empty();
            moved.then_some(What::RunIfTrusted)
        }
        "synchronize" => Some(What::Supersede),
        "labeled" if event.label.name.eq_ignore_ascii_case(LGTM) => Some(What::Lgtm),
        "labeled" if event.label.name.eq_ignore_ascii_case(OK_TO_TEST) => Some(What::OkToTest),
        "closed" | "converted_to_draft" => Some(What::Abort),
        _ => None,
    }
}

/// Does it.
pub async fn act(ctx: &Context, what: What, event: &PullRequestEvent) -> Result<(), Error> {
    let pull = Pull::new(ctx, &event.pull_request);
    let name = pull.repo.to_string();
    // Stopping needs no list: what runs was started by a list that may be another by now.
    let any = !ctx.config.presubmits_for(&name).is_empty() || ctx.config.prow.in_repo_config_enabled(&name);
    let aborted = match what {
        What::Supersede | What::Abort if any => abort_all(ctx, &pull.repo, event.pull_request.number).await,
        _ => Ok(()),
    };
    if what == What::Abort {
        return aborted;
    }
    let (presubmits, missing) = pull.presubmits(ctx).await;
    let told = match &missing {
        Some(error) if !matches!(what, What::Lgtm | What::OkToTest) => in_repo::tell(ctx, &pull, error).await,
        _ => Ok(()),
    };
    let started =
        if presubmits.is_empty() { Ok(()) } else { start(ctx, what, event, &pull, &presubmits).await };
    Error::all([aborted, told, started, in_repo::again(missing)])
}

async fn start(
    ctx: &Context,
    what: What,
    event: &PullRequestEvent,
    pull: &Pull<'_>,
    presubmits: &[Presubmit],
) -> Result<(), Error> {
    let settings = ctx.config.plugins.trigger_for(&pull.repo.org, &pull.repo.repo);
    let everything = Ask::all();
    let run_all = || pull.run(ctx, presubmits, &everything, false);
    match what {
        What::Opened => {
            let author = &event.pull_request.user.login;
            if !trusted_user(ctx, &settings, &pull.repo, author).await?.trusted {
                return welcome(ctx, &settings, pull).await;
            }
            if event.pull_request.draft {
                let text = texts::draft(author);
                return ctx.comment(&pull.repo.org, &pull.repo.repo, event.pull_request.number, &text).await;
            }
            run_all().await
        }
        What::RunIfTrusted | What::Supersede => run_if_trusted(ctx, &settings, pull, run_all).await,
        What::Lgtm => match trusted_pull_request(ctx, &settings, &pull.repo, &event.pull_request).await? {
            trust if trust.trusted => Ok(()),
            _ => run_all().await,
        },
        What::OkToTest => {
            if ctx.github.bot_user_checker().await?.is(&event.sender.login) {
                return Ok(());
            }
            run_all().await
        }
        What::Abort => Ok(()),
    }
}

async fn run_if_trusted<F>(
    ctx: &Context,
    settings: &Settings,
    pull: &Pull<'_>,
    run_all: impl FnOnce() -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let (repo, pr) = (&pull.repo, pull.pr);
    let trust = trusted_pull_request(ctx, settings, repo, pr).await?;
    if !trust.trusted {
        return Ok(());
    }
    if trust.labels.is_some_and(|labels| has_label(NEEDS_OK_TO_TEST, &labels)) {
        ctx.github.remove_label(&repo.org, &repo.repo, pr.number, NEEDS_OK_TO_TEST).await?;
    }
    run_all().await
}

/// Tells an untrusted author what happens next, after labelling the pull request.
async fn welcome(ctx: &Context, settings: &Settings, pull: &Pull<'_>) -> Result<(), Error> {
    let (org, repo, pr) = (pull.repo.org.as_str(), pull.repo.repo.as_str(), pull.pr);
    let invite = if settings.ignore_ok_to_test { None } else { invite(ctx, settings, org, pr).await };
    if !settings.ignore_ok_to_test {
        let labels = ctx.github.get_issue_labels(org, repo, pr.number).await?;
        if !has_label(OK_TO_TEST, &labels) && !has_label(NEEDS_OK_TO_TEST, &labels) {
            ctx.github.add_label(org, repo, pr.number, NEEDS_OK_TO_TEST).await?;
        }
    }
    let text = texts::welcome(&pull.repo, settings, &pr.user.login, invite.as_deref());
    ctx.comment(org, repo, pr.number, &text).await
}

/// The tip for authors who have merged enough pull requests to become members.
async fn invite(ctx: &Context, settings: &Settings, org: &str, pr: &PullRequest) -> Option<String> {
    let default = ProminentInvite::default();
    let prominent = settings.org_invite.as_ref().and_then(|i| i.prominent.as_ref()).unwrap_or(&default);
    if prominent.disabled || pr.user.r#type == "Bot" {
        return None;
    }
    match ctx.github.merged_pull_request_count(org, &pr.user.login).await {
        Ok(count) => (count >= prominent.merged_pr_threshold.unwrap_or(3))
            .then(|| texts::prominent_invite(&prominent.message, &texts::join_org_url(settings, org))),
        // The tip is a courtesy: the welcome must not wait for GitHub's search.
        Err(error) => {
            tracing::warn!(org, pr = pr.number, %error, "cannot count the author's merged pull requests; welcoming without the tip");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_ask_for_what_the_contract_says() {
        use What::{Abort, Lgtm, OkToTest, Opened, RunIfTrusted, Supersede};
        for (payload, expected) in [
            (r#"{"action":"opened"}"#, Some(Opened)),
            (r#"{"action":"reopened"}"#, Some(RunIfTrusted)),
            (r#"{"action":"ready_for_review"}"#, Some(RunIfTrusted)),
            (r#"{"action":"edited","changes":{"title":{"from":"x"}}}"#, None),
            (r#"{"action":"edited","changes":{"base":{"ref":{"from":""}}}}"#, None),
            (r#"{"action":"edited","changes":{"base":{"ref":{"from":"main"}}}}"#, Some(RunIfTrusted)),
            (r#"{"action":"edited","changes":{"base":{"sha":{"from":"abc"}}}}"#, Some(RunIfTrusted)),
            (r#"{"action":"synchronize"}"#, Some(Supersede)),
            (r#"{"action":"labeled","label":{"name":"LGTM"}}"#, Some(Lgtm)),
            (r#"{"action":"labeled","label":{"name":"ok-to-test"}}"#, Some(OkToTest)),
            (r#"{"action":"labeled","label":{"name":"bug"}}"#, None),
            (r#"{"action":"unlabeled","label":{"name":"lgtm"}}"#, None),
            (r#"{"action":"closed"}"#, Some(Abort)),
            (r#"{"action":"converted_to_draft"}"#, Some(Abort)),
            (r#"{"action":"assigned"}"#, None),
        ] {
            let event: PullRequestEvent = serde_json::from_str(payload).unwrap();
            assert_eq!(what(&event), expected, "{payload}");
        }
    }
}
