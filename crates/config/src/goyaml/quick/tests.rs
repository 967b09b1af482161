//! The short cut gives the parser's own nodes, on real files and on invented ones.

use super::super::tape::Tape;
use super::*;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn shown(nodes: &[Node<'_>]) -> Vec<String> {
    nodes.iter().map(|n| format!("{:?} ends {} at {}:{}", n.kind, n.end, n.line, n.column)).collect()
}

/// Whether the short cut was taken; what it gives must be what the parser gives.
fn agrees(text: &str) -> bool {
    let Some(nodes) = parse(text) else { return false };
    let tape = match Tape::parse_all(text) {
        Ok(tape) => tape,
        Err(error) => panic!("{text:?} is read though it is no YAML: {}", error.message),
    };
    let (got, want) = (shown(&nodes), shown(&tape.nodes));
    if let Some(at) = (0..got.len().max(want.len())).find(|&i| got.get(i) != want.get(i)) {
        let context: Vec<&str> = text
            .lines()
            .skip(nodes.get(at).map_or(0, |n| n.line.saturating_sub(2) as usize))
            .take(4)
            .collect();
        panic!("node {at}: {:?}, the parser has {:?}, near {context:#?}", got.get(at), want.get(at));
    }
    assert!(tape.anchored.is_empty());
    true
}

#[test]
fn plain_files_take_the_short_cut() {
    for text in [
        "a: 1\n",
        "a:\nb:\n  c:\n  d: x # y\n",
        "---\na: b\n",
        "# c\n\na:\n- b\n- c: 1\n  d: 2\n\n- - x\n  - y\n-\n- e:\n  - f\ng: 'it''s'\nh: \"a\\\"b\\\\\\n\"\n",
        "a:\n  - b\n  -   c: d\n      e: f\n  - 'q'\n  # x\nz: [a, \"b\", 'c'] # d\ny: []\n",
        "run: |\n  a\n   b\n\n  # c\n\nnext: |-\n  x\nlist:\n- |\n  y\n- name: |\n    z\n  b: -x\n",
        "- a\n- b: c\n",
        "o/r: http://x/y:z#w\nk k: v  \nn: '' # é\n",
        "a:\n- --flag=1\n- --\n- -v\nb: --x --y # z\nc: -- d\n",
        "a: >\n  b\n  c\n\n\n  d\nlist:\n- >-\n  # e\n  f  \n  g\n\n# h\n",
        "a: b\n  c d\n   e\nf:\n- g\n  h\n- i: j\n    k\n",
        "'*': a\n\"b c\": d\n'':\n  '1.29': {}\n  'it''s':\n  - x\n  e: {} # f\n",
    ] {
        assert!(agrees(text), "{text:?}");
    }
}

#[test]
fn what_is_not_plain_is_left_to_the_parser() {
    for text in [
        "",
        "a: 1",
        "a\n",
        "a: b\n\n  c\n",
        "a: b # d\n  c\n",
        "a: b\n  c: d\n",
        "a: b\n  - c\n",
        "a: b\n  c # d\n",
        "a: &x b\n",
        "a: *x\n",
        "a: !!str b\n",
        "a:\tb\n",
        "a: b: c\n",
        "a: \"b\n  c\"\n",
        "a: >\n  b\n   c\n",
        "a: >+\n  b\n",
        "a: >\n\n  b\n",
        "'a' : b\n",
        "'a':b\n",
        "'é': b\n",
        "a: {} b\n",
        "a: |2\n   b\n",
        "a: |\n\n  b\n",
        "a: |\n    b\n  c: d\n",
        "? a\n",
        "a: {b: c}\n",
        "a: [b\n",
        "a: [b: c]\n",
        "a: b\n---\nc: d\n",
        "%YAML 1.1\n---\na: b\n",
        "a: 1\n b: 2\n",
        "  a: 1\n",
        "a:\n    b: 1\n  c: 2\n",
        "- a\nb: c\n",
        "\u{feff}a: 1\n",
        "a: x\u{85}b: y\n",
        "a: @b\n",
        "a: - b\n",
        "a: [b,]\n",
        "a: 'b' c\n",
        "a: \"\\x41\"\n",
        "a: \r\n",
    ] {
        assert!(parse(text).is_none(), "{text:?}");
    }
}

fn yaml_files(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            yaml_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            out.push(path);
        }
    }
}

#[test]
fn real_files_come_out_as_the_parser_has_them() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    yaml_files(&own.join("tests"), &mut files);
    yaml_files(&own.join("../../../shared/corpus"), &mut files);
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let (mut short, mut all) = (0, 0);
    for text in texts {
        all += text.len();
        short += if agrees(&text) { text.len() } else { 0 };
    }
    eprintln!("{short} of {all} bytes in {} files take the short cut", files.len());
    assert!(!files.is_empty() && short > all / 2);
}

/// Lines that are nearly, or really, what configuration is made of.
fn line() -> impl Strategy<Value = String> {
    let start = prop::sample::select(vec![
        "", "- ", "- - ", "-", "a: ", "b:", "a/b: ", "- a: ", "- b:", "# ", "x", "-x", "? ", "<<: ",
        "\"k\": ", "'q':", "--", "---",
    ]);
    let value = prop::sample::select(vec![
        "",
        "v",
        "1",
        "v w",
        "v # c",
        "v#c",
        "'q'",
        "'it''s'",
        "\"d\"",
        "\"a\\\"b\"",
        "\"a\\x41\"",
        "[]",
        "[a, b]",
        "[a, 'b', \"c\"] # d",
        "[a",
        "{}",
        "|",
        "|-",
        "|+",
        ">",
        ">-",
        "--x",
        "-- y",
        "~",
        "k: v",
        "v:",
        "- x",
        "&x y",
        "*x",
        "!t v",
        ":",
        "a:b",
        "é",
        "'open",
        "[a, , b]",
        "[a b, c ]",
        "  padded  ",
        "-",
        "-1",
        "%x",
        "@x",
        "#x",
        "\t",
        "'a' b",
    ]);
    (0..5_usize, start, value)
        .prop_map(|(depth, start, value)| format!("{}{start}{value}\n", " ".repeat(depth)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn invented_files_come_out_as_the_parser_has_them(lines in prop::collection::vec(line(), 1..9)) {
        agrees(&lines.concat());
    }
}
