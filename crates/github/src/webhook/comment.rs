//! Everything a person can say on GitHub, as one shape for plugins that react to commands (prow-runtime §2.4).

use super::Event;
use crate::types::*;

/// What happened to the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommentAction {
    Created,
    Edited,
    Deleted,
}

impl CommentAction {
    /// Prow's word.
    pub fn as_str(self) -> &'static str {
        match self {
            CommentAction::Created => "created",
            CommentAction::Edited => "edited",
            CommentAction::Deleted => "deleted",
        }
    }
}

/// Text by a user: a description, a comment, a review.
#[derive(Clone, Debug, PartialEq)]
pub struct GenericComment {
    pub id: i64,
    pub node_id: String,
    /// Set where the text is a comment of its own; `None` for descriptions and reviews.
    pub comment_id: Option<i64>,
    pub is_pr: bool,
    pub action: CommentAction,
    pub body: String,
    pub html_url: String,
    pub number: i64,
    pub repo: Repo,
    /// Who wrote the text.
    pub user: User,
    /// Who opened the issue or pull request.
    pub issue_author: User,
    pub assignees: Vec<User>,
    /// `open` or `closed`.
    pub issue_state: String,
    pub issue_title: String,
    pub issue_body: String,
    pub issue_html_url: String,
    pub guid: String,
}

impl GenericComment {
    /// The text in `event`, if it has one and something happened to it.
    pub fn from_event(event: &Event) -> Option<Self> {
        match event {
            Event::Issues(e) => Some(GenericComment {
                id: e.issue.id,
                node_id: e.issue.node_id.clone(),
                comment_id: None,
                is_pr: e.issue.is_pull_request(),
                action: description_action(&e.action)?,
                body: e.issue.body.clone(),
                html_url: e.issue.html_url.clone(),
                user: e.issue.user.clone(),
                guid: e.guid.clone(),
                ..of_issue(&e.issue, &e.repository)
            }),
            Event::IssueComment(e) => Some(GenericComment {
                id: e.comment.id,
                node_id: e.comment.node_id.clone(),
                comment_id: Some(e.comment.id),
                is_pr: e.issue.is_pull_request(),
                action: comment_action(&e.action)?,
                body: e.comment.body.clone(),
                html_url: e.comment.html_url.clone(),
                user: e.comment.user.clone(),
                guid: e.guid.clone(),
                ..of_issue(&e.issue, &e.repository)
            }),
            Event::PullRequest(e) => Some(GenericComment {
                id: e.pull_request.id,
                node_id: e.pull_request.node_id.clone(),
                comment_id: None,
                action: description_action(&e.action)?,
                body: e.pull_request.body.clone(),
                html_url: e.pull_request.html_url.clone(),
                user: e.pull_request.user.clone(),
                guid: e.guid.clone(),
                ..of_pull_request(&e.pull_request, &e.repository)
            }),
            Event::PullRequestReview(e) => Some(GenericComment {
                id: e.review.id,
                node_id: e.review.node_id.clone(),
                comment_id: None,
                action: match e.action.as_str() {
                    "submitted" => CommentAction::Created,
                    "edited" => CommentAction::Edited,
                    "dismissed" => CommentAction::Deleted,
                    _ => return None,
                },
                body: e.review.body.clone(),
                html_url: e.review.html_url.clone(),
                user: e.review.user.clone(),
                guid: e.guid.clone(),
                ..of_pull_request(&e.pull_request, &e.repository)
            }),
            Event::PullRequestReviewComment(e) => Some(GenericComment {
                id: e.comment.id,
                node_id: e.comment.node_id.clone(),
                comment_id: Some(e.comment.id),
                action: comment_action(&e.action)?,
                body: e.comment.body.clone(),
                html_url: e.comment.html_url.clone(),
                user: e.comment.user.clone(),
                guid: e.guid.clone(),
                ..of_pull_request(&e.pull_request, &e.repository)
            }),
            Event::Push(_) | Event::Status(_) | Event::Other(_) => None,
        }
    }
}

fn description_action(action: &str) -> Option<CommentAction> {
    match action {
        "opened" => Some(CommentAction::Created),
        "edited" => Some(CommentAction::Edited),
        "deleted" => Some(CommentAction::Deleted),
        _ => None,
    }
}

fn comment_action(action: &str) -> Option<CommentAction> {
    match action {
        "created" => Some(CommentAction::Created),
        "edited" => Some(CommentAction::Edited),
        "deleted" => Some(CommentAction::Deleted),
        _ => None,
    }
}

/// The fields that come from the issue, whatever was said on it.
fn of_issue(issue: &Issue, repo: &Repo) -> GenericComment {
    GenericComment {
        id: 0,
        node_id: String::new(),
        comment_id: None,
        is_pr: issue.is_pull_request(),
        action: CommentAction::Created,
        body: String::new(),
        html_url: String::new(),
        number: issue.number,
        repo: repo.clone(),
        user: User::default(),
        issue_author: issue.user.clone(),
        assignees: issue.assignees.clone(),
        issue_state: issue.state.clone(),
        issue_title: issue.title.clone(),
        issue_body: issue.body.clone(),
        issue_html_url: issue.html_url.clone(),
        guid: String::new(),
    }
}

/// The fields that come from the pull request, whatever was said on it.
fn of_pull_request(pr: &PullRequest, repo: &Repo) -> GenericComment {
    GenericComment {
        id: 0,
        node_id: String::new(),
        comment_id: None,
        is_pr: true,
        action: CommentAction::Created,
        body: String::new(),
        html_url: String::new(),
        number: pr.number,
        repo: repo.clone(),
        user: User::default(),
        issue_author: pr.user.clone(),
        assignees: pr.assignees.clone(),
        issue_state: pr.state.clone(),
        issue_title: pr.title.clone(),
        issue_body: pr.body.clone(),
        issue_html_url: pr.html_url.clone(),
        guid: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUE: &str = r#"{"id":1,"number":7,"state":"open","title":"t","body":"issue body","html_url":"i","user":{"login":"author"}"#;

    fn generic(event_type: &str, body: &str) -> Option<GenericComment> {
        GenericComment::from_event(&Event::parse(event_type, "g", body.as_bytes()).unwrap())
    }

    #[test]
    fn every_text_becomes_a_generic_comment() {
        use CommentAction::{Created, Deleted, Edited};
        let comment = r#""comment":{"id":9,"body":"/x","html_url":"c","user":{"login":"talker"}}"#;
        let review = r#""review":{"id":9,"body":"/x","html_url":"c","user":{"login":"talker"}}"#;
        let cases: Vec<(&str, &str, String, Option<(CommentAction, Option<i64>, bool, &str, &str)>)> = vec![
            (
                "issues",
                "opened",
                format!(r#""issue":{ISSUE}}}"#),
                Some((Created, None, false, "issue body", "author")),
            ),
            (
                "issues",
                "deleted",
                format!(r#""issue":{ISSUE}}}"#),
                Some((Deleted, None, false, "issue body", "author")),
            ),
            ("issues", "labeled", format!(r#""issue":{ISSUE}}}"#), None),
            (
                "issue_comment",
                "created",
                format!(r#""issue":{ISSUE}}},{comment}"#),
                Some((Created, Some(9), false, "/x", "talker")),
            ),
            (
                "issue_comment",
                "edited",
                format!(r#""issue":{ISSUE},"pull_request":{{}}}},{comment}"#),
                Some((Edited, Some(9), true, "/x", "talker")),
            ),
            ("issue_comment", "pinned", format!(r#""issue":{ISSUE}}},{comment}"#), None),
            (
                "pull_request",
                "opened",
                format!(r#""pull_request":{ISSUE}}}"#),
                Some((Created, None, true, "issue body", "author")),
            ),
            ("pull_request", "synchronize", format!(r#""pull_request":{ISSUE}}}"#), None),
            (
                "pull_request_review",
                "submitted",
                format!(r#""pull_request":{ISSUE}}},{review}"#),
                Some((Created, None, true, "/x", "talker")),
            ),
            (
                "pull_request_review",
                "dismissed",
                format!(r#""pull_request":{ISSUE}}},{review}"#),
                Some((Deleted, None, true, "/x", "talker")),
            ),
            (
                "pull_request_review_comment",
                "created",
                format!(r#""pull_request":{ISSUE}}},{comment}"#),
                Some((Created, Some(9), true, "/x", "talker")),
            ),
            ("push", "", r#""x":1"#.to_owned(), None),
            ("star", "created", r#""x":1"#.to_owned(), None),
        ];
        for (event_type, action, rest, want) in cases {
            let got = generic(event_type, &format!(r#"{{"action":"{action}",{rest}}}"#));
            let got_parts = got
                .as_ref()
                .map(|c| (c.action, c.comment_id, c.is_pr, c.body.as_str(), c.user.login.as_str()));
            assert_eq!(got_parts, want, "{event_type} {action}");
            if let Some(c) = got {
                assert_eq!(
                    (c.number, c.issue_author.login.as_str(), c.issue_body.as_str()),
                    (7, "author", "issue body")
                );
                assert_eq!(
                    (c.issue_state.as_str(), c.issue_title.as_str(), c.guid.as_str()),
                    ("open", "t", "g")
                );
            }
        }
    }
}
