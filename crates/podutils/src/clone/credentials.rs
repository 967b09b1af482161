//! Tokens, and how git gets them (prow-runtime §8.1, step 3).
//!
//! A token goes to git through a credential helper that reads a private file. It is never in a URL, an argument, the
//! repository's configuration or a record, and it is offered to the one repository it is for: a submodule that a pull
//! request adds cannot make us fetch with it from elsewhere.

use crate::Host;
use prow_api::options::CloneRefsOptions;
use prow_api::{Refs, Secret};
use prow_github::{AppKey, Client, ClientOptions};
use prow_service::clock::SystemClock;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Where the tokens of a run come from.
pub(crate) enum Tokens {
    /// Nothing is private.
    None,
    /// One for all.
    OAuth(Arc<Credentials>),
    /// One for each repository, made when it is needed.
    App(App),
}

/// A GitHub App.
pub(crate) struct App {
    key: AppKey,
    endpoints: Vec<Url>,
}

/// One token, ready for git. The file vanishes with it.
pub(crate) struct Credentials {
    _dir: tempfile::TempDir,
    file: PathBuf,
    token: Secret,
}

impl Tokens {
    /// Reads what the options name.
    pub(crate) fn from_options(options: &CloneRefsOptions) -> Result<Self, String> {
        if !options.oauth_token_file.is_empty() {
            let path = Path::new(&options.oauth_token_file);
            let text = fs::read_to_string(path)
                .map_err(|e| format!("cannot read the OAuth token file {}: {e}", path.display()))?;
            let one = |token: &str| !token.is_empty() && !token.chars().any(char::is_control);
            let token = Some(text.trim()).filter(|token| one(token));
            let token = token
                .ok_or_else(|| format!("the OAuth token file {} does not hold one token", path.display()))?;
            return Credentials::new(Secret::new(token))
                .map(|credentials| Tokens::OAuth(Arc::new(credentials)));
        }
        if options.github_app_id.is_empty() {
            return Ok(Tokens::None);
        }
        let path = &options.github_app_private_key_file;
        let pem =
            fs::read(path).map_err(|e| format!("cannot read the GitHub App's private key {path}: {e}"))?;
        let key = AppKey::from_pem(&options.github_app_id, &pem).map_err(|e| e.to_string())?;
        let endpoints = options.github_api_endpoints.iter().map(|text| {
            text.parse().map_err(|e| format!("github_api_endpoints: {text:?} is not an address: {e}"))
        });
        Ok(Tokens::App(App { key, endpoints: endpoints.collect::<Result<_, _>>()? }))
    }

    /// What git gets for a repository; `None` if it gets nothing.
    pub(crate) async fn for_repository(
        &self,
        refs: &Refs,
        uri: &str,
        host: &Host,
    ) -> Result<Option<Arc<Credentials>>, String> {
        // Over SSH and from files there is no use for a token.
        let Some(server) = Url::parse(uri).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
            return Ok(None);
        };
        if !read_alike(uri, &server) {
            tracing::warn!("{uri:?} gets no token: programs do not agree on the server that it names");
            return Ok(None);
        }
        match self {
            Tokens::None => Ok(None),
            Tokens::OAuth(credentials) => Ok(Some(credentials.clone())),
            Tokens::App(app) if app.serves(&server) => app.credentials(refs, host).await.map(Some),
            Tokens::App(_) => {
                tracing::warn!(
                    repo = refs.org_repo(),
                    "it is not cloned from the GitHub that the App belongs to, so it gets no token"
                );
                Ok(None)
            }
        }
    }
}

/// False if git may take another server from an address than was taken here: `https://github.com\@evil.example/` leads
/// a browser to one and curl to the other.
fn read_alike(uri: &str, server: &Url) -> bool {
    let Some((_, rest)) = uri.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let named = authority.rsplit_once('@').map_or(authority, |(_, named)| named);
    let port = |text: &str| text.is_empty() || text.starts_with(':');
    let prefix = |host: &str| named.get(..host.len()).filter(|named| named.eq_ignore_ascii_case(host));
    let host = server.host_str().and_then(prefix);
    !uri.contains('\\') && host.is_some_and(|host| port(&named[host.len()..]))
}

impl App {
    /// Only the App's own GitHub gets its tokens: github.com, or the hosts of the API addresses.
    fn serves(&self, server: &Url) -> bool {
        let Some(host) = server.host_str() else { return false };
        // Nor is a token sent in the clear, unless it comes in the clear.
        let of_api = |api: &Url| {
            (server.scheme() == "https" || api.scheme() == "http")
                && api.host_str().is_some_and(|api| api == host || api.strip_prefix("api.") == Some(host))
        };
        host == "github.com" && server.scheme() == "https" || self.endpoints.iter().any(of_api)
    }

    async fn credentials(&self, refs: &Refs, host: &Host) -> Result<Arc<Credentials>, String> {
        let make = async {
            let now = jiff::Timestamp::from_second(host.now()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            let options = ClientOptions {
                endpoint: self.endpoints.clone(),
                token: self.key.token_source(now)?,
                max_retries: 4,
                initial_delay: Duration::from_secs(1),
                request_timeout: Duration::from_secs(30),
                cache_bytes: 0,
                ..ClientOptions::default()
            };
            Client::new(options, SystemClock::shared())?.create_read_token(&refs.org, &refs.repo).await
        };
        let token = make.await.map_err(|e: prow_github::Error| e.to_string())?;
        Credentials::new(token).map(Arc::new)
    }
}

impl Credentials {
    fn new(token: Secret) -> Result<Self, String> {
        let write = || {
            let dir = tempfile::Builder::new()
                .prefix("clonerefs-")
                .permissions(fs::Permissions::from_mode(0o700))
                .tempdir()?;
            let file = dir.path().join("credential");
            let mut out = fs::OpenOptions::new().write(true).create_new(true).open(&file)?;
            out.set_permissions(fs::Permissions::from_mode(0o600))?;
            out.write_all(b"username=x-access-token\npassword=")?;
            out.write_all(token.expose())?;
            out.write_all(b"\n")?;
            Ok((dir, file))
        };
        let (dir, file) = write().map_err(|e: io::Error| format!("cannot hand the token to git: {e}"))?;
        Ok(Credentials { _dir: dir, file, token })
    }

    /// Variables that let git use the token for this URI, and for nothing else.
    pub(crate) fn env(&self, uri: &str) -> Vec<(String, String)> {
        let key = format!("credential.{uri}.helper");
        let helper = format!(
            "!f() {{ test \"$1\" = get && cat '{}'; }}; f",
            self.file.display().to_string().replace('\'', "'\\''")
        );
        // The empty helper first: it forgets the helpers of the image's own configuration.
        [
            ("GIT_CONFIG_COUNT", "2"),
            ("GIT_CONFIG_KEY_0", &key),
            ("GIT_CONFIG_VALUE_0", ""),
            ("GIT_CONFIG_KEY_1", &key),
            ("GIT_CONFIG_VALUE_1", &helper),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
    }

    /// A text as it may be recorded.
    pub(crate) fn censored(&self, text: &str) -> String {
        match self.token.expose_str() {
            Some(token) if !token.is_empty() => text.replace(token, "CENSORED"),
            _ => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_the_one_that_git_goes_to() {
        for (uri, alike) in [
            ("https://github.com/o/r.git", true),
            ("https://user@GitHub.com:443/o/r.git", true),
            ("http://127.0.0.1:8080/o/r.git", true),
            ("http://[::1]:8080/o/r.git", true),
            ("https://github.com\\@evil.example/o/r.git", false),
            ("https:github.com/o/r.git", false),
            ("https:///github.com/o/r.git", false),
            ("https://github%2ecom/o/r.git", false),
        ] {
            assert_eq!(read_alike(uri, &Url::parse(uri).unwrap()), alike, "{uri}");
        }
    }
}
