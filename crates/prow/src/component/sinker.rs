//! `prow sinker` (prow-runtime §11.2).

use super::common::CommonArgs;
use super::leader;
use clap::Args as ClapArgs;
use prow_kube::clusters::SINKER_VERBS;
use prow_kube::prowjobs;

/// Flags of `prow sinker`.
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Delete ProwJobs and Pods that have served, as sinker.* of the configuration says. Of several \
replicas one works."
)]
pub struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Clean once and end
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    run_once: bool,
    /// Let the API servers check every deletion and carry out none
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    dry_run: bool,
}

/// Runs until the first signal, or until a restart would help.
pub async fn main(args: Args) -> anyhow::Result<()> {
    let start = args.common.start("sinker", None).await?;
    let mut connected = args.common.kubernetes.connect(&start.config, args.dry_run).await?;
    let snapshot = start.config.snapshot();
    connected.leave_out_unusable(&snapshot.prow.pod_namespace, &SINKER_VERBS).await;
    let namespace = snapshot.prow.prowjob_namespace.clone();
    start.health.ready();
    let (config, clock, clients) = (start.config.clone(), start.clock.clone(), connected.clients.clone());
    if !args.run_once {
        start.stop_when_clusters_change(&connected, &SINKER_VERBS);
    }
    let work = |stop| async {
        let jobs = prowjobs::watch(clients.infra(), &namespace);
        if args.run_once {
            jobs.ready().await;
            let done = prow_sinker::cycle(&config.snapshot(), &clients, &jobs, clock.now()).await;
            let did = if args.dry_run { "dry run: would have deleted" } else { "deleted" };
            println!(
                "{did} {} ProwJobs and {} Pods; {} deletions failed",
                done.prowjobs, done.pods, done.failures
            );
        } else {
            prow_sinker::run(config.clone(), clients.clone(), jobs, clock.clone(), stop).await;
        }
    };
    leader::lead(
        args.dry_run,
        &connected.clients,
        &namespace,
        "prow-sinker-leaderlock",
        start.clock.clone(),
        &start.stop,
        work,
    )
    .await
}
