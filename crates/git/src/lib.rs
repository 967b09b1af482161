//! Runs git safely: no prompts, no hooks, a clean environment, its own process group, bounded in time and in
//! output. Everything that needs a repository (pod utilities, forge, in-repo config, tide) goes through [`Git`].
//!
//! ```no_run
//! # async fn f() -> Result<(), prow_git::GitError> {
//! let git = prow_git::Git::new("/srv/mirror/org/repo.git");
//! let head = git.rev_parse("refs/heads/main").await?;
//! # Ok(()) }
//! ```
//!
//! Three layers, each usable alone: [`process`] runs any program under those bounds, [`Git`] adds git's own
//! environment and configuration, and the methods of `ops` are the questions that Prow asks of a repository.
//! [`Mirrors`] and [`Checkout`] answer in-repo configuration's questions with them.

mod checkout;
mod error;
mod merge;
mod mirror;
pub mod names;
mod ops;
pub mod process;
mod runner;
mod tree;

pub use checkout::Checkout;
pub use error::GitError;
pub use mirror::{MirrorOptions, Mirrors};
pub use ops::{Change, CommitTree, Expect, Merge, RefEntry, Signature};
pub use process::{Captured, Exit};
pub use runner::{Censor, Git, GitCommand, Output};

/// What every fallible function of this crate gives.
pub type Result<T, E = GitError> = std::result::Result<T, E>;
