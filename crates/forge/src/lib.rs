//! A GitHub stand-in over real git repositories: enough REST API, webhooks and git over HTTP to live against. For
//! `prow demo`, for tests of `prow up` and of every plugin; nothing else may depend on it.
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use prow_forge::{Forge, ForgeOptions, OrgRole};
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let base_url = format!("http://{}", listener.local_addr()?).parse()?;
//! let forge = Forge::open("/tmp/forge", ForgeOptions::new(base_url)).await?;
//! forge.create_user("alice", &prow_api::Secret::new("alice's token")).await?;
//! forge.create_org("acme").await?;
//! forge.add_member("acme", "alice", OrgRole::Admin).await?;
//! forge.create_repo("acme", "rocket", &[("README.md", "# Rocket\n")]).await?;
//! forge.serve(listener, tokio_util::sync::CancellationToken::new()).await?;
//! # Ok(()) }
//! ```
//!
//! | Under its address | |
//! |---|---|
//! | `/api/v3/…` | REST, as GitHub Enterprise; give `http://HOST/api/v3` as `--github-endpoint` |
//! | `/ORG/REPO.git` | git over HTTP, user name and token to push |
//! | `/ORG/REPO`, `/ORG/REPO/pull/N` | pages |
//!
//! Properties it must have: what was answered with success is on disk; after a SIGKILL it carries on where it was, and
//! tells webhooks what it has not told them yet ([`Forge::open`]); names from outside never become paths; only who may
//! can push, merge and set statuses.

mod api;
mod deliver;
mod error;
mod forge;
mod git_http;
mod html;
mod issues;
mod payloads;
mod pulls;
mod records;
mod refs;
mod repos;
mod seed;
mod serve;
mod store;
mod views;

pub use error::Error;
pub use forge::{Forge, ForgeOptions, Happening};
pub use pulls::{Edit, MergeRequest, NewPull};
pub use records::{
    AccountKind, Comment, Delivery, Hook, HookScope, Issue, LabelDef, Merged, Org, OrgRole, Permission, Pull,
    Repo, Review, Status, User,
};
pub use seed::SeedPull;
