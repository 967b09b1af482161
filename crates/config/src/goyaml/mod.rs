//! YAML as Prow reads it (prow-config §0.1), with positions for every finding.
//!
//! A text becomes a [`Document`]; a [`Cursor`] walks it or decodes a part of it into a type. Decoding goes on after
//! a value that does not fit: the value is noted, taken for null, and the rest is decoded, so that a person sees all
//! errors at once.

mod de;
mod mend;
mod nodes;
mod quick;
mod resolve;
mod tape;

#[cfg(test)]
mod tests;

use crate::diagnostic::{Diagnostic, Kind as Finding, did_you_mean};
use de::{De, Decoding};
use resolve::Scalar;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use tape::{Kind, Tape};

pub(crate) use tape::MAX_BYTES;

/// Values that did not fit before decoding one part gives up.
const MAX_ERRORS: usize = 50;

/// The first document of a text.
pub(crate) struct Document<'a> {
    tape: Tape<'a>,
}

/// A place in a document.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'t, 'a> {
    tape: &'t Tape<'a>,
    node: u32,
}

/// Findings of one file that are told; each has a place, and to find it takes time.
const MAX_FINDINGS: usize = 1000;

/// What was found in one file.
pub(crate) struct Findings {
    /// The file.
    pub file: Arc<str>,
    /// In the order they were found.
    pub list: Vec<Diagnostic>,
    /// Keys that were reported, or are to be passed over.
    seen: HashSet<u32>,
}

impl Findings {
    pub(crate) fn new(file: Arc<str>) -> Findings {
        Findings { file, list: Vec::new(), seen: HashSet::new() }
    }

    /// Notes something at a place.
    pub(crate) fn note(&mut self, at: Cursor<'_, '_>, mut diagnostic: Diagnostic) {
        if self.list.len() >= MAX_FINDINGS {
            self.overflow(&diagnostic);
            return;
        }
        let node = &at.tape.nodes[at.node as usize];
        diagnostic = diagnostic.in_file(&self.file).at(node.line, node.column);
        if diagnostic.key_path.is_empty() {
            diagnostic.key_path = at.path();
        }
        self.list.push(diagnostic);
    }

    /// Says once that there is more, and how bad it is.
    fn overflow(&mut self, diagnostic: &Diagnostic) {
        if self.list.len() == MAX_FINDINGS {
            let message = format!("more than {MAX_FINDINGS} findings in this file; only the first are told");
            let more = Diagnostic { kind: diagnostic.kind, ..Diagnostic::warning(message) };
            self.list.push(more.in_file(&self.file));
        }
        if let Some(more) = self.list.last_mut() {
            more.severity = more.severity.max(diagnostic.severity);
        }
    }

    /// Never report this key as unknown.
    pub(crate) fn pass_over(&mut self, key: Cursor<'_, '_>) {
        self.seen.insert(key.node);
    }
}

impl<'a> Document<'a> {
    /// Reads a text; a syntax error becomes a finding.
    pub(crate) fn parse(text: &'a str, findings: &mut Findings) -> Option<Document<'a>> {
        match Tape::parse(text) {
            Ok(tape) => Some(Document { tape }),
            Err(error) => {
                let reason =
                    if error.message.is_empty() { "the text ends too early" } else { &error.message };
                let diagnostic = Diagnostic::error(format!("this is not YAML: {reason}"));
                findings.list.push(diagnostic.in_file(&findings.file).at(error.line, error.column));
                None
            }
        }
    }

    /// The top of the document; nothing if it is empty.
    pub(crate) fn root(&self) -> Option<Cursor<'_, 'a>> {
        (!self.tape.nodes.is_empty()).then_some(Cursor { tape: &self.tape, node: 0 })
    }
}

/// Where a key path leads.
#[derive(Clone, Copy)]
pub(crate) struct Located<'t, 'a> {
    /// The last key (or the list item) that was found.
    pub key: Cursor<'t, 'a>,
    /// Its value.
    pub value: Cursor<'t, 'a>,
    /// The path was there to its end.
    pub whole: bool,
}

/// An entry of a map.
pub(crate) struct Entry<'t, 'a> {
    pub key: Cow<'t, str>,
    pub key_at: Cursor<'t, 'a>,
    pub value: Cursor<'t, 'a>,
}

impl<'t, 'a> Cursor<'t, 'a> {
    fn to(self, node: u32) -> Cursor<'t, 'a> {
        Cursor { node, ..self }
    }

    /// Line, from 1.
    pub(crate) fn line(self) -> u32 {
        self.tape.nodes[self.node as usize].line
    }

    /// Column, from 1.
    pub(crate) fn column(self) -> u32 {
        self.tape.nodes[self.node as usize].column
    }

    /// Keys from the top of the document.
    pub(crate) fn path(self) -> String {
        self.tape.path(self.node)
    }

    /// Null, or nothing at all.
    pub(crate) fn is_null(self) -> bool {
        matches!(nodes::scalar(self.tape, self.node), Ok(Some(Scalar::Null)))
    }

    /// A whole number.
    pub(crate) fn whole_number(self) -> Option<i64> {
        match nodes::scalar(self.tape, self.node) {
            Ok(Some(Scalar::Int(number))) => Some(number),
            _ => None,
        }
    }

    /// The first scalar below that is written as `text`, under one of `keys`, and was not given before: those that
    /// were are `given`.
    pub(crate) fn find_text(self, text: &str, keys: &[&str], given: &mut Vec<u32>) -> Option<Self> {
        let is_meant = |node: &u32| {
            let kind = &self.tape.nodes[*node as usize].kind;
            matches!(kind, Kind::Scalar { text: found, .. } if found == text)
                && !given.contains(node)
                && self.to(*node).path().split(['.', '[']).any(|key| keys.contains(&key))
        };
        let found = (self.node..self.tape.nodes[self.node as usize].end).find(is_meant)?;
        given.push(found);
        Some(self.to(found))
    }

    /// A list.
    pub(crate) fn is_list(self) -> bool {
        matches!(nodes::target(self.tape, self.node).1.kind, Kind::Seq)
    }

    /// An anchor is on this node or below it: then it exists to be referred to.
    pub(crate) fn holds_anchor(self) -> bool {
        let end = self.tape.nodes[self.node as usize].end;
        let first = self.tape.anchored.partition_point(|&n| n < self.node);
        self.tape.anchored.get(first).is_some_and(|&n| n < end)
    }

    /// Entries of a map, merges applied; none for null. What is no map becomes a finding.
    pub(crate) fn entries(self, findings: &mut Findings) -> Vec<Entry<'t, 'a>> {
        let (_, node) = nodes::target(self.tape, self.node);
        if !matches!(node.kind, Kind::Map) {
            if !self.is_null() {
                findings.note(self, Diagnostic::error("wants a map"));
            }
            return Vec::new();
        }
        match nodes::entries(self.tape, self.node) {
            Ok(list) => list
                .into_iter()
                .map(|(key, value, key_node)| Entry { key, key_at: self.to(key_node), value: self.to(value) })
                .collect(),
            Err(error) => {
                findings.note(self.to(error.node.unwrap_or(self.node)), Diagnostic::error(error.message));
                Vec::new()
            }
        }
    }

    /// Items of a list; none for null. What is no list becomes a finding.
    pub(crate) fn items(self, findings: &mut Findings) -> Vec<Cursor<'t, 'a>> {
        let (index, node) = nodes::target(self.tape, self.node);
        if !matches!(node.kind, Kind::Seq) {
            if !self.is_null() {
                findings.note(self, Diagnostic::error("wants a list"));
            }
            return Vec::new();
        }
        let mut out = Vec::new();
        let mut item = index + 1;
        while item < node.end {
            out.push(self.to(item));
            item = self.tape.nodes[item as usize].end;
        }
        out
    }

    /// The entry of a map under a key, exact case.
    pub(crate) fn get(self, key: &str) -> Option<Entry<'t, 'a>> {
        if !matches!(nodes::target(self.tape, self.node).1.kind, Kind::Map) {
            return None;
        }
        let (key, value, key_node) =
            nodes::entries(self.tape, self.node).ok()?.into_iter().find(|e| e.0 == key)?;
        Some(Entry { key, key_at: self.to(key_node), value: self.to(value) })
    }

    /// The node at a key path such as `plank.max_concurrency` or `slack_reporter_configs["o"][0]`, or the nearest
    /// above it that exists.
    pub(crate) fn locate(self, path: &str) -> Cursor<'t, 'a> {
        self.locate_key(path).value
    }

    /// As [`Cursor::locate`], with the place of the key that leads there.
    pub(crate) fn locate_key(self, path: &str) -> Located<'t, 'a> {
        let mut at = Located { key: self, value: self, whole: false };
        let mut rest = path;
        let mut ignored = Findings::new(Arc::default());
        let by_key = |at: Cursor<'t, 'a>, key: &str| at.get(key).map(|e| (e.key_at, e.value));
        loop {
            let next = if let Some(bracket) = rest.strip_prefix("[\"") {
                let Some((key, tail)) = bracket.split_once("\"]") else { return at };
                rest = tail;
                by_key(at.value, key)
            } else if let Some(bracket) = rest.strip_prefix('[') {
                let Some((index, tail)) = bracket.split_once(']') else { return at };
                rest = tail;
                let item = |i: usize| at.value.items(&mut ignored).get(i).copied();
                index.parse::<usize>().ok().and_then(item).map(|item| (item, item))
            } else {
                let key = rest.strip_prefix('.').unwrap_or(rest);
                let end = key.find(['.', '[']).unwrap_or(key.len());
                let (key, tail) = key.split_at(end);
                if key.is_empty() {
                    return Located { whole: true, ..at };
                }
                rest = tail;
                by_key(at.value, key)
            };
            match next {
                Some((key, value)) => at = Located { key, value, whole: false },
                None => return at,
            }
        }
    }

    /// Decodes this part into a type. The second value says whether everything fitted; if not, what did not is
    /// zero in the first.
    pub(crate) fn decode<T: serde::de::DeserializeOwned + Default>(
        self,
        coerce: bool,
        findings: &mut Findings,
    ) -> (T, bool) {
        self.decode_without(&[], coerce, findings)
    }

    /// As [`Cursor::decode`], with these values taken for null, whatever they are.
    pub(crate) fn decode_without<T: serde::de::DeserializeOwned + Default>(
        self,
        passed_over: &[Cursor<'t, 'a>],
        coerce: bool,
        findings: &mut Findings,
    ) -> (T, bool) {
        let poisoned: HashSet<u32> = passed_over.iter().map(|value| value.node).collect();
        let mut decoding = Decoding { tape: self.tape, coerce, poisoned, unknown: Vec::new().into() };
        let result = loop {
            decoding.unknown.borrow_mut().clear();
            match T::deserialize(De { decoding: &decoding, node: self.node }) {
                Ok(value) => break Some(value),
                Err(error) => {
                    let node = error.node.unwrap_or(self.node);
                    findings.note(self.to(node), Diagnostic::error(error.message));
                    if !decoding.poisoned.insert(node)
                        || decoding.poisoned.len() >= MAX_ERRORS + passed_over.len()
                    {
                        break None;
                    }
                }
            }
        };
        let clean = decoding.poisoned.len() == passed_over.len() && result.is_some();
        for unknown in decoding.unknown.take() {
            self.note_unknown(unknown.key, unknown.fields.iter().copied(), findings);
        }
        (result.unwrap_or_default(), clean)
    }

    /// Notes a key that nothing reads, once for each place, with the key that was probably meant.
    pub(crate) fn note_unknown<'f>(
        self,
        key: u32,
        fields: impl IntoIterator<Item = &'f str>,
        findings: &mut Findings,
    ) {
        if !findings.seen.insert(key) {
            return;
        }
        let text = nodes::key_text(self.tape, key).unwrap_or_default();
        let mut diagnostic = Diagnostic::warning("unknown key, it has no effect").kind(Finding::UnknownKey);
        if findings.list.len() >= MAX_FINDINGS {
            // It is not told, so what was meant does not matter.
            findings.overflow(&diagnostic);
            return;
        }
        if let Some(meant) = did_you_mean(&text, fields) {
            diagnostic = diagnostic.suggest(format!("did you mean {meant:?}?"));
        }
        findings.note(self.to(key), diagnostic);
    }
}

impl<'t, 'a> Entry<'t, 'a> {
    /// Notes this key as unknown.
    pub(crate) fn note_unknown<'f>(
        &self,
        fields: impl IntoIterator<Item = &'f str>,
        findings: &mut Findings,
    ) {
        self.key_at.note_unknown(self.key_at.node, fields, findings);
    }
}

/// The text of a file: UTF-8, or UTF-16 with a byte-order mark.
pub(crate) fn decode_text(bytes: Vec<u8>) -> Result<String, String> {
    let wide = |little: bool| {
        let units = bytes[2..].chunks_exact(2).map(|p| {
            if little { u16::from_le_bytes([p[0], p[1]]) } else { u16::from_be_bytes([p[0], p[1]]) }
        });
        char::decode_utf16(units).collect::<Result<String, _>>().map_err(|e| format!("it is not UTF-16: {e}"))
    };
    match bytes.as_slice() {
        [0xFF, 0xFE, ..] => wide(true),
        [0xFE, 0xFF, ..] => wide(false),
        [0xEF, 0xBB, 0xBF, ..] => {
            String::from_utf8(bytes[3..].to_vec()).map_err(|e| format!("it is not UTF-8: {}", e.utf8_error()))
        }
        _ => String::from_utf8(bytes).map_err(|e| format!("it is not UTF-8: {}", e.utf8_error())),
    }
}
