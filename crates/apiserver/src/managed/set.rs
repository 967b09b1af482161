//! Sets of fields: which members of an object somebody owns, in the notation of `fieldsV1`.
//!
//! `f:NAME` is a member, `k:{...}` an entry of a keyed list, `v:...` an entry of a set; `.` says that the thing itself
//! is in the set and not only what is within it. A set that is a leaf holds itself.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One step down, written as `fieldsV1` has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A member by its name.
    Field(String),
    /// An entry of a keyed list, by the JSON of its keys.
    Key(String),
    /// An entry of a set, by its JSON.
    Value(String),
}

/// Fields of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    /// The thing itself is in the set.
    pub own: bool,
    /// What is within it.
    pub children: BTreeMap<Step, Set>,
}

impl Step {
    fn read(text: &str) -> Option<Step> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Step::Field(rest.to_owned())),
            "k" => Some(Step::Key(rest.to_owned())),
            "v" => Some(Step::Value(rest.to_owned())),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Step::Field(name) => format!("f:{name}"),
            Step::Key(keys) => format!("k:{keys}"),
            Step::Value(value) => format!("v:{value}"),
        }
    }

    /// As in the message of a conflict: `.name`, `[name="a"]`, `[="a"]`.
    fn shown(&self) -> String {
        match self {
            Step::Field(name) => format!(".{name}"),
            Step::Value(value) => format!("[={value}]"),
            Step::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let pairs: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!("[{}]", pairs.join(","))
            }
        }
    }
}

impl Set {
    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.own && self.children.is_empty()
    }

    /// Reads `fieldsV1`; what is not of its notation is left out.
    pub fn read(fields: &Value) -> Set {
        let mut set = Set::default();
        let Some(members) = fields.as_object() else { return set };
        set.own = members.is_empty() || members.contains_key(".");
        for (name, below) in members {
            if let Some(step) = Step::read(name) {
                set.children.insert(step, Set::read(below));
            }
        }
        set
    }

    /// As `fieldsV1`.
    pub fn write(&self) -> Value {
        let mut members = Map::new();
        if self.own && !self.children.is_empty() {
            members.insert(".".to_owned(), Value::Object(Map::new()));
        }
        members.extend(self.children.iter().map(|(step, below)| (step.text(), below.write())));
        Value::Object(members)
    }

    /// What is in either.
    pub fn union(&self, other: &Set) -> Set {
        let mut all = self.clone();
        all.own |= other.own;
        for (step, below) in &other.children {
            let found = all.children.entry(step.clone()).or_default();
            *found = found.union(below);
        }
        all
    }

    /// What is in this one and not in the other.
    pub fn minus(&self, other: &Set) -> Set {
        self.filtered(Some(other), |own, others| own && !others)
    }

    /// What is in both.
    pub fn common(&self, other: &Set) -> Set {
        self.filtered(Some(other), |own, others| own && others)
    }

    fn filtered(&self, other: Option<&Set>, keep: fn(bool, bool) -> bool) -> Set {
        let mut left = Set { own: keep(self.own, other.is_some_and(|o| o.own)), ..Set::default() };
        for (step, below) in &self.children {
            let found = below.filtered(other.and_then(|o| o.children.get(step)), keep);
            if !found.is_empty() {
                left.children.insert(step.clone(), found);
            }
        }
        left
    }

    /// The part below a member, to be changed; made if it is not there.
    pub fn below(&mut self, step: Step) -> &mut Set {
        self.children.entry(step).or_default()
    }

    /// Takes members out that hold nothing.
    pub fn tidy(&mut self) {
        self.children.values_mut().for_each(Set::tidy);
        self.children.retain(|_, below| !below.is_empty());
    }

    /// Takes a path of members out, with what is below it.
    pub fn remove(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let step = Step::Field((*first).to_owned());
        if rest.is_empty() {
            self.children.remove(&step);
        } else if let Some(below) = self.children.get_mut(&step) {
            below.remove(rest);
            if below.is_empty() {
                self.children.remove(&step);
            }
        }
    }

    /// Every path in the set, as messages show it.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect("", &mut found);
        found
    }

    fn collect(&self, at: &str, found: &mut Vec<String>) {
        if self.own {
            found.push(at.to_owned());
        }
        for (step, below) in &self.children {
            below.collect(&format!("{at}{}", step.shown()), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_notation_reads_and_writes() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"x\"}": {".": {}, "f:image": {}}}, "f:set": {"v:\"q\"": {}}}});
        let set = Set::read(&fields);
        assert_eq!(set.write(), fields);
        assert_eq!(
            set.paths(),
            [
                ".metadata.labels",
                ".metadata.labels.a",
                ".spec.containers[name=\"x\"]",
                ".spec.containers[name=\"x\"].image",
                ".spec.set[=\"q\"]",
            ]
        );
    }

    #[test]
    fn sets_have_arithmetic() {
        let a = Set::read(&json!({"f:x": {"f:a": {}, "f:b": {}}, "f:y": {}}));
        let b = Set::read(&json!({"f:x": {"f:b": {}, "f:c": {}}}));
        assert_eq!(a.union(&b).write(), json!({"f:x": {"f:a": {}, "f:b": {}, "f:c": {}}, "f:y": {}}));
        assert_eq!(a.minus(&b).write(), json!({"f:x": {"f:a": {}}, "f:y": {}}));
        assert_eq!(a.common(&b).write(), json!({"f:x": {"f:b": {}}}));
        assert!(a.minus(&a).is_empty());
        let mut c = a;
        c.remove(&["x", "a"]);
        c.remove(&["x", "b"]);
        c.remove(&["nothing", "there"]);
        assert_eq!(c.write(), json!({"f:y": {}}));
    }
}
