//! What the question leaves open and GitHub or the configuration knows. Each fact is asked for only if it decides.

use super::Args;
use super::case::{Case, What};
use super::decide;
use crate::own_jobs::fetch_into;
use anyhow::{Context, bail};
use prow_api::OrgRepo;
use prow_config::Snapshot;
use prow_job::select;

/// Fills in what is missing.
///
/// Gives the configuration with the jobs that the repository defines itself, where they can be had.
pub async fn complete(args: &Args, snapshot: Snapshot, case: &mut Case) -> anyhow::Result<Snapshot> {
    configured(args, &snapshot, case);
    let (org, repo, number) = (case.org.clone(), case.repo.clone(), case.number);
    let asks_github = !case.offline && case.what != What::Push;
    // A payload has the pull request already; a comment on it does not.
    if asks_github && number > 0 && (case.head_sha.is_none() || case.branch.is_none()) {
        let pr = args.github.client()?.get_pull_request(&org, &repo, number).await.with_context(|| {
            format!(
                "cannot fetch pull request {org}/{repo}#{number} (--offline, with --branch, does without)"
            )
        })?;
        case.learn(&pr);
    }
    let Some(branch) = case.branch.clone() else {
        bail!("the base branch of {org}/{repo}#{number} is not known; give --branch");
    };
    if case.blocked.is_some() {
        // Nothing runs, so nothing more has to be known.
        return Ok(snapshot);
    }
    let snapshot = own_jobs(args, snapshot, case, &branch).await?;
    if let What::Comment(_) = &case.what
        && decide::ask(case).needs_contexts()
    {
        match (&case.head_sha, asks_github) {
            (Some(sha), true) => {
                let status = args.github.client()?.get_combined_status(&org, &repo, sha).await;
                let status = status.with_context(|| {
                    format!("cannot fetch the statuses of {org}/{repo}@{sha}, which /retest depends on")
                })?;
                let failed = |state: &str| matches!(state, "failure" | "error");
                let failures = status.statuses.iter().filter(|s| failed(&s.state));
                case.contexts = Some((
                    failures.map(|s| s.context.clone()).collect(),
                    status.statuses.iter().map(|s| s.context.clone()).collect(),
                ));
            }
            _ => case.notes.push(
                "the statuses of the head commit are not known; decided as if no context had reported yet"
                    .into(),
            ),
        }
    }
    let presubmits = snapshot.presubmits_for(&format!("{org}/{repo}"));
    let needed = case.what != What::Push
        && case.changed_files.is_none()
        && select::needs_changed_files(presubmits, &branch, &decide::ask(case));
    if needed && asks_github && number > 0 {
        let changes = args.github.client()?.get_pull_request_changes(&org, &repo, number).await;
        let changes = changes.with_context(|| {
            format!("cannot fetch the changed files of {org}/{repo}#{number} (--changed-files gives them)")
        })?;
        case.changed_files = Some(changes.into_iter().map(|c| c.filename).collect());
    } else if needed {
        case.notes.push(
            "the changed files are not known; jobs that depend on them are marked ? (give --changed-files)"
                .into(),
        );
    }
    Ok(snapshot)
}

/// With the repository's own jobs at the commits in question.
async fn own_jobs(
    args: &Args,
    snapshot: Snapshot,
    case: &mut Case,
    branch: &str,
) -> anyhow::Result<Snapshot> {
    let repo = OrgRepo::new(case.org.clone(), case.repo.clone());
    let enabled = snapshot.prow.in_repo_config_enabled(&repo.to_string());
    if args.checkout.is_of(&repo.org, &repo.repo) {
        if !enabled {
            case.notes.push("in_repo_config is not enabled for the repository: Prow would not look at the checkout's jobs".into());
        }
        return Ok(snapshot);
    }
    if !enabled {
        return Ok(snapshot);
    }
    let head = match (&case.head_sha, case.what != What::Push && !case.offline) {
        (Some(head), true) => head.clone(),
        _ => {
            case.notes.push(
                "in_repo_config is enabled, and the repository's own jobs are not known (--prow-yaml-repo-name reads \
                 them from a checkout)"
                    .into(),
            );
            return Ok(snapshot);
        }
    };
    let base = args.github.client()?.get_ref(&repo.org, &repo.repo, &format!("heads/{branch}")).await;
    let base = base.with_context(|| format!("cannot fetch the commit of branch {branch} of {repo}"))?;
    let (snapshot, fault) = fetch_into(snapshot, &args.github, &repo, &base, &[&head]).await?;
    case.notes.extend(fault.map(|fault| format!("only the configuration's jobs run: {fault}")));
    Ok(snapshot)
}

/// What plugins.yaml and config.yaml say about the repository.
fn configured(args: &Args, snapshot: &Snapshot, case: &mut Case) {
    let (org, repo) = (case.org.as_str(), case.repo.as_str());
    if args.plugin_config.is_none() {
        case.notes.push(
            "taken for granted: the plugin trigger is enabled for the repository (--plugin-config tells)"
                .into(),
        );
    } else {
        let enabled = snapshot.plugins.enabled(org, repo).contains(&"trigger");
        let settings = snapshot.plugins.trigger_for(org, repo);
        case.ignore_ok_to_test = settings.ignore_ok_to_test;
        if !enabled {
            case.block(format!("the plugin trigger is not enabled for {}/{}", case.org, case.repo));
        }
    }
    if case.what != What::Push {
        case.notes.push(
            "taken for granted: author and commenter are trusted, or the label ok-to-test is on".into(),
        );
    }
}
