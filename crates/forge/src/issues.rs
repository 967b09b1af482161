//! Issues, comments and labels, on pull requests too. Each is one operation for REST and for tests alike.

use serde_json::{Value, json};

use crate::forge::Tx;
use crate::pulls::{Edit, define_label, pull_happening};
use crate::records::*;
use crate::{Error, Forge, Happening};

/// GitHub's bound for a comment, in characters.
const MAX_BODY: usize = 65_536;

fn check_body(body: &str) -> Result<(), Error> {
    if body.trim().is_empty() {
        return Err(Error::Invalid("body can't be blank".into()));
    }
    if body.chars().count() > MAX_BODY {
        return Err(Error::Invalid(format!("body is too long (maximum is {MAX_BODY} characters)")));
    }
    Ok(())
}

impl Forge {
    /// An issue or pull request by number.
    pub(crate) fn issue(&self, repo: &Repo, number: i64) -> Result<Issue, Error> {
        self.read(|s| s.issues.get(&(repo.id, number)).cloned()).ok_or_else(Error::not_found)
    }

    /// Opens an issue and tells webhooks `opened`.
    pub async fn open_issue(
        &self,
        actor: &User,
        repo: &Repo,
        title: &str,
        body: &str,
    ) -> Result<Issue, Error> {
        if title.trim().is_empty() {
            return Err(Error::Invalid("title can't be blank".into()));
        }
        // Numbers are given under the repository's lock, pull requests' too.
        let _lock = self.lock_repo(repo.id).await;
        let mut tx = self.begin().await;
        let issue = Issue {
            id: tx.id(),
            repo: repo.id,
            number: self.next_number(repo, None)?,
            title: title.to_owned(),
            body: body.to_owned(),
            author: actor.login.clone(),
            open: true,
            labels: Vec::new(),
            comments: 0,
            created_at: self.now(),
            updated_at: self.now(),
            closed_at: None,
            pull: None,
        };
        self.tell_issue(&mut tx, "opened", repo, &issue, actor, json!({}));
        tx.put(Record::Issue(issue.clone()));
        tx.commit().await?;
        Ok(issue)
    }

    /// Changes title, text or state of an issue; of a pull request through [`Forge::edit_pull`].
    pub async fn edit_issue(
        &self,
        actor: &User,
        repo: &Repo,
        number: i64,
        edit: Edit,
    ) -> Result<Issue, Error> {
        if self.issue(repo, number)?.pull.is_some() {
            return self.edit_pull(actor, repo, number, edit).await;
        }
        let mut tx = self.begin().await;
        let mut issue = self.issue(repo, number)?;
        let mut changes = json!({});
        for (field, new, old) in
            [("title", edit.title, &mut issue.title), ("body", edit.body, &mut issue.body)]
        {
            if let Some(new) = new.filter(|n| n != old) {
                changes[field] = json!({"from": std::mem::replace(old, new)});
            }
        }
        issue.updated_at = self.now();
        if changes != json!({}) {
            self.tell_issue(&mut tx, "edited", repo, &issue, actor, json!({ "changes": changes }));
        }
        match edit.state.as_deref() {
            Some("closed") if issue.open => {
                (issue.open, issue.closed_at) = (false, Some(self.now()));
                self.tell_issue(&mut tx, "closed", repo, &issue, actor, json!({}));
            }
            Some("open") if !issue.open => {
                (issue.open, issue.closed_at) = (true, None);
                self.tell_issue(&mut tx, "reopened", repo, &issue, actor, json!({}));
            }
            None | Some("open" | "closed") => {}
            Some(other) => {
                return Err(Error::Invalid(format!("state: {other:?} is neither open nor closed")));
            }
        }
        tx.put(Record::Issue(issue.clone()));
        tx.commit().await?;
        Ok(issue)
    }

    fn tell_issue(&self, tx: &mut Tx, action: &str, repo: &Repo, issue: &Issue, actor: &User, more: Value) {
        tx.webhook(repo, "issues", &self.issues_payload(action, repo, issue, actor, more));
        tx.tell(Happening::Issue {
            org: repo.owner.clone(),
            repo: repo.name.clone(),
            number: issue.number,
            action: action.to_owned(),
        });
    }

    /// Comments on an issue or pull request.
    pub async fn comment_on(
        &self,
        actor: &User,
        repo: &Repo,
        number: i64,
        body: &str,
    ) -> Result<Comment, Error> {
        check_body(body)?;
        let mut tx = self.begin().await;
        let mut issue = self.issue(repo, number)?;
        issue.comments += 1;
        issue.updated_at = self.now();
        let comment = Comment {
            id: tx.id(),
            repo: repo.id,
            number,
            author: actor.login.clone(),
            body: body.to_owned(),
            created_at: self.now(),
            updated_at: self.now(),
        };
        self.tell_comment(&mut tx, "created", repo, &issue, &comment, actor, json!({}));
        tx.put(Record::Issue(issue));
        tx.put(Record::Comment(comment.clone()));
        tx.commit().await?;
        Ok(comment)
    }

    /// Replaces a comment's text.
    pub async fn edit_comment(
        &self,
        actor: &User,
        repo: &Repo,
        id: i64,
        body: &str,
    ) -> Result<Comment, Error> {
        check_body(body)?;
        let mut tx = self.begin().await;
        let mut comment = self.read(|s| s.comment(repo.id, id).cloned()).ok_or_else(Error::not_found)?;
        let issue = self.issue(repo, comment.number)?;
        let from = std::mem::replace(&mut comment.body, body.to_owned());
        comment.updated_at = self.now();
        let more = json!({"changes": {"body": {"from": from}}});
        self.tell_comment(&mut tx, "edited", repo, &issue, &comment, actor, more);
        tx.put(Record::Comment(comment.clone()));
        tx.commit().await?;
        Ok(comment)
    }

    /// Deletes a comment.
    pub async fn delete_comment(&self, actor: &User, repo: &Repo, id: i64) -> Result<(), Error> {
        let mut tx = self.begin().await;
        let comment = self.read(|s| s.comment(repo.id, id).cloned()).ok_or_else(Error::not_found)?;
        let mut issue = self.issue(repo, comment.number)?;
        issue.comments -= 1;
        self.tell_comment(&mut tx, "deleted", repo, &issue, &comment, actor, json!({}));
        tx.put(Record::Issue(issue));
        tx.forget(Record::Comment(comment));
        tx.commit().await
    }

    fn tell_comment(
        &self,
        tx: &mut Tx,
        action: &str,
        repo: &Repo,
        issue: &Issue,
        comment: &Comment,
        actor: &User,
        more: Value,
    ) {
        let payload = self.issue_comment_payload(action, repo, issue, comment, actor, more);
        tx.webhook(repo, "issue_comment", &payload);
        tx.tell(Happening::Comment {
            org: repo.owner.clone(),
            repo: repo.name.clone(),
            number: issue.number,
            id: comment.id,
            action: action.to_owned(),
            author: comment.author.clone(),
            body: comment.body.clone(),
        });
    }

    /// Adds labels; those the repository does not know become known. Tells webhooks `labeled` for each new one.
    pub async fn add_labels(
        &self,
        actor: &User,
        repo: &Repo,
        number: i64,
        names: &[String],
    ) -> Result<Issue, Error> {
        if let Some(bad) = names.iter().find(|n| n.trim().is_empty() || n.len() > 200) {
            return Err(Error::Invalid(format!("name: {bad:?} cannot be a label")));
        }
        let facts = self.label_facts(repo, number).await?;
        let mut tx = self.begin().await;
        let mut repo = self.fresh(repo);
        let mut issue = self.issue(&repo, number)?;
        let mut added = Vec::new();
        for name in names {
            let name = define_label(&mut tx, &mut repo, name);
            if !issue.labels.contains(&name) {
                issue.labels.push(name.clone());
                added.push(name);
            }
        }
        if added.is_empty() {
            return Ok(issue);
        }
        issue.updated_at = self.now();
        for name in &added {
            self.tell_label(&mut tx, "labeled", &repo, &issue, &facts, name, actor);
        }
        tx.put(Record::Repo(repo));
        tx.put(Record::Issue(issue.clone()));
        tx.commit().await?;
        Ok(issue)
    }

    /// Removes a label; 404 if the issue does not have it.
    pub async fn remove_label(
        &self,
        actor: &User,
        repo: &Repo,
        number: i64,
        name: &str,
    ) -> Result<Issue, Error> {
        let facts = self.label_facts(repo, number).await?;
        let mut tx = self.begin().await;
        let repo = self.fresh(repo);
        let mut issue = self.issue(&repo, number)?;
        let found = issue.labels.iter().position(|l| l.eq_ignore_ascii_case(name));
        let index = found.ok_or_else(|| Error::NotFound("Label does not exist".into()))?;
        let name = issue.labels.remove(index);
        issue.updated_at = self.now();
        self.tell_label(&mut tx, "unlabeled", &repo, &issue, &facts, &name, actor);
        tx.put(Record::Issue(issue.clone()));
        tx.commit().await?;
        Ok(issue)
    }

    /// A pull request's label events carry what git knows of it.
    async fn label_facts(&self, repo: &Repo, number: i64) -> Result<crate::repos::PullFacts, Error> {
        match self.issue(repo, number)?.pull {
            Some(pull) => self.facts(repo.id, &pull).await,
            None => Ok(crate::repos::PullFacts::default()),
        }
    }

    fn tell_label(
        &self,
        tx: &mut Tx,
        action: &str,
        repo: &Repo,
        issue: &Issue,
        facts: &crate::repos::PullFacts,
        name: &str,
        actor: &User,
    ) {
        let more = json!({"label": self.view(|v| v.label(repo, name))});
        match &issue.pull {
            Some(pull) => {
                let payload = self.pull_request_payload(action, repo, (issue, pull), facts, actor, more);
                tx.webhook(repo, "pull_request", &payload);
                tx.tell(pull_happening(repo, issue.number, action));
            }
            None => self.tell_issue(tx, action, repo, issue, actor, more),
        }
    }
}
