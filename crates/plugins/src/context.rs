//! What a plugin may use while it acts.

use crate::error::Error;
use crate::jobs::JobSource;
use crate::reply::format_response_raw;
use kube::Api;
use prow_api::ProwJob;
use prow_config::Snapshot;
use prow_github::Client;
use prow_github::webhook::GenericComment;
use prow_service::clock::SharedClock;
use std::sync::Arc;

/// What a plugin may use while it handles one event.
#[derive(Clone)]
pub struct Context {
    /// GitHub, in this plugin's name.
    pub github: Client,
    /// The cluster where ProwJobs live.
    pub kube: kube::Client,
    /// The configuration as it was when the handling began.
    pub config: Arc<Snapshot>,
    /// Jobs by repository and commit.
    pub jobs: Arc<dyn JobSource>,
    /// Time.
    pub clock: SharedClock,
    /// The delivery that is handled.
    pub guid: String,
    /// An earlier try may have gone part of the way.
    pub again: bool,
}

impl Context {
    /// ProwJobs, in the configured namespace.
    pub fn prowjobs(&self) -> Api<ProwJob> {
        Api::namespaced(self.kube.clone(), &self.config.prow.prowjob_namespace)
    }

    /// Comments on an issue or pull request; not if an earlier try did.
    pub async fn comment(&self, org: &str, repo: &str, number: i64, body: &str) -> Result<(), Error> {
        self.comment_unless(org, repo, number, body, |earlier| earlier == body).await
    }

    /// As [`Context::comment`], for texts that differ from one try to the next: `same` tells whether a comment of
    /// ours is what an earlier try at this event wrote.
    pub async fn comment_unless(
        &self,
        org: &str,
        repo: &str,
        number: i64,
        body: &str,
        same: impl Fn(&str) -> bool + Send,
    ) -> Result<(), Error> {
        if self.again {
            let bot = self.github.bot_user_checker().await?;
            let comments = self.github.list_issue_comments(org, repo, number).await?;
            if comments.iter().any(|c| bot.is(&c.user.login) && same(&c.body)) {
                tracing::debug!(org, repo, pr = number, "an earlier try at this event has commented already");
                return Ok(());
            }
        }
        self.github.create_comment(org, repo, number, body).await?;
        Ok(())
    }

    /// Answers a comment, quoting it.
    pub async fn reply(&self, to: &GenericComment, message: &str) -> Result<(), Error> {
        let body = format_response_raw(&to.body, &to.html_url, &to.user.login, message);
        self.comment(to.repo.owner_login(), &to.repo.name, to.number, &body).await
    }
}
