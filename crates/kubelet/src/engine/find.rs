//! Which container engine there is, found out by running a trivial container the very way that real ones are run.

use super::context::Engine;
use super::http::Client;
use super::service::Service;
use super::{images, spec};
use crate::error::Error;
use crate::options::{Network, Options, RuntimeChoice};
use crate::plan::EnginePlan;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longer than any machine takes for a trivial container.
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
struct Surroundings {
    docker_host: Option<String>,
    runtime_dir: Option<PathBuf>,
    root: bool,
    podman: bool,
    runc: bool,
}

impl Surroundings {
    fn here() -> Surroundings {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Surroundings {
            docker_host: std::env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty()),
            runtime_dir: std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            root: nix::unistd::geteuid().is_root(),
            podman: std::env::split_paths(&path).any(|dir| dir.join("podman").is_file()),
            runc: std::env::split_paths(&path).any(|dir| dir.join("runc").is_file()),
        }
    }
}

/// In the order in which they are tried. Pure.
fn candidates(choice: &RuntimeChoice, at: &Surroundings) -> Vec<Candidate> {
    let docker = || match &at.docker_host {
        Some(host) => match host.strip_prefix("unix://") {
            Some(path) => vec![Candidate::Socket(PathBuf::from(path))],
            None => vec![Candidate::Unusable(format!(
                "DOCKER_HOST is {host}: only an engine of this machine, behind a unix socket, can run Pods"
            ))],
        },
        None => vec![Candidate::Socket(PathBuf::from("/var/run/docker.sock"))],
    };
    let podman = || {
        let mut found = Vec::new();
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
    let client = Client::new(socket);
    let version = client.version().await.map_err(|e| e.to_string())?;
    let image = images::utilities(&client).await.map_err(|e| e.to_string())?;
    let podman = version.starts_with("Podman");
    let mut plan = EnginePlan {
        socket: socket.to_owned(),
        scheme: if podman { "podman" } else { "docker" }.to_owned(),
        network: "none".to_owned(),
        utility_image: image,
        exe: exe.to_owned(),
        entrypoint: options.entrypoint.clone(),
        limits: true,
        ulimits: own_limits(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default()),
        runner: options.data_dir.to_string_lossy().into_owned(),
    };
    let mut limits = Vec::new();
    // Pod utilities need the machine's network, whatever the jobs get.
    if let Err(why) = trivial(&client, &plan, "host").await {
        plan.limits = false;
        trivial(&client, &plan, "host").await.map_err(|e| format!("{version} cannot run containers: {e}"))?;
        limits.push(format!("limits of CPU and memory are not enforced: {why}"));
    }
    if options.network == Network::Outbound {
        let modes: &[&str] = if podman { &["bridge", "slirp4netns", "pasta"] } else { &["bridge"] };
        let mut refusals = Vec::new();
        for mode in modes {
            match trivial(&client, &plan, mode).await {
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

/// Our own executable in a container, on this network.
async fn trivial(client: &Client, plan: &EnginePlan, network: &str) -> Result<(), String> {
    let number = PROBES.fetch_add(1, Ordering::Relaxed);
    let name = format!("prow-probe-{}-{number}", std::process::id());
    let spec = spec::trivial(plan, network);
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
        };
        let socket = |path: &str| Candidate::Socket(path.into());
        let (docker, podman) = (socket("/var/run/docker.sock"), socket("/run/podman/podman.sock"));
        let own = vec![Candidate::OwnPodman(&[]), Candidate::OwnPodman(&ELSE)];
        let cases = [
            (
                RuntimeChoice::Auto,
                at(None, true, true),
                [vec![docker.clone(), podman.clone()], own.clone()].concat(),
            ),
            (
                RuntimeChoice::Auto,
                at(None, false, false),
                vec![docker, socket("/run/user/1/podman/podman.sock")],
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
