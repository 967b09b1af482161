//! `prow plank`, upstream's prow-controller-manager (prow-runtime §6).

use super::common::{CommonArgs, StorageArgs, without_effect};
use super::leader;
use anyhow::bail;
use clap::Args as ClapArgs;
use prow_kube::clusters::PLANK_VERBS;
use prow_kube::prowjobs;
use prow_plank::{Plank, PlankOptions, scheduler};

/// Flags of `prow plank`.
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Turn ProwJobs into Pods and follow these. Of several replicas one works (a Lease in \
prowjob_namespace decides). A build cluster that cannot be used is left out, its jobs wait, and the others go on."
)]
pub struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    storage: StorageArgs,
    /// plank, scheduler (repeatable)
    #[arg(long, value_name = "NAME", default_values = ["plank"])]
    enable_controller: Vec<String>,
    /// Watch only Pods with these labels, besides created-by-prow=true
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    label_selector: String,
    /// Let the API servers check every write and keep none
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    dry_run: bool,
    #[arg(long, hide = true, value_name = "URL")]
    tot_url: Option<String>,
    #[command(flatten)]
    github: super::common::UnusedGithub,
}

/// Runs until the first signal, or until a restart would help.
pub async fn main(args: Args) -> anyhow::Result<()> {
    let known = ["plank", "scheduler"];
    if let Some(unknown) = args.enable_controller.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("--enable-controller={unknown}: there is no such controller; known: {}", known.join(", "));
    }
    let on = |name: &str| args.enable_controller.iter().any(|n| n == name);
    let start = args.common.start("plank", None).await?;
    without_effect(args.tot_url.iter().filter(|url| !url.is_empty()).map(|_| "--tot-url"));
    let mut connected = args.common.kubernetes.connect(&start.config, args.dry_run).await?;
    let snapshot = start.config.snapshot();
    connected.leave_out_unusable(&snapshot.prow.pod_namespace, &PLANK_VERBS).await;
    start.stop_when_clusters_change(&connected, &PLANK_VERBS);
    let namespace = snapshot.prow.prowjob_namespace.clone();
    // Ready to take over counts as ready.
    start.health.ready();
    let (config, clock, clients) = (start.config.clone(), start.clock.clone(), connected.clients.clone());
    let work = |stop: tokio_util::sync::CancellationToken| async {
        let jobs = prowjobs::watch(clients.infra(), &namespace);
        let plank = on("plank").then(|| {
            let options = PlankOptions {
                version: crate::world::VERSION.into(),
                workers: 16,
                label_selector: args.label_selector.clone(),
            };
            Plank::new(config.clone(), clients.clone(), jobs.clone(), clock.clone(), options)
                .run(stop.clone())
        });
        let scheduler = on("scheduler")
            .then(|| scheduler::run(config.clone(), clients.clone(), jobs.clone(), clock.clone(), stop));
        tokio::join!(
            async {
                if let Some(plank) = plank {
                    plank.await
                }
            },
            async {
                if let Some(scheduler) = scheduler {
                    scheduler.await
                }
            },
        );
    };
    let lease = "prow-controller-manager-leader-lock";
    leader::lead(args.dry_run, &connected.clients, &namespace, lease, start.clock.clone(), &start.stop, work)
        .await
}
