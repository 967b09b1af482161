//! Two pages for people who follow the demo's links: a repository, and a pull request with its commits' statuses and
//! comments. Everything is escaped text; a comment's Markdown is shown as it was typed.

use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use http::header;
use maud::{DOCTYPE, Markup, html};

use crate::Forge;
use crate::api::auth::Who;
use crate::api::reply::Reply;
use crate::records::{Issue, Pull, Repo, Status};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1f2328}\
a{color:#0969da;text-decoration:none}a:hover{text-decoration:underline}code,pre{font:13px ui-monospace,monospace}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0}section{border:1px solid #d1d9e0;border-radius:6px;margin:1em 0}\
section>header{background:#f6f8fa;padding:.4em 1em;border-bottom:1px solid #d1d9e0}section>div{padding:.6em 1em}\
.state{border-radius:1em;padding:.1em .7em;color:#fff;background:#59636e}.success,.open{background:#1a7f37}\
.failure,.error,.closed{background:#cf222e}.pending{background:#9a6700}.merged{background:#8250df}";

fn page(title: &str, body: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) }
                // A style element's text is raw: escaped, its `>` would be no selector.
                style { (maud::PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    // No script may run here, whatever gets past the escaping.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(markup.into_string())).into_response()
}

/// A link target from outside, if it is a web address.
fn web_address(url: Option<&str>) -> Option<&str> {
    url.filter(|u| u.starts_with("http://") || u.starts_with("https://"))
}

fn state_of(issue: &Issue) -> &'static str {
    match &issue.pull {
        Some(Pull { merged: Some(_), .. }) => "merged",
        _ if issue.open => "open",
        _ => "closed",
    }
}

/// `GET /{org}/{repo}`
pub(crate) async fn repo(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name)): Path<(String, String)>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let issues: Vec<Issue> = forge.read(|s| s.issues_of(repo.id).rev().cloned().collect());
    let refs = forge.read(|s| s.refs_of(repo.id));
    let full = repo.full_name();
    Ok(page(
        &full,
        &html! {
            h1 { (full) }
            p { "Clone it: " code { "git clone " (forge.base_url()) "/" (full) ".git" } }
            section {
                header { "Branches and tags" }
                div { @for (name, sha) in &refs { div { code { (name) " " (sha) } } } }
            }
            section {
                header { "Pull requests and issues" }
                div {
                    @for issue in &issues {
                        div {
                            span class={ "state " (state_of(issue)) } { (state_of(issue)) } " "
                            @if issue.pull.is_some() {
                                a href={ "/" (full) "/pull/" (issue.number) } { "#" (issue.number) " " (issue.title) }
                            } @else { "#" (issue.number) " " (issue.title) }
                            " by " (issue.author)
                        }
                    }
                    @if issues.is_empty() { "None yet." }
                }
            }
        },
    ))
}

/// `GET /{org}/{repo}/pull/{number}`
pub(crate) async fn pull(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Path<(String, String, i64)>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let (issue, pull) = forge.pull(&repo, number)?;
    let commits =
        forge.commits_between(repo.id, std::slice::from_ref(&pull.base_sha), &pull.head_sha).await?;
    let comments: Vec<_> = forge.read(|s| s.comments_of(repo.id, number).cloned().collect());
    let full = repo.full_name();
    let state = state_of(&issue);
    Ok(page(
        &format!("{} · {full}#{number}", issue.title),
        &html! {
            p { a href={ "/" (full) } { (full) } }
            h1 { (issue.title) " #" (number) }
            p {
                span class={ "state " (state) } { (state) } " "
                (issue.author) " wants to merge " code { (pull.head) } " into " code { (pull.base) }
                @for label in &issue.labels { " " code { (label) } }
            }
            @if !issue.body.is_empty() { section { header { (issue.author) } div { pre { (issue.body) } } } }
            @for commit in commits.iter().rev() {
                section {
                    header { code { (commit.sha) } " " (commit.message.lines().next().unwrap_or_default()) }
                    div { (statuses(&forge, &repo, &commit.sha)) }
                }
            }
            @for comment in &comments {
                section id={ "issuecomment-" (comment.id) } {
                    header { (comment.author) " at " (comment.created_at) }
                    div { pre { (comment.body) } }
                }
            }
        },
    ))
}

fn statuses(forge: &Forge, repo: &Repo, sha: &str) -> Markup {
    let latest: Vec<Status> = forge.statuses(&repo.owner, &repo.name, sha).into_values().collect();
    html! {
        @for status in &latest {
            div {
                span class={ "state " (status.state) } { (status.state) } " "
                @match web_address(status.target_url.as_deref()) {
                    Some(url) => a href=(url) rel="noopener" { (status.context) },
                    None => (status.context),
                }
                @if let Some(text) = &status.description { " " (text) }
            }
        }
        @if latest.is_empty() { "No statuses." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_addresses_become_links() {
        assert_eq!(web_address(Some("https://x/")), Some("https://x/"));
        for bad in [Some("javascript:alert(1)"), Some("data:text/html,x"), None] {
            assert_eq!(web_address(bad), None);
        }
    }
}
