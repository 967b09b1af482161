//! [`Forge`]: opening, recovery, and the one way in which anything is changed ([`Tx`]).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use prow_git::Git;
use prow_service::clock::{SharedClock, SystemClock};
use serde_json::Value;
use tokio::sync::{OwnedMutexGuard, broadcast};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::Error;
use crate::deliver::Deliverer;
use crate::records::{Change, Delivery, Hook, HookScope, Record, Repo, State, User};
use crate::repos::PullFacts;
use crate::store::Store;

/// Changes that a slow listener may miss before it is told so.
const EVENT_BUFFER: usize = 4096;
/// Pairs of commits whose merge is remembered; past this the memory starts anew.
pub(crate) const KEPT_FACTS: usize = 4096;
/// Delivered webhooks that are kept for inspection.
const KEPT_DELIVERIES: usize = 500;

/// How a forge presents itself.
#[derive(Clone)]
pub struct ForgeOptions {
    /// Where clients reach it, such as `http://127.0.0.1:8090`: the start of every URL it gives out.
    pub base_url: Url,
    pub clock: SharedClock,
}

impl ForgeOptions {
    /// A forge at `base_url` on the machine's clock.
    pub fn new(base_url: Url) -> Self {
        ForgeOptions { base_url, clock: SystemClock::shared() }
    }
}

/// Something that happened, told after it is on disk.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A branch or tag moved.
    Push { org: String, repo: String, reference: String, before: String, after: String },
    /// A pull request changed; `action` is GitHub's word (`opened`, `synchronize`, `closed`, …).
    PullRequest { org: String, repo: String, number: i64, action: String },
    /// An issue changed.
    Issue { org: String, repo: String, number: i64, action: String },
    /// A comment was `created`, `edited` or `deleted`.
    Comment { org: String, repo: String, number: i64, id: i64, action: String, author: String, body: String },
    /// A commit status was set.
    Status { org: String, repo: String, sha: String, context: String, state: String, description: String },
    /// A webhook was answered, or could not be sent (`None`).
    Delivery { guid: String, event: String, action: Option<String>, status: Option<u16> },
}

/// A GitHub of one's own. Cheap to clone.
#[derive(Clone)]
pub struct Forge {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub dir: PathBuf,
    pub base_url: String,
    pub clock: SharedClock,
    pub state: RwLock<State>,
    pub store: Store,
    /// Held by the one [`Tx`] at a time.
    writer: Arc<tokio::sync::Mutex<()>>,
    /// Held while a repository's refs move.
    repo_locks: Mutex<HashMap<i64, Arc<tokio::sync::Mutex<()>>>>,
    pub happenings: broadcast::Sender<Happening>,
    /// By base and head commit.
    pub facts: Mutex<HashMap<(String, String), PullFacts>>,
    pub deliverer: Deliverer,
    pub stop: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Forge {
    /// Opens or creates a forge in `dir`, finishes what a crash interrupted and resumes undelivered webhooks.
    /// Must be called inside a tokio runtime. Only one process may have it open.
    ///
    /// # Errors
    /// The directory or database cannot be used, or git is missing.
    pub async fn open(dir: impl AsRef<Path>, options: ForgeOptions) -> Result<Self, Error> {
        let dir = dir.as_ref().to_owned();
        let repos = dir.join("repos");
        let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(&repos).await;
        made.map_err(|source| Error::Io { what: format!("create {}", repos.display()), source })?;
        // git runs in other directories than we do.
        let dir = tokio::fs::canonicalize(&dir)
            .await
            .map_err(|source| Error::Io { what: format!("find {}", dir.display()), source })?;
        let file = dir.join("forge.redb");
        let (store, state) = tokio::task::spawn_blocking(move || Store::open(&file))
            .await
            .map_err(|e| Error::Setup(format!("the database's opening was cut short: {e}")))??;
        let forge = Forge {
            inner: Arc::new(Inner {
                dir,
                base_url: options.base_url.as_str().trim_end_matches('/').to_owned(),
                clock: options.clock,
                state: RwLock::new(state),
                store,
                writer: Arc::default(),
                repo_locks: Mutex::default(),
                happenings: broadcast::Sender::new(EVENT_BUFFER),
                facts: Mutex::default(),
                deliverer: Deliverer::new()?,
                stop: CancellationToken::new(),
            }),
        };
        let repos: Vec<Repo> = forge.inner.state.read().repos.values().cloned().collect();
        for repo in repos {
            forge.recover(&repo).await?;
        }
        forge.resume_deliveries();
        Ok(forge)
    }

    /// Ends deliveries and closes the database once the change under way is written, so that the directory can be opened
    /// again at once. Whatever is still asked of this forge fails.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        let _writer = self.inner.writer.lock().await;
        self.inner.store.close();
    }

    /// Where clients reach it, without a trailing slash.
    pub fn base_url(&self) -> &str {
        &self.inner.base_url
    }

    /// The REST endpoint, as `--github-endpoint` takes it.
    pub fn api_url(&self) -> String {
        format!("{}{}", self.inner.base_url, crate::api::PREFIX)
    }

    /// What happens from now on. A listener that lags by more than 4,096 happenings is told so.
    pub fn events(&self) -> broadcast::Receiver<Happening> {
        self.inner.happenings.subscribe()
    }

    /// Waits until `check` finds what it looks for; it is asked now and after each happening.
    pub async fn wait_for<T>(&self, mut check: impl FnMut(&Forge) -> Option<T>) -> T {
        let mut happenings = self.events();
        loop {
            if let Some(found) = check(self) {
                return found;
            }
            // Lagging only means that several things happened: look again. The sender lives as long as self.
            let _ = happenings.recv().await;
        }
    }

    pub(crate) fn git(&self, repo: i64) -> Git {
        Git::new(self.inner.dir.join("repos").join(format!("{repo}.git")))
    }

    /// Now, as GitHub writes it: RFC 3339, UTC, whole seconds.
    pub(crate) fn now(&self) -> String {
        self.inner.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// The lock that refs of `repo` move under. Taken before a [`Tx`] is begun, never after.
    pub(crate) async fn lock_repo(&self, repo: i64) -> OwnedMutexGuard<()> {
        let lock = self.inner.repo_locks.lock().entry(repo).or_default().clone();
        lock.lock_owned().await
    }

    /// Begins a change. What is read from the state while it lives stays true until it is committed.
    pub(crate) async fn begin(&self) -> Tx {
        let guard = self.inner.writer.clone().lock_owned().await;
        let next_id = self.inner.state.read().last_id + 1;
        Tx { forge: self.clone(), _guard: guard, next_id, changes: Vec::new(), happenings: Vec::new() }
    }

    /// Looks something up.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.inner.state.read())
    }

    /// A repository by its names.
    pub(crate) fn repo(&self, owner: &str, name: &str) -> Result<Repo, Error> {
        self.read(|s| s.repo(owner, name).cloned()).ok_or_else(Error::not_found)
    }

    /// An account by its login.
    pub(crate) fn user(&self, login: &str) -> Result<User, Error> {
        self.read(|s| s.user(login).cloned()).ok_or_else(Error::not_found)
    }
}

/// Changes that become true together: first on disk, then in memory, then told.
pub(crate) struct Tx {
    forge: Forge,
    _guard: OwnedMutexGuard<()>,
    next_id: i64,
    changes: Vec<Change>,
    happenings: Vec<Happening>,
}

impl Tx {
    /// An id nothing else has.
    pub(crate) fn id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id - 1
    }

    pub(crate) fn put(&mut self, record: Record) {
        self.changes.push(Change::Put(record));
    }

    pub(crate) fn forget(&mut self, record: Record) {
        self.changes.push(Change::Forget(record));
    }

    pub(crate) fn tell(&mut self, happening: Happening) {
        self.happenings.push(happening);
    }

    /// Queues `payload` for every webhook that wants it.
    pub(crate) fn webhook(&mut self, repo: &Repo, event: &str, payload: &Value) {
        let wanted = |h: &&Hook| {
            let scope = match &h.scope {
                HookScope::Org(login) => login.eq_ignore_ascii_case(&repo.owner),
                HookScope::Repo(id) => *id == repo.id,
            };
            scope && h.events.iter().any(|e| e == "*" || e == event)
        };
        let hooks: Vec<i64> = self.forge.read(|s| s.hooks.values().filter(wanted).map(|h| h.id).collect());
        for hook in hooks {
            let delivery = Delivery {
                id: self.id(),
                hook,
                guid: uuid::Uuid::new_v4().to_string(),
                event: event.to_owned(),
                action: payload["action"].as_str().map(str::to_owned),
                payload: payload.to_string(),
                attempts: 0,
                status: None,
                delivered: false,
            };
            self.put(Record::Delivery(delivery));
        }
    }

    /// Makes it so. Runs to its end even if the caller goes away, so that memory and disk agree.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        let work = tokio::spawn(async move {
            self.prune_deliveries();
            let forge = self.forge.clone();
            let changes = self.changes;
            let inner = forge.inner.clone();
            let written =
                tokio::task::spawn_blocking(move || inner.store.write(&changes).map(|()| changes)).await;
            let changes = written.map_err(|e| Error::Setup(format!("a write was cut short: {e}")))??;
            let mut deliveries = Vec::new();
            {
                let mut state = forge.inner.state.write();
                for change in changes {
                    if let Change::Put(Record::Delivery(d)) = &change
                        && d.attempts == 0
                    {
                        deliveries.push(d.id);
                    }
                    state.apply(change);
                }
            }
            for happening in self.happenings {
                // Nobody listening is fine.
                let _ = forge.inner.happenings.send(happening);
            }
            for id in deliveries {
                forge.start_delivery(id);
            }
            Ok(())
        });
        work.await.map_err(|e| Error::Setup(format!("a change was cut short: {e}")))?
    }

    /// Old deliveries that arrived are forgotten, some at a time.
    fn prune_deliveries(&mut self) {
        let old: Vec<Delivery> = self.forge.read(|s| {
            if s.deliveries.len() < 2 * KEPT_DELIVERIES {
                return Vec::new();
            }
            let excess = s.deliveries.len() - KEPT_DELIVERIES;
            s.deliveries.values().filter(|d| d.delivered).take(excess).cloned().collect()
        });
        for delivery in old {
            self.forget(Record::Delivery(delivery));
        }
    }
}
