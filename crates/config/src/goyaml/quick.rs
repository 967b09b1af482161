//! The YAML that nearly all configuration is written in, read straight into nodes: block maps and lists of scalars in
//! ASCII-like lines, several times faster than the parser that knows the whole language.
//!
//! This is a short cut, not a second opinion: whatever it does not know (anchors, tags, tabs, quotes over several
//! lines, flow maps, anything that might be an error) it leaves to that parser, from the start. Where it gives nodes,
//! they are those that the parser gives, positions included; tests hold it to that.

use super::tape::{Kind, MAX_DEPTH, Node};
use std::borrow::Cow;

/// Keys beyond this length are no keys.
const MAX_KEY: usize = 1000;

/// The nodes of a text, or nothing if the text is not that plain.
pub(super) fn parse(text: &str) -> Option<Vec<Node<'_>>> {
    // In pieces, since a piece without a way out in its middle is looked at many bytes at a time.
    let plain = |piece: &[u8]| piece.iter().fold(true, |so_far, byte| so_far & is_plain_byte(*byte));
    let plain =
        text.as_bytes().chunks(256).all(plain) && (text.is_ascii() || text.chars().all(is_plain_char));
    if !plain || !text.ends_with('\n') {
        return None;
    }
    let mut quick = Quick {
        nodes: Vec::with_capacity(text.len() / 16 + 8),
        open: Vec::new(),
        pending: None,
        lines: Lines { rest: text, number: 0 },
    };
    quick.document()?;
    Some(quick.nodes)
}

/// No tabs, no other controls.
fn is_plain_byte(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f || byte == b'\n'
}

/// Neither line breaks of YAML 1.1 nor what no document may hold.
fn is_plain_char(c: char) -> bool {
    c.is_ascii()
        || !matches!(c, '\u{80}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Lines from a text whose last line ends, too.
struct Lines<'a> {
    rest: &'a str,
    /// Of the line that was taken last, from 1.
    number: u32,
}

impl<'a> Lines<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.rest.find('\n').map(|end| &self.rest[..end])
    }

    fn next(&mut self) -> Option<&'a str> {
        let line = self.peek()?;
        self.rest = &self.rest[line.len() + 1..];
        self.number += 1;
        Some(line)
    }
}

/// A map or list that goes on.
struct Open {
    node: u32,
    indent: usize,
    list: bool,
}

struct Quick<'a> {
    nodes: Vec<Node<'a>>,
    open: Vec<Open>,
    /// Where the value of a key, or an item, is due that did not come on its line: line and column from 1.
    pending: Option<(u32, u32)>,
    lines: Lines<'a>,
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|b| b == b' ')
}

/// Nothing, or a comment: what may stand behind a value.
fn is_tail(text: &str) -> bool {
    let trimmed = text.trim_start_matches(' ');
    trimmed.is_empty() || trimmed.len() < text.len() && trimmed.starts_with('#')
}

fn is_item(text: &str) -> bool {
    text.starts_with("- ") || text == "-"
}

impl<'a> Quick<'a> {
    fn document(&mut self) -> Option<()> {
        let mut marked = false;
        while let Some(line) = self.lines.next() {
            let indent = indent_of(line);
            let text = &line[indent..];
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            if indent == 0 && (line.starts_with("---") || line.starts_with("...") || line.starts_with('%')) {
                if line == "---" && self.nodes.is_empty() && !marked {
                    marked = true;
                    continue;
                }
                return None;
            }
            self.line(line, indent)?;
        }
        if self.nodes.is_empty() {
            return None;
        }
        self.close_pending();
        while !self.open.is_empty() {
            self.close();
        }
        Some(())
    }

    fn push(&mut self, kind: Kind<'a>, column: usize) -> u32 {
        self.push_at(kind, self.lines.number, column)
    }

    fn push_at(&mut self, kind: Kind<'a>, line: u32, column: usize) -> u32 {
        let index = self.nodes.len() as u32;
        self.nodes.push(Node { kind, end: index + 1, line, column: column as u32 + 1 });
        index
    }

    fn scalar(&mut self, text: impl Into<Cow<'a, str>>, plain: bool, column: usize) {
        self.push(Kind::Scalar { text: text.into(), plain, tag: None }, column);
    }

    fn start(&mut self, list: bool, indent: usize) -> Option<()> {
        let node = self.push(if list { Kind::Seq } else { Kind::Map }, indent);
        self.open.push(Open { node, indent, list });
        self.pending = None;
        (self.open.len() as u32 <= MAX_DEPTH).then_some(())
    }

    fn close(&mut self) {
        if let Some(open) = self.open.pop() {
            self.nodes[open.node as usize].end = self.nodes.len() as u32;
        }
    }

    /// What was due and did not come is null.
    fn close_pending(&mut self) {
        if let Some((line, column)) = self.pending.take() {
            let index = self.nodes.len() as u32;
            let kind = Kind::Scalar { text: Cow::Borrowed("~"), plain: true, tag: None };
            self.nodes.push(Node { kind, end: index + 1, line, column });
        }
    }

    /// A line with something in it: finds what it belongs to.
    fn line(&mut self, line: &'a str, indent: usize) -> Option<()> {
        let item = is_item(&line[indent..]);
        let begins = match self.open.last() {
            None => self.nodes.is_empty() && indent == 0,
            Some(top) => {
                self.pending.is_some() && (indent > top.indent || indent == top.indent && item && !top.list)
            }
        };
        if begins {
            return if item {
                // The parser places a list that is not indented below its key where its first item is.
                let inner = line[indent + 1..].len() - line[indent + 1..].trim_start_matches(' ').len();
                let shift =
                    if self.open.last().is_some_and(|top| top.indent == indent) { 1 + inner } else { 0 };
                if shift > 0 && line.len() == indent + 1 {
                    return None;
                }
                self.start(true, indent)?;
                self.nodes.last_mut()?.column += shift as u32;
                self.item(line, indent)
            } else {
                self.entry(line, indent, true)
            };
        }
        self.close_pending();
        while self.open.last().is_some_and(|o| o.indent > indent || o.indent == indent && o.list && !item) {
            self.close();
        }
        let top = self.open.last()?;
        if top.indent != indent || top.list != item {
            return None;
        }
        if item { self.item(line, indent) } else { self.entry(line, indent, false) }
    }

    /// `- …` at a column.
    fn item(&mut self, line: &'a str, at: usize) -> Option<()> {
        let rest = &line[at + 1..];
        if rest.is_empty() {
            self.pending = Some((self.lines.number, at as u32 + 2));
            return Some(());
        }
        let inner = at + 1 + indent_of(rest);
        let text = &line[inner..];
        if is_item(text) {
            self.start(true, inner)?;
            return self.item(line, inner);
        }
        let quoted = text.starts_with(['"', '\'', '[', '|']);
        if !quoted && key_end(text).is_some() {
            return self.entry(line, inner, true);
        }
        self.value(line, inner)
    }

    /// `key: …` at a column; the first one begins a map.
    fn entry(&mut self, line: &'a str, at: usize, begins: bool) -> Option<()> {
        let text = &line[at..];
        let (key, end, plain) = match text.as_bytes().first()? {
            b'"' | b'\'' => {
                let (key, rest) = quoted(text)?;
                let end = text.len() - rest.len();
                (key, (key_end(rest)? == 0).then_some(end)?, false)
            }
            first => {
                let end = key_end(text)?;
                let key = text[..end].trim_end_matches(' ');
                (Cow::Borrowed(key), first.is_ascii_alphanumeric().then_some(end)?, true)
            }
        };
        if end > MAX_KEY || !text[..end].is_ascii() {
            return None;
        }
        if begins {
            self.start(false, at)?;
        }
        self.scalar(key, plain, at);
        let rest = &text[end + 1..];
        if is_tail(rest) {
            self.pending = Some((self.lines.number, (at + end) as u32 + 1));
            return Some(());
        }
        self.value(line, at + end + 1 + indent_of(rest))
    }

    /// A value that begins at a column of its key's or item's line.
    fn value(&mut self, line: &'a str, at: usize) -> Option<()> {
        let text = &line[at..];
        match text.as_bytes().first()? {
            b'#' => None,
            b'"' | b'\'' => {
                let (value, rest) = quoted(text)?;
                self.scalar(value, false, at);
                is_tail(rest).then_some(())
            }
            b'[' => self.flow(line, at),
            b'{' => {
                let rest = text.strip_prefix("{}")?;
                self.push(Kind::Map, at);
                is_tail(rest).then_some(())
            }
            b'|' | b'>' => self.block(text),
            _ => self.plain(text, at),
        }
    }

    /// A plain scalar, which goes on where the next line is indented more than what the scalar is in.
    fn plain(&mut self, text: &'a str, at: usize) -> Option<()> {
        let (first, number) = (plain(text)?, self.lines.number);
        let outer = self.open.last()?.indent;
        // A comment ends a scalar; what is indented more all the same fits nowhere and is left to the parser.
        let mut goes_on = first.len() == text.trim_end_matches(' ').len();
        let mut value = Cow::Borrowed(first);
        while goes_on && indent_of(self.lines.rest) > outer {
            let line = self.lines.peek()?;
            let more = line.trim_matches(' ');
            goes_on = !more.is_empty() && !more.starts_with('#');
            if goes_on {
                if plain(more)? != more {
                    return None;
                }
                let joined = value.to_mut();
                joined.push(' ');
                joined.push_str(more);
                self.lines.next();
            }
        }
        self.push_at(Kind::Scalar { text: value, plain: true, tag: None }, number, at);
        Some(())
    }

    /// `[a, "b"]` on one line.
    fn flow(&mut self, line: &'a str, at: usize) -> Option<()> {
        if !line.is_ascii() {
            return None;
        }
        let list = self.push(Kind::Seq, at);
        let mut next = at + 1;
        loop {
            next += indent_of(&line[next..]);
            let text = &line[next..];
            let rest = match text.as_bytes().first()? {
                b']' if self.nodes.len() as u32 == list + 1 => text,
                b'"' | b'\'' => {
                    let (value, rest) = quoted(text)?;
                    self.scalar(value, false, next);
                    rest
                }
                first if first.is_ascii_alphanumeric() || matches!(first, b'^' | b'.' | b'/' | b'_') => {
                    let end = text.find([',', ']', '[', '{', '}', ':', '#', '"', '\''])?;
                    self.scalar(text[..end].trim_end_matches(' '), true, next);
                    &text[end..]
                }
                _ => return None,
            };
            let rest = rest.trim_start_matches(' ');
            next = line.len() - rest.len() + 1;
            match rest.as_bytes().first()? {
                b',' => {}
                b']' => break,
                _ => return None,
            }
            // A comma at the end is allowed; it is rare enough to be left alone.
            if line[next..].trim_start_matches(' ').starts_with(']') {
                return None;
            }
        }
        self.nodes[list as usize].end = self.nodes.len() as u32;
        is_tail(&line[next..]).then_some(())
    }

    /// `|`, `|-`, `>` or `>-`, and the lines below.
    fn block(&mut self, header: &str) -> Option<()> {
        let (folded, strip) = match header {
            "|" => (false, false),
            "|-" => (false, true),
            ">" => (true, false),
            ">-" => (true, true),
            _ => return None,
        };
        // The parser places it where its text begins.
        let (number, outer) = (self.lines.number + 1, self.open.last()?.indent);
        let indent = indent_of(self.lines.peek()?);
        if is_blank(self.lines.peek()?) || indent <= outer {
            return None;
        }
        let mut out = String::new();
        let mut blanks = 0;
        while let Some(line) = self.lines.peek() {
            let own = indent_of(line);
            if is_blank(line) {
                // Blanks beyond the indent are text.
                if line.len() > indent {
                    return None;
                }
                blanks += 1;
            } else if own < indent {
                if own > outer {
                    return None;
                }
                break;
            } else if folded && own > indent {
                // Lines that are indented more are not folded.
                return None;
            } else {
                match (folded, out.is_empty(), blanks) {
                    (true, false, 0) => out.push(' '),
                    (true, _, _) => out.extend(std::iter::repeat_n('\n', blanks)),
                    (false, true, _) => {}
                    (false, false, _) => out.extend(std::iter::repeat_n('\n', blanks + 1)),
                }
                blanks = 0;
                out.push_str(&line[indent..]);
            }
            self.lines.next();
        }
        if !strip {
            out.push('\n');
        }
        self.push_at(Kind::Scalar { text: Cow::Owned(out), plain: false, tag: None }, number, indent);
        Some(())
    }
}

/// Where the colon is that makes the beginning of a line a key.
fn key_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| matches!(b, b':' | b'#')) {
        let at = from + at;
        match bytes[at] {
            b':' if matches!(bytes.get(at + 1), None | Some(b' ')) => return Some(at),
            b'#' if at > 0 && bytes[at - 1] == b' ' => return None,
            _ => from = at + 1,
        }
    }
    None
}

/// A plain scalar that ends on its line.
fn plain(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let indicator = |b: u8| b"-?:,[]{}#&*!|>'\"%@`".contains(&b);
    // A hyphen may begin a plain scalar if no blank follows.
    if indicator(bytes[0])
        && !(bytes[0] == b'-' && bytes.get(1).is_some_and(|b| *b == b'-' || !indicator(*b) && *b != b' '))
    {
        return None;
    }
    let mut end = bytes.len();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b':' if matches!(bytes.get(at + 1), None | Some(b' ')) => return None,
            b'#' if bytes[at - 1] == b' ' => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    Some(text[..end].trim_end_matches(' '))
}

/// The text in quotes of either kind, and what follows them.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    if text.starts_with('"') { double_quoted(text) } else { single_quoted(text) }
}

/// The text in quotes, and what follows them.
fn single_quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut end = 1;
    let mut doubled = false;
    loop {
        end += text[end..].find('\'')?;
        if !text[end + 1..].starts_with('\'') {
            break;
        }
        doubled = true;
        end += 2;
    }
    let inner = &text[1..end];
    let value = if doubled { inner.replace("''", "'").into() } else { inner.into() };
    Some((value, &text[end + 1..]))
}

/// The text in quotes, and what follows them.
fn double_quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let body = &text[1..];
    let first = body.find(['"', '\\'])?;
    if body.as_bytes()[first] == b'"' {
        return Some((Cow::Borrowed(&body[..first]), &body[first + 1..]));
    }
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    loop {
        let at = rest.find(['"', '\\'])?;
        out.push_str(&rest[..at]);
        if rest.as_bytes()[at] == b'"' {
            return Some((out.into(), &rest[at + 1..]));
        }
        out.push(match rest.as_bytes().get(at + 1)? {
            b'"' => '"',
            b'\\' => '\\',
            b'n' => '\n',
            b't' => '\t',
            _ => return None,
        });
        rest = &rest[at + 2..];
    }
}

#[cfg(test)]
mod tests;
