//! GitHub Apps: an App proves who it is with a signed statement (a JWT), and GitHub gives it a token that is good for
//! an hour, for the repositories that it is installed on (prow-runtime §1.2, §8.1).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use prow_api::Secret;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde::Deserialize;
use serde_json::json;

use crate::client::path::path;
use crate::client::{Call, Client};
use crate::{Error, TokenSource};

/// GitHub refuses statements from the future: its clock may be behind ours by so many seconds.
const BACKDATED: i64 = 60;
/// Seconds that a statement is good for; GitHub allows ten minutes.
const GOOD_FOR: i64 = 9 * 60;

/// An App's identity: its id (or client id) and its private key.
#[derive(Clone)]
pub struct AppKey {
    id: String,
    key: Arc<dyn SigningKey>,
}

impl std::fmt::Debug for AppKey {
    /// The id only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppKey({})", self.id)
    }
}

impl AppKey {
    /// From the file that GitHub gave its owner: an RSA key in PEM form, PKCS#1 or PKCS#8.
    ///
    /// # Errors
    /// It is not such a key. What it holds instead is not repeated.
    pub fn from_pem(id: &str, pem: &[u8]) -> Result<Self, Error> {
        let unusable = |why: &str| {
            Error::Setup(format!(
                "the private key of GitHub App {id} cannot be used: {why}; download it again from the App's settings"
            ))
        };
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unusable("it is not a key in PEM form"))?;
        let key = any_supported_type(&der).map_err(|_| unusable("it is no key that can sign"))?;
        let app = AppKey { id: id.to_owned(), key };
        app.statement(Timestamp::UNIX_EPOCH).map_err(|_| unusable("it is not an RSA key"))?;
        Ok(app)
    }

    /// Says who it is: a JWT, signed with RS256, good for some minutes around `now`.
    ///
    /// # Errors
    /// The key cannot sign so.
    pub fn statement(&self, now: Timestamp) -> Result<Secret, Error> {
        let failed = |why: String| Error::Setup(format!("GitHub App {} cannot sign: {why}", self.id));
        let issued = now.as_second() - BACKDATED;
        let claims = json!({"iat": issued, "exp": now.as_second() + GOOD_FOR, "iss": self.id});
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims));
        let signer = self
            .key
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
            .ok_or_else(|| failed("its key is not an RSA key".to_owned()))?;
        let signature = signer.sign(signed.as_bytes()).map_err(|e| failed(e.to_string()))?;
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    /// Where a client that speaks as the App gets its token from; for calls of the next minutes.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn token_source(&self, now: Timestamp) -> Result<TokenSource, Error> {
        self.statement(now).map(TokenSource::Static)
    }
}

#[derive(Deserialize)]
struct Installation {
    id: i64,
}

#[derive(Deserialize)]
struct InstallationToken {
    token: String,
}

#[derive(Deserialize)]
struct AccountOf {
    account: Account,
}

#[derive(Deserialize)]
struct Account {
    login: String,
}

impl Client {
    /// Logins of the accounts where the App is installed. This client must speak as the App
    /// ([`AppKey::token_source`]).
    ///
    /// # Errors
    /// GitHub does not take its statement, or cannot be reached.
    pub async fn list_app_installations(&self) -> Result<Vec<String>, Error> {
        let list: Vec<AccountOf> = self.fetch_list(&path(["app", "installations"])?, &[]).await?;
        Ok(list.into_iter().map(|installation| installation.account.login).collect())
    }

    /// A token for reading one repository. This client must speak as the App ([`AppKey::token_source`]).
    ///
    /// The token can read this repository and nothing else. An App that was not granted the right to read content
    /// gets one for the repository's metadata: a public repository can be cloned with that.
    ///
    /// # Errors
    /// The App is not installed on the repository, or GitHub does not take its statement.
    pub async fn create_read_token(&self, org: &str, repo: &str) -> Result<Secret, Error> {
        let call = Call::get(path(["repos", org, repo, "installation"])?).may_be_absent();
        let installation: Installation = self.fetch(call).await.map_err(|error| match error {
            Error::Status { method, path, status, message, hint }
                if status == http::StatusCode::NOT_FOUND =>
            {
                let hint = format!("; is the App installed on {org}/{repo}?{hint}");
                Error::Status { method, path, status, message, hint }
            }
            error => error,
        })?;
        let tokens = path(["app", "installations", &installation.id.to_string(), "access_tokens"])?;
        let ask = |body: serde_json::Value| {
            let call = Call::new(http::Method::POST, tokens.clone()).repeatable().json(&body);
            async { self.fetch::<InstallationToken>(call?).await }
        };
        let narrow = json!({"repositories": [repo], "permissions": {"contents": "read"}});
        let answer = match ask(narrow).await {
            Err(Error::Status { status, .. }) if status == http::StatusCode::UNPROCESSABLE_ENTITY => {
                ask(json!({"repositories": [repo], "permissions": {"metadata": "read"}})).await?
            }
            answer => answer?,
        };
        Ok(Secret::new(answer.token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// A key as GitHub makes them, by OpenSSL; `None`, and said, where there is no OpenSSL.
    fn key(dir: &std::path::Path, extra: &[&str]) -> Option<Vec<u8>> {
        let out = dir.join("key.pem");
        let made = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&out)
            .args(extra)
            .stderr(Stdio::null())
            .status();
        match made {
            Ok(status) if status.success() => Some(std::fs::read(out).unwrap()),
            _ => {
                eprintln!("skipped: openssl is not installed");
                None
            }
        }
    }

    #[test]
    fn openssl_accepts_what_we_sign() {
        let dir = tempfile::tempdir().unwrap();
        // PKCS#1, which is GitHub's form, and PKCS#8.
        for extra in [&["-traditional", "2048"][..], &["2048"]] {
            let Some(pem) = key(dir.path(), extra) else { return };
            let app = AppKey::from_pem("4711", &pem).unwrap();
            let now = Timestamp::from_second(1_700_000_000).unwrap();
            let statement = app.statement(now).unwrap();
            let text = statement.expose_str().unwrap();
            let (signed, signature) = text.rsplit_once('.').unwrap();
            let file = |name: &str, bytes: &[u8]| {
                std::fs::write(dir.path().join(name), bytes).unwrap();
                dir.path().join(name)
            };
            let signature = file("signature", &URL_SAFE_NO_PAD.decode(signature).unwrap());
            let signed_file = file("signed", signed.as_bytes());
            let verified = Command::new("openssl")
                .args(["dgst", "-sha256", "-prverify"])
                .arg(dir.path().join("key.pem"))
                .arg("-signature")
                .args([signature, signed_file])
                .output()
                .unwrap();
            assert!(verified.status.success(), "{verified:?}");
            let (header, claims) = signed.split_once('.').unwrap();
            let decoded = |part: &str| -> serde_json::Value {
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
            };
            assert_eq!(decoded(header), json!({"alg": "RS256", "typ": "JWT"}));
            assert_eq!(decoded(claims), json!({"iat": 1_699_999_940, "exp": 1_700_000_540, "iss": "4711"}));
            assert_eq!(format!("{app:?}"), "AppKey(4711)");
        }
    }

    #[test]
    fn what_is_no_rsa_key_is_refused_and_not_repeated() {
        let elliptic = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519"]).output();
        let elliptic = elliptic.map(|done| done.stdout).unwrap_or_default();
        let short = b"-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n".to_vec();
        for pem in [b"hunter2".to_vec(), Vec::new(), short, elliptic] {
            let error = AppKey::from_pem("4711", &pem).unwrap_err().to_string();
            assert!(error.contains("GitHub App 4711") && !error.contains("hunter2"), "{error}");
            assert!(!error.contains("aHVudGVyMg"), "{error}");
        }
    }
}
