//! `prow why`: which jobs an event or a comment starts, which not, and the very rule, file and line that decided.
//!
//! ```text
//!  flags, payload ──case──▶ Case ──facts──▶ what GitHub knows beside it ──decide──▶ rows ──show──▶ table or JSON
//! ```
//!
//! It reads and explains; it never starts anything.

mod case;
mod decide;
mod facts;
pub mod place;
mod show;

use crate::flags::{self, ConfigArgs, GithubArgs};
use crate::own_jobs::CheckoutArgs;
use clap::{Args as ClapArgs, ValueEnum};
use prow_service::logs;
use std::path::PathBuf;

/// Flags of `prow why`.
#[derive(Debug, ClapArgs)]
#[command(
    about = "Say which jobs an event or a comment starts, which not, and the rule, file and line that decided",
    long_about = "Say of every job of a repository whether an event or a comment starts it, and the rule, file and line \
that decided.\n\nAsk about a pull request (--org, --repo, --pr), about an event (--event, a webhook's payload), or about \
a pull request that does not exist yet (--org, --repo, --branch). --comment asks what a comment on it would start.\n\n\
What the question leaves open is asked of GitHub: base branch, changed files, and for /retest the statuses. With \
--offline, or with an event or a branch and the changed files given, GitHub is not asked; what could not be known is \
then said. Whether people are trusted is never looked at. Nothing is started.",
    after_help = "Examples:\n  prow why --config-path config.yaml --job-config-path jobs/ --org o --repo r --pr 5\n  \
prow why --config-path config.yaml --event payload.json --changed-files docs/a.md,src/b.go\n  \
prow why --config-path config.yaml --org o --repo r --pr 5 --comment '/test all' -o json\n  \
git diff --name-only main... | prow why --config-path config.yaml --org o --repo r --branch main --changed-files-from -"
)]
pub struct Args {
    /// Organisation of the repository
    #[arg(
        long,
        value_name = "ORG",
        requires = "repo",
        required_unless_present = "event",
        conflicts_with = "event"
    )]
    org: Option<String>,
    /// Repository
    #[arg(long, value_name = "REPO", requires = "org")]
    repo: Option<String>,
    /// Number of the pull request
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "event")]
    pr: Option<i64>,
    /// Base branch [default: the event's or the pull request's]
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    /// A webhook's payload: a file, or - for standard input
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
    /// What the payload is, as X-GitHub-Event says [default: guessed from the payload]
    #[arg(long, value_name = "TYPE", requires = "event")]
    event_type: Option<String>,
    /// Ask what this comment on the pull request would start
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Changed files, separated by commas
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    changed_files: Option<Vec<String>>,
    /// Changed files, one a line: a file, or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "changed_files")]
    changed_files_from: Option<PathBuf>,
    /// Ask nothing of GitHub
    #[arg(long)]
    offline: bool,
    /// How to answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Prow's plugins.yaml: whether trigger is enabled, and its settings
    #[arg(long, value_name = "FILE")]
    plugin_config: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    checkout: CheckoutArgs,
    #[command(flatten)]
    github: GithubArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Answers.
pub async fn main(args: Args) -> anyhow::Result<()> {
    logs::init("warn", Some(logs::Format::Text));
    let snapshot = args.checkout.add_to(args.config.load(args.plugin_config.as_deref())?)?;
    let mut case = case::of(&args)?;
    let snapshot = facts::complete(&args, snapshot, &mut case).await?;
    let rows = decide::rows(&snapshot, &case)?;
    let text = match args.output {
        Output::Table => show::table(&case, &rows),
        Output::Json => show::json(&case, &rows)?,
    };
    flags::print(&text)
}
