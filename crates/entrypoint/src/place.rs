//! `--copy-mode-only`: puts this very binary where test containers find it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Copies the running binary with its mode. Goes over a temporary name, so that a container that already looks
/// for it never starts half a file.
pub(crate) fn copy_self(destination: &Path) -> Result<(), String> {
    let own = own_path();
    copy(&own, destination)
        .map_err(|e| format!("cannot copy {} to {}: {e}", own.display(), destination.display()))
}

/// /proc/self/exe, else the name we were called by where there is no /proc.
fn own_path() -> PathBuf {
    let exe = Path::new("/proc/self/exe");
    match fs::File::open(exe) {
        Ok(_) => exe.to_owned(),
        Err(_) => PathBuf::from(std::env::args_os().next().unwrap_or_default()),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut staged = to.as_os_str().to_owned();
    staged.push(".tmp");
    let staged = PathBuf::from(staged);
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    // fs::copy follows the link, and keeps permission bits.
    let result = fs::copy(from, &staged).and_then(|_| fs::rename(&staged, to));
    if result.is_err() {
        let _ = fs::remove_file(&staged);
    }
    result
}
