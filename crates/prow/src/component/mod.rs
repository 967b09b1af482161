//! Components as processes of their own, as they run on Kubernetes: `prow hook`, `prow plank`, …, with Prow's flags
//! (prow-runtime §1, §2, §6, §10–§12). Each is the same code that `prow up` runs in one process.

pub mod common;
mod crier;
mod deck;
mod health;
mod hook;
mod horologium;
mod kubelet;
mod leader;
mod plank;
mod sinker;

pub use common::KubernetesArgs;

use clap::Subcommand;
use std::process::ExitCode;

/// Names under which the executable acts as that component, so that an image whose entry point is called `hook`
/// works as upstream's does.
pub const NAMES: [&str; 7] =
    ["hook", "plank", "prow-controller-manager", "horologium", "sinker", "crier", "deck"];

/// The components.
#[derive(Debug, Subcommand)]
pub enum Component {
    /// Receive GitHub's webhooks and hand them to plugins
    Hook(Box<hook::Args>),
    /// Turn ProwJobs into Pods and follow these (also: prow-controller-manager)
    #[command(alias = "prow-controller-manager")]
    Plank(Box<plank::Args>),
    /// Create the ProwJobs of periodic jobs
    Horologium(Box<horologium::Args>),
    /// Delete ProwJobs and Pods that have served
    Sinker(Box<sinker::Args>),
    /// Report results to GitHub and object storage
    Crier(Box<crier::Args>),
    /// Serve the web page
    Deck(Box<deck::Args>),
    /// Run Pods on this machine for an API server
    Kubelet(Box<kubelet::Args>),
}

/// Runs one until it is told to stop.
pub async fn main(component: Component) -> anyhow::Result<ExitCode> {
    match component {
        Component::Hook(args) => hook::main(*args).await?,
        Component::Plank(args) => plank::main(*args).await?,
        Component::Horologium(args) => horologium::main(*args).await?,
        Component::Sinker(args) => sinker::main(*args).await?,
        Component::Crier(args) => crier::main(*args).await?,
        Component::Deck(args) => deck::main(*args).await?,
        Component::Kubelet(args) => kubelet::main(*args).await?,
    }
    Ok(ExitCode::SUCCESS)
}
