//! A Docker of the tests' own: `dockerd`, with its containerd, in namespaces for processes and mounts.
//!
//! A keeper, which is a shell, holds them: it waits for the end of its standard input, which is ours to close and is
//! closed when we die, however that happens. Then the first process of the namespace ends, the kernel ends all others
//! and lets go of every mount, and the keeper removes what is left: a bridge, control groups, a directory.

use super::engines::{is_set, needed, path_with_sbin, which};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// Longer than it takes to start on any machine.
const SETTLE: Duration = Duration::from_secs(120);
/// Set where `.ci/run` has seen to it that there is a Docker.
const NEEDED: &str = "PROW_TESTS_NEED_DOCKER";
/// Which tools it takes.
const TOOLS: [&str; 5] = ["dockerd", "docker", "busybox", "unshare", "runc"];

/// Everything of Docker's lies in a file system in memory that only its own namespace sees, but for its socket and log.
/// It has a bridge of its own, and changes nothing of this machine's network besides.
const KEEPER: &str = r#"
dir=$1 bridge=$2 subnet=$3 group=$4
if ip link add name "$bridge" type bridge && ip address add "$subnet" dev "$bridge" && ip link set "$bridge" up; then
  network=$bridge
else
  echo "no bridge for Docker" >&2
  network=none
fi
unshare --mount --propagation slave --pid --fork --mount-proc sh -c '
  mount -t tmpfs tmpfs /run && mount --make-private /run || exit
  dockerd --config-file "$1/daemon.json" --host "unix://$1/docker.sock" --data-root /run/docker-data \
    --exec-root /run/docker --pidfile /run/docker.pid --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "$3" \
    --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --bridge "$2" >"$1/log" 2>&1 &
  read -r _
' sh "$dir" "$network" "$group"
ip link delete "$bridge" 2>/dev/null
find /sys/fs/cgroup -depth -type d \( -path "*/$group" -o -path "*/$group/*" \) -exec rmdir {} + 2>/dev/null
rm -rf "$dir"
"#;

/// Debian's Docker gives a privileged container every capability that there is. Where root lacks one, runc refuses.
const TRIMMED: &str = r#"#!/bin/sh
for word; do
  [ "$previous" = --bundle ] && sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$word/config.json"
  previous=$word
done
exec runc "$@"
"#;
const SYS_RESOURCE: u32 = 24;

/// A running dockerd; dropping the last one ends it.
pub struct Dockerd {
    keeper: Child,
    dir: PathBuf,
}

/// The tests that run side by side share one: a start is what takes longest.
static SHARED: Mutex<Weak<Dockerd>> = Mutex::new(Weak::new());

/// The shared one, started if need be; `None`, and a word about it, where there can be none.
pub fn shared() -> Option<Arc<Dockerd>> {
    let mut shared = SHARED.lock().unwrap();
    if let Some(running) = shared.upgrade() {
        return Some(running);
    }
    let missing: Vec<&str> = TOOLS.into_iter().filter(|p| which(p).is_none()).collect();
    if !needed("Docker", &missing, NEEDED) {
        return None;
    }
    let running = match Dockerd::start() {
        Ok(running) => Arc::new(running),
        Err(why) => {
            assert!(!is_set(NEEDED), "dockerd does not start: {why}");
            eprintln!("SKIPPED: containers of Docker are not tested here: dockerd does not start: {why}");
            return None;
        }
    };
    *shared = Arc::downgrade(&running);
    Some(running)
}

impl Dockerd {
    fn start() -> Result<Dockerd, String> {
        let dir = tempfile::Builder::new().prefix("prow-dockerd-").tempdir().unwrap().keep();
        fs::write(dir.join("daemon.json"), daemon(&dir)).unwrap();
        let pid = std::process::id();
        // Another test process has another one of each, as far as they go round. Of the addresses that are set aside for
        // tests of networks: the machine's own are never among them.
        let n = pid % 2048;
        let subnet = format!("198.{}.{}.{}/26", 18 + n / 1024, n / 4 % 256, n % 4 * 64 + 1);
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&dir);
        keeper.args([format!("prowt{pid}"), subnet, format!("prow-tests-{pid}")]);
        // Ctrl-C is for us; the keeper sees that we end.
        std::os::unix::process::CommandExt::process_group(&mut keeper, 0);
        keeper.env("PATH", path_with_sbin());
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut dockerd = Dockerd { keeper, dir };
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(dockerd.socket()).is_err() {
            if dockerd.keeper.try_wait().unwrap().is_some() {
                return Err("this machine forbids what it takes".to_owned());
            }
            if began.elapsed() > SETTLE || dockerd.log().contains("failed to start daemon") {
                return Err(dockerd.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(dockerd)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn daemon(dir: &std::path::Path) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let bound = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap();
    let bound = u64::from_str_radix(bound.trim(), 16).unwrap();
    if bound & (1 << SYS_RESOURCE) != 0 {
        return "{}".to_owned();
    }
    let path = dir.join("runc");
    fs::write(&path, TRIMMED).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    serde_json::json!({"runtimes": {"trimmed": {"path": path}}, "default-runtime": "trimmed"}).to_string()
}
