//! serde over a [`Tape`]: what `sigs.k8s.io/yaml` and `encoding/json` make of it (prow-config §0.1).
//!
//! Null is the zero value everywhere; keys match fields exactly, else without regard to case; the last duplicate
//! wins; merge keys apply at their position; numbers become texts only where the caller allows coercion.

use super::nodes::{Entry, entries, key_text, scalar, target};
use super::resolve::{Scalar, format_g32};
use super::tape::{Kind, Tape};
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

/// A value that does not fit its type, and the node that holds it.
#[derive(Debug, Clone)]
pub(crate) struct Error {
    pub message: String,
    pub node: Option<u32>,
}

impl Error {
    pub(crate) fn at(mut self, node: u32) -> Error {
        self.node.get_or_insert(node);
        self
    }
    pub(super) fn new(message: impl Into<String>, node: u32) -> Error {
        Error { message: message.into(), node: Some(node) }
    }
}
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for Error {}
impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error { message: message.to_string(), node: None }
    }
}

/// A key that the type has no field for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnknownKey {
    /// The key's node.
    pub key: u32,
    /// What there is instead.
    pub fields: &'static [&'static str],
}

/// What one decoding shares.
pub(crate) struct Decoding<'t, 'a> {
    pub tape: &'t Tape<'a>,
    /// Numbers and booleans may become texts.
    pub coerce: bool,
    /// Nodes to take for null: those that did not fit in an earlier attempt.
    pub poisoned: HashSet<u32>,
    pub unknown: RefCell<Vec<UnknownKey>>,
}

/// Deserializer of one node.
#[derive(Clone, Copy)]
pub(crate) struct De<'c, 't, 'a> {
    pub decoding: &'c Decoding<'t, 'a>,
    pub node: u32,
}

impl<'c, 't, 'a> De<'c, 't, 'a> {
    fn tape(self) -> &'t Tape<'a> {
        self.decoding.tape
    }

    fn scalar(self) -> Result<Option<Scalar<'t>>, Error> {
        if self.poisoned() {
            return Ok(Some(Scalar::Null));
        }
        scalar(self.tape(), self.node)
    }

    fn poisoned(self) -> bool {
        !self.decoding.poisoned.is_empty() && self.decoding.poisoned.contains(&self.node)
    }

    fn is_null(self) -> Result<bool, Error> {
        Ok(matches!(self.scalar()?, Some(Scalar::Null)))
    }

    fn refuse<T>(self, wanted: &str) -> Result<T, Error> {
        let found = match &target(self.tape(), self.node).1.kind {
            Kind::Seq => "a list".to_owned(),
            Kind::Map => "a map".to_owned(),
            _ => match self.scalar()? {
                Some(Scalar::Str(s)) => format!("the text {s:?}"),
                Some(Scalar::Int(i)) => format!("the number {i}"),
                Some(Scalar::UInt(i)) => format!("the number {i}"),
                Some(Scalar::Float(f)) => format!("the number {f}"),
                Some(Scalar::Bool(b)) => format!("the boolean {b}"),
                Some(Scalar::Null) | None => "nothing".to_owned(),
            },
        };
        let hint = match (wanted, self.scalar()?) {
            ("a text", Some(Scalar::Int(_) | Scalar::UInt(_) | Scalar::Float(_) | Scalar::Bool(_))) => {
                "; put it in quotes"
            }
            _ => "",
        };
        Err(Error::new(format!("wants {wanted}, found {found}{hint}"), self.node))
    }

    fn text(self) -> Result<Cow<'t, str>, Error> {
        let coerce = self.decoding.coerce;
        Ok(match self.scalar()? {
            Some(Scalar::Str(text)) => Cow::Borrowed(text),
            Some(Scalar::Null) => Cow::Borrowed(""),
            Some(Scalar::Bool(b)) if coerce => Cow::Borrowed(if b { "true" } else { "false" }),
            Some(Scalar::Int(i)) if coerce => i.to_string().into(),
            Some(Scalar::UInt(i)) if coerce => i.to_string().into(),
            Some(Scalar::Float(f)) if coerce => format_g32(f).into(),
            _ => return self.refuse("a text"),
        })
    }

    fn map<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        fields: Option<&'static [&'static str]>,
    ) -> Result<V::Value, Error> {
        let is_map = matches!(target(self.tape(), self.node).1.kind, Kind::Map) && !self.poisoned();
        let list = if is_map {
            let mut list = entries(self.tape(), self.node)?;
            if let Some(fields) = fields {
                self.match_fields(&mut list, fields)?;
            } else if !self.decoding.poisoned.is_empty() {
                list.retain(|e| !self.decoding.poisoned.contains(&e.1));
            }
            list
        } else if self.is_null()? {
            Vec::new()
        } else {
            return self.refuse("a map");
        };
        visitor
            .visit_map(Map { de: self, entries: list.into_iter(), value: 0 })
            .map_err(|e: Error| e.at(self.node))
    }

    /// Gives keys the spelling of their fields, notes keys without a field, and drops nulls, which leave a field
    /// as it is.
    fn match_fields(self, list: &mut Vec<Entry<'t>>, fields: &'static [&'static str]) -> Result<(), Error> {
        let mut respelled = false;
        for (key, _, key_node) in list.iter_mut() {
            if fields.contains(&key.as_ref()) {
                continue;
            }
            match fields.iter().find(|f| f.eq_ignore_ascii_case(key)) {
                Some(field) => {
                    *key = Cow::Borrowed(field);
                    respelled = true;
                }
                None => self.decoding.unknown.borrow_mut().push(UnknownKey { key: *key_node, fields }),
            }
        }
        if respelled {
            // Two spellings of one field: encoding/json sees them in sorted order, the later wins.
            let mut unique: Vec<Entry<'t>> = Vec::with_capacity(list.len());
            let mut sorted: Vec<Entry<'t>> = std::mem::take(list);
            let spelling = |e: &Entry<'t>| key_text(self.tape(), e.2).unwrap_or_default();
            sorted.sort_by(|a, b| spelling(a).cmp(&spelling(b)));
            for entry in sorted {
                match unique.iter_mut().find(|e| e.0 == entry.0) {
                    Some(earlier) => *earlier = entry,
                    None => unique.push(entry),
                }
            }
            *list = unique;
        }
        let mut failed = None;
        list.retain(|e| match (De { node: e.1, ..self }).is_null() {
            Ok(null) => !null,
            Err(error) => {
                failed.get_or_insert(error);
                true
            }
        });
        failed.map_or(Ok(()), Err)
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.scalar()? {
            Some(Scalar::Int(i)) => visitor.visit_i64(i),
            Some(Scalar::UInt(i)) => visitor.visit_u64(i),
            Some(Scalar::Null) => visitor.visit_i64(0),
            Some(Scalar::Float(f)) if f.fract() == 0.0 && f.abs() < 9e18 => visitor.visit_i64(f as i64),
            _ => return self.refuse("a whole number"),
        }
        .map_err(|e: Error| e.at(self.node))
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.integer(visitor)
        })*
    };
}
macro_rules! texts {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.text()? {
                Cow::Borrowed(text) => visitor.visit_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            }
            .map_err(|e: Error| e.at(self.node))
        })*
    };
}

impl<'de, 'c, 't, 'a> de::Deserializer<'de> for De<'c, 't, 'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.scalar()? {
            None if matches!(target(self.tape(), self.node).1.kind, Kind::Seq) => {
                return self.deserialize_seq(visitor);
            }
            None => return self.map(visitor, None),
            Some(Scalar::Null) => visitor.visit_unit(),
            Some(Scalar::Bool(b)) => visitor.visit_bool(b),
            Some(Scalar::Int(i)) => visitor.visit_i64(i),
            Some(Scalar::UInt(i)) => visitor.visit_u64(i),
            Some(Scalar::Float(f)) if !f.is_finite() => {
                return Err(Error::new("infinity and NaN cannot be used", self.node));
            }
            // JSON writes 1e3 as 1000.
            Some(Scalar::Float(f)) if f.fract() == 0.0 && f.abs() < 9e15 => visitor.visit_i64(f as i64),
            Some(Scalar::Float(f)) => visitor.visit_f64(f),
            Some(Scalar::Str(text)) => visitor.visit_str(text),
        }
        .map_err(|e: Error| e.at(self.node))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.scalar()? {
            Some(Scalar::Bool(b)) => visitor.visit_bool(b),
            Some(Scalar::Null) => visitor.visit_bool(false),
            _ => self.refuse("true or false"),
        }
    }

    integers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64);
    texts!(deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_identifier);

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.scalar()? {
            Some(Scalar::Int(i)) => visitor.visit_f64(i as f64),
            Some(Scalar::UInt(i)) => visitor.visit_f64(i as f64),
            Some(Scalar::Float(f)) if f.is_finite() => visitor.visit_f64(f),
            Some(Scalar::Null) => visitor.visit_f64(0.0),
            _ => self.refuse("a number"),
        }
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null()? { visitor.visit_none() } else { visitor.visit_some(self) }
    }
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (index, node) = target(self.tape(), self.node);
        let items = if matches!(node.kind, Kind::Seq) && !self.poisoned() {
            Items { de: self, next: index + 1, end: node.end }
        } else if self.is_null()? {
            Items { de: self, next: 0, end: 0 }
        } else {
            return self.refuse("a list");
        };
        visitor.visit_seq(items).map_err(|e: Error| e.at(self.node))
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.map(visitor, None)
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.map(visitor, Some(fields))
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = self.text()?;
        visitor
            .visit_enum(IntoDeserializer::<Error>::into_deserializer(text.as_ref()))
            .map_err(|e: Error| e.at(self.node))
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

struct Items<'c, 't, 'a> {
    de: De<'c, 't, 'a>,
    next: u32,
    end: u32,
}

impl<'de> SeqAccess<'de> for Items<'_, '_, '_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        while self.next < self.end && self.de.decoding.poisoned.contains(&self.next) {
            self.next = self.de.tape().nodes[self.next as usize].end;
        }
        if self.next >= self.end {
            return Ok(None);
        }
        let node = self.next;
        self.next = self.de.tape().nodes[node as usize].end;
        seed.deserialize(De { node, ..self.de }).map(Some).map_err(|e| e.at(node))
    }

    /// A list that is made as long as it gets takes a fraction of the memory: Kubernetes' structures are large.
    fn size_hint(&self) -> Option<usize> {
        let (mut count, mut item) = (0, self.next);
        while item < self.end {
            count += 1;
            item = self.de.tape().nodes[item as usize].end;
        }
        Some(count)
    }
}

struct Map<'c, 't, 'a> {
    de: De<'c, 't, 'a>,
    entries: std::vec::IntoIter<Entry<'t>>,
    value: u32,
}

impl<'de> MapAccess<'de> for Map<'_, '_, '_> {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value, key_node)) = self.entries.next() else { return Ok(None) };
        self.value = value;
        seed.deserialize(Key(&key)).map(Some).map_err(|e: Error| e.at(key_node))
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let node = self.value;
        seed.deserialize(De { node, ..self.de }).map_err(|e| e.at(node))
    }
}

struct Key<'k>(&'k str);

impl<'de> de::Deserializer<'de> for Key<'_> {
    type Error = Error;
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(self.0))
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
