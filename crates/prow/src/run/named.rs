//! Which job a name means, of those of the configuration and those that the repository defines itself at the commits
//! in question, as trigger would have them (prow-runtime §3.2, prow-config §8).

use super::Args;

use super::checkout::Checkout;
use super::refs::{self, Paths};
use crate::datadir::Scratch;
use crate::own_jobs::fetched;
use crate::wanted::{Found, absent, called, of_branch, split};
use anyhow::{Context, bail};
use prow_api::OrgRepo;
use prow_api::prowjob::ProwJobSpec;
use prow_api::refs::Refs;
use prow_config::Snapshot;
use prow_config::inrepo::{InRepo, InRepoJobs};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// A job on its refs.
pub struct Named {
    /// Of its run.
    pub spec: ProwJobSpec,
    /// The job's own.
    pub labels: BTreeMap<String, String>,
    /// The job's own.
    pub annotations: BTreeMap<String, String>,
    /// Where Pods go.
    pub namespace: String,
}

/// What flags and configuration make of the name, before any repository was asked.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Presubmit(String),
    Postsubmit(String),
    Periodic,
    /// The configuration has no such job of this repository, but the repository may.
    OwnOf(String),
}

/// Finds it.
pub async fn find(args: &Args, paths: &mut Paths, scratch: &Scratch) -> anyhow::Result<Named> {
    let snapshot = Arc::new(args.config.load(None)?);
    let name = args.job.as_deref().unwrap_or_default();
    let origin = match paths.of_the_job() {
        Some(dir) => super::checkout::origin(Path::new(dir)).await,
        None => None,
    };
    let target = target(args, &snapshot, name, origin.as_deref(), paths)?;
    let clone_uri = |repo: &str| {
        let mut all = called(&snapshot, name).into_iter().filter(|job| job.repo() == Some(repo));
        all.find_map(|job| Some(job.base().clone_uri.clone()).filter(|uri| !uri.is_empty()))
    };
    let (refs, repo) = match &target {
        Target::Presubmit(repo) => {
            (refs::presubmit(args, repo, clone_uri(repo), paths, scratch).await?, Some(repo))
        }
        Target::Postsubmit(repo) => {
            (refs::postsubmit(args, repo, clone_uri(repo), paths, scratch).await?, Some(repo))
        }
        Target::Periodic => {
            refs::refuse(args).context("a periodic runs on what its extra_refs say")?;
            (Refs::default(), None)
        }
        Target::OwnOf(repo) if args.base_ref.is_some() && !on_pull(args) && !paths.has(repo) => {
            (refs::postsubmit(args, repo, None, paths, scratch).await?, Some(repo))
        }
        Target::OwnOf(repo) => (refs::presubmit(args, repo, None, paths, scratch).await?, Some(repo)),
    };
    let is_meant = |job: &Found<'_>, refs: &Refs| match (&target, job) {
        (Target::Presubmit(repo), Found::Pre(r, _)) | (Target::Postsubmit(repo), Found::Post(r, _)) => {
            repo == r
        }
        (Target::Periodic, Found::Per(_)) => true,
        // A pull request starts presubmits, a branch starts postsubmits.
        (Target::OwnOf(repo), Found::Pre(r, _)) => repo == r && !refs.pulls.is_empty(),
        (Target::OwnOf(repo), Found::Post(r, _)) => repo == r && refs.pulls.is_empty(),
        _ => false,
    };
    let known = called(&snapshot, name)
        .iter()
        .any(|job| is_meant(job, &refs) && (target == Target::Periodic || job.runs_on(&refs.base_ref)));
    let with_own = match repo {
        Some(repo) if !known && snapshot.prow.in_repo_config_enabled(repo) => {
            let own = own(args, &snapshot, repo, &refs, paths.checkout(), scratch).await?;
            Arc::new(Snapshot::clone(&snapshot).with_own_jobs(repo, &own))
        }
        _ => snapshot.clone(),
    };
    let mut refs = refs;
    let mut found = called(&with_own, name);
    found.retain(|job| is_meant(job, &refs));
    // A checkout may be wanted as a branch, too.
    if found.is_empty()
        && let Target::OwnOf(repo) = &target
        && !on_pull(args)
        && let Some(checkout) = paths.checkout()
    {
        let as_branch = refs::of_branch_checkout(args, repo, checkout);
        let own = own(args, &snapshot, repo, &as_branch, paths.checkout(), scratch).await?;
        let found: Vec<_> = own.postsubmits.iter().filter(|job| job.base.name == name).collect();
        if let Some(job) =
            found.iter().find(|job| job.brancher.runs_on(&as_branch.base_ref)).or(found.first())
        {
            return Ok(named(&Found::Post(repo, job), as_branch, &with_own));
        }
    }
    if found.is_empty() {
        let kind = if refs.pulls.is_empty() { "postsubmit" } else { "presubmit" };
        let repo = repo.map_or("the repository", String::as_str);
        bail!("{}; {repo} itself defines no such {kind} at these commits", absent(&with_own, name));
    }
    let job = of_branch("run", found, &refs.base_ref);
    if target != Target::Periodic && !job.runs_on(&refs.base_ref) {
        eprintln!(
            "prow run: this job is not for branch {}: Prow would not run it there by itself",
            refs.base_ref
        );
    }
    Ok(named(&job, std::mem::take(&mut refs), &with_own))
}

fn named(job: &Found<'_>, refs: Refs, snapshot: &Snapshot) -> Named {
    let clone_uri = refs.clone_uri.clone();
    let mut spec = job.spec(refs);
    // The job's own would take the place of a checkout's.
    if let Some(refs) = spec.refs.as_mut().filter(|_| !clone_uri.is_empty()) {
        refs.clone_uri = clone_uri;
    }
    Named {
        spec,
        labels: job.base().labels.clone(),
        annotations: job.base().annotations.clone(),
        namespace: snapshot.prow.pod_namespace.clone(),
    }
}

fn on_pull(args: &Args) -> bool {
    args.pr.is_some() || args.pull_sha.is_some()
}

/// The jobs that the repository defines itself at these refs.
async fn own(
    args: &Args,
    snapshot: &Arc<Snapshot>,
    repo: &str,
    refs: &Refs,
    checkout: Option<&Checkout>,
    scratch: &Scratch,
) -> anyhow::Result<Arc<InRepoJobs>> {
    let (org, name) = split(repo);
    let in_repo = match checkout {
        Some(checkout) => InRepo::new(Arc::new(prow_git::Checkout::new(&checkout.directory))),
        None => {
            eprintln!("prow run: reading the jobs that {repo} defines itself");
            fetched(&scratch.directory("git")?, &args.github.git_base(), &args.github.client()?)
        }
    };
    let heads: Vec<&str> = refs.pulls.iter().map(|p| p.sha.as_str()).collect();
    let own = in_repo.jobs(snapshot, &OrgRepo::new(org, name), &refs.base_sha, &heads).await;
    own.with_context(|| format!("cannot use the jobs that {repo} defines itself"))
}

fn target(
    args: &Args,
    snapshot: &Snapshot,
    name: &str,
    origin: Option<&str>,
    paths: &Paths,
) -> anyhow::Result<Target> {
    let all = called(snapshot, name);
    let repos: BTreeSet<&str> = all.iter().filter_map(Found::repo).collect();
    let enabled = |repo: &str| snapshot.prow.in_repo_config_enabled(repo);
    let own_of = |repo: &str| match enabled(repo) {
        true if on_pull(args) || args.base_ref.is_some() || paths.has(repo) => {
            Ok(Target::OwnOf(repo.to_owned()))
        }
        true => {
            bail!("{}; {repo} may define it itself: give --pr, --base-ref or --path", absent(snapshot, name))
        }
        false => bail!(
            "{}; in_repo_config is not enabled for {repo}, so its own jobs do not count",
            absent(snapshot, name)
        ),
    };
    let about_refs = on_pull(args) || args.base_ref.is_some() || paths.of_the_job().is_some();
    let repo = match &args.repo {
        Some(repo) if repos.contains(repo.as_str()) => repo.as_str(),
        Some(repo) if enabled(repo) => return own_of(repo),
        Some(repo) => match (repos.is_empty(), all.is_empty()) {
            (false, _) => bail!(
                "repository {repo} has no presubmit or postsubmit that is called {name:?}; it is a job of {}",
                list(&repos)
            ),
            (true, false) => bail!(
                "repository {repo} has no presubmit or postsubmit that is called {name:?}: it is a periodic; leave \
                 --repo out"
            ),
            (true, true) => return own_of(repo),
        },
        None if repos.is_empty() && !all.is_empty() => return Ok(Target::Periodic),
        // Without refs there is nothing that a presubmit could be run on.
        None if !about_refs && all.iter().any(|job| job.repo().is_none()) => return Ok(Target::Periodic),
        None => match (repos.len(), origin.filter(|origin| repos.contains(origin)), repos.first().copied()) {
            (1, _, Some(repo)) | (_, Some(repo), _) => repo,
            (0, ..) => return own_of(own_repo(snapshot, name, origin)?),
            _ => bail!(
                "{} repositories have a job that is called {name:?}; --repo says which is meant: {}",
                repos.len(),
                list(&repos)
            ),
        },
    };
    let has = |pre: bool| {
        let mut jobs = all.iter().filter(|job| job.repo() == Some(repo));
        jobs.any(|job| matches!(job, Found::Pre(..)) == pre)
    };
    let branch_alone = args.base_ref.is_some() && !on_pull(args) && !paths.has(repo);
    Ok(match has(true) && !(branch_alone && has(false)) {
        true => Target::Presubmit(repo.to_owned()),
        false => Target::Postsubmit(repo.to_owned()),
    })
}

/// The repository that may define the job itself, where none is named: that of the checkout, or the only one that may.
fn own_repo<'a>(snapshot: &'a Snapshot, name: &str, origin: Option<&'a str>) -> anyhow::Result<&'a str> {
    if let Some(origin) = origin {
        return Ok(origin);
    }
    let enabled = &snapshot.prow.in_repo_config.enabled;
    let repos: Vec<&String> = enabled
        .iter()
        .filter(|(key, on)| **on == Some(true) && key.contains('/'))
        .map(|(key, _)| key)
        .collect();
    match (repos.as_slice(), enabled.values().any(|on| *on == Some(true))) {
        ([only], _) => Ok(only),
        (_, true) => {
            bail!("{}; if a repository defines it itself, --repo says which", absent(snapshot, name))
        }
        (_, false) => bail!("{}", absent(snapshot, name)),
    }
}

fn list(repos: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 10;
    let mut text = repos.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if repos.len() > SHOWN {
        text += " and others";
    }
    text
}
