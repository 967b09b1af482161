//! Pull requests: opening, editing, merging, reviewing. Each is one operation for REST and for tests alike.

use prow_git::Expect;
use prow_git::names::{check_branch_name, is_object_id};
use serde_json::{Value, json};

use crate::records::*;
use crate::{Error, Forge, Happening};

/// A pull request to be opened.
#[derive(Clone, Debug, Default)]
pub struct NewPull {
    pub title: String,
    pub body: String,
    /// `branch`, or `owner:branch` for a fork's.
    pub head: String,
    pub base: String,
    pub draft: bool,
    /// The number it must get, for tests that name one; else the next free one.
    pub number: Option<i64>,
    /// Labels it has from the start.
    pub labels: Vec<String>,
}

/// Fields of an issue or pull request to change.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    pub title: Option<String>,
    pub body: Option<String>,
    /// `open` or `closed`.
    pub state: Option<String>,
    /// Another branch to merge into.
    pub base: Option<String>,
}

/// How to merge.
#[derive(Clone, Debug, Default)]
pub struct MergeRequest {
    /// The head the caller has seen; another one is a conflict.
    pub sha: Option<String>,
    /// One commit on the base branch, not a merge commit.
    pub squash: bool,
    pub title: Option<String>,
    pub message: Option<String>,
}

impl Forge {
    /// A pull request by number.
    pub(crate) fn pull(&self, repo: &Repo, number: i64) -> Result<(Issue, Pull), Error> {
        let issue = self.issue(repo, number)?;
        let pull = issue.pull.clone().ok_or_else(Error::not_found)?;
        Ok((issue, pull))
    }

    /// Opens a pull request and tells webhooks `opened`.
    ///
    /// # Errors
    /// A branch does not exist, there is nothing to merge, or the two branches have an open pull request already.
    pub async fn open_pull(&self, actor: &User, repo: &Repo, new: NewPull) -> Result<Issue, Error> {
        let (head_owner, head) = match new.head.split_once(':') {
            Some((owner, branch)) => (owner.to_owned(), branch.to_owned()),
            None => (repo.owner.clone(), new.head.clone()),
        };
        if new.title.trim().is_empty() {
            return Err(Error::Invalid("title can't be blank".into()));
        }
        let head_repo = self.head_repo(repo, &head_owner)?;
        let _lock = self.lock_repo(repo.id).await;
        let head_sha = self.branch_tip(&head_repo, &head, "head").await?;
        let base_sha = self.branch_tip(repo, &new.base, "base").await?;
        let number = self.next_number(repo, new.number)?;
        // Also makes a fork's commits known to this repository, which comparing needs.
        self.bring_head(head_repo.id, repo.id, number, &head_sha).await?;
        if self.git(repo.id).is_ancestor(&head_sha, &base_sha).await? {
            let what = format!("No commits between {}:{} and {head_owner}:{head}", repo.owner, new.base);
            return Err(Error::Invalid(what));
        }
        let pull = Pull {
            base: new.base,
            base_sha,
            head_repo: head_repo.id,
            head,
            head_sha,
            draft: new.draft,
            merged: None,
        };
        let facts = self.facts(repo.id, &pull).await?;
        let mut tx = self.begin().await;
        let twin = |i: &Issue| {
            let same = |p: &Pull| (p.head_repo, &p.head, &p.base) == (pull.head_repo, &pull.head, &pull.base);
            i.open && i.pull.as_ref().is_some_and(same)
        };
        if self.read(|s| s.issues_of(repo.id).any(twin)) {
            return Err(Error::Invalid(format!(
                "A pull request already exists for {head_owner}:{}.",
                pull.head
            )));
        }
        let number = self.next_number(repo, new.number.or(Some(number)))?;
        let mut repo = self.fresh(repo);
        let mut labels = Vec::new();
        for name in new.labels {
            labels.push(define_label(&mut tx, &mut repo, &name));
        }
        if !labels.is_empty() {
            tx.put(Record::Repo(repo.clone()));
        }
        let issue = Issue {
            id: tx.id(),
            repo: repo.id,
            number,
            title: new.title,
            body: new.body,
            author: actor.login.clone(),
            open: true,
            labels,
            comments: 0,
            created_at: self.now(),
            updated_at: self.now(),
            closed_at: None,
            pull: Some(pull.clone()),
        };
        let payload = self.pull_request_payload("opened", &repo, (&issue, &pull), &facts, actor, json!({}));
        tx.webhook(&repo, "pull_request", &payload);
        tx.tell(pull_happening(&repo, number, "opened"));
        tx.put(Record::Issue(issue.clone()));
        tx.commit().await?;
        Ok(issue)
    }

    /// The repository `owner`'s branch is in: the base itself or a fork of it.
    fn head_repo(&self, base: &Repo, owner: &str) -> Result<Repo, Error> {
        if owner.eq_ignore_ascii_case(&base.owner) {
            return Ok(base.clone());
        }
        let fork = |r: &&Repo| r.owner.eq_ignore_ascii_case(owner) && r.parent == Some(base.id);
        let found = self.read(|s| s.repos.values().find(fork).cloned());
        found.ok_or_else(|| Error::Invalid(format!("head: {owner} has no fork of {}", base.full_name())))
    }

    async fn branch_tip(&self, repo: &Repo, branch: &str, field: &str) -> Result<String, Error> {
        let invalid = || Error::Invalid(format!("{field}: {} has no branch {branch:?}", repo.full_name()));
        check_branch_name(branch).map_err(|_| invalid())?;
        self.git(repo.id).rev_parse(&format!("refs/heads/{branch}")).await?.ok_or_else(invalid)
    }

    /// The number a new issue gets: the wanted one if it is free, else the one after the largest.
    pub(crate) fn next_number(&self, repo: &Repo, wanted: Option<i64>) -> Result<i64, Error> {
        match wanted {
            Some(n) if n < 1 || self.read(|s| s.issues.contains_key(&(repo.id, n))) => {
                Err(Error::Invalid(format!("number {n} is taken or not a number of an issue")))
            }
            Some(n) => Ok(n),
            None => Ok(self.read(|s| s.issues_of(repo.id).next_back().map_or(0, |i| i.number)) + 1),
        }
    }

    /// The repository as it is now; a clone held across an await may be old.
    pub(crate) fn fresh(&self, repo: &Repo) -> Repo {
        self.read(|s| s.repos.get(&repo.id).cloned()).unwrap_or_else(|| repo.clone())
    }

    /// Changes title, text, state or base of a pull request, and tells webhooks `edited`, `closed` or `reopened`.
    pub async fn edit_pull(
        &self,
        actor: &User,
        repo: &Repo,
        number: i64,
        edit: Edit,
    ) -> Result<Issue, Error> {
        let _lock = self.lock_repo(repo.id).await;
        let (_, mut pull) = self.pull(repo, number)?;
        let mut changes = json!({});
        if let Some(base) = edit.base.filter(|b| *b != pull.base) {
            let tip = self.branch_tip(repo, &base, "base").await?;
            changes["base"] = json!({"ref": {"from": pull.base}, "sha": {"from": pull.base_sha}});
            (pull.base, pull.base_sha) = (base, tip);
        }
        let reopening = edit.state.as_deref() == Some("open");
        if reopening {
            if pull.merged.is_some() {
                return Err(Error::Invalid("state: a merged pull request cannot be reopened".into()));
            }
            let head_repo =
                self.read(|s| s.repos.get(&pull.head_repo).cloned()).ok_or_else(Error::not_found)?;
            pull.head_sha = self.branch_tip(&head_repo, &pull.head, "head").await?;
            pull.base_sha = self.branch_tip(repo, &pull.base, "base").await?;
            self.bring_head(head_repo.id, repo.id, number, &pull.head_sha).await?;
        }
        let facts = self.facts(repo.id, &pull).await?;
        let mut tx = self.begin().await;
        let mut issue = self.issue(repo, number)?;
        let mut actions = Vec::new();
        for (field, new, old) in
            [("title", edit.title, &mut issue.title), ("body", edit.body, &mut issue.body)]
        {
            if let Some(new) = new.filter(|n| n != old) {
                changes[field] = json!({"from": std::mem::replace(old, new)});
            }
        }
        if changes != json!({}) {
            actions.push(("edited", json!({ "changes": changes })));
        }
        match edit.state.as_deref() {
            Some("closed") if issue.open => {
                (issue.open, issue.closed_at) = (false, Some(self.now()));
                actions.push(("closed", json!({})));
            }
            Some("open") if !issue.open => {
                (issue.open, issue.closed_at) = (true, None);
                actions.push(("reopened", json!({})));
            }
            None | Some("open" | "closed") => {}
            Some(other) => {
                return Err(Error::Invalid(format!("state: {other:?} is neither open nor closed")));
            }
        }
        if actions.is_empty() {
            return Ok(issue);
        }
        issue.updated_at = self.now();
        for (action, more) in actions {
            let payload = self.pull_request_payload(action, repo, (&issue, &pull), &facts, actor, more);
            tx.webhook(repo, "pull_request", &payload);
            tx.tell(pull_happening(repo, number, action));
        }
        // A draft's change does not take the repository's lock.
        let draft = issue.pull.as_ref().is_some_and(|p| p.draft);
        issue.pull = Some(Pull { draft, ..pull });
        tx.put(Record::Issue(issue.clone()));
        tx.commit().await?;
        Ok(issue)
    }

    /// Marks a pull request as draft or ready; tells webhooks `converted_to_draft` or `ready_for_review`.
    pub async fn set_draft(&self, actor: &User, repo: &Repo, number: i64, draft: bool) -> Result<(), Error> {
        let (_, pull) = self.pull(repo, number)?;
        let facts = self.facts(repo.id, &pull).await?;
        let mut tx = self.begin().await;
        let (mut issue, mut pull) = self.pull(repo, number)?;
        if pull.draft == draft {
            return Ok(());
        }
        pull.draft = draft;
        issue.updated_at = self.now();
        let action = if draft { "converted_to_draft" } else { "ready_for_review" };
        let payload = self.pull_request_payload(action, repo, (&issue, &pull), &facts, actor, json!({}));
        tx.webhook(repo, "pull_request", &payload);
        tx.tell(pull_happening(repo, number, action));
        issue.pull = Some(pull);
        tx.put(Record::Issue(issue));
        tx.commit().await
    }

    /// Merges for real, in git; gives the commit on the base branch.
    ///
    /// # Errors
    /// 405 if it is closed or conflicts, 409 if the head is not the one the caller has seen.
    pub async fn merge_pull(
        &self,
        actor: &User,
        repo: &Repo,
        number: i64,
        request: MergeRequest,
    ) -> Result<String, Error> {
        let _lock = self.lock_repo(repo.id).await;
        let (issue, mut pull) = self.pull(repo, number)?;
        if !issue.open || pull.draft {
            return Err(Error::NotAllowed("Pull Request is not mergeable".into()));
        }
        if request.sha.as_ref().is_some_and(|sha| *sha != pull.head_sha) {
            return Err(Error::Conflict("Head branch was modified. Review and try the merge again.".into()));
        }
        pull.base_sha = self.branch_tip(repo, &pull.base, "base").await?;
        let default = match request.squash {
            true => (format!("{} (#{number})", issue.title), issue.body.clone()),
            false => {
                let owner = self.read(|s| s.repos.get(&pull.head_repo).map(|r| r.owner.clone()));
                let from = format!("{}/{}", owner.unwrap_or_default(), pull.head);
                (format!("Merge pull request #{number} from {from}"), issue.title.clone())
            }
        };
        let title = request.title.unwrap_or(default.0);
        let body = request.message.unwrap_or(default.1);
        let message = if body.is_empty() { title } else { format!("{title}\n\n{body}") };
        let commit = self.merge_commit(repo, &pull, actor, request.squash, &message).await?;
        let sha = commit.ok_or_else(|| Error::NotAllowed("Pull Request is not mergeable".into()))?;
        let expect = Expect::Is(pull.base_sha.clone());
        self.move_branch(repo, actor, &pull.base, &sha, &expect, Some(number)).await?;
        Ok(sha)
    }

    /// Reviews a pull request. `event` is GitHub's: `APPROVE`, `REQUEST_CHANGES` or `COMMENT`.
    pub async fn review_pull(
        &self,
        actor: &User,
        repo: &Repo,
        number: i64,
        event: &str,
        body: &str,
    ) -> Result<Review, Error> {
        let state = match event {
            "APPROVE" => "APPROVED",
            "REQUEST_CHANGES" => "CHANGES_REQUESTED",
            "COMMENT" => "COMMENTED",
            other => return Err(Error::Invalid(format!("event: {other:?} is not a review's"))),
        };
        let mut tx = self.begin().await;
        let (issue, pull) = self.pull(repo, number)?;
        let review = Review {
            id: tx.id(),
            repo: repo.id,
            number,
            author: actor.login.clone(),
            body: body.to_owned(),
            state: state.to_owned(),
            commit: pull.head_sha.clone(),
            submitted_at: self.now(),
        };
        tx.webhook(repo, "pull_request_review", &self.review_payload(repo, (&issue, &pull), &review, actor));
        tx.put(Record::Review(review.clone()));
        tx.commit().await?;
        Ok(review)
    }

    /// Sets a commit's status and tells webhooks `status`.
    ///
    /// # Errors
    /// No such commit, an unknown state, or more than a thousand statuses for one commit and context.
    pub async fn set_status(
        &self,
        actor: &User,
        repo: &Repo,
        sha: &str,
        new: &Value,
    ) -> Result<Status, Error> {
        let text = |field: &str| new[field].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        let state = text("state").unwrap_or_default();
        if !matches!(state.as_str(), "pending" | "success" | "failure" | "error") {
            return Err(Error::Invalid(format!("state: {state:?} is not a status's")));
        }
        let description = text("description");
        if description.as_ref().is_some_and(|d| d.chars().count() > 140) {
            return Err(Error::Invalid("description is too long (maximum is 140 characters)".into()));
        }
        let commit = match is_object_id(sha) {
            true => self.commit(repo.id, sha).await?,
            false => None,
        };
        let commit = commit.ok_or_else(|| Error::Invalid(format!("No commit found for SHA: {sha}")))?;
        let context = text("context").unwrap_or_else(|| "default".to_owned());
        let mut tx = self.begin().await;
        if self.read(|s| s.statuses_of(repo.id, sha).filter(|s| s.context == context).count()) >= 1000 {
            let what = "This SHA and context has reached the maximum number of statuses.";
            return Err(Error::Invalid(what.into()));
        }
        let status = Status {
            id: tx.id(),
            repo: repo.id,
            sha: commit.sha.clone(),
            state,
            context,
            description,
            target_url: text("target_url"),
            creator: actor.login.clone(),
            created_at: self.now(),
        };
        tx.webhook(repo, "status", &self.status_payload(repo, &status, &commit, actor));
        tx.tell(Happening::Status {
            org: repo.owner.clone(),
            repo: repo.name.clone(),
            sha: status.sha.clone(),
            context: status.context.clone(),
            state: status.state.clone(),
            description: status.description.clone().unwrap_or_default(),
        });
        tx.put(Record::Status(status.clone()));
        tx.commit().await?;
        Ok(status)
    }
}

pub(crate) fn pull_happening(repo: &Repo, number: i64, action: &str) -> Happening {
    let (org, name) = (repo.owner.clone(), repo.name.clone());
    Happening::PullRequest { org, repo: name, number, action: action.to_owned() }
}

/// The label's name as the repository knows it, making it known if it is new. The caller stores `repo`.
pub(crate) fn define_label(tx: &mut crate::forge::Tx, repo: &mut Repo, name: &str) -> String {
    if let Some(known) = repo.labels.iter().find(|l| l.name.eq_ignore_ascii_case(name)) {
        return known.name.clone();
    }
    let label =
        LabelDef { id: tx.id(), name: name.to_owned(), color: "ededed".into(), description: String::new() };
    repo.labels.push(label);
    name.to_owned()
}
