//! On which commits a job runs (prow-config §1.5): what flags say, GitHub, the git server where GitHub does not answer,
//! and checkouts of this machine.

use super::Args;
use super::checkout::{self, Checkout};
use crate::datadir::Scratch;
use crate::wanted::split;
use anyhow::{Context, bail};
use prow_api::prowjob::{JobType, ProwJobSpec};
use prow_api::refs::{Pull, Refs};
use prow_job::build;
use std::path::Path;

/// Where clonerefs finds the snapshots of local checkouts.
pub const IN_POD: &str = "/prow-run/checkouts";

/// More commits than any branch has.
const ALL_THERE_IS: i64 = 1_000_000;

/// Flags about refs, where the refs are settled.
pub fn refuse(args: &Args) -> anyhow::Result<()> {
    let given = [
        ("--pr", args.pr.is_some()),
        ("--base-ref", args.base_ref.is_some()),
        ("--base-sha", args.base_sha.is_some()),
        ("--pull-sha", args.pull_sha.is_some()),
        ("--repo", args.repo.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => bail!("the refs of this run are settled: leave {flag} out"),
        None => Ok(()),
    }
}

/// Those of a pull request of `repo`. `clone_uri` is where the job says that it is cloned from.
pub async fn presubmit(
    args: &Args,
    repo: &str,
    clone_uri: Option<String>,
    paths: &mut Paths,
    scratch: &Scratch,
) -> anyhow::Result<Refs> {
    let (org, name) = split(repo);
    if let Some(dir) = paths.take(repo) {
        if args.pull_sha.is_some() || args.base_sha.is_some() {
            bail!("--path says what is tested: leave --pull-sha and --base-sha out");
        }
        let (checkout, mut refs) =
            checkout::of_pull(Path::new(&dir), args.base_ref.as_deref(), scratch).await?;
        org.clone_into(&mut refs.org);
        name.clone_into(&mut refs.repo);
        refs.repo_link = link(args, repo);
        refs.pulls.iter_mut().for_each(|p| p.number = args.pr.unwrap_or_default());
        refs.clone_uri = paths.keep(checkout);
        return Ok(refs);
    }
    let Some(number) = args.pr else {
        bail!("a presubmit tests a pull request: give --pr, or --path for what is in a checkout");
    };
    let known = |base_ref: String, base_sha: String, head_sha: String| {
        let repo_link = link(args, repo);
        build::pull_request_refs(&build::PullRequest {
            org: org.to_owned(),
            repo: name.to_owned(),
            base_ref,
            base_sha,
            number,
            author: String::new(),
            author_link: String::new(),
            head_sha,
            head_ref: String::new(),
            title: String::new(),
            link: format!("{repo_link}/pull/{number}"),
            repo_link,
        })
    };
    if let (Some(base_ref), Some(base_sha), Some(sha)) = (&args.base_ref, &args.base_sha, &args.pull_sha) {
        return Ok(known(base_ref.clone(), base_sha.clone(), sha.clone()));
    }
    let error = match from_github(args, repo, number).await {
        Ok(refs) => return Ok(refs),
        Err(error) => error,
    };
    // A server of repositories that has no API, or one that does not let us ask.
    let url = clone_uri.unwrap_or_else(|| format!("{}.git", link(args, repo)));
    match from_git(&url, args.base_ref.as_deref(), Some(number)).await {
        Ok(Told { base_ref, base_sha, head_sha: Some(head) }) => {
            say_git(&url, &error);
            let base_sha = args.base_sha.clone().unwrap_or(base_sha);
            Ok(known(base_ref, base_sha, args.pull_sha.clone().unwrap_or(head)))
        }
        Ok(_) => Err(error.context(format!("{url} has no pull request {number} either"))),
        Err(git) => {
            Err(error.context(format!("cannot find out the commits of {repo}#{number} ({})", root(&git))))
        }
    }
}

fn say_git(url: &str, error: &anyhow::Error) {
    eprintln!(
        "prow run: GitHub does not say ({}); the commits are those of {url}, and author and title are not known",
        crate::cli::said(error)
    );
}

fn root(error: &anyhow::Error) -> String {
    error.root_cause().to_string()
}

async fn from_github(args: &Args, repo: &str, number: i64) -> anyhow::Result<Refs> {
    let (org, name) = split(repo);
    let github = args.github.client()?;
    let hint = "--base-ref, --base-sha and --pull-sha together make that unnecessary";
    let pr = github
        .get_pull_request(org, name, number)
        .await
        .with_context(|| format!("cannot fetch pull request {repo}#{number} ({hint})"))?;
    let base_ref = args.base_ref.clone().unwrap_or_else(|| pr.base.r#ref.clone());
    let base_sha = match &args.base_sha {
        Some(sha) => sha.clone(),
        None => github
            .get_ref(org, name, &format!("heads/{base_ref}"))
            .await
            .with_context(|| format!("cannot fetch the commit of branch {base_ref} of {repo} ({hint})"))?,
    };
    Ok(build::pull_request_refs(&build::PullRequest {
        org: org.to_owned(),
        repo: name.to_owned(),
        repo_link: pr.base.repo.html_url,
        base_ref,
        base_sha,
        number,
        author: pr.user.login,
        author_link: pr.user.html_url,
        head_sha: args.pull_sha.clone().unwrap_or(pr.head.sha),
        head_ref: pr.head.r#ref,
        title: pr.title,
        link: pr.html_url,
    }))
}

/// Those of a branch of `repo`.
pub async fn postsubmit(
    args: &Args,
    repo: &str,
    clone_uri: Option<String>,
    paths: &mut Paths,
    scratch: &Scratch,
) -> anyhow::Result<Refs> {
    if args.pr.is_some() || args.pull_sha.is_some() {
        bail!("this is a postsubmit: it runs on a branch, not on a pull request; give --base-ref instead");
    }
    let (org, name) = split(repo);
    if let Some(dir) = paths.take(repo) {
        if args.base_sha.is_some() {
            bail!("--path says what is tested: leave --base-sha out");
        }
        let checkout = checkout::snapshot(Path::new(&dir), scratch).await?;
        let mut refs = of_branch_checkout(args, repo, &checkout);
        refs.clone_uri = paths.keep(checkout);
        return Ok(refs);
    }
    let Some(branch) = &args.base_ref else {
        bail!("a postsubmit runs on a branch: give --base-ref, or --path for what is in a checkout");
    };
    let base_sha = match &args.base_sha {
        Some(sha) => sha.clone(),
        None => branch_head(args, repo, branch, clone_uri).await?,
    };
    let link = link(args, repo);
    Ok(build::push_refs(org, name, &link, branch, &base_sha, &format!("{link}/commit/{base_sha}")))
}

/// Those of a checkout that is taken for a branch.
pub fn of_branch_checkout(args: &Args, repo: &str, checkout: &Checkout) -> Refs {
    let (org, name) = split(repo);
    Refs {
        org: org.to_owned(),
        repo: name.to_owned(),
        repo_link: link(args, repo),
        base_ref: args.base_ref.clone().unwrap_or_else(|| checkout.branch.clone()),
        base_sha: checkout.sha.clone(),
        clone_uri: uri(0),
        ..Refs::default()
    }
}

async fn branch_head(
    args: &Args,
    repo: &str,
    branch: &str,
    clone_uri: Option<String>,
) -> anyhow::Result<String> {
    let (org, name) = split(repo);
    let asked = match args.github.client() {
        Ok(github) => github.get_ref(org, name, &format!("heads/{branch}")).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    let asked: anyhow::Result<String> = asked.with_context(|| {
        format!("cannot fetch the commit of branch {branch} of {repo} (--base-sha makes that unnecessary)")
    });
    let error = match asked {
        Ok(sha) => return Ok(sha),
        Err(error) => error,
    };
    let url = clone_uri.unwrap_or_else(|| format!("{}.git", link(args, repo)));
    match from_git(&url, Some(branch), None).await {
        Ok(told) => {
            say_git(&url, &error);
            Ok(told.base_sha)
        }
        Err(git) => {
            Err(error.context(format!("cannot find out the commit of {repo} {branch} ({})", root(&git))))
        }
    }
}

/// The repository's page, which says where it is cloned from and to.
fn link(args: &Args, repo: &str) -> String {
    // Gerrit's is the host and the repository.
    if repo.contains("://") { repo.to_owned() } else { format!("{}/{repo}", args.github.git_base()) }
}

/// What a git server says.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    base_ref: String,
    base_sha: String,
    head_sha: Option<String>,
}

/// Asks a git server, with this person's own credentials: for a branch (by default the main one) and for the head of a
/// pull request.
async fn from_git(url: &str, branch: Option<&str>, pull: Option<i64>) -> anyhow::Result<Told> {
    let here = std::env::temp_dir();
    let pull = pull.map(|number| format!("refs/pull/{number}/head"));
    let branch = branch.map(|branch| format!("refs/heads/{branch}"));
    let mut asked = vec!["ls-remote", "--symref", "--end-of-options", url];
    asked.push(branch.as_deref().unwrap_or("HEAD"));
    asked.extend(pull.as_deref());
    let text = checkout::git(&here, &asked, &[]).await?;
    told(&text, branch.as_deref(), pull.as_deref()).with_context(|| format!("{url} has no such branch"))
}

fn told(text: &str, branch: Option<&str>, pull: Option<&str>) -> Option<Told> {
    let lines = || text.lines().filter_map(|line| line.split_once('\t'));
    let sha =
        |of: &str| lines().find(|(sha, name)| *name == of && !sha.starts_with("ref:")).map(|(sha, _)| sha);
    let main =
        lines().find_map(|(target, name)| (name == "HEAD").then(|| target.strip_prefix("ref: ")).flatten());
    let base = branch.or(main)?;
    Some(Told {
        base_ref: base.strip_prefix("refs/heads/")?.to_owned(),
        base_sha: sha(branch.unwrap_or("HEAD"))?.to_owned(),
        head_sha: pull.and_then(sha).map(str::to_owned),
    })
}

/// What `--path` says.
pub struct Paths {
    /// Repository, empty for the job's own, and directory.
    open: Vec<(String, String)>,
    /// Snapshots made so far, in the order of their URIs.
    taken: Vec<Checkout>,
}

impl Paths {
    /// From the flag's values.
    pub fn parse(values: &[String]) -> anyhow::Result<Paths> {
        let mut open = Vec::new();
        for value in values {
            // A directory may have a '=' in its name, a repository may not.
            let (repo, dir) = match value.split_once('=') {
                Some((repo, dir)) if repo.contains('/') && !Path::new(value).exists() => (repo, dir),
                _ => ("", value.as_str()),
            };
            if !Path::new(dir).is_dir() {
                bail!("--path {value}: {dir} is not a directory");
            }
            open.push((repo.to_owned(), dir.to_owned()));
        }
        Ok(Paths { open, taken: Vec::new() })
    }

    /// The directory that is for the job's own repository, whichever that is.
    pub fn of_the_job(&self) -> Option<&str> {
        self.open.iter().find(|(repo, _)| repo.is_empty()).map(|(_, dir)| dir.as_str())
    }

    /// Whether there is a directory for this repository, if it is the job's own.
    pub fn has(&self, repo: &str) -> bool {
        self.open.iter().any(|(r, _)| r.is_empty() || r == repo)
    }

    /// The directory for the job's own repository.
    fn take(&mut self, repo: &str) -> Option<String> {
        let at = self.open.iter().position(|(r, _)| r.is_empty() || r == repo)?;
        Some(self.open.remove(at).1)
    }

    /// Keeps a snapshot; the URI that it is cloned from in the Pod.
    fn keep(&mut self, checkout: Checkout) -> String {
        self.taken.push(checkout);
        uri(self.taken.len() - 1)
    }

    /// The snapshot for the job's own repository, once it is made.
    pub fn checkout(&self) -> Option<&Checkout> {
        self.taken.first()
    }

    /// Puts snapshots in the place of what the refs name; all of `--path` has to find its place.
    pub async fn replace(
        mut self,
        spec: &mut ProwJobSpec,
        scratch: &Scratch,
    ) -> anyhow::Result<Vec<Checkout>> {
        let mut all: Vec<&mut Refs> = spec.refs.iter_mut().chain(&mut spec.extra_refs).collect();
        for (repo, dir) in std::mem::take(&mut self.open) {
            let is_meant = |r: &Refs| repo.is_empty() || format!("{}/{}", r.org, r.repo) == repo;
            let Some(refs) = all.iter_mut().find(|r| is_meant(r)) else {
                bail!("--path {dir}: the job clones no repository {repo}");
            };
            let checkout = checkout::snapshot(Path::new(&dir), scratch).await?;
            refs.base_sha.clone_from(&checkout.sha);
            // What a repeated run tested is what the checkout has instead.
            refs.pulls.clear();
            refs.clone_uri = self.keep(checkout);
        }
        for refs in spec.refs.iter_mut().chain(&mut spec.extra_refs) {
            let of = |(index, c): (usize, &Checkout)| c.shallow && refs.clone_uri == uri(index);
            if refs.clone_depth == 0 && self.taken.iter().enumerate().any(of) {
                // With a depth git learns where the history ends, and takes that for its end as well.
                refs.clone_depth = ALL_THERE_IS;
            }
        }
        if spec.job_type == JobType::Presubmit
            && let Some(refs) = &mut spec.refs
            && refs.pulls.is_empty()
        {
            refs.pulls.push(Pull { sha: refs.base_sha.clone(), ..Pull::default() });
        }
        Ok(self.taken)
    }
}

/// Takes the checkouts out of a finished run, which are not there any more; their repositories.
pub fn forget_checkouts(spec: &mut ProwJobSpec) -> Vec<(String, String)> {
    let place = format!("file://{IN_POD}/");
    let all = spec.refs.iter_mut().chain(&mut spec.extra_refs);
    let ours = all.filter(|refs| refs.clone_uri.starts_with(&place));
    ours.map(|refs| {
        refs.clone_uri.clear();
        (refs.org.clone(), refs.repo.clone())
    })
    .collect()
}

fn uri(index: usize) -> String {
    format!("file://{IN_POD}/{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_git_servers_answer_is_read() {
        let text = "ref: refs/heads/trunk\tHEAD\naaa\tHEAD\nbbb\trefs/heads/dev\nccc\trefs/pull/5/head";
        let want = |base_ref: &str, base_sha: &str, head: Option<&str>| {
            Some(Told {
                base_ref: base_ref.into(),
                base_sha: base_sha.into(),
                head_sha: head.map(Into::into),
            })
        };
        assert_eq!(told(text, None, Some("refs/pull/5/head")), want("trunk", "aaa", Some("ccc")));
        assert_eq!(told(text, Some("refs/heads/dev"), None), want("dev", "bbb", None));
        assert_eq!(told(text, Some("refs/heads/dev"), Some("refs/pull/6/head")), want("dev", "bbb", None));
        assert_eq!(told(text, Some("refs/heads/absent"), None), None);
        assert_eq!(told("", None, None), None);
    }
}
