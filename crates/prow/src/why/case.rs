//! What is asked about: made from flags or from a webhook's payload (prow-runtime §3.3, §3.4, §3.8). Pure but for the
//! files that the flags name.

use super::Args;
use crate::flags;
use anyhow::{Context, bail};
use prow_github::PullRequest;
use prow_github::webhook::{CommentAction, Event, GenericComment, PullRequestEvent, PushEvent};
use serde_json::Value;

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A pull request is opened or changed: all that runs by itself.
    Update,
    /// Somebody writes this on a pull request.
    Comment(String),
    /// A branch or tag moves: postsubmits.
    Push,
}

/// A question, with what is known so far.
#[derive(Debug, Clone)]
pub struct Case {
    /// What happens.
    pub what: What,
    /// Organisation or user.
    pub org: String,
    /// Repository.
    pub repo: String,
    /// Number of the pull request; 0 for none.
    pub number: i64,
    /// Base branch, or the branch that moved.
    pub branch: Option<String>,
    /// Head commit, for its statuses.
    pub head_sha: Option<String>,
    /// Changed files.
    pub changed_files: Option<Vec<String>>,
    /// Contexts on the head commit: failed ones, and all.
    pub contexts: Option<(Vec<String>, Vec<String>)>,
    /// The settings of trigger ignore `/ok-to-test`.
    pub ignore_ok_to_test: bool,
    /// Why nothing runs, whatever the jobs say.
    pub blocked: Option<String>,
    /// What was taken for granted or could not be known.
    pub notes: Vec<String>,
    /// GitHub is not asked.
    pub offline: bool,
}

impl Case {
    fn new(what: What, org: &str, repo: &str) -> Case {
        Case {
            what,
            org: org.to_owned(),
            repo: repo.to_owned(),
            number: 0,
            branch: None,
            head_sha: None,
            changed_files: None,
            contexts: None,
            ignore_ok_to_test: false,
            blocked: None,
            notes: Vec::new(),
            offline: false,
        }
    }

    /// Nothing runs. The first reason stays.
    pub fn block(&mut self, why: impl Into<String>) {
        self.blocked.get_or_insert_with(|| why.into());
    }

    /// Takes over what a pull request says about itself.
    pub fn learn(&mut self, pr: &PullRequest) {
        self.number = pr.number;
        if !pr.base.r#ref.is_empty() {
            self.branch.get_or_insert_with(|| pr.base.r#ref.clone());
        }
        if !pr.head.sha.is_empty() {
            self.head_sha = Some(pr.head.sha.clone());
        }
        if pr.state == "closed" {
            self.block("the pull request is closed");
        }
        if self.what == What::Update && pr.draft {
            self.block("the pull request is a draft (a comment can still start jobs)");
        }
        if pr.mergeable == Some(false) {
            self.block("the pull request has conflicts with its base");
        }
    }
}

/// The question that the flags ask.
pub fn of(args: &Args) -> anyhow::Result<Case> {
    let mut case = match (&args.event, &args.org, &args.repo) {
        (Some(path), ..) => {
            let body = flags::read("the event", path)?;
            let event_type = match &args.event_type {
                Some(given) => given.clone(),
                None => guess(&body)?.to_owned(),
            };
            let event = Event::parse(&event_type, "prow-why", &body)
                .with_context(|| format!("{} is no {event_type} payload", path.display()))?;
            from_event(&event, args.comment.as_deref())?
        }
        (None, Some(org), Some(repo)) => {
            let what = args.comment.clone().map_or(What::Update, What::Comment);
            let mut case = Case::new(what, org, repo);
            case.number = args.pr.unwrap_or_default();
            case
        }
        // clap asks for either.
        _ => bail!("give --org and --repo, or --event"),
    };
    if let Some(branch) = &args.branch {
        case.branch = Some(branch.clone());
    }
    let given = match (&args.changed_files, &args.changed_files_from) {
        (Some(list), _) => Some(list.iter().filter(|f| !f.is_empty()).cloned().collect()),
        (None, Some(path)) => Some(lines(&flags::read("the changed files", path)?)),
        (None, None) => None,
    };
    let complete = given.is_some() && (args.event.is_some() || args.branch.is_some());
    case.offline = args.offline || complete;
    case.changed_files = given.or(case.changed_files);
    if case.branch.is_none() && (case.offline || case.number == 0) {
        bail!(
            "the base branch is not known and GitHub is not asked for it; give --branch (or --pr, without --offline)"
        );
    }
    Ok(case)
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// What sort of payload this is, by its members.
fn guess(body: &[u8]) -> anyhow::Result<&'static str> {
    let value: Value = serde_json::from_slice(body).context("the event is not JSON")?;
    let has = |key: &str| value.get(key).is_some_and(Value::is_object);
    Ok(match () {
        () if has("pull_request") && has("review") => "pull_request_review",
        () if has("pull_request") && has("comment") => "pull_request_review_comment",
        () if has("pull_request") => "pull_request",
        () if has("issue") && has("comment") => "issue_comment",
        () if has("issue") => "issues",
        () if value.get("ref").is_some() && value.get("after").is_some() => "push",
        () => bail!("what kind of event this is cannot be told from the payload; give --event-type"),
    })
}

fn from_event(event: &Event, comment: Option<&str>) -> anyhow::Result<Case> {
    let (org, repo) = event.plugin_repo();
    if org.is_empty() || repo.is_empty() {
        bail!("the {} payload does not say which repository it is about", event.event_type());
    }
    let asked = comment.map(|text| What::Comment(text.to_owned()));
    match event {
        Event::Push(_) if asked.is_some() => {
            bail!("--comment asks about a pull request, and this event is a push")
        }
        Event::Push(push) => Ok(from_push(push, org, repo)),
        Event::PullRequest(event) => Ok(from_pull_request(event, asked, org, repo)),
        other => {
            let Some(said) = GenericComment::from_event(other) else {
                bail!("no job depends on {} events (action {:?})", other.event_type(), other.action());
            };
            let mut case = Case::new(asked.unwrap_or(What::Comment(said.body.clone())), org, repo);
            case.number = said.number;
            match other {
                Event::PullRequestReview(e) => case.learn(&e.pull_request),
                Event::PullRequestReviewComment(e) => case.learn(&e.pull_request),
                _ => {}
            }
            if !said.is_pr {
                case.block("this is an issue, not a pull request");
            }
            if comment.is_none() && said.action != CommentAction::Created {
                case.block(format!("the comment was {}, and only new ones count", said.action.as_str()));
            }
            if said.issue_state != "open" {
                case.block("the pull request is not open");
            }
            Ok(case)
        }
    }
}

fn from_push(push: &PushEvent, org: &str, repo: &str) -> Case {
    let mut case = Case::new(What::Push, org, repo);
    case.branch = Some(push.branch().to_owned());
    case.changed_files = Some(push.changed_files());
    if push.is_deletion() {
        case.block("the push deletes the branch");
    }
    case
}

fn from_pull_request(event: &PullRequestEvent, asked: Option<What>, org: &str, repo: &str) -> Case {
    let by_action = asked.is_none();
    let mut case = Case::new(asked.unwrap_or(What::Update), org, repo);
    if by_action {
        let base_moved = event
            .changes
            .base
            .as_ref()
            .is_some_and(|base| !base.r#ref.from.is_empty() || !base.sha.from.is_empty());
        match (event.action.as_str(), event.label.name.to_lowercase().as_str()) {
            ("opened" | "reopened" | "ready_for_review" | "synchronize", _) => {}
            ("edited", _) if base_moved => {}
            ("labeled", "ok-to-test") => {}
            ("labeled", "lgtm") => {
                case.notes
                    .push("the label lgtm starts jobs only of a pull request that is not trusted yet".into());
            }
            ("closed" | "converted_to_draft", _) => {
                case.block(format!("{} ends running jobs and starts none", event.action));
            }
            ("edited", _) => case.block("the edit does not change the base"),
            ("labeled", _) => case.block(format!("the label {:?} starts nothing", event.label.name)),
            (action, _) => case.block(format!("the action {action:?} starts nothing")),
        }
        let text = &event.pull_request.body;
        if event.action == "opened" && prow_job::comment::Commands::parse(text).any() {
            case.notes.push("the description has commands of its own; --comment asks about them".into());
        }
    }
    case.learn(&event.pull_request);
    if case.number == 0 {
        case.number = event.number;
    }
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pull_request(extra: Value) -> Case {
        let mut payload = json!({
            "action": "opened", "number": 5,
            "pull_request": {"number": 5, "state": "open", "base": {"ref": "main"}, "head": {"sha": "h"}},
            "repository": {"name": "r", "owner": {"login": "o"}},
        });
        for (key, value) in extra.as_object().unwrap() {
            match value.as_object() {
                Some(members) if payload[key].is_object() => {
                    payload[key].as_object_mut().unwrap().extend(members.clone());
                }
                _ => payload[key] = value.clone(),
            }
        }
        let body = payload.to_string();
        from_event(&Event::parse(guess(body.as_bytes()).unwrap(), "", body.as_bytes()).unwrap(), None)
            .unwrap()
    }

    #[test]
    fn actions_that_start_nothing_say_why() {
        for (extra, want) in [
            (json!({}), None),
            (json!({"action": "synchronize"}), None),
            (json!({"action": "edited", "changes": {"base": {"ref": {"from": "dev"}}}}), None),
            (
                json!({"action": "edited", "changes": {"title": {"from": "x"}}}),
                Some("does not change the base"),
            ),
            (json!({"action": "labeled", "label": {"name": "Ok-To-Test"}}), None),
            (json!({"action": "labeled", "label": {"name": "bug"}}), Some("\"bug\" starts nothing")),
            (json!({"action": "closed"}), Some("starts none")),
            (json!({"action": "assigned"}), Some("\"assigned\" starts nothing")),
            (json!({"pull_request": {"draft": true}}), Some("draft")),
            (json!({"pull_request": {"mergeable": false}}), Some("conflicts")),
        ] {
            let case = pull_request(extra.clone());
            match (&case.blocked, want) {
                (None, None) => {}
                (Some(why), Some(part)) if why.contains(part) => {}
                (got, _) => panic!("{extra}: {got:?} instead of {want:?}"),
            }
            assert_eq!((case.number, case.branch.as_deref(), case.org.as_str()), (5, Some("main"), "o"));
        }
    }

    #[test]
    fn the_type_of_a_payload_is_guessed() {
        for (body, want) in [
            (json!({"pull_request": {}, "review": {}}), "pull_request_review"),
            (json!({"pull_request": {}, "comment": {}}), "pull_request_review_comment"),
            (json!({"pull_request": {}}), "pull_request"),
            (json!({"issue": {}, "comment": {}}), "issue_comment"),
            (json!({"issue": {}}), "issues"),
            (json!({"ref": "refs/heads/main", "after": "a"}), "push"),
        ] {
            assert_eq!(guess(body.to_string().as_bytes()).unwrap(), want);
        }
        assert!(guess(b"{}").unwrap_err().to_string().contains("--event-type"));
        assert!(guess(b"nonsense").is_err());
    }
}
