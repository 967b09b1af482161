//! What the types of the tables mean for ownership: which fields a value sets, what differs between two, how one is
//! laid over another, what is left without some fields.

use serde_json::{Map, Value};

use super::set::{Set, Step};
use crate::schema::{Lists, Ty, Type};

/// How a value is looked at.
#[derive(Clone, Copy)]
enum Shape<'a> {
    /// As one thing.
    Whole,
    /// Member by member, of a type if it is known.
    Members(Option<&'a Type>, Option<&'a Ty>),
    /// A list whose entries are their own names.
    Set,
    /// A list whose entries have names.
    Keyed(&'a [&'static str], &'a Ty),
}

fn shape<'a>(ty: Option<&'a Ty>) -> Shape<'a> {
    match ty {
        Some(Ty::Object(id)) if id.get().atomic => Shape::Whole,
        Some(Ty::Object(id)) => Shape::Members(Some(id.get()), None),
        Some(Ty::Map(of)) => Shape::Members(None, Some(of)),
        Some(Ty::Any) => Shape::Members(None, None),
        Some(Ty::List(_, Lists::Set)) => Shape::Set,
        Some(Ty::List(of, Lists::Keyed(keys))) => Shape::Keyed(keys, of),
        // Below an opaque object everything is: objects have members, all else is one thing.
        None => Shape::Members(None, None),
        Some(_) => Shape::Whole,
    }
}

fn member_type<'a>(of: Option<&'a Type>, all: Option<&'a Ty>, name: &str) -> Option<&'a Ty> {
    of.and_then(|t| t.member(name)).map(|m| &m.ty).or(all)
}

/// The step to an entry of a keyed list; a key that is left out has its default.
fn key_of(item: &Value, keys: &[&str], of: &Ty) -> Step {
    let mut id = Map::new();
    for key in keys {
        let default = || of.object().and_then(|t| t.member(key)?.default_value());
        if let Some(value) = item.get(*key).filter(|v| !v.is_null()).cloned().or_else(default) {
            id.insert((*key).to_owned(), value);
        }
    }
    Step::Key(Value::Object(id).to_string())
}

/// The steps to the things within a value, if its shape has any there.
fn within<'a>(shape: Shape<'a>, value: &'a Value) -> Option<Vec<(Step, &'a Value, Option<&'a Ty>)>> {
    match (shape, value) {
        (Shape::Members(of, all), Value::Object(members)) => {
            Some(members.iter().map(|(k, v)| (Step::Field(k.clone()), v, member_type(of, all, k))).collect())
        }
        (Shape::Set, Value::Array(items)) => {
            Some(items.iter().map(|i| (Step::Value(i.to_string()), i, Some(&Ty::Text))).collect())
        }
        (Shape::Keyed(keys, of), Value::Array(items)) => {
            Some(items.iter().map(|i| (key_of(i, keys, of), i, Some(of))).collect())
        }
        _ => None,
    }
}

/// The fields that a value sets.
pub fn fields(value: &Value, ty: Option<&Ty>) -> Set {
    let shape = shape(ty);
    let mut set = Set::default();
    match within(shape, value).filter(|w| !w.is_empty()) {
        None => set.own = true,
        Some(inner) => {
            for (step, value, ty) in inner {
                let below = set.below(step);
                *below = fields(value, ty);
                below.own |= matches!(shape, Shape::Keyed(..));
            }
        }
    }
    set
}

/// What differs between two values.
#[derive(Debug, Default)]
pub struct Difference {
    /// Fields that are new or have another value.
    pub changed: Set,
    /// Fields that are gone.
    pub removed: Set,
}

/// Compares two values of a type.
pub fn compare(old: Option<&Value>, new: Option<&Value>, ty: Option<&Ty>) -> Difference {
    let mut found = Difference::default();
    descend(old, new, ty, &mut found.changed, &mut found.removed);
    found.changed.tidy();
    found.removed.tidy();
    found
}

fn descend(old: Option<&Value>, new: Option<&Value>, ty: Option<&Ty>, changed: &mut Set, removed: &mut Set) {
    if old == new {
        return;
    }
    let shape = shape(ty);
    let before = old.and_then(|v| within(shape, v));
    let after = new.and_then(|v| within(shape, v));
    let whole = (old.is_some() && before.is_none()) || (new.is_some() && after.is_none());
    match (old, new) {
        (Some(_), None) => removed.own = true,
        (None, Some(_)) => changed.own = true,
        _ if whole => changed.own = true,
        _ => {}
    }
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    for (step, value, ty) in &after {
        let was = before.iter().find(|(s, ..)| s == step).map(|(_, v, _)| *v);
        descend(was, Some(value), *ty, changed.below(step.clone()), removed.below(step.clone()));
    }
    for (step, value, ty) in before.iter().filter(|(s, ..)| !after.iter().any(|(a, ..)| a == s)) {
        descend(Some(value), None, *ty, changed.below(step.clone()), removed.below(step.clone()));
    }
}

/// `over` laid over `base`: what `over` says counts, what it does not say stays.
pub fn merge(base: &Value, over: &Value, ty: Option<&Ty>) -> Value {
    match (shape(ty), base, over) {
        (Shape::Members(of, all), Value::Object(base), Value::Object(over)) => {
            let mut merged = base.clone();
            for (name, value) in over {
                let value = match base.get(name) {
                    Some(base) => merge(base, value, member_type(of, all, name)),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Shape::Set, Value::Array(base), Value::Array(over)) => {
            let key = |v: &Value| Step::Value(v.to_string());
            Value::Array(merge_lists(base, over, key, |_, over| over.clone()))
        }
        (Shape::Keyed(keys, of), Value::Array(base), Value::Array(over)) => {
            let key = |v: &Value| key_of(v, keys, of);
            Value::Array(merge_lists(base, over, key, |base, over| merge(base, over, Some(of))))
        }
        _ => over.clone(),
    }
}

/// Entries of both in the order of `over`; what only `base` has keeps its place among them.
fn merge_lists(
    base: &[Value],
    over: &[Value],
    key: impl Fn(&Value) -> Step,
    join: impl Fn(&Value, &Value) -> Value,
) -> Vec<Value> {
    let left: Vec<Step> = base.iter().map(&key).collect();
    let right: Vec<Step> = over.iter().map(&key).collect();
    let (mut merged, mut l, mut r) = (Vec::new(), 0, 0);
    while l < base.len() || r < over.len() {
        if l < base.len() && !right.contains(&left[l]) {
            merged.push(base[l].clone());
            l += 1;
        } else if l < base.len() && right[..r].contains(&left[l]) {
            // Told already, in the order of `over`.
            l += 1;
        } else if r < over.len() {
            let known = left.iter().position(|k| *k == right[r]);
            merged.push(known.map_or_else(|| over[r].clone(), |at| join(&base[at], &over[r])));
            r += 1;
        } else {
            l += 1;
        }
    }
    merged
}

/// The value without the fields of a set; `None` if nothing is left of it.
pub fn without(value: &Value, gone: &Set, ty: Option<&Ty>) -> Option<Value> {
    let shape = shape(ty);
    let Some(inner) = within(shape, value).filter(|w| !w.is_empty()) else {
        return (!gone.own).then(|| value.clone());
    };
    if gone.children.is_empty() {
        return (!gone.own).then(|| value.clone());
    }
    let mut kept = Vec::new();
    for (step, value, ty) in inner {
        let left = match gone.children.get(&step) {
            None => Some(value.clone()),
            // An entry that goes takes what names it along.
            Some(below) if below.own && matches!(shape, Shape::Keyed(..) | Shape::Set) => None,
            Some(below) => without(value, below, ty),
        };
        kept.extend(left.map(|v| (step, v)));
    }
    if kept.is_empty() {
        return None;
    }
    Some(match value {
        Value::Array(_) => Value::Array(kept.into_iter().map(|(_, v)| v).collect()),
        _ => Value::Object(
            kept.into_iter()
                .filter_map(|(step, v)| match step {
                    Step::Field(name) => Some((name, v)),
                    _ => None,
                })
                .collect(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::find;

    fn pod_spec() -> Ty {
        Ty::Object(find("PodSpec").unwrap())
    }

    #[test]
    fn keyed_lists_merge_in_the_order_of_what_is_laid_over() {
        let ty = pod_spec();
        let base = json!({"containers": [{"name": "a", "image": "1"}, {"name": "x"}, {"name": "b"}], "hostname": "h"});
        let over =
            json!({"containers": [{"name": "b", "image": "2"}, {"name": "a", "tty": true}, {"name": "c"}]});
        let merged = merge(&base, &over, Some(&ty));
        let names: Vec<&str> =
            merged["containers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["b", "a", "x", "c"]);
        assert_eq!(merged["containers"][1], json!({"name": "a", "image": "1", "tty": true}));
        assert_eq!(merged["hostname"], "h");
    }

    #[test]
    fn fields_and_what_is_left_without_them() {
        let ty = pod_spec();
        let value = json!({"containers": [{"name": "a", "command": ["x", "y"], "ports": [{"containerPort": 1}]}],
                           "nodeSelector": {"k": "v"}, "securityContext": {}});
        let set = fields(&value, Some(&ty));
        assert_eq!(
            set.write(),
            json!({
                "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:command": {},
                    "f:ports": {"k:{\"containerPort\":1,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}},
                "f:nodeSelector": {"f:k": {}},
                "f:securityContext": {},
            })
        );
        assert_eq!(without(&value, &set, Some(&ty)), None);
        let part = Set::read(
            &json!({"f:nodeSelector": {"f:k": {}}, "f:containers": {"k:{\"name\":\"a\"}": {"f:command": {}}}}),
        );
        assert_eq!(
            without(&value, &part, Some(&ty)).unwrap(),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1}]}], "securityContext": {}})
        );
    }

    #[test]
    fn differences() {
        let ty = pod_spec();
        let old = json!({"containers": [{"name": "a", "image": "1"}], "hostname": "h"});
        let new = json!({"containers": [{"name": "a", "image": "2"}, {"name": "b"}]});
        let found = compare(Some(&old), Some(&new), Some(&ty));
        assert_eq!(
            found.changed.write(),
            json!({"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}, "k:{\"name\":\"b\"}": {".": {}, "f:name": {}}}})
        );
        assert_eq!(found.removed.write(), json!({"f:hostname": {}}));
    }
}
