//! One entry for all requests: decides what is asked, hands it to the part that does it, shapes the answer.

use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::list::{self, Scope};
use crate::managed::Manager;
use crate::patch::Patch;
use crate::request::{self, Format, Query, Target};
use crate::rules::{self, Part};
use crate::status::{ApiError, deleted_status, json_response};
use crate::store::tx::Tx;
use crate::store::{key, split_key};
use crate::write::{self, Author, Change, DeleteOptions, Deleted, Written};
use crate::{ApiServer, discovery, expiry, logs, new_uid, object, openapi, protobuf, watch};

/// Largest request body in bytes, as Kubernetes has it.
const BODY_LIMIT: usize = 3 << 20;
/// How long a request body may take to come.
const BODY_TIME: Duration = Duration::from_secs(60);
/// Objects that one operation of a deletecollection deletes.
const COLLECTION_CHUNK: usize = 500;

/// The API. Watches end when `stop` is cancelled.
pub fn router(server: ApiServer, stop: CancellationToken) -> Router {
    Router::new().fallback(move |request: Request| {
        let (server, stop) = (server.clone(), stop.clone());
        async move { answer(&server, stop, request).await.unwrap_or_else(IntoResponse::into_response) }
    })
}

async fn answer(server: &ApiServer, stop: CancellationToken, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let is_get = parts.method == Method::GET;
    // In process there is nobody to tell apart; the socket says who it is.
    let access = parts.extensions.get::<Access>().copied().unwrap_or(Access::Everything);
    if matches!(path, "/healthz" | "/livez" | "/readyz") {
        // Ready means that the store answers.
        server.inner.store.snapshot().map_err(ApiError::internal)?;
        return Ok("ok".into_response());
    }
    if is_get && let Some(found) = discovery::answer(path).or_else(|| openapi::answer(path)) {
        return Ok(json_response(StatusCode::OK, found.to_string().into()));
    }
    if parts.method == Method::POST
        && let Some(kind) = discovery::review(path)
    {
        let asked = read_object(&parts, &read(body).await?)?;
        let answer = access.answer(kind, asked).ok_or_else(ApiError::no_such_path)?;
        return Ok(json_response(StatusCode::CREATED, answer.to_string().into()));
    }
    let target = request::target(path).ok_or_else(ApiError::no_such_path)?;
    let query = Query::of(&parts.uri);
    access.check(&parts.method, query.flag("watch")?, &target)?;
    let call = Call { server, query, target, parts };
    if is_get { call.read_request(stop).await } else { call.write_request(read(body).await?).await }
}

async fn read(body: axum::body::Body) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(BODY_TIME, to_bytes(body, BODY_LIMIT)).await;
    let read = read.map_err(|_| {
        ApiError::bad_request(format!("the request body did not come within {} s", BODY_TIME.as_secs()))
    })?;
    read.map_err(|e| {
        use std::error::Error;
        let too_large = e.source().is_some_and(|s| s.is::<http_body_util::LengthLimitError>());
        if too_large {
            ApiError::too_large(BODY_LIMIT)
        } else {
            ApiError::bad_request(format!("the request body could not be read: {e}"))
        }
    })
}

/// The object in a body: JSON, or the little protobuf that is understood.
fn read_object(parts: &Parts, body: &[u8]) -> Result<Value, ApiError> {
    let content_type = content_type(parts);
    let essence = content_type.split(';').next().unwrap_or("").trim();
    if essence == protobuf::MEDIA_TYPE {
        return protobuf::decode(body);
    }
    if !matches!(essence, "" | "application/json") {
        return Err(ApiError::unsupported_media_type(format!(
            "the body of the request was in an unknown format ({essence:?}) - accepted media types include: \
             application/json"
        )));
    }
    serde_json::from_slice(body)
        .map_err(|e| ApiError::bad_request(format!("the object provided is not readable as JSON: {e}")))
}

fn content_type(parts: &Parts) -> &str {
    parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("")
}

struct Call<'a> {
    server: &'a ApiServer,
    query: Query,
    target: Target,
    parts: Parts,
}

impl Call<'_> {
    async fn read_request(self, stop: CancellationToken) -> Result<Response, ApiError> {
        let target = &self.target;
        let store = &self.server.inner.store;
        match target.subresource.as_str() {
            "" => {}
            "status" if target.resource.has_status => {}
            "log" if target.resource.is_pods() => return self.log().await,
            _ => return Err(ApiError::no_such_path()),
        }
        let format = request::format(&self.parts.headers, &self.query)?;
        let scope = Scope::of(target, &self.query, format)?;
        if !target.name.is_empty() {
            return self.get(&scope);
        }
        if self.query.flag("watch")? {
            return watch::start(store, scope, &self.query, self.server.inner.clock.clone(), stop);
        }
        list::list(store, scope, &self.query, self.server.now())
    }

    fn get(&self, scope: &Scope) -> Result<Response, ApiError> {
        let Target { resource, namespace, name, .. } = &self.target;
        let snapshot = self.server.inner.store.snapshot().map_err(ApiError::internal)?;
        if let Some(asked) = self.query.version()?.filter(|v| *v > snapshot.version) {
            return Err(ApiError::too_large_version(asked, snapshot.version));
        }
        let stored = snapshot.get(&key(resource, namespace, name)).map_err(ApiError::internal)?;
        let stored = stored.ok_or_else(|| ApiError::not_found(resource, name))?;
        if scope.format == Format::Object {
            return Ok(json_response(StatusCode::OK, stored));
        }
        let mut shaped = Vec::new();
        scope.write_single(&stored, self.server.now(), &mut shaped).map_err(ApiError::internal)?;
        Ok(json_response(StatusCode::OK, shaped.into()))
    }

    async fn log(&self) -> Result<Response, ApiError> {
        let Target { resource, namespace, name, .. } = &self.target;
        let snapshot = self.server.inner.store.snapshot().map_err(ApiError::internal)?;
        let stored = snapshot.get(&key(resource, namespace, name)).map_err(ApiError::internal)?;
        let pod = crate::store::tx::parse(&stored.ok_or_else(|| ApiError::not_found(resource, name))?)?;
        drop(snapshot);
        let options = logs::options(&pod, &self.query, self.server.now())?;
        let runner = self.server.inner.logs.read().clone();
        let runner = runner.ok_or_else(|| {
            ApiError::unavailable("this API server has no pod runner, so there are no logs to be had")
        })?;
        logs::respond(runner.as_ref(), namespace, name, options).await
    }

    async fn write_request(self, body: Bytes) -> Result<Response, ApiError> {
        let target = &self.target;
        let part = match target.subresource.as_str() {
            "" => Part::Main,
            "status" if target.resource.has_status => Part::Status,
            "binding" if target.resource.is_pods() && self.parts.method == Method::POST => {
                return self.bind(&body).await;
            }
            _ => return Err(ApiError::no_such_path()),
        };
        let one = !target.name.is_empty();
        // A namespaced kind cannot be written without its namespace.
        let placed = !target.resource.namespaced || !target.namespace.is_empty();
        match self.parts.method {
            Method::POST if !one && placed && part == Part::Main => self.create(&body).await,
            Method::PUT if one => {
                let mut object = read_object(&self.parts, &body)?;
                rules::expect_kind(target.resource, &mut object)?;
                self.update(part, Change::Replace(object)).await
            }
            Method::PATCH if one => {
                let patch = Patch::parse(target.resource, content_type(&self.parts), &body)?;
                let force = self.query.flag("force")?;
                let change = match patch {
                    Patch::Apply(config) => {
                        if ["kind", "apiVersion"].iter().any(|m| config[m].as_str().is_none_or(str::is_empty))
                        {
                            let why = "a configuration to apply has to name its apiVersion and kind";
                            return Err(ApiError::bad_request(why));
                        }
                        if self.query.get("fieldManager").is_empty() {
                            let why = "Required value: is required for apply patch";
                            return Err(ApiError::invalid_options(
                                "PatchOptions.meta.k8s.io",
                                "fieldManager",
                                why,
                            ));
                        }
                        Change::Apply(config, force)
                    }
                    _ if force => {
                        let why = "Forbidden: may not be specified for non-apply patch";
                        return Err(ApiError::invalid_options("PatchOptions.meta.k8s.io", "force", why));
                    }
                    patch => Change::Patch(patch),
                };
                self.update(part, change).await
            }
            Method::DELETE if part == Part::Main && one => self.delete(&body).await,
            Method::DELETE if part == Part::Main && placed && !target.resource.is_namespaces() => {
                self.delete_collection(&body).await
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    /// Runs an operation, for good or (`dryRun=All`) for show.
    async fn run<T: Send + 'static>(
        &self,
        dry_run: bool,
        op: impl FnOnce(&mut Tx<'_>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = &self.server.inner.store;
        if dry_run { store.try_out(op) } else { store.write(op).await }
    }

    async fn create(&self, body: &[u8]) -> Result<Response, ApiError> {
        let Target { resource, namespace, .. } = &self.target;
        let (resource, namespace, author) = (*resource, namespace.clone(), self.author()?);
        let mut object = read_object(&self.parts, body)?;
        rules::expect_kind(resource, &mut object)?;
        let written = self
            .run(self.query.dry_run()?, move |tx| write::create(tx, resource, &namespace, object, &author))
            .await?;
        if resource.is_events() && self.server.inner.sweeps.is_due() {
            tokio::spawn(expiry::sweep(self.server.clone()));
        }
        self.written(&written, StatusCode::CREATED)
    }

    async fn update(&self, part: Part, change: Change) -> Result<Response, ApiError> {
        let Target { resource, namespace, name, .. } = &self.target;
        let (resource, namespace, name) = (*resource, namespace.clone(), name.clone());
        let author = self.author()?;
        let written = self
            .run(self.query.dry_run()?, move |tx| {
                write::update(tx, resource, (&namespace, &name), part, change, &author)
            })
            .await?;
        let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
        self.written(&written, code)
    }

    async fn bind(&self, body: &[u8]) -> Result<Response, ApiError> {
        let binding = read_object(&self.parts, body)?;
        let (namespace, name, author) =
            (self.target.namespace.clone(), self.target.name.clone(), self.author()?);
        self.run(self.query.dry_run()?, move |tx| write::bind(tx, (&namespace, &name), &binding, &author))
            .await?;
        let status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        });
        Ok(json_response(StatusCode::CREATED, status.to_string().into()))
    }

    async fn delete(&self, body: &[u8]) -> Result<Response, ApiError> {
        let Target { resource, namespace, name, .. } = &self.target;
        let resource = *resource;
        let (options, dry_run) = request::delete_options(body, &self.query)?;
        let deleted = loop {
            let (namespace, name, options, now) =
                (namespace.clone(), name.clone(), options.clone(), self.server.now());
            let (deleted, progress) = self
                .run(dry_run, move |tx| {
                    let deleted = write::delete(tx, resource, (&namespace, &name), &options, now)?;
                    Ok((deleted, tx.has_changes()))
                })
                .await?;
            // A full namespace is emptied step by step, as long as there is something left to delete.
            let again =
                resource.is_namespaces() && !dry_run && progress && matches!(deleted, Deleted::Pending(_));
            if !again {
                break deleted;
            }
        };
        let answer = match deleted {
            Deleted::Gone(last) if !resource.is_pods() => {
                deleted_status(resource, name, object::meta_str(&last, "uid"))
            }
            Deleted::Gone(object) | Deleted::Pending(object) => object,
        };
        Ok(json_response(StatusCode::OK, answer.to_string().into()))
    }

    /// Deletes what the selectors match, in steps, each of which stands for itself. Answers with what was deleted.
    async fn delete_collection(&self, body: &[u8]) -> Result<Response, ApiError> {
        let resource = self.target.resource;
        let namespace = &self.target.namespace;
        let (options, dry_run) = request::delete_options(body, &self.query)?;
        let scope = Scope::of(&self.target, &self.query, Format::Object)?;
        let mut names = Vec::new();
        let snapshot = self.server.inner.store.snapshot().map_err(ApiError::internal)?;
        let mut failure = None;
        snapshot
            .scan(&scope.prefix(), None, |key, object| match scope.matches(key, object) {
                Ok(matches) => {
                    if matches {
                        names.push(split_key(key).1.to_owned());
                    }
                    true
                }
                Err(e) => {
                    failure = Some(e);
                    false
                }
            })
            .and(failure.map_or(Ok(()), Err))
            .map_err(ApiError::internal)?;
        let version = snapshot.version;
        drop(snapshot);
        let mut items: Vec<Value> = Vec::new();
        for chunk in names.chunks(COLLECTION_CHUNK) {
            let (chunk, namespace) = (chunk.to_vec(), namespace.clone());
            let now = self.server.now();
            let options = DeleteOptions { uid: None, version: None, ..options.clone() };
            let deleted = self
                .run(dry_run, move |tx| {
                    let mut deleted = Vec::new();
                    for name in &chunk {
                        match write::delete(tx, resource, (&namespace, name), &options, now) {
                            Ok(Deleted::Gone(object) | Deleted::Pending(object)) => deleted.push(object),
                            // Somebody else was faster.
                            Err(e) if e.code == 404 => {}
                            Err(e) => return Err(e),
                        }
                    }
                    Ok(deleted)
                })
                .await?;
            items.extend(deleted);
        }
        let list = serde_json::json!({
            "kind": format!("{}List", resource.kind),
            "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": version.to_string()},
            "items": items,
        });
        Ok(json_response(StatusCode::OK, list.to_string().into()))
    }

    /// Who writes, by what the request says about itself.
    fn author(&self) -> Result<Author, ApiError> {
        let agent = self.parts.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
        let manager = Manager::of(self.query.get("fieldManager"), agent, &self.target.subresource)?;
        Ok(Author { manager, uid: new_uid(), now: self.server.now(), strict: self.strict()? })
    }

    /// Are unknown members refused (`fieldValidation=Strict`)?
    fn strict(&self) -> Result<bool, ApiError> {
        match self.query.get("fieldValidation") {
            "" | "Ignore" | "Warn" => Ok(false),
            "Strict" => Ok(true),
            other => {
                let why = format!(
                    "Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                );
                Err(ApiError::invalid_options("UpdateOptions.meta.k8s.io", "fieldValidation", &why))
            }
        }
    }

    /// The object that was written, in the shape asked for, with warnings about what was pruned.
    fn written(&self, written: &Written, code: StatusCode) -> Result<Response, ApiError> {
        let format = request::format(&self.parts.headers, &self.query)?;
        let scope = Scope::of(&self.target, &Query::default(), format)?;
        let mut shaped = Vec::new();
        scope
            .write_single(written.object.to_string().as_bytes(), self.server.now(), &mut shaped)
            .map_err(ApiError::internal)?;
        let mut response = json_response(code, shaped.into());
        if self.query.get("fieldValidation") != "Ignore" {
            for path in &written.pruned {
                // A path that cannot stand in a header is not worth a failure.
                if let Ok(value) = HeaderValue::from_str(&format!("299 - \"unknown field \\\"{path}\\\"\"")) {
                    response.headers_mut().append(header::WARNING, value);
                }
            }
        }
        Ok(response)
    }
}
