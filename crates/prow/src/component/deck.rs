//! `prow deck` (prow-runtime §12).

use super::common::{CommonArgs, ListingArgs, PluginArgs, StorageArgs, UnusedGithub, without_effect};
use anyhow::bail;
use clap::Args as ClapArgs;
use prow_deck::{Deck, DeckOptions};
use prow_kube::prowjobs;
use prow_service::listen;
use std::net::{Ipv4Addr, SocketAddr};

/// Flags of `prow deck`.
#[derive(Debug, ClapArgs)]
#[command(long_about = "Serve the read-only web page: what runs, what ran, and its logs.")]
pub struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    plugins: PluginArgs,
    #[command(flatten)]
    storage: StorageArgs,
    /// Port for the page, on all addresses; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Show hidden jobs and nothing else
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    hidden_only: bool,
    /// Show hidden jobs, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    show_hidden: bool,
    /// Show only jobs of these tenants (repeatable)
    #[arg(long, value_name = "ID")]
    tenant_id: Vec<String>,
    #[command(flatten)]
    foreign: Foreign,
    #[command(flatten)]
    listing: ListingArgs,
    #[command(flatten)]
    github: UnusedGithub,
}

/// Flags of upstream's deck that this one takes and does nothing with.
#[derive(Debug, Clone, ClapArgs)]
struct Foreign {
    #[arg(long, hide = true)]
    tide_url: Option<String>,
    #[arg(long, hide = true)]
    hook_url: Option<String>,
    #[arg(long, hide = true)]
    redirect_http_to: Option<String>,
    #[arg(long, hide = true)]
    cookie_secret: Option<String>,
    #[arg(long, hide = true)]
    spyglass_files_location: Option<String>,
    #[arg(long, hide = true)]
    static_files_location: Option<String>,
    #[arg(long, hide = true)]
    template_files_location: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    gcs_cookie_auth: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rerun_creates_job: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_insecure: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    dry_run: Option<bool>,
    /// Job pages are always there.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    spyglass: Option<bool>,
}

impl Foreign {
    fn say(&self) {
        let texts = [
            ("--tide-url", &self.tide_url),
            ("--hook-url", &self.hook_url),
            ("--redirect-http-to", &self.redirect_http_to),
            ("--cookie-secret", &self.cookie_secret),
            ("--spyglass-files-location", &self.spyglass_files_location),
            ("--static-files-location", &self.static_files_location),
            ("--template-files-location", &self.template_files_location),
        ];
        let switches = [
            ("--gcs-cookie-auth", self.gcs_cookie_auth == Some(true)),
            ("--rerun-creates-job", self.rerun_creates_job == Some(true)),
            ("--allow-insecure", self.allow_insecure == Some(true)),
            ("--dry-run", self.dry_run == Some(true)),
            ("--spyglass=false", self.spyglass == Some(false)),
        ];
        let given =
            texts.into_iter().map(|(flag, text)| (flag, text.as_ref().is_some_and(|t| !t.is_empty())));
        without_effect(given.chain(switches).filter_map(|(flag, given)| given.then_some(flag)));
    }
}

/// Runs until the first signal, or until a restart would help.
pub async fn main(args: Args) -> anyhow::Result<()> {
    if [args.hidden_only, args.show_hidden, !args.tenant_id.is_empty()].iter().filter(|given| **given).count()
        > 1
    {
        bail!("--hidden-only, --show-hidden and --tenant-id exclude each other: give one of them");
    }
    let start = args.common.start("deck", Some(&args.plugins)).await?;
    args.foreign.say();
    args.listing.say();
    let connected = args.common.kubernetes.connect(&start.config, false).await?;
    start.stop_when_clusters_change(&connected, &[]);
    let namespace = start.config.snapshot().prow.prowjob_namespace.clone();
    let jobs = prowjobs::watch(connected.clients.infra(), &namespace);
    let socket = listen::bind("Deck", "--port", SocketAddr::from((Ipv4Addr::UNSPECIFIED, args.port))).await?;
    println!("deck: on {}", socket.local_addr()?);
    let deck = Deck::new(
        start.config.clone(),
        connected.clients.clone(),
        jobs.clone(),
        args.storage.opener(),
        start.clock.clone(),
        DeckOptions {
            hidden_only: args.hidden_only,
            show_hidden: args.show_hidden,
            tenant_ids: args.tenant_id.clone(),
        },
    );
    let (health, router) = (start.health.clone(), deck.router());
    tokio::spawn(async move {
        jobs.ready().await;
        health.ready();
    });
    Ok(listen::serve(socket, router, start.stop.clone()).await?)
}
