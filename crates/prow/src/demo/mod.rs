//! `prow demo`: a whole Prow on this machine against the built-in forge, and the story of one pull request.

mod contributor;
mod repo;
mod story;
mod telling;

use crate::datadir::DataDir;
use crate::ports::{self, Port};
use crate::world::{self, Cluster, LogArgs, PodArgs, PodNetwork, RunnerArgs, Runtime, World, WorldOptions};
use anyhow::Context;
use clap::Args as ClapArgs;
use prow_api::Secret;
use prow_config::{Agent, LoadOptions};
use prow_forge::{Forge, ForgeOptions, OrgRole, Permission};
use prow_github::{Client, ClientOptions, TokenSource};
use prow_kube::clusters;
use prow_kube::kubeconfig::KubernetesOptions;
use prow_service::clock::{SharedClock, SystemClock};
use prow_service::{logs, shutdown};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use telling::Telling;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Flags of `prow demo`.
#[derive(Debug, ClapArgs)]
#[command(
    about = "Play a pull request's whole way on this machine: no Kubernetes, no Docker, no network",
    long_about = "Play a pull request's whole way on this machine: a forge with a real git repository, webhooks, jobs \
in Pods, results, statuses and comments, Deck. One process, no Kubernetes, no Docker, no network beyond this machine.\n\n\
It says what happens and where to look, and keeps serving until Ctrl-C, which ends every process it started. Started \
again on the same --data-dir it goes on where it was, even after a kill -9."
)]
pub struct Args {
    /// Play the story, print a summary, and end: exit code 0 only if every step was seen to happen
    #[arg(long)]
    once: bool,
    /// Where state is kept [default: a fresh temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Port for Deck [default: 8080 if it is free, else any]
    #[arg(long)]
    deck_port: Option<u16>,
    /// Keep ProwJobs and Pods in the current context's Kubernetes API, which must know ProwJobs, instead of the
    /// embedded one. Pods still run on this machine, as on a node of that cluster
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

/// What must not change between two runs on one data directory: addresses stand in pull requests and ProwJobs.
#[derive(Debug, Serialize, Deserialize)]
struct Ports {
    forge: u16,
    hook: u16,
    deck: u16,
}

/// Plays the story; see [`Args`].
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    let stop = shutdown::on_signal().context("cannot watch for signals")?;
    logs::init(args.log.level.as_deref().unwrap_or("warn"), args.log.format());
    let temporary = match &args.data_dir {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("prow-demo-")
                .tempdir()
                .context("cannot make a temporary directory")?,
        ),
    };
    let path = match (&args.data_dir, &temporary) {
        (Some(dir), _) => dir.as_path(),
        (None, Some(dir)) => dir.path(),
        (None, None) => anyhow::bail!("there is no data directory"),
    };
    let clock = SystemClock::shared();
    let data_dir = DataDir::claim(path, &clock).await?;
    let played = play(&args, data_dir, clock, stop).await;
    if let Some(dir) = temporary
        && !matches!(played, Ok(true))
    {
        // What went wrong can be looked at.
        eprintln!("the demo's state is kept in {}", dir.keep().display());
    }
    Ok(if played? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// True if every step was seen to happen.
async fn play(
    args: &Args,
    claimed: DataDir,
    clock: SharedClock,
    stop: CancellationToken,
) -> anyhow::Result<bool> {
    let telling = Telling::start();
    let data_dir = claimed.path().to_owned();
    let data_dir = data_dir.as_path();
    let (forge_socket, hook, deck) = sockets(args, data_dir).await?;
    let forge_url = format!("http://{}", forge_socket.local_addr()?);
    let deck_url = format!("http://{}", deck.local_addr()?);
    let hook_url = format!("http://{}/hook", hook.local_addr()?);

    // The forge, which stands for GitHub: it outlives nothing of Prow's and knows nothing of it but a webhook.
    let secrets = data_dir.join("secrets");
    let hmac = world::random_secret(&secrets.join("hmac"))?;
    let token_of = |login: &str| world::random_secret(&secrets.join(format!("{login}-token")));
    let (bot, contributor, maintainer) =
        (token_of(repo::BOT)?, token_of(repo::CONTRIBUTOR)?, token_of(repo::MAINTAINER)?);
    let forge = Forge::open(
        data_dir.join("forge"),
        ForgeOptions { base_url: forge_url.parse()?, clock: clock.clone() },
    )
    .await?;
    seed(
        &forge,
        [(repo::BOT, &bot), (repo::CONTRIBUTOR, &contributor), (repo::MAINTAINER, &maintainer)],
        &hook_url,
        &hmac,
    )
    .await?;
    let forge_stop = CancellationToken::new();
    let forge_task = tokio::spawn({
        let (forge, stop) = (forge.clone(), forge_stop.clone());
        async move { forge.serve(forge_socket, stop).await }
    });

    // Prow, configured as anybody's Prow is: by files.
    let config = write_config(data_dir, &deck_url, &forge_url)?;
    let (config, _agent) = Agent::start(config)?;
    let endpoint: url::Url = forge.api_url().parse()?;
    let client = |token: TokenSource| {
        Client::new(
            ClientOptions { endpoint: vec![endpoint.clone()], token, ..ClientOptions::default() },
            clock.clone(),
        )
    };
    let cluster = match &args.kubeconfig {
        None => Cluster::Embedded {
            socket: ports::loopback("the API server", "--data-dir", Port::Exactly(0)).await?,
            names: Vec::new(),
        },
        Some(path) => {
            let options = KubernetesOptions {
                kubeconfig: Some(path.clone()),
                no_in_cluster_config: true,
                ..KubernetesOptions::default()
            };
            let connected = Box::new(clusters::connect(&options, &[], false).await?);
            Cluster::Kubernetes { connected, kubeconfig: path.clone(), pods_here: true }
        }
    };
    let world = World::start(WorldOptions {
        data_dir: claimed,
        config,
        github: client(TokenSource::File(secrets.join(format!("{}-token", repo::BOT))))?,
        git_base: forge_url.clone(),
        hmac_secret_file: secrets.join("hmac"),
        hook,
        deck,
        cluster,
        pods: PodArgs {
            runner: RunnerArgs {
                // The demo's job is a script that any machine can run; nothing is to be pulled for it.
                runtime: Runtime::Process,
                pod_network: Some(PodNetwork::Isolated),
                allow_privileged: false,
                allow_host_path: Vec::new(),
            },
            max_pods: None,
        },
        clock: clock.clone(),
    })
    .await?;
    telling.opening(&telling::Opening {
        data_dir,
        forge: format!("{forge_url}/{}/{}", repo::ORG, repo::REPO),
        deck: &deck_url,
        kubeconfig: &world.kubeconfig,
        pods: world.pod_capabilities(),
    });

    let story = story::Story {
        forge: &forge,
        world: &world,
        contributor: contributor::Person::new(
            repo::CONTRIBUTOR,
            contributor.clone(),
            client(TokenSource::Static(contributor))?,
            data_dir.join("contributor"),
            &forge_url,
        ),
        maintainer: client(TokenSource::Static(maintainer))?,
        results: data_dir.join("results"),
        telling: &telling,
    };
    let complete = tokio::select! {
        complete = story.play() => complete,
        () = stop.cancelled() => false,
    };
    drop(story);
    telling.summary();
    if !args.once && !stop.is_cancelled() {
        telling.keeps_serving(&deck_url);
        stop.cancelled().await;
    }
    world.shutdown().await;
    forge_stop.cancel();
    if let Ok(Err(error)) = forge_task.await {
        tracing::error!(%error, "the forge's socket failed");
    }
    telling.goodbye();
    // Leaving by Ctrl-C after the story is an ordinary end.
    Ok(complete)
}

/// The three sockets. On a data directory that was used before, the ports are those of the first time.
async fn sockets(args: &Args, data_dir: &Path) -> anyhow::Result<(TcpListener, TcpListener, TcpListener)> {
    let file = data_dir.join("ports.json");
    let before: Option<Ports> = match std::fs::read(&file) {
        Ok(bytes) => {
            Some(serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", file.display()))?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let prefer = |port: u16| if args.once { Port::Exactly(0) } else { Port::Prefer(port) };
    let deck_port = args.deck_port.map_or(prefer(8080), Port::Exactly);
    let (forge, hook, deck) = match before {
        Some(p) => (Port::Exactly(p.forge), Port::Exactly(p.hook), Port::Exactly(p.deck)),
        None => (prefer(8090), prefer(8888), deck_port),
    };
    let why = "--data-dir (a fresh one takes other ports)";
    let forge = ports::loopback("the forge", why, forge).await?;
    let hook = ports::loopback("webhooks", why, hook).await?;
    let deck = ports::loopback("Deck", "--deck-port", deck).await?;
    let ports = Ports {
        forge: forge.local_addr()?.port(),
        hook: hook.local_addr()?.port(),
        deck: deck.local_addr()?.port(),
    };
    world::write_private(&file, &serde_json::to_vec_pretty(&ports)?)?;
    Ok((forge, hook, deck))
}

/// Accounts, repository and webhook, made once.
async fn seed(
    forge: &Forge,
    users: [(&str, &Secret); 3],
    hook_url: &str,
    hmac: &Secret,
) -> anyhow::Result<()> {
    for (login, token) in users {
        forge.create_user(login, token).await?;
    }
    forge.create_org(repo::ORG).await?;
    forge.add_member(repo::ORG, repo::CONTRIBUTOR, OrgRole::Member).await?;
    forge.add_member(repo::ORG, repo::MAINTAINER, OrgRole::Admin).await?;
    forge.add_member(repo::ORG, repo::BOT, OrgRole::Admin).await?;
    if forge.find_repo(repo::ORG, repo::REPO).is_none() {
        forge.create_repo(repo::ORG, repo::REPO, &repo::MAIN).await?;
    }
    forge.add_collaborator(repo::ORG, repo::REPO, repo::CONTRIBUTOR, Permission::Write).await?;
    forge.create_webhook(repo::ORG, None, hook_url, hmac, &["*"]).await?;
    Ok(())
}

/// Writes Prow's configuration unless it is there: it is the user's to change.
fn write_config(data_dir: &Path, deck_url: &str, forge_url: &str) -> anyhow::Result<LoadOptions> {
    let dir = data_dir.join("config");
    std::fs::create_dir_all(dir.join("jobs")).with_context(|| format!("cannot make {}", dir.display()))?;
    let bucket = data_dir.join("results");
    std::fs::create_dir_all(&bucket).with_context(|| format!("cannot make {}", bucket.display()))?;
    for (name, text) in [
        ("config.yaml", repo::config_yaml(deck_url, forge_url, &bucket)),
        ("plugins.yaml", repo::plugins_yaml()),
        ("jobs/greeter.yaml", repo::jobs_yaml(forge_url)),
    ] {
        let path = dir.join(name);
        if !path.exists() {
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(LoadOptions {
        config_path: dir.join("config.yaml"),
        job_config_path: Some(dir.join("jobs")),
        plugin_config: Some(dir.join("plugins.yaml")),
        ..LoadOptions::default()
    })
}
