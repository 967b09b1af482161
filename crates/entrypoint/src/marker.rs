//! Marker files: an exit code in decimal that appears whole or not at all (prow-runtime §8.3).

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes that are read of a marker; none is that long.
const LONGEST: u64 = 64;

/// Room for a code: the longest has this many digits.
const ROOM: &[u8] = b"           ";

/// A marker to be: its room is taken before the command starts, since a disk that the command filled would have
/// none for it.
pub(crate) struct Reserved {
    path: PathBuf,
    file: Option<File>,
}

impl Reserved {
    /// Tried again at the end if it cannot be done.
    pub(crate) fn at(path: &Path) -> Self {
        let reserve = || -> io::Result<File> {
            let mut file = File::create(staged(path))?;
            file.write_all(ROOM)?;
            file.sync_all()?;
            Ok(file)
        };
        Reserved { path: path.to_owned(), file: reserve().ok() }
    }

    /// Writes the code, for every user to read, and gives the marker its name.
    pub(crate) fn write(self, code: i32) -> io::Result<()> {
        let text = code.to_string();
        if let Some(file) = self.file {
            let finish = || -> io::Result<()> {
                file.write_all_at(text.as_bytes(), 0)?;
                file.set_len(text.len() as u64)?;
                file.set_permissions(Permissions::from_mode(0o777))?;
                file.sync_all()?;
                fs::rename(staged(&self.path), &self.path)
            };
            if finish().is_ok() {
                return Ok(());
            }
        }
        write(&self.path, code)
    }
}

/// Writes a marker for which no room was kept.
pub(crate) fn write(path: &Path, code: i32) -> io::Result<()> {
    write_whole(path, code.to_string().as_bytes(), 0o777, true)
}

/// Writes a file that appears whole: temporary file in the same directory, renamed. Only if synced does it survive
/// the machine.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32, sync: bool) -> io::Result<()> {
    let staged = staged(path);
    let write = || {
        let mut file = File::create(&staged)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(&staged, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&staged);
    })
}

fn staged(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// The code in a marker; `None` while there is no marker. What another container put in its place instead (a pipe, a
/// file without end) is an error and nothing to wait for.
pub(crate) fn read(path: &Path) -> Result<Option<i32>, String> {
    let read = || -> io::Result<String> {
        let file = fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => match text.trim().parse() {
            Ok(code) => Ok(Some(code)),
            // Its words are another container's: a secret that is cut off here could not be censored any more.
            Err(_) => Err(format!("{} holds no exit code", path.display())),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("cannot read {}: {e}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_written_whole_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marker-file.txt");
        assert_eq!(read(&path), Ok(None));
        write(&path, -1).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "-1");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
        assert_eq!(read(&path), Ok(Some(-1)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        fs::write(&path, "oops").unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.contains("no exit code") && !error.contains("oops"), "{error}");
        assert!(write(&dir.path().join("no/such/dir/m"), 0).is_err());
    }

    #[test]
    fn a_reserved_marker_is_a_marker_like_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marker-file.txt");
        for (code, disturb) in [(i32::MIN, false), (0, false), (7, true)] {
            let reserved = Reserved::at(&path);
            if disturb {
                fs::remove_file(staged(&path)).unwrap();
            }
            reserved.write(code).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), code.to_string());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        }
        assert!(Reserved::at(&dir.path().join("no/such/dir/m")).write(0).is_err());
    }
}
