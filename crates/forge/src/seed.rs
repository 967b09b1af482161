//! Setting a forge up and looking into it, from Rust: what tests and `prow demo` do without HTTP.

use std::collections::BTreeMap;

use prow_api::Secret;
use sha2::{Digest, Sha256};

use crate::pulls::{Edit, NewPull};
use crate::records::*;
use crate::{Error, Forge};

/// A pull request for tests that need one with a given number and changed files, without a push.
#[derive(Clone, Debug, Default)]
pub struct SeedPull<'a> {
    /// The next free one if `None`.
    pub number: Option<i64>,
    pub title: &'a str,
    pub body: &'a str,
    /// Login of an existing user.
    pub author: &'a str,
    /// The repository's default branch if empty.
    pub base: &'a str,
    /// Made for it; `pull-<number>` if empty.
    pub head: &'a str,
    /// Path and content of what it changes; no content removes the file.
    pub files: &'a [(&'a str, Option<&'a str>)],
    pub draft: bool,
    pub labels: &'a [&'a str],
}

/// A name that may be part of URLs: letters, digits, `-`, `_`, `.`, not `.` or `..`, not ending in `.git`.
fn check_name<'a>(what: &str, name: &'a str) -> Result<&'a str, Error> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let taken =
        matches!(name, "." | "..") || name.ends_with(".git") || (name == "api" && what != "repository");
    let fine = letters && !taken && (1..=100).contains(&name.len());
    if fine { Ok(name) } else { Err(Error::Invalid(format!("{name:?} cannot be the name of a {what}"))) }
}

/// How tokens are kept.
pub(crate) fn token_hash(token: &[u8]) -> String {
    hex::encode(Sha256::digest(token))
}

impl Forge {
    /// Makes a user who signs in with `token`, or gives an existing one this token.
    pub async fn create_user(&self, login: &str, token: &Secret) -> Result<User, Error> {
        self.create_account(login, token, AccountKind::User, false).await
    }

    /// Makes a bot account.
    pub async fn create_bot(&self, login: &str, token: &Secret) -> Result<User, Error> {
        self.create_account(login, token, AccountKind::Bot, false).await
    }

    /// Makes an account that may do anything everywhere.
    pub async fn create_site_admin(&self, login: &str, token: &Secret) -> Result<User, Error> {
        self.create_account(login, token, AccountKind::User, true).await
    }

    async fn create_account(
        &self,
        login: &str,
        token: &Secret,
        kind: AccountKind,
        site_admin: bool,
    ) -> Result<User, Error> {
        // GitHub's apps comment under logins such as `dependabot[bot]`.
        check_name("user", login.strip_suffix("[bot]").unwrap_or(login))?;
        let mut tx = self.begin().await;
        if self.read(|s| s.org(login).is_some()) {
            return Err(Error::Invalid(format!("{login:?} is an organization already")));
        }
        let id = match self.read(|s| s.user(login).map(|u| u.id)) {
            Some(id) => id,
            None => tx.id(),
        };
        let token_sha256 = token_hash(token.expose());
        let user = User { id, login: login.to_owned(), kind, site_admin, token_sha256 };
        tx.put(Record::User(user.clone()));
        tx.commit().await?;
        Ok(user)
    }

    /// Makes an organization without members; an existing one stays as it is.
    pub async fn create_org(&self, login: &str) -> Result<Org, Error> {
        check_name("organization", login)?;
        let mut tx = self.begin().await;
        if let Some(org) = self.read(|s| s.org(login).cloned()) {
            return Ok(org);
        }
        if self.read(|s| s.user(login).is_some()) {
            return Err(Error::Invalid(format!("{login:?} is a user already")));
        }
        let org = Org { id: tx.id(), login: login.to_owned(), members: BTreeMap::new() };
        tx.put(Record::Org(org.clone()));
        tx.commit().await?;
        Ok(org)
    }

    /// Makes a user a member of an organization, or changes the role.
    pub async fn add_member(&self, org: &str, login: &str, role: OrgRole) -> Result<(), Error> {
        let user = self.user(login)?;
        let mut tx = self.begin().await;
        let mut org = self.read(|s| s.org(org).cloned()).ok_or_else(Error::not_found)?;
        org.members.insert(user.login.to_lowercase(), role);
        tx.put(Record::Org(org));
        tx.commit().await
    }

    /// Gives a user rights in one repository.
    pub async fn add_collaborator(
        &self,
        org: &str,
        repo: &str,
        login: &str,
        permission: Permission,
    ) -> Result<(), Error> {
        let user = self.user(login)?;
        let mut tx = self.begin().await;
        let mut repo = self.repo(org, repo)?;
        repo.collaborators.insert(user.login.to_lowercase(), permission);
        tx.put(Record::Repo(repo));
        tx.commit().await
    }

    /// Makes a public repository with one commit on `main`. Nobody is told. Files that start with `#!` are executable.
    pub async fn create_repo(&self, owner: &str, name: &str, files: &[(&str, &str)]) -> Result<Repo, Error> {
        self.create_repo_with(owner, name, "main", false, files).await
    }

    /// As [`Forge::create_repo`], with the default branch's name and visibility.
    pub async fn create_repo_with(
        &self,
        owner: &str,
        name: &str,
        branch: &str,
        private: bool,
        files: &[(&str, &str)],
    ) -> Result<Repo, Error> {
        check_name("repository", name)?;
        let owner = self.read(|s| match (s.org(owner), s.user(owner)) {
            (Some(org), _) => Ok(org.login.clone()),
            (None, Some(user)) => Ok(user.login.clone()),
            (None, None) => Err(Error::NotFound(format!("there is no organization or user {owner:?}"))),
        })?;
        let mut tx = self.begin().await;
        if self.read(|s| s.repo(&owner, name).is_some()) {
            return Err(Error::Invalid(format!("{owner}/{name} exists already")));
        }
        let repo = Repo {
            id: tx.id(),
            owner: owner.clone(),
            name: name.to_owned(),
            default_branch: branch.to_owned(),
            private,
            parent: None,
            collaborators: BTreeMap::new(),
            labels: Vec::new(),
            created_at: self.now(),
        };
        self.init_repo(repo.id, branch).await?;
        let author = User {
            id: 0,
            login: owner,
            kind: AccountKind::User,
            site_admin: false,
            token_sha256: String::new(),
        };
        let files: Vec<(&str, Option<&[u8]>)> = files.iter().map(|(p, c)| (*p, Some(c.as_bytes()))).collect();
        let sha = self.write_commit(repo.id, branch, None, &author, "Initial commit", &files).await?;
        tx.put(Record::Ref(KnownRef { repo: repo.id, name: format!("refs/heads/{branch}"), sha }));
        tx.put(Record::Repo(repo.clone()));
        tx.commit().await?;
        Ok(repo)
    }

    /// Forks a repository to a user's account: `owner/name` with all branches. An existing fork is returned.
    pub async fn fork(&self, actor: &User, parent: &Repo) -> Result<Repo, Error> {
        let _lock = self.lock_repo(parent.id).await;
        let mut tx = self.begin().await;
        match self.read(|s| s.repo(&actor.login, &parent.name).cloned()) {
            Some(fork) if fork.parent == Some(parent.id) => return Ok(fork),
            Some(_) => return Err(Error::Invalid(format!("{}/{} exists already", actor.login, parent.name))),
            None => {}
        }
        let fork = Repo {
            id: tx.id(),
            owner: actor.login.clone(),
            parent: Some(parent.id),
            collaborators: BTreeMap::new(),
            created_at: self.now(),
            ..self.fresh(parent)
        };
        let git = self.init_repo(fork.id, &fork.default_branch).await?;
        let source = self.git(parent.id);
        let args = ["fetch", "--quiet"].map(std::ffi::OsString::from).into_iter();
        let refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"].map(std::ffi::OsString::from);
        git.run(args.chain([source.dir().as_os_str().to_owned()]).chain(refs)).await?;
        for (name, sha) in self.read(|s| s.refs_of(parent.id)) {
            tx.put(Record::Ref(KnownRef { repo: fork.id, name, sha }));
        }
        tx.put(Record::Repo(fork.clone()));
        tx.commit().await?;
        Ok(fork)
    }

    /// Registers a webhook for an organization (`repo` is `None`) or one repository. `events` may be `["*"]`. The same
    /// address again replaces the older registration, so that a restarted demo is not told twice.
    pub async fn create_webhook(
        &self,
        owner: &str,
        repo: Option<&str>,
        url: &str,
        secret: &Secret,
        events: &[&str],
    ) -> Result<Hook, Error> {
        if !url.parse::<url::Url>().is_ok_and(|u| matches!(u.scheme(), "http" | "https")) {
            return Err(Error::Invalid(format!("url: {url:?} is not an http or https address")));
        }
        let scope = match repo {
            Some(name) => HookScope::Repo(self.repo(owner, name)?.id),
            None if self.read(|s| s.org(owner).is_none() && s.user(owner).is_none()) => {
                return Err(Error::NotFound(format!("there is no organization or user {owner:?}")));
            }
            None => HookScope::Org(owner.to_owned()),
        };
        let mut tx = self.begin().await;
        let twin = self.read(|s| s.hooks.values().find(|h| h.scope == scope && h.url == url).map(|h| h.id));
        let id = match twin {
            Some(id) => id,
            None => tx.id(),
        };
        let events = events.iter().map(|e| (*e).to_owned()).collect();
        let hook = Hook { id, scope, url: url.to_owned(), secret: secret.clone(), events };
        tx.put(Record::Hook(hook.clone()));
        tx.commit().await?;
        Ok(hook)
    }

    /// Commits `files` on top of a branch (made from the default branch if it is new) as a push by `author` would:
    /// webhooks are told.
    pub async fn push_files(
        &self,
        owner: &str,
        repo: &str,
        branch: &str,
        author: &str,
        message: &str,
        files: &[(&str, Option<&str>)],
    ) -> Result<String, Error> {
        let (repo, author) = (self.repo(owner, repo)?, self.user(author)?);
        let _lock = self.lock_repo(repo.id).await;
        let sha = self.commit_files(&repo, branch, &repo.default_branch, &author, message, files).await?;
        self.settle(&repo, &author, None).await?;
        Ok(sha)
    }

    async fn commit_files(
        &self,
        repo: &Repo,
        branch: &str,
        start: &str,
        author: &User,
        message: &str,
        files: &[(&str, Option<&str>)],
    ) -> Result<String, Error> {
        self.intend(Intent { repo: repo.id, login: author.login.clone(), merging: None }).await?;
        let git = self.git(repo.id);
        let tip = match git.rev_parse(&format!("refs/heads/{branch}")).await? {
            Some(tip) => Some(tip),
            None => git.rev_parse(&format!("refs/heads/{start}")).await?,
        };
        let files: Vec<_> = files.iter().map(|(p, c)| (*p, c.map(str::as_bytes))).collect();
        self.write_commit(repo.id, branch, tip.as_deref(), author, message, &files).await
    }

    /// Opens a pull request with real commits, for tests that need one; webhooks are told `push` and `opened`.
    pub async fn seed_pull_request(
        &self,
        owner: &str,
        repo: &str,
        seed: SeedPull<'_>,
    ) -> Result<Issue, Error> {
        let (repo, author) = (self.repo(owner, repo)?, self.user(seed.author)?);
        let base = if seed.base.is_empty() { repo.default_branch.clone() } else { seed.base.to_owned() };
        let number = self.next_number(&repo, seed.number)?;
        let head = if seed.head.is_empty() { format!("pull-{number}") } else { seed.head.to_owned() };
        {
            let _lock = self.lock_repo(repo.id).await;
            self.commit_files(&repo, &head, &base, &author, seed.title, seed.files).await?;
            self.settle(&repo, &author, None).await?;
        }
        let new = NewPull {
            title: seed.title.to_owned(),
            body: seed.body.to_owned(),
            head,
            base,
            draft: seed.draft,
            number: Some(number),
            labels: seed.labels.iter().map(|l| (*l).to_owned()).collect(),
        };
        self.open_pull(&author, &repo, new).await
    }

    // ── Looking ──

    /// A repository's pull requests, by number; each one's [`Issue::pull`] is set.
    pub fn pull_requests(&self, owner: &str, repo: &str) -> Vec<Issue> {
        self.read(|s| {
            let Some(repo) = s.repo(owner, repo) else { return Vec::new() };
            s.issues_of(repo.id).filter(|i| i.pull.is_some()).cloned().collect()
        })
    }

    /// The newest status of each context on a commit, by context.
    pub fn statuses(&self, owner: &str, repo: &str, sha: &str) -> BTreeMap<String, Status> {
        self.read(|s| {
            let Some(repo) = s.repo(owner, repo) else { return BTreeMap::new() };
            // Oldest first: the newest of a context comes last and stays.
            s.statuses_of(repo.id, sha).map(|st| (st.context.clone(), st.clone())).collect()
        })
    }

    /// Every status ever set on a commit, oldest first.
    pub fn status_history(&self, owner: &str, repo: &str, sha: &str) -> Vec<Status> {
        self.read(|s| s.repo(owner, repo).map(|r| s.statuses_of(r.id, sha).cloned().collect()))
            .unwrap_or_default()
    }

    /// An issue's or pull request's comments, oldest first.
    pub fn comments(&self, owner: &str, repo: &str, number: i64) -> Vec<Comment> {
        self.read(|s| s.repo(owner, repo).map(|r| s.comments_of(r.id, number).cloned().collect()))
            .unwrap_or_default()
    }

    /// The newest webhook deliveries (500 and all that have not arrived), oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.read(|s| s.deliveries.values().cloned().collect())
    }

    /// Where a branch is, as last announced.
    pub fn branch(&self, owner: &str, repo: &str, branch: &str) -> Option<String> {
        self.read(|s| {
            let id = s.repo(owner, repo)?.id;
            s.refs.get(&(id, format!("refs/heads/{branch}"))).cloned()
        })
    }

    /// Comments as `author`, for tests.
    pub async fn say(
        &self,
        owner: &str,
        repo: &str,
        number: i64,
        author: &str,
        body: &str,
    ) -> Result<Comment, Error> {
        self.comment_on(&self.user(author)?, &self.repo(owner, repo)?, number, body).await
    }

    /// Closes an issue or pull request as `actor`, for tests.
    pub async fn close(&self, owner: &str, repo: &str, number: i64, actor: &str) -> Result<Issue, Error> {
        let edit = Edit { state: Some("closed".into()), ..Edit::default() };
        self.edit_issue(&self.user(actor)?, &self.repo(owner, repo)?, number, edit).await
    }

    /// The account behind a login.
    pub fn find_user(&self, login: &str) -> Option<User> {
        self.user(login).ok()
    }

    /// A repository by owner and name.
    pub fn find_repo(&self, owner: &str, name: &str) -> Option<Repo> {
        self.repo(owner, name).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_paths() {
        for good in ["kyma", "Hello-World", "a.b_c", "api"] {
            assert!(check_name("repository", good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "x.git", "a b", "é", "a\0", "-\n"] {
            assert!(check_name("repository", bad).is_err(), "{bad:?}");
        }
        assert!(check_name("organization", "api").is_err(), "it would hide the API");
    }
}
