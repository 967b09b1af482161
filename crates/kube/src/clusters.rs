//! From flags to clients (prow-runtime §1.3, §14.3): the infrastructure cluster and every build cluster that can be
//! used, what is wrong with the others, and a watch for the moment at which that is no longer true.

use crate::dryrun::DryRun;
use crate::kubeconfig::{self, ClusterError, Files, KubernetesOptions};
use crate::permissions::check_pods;
use crate::{Client, Clients};
use kube::Config;
use kube::client::ClientBuilder;
use prow_service::clock::SharedClock;
use prow_service::metrics;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

/// How often files and clusters that could not be used are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What plank does with Pods.
pub const PLANK_VERBS: [&str; 6] = ["create", "delete", "list", "watch", "get", "patch"];
/// What sinker does with Pods.
pub const SINKER_VERBS: [&str; 5] = ["delete", "list", "watch", "get", "patch"];

static FAILED_CLIENTS: LazyLock<prometheus::IntCounterVec> = LazyLock::new(|| {
    metrics::register(prometheus::IntCounterVec::new(
        prometheus::Opts::new(
            "kubernetes_failed_client_creations",
            "Build clusters that no client could be made for",
        ),
        &["cluster"],
    ))
});

/// Clients, and what to watch.
pub struct Connected {
    /// For the components.
    pub clients: Clients,
    files: Files,
    // Those that a client could be made for and that were then left out: they may recover.
    waiting: BTreeMap<String, Client>,
}

/// Why a process should end and be started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restart {
    /// A kubeconfig changed.
    Files,
    /// A build cluster that was left out can be used now.
    Recovered(String),
}

impl std::fmt::Display for Restart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Restart::Files => f.write_str("a kubeconfig file has changed"),
            Restart::Recovered(alias) => write!(f, "the build cluster {alias} can be used now"),
        }
    }
}

/// Makes the clients. Nothing is sent yet; a context that no client can be made for is left out, with an error in
/// the log.
pub async fn connect(
    options: &KubernetesOptions,
    disabled: &[String],
    dry_run: bool,
) -> Result<Connected, ClusterError> {
    let found = kubeconfig::resolve(options, disabled).await?;
    let infra =
        client(found.infra, dry_run).map_err(|error| ClusterError::Infrastructure(error.to_string()))?;
    let mut build = BTreeMap::new();
    let mut unusable = found.unusable;
    for (alias, config) in found.contexts {
        match client(config, dry_run) {
            Ok(client) => {
                build.insert(alias, client);
            }
            Err(error) => {
                unusable.insert(alias, error.to_string());
            }
        }
    }
    let mut clients = Clients::new(infra, build);
    for (cluster, why) in unusable {
        FAILED_CLIENTS.with_label_values(&[&cluster]).inc();
        tracing::error!(cluster, why, "this build cluster is left out; its jobs wait");
        clients.leave_out(&cluster, why);
    }
    Ok(Connected { clients, files: found.files, waiting: BTreeMap::new() })
}

fn client(config: Config, dry_run: bool) -> kube::Result<Client> {
    let builder = ClientBuilder::try_from(config)?;
    Ok(if dry_run { builder.with_layer(&DryRun).build() } else { builder.build() })
}

impl Connected {
    /// Leaves out the build clusters that do not let us do `verbs` on Pods in `namespace`. All are asked at a time:
    /// one that does not answer costs no more than its own patience.
    pub async fn leave_out_unusable(&mut self, namespace: &str, verbs: &[&str]) {
        let all: Vec<(String, Client)> =
            self.clients.build_clusters().map(|(alias, client)| (alias.to_owned(), client.clone())).collect();
        let checks = all.iter().map(|(_, client)| check_pods(client, namespace, verbs));
        let answers = futures::future::join_all(checks).await;
        for ((alias, client), answer) in all.into_iter().zip(answers) {
            if let Err(why) = answer {
                tracing::error!(cluster = alias, %why, "this build cluster is left out; its jobs wait");
                self.clients.leave_out(&alias, why.to_string());
                self.waiting.insert(alias, client);
            }
        }
    }

    /// Returns when a restart would change something: a kubeconfig is another, or a build cluster that was left out
    /// recovered.
    pub fn restart_needed(
        &self,
        namespace: String,
        verbs: &'static [&'static str],
        clock: SharedClock,
    ) -> impl Future<Output = Restart> + Send + use<> {
        let (files, waiting) = (self.files.clone(), self.waiting.clone());
        async move {
            loop {
                clock.sleep(LOOK_AGAIN).await;
                if files.changed() {
                    return Restart::Files;
                }
                let checks = waiting.values().map(|client| check_pods(client, &namespace, verbs));
                let answers = futures::future::join_all(checks).await;
                if let Some((alias, _)) = waiting.keys().zip(answers).find(|(_, answer)| answer.is_ok()) {
                    return Restart::Recovered(alias.clone());
                }
            }
        }
    }
}
