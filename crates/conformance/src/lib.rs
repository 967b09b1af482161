//! What Prow relies on in a Kubernetes API, as cases that run against any `kube::Client`: the embedded server in
//! `cargo test`, a real kube-apiserver with etcd in `cargo xtask kubernetes-test`. Where the two differ, the embedded
//! server is wrong, unless docs/differences.md argues for it.
//!
//! A case is a function that panics when the server does not behave. Each has a namespace of its own. The contract is
//! the Kubernetes API conventions; prow-config §1 for ProwJobs; prow-runtime §14.1.
//!
//! [`real::RealCluster`] starts a control plane on loopback and gives a kubeconfig: for the suite, and for tests of
//! components that run as processes of their own.

mod cases;
pub mod real;
mod world;

use std::time::Duration;

use futures::future::BoxFuture;
use kube::Client;

pub use world::{Answer, Events, World};

/// Longest time a case may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// One behaviour.
#[derive(Clone, Copy)]
pub struct Case {
    /// What is relied on, as a sentence without its end.
    pub name: &'static str,
    run: fn(World) -> BoxFuture<'static, ()>,
}

/// How a case ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The case's name.
    pub name: &'static str,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// The server under test.
#[derive(Clone)]
pub struct Server {
    /// May do everything.
    pub admin: Client,
    /// May get, list and watch everything but Secrets, and is called `viewer`.
    pub viewer: Client,
}

/// Every case, in the order in which they run.
pub fn cases() -> Vec<Case> {
    cases::all()
}

/// Runs the cases one after the other; `told` hears of each as it ends.
pub async fn run(server: &Server, cases: &[Case], mut told: impl FnMut(&Outcome)) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let (server, run) = (server.clone(), case.run);
        let task = tokio::spawn(async move {
            let world = World::new(server, number).await;
            tokio::time::timeout(PATIENCE, run(world)).await.expect("the case ends in time");
        });
        let failure = task.await.err().map(|e| match e.try_into_panic() {
            Ok(panic) => panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_else(|| "panicked".to_owned()),
            Err(e) => e.to_string(),
        });
        let outcome = Outcome { name: case.name, failure };
        told(&outcome);
        outcomes.push(outcome);
    }
    outcomes
}
