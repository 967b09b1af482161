//! `prow crier` (prow-runtime §10).

use super::common::{CommonArgs, EnablementArgs, StorageArgs};
use crate::flags::GithubArgs;
use anyhow::bail;
use clap::Args as ClapArgs;
use prow_crier::{Crier, Options};

/// Flags of `prow crier`.
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Report results. A reporter without workers is off; give at least one of the …-workers flags a \
number above 0."
)]
pub struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    github: GithubArgs,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    enablement: EnablementArgs,
    /// Reports to GitHub at a time
    #[arg(long, value_name = "N", default_value_t = 0)]
    github_workers: usize,
    /// Reports to object storage at a time
    #[arg(long, value_name = "N", default_value_t = 0)]
    blob_storage_workers: usize,
    /// Reports about Pods to object storage at a time
    #[arg(long, value_name = "N", default_value_t = 0)]
    kubernetes_blob_storage_workers: usize,
    /// How many of the jobs --kubernetes-blob-storage-workers report on, 0 to 1
    #[arg(long, value_name = "FRACTION", default_value_t = 1.0)]
    kubernetes_report_fraction: f64,
    /// Report only jobs of this agent to GitHub
    #[arg(long, value_name = "AGENT", default_value = "")]
    report_agent: String,
    /// There is no dry run of crier: leave it false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    dry_run: bool,
    #[arg(long, hide = true, value_name = "N", default_value_t = 0)]
    gerrit_workers: usize,
    #[arg(long, hide = true, value_name = "N", default_value_t = 0)]
    pubsub_workers: usize,
    #[arg(long, hide = true, value_name = "N", default_value_t = 0)]
    slack_workers: usize,
    #[arg(long, hide = true, value_name = "N", default_value_t = 0)]
    resultstore_workers: usize,
}

/// Runs until the first signal, or until a restart would help.
pub async fn main(args: Args) -> anyhow::Result<()> {
    if args.dry_run {
        bail!("crier has no dry run: leave --dry-run out, or give --dry-run=false");
    }
    // A report that somebody waits for must not be dropped silently.
    let missing = [
        ("gerrit", args.gerrit_workers),
        ("pubsub", args.pubsub_workers),
        ("slack", args.slack_workers),
        ("resultstore", args.resultstore_workers),
    ];
    if let Some((name, _)) = missing.iter().find(|(_, workers)| *workers > 0) {
        bail!(
            "this version of crier does not report to {name}: leave --{name}-workers out, and let another crier do it"
        );
    }
    if args.github_workers + args.blob_storage_workers + args.kubernetes_blob_storage_workers == 0 {
        bail!(
            "no reporter is on: give --github-workers, --blob-storage-workers or --kubernetes-blob-storage-workers a number above 0"
        );
    }
    let start = args.common.start("crier", None).await?;
    let connected = args.common.kubernetes.connect(&start.config, false).await?;
    start.stop_when_clusters_change(&connected, &[]);
    let crier = Crier {
        config: start.config.clone(),
        clients: connected.clients.clone(),
        github: args.github.client()?,
        storage: args.storage.opener(),
        clock: start.clock.clone(),
        options: Options {
            github_workers: args.github_workers,
            blob_storage_workers: args.blob_storage_workers,
            kubernetes_blob_storage_workers: args.kubernetes_blob_storage_workers,
            kubernetes_report_fraction: args.kubernetes_report_fraction,
            report_agent: args.report_agent.clone(),
            enablement: args.enablement.lists()?,
        },
    };
    start.health.ready();
    crier.run(start.stop.clone()).await;
    Ok(())
}
