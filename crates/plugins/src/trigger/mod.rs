//! trigger: pull requests, pushes and comments become ProwJobs (prow-runtime §3).

mod abort;
mod comment;
mod in_repo;
mod pull_request;
mod push;
mod start;
mod texts;
mod trust;

use crate::context::Context;
use crate::error::Error;
use crate::help::{Command, EVENT_GENERIC_COMMENT, PluginHelp};
use crate::{Input, Plugin};
use prow_api::OrgRepo;
use prow_config::Snapshot;
use prow_github::webhook::{CommentAction, Event, GenericComment, PullRequestEvent, PushEvent};
use prow_job::comment::concerns_trigger;
use pull_request::What;

/// The plugin.
#[derive(Debug, Clone, Copy)]
pub struct Trigger;

/// What an event asks of trigger.
#[derive(Debug)]
pub enum Ask {
    /// Something happened to a pull request.
    PullRequest(What, Box<PullRequestEvent>),
    /// Somebody wrote one of the commands, or what starts a job.
    Comment(Box<GenericComment>),
    /// A branch or tag moved.
    Push(Box<PushEvent>),
}

impl Plugin for Trigger {
    type Ask = Ask;

    fn name(&self) -> &'static str {
        "trigger"
    }

    fn parse(&self, input: Input<'_>, config: &Snapshot) -> Option<Ask> {
        match input {
            Input::Event(Event::PullRequest(event)) => {
                Some(Ask::PullRequest(pull_request::what(event)?, event.clone()))
            }
            Input::Event(Event::Push(event)) => (!event.is_deletion()).then(|| Ask::Push(event.clone())),
            Input::Event(_) => None,
            Input::Comment(comment) => {
                let repo = repo_of(comment).to_string();
                // What starts the repository's own jobs is known only once they are read.
                let addressed = comment.action == CommentAction::Created
                    && comment.is_pr
                    && comment.issue_state == "open"
                    && (config.prow.in_repo_config_enabled(&repo)
                        || concerns_trigger(&comment.body, config.presubmits_for(&repo)));
                addressed.then(|| Ask::Comment(Box::new(comment.clone())))
            }
        }
    }

    async fn act(&self, ctx: &Context, ask: Ask) -> Result<(), Error> {
        match ask {
            Ask::PullRequest(what, event) => pull_request::act(ctx, what, &event).await,
            Ask::Comment(comment) => comment::act(ctx, &comment).await,
            Ask::Push(event) => push::act(ctx, &event).await,
        }
    }

    fn help(&self, config: &Snapshot, repos: &[OrgRepo]) -> PluginHelp {
        let command = |usage: &str, featured, description: &str, examples: &[&str], who: &str| Command {
            usage: usage.into(),
            featured,
            description: description.into(),
            examples: examples.iter().map(|e| (*e).to_owned()).collect(),
            who_can_use: who.into(),
        };
        let trusted = "Anyone on a trusted pull request; trusted users on any";
        PluginHelp {
            description: "Starts jobs when a pull request is opened or changed, when a branch moves, and when a \
                          comment asks for it. Pull requests of untrusted authors wait for /ok-to-test."
                .into(),
            config: repos.iter().map(|repo| (name(repo), self.config_help(config, repo))).collect(),
            snippet: "triggers:\n- repos:\n  - org/repo\n  only_org_members: true\n  trusted_apps:\n  - dependabot\n"
                .into(),
            events: vec![EVENT_GENERIC_COMMENT.into(), "pull_request".into(), "push".into()],
            commands: vec![
                command(
                    "/ok-to-test",
                    false,
                    "Marks a pull request as trusted and starts its tests; `/ok-to-test cancel` takes that back",
                    &["/ok-to-test", "/ok-to-test cancel"],
                    "Members of the organization, and collaborators unless only_org_members is set",
                ),
                command(
                    "/test [<job name>|all]",
                    true,
                    "Starts one job by its name, or all that run by themselves",
                    &["/test all", "/test pull-project-unit"],
                    trusted,
                ),
                command(
                    "/test ?",
                    true,
                    "Lists the jobs that can be started",
                    &["/test", "/test ?"],
                    trusted,
                ),
                command("/retest", false, "Runs failed jobs again", &["/retest"], trusted),
                command(
                    "/retest-required",
                    false,
                    "Runs failed jobs again that must pass before a merge",
                    &["/retest-required"],
                    trusted,
                ),
                command(
                    "/test-manual-required",
                    false,
                    "Starts jobs that must pass before a merge and do not start by themselves",
                    &["/test-manual-required"],
                    trusted,
                ),
            ],
        }
    }
}

impl Trigger {
    fn config_help(&self, config: &Snapshot, repo: &OrgRepo) -> String {
        let settings = config.plugins.trigger_for(&repo.org, &repo.repo);
        let mut out = String::from("Trusted are the members of the organization");
        if !settings.only_org_members {
            out.push_str(" and the repository's collaborators");
        }
        if !settings.trusted_org.is_empty() && settings.trusted_org != repo.org {
            out.push_str(&format!(" and the members of {}", settings.trusted_org));
        }
        if !settings.trusted_apps.is_empty() {
            out.push_str(&format!(" and the apps {}", settings.trusted_apps.join(", ")));
        }
        out.push('.');
        if settings.ignore_ok_to_test {
            out.push_str(" /ok-to-test has no effect.");
        }
        out
    }
}

/// `org/repo`, or `org` alone.
fn name(repo: &OrgRepo) -> String {
    if repo.repo.is_empty() { repo.org.clone() } else { repo.to_string() }
}

fn repo_of(comment: &GenericComment) -> OrgRepo {
    OrgRepo::new(comment.repo.owner_login(), comment.repo.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_config::GoRegex;
    use prow_config::jobs::Presubmit;
    use serde_json::{Value, json};

    fn asks(event_type: &str, payload: Value, config: &Snapshot) -> (bool, bool) {
        let event = Event::parse(event_type, "g", payload.to_string().as_bytes()).unwrap();
        let comment = GenericComment::from_event(&event);
        (
            Trigger.parse(Input::Event(&event), config).is_some(),
            comment.is_some_and(|c| Trigger.parse(Input::Comment(&c), config).is_some()),
        )
    }

    #[test]
    fn events_and_the_text_in_them_are_told_apart() {
        let mut config = Snapshot::default();
        let deploy = Presubmit { trigger: GoRegex::new("(?m)^/deploy").unwrap(), ..Presubmit::default() };
        config.jobs.presubmits.insert("o/r".into(), vec![deploy].into());
        let repo = json!({"name": "r", "owner": {"login": "o", "name": "o"}});
        let said = |action: &str, body: &str, state: &str, pr: bool| {
            let mut issue = json!({"number": 1, "state": state});
            if pr {
                issue["pull_request"] = json!({});
            }
            json!({"action": action, "issue": issue, "comment": {"body": body}, "repository": repo})
        };
        let opened = |body: &str| {
            json!({"action": "opened", "repository": repo,
                "pull_request": {"body": body, "state": "open", "base": {"repo": repo}}})
        };
        for (event, payload, expected) in [
            ("pull_request", opened("hi"), (true, false)),
            ("pull_request", opened("hi\n/test all"), (true, true)),
            ("pull_request", json!({"action": "labeled", "label": {"name": "bug"}}), (false, false)),
            ("push", json!({"ref": "refs/heads/main", "after": "a"}), (true, false)),
            ("push", json!({"deleted": true}), (false, false)),
            ("issue_comment", said("created", "/retest\r\n", "open", true), (false, true)),
            ("issue_comment", said("created", "/deploy", "open", true), (false, true)),
            ("issue_comment", said("created", "```\n/retest\n```", "open", true), (false, false)),
            ("issue_comment", said("created", "/lgtm", "open", true), (false, false)),
            ("issue_comment", said("created", "/retest", "closed", true), (false, false)),
            ("issue_comment", said("created", "/retest", "open", false), (false, false)),
            ("issue_comment", said("edited", "/retest", "open", true), (false, false)),
            ("status", json!({}), (false, false)),
        ] {
            assert_eq!(asks(event, payload.clone(), &config), expected, "{event} {payload}");
        }
        // The repository's own jobs may have any trigger: only reading them tells.
        config.prow.in_repo_config.enabled.insert("o".into(), Some(true));
        assert!(asks("issue_comment", said("created", "please deploy", "open", true), &config).1);
        assert!(!asks("issue_comment", said("created", "/retest", "closed", true), &config).1);
    }
}
