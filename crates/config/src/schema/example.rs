//! The annotated example file: every key with its description, type and default. What has a default is written with
//! it, the rest is commented out, so that the file loads and says nothing.
//!
//! Lines that begin with `##` are text; those that begin with `#` are keys that become active without it.

use super::tidy::OPTIONAL;
use super::{Kind, built};
use serde_json::Value;
use std::collections::HashSet;

/// Columns of the text.
const WIDTH: usize = 110;

/// The annotated example of a sort of file, in YAML.
pub fn example(kind: Kind) -> String {
    let schema = built(kind);
    let mut out = Writer { root: &schema, text: String::new(), shown: HashSet::new() };
    out.prose(0, 0, false, &format!("{}: every key with its description, type and default.", kind.file()));
    out.prose(0, 0, false, "Text begins with ##. Keys without a default are commented out with #.");
    out.text.push('\n');
    out.fields(&schema, 0, None);
    out.text
}

struct Writer<'s> {
    root: &'s Value,
    text: String,
    /// Types that were described; the next time their name is enough.
    shown: HashSet<String>,
}

impl<'s> Writer<'s> {
    /// Follows references; the name is that of the last one.
    fn target(&self, mut schema: &'s Value) -> (&'s Value, Option<&'s str>) {
        let mut name = None;
        loop {
            let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref"));
            let Some(of) = reference.and_then(Value::as_str).and_then(|r| r.strip_prefix("#/definitions/"))
            else {
                return (schema, name);
            };
            name = Some(of);
            schema = &self.root["definitions"][of];
        }
    }

    /// The start of a line: `inner` columns of a part that is commented out from column `outer` on.
    fn start(&mut self, indent: usize, off: Option<usize>) {
        let outer = off.unwrap_or(indent);
        self.text.push_str(&" ".repeat(outer));
        if off.is_some() {
            self.text.push('#');
            self.text.push_str(&" ".repeat(indent - outer));
        }
    }

    fn prose(&mut self, indent: usize, outer: usize, off: bool, text: &str) {
        let mut line = String::new();
        let off = off.then_some(outer);
        for word in text.split(' ') {
            if !line.is_empty() && indent + line.len() + word.len() + 5 > WIDTH {
                self.start(indent, off);
                self.text.push_str(&format!("## {line}\n"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.start(indent, off);
        self.text.push_str(&format!("## {line}\n"));
    }

    fn fields(&mut self, schema: &'s Value, indent: usize, off: Option<usize>) {
        let Some(properties) = schema["properties"].as_object() else { return };
        for (key, property) in properties {
            self.field(key, property, indent, off);
            if indent == 0 {
                self.text.push('\n');
            }
        }
    }

    fn field(&mut self, key: &str, property: &'s Value, indent: usize, off: Option<usize>) {
        let describe = |w: &mut Self, off: Option<usize>| {
            let described = property["description"].as_str().unwrap_or_default();
            w.prose(indent, off.unwrap_or(0), off.is_some(), described);
            let mut about = w.kind(property);
            if let Some(default) = property.get("default") {
                about.push_str(&format!("; default {default}"));
            }
            if let Some(modern) = property["deprecationMessage"].as_str() {
                about.push_str(&format!("; deprecated: {modern}"));
            }
            w.prose(indent, off.unwrap_or(0), off.is_some(), &about);
        };
        let (target, name) = self.target(property);
        let section = target["properties"].is_object();
        let deprecated = property.get("deprecationMessage").is_some();
        if let Some(default) = property.get("default") {
            describe(self, off);
            self.start(indent, off);
            self.text.push_str(&format!("{key}: {default}\n"));
        } else if section && property.get(OPTIONAL).is_none() && off.is_none() && !deprecated {
            // A section of its own: its keys are active where they have defaults.
            describe(self, off);
            self.text.push_str(&format!("{}{key}:\n", " ".repeat(indent)));
            self.shown.extend(name.map(str::to_owned));
            self.fields(target, indent + 2, None);
        } else {
            describe(self, off);
            let off = Some(off.unwrap_or(indent));
            self.start(indent, off);
            self.text.push_str(&format!("{key}:"));
            self.value(property, indent, off);
        }
    }

    /// What follows a key that is commented out.
    fn value(&mut self, schema: &'s Value, indent: usize, off: Option<usize>) {
        let (target, name) = self.target(schema);
        let target =
            target["anyOf"].as_array().and_then(|a| a.first()).map_or(target, |first| self.target(first).0);
        if target["properties"].is_object() {
            let known = name.is_some_and(|n| n.starts_with("kubernetes.") || self.shown.contains(n));
            if known {
                self.text.push_str(" {}\n");
                return;
            }
            self.shown.extend(name.map(str::to_owned));
            self.text.push('\n');
            self.fields(target, indent + 2, off);
        } else if let Some(item) = target.get("items") {
            let inner = self.target(item);
            let described = inner.1.is_some_and(|n| n.starts_with("kubernetes.") || self.shown.contains(n));
            if inner.0["properties"].is_object() && !described {
                self.text.push('\n');
                self.start(indent, off);
                // The dash takes the place of the first key's indentation: an empty key for all of them.
                self.text.push('-');
                self.value(item, indent, off);
            } else {
                self.text.push_str(" []\n");
            }
        } else if let Some(item @ Value::Object(_)) = target.get("additionalProperties") {
            self.text.push('\n');
            self.start(indent + 2, off);
            self.text.push_str("KEY:");
            self.value(item, indent + 2, off);
        } else {
            self.text.push_str(&format!(" {}\n", sample(target)));
        }
    }

    /// The type in words.
    fn kind(&self, schema: &'s Value) -> String {
        let (target, name) = self.target(schema);
        if let Some(kind) = schema["x-kind"].as_str() {
            return kind.to_owned();
        }
        if let Some(words) = words(target) {
            return format!("one of {}", words.join(", "));
        }
        if target["properties"].is_object() {
            return match name {
                Some(name) if self.shown.contains(name) => format!("{name}, as above"),
                Some(name) => name.replace("kubernetes.", "Kubernetes' "),
                None => "map".into(),
            };
        }
        if let Some(choices) = target["anyOf"].as_array() {
            let kinds: Vec<String> = choices.iter().map(|c| self.kind(c)).collect();
            return kinds.join(", or ");
        }
        if let Some(item) = target.get("items") {
            return format!("list of {}", self.kind(item));
        }
        if let Some(item @ Value::Object(_)) = target.get("additionalProperties") {
            return format!("map of {}", self.kind(item));
        }
        match first_type(target) {
            Some("string") => target["x-kind"].as_str().unwrap_or("text").to_owned(),
            Some("boolean") => "true or false".into(),
            Some("integer") => "whole number".into(),
            Some("number") => "number".into(),
            _ => "anything".into(),
        }
    }
}

fn first_type(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::Array(list) => list.first().and_then(Value::as_str),
        one => one.as_str(),
    }
}

/// The words that are allowed, if only some are.
fn words(schema: &Value) -> Option<Vec<String>> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    if let Some(list) = schema["enum"].as_array() {
        return Some(list.iter().filter_map(text).collect());
    }
    let list = schema["oneOf"].as_array()?;
    let words: Vec<String> = list
        .iter()
        .filter_map(|one| one.get("const").or_else(|| one.pointer("/enum/0")))
        .filter_map(text)
        .collect();
    (!words.is_empty()).then_some(words)
}

/// A value of the type.
fn sample(schema: &Value) -> String {
    if let Some(first) = words(schema).and_then(|w| w.into_iter().next()) {
        return first;
    }
    match first_type(schema) {
        Some("boolean") => "false".into(),
        Some("integer" | "number") => "0".into(),
        Some("string") if schema["x-kind"] == "duration" => "1h".into(),
        Some("string") => "\"\"".into(),
        Some("array") => "[]".into(),
        _ => "{}".into(),
    }
}
