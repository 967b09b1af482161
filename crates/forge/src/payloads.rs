//! Webhook payloads, field by field as GitHub sends them.

use serde_json::{Value, json};

use crate::Forge;
use crate::records::*;
use crate::repos::{Commit, PullFacts, Touched, ZEROS};
use crate::views::{Views, merge_into};

/// A ref's move, with what is needed to tell of it.
pub(crate) struct Moved<'a> {
    pub reference: &'a str,
    pub before: &'a str,
    pub after: &'a str,
    pub forced: bool,
    pub commits: &'a [Commit],
    pub touched: &'a [Touched],
    pub head: Option<&'a (Commit, Touched)>,
}

impl Forge {
    pub(crate) fn view<T>(&self, f: impl FnOnce(&Views<'_>) -> T) -> T {
        self.read(|state| f(&Views { base: &self.inner.base_url, state }))
    }

    /// `repository`, `organization` and `sender`, which every payload has.
    fn envelope(&self, repo: &Repo, sender: &User, more: Value) -> Value {
        let mut value = more;
        self.view(|v| {
            value["repository"] = v.repo(repo);
            if let Some(organization) = v.organization(repo) {
                value["organization"] = organization;
            }
            value["sender"] = v.user(sender);
        });
        value
    }

    /// `pull_request`; `more` has what only this action has (`label`, `changes`, `before`, `after`).
    pub(crate) fn pull_request_payload(
        &self,
        action: &str,
        repo: &Repo,
        (issue, pull): (&Issue, &Pull),
        facts: &PullFacts,
        sender: &User,
        more: Value,
    ) -> Value {
        let mut value = json!({
            "action": action, "number": issue.number,
            "pull_request": self.view(|v| v.pull(repo, issue, pull, Some(facts))),
        });
        merge_into(&mut value, more);
        self.envelope(repo, sender, value)
    }

    /// `issues`
    pub(crate) fn issues_payload(
        &self,
        action: &str,
        repo: &Repo,
        issue: &Issue,
        sender: &User,
        more: Value,
    ) -> Value {
        let mut value = json!({"action": action, "issue": self.view(|v| v.issue(repo, issue))});
        merge_into(&mut value, more);
        self.envelope(repo, sender, value)
    }

    /// `issue_comment`
    pub(crate) fn issue_comment_payload(
        &self,
        action: &str,
        repo: &Repo,
        issue: &Issue,
        comment: &Comment,
        sender: &User,
        more: Value,
    ) -> Value {
        let mut value = json!({
            "action": action,
            "issue": self.view(|v| v.issue(repo, issue)),
            "comment": self.view(|v| v.comment(repo, comment)),
        });
        merge_into(&mut value, more);
        self.envelope(repo, sender, value)
    }

    /// `pull_request_review`
    pub(crate) fn review_payload(
        &self,
        repo: &Repo,
        (issue, pull): (&Issue, &Pull),
        review: &Review,
        sender: &User,
    ) -> Value {
        let mut shown = self.view(|v| v.review(repo, review));
        // Lower case in webhooks, upper case in REST answers: GitHub's own difference.
        shown["state"] = json!(review.state.to_lowercase());
        let value = json!({
            "action": "submitted", "review": shown,
            "pull_request": self.view(|v| v.pull(repo, issue, pull, None)),
        });
        self.envelope(repo, sender, value)
    }

    /// `status`
    pub(crate) fn status_payload(
        &self,
        repo: &Repo,
        status: &Status,
        commit: &Commit,
        sender: &User,
    ) -> Value {
        let at_commit = |((_, name), sha): (&(i64, String), &String)| {
            let branch = name.strip_prefix("refs/heads/")?;
            let url = format!("{}/repos/{}/commits/{sha}", self.api_url(), repo.full_name());
            let here = || json!({"name": branch, "commit": {"sha": sha, "url": url}, "protected": false});
            (*sha == status.sha).then(here)
        };
        let branches: Vec<Value> = self.read(|s| {
            let range = s.refs.range((repo.id, String::new())..(repo.id + 1, String::new()));
            range.filter_map(at_commit).collect()
        });
        let value = json!({
            "id": status.id, "sha": status.sha, "name": repo.full_name(), "context": status.context,
            "state": status.state, "description": status.description, "target_url": status.target_url,
            "commit": self.view(|v| v.commit(repo, commit)), "branches": branches, "avatar_url": "",
            "created_at": status.created_at, "updated_at": status.created_at,
        });
        self.envelope(repo, sender, value)
    }

    /// `push`. The owner has a `name` here, and times are numbers: GitHub's own difference to all other events.
    pub(crate) fn push_payload(&self, repo: &Repo, moved: &Moved<'_>, sender: &User) -> Value {
        let base = &self.inner.base_url;
        let url = format!("{base}/{}", repo.full_name());
        let entry = |commit: &Commit, touched: &Touched| {
            let who = |w: &(String, String, String)| {
                let login = w.1.strip_suffix("@users.noreply.forge.invalid");
                json!({"name": w.0, "email": w.1, "date": w.2, "username": login})
            };
            json!({
                "id": commit.sha, "tree_id": commit.tree, "distinct": true, "message": commit.message,
                "timestamp": commit.committer.2, "url": format!("{url}/commit/{}", commit.sha),
                "author": who(&commit.author), "committer": who(&commit.committer),
                "added": touched.added, "removed": touched.removed, "modified": touched.modified,
            })
        };
        let commits: Vec<Value> = moved.commits.iter().zip(moved.touched).map(|(c, t)| entry(c, t)).collect();
        let (created, deleted) = (moved.before == ZEROS, moved.after == ZEROS);
        let compare = if created || deleted {
            format!(
                "{url}/compare/{}",
                moved.reference.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/")
            )
        } else {
            let short = |sha: &str| sha.chars().take(12).collect::<String>();
            format!("{url}/compare/{}...{}", short(moved.before), short(moved.after))
        };
        let value = json!({
            "ref": moved.reference, "before": moved.before, "after": moved.after, "base_ref": null,
            "created": created, "deleted": deleted, "forced": moved.forced, "compare": compare,
            "commits": commits, "head_commit": moved.head.map(|(c, t)| entry(c, t)),
            "pusher": {"name": sender.login, "email": sender.email()},
        });
        let mut value = self.envelope(repo, sender, value);
        let repository = &mut value["repository"];
        repository["owner"]["name"] = json!(repo.owner);
        repository["url"] = json!(url);
        repository["owner"]["email"] = json!(null);
        repository["stargazers"] = json!(0);
        repository["master_branch"] = json!(repo.default_branch);
        for field in ["created_at", "pushed_at"] {
            let seconds = repository[field].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
            repository[field] = json!(seconds.map(jiff::Timestamp::as_second));
        }
        value
    }
}
