//! JSON patch, RFC 6902, on JSON pointers, RFC 6901.

use serde::Deserialize;
use serde_json::Value;

use crate::status::ApiError;

/// Most operations in one patch, as Kubernetes limits them.
const MAX_OPERATIONS: usize = 10_000;

/// Bytes of JSON that the copies of one patch may add together: a few copies of copies double without end.
const MAX_COPIED: usize = 3 << 20;

/// One operation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Adds a member, inserts into a list, or replaces.
    Add {
        /// Where.
        path: String,
        /// What.
        value: Value,
    },
    /// Removes what must be there.
    Remove {
        /// Where.
        path: String,
    },
    /// Replaces what is there.
    Replace {
        /// Where.
        path: String,
        /// By what.
        value: Value,
    },
    /// Removes at one place and adds at another.
    Move {
        /// Whence.
        from: String,
        /// Where to.
        path: String,
    },
    /// Adds a copy.
    Copy {
        /// Whence.
        from: String,
        /// Where to.
        path: String,
    },
    /// Fails the whole patch unless the value is there.
    Test {
        /// Where.
        path: String,
        /// What must be there.
        value: Value,
    },
}

/// Reads a patch body.
pub fn parse(body: &[u8]) -> Result<Vec<Operation>, ApiError> {
    let operations: Vec<Operation> = serde_json::from_slice(body)
        .map_err(|e| ApiError::bad_request(format!("error decoding patch: not a JSON patch: {e}")))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(ApiError::bad_request(format!(
            "the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    Ok(operations)
}

/// Applies all operations, or fails as a whole (the caller throws `object` away then).
pub fn apply(object: &mut Value, operations: &[Operation]) -> Result<(), ApiError> {
    let mut copied = 0;
    for operation in operations {
        match operation {
            Operation::Add { path, value } => add(object, path, value.clone())?,
            Operation::Remove { path } => {
                remove(object, path)?;
            }
            // Unlike the RFC, the library that Kubernetes uses takes the replacement of an absent member for an add.
            Operation::Replace { path, value } => {
                let into_object =
                    split(path).and_then(|(p, _)| object.pointer(p)).is_some_and(Value::is_object);
                match object.pointer_mut(path) {
                    Some(found) => *found = value.clone(),
                    None if into_object => add(object, path, value.clone())?,
                    None => return Err(missing("replace", path)),
                }
            }
            Operation::Move { from, path } => {
                if path.starts_with(&format!("{from}/")) {
                    return Err(failed(format!(
                        "move operation cannot put {from:?} into its own child {path:?}"
                    )));
                }
                let value = remove(object, from)?;
                add(object, path, value)?;
            }
            Operation::Copy { from, path } => {
                let value = object.pointer(from).ok_or_else(|| missing("copy", from))?;
                copied += value.to_string().len();
                if copied > MAX_COPIED {
                    return Err(ApiError::too_large(MAX_COPIED));
                }
                let value = value.clone();
                add(object, path, value)?;
            }
            Operation::Test { path, value } => {
                // A test for null holds where nothing is, as in the library that Kubernetes uses.
                if object.pointer(path).unwrap_or(&Value::Null) != value {
                    return Err(failed(format!("testing value {path} failed")));
                }
            }
        }
    }
    Ok(())
}

/// 422, as Kubernetes answers a JSON patch that does not apply.
fn failed(why: String) -> ApiError {
    ApiError {
        code: 422,
        reason: "Invalid",
        message: format!("the server rejected our request due to an error in our request: {why}"),
        details: None,
        next: None,
    }
}

fn missing(operation: &str, path: &str) -> ApiError {
    failed(format!("{operation} operation does not apply: doc is missing path: {path:?}"))
}

/// The parent's pointer and the last token, unescaped.
fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

/// A list index without leading zeros or signs.
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    plain.then(|| token.parse().ok()).flatten()
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), ApiError> {
    let Some((parent, last)) = split(path) else {
        if path.is_empty() {
            *object = value;
            return Ok(());
        }
        return Err(missing("add", path));
    };
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(last, value);
            Ok(())
        }
        Some(Value::Array(list)) => {
            let at = if last == "-" { Some(list.len()) } else { index(&last) };
            match at {
                Some(at) if at <= list.len() => {
                    list.insert(at, value);
                    Ok(())
                }
                _ => Err(failed(format!("add operation does not apply: {path:?} is not within the list"))),
            }
        }
        _ => Err(missing("add", path)),
    }
}

fn remove(object: &mut Value, path: &str) -> Result<Value, ApiError> {
    let (parent, last) = split(path).ok_or_else(|| missing("remove", path))?;
    let removed = match object.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(&last),
        Some(Value::Array(list)) => index(&last).filter(|i| *i < list.len()).map(|i| list.remove(i)),
        _ => None,
    };
    removed.ok_or_else(|| missing("remove", path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(mut object: Value, patch: Value) -> Result<Value, ApiError> {
        apply(&mut object, &parse(patch.to_string().as_bytes())?)?;
        Ok(object)
    }

    #[test]
    fn rfc_6902_appendix_a() {
        for (object, patch, expected) in [
            (
                json!({"foo":"bar"}),
                json!([{"op":"add","path":"/baz","value":"qux"}]),
                json!({"baz":"qux","foo":"bar"}),
            ),
            (
                json!({"foo":["bar","baz"]}),
                json!([{"op":"add","path":"/foo/1","value":"qux"}]),
                json!({"foo":["bar","qux","baz"]}),
            ),
            (
                json!({"foo":["a"]}),
                json!([{"op":"add","path":"/foo/-","value":["b"]}]),
                json!({"foo":["a",["b"]]}),
            ),
            (json!({"a":1,"b":2}), json!([{"op":"remove","path":"/b"}]), json!({"a":1})),
            (json!({"a":[1,2,3]}), json!([{"op":"remove","path":"/a/1"}]), json!({"a":[1,3]})),
            (json!({"a":1}), json!([{"op":"replace","path":"/a","value":2}]), json!({"a":2})),
            (
                json!({"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}),
                json!([{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]),
                json!({"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}),
            ),
            (
                json!({"foo":["all","grass","cows","eat"]}),
                json!([{"op":"move","from":"/foo/1","path":"/foo/3"}]),
                json!({"foo":["all","cows","eat","grass"]}),
            ),
            (
                json!({"a":{"b":1}}),
                json!([{"op":"copy","from":"/a","path":"/c"}]),
                json!({"a":{"b":1},"c":{"b":1}}),
            ),
            (
                json!({"a/b":1,"m~n":2}),
                json!([{"op":"test","path":"/a~1b","value":1},{"op":"remove","path":"/m~0n"}]),
                json!({"a/b":1}),
            ),
            (json!({}), json!([{"op":"test","path":"/x","value":null}]), json!({})),
            (json!({}), json!([{"op":"replace","path":"/x","value":1}]), json!({"x": 1})),
        ] {
            assert_eq!(run(object, patch.clone()).unwrap(), expected, "{patch}");
        }
    }

    #[test]
    fn copies_of_copies_have_an_end() {
        let doubling: Vec<Value> =
            (0..60).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a/{i}")})).collect();
        assert_eq!(run(json!({"a": {}}), json!(doubling)).unwrap_err().code, 413);
    }

    #[test]
    fn what_does_not_apply_is_422_and_what_cannot_be_read_400() {
        for (object, patch, code) in [
            (json!({"a":1}), json!([{"op":"test","path":"/a","value":2}]), 422),
            (json!({"a":1}), json!([{"op":"remove","path":"/b"}]), 422),
            (json!({"a":1}), json!([{"op":"replace","path":"/b/c","value":1}]), 422),
            (json!({"a":1}), json!([{"op":"add","path":"/b/c","value":1}]), 422),
            (json!({"a":[1]}), json!([{"op":"add","path":"/a/2","value":1}]), 422),
            (json!({"a":[1]}), json!([{"op":"add","path":"/a/01","value":1}]), 422),
            (json!({"a":{"b":1}}), json!([{"op":"move","from":"/a","path":"/a/c"}]), 422),
            (json!({}), json!([{"op":"fly","path":"/a"}]), 400),
            (json!({}), json!([{"op":"add","path":"/a"}]), 400),
            (json!({}), json!({"op":"add"}), 400),
        ] {
            assert_eq!(run(object, patch.clone()).unwrap_err().code, code, "{patch}");
        }
    }
}
