//! `prow hook` (prow-runtime §2).

use super::common::{CommonArgs, EnablementArgs, PluginArgs, without_effect};
use crate::flags::{GithubArgs, go_duration};
use crate::own_jobs::fetched;
use anyhow::bail;
use clap::Args as ClapArgs;
use prow_hook::{Deps, Hook, Options};
use prow_plugins::jobs::RepositoryJobs;
use prow_plugins::{Registry, RegistryOptions};
use prow_service::listen;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `prow hook`.
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Receive GitHub's webhooks, journal them, and hand them to plugins. What was answered with 200 \
is on disk: give --journal-dir a volume that outlives the Pod."
)]
pub struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    plugins: PluginArgs,
    #[command(flatten)]
    github: GithubArgs,
    #[command(flatten)]
    enablement: EnablementArgs,
    /// Port for webhooks, on all addresses; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8888)]
    port: u16,
    /// Path of the webhook
    #[arg(long, value_name = "PATH", default_value = "/hook")]
    webhook_path: String,
    /// File with the webhook secret: a token, or a map of organisations and repositories to tokens
    #[arg(long, value_name = "FILE", default_value = "/etc/webhook/hmac")]
    hmac_secret_file: PathBuf,
    /// How long handlers may still take after the first signal
    #[arg(long, value_name = "DURATION", default_value = "180s", value_parser = go_duration)]
    grace_period: Duration,
    /// Where events are kept until they are handled; one hook a directory
    #[arg(long, value_name = "DIR", default_value = "/var/lib/prow/hook")]
    journal_dir: PathBuf,
    /// Where mirrors of repositories that define jobs themselves are kept [default: a directory for temporary files]
    #[arg(long, value_name = "DIR")]
    cache_dir_base: Option<PathBuf>,
    /// Upstream's bound on cached repositories; ours go by size
    #[arg(long, hide = true, value_name = "N")]
    in_repo_config_cache_size: Option<String>,
    /// Upstream's server of in-repo configuration; hook reads repositories itself
    #[arg(long, hide = true, value_name = "URL")]
    moonraker_address: Option<String>,
    /// There is no dry run of hook: give --dry-run=false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    dry_run: bool,
}

/// Runs until the first signal.
pub async fn main(args: Args) -> anyhow::Result<()> {
    if args.dry_run {
        bail!("hook has no dry run, and --dry-run is true unless told otherwise: give --dry-run=false");
    }
    let plugins = args.plugins.clone().or("/etc/plugins/plugins.yaml");
    let start = args.common.start("hook", Some(&plugins)).await?;
    let foreign = [
        args.in_repo_config_cache_size.as_ref().map(|_| "--in-repo-config-cache-size"),
        args.moonraker_address.as_ref().filter(|a| !a.is_empty()).map(|_| "--moonraker-address"),
    ];
    without_effect(foreign.into_iter().flatten());
    let connected = args.common.kubernetes.connect(&start.config, false).await?;
    let github = args.github.client()?;
    let mirrors = args.cache_dir_base.clone().unwrap_or_else(|| std::env::temp_dir().join("prow-git"));
    let own_jobs = fetched(&mirrors, &args.github.git_base(), &github);
    let hook = Hook::open(
        Options {
            webhook_path: args.webhook_path.clone(),
            grace_period: args.grace_period,
            enablement: args.enablement.lists()?,
            ..Options::new(args.journal_dir.clone(), args.hmac_secret_file.clone())
        },
        Deps {
            config: start.config.clone(),
            github,
            kube: connected.clients.infra(),
            jobs: std::sync::Arc::new(RepositoryJobs::new(own_jobs)),
            registry: Registry::builtin(RegistryOptions::default()),
            clock: start.clock.clone(),
        },
    )?;
    let socket =
        listen::bind("webhooks", "--port", SocketAddr::from((Ipv4Addr::UNSPECIFIED, args.port))).await?;
    println!("hook: webhooks on {}{}", socket.local_addr()?, args.webhook_path);
    start.health.ready();
    let serve = listen::serve(socket, hook.router(), start.stop.clone());
    let (served, handled) = tokio::join!(serve, hook.run(start.stop.clone()));
    served?;
    Ok(handled?)
}
