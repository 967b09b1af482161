//! Marker files: an exit code in decimal that appears whole or not at all (prow-runtime §8.3).

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Bytes that are read of a marker; none is that long.
const LONGEST: u64 = 64;

/// Writes a marker: temporary file in the same directory, synced, readable by every user, renamed.
pub(crate) fn write(path: &Path, code: i32) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let staged = directory.join(name);
    let result = File::create(&staged).and_then(|mut file| {
        file.write_all(code.to_string().as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o777))?;
        file.sync_all()?;
        fs::rename(&staged, path)
    });
    if result.is_err() {
        let _ = fs::remove_file(&staged);
    }
    result
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
            Err(_) => Err(format!("{} holds no exit code but {text:?}", path.display())),
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
        assert!(read(&path).unwrap_err().contains("oops"));
        assert!(write(&dir.path().join("no/such/dir/m"), 0).is_err());
    }
}
