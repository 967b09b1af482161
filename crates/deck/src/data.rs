//! What programs ask Deck for (prow-runtime §12.2, §12.3): ProwJobs as JSON and YAML, badges, the configuration.

use crate::badge;
use crate::error::DeckError;
use crate::filter::Params;
use crate::state::Shared;
use crate::web;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use prow_api::ProwJob;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// JSON is sent in pieces of about this size.
const PIECE: usize = 64 << 10;

/// `/prowjob?prowjob=NAME`: its YAML.
pub async fn prowjob(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.as_deref());
    let name = params.get("prowjob");
    if name.is_empty() {
        return web::text(StatusCode::BAD_REQUEST, "request did not provide the 'prowjob' query parameter\n");
    }
    let found = deck.rows(&deck.view()).get(name);
    let Some(job) = found else {
        return web::text(
            StatusCode::NOT_FOUND,
            format!("ProwJob not found: there is no ProwJob {name:?}\n"),
        );
    };
    yaml("the ProwJob", job.as_ref())
}

/// `/config[?key=disabled-clusters]`: the configuration in force.
pub async fn config(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let view = deck.view();
    let prow = &view.snapshot.prow;
    match Params::parse(query.as_deref()).get("key") {
        "" => yaml("the configuration", prow),
        "disabled-clusters" => {
            let mut clusters = prow.disabled_clusters.clone();
            clusters.sort();
            yaml("the disabled clusters", &clusters)
        }
        other => web::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!(
                "getting config for key {other:?} is not supported; leave key out or ask for disabled-clusters\n"
            ),
        ),
    }
}

fn yaml(what: &'static str, value: &impl serde::Serialize) -> Response {
    match serde_saphyr::to_string(value) {
        Ok(text) => web::text(StatusCode::OK, text),
        Err(error) => DeckError::Render { what, why: error.to_string() }.into_text(),
    }
}

/// `/badge.svg?jobs=GLOBS`
pub async fn badge(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.as_deref());
    let selector = params.get("jobs");
    if selector.is_empty() {
        return web::text(StatusCode::BAD_REQUEST, "missing jobs query parameter\n");
    }
    let badge = {
        let view = deck.view();
        let rows = deck.rows(&view);
        let newest = rows.newest_of_each_job().filter(|(job, _)| badge::selects(selector, job));
        badge::badge(newest.map(|(job, run)| (job, run.status.state)))
    };
    let mut response =
        ([(header::CONTENT_TYPE, "image/svg+xml")], badge::svg(&badge).into_string()).into_response();
    web::no_cache(response.headers_mut());
    response
}

/// `/prowjobs.js`: all visible ProwJobs, newest first.
pub async fn prowjobs(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.as_deref());
    let omit = Omit::parse(params.get("omit"));
    let (org, repo, owner) =
        (params.get("org").to_owned(), params.get("repo").to_owned(), params.get("owner").to_owned());
    let jobs = deck.rows(&deck.view()).all();
    let jobs = jobs.into_iter().filter(move |job| about(job, &org, &repo, &owner));
    answer(&params, "{\"items\":[", jobs.map(move |job| omit.apply(&job)), "]}")
}

/// `/data.js`: the same in Prow's oldest form.
pub async fn legacy(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let jobs = deck.rows(&deck.view()).all();
    answer(&Params::parse(query.as_deref()), "[", jobs.into_iter().map(|job| legacy_job(&job)), "]")
}

/// The filters of `/prowjobs.js`: organisation and repository of refs, or of any extra ref if there are no refs;
/// the author of any pull.
fn about(job: &ProwJob, org: &str, repo: &str, owner: &str) -> bool {
    let fits =
        |refs: &prow_api::Refs| (org.is_empty() || refs.org == org) && (repo.is_empty() || refs.repo == repo);
    let of_repo = match &job.spec.refs {
        Some(refs) => fits(refs),
        None => (org.is_empty() && repo.is_empty()) || job.spec.extra_refs.iter().any(fits),
    };
    let of_owner = owner.is_empty()
        || job.spec.refs.iter().flat_map(|refs| &refs.pulls).any(|pull| pull.author == owner);
    of_repo && of_owner
}

/// What `omit` leaves out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Omit {
    annotations: bool,
    labels: bool,
    decoration_config: bool,
    pod_spec: bool,
}

impl Omit {
    fn parse(text: &str) -> Omit {
        let named = |name: &str| text.split(',').any(|word| word == name);
        Omit {
            annotations: named("annotations"),
            labels: named("labels"),
            decoration_config: named("decoration_config"),
            pod_spec: named("pod_spec"),
        }
    }

    fn apply(self, job: &ProwJob) -> Value {
        let mut metadata = job.metadata.clone();
        metadata.managed_fields = None;
        if self.annotations {
            metadata.annotations = None;
        }
        if self.labels {
            metadata.labels = None;
        }
        let mut value = json!({
            "apiVersion": "prow.k8s.io/v1", "kind": "ProwJob",
            "metadata": metadata, "spec": job.spec, "status": job.status,
        });
        if let Some(Value::Object(spec)) = value.get_mut("spec") {
            if self.decoration_config {
                spec.remove("decoration_config");
            }
            if self.pod_spec
                && let Some(pod) = &job.spec.pod_spec
            {
                // The page of old counts the containers.
                let empty = vec![json!({"name": "", "resources": {}}); pod.containers.len()];
                spec.insert("pod_spec".to_owned(), json!({"containers": empty}));
            }
        }
        value
    }
}

fn legacy_job(job: &ProwJob) -> Value {
    let (spec, status) = (&job.spec, &job.status);
    let seconds = |t: &Option<prow_api::Time>| t.as_ref().map(|t| t.0.as_second());
    let (start, end) = (seconds(&status.start_time), seconds(&status.completion_time));
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("type", spec.job_type.as_str().into());
    put("refs", spec.refs.as_ref().and_then(|r| serde_json::to_value(r).ok()).unwrap_or_else(|| json!({})));
    put(
        "refs_key",
        spec.refs
            .as_ref()
            .map(|r| format!("{}/{}={}", r.org, r.repo, r.refs_string()))
            .unwrap_or_default()
            .into(),
    );
    put("job", spec.job.as_str().into());
    put("build_id", status.build_id.as_str().into());
    put("context", spec.context.as_str().into());
    put("started", start.map(|s| s.to_string()).unwrap_or_default().into());
    put("finished", status.completion_time.as_ref().map(|t| t.0.to_string()).unwrap_or_default().into());
    put("duration", start.zip(end).map(|(start, end)| go_duration(end - start)).unwrap_or_default().into());
    put("state", status.state.as_str().into());
    put("description", status.description.as_str().into());
    put("url", status.url.as_str().into());
    put("pod_name", status.pod_name.as_str().into());
    put("agent", spec.agent.as_str().into());
    put("prow_job", job.name().into());
    Value::Object(out)
}

/// Whole seconds as Go prints a duration.
fn go_duration(seconds: i64) -> String {
    let (sign, s) = if seconds < 0 { ("-", -seconds) } else { ("", seconds) };
    match s {
        0..60 => format!("{sign}{s}s"),
        60..3600 => format!("{sign}{}m{}s", s / 60, s % 60),
        _ => format!("{sign}{}h{}m{}s", s / 3600, s % 3600 / 60, s % 60),
    }
}

/// JSON, or with `var` a script that assigns it, streamed element by element: memory does not grow with the list.
fn answer(
    params: &Params,
    before: &'static str,
    items: impl Iterator<Item = Value> + Send + 'static,
    after: &'static str,
) -> Response {
    let var = params.get("var");
    if !var.is_empty() && !is_identifier(var) {
        return web::text(
            StatusCode::BAD_REQUEST,
            "the 'var' query parameter must be the name of a variable\n",
        );
    }
    let (head, tail, media) = match var.is_empty() {
        true => (before.to_owned(), after.to_owned(), "application/json"),
        false => (format!("var {var} = {before}"), format!("{after};"), "application/javascript"),
    };
    let state = (Some(head), items.peekable(), Some(tail));
    let pieces = futures::stream::unfold(state, |(head, mut items, mut tail)| async move {
        tail.as_ref()?;
        let mut piece = head.unwrap_or_default().into_bytes();
        while piece.len() < PIECE {
            let Some(item) = items.next() else {
                piece.extend(tail.take().unwrap_or_default().into_bytes());
                break;
            };
            // A Value always serialises: its keys are strings.
            piece.extend(item.to_string().into_bytes());
            if items.peek().is_some() {
                piece.push(b',');
            }
        }
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(piece)), (None, items, tail)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    web::no_cache(response.headers_mut());
    response
}

/// A JavaScript name: anything else would let a link choose what a script of ours says.
fn is_identifier(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::{Pull, Refs};

    #[test]
    fn prowjobs_js_filters() {
        let refs = |org: &str, repo: &str, author: &str| Refs {
            org: org.into(),
            repo: repo.into(),
            pulls: vec![Pull { author: author.into(), ..Pull::default() }],
            ..Refs::default()
        };
        let mut job = ProwJob::default();
        job.spec.refs = Some(refs("o", "r", "ann"));
        job.spec.extra_refs = vec![refs("x", "y", "eve")];
        let mut periodic = job.clone();
        periodic.spec.refs = None;
        for (org, repo, owner, of_job, of_periodic) in [
            ("", "", "", true, true),
            ("o", "", "", true, false),
            ("o", "r", "ann", true, false),
            ("x", "y", "", false, true),
            ("", "", "eve", false, false),
            ("", "r", "bob", false, false),
        ] {
            assert_eq!(about(&job, org, repo, owner), of_job, "{org} {repo} {owner}");
            assert_eq!(about(&periodic, org, repo, owner), of_periodic, "{org} {repo} {owner}");
        }
    }

    #[test]
    fn omit_leaves_out_what_it_names() {
        let job: ProwJob = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"a": "b"}, "annotations": {"c": "d"}},
            "spec": {"type": "periodic", "job": "j", "decoration_config": {"timeout": "1h"},
                "pod_spec": {"containers": [{"name": "x", "image": "i"}, {"name": "y", "image": "i"}]}},
            "status": {"startTime": null, "state": "pending"}
        }))
        .unwrap();
        let all = Omit::parse("annotations,labels,decoration_config,pod_spec").apply(&job);
        assert_eq!(
            all,
            json!({
                "apiVersion": "prow.k8s.io/v1", "kind": "ProwJob", "metadata": {"name": "n"},
                "spec": {"type": "periodic", "job": "j", "pod_spec":
                    {"containers": [{"name": "", "resources": {}}, {"name": "", "resources": {}}]}},
                "status": {"startTime": null, "state": "pending"}
            })
        );
        assert_eq!(Omit::parse("").apply(&job), serde_json::to_value(&job).unwrap());
    }

    #[test]
    fn variables_are_names() {
        for (text, ok) in
            [("allBuilds", true), ("_$1", true), ("1a", false), ("a;alert(1)", false), ("a.b", false)]
        {
            assert_eq!(is_identifier(text), ok, "{text}");
        }
    }

    #[test]
    fn the_oldest_form() {
        let job: ProwJob = serde_json::from_value(json!({
            "metadata": {"name": "uid"},
            "spec": {"type": "presubmit", "job": "j", "agent": "kubernetes", "context": "c",
                "refs": {"org": "o", "repo": "r", "base_ref": "main", "base_sha": "b", "pulls": [{"number": 1, "author": "a", "sha": "s"}]}},
            "status": {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T01:02:03Z", "state": "success",
                "build_id": "17", "pod_name": "uid", "url": "u", "description": "d"}
        }))
        .unwrap();
        let mut out = legacy_job(&job);
        out.as_object_mut().unwrap().remove("refs");
        assert_eq!(
            out,
            json!({
                "type": "presubmit", "refs_key": "o/r=main:b,1:s", "job": "j", "build_id": "17", "context": "c",
                "started": "1767225600", "finished": "2026-01-01T01:02:03Z", "duration": "1h2m3s", "state": "success",
                "description": "d", "url": "u", "pod_name": "uid", "agent": "kubernetes", "prow_job": "uid"
            })
        );
    }
}
