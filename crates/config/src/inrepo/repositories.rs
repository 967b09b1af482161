//! The seam between in-repo configuration and git: what is asked of a repository at one state, and what can go wrong.

use async_trait::async_trait;
use prow_api::OrgRepo;

/// A base commit with head commits merged on top of it, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoState {
    /// The repository.
    pub repo: OrgRepo,
    /// Commit, in full.
    pub base: String,
    /// Commits, in full; none for a push.
    pub heads: Vec<String>,
    /// Heads are rebased onto the base instead of merged into it.
    pub rebase: bool,
}

/// What an entry of a tree is. Links are followed inside the repository's own tree, and never out of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A file, or a link that leads to one.
    File {
        /// Object id of the content.
        id: String,
        /// Bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A link to a directory.
    DirectoryLink,
    /// Something that is not read, and why.
    Unreadable(&'static str),
}

/// One entry of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoEntry {
    /// From the root of the repository, with slashes.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
}

/// Why a repository's content could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepoError {
    /// The heads cannot be merged.
    #[error(
        "{head} cannot be merged onto {base} of {repo}: {why}; bring the pull request up to date with its base"
    )]
    Conflict {
        /// `org/repo`.
        repo: String,
        /// The base commit.
        base: String,
        /// The head commit.
        head: String,
        /// Conflicting paths, or what git says.
        why: String,
    },
    /// There is more than is read of a repository.
    #[error("{repo}: {what}, which is more than is read; make it smaller")]
    TooLarge {
        /// `org/repo`.
        repo: String,
        /// What is too large, and how large.
        what: String,
    },
    /// The repository could not be reached or does not have the commit; trying again may help.
    #[error("cannot read {repo} at {base}: {why}")]
    Unreachable {
        /// `org/repo`.
        repo: String,
        /// The base commit.
        base: String,
        /// What git says.
        why: String,
    },
}

/// Repositories whose content can be asked for. Everything in them is hostile, and is only ever data.
#[async_trait]
pub trait Repositories: Send + Sync + 'static {
    /// The entries that bear one of these names at the root of the tree, and everything below them, in byte order
    /// of their paths. A name that is not there is left out.
    async fn list(&self, state: &RepoState, names: &[&str]) -> Result<Vec<RepoEntry>, RepoError>;

    /// The content of objects that [`Repositories::list`] gave for this state, in the same order.
    async fn read(&self, state: &RepoState, ids: &[String]) -> Result<Vec<Vec<u8>>, RepoError>;
}
