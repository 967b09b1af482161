//! Logs of Pods: `/log` (prow-runtime §12.2) and what the job page shows while a job runs. Logs are streamed; the
//! Pod API knows no offsets, so reading on from one means letting what lies before it pass by.

use crate::error::DeckError;
use crate::filter::Params;
use crate::state::{Shared, View};
use crate::web;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{AsyncReadExt, StreamExt};
use http::{HeaderValue, StatusCode, header};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use prow_api::ProwJob;
use prow_api::prowjob::KUBERNETES_AGENT;
use std::sync::Arc;

/// Bytes read from the API server at once.
const PIECE: usize = 64 << 10;

/// A Pod's log from its beginning, in pieces.
pub type PodLog = BoxStream<'static, std::io::Result<Bytes>>;

/// The visible run of a job.
pub fn visible_build(deck: &Shared, view: &View, job: &str, build: &str) -> Option<Arc<ProwJob>> {
    deck.build(job, build).filter(|found| view.rule.shows(found))
}

/// Opens the log of a container of a job's Pod.
pub async fn open(deck: &Shared, view: &View, job: &ProwJob, container: &str) -> Result<PodLog, DeckError> {
    let agent = job.spec.agent.as_str();
    if !agent.is_empty() && agent != KUBERNETES_AGENT {
        return Err(DeckError::NotFound(format!(
            "the job ran by the agent {agent}, whose logs are not in this cluster; its own page is {}",
            if job.status.url.is_empty() { "not known" } else { &job.status.url }
        )));
    }
    let pod = if job.status.pod_name.is_empty() { job.name() } else { &job.status.pod_name };
    let what = format!("read the log of the container {container:?} of Pod {pod}");
    let failed = |why: String| DeckError::Cluster { what: what.clone(), why };
    let client = deck.clients.build(job.spec.cluster_alias()).map_err(|e| failed(e.to_string()))?;
    // Held by the stream: whoever waits here waits for another visitor's log to end.
    let permit = Arc::clone(&deck.pod_logs).acquire_owned().await.map_err(|e| failed(e.to_string()))?;
    let pods: Api<Pod> = Api::namespaced(client, &view.snapshot.prow.pod_namespace);
    let params = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
    let reader = pods.log_stream(pod, &params).await.map_err(|error| match &error {
        kube::Error::Api(status) if (400..500).contains(&status.code) => {
            DeckError::NotFound(format!("cannot {what}: {}", status.message))
        }
        _ => failed(error.to_string()),
    })?;
    let stream = futures::stream::try_unfold((Box::pin(reader), permit), |(mut reader, permit)| async move {
        let mut buffer = vec![0; PIECE];
        let read = reader.read(&mut buffer).await?;
        buffer.truncate(read);
        Ok((read > 0).then(|| (Bytes::from(buffer), (reader, permit))))
    });
    Ok(stream.boxed())
}

/// `/log?job&id[&container]`: the whole log as it is.
pub async fn log(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.as_deref());
    let (job, id) = (params.get("job"), params.get("id"));
    for (name, value) in [("job", job), ("id", id)] {
        if value.is_empty() {
            return web::text(
                StatusCode::BAD_REQUEST,
                format!("request did not provide the '{name}' query parameter\n"),
            );
        }
    }
    let container = if params.get("container").is_empty() { "test" } else { params.get("container") };
    let view = deck.view();
    let opened = match visible_build(&deck, &view, job, id) {
        Some(found) => open(&deck, &view, &found, container).await,
        None => Err(DeckError::NotFound(format!("no run of the job {job:?} has the build id {id:?}"))),
    };
    let mut response = match opened {
        Ok(stream) => web::text(StatusCode::OK, Body::from_stream(stream)),
        Err(error) => web::text(StatusCode::NOT_FOUND, format!("Log not found: {error}\n")),
    };
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
