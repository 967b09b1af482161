//! The sandbox: one container's process, shut away from this machine, without a line of unsafe code.
//!
//! ```text
//!  supervisor ── container ──────────────── init ─────────────────────────── the job
//!                enters the Pod's network,  PID 1 of the new PID namespace:
//!                makes PID, IPC, UTS        builds a new root, pivots, mounts
//!                namespaces, maps ids       /proc, drops to the job's user
//! ```
//!
//! Each arrow is a new process of our own executable, single-threaded, under the hidden subcommand `pod-sandbox`. Death
//! runs along the arrows: when the supervisor is killed the kernel kills `container`, then `init`, and with `init` its
//! whole PID namespace. The stages talk over a socket that is the inner one's standard input ([`message`]).
//!
//! What a sandboxed job cannot do: see other processes; see /root, /home, /var, /run, /srv, /mnt or our data directory;
//! write to the machine's /usr, /etc, /opt; reach the machine's network, unless the Pod runs on it; gain privileges
//! through set-uid files; keep root's rights (it is root only in a user namespace that owns nothing, see
//! [`crate::plan::Identity`]). What it still can do: use as much CPU, memory and disk as the machine gives (requests
//! steer only how many Pods run at once), and make any system call the kernel grants to unprivileged users (there is no
//! seccomp filter). Where user namespaces are refused and we are root, the job runs as an unprivileged user instead.
//!
//! Where no namespaces are granted at all, `container` runs the job as a plain process ([`crate::plan::Isolation`]).

mod container;
mod init;
pub(crate) mod message;
mod network;
pub(crate) mod plain;
pub(crate) mod process;
mod root;

pub(crate) use container::own_user_namespace;
pub(crate) use root::SYSTEM_DIRS;

use crate::engine::stage;
use message::{Channel, Message};
use nix::sys::signal::{SigSet, Signal};
use std::ffi::OsString;
use std::process::ExitCode;

/// The hidden subcommand `pod-sandbox <stage> …`. `args` are those after the subcommand's name.
/// Call it before any thread is started.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.into_iter().map(|a| a.to_string_lossy().into_owned()).collect();
    // These run in containers, where nobody is at the other end.
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ready"] => return ExitCode::SUCCESS,
        ["pause"] => return pause(),
        _ => {}
    }
    let mut channel = match Channel::from_stdin() {
        Ok(channel) => channel,
        Err(e) => {
            eprintln!(
                "pod-sandbox: cannot use standard input: {e}. This subcommand is for the pod runner only."
            );
            return ExitCode::from(2);
        }
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["container", dir, parent, name] => container::run(&mut channel, dir, parent, name, None),
        ["container", dir, parent, name, keeper] => {
            container::run(&mut channel, dir, parent, name, Some(keeper))
        }
        ["init", dir, name] => init::run(&mut channel, dir, name),
        ["network", dir, parent] => network::run(&mut channel, dir, parent),
        ["plain", dir, name] => plain::exec(dir, name),
        ["engine", dir, parent, name] => stage::container(&mut channel, dir, parent, name),
        ["engine-network", dir, parent] => stage::network(&mut channel, dir, parent),
        _ => {
            eprintln!("pod-sandbox: this subcommand is for the pod runner only.");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // If nobody listens any more, nobody is left to be told.
            let _ = channel.send(&Message::Failed(e.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Waits to be told to end, and holds a network open meanwhile.
fn pause() -> ExitCode {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    // As a container's first process we hear only what we ask for.
    match set.thread_block().and_then(|()| set.wait()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("pod-sandbox: cannot wait for a signal: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Asks the kernel to send `signal` when our parent dies, and makes sure that it has not died before we asked.
pub(crate) fn die_with_parent(parent: &str, signal: Signal) -> Result<(), crate::error::Error> {
    nix::sys::prctl::set_pdeathsig(signal)
        .map_err(|e| crate::error::Error::system("ask for the parent-death signal", e))?;
    if nix::unistd::getppid().to_string() == parent {
        Ok(())
    } else {
        Err(crate::error::Error::Other("the supervisor is gone".to_owned()))
    }
}
