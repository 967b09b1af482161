//! What the forge remembers, record by record, and the memory image it answers from.
//!
//! A record is written whole, under a key of its own; applying the records in any order gives the same [`State`].

use std::collections::BTreeMap;

use prow_api::Secret;
use serde::{Deserialize, Serialize};

/// What an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountKind {
    User,
    Bot,
}

/// A person or bot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub id: i64,
    pub login: String,
    pub kind: AccountKind,
    /// May do anything everywhere.
    pub site_admin: bool,
    /// SHA-256 of the token, in hex: the token itself is not kept.
    pub token_sha256: String,
}

impl User {
    /// The address that git commits made for this account carry.
    pub fn email(&self) -> String {
        format!("{}@users.noreply.forge.invalid", self.login)
    }
}

/// What a member is in an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrgRole {
    /// May read all repositories.
    Member,
    /// May do anything in all repositories.
    Admin,
}

/// What a collaborator may do in one repository; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Permission {
    Read,
    Triage,
    /// Push, merge, set statuses.
    Write,
    Admin,
}

/// An organization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Org {
    pub id: i64,
    pub login: String,
    /// By login in lower case.
    pub members: BTreeMap<String, OrgRole>,
}

/// A label that a repository knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelDef {
    pub id: i64,
    pub name: String,
    pub color: String,
    pub description: String,
}

/// A repository. Its git data is in `repos/<id>.git`, so no name ever becomes a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repo {
    pub id: i64,
    /// An organization's or user's login.
    pub owner: String,
    pub name: String,
    pub default_branch: String,
    pub private: bool,
    /// The repository this one was forked from.
    pub parent: Option<i64>,
    /// By login in lower case.
    pub collaborators: BTreeMap<String, Permission>,
    pub labels: Vec<LabelDef>,
    pub created_at: String,
}

impl Repo {
    /// `owner/name`
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }
}

/// How a pull request was merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merged {
    /// The commit on the base branch.
    pub sha: String,
    /// Login of who merged.
    pub by: String,
    pub at: String,
}

/// The part of an issue that makes it a pull request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pull {
    /// Branch of the issue's repository.
    pub base: String,
    pub base_sha: String,
    /// The repository with the changes: the issue's own, or a fork.
    pub head_repo: i64,
    pub head: String,
    pub head_sha: String,
    pub draft: bool,
    pub merged: Option<Merged>,
}

/// An issue or pull request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Issue {
    pub id: i64,
    pub repo: i64,
    pub number: i64,
    pub title: String,
    pub body: String,
    pub author: String,
    pub open: bool,
    pub labels: Vec<String>,
    pub comments: i64,
    pub created_at: String,
    pub updated_at: String,
    pub closed_at: Option<String>,
    pub pull: Option<Pull>,
}

/// A comment on an issue or pull request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comment {
    pub id: i64,
    pub repo: i64,
    /// The issue's number.
    pub number: i64,
    pub author: String,
    pub body: String,
    pub created_at: String,
    pub updated_at: String,
}

/// A review of a pull request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Review {
    pub id: i64,
    pub repo: i64,
    pub number: i64,
    pub author: String,
    pub body: String,
    /// `APPROVED`, `CHANGES_REQUESTED` or `COMMENTED`.
    pub state: String,
    pub commit: String,
    pub submitted_at: String,
}

/// A commit status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub id: i64,
    pub repo: i64,
    pub sha: String,
    pub state: String,
    pub context: String,
    pub description: Option<String>,
    pub target_url: Option<String>,
    pub creator: String,
    pub created_at: String,
}

/// Whose events a webhook gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HookScope {
    /// Every repository of the owner with this login.
    Org(String),
    /// One repository, by id.
    Repo(i64),
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    pub id: i64,
    pub scope: HookScope,
    pub url: String,
    /// What deliveries are signed with; none leaves them unsigned.
    #[serde(with = "secret_text")]
    pub secret: Secret,
    /// Event types, or `*`.
    pub events: Vec<String>,
}

/// One event on its way to one webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: i64,
    pub hook: i64,
    /// The same for every attempt.
    pub guid: String,
    pub event: String,
    pub action: Option<String>,
    /// The body, exactly as it is signed and sent.
    pub payload: String,
    pub attempts: u32,
    /// What the receiver answered last.
    pub status: Option<u16>,
    /// A 2xx was answered.
    pub delivered: bool,
}

/// Where a branch or tag was when its last event was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownRef {
    pub repo: i64,
    pub name: String,
    pub sha: String,
}

/// Who is changing a repository's refs right now; read after a crash to finish what git had done already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub repo: i64,
    pub login: String,
    /// A pull request that is being merged, and the commit its base branch will point at.
    pub merging: Option<(i64, String)>,
}

/// One thing to remember.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a record lives for one transaction; boxes would be in everybody's way"
)]
pub(crate) enum Record {
    User(User),
    Org(Org),
    Repo(Repo),
    Issue(Issue),
    Comment(Comment),
    Review(Review),
    Status(Status),
    Hook(Hook),
    Delivery(Delivery),
    Ref(KnownRef),
    Intent(Intent),
}

/// One thing to remember or forget.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Record),
    Forget(Record),
}

impl Record {
    /// The database key: one record a key.
    pub(crate) fn key(&self) -> String {
        match self {
            Record::User(r) => format!("user/{}", r.id),
            Record::Org(r) => format!("org/{}", r.id),
            Record::Repo(r) => format!("repo/{}", r.id),
            Record::Issue(r) => format!("issue/{}", r.id),
            Record::Comment(r) => format!("comment/{}", r.id),
            Record::Review(r) => format!("review/{}", r.id),
            Record::Status(r) => format!("status/{}", r.id),
            Record::Hook(r) => format!("hook/{}", r.id),
            Record::Delivery(r) => format!("delivery/{}", r.id),
            Record::Ref(r) => format!("ref/{}/{}", r.repo, r.name),
            Record::Intent(r) => format!("intent/{}", r.repo),
        }
    }

    fn id(&self) -> i64 {
        match self {
            Record::User(r) => r.id,
            Record::Org(r) => r.id,
            Record::Repo(r) => r.id,
            Record::Issue(r) => r.id,
            Record::Comment(r) => r.id,
            Record::Review(r) => r.id,
            Record::Status(r) => r.id,
            Record::Hook(r) => r.id,
            Record::Delivery(r) => r.id,
            Record::Ref(_) | Record::Intent(_) => 0,
        }
    }
}

/// Everything, in memory, with the indexes that answers need.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The largest id in use.
    pub last_id: i64,
    /// By login in lower case.
    pub users: BTreeMap<String, User>,
    /// By login in lower case.
    pub orgs: BTreeMap<String, Org>,
    pub repos: BTreeMap<i64, Repo>,
    /// By `owner/name` in lower case.
    pub repo_ids: BTreeMap<String, i64>,
    /// By repository and number.
    pub issues: BTreeMap<(i64, i64), Issue>,
    /// By repository, issue number and id.
    pub comments: BTreeMap<(i64, i64, i64), Comment>,
    /// By repository, issue number and id.
    pub reviews: BTreeMap<(i64, i64, i64), Review>,
    /// By repository, commit and id.
    pub statuses: BTreeMap<(i64, String, i64), Status>,
    pub hooks: BTreeMap<i64, Hook>,
    pub deliveries: BTreeMap<i64, Delivery>,
    /// By repository and full ref name.
    pub refs: BTreeMap<(i64, String), String>,
    pub intents: BTreeMap<i64, Intent>,
}

impl State {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Put(record) => self.put(record),
            Change::Forget(record) => self.forget(&record),
        }
    }

    fn put(&mut self, record: Record) {
        self.last_id = self.last_id.max(record.id());
        match record {
            Record::User(r) => drop(self.users.insert(r.login.to_lowercase(), r)),
            Record::Org(r) => drop(self.orgs.insert(r.login.to_lowercase(), r)),
            Record::Repo(r) => {
                self.repo_ids.insert(r.full_name().to_lowercase(), r.id);
                self.repos.insert(r.id, r);
            }
            Record::Issue(r) => drop(self.issues.insert((r.repo, r.number), r)),
            Record::Comment(r) => drop(self.comments.insert((r.repo, r.number, r.id), r)),
            Record::Review(r) => drop(self.reviews.insert((r.repo, r.number, r.id), r)),
            Record::Status(r) => drop(self.statuses.insert((r.repo, r.sha.clone(), r.id), r)),
            Record::Hook(r) => drop(self.hooks.insert(r.id, r)),
            Record::Delivery(r) => drop(self.deliveries.insert(r.id, r)),
            Record::Ref(r) => drop(self.refs.insert((r.repo, r.name), r.sha)),
            Record::Intent(r) => drop(self.intents.insert(r.repo, r)),
        }
    }

    /// Only what is ever forgotten has an arm; accounts, repositories, issues and webhooks stay.
    fn forget(&mut self, record: &Record) {
        match record {
            Record::Comment(r) => drop(self.comments.remove(&(r.repo, r.number, r.id))),
            Record::Delivery(r) => drop(self.deliveries.remove(&r.id)),
            Record::Ref(r) => drop(self.refs.remove(&(r.repo, r.name.clone()))),
            Record::Intent(r) => drop(self.intents.remove(&r.repo)),
            Record::User(_)
            | Record::Org(_)
            | Record::Repo(_)
            | Record::Issue(_)
            | Record::Review(_)
            | Record::Status(_)
            | Record::Hook(_) => {}
        }
    }

    pub(crate) fn user(&self, login: &str) -> Option<&User> {
        self.users.get(&login.to_lowercase())
    }

    pub(crate) fn org(&self, login: &str) -> Option<&Org> {
        self.orgs.get(&login.to_lowercase())
    }

    pub(crate) fn repo(&self, owner: &str, name: &str) -> Option<&Repo> {
        let id = self.repo_ids.get(&format!("{owner}/{name}").to_lowercase())?;
        self.repos.get(id)
    }

    /// What `user` may do in `repo`; `None` where even reading is not allowed.
    pub(crate) fn permission(&self, repo: &Repo, user: Option<&User>) -> Option<Permission> {
        let public = (!repo.private).then_some(Permission::Read);
        let Some(user) = user else { return public };
        let login = user.login.to_lowercase();
        if user.site_admin || login == repo.owner.to_lowercase() {
            return Some(Permission::Admin);
        }
        let as_member = match self.org(&repo.owner).and_then(|o| o.members.get(&login)) {
            Some(OrgRole::Admin) => Some(Permission::Admin),
            Some(OrgRole::Member) => Some(Permission::Read),
            None => None,
        };
        public.max(as_member).max(repo.collaborators.get(&login).copied())
    }

    /// True where GitHub lists `login` as a collaborator: named ones, and members through the organization.
    pub(crate) fn is_collaborator(&self, repo: &Repo, login: &str) -> bool {
        let login = login.to_lowercase();
        repo.collaborators.contains_key(&login)
            || login == repo.owner.to_lowercase()
            || self.org(&repo.owner).is_some_and(|o| o.members.contains_key(&login))
    }

    /// An issue's or pull request's comments, oldest first.
    pub(crate) fn comments_of(&self, repo: i64, number: i64) -> impl Iterator<Item = &Comment> {
        self.comments.range((repo, number, i64::MIN)..=(repo, number, i64::MAX)).map(|(_, c)| c)
    }

    /// Every status of a commit, oldest first.
    pub(crate) fn statuses_of(&self, repo: i64, sha: &str) -> impl DoubleEndedIterator<Item = &Status> {
        self.statuses
            .range((repo, sha.to_owned(), i64::MIN)..=(repo, sha.to_owned(), i64::MAX))
            .map(|(_, s)| s)
    }

    /// A repository's issues and pull requests, by number.
    pub(crate) fn issues_of(&self, repo: i64) -> impl DoubleEndedIterator<Item = &Issue> {
        self.issues.range((repo, i64::MIN)..=(repo, i64::MAX)).map(|(_, i)| i)
    }

    /// A repository's branches and tags as last announced.
    pub(crate) fn refs_of(&self, repo: i64) -> BTreeMap<String, String> {
        let range = self.refs.range((repo, String::new())..(repo + 1, String::new()));
        range.map(|((_, name), sha)| (name.clone(), sha.clone())).collect()
    }

    pub(crate) fn comment(&self, repo: i64, id: i64) -> Option<&Comment> {
        self.comments.values().find(|c| c.repo == repo && c.id == id)
    }
}

mod secret_text {
    //! The database is the one place a webhook's secret is written to; deliveries must be signed after a restart.
    use prow_api::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(secret.expose()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Secret, D::Error> {
        let text = String::deserialize(d)?;
        hex::decode(text).map(Secret::new).map_err(serde::de::Error::custom)
    }
}
