//! Whom we run code for (prow-runtime §3.1).

use crate::context::Context;
use crate::error::Error;
use prow_api::OrgRepo;
use prow_api::labels::OK_TO_TEST;
use prow_config::plugins::Trigger as Settings;
use prow_github::{Label, PullRequest, has_label};

/// Whether a user is trusted.
#[derive(Debug, PartialEq, Eq)]
pub struct UserTrust {
    /// They are.
    pub trusted: bool,
    /// If not: why, a sentence for the user.
    pub reason: String,
}

/// Whether a pull request is trusted.
#[derive(Debug)]
pub struct PullTrust {
    /// It is.
    pub trusted: bool,
    /// Its labels, if they had to be looked at: the author is not trusted.
    pub labels: Option<Vec<Label>>,
}

/// Asks the cheapest questions first.
pub async fn trusted_user(
    ctx: &Context,
    settings: &Settings,
    repo: &OrgRepo,
    user: &str,
) -> Result<UserTrust, Error> {
    let trusted = UserTrust { trusted: true, reason: String::new() };
    let github = &ctx.github;
    if github.bot_user_checker().await?.is(user) || github.is_member(&repo.org, user).await? {
        return Ok(trusted);
    }
    if !settings.only_org_members && github.is_collaborator(&repo.org, &repo.repo, user).await? {
        return Ok(trusted);
    }
    if is_trusted_app(settings, user) {
        return Ok(trusted);
    }
    if let Some(second) = second_org(settings, &repo.org)
        && github.is_member(second, user).await?
    {
        return Ok(trusted);
    }
    Ok(UserTrust { trusted: false, reason: reason(settings, &repo.org) })
}

/// The author is trusted, or somebody who may said so.
pub async fn trusted_pull_request(
    ctx: &Context,
    settings: &Settings,
    repo: &OrgRepo,
    pr: &PullRequest,
) -> Result<PullTrust, Error> {
    if trusted_user(ctx, settings, repo, &pr.user.login).await?.trusted {
        return Ok(PullTrust { trusted: true, labels: None });
    }
    let labels = ctx.github.get_issue_labels(&repo.org, &repo.repo, pr.number).await?;
    Ok(PullTrust { trusted: has_label(OK_TO_TEST, &labels), labels: Some(labels) })
}

fn is_trusted_app(settings: &Settings, user: &str) -> bool {
    user.strip_suffix("[bot]").is_some_and(|app| settings.trusted_apps.iter().any(|a| a == app))
}

fn second_org<'a>(settings: &'a Settings, org: &str) -> Option<&'a str> {
    Some(settings.trusted_org.as_str()).filter(|second| !second.is_empty() && *second != org)
}

fn reason(settings: &Settings, org: &str) -> String {
    let mut out = format!("User is not a member of the org ({org}).");
    if !settings.only_org_members {
        out.push_str(" User is not a collaborator.");
    }
    if let Some(second) = second_org(settings, org) {
        out.push_str(&format!(" User is not a member of the trusted secondary org ({second})."));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_known_by_their_login() {
        let settings = Settings { trusted_apps: vec!["dependabot".into()], ..Settings::default() };
        for (user, expected) in [("dependabot[bot]", true), ("dependabot", false), ("other[bot]", false)] {
            assert_eq!(is_trusted_app(&settings, user), expected, "{user}");
        }
    }

    #[test]
    fn the_reason_names_what_was_asked() {
        let settings = |only_org_members, trusted_org: &str| Settings {
            only_org_members,
            trusted_org: trusted_org.into(),
            ..Settings::default()
        };
        for (settings, collaborator, second) in [
            (settings(false, ""), true, false),
            (settings(true, ""), false, false),
            (settings(false, "o"), true, false),
            (settings(true, "p"), false, true),
        ] {
            let text = reason(&settings, "o");
            assert_eq!(
                (text.contains("collaborator"), text.contains("(p)")),
                (collaborator, second),
                "{text}"
            );
            assert!(text.contains("(o)"), "{text}");
        }
    }
}
