//! What the reference parser reads and the YAML 1.2 grammar refuses (prow-config §0.1): a quoted scalar may go on at
//! any column. White space at the beginning of such a line says nothing, so more of it is put there, and the text is
//! read again.

use super::tape::{Kind, Node, SyntaxError, Tape};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Deeper than any indentation of a real file.
const PAD: u32 = 128;
/// Bytes that are read again, over all tries, until the text is given up.
const MOST: usize = 16 << 20;

/// Reads a text in which a quoted scalar goes on too far to the left in the line that `error` names.
pub(super) fn read(text: &str, error: SyntaxError) -> Result<Tape<'static>, SyntaxError> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut padded = BTreeSet::new();
    let (mut wrong, mut again) = (error, 0);
    while again < MOST && pad(&lines, wrong.line, &mut padded) {
        let mut mended = String::with_capacity(text.len() + padded.len() * PAD as usize);
        for (line, number) in lines.iter().zip(1..) {
            if padded.contains(&number) {
                mended.extend(std::iter::repeat_n(' ', PAD as usize));
            }
            mended.push_str(line);
        }
        again += mended.len();
        match Tape::parse_strictly(&mended) {
            Ok(tape) => return Ok(in_place(tape, &padded)),
            Err((mut next, leftmost)) => {
                if padded.contains(&next.line) {
                    next.column = next.column.saturating_sub(PAD).max(1);
                }
                wrong = next;
                if !leftmost {
                    break;
                }
            }
        }
    }
    Err(wrong)
}

/// Marks a line within a quoted scalar, and those after it that cannot be beyond the scalar's end, as no quote is
/// between. False if that is no help: the end of a document is one within quotes, too.
fn pad(lines: &[&str], first: u32, padded: &mut BTreeSet<u32>) -> bool {
    let line = |number: u32| lines.get(number.checked_sub(1)? as usize).copied();
    let ends = |line: &str| line.starts_with("---") || line.starts_with("...");
    if line(first).is_none_or(ends) || !padded.insert(first) {
        return false;
    }
    let mut number = first;
    while line(number).is_some_and(|line| !line.contains(['"', '\'']))
        && line(number + 1).is_some_and(|next| !ends(next))
    {
        number += 1;
        padded.insert(number);
    }
    true
}

/// The nodes, where they are in the text that was not mended.
fn in_place(tape: Tape<'_>, padded: &BTreeSet<u32>) -> Tape<'static> {
    let own = |node: Node<'_>| {
        let column =
            if padded.contains(&node.line) { node.column.saturating_sub(PAD).max(1) } else { node.column };
        let kind = match node.kind {
            Kind::Scalar { text, plain, tag } => {
                Kind::Scalar { text: Cow::Owned(text.into_owned()), plain, tag }
            }
            Kind::Seq => Kind::Seq,
            Kind::Map => Kind::Map,
            Kind::Alias(target) => Kind::Alias(target),
        };
        Node { kind, column, end: node.end, line: node.line }
    };
    Tape { nodes: tape.nodes.into_iter().map(own).collect(), anchored: tape.anchored }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalars(text: &str) -> Result<Vec<(String, u32, u32)>, SyntaxError> {
        let tape = Tape::parse_all(text)?;
        let scalar = |node: &Node<'_>| match &node.kind {
            Kind::Scalar { text, .. } => Some((text.to_string(), node.line, node.column)),
            _ => None,
        };
        Ok(tape.nodes.iter().filter_map(scalar).collect())
    }

    #[test]
    fn a_quoted_scalar_goes_on_at_any_column() {
        for (text, want) in [
            ("a:\n  b:\n  - \"one;\ntwo;\n\nthree\"\n  c: 1\n", vec!["a", "b", "one; two;\nthree", "c", "1"]),
            ("a: 'one\ntwo'\nb: \"x\\\ny\"\n", vec!["a", "one two", "b", "xy"]),
            ("a: \"one\n\ttwo\"\n", vec!["a", "one two"]),
            ("a: 'it''s\n\"so\" they\nsay'\nb: \"\nc\"", vec!["a", "it's \"so\" they say", "b", " c"]),
        ] {
            let got: Vec<String> = scalars(text).unwrap().into_iter().map(|(text, ..)| text).collect();
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn places_are_those_of_the_text() {
        let text = "a: \"one\ntwo\"\nb:\n- c: 'x\ny'\n  d: e\n";
        let places: Vec<(u32, u32)> = scalars(text).unwrap().into_iter().map(|(_, l, c)| (l, c)).collect();
        assert_eq!(places, [(1, 1), (1, 4), (3, 1), (4, 3), (4, 6), (6, 3), (6, 6)]);
        let error = scalars("a: \"one\ntwo\" three\n").unwrap_err();
        assert_eq!(error.line, 2, "{error:?}");
        assert!(error.column < 20, "{error:?}");
    }

    #[test]
    fn what_has_no_end_is_refused() {
        for text in
            ["a: \"one\ntwo\n", "a: \"one\ntwo\n---\nthree\"\n", "a: \"one\n...\n\"\n", "a: \"x\ny\" z\n"]
        {
            assert!(scalars(text).is_err(), "{text}");
        }
        let long = format!("a: \"one\n{}\"\nb: 1\n", "it's\n".repeat(100));
        assert_eq!(scalars(&long).unwrap().len(), 4);
    }
}
