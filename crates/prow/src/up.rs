//! `prow up`: a whole Prow on this machine against the real GitHub.

use crate::component::KubernetesArgs;
use crate::datadir::DataDir;
use crate::world::{self, Cluster, World, WorldOptions};
use anyhow::Context;
use clap::Args as ClapArgs;
use prow_config::{Agent, LoadOptions};
use prow_github::{Client, ClientOptions, TokenSource};
use prow_service::clock::SystemClock;
use prow_service::secrets::SecretFile;
use prow_service::{listen, logs, shutdown};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use url::Url;

/// Flags of `prow up`.
#[derive(Debug, ClapArgs)]
#[command(
    about = "Run a whole Prow on this machine against GitHub",
    long_about = "Run a whole Prow on this machine against GitHub: webhooks, plugins, jobs, reports and Deck in one \
process, with an embedded API server and store. Jobs run as containers of Docker or Podman, or as sandboxed \
processes of this machine.\n\n\
Give GitHub a webhook (content type application/json, all events) with the secret of --hmac-secret-file that ends at \
--port, path /hook: through a tunnel or a TLS proxy on this machine, or directly with --address. State is kept in --data-dir over restarts; kubectl works with the kubeconfig there.",
    after_help = "Example:\n  prow up --config-path config.yaml --job-config-path jobs/ --plugin-config plugins.yaml \\\n    \
--github-token-path token --hmac-secret-file hmac --data-dir state/"
)]
pub struct Args {
    /// Prow's config.yaml
    #[arg(long, value_name = "FILE")]
    config_path: PathBuf,
    /// Job configuration: a file, or a directory that is read recursively
    #[arg(long, value_name = "PATH")]
    job_config_path: Option<PathBuf>,
    /// Prow's plugins.yaml
    #[arg(long, value_name = "FILE")]
    plugin_config: PathBuf,
    /// Directories with further Prow configuration (repeatable)
    #[arg(long, value_name = "DIR")]
    supplemental_prow_config_dir: Vec<PathBuf>,
    /// Directories with further plugin configuration (repeatable)
    #[arg(long, value_name = "DIR")]
    supplemental_plugin_config_dir: Vec<PathBuf>,
    /// GitHub's API (repeatable, tried in order); a GitHub Enterprise one ends in /api/v3
    #[arg(long, value_name = "URL", default_value = "https://api.github.com")]
    github_endpoint: Vec<Url>,
    /// Host that clone URLs and links name
    #[arg(long, value_name = "HOST", default_value = "github.com")]
    github_host: String,
    /// File with the bot's token; read again when it changes
    #[arg(long, value_name = "FILE")]
    github_token_path: PathBuf,
    /// File with the webhook secret: a token, or a map of organisations and repositories to tokens
    #[arg(long, value_name = "FILE")]
    hmac_secret_file: PathBuf,
    /// Where state is kept: ProwJobs, webhook journal, Pods, credentials of the API server
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Address to listen on for webhooks and Deck; for the API server there is --apiserver-listen
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Port for webhooks; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8888)]
    port: u16,
    /// Port for Deck; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    deck_port: u16,
    /// Port for the embedded API server, loopback only; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    apiserver_port: u16,
    /// Address and port for the embedded API server instead, for kubectl on other machines: with TLS and the tokens of
    /// the data directory, as always
    #[arg(long, value_name = "IP:PORT", conflicts_with = "apiserver_port")]
    apiserver_listen: Option<SocketAddr>,
    /// Name or address under which other machines reach the API server; its certificate is for these. Repeat for more
    #[arg(long, value_name = "NAME", requires = "apiserver_listen")]
    apiserver_name: Vec<String>,
    /// Keep ProwJobs and run Pods on Kubernetes instead of this machine: the cluster that this process runs in, or
    /// the kubeconfig's. Implied by --kubeconfig and --kubeconfig-dir
    #[arg(long = "kubernetes", help_heading = "Kubernetes")]
    on_kubernetes: bool,
    #[command(flatten)]
    kubernetes: KubernetesArgs,
    #[command(flatten)]
    pods: world::PodArgs,
    #[command(flatten)]
    log: world::LogArgs,
}

/// Runs until the first SIGINT or SIGTERM, then ends what it started.
pub async fn main(args: Args) -> anyhow::Result<()> {
    let stop = shutdown::on_signal().context("cannot watch for signals")?;
    let clock = SystemClock::shared();
    let (config, _agent) = Agent::start(LoadOptions {
        config_path: args.config_path.clone(),
        job_config_path: args.job_config_path.clone(),
        plugin_config: Some(args.plugin_config.clone()),
        supplemental_prow_config_dirs: args.supplemental_prow_config_dir.clone(),
        supplemental_plugin_config_dirs: args.supplemental_plugin_config_dir.clone(),
        ..LoadOptions::default()
    })?;
    let level = args.log.level.clone().unwrap_or_else(|| config.snapshot().prow.log_level.to_lowercase());
    logs::init(&level, args.log.format());
    let warnings = config.snapshot().warnings.len();
    for warning in &config.snapshot().warnings {
        tracing::debug!("{warning}");
    }
    if warnings > 0 {
        tracing::warn!(warnings, "the configuration loaded with warnings; --log-level=debug shows them");
    }
    // Both are read now, so that a wrong path is said at once and not at the first event.
    SecretFile::open("GitHub token", &args.github_token_path)?;
    SecretFile::open("webhook secret", &args.hmac_secret_file)?;
    let github = Client::new(
        ClientOptions {
            endpoint: args.github_endpoint.clone(),
            host: args.github_host.clone(),
            token: TokenSource::File(args.github_token_path.clone()),
            ..ClientOptions::default()
        },
        clock.clone(),
    )?;
    let data_dir = DataDir::claim(&args.data_dir, &clock).await?;
    let hook = listen::bind("webhooks", "--port", SocketAddr::new(args.address, args.port)).await?;
    let deck = listen::bind("Deck", "--deck-port", SocketAddr::new(args.address, args.deck_port)).await?;
    let cluster = if args.on_kubernetes || args.kubernetes.given() {
        let connected = Box::new(args.kubernetes.connect(&config, false).await?);
        Cluster::Kubernetes { connected, kubeconfig: args.kubernetes.shown(), pods_here: false }
    } else {
        let (api, flag) = match args.apiserver_listen {
            Some(elsewhere) => (elsewhere, "--apiserver-listen"),
            None => (SocketAddr::from((Ipv4Addr::LOCALHOST, args.apiserver_port)), "--apiserver-port"),
        };
        let names = api_names(api.ip(), &args.apiserver_name)?;
        Cluster::Embedded { socket: listen::bind("the API server", flag, api).await?, names }
    };
    let world = World::start(WorldOptions {
        data_dir,
        config,
        github,
        git_base: format!("https://{}", args.github_host),
        hmac_secret_file: args.hmac_secret_file.clone(),
        hook,
        deck,
        cluster,
        pods: args.pods.clone(),
        clock,
    })
    .await?;
    // On standard output, so that a script may wait for this line and read the addresses.
    println!(
        "prow up: webhooks on {}/hook, Deck on {}, kubectl --kubeconfig {}",
        world.hook_url,
        world.deck_url,
        world.kubeconfig.display()
    );
    println!("pods: {}", world.pod_capabilities());
    stop.cancelled().await;
    world.shutdown().await;
    tracing::info!("ended");
    Ok(())
}

/// The names beside loopback that the API server's certificate is for.
fn api_names(listen: IpAddr, names: &[String]) -> anyhow::Result<Vec<String>> {
    if !names.is_empty() || listen.is_loopback() {
        return Ok(names.to_vec());
    }
    if listen.is_unspecified() {
        anyhow::bail!(
            "--apiserver-listen={listen} is every address of this machine: say with --apiserver-name under which \
             name or address other machines reach it, for its certificate"
        );
    }
    Ok(vec![listen.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_for_what_clients_call_the_server() {
        let names = |listen: &str, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            api_names(listen.parse().unwrap(), &names)
        };
        assert_eq!(names("127.0.0.1", &[]).unwrap(), Vec::<String>::new());
        assert_eq!(names("192.0.2.7", &[]).unwrap(), ["192.0.2.7"]);
        assert_eq!(names("0.0.0.0", &["ci.example.com"]).unwrap(), ["ci.example.com"]);
        let e = names("0.0.0.0", &[]).unwrap_err().to_string();
        assert!(e.contains("--apiserver-name"), "{e}");
    }
}
