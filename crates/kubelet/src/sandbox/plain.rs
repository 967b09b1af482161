//! No sandbox: the job as a plain process tree, for machines that grant no namespaces. Its paths were rewritten in the
//! plan; here only its life is kept in hand, so that nothing of it outlives the container.

use super::container::broken;
use super::message::{Channel, Message};
use super::process::{around, cannot_start, job, outcome};
use crate::error::Error;
use crate::plan::{ContainerPlan, PodPlan};
use crate::poddir::{PodDir, private_dir};
use nix::sys::prctl::{set_child_subreaper, set_no_new_privs, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Rounds of killing before a tree that grows faster than it is killed is given up.
const KILL_ROUNDS: usize = 200;

/// Runs the container's job and reports on `up`.
pub fn run(up: &mut Channel, dir: &str, container: &ContainerPlan, signals: &SigSet) -> Result<(), Error> {
    // Everything the job starts and orphans comes to us, so we can find it.
    set_child_subreaper(true).map_err(|e| Error::system("adopt orphans", e))?;
    let private = PodDir::new(dir).container(&container.name);
    for name in ["home", "tmp"] {
        private_dir(&private.join(name))?;
    }
    let (ours, theirs) =
        UnixStream::pair().map_err(|e| Error::Other(format!("cannot make a socket pair: {e}")))?;
    let child = Command::new("/proc/self/exe")
        .args(["pod-sandbox", "plain", dir, &container.name])
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .process_group(0)
        .spawn()
        .map_err(|e| Error::Other(format!("cannot start the job's first stage: {e}")))?;
    let child = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let mut inner = Channel::new(ours).map_err(broken)?;
    // The stage speaks only if it fails; when it becomes the job, the socket closes.
    if let Some(failed) = inner.receive().map_err(broken)? {
        up.send(&failed).map_err(broken)?;
        return Ok(());
    }
    up.send(&Message::Started).map_err(broken)?;
    let status = around(child, signals, kill_descendants)?;
    kill_descendants();
    up.send(&outcome(status)).map_err(broken)
}

/// The stage that becomes the job.
pub fn exec(dir: &str, name: &str) -> Result<(), Error> {
    set_pdeathsig(Signal::SIGKILL).map_err(|e| Error::system("ask for the parent-death signal", e))?;
    set_no_new_privs().map_err(|e| Error::system("give up gaining privileges", e))?;
    let dir = PodDir::new(dir);
    let pod = PodPlan::read(&dir.plan())?;
    let container =
        pod.container(name).ok_or_else(|| Error::Other(format!("the Pod's plan has no container {name}")))?;
    let home = dir.container(name).join("home");
    let cwd = container.working_dir.as_ref().map_or(home, std::path::PathBuf::from);
    std::fs::create_dir_all(&cwd).map_err(|e| Error::io("create the working directory", &cwd, e))?;
    // Inherited from the stage around; the job would never hear them.
    SigSet::all().thread_unblock().map_err(|e| Error::system("unblock signals", e))?;
    let refused = job(container)?.current_dir(&cwd).exec();
    Err(cannot_start(container, &refused))
}

/// Kills all our descendants; orphans of theirs become our children and are found in the next round. The dead are left
/// to be reaped by whoever waits for them, in the end by the supervisor.
pub(crate) fn kill_descendants() {
    for _ in 0..KILL_ROUNDS {
        let descendants = descendants(nix::unistd::getpid());
        if descendants.is_empty() {
            return;
        }
        for pid in &descendants {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Parent and state letter of a `/proc/<pid>/stat` line; the name in it may hold anything, so count from its end.
fn parse_stat(stat: &str) -> Option<(Pid, &str)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    Some((Pid::from_raw(fields.next()?.parse().ok()?), state))
}

fn descendants(of: Pid) -> Vec<Pid> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()).map(Pid::from_raw) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((parent, state)) = parse_stat(&stat)
            && state != "Z"
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![of];
    while let Some(pid) = open.pop() {
        let next = children.remove(&pid).unwrap_or_default();
        open.extend(&next);
        found.extend(next);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_fake_its_parent() {
        assert_eq!(parse_stat("12 (sh) S 7 12"), Some((Pid::from_raw(7), "S")));
        assert_eq!(parse_stat("12 (a) S 1 (b) R 9 12"), Some((Pid::from_raw(9), "R")));
        assert_eq!(parse_stat("garbage"), None);
    }
}
