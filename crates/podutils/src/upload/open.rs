//! Opens files that a job may have tampered with: never through a link, never anything but a regular file, never
//! blocking on a pipe.
//!
//! Directory and file are opened one path segment at a time relative to the one before, so that there is no
//! moment between looking and opening in which the job could swap a directory for a link.

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

const NO_LINKS: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC);

/// A directory below which files are opened.
pub(crate) struct Beneath {
    directory: OwnedFd,
    path: PathBuf,
}

impl Beneath {
    /// The directory itself must not be a link either: a job could put one in the place of its artifacts.
    pub(crate) fn directory(path: &Path) -> io::Result<Self> {
        let flags = NO_LINKS | OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory = openat(nix::fcntl::AT_FDCWD, path, flags, Mode::empty())?;
        Ok(Beneath { directory, path: path.to_owned() })
    }

    /// The directory that a file lies in, and the file's name.
    pub(crate) fn parent_of(file: &Path) -> io::Result<(Self, PathBuf)> {
        let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok((Beneath::directory(parent)?, PathBuf::from(name)))
    }

    /// The path it was opened by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file for reading, and gives the length it has now.
    pub(crate) fn file(&self, relative: &Path) -> io::Result<(File, u64)> {
        let mut names = Vec::new();
        for component in relative.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::CurDir => {}
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "the path leads out of its directory",
                    ));
                }
            }
        }
        let Some((file, directories)) = names.split_last() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut at: Option<OwnedFd> = None;
        for name in directories {
            let flags = NO_LINKS | OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            let parent = at.as_ref().unwrap_or(&self.directory);
            at = Some(openat(parent, *name, flags, Mode::empty())?);
        }
        let flags = NO_LINKS | OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let file = File::from(openat(at.as_ref().unwrap_or(&self.directory), *file, flags, Mode::empty())?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok((file, meta.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_pipes_and_ways_out_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("artifacts");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/file"), "content").unwrap();
        fs::write(dir.path().join("secret"), "hunter2").unwrap();
        symlink("../secret", root.join("link")).unwrap();
        symlink("..", root.join("up")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), Mode::S_IRWXU).unwrap();
        let beneath = Beneath::directory(&root).unwrap();
        assert_eq!(beneath.file(Path::new("sub/file")).unwrap().1, 7);
        for evil in ["link", "up/secret", "pipe", "sub", "../secret", "/etc/passwd", "", "gone"] {
            assert!(beneath.file(Path::new(evil)).is_err(), "{evil}");
        }
        symlink("artifacts", dir.path().join("other")).unwrap();
        assert!(Beneath::directory(&dir.path().join("other")).is_err());
    }
}
