//! Horologium: time becomes ProwJobs (prow-runtime §11.1, prow-config §5.5).
//!
//! [`schedule::Crons`] remembers when each cron job fires next; [`schedule::plan`] decides from the newest run of
//! each periodic what to start; [`run`] asks both every `horologium.tick_interval`. A run's name is derived from
//! what made it due, so that a restart, or a second horologium, meets its own earlier work.

pub mod schedule;

use kube::api::Api;
use prow_api::prowjob::{JobType, ProwJob};
use prow_config::Handle;
use prow_kube::prowjobs::{self, BY_PERIODIC, Created};
use prow_kube::{Clients, Store};
use prow_service::clock::SharedClock;
use schedule::{Crons, Due};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Works until `stop` is cancelled. The first look is immediate.
pub async fn run(
    config: Handle,
    clients: Clients,
    jobs: Store<ProwJob>,
    clock: SharedClock,
    stop: CancellationToken,
) {
    jobs.ready().await;
    let mut crons = Crons::default();
    let mut changes = config.changes();
    tracing::info!("horologium is running");
    loop {
        let snapshot = config.snapshot();
        tick(&mut crons, &snapshot, &clients, &jobs, &clock).await;
        let pause =
            snapshot.prow.horologium.tick_interval().to_std().max(std::time::Duration::from_millis(100));
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(pause) => {}
            // A new interval or a new job is seen at once.
            Ok(()) = changes.changed() => {}
        }
    }
}

async fn tick(
    crons: &mut Crons,
    snapshot: &prow_config::Snapshot,
    clients: &Clients,
    jobs: &Store<ProwJob>,
    clock: &SharedClock,
) {
    let now = clock.now();
    let periodics = &snapshot.jobs.periodics;
    let newest: BTreeMap<&str, Arc<ProwJob>> = periodics
        .iter()
        .filter_map(|p| {
            let runs = jobs.by(BY_PERIODIC, &p.base.name);
            Some((p.base.name.as_str(), prowjobs::newest(&runs, |j| j.spec.job_type == JobType::Periodic)?))
        })
        .collect();
    let fired = crons.fired(periodics, &newest, now);
    let api: Api<ProwJob> = Api::namespaced(clients.infra(), &snapshot.prow.prowjob_namespace);
    for due in schedule::plan(periodics, &newest, &fired, now) {
        let Due { periodic, seed, retry, why } = &due;
        let mut labels = periodic.base.labels.clone();
        if let Some(attempt) = retry {
            labels.insert(prow_api::labels::RERUN.to_owned(), attempt.to_string());
        }
        let job = prow_job::build::new_prowjob(
            prow_job::build::periodic(periodic),
            &labels,
            &periodic.base.annotations,
            &prow_job::names::periodic_name(&periodic.base.name, seed),
            &snapshot.prow.prowjob_namespace,
            now,
            snapshot.prow.scheduler.enabled,
        );
        match prowjobs::create(&api, &job, clock).await {
            Ok(Created::New) => {
                tracing::info!(job = periodic.base.name, prowjob = job.name(), why, "periodic started");
                // The next look decides from the store: it must show this run first.
                prowjobs::wait_for_state(
                    jobs,
                    job.name(),
                    job.status.state,
                    clock,
                    std::time::Duration::from_secs(10),
                )
                .await;
            }
            Ok(Created::Existed) => {
                tracing::debug!(job = periodic.base.name, prowjob = job.name(), "this run was started before")
            }
            Err(error) => {
                tracing::error!(job = periodic.base.name, %error, "could not start the periodic; the next tick tries again");
                crons.put_back(&due, &fired);
            }
        }
    }
}
