//! The token of the socket and the kubeconfig that carries it: files that only their owner may read.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use prow_api::secret::Secret;
use rand::Rng;

use crate::Error;

const TOKEN_FILE: &str = "apiserver.token";
const KUBECONFIG_FILE: &str = "kubeconfig";

/// The token kept in `dir`, made at first use, so that kubeconfigs outlive a restart.
pub fn load_or_create_token(dir: &Path) -> Result<Secret, Error> {
    let path = dir.join(TOKEN_FILE);
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(Secret::new(text.trim())),
        Ok(_) => return Err(Error::Token { path }),
        Err(e) if e.kind() == ErrorKind::InvalidData => return Err(Error::Token { path }),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(Error::File { what: "read", path, source }),
    }
    let bytes: [u8; 32] = rand::rng().random();
    let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    write_private(&path, token.as_bytes())?;
    Ok(Secret::new(token))
}

/// A kubeconfig for kubectl, with the one context `prow`. It contains the token.
pub fn kubeconfig(addr: SocketAddr, token: &Secret) -> String {
    // A JSON string is a YAML string too, whatever is in it.
    let token = serde_json::Value::from(token.expose_str().unwrap_or_default());
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: prow\nclusters:\n- name: prow\n  cluster:\n    server: \
         http://{addr}\nusers:\n- name: prow\n  user:\n    token: {token}\ncontexts:\n- name: prow\n  context:\n    \
         cluster: prow\n    user: prow\n    namespace: default\n"
    )
}

/// Writes the kubeconfig into `dir`, readable by its owner only; gives its path.
pub fn write_kubeconfig(dir: &Path, addr: SocketAddr, token: &Secret) -> Result<PathBuf, Error> {
    let path = dir.join(KUBECONFIG_FILE);
    write_private(&path, kubeconfig(addr, token).as_bytes())?;
    Ok(path)
}

/// Replaces a file as a whole, mode 0600 from its first byte on.
fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::File { what: "write", path: path.to_owned(), source };
    let temporary = path.with_extension("new");
    // A leftover of a crash may have another mode; start from nothing.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_token_stays_and_its_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create_token(dir.path()).unwrap();
        assert_eq!(first.expose().len(), 64);
        assert_eq!(load_or_create_token(dir.path()).unwrap(), first);
        let path = write_kubeconfig(dir.path(), "127.0.0.1:7".parse().unwrap(), &first).unwrap();
        for file in [path.clone(), dir.path().join(TOKEN_FILE)] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("server: http://127.0.0.1:7\n"));
        assert!(text.contains(first.expose_str().unwrap()));
        fs::write(dir.path().join(TOKEN_FILE), "\n").unwrap();
        assert!(matches!(load_or_create_token(dir.path()), Err(Error::Token { .. })));
    }
}
