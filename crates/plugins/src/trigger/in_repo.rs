//! When the jobs that a repository defines itself cannot be used: who is told, and what is tried again
//! (prow-runtime §3.2, prow-config §8).

use super::start::Pull;
use super::texts;
use crate::context::Context;
use crate::error::Error;
use prow_config::inrepo::{InRepoError, RepoError};

/// The event is tried again if that may bring the jobs; those that were started meanwhile are met by their names.
pub fn again(missing: Option<Error>) -> Result<(), Error> {
    match missing {
        Some(error) if error.may_pass() => Err(error),
        _ => Ok(()),
    }
}

/// Tells the author, once for the same fault, if this very pull request is what brings it. A conflict is not told:
/// GitHub shows it.
pub async fn tell(ctx: &Context, pull: &Pull<'_>, error: &Error) -> Result<(), Error> {
    let mendable = matches!(
        error,
        Error::InRepo(InRepoError::Content { .. } | InRepoError::Repository(RepoError::TooLarge { .. }))
    );
    if !mendable || pull.pr.draft || !pull.changes_jobs(ctx).await? {
        return Ok(());
    }
    let (org, repo, number) = (pull.repo.org.as_str(), pull.repo.repo.as_str(), pull.pr.number);
    let text = texts::own_jobs_refused(&pull.pr.user.login, error);
    let bot = ctx.github.bot_user_checker().await?;
    let comments = ctx.github.list_issue_comments(org, repo, number).await?;
    if comments.iter().any(|c| bot.is(&c.user.login) && c.body == text) {
        return Ok(());
    }
    ctx.github.create_comment(org, repo, number, &text).await?;
    Ok(())
}
