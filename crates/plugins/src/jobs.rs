//! Which jobs a repository has at a given base and head: those of the configuration, and whatever else a
//! [`JobSource`] knows of.
//!
//! This is the seam for jobs that live in the repository itself (`.prow.yaml`, prow-config §8): a source that reads
//! them needs the commits, asks for the base lazily, and falls back to the configuration's jobs.

use crate::error::Error;
use async_trait::async_trait;
use prow_api::OrgRepo;
use prow_config::{Postsubmit, Presubmit, Snapshot};
use prow_github::Client;
use std::borrow::Cow;
use tokio::sync::OnceCell;

/// The head of a branch, asked of GitHub once and only if somebody needs it.
pub struct BranchHead {
    github: Client,
    repo: OrgRepo,
    branch: String,
    sha: OnceCell<String>,
}

impl BranchHead {
    /// Of `branch` (without `refs/heads/`) of `repo`.
    pub fn new(github: Client, repo: OrgRepo, branch: impl Into<String>) -> BranchHead {
        BranchHead { github, repo, branch: branch.into(), sha: OnceCell::new() }
    }

    /// The commit.
    pub async fn sha(&self) -> Result<&str, Error> {
        let reference = format!("heads/{}", self.branch);
        let ask = || async { self.github.get_ref(&self.repo.org, &self.repo.repo, &reference).await };
        Ok(self.sha.get_or_try_init(ask).await?)
    }
}

/// Knows the jobs of a repository.
#[async_trait]
pub trait JobSource: Send + Sync + 'static {
    /// Presubmits for a pull request with this head onto this base.
    async fn presubmits<'c>(
        &self,
        config: &'c Snapshot,
        repo: &OrgRepo,
        base: &BranchHead,
        head_sha: &str,
    ) -> Result<Cow<'c, [Presubmit]>, Error>;

    /// Postsubmits at this commit.
    async fn postsubmits<'c>(
        &self,
        config: &'c Snapshot,
        repo: &OrgRepo,
        sha: &str,
    ) -> Result<Cow<'c, [Postsubmit]>, Error>;
}

/// The jobs of the configuration, which are the same at every commit.
#[derive(Debug, Clone, Copy, Default)]
pub struct StaticJobs;

#[async_trait]
impl JobSource for StaticJobs {
    async fn presubmits<'c>(
        &self,
        config: &'c Snapshot,
        repo: &OrgRepo,
        _base: &BranchHead,
        _head_sha: &str,
    ) -> Result<Cow<'c, [Presubmit]>, Error> {
        Ok(Cow::Borrowed(config.presubmits_for(&repo.to_string())))
    }

    async fn postsubmits<'c>(
        &self,
        config: &'c Snapshot,
        repo: &OrgRepo,
        _sha: &str,
    ) -> Result<Cow<'c, [Postsubmit]>, Error> {
        Ok(Cow::Borrowed(config.postsubmits_for(&repo.to_string())))
    }
}
