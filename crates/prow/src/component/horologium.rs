//! `prow horologium` (prow-runtime §11.1).

use super::common::CommonArgs;
use clap::Args as ClapArgs;
use prow_kube::prowjobs;

/// Flags of `prow horologium`.
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Create the ProwJobs of periodic jobs. A run is named after what made it due, so that a second \
replica does no harm."
)]
pub struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Let the API server check every write and keep none
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    dry_run: bool,
    #[command(flatten)]
    listing: super::common::ListingArgs,
}

/// Runs until the first signal.
pub async fn main(args: Args) -> anyhow::Result<()> {
    let start = args.common.start("horologium", None).await?;
    args.listing.say();
    let connected = args.common.kubernetes.connect(&start.config, args.dry_run).await?;
    let namespace = start.config.snapshot().prow.prowjob_namespace.clone();
    let jobs = prowjobs::watch(connected.clients.infra(), &namespace);
    start.health.ready();
    prow_horologium::run(
        start.config.clone(),
        connected.clients,
        jobs,
        start.clock.clone(),
        start.stop.clone(),
    )
    .await;
    Ok(())
}
