//! `prow mkpj`: a ProwJob of a configured job (prow-runtime §11.9).

use crate::flags::{self, ConfigArgs, GithubArgs, Output};
use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use futures::StreamExt;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use prow_api::ProwJob;
use prow_api::prowjob::{ProwJobSpec, State};
use prow_api::refs::{Pull, Refs};
use prow_config::Snapshot;
use prow_config::jobs::{JobBase, Periodic, Postsubmit, Presubmit};
use prow_github::PullRequest;
use prow_job::build;
use prow_kube::prowjobs;
use prow_service::clock::{Clock, SystemClock};
use prow_service::logs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;

/// Flags of `prow mkpj`.
#[derive(Debug, ClapArgs)]
#[command(
    about = "Print a configured job's ProwJob, or run it and watch it",
    long_about = "Print the ProwJob of a configured job: the first presubmit, postsubmit or periodic of that name; where a \
repository has one for each of its branches, that of the base branch. What \
it needs and no flag says is asked for: the number of the pull request and the base branch of you, author and commits of \
GitHub.\n\nWith --trigger-job it is not printed but created, and watched until it is complete.",
    after_help = "Examples:\n  prow mkpj --job unit --config-path config.yaml --job-config-path jobs/ --pull-number 5\n  \
prow mkpj --job nightly --config-path config.yaml --kubeconfig ~/.kube/config --trigger-job --fail-with-job"
)]
pub struct Args {
    /// Name of the job
    #[arg(long, value_name = "NAME")]
    job: String,
    /// Base branch [default: the pull request's, else asked for]
    #[arg(long, value_name = "BRANCH", default_value = "", hide_default_value = true)]
    base_ref: String,
    /// Commit of the base branch [default: GitHub's answer]
    #[arg(long, value_name = "SHA", default_value = "", hide_default_value = true)]
    base_sha: String,
    /// Number of the pull request; a presubmit needs one and asks for it
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pull_number: i64,
    /// Head commit of the pull request [default: GitHub's answer]
    #[arg(long, value_name = "SHA", default_value = "", hide_default_value = true)]
    pull_sha: String,
    /// Author of the pull request [default: GitHub's answer]
    #[arg(long, value_name = "LOGIN", default_value = "", hide_default_value = true)]
    pull_author: String,
    /// Head branch of the pull request
    #[arg(long, value_name = "BRANCH", default_value = "", hide_default_value = true)]
    pull_head_ref: String,
    /// Create the ProwJob and watch it until it is complete, instead of printing it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    trigger_job: bool,
    /// With --trigger-job: exit 1 unless the job succeeds
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    fail_with_job: bool,
    /// With --trigger-job: kubeconfig whose current context is the cluster of ProwJobs [default: kubectl's, else the
    /// cluster this runs in]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How to write the ProwJob
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    output: Output,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    github: GithubArgs,
}

/// A job as it was found, with its repository.
enum Found<'a> {
    Pre(&'a str, &'a Presubmit),
    Post(&'a str, &'a Postsubmit),
    Per(&'a Periodic),
}

impl Found<'_> {
    fn base(&self) -> &JobBase {
        match self {
            Found::Pre(_, job) => &job.base,
            Found::Post(_, job) => &job.base,
            Found::Per(job) => &job.base,
        }
    }

    /// Whether it is of the same kind and repository, and for `branch`.
    fn stands_for(&self, first: &Found<'_>, branch: &str) -> bool {
        match (self, first) {
            (Found::Pre(repo, job), Found::Pre(same, _)) => repo == same && job.brancher.runs_on(branch),
            (Found::Post(repo, job), Found::Post(same, _)) => repo == same && job.brancher.runs_on(branch),
            _ => false,
        }
    }
}

/// Prints or runs the job.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    logs::init("warn", Some(logs::Format::Text));
    let snapshot = args.config.load(None)?;
    let mut found = find(&snapshot, &args.job)?;
    let refs = match &found[0] {
        Found::Pre(repo, _) => refs(&args, repo, true).await?,
        Found::Post(repo, _) => refs(&args, repo, false).await?,
        Found::Per(_) => Refs::default(),
    };
    // A repository may have one job of a name for each of its branches.
    let of_branch = found.iter().position(|job| job.stands_for(&found[0], &refs.base_ref)).unwrap_or(0);
    let others = found.len() - 1;
    let found = found.swap_remove(of_branch);
    if others > 0 {
        let (count, source) = (others + 1, &found.base().source);
        eprintln!(
            "prow mkpj: {count} jobs are called {:?}; this is the one of {}:{}",
            args.job, source.file, source.line
        );
    }
    let spec = match &found {
        Found::Pre(_, job) => build::presubmit(job, refs),
        Found::Post(_, job) => build::postsubmit(job, refs),
        Found::Per(job) => build::periodic(job),
    };
    let job = prowjob(spec, found.base(), &snapshot, args.trigger_job);
    if args.trigger_job {
        return run(&args, &job).await;
    }
    flags::print(&args.output.text(&job)?)?;
    Ok(ExitCode::SUCCESS)
}

fn prowjob(spec: ProwJobSpec, base: &JobBase, snapshot: &Snapshot, triggered: bool) -> ProwJob {
    // No event caused this one, so its name follows from none.
    let name = uuid::Uuid::new_v4().to_string();
    let namespace = if triggered { snapshot.prow.prowjob_namespace.as_str() } else { "" };
    let scheduling = snapshot.prow.scheduler.enabled;
    build::new_prowjob(spec, &base.labels, &base.annotations, &name, namespace, SystemClock.now(), scheduling)
}

/// The jobs of that name, at least one: presubmits, then postsubmits, then periodics.
fn find<'s>(snapshot: &'s Snapshot, name: &str) -> anyhow::Result<Vec<Found<'s>>> {
    let jobs = &snapshot.jobs;
    let presubmits =
        jobs.presubmits.iter().flat_map(|(repo, list)| list.iter().map(move |job| Found::Pre(repo, job)));
    let postsubmits =
        jobs.postsubmits.iter().flat_map(|(repo, list)| list.iter().map(move |job| Found::Post(repo, job)));
    let all = presubmits.chain(postsubmits).chain(jobs.periodics.iter().map(Found::Per));
    let found: Vec<_> = all.filter(|job| job.base().name == name).collect();
    if found.is_empty() {
        bail!(
            "no job is called {name:?} in this configuration of {} jobs; prow config jobs lists them",
            jobs.len()
        );
    }
    Ok(found)
}

/// `org/repo`, where `org` may be a Gerrit host with its scheme.
fn split(repo: &str) -> (&str, &str) {
    let host = repo.find("://").map_or(0, |at| at + 3);
    match repo[host..].find('/') {
        Some(at) => (&repo[..host + at], &repo[host + at + 1..]),
        None => (repo, ""),
    }
}

/// What is known of the refs, and where the rest comes from.
struct Facts<'a> {
    args: &'a Args,
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
                let client = self.args.github.client()?;
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
        let client = self.args.github.client()?;
        let (org, repo) = (self.org, self.repo);
        client.get_ref(org, repo, &format!("heads/{branch}")).await.with_context(|| {
            format!("cannot fetch the commit of branch {branch} of {org}/{repo} (--base-sha makes that unnecessary)")
        })
    }
}

/// The refs of a job; `presubmit` ones have a pull request.
async fn refs(args: &Args, repo: &str, presubmit: bool) -> anyhow::Result<Refs> {
    let (org, repo) = split(repo);
    let mut facts = Facts { args, org, repo, number: args.pull_number, pull: None };
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

/// Creates the ProwJob and watches it to its end.
async fn run(args: &Args, job: &ProwJob) -> anyhow::Result<ExitCode> {
    let client = client(args.kubeconfig.as_deref()).await?;
    let (name, namespace) = (job.name(), job.metadata.namespace.as_deref().unwrap_or_default());
    let api: Api<ProwJob> = Api::namespaced(client, namespace);
    let created = prowjobs::create(&api, job, &SystemClock::shared()).await;
    created.with_context(|| format!("cannot create ProwJob {namespace}/{name}"))?;
    eprintln!("prow mkpj: created ProwJob {namespace}/{name}");
    let end = watch(api, name).await?;
    let state = end.status.state;
    eprintln!(
        "prow mkpj: ProwJob {name} is complete: {state}{}{}",
        with(": ", &end.status.description),
        with(", ", &end.status.url)
    );
    Ok(if args.fail_with_job && state != State::Success { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn with(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}

async fn watch(api: Api<ProwJob>, name: &str) -> anyhow::Result<ProwJob> {
    let mut changes = pin!(watch_object(api, name).default_backoff());
    let mut last = None;
    while let Some(change) = changes.next().await {
        match change {
            Ok(Some(job)) if job.complete() => return Ok(job),
            Ok(Some(job)) => {
                if last.replace(job.status.state) != Some(job.status.state) {
                    eprintln!("prow mkpj: ProwJob {name} is {}", job.status.state);
                }
            }
            // Right after its creation a cache may not have it yet.
            Ok(None) if last.is_none() => {}
            Ok(None) => bail!("ProwJob {name} was deleted before it was complete"),
            Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) if matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403)) =>
            {
                return Err(error).with_context(|| format!("may not watch ProwJob {name}; it goes on"));
            }
            Err(error) => tracing::warn!(prowjob = name, %error, "the watch broke off; trying again"),
        }
    }
    bail!("the watch of ProwJob {name} ended; the job goes on")
}

/// A client for the cluster of ProwJobs.
async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<kube::Client> {
    let config = match kubeconfig {
        Some(path) => {
            let what = || format!("cannot use --kubeconfig {}", path.display());
            let file = kube::config::Kubeconfig::read_from(path).with_context(what)?;
            let options = kube::config::KubeConfigOptions::default();
            kube::Config::from_custom_kubeconfig(file, &options).await.with_context(what)?
        }
        None => kube::Config::infer().await.context("there is no cluster to be found; give --kubeconfig")?,
    };
    kube::Client::try_from(config).context("cannot set up the client of the cluster")
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
