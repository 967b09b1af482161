//! Single nodes of a tape: aliases followed, scalars resolved, the entries of a map with merges applied.

use super::de::Error;
use super::resolve::{Scalar, format_g32, resolve};
use super::tape::{Kind, Node, Tape};
use std::borrow::Cow;
use std::collections::HashMap;

/// A key, its value's node and its own node.
pub(crate) type Entry<'t> = (Cow<'t, str>, u32, u32);

/// Resolves aliases.
pub(crate) fn target<'t, 'a>(tape: &'t Tape<'a>, mut index: u32) -> (u32, &'t Node<'a>) {
    loop {
        let node = &tape.nodes[index as usize];
        match node.kind {
            Kind::Alias(to) => index = to,
            _ => return (index, node),
        }
    }
}

/// The scalar at a node, `None` for collections.
pub(crate) fn scalar<'t>(tape: &'t Tape<'_>, index: u32) -> Result<Option<Scalar<'t>>, Error> {
    let Kind::Scalar { text, plain, tag } = &target(tape, index).1.kind else { return Ok(None) };
    Ok(Some(match tag.as_deref() {
        None if *plain => resolve(text),
        None | Some("!") => Scalar::Str(text),
        Some(tag) => tagged(tag, text).map_err(|m| Error::new(m, index))?,
    }))
}

fn tagged<'t>(tag: &str, text: &'t str) -> Result<Scalar<'t>, String> {
    let Some(kind) = tag.strip_prefix("tag:yaml.org,2002:") else { return Ok(Scalar::Str(text)) };
    Ok(match (kind, resolve(text)) {
        ("str" | "binary", _) => Scalar::Str(text),
        ("int", value @ (Scalar::Int(_) | Scalar::UInt(_)))
        | ("float", value @ Scalar::Float(_))
        | ("bool", value @ Scalar::Bool(_))
        | ("null", value @ Scalar::Null)
        | ("timestamp", value @ Scalar::Str(_)) => value,
        ("float", Scalar::Int(i)) => Scalar::Float(i as f64),
        ("int" | "float" | "bool" | "null" | "timestamp", _) => {
            return Err(format!("cannot read {text:?} as !!{kind}"));
        }
        _ => Scalar::Str(text),
    })
}

/// The text of a key: numbers and booleans are written out, as in JSON.
pub(crate) fn key_text<'t>(tape: &'t Tape<'_>, index: u32) -> Result<Cow<'t, str>, Error> {
    let unusable = |what: &str| Err(Error::new(format!("{what} cannot be a key"), index));
    match scalar(tape, index)? {
        Some(Scalar::Str(text)) => Ok(Cow::Borrowed(text)),
        Some(Scalar::Int(i)) => Ok(i.to_string().into()),
        Some(Scalar::Bool(b)) => Ok(Cow::Borrowed(if b { "true" } else { "false" })),
        Some(Scalar::Float(f)) => Ok(match format_g32(f).as_str() {
            "+Inf" => ".inf".into(),
            "-Inf" => "-.inf".into(),
            "NaN" => ".nan".into(),
            text => text.to_owned().into(),
        }),
        Some(Scalar::UInt(_)) => unusable("a number above 9223372036854775807"),
        Some(Scalar::Null) => unusable("null"),
        None => unusable("a list or map"),
    }
}

/// All entries of a map node, merges applied, later duplicates in place of earlier ones.
pub(crate) fn entries<'t>(tape: &'t Tape<'_>, map: u32) -> Result<Vec<Entry<'t>>, Error> {
    let (index, node) = target(tape, map);
    // A key and a value take two nodes at least.
    let most = (node.end - index) as usize / 2;
    let mut out = Entries { list: Vec::with_capacity(most.min(16)), index: None };
    out.collect(tape, index, node, 0)?;
    Ok(out.list)
}

struct Entries<'t> {
    list: Vec<Entry<'t>>,
    /// Positions by key, once the list is long.
    index: Option<HashMap<Cow<'t, str>, usize>>,
}

impl<'t> Entries<'t> {
    fn collect<'a>(
        &mut self,
        tape: &'t Tape<'a>,
        map: u32,
        node: &'t Node<'a>,
        depth: u32,
    ) -> Result<(), Error> {
        if depth > 64 {
            return Err(Error::new("merge keys are nested too deep", map));
        }
        let mut key = map + 1;
        while key < node.end {
            let value = tape.nodes[key as usize].end;
            let next = tape.nodes[value as usize].end;
            if is_merge_key(&tape.nodes[key as usize]) {
                self.merge(tape, value, depth)?;
            } else {
                self.put(key_text(tape, key)?, value, key);
            }
            key = next;
        }
        Ok(())
    }

    fn merge(&mut self, tape: &'t Tape<'_>, value: u32, depth: u32) -> Result<(), Error> {
        let refused = |at| Error::new("a merge key (<<) wants a map or a list of maps", at);
        let (index, node) = target(tape, value);
        match node.kind {
            Kind::Map => self.collect(tape, index, node, depth + 1),
            Kind::Seq => {
                let mut items = Vec::new();
                let mut item = index + 1;
                while item < node.end {
                    items.push(item);
                    item = tape.nodes[item as usize].end;
                }
                // Earlier maps of the list win, so they come last.
                for item in items.into_iter().rev() {
                    let (index, node) = target(tape, item);
                    if !matches!(node.kind, Kind::Map) {
                        return Err(refused(item));
                    }
                    self.collect(tape, index, node, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(refused(value)),
        }
    }

    fn put(&mut self, key: Cow<'t, str>, value: u32, key_node: u32) {
        let known = match &self.index {
            Some(index) => index.get(&key).copied(),
            None => self.list.iter().position(|e| e.0 == key),
        };
        if let Some(position) = known {
            self.list[position].1 = value;
            self.list[position].2 = key_node;
            return;
        }
        if let Some(index) = &mut self.index {
            index.insert(key.clone(), self.list.len());
        }
        self.list.push((key, value, key_node));
        if self.index.is_none() && self.list.len() > 24 {
            self.index = Some(self.list.iter().enumerate().map(|(at, e)| (e.0.clone(), at)).collect());
        }
    }
}

fn is_merge_key(node: &Node<'_>) -> bool {
    matches!(&node.kind, Kind::Scalar { text, plain: true, tag: None } if text == "<<")
}
