//! An object as lines of YAML that know their field, and unified diffs of such lines.

use super::fields::{below, names};
use serde_json::Value;
use similar::{Algorithm, DiffOp, capture_diff_slices, group_diff_ops};
use std::fmt::Write;

/// Lines of context around a change.
const CONTEXT: usize = 3;

struct Line {
    text: String,
    path: String,
}

/// A unified diff of two objects as YAML. Each hunk names the field of its first change.
pub(super) fn unified(old: &Value, new: &Value) -> String {
    let (a, b) = (block(old, ""), block(new, ""));
    let texts = |lines: &[Line]| lines.iter().map(|l| l.text.clone()).collect::<Vec<String>>();
    let ops = capture_diff_slices(Algorithm::Myers, &texts(&a), &texts(&b));
    let mut out = String::new();
    for hunk in group_diff_ops(ops, CONTEXT) {
        let changed = hunk.iter().find_map(|op| match op {
            DiffOp::Equal { .. } => None,
            DiffOp::Delete { old_index, .. } => a.get(*old_index),
            DiffOp::Insert { new_index, .. } | DiffOp::Replace { new_index, .. } => b.get(*new_index),
        });
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let range =
            |start: usize, end: usize| format!("{},{}", start + usize::from(end > start), end - start);
        // Writing to a String cannot fail; the same holds below.
        let _ = writeln!(
            out,
            "@@ -{} +{} @@ {}",
            range(first.old_range().start, last.old_range().end),
            range(first.new_range().start, last.new_range().end),
            changed.map_or("", |line| line.path.as_str()),
        );
        for op in &hunk {
            let equal = matches!(op, DiffOp::Equal { .. });
            for line in &a[op.old_range()] {
                let _ = writeln!(out, "{}{}", if equal { ' ' } else { '-' }, line.text);
            }
            for line in b[op.new_range()].iter().filter(|_| !equal) {
                let _ = writeln!(out, "+{}", line.text);
            }
        }
    }
    out
}

fn indented(lines: Vec<Line>, first: &str, rest: &str) -> impl Iterator<Item = Line> {
    let heads = std::iter::once(first.to_owned()).chain(std::iter::repeat(rest.to_owned()));
    lines
        .into_iter()
        .zip(heads)
        .map(|(line, head)| Line { text: format!("{head}{}", line.text), path: line.path })
}

/// A value as lines. Nothing stands for null, so that a Pod that is not there has no lines.
fn block(value: &Value, path: &str) -> Vec<Line> {
    let line = |text: String, path: &str| Line { text, path: path.to_owned() };
    let mut out = Vec::new();
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let at = below(path, key);
                let key = scalar(&Value::from(key.as_str()));
                if let Some(inline) = inline(value) {
                    out.push(line(format!("{key}: {inline}"), &at));
                } else if let Some(text) = multiline(value) {
                    out.push(line(format!("{key}: |"), &at));
                    out.extend(text.lines().map(|text| line(format!("  {text}"), &at)));
                } else {
                    out.push(line(format!("{key}:"), &at));
                    let indent = if value.is_array() { "" } else { "  " };
                    out.extend(indented(block(value, &at), indent, indent));
                }
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let names = names(list);
            for (index, value) in list.iter().enumerate() {
                let at = match &names {
                    Some(names) => format!("{path}[{}]", names[index]),
                    None => format!("{path}[{index}]"),
                };
                if let Some(inline) = inline(value) {
                    out.push(line(format!("- {inline}"), &at));
                } else if let Some(text) = multiline(value) {
                    out.push(line("- |".to_owned(), &at));
                    out.extend(text.lines().map(|text| line(format!("  {text}"), &at)));
                } else {
                    out.extend(indented(block(value, &at), "- ", "  "));
                }
            }
        }
        Value::Null => {}
        other => out.push(line(inline(other).unwrap_or_default(), path)),
    }
    out
}

/// A text that is best read over several lines, such as a script.
fn multiline(value: &Value) -> Option<&str> {
    let text = value.as_str()?;
    let plain = text.chars().all(|c| c == '\n' || !c.is_control()) && !text.starts_with([' ', '\n']);
    (plain && text.trim_end().contains('\n')).then_some(text)
}

fn inline(value: &Value) -> Option<String> {
    match value {
        Value::Object(map) => map.is_empty().then(|| "{}".to_owned()),
        Value::Array(list) => list.is_empty().then(|| "[]".to_owned()),
        _ if multiline(value).is_some() => None,
        value => Some(scalar(value)),
    }
}

/// A scalar as YAML: texts that could be read as something else are quoted as JSON does it.
fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let inside = |c: char| c.is_ascii_alphanumeric() || " _./:@=+,$()%-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || "/_$(".contains(c));
    let keyword = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let word = begins
        && text.chars().all(inside)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !keyword.contains(&text.to_ascii_lowercase().as_str());
    if word || is_measure(text) { text.clone() } else { value.to_string() }
}

/// A number with a unit, such as 12Gi, 500m or 2h0m0s; not what may be a number in another notation.
fn is_measure(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| "hmsikKMGT".contains(c))
        && text.bytes().all(|b| b.is_ascii_digit() || b"hmsikKMGT.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(value: &Value) -> String {
        block(value, "").into_iter().map(|l| l.text + "\n").collect()
    }

    #[test]
    fn objects_are_laid_out_as_yaml_and_read_back_as_they_were() {
        let value = json!({
            "a": {"x": [1, "two", {"k": "v", "l": [true]}], "empty": {}, "none": []},
            "quoted": ["yes", "1.5", "", " lead", "a: b", "-dash", "x\ty", "é", ".5", "Off", "a:", "0x1f", "1_000", "1e3", ".inf", "0o7", "12", "2001-01-01"],
            "plain": ["12Gi", "500m", "2h0m0s", "a b", "/x", "$(X)"],
            "script": "set -e\nmake\n\nexit 0",
            "list": [["n"], "one\ntwo"],
        });
        let shown = text(&value);
        assert!(shown.contains("script: |\n  set -e\n  make\n  \n  exit 0\n"), "{shown}");
        assert!(shown.contains("  x:\n  - 1\n  - two\n  - k: v\n    l:\n    - true\n"), "{shown}");
        assert!(shown.contains("plain:\n- 12Gi\n- 500m\n- 2h0m0s\n- a b\n- /x\n- $(X)\n"), "{shown}");
        let (read, odd) = prow_config::yaml::read::<Value>("x", shown.clone().into_bytes()).unwrap();
        assert!(odd.is_empty(), "{odd:?}");
        let mut want = value;
        // A block text ends in a newline, which a diff need not show.
        want["script"] = json!("set -e\nmake\n\nexit 0\n");
        want["list"][1] = json!("one\ntwo\n");
        assert_eq!(read, want, "{shown}");
    }

    #[test]
    fn hunks_name_the_field_they_begin_in() {
        let pod = |image: &str| json!({"spec": {"containers": [{"name": "test", "image": image, "args": ["a", "b", "c", "d"]}]}, "z": 1});
        let diff = unified(&pod("old"), &pod("new"));
        let want = "@@ -5,6 +5,6 @@ spec.containers[test].image\n     - b\n     - c\n     - d\n-    image: old\n+    image: new\n     name: test\n z: 1\n";
        assert_eq!(diff, want);
        assert_eq!(unified(&pod("x"), &pod("x")), "");
        assert_eq!(unified(&Value::Null, &json!({"a": 1})), "@@ -0,0 +1,1 @@ a\n+a: 1\n");
    }
}
