//! One Pod's directory on disk: its layout, its files written whole or not at all, and the supervisor's lock.
//!
//! The lock is an open-file-description lock: the kernel gives it up when the supervisor is gone, whatever the reason,
//! and asking who holds it does not take it. So "is the supervisor alive" cannot be confused by a reused process id.

use crate::error::Error;
use crate::plan::PodPlan;
use crate::record::{PodRecord, TerminateRequest};
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Paths of one Pod's directory, `<data>/pods/<pod-uid>`.
#[derive(Debug, Clone)]
pub struct PodDir {
    path: PathBuf,
}

impl PodDir {
    /// The directory at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        PodDir { path: path.into() }
    }
    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// What is to be run.
    pub fn plan(&self) -> PathBuf {
        self.path.join("pod.json")
    }
    /// What has happened.
    pub fn record(&self) -> PathBuf {
        self.path.join("status.json")
    }
    /// Held by the supervisor as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }
    /// What the runner last asked of the supervisor.
    pub fn terminate(&self) -> PathBuf {
        self.path.join("terminate.json")
    }
    /// What the supervisor itself has to say.
    pub fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }
    /// Container logs.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
    /// One container's log, CRI format.
    pub fn log(&self, container: &str) -> PathBuf {
        self.logs().join(format!("{container}.log"))
    }
    /// The same of the time before, of a container that was started again.
    pub fn previous_log(&self, container: &str) -> PathBuf {
        // No container has a name with a dot in it.
        self.logs().join(format!("{container}.previous.log"))
    }
    /// Makes room for the log of a container that is started again.
    pub fn put_log_aside(&self, container: &str) -> Result<(), Error> {
        let (log, previous) = (self.log(container), self.previous_log(container));
        match std::fs::rename(&log, &previous) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("put aside the log", &log, e)),
            _ => Ok(()),
        }
    }
    /// Volumes, a directory each.
    pub fn volumes(&self) -> PathBuf {
        self.path.join("volumes")
    }
    /// One volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }
    /// What belongs to one container alone: its root, its home, its termination log.
    pub fn container(&self, name: &str) -> PathBuf {
        self.path.join("containers").join(name)
    }
    /// A container's termination message on this machine.
    pub fn termination_log(&self, container: &str) -> PathBuf {
        self.container(container).join("termination-log")
    }

    /// Reads `status.json`; `None` if no supervisor has begun.
    pub fn read_record(&self) -> Result<Option<PodRecord>, Error> {
        read_json(&self.record())
    }
    /// Writes `status.json` whole or not at all.
    pub fn write_record(&self, record: &PodRecord) -> Result<(), Error> {
        write_json(&self.record(), record)
    }
    /// Reads `pod.json`; `None` if there is none.
    pub fn read_plan(&self) -> Result<Option<PodPlan>, Error> {
        read_json(&self.plan())
    }
    /// Reads `terminate.json`; `None` if nobody asked.
    pub fn read_terminate(&self) -> Result<Option<TerminateRequest>, Error> {
        read_json(&self.terminate())
    }
    /// Writes `terminate.json` whole or not at all.
    pub fn write_terminate(&self, request: &TerminateRequest) -> Result<(), Error> {
        write_json(&self.terminate(), request)
    }

    /// Once a Pod has ended: frees its disk space and takes its secrets off it. Logs and record stay until the Pod goes.
    pub fn discard_all_but_the_account(&self) {
        let plan = self.plan();
        let gone = match std::fs::remove_file(&plan) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &plan, e)),
            _ => Ok(()),
        };
        for result in [gone, remove_tree(&self.volumes()), remove_tree(&self.path.join("containers"))] {
            if let Err(e) = result {
                // Not worth more: it goes with the directory. The supervisor's own log takes this.
                eprintln!("pod-supervisor: {e}");
            }
        }
    }

    /// True while a supervisor holds the lock.
    pub fn supervised(&self) -> Result<bool, Error> {
        is_held(&self.lock())
    }
}

/// Makes a directory, and its parents, that only we may enter.
pub fn private_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::io("create the directory", path, e))
}

/// Removes a directory with all that is in it, directories that a job has closed to itself (as Go's module cache is)
/// included. Links are removed, not followed. Fine if there is none.
///
/// The standard library's removal goes as deep as the tree, with a stack frame and an open file for every level, and a
/// job makes as many levels as it likes: it could end this process or keep its directory for ever. Here one directory
/// is open at a time, and the way back is checked, should a job still move things about.
pub fn remove_tree(path: &Path) -> Result<(), Error> {
    let failed = |e: io::Error| Error::io("remove", path, e);
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return std::fs::remove_file(path).map_err(failed),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    }
    let remove = || -> io::Result<()> {
        let mut at = open_up(AT_FDCWD, path)?;
        let mut levels = vec![Level::clear(OsString::new(), &at)?];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.directories.pop() {
                match open_up(&at, Path::new(&name)) {
                    Ok(inner) => at = inner,
                    // A supervisor that is ending may be removing the same.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                }
                levels.push(Level::clear(name, &at)?);
                continue;
            }
            let emptied = levels.pop().map(|level| level.name).unwrap_or_default();
            let Some(parent) = levels.last() else { break };
            at = openat(&at, "..", DIRECTORY | OFlag::O_RDONLY, Mode::empty())?;
            if parent.id != id(&at)? {
                return Err(io::Error::other("something moved a directory while it was being removed"));
            }
            unlink(&at, &emptied, UnlinkatFlags::RemoveDir)?;
        }
        match std::fs::remove_dir(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    };
    match remove() {
        // Somebody else has removed the last of it.
        Err(e) if e.kind() == io::ErrorKind::NotFound && !path.exists() => Ok(()),
        done => done.map_err(failed),
    }
}

/// Bytes on disk of a directory and all that is in it, as far as we can look; a file with several names counts once.
/// Bounded as [`remove_tree`] is.
pub fn size_of_tree(path: &Path) -> io::Result<u64> {
    let mut scales = Scales::default();
    let mut at = openat(AT_FDCWD, path, DIRECTORY | OFlag::O_RDONLY, Mode::empty())?;
    let mut levels = vec![Level::weigh(&at, &mut scales)?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.directories.pop() {
            // One that is gone or closed to us weighs nothing.
            if let Ok(inner) = openat(&at, Path::new(&name), DIRECTORY | OFlag::O_RDONLY, Mode::empty()) {
                levels.push(Level::weigh(&inner, &mut scales)?);
                at = inner;
            }
            continue;
        }
        levels.pop();
        let Some(parent) = levels.last() else { break };
        at = openat(&at, "..", DIRECTORY | OFlag::O_RDONLY, Mode::empty())?;
        if parent.id != id(&at)? {
            return Err(io::Error::other("something moved a directory while it was being looked at"));
        }
    }
    Ok(scales.size)
}

/// What [`size_of_tree`] has found so far.
#[derive(Default)]
struct Scales {
    size: u64,
    /// Device and inode of the files that have more names than one.
    linked: HashSet<(u64, u64)>,
}

const DIRECTORY: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// A directory on the way to the one that is being emptied.
struct Level {
    name: OsString,
    /// Device and inode.
    id: (u64, u64),
    /// Those in it that are still to be removed.
    directories: Vec<OsString>,
}

impl Level {
    /// Removes everything in `dir` but directories.
    fn clear(name: OsString, dir: &OwnedFd) -> io::Result<Level> {
        let mut directories = Vec::new();
        for (name, is_dir) in entries(dir)? {
            if is_dir {
                directories.push(name);
            } else {
                unlink(dir, &name, UnlinkatFlags::NoRemoveDir)?;
            }
        }
        Ok(Level { name, id: id(dir)?, directories })
    }
}

impl Level {
    /// Adds up what `dir` holds.
    fn weigh(dir: &OwnedFd, scales: &mut Scales) -> io::Result<Level> {
        let mut directories = Vec::new();
        for entry in std::fs::read_dir(fd_path(dir))? {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                directories.push(entry.file_name());
            } else if meta.nlink() > 1 && !scales.linked.insert((meta.dev(), meta.ino())) {
                continue;
            }
            scales.size += meta.blocks() * 512;
        }
        Ok(Level { name: OsString::new(), id: id(dir)?, directories })
    }
}

/// That it is gone already is as good.
fn unlink(dir: &OwnedFd, name: &OsStr, flags: UnlinkatFlags) -> io::Result<()> {
    match unlinkat(dir, name, flags) {
        Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn id(dir: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = nix::sys::stat::fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Opens a directory, never through a link, after giving us every right to it.
fn open_up(at: impl AsFd, name: &Path) -> io::Result<OwnedFd> {
    let found = openat(at, name, DIRECTORY | OFlag::O_PATH, Mode::empty())?;
    // If it is not ours to open up, what follows fails or does not need it.
    let _ = std::fs::set_permissions(fd_path(&found), std::fs::Permissions::from_mode(0o700));
    Ok(openat(&found, ".", DIRECTORY | OFlag::O_RDONLY, Mode::empty())?)
}

/// Names, and which of them are directories.
fn entries(dir: &OwnedFd) -> io::Result<Vec<(OsString, bool)>> {
    std::fs::read_dir(fd_path(dir))?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name(), entry.file_type()?.is_dir()))
        })
        .collect()
}

fn fd_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// A lock that lasts until this value is dropped or its process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "holding the open file is holding the lock")] File);

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Takes the lock at `path`; `None` if another process has it.
pub fn try_lock(path: &Path) -> Result<Option<Lock>, Error> {
    let file = open_lock(path).map_err(|e| Error::io("open the lock", path, e))?;
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
        Ok(_) => Ok(Some(Lock(file))),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(None),
        Err(e) => Err(Error::system(format!("lock {}", path.display()), e)),
    }
}

/// True if some process has the lock at `path`. Does not take it, not even for a moment.
pub fn is_held(path: &Path) -> Result<bool, Error> {
    // For reading only: closing a file that was open for writing wakes whoever watches the directory, ourselves included.
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io("open the lock", path, e)),
    };
    let mut wanted = whole_file();
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut wanted))
        .map_err(|e| Error::system(format!("ask for the lock {}", path.display()), e))?;
    Ok(i32::from(wanted.l_type) != libc::F_UNLCK)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| Error::Corrupt { path: path.to_owned(), source: e }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", path, e)),
    }
}

/// Writes JSON through a temporary file, synced before it takes the name, so that no reader and no crash sees half.
pub fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::Other(format!("cannot write {} as JSON: {e}", path.display())))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let tmp = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&tmp)?;
        file.write_all(&text)?;
        file.sync_data()?;
        std::fs::rename(&tmp, path)
    };
    write().map_err(|e| Error::io("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_directories_are_removed_and_links_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::fs::write(tree.join("a/b/c"), "").unwrap();
        std::fs::write(other.join("kept"), "").unwrap();
        std::os::unix::fs::symlink(&other, tree.join("a/link")).unwrap();
        for closed in ["a/b", "a"] {
            std::fs::set_permissions(tree.join(closed), std::fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && other.join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_tree_may_be_deeper_than_any_stack() {
        // In memory if possible: on a disk that journals it takes minutes.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let mut at = open_up(AT_FDCWD, &tree).unwrap();
        for _ in 0..25_000 {
            nix::sys::stat::mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            at = open_up(&at, Path::new("d")).unwrap();
        }
        drop(at);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn a_tree_weighs_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::os::unix::fs::symlink("/", tree.join("a/link")).unwrap();
        let before = size_of_tree(&tree).unwrap();
        assert!(before < 100_000, "{before}: the link was followed");
        for name in ["x", "a/y", "a/b/z"] {
            std::fs::write(tree.join(name), vec![7; 1 << 20]).unwrap();
        }
        let grown = size_of_tree(&tree).unwrap() - before;
        assert!((3 << 20..4 << 20).contains(&grown), "{grown}");
        // As cargo and git have them by the thousand.
        for name in ["again", "a/b/again"] {
            std::fs::hard_link(tree.join("x"), tree.join(name)).unwrap();
        }
        let linked = size_of_tree(&tree).unwrap() - before;
        assert!((3 << 20..4 << 20).contains(&linked), "{linked}");
        assert!(size_of_tree(&tree.join("gone")).is_err());
    }

    #[test]
    fn several_may_remove_one_tree() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        for n in 0..300 {
            std::fs::create_dir_all(tree.join(format!("{}/{n}/c", n % 7))).unwrap();
            std::fs::write(tree.join(format!("{}/{n}/file", n % 7)), "").unwrap();
        }
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..3).map(|_| scope.spawn(|| remove_tree(&tree))).collect();
            all.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
        assert!(!tree.exists());
    }

    #[test]
    fn a_lock_is_seen_without_being_taken_and_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!is_held(&path).unwrap());
        let held = try_lock(&path).unwrap().unwrap();
        assert!(is_held(&path).unwrap());
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(!is_held(&path).unwrap());
        assert!(try_lock(&path).unwrap().is_some());
    }
}
