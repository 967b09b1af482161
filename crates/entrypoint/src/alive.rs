//! Says that an entrypoint lives, in a way that outlasts any death: a lock that the kernel gives back.
//!
//! Whoever is killed writes no marker: by the job itself, or by the kernel, which ends all of a container when its
//! memory runs out. The sidecar would wait for that marker until the Pod's own time limit. So the entrypoint holds a
//! lock on a file beside the marker from its first moment to its last; found free without a marker, it says that
//! nobody is left to write one. An entrypoint without such a file (upstream's) is waited for as ever.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file beside a marker that is locked while its entrypoint lives.
pub fn lock_file(marker: &Path) -> PathBuf {
    beside(marker, ".lock")
}

/// A path with something behind its name.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Held while we live.
pub(crate) struct Alive(#[allow(dead_code, reason = "its one purpose is to stay open")] File);

impl Alive {
    /// Locked first and named afterwards, so that nobody finds it free before its time.
    pub(crate) fn announce(marker: &Path) -> io::Result<Self> {
        let path = lock_file(marker);
        let staged = beside(&path, &format!(".{}.tmp", std::process::id()));
        let announce = || {
            let mut file = File::create(&staged)?;
            file.write_all(b"locked while the entrypoint lives\n")?;
            file.set_permissions(Permissions::from_mode(0o644))?;
            // Nobody else knows this file, so there is nothing to wait for.
            file.try_lock()?;
            // Some file systems grant every lock. There it would say that we are gone while we are not.
            if File::open(&staged)?.try_lock_shared().is_ok() {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "locks have no effect here"));
            }
            fs::rename(&staged, &path)?;
            Ok(Alive(file))
        };
        announce().inspect_err(|_| {
            let _ = fs::remove_file(&staged);
        })
    }
}

/// True if an entrypoint that announced itself is gone. Read the marker (again) after this: it may have been written
/// just before. What cannot be told is not a death.
pub fn died(marker: &Path) -> bool {
    // A job may put a link or a pipe there.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    match fs::OpenOptions::new().read(true).custom_flags(flags).open(lock_file(marker)) {
        Ok(file) => file.try_lock_shared().is_ok(),
        Err(_) => false,
    }
}

/// True for the name of such a lock.
pub fn is_lock(name: &Path) -> bool {
    name.extension() == Some(&OsString::from("lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_entrypoint_that_was_there_can_be_gone() {
        let dir = tempfile::tempdir().unwrap();
        let marker = dir.path().join("marker-file.txt");
        assert!(!died(&marker), "it never announced itself");
        let alive = Alive::announce(&marker).unwrap();
        assert!(!died(&marker));
        assert!(is_lock(&lock_file(&marker)) && !is_lock(&marker));
        drop(alive);
        assert!(died(&marker));
        let again = Alive::announce(&marker).unwrap();
        assert!(!died(&marker), "a second one takes over");
        drop(again);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        assert!(Alive::announce(&dir.path().join("no/dir/m")).is_err());
        fs::remove_file(lock_file(&marker)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", lock_file(&marker)).unwrap();
        assert!(!died(&marker), "a link is not a lock");
    }
}
