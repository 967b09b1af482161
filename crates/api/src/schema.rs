//! JSON Schema of what configuration is made of: the two durations, and Kubernetes' own types, which say what they
//! are by how they are decoded.
//!
//! Kubernetes' types have no schema of their own here. [`of`] asks their decoder instead: it lets the type read
//! from a reader that only notes what it is asked for. So a schema has exactly the keys that the decoder reads.

use crate::duration::{GoDuration, K8sDuration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

/// Texts that [`crate::duration::parse_go_duration`] takes.
pub const GO_DURATION_PATTERN: &str = r"^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$";

impl JsonSchema for K8sDuration {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "K8sDuration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": GO_DURATION_PATTERN, "x-kind": "duration"})
    }
}

impl JsonSchema for GoDuration {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "pattern": GO_DURATION_PATTERN, "x-kind": "duration"})
    }
}

/// What a decoder asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Anything, or something that only the type itself understands.
    Any,
    /// true or false.
    Bool,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A text.
    Text,
    /// One of these texts.
    OneOf(Vec<&'static str>),
    /// A list of these.
    List(Box<Shape>),
    /// A map from texts to these.
    Map(Box<Shape>),
    /// Fields by name; of the type with this name.
    Struct(&'static str, Vec<(&'static str, Shape)>),
    /// The struct with this name, inside itself.
    Again(&'static str),
}

/// How a type is decoded.
pub fn shape<T: DeserializeOwned>() -> Shape {
    let mut skip = HashSet::new();
    loop {
        let notes = Notes { skip: &skip, failed: RefCell::default() };
        let mut shape = Shape::Any;
        let reader = Reader { notes: &notes, out: &mut shape, path: String::new(), inside: Vec::new() };
        if T::deserialize(reader).is_ok() {
            return shape;
        }
        // A field that takes none of what the reader offers is left out of the next attempt, and is `Any`.
        let failed = notes.failed.into_inner();
        if failed.is_empty() || !skip.insert(failed) {
            return Shape::Any;
        }
    }
}

/// Schema of one of Kubernetes' types, for `#[schemars(schema_with = "of::<T>")]`.
pub fn of<T: DeserializeOwned>(generator: &mut SchemaGenerator) -> Schema {
    let value = kubernetes(&shape::<T>(), generator.definitions_mut());
    Schema::try_from(value).unwrap_or_default()
}

/// Kubernetes' own words where it allows only some; anything else is passed on and refused there.
const WORDS: [(&str, &[&str]); 8] = [
    ("imagePullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("restartPolicy", &["Always", "OnFailure", "Never"]),
    ("dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ("terminationMessagePolicy", &["File", "FallbackToLogsOnError"]),
    ("preemptionPolicy", &["Never", "PreemptLowerPriority"]),
    ("protocol", &["TCP", "UDP", "SCTP"]),
    ("effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    ("medium", &["Memory", "HugePages"]),
];

fn kubernetes(shape: &Shape, definitions: &mut Map<String, Value>) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Integer => json!({"type": "integer"}),
        Shape::Number => json!({"type": "number"}),
        Shape::Text => json!({"type": "string"}),
        Shape::OneOf(words) => json!({"type": "string", "enum": words}),
        Shape::List(item) => json!({"type": "array", "items": kubernetes(item, definitions)}),
        Shape::Map(item) => json!({"type": "object", "additionalProperties": kubernetes(item, definitions)}),
        Shape::Again(name) => reference(name),
        Shape::Struct(name, fields) => {
            let key = format!("kubernetes.{name}");
            if !definitions.contains_key(&key) {
                // A place first: the type may be inside itself.
                definitions.insert(key.clone(), Value::Null);
                let properties: Map<String, Value> = fields
                    .iter()
                    .map(|(field, shape)| ((*field).to_owned(), property(name, field, shape, definitions)))
                    .collect();
                let text = format!("Kubernetes' {name}.");
                definitions.insert(
                    key,
                    json!({
                        "type": "object", "description": text, "properties": properties,
                        "additionalProperties": false
                    }),
                );
            }
            reference(name)
        }
    }
}

fn property(of: &str, field: &str, shape: &Shape, definitions: &mut Map<String, Value>) -> Value {
    let mut value = kubernetes(shape, definitions);
    if let Value::Object(members) = &mut value {
        members.insert("description".into(), format!("Kubernetes' {of}.{field}.").into());
        let words = WORDS.iter().find(|(name, _)| *name == field);
        if let (Shape::Text, Some((_, words))) = (shape, words) {
            members.insert("examples".into(), json!(words));
        }
    }
    value
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/kubernetes.{name}")})
}

struct Notes<'n> {
    /// Paths of fields that are not read.
    skip: &'n HashSet<String>,
    /// The innermost field that was not decoded.
    failed: RefCell<String>,
}

/// Gives the least of everything, and notes what was asked for.
struct Reader<'n, 'o> {
    notes: &'n Notes<'n>,
    out: &'o mut Shape,
    path: String,
    /// Structs around this one.
    inside: Vec<&'static str>,
}

#[derive(Debug)]
struct Refused;
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the type does not take what it was offered")
    }
}
impl std::error::Error for Refused {}
impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Refused
    }
}

macro_rules! scalars {
    ($($method:ident => $shape:ident, $visit:ident($($value:expr)?);)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            *self.out = Shape::$shape;
            visitor.$visit($($value)?)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'_, '_> {
    type Error = Refused;

    scalars! {
        // A text that is a duration, and that most others that take anything take as well.
        deserialize_any => Any, visit_str("0s");
        deserialize_ignored_any => Any, visit_unit();
        deserialize_unit => Any, visit_unit();
        deserialize_bool => Bool, visit_bool(false);
        deserialize_i8 => Integer, visit_i64(0);
        deserialize_i16 => Integer, visit_i64(0);
        deserialize_i32 => Integer, visit_i64(0);
        deserialize_i64 => Integer, visit_i64(0);
        deserialize_u8 => Integer, visit_u64(0);
        deserialize_u16 => Integer, visit_u64(0);
        deserialize_u32 => Integer, visit_u64(0);
        deserialize_u64 => Integer, visit_u64(0);
        deserialize_f32 => Number, visit_f64(0.0);
        deserialize_f64 => Number, visit_f64(0.0);
        deserialize_char => Text, visit_str("");
        deserialize_str => Text, visit_str("");
        deserialize_string => Text, visit_str("");
        deserialize_bytes => Text, visit_str("");
        deserialize_byte_buf => Text, visit_str("");
        deserialize_identifier => Text, visit_str("");
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let mut item = Shape::Any;
        let one = One { notes: self.notes, out: Some(&mut item), path: self.path, inside: self.inside };
        let done = visitor.visit_seq(one);
        *self.out = Shape::List(Box::new(item));
        done
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_seq(visitor)
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.deserialize_seq(visitor)
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let mut item = Shape::Any;
        let one = One { notes: self.notes, out: Some(&mut item), path: self.path, inside: self.inside };
        let done = visitor.visit_map(one);
        *self.out = Shape::Map(Box::new(item));
        done
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let again = self.inside.contains(&name);
        let mut noted = Vec::new();
        let mut inside = self.inside;
        inside.push(name);
        let left = if again { &[][..] } else { fields };
        let done = visitor.visit_map(Fields {
            notes: self.notes,
            left: left.iter(),
            now: "",
            out: &mut noted,
            path: self.path,
            inside,
        });
        *self.out = if again { Shape::Again(name) } else { Shape::Struct(name, noted) };
        done
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        *self.out = Shape::OneOf(variants.to_vec());
        let first: StrDeserializer<'_, Refused> =
            variants.first().copied().unwrap_or_default().into_deserializer();
        visitor.visit_enum(first)
    }
}

/// One item of a list or map.
struct One<'n, 'o> {
    notes: &'n Notes<'n>,
    out: Option<&'o mut Shape>,
    path: String,
    inside: Vec<&'static str>,
}

impl One<'_, '_> {
    fn read<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        let path = format!("{}[]", self.path);
        let Some(out) = self.out.take().filter(|_| !self.notes.skip.contains(&path)) else { return Ok(None) };
        let inside = self.inside.clone();
        let done = seed.deserialize(Reader { notes: self.notes, out, path: path.clone(), inside });
        fail(self.notes, &path, &done);
        done.map(Some)
    }
}

fn fail<T>(notes: &Notes<'_>, path: &str, done: &Result<T, Refused>) {
    let mut failed = notes.failed.borrow_mut();
    if done.is_err() && failed.is_empty() {
        path.clone_into(&mut failed);
    }
}

impl<'de> SeqAccess<'de> for One<'_, '_> {
    type Error = Refused;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        self.read(seed)
    }
}

impl<'de> MapAccess<'de> for One<'_, '_> {
    type Error = Refused;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        if self.out.is_none() || self.notes.skip.contains(&format!("{}[]", self.path)) {
            return Ok(None);
        }
        let key: StrDeserializer<'_, Refused> = "".into_deserializer();
        seed.deserialize(key).map(Some)
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Refused> {
        self.read(seed)?.ok_or(Refused)
    }
}

/// All fields of a struct, once each.
struct Fields<'n, 'o> {
    notes: &'n Notes<'n>,
    left: std::slice::Iter<'static, &'static str>,
    now: &'static str,
    out: &'o mut Vec<(&'static str, Shape)>,
    path: String,
    inside: Vec<&'static str>,
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = Refused;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        for field in self.left.by_ref() {
            if self.notes.skip.contains(&format!("{}.{field}", self.path)) {
                self.out.push((field, Shape::Any));
                continue;
            }
            self.now = field;
            let key: StrDeserializer<'_, Refused> = (*field).into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Refused> {
        let path = format!("{}.{}", self.path, self.now);
        let mut shape = Shape::Any;
        let inside = self.inside.clone();
        let done =
            seed.deserialize(Reader { notes: self.notes, out: &mut shape, path: path.clone(), inside });
        fail(self.notes, &path, &done);
        self.out.push((self.now, shape));
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;

    fn field<'s>(shape: &'s Shape, path: &[&str]) -> &'s Shape {
        path.iter().fold(shape, |shape, name| match shape {
            Shape::List(item) | Shape::Map(item) => item,
            Shape::Struct(_, fields) => &fields.iter().find(|(field, _)| field == name).expect("a field").1,
            other => panic!("{other:?} has no {name}"),
        })
    }

    #[test]
    fn a_pod_says_what_it_reads() {
        let pod = shape::<PodSpec>();
        assert_eq!(*field(&pod, &["containers", "[]", "tty"]), Shape::Bool);
        assert_eq!(*field(&pod, &["containers", "[]", "env", "[]", "value"]), Shape::Text);
        let limits = field(&pod, &["containers", "[]", "resources", "limits"]);
        // A quantity is a number or a text, too.
        assert_eq!(*limits, Shape::Map(Box::new(Shape::Any)));
        assert_eq!(*field(&pod, &["priority"]), Shape::Integer);
        // A number or a text: only the type itself knows.
        let probe = ["containers", "[]", "livenessProbe", "httpGet", "port"];
        assert_eq!(*field(&pod, &probe), Shape::Any);
    }

    #[test]
    fn a_type_inside_itself_ends_and_a_field_that_takes_nothing_is_any() {
        #[derive(serde::Deserialize)]
        #[allow(dead_code)] // only its decoder is wanted
        #[serde(default)]
        #[derive(Default)]
        struct Tree {
            leaves: Vec<Tree>,
            when: Option<crate::Time>,
        }
        let want = Shape::Struct(
            "Tree",
            vec![("leaves", Shape::List(Box::new(Shape::Again("Tree")))), ("when", Shape::Any)],
        );
        assert_eq!(shape::<Tree>(), want);
    }

    #[test]
    fn durations_are_what_the_parser_takes() {
        assert!(GO_DURATION_PATTERN.starts_with('^') && GO_DURATION_PATTERN.ends_with('$'));
        let mut generator = SchemaGenerator::default();
        assert_eq!(K8sDuration::json_schema(&mut generator).get("type"), Some(&json!("string")));
        assert_eq!(GoDuration::json_schema(&mut generator).get("type"), Some(&json!(["string", "integer"])));
    }
}
