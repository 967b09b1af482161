//! An embedded Kubernetes API over an embedded durable store: objects, selectors, patches, watches.
//!
//! Contract: the Kubernetes API conventions, prow-config §1 (ProwJob and its CRD), prow-runtime §14.1.
//!
//! ```text
//!  kube::Client ──► Router ──► request ──► write ──► rules, patch ──┐
//!  kubectl ─► serve (token) ─┘    │                                 ▼
//!                                 ├──► list ◄── snapshot ──── store (redb: objects, events, counter)
//!                                 └──► watch ◄── events after a version ──┘
//! ```
//!
//! [`ApiServer::router`] is a `tower::Service`: `kube::Client::new(server.router(), "ns")` talks to it in process,
//! without authentication. [`ApiServer::serve`] puts the same router behind TLS and tokens on a socket, for kubectl.
//! Nothing runs while nobody asks: no thread, no timer. Use it within a tokio runtime.
//!
//! `schema` has the types of all kinds as tables; pruning, server-side apply (`managed`), OpenAPI and the ProwJob CRD
//! read them. `crates/conformance` holds this server to what a real one does. What it was tried with, and what a real
//! one has and this one has not, is in docs/embedded-kubernetes.md.

mod access;
mod credentials;
mod discovery;
mod expiry;
mod handlers;
mod list;
mod logs;
mod managed;
mod names;
mod object;
mod openapi;
mod patch;
mod protobuf;
mod request;
mod resources;
mod rules;
mod schema;
mod selector;
mod serve;
mod status;
mod store;
mod table;
mod watch;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLock;
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub use access::Access;
pub use credentials::Credentials;
pub use logs::{LogError, LogOptions, PodLogs};
pub use schema::document::prowjob_crd;
pub use store::{Compacted, FILE_NAME, StoreError};

use managed::Manager;
use resources::{Resource, find};
use status::ApiError;
use store::tx::Tx;
use store::{MAX_HISTORY_BYTES, Settings, Store};
use write::Author;

/// Where the server's time comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How the server keeps its objects.
#[derive(Clone)]
pub struct Options {
    /// Wait for the disk at every commit (default). Without it an acknowledged write still survives the death of
    /// the process, but not a power cut.
    pub sync: bool,
    /// Events kept for watchers that resume (default 10,000). A watch from before them is answered with 410.
    pub history: usize,
    /// Bytes above which the store's file is made smaller, while the server runs, when most of it is free
    /// (default 32 MiB).
    pub compact_above: u64,
    /// The time that objects are stamped with and ages are counted from; the machine's by default.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Options { sync: true, history: 10_000, compact_above: 32 << 20, clock: Arc::new(Timestamp::now) }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("sync", &self.sync)
            .field("history", &self.history)
            .field("compact_above", &self.compact_above)
            .finish_non_exhaustive()
    }
}

/// Failures outside of requests.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be opened or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A write that the server makes for itself was refused.
    #[error("cannot {what}: {why}")]
    Write {
        /// What was to be written.
        what: String,
        /// The refusal.
        why: String,
    },
    /// A file or directory of credentials cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// `read`, `write`, `make`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of credentials has nothing usable in it.
    #[error("{} is empty or not text; delete it to have a new one made", path.display())]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// The server's certificate cannot be made or used.
    #[error("the API server's certificate {} cannot be used: {why}; delete it to have a new one made", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The socket is open to others than this machine.
    #[error(
        "refusing to serve the Kubernetes API on {0}, which is not a loopback address, with a certificate for \
         loopback only; say under which names clients reach it"
    )]
    NotLoopback(std::net::SocketAddr),
    /// The socket does not work.
    #[error("the API server's socket does not work: {0}")]
    Socket(std::io::Error),
}

/// The server. Clones share the store.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Clock,
    logs: RwLock<Option<Arc<dyn PodLogs>>>,
    sweeps: expiry::Sweeps,
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Opens or makes the store in `dir`, with the namespaces `default` and `kube-system`.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process (or another server in this one) has it open.
    pub fn open(dir: &Path, options: Options) -> Result<ApiServer, Error> {
        let Options { sync, history, compact_above, .. } = options;
        let store =
            Store::open(dir, Settings { sync, history, history_bytes: MAX_HISTORY_BYTES, compact_above })?;
        let server = ApiServer {
            inner: Arc::new(Inner {
                store,
                clock: options.clock,
                logs: RwLock::default(),
                sweeps: expiry::Sweeps::default(),
            }),
        };
        let now = server.now();
        server
            .inner
            .store
            .write_at_start(move |tx| ["default", "kube-system"].iter().try_for_each(|n| ensure(tx, n, now)))
            .map_err(|e| Error::Write { what: "make the first namespaces".to_owned(), why: e.to_string() })?;
        Ok(server)
    }

    /// The API as a service, for use in process: whoever has it may do everything.
    pub fn router(&self) -> axum::Router {
        handlers::router(self.clone(), CancellationToken::new())
    }

    /// [`ApiServer::router`] for one who may do no more than `access` says.
    pub fn router_for(&self, access: Access) -> axum::Router {
        self.router().layer(axum::Extension(access))
    }

    /// Makes the store's file as small as what is in it while everything goes on, as the server does by itself when
    /// most of it is free. `None` if that is under way already.
    ///
    /// # Errors
    /// [`StoreError`] if the file beside it cannot be written; the one in use is as it was.
    pub async fn compact(&self) -> Result<Option<Compacted>, StoreError> {
        self.inner.store.compact().await
    }

    /// Says where the logs of pods come from. Until then `pods/NAME/log` answers 503.
    pub fn set_pod_logs(&self, logs: Arc<dyn PodLogs>) {
        *self.inner.logs.write() = Some(logs);
    }

    /// Makes a namespace unless it is there.
    pub async fn ensure_namespace(&self, name: &str) -> Result<(), Error> {
        let (wanted, now) = (name.to_owned(), self.now());
        self.inner
            .store
            .write(move |tx| ensure(tx, &wanted, now))
            .await
            .map_err(|e| Error::Write { what: format!("make the namespace {name:?}"), why: e.to_string() })
    }

    /// Serves the API over TLS to those who send `Authorization: Bearer TOKEN`, until `shutdown`. Ends open watches
    /// then and waits a moment for requests under way. A socket that is not loopback's needs
    /// [`Credentials::load_or_create_for`] the names under which it is reached.
    pub async fn serve(
        &self,
        listener: tokio::net::TcpListener,
        credentials: Credentials,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        serve::serve(self.clone(), listener, credentials, shutdown).await
    }

    fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }
}

fn namespaces() -> &'static Resource {
    find("", "v1", "namespaces").expect("the table of resources has namespaces")
}

fn ensure(tx: &mut Tx<'_>, name: &str, now: Timestamp) -> Result<(), ApiError> {
    if tx.get(namespaces(), "", name)?.is_some() {
        return Ok(());
    }
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let manager = Manager { name: env!("CARGO_PKG_NAME").to_owned(), subresource: String::new() };
    write::create(tx, namespaces(), "", body, &Author { manager, uid: new_uid(), now, strict: false })
        .map(|_| ())
}

fn new_uid() -> String {
    uuid::Uuid::new_v4().to_string()
}
