//! Which fields of two objects differ.

use serde::Serialize;
use serde_json::{Map, Value};

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Keys from the top; members of lists by name where they have one: `spec.containers[test].image`.
    pub path: String,
    /// As it was; absent if it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// As it is now; absent if it is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// Every field that differs, in the order of the keys.
pub(super) fn between(old: &Value, new: &Value) -> Vec<Change> {
    let mut out = Vec::new();
    compare("", Some(old), Some(new), &mut out);
    out
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Change>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for key in keys(a, b) {
                compare(&below(path, key), a.get(key), b.get(key), out);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => lists(path, a, b, out),
        (old, new) => out.push(Change { path: path.to_owned(), old: old.cloned(), new: new.cloned() }),
    }
}

/// Keys of both, in order.
fn keys<'m>(a: &'m Map<String, Value>, b: &'m Map<String, Value>) -> Vec<&'m String> {
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// The path of a key below a path.
pub(super) fn below(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    match (path, plain) {
        ("", true) => key.to_owned(),
        (path, true) => format!("{path}.{key}"),
        (path, false) => format!("{path}[{key:?}]"),
    }
}

/// What a list's member is called by: its name, else where it is mounted.
fn name(item: &Value) -> Option<&str> {
    item.get("mountPath").or_else(|| item.get("name"))?.as_str()
}

/// Names of all members, if every one has one of its own.
pub(super) fn names(list: &[Value]) -> Option<Vec<&str>> {
    let names: Vec<&str> = list.iter().map(name).collect::<Option<_>>()?;
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1]).then_some(names)
}

fn lists(path: &str, a: &[Value], b: &[Value], out: &mut Vec<Change>) {
    if let (Some(old), Some(new)) = (names(a), names(b)) {
        let find = |names: &[&str], list: &'_ [Value], name: &str| -> Option<Value> {
            names.iter().position(|n| *n == name).map(|at| list[at].clone())
        };
        let before = out.len();
        for name in old.iter().chain(new.iter().filter(|n| !old.contains(n))) {
            let (x, y) = (find(&old, a, name), find(&new, b, name));
            compare(&format!("{path}[{name}]"), x.as_ref(), y.as_ref(), out);
        }
        if out.len() == before {
            // Only the order differs, which counts for variables and containers.
            let order = |names: Vec<&str>| Value::from(names);
            out.push(Change { path: path.to_owned(), old: Some(order(old)), new: Some(order(new)) });
        }
        return;
    }
    let whole = |out: &mut Vec<Change>| {
        let (old, new) = (Some(Value::from(a.to_vec())), Some(Value::from(b.to_vec())));
        out.push(Change { path: path.to_owned(), old, new });
    };
    if !a.iter().chain(b).all(Value::is_object) {
        if a.len() == b.len() {
            for (index, (x, y)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{index}]"), Some(x), Some(y), out);
            }
        } else {
            whole(out);
        }
        return;
    }
    // Objects without names: what is in both is the same wherever it stands; of the rest, pairs in their order.
    let mut olds: Vec<(usize, &Value)> = a.iter().enumerate().collect();
    let mut news: Vec<(usize, &Value)> = b.iter().enumerate().collect();
    olds.retain(|(_, x)| match news.iter().position(|(_, y)| y == x) {
        Some(at) => {
            news.remove(at);
            false
        }
        None => true,
    });
    if olds.is_empty() && news.is_empty() {
        whole(out);
    } else if olds.len() == news.len() {
        for ((_, x), (index, y)) in olds.into_iter().zip(news) {
            compare(&format!("{path}[{index}]"), Some(x), Some(y), out);
        }
    } else {
        for (index, x) in olds {
            compare(&format!("{path}[{index}]"), Some(x), None, out);
        }
        for (index, y) in news {
            compare(&format!("{path}[{index}]"), None, Some(y), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_named_by_their_path() {
        for (old, new, want) in [
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), "a.b: Some(1) Some(2)"),
            (json!({}), json!({"x.y/z": true}), "[\"x.y/z\"]: None Some(true)"),
            (
                json!([{"name": "t", "i": 1}]),
                json!([{"name": "s"}, {"name": "t", "i": 2}]),
                "[t].i: Some(1) Some(2); [s]: None Some({\"name\":\"s\"})",
            ),
            (json!({"l": [1, 2]}), json!({"l": [1, 3]}), "l[1]: Some(2) Some(3)"),
            (json!({"l": [1]}), json!({"l": [1, 3]}), "l: Some([1]) Some([1,3])"),
            (
                json!([{"name": "a"}, {"name": "b"}]),
                json!([{"name": "b"}, {"name": "a"}]),
                ": Some([\"a\",\"b\"]) Some([\"b\",\"a\"])",
            ),
            (json!([{"q": 1}, {"q": 2}]), json!([{"q": 2}, {"q": 3}]), "[1].q: Some(1) Some(3)"),
            (json!([{"q": 1}]), json!([{"q": 1}, {"q": 3}]), "[1]: None Some({\"q\":3})"),
            (
                json!([{"q": 1}, {"q": 2}]),
                json!([{"q": 2}, {"q": 1}]),
                ": Some([{\"q\":1},{\"q\":2}]) Some([{\"q\":2},{\"q\":1}])",
            ),
            (
                json!([{"name": "a", "mountPath": "/x"}, {"name": "a", "mountPath": "/y"}]),
                json!([{"name": "b", "mountPath": "/x"}, {"name": "a", "mountPath": "/y"}]),
                "[/x].name: Some(\"a\") Some(\"b\")",
            ),
            (json!(1), json!(1), ""),
        ] {
            let shown = |v: &Option<Value>| v.as_ref().map_or("None".to_owned(), |v| format!("Some({v})"));
            let got: Vec<String> = between(&old, &new)
                .iter()
                .map(|c| format!("{}: {} {}", c.path, shown(&c.old), shown(&c.new)))
                .collect();
            assert_eq!(got.join("; "), want, "{old} {new}");
        }
    }
}
