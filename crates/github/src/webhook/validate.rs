//! Accepts or rejects a webhook request, with Prow's statuses and texts in Prow's order (prow-runtime §2.1).

use http::{HeaderMap, Method, StatusCode};

use super::Envelope;
use crate::hmac::{Secrets, matches};

/// A genuine delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// `X-GitHub-Event`
    pub event_type: String,
    /// `X-GitHub-Delivery`
    pub guid: String,
}

/// Why a request is turned away. Displays as the answer's body, without the trailing newline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("405 Method not allowed")]
    Method,
    #[error("400 Bad Request: Missing X-GitHub-Event Header")]
    NoEvent,
    #[error("400 Bad Request: Missing X-GitHub-Delivery Header")]
    NoDelivery,
    #[error("403 Forbidden: Missing X-Hub-Signature-256")]
    NoSignature,
    #[error(
        "400 Bad Request: Hook only accepts content-type: application/json - please reconfigure this hook on GitHub"
    )]
    ContentType,
    #[error("403 Forbidden: Invalid X-Hub-Signature-256 - invalid payload")]
    Payload,
    #[error("403 Forbidden: Invalid X-Hub-Signature-256 - invalid signature")]
    Signature,
    #[error("403 Forbidden: Invalid X-Hub-Signature-256 - failed to get an appropriate hmac secret")]
    NoSecret,
    #[error(
        "403 Forbidden: Invalid X-Hub-Signature-256 - misconfigured webhook secret from organization/repo: {0}"
    )]
    Misconfigured(String),
}

impl Rejection {
    /// The status to answer with.
    pub fn status(&self) -> StatusCode {
        match self {
            Rejection::Method => StatusCode::METHOD_NOT_ALLOWED,
            Rejection::NoEvent | Rejection::NoDelivery | Rejection::ContentType => StatusCode::BAD_REQUEST,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

/// Checks a whole request. Reading the body is the server's part: where that fails, it answers 500 itself.
///
/// # Errors
/// The first check that fails, in Prow's order.
pub fn validate(
    method: &Method,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &Secrets,
) -> Result<Delivery, Rejection> {
    if method != Method::POST {
        return Err(Rejection::Method);
    }
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty());
    let event_type = header("x-github-event").ok_or(Rejection::NoEvent)?.to_owned();
    let guid = header("x-github-delivery").ok_or(Rejection::NoDelivery)?.to_owned();
    let signature = header("x-hub-signature-256").ok_or(Rejection::NoSignature)?;
    if header("content-type") != Some("application/json") {
        return Err(Rejection::ContentType);
    }
    let envelope: Envelope = serde_json::from_slice(body).map_err(|_| Rejection::Payload)?;
    let digits = signature.strip_prefix("sha256=").ok_or(Rejection::Signature)?;
    if hex::decode(digits).is_err() {
        return Err(Rejection::Signature);
    }
    let scope = match envelope.repository.full_name {
        name if name.is_empty() => envelope.organization.login,
        name => name,
    };
    let tokens = secrets.lookup(&scope).ok_or(Rejection::NoSecret)?;
    if tokens.iter().any(|token| matches(body, signature, token)) {
        Ok(Delivery { event_type, guid })
    } else {
        Err(Rejection::Misconfigured(scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hmac::sign;
    use prow_api::Secret;

    const BODY: &[u8] = br#"{"repository":{"full_name":"o/r"},"organization":{"login":"o"}}"#;

    fn request(without: &str, replace: Option<(&'static str, &str)>) -> HeaderMap {
        let signature = sign(BODY, &Secret::new("s"));
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-github-event", "push"),
            ("x-github-delivery", "guid-1"),
            ("x-hub-signature-256", signature.as_str()),
            ("content-type", "application/json"),
        ] {
            if name != without {
                headers.insert(name, value.parse().unwrap());
            }
        }
        if let Some((name, value)) = replace {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn each_check_answers_in_prows_words() {
        let secrets = Secrets::global(Secret::new("s"));
        let forged = sign(BODY, &Secret::new("other"));
        let cases: Vec<(HeaderMap, u16, &str)> = vec![
            (HeaderMap::new(), 400, "400 Bad Request: Missing X-GitHub-Event Header"),
            (request("x-github-event", None), 400, "400 Bad Request: Missing X-GitHub-Event Header"),
            (request("x-github-delivery", None), 400, "400 Bad Request: Missing X-GitHub-Delivery Header"),
            (request("x-hub-signature-256", None), 403, "403 Forbidden: Missing X-Hub-Signature-256"),
            (
                request("x-hub-signature-256", Some(("x-hub-signature", "sha1=00"))),
                403,
                "403 Forbidden: Missing X-Hub-Signature-256",
            ),
            (
                request("", Some(("content-type", "application/json; charset=utf-8"))),
                400,
                "400 Bad Request: Hook only accepts content-type: application/json - please reconfigure this hook on GitHub",
            ),
            (
                request("", Some(("x-hub-signature-256", "sha1=00"))),
                403,
                "403 Forbidden: Invalid X-Hub-Signature-256 - invalid signature",
            ),
            (
                request("", Some(("x-hub-signature-256", "sha256=xyz"))),
                403,
                "403 Forbidden: Invalid X-Hub-Signature-256 - invalid signature",
            ),
            (
                request("", Some(("x-hub-signature-256", &forged))),
                403,
                "403 Forbidden: Invalid X-Hub-Signature-256 - misconfigured webhook secret from organization/repo: o/r",
            ),
        ];
        for (headers, status, text) in cases {
            let rejection = validate(&Method::POST, &headers, BODY, &secrets).unwrap_err();
            assert_eq!((rejection.status().as_u16(), rejection.to_string().as_str()), (status, text));
        }
        let fine = request("", None);
        assert_eq!(validate(&Method::GET, &fine, BODY, &secrets), Err(Rejection::Method));
        assert_eq!(validate(&Method::POST, &fine, b"{nope", &secrets), Err(Rejection::Payload));
        let nobody = Secrets::parse("", |_| Some(serde_json::json!({})));
        assert_eq!(validate(&Method::POST, &fine, BODY, &nobody), Err(Rejection::NoSecret));
        let delivery = Delivery { event_type: "push".into(), guid: "guid-1".into() };
        assert_eq!(validate(&Method::POST, &fine, BODY, &secrets), Ok(delivery));
    }

    #[test]
    fn an_organizations_own_event_is_checked_with_its_own_secret() {
        let body = br#"{"organization":{"login":"o"}}"#;
        let mut headers = request("", None);
        headers.insert("x-hub-signature-256", sign(body, &Secret::new("org")).parse().unwrap());
        let secrets =
            Secrets::parse("", |_| Some(serde_json::json!({"o": [{"value": "org"}], "*": [{"value": "x"}]})));
        assert!(validate(&Method::POST, &headers, body, &secrets).is_ok());
    }
}
