//! Bodies in Kubernetes' protobuf, for the few kinds that kubectl sends so: `create configmap`, `create secret`,
//! `create namespace`, `create serviceaccount`, `auth can-i`, `auth whoami`. Everything else is taken as JSON only.
//!
//! A body is `k8s\0` and an envelope with kind and raw object. A member that is not in the tables below is refused
//! rather than lost, unless it is one that the server decides anyway.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::status::ApiError;

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

enum Kind {
    Text,
    Bool,
    Message(&'static Shape),
    /// A repeated text.
    Texts,
    Messages(&'static Shape),
    TextMap,
    /// Values are base64 in JSON.
    BytesMap,
    /// Decided by the server, whatever is sent.
    Ignored,
}

use Kind::{Bool, BytesMap, Ignored, Message, Messages, Text, TextMap, Texts};

/// Members of a message: number, name in JSON, kind.
struct Shape(&'static [(u64, &'static str, Kind)]);

static META: Shape = Shape(&[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Ignored),
    (5, "uid", Ignored),
    (6, "resourceVersion", Text),
    (7, "generation", Ignored),
    (8, "creationTimestamp", Ignored),
    (9, "deletionTimestamp", Ignored),
    (10, "deletionGracePeriodSeconds", Ignored),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (14, "finalizers", Texts),
    (17, "managedFields", Ignored),
]);
static CONFIG_MAP: Shape = Shape(&[
    (1, "metadata", Message(&META)),
    (2, "data", TextMap),
    (3, "binaryData", BytesMap),
    (4, "immutable", Bool),
]);
static SECRET: Shape = Shape(&[
    (1, "metadata", Message(&META)),
    (2, "data", BytesMap),
    (3, "type", Text),
    (4, "stringData", TextMap),
    (5, "immutable", Bool),
]);
static NAMESPACE: Shape =
    Shape(&[(1, "metadata", Message(&META)), (2, "spec", Ignored), (3, "status", Ignored)]);
static NAMED: Shape = Shape(&[(1, "name", Text)]);
static SERVICE_ACCOUNT: Shape = Shape(&[
    (1, "metadata", Message(&META)),
    (3, "imagePullSecrets", Messages(&NAMED)),
    (4, "automountServiceAccountToken", Bool),
]);
static RESOURCE_ATTRIBUTES: Shape = Shape(&[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
]);
static NON_RESOURCE_ATTRIBUTES: Shape = Shape(&[(1, "path", Text), (2, "verb", Text)]);
static REVIEW_SPEC: Shape = Shape(&[
    (1, "resourceAttributes", Message(&RESOURCE_ATTRIBUTES)),
    (2, "nonResourceAttributes", Message(&NON_RESOURCE_ATTRIBUTES)),
]);
static REVIEW: Shape =
    Shape(&[(1, "metadata", Message(&META)), (2, "spec", Message(&REVIEW_SPEC)), (3, "status", Ignored)]);

static RULES_SPEC: Shape = Shape(&[(1, "namespace", Text)]);
static RULES_REVIEW: Shape =
    Shape(&[(1, "metadata", Message(&META)), (2, "spec", Message(&RULES_SPEC)), (3, "status", Ignored)]);
static WHO: Shape = Shape(&[(1, "metadata", Message(&META)), (2, "status", Ignored)]);

static KINDS: &[(&str, &str, &Shape)] = &[
    ("v1", "ConfigMap", &CONFIG_MAP),
    ("v1", "Secret", &SECRET),
    ("v1", "Namespace", &NAMESPACE),
    ("v1", "ServiceAccount", &SERVICE_ACCOUNT),
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview", &REVIEW),
    ("authorization.k8s.io/v1", "SelfSubjectRulesReview", &RULES_REVIEW),
    ("authentication.k8s.io/v1", "SelfSubjectReview", &WHO),
];

/// Reads a body into the object that the same body in JSON would be.
pub fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let envelope = body.strip_prefix(b"k8s\0").ok_or_else(|| malformed("it does not begin with k8s"))?;
    let (mut api_version, mut kind, mut raw) = ("", "", &[][..]);
    for field in fields(envelope) {
        match field? {
            (1, Wire::Bytes(type_meta)) => {
                for field in fields(type_meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(object)) => raw = object,
            _ => {}
        }
    }
    let known = KINDS.iter().find(|(v, k, _)| *v == api_version && *k == kind);
    let Some((_, _, shape)) = known else {
        return Err(ApiError::unsupported_media_type(format!(
            "{api_version} {kind} is not taken as {MEDIA_TYPE} here - accepted media types include: application/json"
        )));
    };
    let mut object = message(shape, raw)?;
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(kind));
    Ok(Value::Object(object))
}

fn malformed(why: &str) -> ApiError {
    ApiError::bad_request(format!("the object provided is not readable as {MEDIA_TYPE}: {why}"))
}

fn utf8(bytes: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(bytes).map_err(|_| malformed("a text is not UTF-8"))
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message in the order in which they are sent.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>), ApiError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or_else(|| malformed("it is cut off or has a field of an unknown type")))
    })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Wire<'a>)> {
    let tag = varint(rest)?;
    let wire = match tag & 7 {
        0 => Wire::Number(varint(rest)?),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, tail) = rest.split_at_checked(length)?;
            *rest = tail;
            Wire::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, wire))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn message(shape: &Shape, bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let mut object = Map::new();
    for field in fields(bytes) {
        let (number, wire) = field?;
        let Some((_, name, kind)) = shape.0.iter().find(|(n, _, _)| *n == number) else {
            return Err(ApiError::unsupported_media_type(format!(
                "field {number} of a message is not taken as {MEDIA_TYPE} here; send application/json"
            )));
        };
        let slot = object.entry((*name).to_owned()).or_insert(Value::Null);
        match (kind, wire) {
            (Ignored, _) => {}
            // An empty text is one that is not set.
            (Text, Wire::Bytes([])) => {}
            (Text, Wire::Bytes(text)) => *slot = json!(utf8(text)?),
            (Bool, Wire::Number(n)) => *slot = json!(n != 0),
            (Message(shape), Wire::Bytes(inner)) => *slot = Value::Object(message(shape, inner)?),
            (Texts, Wire::Bytes(text)) => push(slot, json!(utf8(text)?)),
            (Messages(shape), Wire::Bytes(inner)) => push(slot, Value::Object(message(shape, inner)?)),
            (TextMap, Wire::Bytes(entry)) => {
                let (key, value) = map_entry(entry)?;
                slot[key] = json!(utf8(value)?);
            }
            (BytesMap, Wire::Bytes(entry)) => {
                let (key, value) = map_entry(entry)?;
                slot[key] = json!(STANDARD.encode(value));
            }
            _ => return Err(malformed(&format!("{name} has another type"))),
        }
    }
    object.retain(|_, v| !v.is_null());
    Ok(object)
}

fn push(slot: &mut Value, item: Value) {
    match slot {
        Value::Array(items) => items.push(item),
        other => *other = Value::Array(vec![item]),
    }
}

fn map_entry(entry: &[u8]) -> Result<(&str, &[u8]), ApiError> {
    let (mut key, mut value) = ("", &[][..]);
    for field in fields(entry) {
        match field? {
            (1, Wire::Bytes(bytes)) => key = utf8(bytes)?,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => return Err(malformed("a map has another type")),
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [b"k8s\0".to_vec(), field(1, &type_meta), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn a_secret() {
        let label = [field(1, b"a"), field(2, b"b")].concat();
        let meta =
            [field(1, b"s"), field(2, b""), field(8, b""), field(11, &label), field(14, b"x/y")].concat();
        let data = [field(1, b"k"), field(2, b"v")].concat();
        let raw = [field(1, &meta), field(2, &data), field(3, b"Opaque"), vec![5 << 3, 1]].concat();
        assert_eq!(
            decode(&body("v1", "Secret", &raw)).unwrap(),
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"k": "dg=="}, "type": "Opaque", "immutable": true,
                   "metadata": {"name": "s", "labels": {"a": "b"}, "finalizers": ["x/y"]}})
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let meta = field(1, &field(1, b"s"));
        let whole = body("v1", "ConfigMap", &meta);
        assert!(decode(&whole).is_ok());
        for cut in 0..whole.len() {
            // Some cuts leave a whole message that names no kind; none may be taken for the object.
            let result = decode(&whole[..cut]);
            assert!(result.is_err() || result.is_ok_and(|o| o["kind"] == "ConfigMap"), "{cut}");
        }
        assert_eq!(decode(b"{}").unwrap_err().code, 400);
        assert_eq!(decode(&body("v1", "Pod", &meta)).unwrap_err().code, 415);
        assert_eq!(decode(&body("v1", "ServiceAccount", &field(2, b""))).unwrap_err().code, 415);
        assert_eq!(decode(&body("v1", "ConfigMap", &[1 << 3, 1])).unwrap_err().code, 400);
        assert_eq!(decode(&body("v1", "ConfigMap", &[0xff; 12])).unwrap_err().code, 400);
    }
}
