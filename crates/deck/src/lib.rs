//! Deck, the read-only web page (prow-runtime §12): what runs, what ran, and its logs.
//!
//! ```text
//!  Store<ProwJob> ──changes──▶ Board (visible jobs, ordered, indexed) ──▶ list, badge, prowjobs.js
//!  path ──Allowed──▶ Place in storage ──range reads──▶ job page, log lines, artifacts, histories
//!  Pod of a running job ──────────────────────────────▶ live log
//! ```
//!
//! Properties:
//! * a request's cost depends on what it shows, not on how many jobs or how long logs there are: lists are paged
//!   from indexes, logs are read by range and streamed;
//! * everything from a pull request is hostile: pages escape it, carry no inline script and may not be framed;
//!   artifacts are never served as markup;
//! * nothing is read from this machine's disk but directories that the configuration names as buckets;
//! * every page works without JavaScript.

mod artifacts;
mod assets;
mod badge;
mod board;
mod data;
mod error;
mod filter;
mod glob;
mod gzip;
mod html;
mod links;
mod log;
mod metrics;
mod pages;
mod pod;
mod providers;
mod run;
mod source;
mod state;
mod visible;
mod web;

pub use error::DeckError;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::get;
use prow_api::ProwJob;
use prow_config::Handle;
use prow_kube::{Clients, Store};
use prow_service::clock::SharedClock;
use prow_storage::Opener;
use state::Shared;
use std::sync::Arc;

/// What the process's flags say (prow-runtime §12.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeckOptions {
    /// `--hidden-only`: hidden jobs and nothing else.
    pub hidden_only: bool,
    /// `--show-hidden`: hidden jobs too.
    pub show_hidden: bool,
    /// `--tenant-id`: only jobs of these tenants. Exclusive with the other two.
    pub tenant_ids: Vec<String>,
}

/// The web page. Cheap to clone.
#[derive(Clone)]
pub struct Deck {
    shared: Arc<Shared>,
}

impl Deck {
    /// A Deck over the ProwJobs of `jobs`, the Pods that `clients` reach and the buckets that `opener` opens.
    /// Must be called within a tokio runtime: a task follows the store for as long as the Deck lives.
    pub fn new(
        config: Handle,
        clients: Clients,
        jobs: Store<ProwJob>,
        opener: impl Into<Arc<Opener>>,
        clock: SharedClock,
        options: DeckOptions,
    ) -> Deck {
        Deck { shared: Shared::start(config, clients, jobs, opener.into(), clock, options) }
    }

    /// All routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(pages::list::page))
            .route("/jobs", get(pages::list::fragment))
            .route("/static/{*name}", get(pages::assets))
            .route("/favicon.ico", get(pages::favicon))
            .route("/branding.css", get(pages::branding))
            .route("/healthz", get(pages::healthz))
            .route("/view/{*source}", get(pages::job::page))
            .route("/lines/{*source}", get(pages::job::lines))
            .route("/live", get(pages::live::fragment))
            .route("/artifacts/{*source}", get(artifacts::serve))
            .route("/job-history/{*source}", get(pages::job_history::page))
            .route("/pr-history/", get(pages::pr_history::page))
            .route("/log", get(pod::log))
            .route("/prowjob", get(data::prowjob))
            .route("/prowjobs.js", get(data::prowjobs))
            .route("/data.js", get(data::legacy))
            .route("/badge.svg", get(data::badge))
            .route("/config", get(data::config))
            .route("/github-link", get(providers::github))
            .route("/git-provider-link", get(providers::provider))
            .fallback(pages::missing)
            .layer(from_fn(gzip::gzip))
            .layer(from_fn(web::clean_paths))
            .layer(from_fn(web::secure))
            .layer(from_fn(metrics::count))
            .with_state(Arc::clone(&self.shared))
    }
}
