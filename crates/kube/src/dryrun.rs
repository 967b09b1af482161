//! `--dry-run` on Kubernetes: every write is sent with `dryRun=All`, so that the API server checks it as it would
//! check the real one and keeps nothing.

use http::{Method, Request, Uri};
use kube::client::Body;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Wraps a client's service.
#[derive(Debug, Clone, Copy)]
pub struct DryRun;

impl<S> Layer<S> for DryRun {
    type Service = DryRunService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        DryRunService { inner }
    }
}

/// Made by [`DryRun`].
#[derive(Debug, Clone)]
pub struct DryRunService<S> {
    inner: S,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for DryRunService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Reviews are questions that happen to be asked with POST.
        let question = request.uri().path().contains("/authorization.k8s.io/");
        if request.method() != Method::GET && !question {
            *request.uri_mut() = marked(request.uri());
        }
        self.inner.call(request)
    }
}

fn marked(uri: &Uri) -> Uri {
    let query = uri.query().filter(|q| !q.is_empty()).map(|q| format!("{q}&")).unwrap_or_default();
    let path = format!("{}?{query}dryRun=All", uri.path());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().expect("a path and query stays one with a parameter more"));
    Uri::from_parts(parts).expect("only the query was changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_gets_one_parameter_more() {
        for (given, wanted) in [
            ("/api/v1/pods", "/api/v1/pods?dryRun=All"),
            ("https://h:1/api/v1/pods?", "https://h:1/api/v1/pods?dryRun=All"),
            ("http://h/apis/x?fieldManager=a%20b", "http://h/apis/x?fieldManager=a%20b&dryRun=All"),
        ] {
            assert_eq!(marked(&given.parse().unwrap()).to_string(), wanted);
        }
    }
}
