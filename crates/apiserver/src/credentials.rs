//! Who may use the socket: a token to work with and one to look with, the certificate under which the server is known,
//! and a kubeconfig for each token.
//!
//! kubectl sends a token over TLS only, so the socket speaks TLS even on loopback. The certificate is its own
//! issuer; the kubeconfig carries it, and nothing else trusts it. All files may be read by their owner only.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prow_api::secret::Secret;
use rand::Rng;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Access, Error};

const TOKEN_FILE: &str = "apiserver.token";
const VIEW_TOKEN_FILE: &str = "apiserver.view-token";
const IDENTITY_FILE: &str = "apiserver.pem";
const KUBECONFIG_FILE: &str = "kubeconfig";
const VIEW_KUBECONFIG_FILE: &str = "kubeconfig.view";
/// What the file with the certificate begins with: the names beside loopback that it is for.
const NAMES_LINE: &str = "# for: ";
/// The names under which every server can be reached: loopback only.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What the socket needs and its clients have to know. Kept in a directory, so that kubeconfigs outlive a restart.
#[derive(Debug, Clone)]
pub struct Credentials {
    token: Secret,
    view_token: Secret,
    /// Names beside loopback that the certificate is for.
    names: Vec<String>,
    /// Certificate and private key, PEM.
    identity: Secret,
}

impl Credentials {
    /// The credentials kept in `dir`, made at first use: for clients on this machine.
    pub fn load_or_create(dir: &Path) -> Result<Credentials, Error> {
        Credentials::load_or_create_for(dir, &[])
    }

    /// [`Credentials::load_or_create`] for clients that reach the server under other names or addresses, too. If the
    /// certificate that is kept is for others than these, a new one is made; kubeconfigs have to be copied again then.
    pub fn load_or_create_for(dir: &Path, names: &[String]) -> Result<Credentials, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::File {
            what: "make",
            path: dir.to_owned(),
            source,
        })?;
        let token = load_or_create(&dir.join(TOKEN_FILE), |_| Ok(new_token()))?;
        let view_token = load_or_create(&dir.join(VIEW_TOKEN_FILE), |_| Ok(new_token()))?;
        let path = dir.join(IDENTITY_FILE);
        let mut identity = load_or_create(&path, |path| new_identity(path, names))?;
        if names_of(identity.expose_str().unwrap_or_default()) != names {
            let made = new_identity(&path, names)?;
            write_private(&path, made.as_bytes())?;
            identity = Secret::new(made.trim_end());
        }
        let credentials = Credentials { token, view_token, names: names.to_vec(), identity };
        credentials.tls().map_err(|why| Error::Identity { path: dir.join(IDENTITY_FILE), why })?;
        Ok(credentials)
    }

    /// The bearer token to work with.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// The bearer token of those who may do this much.
    pub fn token_for(&self, access: Access) -> &Secret {
        match access {
            Access::Everything => &self.token,
            Access::ReadOnly => &self.view_token,
        }
    }

    /// The certificate is for more than this machine's own clients.
    pub(crate) fn are_for_others(&self) -> bool {
        !self.names.is_empty()
    }

    /// A kubeconfig for kubectl, with the one context `prow`. It contains the token.
    pub fn kubeconfig(&self, addr: SocketAddr) -> String {
        self.kubeconfig_for(Access::Everything, addr)
    }

    /// The kubeconfig of those who may do this much. One that listens everywhere is reached by its first name.
    pub fn kubeconfig_for(&self, access: Access, addr: SocketAddr) -> String {
        let addr = match self.names.first() {
            Some(name) if addr.ip().is_unspecified() => format!("{name}:{}", addr.port()),
            _ => addr.to_string(),
        };
        // A JSON string is a YAML string too, whatever is in it.
        let token = serde_json::Value::from(self.token_for(access).expose_str().unwrap_or_default());
        let authority = STANDARD.encode(certificate_part(self.identity.expose_str().unwrap_or_default()));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: prow\nclusters:\n- name: prow\n  cluster:\n    server: \
             https://{addr}\n    certificate-authority-data: {authority}\nusers:\n- name: prow\n  user:\n    token: \
             {token}\ncontexts:\n- name: prow\n  context:\n    cluster: prow\n    user: prow\n    namespace: default\n"
        )
    }

    /// Writes the kubeconfig into `dir`, readable by its owner only; gives its path. The one for viewers lies beside it
    /// as `kubeconfig.view`: Prow takes every context of a kubeconfig for a cluster, so they are not one file.
    pub fn write_kubeconfig(&self, dir: &Path, addr: SocketAddr) -> Result<PathBuf, Error> {
        let path = dir.join(KUBECONFIG_FILE);
        write_private(&path, self.kubeconfig(addr).as_bytes())?;
        let view = self.kubeconfig_for(Access::ReadOnly, addr);
        write_private(&dir.join(VIEW_KUBECONFIG_FILE), view.as_bytes())?;
        Ok(path)
    }

    /// The server's side of TLS.
    pub(crate) fn tls(&self) -> Result<ServerConfig, String> {
        let pem = self.identity.expose();
        let certificate = CertificateDer::from_pem_slice(pem).map_err(|e| format!("no certificate: {e}"))?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|e| format!("no private key: {e}"))?;
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| e.to_string())?
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
                .map_err(|e| e.to_string())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// The certificate of a PEM text that has the key behind it.
fn certificate_part(pem: &str) -> &str {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----\n";
    let begin = pem.find(BEGIN).unwrap_or(0);
    pem.find(END).and_then(|end| pem.get(begin..end + END.len())).unwrap_or("")
}

/// The names beside loopback that an identity is for.
fn names_of(pem: &str) -> Vec<String> {
    let line = pem.lines().next().and_then(|l| l.strip_prefix(NAMES_LINE)).unwrap_or("");
    line.split(' ').filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

fn new_token() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn new_identity(path: &Path, names: &[String]) -> Result<String, Error> {
    let make = || -> Result<String, rcgen::Error> {
        let key = rcgen::KeyPair::generate()?;
        let all: Vec<String> = NAMES.iter().map(|n| (*n).to_owned()).chain(names.iter().cloned()).collect();
        let mut params = rcgen::CertificateParams::new(all)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "prow embedded API server");
        let certificate = params.self_signed(&key)?;
        let header =
            if names.is_empty() { String::new() } else { format!("{NAMES_LINE}{}\n", names.join(" ")) };
        Ok(format!("{header}{}{}", certificate.pem().replace("\r\n", "\n"), key.serialize_pem()))
    };
    make().map_err(|e| Error::Identity { path: path.to_owned(), why: e.to_string() })
}

fn load_or_create(path: &Path, make: impl FnOnce(&Path) -> Result<String, Error>) -> Result<Secret, Error> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(Secret::new(text.trim_end())),
        Ok(_) => return Err(Error::Token { path: path.to_owned() }),
        Err(e) if e.kind() == ErrorKind::InvalidData => return Err(Error::Token { path: path.to_owned() }),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(Error::File { what: "read", path: path.to_owned(), source }),
    }
    let made = make(path)?;
    write_private(path, made.as_bytes())?;
    Ok(Secret::new(made.trim_end()))
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
    fn the_credentials_stay_and_their_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Credentials::load_or_create(dir.path()).unwrap();
        assert_eq!(first.token().expose().len(), 64);
        let again = Credentials::load_or_create(dir.path()).unwrap();
        assert!(again.token == first.token && again.identity == first.identity);
        let path = first.write_kubeconfig(dir.path(), "127.0.0.1:7".parse().unwrap()).unwrap();
        for file in [path.clone(), dir.path().join(TOKEN_FILE), dir.path().join(IDENTITY_FILE)] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("server: https://127.0.0.1:7\n"));
        assert!(text.contains(first.token().expose_str().unwrap()));
        assert!(!certificate_part(first.identity.expose_str().unwrap()).contains("PRIVATE"));
        assert!(!format!("{first:?}").contains(first.token().expose_str().unwrap()));
    }

    #[test]
    fn a_certificate_for_other_names_replaces_the_one_for_loopback() {
        let dir = tempfile::tempdir().unwrap();
        let local = Credentials::load_or_create(dir.path()).unwrap();
        let names = vec!["ci.example.com".to_owned(), "192.0.2.7".to_owned()];
        let wide = Credentials::load_or_create_for(dir.path(), &names).unwrap();
        assert!(wide.identity != local.identity && wide.token == local.token);
        assert!(wide.are_for_others() && !local.are_for_others());
        let again = Credentials::load_or_create_for(dir.path(), &names).unwrap();
        assert!(again.identity == wide.identity);
        let text = wide.kubeconfig_for(Access::ReadOnly, "0.0.0.0:7".parse().unwrap());
        assert!(text.contains("server: https://ci.example.com:7\n"), "{text}");
        assert!(text.contains(wide.token_for(Access::ReadOnly).expose_str().unwrap()));
        assert!(!text.contains(wide.token().expose_str().unwrap()));
    }

    #[test]
    fn spoilt_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        Credentials::load_or_create(dir.path()).unwrap();
        fs::write(dir.path().join(IDENTITY_FILE), "nonsense").unwrap();
        let e = Credentials::load_or_create(dir.path()).unwrap_err();
        assert!(matches!(e, Error::Identity { .. }) && e.to_string().contains(IDENTITY_FILE), "{e}");
        fs::write(dir.path().join(TOKEN_FILE), "\n").unwrap();
        assert!(matches!(Credentials::load_or_create(dir.path()), Err(Error::Token { .. })));
    }
}
