//! What Prow asks of GitHub, one method a call. Names follow Prow's own client.

use base64::Engine;
use http::Method;

use super::path::{path, with_query};
use super::{Call, Client};
use crate::types::*;
use crate::{Error, types::norm_login};

/// How a pull request is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MergeMethod {
    Merge,
    Squash,
    Rebase,
}

/// A pull request to be opened.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct NewPullRequest {
    pub title: String,
    pub body: String,
    /// The branch with the changes, `owner:branch` if it is in a fork.
    pub head: String,
    /// The branch to merge into.
    pub base: String,
    pub draft: bool,
}

/// Which login is ours; for telling our own comments from others'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BotUser {
    login: String,
}

impl BotUser {
    /// True for our login, and for `login[bot]` as GitHub Apps comment under.
    pub fn is(&self, login: &str) -> bool {
        let login = norm_login(login);
        login == self.login || login.strip_suffix("[bot]") == Some(&self.login)
    }
}

impl Client {
    // ── Pull requests ──

    /// One pull request. A 404 is asked again: GitHub's webhooks can be ahead of its API.
    pub async fn get_pull_request(&self, org: &str, repo: &str, number: i64) -> Result<PullRequest, Error> {
        self.fetch(Call::get(path(["repos", org, repo, "pulls", &number.to_string()])?)).await
    }

    /// The pull requests that are open.
    pub async fn list_open_pull_requests(&self, org: &str, repo: &str) -> Result<Vec<PullRequest>, Error> {
        self.fetch_list(&path(["repos", org, repo, "pulls"])?, &[("state", "open")]).await
    }

    /// The files a pull request changes (GitHub lists at most 3,000).
    pub async fn get_pull_request_changes(
        &self,
        org: &str,
        repo: &str,
        number: i64,
    ) -> Result<Vec<PullRequestChange>, Error> {
        self.fetch_list(&path(["repos", org, repo, "pulls", &number.to_string(), "files"])?, &[]).await
    }

    /// The commits of a pull request (GitHub lists at most 250).
    pub async fn list_pull_request_commits(
        &self,
        org: &str,
        repo: &str,
        number: i64,
    ) -> Result<Vec<RepositoryCommit>, Error> {
        self.fetch_list(&path(["repos", org, repo, "pulls", &number.to_string(), "commits"])?, &[]).await
    }

    /// Opens a pull request.
    pub async fn create_pull_request(
        &self,
        org: &str,
        repo: &str,
        new: &NewPullRequest,
    ) -> Result<PullRequest, Error> {
        self.fetch(Call::new(Method::POST, path(["repos", org, repo, "pulls"])?).json(new)?).await
    }

    /// Closes a pull request.
    pub async fn close_pull_request(&self, org: &str, repo: &str, number: i64) -> Result<PullRequest, Error> {
        self.edit_pull_request(org, repo, number, &serde_json::json!({"state": "closed"})).await
    }

    /// Opens a closed pull request again.
    pub async fn reopen_pull_request(
        &self,
        org: &str,
        repo: &str,
        number: i64,
    ) -> Result<PullRequest, Error> {
        self.edit_pull_request(org, repo, number, &serde_json::json!({"state": "open"})).await
    }

    /// Changes fields of a pull request: `title`, `body`, `state`, `base`.
    pub async fn edit_pull_request(
        &self,
        org: &str,
        repo: &str,
        number: i64,
        fields: &serde_json::Value,
    ) -> Result<PullRequest, Error> {
        let path = path(["repos", org, repo, "pulls", &number.to_string()])?;
        self.fetch(Call::new(Method::PATCH, path).json(fields)?).await
    }

    /// Merges a pull request if its head is still `sha`; gives the merge commit's SHA.
    pub async fn merge(
        &self,
        org: &str,
        repo: &str,
        number: i64,
        sha: &str,
        method: MergeMethod,
    ) -> Result<String, Error> {
        let path = path(["repos", org, repo, "pulls", &number.to_string(), "merge"])?;
        let body = serde_json::json!({"sha": sha, "merge_method": method});
        let merged: CommitParent = self.fetch(Call::new(Method::PUT, path).json(&body)?).await?;
        Ok(merged.sha)
    }

    /// How many merged pull requests `author` has in `org`.
    pub async fn merged_pull_request_count(&self, org: &str, author: &str) -> Result<i64, Error> {
        let query = format!("type:pr is:merged org:{org} author:{author}");
        let path = with_query("/search/issues", &[("q", &query), ("per_page", "1")]);
        Ok(self.fetch::<SearchCount>(Call::get(path)).await?.total_count)
    }

    // ── Commits and statuses ──

    /// The SHA a ref points at; `reference` is like `heads/main` or `tags/v1`.
    pub async fn get_ref(&self, org: &str, repo: &str, reference: &str) -> Result<String, Error> {
        let segments = ["repos", org, repo, "git", "ref"].into_iter().chain(reference.split('/'));
        Ok(self.fetch::<GitRef>(Call::get(path(segments)?)).await?.object.sha)
    }

    /// One commit; `sha` may be a branch too.
    pub async fn get_single_commit(
        &self,
        org: &str,
        repo: &str,
        sha: &str,
    ) -> Result<RepositoryCommit, Error> {
        self.fetch(Call::get(path(["repos", org, repo, "commits", sha])?)).await
    }

    /// The newest status of each context, all pages.
    pub async fn get_combined_status(
        &self,
        org: &str,
        repo: &str,
        sha: &str,
    ) -> Result<CombinedStatus, Error> {
        let mut all: Option<CombinedStatus> = None;
        let path = path(["repos", org, repo, "commits", sha, "status"])?;
        self.fetch_pages(&path, &[], |page: CombinedStatus| match &mut all {
            Some(all) => all.statuses.extend(page.statuses),
            None => all = Some(page),
        })
        .await?;
        Ok(all.unwrap_or_default())
    }

    /// Every status ever set on a commit, newest first.
    pub async fn list_statuses(&self, org: &str, repo: &str, sha: &str) -> Result<Vec<Status>, Error> {
        self.fetch_list(&path(["repos", org, repo, "statuses", sha])?, &[]).await
    }

    /// Sets a commit's status. Setting it twice leaves the same state, so it is retried like a read.
    pub async fn create_status(
        &self,
        org: &str,
        repo: &str,
        sha: &str,
        status: &Status,
    ) -> Result<(), Error> {
        let call = Call::new(Method::POST, path(["repos", org, repo, "statuses", sha])?).repeatable();
        self.send(call.json(status)?).await.map(drop)
    }

    // ── Comments ──

    /// The comments of an issue or pull request, oldest first.
    pub async fn list_issue_comments(
        &self,
        org: &str,
        repo: &str,
        number: i64,
    ) -> Result<Vec<IssueComment>, Error> {
        self.fetch_list(&path(["repos", org, repo, "issues", &number.to_string(), "comments"])?, &[]).await
    }

    /// Comments on an issue or pull request.
    pub async fn create_comment(
        &self,
        org: &str,
        repo: &str,
        number: i64,
        body: &str,
    ) -> Result<IssueComment, Error> {
        let path = path(["repos", org, repo, "issues", &number.to_string(), "comments"])?;
        self.fetch(Call::new(Method::POST, path).json(&serde_json::json!({ "body": body }))?).await
    }

    /// Replaces a comment's text.
    pub async fn edit_comment(
        &self,
        org: &str,
        repo: &str,
        id: i64,
        body: &str,
    ) -> Result<IssueComment, Error> {
        let path = path(["repos", org, repo, "issues", "comments", &id.to_string()])?;
        self.fetch(Call::new(Method::PATCH, path).json(&serde_json::json!({ "body": body }))?).await
    }

    /// Deletes a comment. One that is gone already is what was wanted.
    pub async fn delete_comment(&self, org: &str, repo: &str, id: i64) -> Result<(), Error> {
        let path = path(["repos", org, repo, "issues", "comments", &id.to_string()])?;
        self.gone(Call::new(Method::DELETE, path).may_be_absent()).await
    }

    // ── Issues and labels ──

    /// One issue (or pull request, as an issue).
    pub async fn get_issue(&self, org: &str, repo: &str, number: i64) -> Result<Issue, Error> {
        self.fetch(Call::get(path(["repos", org, repo, "issues", &number.to_string()])?)).await
    }

    /// Opens an issue.
    pub async fn create_issue(&self, org: &str, repo: &str, title: &str, body: &str) -> Result<Issue, Error> {
        let call = Call::new(Method::POST, path(["repos", org, repo, "issues"])?);
        self.fetch(call.json(&serde_json::json!({"title": title, "body": body}))?).await
    }

    /// The labels of an issue or pull request.
    pub async fn get_issue_labels(&self, org: &str, repo: &str, number: i64) -> Result<Vec<Label>, Error> {
        self.fetch_list(&path(["repos", org, repo, "issues", &number.to_string(), "labels"])?, &[]).await
    }

    /// Adds a label. Adding it twice is adding it once.
    pub async fn add_label(&self, org: &str, repo: &str, number: i64, label: &str) -> Result<(), Error> {
        let path = path(["repos", org, repo, "issues", &number.to_string(), "labels"])?;
        let call = Call::new(Method::POST, path).repeatable();
        self.send(call.json(&serde_json::json!({ "labels": [label] }))?).await.map(drop)
    }

    /// Removes a label. One that is not there is what was wanted.
    pub async fn remove_label(&self, org: &str, repo: &str, number: i64, label: &str) -> Result<(), Error> {
        let path = path(["repos", org, repo, "issues", &number.to_string(), "labels", label])?;
        self.gone(Call::new(Method::DELETE, path).may_be_absent()).await
    }

    // ── People ──

    /// True if `user` belongs to `org`. A token from outside the organization is redirected to the public members.
    pub async fn is_member(&self, org: &str, user: &str) -> Result<bool, Error> {
        self.exists(path(["orgs", org, "members", user])?).await
    }

    /// True if `user` is a collaborator of the repository (org owners and members with access included).
    pub async fn is_collaborator(&self, org: &str, repo: &str, user: &str) -> Result<bool, Error> {
        self.exists(path(["repos", org, repo, "collaborators", user])?).await
    }

    /// The account our token belongs to; asked once and remembered.
    pub async fn bot_user(&self) -> Result<User, Error> {
        let bot =
            self.shared.bot.get_or_try_init(|| async { self.fetch(Call::get("/user".to_owned())).await });
        Ok(bot.await?.clone())
    }

    /// Tells our own login from others'.
    pub async fn bot_user_checker(&self) -> Result<BotUser, Error> {
        let login = norm_login(&self.bot_user().await?.login);
        Ok(BotUser { login: login.strip_suffix("[bot]").unwrap_or(&login).to_owned() })
    }

    // ── Repositories ──

    /// One repository.
    pub async fn get_repo(&self, org: &str, repo: &str) -> Result<Repo, Error> {
        self.fetch(Call::get(path(["repos", org, repo])?)).await
    }

    /// The repositories of an organization, or of a user if there is no such organization.
    pub async fn get_repos(&self, org: &str) -> Result<Vec<Repo>, Error> {
        match self.fetch(Call::get(path(["orgs", org])?).may_be_absent()).await {
            Ok(User { .. }) => self.fetch_list(&path(["orgs", org, "repos"])?, &[]).await,
            Err(e) if e.is_not_found() => self.fetch_list(&path(["users", org, "repos"])?, &[]).await,
            Err(e) => Err(e),
        }
    }

    /// A file's content at `reference` (branch, tag or SHA); empty means the default branch.
    ///
    /// # Errors
    /// `is_not_found()` if there is no such file; an error if the path is a directory.
    pub async fn get_file(
        &self,
        org: &str,
        repo: &str,
        file: &str,
        reference: &str,
    ) -> Result<Vec<u8>, Error> {
        let segments = ["repos", org, repo, "contents"].into_iter().chain(file.split('/'));
        let path = path(segments)?;
        let query: &[(&str, &str)] = if reference.is_empty() { &[] } else { &[("ref", reference)] };
        let path = with_query(&path, query);
        let content: FileContent = self.fetch(Call::get(path.clone()).may_be_absent()).await?;
        let unexpected = |why: String| Error::Unexpected { method: Method::GET, path: path.clone(), why };
        match (content.r#type.as_str(), content.encoding.as_str()) {
            ("file", "base64") => {
                let text: String = content.content.split_ascii_whitespace().collect();
                let decoded = base64::engine::general_purpose::STANDARD.decode(text);
                decoded.map_err(|e| unexpected(format!("the content is not base64: {e}")))
            }
            // Past 1 MB GitHub leaves the content out of the JSON form and gives it only raw.
            ("file", "none") => {
                let raw = Call::get(path.clone()).accept("application/vnd.github.raw+json").may_be_absent();
                Ok(self.send(raw).await?.body.to_vec())
            }
            (kind, encoding) => {
                Err(unexpected(format!("expected a file, got {kind:?} in encoding {encoding:?}")))
            }
        }
    }

    // ── Shared shapes ──

    /// 2xx means yes, 404 no.
    async fn exists(&self, path: String) -> Result<bool, Error> {
        match self.send(Call::get(path).may_be_absent()).await {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// A deletion: 2xx and 404 both mean that the thing is gone.
    async fn gone(&self, call: Call) -> Result<(), Error> {
        match self.send(call).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e),
        }
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct FileContent {
    r#type: String,
    encoding: String,
    content: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_login_is_told_from_others() {
        let bot = BotUser { login: "prow".into() };
        for (login, want) in
            [("prow", true), ("Prow", true), ("prow[bot]", true), ("prowler", false), ("x[bot]", false)]
        {
            assert_eq!(bot.is(login), want, "{login}");
        }
    }
}
