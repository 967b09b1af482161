//! Tokens in files, as service accounts and kubeconfigs (`tokenFile`) have them. The file is looked at with every
//! request: its old token may be refused from the moment on at which there is a new one. White space around a token is
//! no part of it.

use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, header};
use kube::client::Body;
use kube::config::AuthInfo;
use prow_service::secrets::{SecretError, SecretFile};

/// Says who asks, if a file does.
#[derive(Clone)]
pub struct TokenFile(Option<SecretFile>);

impl TokenFile {
    /// Takes the token's file out of `auth`. As in Kubernetes' own clients it goes before a token that is given as well,
    /// which is for when the file cannot be read.
    pub fn of(auth: &mut AuthInfo) -> Result<TokenFile, SecretError> {
        let Some(path) = auth.token_file.take().filter(|path| !path.is_empty()) else {
            return Ok(TokenFile(None));
        };
        match SecretFile::open("Kubernetes token", path) {
            Ok(file) => {
                auth.token = None;
                Ok(TokenFile(Some(file)))
            }
            Err(error) if auth.token.is_some() => {
                tracing::warn!(%error, "the token that the kubeconfig has is used instead");
                Ok(TokenFile(None))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the token of the moment on a request.
    pub fn sign(&self, mut request: Request<Body>) -> Request<Body> {
        match self.header() {
            Some(Ok(value)) => drop(request.headers_mut().insert(AUTHORIZATION, value)),
            // The server says that it does not know who asks.
            Some(Err(_)) => tracing::error!("the Kubernetes token's file has more in it than a token"),
            None => {}
        }
        request
    }

    fn header(&self) -> Option<Result<HeaderValue, header::InvalidHeaderValue>> {
        let token = self.0.as_ref()?.get();
        Some(HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat()).map(|mut value| {
            value.set_sensitive(true);
            value
        }))
    }
}
