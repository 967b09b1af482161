//! `prow config jobs`: every job fully defaulted, as JSON lines.

use crate::configdiff;
use crate::describe;
use crate::flags::{self, ConfigArgs};
use crate::own_jobs::CheckoutArgs;
use clap::{Args as ClapArgs, Subcommand};
use std::fmt::Write;
use std::process::ExitCode;

/// Commands about the configuration.
#[derive(Debug, ClapArgs)]
#[command(about = "Look at the configuration")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(
        about = "Print every job fully defaulted: one line of JSON each, {kind, repo, job}",
        long_about = "Print every job as it is after presets, defaults and decoration: one line of JSON each, \
{kind, repo, job}, with the keys of the configuration file. Presubmits come first, then postsubmits, then periodics.",
        after_help = "Example:\n  prow config jobs --config-path config.yaml --job-config-path jobs/ | \
jq -r 'select(.job.cluster==\"default\").job.name'"
    )]
    Jobs {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        checkout: CheckoutArgs,
    },
    #[command(
        about = "Print the JSON Schema of a configuration file, for editors",
        long_about = "Print the JSON Schema (draft 7) of a configuration file. An editor with a YAML language server \
completes and checks the file by it.",
        after_help = "Example:\n  prow config schema --kind jobs > prow-jobs.schema.json\n\n\
Then begin each file of jobs with:\n  # yaml-language-server: $schema=prow-jobs.schema.json"
    )]
    Schema(describe::Args),
    #[command(
        about = "Print a configuration file with every key, its description, type and default",
        long_about = "Print a configuration file with every key, its description, type and default. It loads as it \
is and changes nothing: what has no default is commented out."
    )]
    Docs(describe::Args),
    Diff(Box<configdiff::Args>),
}

/// Prints what was asked for.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    let (config, checkout) = match args.command {
        Command::Jobs { config, checkout } => (config, checkout),
        Command::Schema(args) => return describe::schema(&args).map(|()| ExitCode::SUCCESS),
        Command::Docs(args) => return describe::docs(&args).map(|()| ExitCode::SUCCESS),
        Command::Diff(args) => return configdiff::main(*args).await,
    };
    let snapshot = checkout.add_to(config.load(None)?)?;
    let mut out = String::new();
    for record in prow_config::golden::job_records(&snapshot.jobs) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{record}");
    }
    flags::print(&out)?;
    Ok(ExitCode::SUCCESS)
}
