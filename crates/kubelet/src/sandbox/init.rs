//! The inner stage: PID 1 of the sandbox. Builds the root, gives up what we are, runs the job, reaps, ends with it.

use super::container::{broken, job};
use super::message::{Channel, Message};
use super::process::{around, block_signals, cannot_start, outcome, unblocked};
use super::root;
use crate::error::Error;
use crate::plan::{ContainerPlan, Identity, Isolation, PodPlan};
use crate::poddir::PodDir;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_dumpable, set_no_new_privs, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid};
use std::os::unix::process::CommandExt;

/// Runs one container's job inside and reports on `up`.
pub fn run(up: &mut Channel, dir: &str, name: &str) -> Result<(), Error> {
    // If the outer stage died before this took hold, the exchange below finds the socket closed and we end.
    die_with_outer()?;
    let signals = block_signals()?;
    let dir = PodDir::new(dir);
    let pod = PodPlan::read(&dir.plan())?;
    let container =
        pod.container(name).ok_or_else(|| Error::Other(format!("the Pod's plan has no container {name}")))?;
    let Isolation::Sandboxed(identity) = pod.isolation else {
        return Err(Error::Other("the Pod's plan asks for no sandbox".to_owned()));
    };
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| Error::system("make a mount namespace", e))?;
    for notice in root::enter(&dir, &pod, container)? {
        up.send(&Message::Notice(notice)).map_err(broken)?;
    }
    drop_rights(up, identity, container)?;
    // We have read the whole Pod's plan, other containers' secrets included; the job is our equal now and must not look.
    set_dumpable(false).map_err(|e| Error::system("shut our memory to the job", e))?;
    set_no_new_privs().map_err(|e| Error::system("give up gaining privileges", e))?;

    let cwd = container.working_dir.as_deref().unwrap_or("/");
    std::fs::create_dir_all(cwd).and_then(|()| std::env::set_current_dir(cwd)).map_err(|e| {
        Error::Other(format!("cannot use the working directory {cwd:?} of container {name}: {e}"))
    })?;
    let mut command = job(container)?;
    let child = unblocked(&signals, || command.process_group(0).spawn())?;
    let child = child.map_err(|e| cannot_start(container, &e))?;
    let child = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    up.send(&Message::Started).map_err(broken)?;
    let status = around(child, &signals, || _ = kill(Pid::from_raw(-1), Signal::SIGKILL))?;
    // When we return, the kernel kills whatever the job left behind.
    up.send(&outcome(status)).map_err(broken)
}

fn die_with_outer() -> Result<(), Error> {
    set_pdeathsig(Signal::SIGKILL).map_err(|e| Error::system("ask for the parent-death signal", e))
}

/// From whoever built the root to whoever the job is.
fn drop_rights(up: &mut Channel, identity: Identity, container: &ContainerPlan) -> Result<(), Error> {
    if !matches!(identity, Identity::User { .. }) {
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|e| Error::system("make the job's user namespace", e))?;
    }
    up.send(&Message::Ready).map_err(broken)?;
    match up.receive().map_err(broken)? {
        Some(Message::Go) => {}
        _ => return Err(Error::Other("the outer stage of the sandbox is gone".to_owned())),
    }
    let id = match identity {
        Identity::Mapped { .. } => 0,
        Identity::User { .. } if container.host_ids => return Ok(()),
        Identity::User { id } => id,
        Identity::Own => return Ok(()),
    };
    let refused = |e| Error::system(format!("become user {id}"), e);
    nix::unistd::setgroups(&[]).map_err(refused)?;
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    nix::unistd::setresgid(gid, gid, gid).map_err(refused)?;
    nix::unistd::setresuid(uid, uid, uid).map_err(refused)?;
    // A change of user forgets it.
    die_with_outer()
}
