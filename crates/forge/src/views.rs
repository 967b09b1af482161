//! The forge's records as GitHub's JSON: the fields that clients read, under GitHub's names.

use serde_json::{Value, json};

use crate::records::*;
use crate::repos::{ChangedFile, Commit, PullFacts};

/// Renders with links that start at one address.
#[derive(Clone, Copy)]
pub(crate) struct Views<'a> {
    pub base: &'a str,
    pub state: &'a State,
}

impl Views<'_> {
    fn api(&self) -> String {
        format!("{}{}", self.base, crate::api::PREFIX)
    }

    fn account(&self, login: &str, id: i64, kind: &str, site_admin: bool) -> Value {
        let (base, api) = (self.base, self.api());
        json!({
            "login": login, "id": id, "node_id": format!("U_{id}"), "type": kind, "site_admin": site_admin,
            "avatar_url": "", "gravatar_id": "",
            "url": format!("{api}/users/{login}"), "html_url": format!("{base}/{login}"),
            "repos_url": format!("{api}/users/{login}/repos"),
        })
    }

    pub(crate) fn user(&self, user: &User) -> Value {
        let kind = match user.kind {
            AccountKind::User => "User",
            AccountKind::Bot => "Bot",
        };
        self.account(&user.login, user.id, kind, user.site_admin)
    }

    /// Any account by login; GitHub's `ghost` where there is none.
    pub(crate) fn login(&self, login: &str) -> Value {
        match (self.state.user(login), self.state.org(login)) {
            (Some(user), _) => self.user(user),
            (None, Some(org)) => self.account(&org.login, org.id, "Organization", false),
            (None, None) => self.account("ghost", 0, "User", false),
        }
    }

    pub(crate) fn org(&self, org: &Org) -> Value {
        let (api, login) = (self.api(), &org.login);
        json!({
            "login": login, "id": org.id, "node_id": format!("O_{}", org.id), "description": "", "avatar_url": "",
            "url": format!("{api}/orgs/{login}"), "repos_url": format!("{api}/orgs/{login}/repos"),
            "members_url": format!("{api}/orgs/{login}/members{{/member}}"),
            "hooks_url": format!("{api}/orgs/{login}/hooks"), "type": "Organization",
        })
    }

    /// The payload's `organization`, if the repository belongs to one.
    pub(crate) fn organization(&self, repo: &Repo) -> Option<Value> {
        self.state.org(&repo.owner).map(|o| self.org(o))
    }

    pub(crate) fn repo(&self, repo: &Repo) -> Value {
        let (base, api, full) = (self.base, self.api(), repo.full_name());
        let open = self.state.issues_of(repo.id).filter(|i| i.open).count();
        let forks = self.state.repos.values().filter(|r| r.parent == Some(repo.id)).count();
        let mut value = json!({
            "id": repo.id, "node_id": format!("R_{}", repo.id), "name": repo.name, "full_name": full,
            "owner": self.login(&repo.owner), "private": repo.private, "fork": repo.parent.is_some(),
            "default_branch": repo.default_branch, "description": null, "archived": false, "disabled": false,
            "visibility": if repo.private { "private" } else { "public" },
            "open_issues_count": open, "open_issues": open, "forks_count": forks, "forks": forks,
            "created_at": repo.created_at, "updated_at": repo.created_at, "pushed_at": repo.created_at,
            // What this forge does not have.
            "stargazers_count": 0, "watchers_count": 0, "watchers": 0, "size": 0, "is_template": false,
            "has_issues": true, "has_wiki": false, "has_pages": false, "has_projects": false, "has_downloads": false,
            "homepage": null, "language": null, "license": null, "topics": [], "custom_properties": {},
            "web_commit_signoff_required": false,
        });
        let links = json!({
            "html_url": format!("{base}/{full}"), "url": format!("{api}/repos/{full}"),
            "clone_url": format!("{base}/{full}.git"), "git_url": format!("{base}/{full}.git"), "ssh_url": "",
            "statuses_url": format!("{api}/repos/{full}/statuses/{{sha}}"),
            "pulls_url": format!("{api}/repos/{full}/pulls{{/number}}"),
            "issues_url": format!("{api}/repos/{full}/issues{{/number}}"),
            "commits_url": format!("{api}/repos/{full}/commits{{/sha}}"),
            "contents_url": format!("{api}/repos/{full}/contents/{{+path}}"),
            "collaborators_url": format!("{api}/repos/{full}/collaborators{{/collaborator}}"),
            "labels_url": format!("{api}/repos/{full}/labels{{/name}}"),
            "hooks_url": format!("{api}/repos/{full}/hooks"),
            "git_refs_url": format!("{api}/repos/{full}/git/refs{{/sha}}"),
        });
        merge_into(&mut value, links);
        value
    }

    /// A repository with what `user` may do in it.
    pub(crate) fn repo_for(&self, repo: &Repo, user: Option<&User>) -> Value {
        let mut value = self.repo(repo);
        if user.is_some() {
            let has = self.state.permission(repo, user);
            value["permissions"] = json!({
                "admin": has >= Some(Permission::Admin), "maintain": has >= Some(Permission::Admin),
                "push": has >= Some(Permission::Write), "triage": has >= Some(Permission::Triage),
                "pull": has >= Some(Permission::Read),
            });
        }
        value
    }

    pub(crate) fn label_def(&self, repo: &Repo, label: &LabelDef) -> Value {
        json!({
            "id": label.id, "node_id": format!("LA_{}", label.id), "name": label.name, "color": label.color,
            "description": label.description, "default": false,
            "url": format!("{}/repos/{}/labels/{}", self.api(), repo.full_name(), label.name),
        })
    }

    /// A label as an issue carries it. Every label of an issue is known to its repository.
    pub(crate) fn label(&self, repo: &Repo, name: &str) -> Value {
        let known = repo.labels.iter().find(|l| l.name.eq_ignore_ascii_case(name));
        known.map_or_else(|| json!({"name": name}), |l| self.label_def(repo, l))
    }

    fn association(&self, repo: &Repo, login: &str) -> &'static str {
        let lower = login.to_lowercase();
        if lower == repo.owner.to_lowercase() {
            "OWNER"
        } else if self.state.org(&repo.owner).is_some_and(|o| o.members.contains_key(&lower)) {
            "MEMBER"
        } else if repo.collaborators.contains_key(&lower) {
            "COLLABORATOR"
        } else {
            "NONE"
        }
    }

    pub(crate) fn issue(&self, repo: &Repo, issue: &Issue) -> Value {
        let (api, full, n) = (self.api(), repo.full_name(), issue.number);
        let mut value = self.common(repo, issue);
        value["url"] = json!(format!("{api}/repos/{full}/issues/{n}"));
        value["comments"] = json!(issue.comments);
        if let Some(pull) = &issue.pull {
            value["html_url"] = json!(format!("{}/{full}/pull/{n}", self.base));
            value["draft"] = json!(pull.draft);
            value["pull_request"] = json!({
                "url": format!("{api}/repos/{full}/pulls/{n}"), "html_url": format!("{}/{full}/pull/{n}", self.base),
                "merged_at": pull.merged.as_ref().map(|m| &m.at),
            });
        } else {
            value["html_url"] = json!(format!("{}/{full}/issues/{n}", self.base));
            value["draft"] = json!(false);
        }
        value
    }

    /// What issues and pull requests share.
    fn common(&self, repo: &Repo, issue: &Issue) -> Value {
        let (api, full, n) = (self.api(), repo.full_name(), issue.number);
        let labels: Vec<Value> = issue.labels.iter().map(|l| self.label(repo, l)).collect();
        json!({
            "id": issue.id, "number": n, "title": issue.title,
            "node_id": format!("{}_{}", if issue.pull.is_some() { "PR" } else { "I" }, issue.id),
            "body": if issue.body.is_empty() { Value::Null } else { json!(issue.body) },
            "state": if issue.open { "open" } else { "closed" }, "locked": false, "user": self.login(&issue.author),
            "labels": labels, "assignee": null, "assignees": [], "milestone": null,
            "author_association": self.association(repo, &issue.author), "active_lock_reason": null,
            "created_at": issue.created_at, "updated_at": issue.updated_at, "closed_at": issue.closed_at,
            "comments_url": format!("{api}/repos/{full}/issues/{n}/comments"),
        })
    }

    /// A pull request. `facts` is what git knows; lists go without, as GitHub's do.
    pub(crate) fn pull(&self, repo: &Repo, issue: &Issue, pull: &Pull, facts: Option<&PullFacts>) -> Value {
        let (base, api, full, n) = (self.base, self.api(), repo.full_name(), issue.number);
        let head_repo = self.state.repos.get(&pull.head_repo).unwrap_or(repo);
        let side = |repo: &Repo, branch: &str, sha: &str| {
            json!({
                "label": format!("{}:{branch}", repo.owner), "ref": branch, "sha": sha,
                "user": self.login(&repo.owner), "repo": self.repo(repo),
            })
        };
        let mut value = self.common(repo, issue);
        let more = json!({
            "url": format!("{api}/repos/{full}/pulls/{n}"), "html_url": format!("{base}/{full}/pull/{n}"),
            "issue_url": format!("{api}/repos/{full}/issues/{n}"),
            "commits_url": format!("{api}/repos/{full}/pulls/{n}/commits"),
            "statuses_url": format!("{api}/repos/{full}/statuses/{}", pull.head_sha),
            "requested_reviewers": [], "requested_teams": [], "draft": pull.draft, "auto_merge": null,
            "merged_at": pull.merged.as_ref().map(|m| &m.at),
            "merge_commit_sha": pull.merged.as_ref().map(|m| &m.sha),
            "base": side(repo, &pull.base, &pull.base_sha), "head": side(head_repo, &pull.head, &pull.head_sha),
        });
        merge_into(&mut value, more);
        if let Some(facts) = facts {
            let state = match (facts.mergeable, pull.draft) {
                (false, _) => "dirty",
                (true, true) => "draft",
                (true, false) => "clean",
            };
            let open = pull.merged.is_none();
            merge_into(
                &mut value,
                json!({
                    "merged": !open, "merged_by": pull.merged.as_ref().map(|m| self.login(&m.by)),
                    "mergeable": if open { Some(facts.mergeable) } else { None },
                    "mergeable_state": if open { state } else { "unknown" },
                    "rebaseable": if open { Some(facts.mergeable) } else { None },
                    "comments": issue.comments, "review_comments": 0, "maintainer_can_modify": false,
                    "commits": facts.commits, "additions": facts.additions, "deletions": facts.deletions,
                    "changed_files": facts.changed_files,
                }),
            );
        }
        value
    }

    pub(crate) fn comment(&self, repo: &Repo, comment: &Comment) -> Value {
        let (api, full) = (self.api(), repo.full_name());
        let kind = match self.state.issues.get(&(repo.id, comment.number)) {
            Some(issue) if issue.pull.is_some() => "pull",
            _ => "issues",
        };
        json!({
            "id": comment.id, "node_id": format!("IC_{}", comment.id), "body": comment.body,
            "url": format!("{api}/repos/{full}/issues/comments/{}", comment.id),
            "html_url": format!("{}/{full}/{kind}/{}#issuecomment-{}", self.base, comment.number, comment.id),
            "issue_url": format!("{api}/repos/{full}/issues/{}", comment.number),
            "user": self.login(&comment.author), "author_association": self.association(repo, &comment.author),
            "created_at": comment.created_at, "updated_at": comment.updated_at, "performed_via_github_app": null,
        })
    }

    pub(crate) fn review(&self, repo: &Repo, review: &Review) -> Value {
        let (full, n, id) = (repo.full_name(), review.number, review.id);
        json!({
            "id": id, "node_id": format!("PRR_{id}"), "body": review.body, "state": review.state,
            "html_url": format!("{}/{full}/pull/{n}#pullrequestreview-{id}", self.base),
            "pull_request_url": format!("{}/repos/{full}/pulls/{n}", self.api()),
            "user": self.login(&review.author), "author_association": self.association(repo, &review.author),
            "commit_id": review.commit, "submitted_at": review.submitted_at,
        })
    }

    pub(crate) fn status(&self, repo: &Repo, status: &Status) -> Value {
        json!({
            "id": status.id, "node_id": format!("SC_{}", status.id), "state": status.state, "context": status.context,
            "url": format!("{}/repos/{}/statuses/{}", self.api(), repo.full_name(), status.sha),
            "description": status.description, "target_url": status.target_url, "avatar_url": "",
            "creator": self.login(&status.creator), "created_at": status.created_at, "updated_at": status.created_at,
        })
    }

    pub(crate) fn commit(&self, repo: &Repo, commit: &Commit) -> Value {
        let (api, full) = (self.api(), repo.full_name());
        let who = |w: &(String, String, String)| json!({"name": w.0, "email": w.1, "date": w.2});
        // Only addresses that the forge hands out say which account a commit is by.
        let account = |email: &str| {
            let login = email.strip_suffix("@users.noreply.forge.invalid")?;
            self.state.user(login).map(|u| self.user(u))
        };
        let link = |sha: &str| {
            json!({
                "sha": sha, "url": format!("{api}/repos/{full}/commits/{sha}"),
                "html_url": format!("{}/{full}/commit/{sha}", self.base),
            })
        };
        let mut value = link(&commit.sha);
        let parents: Vec<Value> = commit.parents.iter().map(|p| link(p)).collect();
        let more = json!({
            "node_id": format!("C_{}", commit.sha),
            "commit": {
                "message": commit.message, "author": who(&commit.author), "committer": who(&commit.committer),
                "tree": {"sha": commit.tree, "url": format!("{api}/repos/{full}/git/trees/{}", commit.tree)},
                "url": format!("{api}/repos/{full}/git/commits/{}", commit.sha), "comment_count": 0,
            },
            "author": account(&commit.author.1), "committer": account(&commit.committer.1), "parents": parents,
        });
        merge_into(&mut value, more);
        value
    }

    pub(crate) fn file(&self, repo: &Repo, sha: &str, file: &ChangedFile) -> Value {
        let (api, full, path) = (self.api(), repo.full_name(), &file.path);
        let mut value = json!({
            "sha": file.blob, "filename": path, "status": file.status, "additions": file.additions,
            "deletions": file.deletions, "changes": file.additions + file.deletions,
            "blob_url": format!("{}/{full}/blob/{sha}/{path}", self.base),
            "contents_url": format!("{api}/repos/{full}/contents/{path}?ref={sha}"),
        });
        if let Some(previous) = &file.previous {
            value["previous_filename"] = json!(previous);
        }
        value
    }

    pub(crate) fn hook(&self, hook: &Hook) -> Value {
        json!({
            "id": hook.id, "type": "Repository", "name": "web", "active": true, "events": hook.events,
            // As on GitHub, the secret only shows that there is one.
            "config": {
                "url": hook.url, "content_type": "json", "insecure_ssl": "0",
                "secret": if hook.secret.is_empty() { None } else { Some("********") },
            },
        })
    }
}

/// Adds the fields of one JSON object to another.
pub(crate) fn merge_into(target: &mut Value, more: Value) {
    if let (Value::Object(target), Value::Object(more)) = (target, more) {
        target.extend(more);
    }
}
