//! What all handlers share: the configuration as Deck needs it, the board, storage, clusters, the clock.

use crate::DeckOptions;
use crate::board::{Board, Rows};
use crate::log::Highlight;
use crate::log::index::Indexes;
use crate::source::Allowed;
use crate::visible::Visibility;
use parking_lot::{Mutex, RwLockReadGuard};
use prow_api::ProwJob;
use prow_config::{Handle, Snapshot};
use prow_kube::prowjobs::BY_BUILD;
use prow_kube::{Clients, Store};
use prow_service::clock::SharedClock;
use prow_storage::Opener;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Pod logs being read at one time, over all visitors.
const POD_LOGS_AT_ONCE: usize = 32;

/// State of a Deck.
pub struct Shared {
    config: Handle,
    options: DeckOptions,
    view: Mutex<Arc<View>>,
    board: Board,
    /// ProwJobs, hidden ones too: ask [`Shared::rows`] or [`Shared::build`] for what may be shown.
    jobs: Store<ProwJob>,
    /// Build clusters.
    pub clients: Clients,
    /// Buckets.
    pub opener: Arc<Opener>,
    /// Time.
    pub clock: SharedClock,
    /// Line indexes of logs.
    pub indexes: Indexes,
    /// Bounds reading of Pod logs.
    pub pod_logs: Arc<Semaphore>,
}

/// What of one configuration snapshot decides Deck's answers.
pub struct View {
    /// The whole.
    pub snapshot: Arc<Snapshot>,
    /// Which jobs are shown.
    pub rule: Visibility,
    /// What may be read.
    pub allowed: Allowed,
    /// Which lines of logs matter.
    pub highlight: Highlight,
}

impl View {
    fn of(snapshot: Arc<Snapshot>, options: &DeckOptions) -> View {
        let rule = Visibility {
            hidden_only: options.hidden_only,
            show_hidden: options.show_hidden,
            tenant_ids: options.tenant_ids.iter().cloned().collect(),
            hidden_repos: snapshot.prow.deck.hidden_repos.iter().cloned().collect(),
        };
        View { allowed: Allowed::of(&snapshot), highlight: Highlight::of(&snapshot), rule, snapshot }
    }

    /// Base of links to GitHub.
    pub fn github(&self) -> &str {
        &self.snapshot.prow.github.link_url
    }
}

impl Shared {
    /// The state, and the task that keeps the board near the store even when nobody looks.
    pub fn start(
        config: Handle,
        clients: Clients,
        jobs: Store<ProwJob>,
        opener: Arc<Opener>,
        clock: SharedClock,
        options: DeckOptions,
    ) -> Arc<Shared> {
        let view = Mutex::new(Arc::new(View::of(config.snapshot(), &options)));
        let shared = Arc::new(Shared {
            board: Board::new(jobs.clone()),
            indexes: Indexes::default(),
            pod_logs: Arc::new(Semaphore::new(POD_LOGS_AT_ONCE)),
            config,
            options,
            view,
            jobs,
            clients,
            opener,
            clock,
        });
        let mut wake = shared.jobs.changes();
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            use tokio::sync::broadcast::error::RecvError;
            while !matches!(wake.recv().await, Err(RecvError::Closed)) {
                let Some(shared) = weak.upgrade() else { return };
                shared.board.catch_up(&shared.view().rule);
            }
        });
        shared
    }

    /// The configuration in force.
    pub fn view(&self) -> Arc<View> {
        let snapshot = self.config.snapshot();
        let mut view = self.view.lock();
        if !Arc::ptr_eq(&view.snapshot, &snapshot) {
            *view = Arc::new(View::of(snapshot, &self.options));
        }
        Arc::clone(&view)
    }

    /// The visible jobs. Do not hold it across an await.
    pub fn rows(&self, view: &View) -> RwLockReadGuard<'_, Rows> {
        self.board.rows(&view.rule)
    }

    /// The run of a job with this build id, visible or not.
    pub fn build(&self, job: &str, build_id: &str) -> Option<Arc<ProwJob>> {
        self.jobs.by(BY_BUILD, &format!("{job}/{build_id}")).pop()
    }

    /// Runs whose first pull is this one, visible or not; `pull` is `org/repo#number`.
    pub fn of_pull(&self, pull: &str) -> Vec<Arc<ProwJob>> {
        self.jobs.by(prow_kube::prowjobs::BY_PULL, pull)
    }

    /// True once the store's first list is complete.
    pub fn is_ready(&self) -> bool {
        self.jobs.is_ready()
    }
}
