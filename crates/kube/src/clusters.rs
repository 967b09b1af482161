//! From flags to clients (prow-runtime §1.3, §14.3): the infrastructure cluster and every build cluster that can be
//! used, what is wrong with the others, and a watch for the moment at which that is no longer true.

use crate::dryrun::DryRun;
use crate::kubeconfig::{self, ClusterError, Files, KubernetesOptions};
use crate::permissions::check_pods;
use crate::token::TokenFile;
use crate::{Client, Clients};
use kube::Config;
use kube::client::{AuthError, ClientBuilder};
use kube::config::ExecInteractiveMode;
use prow_service::clock::SharedClock;
use prow_service::metrics;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;
use tower::util::MapRequestLayer;

/// How often files and clusters that could not be used are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A client that is not made by then has a credential plugin that hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What plank does with Pods.
pub const PLANK_VERBS: [&str; 6] = ["create", "delete", "list", "watch", "get", "patch"];
/// What sinker does with Pods.
pub const SINKER_VERBS: [&str; 5] = ["delete", "list", "watch", "get", "patch"];

static FAILED_CLIENTS: LazyLock<metrics::IntCounterVec> = LazyLock::new(|| {
    let help = "Build clusters that no client could be made for";
    metrics::counters("kubernetes_failed_client_creations", help, &["cluster"])
});

/// Clients, and what to watch.
pub struct Connected {
    /// For the components.
    pub clients: Clients,
    files: Files,
    // Those that a client could be made for and that were then left out: they may recover.
    waiting: BTreeMap<String, Client>,
    // Those that none could be made for: a plugin or a file may work later.
    broken: Vec<String>,
    source: Source,
}

/// Where clusters come from.
#[derive(Debug, Clone)]
struct Source {
    options: KubernetesOptions,
    disabled: Vec<String>,
    dry_run: bool,
    patience: Duration,
}

/// Why a process should end and be started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restart {
    /// A kubeconfig changed, or a certificate or key that it names.
    Files,
    /// A build cluster that was left out can be used now.
    Recovered(String),
}

impl std::fmt::Display for Restart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Restart::Files => f.write_str("a kubeconfig, or a certificate or key that it names, has changed"),
            Restart::Recovered(alias) => write!(f, "the build cluster {alias} can be used now"),
        }
    }
}

/// Makes the clients. Nothing is sent to a cluster yet; a context that no client can be made for, because a file is not
/// there or its credential plugin fails or hangs, is left out, with an error in the log.
pub async fn connect(
    options: &KubernetesOptions,
    disabled: &[String],
    dry_run: bool,
) -> Result<Connected, ClusterError> {
    let (options, disabled) = (options.clone(), disabled.to_vec());
    connect_to(Source { options, disabled, dry_run, patience: PATIENCE }).await
}

async fn connect_to(source: Source) -> Result<Connected, ClusterError> {
    let found = kubeconfig::resolve(&source.options, &source.disabled).await?;
    let (aliases, configs): (Vec<_>, Vec<_>) = found.contexts.into_iter().unzip();
    // Side by side: credential plugins are programs, and take their time.
    let made = configs.into_iter().map(|config| make(config, &source));
    let (infra, made) =
        futures::future::join(make(found.infra, &source), futures::future::join_all(made)).await;
    let infra = infra.map_err(ClusterError::Infrastructure)?;
    let mut build = BTreeMap::new();
    let mut unusable = found.unusable;
    for (alias, client) in aliases.into_iter().zip(made) {
        match client {
            Ok(client) => drop(build.insert(alias, client)),
            Err(why) => drop(unusable.insert(alias, why)),
        }
    }
    let broken = unusable.keys().cloned().collect();
    let mut clients = Clients::new(infra, build);
    for (cluster, why) in unusable {
        FAILED_CLIENTS.with_label_values(&[&cluster]).inc();
        tracing::error!(cluster, why, "this build cluster is left out; its jobs wait");
        clients.leave_out(&cluster, why);
    }
    Ok(Connected { clients, files: found.files, waiting: BTreeMap::new(), broken, source })
}

/// Makes a client, which runs the credential plugin if there is one: on a thread that may wait.
async fn make(config: Config, source: &Source) -> Result<Client, String> {
    make_unless(config, source, &mut None).await
}

/// A try that went on when it was not waited for any longer.
type Hanging = Option<tokio::task::JoinHandle<kube::Result<Client>>>;

/// The same, unless an earlier try hangs: one plugin does not get many threads.
async fn make_unless(mut config: Config, source: &Source, hanging: &mut Hanging) -> Result<Client, String> {
    if hanging.as_ref().is_some_and(|earlier| !earlier.is_finished()) {
        return Err("its credential plugin still hangs".to_owned());
    }
    let plugin = config.auth_info.exec.as_mut().map(|exec| {
        // Nobody is there to be asked, and what it says of a failure is for the log.
        if exec.interactive_mode != Some(ExecInteractiveMode::Always) {
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
        Plugin {
            command: exec.command.clone().unwrap_or_default(),
            hint: exec.install_hint.clone().unwrap_or_default(),
        }
    });
    let token = TokenFile::of(&mut config.auth_info).map_err(|error| error.to_string())?;
    let dry_run = source.dry_run;
    let mut made = tokio::task::spawn_blocking(move || client(config, token, dry_run));
    match tokio::time::timeout(source.patience, &mut made).await {
        Ok(Ok(Ok(client))) => Ok(client),
        Ok(Ok(Err(error))) => Err(plugin.map_or_else(|| error.to_string(), |plugin| plugin.said(&error))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            *hanging = Some(made);
            Err(format!(
                "its credential plugin {:?} did not answer within {} seconds",
                plugin.map(|plugin| plugin.command).unwrap_or_default(),
                source.patience.as_secs()
            ))
        }
    }
}

/// A program of `users[].user.exec`.
struct Plugin {
    command: String,
    hint: String,
}

impl Plugin {
    /// What failed, without its variables and what it wrote to standard output, which are credentials.
    fn said(&self, error: &kube::Error) -> String {
        let Plugin { command, hint } = self;
        match error {
            kube::Error::Auth(AuthError::AuthExecStart(error)) => {
                let hint = if hint.is_empty() { String::new() } else { format!("; {}", hint.trim()) };
                format!("its credential plugin {command:?} cannot be started: {error}{hint}")
            }
            kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => {
                let text = String::from_utf8_lossy(&out.stderr);
                let last = text.trim().chars().rev().take(500).collect::<Vec<_>>();
                let last: String = last.into_iter().rev().collect();
                format!("its credential plugin {command:?} failed ({}): {last}", out.status)
            }
            kube::Error::Auth(AuthError::AuthExecParse(_)) => {
                format!("its credential plugin {command:?} did not write an ExecCredential")
            }
            other => other.to_string(),
        }
    }
}

fn client(config: Config, token: TokenFile, dry_run: bool) -> kube::Result<Client> {
    let builder = ClientBuilder::try_from(config)?
        .with_layer(&MapRequestLayer::new(move |request| token.sign(request)));
    Ok(if dry_run { builder.with_layer(&DryRun).build() } else { builder.build() })
}

/// Whether a context that no client could be made for can be used now.
async fn is_whole(
    alias: &str,
    source: &Source,
    namespace: &str,
    verbs: &[&str],
    hanging: &mut Hanging,
) -> bool {
    let Ok(mut found) = kubeconfig::resolve(&source.options, &source.disabled).await else { return false };
    let Some(config) = found.contexts.remove(alias) else { return false };
    match make_unless(config, source, hanging).await {
        Ok(client) => check_pods(&client, namespace, verbs).await.is_ok(),
        Err(_) => false,
    }
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
        let mut broken: Vec<(String, Hanging)> = self.broken.iter().map(|a| (a.clone(), None)).collect();
        let source = self.source.clone();
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
                for (alias, hanging) in &mut broken {
                    if is_whole(alias, &source, &namespace, verbs, hanging).await {
                        return Restart::Recovered(alias.clone());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_service::clock::SystemClock;
    use serde_json::json;
    use std::path::Path;

    /// Three contexts of one server that nobody listens at, whose users have these plugins.
    fn kubeconfig(dir: &Path, plugins: &[(&str, &str)]) -> std::path::PathBuf {
        let exec = |script: &str| {
            json!({
                "apiVersion": "client.authentication.k8s.io/v1beta1", "command": "sh", "args": ["-c", script],
                "env": [{"name": "SECRET", "value": "opensesame"}],
            })
        };
        let mut text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "plain",
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "plain", "user": {"token": "t"}}],
            "contexts": [{"name": "plain", "context": {"cluster": "c", "user": "plain"}}],
        });
        for (name, script) in plugins {
            let user = match *script {
                "" => json!({"command": "no-such-plugin", "installHint": "install it so",
                             "apiVersion": "client.authentication.k8s.io/v1"}),
                script => exec(script),
            };
            let push = |list: &mut serde_json::Value, entry| list.as_array_mut().unwrap().push(entry);
            push(&mut text["users"], json!({"name": name, "user": {"exec": user}}));
            push(&mut text["contexts"], json!({"name": name, "context": {"cluster": "c", "user": name}}));
        }
        let path = dir.join("config");
        std::fs::write(&path, text.to_string()).unwrap();
        path
    }

    fn source(path: std::path::PathBuf, patience: Duration) -> Source {
        let options = KubernetesOptions {
            kubeconfig: Some(path),
            no_in_cluster_config: true,
            ..KubernetesOptions::default()
        };
        Source { options, disabled: Vec::new(), dry_run: false, patience }
    }

    #[tokio::test]
    async fn a_credential_plugin_that_fails_stops_nobody_and_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("there");
        // As gke-gcloud-auth-plugin and aws-iam-authenticator answer; first it cannot.
        let answer = r#"{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1", "status": {"token": "t", "expirationTimestamp": "2100-01-01T00:00:00Z"}}"#;
        let script = format!(
            "if [ -e {} ] && [ \"$SECRET\" = opensesame ]; then echo '{answer}'; else echo cannot log in >&2; exit 3; fi",
            there.display()
        );
        let plugins = [("late", script.as_str()), ("absent", "")];
        let source = source(kubeconfig(dir.path(), &plugins), Duration::from_secs(60));
        let connected = connect_to(source.clone()).await.unwrap();
        assert!(connected.clients.build("plain").is_ok());
        let left_out = connected.clients.left_out();
        for (alias, says) in [
            ("late", "plugin \"sh\" failed (exit status: 3): cannot log in"),
            ("absent", "cannot be started"),
            ("absent", "install it so"),
        ] {
            assert!(left_out[alias].contains(says), "{alias}: {}", left_out[alias]);
            assert!(!left_out[alias].contains("opensesame"), "{}", left_out[alias]);
        }
        assert!(!is_whole("late", &source, "pods", &[], &mut None).await);
        std::fs::write(&there, "").unwrap();
        assert!(is_whole("late", &source, "pods", &[], &mut None).await);
        // Nobody answers there.
        assert!(!is_whole("late", &source, "pods", &["get"], &mut None).await);
        let late = Connected { broken: vec!["late".into()], ..connected };
        let restart = late.restart_needed("pods".into(), &[], SystemClock::shared());
        assert_eq!(restart.await, Restart::Recovered("late".into()));
    }

    #[tokio::test]
    async fn a_credential_plugin_that_hangs_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        // Until this test is over, however it ends.
        let script = format!("while [ -d {} ]; do sleep 0.1; done", dir.path().display());
        let path = kubeconfig(dir.path(), &[("hangs", &script)]);
        let connected = connect_to(source(path, Duration::from_secs(3))).await.unwrap();
        assert!(connected.clients.build("plain").is_ok());
        let left_out = &connected.clients.left_out()["hangs"];
        assert!(left_out.contains("did not answer within 3 seconds"), "{left_out}");
        // It is not begun a second time as long as it hangs.
        let (source, mut hanging) = (connected.source.clone(), None);
        let mut again = async || {
            let mut found = kubeconfig::resolve(&source.options, &[]).await.unwrap();
            let config = found.contexts.remove("hangs").unwrap();
            make_unless(config, &source, &mut hanging).await.err().unwrap()
        };
        assert!(again().await.contains("did not answer"));
        assert!(again().await.contains("still hangs"));
    }
}
