//! What every component begins with: flags in groups under upstream's names (prow-runtime §1.2–§1.5), configuration,
//! logs, clients, and the reasons to end.

use super::health::Health;
use crate::flags::ConfigArgs;
use crate::world::LogArgs;
use anyhow::Context;
use clap::Args;
use prow_config::{Agent, Handle, ReloadStats};
use prow_kube::clusters::{self, Connected};
use prow_kube::kubeconfig::KubernetesOptions;
use prow_service::clock::{SharedClock, SystemClock};
use prow_service::enablement::GithubEnablement;
use prow_service::metrics::{self, Moves};
use prow_service::{logs, shutdown};
use prow_storage::{Opener, StorageOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Which clusters, and how they are reached.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubernetesArgs {
    /// A kubeconfig; every context in it is a build cluster alias [default: $KUBECONFIG, or the one in the home
    /// directory, if there is one]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A directory of kubeconfigs, such as a mounted Secret
    #[arg(long, value_name = "DIR")]
    kubeconfig_dir: Option<PathBuf>,
    /// Only files of --kubeconfig-dir whose names end so
    #[arg(long, value_name = "SUFFIX", default_value = "")]
    kubeconfig_suffix: String,
    /// A token file that replaces the service account's token in the cluster that we run in
    #[arg(long, value_name = "FILE")]
    projected_token_file: Option<PathBuf>,
    /// Do not use the cluster that we run in: ProwJobs live in the kubeconfig's current context
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    no_in_cluster_config: bool,
}

impl KubernetesArgs {
    fn options(&self) -> KubernetesOptions {
        KubernetesOptions {
            kubeconfig: self.kubeconfig.clone(),
            kubeconfig_dir: self.kubeconfig_dir.clone(),
            kubeconfig_suffix: self.kubeconfig_suffix.clone(),
            projected_token_file: self.projected_token_file.clone(),
            no_in_cluster_config: self.no_in_cluster_config,
        }
    }

    /// Whether a flag names clusters.
    pub fn given(&self) -> bool {
        self.kubeconfig.is_some() || self.kubeconfig_dir.is_some()
    }

    /// What a person would give kubectl.
    pub fn shown(&self) -> PathBuf {
        self.kubeconfig.clone().or_else(|| self.kubeconfig_dir.clone()).unwrap_or_else(|| "(default)".into())
    }

    /// Clients of all clusters.
    pub async fn connect(&self, config: &Handle, dry_run: bool) -> anyhow::Result<Connected> {
        let disabled = config.snapshot().prow.disabled_clusters.clone();
        Ok(clusters::connect(&self.options(), &disabled, dry_run).await?)
    }
}

/// Buckets.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Object storage")]
pub struct StorageArgs {
    /// Google credentials for gs:// buckets [default: $GOOGLE_APPLICATION_CREDENTIALS, or workload identity]
    #[arg(long, value_name = "FILE")]
    gcs_credentials_file: Option<PathBuf>,
    /// Credentials for s3:// buckets, in Prow's JSON form [default: $AWS_…]
    #[arg(long, value_name = "FILE")]
    s3_credentials_file: Option<PathBuf>,
}

impl StorageArgs {
    /// An opener with these credentials.
    pub fn opener(&self) -> Arc<Opener> {
        // Upstream's manifests give an empty string for "none".
        let file = |path: &Option<PathBuf>| path.clone().filter(|p| !p.as_os_str().is_empty());
        Arc::new(Opener::new(StorageOptions {
            gcs_credentials_file: file(&self.gcs_credentials_file),
            s3_credentials_file: file(&self.s3_credentials_file),
            ..StorageOptions::default()
        }))
    }
}

/// Which organizations and repositories are worked for.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Which repositories")]
pub struct EnablementArgs {
    /// Work for this organization and for others that are named, not for all (repeatable)
    #[arg(long, value_name = "ORG")]
    github_enabled_org: Vec<String>,
    /// As --github-enabled-org, for one repository (repeatable)
    #[arg(long, value_name = "ORG/REPO")]
    github_enabled_repo: Vec<String>,
    /// Never work for this organization (repeatable)
    #[arg(long, value_name = "ORG")]
    github_disabled_org: Vec<String>,
    /// Never work for this repository (repeatable)
    #[arg(long, value_name = "ORG/REPO")]
    github_disabled_repo: Vec<String>,
}

impl EnablementArgs {
    /// The lists, if they do not contradict each other.
    pub fn lists(&self) -> anyhow::Result<GithubEnablement> {
        let set = |list: &[String]| list.iter().cloned().collect();
        let lists = GithubEnablement {
            enabled_orgs: set(&self.github_enabled_org),
            enabled_repos: set(&self.github_enabled_repo),
            disabled_orgs: set(&self.github_disabled_org),
            disabled_repos: set(&self.github_disabled_repo),
        };
        lists.check()?;
        Ok(lists)
    }
}

/// Flags of Go's runtime and of parts that this program does not have. They are taken, so that a Deployment need not
/// be changed, and said in the log.
#[derive(Debug, Clone, Args)]
pub struct ForeignArgs {
    #[arg(long, hide = true, value_name = "PORT")]
    pprof_port: Option<u16>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    profile_memory_usage: Option<bool>,
    #[arg(long, hide = true, value_name = "DURATION")]
    memory_profile_interval: Option<String>,
}

impl ForeignArgs {
    fn say(&self) {
        let given = [
            ("--pprof-port", self.pprof_port.is_some()),
            ("--profile-memory-usage", self.profile_memory_usage == Some(true)),
            ("--memory-profile-interval", self.memory_profile_interval.is_some()),
        ];
        without_effect(given.into_iter().filter_map(|(flag, given)| given.then_some(flag)));
    }
}

/// GitHub flags of components that do not talk to GitHub here.
#[derive(Debug, Clone, Args)]
pub struct UnusedGithub {
    #[arg(long, hide = true)]
    github_endpoint: Vec<String>,
    #[arg(long, hide = true)]
    github_host: Option<String>,
    #[arg(long, hide = true)]
    github_graphql_endpoint: Option<String>,
    #[arg(long, hide = true)]
    github_token_path: Option<PathBuf>,
    #[arg(long, hide = true)]
    github_app_id: Option<String>,
    #[arg(long, hide = true)]
    github_app_private_key_path: Option<PathBuf>,
}

/// How long to wait for the first list of ProwJobs. We wait as long as it takes, and are not ready meanwhile.
#[derive(Debug, Clone, Args)]
pub struct ListingArgs {
    #[arg(long, hide = true, value_name = "DURATION")]
    timeout_listing_prowjobs: Option<String>,
}

impl ListingArgs {
    /// Says that it has no effect, if it was given.
    pub fn say(&self) {
        without_effect(self.timeout_listing_prowjobs.iter().map(|_| "--timeout-listing-prowjobs"));
    }
}

/// Says which flags were given and do nothing here.
pub fn without_effect<'a>(flags: impl Iterator<Item = &'a str>) {
    for flag in flags {
        tracing::warn!(flag, "this flag has no effect in this program");
    }
}

/// Flags of every component.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
    /// Port for /healthz and /healthz/ready, on all addresses; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8081, help_heading = "Instrumentation")]
    health_port: u16,
    /// Port for Prometheus' /metrics, on all addresses; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 9090, help_heading = "Instrumentation")]
    metrics_port: u16,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    foreign: ForeignArgs,
}

/// A component that has begun.
pub struct Start {
    /// The configuration.
    pub config: Handle,
    /// Time.
    pub clock: SharedClock,
    /// Cancelled when to stop.
    pub stop: CancellationToken,
    /// For `/healthz/ready`.
    pub health: Health,
    _agent: Agent,
}

impl CommonArgs {
    /// Reads the configuration, starts logs, and answers `/healthz` from now on.
    pub async fn start(
        &self,
        component: &'static str,
        plugins: Option<&PluginArgs>,
    ) -> anyhow::Result<Start> {
        let stop = shutdown::on_signal().context("cannot watch for signals")?;
        let mut options = self.config.options()?;
        if let Some(plugins) = plugins {
            plugins.add_to(&mut options);
        }
        let (config, agent) = Agent::start(options)?;
        export_loading(&config);
        let snapshot = config.snapshot();
        let level = self.log.level.clone().unwrap_or_else(|| snapshot.prow.log_level.to_lowercase());
        logs::init(&level, self.log.format());
        for warning in &snapshot.warnings {
            tracing::debug!("{warning}");
        }
        if !snapshot.warnings.is_empty() {
            let warnings = snapshot.warnings.len();
            tracing::warn!(warnings, "the configuration loaded with warnings; --log-level=debug shows them");
        }
        self.foreign.say();
        let health = Health::serve(self.health_port, self.metrics_port, stop.clone()).await?;
        tracing::info!(component, version = env!("CARGO_PKG_VERSION"), "starting");
        Ok(Start { config, clock: SystemClock::shared(), stop, health, _agent: agent })
    }
}

/// How loading the configuration goes, as metrics.
fn export_loading(config: &Handle) {
    type Read = fn(&ReloadStats) -> f64;
    const METRICS: [(&str, &str, Moves, Read); 4] = [
        ("prow_config_loads_total", "Times that the configuration was read", Moves::Up, |s| {
            s.attempts as f64
        }),
        (
            "prow_config_load_failures_total",
            "Times that it did not load, and the last good one stayed in force",
            Moves::Up,
            |s| s.failures as f64,
        ),
        (
            "prow_config_last_load_successful",
            "1 if it loaded the last time that it was read, else 0",
            Moves::Freely,
            |s| f64::from(u8::from(s.last_error.is_none())),
        ),
        (
            "prow_config_last_success_timestamp_seconds",
            "When it last loaded, in Unix seconds",
            Moves::Freely,
            |s| s.last_success_unix as f64,
        ),
    ];
    for (name, help, moves, read) in METRICS {
        let config = config.clone();
        metrics::register_read(name, help, moves, move || read(&config.reload_stats()));
    }
}

impl Start {
    /// Stops the component when a restart would bring another set of clusters. The kubelet starts it again.
    pub fn stop_when_clusters_change(&self, connected: &Connected, verbs: &'static [&'static str]) {
        let namespace = self.config.snapshot().prow.pod_namespace.clone();
        let needed = connected.restart_needed(namespace, verbs, self.clock.clone());
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let why = needed.await;
            tracing::warn!(%why, "ending, to be started again");
            stop.cancel();
        });
    }
}

/// Where plugins.yaml is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Configuration")]
pub struct PluginArgs {
    /// Prow's plugins.yaml
    #[arg(long, value_name = "FILE")]
    plugin_config: Option<PathBuf>,
    /// Directories with further plugin configuration (repeatable)
    #[arg(long, value_name = "DIR")]
    supplemental_plugin_config_dir: Vec<PathBuf>,
    /// How files of further plugin configuration end
    #[arg(long, value_name = "SUFFIX", default_value = "_pluginconfig.yaml")]
    supplemental_plugin_configs_filename_suffix: String,
    #[arg(skip)]
    default: Option<&'static str>,
}

impl PluginArgs {
    /// Takes `path` where the flag is not given.
    pub fn or(mut self, path: &'static str) -> PluginArgs {
        self.default = Some(path);
        self
    }

    /// Adds plugins.yaml to what is loaded.
    pub fn add_to(&self, options: &mut prow_config::LoadOptions) {
        options.plugin_config =
            self.plugin_config.clone().or_else(|| self.default.map(|p| Path::new(p).to_owned()));
        options.supplemental_plugin_config_dirs = self.supplemental_plugin_config_dir.clone();
        options.supplemental_plugin_configs_suffix = self.supplemental_plugin_configs_filename_suffix.clone();
    }
}
