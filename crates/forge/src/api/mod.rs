//! The REST API under `/api/v3`, as GitHub Enterprise serves it. One file a family of routes.

pub(crate) mod auth;
mod people;
mod pulls;
pub(crate) mod reply;
mod repos;
mod threads;

use axum::Router;
use axum::routing::{get, post, put};

use crate::{Error, Forge};

/// Where the API begins.
pub(crate) const PREFIX: &str = "/api/v3";

pub(crate) fn router(forge: &Forge) -> Router<Forge> {
    let routes = Router::new()
        // people
        .route("/user", get(people::me))
        .route("/users/{user}", get(people::user))
        .route("/users/{user}/repos", get(people::user_repos))
        .route("/orgs/{org}", get(people::org))
        .route("/orgs/{org}/repos", get(people::org_repos))
        .route("/orgs/{org}/members", get(people::members))
        .route("/orgs/{org}/members/{user}", get(people::member))
        .route("/orgs/{org}/public_members/{user}", get(people::member))
        .route("/orgs/{org}/hooks", get(people::org_hooks).post(people::create_org_hook))
        // repositories
        .route("/repos/{org}/{repo}", get(repos::repo))
        .route("/repos/{org}/{repo}/forks", post(repos::fork))
        .route("/repos/{org}/{repo}/hooks", get(repos::hooks).post(repos::create_hook))
        .route("/repos/{org}/{repo}/collaborators", get(people::collaborators))
        .route("/repos/{org}/{repo}/collaborators/{user}", get(people::collaborator))
        .route("/repos/{org}/{repo}/collaborators/{user}/permission", get(people::permission))
        .route("/repos/{org}/{repo}/branches", get(repos::branches))
        .route("/repos/{org}/{repo}/branches/{*branch}", get(repos::branch))
        .route("/repos/{org}/{repo}/git/ref/{*reference}", get(repos::git_ref))
        .route("/repos/{org}/{repo}/contents/{*path}", get(repos::contents))
        .route("/repos/{org}/{repo}/commits/{sha}", get(repos::commit))
        .route("/repos/{org}/{repo}/commits/{sha}/status", get(repos::combined_status))
        .route("/repos/{org}/{repo}/commits/{sha}/statuses", get(repos::statuses))
        .route("/repos/{org}/{repo}/statuses/{sha}", get(repos::statuses).post(repos::create_status))
        .route("/repos/{org}/{repo}/labels", get(threads::repo_labels))
        // pull requests
        .route("/repos/{org}/{repo}/pulls", get(pulls::list).post(pulls::open))
        .route("/repos/{org}/{repo}/pulls/{number}", get(pulls::get).patch(pulls::edit))
        .route("/repos/{org}/{repo}/pulls/{number}/files", get(pulls::files))
        .route("/repos/{org}/{repo}/pulls/{number}/commits", get(pulls::commits))
        .route("/repos/{org}/{repo}/pulls/{number}/merge", put(pulls::merge).get(pulls::is_merged))
        .route("/repos/{org}/{repo}/pulls/{number}/reviews", get(pulls::reviews).post(pulls::review))
        // issues, comments, labels
        .route("/repos/{org}/{repo}/issues", get(threads::list).post(threads::open))
        .route("/repos/{org}/{repo}/issues/{number}", get(threads::get).patch(threads::edit))
        .route("/repos/{org}/{repo}/issues/{number}/comments", get(threads::comments).post(threads::comment))
        .route(
            "/repos/{org}/{repo}/issues/comments/{id}",
            get(threads::get_comment).patch(threads::edit_comment).delete(threads::delete_comment),
        )
        .route("/repos/{org}/{repo}/issues/{number}/labels", get(threads::labels).post(threads::add_labels))
        .route(
            "/repos/{org}/{repo}/issues/{number}/labels/{label}",
            axum::routing::delete(threads::remove_label),
        )
        .route("/search/issues", get(threads::search))
        .fallback(async || Error::not_found())
        .layer(axum::middleware::from_fn(reply::etag));
    Router::new().nest(PREFIX, routes.with_state(forge.clone()))
}
