//! Jobs that a repository defines itself, for tools and components: from a checkout on this machine, or fetched
//! (prow-config §8).

use crate::flags::GithubArgs;
use anyhow::Context;
use clap::Args;
use prow_api::OrgRepo;
use prow_config::inrepo::{InRepo, InRepoError};
use prow_config::{Snapshot, own_jobs};
use prow_git::{MirrorOptions, Mirrors};
use prow_github::Client;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A checkout to read jobs from, in checkconfig's words (prow-runtime §11.11).
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Jobs of a checkout")]
pub struct CheckoutArgs {
    /// Repository whose own jobs are read from a checkout on this machine, committed or not, as org/repo
    #[arg(long, value_name = "ORG/REPO")]
    prow_yaml_repo_name: Option<OrgRepo>,
    /// The checkout's .prow.yaml or .prow, whether or not it is there [default: those of the current directory]
    #[arg(long, value_name = "PATH", requires = "prow_yaml_repo_name")]
    prow_yaml_path: Option<PathBuf>,
}

impl CheckoutArgs {
    /// The configuration with the checkout's jobs, if one is named.
    pub fn add_to(&self, snapshot: Snapshot) -> anyhow::Result<Snapshot> {
        let Some(repo) = &self.prow_yaml_repo_name else { return Ok(snapshot) };
        let root = match &self.prow_yaml_path {
            None => Path::new("."),
            Some(path) => path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        };
        let repo = repo.to_string();
        let own = own_jobs(root, &snapshot, &repo).with_context(|| {
            format!("the jobs that {repo} defines itself in {} cannot be used", root.display())
        })?;
        Ok(snapshot.with_own_jobs(&repo, &own))
    }

    /// Whether the checkout is of this repository.
    pub fn is_of(&self, org: &str, repo: &str) -> bool {
        self.prow_yaml_repo_name.as_ref().is_some_and(|r| r.org == org && r.repo == repo)
    }
}

/// Repositories' own jobs, fetched from `base` with the client's token into mirrors below `dir`.
pub fn fetched(dir: &Path, base: &str, github: &Client) -> InRepo {
    let github = github.clone();
    let options =
        MirrorOptions::at(dir, base).with_token(move || github.token().map_err(|error| error.to_string()));
    InRepo::new(Arc::new(Mirrors::new(options)))
}

/// The configuration with the jobs that a repository defines itself for a pull request, fetched for this one question;
/// or without them, and why: what Prow itself would then go on with.
pub async fn fetch_into(
    snapshot: Snapshot,
    github: &GithubArgs,
    repo: &OrgRepo,
    base: &str,
    heads: &[&str],
) -> anyhow::Result<(Snapshot, Option<InRepoError>)> {
    let dir = tempfile::tempdir().context("cannot make a directory to fetch into")?;
    let in_repo = fetched(dir.path(), &github.git_base(), &github.client()?);
    let snapshot = Arc::new(snapshot);
    let own = in_repo.jobs(&snapshot, repo, base, heads).await;
    let snapshot = Arc::unwrap_or_clone(snapshot);
    let name = repo.to_string();
    match own {
        Ok(own) => Ok((snapshot.with_own_jobs(&name, &own), None)),
        Err(error) if error.is_of_author() => Ok((snapshot, Some(error))),
        Err(error) => Err(error).with_context(|| {
            format!("cannot read the jobs that {name} defines itself (--prow-yaml-repo-name reads them from a checkout)")
        }),
    }
}
