//! `prow config jobs`: every job fully defaulted, as JSON lines.

use crate::flags::{self, ConfigArgs};
use clap::{Args as ClapArgs, Subcommand};
use std::fmt::Write;

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
    Jobs(ConfigArgs),
}

/// Prints what was asked for.
pub fn main(args: &Args) -> anyhow::Result<()> {
    let Command::Jobs(config) = &args.command;
    let snapshot = config.load(None)?;
    let mut out = String::new();
    for record in prow_config::golden::job_records(&snapshot.jobs) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{record}");
    }
    flags::print(&out)
}
