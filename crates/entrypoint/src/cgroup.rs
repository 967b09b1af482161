//! Reads the counters of the control group that this process runs in: the container's own, version 1 or 2.
//!
//! Only a group that is ours alone counts: on a machine without containers it is the session's, or everybody's, and
//! its figures would say nothing about the command.

use std::fs;
use std::path::{Path, PathBuf};

/// Version 1 writes this, or something near it, for "no limit".
const NO_LIMIT: u64 = 1 << 62;

/// Where the counters are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cgroup {
    /// A directory for each controller, where it is ours.
    V1 { cpuacct: Option<PathBuf>, cpu: Option<PathBuf>, memory: Option<PathBuf>, blkio: Option<PathBuf> },
    /// One directory.
    V2(PathBuf),
}

/// What the counters say at one moment. All but the memory grow from the group's beginning on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reading {
    /// Microseconds of all processors together.
    pub cpu: Option<u64>,
    /// Microseconds in which a limit held it back.
    pub throttled: Option<u64>,
    /// Bytes in use.
    pub memory: Option<u64>,
    /// The most that was ever in use, where the kernel keeps it.
    pub memory_peak: Option<u64>,
    /// Processes that were killed because the memory ran out.
    pub oom_kills: Option<u64>,
    /// Bytes from and to disks.
    pub read: Option<u64>,
    pub written: Option<u64>,
    /// Microseconds in which some process waited for processors, memory and disks.
    pub cpu_pressure: Option<u64>,
    pub memory_pressure: Option<u64>,
    pub io_pressure: Option<u64>,
}

/// What it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// Thousandths of a processor.
    pub cpu: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
}

impl Cgroup {
    /// The group of this process, if it has one of its own.
    pub(crate) fn own() -> Option<Self> {
        let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
        Cgroup::find(Path::new("/sys/fs/cgroup"), &membership, std::process::id())
    }

    fn find(mount: &Path, membership: &str, pid: u32) -> Option<Self> {
        let path_of = |wanted: &str| {
            membership.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                controllers.split(',').any(|name| name == wanted).then_some(path)
            })
        };
        if mount.join("cgroup.controllers").exists() {
            return place(mount, path_of("")?, pid).map(Cgroup::V2);
        }
        let at = |controller: &str| place(&mount.join(controller), path_of(controller)?, pid);
        let (cpuacct, cpu, memory, blkio) = (at("cpuacct"), at("cpu"), at("memory"), at("blkio"));
        (cpuacct.is_some() || memory.is_some()).then_some(Cgroup::V1 { cpuacct, cpu, memory, blkio })
    }

    /// 1 or 2.
    pub(crate) fn version(&self) -> u32 {
        match self {
            Cgroup::V1 { .. } => 1,
            Cgroup::V2(_) => 2,
        }
    }

    pub(crate) fn read(&self) -> Reading {
        match self {
            Cgroup::V1 { cpuacct, cpu, memory, blkio } => {
                let disks = disks_v1(blkio);
                Reading {
                    cpu: number(cpuacct, "cpuacct.usage").map(|nanoseconds| nanoseconds / 1000),
                    throttled: keyed(cpu, "cpu.stat", "throttled_time").map(|nanoseconds| nanoseconds / 1000),
                    memory: number(memory, "memory.usage_in_bytes"),
                    memory_peak: number(memory, "memory.max_usage_in_bytes"),
                    oom_kills: keyed(memory, "memory.oom_control", "oom_kill"),
                    read: disks.map(|(read, _)| read),
                    written: disks.map(|(_, written)| written),
                    ..Reading::default()
                }
            }
            Cgroup::V2(dir) => {
                let dir = &Some(dir.clone());
                let disks = disks_v2(dir);
                Reading {
                    cpu: keyed(dir, "cpu.stat", "usage_usec"),
                    throttled: keyed(dir, "cpu.stat", "throttled_usec"),
                    memory: number(dir, "memory.current"),
                    memory_peak: number(dir, "memory.peak"),
                    oom_kills: keyed(dir, "memory.events", "oom_kill"),
                    read: disks.map(|(read, _)| read),
                    written: disks.map(|(_, written)| written),
                    cpu_pressure: pressure(dir, "cpu.pressure"),
                    memory_pressure: pressure(dir, "memory.pressure"),
                    io_pressure: pressure(dir, "io.pressure"),
                }
            }
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        match self {
            Cgroup::V1 { cpu, memory, .. } => {
                let quota = number(cpu, "cpu.cfs_quota_us");
                let period = number(cpu, "cpu.cfs_period_us").filter(|period| *period > 0);
                Limits {
                    cpu: quota.zip(period).map(|(quota, period)| quota.saturating_mul(1000) / period),
                    memory: number(memory, "memory.limit_in_bytes").filter(|limit| *limit < NO_LIMIT),
                }
            }
            Cgroup::V2(dir) => {
                let dir = &Some(dir.clone());
                let cpu = text(dir, "cpu.max").and_then(|text| {
                    let (quota, period) = text.trim().split_once(' ')?;
                    let (quota, period) = (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?);
                    quota.saturating_mul(1000).checked_div(period)
                });
                Limits { cpu, memory: number(dir, "memory.max") }
            }
        }
    }
}

/// The directory of a group: below the mount where all groups can be seen, the mount itself where only one's own can.
fn place(mount: &Path, path: &str, pid: u32) -> Option<PathBuf> {
    let below = mount.join(path.trim_start_matches('/'));
    let dir = if path.contains("..") || !below.is_dir() { mount.to_owned() } else { below };
    // The root of all groups is the machine, and only it has these.
    let root = ["release_agent", "cgroup.sane_behavior"].iter().any(|file| dir.join(file).exists());
    let alone = fs::read_to_string(dir.join("cgroup.procs")).ok()?.trim() == pid.to_string();
    (!root && alone).then_some(dir)
}

fn text(dir: &Option<PathBuf>, file: &str) -> Option<String> {
    fs::read_to_string(dir.as_ref()?.join(file)).ok()
}

fn number(dir: &Option<PathBuf>, file: &str) -> Option<u64> {
    text(dir, file)?.trim().parse().ok()
}

/// The number behind a word at the beginning of a line.
fn keyed(dir: &Option<PathBuf>, file: &str, key: &str) -> Option<u64> {
    text(dir, file)?.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if name == key { value.trim().parse().ok() } else { None }
    })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`
fn pressure(dir: &Option<PathBuf>, file: &str) -> Option<u64> {
    let text = text(dir, file)?;
    let some = text.lines().find(|line| line.starts_with("some "))?;
    some.split_once("total=")?.1.trim().parse().ok()
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`, a line a disk. A group that used none has no line.
fn disks_v2(dir: &Option<PathBuf>) -> Option<(u64, u64)> {
    let text = text(dir, "io.stat")?;
    let sum = |key: &str| {
        let values = text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
        values.fold(0, u64::saturating_add)
    };
    Some((sum("rbytes="), sum("wbytes=")))
}

/// `8:0 Read 1`, `8:0 Write 2` and others, then `Total 3`.
fn disks_v1(dir: &Option<PathBuf>) -> Option<(u64, u64)> {
    let name = "blkio.throttle.io_service_bytes";
    let text = text(dir, &format!("{name}_recursive")).or_else(|| text(dir, name))?;
    let sum = |kind: &str| {
        let values = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            if words.next()? == kind { words.next()?.parse::<u64>().ok() } else { None }
        });
        values.fold(0, u64::saturating_add)
    };
    Some((sum("Read"), sum("Write")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const V2: &[(&str, &str)] = &[
        ("cgroup.controllers", "cpu io memory\n"),
        ("cgroup.procs", "1\n"),
        ("cpu.stat", "usage_usec 2500000\nuser_usec 2000000\nnr_throttled 3\nthrottled_usec 40000\n"),
        ("cpu.max", "150000 100000\n"),
        ("memory.current", "1000\n"),
        ("memory.peak", "5000\n"),
        ("memory.max", "max\n"),
        ("memory.events", "low 0\noom 2\noom_kill 1\n"),
        ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n"),
        ("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 total=5\n"),
        ("memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=88\n"),
        ("io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=99\n"),
    ];

    #[test]
    fn version_2_is_read() {
        let dir = tree(V2);
        let cgroup = Cgroup::find(dir.path(), "0::/\n", 1).unwrap();
        assert_eq!(cgroup.version(), 2);
        let all = Reading {
            cpu: Some(2_500_000),
            throttled: Some(40_000),
            memory: Some(1000),
            memory_peak: Some(5000),
            oom_kills: Some(1),
            read: Some(11),
            written: Some(22),
            cpu_pressure: Some(77),
            memory_pressure: Some(88),
            io_pressure: Some(99),
        };
        assert_eq!(cgroup.read(), all);
        assert_eq!(cgroup.limits(), Limits { cpu: Some(1500), memory: None });
        // A kernel of its own ideas: what is missing or odd is left out, the rest is told.
        fs::remove_file(dir.path().join("memory.peak")).unwrap();
        fs::write(dir.path().join("cpu.stat"), "usage_usec many\n").unwrap();
        fs::write(dir.path().join("cpu.max"), "max 100000\n").unwrap();
        fs::write(dir.path().join("memory.max"), "2048\n").unwrap();
        assert_eq!(cgroup.read(), Reading { cpu: None, throttled: None, memory_peak: None, ..all });
        assert_eq!(cgroup.limits(), Limits { cpu: None, memory: Some(2048) });
    }

    #[test]
    fn version_1_is_read() {
        let dir = tree(&[
            ("cpuacct/cgroup.procs", "7\n"),
            ("cpuacct/cpuacct.usage", "3000000000\n"),
            ("cpu/cgroup.procs", "7\n"),
            ("cpu/cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_time 5000000\n"),
            ("cpu/cpu.cfs_quota_us", "50000\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("memory/cgroup.procs", "7\n"),
            ("memory/memory.usage_in_bytes", "10\n"),
            ("memory/memory.max_usage_in_bytes", "20\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
            ("blkio/cgroup.procs", "7\n"),
            ("blkio/blkio.throttle.io_service_bytes", "8:0 Read 5\n8:0 Write 6\n8:0 Sync 9\nTotal 11\n"),
        ]);
        // As a container with its own view of groups sees it: the path is the machine's, the directory is not there.
        let membership = "4:memory:/kubepods/x\n3:blkio:/kubepods/x\n2:cpu,cpuacct:/kubepods/x\n0::/\n";
        let cgroup = Cgroup::find(dir.path(), membership, 7).unwrap();
        assert_eq!(cgroup.version(), 1);
        assert_eq!(
            cgroup.read(),
            Reading {
                cpu: Some(3_000_000),
                throttled: Some(5_000),
                memory: Some(10),
                memory_peak: Some(20),
                oom_kills: Some(4),
                read: Some(5),
                written: Some(6),
                ..Reading::default()
            }
        );
        assert_eq!(cgroup.limits(), Limits { cpu: Some(500), memory: None });
        fs::write(dir.path().join("cpu/cpu.cfs_quota_us"), "-1\n").unwrap();
        assert_eq!(cgroup.limits().cpu, None);
    }

    #[test]
    fn only_a_group_of_our_own_counts() {
        let dir = tree(V2);
        assert_eq!(Cgroup::find(dir.path(), "0::/\n", 2), None, "somebody else's");
        fs::write(dir.path().join("cgroup.procs"), "1\n2\n").unwrap();
        assert_eq!(Cgroup::find(dir.path(), "0::/\n", 1), None, "shared");
        assert_eq!(Cgroup::find(dir.path(), "1:memory:/\n", 1), None, "not a member");
        let below = dir.path().join("pod/container");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("cgroup.procs"), "1\n").unwrap();
        assert_eq!(Cgroup::find(dir.path(), "0::/pod/container\n", 1), Some(Cgroup::V2(below)));
        let old = tree(&[("memory/cgroup.procs", "1\n"), ("memory/release_agent", "\n")]);
        assert_eq!(Cgroup::find(old.path(), "1:memory:/\n", 1), None, "the machine itself");
        assert_eq!(Cgroup::find(old.path(), "", 1), None);
        assert_eq!(Cgroup::find(Path::new("/no/such/mount"), "0::/\n", 1), None);
    }
}
