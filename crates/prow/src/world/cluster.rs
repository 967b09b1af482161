//! The cluster that a world lives in: an embedded API server with this machine as its one node, or Kubernetes.

use super::{PodArgs, host_paths};
use bytes::Bytes;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Namespace;
use prow_api::prowjob::ProwJob;
use prow_apiserver::{LogError, LogOptions, PodLogs};
use prow_config::Snapshot;
use prow_kube::clusters::Connected;
use prow_kube::{Clients, prowjobs};
use prow_kubelet::Kubelet;
use prow_service::clock::SharedClock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Where ProwJobs and Pods live.
pub enum Cluster {
    /// In an embedded API server that listens here for kubectl; Pods run on this machine.
    Embedded {
        /// Listens for kubectl.
        socket: TcpListener,
        /// Names beside loopback under which kubectl reaches it; without any it has to listen on loopback.
        names: Vec<String>,
    },
    /// In Kubernetes.
    Kubernetes {
        /// The infrastructure cluster and the build clusters.
        connected: Box<Connected>,
        /// What kubectl reaches it with.
        kubeconfig: PathBuf,
        /// Run Pods on this machine, as a node of that cluster would, instead of leaving them to its nodes.
        pods_here: bool,
    },
}

/// The runner of Pods on this machine.
pub async fn start_kubelet(
    data_dir: &Path,
    snapshot: &Snapshot,
    pods: &PodArgs,
    client: &kube::Client,
    clock: &SharedClock,
) -> anyhow::Result<Arc<Kubelet>> {
    let mut options = pods.runner.options(data_dir, host_paths(snapshot))?;
    options.max_pods = pods.max_pods;
    Ok(Arc::new(Kubelet::start(options, client.clone(), clock.clone()).await?))
}

/// Makes a namespace that is not there.
pub(super) async fn ensure_namespace(client: &kube::Client, name: &str) -> anyhow::Result<()> {
    let namespaces: kube::Api<Namespace> = kube::Api::all(client.clone());
    let namespace = Namespace {
        metadata: kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..Namespace::default()
    };
    match namespaces.create(&kube::api::PostParams::default(), &namespace).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => anyhow::bail!("cannot make the namespace {name}: {}", prowjobs::said(&error)),
    }
}

/// Whether ProwJobs can be kept there; else what is missing.
pub(super) async fn installed(clients: &Clients, namespace: &str) -> anyhow::Result<()> {
    let jobs: kube::Api<ProwJob> = kube::Api::namespaced(clients.infra(), namespace);
    match jobs.list_metadata(&kube::api::ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(error) if prowjobs::not_found(&error) => anyhow::bail!(
            "the infrastructure cluster does not know ProwJobs: install the CustomResourceDefinition prowjobs.prow.k8s.io"
        ),
        Err(error) => anyhow::bail!("the infrastructure cluster cannot be used: {}", prowjobs::said(&error)),
    }
}

/// Lets the API server serve `pods/NAME/log` from the runner.
pub(super) struct RunnerLogs(pub(super) Arc<Kubelet>);

#[async_trait::async_trait]
impl PodLogs for RunnerLogs {
    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, LogError> {
        let query = prow_kubelet::LogQuery {
            container: Some(options.container),
            follow: options.follow,
            tail_lines: options.tail_lines,
            since: options.since,
            timestamps: options.timestamps,
            limit_bytes: options.limit_bytes,
            previous: options.previous,
        };
        self.0.logs(namespace, pod, &query).await.map_err(|error| match error {
            prow_kubelet::LogError::PodNotFound { .. } => LogError::NotFound(error.to_string()),
            prow_kubelet::LogError::Failed(_) => LogError::Failed(error.to_string()),
            _ => LogError::NotReady(error.to_string()),
        })
    }
}
