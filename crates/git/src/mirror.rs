//! Bare mirrors of repositories, one a repository, which fetch the commits that they are asked about.
//!
//! Properties:
//! * There is no work tree: nothing of a repository is ever checked out, run, or followed out of its own tree.
//! * Only missing commits are fetched, and one fetch a repository runs at a time; questions run beside it.
//! * A token goes to git through the environment of the one process that needs it, and to no other host.

use crate::merge::{Failure, lay_on};
use crate::names::check_object_id;
use crate::{Git, GitError};
use async_trait::async_trait;
use parking_lot::Mutex;
use prow_api::{OrgRepo, Secret};
use prow_config::inrepo::{RepoEntry, RepoError, RepoState, Repositories};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Fetches between two tidyings of a mirror. Old pull requests' commits go then.
const TIDY_AFTER: u32 = 200;

/// How long a fetch or tidying may take: the first fetch of a large repository takes longer than any question, and one
/// that was cut off begins again from nothing.
const LONG: Duration = Duration::from_secs(30 * 60);
/// A lock on a ref that is older was left by a git that was killed: it is held for moments.
const STALE: Duration = Duration::from_secs(60 * 60);

type Remote = dyn Fn(&OrgRepo) -> String + Send + Sync;
type Token = dyn Fn() -> Result<Option<Secret>, String> + Send + Sync;

/// Where mirrors are, and where they come from.
#[derive(Clone)]
pub struct MirrorOptions {
    /// Directory of our own; made if missing.
    pub dir: PathBuf,
    /// The URL (or path) to fetch a repository from. Never with a token in it.
    pub remote: Arc<Remote>,
    /// The token to fetch with, if any.
    pub token: Arc<Token>,
}

impl MirrorOptions {
    /// Repositories of `https://github.com`, or of the forge or GitHub Enterprise at `base`, fetched without a token.
    pub fn at(dir: impl Into<PathBuf>, base: &str) -> MirrorOptions {
        let base = base.trim_end_matches('/').to_owned();
        MirrorOptions {
            dir: dir.into(),
            remote: Arc::new(move |repo| format!("{base}/{}/{}.git", repo.org, repo.repo)),
            token: Arc::new(|| Ok(None)),
        }
    }

    /// With a source of tokens.
    pub fn with_token(
        self,
        token: impl Fn() -> Result<Option<Secret>, String> + Send + Sync + 'static,
    ) -> MirrorOptions {
        MirrorOptions { token: Arc::new(token), ..self }
    }
}

/// Mirrors of any number of repositories.
pub struct Mirrors {
    options: MirrorOptions,
    git: Git,
    /// One lock a repository, with the number of fetches since it was tidied; `None` until it exists.
    open: Mutex<HashMap<OrgRepo, Arc<tokio::sync::Mutex<Option<u32>>>>>,
}

impl Mirrors {
    /// No repository is touched until it is asked for.
    pub fn new(options: MirrorOptions) -> Mirrors {
        let git = Git::new(&options.dir)
            .with_config("protocol.allow", "never")
            .with_config("protocol.https.allow", "always")
            .with_config("protocol.http.allow", "always")
            .with_config("protocol.file.allow", "always")
            .with_config("merge.renameLimit", "1000");
        Mirrors { options, git, open: Mutex::default() }
    }

    /// git in the mirror of a repository, with these commits in it.
    async fn with_commits(&self, state: &RepoState) -> Result<Git, Failure> {
        let repo = &state.repo;
        for name in [&repo.org, &repo.repo] {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if name.is_empty()
                || name.starts_with('.') && matches!(name.as_str(), "." | "..")
                || !name.bytes().all(plain)
            {
                return Err(GitError::BadName {
                    name: repo.to_string(),
                    what: "repository",
                    why: "organisation and repository are letters, digits, '-', '_' and '.'",
                }
                .into());
            }
        }
        let git = self.git.in_dir(self.options.dir.join(&repo.org).join(format!("{}.git", repo.repo)));
        let lock = self.open.lock().entry(repo.clone()).or_default().clone();
        let mut fetches = lock.lock().await;
        if fetches.is_none() {
            git.init_bare("main").await?;
            break_stale_locks(&git);
            *fetches = Some(0);
        }
        let wanted: BTreeSet<&str> = std::iter::once(&state.base)
            .chain(&state.heads)
            .map(|id| check_object_id(id))
            .collect::<Result<_, _>>()?;
        let missing = missing(&git, &wanted).await?;
        if missing.is_empty() {
            return Ok(git);
        }
        self.fetch(&git, state, &missing).await?;
        let count = fetches.get_or_insert(0);
        *count += 1;
        if *count >= TIDY_AFTER {
            *count = 0;
            // What is older than a day and not below a recent base can be fetched again.
            let git = git.clone().with_timeout(Some(LONG));
            if let Err(error) = git.run(["gc", "--quiet", "--prune=1.day.ago"]).await {
                tracing::warn!(repo = %repo, %error, "cannot tidy a mirror; it goes on growing");
            }
        }
        Ok(git)
    }

    async fn fetch(&self, git: &Git, state: &RepoState, missing: &[&str]) -> Result<(), Failure> {
        let url = (self.options.remote)(&state.repo);
        let mut args =
            vec!["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"];
        args.extend(["--recurse-submodules=no", "--", &url]);
        // Sixteen refs to recent bases: the next fetch tells the server what is here already, and tidying keeps it.
        let last = state.base.chars().last().unwrap_or('0');
        let keep = format!("+{}:refs/prow/base/{last}", state.base);
        for id in missing {
            args.push(if *id == state.base { &keep } else { id });
        }
        let git = git.clone().with_timeout(Some(LONG));
        let mut command = git.command(&args);
        if url.starts_with("http") {
            let token = (self.options.token)().map_err(|why| self.unreachable(state, why))?;
            for (key, value) in token.iter().flat_map(|token| credentials(&url, token)) {
                command = command.env(key, value);
            }
        }
        command.run().await?;
        Ok(())
    }

    fn unreachable(&self, state: &RepoState, why: String) -> Failure {
        Failure::Repo(RepoError::Unreachable { repo: state.repo.to_string(), base: state.base.clone(), why })
    }
}

/// Without this, no base whose ref was being written when git was killed could be fetched ever again.
fn break_stale_locks(git: &Git) {
    // No such directory: nothing was fetched yet.
    let Ok(entries) = std::fs::read_dir(git.dir().join("refs/prow/base")) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let modified = path.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| at.elapsed().ok());
        if path.extension().is_some_and(|e| e == "lock") && age.is_some_and(|age| age > STALE) {
            match std::fs::remove_file(&path) {
                Ok(()) => tracing::warn!(path = %path.display(), "removed a lock that a killed git left"),
                Err(error) => tracing::warn!(path = %path.display(), %error, "cannot remove a stale lock"),
            }
        }
    }
}

/// Commits that are not here.
async fn missing<'w>(git: &Git, wanted: &BTreeSet<&'w str>) -> Result<Vec<&'w str>, GitError> {
    let ids: Vec<&str> = wanted.iter().copied().collect();
    let answers = git.command(["cat-file", "--batch-check"]).stdin(ids.join("\n") + "\n").text().await?;
    let there = |(_, answer): &(&str, &str)| !answer.ends_with(" missing");
    let present: BTreeSet<&str> =
        ids.iter().copied().zip(answers.lines()).filter(there).map(|(id, _)| id).collect();
    Ok(ids.into_iter().filter(|id| !present.contains(id)).collect())
}

/// A credential helper for this URL alone that answers with a variable of its own environment.
fn credentials(url: &str, token: &Secret) -> Vec<(&'static str, String)> {
    let Some(token) = token.expose_str() else { return Vec::new() };
    let helper = "!f() { test \"$1\" = get && printf 'username=x-access-token\\npassword=%s\\n' \"$PROW_GIT_TOKEN\"; }; f";
    vec![
        ("PROW_GIT_TOKEN", token.to_owned()),
        ("GIT_CONFIG_COUNT", "2".to_owned()),
        ("GIT_CONFIG_KEY_0", format!("credential.{url}.helper")),
        ("GIT_CONFIG_VALUE_0", helper.to_owned()),
        ("GIT_CONFIG_KEY_1", "credential.useHttpPath".to_owned()),
        ("GIT_CONFIG_VALUE_1", "true".to_owned()),
    ]
}

/// A failure in the words of [`Repositories`].
pub(crate) fn told(state: &RepoState, failure: Failure) -> RepoError {
    let repo = state.repo.to_string();
    match failure {
        Failure::Repo(error) => error,
        Failure::Git(GitError::TooMuchOutput { limit, .. }) => {
            RepoError::TooLarge { repo, what: format!("its own jobs take more than {limit} bytes") }
        }
        Failure::Git(error) => {
            RepoError::Unreachable { repo, base: state.base.clone(), why: error.to_string() }
        }
    }
}

#[async_trait]
impl Repositories for Mirrors {
    async fn list(&self, state: &RepoState, names: &[&str]) -> Result<Vec<RepoEntry>, RepoError> {
        let listed = async {
            let git = self.with_commits(state).await?;
            let commit = lay_on(&git, state).await?;
            Ok(git.entries(&commit, names).await?)
        };
        listed.await.map_err(|failure| told(state, failure))
    }

    async fn read(&self, state: &RepoState, ids: &[String]) -> Result<Vec<Vec<u8>>, RepoError> {
        let read = async {
            let git = self.with_commits(state).await?;
            match git.blobs(ids).await {
                // What merging wrote is below no ref, and tidying takes it away; merging again writes it again.
                Err(GitError::BadOutput { .. }) => {
                    lay_on(&git, state).await?;
                    Ok(git.blobs(ids).await?)
                }
                contents => Ok(contents?),
            }
        };
        read.await.map_err(|failure| told(state, failure))
    }
}
