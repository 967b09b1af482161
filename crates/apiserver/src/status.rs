//! Errors as clients see them: Kubernetes `Status` objects with reason, code and details.
//!
//! Reasons and messages are those of a real API server, since client-go and kube-rs decide on them.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::resources::Resource;

/// One cause of a 422: which field, what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, ... as `metav1.CauseType` has them.
    pub reason: &'static str,
    /// Path of the field, for example `spec.pod_spec.containers[0].name`.
    pub field: String,
    /// The text after the path.
    pub message: String,
}

impl Cause {
    /// The member is missing.
    pub fn required(field: impl Into<String>, detail: &str) -> Cause {
        let message =
            if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Cause { reason: "FieldValueRequired", field: field.into(), message }
    }

    /// The member has a value that is not allowed.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Cause {
        Cause {
            reason: "FieldValueInvalid",
            field: field.into(),
            message: format!("Invalid value: {}: {detail}", shown(value)),
        }
    }

    /// The member is of another type than the schema says.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Cause {
        Cause { reason: "FieldValueTypeInvalid", ..Cause::invalid(field, value, detail) }
    }

    /// The value is not one of the enumerated ones.
    pub fn unsupported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Cause {
        let list: Vec<String> = supported.iter().map(|s| format!("\"{s}\"")).collect();
        Cause {
            reason: "FieldValueNotSupported",
            field: field.into(),
            message: format!("Unsupported value: {}: supported values: {}", shown(value), list.join(", ")),
        }
    }

    /// Two entries of a keyed list have the same key.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Cause {
        Cause {
            reason: "FieldValueDuplicate",
            field: field.into(),
            message: format!("Duplicate value: {}", shown(value)),
        }
    }

    /// The change is not allowed.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Cause {
        Cause { reason: "FieldValueForbidden", field: field.into(), message: format!("Forbidden: {detail}") }
    }

    /// The value names something that is not there.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Cause {
        Cause {
            reason: "FieldValueNotFound",
            field: field.into(),
            message: format!("Not found: {}", shown(value)),
        }
    }

    /// The value is too long.
    pub fn too_long(field: impl Into<String>, limit: usize) -> Cause {
        Cause {
            reason: "FieldValueTooLong",
            field: field.into(),
            message: format!("Too long: may not be more than {limit} bytes"),
        }
    }
}

/// A value as an error message shows it: cut, because it may come from anyone.
fn shown(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > 120 {
        let mut end = 120;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// One field that an apply would take from its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The owner, as messages show it.
    pub by: String,
    /// Path of the field.
    pub field: String,
}

/// A refusal or failure of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// `metav1.StatusReason`; empty where Kubernetes has none.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
    /// `metav1.StatusDetails`.
    pub details: Option<Value>,
    /// `metadata.continue`: with which token a list that has expired may go on.
    pub next: Option<String>,
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { code, reason, message: message.into(), details: None, next: None }
    }

    fn about(mut self, resource: &Resource, name: &str) -> ApiError {
        let mut details = json!({"name": name, "kind": resource.plural});
        if !resource.group.is_empty() {
            details["group"] = Value::from(resource.group);
        }
        self.details = Some(details);
        self
    }

    /// 404: no object of that name.
    pub fn not_found(resource: &Resource, name: &str) -> ApiError {
        ApiError::new(404, "NotFound", format!("{} \"{name}\" not found", resource.qualified()))
            .about(resource, name)
    }

    /// 404: no such path.
    pub fn no_such_path() -> ApiError {
        let mut e = ApiError::new(404, "NotFound", "the server could not find the requested resource");
        e.details = Some(json!({}));
        e
    }

    /// 409: the name is taken.
    pub fn already_exists(resource: &Resource, name: &str) -> ApiError {
        ApiError::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", resource.qualified()))
            .about(resource, name)
    }

    /// 409: somebody else wrote in between, or a precondition does not hold.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> ApiError {
        ApiError::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified()),
        )
        .about(resource, name)
    }

    /// 409 for a stale resourceVersion.
    pub fn modified(resource: &Resource, name: &str) -> ApiError {
        ApiError::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 for an apply that would change what others own.
    pub fn apply_conflicts(resource: &Resource, name: &str, conflicts: &[Conflict]) -> ApiError {
        let mut by_owner: Vec<(&str, Vec<&str>)> = Vec::new();
        for c in conflicts {
            match by_owner.iter_mut().find(|(by, _)| *by == c.by) {
                Some((_, fields)) => fields.push(&c.field),
                None => by_owner.push((&c.by, vec![&c.field])),
            }
        }
        let told: Vec<String> = by_owner
            .iter()
            .map(|(by, fields)| match fields.as_slice() {
                [one] => format!("conflict with {by}: {one}"),
                many => format!("conflicts with {by}:\n- {}", many.join("\n- ")),
            })
            .collect();
        let s = if conflicts.len() == 1 { "" } else { "s" };
        let message = format!("Apply failed with {} conflict{s}: {}", conflicts.len(), told.join("\n"));
        let mut e = ApiError::new(409, "Conflict", message).about(resource, name);
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|c| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {}", c.by), "field": c.field})
            })
            .collect();
        if let Some(details) = &mut e.details {
            details["causes"] = Value::Array(causes);
        }
        e
    }

    /// 422: an option of a request has a value that it cannot have, or does not fit the others. `options` is the kind
    /// that Kubernetes calls them: `PatchOptions`, `ListOptions`.
    pub fn invalid_options(options: &str, field: &str, why: &str) -> ApiError {
        let mut e = ApiError::new(422, "Invalid", format!("{options} \"\" is invalid: {field}: {why}"));
        let kind = options.split('.').next().unwrap_or(options);
        let causes = json!([{"reason": "FieldValueInvalid", "message": why, "field": field}]);
        e.details = Some(json!({"group": "meta.k8s.io", "kind": kind, "causes": causes}));
        e
    }

    /// 422: the object breaks the rules of its kind.
    pub fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> ApiError {
        let kind = if resource.group.is_empty() {
            resource.kind.to_owned()
        } else {
            format!("{}.{}", resource.kind, resource.group)
        };
        let texts: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let text = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        let mut e = ApiError::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {text}"));
        let causes: Vec<Value> = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect();
        let mut details = json!({"name": name, "kind": resource.kind, "causes": causes});
        if !resource.group.is_empty() {
            details["group"] = Value::from(resource.group);
        }
        e.details = Some(details);
        e
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "BadRequest", message)
    }

    /// 403.
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> ApiError {
        let what = if name.is_empty() {
            resource.qualified()
        } else {
            format!("{} \"{name}\"", resource.qualified())
        };
        ApiError::new(403, "Forbidden", format!("{what} is forbidden: {why}")).about(resource, name)
    }

    /// 401.
    pub fn unauthorized() -> ApiError {
        ApiError::new(401, "Unauthorized", "Unauthorized")
    }

    /// 405.
    pub fn method_not_allowed() -> ApiError {
        ApiError::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 406: none of the representations that the client accepts is spoken here.
    pub fn not_acceptable() -> ApiError {
        ApiError::new(406, "NotAcceptable", "only the following media types are accepted: application/json")
    }

    /// 413.
    pub fn too_large(limit: usize) -> ApiError {
        ApiError::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit} bytes"),
        )
    }

    /// 415: the body or patch is of a type that is not taken here; `why` says which are.
    pub fn unsupported_media_type(why: impl Into<String>) -> ApiError {
        ApiError::new(415, "UnsupportedMediaType", why)
    }

    /// 410: the history that the client asks for is compacted; it has to list again.
    pub fn expired(asked: u64, oldest: u64) -> ApiError {
        ApiError::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// 410: the page that the client asks for is of a moment that is gone.
    pub fn expired_continue(next: String) -> ApiError {
        let why = "the moment that this continue token belongs to is too long ago; list again without it, or go on with \
                   the token in this answer, which shows the rest as it is now";
        ApiError { next: Some(next), ..ApiError::new(410, "Expired", why) }
    }

    /// 504: the client is ahead of this server.
    pub fn too_large_version(asked: u64, current: u64) -> ApiError {
        let mut e = ApiError::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        );
        e.details = Some(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }));
        e
    }

    /// 500: the store or a part of this server failed.
    pub fn internal(message: impl std::fmt::Display) -> ApiError {
        ApiError::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// 503: a part that answers this is not there.
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(503, "ServiceUnavailable", message)
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = Value::from(self.reason);
        }
        if let Some(next) = &self.next {
            status["metadata"] = json!({"continue": next});
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_response(code, self.status().to_string().into());
        if code == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A complete JSON body with its status code.
pub fn json_response(code: StatusCode, body: bytes::Bytes) -> Response {
    (code, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// The `Status` that a delete answers with once the object is gone.
pub fn deleted_status(resource: &Resource, name: &str, uid: &str) -> Value {
    let mut details = json!({"name": name, "kind": resource.plural, "uid": uid});
    if !resource.group.is_empty() {
        details["group"] = Value::from(resource.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
