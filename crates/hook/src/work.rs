//! What an event is to be handed to, and handing it: built-in plugins by name, external ones as `external:<name>`.

use crate::Deps;
use crate::dispatch::{Failure, HandlerPlan, Plan, Work};
use crate::external;
use crate::journal::Delivery;
use crate::metrics;
use futures::future::BoxFuture;
use jiff::Timestamp;
use prow_github::webhook::{Event, GenericComment};
use prow_plugins::{Context, Facet, Input};
use prow_service::clock::SharedClock;
use prow_service::enablement::GithubEnablement;
use std::sync::Arc;

const EXTERNAL: &str = "external:";
const COMMENT: &str = "/comment";

/// A delivery and what it says.
pub(crate) struct Parsed {
    delivery: Arc<Delivery>,
    event: Event,
    comment: Option<GenericComment>,
}

pub(crate) struct PluginWork {
    deps: Deps,
    enablement: GithubEnablement,
    http: reqwest::Client,
}

impl PluginWork {
    pub(crate) fn new(deps: Deps, enablement: GithubEnablement, http: reqwest::Client) -> PluginWork {
        PluginWork { deps, enablement, http }
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.deps.clock
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    /// False for types of events that no built-in plugin can handle and no external plugin wants.
    pub(crate) fn is_for_somebody(&self, delivery: &Delivery) -> bool {
        if is_known(&delivery.event) {
            return true;
        }
        match Event::parse(&delivery.event, &delivery.guid, &delivery.payload) {
            Ok(event) => !self.external(&event).is_empty(),
            // Kept and shown as failed, rather than dropped without a word.
            Err(_) => true,
        }
    }

    /// Names of the external plugins that want `event`.
    fn external(&self, event: &Event) -> Vec<String> {
        let (org, repo) = event.plugin_repo();
        let config = self.deps.config.snapshot();
        let wanting = config.plugins.external_plugins_for(org, repo, event.event_type());
        wanting.into_iter().map(|p| p.name.clone()).collect()
    }

    async fn plugin(&self, parsed: &Parsed, name: &str, facet: Facet, again: bool) -> Result<(), Failure> {
        let Some(plugin) = self.deps.registry.get(name) else { return Ok(()) };
        let input = match (facet, &parsed.comment) {
            (Facet::Event, _) => Input::Event(&parsed.event),
            (Facet::Comment, Some(comment)) => Input::Comment(comment),
            (Facet::Comment, None) => return Ok(()),
        };
        let ctx = Context {
            github: self.deps.github.tagged(name),
            kube: self.deps.kube.clone(),
            config: self.deps.config.snapshot(),
            jobs: Arc::clone(&self.deps.jobs),
            clock: self.deps.clock.clone(),
            guid: parsed.delivery.guid.clone(),
            again,
        };
        let began = std::time::Instant::now();
        let handled = plugin.handle(&ctx, input).await;
        let event = &parsed.event;
        metrics::handled(event.event_type(), event.action(), name, began.elapsed(), handled.is_err());
        handled.map_err(|error| Failure { message: error.to_string(), may_pass: error.may_pass() })
    }

    async fn external_plugin(&self, parsed: &Parsed, name: &str) -> Result<(), Failure> {
        let (org, repo) = parsed.event.plugin_repo();
        let config = self.deps.config.snapshot();
        let wanting = config.plugins.external_plugins_for(org, repo, parsed.event.event_type());
        // It may have been taken out of the configuration since.
        let Some(plugin) = wanting.into_iter().find(|p| p.name == name) else { return Ok(()) };
        external::send(&self.http, &self.deps.clock, name, &plugin.endpoint, &parsed.delivery).await
    }
}

impl Work for PluginWork {
    type Parsed = Parsed;

    fn parse(&self, delivery: Arc<Delivery>) -> Result<Parsed, String> {
        let event =
            Event::parse(&delivery.event, &delivery.guid, &delivery.payload).map_err(|e| e.to_string())?;
        let comment = GenericComment::from_event(&event);
        Ok(Parsed { delivery, event, comment })
    }

    fn plan(&self, parsed: &Parsed) -> Plan {
        let event = &parsed.event;
        let repository = event.repository();
        let mut handlers = Vec::new();
        if self.enablement.allows(repository.owner_login(), &repository.name) {
            let config = self.deps.config.snapshot();
            for (name, facet) in self.deps.registry.wanting(&config, event, parsed.comment.as_ref()) {
                handlers.push(HandlerPlan { id: plugin_id(name, facet), lane: name.to_owned() });
            }
            for name in self.external(event) {
                let id = format!("{EXTERNAL}{name}");
                handlers.push(HandlerPlan { lane: id.clone(), id });
            }
        }
        Plan { subject: subject(event), handlers }
    }

    fn run(
        self: Arc<Self>,
        parsed: Arc<Parsed>,
        handler: String,
        again: bool,
    ) -> BoxFuture<'static, Result<(), Failure>> {
        Box::pin(async move {
            if let Some(name) = handler.strip_prefix(EXTERNAL) {
                return self.external_plugin(&parsed, name).await;
            }
            match handler.strip_suffix(COMMENT) {
                Some(name) => self.plugin(&parsed, name, Facet::Comment, again).await,
                None => self.plugin(&parsed, &handler, Facet::Event, again).await,
            }
        })
    }
}

fn plugin_id(name: &str, facet: Facet) -> String {
    match facet {
        Facet::Event => name.to_owned(),
        Facet::Comment => format!("{name}{COMMENT}"),
    }
}

/// Types that built-in plugins may handle (prow-runtime §2.3).
fn is_known(event_type: &str) -> bool {
    matches!(
        event_type,
        "issues"
            | "issue_comment"
            | "pull_request"
            | "pull_request_review"
            | "pull_request_review_comment"
            | "push"
            | "status"
    )
}

/// What an event is about: events of one subject are handled in order.
fn subject(event: &Event) -> String {
    let (org, repo) = event.plugin_repo();
    match event {
        Event::Issues(e) => format!("{org}/{repo}#{}", e.issue.number),
        Event::IssueComment(e) => format!("{org}/{repo}#{}", e.issue.number),
        Event::PullRequest(e) => format!("{org}/{repo}#{}", e.pull_request.number),
        Event::PullRequestReview(e) => format!("{org}/{repo}#{}", e.pull_request.number),
        Event::PullRequestReviewComment(e) => format!("{org}/{repo}#{}", e.pull_request.number),
        Event::Push(e) => format!("{org}/{repo}@{}", e.r#ref),
        Event::Status(e) => format!("{org}/{repo}:{}", e.sha),
        Event::Other(e) => format!("{org}/{repo} {}", e.event_type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_about_one_pull_request_is_one_subject() {
        let repo = r#""repository":{"name":"r","owner":{"login":"o","name":"o"}}"#;
        let event = |kind: &str, rest: &str| {
            Event::parse(kind, "g", format!("{{{repo},{rest}}}").as_bytes()).unwrap()
        };
        for (kind, rest, expected) in [
            ("pull_request", r#""pull_request":{"number":7}"#, "o/r#7"),
            ("issue_comment", r#""issue":{"number":7}"#, "o/r#7"),
            ("issues", r#""issue":{"number":7}"#, "o/r#7"),
            ("pull_request_review", r#""pull_request":{"number":7}"#, "o/r#7"),
            ("pull_request_review_comment", r#""pull_request":{"number":7}"#, "o/r#7"),
            ("push", r#""ref":"refs/heads/main""#, "o/r@refs/heads/main"),
            ("status", r#""sha":"abc""#, "o/r:abc"),
            ("star", r#""action":"created""#, "o/r star"),
        ] {
            assert_eq!(subject(&event(kind, rest)), expected);
        }
    }
}
