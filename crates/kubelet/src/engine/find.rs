//! Which container engine there is, found out by running a trivial container the very way that real ones are run.

use super::context::{Engine, POD_RUNNER};
use super::http::Client;
use super::service::Service;
use super::{docker_context, images, spec, tmpfs};
use crate::error::Error;
use crate::options::{Network, Options, RuntimeChoice};
use crate::plan::EnginePlan;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longer than any machine takes for a trivial container, or for any one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// More open files than this nobody needs.
const MAX_OPEN_FILES: i64 = 1 << 20;

/// Several runners of one process must not use one name.
static PROBES: AtomicU32 = AtomicU32::new(0);

/// Podman's service lowers its own limit to the number of processes that the kernel can tell apart by default.
const MAX_PROCESSES: i64 = 32_768;
/// For Podman, where its own choice does not get containers to run: older cgroups are the usual reason.
const ELSE: [&str; 2] = ["--runtime=runc", "--cgroup-manager=cgroupfs"];

/// Where an engine may be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Candidate {
    Socket(PathBuf),
    /// `podman system service`, started by us with these flags.
    OwnPodman(&'static [&'static str]),
    /// Named, but not to be used; why.
    Unusable(String),
}

/// What of this machine decides where to look.
#[derive(Default)]
struct Surroundings {
    docker_host: Option<String>,
    /// What the docker context in use names, or why it cannot be used.
    docker_context: Option<Result<String, String>>,
    /// Where `podman --remote` would look.
    container_host: Option<String>,
    runtime_dir: Option<PathBuf>,
    home: Option<PathBuf>,
    root: bool,
    podman: bool,
    runc: bool,
}

impl Surroundings {
    fn here() -> Surroundings {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
        let text = |name: &str| std::env::var(name).ok().filter(|h| !h.is_empty());
        let dir = |name: &str| std::env::var_os(name).filter(|d| !d.is_empty()).map(PathBuf::from);
        let home = dir("HOME");
        let user = PathBuf::from(format!("/run/user/{}", nix::unistd::geteuid()));
        let config = dir("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
        Surroundings {
            docker_host: text("DOCKER_HOST"),
            docker_context: config
                .and_then(|dir| docker_context::endpoint(&dir, text("DOCKER_CONTEXT").as_deref())),
            container_host: text("CONTAINER_HOST"),
            runtime_dir: dir("XDG_RUNTIME_DIR").or_else(|| user.is_dir().then_some(user)),
            home,
            root: nix::unistd::geteuid().is_root(),
            podman: on_path("podman"),
            runc: on_path("runc"),
        }
    }
}

/// An engine that `who` names, which is of use only on this machine.
fn named(who: &str, host: &str) -> Candidate {
    match host.strip_prefix("unix://") {
        Some(path) => Candidate::Socket(PathBuf::from(path)),
        None => Candidate::Unusable(format!(
            "{who} is {host}: only an engine of this machine, behind a unix socket, can run Pods"
        )),
    }
}

/// In the order in which they are tried. Pure.
fn candidates(choice: &RuntimeChoice, at: &Surroundings) -> Vec<Candidate> {
    let docker = || {
        if let Some(host) = &at.docker_host {
            return vec![named("DOCKER_HOST", host)];
        }
        let context = at.docker_context.iter().map(|endpoint| match endpoint {
            Ok(host) => named("the docker context in use", host),
            Err(why) => Candidate::Unusable(why.clone()),
        });
        let mut found: Vec<Candidate> = context.collect();
        let usual = [PathBuf::from("/var/run/docker.sock")];
        // Rootless Docker, and Docker Desktop.
        let own = at.runtime_dir.iter().map(|dir| dir.join("docker.sock"));
        let desktop = at.home.iter().flat_map(|home| {
            ["run", "desktop"].map(|dir| home.join(".docker").join(dir).join("docker.sock"))
        });
        for path in usual.into_iter().chain(own).chain(desktop) {
            let socket = Candidate::Socket(path);
            if !found.contains(&socket) {
                found.push(socket);
            }
        }
        found
    };
    let podman = || {
        let mut found: Vec<Candidate> =
            at.container_host.iter().map(|host| named("CONTAINER_HOST", host)).collect();
        if at.root {
            found.push(Candidate::Socket(PathBuf::from("/run/podman/podman.sock")));
        } else if let Some(dir) = &at.runtime_dir {
            found.push(Candidate::Socket(dir.join("podman/podman.sock")));
        }
        if at.podman {
            found.push(Candidate::OwnPodman(&[]));
        }
        if at.podman && at.runc {
            found.push(Candidate::OwnPodman(&ELSE));
        }
        found
    };
    match choice {
        RuntimeChoice::Process => Vec::new(),
        RuntimeChoice::Socket(path) => vec![Candidate::Socket(path.clone())],
        RuntimeChoice::Docker => docker(),
        RuntimeChoice::Podman => podman(),
        // Whoever set DOCKER_HOST meant that engine.
        RuntimeChoice::Auto if at.docker_host.is_some() => docker(),
        RuntimeChoice::Auto => [docker(), podman()].concat(),
    }
}

/// The engine that Pods are to run on; none, and why, where they are to be processes.
///
/// # Errors
/// If an engine was asked for by name and none works.
pub async fn find(options: &Options, exe: &Path) -> Result<Result<Engine, Vec<String>>, Error> {
    if options.runtime == RuntimeChoice::Process {
        return Ok(Err(Vec::new()));
    }
    let mut reasons = Vec::new();
    for candidate in candidates(&options.runtime, &Surroundings::here()) {
        match try_one(options, exe, candidate).await {
            Ok(engine) => return Ok(Ok(engine)),
            Err(why) => reasons.extend(why),
        }
    }
    if options.runtime == RuntimeChoice::Auto {
        if reasons.is_empty() {
            reasons.push("neither Docker nor Podman was found".to_owned());
        }
        return Ok(Err(reasons));
    }
    let why = if reasons.is_empty() { "none was found".to_owned() } else { reasons.join("; ") };
    Err(Error::Other(format!("there is no container engine to run Pods with: {why}")))
}

/// The engine, or why it is not to be used; nothing is said of a socket that does not exist.
async fn try_one(options: &Options, exe: &Path, candidate: Candidate) -> Result<Engine, Option<String>> {
    let (socket, service) = match candidate {
        Candidate::Unusable(why) => return Err(Some(why)),
        Candidate::Socket(path) if !path.exists() => {
            let asked = options.runtime != RuntimeChoice::Auto;
            return Err(asked.then(|| format!("there is no socket {}", path.display())));
        }
        Candidate::Socket(path) => (path, None),
        Candidate::OwnPodman(flags) => {
            let service = Service::start(&options.data_dir.join("engine"), flags).await;
            let service = service.map_err(|e| Some(e.to_string()))?;
            (service.socket(), Some(service))
        }
    };
    let found = look(options, exe, &socket).await;
    if found.is_err()
        && let Some(service) = &service
    {
        service.stop().await;
    }
    let (client, plan, version, limits) = found.map_err(Some)?;
    let started = if service.is_some() { ", started by us" } else { "" };
    let title = format!("{version} ({}{started})", socket.display());
    Ok(Engine { client, plan, title, limits, allow_privileged: options.allow_privileged, service })
}

async fn look(
    options: &Options,
    exe: &Path,
    socket: &Path,
) -> Result<(Client, EnginePlan, String, Vec<String>), String> {
    let about = Client::new(socket, "").patient(PATIENCE, PATIENCE).about().await;
    let about = about.map_err(|e| e.to_string())?;
    let (version, client) = (about.title, Client::new(socket, &about.api));
    let image = images::utilities(&client).await.map_err(|e| e.to_string())?;
    let podman = version.starts_with("Podman");
    let mut plan = EnginePlan {
        socket: socket.to_owned(),
        api: about.api,
        scheme: if podman { "podman" } else { "docker" }.to_owned(),
        network: "none".to_owned(),
        utility_image: image,
        exe: exe.to_owned(),
        entrypoint: options.entrypoint.clone(),
        limits: true,
        memory: true,
        ulimits: own_limits(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default()),
        runner: options.data_dir.to_string_lossy().into_owned(),
    };
    let mut limits = Vec::new();
    let in_memory = with_volume(&client, &plan).await;
    if let Err(why) = &in_memory {
        plan.memory = false;
        tracing::debug!("the container engine keeps no volumes in memory: {why}");
    }
    // Pod utilities need the machine's network, whatever the jobs get.
    if in_memory.is_err()
        && let Err(why) = trivial(&client, &plan, "host", None).await
    {
        plan.limits = false;
        trivial(&client, &plan, "host", None)
            .await
            .map_err(|e| format!("{version} cannot run containers: {e}"))?;
        limits.push(format!("limits of CPU and memory are not enforced: {why}"));
    }
    if options.network == Network::Outbound {
        let modes: &[&str] = if podman { &["bridge", "slirp4netns", "pasta"] } else { &["bridge"] };
        let mut refusals = Vec::new();
        for mode in modes {
            match trivial(&client, &plan, mode, None).await {
                Ok(()) => {
                    (*mode).clone_into(&mut plan.network);
                    break;
                }
                Err(why) => refusals.push(format!("{mode}: {why}")),
            }
        }
        if plan.network == "none" {
            limits.push(format!("jobs have NO network: {}", refusals.join("; ")));
        }
    }
    Ok((client, plan, version, limits))
}

/// A name that no other try has.
fn probe_name() -> String {
    format!("prow-probe-{}-{}", std::process::id(), PROBES.fetch_add(1, Ordering::Relaxed))
}

/// Our own executable in a container, on the machine's network and with a volume in memory.
async fn with_volume(client: &Client, plan: &EnginePlan) -> Result<(), String> {
    let name = probe_name();
    let labels = json!({ POD_RUNNER: plan.runner });
    client.remove_volume(&name).await.map_err(|e| e.to_string())?;
    let tried = match tmpfs::probe(client, &name, &labels).await {
        Ok(()) => trivial(client, plan, "host", Some(&name)).await,
        Err(e) => Err(e.to_string()),
    };
    // Podman may have made it though it says that it could not.
    client.remove_volume(&name).await.map_err(|e| e.to_string())?;
    tried
}

/// Our own executable in a container, on this network and with this volume.
async fn trivial(
    client: &Client,
    plan: &EnginePlan,
    network: &str,
    volume: Option<&str>,
) -> Result<(), String> {
    let name = probe_name();
    let spec = spec::trivial(plan, network, volume);
    let run = async {
        // Of one that was killed while it tried.
        client.remove(&name).await?;
        let id = client.create(&name, &spec).await?;
        let ended = async {
            client.start(&id).await?;
            client.wait(&id).await
        };
        let ended = ended.await;
        client.remove(&id).await?;
        ended
    };
    match tokio::time::timeout(PATIENCE, run).await {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(code)) => Err(format!("a trivial container ended with exit code {code}")),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("a trivial container did not end in time".to_owned()),
    }
}

/// Limits that a container may be given: no more than our own, which an engine in a container of its own could not
/// exceed either. `text` is /proc/self/limits.
fn own_limits(text: &str) -> Vec<(String, i64)> {
    let hard = |name: &str| -> Option<i64> {
        let rest = text.lines().find_map(|l| l.strip_prefix(name))?;
        rest.split_whitespace().nth(1)?.parse().ok()
    };
    let mut limits =
        vec![("nofile".to_owned(), hard("Max open files").unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES))];
    limits.extend(hard("Max processes").map(|n| ("nproc".to_owned(), n.min(MAX_PROCESSES))));
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_looked_for_where_they_are() {
        let at = |docker_host: Option<&str>, root, podman| Surroundings {
            docker_host: docker_host.map(str::to_owned),
            runtime_dir: Some("/run/user/1".into()),
            root,
            podman,
            runc: podman,
            ..Surroundings::default()
        };
        let socket = |path: &str| Candidate::Socket(path.into());
        let docker = vec![socket("/var/run/docker.sock"), socket("/run/user/1/docker.sock")];
        let podman = socket("/run/podman/podman.sock");
        let own = vec![Candidate::OwnPodman(&[]), Candidate::OwnPodman(&ELSE)];
        let cases = [
            (
                RuntimeChoice::Auto,
                at(None, true, true),
                [docker.clone(), vec![podman.clone()], own.clone()].concat(),
            ),
            (
                RuntimeChoice::Auto,
                at(None, false, false),
                [docker.clone(), vec![socket("/run/user/1/podman/podman.sock")]].concat(),
            ),
            (RuntimeChoice::Auto, at(Some("unix:///d"), true, true), vec![socket("/d")]),
            (RuntimeChoice::Docker, at(Some("unix:///d"), true, true), vec![socket("/d")]),
            (RuntimeChoice::Podman, at(Some("unix:///d"), true, true), [vec![podman], own].concat()),
            (RuntimeChoice::Process, at(None, true, true), vec![]),
        ];
        for (choice, at, want) in cases {
            assert_eq!(candidates(&choice, &at), want, "{choice:?}");
        }
        let remote = candidates(&RuntimeChoice::Auto, &at(Some("tcp://h:1"), true, true));
        assert!(matches!(&remote[..], [Candidate::Unusable(why)] if why.contains("tcp://h:1")), "{remote:?}");

        let context = |context: Result<&str, &str>| Surroundings {
            docker_context: Some(context.map(str::to_owned).map_err(str::to_owned)),
            container_host: Some("unix:///c".to_owned()),
            home: Some("/home/me".into()),
            ..Surroundings::default()
        };
        let usual = [
            "/var/run/docker.sock",
            "/home/me/.docker/run/docker.sock",
            "/home/me/.docker/desktop/docker.sock",
        ];
        let usual: Vec<Candidate> = usual.map(socket).to_vec();
        let desktop = "unix:///home/me/.docker/desktop/docker.sock";
        let found = candidates(&RuntimeChoice::Docker, &context(Ok(desktop)));
        assert_eq!(
            found,
            [usual[2].clone(), usual[0].clone(), usual[1].clone()],
            "each once, the context's first"
        );
        let found = candidates(&RuntimeChoice::Docker, &context(Err("why")));
        assert_eq!(found, [vec![Candidate::Unusable("why".to_owned())], usual.clone()].concat());
        let found = candidates(&RuntimeChoice::Auto, &context(Ok("ssh://h")));
        assert!(matches!(&found[0], Candidate::Unusable(why) if why.contains("ssh://h")), "{found:?}");
        assert_eq!(found[1..], [usual, vec![socket("/c")]].concat());
    }

    #[test]
    fn no_container_is_promised_more_than_we_have() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             100                  200                  processes \n\
                    Max open files            1024                 4096                 files     \n";
        assert_eq!(own_limits(text), [("nofile".to_owned(), 4096), ("nproc".to_owned(), 200)]);
        assert_eq!(
            own_limits("Max processes   unlimited unlimited processes"),
            [("nofile".to_owned(), MAX_OPEN_FILES)]
        );
    }
}
