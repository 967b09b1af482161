//! `prow mkpj`: a ProwJob of a configured job (prow-runtime §11.9).

use crate::flags::{self, ConfigArgs, GithubArgs, Output};
use crate::own_jobs::CheckoutArgs;
use crate::wanted::{Found, Given, find, of_branch};
use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use futures::StreamExt;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use prow_api::ProwJob;
use prow_api::prowjob::{ProwJobSpec, State};
use prow_api::refs::Refs;
use prow_config::Snapshot;
use prow_config::jobs::JobBase;
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
    checkout: CheckoutArgs,
    #[command(flatten)]
    github: GithubArgs,
}

/// Prints or runs the job.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    logs::init("warn", Some(logs::Format::Text));
    let snapshot = args.checkout.add_to(args.config.load(None)?)?;
    let given = Given {
        base_ref: args.base_ref.clone(),
        base_sha: args.base_sha.clone(),
        pull_number: args.pull_number,
        pull_sha: args.pull_sha.clone(),
        pull_author: args.pull_author.clone(),
        pull_head_ref: args.pull_head_ref.clone(),
    };
    let found = find(&snapshot, &args.job)?;
    let refs = match &found[0] {
        Found::Pre(repo, _) => given.refs(&args.github, repo, true).await?,
        Found::Post(repo, _) => given.refs(&args.github, repo, false).await?,
        Found::Per(_) => Refs::default(),
    };
    let found = of_branch("mkpj", found, &refs.base_ref);
    let spec = found.spec(refs);
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
