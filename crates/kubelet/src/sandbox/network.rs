//! The Pod's own network: a namespace with loopback and nothing else, kept by a process that only waits.

use super::die_with_parent;
use super::message::{Channel, Message};
use crate::error::Error;
use crate::plan::{Identity, Isolation, PodPlan};
use crate::poddir::PodDir;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Keeps the network of the Pod in `dir` until the supervisor is gone.
pub fn run(up: &mut Channel, dir: &str, parent: &str) -> Result<(), Error> {
    die_with_parent(parent, Signal::SIGKILL)?;
    let pod = PodPlan::read(&PodDir::new(dir).plan())?;
    if pod.isolation == Isolation::Sandboxed(Identity::Own) {
        super::container::own_user_namespace()?;
    }
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::system("make a network namespace", e))?;
    if let Err(why) = loopback_up() {
        let text =
            format!("the Pod's loopback interface is down: {why}; jobs that talk to 127.0.0.1 will fail");
        up.send(&Message::Notice(text)).map_err(super::container::broken)?;
    }
    up.send(&Message::Ready).map_err(super::container::broken)?;
    // Nothing more is ever said; the socket ends with the supervisor.
    while up.receive().map_err(super::container::broken)?.is_some() {}
    Ok(())
}

/// Bringing an interface up takes an ioctl or netlink, neither of which has a safe interface here; the tools have.
fn loopback_up() -> Result<(), String> {
    let mut problems = Vec::new();
    for (program, args) in [("ip", vec!["link", "set", "lo", "up"]), ("ifconfig", vec!["lo", "up"])] {
        let out = Command::new(program)
            .args(&args)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .output();
        match out {
            Ok(out) if out.status.success() => return Ok(()),
            Ok(out) => problems.push(format!("{program}: {}", String::from_utf8_lossy(&out.stderr).trim())),
            Err(e) => problems.push(format!("{program}: {e}")),
        }
    }
    Err(problems.join("; "))
}

/// Enters the network that the process `keeper` keeps (and, if we are not root, its user namespace).
pub fn join(keeper: &str, identity: Identity) -> Result<(), Error> {
    let open = |kind: &str| {
        let path = PathBuf::from(format!("/proc/{keeper}/ns/{kind}"));
        File::open(&path).map_err(|e| Error::io("open the Pod's namespace", &path, e))
    };
    let net = open("net")?;
    if identity == Identity::Own {
        let user = open("user")?;
        setns(user, CloneFlags::CLONE_NEWUSER)
            .map_err(|e| Error::system("enter the Pod's user namespace", e))?;
    }
    setns(net, CloneFlags::CLONE_NEWNET).map_err(|e| Error::system("enter the Pod's network", e))
}
