//! Receives GitHub's webhooks, journals them, hands them to plugins (prow-runtime §2).
//!
//! ```text
//! POST /hook ──signature──> journal (synced) ──200──> GitHub
//!                               │
//!                           dispatcher ── one lane per (plugin, pull request) ──> plugins, external plugins
//!                               │                                                        │
//!                               └───────────── done / tried / given up ──> journal <─────┘
//! ```
//!
//! Properties:
//! * What was answered 200 is handled, whatever is killed when: at the next start the journal is taken up where it
//!   was left. What cannot be journalled is answered 500, so that GitHub shows it.
//! * Events of one pull request reach a plugin in the order in which they came; different pull requests do not wait
//!   for each other, nor does one plugin for another.
//! * A plugin that fails or panics is tried again a bounded number of times, then parked: logged, counted, kept.

mod dispatch;
mod error;
mod external;
mod help;
mod hmac;
mod journal;
mod metrics;
mod web;
mod work;

pub use dispatch::RetryPolicy;
pub use error::Error;
pub use journal::{Delivery, Progress, Retention};

use dispatch::{DispatchOptions, Dispatcher};
use hmac::HmacFile;
use journal::{Arrival, Journal, Recovered};
use parking_lot::Mutex;
use prow_config::Handle;
use prow_plugins::Registry;
use prow_plugins::jobs::JobSource;
use prow_service::clock::SharedClock;
use prow_service::enablement::GithubEnablement;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use work::PluginWork;

/// Settings.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the journal is kept; made if absent. One hook a directory.
    pub journal_dir: PathBuf,
    /// `--hmac-secret-file`; read again when it changes.
    pub hmac_secret_file: PathBuf,
    /// `--webhook-path`.
    pub webhook_path: String,
    /// `--grace-period`: how long handlers that run at shutdown may still take.
    pub grace_period: Duration,
    /// `--github-enabled-org` and its kin.
    pub enablement: GithubEnablement,
    /// How long events that are through are kept.
    pub retention: Retention,
    /// At most this many events are in the hands of one plugin at a time.
    pub workers: usize,
    /// One try of a handler is given up after this time.
    pub handler_timeout: Duration,
    /// How failures are tried again.
    pub retry: RetryPolicy,
}

impl Options {
    /// Prow's defaults, with a journal in `journal_dir`.
    pub fn new(journal_dir: impl Into<PathBuf>, hmac_secret_file: impl Into<PathBuf>) -> Options {
        Options {
            journal_dir: journal_dir.into(),
            hmac_secret_file: hmac_secret_file.into(),
            webhook_path: "/hook".into(),
            grace_period: Duration::from_secs(180),
            enablement: GithubEnablement::default(),
            retention: Retention::default(),
            workers: 64,
            handler_timeout: Duration::from_secs(900),
            retry: RetryPolicy::default(),
        }
    }
}

/// What the hook works with.
#[derive(Clone)]
pub struct Deps {
    /// The configuration.
    pub config: Handle,
    /// GitHub.
    pub github: prow_github::Client,
    /// The cluster where ProwJobs live.
    pub kube: kube::Client,
    /// Jobs by repository and commit.
    pub jobs: Arc<dyn JobSource>,
    /// The plugins that are built in.
    pub registry: Registry,
    /// Time.
    pub clock: SharedClock,
}

/// How the hook is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Events that are not through.
    pub open: u64,
    /// (event, plugin) pairs that were given up and are still in the journal, or were since the start.
    pub failed: u64,
}

/// The hook. Cheap to clone; clones are the same hook.
#[derive(Clone)]
pub struct Hook {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    journal: Journal,
    hmac: HmacFile,
    work: Arc<PluginWork>,
    help: help::HelpSource,
    dispatcher: Dispatcher<PluginWork>,
    waiting: Mutex<Option<(Recovered, UnboundedReceiver<Arrival>)>>,
}

impl Hook {
    /// Opens journal and secret. Events are accepted through [`Hook::router`] from now on, and handled once
    /// [`Hook::run`] runs.
    pub fn open(options: Options, deps: Deps) -> Result<Hook, Error> {
        web::check_path(&options.webhook_path)?;
        let hmac = HmacFile::open(&options.hmac_secret_file)?;
        let (arrived, arrivals) = tokio::sync::mpsc::unbounded_channel();
        let (journal, recovered) =
            Journal::open(&options.journal_dir, options.retention, deps.clock.clone(), arrived)?;
        if !recovered.open.is_empty() {
            tracing::info!(
                events = recovered.open.len(),
                "taking up events that were not handled before the restart"
            );
        }
        if recovered.failed > 0 {
            tracing::warn!(pairs = recovered.failed, "the journal holds events that plugins gave up on");
        }
        let missing = deps.registry.missing(&deps.config.snapshot());
        if !missing.is_empty() {
            tracing::warn!(
                plugins = missing.join(", "),
                "plugins.yaml enables plugins that this version does not have; they do nothing"
            );
        }
        let http = external::client()?;
        let help = help::HelpSource::new(deps.clone(), http.clone());
        let dispatch = DispatchOptions {
            workers: options.workers,
            handler_timeout: options.handler_timeout,
            grace_period: options.grace_period,
            retry: options.retry.clone(),
        };
        let clock = deps.clock.clone();
        let work = Arc::new(PluginWork::new(deps, options.enablement.clone(), http));
        let dispatcher =
            Dispatcher::new(Arc::clone(&work), journal.clone(), clock, dispatch, recovered.failed);
        let waiting = Mutex::new(Some((recovered, arrivals)));
        let inner = Inner { options, journal, hmac, work, help, dispatcher, waiting };
        Ok(Hook { inner: Arc::new(inner) })
    }

    /// Everything hook serves on `--port`: the webhook, `/plugin-help`, and 200 for any other path.
    pub fn router(&self) -> axum::Router {
        web::router(self.clone())
    }

    /// Hands events to plugins until `stop` is cancelled; then gives the handlers that run the grace period. What
    /// is not through by then is taken up at the next start.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] when called twice.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), Error> {
        let Some((recovered, arrivals)) = self.inner.waiting.lock().take() else {
            return Err(Error::AlreadyRunning);
        };
        self.inner.dispatcher.run(recovered.open, arrivals, stop).await;
        self.inner.journal.flush().await
    }

    /// Returns once every event that was accepted is through, or given up.
    pub async fn settled(&self) {
        self.inner.journal.settled().await;
    }

    /// How it is doing.
    pub fn stats(&self) -> Stats {
        Stats { open: self.inner.journal.open_now(), failed: self.inner.dispatcher.failed() }
    }
}
