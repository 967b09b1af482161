//! Opening what lies below a directory in which jobs may write, so that no link, whenever it is put there, leads out of
//! it: the kernel resolves the path and refuses (`openat2`), and what was opened is mounted, not a name.

use crate::error::Error;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Opens a directory or file that no job can exchange.
pub fn base(path: &Path) -> Result<OwnedFd, Error> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|e| Error::system(format!("open {}", path.display()), e))
}

/// Opens `path`, which reads as if it lay below `root`. Links on the way may lead on below it, and nowhere else.
pub fn below(root: &Path, path: &Path) -> Result<OwnedFd, Error> {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let from = base(root)?;
    if relative.as_os_str().is_empty() {
        return Ok(from);
    }
    open(&from, relative, OFlag::O_PATH, ResolveFlag::RESOLVE_BENEATH).map_err(|e| refused(root, path, e))
}

/// As [`below`], making the directories that are not there.
pub fn below_or_made(root: &Path, path: &Path) -> Result<OwnedFd, Error> {
    match below(root, path) {
        Err(Error::System { source: Errno::ENOENT, .. }) => {}
        other => return other,
    }
    let relative = path.strip_prefix(root).unwrap_or(path);
    make_dirs(&base(root)?, relative, ResolveFlag::RESOLVE_BENEATH, None)
        .map_err(|e| refused(root, path, e))?;
    below(root, path)
}

/// As [`below`], making an empty file if there is nothing; its directory must be there.
pub fn file_or_made(root: &Path, path: &Path) -> Result<OwnedFd, Error> {
    match below(root, path) {
        Err(Error::System { source: Errno::ENOENT, .. }) => {}
        other => return other,
    }
    let relative = path.strip_prefix(root).unwrap_or(path);
    // A pipe that a job puts there at this moment would hold us up for ever.
    let how = OpenHow::new()
        .flags(OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .mode(Mode::from_bits_truncate(0o644))
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(&base(root)?, relative, how).map_err(|e| refused(root, path, e))
}

fn refused(root: &Path, path: &Path, e: Errno) -> Error {
    let what = match e {
        Errno::EXDEV | Errno::ELOOP => {
            format!("open {}: a link on the way leads out of {}", path.display(), root.display())
        }
        _ => format!("open {}", path.display()),
    };
    Error::system(what, e)
}

/// Opens `path` below `root`, as far as `resolve` allows.
pub fn open(root: &OwnedFd, path: &Path, flags: OFlag, resolve: ResolveFlag) -> Result<OwnedFd, Errno> {
    let how =
        OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
}

/// `mkdir -p` that follows links only as far as `resolve` allows; what it makes is `owner`'s.
pub fn make_dirs(root: &OwnedFd, path: &Path, resolve: ResolveFlag, owner: Option<u32>) -> Result<(), Errno> {
    let mut so_far = PathBuf::new();
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        let parent = if so_far.as_os_str().is_empty() { PathBuf::from(".") } else { so_far.clone() };
        so_far.push(name);
        match open(root, &so_far, OFlag::O_PATH, resolve) {
            Ok(_) => continue,
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        let parent = open(root, &parent, OFlag::O_PATH | OFlag::O_DIRECTORY, resolve)?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => {}
            // Another Pod that is being made ready; or a link, which the next step judges.
            Err(Errno::EEXIST) => continue,
            Err(e) => return Err(e),
        }
        if let Some(id) = owner {
            let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
            nix::unistd::fchownat(&parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

/// A name for what is open, good for as long as it is.
pub fn fd_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn links_lead_on_but_not_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        symlink("a", root.join("inside")).unwrap();
        symlink("../outside", root.join("up")).unwrap();
        symlink("/etc", root.join("absolute")).unwrap();
        symlink("/proc/self/cwd", root.join("magic")).unwrap();
        for good in ["", "a/b", "inside/b"] {
            below(&root, &root.join(good)).unwrap();
        }
        for bad in ["up", "up/x", "absolute", "absolute/passwd", "magic"] {
            let why = below_or_made(&root, &root.join(bad)).unwrap_err().to_string();
            assert!(why.contains("leads out of"), "{bad}: {why}");
        }
        let made = below_or_made(&root, &root.join("inside/new/deep")).unwrap();
        assert!(fd_path(&made).is_dir() && root.join("a/new/deep").is_dir());
        assert_eq!(std::fs::read_dir(dir.path().join("outside")).unwrap().count(), 0);
    }

    /// Somebody exchanges a directory for a link all the while: what is opened is never what the link leads to.
    #[test]
    fn a_racer_gains_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let outside = dir.path().join("outside");
        std::fs::create_dir_all(root.join("real/x")).unwrap();
        std::fs::create_dir_all(outside.join("x")).unwrap();
        symlink(&outside, root.join("link")).unwrap();
        let id = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
        let (inside, forbidden) = (id(&root.join("real/x")), id(&outside.join("x")));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for (from, to) in [("real", "at"), ("at", "real"), ("link", "at"), ("at", "link")] {
                        std::fs::rename(root.join(from), root.join(to)).unwrap();
                    }
                }
            });
            for _ in 0..300 {
                if let Ok(fd) = below(&root, &root.join("at/x")) {
                    let found = id(&fd_path(&fd));
                    assert!(found == inside && found != forbidden);
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
