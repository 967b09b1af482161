//! How components reach Kubernetes: one client per build cluster, watched stores with indexes, a work queue,
//! and writes that are merge patches of what changed (ARCHITECTURE.md, invariants 3, 6 and 7).
//!
//! ```text
//! API server ──watch──> Store (indexes) ──names of what changed──> Queue ──one at a time per name──> reconcile
//!      ^                                                                                                │
//!      └────────────────────────────────── merge patch of what changed ────────────────────────────────┘
//! ```

pub mod clients;
pub mod clusters;
pub mod dryrun;
pub mod kubeconfig;
pub mod leader;
pub mod patch;
pub mod permissions;
pub mod prowjobs;
pub mod queue;
pub mod store;
pub mod token;

pub use clients::{Clients, NoClient};
pub use kube::Client;
pub use queue::{Outcome, Queue};
pub use store::{Change, Store};
