//! Sinker: deletes ProwJobs and Pods that have served (prow-runtime §11.2). [`plan`] decides, [`run`] does.
//!
//! An incomplete ProwJob is never deleted, nor the Pod of one.

mod metrics;
pub mod plan;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use metrics::Seen;
use plan::PodView;
use prow_api::labels;
use prow_api::prowjob::ProwJob;
use prow_config::{Handle, Snapshot};
use prow_kube::prowjobs::{not_found, passing};
use prow_kube::{Clients, Store};
use prow_service::clock::SharedClock;
use serde_json::json;
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

/// What one cycle did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cycle {
    /// ProwJobs deleted.
    pub prowjobs: usize,
    /// Pods deleted.
    pub pods: usize,
    /// Deletions that failed; the next cycle tries again.
    pub failures: usize,
}

/// Cleans every `sinker.resync_period` until `stop` is cancelled. The first cycle is immediate.
pub async fn run(
    config: Handle,
    clients: Clients,
    jobs: Store<ProwJob>,
    clock: SharedClock,
    stop: CancellationToken,
) {
    jobs.ready().await;
    loop {
        let snapshot = config.snapshot();
        let done = cycle(&snapshot, &clients, &jobs, clock.now()).await;
        if done != Cycle::default() {
            tracing::info!(
                prowjobs = done.prowjobs,
                pods = done.pods,
                failures = done.failures,
                "cleaned up"
            );
        }
        let pause = snapshot.prow.sinker.resync_period.to_std().max(std::time::Duration::from_secs(1));
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(pause) => {}
        }
    }
}

/// One cycle.
pub async fn cycle(snapshot: &Snapshot, clients: &Clients, jobs: &Store<ProwJob>, now: Timestamp) -> Cycle {
    let began = std::time::Instant::now();
    let mut done = Cycle::default();
    let mut seen = Seen::default();
    let sinker = &snapshot.prow.sinker;
    let prowjobs: Api<ProwJob> = Api::namespaced(clients.infra(), &snapshot.prow.prowjob_namespace);
    let configured: BTreeSet<&str> = snapshot.jobs.periodics.iter().map(|p| p.base.name.as_str()).collect();
    let all = jobs.all();
    seen.prowjobs = i64::try_from(all.len()).unwrap_or(i64::MAX);
    for (name, reason) in plan::prowjobs(&all, &configured, sinker, now) {
        match prowjobs.delete(&name, &DeleteParams::default()).await {
            Err(error) if !not_found(&error) => {
                tracing::warn!(prowjob = name, %error, "could not delete the ProwJob");
                metrics::failed(&mut seen.prowjob_errors, &error);
                done.failures += 1;
            }
            _ => {
                tracing::debug!(prowjob = name, reason, "deleted");
                metrics::count(&mut seen.prowjobs_cleaned, reason);
                done.prowjobs += 1;
            }
        }
    }
    for (alias, client) in clients.build_clusters() {
        if sinker.exclude_clusters.iter().any(|c| c == alias) {
            continue;
        }
        let pods: Api<Pod> = Api::namespaced(client.clone(), &snapshot.prow.pod_namespace);
        if let Err(error) = clean_pods(&pods, &prowjobs, jobs, snapshot, now, (&mut done, &mut seen)).await {
            // One cluster that does not answer must not keep the others from being cleaned.
            tracing::warn!(cluster = alias, %error, "could not list Pods");
            done.failures += 1;
        }
    }
    metrics::show(&seen, began.elapsed());
    done
}

async fn clean_pods(
    pods: &Api<Pod>,
    prowjobs: &Api<ProwJob>,
    jobs: &Store<ProwJob>,
    snapshot: &Snapshot,
    now: Timestamp,
    (done, seen): (&mut Cycle, &mut Seen),
) -> Result<(), kube::Error> {
    let mut page = ListParams::default().labels(&format!("{}=true", labels::CREATED_BY_PROW)).limit(500);
    loop {
        let list = pods.list(&page).await?;
        seen.pods += i64::try_from(list.items.len()).unwrap_or(i64::MAX);
        for pod in &list.items {
            let view = PodView::of(pod);
            let mut job = jobs.get(&view.prowjob);
            if job.is_none() && plan::is_old_enough_to_be_an_orphan(&view, now) {
                // The watch may be behind: only a fresh answer makes an orphan.
                job = match prowjobs.get_opt(&view.prowjob).await {
                    Ok(found) => found.map(Into::into),
                    Err(error) if passing(&error) => return Err(error),
                    Err(error) => {
                        // One Pod with a strange label must not keep the others from being cleaned.
                        tracing::warn!(pod = view.name, prowjob = view.prowjob, %error, "could not look up the Pod's ProwJob");
                        done.failures += 1;
                        continue;
                    }
                };
            }
            let fate = plan::pod(&view, job.as_deref(), &snapshot.prow.sinker, now);
            if fate.release {
                release(pods, pod).await;
            }
            let Some(reason) = fate.delete else { continue };
            match pods.delete(&view.name, &DeleteParams::default()).await {
                Err(error) if !not_found(&error) => {
                    tracing::warn!(pod = view.name, %error, "could not delete the Pod");
                    metrics::failed(&mut seen.pod_errors, &error);
                    done.failures += 1;
                }
                _ => {
                    tracing::debug!(pod = view.name, reason, "deleted");
                    metrics::count(&mut seen.pods_removed, reason);
                    done.pods += 1;
                }
            }
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Takes crier's finalizer off; its owner no longer needs the Pod.
async fn release(pods: &Api<Pod>, pod: &Pod) {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let kept: Vec<&String> =
        pod.metadata.finalizers.iter().flatten().filter(|f| *f != labels::GCSK8S_FINALIZER).collect();
    let change = json!({"metadata": {"finalizers": kept, "resourceVersion": pod.metadata.resource_version}});
    if let Err(error) = pods.patch(name, &PatchParams::default(), &Patch::Merge(change)).await
        && !not_found(&error)
    {
        tracing::warn!(pod = name, %error, "could not take the finalizer off; the next cycle tries again");
    }
}
