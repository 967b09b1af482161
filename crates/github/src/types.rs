//! GitHub's objects as REST answers and webhook payloads both carry them; only the fields Prow reads.
//!
//! Times stay the RFC 3339 text GitHub sent: nothing here computes with them, and thin payloads leave them out.

use crate::wire::wire;

wire! {
    /// A user, bot or organization.
    pub struct User {
        /// GitHub's number for the account.
        pub id: i64,
        /// The account name, as typed by its owner. Compare with [`norm_login`].
        pub login: String,
        /// The display name; in `push` payloads the owner's *login* (`repository.owner.name`).
        pub name: String,
        /// Public mail address, if any.
        pub email: String,
        /// The profile page.
        pub html_url: String,
        /// `User`, `Bot` or `Organization`.
        pub r#type: String,
    }

    /// What the asking user may do in a repository.
    pub struct Permissions {
        pub admin: bool,
        pub maintain: bool,
        pub push: bool,
        pub triage: bool,
        pub pull: bool,
    }

    /// A repository.
    pub struct Repo {
        pub id: i64,
        pub node_id: String,
        pub owner: User,
        pub name: String,
        /// `org/repo`.
        pub full_name: String,
        pub html_url: String,
        pub clone_url: String,
        pub default_branch: String,
        pub private: bool,
        pub fork: bool,
        pub archived: bool,
        /// Only in REST answers to an authenticated user.
        pub permissions: Permissions,
    }

    /// One side of a pull request.
    pub struct PullRequestBranch {
        /// The branch name, without `refs/heads/`.
        pub r#ref: String,
        pub sha: String,
        /// `owner:branch`.
        pub label: String,
        pub user: User,
        /// Empty if the fork was deleted.
        pub repo: Repo,
    }

    /// A label.
    pub struct Label {
        pub id: i64,
        pub name: String,
        pub description: String,
        /// Six hex digits, without `#`.
        pub color: String,
    }

    /// A milestone.
    pub struct Milestone {
        pub number: i64,
        pub title: String,
        pub state: String,
    }

    /// A pull request.
    pub struct PullRequest {
        pub id: i64,
        pub node_id: String,
        pub number: i64,
        pub html_url: String,
        /// `open` or `closed`.
        pub state: String,
        pub title: String,
        pub body: String,
        pub user: User,
        pub base: PullRequestBranch,
        pub head: PullRequestBranch,
        pub draft: bool,
        pub merged: bool,
        /// `None` while GitHub has not computed it yet.
        pub mergeable: Option<bool>,
        pub mergeable_state: String,
        pub merge_commit_sha: Option<String>,
        pub merged_at: Option<String>,
        pub labels: Vec<Label>,
        pub assignees: Vec<User>,
        pub requested_reviewers: Vec<User>,
        pub milestone: Option<Milestone>,
        pub author_association: String,
        pub commits: i64,
        pub additions: i64,
        pub deletions: i64,
        pub changed_files: i64,
        pub created_at: String,
        pub updated_at: String,
    }

    /// Says that an issue is a pull request.
    pub struct PullRequestLink {
        pub html_url: String,
        pub url: String,
    }

    /// An issue; every pull request is one too.
    pub struct Issue {
        pub id: i64,
        pub node_id: String,
        pub number: i64,
        pub title: String,
        pub body: String,
        pub state: String,
        pub html_url: String,
        pub user: User,
        pub labels: Vec<Label>,
        pub assignees: Vec<User>,
        pub milestone: Option<Milestone>,
        /// Present only if this issue is a pull request.
        pub pull_request: Option<PullRequestLink>,
        pub created_at: String,
        pub updated_at: String,
    }

    /// A comment on an issue or pull request.
    pub struct IssueComment {
        pub id: i64,
        pub node_id: String,
        pub body: String,
        pub user: User,
        pub html_url: String,
        pub author_association: String,
        pub created_at: String,
        pub updated_at: String,
    }

    /// A review of a pull request.
    pub struct Review {
        pub id: i64,
        pub node_id: String,
        pub user: User,
        pub body: String,
        /// `approved`, `changes_requested`, `commented`, `dismissed`, `pending`; upper case in REST answers.
        pub state: String,
        pub html_url: String,
        pub commit_id: String,
        pub submitted_at: String,
    }

    /// A comment on a line of a pull request's diff.
    pub struct ReviewComment {
        pub id: i64,
        pub node_id: String,
        pub pull_request_review_id: i64,
        pub user: User,
        pub path: String,
        pub body: String,
        pub html_url: String,
        pub commit_id: String,
        pub created_at: String,
        pub updated_at: String,
    }

    /// A commit status, read or to be created. Empty strings are left out when it is sent.
    pub struct Status {
        /// `pending`, `success`, `failure` or `error`.
        pub state: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub target_url: String,
        /// At most 140 characters.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub description: String,
        pub context: String,
        #[serde(skip_serializing)]
        pub creator: User,
        #[serde(skip_serializing)]
        pub created_at: String,
        #[serde(skip_serializing)]
        pub updated_at: String,
    }

    /// The newest status of each context on one commit.
    pub struct CombinedStatus {
        pub sha: String,
        pub state: String,
        pub total_count: i64,
        pub statuses: Vec<Status>,
    }

    /// One file a pull request changes.
    pub struct PullRequestChange {
        /// The blob's SHA.
        pub sha: String,
        pub filename: String,
        /// `added`, `modified`, `removed`, `renamed`, `copied`, `changed` or `unchanged`.
        pub status: String,
        /// Only with `renamed`.
        pub previous_filename: String,
        pub additions: i64,
        pub deletions: i64,
        pub changes: i64,
        pub patch: String,
        pub blob_url: String,
    }

    /// Who wrote a commit, as git knows it.
    pub struct CommitAuthor {
        pub name: String,
        pub email: String,
        pub date: String,
    }

    /// A commit's tree.
    pub struct Tree {
        pub sha: String,
    }

    /// A commit, as git knows it.
    pub struct GitCommit {
        pub message: String,
        pub author: CommitAuthor,
        pub committer: CommitAuthor,
        pub tree: Tree,
    }

    /// A parent of a commit.
    pub struct CommitParent {
        pub sha: String,
    }

    /// A commit, as GitHub knows it.
    pub struct RepositoryCommit {
        pub sha: String,
        pub html_url: String,
        pub commit: GitCommit,
        /// The GitHub account of the author, if there is one.
        pub author: User,
        pub committer: User,
        pub parents: Vec<CommitParent>,
        pub files: Vec<PullRequestChange>,
    }

    /// What a git ref points at.
    pub struct RefObject {
        /// `commit` or `tag`.
        pub r#type: String,
        pub sha: String,
    }

    /// A git ref.
    pub struct GitRef {
        pub r#ref: String,
        pub object: RefObject,
    }

    /// How many search results there are.
    pub struct SearchCount {
        pub total_count: i64,
        pub incomplete_results: bool,
    }
}

impl Repo {
    /// Who owns it: `owner.login`, or `owner.name` where a `push` payload only has that.
    pub fn owner_login(&self) -> &str {
        if self.owner.login.is_empty() { &self.owner.name } else { &self.owner.login }
    }
}

impl Issue {
    /// True if this issue is a pull request.
    pub fn is_pull_request(&self) -> bool {
        self.pull_request.is_some()
    }
}

/// A login as it is compared everywhere: lower case, without a leading `@`, without surrounding space.
pub fn norm_login(login: &str) -> String {
    login.trim().trim_start_matches('@').to_lowercase()
}

/// True if `labels` has `name`, whatever the case.
pub fn has_label(name: &str, labels: &[Label]) -> bool {
    labels.iter().any(|l| l.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_null_are_the_zero_value() {
        let thin: PullRequest = serde_json::from_str(
            r#"{"number":3,"body":null,"head":{"sha":"a","repo":null},"mergeable":null}"#,
        )
        .unwrap();
        assert_eq!((thin.number, thin.body.as_str(), thin.head.sha.as_str()), (3, "", "a"));
        assert_eq!(thin.head.repo, Repo::default());
        assert_eq!(thin.mergeable, None);
        assert!(serde_json::from_str::<PullRequest>(r#"{"number":"three"}"#).is_err());
    }

    #[test]
    fn a_status_to_send_has_only_what_github_takes() {
        let s = Status { state: "success".into(), context: "unit".into(), ..Status::default() };
        assert_eq!(
            serde_json::to_value(&s).unwrap(),
            serde_json::json!({"state":"success","context":"unit"})
        );
    }

    #[test]
    fn logins_and_labels_compare_without_case() {
        assert_eq!(norm_login(" @Octo-Cat"), "octo-cat");
        let labels = [Label { name: "LGTM".into(), ..Label::default() }];
        assert!(has_label("lgtm", &labels) && !has_label("approved", &labels));
    }
}
