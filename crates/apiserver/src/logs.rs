//! `pods/NAME/log`: who has the logs is behind a trait; what a client may ask is read here.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::object;
use crate::request::Query;
use crate::status::ApiError;

/// What part of a container's log, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// The container; always one that the pod has.
    pub container: String,
    /// Keep going until the container ends.
    pub follow: bool,
    /// The container's run before this one.
    pub previous: bool,
    /// RFC 3339 time and a blank in front of every line.
    pub timestamps: bool,
    /// Only so many lines from the end.
    pub tail_lines: Option<u64>,
    /// Only lines from then on (`sinceSeconds` and `sinceTime` both come as this).
    pub since: Option<Timestamp>,
    /// No more bytes than this. The server cuts the stream itself; this is so that no more need be read.
    pub limit_bytes: Option<u64>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The runner knows no such pod, or has no log of it any more: 404.
    #[error("{0}")]
    NotFound(String),
    /// The container has not begun: 400, as by Kubernetes. The text is `waiting to start: REASON` or the like.
    #[error("{0}")]
    NotReady(String),
    /// Reading failed: 500.
    #[error("{0}")]
    Failed(String),
}

/// Where the logs of pods come from.
#[async_trait::async_trait]
pub trait PodLogs: Send + Sync {
    /// The log of one container as bytes, ending when there is no more (with `follow`: when the container ends).
    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, std::io::Error>>, LogError>;
}

/// Reads the query against the pod that it asks about.
pub fn options(pod: &Value, query: &Query, now: Timestamp) -> Result<LogOptions, ApiError> {
    let since = match (query.number("sinceSeconds")?, query.get("sinceTime")) {
        (None, "") => None,
        (Some(seconds), "") => {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            Some(now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN))
        }
        (None, at) => Some(
            at.parse()
                .map_err(|_| ApiError::bad_request(format!("sinceTime: {at:?} is not an RFC 3339 time")))?,
        ),
        (Some(_), _) => {
            let why = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(ApiError::invalid_options("PodLogOptions", "sinceSeconds", why));
        }
    };
    let limit_bytes = query.number("limitBytes")?;
    if limit_bytes == Some(0) {
        return Err(ApiError::bad_request("limitBytes must be greater than 0"));
    }
    Ok(LogOptions {
        container: container(pod, query.get("container"))?,
        follow: query.flag("follow")?,
        previous: query.flag("previous")?,
        timestamps: query.flag("timestamps")?,
        tail_lines: query.number("tailLines")?,
        since,
        limit_bytes,
    })
}

/// The container asked for, or the only one.
fn container(pod: &Value, asked: &str) -> Result<String, ApiError> {
    let names = |list: &str| -> Vec<&str> {
        pod["spec"][list].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let name = object::name(pod);
    if !asked.is_empty() {
        if main.contains(&asked) || init.contains(&asked) {
            return Ok(asked.to_owned());
        }
        return Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    match main.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => {
            let init_note = if init.is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{}]", init.join(" "))
            };
            Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]{init_note}",
                main.join(" ")
            )))
        }
    }
}

/// Answers with the log.
pub async fn respond(
    logs: &dyn PodLogs,
    namespace: &str,
    pod: &str,
    options: LogOptions,
) -> Result<Response, ApiError> {
    let container = options.container.clone();
    let mut left = options.limit_bytes;
    let stream = logs.logs(namespace, pod, options).await.map_err(|e| match e {
        LogError::NotFound(why) => ApiError {
            code: 404,
            reason: "NotFound",
            message: format!("no log of container \"{container}\" in pod \"{pod}\": {why}"),
            details: None,
            next: None,
        },
        LogError::NotReady(why) => {
            ApiError::bad_request(format!("container \"{container}\" in pod \"{pod}\" is {why}"))
        }
        LogError::Failed(why) => ApiError::internal(format!(
            "reading the log of container \"{container}\" in pod \"{pod}\": {why}"
        )),
    })?;
    let cut = stream.scan((), move |(), chunk| {
        let next = match (chunk, &mut left) {
            (_, Some(0)) => None,
            (Ok(mut bytes), Some(left)) => {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
                Some(Ok(bytes))
            }
            (chunk, _) => Some(chunk),
        };
        std::future::ready(next)
    });
    let mut response = Response::new(Body::from_stream(cut));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queries() {
        let now: Timestamp = "2026-11-22T07:00:00Z".parse().unwrap();
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}});
        let two = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let q = |text: &str| Query::of(&format!("/x?{text}").parse().unwrap());
        let all = options(
            &one,
            &q("follow=true&previous=true&timestamps=true&tailLines=5&sinceSeconds=60&limitBytes=9"),
            now,
        )
        .unwrap();
        assert_eq!(all.container, "a");
        assert!(all.follow && all.previous && all.timestamps);
        assert_eq!((all.tail_lines, all.limit_bytes), (Some(5), Some(9)));
        assert_eq!(all.since, Some("2026-11-22T06:59:00Z".parse().unwrap()));
        assert_eq!(options(&one, &q("container=i"), now).unwrap().container, "i");
        let at = options(&one, &q("sinceTime=2026-11-22T06%3A00%3A00Z"), now).unwrap().since;
        assert_eq!(at, Some("2026-11-22T06:00:00Z".parse().unwrap()));
        for (pod, query) in [
            (&two, ""),
            (&one, "container=z"),
            (&one, "sinceTime=yesterday"),
            (&one, "tailLines=-1"),
            (&one, "limitBytes=0"),
            (&one, "follow=maybe"),
        ] {
            assert_eq!(options(pod, &q(query), now).unwrap_err().code, 400, "{query}");
        }
        let both = q("sinceSeconds=1&sinceTime=2026-11-22T06:00:00Z");
        assert_eq!(options(&one, &both, now).unwrap_err().code, 422);
    }
}
