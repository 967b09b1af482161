//! Where the client's token comes from, and how a rotated token file is noticed.

use std::path::PathBuf;
use std::time::SystemTime;

use parking_lot::Mutex;
use prow_api::Secret;

use crate::Error;

/// Where the token comes from.
#[derive(Clone, Debug, Default)]
pub enum TokenSource {
    /// Anonymous calls.
    #[default]
    None,
    /// One token for the client's life.
    Static(Secret),
    /// A file that holds a token; read again when it changes. Surrounding white space is not part of the token.
    File(PathBuf),
}

/// A token source with the memory of what was read last.
pub(crate) struct TokenReader {
    source: TokenSource,
    last: Mutex<Option<(FileMark, Secret)>>,
}

#[derive(PartialEq)]
struct FileMark {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl TokenReader {
    pub(crate) fn new(source: TokenSource) -> Self {
        TokenReader { source, last: Mutex::new(None) }
    }

    /// The token to use now. A file is looked at with each call (one `stat`) and read only after a change.
    pub(crate) fn token(&self) -> Result<Option<Secret>, Error> {
        let path = match &self.source {
            TokenSource::None => return Ok(None),
            TokenSource::Static(token) => return Ok(Some(token.clone())),
            TokenSource::File(path) => path,
        };
        let failed = |why: String| Error::Token { path: path.clone(), why };
        let meta = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?;
        let mark = FileMark {
            modified: meta.modified().ok(),
            len: meta.len(),
            inode: std::os::unix::fs::MetadataExt::ino(&meta),
        };
        let mut last = self.last.lock();
        if let Some((seen, token)) = &*last
            && *seen == mark
        {
            return Ok(Some(token.clone()));
        }
        let content = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
        let token = Secret::new(content.trim_ascii());
        if token.is_empty() {
            return Err(failed("it is empty".into()));
        }
        *last = Some((mark, token.clone()));
        Ok(Some(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_is_trimmed_and_read_again_after_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "one\n").unwrap();
        let reader = TokenReader::new(TokenSource::File(file.clone()));
        assert_eq!(reader.token().unwrap(), Some(Secret::new("one")));
        let next = dir.path().join("next");
        std::fs::write(&next, "two\n").unwrap();
        std::fs::rename(next, &file).unwrap();
        assert_eq!(reader.token().unwrap(), Some(Secret::new("two")));
        std::fs::write(&file, " \n\n\n").unwrap();
        assert!(matches!(reader.token(), Err(Error::Token { .. })));
        std::fs::remove_file(&file).unwrap();
        let message = reader.token().unwrap_err().to_string();
        assert!(message.contains("--github-token-path") && !message.contains("two"), "{message}");
    }
}
