//! Which configured job is meant by a name, and on which refs: what `prow mkpj` and `prow run` share (prow-runtime
//! §11.9).

use crate::flags::{self, GithubArgs};
use anyhow::{Context, bail};
use prow_api::prowjob::ProwJobSpec;
use prow_api::refs::{Pull, Refs};
use prow_config::jobs::{JobBase, Periodic, Postsubmit, Presubmit};
use prow_config::{Snapshot, did_you_mean};
use prow_github::PullRequest;
use prow_job::build;

/// A job as it was found, with its repository.
pub enum Found<'a> {
    /// A presubmit of that repository.
    Pre(&'a str, &'a Presubmit),
    /// A postsubmit of that repository.
    Post(&'a str, &'a Postsubmit),
    /// A periodic.
    Per(&'a Periodic),
}

impl Found<'_> {
    /// What all kinds have.
    pub fn base(&self) -> &JobBase {
        match self {
            Found::Pre(_, job) => &job.base,
            Found::Post(_, job) => &job.base,
            Found::Per(job) => &job.base,
        }
    }

    /// The spec of its run on `refs`, which a periodic has none of.
    pub fn spec(&self, refs: Refs) -> ProwJobSpec {
        match self {
            Found::Pre(_, job) => build::presubmit(job, refs),
            Found::Post(_, job) => build::postsubmit(job, refs),
            Found::Per(job) => build::periodic(job),
        }
    }

    /// Its repository; a periodic has none.
    pub fn repo(&self) -> Option<&str> {
        match self {
            Found::Pre(repo, _) | Found::Post(repo, _) => Some(repo),
            Found::Per(_) => None,
        }
    }

    /// Whether it is a job of this branch; a periodic is of none.
    pub fn runs_on(&self, branch: &str) -> bool {
        match self {
            Found::Pre(_, job) => job.brancher.runs_on(branch),
            Found::Post(_, job) => job.brancher.runs_on(branch),
            Found::Per(_) => false,
        }
    }

    /// Whether it is of the same kind and repository, and for `branch`.
    fn stands_for(&self, first: &Found<'_>, branch: &str) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(first)
            && self.repo() == first.repo()
            && self.runs_on(branch)
    }
}

/// What was given about the refs; empty texts and 0 were not.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Base branch.
    pub base_ref: String,
    /// Its commit.
    pub base_sha: String,
    /// Number of the pull request.
    pub pull_number: i64,
    /// Its head commit.
    pub pull_sha: String,
    /// Its author.
    pub pull_author: String,
    /// Its head branch.
    pub pull_head_ref: String,
}

/// Of the jobs of a name the one for `branch`: a repository may have one for each of its branches. Says on standard
/// error which it is if there are others.
pub fn of_branch<'s>(tool: &str, mut found: Vec<Found<'s>>, branch: &str) -> Found<'s> {
    let of_branch = found.iter().position(|job| job.stands_for(&found[0], branch)).unwrap_or(0);
    let count = found.len();
    let found = found.swap_remove(of_branch);
    if count > 1 {
        let (name, source) = (&found.base().name, &found.base().source);
        eprintln!(
            "prow {tool}: {count} jobs are called {name:?}; this is the one of {}:{}",
            source.file, source.line
        );
    }
    found
}

/// The jobs of that name: presubmits, then postsubmits, then periodics.
pub fn called<'s>(snapshot: &'s Snapshot, name: &str) -> Vec<Found<'s>> {
    all(snapshot).filter(|job| job.base().name == name).collect()
}

/// The jobs of that name, at least one.
pub fn find<'s>(snapshot: &'s Snapshot, name: &str) -> anyhow::Result<Vec<Found<'s>>> {
    let found = called(snapshot, name);
    if found.is_empty() {
        bail!("{}", absent(snapshot, name));
    }
    Ok(found)
}

/// That there is no job of that name, and which was probably meant.
pub fn absent(snapshot: &Snapshot, name: &str) -> String {
    let names = all(snapshot).map(|job| job.base().name.clone()).collect::<Vec<_>>();
    let meant = did_you_mean(name, names.iter().map(String::as_str));
    let meant = meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
    let jobs = snapshot.jobs.len();
    format!(
        "no job is called {name:?} in this configuration of {jobs} jobs{meant} (prow config jobs lists them)"
    )
}

fn all(snapshot: &Snapshot) -> impl Iterator<Item = Found<'_>> {
    let jobs = &snapshot.jobs;
    let presubmits =
        jobs.presubmits.iter().flat_map(|(repo, list)| list.iter().map(move |job| Found::Pre(repo, job)));
    let postsubmits =
        jobs.postsubmits.iter().flat_map(|(repo, list)| list.iter().map(move |job| Found::Post(repo, job)));
    presubmits.chain(postsubmits).chain(jobs.periodics.iter().map(Found::Per))
}

/// `org/repo`, where `org` may be a Gerrit host with its scheme.
pub fn split(repo: &str) -> (&str, &str) {
    let host = repo.find("://").map_or(0, |at| at + 3);
    match repo[host..].find('/') {
        Some(at) => (&repo[..host + at], &repo[host + at + 1..]),
        None => (repo, ""),
    }
}

/// What is known of the refs, and where the rest comes from.
struct Facts<'a> {
    github: &'a GithubArgs,
    org: &'a str,
    repo: &'a str,
    number: i64,
    pull: Option<PullRequest>,
}

impl Facts<'_> {
    /// The pull request, asked for once.
    async fn pull(&mut self) -> anyhow::Result<&PullRequest> {
        let pull = match self.pull.take() {
            Some(pull) => pull,
            None => {
                let client = self.github.client()?;
                let (org, repo, number) = (self.org, self.repo, self.number);
                client.get_pull_request(org, repo, number).await.with_context(|| {
                    format!(
                        "cannot fetch pull request {org}/{repo}#{number} (--pull-author, --pull-sha, --base-ref and \
                         --base-sha together make that unnecessary)"
                    )
                })?
            }
        };
        Ok(self.pull.insert(pull))
    }

    async fn head_of(&self, branch: &str) -> anyhow::Result<String> {
        let client = self.github.client()?;
        let (org, repo) = (self.org, self.repo);
        client.get_ref(org, repo, &format!("heads/{branch}")).await.with_context(|| {
            format!("cannot fetch the commit of branch {branch} of {org}/{repo} (--base-sha makes that unnecessary)")
        })
    }
}

impl Given {
    /// The refs of a job of `repo`; `presubmit` ones have a pull request. What is not given GitHub is asked for, or
    /// the person at the keyboard.
    pub async fn refs(&self, github: &GithubArgs, repo: &str, presubmit: bool) -> anyhow::Result<Refs> {
        let (org, repo) = split(repo);
        let args = self;
        let mut facts = Facts { github, org, repo, number: args.pull_number, pull: None };
        let mut refs = Refs {
            org: org.to_owned(),
            repo: repo.to_owned(),
            base_ref: args.base_ref.clone(),
            base_sha: args.base_sha.clone(),
            ..Refs::default()
        };
        if presubmit {
            if facts.number == 0 {
                facts.number = asked_number()?;
            }
            let mut pull = Pull {
                number: facts.number,
                author: args.pull_author.clone(),
                sha: args.pull_sha.clone(),
                head_ref: args.pull_head_ref.clone(),
                ..Pull::default()
            };
            if pull.author.is_empty() {
                pull.author.clone_from(&facts.pull().await?.user.login);
            }
            if pull.sha.is_empty() {
                pull.sha.clone_from(&facts.pull().await?.head.sha);
            }
            refs.pulls.push(pull);
        }
        if refs.base_ref.is_empty() {
            refs.base_ref = match facts.number {
                0 => asked_branch()?,
                _ => facts.pull().await?.base.r#ref.clone(),
            };
        }
        if refs.base_sha.is_empty() {
            refs.base_sha = match facts.number {
                0 => facts.head_of(&refs.base_ref).await?,
                _ => facts.pull().await?.base.sha.clone(),
            };
        }
        Ok(refs)
    }
}

fn asked_number() -> anyhow::Result<i64> {
    let Some(answer) = flags::ask("PR Number: ")? else {
        bail!("a presubmit runs on a pull request, and standard input gave no number; give --pull-number");
    };
    match answer.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => bail!("{answer:?} is not the number of a pull request"),
    }
}

fn asked_branch() -> anyhow::Result<String> {
    match flags::ask("Base ref (e.g. master): ")? {
        Some(answer) if !answer.is_empty() => Ok(answer),
        _ => bail!("there is no base branch; give --base-ref"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_split_after_their_host() {
        for (repo, want) in [
            ("o/r", ("o", "r")),
            ("https://g.example/a/b", ("https://g.example", "a/b")),
            ("alone", ("alone", "")),
        ] {
            assert_eq!(split(repo), want);
        }
    }
}
