//! A YAML document as a flat list of nodes with positions: what everything else reads.
//!
//! Only the first document of a text is read (prow-config §0.1). The limits here bound what hostile text can cost:
//! size, depth with aliases expanded, and the share of a document that comes from aliases.

use super::{mend, quick};
use base64::Engine;
use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle};
use std::borrow::Cow;

/// No configuration file is larger; a ConfigMap ends at 1 MiB.
pub(crate) const MAX_BYTES: usize = 64 << 20;
/// Real files stay below 60; serde's recursion has to fit a thread's stack.
pub(super) const MAX_DEPTH: u32 = 200;

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind<'a> {
    Scalar {
        text: Cow<'a, str>,
        plain: bool,
        tag: Option<Box<str>>,
    },
    Seq,
    Map,
    /// Stands for the node with this index.
    Alias(u32),
}

/// A node; its descendants follow it up to `end`.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub kind: Kind<'a>,
    pub end: u32,
    pub line: u32,
    pub column: u32,
}

/// The nodes of one document; empty for an empty document.
#[derive(Debug, Default)]
pub(crate) struct Tape<'a> {
    pub nodes: Vec<Node<'a>>,
    /// Indexes of nodes that carry an anchor, ascending.
    pub anchored: Vec<u32>,
}

/// Text that is no YAML document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub message: String,
    pub line: u32,
    pub column: u32,
}

#[derive(Default)]
struct Builder<'a> {
    tape: Tape<'a>,
    open: Vec<u32>,
    /// Node index by the parser's anchor id.
    anchors: Vec<u32>,
    aliases: bool,
}

impl<'a> Builder<'a> {
    fn push(&mut self, kind: Kind<'a>, anchor: usize, line: u32, column: u32) -> u32 {
        let index = self.tape.nodes.len() as u32;
        self.tape.nodes.push(Node { kind, end: index + 1, line, column });
        if anchor > 0 {
            if self.anchors.len() <= anchor {
                self.anchors.resize(anchor + 1, u32::MAX);
            }
            self.anchors[anchor] = index;
            self.tape.anchored.push(index);
        }
        index
    }

    fn close(&mut self) {
        if let Some(index) = self.open.pop() {
            self.tape.nodes[index as usize].end = self.tape.nodes.len() as u32;
        }
    }
}

impl<'a> Tape<'a> {
    /// Reads the first document of `text`.
    pub(crate) fn parse(text: &'a str) -> Result<Tape<'a>, SyntaxError> {
        if text.len() > MAX_BYTES {
            return Err(SyntaxError {
                message: format!("the file has {} bytes; more than {MAX_BYTES} are refused", text.len()),
                line: 0,
                column: 0,
            });
        }
        match quick::parse(text) {
            Some(nodes) => Ok(Tape { nodes, anchored: Vec::new() }),
            None => Tape::parse_all(text),
        }
    }

    /// Reads the first document of `text`, whatever of YAML is in it.
    pub(super) fn parse_all(text: &'a str) -> Result<Tape<'a>, SyntaxError> {
        match Tape::parse_strictly(text) {
            Ok(tape) => Ok(tape),
            Err((error, true)) => mend::read(text, error),
            Err((error, false)) => Err(error),
        }
    }

    /// As the parser reads it. An error comes with whether it is only that a quoted scalar goes on too far to the
    /// left.
    pub(super) fn parse_strictly(text: &'a str) -> Result<Tape<'a>, (SyntaxError, bool)> {
        let other = |error| (error, false);
        if let Some(line) = other_version(text) {
            let message = "found incompatible YAML document: only version 1.1 is read".to_owned();
            return Err(other(SyntaxError { message, line, column: 1 }));
        }
        let mut options = Options::default();
        options.set_emit_comments(false);
        let mut parser = Parser::new_from_str_with_options(text, options);
        let mut builder = Builder::default();
        builder.tape.nodes.reserve(text.len() / 24 + 8);
        let mut ends_in_block = false;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|e| {
                let leftmost =
                    matches!(e.kind(), ErrorKind::InvalidQuotedScalarIndent | ErrorKind::TabInIndentation);
                let (line, column) = (e.marker().line() as u32, e.marker().col() as u32 + 1);
                (SyntaxError { message: e.info().to_string(), line, column }, leftmost)
            })?;
            let (line, column) = (span.start.line() as u32, span.start.col() as u32 + 1);
            match event {
                Event::Scalar(value, style, anchor, tag) => {
                    let tag = tag.map(|t| format!("{}{}", t.handle(), t.suffix()).into_boxed_str());
                    ends_in_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                    let plain = style == ScalarStyle::Plain;
                    let text = match tag.as_deref() {
                        Some("tag:yaml.org,2002:binary") => binary(&value)
                            .map(Cow::Owned)
                            .ok_or_else(|| SyntaxError {
                                message: "!!binary wants base64 of UTF-8 text".into(),
                                line,
                                column,
                            })
                            .map_err(other)?,
                        _ => value,
                    };
                    builder.push(Kind::Scalar { text, plain, tag }, anchor, line, column);
                }
                Event::SequenceStart(_, anchor, _) => {
                    let index = builder.push(Kind::Seq, anchor, line, column);
                    builder.open.push(index);
                }
                Event::MappingStart(_, anchor, _) => {
                    let index = builder.push(Kind::Map, anchor, line, column);
                    builder.open.push(index);
                }
                Event::SequenceEnd | Event::MappingEnd => builder.close(),
                Event::Alias(id) => {
                    let target = builder.anchors.get(id).copied().unwrap_or(u32::MAX);
                    if target == u32::MAX || builder.open.contains(&target) {
                        let message = "this anchor contains itself".into();
                        return Err(other(SyntaxError { message, line, column }));
                    }
                    builder.aliases = true;
                    builder.push(Kind::Alias(target), 0, line, column);
                }
                Event::DocumentEnd => break,
                _ => {}
            }
            if builder.open.len() as u32 > MAX_DEPTH {
                return Err(other(SyntaxError { message: too_deep(), line, column }));
            }
        }
        let Builder { mut tape, aliases, .. } = builder;
        // As libyaml: a block scalar that the end of the text cuts off has no final newline.
        if ends_in_block
            && !text.ends_with('\n')
            && let Some(Node { kind: Kind::Scalar { text: last, .. }, .. }) = tape.nodes.last_mut()
            && last.ends_with('\n')
        {
            let mut owned = std::mem::take(last).into_owned();
            owned.pop();
            *last = owned.into();
        }
        if aliases {
            tape.check_expansion().map_err(other)?;
        }
        Ok(tape)
    }

    /// Go's bomb protection: in a large document only a part may come from aliases, between 99 % below 400,000
    /// nodes and 10 % above 4,000,000. And the depth limit once more, with aliases expanded.
    fn check_expansion(&self) -> Result<(), SyntaxError> {
        let count = self.nodes.len();
        // For each node: nodes and depth when expanded, and how many of those nodes come from aliases.
        let mut size = vec![1u64; count];
        let mut from_alias = vec![0u64; count];
        let mut depth = vec![1u32; count];
        // Ascending order of `end` closes containers after their contents; targets close before their aliases.
        let mut order: Vec<u32> = (0..count as u32).collect();
        order.sort_by_key(|&i| (self.nodes[i as usize].end, std::cmp::Reverse(i)));
        for &index in &order {
            let index = index as usize;
            let node = &self.nodes[index];
            match node.kind {
                Kind::Alias(target) => {
                    size[index] = size[target as usize].saturating_add(1);
                    from_alias[index] = size[index];
                    depth[index] = depth[target as usize];
                }
                Kind::Scalar { .. } => {}
                Kind::Seq | Kind::Map => {
                    let mut child = index + 1;
                    while child < node.end as usize {
                        size[index] = size[index].saturating_add(size[child]);
                        from_alias[index] = from_alias[index].saturating_add(from_alias[child]);
                        depth[index] = depth[index].max(depth[child] + 1);
                        child = self.nodes[child].end as usize;
                    }
                }
            }
            if depth[index] > MAX_DEPTH {
                return Err(SyntaxError { message: too_deep(), line: node.line, column: node.column });
            }
        }
        let (total, aliased) = (size[0], from_alias[0]);
        if aliased > 100 && total > 1000 {
            let allowed = if total <= 400_000 {
                0.99
            } else if total >= 4_000_000 {
                0.10
            } else {
                0.99 - 0.89 * (total - 400_000) as f64 / 3_600_000.0
            };
            if aliased as f64 / total as f64 > allowed {
                return Err(SyntaxError {
                    message: format!("the document contains excessive aliasing: it expands to {total} nodes"),
                    line: 0,
                    column: 0,
                });
            }
        }
        Ok(())
    }

    /// Keys and indexes from the top of the document to a node, e.g. `presubmits["o/r"][0].spec`.
    pub(crate) fn path(&self, target: u32) -> String {
        let mut out = String::new();
        let mut at = 0u32;
        while at < target {
            let Some(node) = self.nodes.get(at as usize) else { break };
            let mut child = at + 1;
            let mut found = None;
            let mut index = 0usize;
            while child < node.end {
                let next = self.nodes[child as usize].end;
                match node.kind {
                    Kind::Map => {
                        let value_end = self.nodes.get(next as usize).map_or(next, |n| n.end);
                        if target < value_end {
                            push_key(&mut out, self.scalar_text(child));
                            found = (target >= next).then_some(next);
                            break;
                        }
                        child = value_end;
                    }
                    _ => {
                        if target < next {
                            out.push_str(&format!("[{index}]"));
                            found = Some(child);
                            break;
                        }
                        index += 1;
                        child = next;
                    }
                }
            }
            match found {
                Some(next) if next > at => at = next,
                _ => break,
            }
        }
        out
    }

    fn scalar_text(&self, index: u32) -> &str {
        match &self.nodes[index as usize].kind {
            Kind::Scalar { text, .. } => text,
            Kind::Alias(target) => self.scalar_text(*target),
            _ => "?",
        }
    }
}

/// The line of a directive for a version other than 1.1, which the reference implementation refuses.
fn other_version(text: &str) -> Option<u32> {
    let head = text.lines().zip(1..).take_while(|(line, _)| line.is_empty() || line.starts_with(['%', '#']));
    let versions = head.filter_map(|(line, number)| Some((line.strip_prefix("%YAML")?, number)));
    versions.into_iter().find(|(version, _)| version.split_whitespace().next() != Some("1.1")).map(|(_, n)| n)
}

/// The text behind `!!binary`; base64 may have white space in it.
fn binary(text: &str) -> Option<String> {
    let packed: String = text.split_ascii_whitespace().collect();
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(packed).ok()?).ok()
}

fn push_key(path: &mut String, key: &str) {
    let simple = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if simple {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    } else {
        path.push_str(&format!("[{key:?}]"));
    }
}

fn too_deep() -> String {
    format!("the document is nested deeper than {MAX_DEPTH} levels")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_knows_its_path() {
        let tape = Tape::parse("presubmits:\n  o/r:\n  - name: a\n    spec: {x: [1, 2]}\n").unwrap();
        let paths: Vec<String> = (0..tape.nodes.len() as u32).map(|i| tape.path(i)).collect();
        assert_eq!(paths.last().unwrap(), r#"presubmits["o/r"][0].spec.x[1]"#);
        assert!(paths.contains(&r#"presubmits["o/r"][0].name"#.to_owned()));
    }

    #[test]
    fn bombs_and_pits_are_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..9 {
            let row = vec![format!("*a{}", i - 1); 9].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{row}]\n"));
        }
        assert!(Tape::parse(&bomb).unwrap_err().message.contains("excessive aliasing"));
        assert!(Tape::parse(&"[".repeat(100_000)).is_err());
        let mut ladder = String::from("a0: &a0 [x]\n");
        for i in 1..300 {
            ladder.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
        }
        assert!(Tape::parse(&ladder).unwrap_err().message.contains("nested deeper"));
        assert!(Tape::parse("a: &a [*a]\n").is_err());
    }

    #[test]
    fn only_the_first_document_counts() {
        let tape = Tape::parse("a: 1\n---\n{[broken\n").unwrap();
        assert_eq!(tape.nodes.len(), 3);
    }
}
