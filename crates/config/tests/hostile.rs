//! Hostile files cost bounded memory and bounded time: each goes through decoder and loader in a process of its own
//! that the system ends if it takes more.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "hostile/entry.rs"]
mod entry;

use proptest::prelude::*;
use proptest::sample::Index;
use std::io::Write;
use std::path::Path;
use std::process::Command;

const MB: usize = 1 << 20;
/// Address space for one input, in KiB: many times what the largest takes.
const MEMORY: usize = 3 << 20;
/// Processor seconds for one input, without optimisation and beside other tests.
const SECONDS: usize = 120;
const INPUT: &str = "PROW_HOSTILE_INPUT";

/// Nested anchors, each naming the last one several times.
fn bomb(levels: usize, item: &str, row: impl Fn(&str) -> String) -> String {
    let mut out = format!("a0: &a0 {item}\n");
    for level in 1..levels {
        let last = format!("*a{}", level - 1);
        out += &format!("a{level}: &a{level} {}\n", row(&last));
    }
    out
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

/// Small, and `members` MiB when it is unpacked.
fn gzip(members: usize) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(&vec![b'#'; MB]).unwrap();
    out.finish().unwrap().repeat(members)
}

fn job(rest: &str) -> String {
    format!("periodics:\n- name: x\n  interval: 1h\n  spec: {{containers: [{{image: i}}]}}\n{rest}")
}

fn nine(last: &str) -> String {
    [last; 9].join(",")
}

/// What makes an input; only the one that is asked for is made.
type Make = fn() -> Vec<u8>;

const INPUTS: &[(&str, Make)] = &[
    ("alias bomb", || bomb(30, "[x,x,x,x,x,x,x,x,x]", |last| format!("[{}]", nine(last))).into()),
    ("map bomb", || bomb(30, "{k: v}", |last| format!("{{a: {last}, b: {last}, c: {last}}}")).into()),
    ("merge bomb", || bomb(30, "{k: v}", |last| format!("{{<<: [{}]}}", nine(last))).into()),
    ("merge bomb behind real nodes", || {
        let bomb = bomb(5, "{k: v}", |last| format!("{{<<: [{}]}}", nine(last)));
        format!("{bomb}pad:\n{}", lines(20_000, |i| format!("- {i}\n"))).into()
    }),
    ("merge ladder", || bomb(5000, "{k: v}", |last| format!("{{<<: {last}}}")).into()),
    ("an anchor in itself", || b"a: &a [*a]\nb: &b {<<: *b}\n".to_vec()),
    ("brackets", || "[".repeat(MB).into()),
    ("braces", || "{a: ".repeat(MB).into()),
    ("dashes", || "- ".repeat(MB).into()),
    ("question marks", || "? ".repeat(MB).into()),
    ("steps", || lines(3000, |i| format!("{}a:\n", " ".repeat(i))).into()),
    ("a plain scalar", || format!("a: {}\n", "x".repeat(10 * MB)).into()),
    ("a number", || format!("a: {}\n", "9".repeat(10 * MB)).into()),
    ("a quoted scalar", || format!("a: \"{}\"\n", "\\n".repeat(5 * MB)).into()),
    ("a scalar that does not end", || format!("a: \"{}", "x".repeat(10 * MB)).into()),
    ("a scalar over lines", || format!("a: {}\n", "x\n  ".repeat(MB)).into()),
    ("a block scalar", || format!("a: |\n{}", "  x\n".repeat(2 * MB)).into()),
    ("a key", || format!("{}: a\n", "x".repeat(10 * MB)).into()),
    ("a comment", || format!("# {}\na: 1\n", "x".repeat(10 * MB)).into()),
    ("a line of items", || format!("a: [{}]\n", "x,".repeat(MB / 2)).into()),
    ("blank lines", || "\n".repeat(10 * MB).into()),
    ("blanks", || " ".repeat(10 * MB).into()),
    ("many keys", || lines(200_000, |i| format!("k{i}: 1\n")).into()),
    ("one key again and again", || "a: 1\n".repeat(200_000).into()),
    ("many unknown keys of a job", || job(&lines(50_000, |i| format!("  k{i}: 1\n"))).into()),
    ("many wrong values", || format!("periodics:\n{}", "- {name: [], cron: {}}\n".repeat(20_000)).into()),
    ("many empty jobs", || format!("periodics:\n{}", "- {}\n".repeat(20_000)).into()),
    ("many anchors", || format!("a:\n{}", lines(50_000, |i| format!("- &x{i} {i}\n"))).into()),
    ("a large pattern", || {
        let pattern = "((a{1000}){1000}){1000}";
        let pull = format!("{{name: z, run_if_changed: '{pattern}', spec: {{containers: [{{image: i}}]}}}}");
        job(&format!("presubmits: {{o/r: [{pull}]}}\n")).into()
    }),
    ("no UTF-8", || b"a: \xff\xfe\xc3\x28\n\xf0\x9f".to_vec()),
    ("half of UTF-16", || b"\xff\xfea\0:\0 \0\x00\xd8b".to_vec()),
    ("controls", || (1..=31_u8).chain([127]).collect()),
    ("a gzip bomb", || gzip(1000)),
    ("half of gzip", || gzip(1)[..12].to_vec()),
    ("many documents", || "---\na: 1\n".repeat(100_000).into()),
    ("directives", || "%TAG ! tag:x\n".repeat(20_000).into()),
    ("tags", || format!("a: {}x\n", "!".repeat(MB)).into()),
];

#[test]
#[ignore = "one input of the test below, in a process of its own"]
fn subject() {
    let Ok(name) = std::env::var(INPUT) else { return };
    let (_, make) = INPUTS.iter().find(|(known, _)| *known == name).unwrap();
    let bytes = make();
    let directory = tempfile::tempdir().unwrap();
    entry::decode(&bytes);
    entry::load_tree(directory.path(), &bytes);
    // The same once more, where config.yaml and plugins.yaml are read.
    let everywhere = [&b"a: 1\n"[..], &bytes, &bytes].join(&0);
    entry::load_tree(directory.path(), &everywhere);
}

#[cfg(target_os = "linux")]
#[test]
fn hostile_files_are_bounded_in_memory_and_time() {
    let program = std::env::current_exe().unwrap();
    let mut wrong = Vec::new();
    for (name, _) in INPUTS {
        let out = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "ulimit -v {MEMORY} && ulimit -t {SECONDS} && exec \"$0\" --exact subject --ignored"
            ))
            .arg(&program)
            .env(INPUT, name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        if !out.status.success() || !said.contains("1 passed") {
            let why = String::from_utf8_lossy(&out.stderr);
            wrong.push(format!("{name}: {}\n{said}{why}", out.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Texts of the fixtures, which hold nearly everything that configuration is made of.
fn fixtures() -> Vec<String> {
    fn visit(directory: &Path, out: &mut Vec<String>) {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                visit(&path, out);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                out.extend(std::fs::read_to_string(&path));
            }
        }
    }
    let mut out = Vec::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"), &mut out);
    out
}

/// One change of a text: what is taken from where, or put in instead.
#[derive(Debug, Clone)]
enum Change {
    Cut(Index, usize),
    Repeat(Index, usize),
    Put(Index, &'static str),
}

const PIECES: [&str; 24] = [
    "- ",
    "  ",
    "\n",
    ": ",
    "&a ",
    "*a",
    "<<: *a",
    "{",
    "}",
    "[",
    "]",
    "|\n",
    ">-\n",
    "'",
    "\"",
    "#",
    "~",
    "--x",
    "!!int ",
    "99999999999999999999",
    "\u{e9}",
    "\t",
    "---\n",
    "{{",
];

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
        (any::<Index>(), prop::sample::select(&PIECES[..])).prop_map(|(at, piece)| Change::Put(at, piece)),
    ]
}

fn mangled(text: &str, changes: &[Change]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for change in changes {
        let (Change::Cut(at, _) | Change::Repeat(at, _) | Change::Put(at, _)) = change;
        let at = at.index(chars.len() + 1);
        let (end, new) = match *change {
            Change::Cut(_, length) => ((at + length).min(chars.len()), Vec::new()),
            Change::Repeat(_, length) => (at, chars[at..(at + length).min(chars.len())].to_vec()),
            Change::Put(_, piece) => (at, piece.chars().collect()),
        };
        chars.splice(at..end, new);
    }
    chars.into_iter().collect()
}

/// As many as `PROPTEST_CASES` says: more than usual is fuzzing without tools.
fn cases() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(64))
}

proptest::proptest! {
    #![proptest_config(cases())]

    #[test]
    fn mangled_files_come_back(
        files in prop::collection::vec((any::<Index>(), prop::collection::vec(change(), 0..5)), 4),
    ) {
        let fixtures = fixtures();
        let texts: Vec<String> = files.iter().map(|(at, changes)| mangled(&fixtures[at.index(fixtures.len())], changes)).collect();
        let directory = tempfile::tempdir().unwrap();
        entry::decode(texts[0].as_bytes());
        // Zero bytes part the files; the fourth of a tree is `.prowignore`.
        let tree = [&texts[0], &texts[1], &texts[2], &String::new(), &texts[3]].map(|t| t.replace('\0', "")).join("\0");
        entry::load_tree(directory.path(), tree.as_bytes());
    }

    #[test]
    fn trees_of_arbitrary_bytes_come_back(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let directory = tempfile::tempdir().unwrap();
        entry::decode(&bytes);
        entry::load_tree(directory.path(), &bytes);
    }
}
