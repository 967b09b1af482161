//! Whether the kernel ended processes of a container for lack of memory. Engines say so, but the news and the end of
//! the container race each other in all of them on version 1 of control groups; the group's own count is there only
//! until the engine removes the group; what the kernel has logged stays, for those who may read it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longer than any record of the kernel's log, which gives one a read.
const RECORD: usize = 16 * 1024;

/// The open count of one control group.
pub struct OomCount(File);

impl OomCount {
    /// Of the group that a running process of the container with this id is in; `None` where it cannot be seen.
    pub fn of_process(pid: u32, id: &str) -> Option<OomCount> {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        files(&groups, id).into_iter().find_map(|path| File::open(path).ok()).map(OomCount)
    }

    /// True if it is known that there was one.
    pub fn any(&mut self) -> bool {
        let mut text = String::new();
        // A group that is gone does not say any more.
        self.0.rewind().and_then(|()| self.0.read_to_string(&mut text)).is_ok() && counted(&text)
    }
}

/// True if the kernel has logged that it ended a process of the container with this id, which is part of the name of
/// its control group. False where the log is not for us to read.
pub fn logged(id: &str) -> bool {
    let log = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open("/dev/kmsg");
    let Ok(mut log) = log else { return false };
    let mut record = vec![0; RECORD];
    loop {
        match log.read(&mut record) {
            Ok(0) => return false,
            Ok(n) if tells_of(&String::from_utf8_lossy(&record[..n]), id) => return true,
            Ok(_) => {}
            // Records that are written faster than we read are skipped.
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            // The end of what there is, or no permission.
            Err(_) => return false,
        }
    }
}

/// Of a record such as `6,857,21659236661,-;oom-kill:constraint=CONSTRAINT_MEMCG,…,oom_memcg=/a,task_memcg=/a/ID,task=…`.
fn tells_of(record: &str, id: &str) -> bool {
    let text = record.split_once(';').map_or("", |(_, text)| text);
    !id.is_empty()
        && text.starts_with("oom-kill:")
        && text
            .split(',')
            .any(|part| part.strip_prefix("task_memcg=").is_some_and(|group| group.contains(id)))
}

/// Where the count may be, by /proc/PID/cgroup. Groups are named after their container; one that is not is of somebody
/// else, who has this process id where the engine's are not ours.
fn files(groups: &str, id: &str) -> Vec<PathBuf> {
    let below =
        |root: &str, group: &str, file: &str| Path::new(root).join(group.trim_start_matches('/')).join(file);
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if !group.contains(id) {
            continue;
        }
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
        let old = files("9:name=systemd:/x\n4:memory:/libpod_parent/c\n0::/libpod_parent/c\n", "c");
        assert_eq!(old[0], Path::new("/sys/fs/cgroup/memory/libpod_parent/c/memory.oom_control"));
        assert_eq!(
            files("0::/machine.slice/c", "c"),
            [Path::new("/sys/fs/cgroup/machine.slice/c/memory.events")]
        );
        assert!(files("4:memory:/\n0::/init.scope\n", "cafe").is_empty(), "another process");
        assert!(counted("low 0\noom 1\noom_kill 2\n") && counted("under_oom 0\noom_kill 1"));
        assert!(!counted("oom_kill_disable 1\noom_kill 0\n") && !counted(""));
    }

    #[test]
    fn the_kernels_log_names_the_container() {
        let record = "6,857,21659236661,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=libpod-beef,\
                      mems_allowed=0,oom_memcg=/pods,task_memcg=/pods/libpod-cafe,task=tail,pid=10727,uid=0\n";
        assert!(tells_of(record, "cafe"));
        assert!(!tells_of(record, "beef"), "a name elsewhere in the record");
        assert!(!tells_of(record, "") && !tells_of("", "cafe"));
        assert!(!tells_of("6,1,1,-;Memory cgroup out of memory: task_memcg=/cafe", "cafe"));
        // Whatever is logged on this machine, and whoever may read it.
        assert!(!logged("no container is called so"));
    }
}
