//! Which jobs a repository has at a given base and head: those of the configuration, then those that the repository
//! defines itself at these commits (`.prow.yaml`, prow-config §8).
//!
//! The base is asked for lazily: where in-repo configuration is off, nobody needs it.

use crate::error::Error;
use async_trait::async_trait;
use prow_api::OrgRepo;
use prow_config::inrepo::InRepo;
use prow_config::{Postsubmit, Presubmit, Snapshot};
use prow_github::Client;
use std::borrow::Cow;
use std::sync::Arc;
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
        config: &'c Arc<Snapshot>,
        repo: &OrgRepo,
        base: &BranchHead,
        head_sha: &str,
    ) -> Result<Cow<'c, [Presubmit]>, Error>;

    /// Postsubmits at this commit.
    async fn postsubmits<'c>(
        &self,
        config: &'c Arc<Snapshot>,
        repo: &OrgRepo,
        sha: &str,
    ) -> Result<Cow<'c, [Postsubmit]>, Error>;

    /// Whether this head changes what the repository says about its own jobs.
    async fn is_changed_by(
        &self,
        config: &Arc<Snapshot>,
        repo: &OrgRepo,
        base: &BranchHead,
        head_sha: &str,
    ) -> Result<bool, Error>;
}

/// The jobs of the configuration, which are the same at every commit.
#[derive(Debug, Clone, Copy, Default)]
pub struct StaticJobs;

#[async_trait]
impl JobSource for StaticJobs {
    async fn presubmits<'c>(
        &self,
        config: &'c Arc<Snapshot>,
        repo: &OrgRepo,
        _base: &BranchHead,
        _head_sha: &str,
    ) -> Result<Cow<'c, [Presubmit]>, Error> {
        Ok(Cow::Borrowed(config.presubmits_for(&repo.to_string())))
    }

    async fn postsubmits<'c>(
        &self,
        config: &'c Arc<Snapshot>,
        repo: &OrgRepo,
        _sha: &str,
    ) -> Result<Cow<'c, [Postsubmit]>, Error> {
        Ok(Cow::Borrowed(config.postsubmits_for(&repo.to_string())))
    }
    async fn is_changed_by(
        &self,
        _config: &Arc<Snapshot>,
        _repo: &OrgRepo,
        _base: &BranchHead,
        _head_sha: &str,
    ) -> Result<bool, Error> {
        Ok(false)
    }
}

/// The jobs of the configuration, then the repository's own.
pub struct RepositoryJobs {
    in_repo: InRepo,
}

impl RepositoryJobs {
    /// With repositories to read.
    pub fn new(in_repo: InRepo) -> RepositoryJobs {
        RepositoryJobs { in_repo }
    }
}

/// A list and what is added to it.
fn with<'c, T: Clone>(fixed: &'c [T], own: &[T]) -> Cow<'c, [T]> {
    if own.is_empty() { Cow::Borrowed(fixed) } else { Cow::Owned(fixed.iter().chain(own).cloned().collect()) }
}

fn enabled(config: &Snapshot, repo: &OrgRepo) -> bool {
    config.prow.in_repo_config_enabled(&repo.to_string())
}

#[async_trait]
impl JobSource for RepositoryJobs {
    async fn presubmits<'c>(
        &self,
        config: &'c Arc<Snapshot>,
        repo: &OrgRepo,
        base: &BranchHead,
        head_sha: &str,
    ) -> Result<Cow<'c, [Presubmit]>, Error> {
        let fixed = config.presubmits_for(&repo.to_string());
        if !enabled(config, repo) {
            return Ok(Cow::Borrowed(fixed));
        }
        let own = self.in_repo.jobs(config, repo, base.sha().await?, &[head_sha]).await?;
        Ok(with(fixed, &own.presubmits))
    }

    async fn postsubmits<'c>(
        &self,
        config: &'c Arc<Snapshot>,
        repo: &OrgRepo,
        sha: &str,
    ) -> Result<Cow<'c, [Postsubmit]>, Error> {
        let fixed = config.postsubmits_for(&repo.to_string());
        let own = self.in_repo.jobs(config, repo, sha, &[]).await?;
        Ok(with(fixed, &own.postsubmits))
    }

    async fn is_changed_by(
        &self,
        config: &Arc<Snapshot>,
        repo: &OrgRepo,
        base: &BranchHead,
        head_sha: &str,
    ) -> Result<bool, Error> {
        if !enabled(config, repo) {
            return Ok(false);
        }
        Ok(self.in_repo.is_changed_by(config, repo, base.sha().await?, &[head_sha]).await?)
    }
}
