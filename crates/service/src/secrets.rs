//! Secrets that live in files and may be rotated while we run.

use crate::censor;
use parking_lot::Mutex;
use prow_api::Secret;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A secret file that could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It could not be read.
    #[error("cannot read the {what} from {}: {source}. Check that the file exists and that this user may read it", path.display())]
    Read {
        /// What the secret is for, e.g. `GitHub token`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("the {what} file {} is empty", path.display())]
    Empty {
        /// What the secret is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// A file with one secret, white space around it trimmed. It is read again when it changes; if that fails the
/// last good value stays in force and the failure is logged. Cheap to clone.
#[derive(Clone)]
pub struct SecretFile {
    inner: Arc<Inner>,
}

struct Inner {
    what: &'static str,
    path: PathBuf,
    state: Mutex<(Stamp, Secret)>,
}

type Stamp = Option<(SystemTime, u64)>;

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

impl SecretFile {
    /// Reads it for the first time and registers it with the process's censor.
    pub fn open(what: &'static str, path: impl Into<PathBuf>) -> Result<SecretFile, SecretError> {
        let path = path.into();
        let seen = stamp(&path);
        let secret = read(what, &path)?;
        Ok(SecretFile { inner: Arc::new(Inner { what, path, state: Mutex::new((seen, secret)) }) })
    }

    /// The value now.
    pub fn get(&self) -> Secret {
        let inner = &self.inner;
        let now = stamp(&inner.path);
        let mut state = inner.state.lock();
        if now != state.0 {
            match read(inner.what, &inner.path) {
                Ok(secret) => *state = (now, secret),
                Err(error) => {
                    tracing::error!(%error, "the secret changed and cannot be read; the last good one stays in force")
                }
            }
        }
        state.1.clone()
    }

    /// Where it is read from.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

fn read(what: &'static str, path: &Path) -> Result<Secret, SecretError> {
    let bytes =
        std::fs::read(path).map_err(|source| SecretError::Read { what, path: path.to_owned(), source })?;
    let trimmed = bytes.trim_ascii();
    if trimmed.is_empty() {
        return Err(SecretError::Empty { what, path: path.to_owned() });
    }
    let secret = Secret::new(trimmed);
    censor::process().add(&secret);
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_secret_is_seen_and_a_broken_one_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(matches!(SecretFile::open("token", &path), Err(SecretError::Read { .. })));
        std::fs::write(&path, "  \n").unwrap();
        assert!(matches!(SecretFile::open("token", &path), Err(SecretError::Empty { .. })));
        std::fs::write(&path, "one\n").unwrap();
        let file = SecretFile::open("token", &path).unwrap();
        assert_eq!(file.get().expose(), b"one");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(file.get().expose(), b"second");
        std::fs::write(&path, "").unwrap();
        assert_eq!(file.get().expose(), b"second");
    }
}
