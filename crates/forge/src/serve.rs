//! The forge as one HTTP service: pages, REST and git share an address, as they do on a GitHub of one's own.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Error, Forge, api, git_http, html};

impl Forge {
    /// Everything, as an axum router.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok"))
            .route("/{org}/{repo}", get(html::repo))
            .route("/{org}/{repo}/pull/{number}", get(html::pull))
            .route("/{org}/{repo}/{*rest}", axum::routing::any(git))
            .merge(api::router(self))
            .with_state(self.clone())
    }

    /// Serves until `shutdown`, then lets requests under way end.
    ///
    /// # Errors
    /// The socket fails.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
        prow_service::listen::serve(listener, self.router(), shutdown).await
    }
}

/// What is neither page nor API is git's, with or without `.git` as git's users type it.
async fn git(
    State(forge): State<Forge>,
    Path((org, repo, rest)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    match rest.as_str() {
        "info/refs" | "git-upload-pack" | "git-receive-pack" => {
            let name = repo.strip_suffix(".git").unwrap_or(&repo).to_owned();
            git_http::serve(forge, org, name, rest, request).await
        }
        _ => Error::not_found().into_response(),
    }
}
