//! Jobs that a repository defines itself, in `.prow.yaml` or `.prow/` (prow-config §8).
//!
//! ```text
//! base, heads ──Repositories::list──> entries ──Listing::of──> files ──read──> Parsed ──InRepoJobs::of──> jobs
//!      └── cached by commits ──────────────────────┘             └ cached by content ┘      └ and by snapshot ┘
//! ```
//!
//! Properties:
//! * Where it is not enabled, nothing is asked of the repository.
//! * The same files are parsed once, in whatever pull request and repository they are; under one configuration they
//!   are defaulted once. What is cached is bounded by weight.
//! * Either all of a repository's own jobs or none, with every reason. The configuration's jobs are not touched.
//! * Content is only data: links are followed inside the tree, sizes are bounded before anything is read.

mod cache;
mod choose;
mod read;
mod repositories;

#[cfg(test)]
mod tests;

pub use choose::{Chosen, DIRECTORY, FILE, IGNORE, Listing};
pub use read::{InRepoJobs, Parsed};
pub use repositories::{EntryKind, RepoEntry, RepoError, RepoState, Repositories};

use crate::diagnostic::LoadErrors;
use crate::goyaml;
use crate::prowconfig::MergeMethod;
use crate::snapshot::Snapshot;
use cache::Bounded;
use prow_api::OrgRepo;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of listings that are kept: some thousands of pull requests.
const LISTINGS: u64 = 8 << 20;
/// Bytes of files whose parsed form is kept; a job takes several times its text.
const FILES: u64 = 16 << 20;

/// Why a repository's own jobs cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InRepoError {
    /// The content could not be had.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// The content is wrong.
    #[error("the jobs that {repo} defines itself cannot be used: {}", lines(.errors))]
    Content {
        /// `org/repo`.
        repo: String,
        /// Everything that is wrong.
        errors: Arc<LoadErrors>,
    },
}

fn lines(errors: &LoadErrors) -> String {
    errors.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl InRepoError {
    /// True if whoever changes the repository can mend it, and trying again cannot.
    pub fn is_of_author(&self) -> bool {
        !matches!(self, InRepoError::Repository(RepoError::Unreachable { .. }))
    }
}

type Finished = (Weak<Snapshot>, Result<Arc<InRepoJobs>, InRepoError>);

/// Knows the jobs that repositories define themselves.
pub struct InRepo {
    repositories: Arc<dyn Repositories>,
    caches: Mutex<Caches>,
}

struct Caches {
    listings: Bounded<RepoState, Arc<Listing>>,
    /// With what they weigh.
    parsed: Bounded<String, (Arc<Parsed>, u64)>,
    /// By repository and fingerprint.
    finished: Bounded<(OrgRepo, String), Finished>,
}

impl InRepo {
    /// With repositories to ask.
    pub fn new(repositories: Arc<dyn Repositories>) -> InRepo {
        let caches = Caches {
            listings: Bounded::new(LISTINGS),
            parsed: Bounded::new(FILES),
            finished: Bounded::new(FILES),
        };
        InRepo { repositories, caches: Mutex::new(caches) }
    }

    fn caches(&self) -> std::sync::MutexGuard<'_, Caches> {
        // A panic in between leaves a cache that lacks something, nothing worse.
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobs of `repo` at `base` with `heads` merged on top; none where this is not enabled (§4.8).
    pub async fn jobs(
        &self,
        config: &Arc<Snapshot>,
        repo: &OrgRepo,
        base: &str,
        heads: &[&str],
    ) -> Result<Arc<InRepoJobs>, InRepoError> {
        if !config.prow.in_repo_config_enabled(&repo.to_string()) {
            return Ok(Arc::default());
        }
        let state = state(config, repo, base, heads);
        let listing = self.listing(&state).await?;
        if listing.is_empty() {
            return Ok(Arc::default());
        }
        let fingerprint = listing.fingerprint();
        let key = (repo.clone(), fingerprint.clone());
        if let Some((snapshot, outcome)) = self.caches().finished.get(&key)
            && std::ptr::eq(snapshot.as_ptr(), Arc::as_ptr(config))
        {
            return outcome;
        }
        let (parsed, weight) = self.parsed(&state, &listing, &fingerprint).await?;
        let outcome = InRepoJobs::of(config, &repo.to_string(), &parsed).map(Arc::new);
        let outcome = outcome
            .map_err(|errors| InRepoError::Content { repo: repo.to_string(), errors: Arc::new(errors) });
        // The weak reference keeps the snapshot's address from being used again.
        self.caches().finished.put(key, (Arc::downgrade(config), outcome.clone()), weight);
        outcome
    }

    /// Whether the heads change what the repository says about its own jobs.
    pub async fn is_changed_by(
        &self,
        config: &Arc<Snapshot>,
        repo: &OrgRepo,
        base: &str,
        heads: &[&str],
    ) -> Result<bool, InRepoError> {
        let before = self.listing(&state(config, repo, base, &[])).await?;
        let after = self.listing(&state(config, repo, base, heads)).await?;
        Ok(before.fingerprint() != after.fingerprint())
    }

    async fn listing(&self, state: &RepoState) -> Result<Arc<Listing>, InRepoError> {
        if let Some(known) = self.caches().listings.get(state) {
            return Ok(known);
        }
        let entries = self.repositories.list(state, &[DIRECTORY, FILE, IGNORE]).await?;
        let listing = Arc::new(Listing::of(&entries));
        let weight = 1024 + 2 * listing.fingerprint().len() as u64;
        self.caches().listings.put(state.clone(), listing.clone(), weight);
        Ok(listing)
    }

    /// The parsed files, and how much they weigh.
    async fn parsed(
        &self,
        state: &RepoState,
        listing: &Listing,
        fingerprint: &String,
    ) -> Result<(Arc<Parsed>, u64), InRepoError> {
        if let Some(known) = self.caches().parsed.get(fingerprint) {
            return Ok(known);
        }
        let mut findings = listing.findings();
        let ids: Vec<String> = listing.ignores.iter().map(|c| c.id.clone()).collect();
        let ignores = if ids.is_empty() { Vec::new() } else { self.repositories.read(state, &ids).await? };
        // Bytes that are no text ignore nothing that has a name.
        let ignores: Vec<String> =
            ignores.into_iter().map(|bytes| goyaml::decode_text(bytes).unwrap_or_default()).collect();
        let kept = listing.kept(&ignores);
        let ids: Vec<String> = kept.iter().map(|c| c.id.clone()).collect();
        let contents = if ids.is_empty() { Vec::new() } else { self.repositories.read(state, &ids).await? };
        let floor = 1024 + 2 * fingerprint.len() as u64;
        let weight = floor + contents.iter().map(|c| c.len() as u64).sum::<u64>();
        let files: Vec<(&Chosen, Vec<u8>)> = kept.into_iter().zip(contents).collect();
        let parsed = Arc::new(Parsed::new(&files, std::mem::take(&mut findings)));
        self.caches().parsed.put(fingerprint.clone(), (parsed.clone(), weight), weight);
        Ok((parsed, weight))
    }
}

/// The repository's own merge method decides, not that of a branch (§8).
fn state(config: &Snapshot, repo: &OrgRepo, base: &str, heads: &[&str]) -> RepoState {
    let method = config.prow.tide.merge_method(&repo.org, &repo.repo, "");
    RepoState {
        repo: repo.clone(),
        base: base.to_owned(),
        heads: heads.iter().filter(|h| !h.is_empty()).map(|h| (*h).to_owned()).collect(),
        rebase: method == MergeMethod::Rebase,
    }
}
