//! The heart of Prow as a pure library: which jobs an event asks for, how a job and its refs become a ProwJob,
//! how a ProwJob becomes a Pod, and where its results go.
//!
//! ```text
//!  event or comment ──select──▶ decisions, each with its rule
//!  job + refs ────────build───▶ ProwJobSpec ──▶ ProwJob (labels, annotations, deterministic name)
//!  ProwJob + build id ──pod───▶ Pod        (env, paths and url serve it and the components)
//! ```
//!
//! No clock, network, disk or randomness: ids and times come in as arguments (ARCHITECTURE.md, invariant 1).
//!
//! ```
//! use prow_config::jobs::{JobBase, Presubmit};
//! use prow_job::select::{Ask, select};
//!
//! let jobs = [Presubmit {
//!     base: JobBase { name: "unit".into(), ..JobBase::default() },
//!     always_run: true,
//!     ..Presubmit::default()
//! }];
//! let decisions = select(&jobs, "main", &Ask::all(), None)?;
//! assert_eq!(decisions[0].to_string(), "runs because always_run is true");
//! # Ok::<(), prow_job::select::SelectError>(())
//! ```
//!
//! # Where this differs from upstream, and why
//!
//! * A ProwJob's name follows from its event ([`names`]), so that a replayed event meets its own earlier work.
//! * Values that a pull request can choose are written so that the kubelet expands nothing in them ([`env::literal`]),
//!   and references to such values in a decorated job's arguments cannot break out of their argument. NUL is left
//!   out; titles, head branches and logins are cut to [`build::MAX_TEXT`].
//! * Names that would make results climb out of their directory are refused ([`paths::PathError`]).
//! * A `file:///dir` bucket is mounted into initupload and sidecar as a hostPath volume ([`pod`]).
//! * A Secret whose name is no volume name (dots, too long) gets a volume with a valid name made from it
//!   (`ssh-keys-bot.key` becomes `ssh-keys-bot-key-` and a hash); upstream's name is kept whenever it is valid and
//!   free. An SSH key that is named twice is mounted once. Names that decoration needs are refused with a reason
//!   ([`pod::PodError::Reserved`]) instead of by the API server.
//! * `default_memory_request` is cut to the container's memory limit: upstream makes a Pod that is refused.
//! * A Secret mounted where the sidecar has something of its own is mounted elsewhere in the sidecar for censoring.
//! * A Secret mounted by several containers is mounted once into the censoring sidecar, and one Secret with both an
//!   OAuth token and an App's key gets two volumes: upstream's Pod would be refused.
//!
//! # Limits
//!
//! What a stranger writes into a pull request may be of any length and hold anything. These are the bounds:
//!
//! * Title, head branch and login: [`build::MAX_TEXT`] bytes each; the rest is cut off. With them at their longest and
//!   worst, every variable of the Pod stays below the 128 KiB that Linux allows.
//! * Label values: 63 bytes of letters, digits and `-_.`; others are shortened or dropped ([`labels`]).
//! * Comments and names of changed files are not cut. They are only searched, in time linear in their length, and go
//!   nowhere but into [`select::Rule`]s, of which [`explain::printable`] shows control characters escaped.
//! * Names of organisations, repositories, base branches and jobs are set by who owns them and are not cut; where they
//!   would make a result's path unsafe, there is no path ([`paths::PathError`]).
//! * `$(NAME)` in a job's own command is Kubernetes' syntax: the value becomes part of that one argument and no more.
//!   A job that gives such an argument to a shell as code (`sh -c "echo $(PULL_TITLE)"`) runs what a stranger wrote;
//!   use the variable (`"$PULL_TITLE"`) instead.

pub mod build;
pub mod buildid;
pub mod comment;
pub mod decorate;
pub mod env;
pub mod explain;
pub mod gojson;
pub mod labels;
mod memory;
pub mod names;
pub mod paths;
pub mod pod;
pub mod select;
pub mod url;
mod volumes;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
