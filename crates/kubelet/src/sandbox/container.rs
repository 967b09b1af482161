//! The outer stage: makes the namespaces that its children are born into, writes their id maps, passes signals in.

use super::message::{Channel, Message};
use super::process::{self, KILL_ALL, around, block_signals, outcome};
use super::{die_with_parent, network, plain};
use crate::error::Error;
use crate::plan::{ContainerPlan, ID_RANGE, Identity, Isolation, PodPlan};
use crate::poddir::PodDir;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// Runs one container of the Pod in `dir` and reports on `up`. `keeper` is the process that holds the Pod's network.
pub fn run(up: &mut Channel, dir: &str, parent: &str, name: &str, keeper: Option<&str>) -> Result<(), Error> {
    let signals = block_signals()?;
    let pod = PodPlan::read(&PodDir::new(dir).plan())?;
    let container =
        pod.container(name).ok_or_else(|| Error::Other(format!("the Pod's plan has no container {name}")))?;
    let identity = match pod.isolation {
        Isolation::None => {
            // A plain process tree must be killed by us, so we have to live to do it.
            die_with_parent(parent, KILL_ALL)?;
            return plain::run(up, dir, container, &signals);
        }
        Isolation::Sandboxed(identity) => identity,
        Isolation::Container => return Err(Error::Other("the Pod's plan asks for containers".to_owned())),
    };
    die_with_parent(parent, Signal::SIGKILL)?;
    if container.pod_network {
        let keeper = keeper.ok_or_else(|| Error::Other("the Pod has no network to join".to_owned()))?;
        network::join(keeper, identity)?;
    } else if identity == Identity::Own {
        own_user_namespace()?;
    }
    let flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    unshare(flags).map_err(|e| Error::system("make PID, IPC and UTS namespaces", e))?;
    // A name is a courtesy to the job, not a wall.
    if let Err(e) = nix::unistd::sethostname(&pod.name) {
        notice(up, format!("the host name could not be set to the Pod's name: {e}"))?;
    }

    let (ours, theirs) =
        UnixStream::pair().map_err(|e| Error::Other(format!("cannot make a socket pair: {e}")))?;
    let child = Command::new("/proc/self/exe")
        .args(["pod-sandbox", "init", dir, name])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(|e| Error::Other(format!("cannot start the sandbox's first process: {e}")))?;
    let child = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let mut inner = Channel::new(ours).map_err(broken)?;
    // Until the job runs the inner stage does not listen to signals; those that came meanwhile wait.
    while let Some(message) = inner.receive().map_err(broken)? {
        match message {
            Message::Ready => {
                if let Some(map) = id_map(identity, container) {
                    write_map(child, &map)?;
                }
                // If it is gone, its end is seen below.
                let _ = inner.send(&Message::Go);
            }
            Message::Notice(text) => notice(up, text)?,
            last => {
                let started = last == Message::Started;
                up.send(&last).map_err(broken)?;
                if !started {
                    return Ok(());
                }
                break;
            }
        }
    }
    let status = around(child, &signals, || _ = kill(child, Signal::SIGKILL))?;
    let message = match inner.receive().map_err(broken)? {
        Some(message) => message,
        // The first process was killed and everything with it; that is how the job ended.
        None => outcome(status),
    };
    up.send(&message).map_err(broken)
}

fn notice(up: &mut Channel, text: String) -> Result<(), Error> {
    up.send(&Message::Notice(text)).map_err(broken)
}

pub(super) fn broken(e: std::io::Error) -> Error {
    Error::Other(format!("the sandbox's stages lost each other: {e}"))
}

/// Not root: a user namespace in which we are, and nobody else exists, gives the right to make the others.
pub(crate) fn own_user_namespace() -> Result<(), Error> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|e| Error::system("make a user namespace", e))?;
    let write = |file: &str, text: String| {
        let path = std::path::Path::new("/proc/self").join(file);
        std::fs::write(&path, text).map_err(|e| Error::io("map ids in", &path, e))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}

/// The map of the user namespace that the job itself lives in; `None` if it lives in none.
fn id_map(identity: Identity, container: &ContainerPlan) -> Option<String> {
    match identity {
        // All ids as they are, but rights only inside.
        Identity::Mapped { .. } if container.host_ids => Some(format!("0 0 {}", u32::MAX)),
        Identity::Mapped { base } => Some(format!("0 {base} {ID_RANGE}")),
        // Root here is ourselves already; one namespace further in, it has no rights over the sandbox's mounts.
        Identity::Own => Some("0 0 1".to_owned()),
        Identity::User { .. } => None,
    }
}

fn write_map(child: Pid, map: &str) -> Result<(), Error> {
    for file in ["uid_map", "gid_map"] {
        let path = std::path::PathBuf::from(format!("/proc/{child}/{file}"));
        std::fs::write(&path, map).map_err(|e| Error::io("map ids in", &path, e))?;
    }
    Ok(())
}

pub(super) use process::job;
