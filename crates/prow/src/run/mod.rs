//! `prow run`: one job here and now, with the ProwJob and the Pod that a pull request or a branch would get
//! (prow-runtime §7, §8; prow-config §1).

mod abandoned;
mod checkout;
mod end;
mod finished;
mod here;
mod named;
mod refs;
mod shell;
mod stubs;
mod subject;

use crate::datadir::Scratch;
use crate::flags::{self, ConfigArgs, GithubArgs};
use crate::world;
use anyhow::{Context, bail};
use clap::{Args as ClapArgs, ValueEnum};
use end::Summary;
use here::Here;
use prow_api::ProwJob;
use prow_api::prowjob::State;
use prow_job::buildid;
use prow_job::pod::{PodOptions, pod};
use prow_service::clock::{Clock, SystemClock};
use prow_service::{logs, shutdown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use stubs::Named;

/// Flags of `prow run`.
#[derive(Debug, ClapArgs)]
#[command(
    about = "Run one job here and now, as a pull request or a branch would run it",
    long_about = "Run one job here and now. The configuration gives the same ProwJob, and that the same Pod, as a pull \
request or a branch would get: same refs, same clones and merges, same environment, same entrypoint. The Pod runs on this \
machine, its log is streamed to standard output, and its exit code is this command's.\n\n\
What is different from the real run, and only that: results are copied to a directory of this machine instead of being \
uploaded; Secrets and ConfigMaps that you do not give with --secret and --config-map are stubs; a clone needs no \
credentials unless you give them; nothing is reported to GitHub.",
    after_help = "\
Examples:
  What pull request 5 would run:
    prow run unit --config-path config.yaml --job-config-path jobs/ --pr 5
  A job that the repository defines itself, in .prow.yaml:
    prow run mine --config-path config.yaml --repo acme/rocket --pr 5
  What a checkout would give, as it is, with what is not committed yet (ignored files stay out):
    prow run unit --config-path config.yaml --job-config-path jobs/ --path .
  A postsubmit or a periodic:
    prow run publish --config-path config.yaml --job-config-path jobs/ --base-ref main
  A finished run again, on the same commits and with the same image:
    prow run --from-url https://prow.example.com/view/gs/results/pr-logs/pull/5/unit/1234
    prow run --from-file prowjob.json
  A shell beside the job's files if it fails:
    prow run unit --config-path config.yaml --job-config-path jobs/ --path . --shell-on-failure

Exit code: the job's own (of several containers the first that failed); 1 if it could not be cloned or set up; 125 if it \
could not be run at all; 130 after Ctrl-C, which ends the job within its grace period; 2 for flags that make no sense.

The Pod runs as containers of Docker or Podman where one of them works, else as sandboxed processes of this machine, \
which use no image and have no network unless --pod-network=host gives them this machine's.",
    mut_arg("config_path", |arg| arg.required(false).required_unless_present_any(["from_file", "from_url"])),
    // Somebody waits.
    mut_arg("max_retries", |arg| arg.default_value("2"))
)]
pub struct Args {
    /// Name of the job: of the configuration, or of the repository itself where in_repo_config is enabled for it
    #[arg(value_name = "JOB", required_unless_present_any = ["from_file", "from_url"])]
    job: Option<String>,
    /// Repository, where several have a job of that name or none has [default: that of --path's origin]
    #[arg(long, value_name = "ORG/REPO")]
    repo: Option<String>,
    /// Pull request that a presubmit tests
    #[arg(long, value_name = "NUMBER", visible_alias = "pull-number")]
    pr: Option<i64>,
    /// Base branch [default: the pull request's; with --path origin's main branch, for a postsubmit the checkout's]
    #[arg(long, value_name = "BRANCH")]
    base_ref: Option<String>,
    /// Commit of the base branch [default: GitHub's answer]
    #[arg(long, value_name = "SHA")]
    base_sha: Option<String>,
    /// Head commit of the pull request [default: GitHub's answer]
    #[arg(long, value_name = "SHA")]
    pull_sha: Option<String>,
    /// Use this checkout, with what is not committed yet, instead of cloning the job's repository; with ORG/REPO= instead
    /// of that one (repeatable)
    #[arg(long, value_name = "[ORG/REPO=]DIR")]
    path: Vec<String>,
    /// Repeat the run whose prowjob.json is there: its URL (https, gs, s3, file) or a page of Deck's
    #[arg(long, value_name = "URL", conflicts_with_all = ["job", "from_file"])]
    from_url: Option<String>,
    /// Repeat the run of this prowjob.json; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "job")]
    from_file: Option<PathBuf>,
    /// Give the job's Secret NAME the files of a directory, instead of a stub (repeatable)
    #[arg(long, value_name = "NAME=DIR", value_parser = Named::parse)]
    secret: Vec<Named>,
    /// Give the job's ConfigMap NAME the files of a directory, instead of a stub (repeatable)
    #[arg(long, value_name = "NAME=DIR", value_parser = Named::parse)]
    config_map: Vec<Named>,
    /// If a container fails, open a shell in it before it ends
    #[arg(long)]
    shell_on_failure: bool,
    /// Where results go [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// Standard output is one JSON object at the end; the log goes to standard error
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    runner: world::RunnerArgs,
    #[command(flatten)]
    github: GithubArgs,
    /// error, warn, info, debug, trace: what to say of how the Pod is run
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    log_level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
}

/// What the names of scratch directories begin with.
const SCRATCH: &str = "prow-run-";

/// A job that could not be run at all.
const NOT_RUN: u8 = 125;

/// Runs the job.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    logs::init(&args.log_level, Some(logs::Format::Text));
    match run(&args).await {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("prow run: {}", crate::cli::said(&error));
            Ok(ExitCode::from(NOT_RUN))
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    abandoned::tidy(&args.runner).await;
    let scratch = Scratch::new(SCRATCH)?;
    let mut subject = subject::find(args, &scratch).await?;
    let out_dir = out_dir(args, &subject.job)?;
    let without = stubs::clone_as_nobody(&mut subject.job.spec, &args.secret);
    if !without.is_empty() {
        eprintln!(
            "prow run: cloning without {} (--secret NAME=DIR gives them)",
            without.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
    let shell = args.shell_on_failure.then(|| shell::prepare(&mut subject.job.spec, &scratch)).transpose()?;
    let clock = SystemClock;
    let build_id = buildid::next(0, clock.now().as_millisecond()).to_string();
    let local_output = out_dir.to_str().map(str::to_owned);
    let options = PodOptions { namespace: subject.namespace.clone(), local_output, ..PodOptions::default() };
    let mut pod = pod(&subject.job, &build_id, &options)?;
    subject::mount_checkouts(&mut pod, &subject.checkouts)?;
    let objects = stubs::objects(&pod, &args.secret, &args.config_map)?;
    for line in &objects.said {
        eprintln!("prow run: {line}");
    }
    subject.job.status.build_id.clone_from(&build_id);
    subject.job.status.pod_name = pod.metadata.name.clone().unwrap_or_default();
    write_prowjob(&out_dir, &subject.job)?;

    let stop = shutdown::on_signal().context("cannot watch for signals")?;
    let mut host_paths = vec![out_dir.clone()];
    host_paths.extend(shell.iter().map(|s| s.dir().to_owned()));
    host_paths.extend(subject.checkouts.iter().map(|c| c.directory.clone()));
    let here = Here::start(&args.runner, &scratch.directory("data")?, host_paths, &subject.namespace).await?;
    eprintln!("prow run: {} as build {build_id}; {}", subject.title(), here.how());
    let to_stdout = args.output.is_none();
    let seen = here.run(pod, &objects, subject.job.spec.pod_spec.as_deref(), shell, to_stdout, &stop).await;
    here.end().await;
    let summary = Summary::of(&subject.job, seen?, &out_dir);
    subject.job.status.state = summary.state;
    subject.job.status.description.clone_from(&summary.description);
    subject.job.status.completion_time = Some(prow_api::Time(clock.now()));
    write_prowjob(&out_dir, &subject.job)?;
    summary.say(to_stdout)?;
    if let Err(error) = scratch.remove() {
        eprintln!("prow run: {}", crate::cli::said(&error));
    }
    if args.output == Some(Format::Json) {
        flags::print(&summary.json(&subject.job)?)?;
    }
    Ok(ExitCode::from(if summary.state == State::Success { 0 } else { summary.exit_code }))
}

/// Absolute, as a hostPath has to be; made if it is not there.
fn out_dir(args: &Args, job: &ProwJob) -> anyhow::Result<PathBuf> {
    let dir = match &args.out_dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make --out-dir {}", dir.display()))?;
            dir.canonicalize().with_context(|| format!("cannot use --out-dir {}", dir.display()))?
        }
        None => {
            // A name that comes from a file must not choose another directory.
            let prefix = format!("prow-run-{}-", job.spec.job).replace(['/', '\0'], "_");
            let made = tempfile::Builder::new().prefix(&prefix).tempdir();
            made.context("cannot make a temporary directory for the results; give --out-dir")?.keep()
        }
    };
    if dir.to_str().is_none() {
        bail!("--out-dir {} is not UTF-8", dir.display());
    }
    Ok(dir)
}

fn write_prowjob(out_dir: &Path, job: &ProwJob) -> anyhow::Result<()> {
    let path = out_dir.join("prowjob.json");
    let text = flags::Output::Json.text(job)?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
