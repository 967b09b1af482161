//! The webhook payloads Prow reads (prow-runtime §2.3). Every field may be missing; actions are kept as text, so a
//! new one of GitHub's is an action nobody reacts to, not an error.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::ParseError;
use crate::types::*;
use crate::wire::wire;

wire! {
    /// What every payload has.
    pub struct Envelope {
        pub action: String,
        pub sender: User,
        pub organization: User,
        pub repository: Repo,
    }

    /// The value a field had before an `edited` action.
    pub struct Change {
        pub from: String,
    }

    /// A base branch's change: another branch, or another commit of it.
    pub struct BaseChange {
        pub r#ref: Change,
        pub sha: Change,
    }

    /// What an `edited` action changed.
    pub struct Changes {
        pub title: Option<Change>,
        pub body: Option<Change>,
        pub base: Option<BaseChange>,
    }

    /// `pull_request`
    pub struct PullRequestEvent {
        pub action: String,
        /// The delivery's GUID; not part of the payload.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub guid: String,
        pub number: i64,
        pub pull_request: PullRequest,
        pub repository: Repo,
        pub organization: User,
        /// With `labeled` and `unlabeled`.
        pub label: Label,
        /// With `edited`.
        pub changes: Changes,
        /// With `synchronize`: the head before and after.
        pub before: String,
        pub after: String,
        pub sender: User,
    }

    /// `issue_comment`
    pub struct IssueCommentEvent {
        pub action: String,
        /// The delivery's GUID; not part of the payload.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub guid: String,
        pub issue: Issue,
        pub comment: IssueComment,
        pub repository: Repo,
        pub organization: User,
        pub sender: User,
    }

    /// `issues`
    pub struct IssuesEvent {
        pub action: String,
        /// The delivery's GUID; not part of the payload.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub guid: String,
        pub issue: Issue,
        pub label: Label,
        pub repository: Repo,
        pub organization: User,
        pub sender: User,
    }

    /// `pull_request_review`
    pub struct PullRequestReviewEvent {
        pub action: String,
        /// The delivery's GUID; not part of the payload.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub guid: String,
        pub review: Review,
        pub pull_request: PullRequest,
        pub repository: Repo,
        pub organization: User,
        pub sender: User,
    }

    /// `pull_request_review_comment`
    pub struct PullRequestReviewCommentEvent {
        pub action: String,
        /// The delivery's GUID; not part of the payload.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub guid: String,
        pub comment: ReviewComment,
        pub pull_request: PullRequest,
        pub repository: Repo,
        pub organization: User,
        pub sender: User,
    }

    /// A commit in a push.
    pub struct PushCommit {
        pub id: String,
        pub message: String,
        pub timestamp: String,
        pub url: String,
        pub added: Vec<String>,
        pub removed: Vec<String>,
        pub modified: Vec<String>,
    }

    /// `push`. The repository's owner is named by `name` here, not by `login`.
    pub struct PushEvent {
        /// The delivery's GUID; not part of the payload.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub guid: String,
        /// `refs/heads/…` or `refs/tags/…`.
        pub r#ref: String,
        pub before: String,
        /// 40 zeros when the ref was deleted.
        pub after: String,
        pub created: bool,
        pub deleted: bool,
        pub forced: bool,
        /// The page that compares before and after.
        pub compare: String,
        pub commits: Vec<PushCommit>,
        pub head_commit: Option<PushCommit>,
        pub repository: Repo,
        pub organization: User,
        pub pusher: User,
        pub sender: User,
    }

    /// `status`
    pub struct StatusEvent {
        /// The delivery's GUID; not part of the payload.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub guid: String,
        pub id: i64,
        pub sha: String,
        pub state: String,
        pub context: String,
        pub description: String,
        pub target_url: String,
        pub repository: Repo,
        pub organization: User,
        pub sender: User,
    }
}

/// An event of a type only external plugins may know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OtherEvent {
    pub event_type: String,
    pub guid: String,
    pub envelope: Envelope,
}

/// A webhook payload.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Issues(Box<IssuesEvent>),
    IssueComment(Box<IssueCommentEvent>),
    PullRequest(Box<PullRequestEvent>),
    PullRequestReview(Box<PullRequestReviewEvent>),
    PullRequestReviewComment(Box<PullRequestReviewCommentEvent>),
    Push(Box<PushEvent>),
    Status(Box<StatusEvent>),
    Other(Box<OtherEvent>),
}

impl Event {
    /// Reads `body` as `event_type` (`X-GitHub-Event`) says.
    ///
    /// # Errors
    /// The body is not JSON, or a field has another type than GitHub's.
    pub fn parse(event_type: &str, guid: &str, body: &[u8]) -> Result<Self, ParseError> {
        fn read<T: DeserializeOwned>(
            body: &[u8],
            wrap: impl FnOnce(Box<T>) -> Event,
            guid: impl FnOnce(&mut T) -> &mut String,
            value: &str,
        ) -> Result<Event, serde_json::Error> {
            let mut event: T = serde_json::from_slice(body)?;
            value.clone_into(guid(&mut event));
            Ok(wrap(Box::new(event)))
        }
        let event = match event_type {
            "issues" => read(body, Event::Issues, |e: &mut IssuesEvent| &mut e.guid, guid),
            "issue_comment" => read(body, Event::IssueComment, |e: &mut IssueCommentEvent| &mut e.guid, guid),
            "pull_request" => read(body, Event::PullRequest, |e: &mut PullRequestEvent| &mut e.guid, guid),
            "pull_request_review" => {
                read(body, Event::PullRequestReview, |e: &mut PullRequestReviewEvent| &mut e.guid, guid)
            }
            "pull_request_review_comment" => read(
                body,
                Event::PullRequestReviewComment,
                |e: &mut PullRequestReviewCommentEvent| &mut e.guid,
                guid,
            ),
            "push" => read(body, Event::Push, |e: &mut PushEvent| &mut e.guid, guid),
            "status" => read(body, Event::Status, |e: &mut StatusEvent| &mut e.guid, guid),
            other => serde_json::from_slice(body).map(|envelope| {
                Event::Other(Box::new(OtherEvent {
                    event_type: other.to_owned(),
                    guid: guid.to_owned(),
                    envelope,
                }))
            }),
        };
        event.map_err(|source| ParseError {
            event_type: event_type.to_owned(),
            guid: guid.to_owned(),
            source,
        })
    }

    /// `X-GitHub-Event`
    pub fn event_type(&self) -> &str {
        match self {
            Event::Issues(_) => "issues",
            Event::IssueComment(_) => "issue_comment",
            Event::PullRequest(_) => "pull_request",
            Event::PullRequestReview(_) => "pull_request_review",
            Event::PullRequestReviewComment(_) => "pull_request_review_comment",
            Event::Push(_) => "push",
            Event::Status(_) => "status",
            Event::Other(e) => &e.event_type,
        }
    }

    /// The delivery's GUID.
    pub fn guid(&self) -> &str {
        match self {
            Event::Issues(e) => &e.guid,
            Event::IssueComment(e) => &e.guid,
            Event::PullRequest(e) => &e.guid,
            Event::PullRequestReview(e) => &e.guid,
            Event::PullRequestReviewComment(e) => &e.guid,
            Event::Push(e) => &e.guid,
            Event::Status(e) => &e.guid,
            Event::Other(e) => &e.guid,
        }
    }

    /// What happened, in GitHub's word; `None` for events that have no action (push, status).
    pub fn action(&self) -> Option<&str> {
        let action = match self {
            Event::Issues(e) => &e.action,
            Event::IssueComment(e) => &e.action,
            Event::PullRequest(e) => &e.action,
            Event::PullRequestReview(e) => &e.action,
            Event::PullRequestReviewComment(e) => &e.action,
            Event::Other(e) => &e.envelope.action,
            Event::Push(_) | Event::Status(_) => return None,
        };
        (!action.is_empty()).then_some(action)
    }

    /// The payload's `repository`.
    pub fn repository(&self) -> &Repo {
        match self {
            Event::Issues(e) => &e.repository,
            Event::IssueComment(e) => &e.repository,
            Event::PullRequest(e) => &e.repository,
            Event::PullRequestReview(e) => &e.repository,
            Event::PullRequestReviewComment(e) => &e.repository,
            Event::Push(e) => &e.repository,
            Event::Status(e) => &e.repository,
            Event::Other(e) => &e.envelope.repository,
        }
    }

    /// Organization and repository whose plugins handle this event: a pull request's base repository, a push's
    /// `owner.name` (§2.3, trap 5), else the payload's repository.
    pub fn plugin_repo(&self) -> (&str, &str) {
        let of_base = |pr: &'_ PullRequest| !pr.base.repo.name.is_empty();
        let repo = match self {
            Event::PullRequest(e) if of_base(&e.pull_request) => &e.pull_request.base.repo,
            Event::PullRequestReview(e) if of_base(&e.pull_request) => &e.pull_request.base.repo,
            Event::PullRequestReviewComment(e) if of_base(&e.pull_request) => &e.pull_request.base.repo,
            Event::Push(e) => {
                let owner = &e.repository.owner;
                let org = if owner.name.is_empty() { &owner.login } else { &owner.name };
                return (org, &e.repository.name);
            }
            other => other.repository(),
        };
        (repo.owner_login(), &repo.name)
    }
}

impl PushEvent {
    /// The branch or tag, without `refs/heads/` or `refs/tags/`.
    pub fn branch(&self) -> &str {
        let name = &self.r#ref;
        name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).unwrap_or(name)
    }

    /// True if the ref is gone: nothing can be tested.
    pub fn is_deletion(&self) -> bool {
        self.deleted || (!self.after.is_empty() && self.after.bytes().all(|b| b == b'0'))
    }

    /// The organization, as `push` payloads name it.
    pub fn org(&self) -> &str {
        if self.repository.owner.name.is_empty() {
            &self.repository.owner.login
        } else {
            &self.repository.owner.name
        }
    }

    /// Every file that some commit added, removed or modified; sorted, each once.
    pub fn changed_files(&self) -> Vec<String> {
        let files: BTreeSet<&String> =
            self.commits.iter().flat_map(|c| c.added.iter().chain(&c.removed).chain(&c.modified)).collect();
        files.into_iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thin_payloads_new_actions_and_unknown_types_are_read() {
        let pr = Event::parse("pull_request", "g", br#"{"action":"enqueued","pull_request":{"number":1}}"#)
            .unwrap();
        assert_eq!((pr.action(), pr.guid(), pr.event_type()), (Some("enqueued"), "g", "pull_request"));
        let other =
            Event::parse("star", "g", br#"{"action":"created","repository":{"full_name":"o/r"}}"#).unwrap();
        assert!(
            matches!(&other, Event::Other(o) if o.event_type == "star" && o.envelope.repository.full_name == "o/r")
        );
        for event_type in [
            "issues",
            "issue_comment",
            "pull_request_review",
            "pull_request_review_comment",
            "push",
            "status",
        ] {
            let event = Event::parse(event_type, "g", b"{}").unwrap();
            assert_eq!((event.event_type(), event.guid(), event.action()), (event_type, "g", None));
        }
        let error = Event::parse("push", "g-1", br#"{"commits": 3}"#).unwrap_err().to_string();
        assert!(error.contains("g-1") && error.contains("push"), "{error}");
    }

    #[test]
    fn a_push_says_what_changed_where() {
        let body = br#"{"ref":"refs/heads/release/1.0","after":"abc","repository":{"name":"r","created_at":1700000000,
            "owner":{"name":"named","login":"logged"}},
            "commits":[{"added":["b"],"modified":["a"]},{"removed":["b"],"added":["c"]}]}"#;
        let Event::Push(push) = Event::parse("push", "g", body).unwrap() else { panic!("not a push") };
        assert_eq!(push.branch(), "release/1.0");
        assert_eq!(push.changed_files(), ["a", "b", "c"]);
        assert!(!push.is_deletion());
        assert_eq!(Event::Push(push).plugin_repo(), ("named", "r"));
        let tag = PushEvent { r#ref: "refs/tags/v1".into(), after: "0".repeat(40), ..PushEvent::default() };
        assert!(tag.branch() == "v1" && tag.is_deletion());
    }

    #[test]
    fn a_pull_requests_plugins_are_those_of_its_base() {
        let body = br#"{"repository":{"name":"x","owner":{"login":"y"}},
            "pull_request":{"base":{"repo":{"name":"r","owner":{"login":"o"}}}}}"#;
        assert_eq!(Event::parse("pull_request", "", body).unwrap().plugin_repo(), ("o", "r"));
    }

    /// The examples are GitHub's own; they are not part of this repository. `PROW_SPECS` names the folder they are
    /// in, by default one beside the repository.
    #[test]
    fn every_example_of_github_is_read() {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/specs");
        let dir = std::env::var_os("PROW_SPECS").unwrap_or_else(|| beside.into());
        let file = std::path::Path::new(&dir).join("github/webhook-examples.json");
        let Ok(text) = std::fs::read(&file) else {
            eprintln!("skipped: no {}; PROW_SPECS can name the folder", file.display());
            return;
        };
        let kinds: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
        let mut read = 0;
        for kind in &kinds {
            let event_type = kind["name"].as_str().unwrap();
            for example in kind["examples"].as_array().unwrap() {
                let body = serde_json::to_vec(example).unwrap();
                let event = Event::parse(event_type, "g", &body).unwrap();
                assert_eq!(event.action(), example["action"].as_str(), "{event_type}");
                assert_eq!(
                    event.repository().full_name,
                    example["repository"]["full_name"].as_str().unwrap_or("")
                );
                assert!(
                    !matches!(event, Event::Other(_))
                        || !event_type.starts_with("pull_request_review_comment")
                );
                read += 1;
            }
        }
        assert!(read > 200, "only {read} examples");
    }
}
