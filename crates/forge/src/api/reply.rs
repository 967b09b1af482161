//! Answers in GitHub's form: errors, pages with `Link`, and ETags that save a client its rate limit.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Query, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Error, Forge};

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut body =
            json!({"message": self.to_string(), "documentation_url": "https://docs.github.com/rest"});
        match &self {
            Error::Invalid(what) => {
                body["message"] = json!("Validation Failed");
                body["errors"] = json!([{"resource": "", "code": "custom", "message": what}]);
            }
            _ if status.is_server_error() => {
                tracing::error!(error = %self, "the forge failed");
                body["message"] = json!("Server Error");
            }
            _ => {}
        }
        (status, axum::Json(body)).into_response()
    }
}

/// What handlers give.
pub(crate) type Reply = Result<Response, Error>;

/// 200 with JSON.
pub(crate) fn ok(value: Value) -> Reply {
    Ok(axum::Json(value).into_response())
}

/// 201 with JSON.
pub(crate) fn created(value: Value) -> Reply {
    Ok((StatusCode::CREATED, axum::Json(value)).into_response())
}

/// 204
pub(crate) fn no_content() -> Reply {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A JSON body, whatever the content type says; GitHub takes it so too.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Forge> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &Forge) -> Result<Self, Error> {
        let bytes = to_bytes(request.into_body(), 1 << 20).await;
        let bytes = bytes.map_err(|e| Error::Invalid(format!("the body cannot be read: {e}")))?;
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Json).map_err(|e| Error::Invalid(format!("problems parsing JSON: {e}")))
    }
}

/// Which page of a list, and the address to link the others by.
pub(crate) struct Page {
    page: usize,
    per_page: usize,
    path: String,
    query: Vec<(String, String)>,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Page {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self, Error> {
        let Query(query) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|e| Error::Invalid(e.to_string()))?;
        let number = |name: &str, default: usize| {
            let found = query.iter().find(|(k, _)| k == name);
            found.and_then(|(_, v)| v.parse().ok()).filter(|n| *n > 0).unwrap_or(default)
        };
        Ok(Page {
            page: number("page", 1),
            per_page: number("per_page", 30).min(100),
            // Inside the nested router the path has lost its prefix; clients need all of it.
            path: format!("{}{}", super::PREFIX, parts.uri.path()),
            query: query.into_iter().filter(|(k, _)| k != "page").collect(),
        })
    }
}

impl Page {
    /// The value of another query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// This page of `all`, in a body made by `wrap`.
    pub(crate) fn reply(
        &self,
        forge: &Forge,
        all: Vec<Value>,
        wrap: impl FnOnce(Vec<Value>) -> Value,
    ) -> Reply {
        let pages = all.len().div_ceil(self.per_page).max(1);
        let items =
            all.into_iter().skip((self.page - 1).saturating_mul(self.per_page)).take(self.per_page).collect();
        let mut response = axum::Json(wrap(items)).into_response();
        let mut links = Vec::new();
        if self.page < pages {
            links.push(self.link(forge, self.page + 1, "next"));
            links.push(self.link(forge, pages, "last"));
        }
        if self.page > 1 {
            links.push(self.link(forge, 1, "first"));
            links.push(self.link(forge, self.page - 1, "prev"));
        }
        if let (false, Ok(value)) = (links.is_empty(), HeaderValue::from_str(&links.join(", "))) {
            response.headers_mut().insert(header::LINK, value);
        }
        Ok(response)
    }

    /// This page of a plain array.
    pub(crate) fn list(&self, forge: &Forge, all: Vec<Value>) -> Reply {
        self.reply(forge, all, Value::Array)
    }

    fn link(&self, forge: &Forge, page: usize, relation: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.query).append_pair("page", &page.to_string());
        format!("<{}{}?{}>; rel=\"{relation}\"", forge.inner.base_url, self.path, query.finish())
    }
}

/// Gives every 200 to a GET an ETag, and answers 304 where the client has that already.
pub(crate) async fn etag(request: Request, next: Next) -> Response {
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let is_get = request.method() == Method::GET;
    let response = next.run(request).await;
    if !is_get || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let etag = format!("\"{}\"", hex::encode(Sha256::digest(&bytes)));
    let Ok(value) = HeaderValue::from_str(&etag) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    parts.headers.insert(header::ETAG, value.clone());
    let same = known.and_then(|k| k.to_str().map(|k| k.trim_start_matches("W/") == etag).ok()) == Some(true);
    if same {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}
