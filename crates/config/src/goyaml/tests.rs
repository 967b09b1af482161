//! The decoder as a whole: coercion, nulls, merges, findings, and the reference implementation's answers.

use super::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The type of `typed` in golden/vectors/yaml.json.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Typed {
    #[serde(skip_serializing_if = "String::is_empty")]
    s: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    i: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    f: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    l: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    m: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subs: Vec<Typed>,
}

fn decode<T: serde::de::DeserializeOwned + Default>(text: &str, coerce: bool) -> (T, Vec<String>) {
    let mut findings = Findings::new("f.yaml".into());
    let value = match Document::parse(text, &mut findings) {
        Some(document) => document.root().map(|r| r.decode(coerce, &mut findings).0).unwrap_or_default(),
        None => T::default(),
    };
    (value, findings.list.iter().map(|d| d.to_string()).collect())
}

#[test]
fn null_is_zero_and_case_does_not_matter() {
    let (typed, findings) = decode::<Typed>("S: x\ni:\nl: ~\nm: {k: null}\nsubs: [null, {B: yes}]\n", false);
    assert_eq!(findings, Vec::<String>::new());
    assert_eq!((typed.s.as_str(), typed.i, typed.l.len()), ("x", None, 0));
    assert_eq!(typed.m["k"], "");
    assert_eq!(typed.subs[1].b, Some(true));
}

#[test]
fn coercion_is_only_where_allowed() {
    let text = "s: 1.10\nl: [yes, 010]\nm: {k: 1e3}\n";
    let (typed, findings) = decode::<Typed>(text, true);
    assert_eq!((typed.s.as_str(), findings.len()), ("1.1", 0));
    assert_eq!(typed.l, ["true", "8"]);
    assert_eq!(typed.m["k"], "1000");
    let (_, findings) = decode::<Typed>(text, false);
    assert_eq!(
        findings,
        [
            "f.yaml:1:4: s: wants a text, found the number 1.1; put it in quotes",
            "f.yaml:2:5: l[0]: wants a text, found the boolean true; put it in quotes",
            "f.yaml:2:10: l[1]: wants a text, found the number 8; put it in quotes",
            "f.yaml:3:8: m.k: wants a text, found the number 1000; put it in quotes",
        ]
    );
}

#[test]
fn all_errors_and_unknown_keys_are_found_at_once() {
    let (typed, findings) =
        decode::<Typed>("i: x\nsbus: []\nf: [1]\ns: kept\nsubs:\n- zebra_crossing: 1\n", false);
    assert_eq!(typed.s, "kept");
    assert_eq!(
        findings,
        [
            "f.yaml:1:4: i: wants a whole number, found the text \"x\"",
            "f.yaml:3:4: f: wants a number, found a list",
            "f.yaml:2:1: sbus: unknown key, it has no effect (did you mean \"subs\"?)",
            "f.yaml:6:3: subs[0].zebra_crossing: unknown key, it has no effect",
        ]
    );
}

#[test]
fn merges_apply_where_they_stand() {
    let (typed, _) = decode::<Typed>(
        "a: &x {s: merged, i: 1}\nsubs:\n- {s: before, <<: *x}\n- {<<: *x, s: after}\n",
        false,
    );
    assert_eq!((typed.subs[0].s.as_str(), typed.subs[1].s.as_str()), ("merged", "after"));
    let (typed, _) = decode::<Typed>("a: [&x {s: one}, &y {s: two, i: 2}]\nsubs: [{<<: [*x, *y]}]\n", false);
    assert_eq!((typed.subs[0].s.as_str(), typed.subs[0].i), ("one", Some(2)));
}

#[test]
fn anchor_holders_are_told_from_other_keys() {
    let mut findings = Findings::new("f".into());
    let document = Document::parse("tpl: {a: &x 1}\nplain: {a: 1}\nuse: *x\n", &mut findings).unwrap();
    let root = document.root().unwrap();
    assert!(root.get("tpl").unwrap().value.holds_anchor());
    assert!(!root.get("plain").unwrap().value.holds_anchor());
}

#[test]
fn text_encodings() {
    assert_eq!(decode_text(b"\xEF\xBB\xBFa: 1".to_vec()).unwrap(), "a: 1");
    assert_eq!(decode_text(b"\xFF\xFEa\0".to_vec()).unwrap(), "a");
    assert!(decode_text(b"a: \xFF".to_vec()).unwrap_err().contains("UTF-8"));
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "[ -~\\n\\t\\PC]{0,200}") {
        let _ = decode::<Typed>(&text, true);
        let _ = decode::<Value>(&text, false);
    }

    #[test]
    fn arbitrary_structure_never_panics(text in "([a-c&*<>!|:\\[\\]{},?'\"\n -]|<<: |&x |\\*x|- ){0,60}") {
        let _ = decode::<Typed>(&text, true);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        if let Ok(text) = decode_text(bytes) {
            let _ = decode::<Typed>(&text, false);
        }
    }
}

/// Go and we agree on what a JSON text means; floats compare by value.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

#[test]
fn the_reference_implementation_agrees() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/vectors/yaml.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not here", path.display());
        return;
    };
    #[derive(Deserialize)]
    struct Vector {
        name: String,
        input: String,
        any: String,
        typed: String,
    }
    let vectors: Vec<Vector> = serde_json::from_str(&text).unwrap();
    // Where we read on and upstream refuses; no real file has been seen to have any of these.
    const LENIENT: [&str; 4] = ["tab sep list", "tab blank line", "tab comment line", "nel"];
    let mut wrong = Vec::new();
    for v in vectors.iter().filter(|v| !LENIENT.contains(&v.name.as_str())) {
        let (any, any_findings) = decode::<Value>(&v.input, false);
        let (typed, typed_findings) = decode::<Typed>(&v.input, true);
        let errors = |f: &[String]| f.iter().any(|m| !m.contains("unknown key"));
        for (what, want, got, failed) in [
            ("any", &v.any, any, errors(&any_findings)),
            ("typed", &v.typed, serde_json::to_value(&typed).unwrap(), errors(&typed_findings)),
        ] {
            let agrees = match serde_json::from_str::<Value>(want) {
                _ if want.starts_with("ERR") => failed,
                Ok(Value::Null) if what == "typed" => !failed,
                Ok(want) => !failed && same(&want, &got),
                Err(e) => panic!("{}: {e}", v.name),
            };
            if !agrees {
                wrong.push(format!("{} ({what}): {:?} wants {want}, got {got}", v.name, v.input));
            }
        }
    }
    let total = (vectors.len() - LENIENT.len()) * 2;
    eprintln!(
        "{} of {total} answers agree, {} inputs are read though upstream refuses them",
        total - wrong.len(),
        LENIENT.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
