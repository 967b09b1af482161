//! Reports results to GitHub and object storage (prow-runtime §10).
//!
//! ```text
//! ProwJob store ──names──> one queue a reporter ──> should_report? ──> report ──> prev_report_states[reporter]
//! ```
//!
//! Properties:
//! * A state is reported until that succeeded once; `status.prev_report_states` remembers it, by reporter name, with
//!   a merge patch of that one member.
//! * Reporters do not wait for each other.
//! * What a state means on GitHub, what a comment says, what goes into storage are pure functions.

mod controller;
mod error;
mod gcs;
mod github;
mod kubernetes;
mod metrics;

pub use controller::{Reported, Reporter};
pub use error::Error;
pub use gcs::GcsReporter;
pub use github::GithubReporter;
pub use kubernetes::KubernetesReporter;

use controller::Controller;
use prow_api::ProwJob;
use prow_config::Handle;
use prow_kube::{Clients, Store, prowjobs};
use prow_service::clock::SharedClock;
use prow_service::enablement::GithubEnablement;
use prow_storage::Opener;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Settings. A reporter with no workers is off.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--github-workers`.
    pub github_workers: usize,
    /// `--blob-storage-workers`.
    pub blob_storage_workers: usize,
    /// `--kubernetes-blob-storage-workers`.
    pub kubernetes_blob_storage_workers: usize,
    /// `--kubernetes-report-fraction`, 0 to 1.
    pub kubernetes_report_fraction: f64,
    /// `--report-agent`: report only jobs of this agent to GitHub; empty is all.
    pub report_agent: String,
    /// `--github-enabled-org` and its kin.
    pub enablement: GithubEnablement,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            github_workers: 5,
            blob_storage_workers: 5,
            kubernetes_blob_storage_workers: 0,
            kubernetes_report_fraction: 1.0,
            report_agent: String::new(),
            enablement: GithubEnablement::default(),
        }
    }
}

/// The component.
pub struct Crier {
    /// The configuration.
    pub config: Handle,
    /// The cluster where ProwJobs live.
    pub clients: Clients,
    /// GitHub.
    pub github: prow_github::Client,
    /// Buckets.
    pub storage: Arc<Opener>,
    /// Time.
    pub clock: SharedClock,
    /// Settings.
    pub options: Options,
}

impl Crier {
    /// Reports until `stop` is cancelled; then lets reports under way end.
    pub async fn run(self, stop: CancellationToken) {
        let namespace = self.config.snapshot().prow.prowjob_namespace.clone();
        let store = prowjobs::watch(self.clients.infra(), &namespace);
        self.run_on(store, stop).await;
    }

    /// As [`Crier::run`], over a store that other components of this process look into, too.
    pub async fn run_on(self, store: Store<ProwJob>, stop: CancellationToken) {
        let namespace = self.config.snapshot().prow.prowjob_namespace.clone();
        let mut reporters: Vec<(Arc<dyn Reporter>, usize)> = Vec::new();
        if self.options.github_workers > 0 {
            let reporter = GithubReporter::new(
                self.github.tagged("crier"),
                store.clone(),
                self.options.report_agent.clone(),
            );
            reporters.push((Arc::new(reporter), self.options.github_workers));
        }
        if self.options.blob_storage_workers > 0 {
            let reporter = GcsReporter::new(Arc::clone(&self.storage), self.clock.clone());
            reporters.push((Arc::new(reporter), self.options.blob_storage_workers));
        }
        if self.options.kubernetes_blob_storage_workers > 0 {
            let reporter = KubernetesReporter::new(
                self.clients.clone(),
                Arc::clone(&self.storage),
                self.options.kubernetes_report_fraction,
            );
            reporters.push((Arc::new(reporter), self.options.kubernetes_blob_storage_workers));
        }
        let mut running = tokio::task::JoinSet::new();
        for (reporter, workers) in reporters {
            let controller = Controller {
                reporter,
                store: store.clone(),
                api: kube::Api::namespaced(self.clients.infra(), &namespace),
                config: self.config.clone(),
                enablement: self.options.enablement.clone(),
                clock: self.clock.clone(),
            };
            running.spawn(controller.run(workers, stop.clone()));
        }
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a reporter stopped");
            }
        }
    }
}
