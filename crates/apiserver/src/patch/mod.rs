//! Patches: JSON merge patch (RFC 7396), JSON patch (RFC 6902), strategic merge patch. Pure functions on JSON.

mod json_patch;
mod strategic;

use serde_json::Value;

use crate::resources::Resource;
use crate::status::ApiError;

/// A patch body with the way to apply it.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// `application/merge-patch+json`
    Merge(Value),
    /// `application/json-patch+json`
    Json(Vec<json_patch::Operation>),
    /// `application/strategic-merge-patch+json`
    Strategic(Value),
    /// `application/apply-patch+yaml`: the configuration. It is laid over the object by `managed`.
    Apply(Value),
}

impl Patch {
    /// Reads a body by its content type.
    pub fn parse(resource: &Resource, content_type: &str, body: &[u8]) -> Result<Patch, ApiError> {
        let essence = content_type.split(';').next().unwrap_or("").trim();
        let accepted = if resource.strategic_merge {
            "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
             application/apply-patch+yaml"
        } else {
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        };
        let object = |body: &[u8]| -> Result<Value, ApiError> {
            match serde_json::from_slice::<Value>(body) {
                Ok(v) if v.is_object() => Ok(v),
                Ok(_) => Err(ApiError::bad_request("the patch is not a JSON object")),
                Err(e) => Err(ApiError::bad_request(format!("the patch is not readable as JSON: {e}"))),
            }
        };
        match essence {
            "application/merge-patch+json" => Ok(Patch::Merge(object(body)?)),
            "application/json-patch+json" => Ok(Patch::Json(json_patch::parse(body)?)),
            "application/strategic-merge-patch+json" if resource.strategic_merge => {
                Ok(Patch::Strategic(object(body)?))
            }
            "application/apply-patch+yaml" => {
                // JSON is YAML, but by far the quicker to read and what clients send.
                let config = serde_json::from_slice(body).or_else(|_| yaml(body))?;
                if !Value::is_object(&config) {
                    return Err(ApiError::bad_request("the configuration to apply is not an object"));
                }
                Ok(Patch::Apply(config))
            }
            other => Err(ApiError::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({other:?}) - accepted media types include: \
                 {accepted}"
            ))),
        }
    }

    /// The patched object.
    pub fn apply(&self, mut object: Value) -> Result<Value, ApiError> {
        match self {
            Patch::Merge(patch) => {
                merge(&mut object, patch);
                Ok(object)
            }
            Patch::Json(operations) => {
                json_patch::apply(&mut object, operations)?;
                Ok(object)
            }
            Patch::Strategic(patch) => {
                strategic::merge(&mut object, patch)?;
                Ok(object)
            }
            Patch::Apply(config) => {
                merge(&mut object, config);
                Ok(object)
            }
        }
    }
}

fn yaml(body: &[u8]) -> Result<Value, ApiError> {
    let text =
        std::str::from_utf8(body).map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))?;
    serde_saphyr::from_str(text).map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::find;

    #[test]
    fn rfc_7396_appendix_a() {
        for (mut target, patch, expected) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            merge(&mut target, &patch);
            assert_eq!(target, expected);
        }
    }

    #[test]
    fn content_types() {
        let prowjobs = find("prow.k8s.io", "v1", "prowjobs").unwrap();
        let pods = find("", "v1", "pods").unwrap();
        let code = |r, t| Patch::parse(r, t, b"{}").map(|_| 200).unwrap_or_else(|e| e.code);
        assert_eq!(code(prowjobs, "application/merge-patch+json"), 200);
        assert_eq!(code(prowjobs, "application/merge-patch+json; charset=utf-8"), 200);
        assert_eq!(code(prowjobs, "application/strategic-merge-patch+json"), 415);
        assert_eq!(code(pods, "application/strategic-merge-patch+json"), 200);
        assert_eq!(code(pods, "application/apply-patch+yaml"), 200);
        assert_eq!(code(pods, "application/apply-patch+cbor"), 415);
        let yaml =
            Patch::parse(pods, "application/apply-patch+yaml", b"kind: Pod\nspec:\n  hostname: h\n").unwrap();
        assert_eq!(yaml, Patch::Apply(json!({"kind": "Pod", "spec": {"hostname": "h"}})));
        assert_eq!(Patch::parse(pods, "application/apply-patch+yaml", b"- a").unwrap_err().code, 400);
        assert_eq!(code(pods, "application/json"), 415);
        assert_eq!(code(pods, ""), 415);
        assert_eq!(code(pods, "application/json-patch+json"), 400, "not a list");
        assert_eq!(Patch::parse(pods, "application/merge-patch+json", b"[").unwrap_err().code, 400);
        assert_eq!(Patch::parse(pods, "application/merge-patch+json", b"1").unwrap_err().code, 400);
    }
}
