//! The sandbox's root directory: the machine's system directories read-only, everything else fresh, volumes in place.
//!
//! Built in a mount namespace of its own and entered with `pivot_root`, so the machine's other directories are not
//! hidden but absent. Mount points inside volumes are resolved as if the new root were the root already
//! (`RESOLVE_IN_ROOT`), and subPaths may not leave their volume (`RESOLVE_BENEATH`): what an init container planted
//! there as a symbolic link leads nowhere else.

use crate::beneath;
use crate::error::Error;
use crate::plan::{ContainerPlan, EXE_IN_SANDBOX, Identity, Isolation, MountPlan, PodPlan};
use crate::poddir::{PodDir, private_dir};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Top-level directories of the machine that a job may read. Everything else of the machine is absent.
pub const SYSTEM_DIRS: [&str; 12] =
    ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "etc", "opt", "nix", "gnu"];
/// Fresh directories and their modes.
const FRESH_DIRS: [(&str, u32); 10] = [
    ("tmp", 0o1777),
    ("root", 0o700),
    ("home", 0o755),
    ("run", 0o755),
    ("mnt", 0o755),
    ("srv", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
    ("proc", 0o755),
    ("dev", 0o755),
];
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Parts of /proc through which even an unprivileged root could touch the machine.
const PROC_READ_ONLY: [&str; 5] = ["sys", "sysrq-trigger", "irq", "bus", "fs"];

/// Builds the container's root and makes it ours. Returns what could not be done as asked, in sentences.
pub fn enter(dir: &PodDir, pod: &PodPlan, container: &ContainerPlan) -> Result<Vec<String>, Error> {
    // Nothing of what follows may be seen outside.
    mount_at(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    let path = dir.container(&container.name).join("root");
    private_dir(&path)?;
    // As the kernel will call it in its list of mounts.
    let path = fs::canonicalize(&path).map_err(|e| Error::io("find", &path, e))?;
    let owner = match pod.isolation {
        Isolation::Sandboxed(identity) if !container.host_ids => identity.owner(),
        _ => None,
    };
    let mut root = Root { path, owner, notices: Vec::new() };
    root.build(dir, pod, container)?;
    root.pivot()?;
    Ok(root.notices)
}

struct Root {
    path: PathBuf,
    /// Who may write to what is fresh.
    owner: Option<u32>,
    notices: Vec<String>,
}

impl Root {
    fn build(&mut self, dir: &PodDir, pod: &PodPlan, container: &ContainerPlan) -> Result<(), Error> {
        bind(&self.path, &self.path)?;
        self.give(Path::new(""), 0o755)?;
        let missing: Vec<&Path> =
            container.mounts.iter().map(|m| Path::new(&m.path)).filter(|p| !p.exists()).collect();
        for name in SYSTEM_DIRS {
            self.system(Path::new(name), &missing)?;
        }
        for hidden in &pod.hide {
            self.hide(hidden)?;
        }
        if container.utility {
            self.bind_exe()?;
        }
        self.seal()?;
        for (name, mode) in FRESH_DIRS {
            self.fresh(Path::new(name), mode)?;
        }
        self.resolver()?;
        self.devices()?;
        self.proc(matches!(pod.isolation, Isolation::Sandboxed(Identity::Own)))?;
        let mut mounts = container.mounts.clone();
        // Outer mounts before those inside them.
        mounts.sort_by_key(|m| Path::new(&m.path).components().count());
        let termination = dir.termination_log(&container.name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o666)
            .open(&termination)
            .map_err(|e| Error::io("create", &termination, e))?;
        chown(&termination, self.owner)?;
        mounts.push(MountPlan {
            source: termination,
            below: None,
            sub_path: None,
            path: container.termination_path.clone(),
            read_only: false,
        });
        for m in &mounts {
            self.volume(m)?;
        }
        Ok(())
    }

    fn at(&self, relative: &Path) -> PathBuf {
        self.path.join(relative)
    }

    fn give(&self, relative: &Path, mode: u32) -> Result<(), Error> {
        let path = self.at(relative);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(|e| Error::io("set the mode of", &path, e))?;
        chown(&path, self.owner)
    }

    fn fresh(&self, relative: &Path, mode: u32) -> Result<(), Error> {
        let path = self.at(relative);
        fs::create_dir_all(&path).map_err(|e| Error::io("create the directory", &path, e))?;
        self.give(relative, mode)
    }

    /// One system directory (or file) of the machine, read-only once [`Root::seal`] has run. If a mount point below it
    /// does not exist on the machine, it is rebuilt entry by entry so that the mount point can be made.
    fn system(&self, relative: &Path, missing: &[&Path]) -> Result<(), Error> {
        let host = Path::new("/").join(relative);
        let here = self.at(relative);
        let Ok(meta) = fs::symlink_metadata(&host) else { return Ok(()) };
        if meta.is_symlink() {
            let target = fs::read_link(&host).map_err(|e| Error::io("read the link", &host, e))?;
            return symlink(target, &here).map_err(|e| Error::io("create the link", &here, e));
        }
        if meta.is_dir() {
            fs::create_dir(&here).map_err(|e| Error::io("create the directory", &here, e))?;
            if !missing.iter().any(|m| m.starts_with(&host) && **m != host) {
                return bind(&host, &here);
            }
            let entries = fs::read_dir(&host).map_err(|e| Error::io("list", &host, e))?;
            for entry in entries {
                let entry = entry.map_err(|e| Error::io("list", &host, e))?;
                self.system(&relative.join(entry.file_name()), missing)?;
            }
            return Ok(());
        }
        if meta.is_file() {
            File::create(&here).map_err(|e| Error::io("create", &here, e))?;
            return bind(&host, &here);
        }
        // Sockets, pipes and devices are nothing a job should find.
        Ok(())
    }

    /// An empty directory over one that happens to lie below a system directory.
    fn hide(&self, host: &Path) -> Result<(), Error> {
        let Ok(relative) = host.strip_prefix("/") else { return Ok(()) };
        let below = SYSTEM_DIRS.iter().any(|s| relative.starts_with(s) && relative != Path::new(s));
        let here = self.at(relative);
        if !below || !here.is_dir() {
            return Ok(());
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount_at(Some(Path::new("tmpfs")), &here, Some("tmpfs"), flags, Some("size=4k,mode=555"))
    }

    fn bind_exe(&self) -> Result<(), Error> {
        let here = self.path.join(EXE_IN_SANDBOX.trim_start_matches('/'));
        if let Some(parent) = here.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io("create the directory", parent, e))?;
        }
        // The file we are: by its name, unless a newer version has taken that meanwhile.
        let me = Path::new("/proc/self/exe");
        let id = |p: &Path| fs::metadata(p).map(|m| (m.dev(), m.ino()));
        let ours = id(me).map_err(|e| Error::io("find", me, e))?;
        match fs::read_link(me) {
            Ok(path) if id(&path).is_ok_and(|found| found == ours) => {
                File::create(&here).map_err(|e| Error::io("create", &here, e))?;
                bind(&path, &here)
            }
            _ => fs::copy(me, &here).map(drop).map_err(|e| Error::io("copy", me, e)),
        }
    }

    /// Makes everything mounted so far read-only, what is mounted below it on the machine included.
    fn seal(&self) -> Result<(), Error> {
        let info = Path::new("/proc/self/mountinfo");
        let text = fs::read_to_string(info).map_err(|e| Error::io("read", info, e))?;
        for (point, flags) in text.lines().filter_map(parse_mountinfo) {
            if point.starts_with(&self.path) && point != self.path {
                remount_read_only(&point, flags | MsFlags::MS_NOSUID)?;
            }
        }
        Ok(())
    }

    /// /etc/resolv.conf often leads to /run, which is not there: what it leads to is.
    fn resolver(&self) -> Result<(), Error> {
        let Ok(target) = fs::canonicalize("/etc/resolv.conf") else { return Ok(()) };
        let Ok(relative) = target.strip_prefix("/") else { return Ok(()) };
        let here = self.at(relative);
        if here.exists() || SYSTEM_DIRS.iter().any(|s| relative.starts_with(s)) {
            return Ok(());
        }
        if let Some(parent) = here.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io("create the directory", parent, e))?;
        }
        fs::copy(&target, &here).map(drop).map_err(|e| Error::io("copy", &target, e))
    }

    fn devices(&mut self) -> Result<(), Error> {
        let dev = self.path.join("dev");
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        mount_at(Some(Path::new("tmpfs")), &dev, Some("tmpfs"), quiet, Some("mode=755,size=64k"))?;
        for name in DEVICES {
            let host = Path::new("/dev").join(name);
            if host.exists() {
                let here = dev.join(name);
                File::create(&here).map_err(|e| Error::io("create", &here, e))?;
                bind(&host, &here)?;
            }
        }
        let links = [
            ("fd", "/proc/self/fd"),
            ("stdin", "fd/0"),
            ("stdout", "fd/1"),
            ("stderr", "fd/2"),
            ("ptmx", "pts/ptmx"),
        ];
        for (name, target) in links {
            let here = dev.join(name);
            symlink(target, &here).map_err(|e| Error::io("create the link", &here, e))?;
        }
        self.fresh(Path::new("dev/shm"), 0o1777)?;
        mount_at(
            Some(Path::new("shm")),
            &dev.join("shm"),
            Some("tmpfs"),
            quiet | MsFlags::MS_NODEV,
            Some("mode=1777,size=64m"),
        )?;
        self.fresh(Path::new("dev/pts"), 0o755)?;
        let pts = mount_at(
            Some(Path::new("devpts")),
            &dev.join("pts"),
            Some("devpts"),
            quiet,
            Some("newinstance,ptmxmode=0666,mode=620"),
        );
        if let Err(e) = pts {
            self.notices.push(format!("jobs get no pseudo-terminals: {e}"));
        }
        Ok(())
    }

    fn proc(&mut self, own: bool) -> Result<(), Error> {
        let here = self.path.join("proc");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if let Err(e) = mount_at(Some(Path::new("proc")), &here, Some("proc"), flags, None) {
            // A container around us that masks its own /proc makes the kernel refuse us a whole one.
            bind(Path::new("/proc"), &here)?;
            self.notices
                .push(format!("jobs can see the list of this machine's processes (but not touch them): {e}"));
        }
        for name in PROC_READ_ONLY {
            let path = here.join(name);
            if !path.exists() {
                continue;
            }
            let sealed = bind(&path, &path).and_then(|()| remount_read_only(&path, flags));
            if let Err(e) = sealed
                && !own
            {
                return Err(e);
            }
        }
        Ok(())
    }

    fn volume(&self, m: &MountPlan) -> Result<(), Error> {
        // From here on what was opened is meant, whatever a job puts in the place of its name.
        let base = match &m.below {
            Some(root) => beneath::below(root, &m.source)?,
            None => beneath::base(&m.source)?,
        };
        let source = match &m.sub_path {
            None => base,
            Some(sub) => self.sub_path(&base, Path::new(sub))?,
        };
        let source_path = beneath::fd_path(&source);
        let is_dir =
            fs::metadata(&source_path).map_err(|e| Error::io("look at the volume", &m.source, e))?.is_dir();
        let root = beneath::base(&self.path)?;
        let target = self.mount_point(&root, Path::new(&m.path), is_dir)?;
        bind(&source_path, &beneath::fd_path(&target))?;
        if m.read_only {
            // Opened anew, the path means what was just mounted there.
            let mounted =
                beneath::open(&root, Path::new(&m.path), OFlag::O_PATH, ResolveFlag::RESOLVE_IN_ROOT)
                    .map_err(|e| Error::system(format!("find the mount {}", m.path), e))?;
            let path = beneath::fd_path(&mounted);
            let flags = mount_flags(&path)?;
            remount_read_only(&path, flags)?;
        }
        Ok(())
    }

    fn sub_path(&self, base: &OwnedFd, sub: &Path) -> Result<OwnedFd, Error> {
        let refused = |e: Errno| Error::system(format!("use the subPath {} of a volume", sub.display()), e);
        match beneath::open(base, sub, OFlag::O_PATH, ResolveFlag::RESOLVE_BENEATH) {
            Ok(fd) => Ok(fd),
            Err(Errno::ENOENT) => {
                beneath::make_dirs(base, sub, ResolveFlag::RESOLVE_BENEATH, self.owner).map_err(refused)?;
                beneath::open(base, sub, OFlag::O_PATH, ResolveFlag::RESOLVE_BENEATH).map_err(refused)
            }
            Err(e) => Err(refused(e)),
        }
    }

    fn mount_point(&self, root: &OwnedFd, path: &Path, is_dir: bool) -> Result<OwnedFd, Error> {
        let inside = ResolveFlag::RESOLVE_IN_ROOT;
        let refused = |e: Errno| Error::system(format!("make the mount point {}", path.display()), e);
        match beneath::open(root, path, OFlag::O_PATH, inside) {
            Ok(fd) => return Ok(fd),
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(refused(e)),
        }
        if is_dir {
            beneath::make_dirs(root, path, inside, self.owner).map_err(refused)?;
        } else {
            let parent = path.parent().unwrap_or(Path::new("/"));
            beneath::make_dirs(root, parent, inside, self.owner).map_err(refused)?;
            let parent = beneath::open(root, parent, OFlag::O_PATH, inside).map_err(refused)?;
            let name = path.file_name().map(Path::new).unwrap_or(path);
            let how = OpenHow::new()
                .flags(OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC)
                .mode(Mode::from_bits_truncate(0o644));
            openat2(&parent, name, how).map_err(refused)?;
        }
        beneath::open(root, path, OFlag::O_PATH, inside).map_err(refused)
    }

    fn pivot(&self) -> Result<(), Error> {
        let enter = || -> Result<(), Errno> {
            nix::unistd::chdir(&self.path)?;
            // Old and new root on one place: the old one comes to lie on top and is taken off.
            nix::unistd::pivot_root(".", ".")?;
            umount2(".", MntFlags::MNT_DETACH)?;
            nix::unistd::chdir("/")
        };
        enter().map_err(|e| Error::system("enter the sandbox's root", e))
    }
}

fn mount_at(
    source: Option<&Path>,
    target: &Path,
    fstype: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<(), Error> {
    mount(source, target, fstype, flags, data).map_err(|e| {
        let what = fstype.map_or_else(|| source.unwrap_or(target).display().to_string(), str::to_owned);
        Error::system(format!("mount {what} at {}", target.display()), e)
    })
}

/// With everything mounted below it: in a namespace of lesser rights the kernel insists.
fn bind(source: &Path, target: &Path) -> Result<(), Error> {
    mount_at(Some(source), target, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)
}

fn remount_read_only(path: &Path, keep: MsFlags) -> Result<(), Error> {
    mount_at(None, path, None, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | keep, None)
}

fn chown(path: &Path, owner: Option<u32>) -> Result<(), Error> {
    let Some(id) = owner else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(id), Some(id)).map_err(|e| Error::io("change the owner of", path, e))
}

/// The flags of the mount at `path` that a remount in a namespace of lesser rights must keep.
fn mount_flags(path: &Path) -> Result<MsFlags, Error> {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let found =
        statvfs(path).map_err(|e| Error::system(format!("look at the mount {}", path.display()), e))?.flags();
    let pairs = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    Ok(pairs.iter().filter(|(f, _)| found.contains(*f)).fold(MsFlags::empty(), |all, (_, m)| all | *m))
}

/// Mount point and flags of a line of /proc/self/mountinfo.
fn parse_mountinfo(line: &str) -> Option<(PathBuf, MsFlags)> {
    let mut fields = line.split(' ').skip(4);
    let point = unescape(fields.next()?);
    let flags = fields.next()?.split(',').fold(MsFlags::empty(), |all, option| {
        all | match option {
            "nosuid" => MsFlags::MS_NOSUID,
            "nodev" => MsFlags::MS_NODEV,
            "noexec" => MsFlags::MS_NOEXEC,
            "noatime" => MsFlags::MS_NOATIME,
            "nodiratime" => MsFlags::MS_NODIRATIME,
            "relatime" => MsFlags::MS_RELATIME,
            _ => MsFlags::empty(),
        }
    });
    Some((point, flags))
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let octal = bytes.get(i + 1..i + 4).and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) if bytes[i] == b'\\' => {
                out.push(byte);
                i += 4;
            }
            _ => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_are_read_with_their_escapes() {
        let line = r"36 35 98:0 /x /mnt/a\040b\134c rw,nosuid,relatime master:1 - ext4 /dev/root rw";
        let (path, flags) = parse_mountinfo(line).unwrap();
        assert_eq!(path, Path::new(r"/mnt/a b\c"));
        assert_eq!(flags, MsFlags::MS_NOSUID | MsFlags::MS_RELATIME);
        assert!(parse_mountinfo("junk").is_none());
    }
}
