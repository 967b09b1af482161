//! The pod runner: runs the Pods of an API server on this machine, as containers or sandboxed processes, and writes their status as a
//! kubelet does.
//!
//! ```text
//!   API ──watch──▶ kubelet ──▶ worker (one a Pod) ──▶ Runtime ──▶ <data>/pods/<uid>/ ◀── supervisor (one a Pod)
//!    ▲               │ bind      │ look, decide, do                                          │ one stage a container:
//!    └───────────────┴─status────┘                                                           ▼ sandbox, or client of
//!                                                                          the job, or its container of Docker, Podman
//! ```
//!
//! Properties it must have:
//! * A Pod is run once, whatever is killed when. A Pod's supervisor survives this process and is found again; a run that
//!   was lost is reported as `Evicted` and never repeated under the same uid.
//! * No process of a Pod outlives its Pod, its supervisor's death, or [`Kubelet::shutdown`].
//! * What a job can reach is what its Pod gave it ([`sandbox`] says precisely what that means); where the machine does
//!   not allow that, it is said ([`Capabilities`]).
//!
//! Linux only. If this process is a systemd service, use `KillMode=process`, or its restart kills the supervisors (which
//! is safe: the Pods are evicted and revived).

mod beneath;
mod build;
mod decide;
pub(crate) mod engine;
mod error;
mod kubelet;
mod logs;
mod options;
mod plan;
mod poddir;
mod probe;
mod process;
mod record;
mod runtime;
pub mod sandbox;
mod schedule;
mod shared;
mod status;
pub mod supervisor;
mod worker;

pub use error::Error;
pub use kubelet::Kubelet;
pub use logs::{LogError, LogQuery, LogStream};
pub use options::{Network, Options, RuntimeChoice, SandboxMode};
pub use probe::Capabilities;
pub use process::IsolationKind;
