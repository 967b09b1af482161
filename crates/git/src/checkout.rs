//! A repository that is here already, as a person has it checked out: asked about, never changed but for objects that
//! a merge writes.

use crate::Git;
use crate::merge::{Failure, lay_on};
use crate::mirror::told;
use async_trait::async_trait;
use prow_config::inrepo::{RepoEntry, RepoError, RepoState, Repositories};
use std::path::PathBuf;

/// A clone on this machine, taken for whatever repository is asked for.
#[derive(Debug, Clone)]
pub struct Checkout {
    git: Git,
}

impl Checkout {
    /// In this directory, or above it.
    pub fn new(dir: impl Into<PathBuf>) -> Checkout {
        Checkout { git: Git::new(dir) }
    }

    /// The commit that a revision names there, such as `HEAD` or a branch.
    pub async fn commit(&self, revision: &str) -> crate::Result<Option<String>> {
        self.git.rev_parse(revision).await
    }
}

#[async_trait]
impl Repositories for Checkout {
    async fn list(&self, state: &RepoState, names: &[&str]) -> Result<Vec<RepoEntry>, RepoError> {
        let listed = async {
            let commit = lay_on(&self.git, state).await?;
            Ok::<_, Failure>(self.git.entries(&commit, names).await?)
        };
        listed.await.map_err(|failure| told(state, failure))
    }

    async fn read(&self, state: &RepoState, ids: &[String]) -> Result<Vec<Vec<u8>>, RepoError> {
        self.git.blobs(ids).await.map_err(|error| told(state, error.into()))
    }
}
