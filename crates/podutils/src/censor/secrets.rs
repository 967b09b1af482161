//! Loads what must not leave the Pod (prow-runtime §8.4): every file below the secret directories, and the
//! passwords inside the formats that hold some. Any failure fails the whole load.
//!
//! A Secret may be rotated while a job runs, and the job may print the old value or the new one: both stay secret.

use super::Censor;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prow_api::Secret;
use prow_api::options::CensoringOptions;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Kubernetes allows 1 MiB in a Secret; beyond this something else is mounted there.
const LARGEST: u64 = 16 << 20;

/// Every secret that was ever seen below the secret directories of a run.
pub(crate) struct Secrets {
    options: CensoringOptions,
    seen: Mutex<Vec<Secret>>,
}

impl Secrets {
    /// None so far.
    pub(crate) fn new(options: &CensoringOptions) -> Self {
        Secrets { options: options.clone(), seen: Mutex::default() }
    }

    /// Reads them again, and keeps those that are gone. What can be read in spite of a failure counts, too.
    pub(crate) fn read(&self) -> Result<(), String> {
        let mut secrets = Vec::new();
        let mut done = Ok(());
        for directory in &self.options.secret_directories {
            done = done.and(walk(Path::new(directory), &self.options.ini_filenames, &mut secrets));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets {
            if !seen.contains(&secret) {
                seen.push(secret);
            }
        }
        done
    }

    /// A censor for one upload.
    pub(crate) fn censor(&self) -> Result<Censor, String> {
        let minimum = usize::try_from(self.options.minimum_secret_length.unwrap_or_default());
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let censor = Censor::new(&seen, minimum.unwrap_or_default())?;
        Ok(censor.with_buffer(self.options.censoring_buffer_size))
    }
}

/// Goes on after a failure, and gives the first one: what can be read is secret all the same.
fn walk(path: &Path, ini_filenames: &[String], secrets: &mut Vec<Secret>) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("cannot read the secrets in {}: {e}", path.display());
    // Follows links: in a Secret's volume every file is a link into the `..data` directory.
    let meta = fs::metadata(path).map_err(failed)?;
    if meta.is_dir() {
        let mut done = Ok(());
        for entry in fs::read_dir(path).map_err(failed)? {
            done = done.and(match entry {
                // `..data` and the dated directory behind it hold the same files once more.
                Ok(entry) if entry.file_name().as_encoded_bytes().starts_with(b"..") => Ok(()),
                Ok(entry) => walk(&entry.path(), ini_filenames, secrets),
                Err(error) => Err(failed(error)),
            });
        }
        return done;
    }
    if !meta.is_file() {
        return Ok(());
    }
    if meta.len() > LARGEST {
        return Err(format!("{} is {} bytes long, too large for a secret", path.display(), meta.len()));
    }
    let content = fs::read(path).map_err(failed)?;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    secrets.push(Secret::new(&content));
    match name {
        ".dockercfg" => registries(&json(path, &content)?, secrets),
        ".dockerconfigjson" => {
            registries(json(path, &content)?.get("auths").unwrap_or(&Value::Null), secrets)
        }
        _ if ini_filenames.iter().any(|ini| ini == name) => ini(&content, secrets),
        _ => {}
    }
    Ok(())
}

fn json(path: &Path, content: &[u8]) -> Result<Value, String> {
    // Without serde's own words: they may quote the content.
    serde_json::from_slice(content).map_err(|e| format!("{} is not JSON (line {})", path.display(), e.line()))
}

fn registries(value: &Value, secrets: &mut Vec<Secret>) {
    for entry in value.as_object().into_iter().flat_map(|o| o.values()) {
        for key in ["auth", "password"] {
            if let Some(text) = entry.get(key).and_then(Value::as_str) {
                secrets.push(Secret::new(text));
            }
        }
        // Many have the password in `auth` only, which is `user:password` in base64.
        let auth = entry.get("auth").and_then(Value::as_str).and_then(|auth| STANDARD.decode(auth).ok());
        if let Some(auth) = auth
            && let Some(colon) = auth.iter().position(|b| *b == b':')
        {
            secrets.push(Secret::new(&auth[colon + 1..]));
        }
    }
}

fn ini(content: &[u8], secrets: &mut Vec<Secret>) {
    for line in String::from_utf8_lossy(content).lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';', '[']) {
            continue;
        }
        if let Some((_, value)) = line.split_once(['=', ':']) {
            secrets.push(Secret::new(value.trim().trim_matches(['"', '\''])));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn load(directories: &[String], ini_filenames: &[String]) -> Result<Vec<Secret>, String> {
        let secrets = Secrets::new(&CensoringOptions {
            secret_directories: directories.to_vec(),
            ini_filenames: ini_filenames.to_vec(),
            ..CensoringOptions::default()
        });
        secrets.read()?;
        Ok(secrets.seen.into_inner().unwrap())
    }

    #[test]
    fn after_a_rotation_the_old_value_and_the_new_one_are_secret() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(&CensoringOptions {
            secret_directories: vec![dir.path().to_str().unwrap().to_owned()],
            ..CensoringOptions::default()
        });
        for value in ["old-value", "new-value", "new-value"] {
            fs::write(dir.path().join("token"), value).unwrap();
            secrets.read().unwrap();
        }
        assert_eq!(secrets.seen.lock().unwrap().len(), 2);
        assert_eq!(secrets.censor().unwrap().masked("old-value new-value"), "XXXXXXXXX XXXXXXXXX");
        // While it is replaced it may not be readable; what was read stays.
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(secrets.read().is_err());
        assert_eq!(secrets.censor().unwrap().masked("old-value"), "XXXXXXXXX");
    }

    #[test]
    fn a_secret_volume_is_read_once_with_the_passwords_inside() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("..2026_11_22");
        fs::create_dir(&data).unwrap();
        symlink("..2026_11_22", dir.path().join("..data")).unwrap();
        for (name, content) in [
            ("token", "hunter2\n"),
            (".dockerconfigjson", r#"{"auths":{"r.io":{"auth":"dXNlcjpwOnc=","password":"p4ss"}}}"#),
            (".dockercfg", r#"{"r.io":{"auth":"QQ==","username":"u"}}"#),
            ("aws", "[default]\n# c\naws_secret = abc\nkey: 'def'\n"),
        ] {
            fs::write(data.join(name), content).unwrap();
            symlink(format!("..data/{name}"), dir.path().join(name)).unwrap();
        }
        let directory = dir.path().to_str().unwrap().to_owned();
        let secrets = load(&[directory], &["aws".to_owned()]).unwrap();
        let values: Vec<&str> = secrets.iter().filter_map(Secret::expose_str).collect();
        for expected in ["hunter2\n", "dXNlcjpwOnc=", "p:w", "p4ss", "QQ==", "abc", "def"] {
            assert!(values.contains(&expected), "{expected}");
        }
        assert_eq!(values.iter().filter(|v| **v == "hunter2\n").count(), 1);
    }

    #[test]
    fn any_failure_fails_the_load_without_quoting_content() {
        assert!(load(&["/no/such/directory".into()], &[]).unwrap_err().contains("/no/such/directory"));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".dockercfg"), "hunter2 {").unwrap();
        let error = load(&[dir.path().to_str().unwrap().to_owned()], &[]).unwrap_err();
        assert!(error.contains(".dockercfg") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_failure_does_not_keep_other_secrets_from_being_read() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [("a", "first"), (".dockercfg", "broken {"), ("z", "last")] {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let secrets = Secrets::new(&CensoringOptions {
            secret_directories: vec!["/no/such/directory".into(), dir.path().to_str().unwrap().into()],
            ..CensoringOptions::default()
        });
        assert!(secrets.read().unwrap_err().contains("/no/such/directory"));
        assert_eq!(secrets.censor().unwrap().masked("first last broken {"), "XXXXX XXXX XXXXXXXX");
    }
}
