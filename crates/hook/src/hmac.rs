//! The secrets of `--hmac-secret-file`, read again when the file changes (prow-runtime §2.2).

use crate::error::Error;
use parking_lot::Mutex;
use prow_api::Secret;
use prow_github::hmac::Secrets;
use prow_service::censor;
use prow_service::secrets::SecretFile;
use std::path::Path;
use std::sync::Arc;

pub(crate) struct HmacFile {
    file: SecretFile,
    parsed: Mutex<(Secret, Arc<Secrets>)>,
}

impl HmacFile {
    pub(crate) fn open(path: &Path) -> Result<HmacFile, Error> {
        let file = SecretFile::open("webhook HMAC secret", path)
            .map_err(|e| Error::HmacFile { path: path.to_owned(), why: e.to_string() })?;
        let text = file.get();
        let secrets = parse(&text)
            .ok_or_else(|| Error::HmacFile { path: path.to_owned(), why: "it is not UTF-8 text".into() })?;
        Ok(HmacFile { file, parsed: Mutex::new((text, Arc::new(secrets))) })
    }

    /// The secrets now.
    pub(crate) fn secrets(&self) -> Arc<Secrets> {
        let text = self.file.get();
        let mut parsed = self.parsed.lock();
        if parsed.0 != text {
            match parse(&text) {
                Some(secrets) => *parsed = (text, Arc::new(secrets)),
                None => tracing::error!(
                    path = %self.file.path().display(),
                    "the HMAC secret file changed and is not UTF-8 text; the last good one stays in force"
                ),
            }
        }
        Arc::clone(&parsed.1)
    }
}

fn parse(text: &Secret) -> Option<Secrets> {
    let secrets = Secrets::parse(text.expose_str()?, |yaml| serde_saphyr::from_str(yaml).ok());
    for secret in secrets.all() {
        if !secret.is_empty() {
            censor::process().add(&secret);
        }
    }
    Some(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_and_a_map_are_told_apart_and_changes_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hmac");
        std::fs::write(&path, "  abc123 \n").unwrap();
        let file = HmacFile::open(&path).unwrap();
        assert_eq!(file.secrets().lookup("o/r").unwrap(), [Secret::new("abc123")]);
        let yaml = "o/r:\n- value: new\n  created_at: 2020-10-02T15:00:00Z\n'*':\n- value: rest\n";
        std::fs::write(&path, yaml).unwrap();
        assert_eq!(file.secrets().lookup("o/r").unwrap(), [Secret::new("new")]);
        assert_eq!(file.secrets().lookup("x/y").unwrap(), [Secret::new("rest")]);
        assert!(matches!(HmacFile::open(&dir.path().join("absent")), Err(Error::HmacFile { .. })));
    }
}
