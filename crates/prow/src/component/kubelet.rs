//! `prow kubelet`: the pod runner as a process of its own, a node of any Kubernetes API.

use super::common::CommonArgs;
use crate::datadir::DataDir;
use crate::world::{self, PodArgs};
use clap::Args as ClapArgs;
use std::path::PathBuf;

/// Flags of `prow kubelet`.
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Run Pods on this machine, as a node of the cluster that the kubeconfig's current context \
names: Pods that no node has yet are bound to this one. Meant for tests, and for API servers that have no other \
nodes: it takes every Pod that it sees."
)]
pub struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Where Pods are kept while they run
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    #[command(flatten)]
    pods: PodArgs,
}

/// Runs until the first signal; the Pods are ended then.
pub async fn main(args: Args) -> anyhow::Result<()> {
    let start = args.common.start("kubelet", None).await?;
    let connected = args.common.kubernetes.connect(&start.config, false).await?;
    let data_dir = DataDir::claim(&args.data_dir, &start.clock).await?;
    let client = connected.clients.infra();
    let kubelet =
        world::start_kubelet(data_dir.path(), &start.config.snapshot(), &args.pods, &client, &start.clock)
            .await?;
    start.health.ready();
    println!("kubelet: {}", kubelet.capabilities().describe());
    start.stop.cancelled().await;
    kubelet.shutdown().await;
    Ok(())
}
