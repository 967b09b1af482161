//! The types of the kinds served here, read from two tables: what members there are, which lists are keyed, what is
//! required. Pruning, server-side apply, the ProwJob CRD and `kubectl explain` all look here.
//!
//! The notation is explained at the top of `core.types` and `prowjob.types`. The names are Kubernetes' and Prow's
//! (prow-config §1); a test parses the tables, so that the program need not doubt them.

pub mod document;
pub mod walk;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

/// A type with members.
#[derive(Debug)]
pub struct Type {
    /// Name, unique over both tables.
    pub name: &'static str,
    /// One sentence, or nothing.
    pub doc: &'static str,
    /// For server-side apply it has one owner as a whole.
    pub atomic: bool,
    /// By name, ascending.
    pub members: Vec<Member>,
}

/// A member of a [`Type`].
#[derive(Debug)]
pub struct Member {
    /// Name in JSON.
    pub name: &'static str,
    /// It has to be there.
    pub required: bool,
    /// What it holds.
    pub ty: Ty,
    /// What it is if it is not there. Only keys of keyed lists have one in the tables.
    pub default: Option<&'static str>,
    /// How a strategic merge patch treats a list: its merge key, or `merge`; with `+retainKeys` behind it.
    pub patch: Option<&'static str>,
    /// One sentence, or nothing.
    pub doc: &'static str,
}

/// What a member holds.
#[derive(Debug)]
pub enum Ty {
    /// Text.
    Text,
    /// One of these words.
    Enum(Vec<&'static str>),
    /// Text with an RFC 3339 time.
    Time,
    /// Text in base64.
    Bytes,
    /// A whole number, perhaps with a minimum.
    Int(Option<i64>),
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// A quantity: text or a number.
    Quantity,
    /// Text or a whole number.
    IntOrText,
    /// An object whose members are kept, whatever they are.
    Any,
    /// A list.
    List(Box<Ty>, Lists),
    /// Any names, values that are all alike.
    Map(Box<Ty>),
    /// A type of the tables.
    Object(TypeId),
}

/// How the entries of a list are told apart.
#[derive(Debug, PartialEq, Eq)]
pub enum Lists {
    /// Not at all: it is replaced whole.
    Atomic,
    /// By their value.
    Set,
    /// By these members.
    Keyed(Vec<&'static str>),
}

/// Place of a type in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeId(usize);

struct Tables {
    types: Vec<Type>,
    by_name: HashMap<&'static str, TypeId>,
}

static TABLES: LazyLock<Tables> =
    LazyLock::new(|| parse(&[include_str!("core.types"), include_str!("prowjob.types")]));

/// The type with this name: kinds have the type of their own name.
pub fn find(name: &str) -> Option<TypeId> {
    TABLES.by_name.get(name).copied()
}

impl TypeId {
    /// What the tables say about it.
    pub fn get(self) -> &'static Type {
        &TABLES.types[self.0]
    }
}

impl Type {
    /// The member with this name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.binary_search_by(|m| m.name.cmp(name)).ok().map(|at| &self.members[at])
    }
}

impl Member {
    /// The default as JSON: the tables have only texts.
    pub fn default_value(&self) -> Option<Value> {
        self.default.map(Value::from)
    }
}

impl Ty {
    /// The type of its members, if it is an object of the tables.
    pub fn object(&self) -> Option<&'static Type> {
        match self {
            Ty::Object(id) => Some(id.get()),
            _ => None,
        }
    }
}

fn parse(tables: &[&'static str]) -> Tables {
    // Headers stand at the beginning of a line; they are collected first, since types name each other.
    let lines = || tables.iter().flat_map(|t| t.lines()).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let split_doc = |line: &'static str| line.split_once(" # ").unwrap_or((line, ""));
    let headers = lines().filter(|l| !l.starts_with(' ')).map(split_doc);
    let by_name: HashMap<&'static str, TypeId> =
        headers.enumerate().map(|(i, (h, _))| (h.split(' ').next().unwrap_or(h), TypeId(i))).collect();
    let mut types: Vec<Type> = Vec::new();
    for line in lines() {
        let (text, doc) = split_doc(line);
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or("");
        match types.last_mut().filter(|_| line.starts_with(' ')) {
            None => {
                let atomic = words.next() == Some("atomic");
                types.push(Type { name, doc, atomic, members: Vec::new() });
            }
            Some(owner) => {
                let spec = words.next().unwrap_or("");
                let (ty, patch) = spec.split_once('/').map_or((spec, None), |(t, p)| (t, Some(p)));
                let ty = parse_type(ty, &by_name).expect("the tables are part of the program and tested");
                let default = words.next().and_then(|w| w.strip_prefix('='));
                let required = name.ends_with('!');
                let name = name.trim_end_matches('!');
                owner.members.push(Member { name, required, ty, default, patch, doc });
            }
        }
    }
    for t in &mut types {
        t.members.sort_by_key(|m| m.name);
    }
    Tables { types, by_name }
}

fn parse_type(text: &'static str, names: &HashMap<&'static str, TypeId>) -> Option<Ty> {
    Some(match text {
        "string" => Ty::Text,
        "time" => Ty::Time,
        "bytes" => Ty::Bytes,
        "int" => Ty::Int(None),
        "number" => Ty::Number,
        "bool" => Ty::Bool,
        "quantity" => Ty::Quantity,
        "intstr" => Ty::IntOrText,
        "any" => Ty::Any,
        _ => {
            if let Some(words) = text.strip_prefix("string(") {
                Ty::Enum(words.strip_suffix(')')?.split('|').collect())
            } else if let Some(minimum) = text.strip_prefix("int(>=") {
                Ty::Int(Some(minimum.strip_suffix(')')?.parse().ok()?))
            } else if let Some(of) = text.strip_prefix('{') {
                Ty::Map(Box::new(parse_type(of.strip_suffix('}')?, names)?))
            } else if let Some(list) = text.strip_prefix('[') {
                let (of, kind) = list.rsplit_once(']')?;
                let kind = match kind {
                    "" => Lists::Atomic,
                    "set" => Lists::Set,
                    keys => Lists::Keyed(keys.split(',').collect()),
                };
                Ty::List(Box::new(parse_type(of, names)?), kind)
            } else {
                Ty::Object(*names.get(text)?)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::RESOURCES;

    #[test]
    fn every_kind_has_its_type() {
        for r in RESOURCES {
            let t = find(r.kind).unwrap().get();
            assert!(t.member("metadata").is_some(), "{}", r.kind);
        }
        assert_eq!(TABLES.types.len(), TABLES.by_name.len(), "a name stands twice");
        assert!(TABLES.types.len() > 150);
    }

    #[test]
    fn lists_know_their_keys() {
        let spec = find("PodSpec").unwrap().get();
        let containers = spec.member("containers").unwrap();
        assert!(containers.required && containers.patch == Some("name"));
        let Ty::List(of, kind) = &containers.ty else { panic!("{containers:?}") };
        assert_eq!(*kind, Lists::Keyed(vec!["name"]));
        let ports = of.object().unwrap().member("ports").unwrap();
        let Ty::List(port, kind) = &ports.ty else { panic!("{ports:?}") };
        assert_eq!(*kind, Lists::Keyed(vec!["containerPort", "protocol"]));
        assert_eq!(port.object().unwrap().member("protocol").unwrap().default, Some("TCP"));
        assert!(find("LocalObjectReference").unwrap().get().atomic);
        assert!(spec.member("nonsense").is_none());
    }

    #[test]
    fn every_member_of_a_prowjob_is_explained() {
        for t in &TABLES.types {
            if t.doc.is_empty() {
                continue;
            }
            assert!(t.members.iter().all(|m| !m.doc.is_empty()), "{}", t.name);
        }
        assert!(!find("DecorationConfig").unwrap().get().doc.is_empty());
    }
}
