//! `--dry-run` on Kubernetes: every write is sent with `dryRun=All`, so that the API server checks it as it would
//! check the real one and keeps nothing.
//!
//! A deletion says it in its body as well: where there is one, Kubernetes takes the options from it and does not look
//! at the query, so that a mark there alone would let a dry run delete.

use futures::FutureExt;
use http::{Method, Request, Uri};
use kube::client::Body;
use serde_json::{Map, Value, json};
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
        if request.method() == Method::DELETE {
            let body = std::mem::replace(request.body_mut(), Body::empty());
            // A client's own requests are whole already. One that is not loses its other options, never the mark.
            let bytes = body.collect_bytes().now_or_never().and_then(Result::ok);
            *request.body_mut() = Body::from(marked_options(bytes.as_deref().unwrap_or(b"{}")));
        }
        self.inner.call(request)
    }
}

/// `DeleteOptions` with the mark; none stay none.
fn marked_options(body: &[u8]) -> Vec<u8> {
    if body.is_empty() {
        return Vec::new();
    }
    let mut options: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    options.insert("dryRun".into(), json!(["All"]));
    Value::Object(options).to_string().into_bytes()
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

    #[tokio::test]
    async fn a_deletion_says_it_where_kubernetes_looks() {
        use k8s_openapi::api::core::v1::Pod;
        use kube::api::{Api, DeleteParams, ListParams, Preconditions};
        let (sent, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let server = tower::service_fn(move |request: Request<Body>| {
            let sent = sent.clone();
            async move {
                let (head, body) = request.into_parts();
                sent.send((head.uri, body.collect_bytes().await.unwrap())).unwrap();
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(b"{}".to_vec())))
            }
        });
        let api: Api<Pod> = Api::default_namespaced(kube::Client::new(DryRun.layer(server), "n"));
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some("u".into()), resource_version: None }),
            ..DeleteParams::default()
        };
        // What is read from the answer does not matter here.
        let _ = api.delete("p", &params).await;
        let _ = api.delete("p", &DeleteParams::default()).await;
        let _ = api.delete_collection(&DeleteParams::default(), &ListParams::default()).await;
        let _ = api.delete_collection(&params, &ListParams::default()).await;
        let preconditions = json!({"dryRun": ["All"], "preconditions": {"uid": "u"}});
        for options in [&preconditions, &json!({"dryRun": ["All"]}), &Value::Null, &preconditions] {
            let (uri, body) = seen.recv().await.unwrap();
            assert!(uri.query().unwrap().ends_with("dryRun=All"), "{uri}");
            // Without a body the query counts.
            let body: Value =
                if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
            assert_eq!(body, *options);
        }
    }

    #[test]
    fn options_that_cannot_be_read_become_a_dry_run_all_the_same() {
        assert_eq!(marked_options(b"?"), br#"{"dryRun":["All"]}"#);
        assert_eq!(marked_options(b""), b"");
    }
}
