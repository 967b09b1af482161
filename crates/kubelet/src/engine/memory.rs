//! Whether the kernel ended processes of a container for lack of memory. Engines say so, but not all of them on all
//! kernels; the control group's own count is there until the engine removes the group.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

/// The open count of one control group.
pub struct OomCount(File);

impl OomCount {
    /// Of the group that a running process is in; `None` where it cannot be seen.
    pub fn of_process(pid: u32) -> Option<OomCount> {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        files(&groups).into_iter().find_map(|path| File::open(path).ok()).map(OomCount)
    }

    /// True if it is known that there was one.
    pub fn any(&mut self) -> bool {
        let mut text = String::new();
        // A group that is gone does not say any more.
        self.0.rewind().and_then(|()| self.0.read_to_string(&mut text)).is_ok() && counted(&text)
    }
}

/// Where the count may be, by /proc/PID/cgroup.
fn files(groups: &str) -> Vec<PathBuf> {
    let below =
        |root: &str, group: &str, file: &str| Path::new(root).join(group.trim_start_matches('/')).join(file);
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if controllers.split(',').any(|c| c == "memory") {
            files.insert(0, below("/sys/fs/cgroup/memory", group, "memory.oom_control"));
        } else if controllers.is_empty() {
            files.push(below("/sys/fs/cgroup", group, "memory.events"));
        }
    }
    files
}

fn counted(text: &str) -> bool {
    text.lines()
        .filter_map(|l| l.strip_prefix("oom_kill "))
        .any(|n| n.trim().parse::<u64>().is_ok_and(|n| n > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_control_groups_are_read() {
        let old = files("9:name=systemd:/x\n4:memory:/libpod_parent/c\n0::/libpod_parent/c\n");
        assert_eq!(old[0], Path::new("/sys/fs/cgroup/memory/libpod_parent/c/memory.oom_control"));
        assert_eq!(files("0::/machine.slice/c"), [Path::new("/sys/fs/cgroup/machine.slice/c/memory.events")]);
        assert!(counted("low 0\noom 1\noom_kill 2\n") && counted("under_oom 0\noom_kill 1"));
        assert!(!counted("oom_kill_disable 1\noom_kill 0\n") && !counted(""));
    }
}
