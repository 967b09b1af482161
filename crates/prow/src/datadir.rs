//! The data directory: one process at a time, one path that means the same from everywhere; and one for a single run.

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use prow_service::clock::SharedClock;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process killed while it starts a child keeps its locks for a moment, through the child that has not become
/// another program yet. So a held lock is asked for again this often before it is believed.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// For an engine to clean up after a container, on a machine that has much else to do.
const CLEANING_TRIES: u32 = 300;

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// Makes the directory if need be and locks it: two processes on one directory would run every job twice.
    pub async fn claim(path: &Path, clock: &SharedClock) -> anyhow::Result<DataDir> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot make the data directory {}", path.display()))?;
        // Pods, supervisors and hostPath volumes need a path that means the same from everywhere.
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot use the data directory {}", path.display()))?;
        let file = path.join("lock");
        let mut open = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        for _ in 1..TRIES {
            match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(DataDir { path, _lock: lock }),
                Err((again, Errno::EWOULDBLOCK)) => open = again,
                Err((_, error)) => anyhow::bail!("cannot lock {}: {error}", file.display()),
            }
            clock.sleep(PAUSE).await;
        }
        anyhow::bail!(
            "another prow uses the data directory {}: stop it, or choose another with --data-dir",
            path.display()
        )
    }

    /// Where it is: absolute, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// In a scratch directory: held as long as its process lives.
const SCRATCH_LOCK: &str = "in-use";

/// A directory for one run of a tool, removed with all that is in it when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
    _lock: Flock<File>,
    path: PathBuf,
    given: std::cell::Cell<u32>,
}

impl Scratch {
    /// Makes one among the temporary files.
    pub fn new(prefix: &str) -> anyhow::Result<Scratch> {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir();
        let dir = dir.context("cannot make a temporary directory (TMPDIR says where)")?;
        let path = dir.path().canonicalize();
        let path = path.with_context(|| format!("cannot use {}", dir.path().display()))?;
        // Locked before it has its name, so that nobody takes the directory for abandoned in between.
        let (new, file) = (path.join("new"), path.join(SCRATCH_LOCK));
        let failed = || format!("cannot write {}", file.display());
        let open = File::create(&new).with_context(failed)?;
        let lock = Flock::lock(open, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error);
        let lock = lock.with_context(failed)?;
        std::fs::rename(&new, &file).with_context(failed)?;
        Ok(Scratch { dir, _lock: lock, path, given: Default::default() })
    }

    /// A new directory in it.
    pub fn directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let number = self.given.get();
        self.given.set(number + 1);
        let path = self.path.join(format!("{name}-{number}"));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Removes it now, and says why if that fails. What a container engine cleans up after a container may still be
    /// going on in it, so a refusal is not believed at once.
    pub fn remove(self) -> anyhow::Result<()> {
        let path = self.dir.keep();
        let mut tries = CLEANING_TRIES;
        loop {
            tries -= 1;
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(_) if tries > 0 => std::thread::sleep(PAUSE),
                done => return done.with_context(|| format!("cannot remove {}", path.display())),
            }
        }
    }
}

/// A scratch directory of ours whose process was killed; nobody else finds it while this lives.
#[derive(Debug)]
pub struct Abandoned {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Abandoned {
    /// All of them among the temporary files.
    pub fn find(prefix: &str) -> Vec<Abandoned> {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
        let ours = nix::unistd::geteuid().as_raw();
        let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
        entries
            .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
            .filter(|e| e.metadata().is_ok_and(|m| m.is_dir() && m.uid() == ours))
            .filter_map(|e| {
                let path = e.path().canonicalize().ok()?;
                let mut open = File::options();
                let open = open.read(true).custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits());
                let file = open.open(path.join(SCRATCH_LOCK)).ok()?;
                let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
                Some(Abandoned { path, _lock: lock })
            })
            .collect()
    }

    /// Where it is: absolute, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it.
    pub fn remove(self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_service::clock::SystemClock;

    #[tokio::test]
    async fn a_data_directory_belongs_to_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        let held = DataDir::claim(dir.path(), &clock).await.unwrap();
        let error = DataDir::claim(dir.path(), &clock).await.unwrap_err().to_string();
        assert!(
            error.contains("another prow uses the data directory") && error.contains("--data-dir"),
            "{error}"
        );
        drop(held);
        DataDir::claim(dir.path(), &clock).await.unwrap();
    }
}
