//! What a file looks like from outside: enough to tell that it was changed or replaced, without reading it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Changes that lie this close to a look may have left times that a later change leaves, too: some file systems count
/// in seconds.
const RACY: Duration = Duration::from_secs(2);

/// Identity, size and times of what a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sig {
    device: u64,
    inode: u64,
    len: u64,
    /// Seconds and nanoseconds of the last change of the content, then of anything. The second cannot be set back by
    /// whoever writes the file.
    times: [(i64, i64); 2],
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Other,
}

impl Sig {
    /// Of what `path` leads to, links followed; nothing if it cannot be looked at.
    pub(crate) fn of(path: &Path) -> Option<Sig> {
        fs::metadata(path).ok().map(|m| Sig::from(&m))
    }

    /// Of `path` itself, which may be a link.
    pub(crate) fn of_link(path: &Path) -> Option<(Sig, bool)> {
        fs::symlink_metadata(path).ok().map(|m| (Sig::from(&m), m.is_symlink()))
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// In bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether another change could look the same: then the look proves nothing later (as for git's index).
    pub(crate) fn is_racy(&self, now: SystemTime) -> bool {
        let since = |(seconds, nanos): (i64, i64)| {
            let at = SystemTime::UNIX_EPOCH
                + Duration::new(seconds.try_into().unwrap_or(0), nanos.try_into().unwrap_or(0));
            now.duration_since(at).unwrap_or_default()
        };
        self.times.into_iter().any(|time| since(time) < RACY)
    }
}

#[cfg(unix)]
impl From<&fs::Metadata> for Sig {
    fn from(metadata: &fs::Metadata) -> Sig {
        use std::os::unix::fs::MetadataExt;
        Sig {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            times: [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())],
            kind: kind(metadata),
        }
    }
}

#[cfg(not(unix))]
impl From<&fs::Metadata> for Sig {
    fn from(metadata: &fs::Metadata) -> Sig {
        let time = |at: std::io::Result<SystemTime>| {
            let since = at.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            since.map_or((0, 0), |d| (d.as_secs() as i64, d.subsec_nanos().into()))
        };
        let times = [time(metadata.modified()), time(metadata.created())];
        Sig { device: 0, inode: 0, len: metadata.len(), times, kind: kind(metadata) }
    }
}

fn kind(metadata: &fs::Metadata) -> Kind {
    if metadata.is_file() {
        Kind::File
    } else if metadata.is_dir() {
        Kind::Directory
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_looks_different_and_a_young_one_proves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "a").unwrap();
        let first = Sig::of(&path).unwrap();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        assert!(first.is_file() && first.is_racy(written) && !first.is_racy(written + RACY * 2));
        fs::write(dir.path().join("g"), "b").unwrap();
        fs::rename(dir.path().join("g"), &path).unwrap();
        assert_ne!(Sig::of(&path).unwrap(), first);
        assert!(Sig::of(&dir.path().join("nothing")).is_none());
    }
}
