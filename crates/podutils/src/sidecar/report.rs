//! What finished.json says, as pure functions of markers, metadata and job (prow-runtime §8.4, §9).

use crate::initupload::revision;
use crate::upload::Beneath;
use prow_api::JobSpec;
use prow_api::results::Finished;
use serde_json::{Map, Value};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Container was interrupted.
const INTERRUPTED: i32 = 130;
/// Container did not run because the one before it failed.
const PREVIOUS_FAILED: i32 = 1130;
/// finished.json is read whole by everyone who shows a run: Deck reads so much of it, and no more.
const LARGEST_FINISHED: usize = 2 << 20;
/// A file of metadata that is larger cannot become part of it.
const LARGEST_METADATA: u64 = LARGEST_FINISHED as u64;
/// Member of the metadata that holds what went wrong with it.
const ERRORS: &str = "sidecar-errors";

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub passed: bool,
    pub aborted: bool,
    /// Containers that failed of their own.
    pub failures: usize,
}

/// From what the markers say; one that cannot be read is a failure.
pub(crate) fn verdict(codes: &[Result<i32, String>]) -> Verdict {
    let failed = |code: &&Result<i32, String>| !matches!(code, Ok(0 | PREVIOUS_FAILED));
    Verdict {
        passed: codes.iter().all(|code| matches!(code, Ok(0))),
        aborted: codes.iter().any(|code| matches!(code, Ok(INTERRUPTED))),
        failures: codes.iter().filter(failed).count(),
    }
}

/// finished.json.
pub(crate) fn finished(
    verdict: &Verdict,
    metadata: Map<String, Value>,
    spec: &JobSpec,
    now: i64,
) -> Finished {
    let result = match verdict {
        Verdict { passed: true, .. } => "SUCCESS",
        Verdict { aborted: true, .. } => "ABORTED",
        _ => "FAILURE",
    };
    Finished {
        timestamp: Some(now),
        passed: Some(verdict.passed),
        metadata: Some(metadata).filter(|m| !m.is_empty()),
        result: result.to_owned(),
        revision: spec.main_refs().map(revision).unwrap_or_default(),
        ..Finished::default()
    }
}

/// finished.json as text. What a job put into its metadata must not keep readers from learning how it ended: if all of
/// it is too much, or nested too deeply to be read again, it is left out.
pub(crate) fn text(mut finished: Finished) -> serde_json::Result<Vec<u8>> {
    let text = serde_json::to_vec(&finished)?;
    let why = if text.len() > LARGEST_FINISHED {
        format!("finished.json would be larger than {LARGEST_FINISHED} bytes")
    } else if let Err(error) = serde_json::from_slice::<Finished>(&text) {
        format!("finished.json could not be read again ({error})")
    } else {
        return Ok(text);
    };
    tracing::error!("the metadata is left out: {why}");
    let errors = Value::Object([("metadata".to_owned(), why.into())].into_iter().collect());
    finished.metadata = Some([(ERRORS.to_owned(), errors)].into_iter().collect());
    serde_json::to_vec(&finished)
}

/// A metadata file; `None` if the job wrote none.
pub(crate) fn read_metadata(path: &str) -> Result<Option<Map<String, Value>>, String> {
    let read = || -> io::Result<Vec<u8>> {
        let (root, name) = Beneath::parent_of(Path::new(path))?;
        let mut bytes = Vec::new();
        root.file(&name)?.0.take(LARGEST_METADATA + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(left_out(format!("cannot read {path}: {e}"))),
        Ok(bytes) if bytes.len() as u64 > LARGEST_METADATA => {
            Err(left_out(format!("{path} is larger than {LARGEST_METADATA} bytes")))
        }
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            // `null` is no metadata.
            Ok(map) => Ok(map),
            Err(e) => {
                let (line, column) = (e.line(), e.column());
                Err(left_out(format!("{path} is not a JSON object (line {line}, column {column})")))
            }
        },
    }
}

fn left_out(why: String) -> String {
    tracing::error!("metadata is left out: {why}");
    why
}

/// Lays the pieces over one another in order, member by member at the top level, every text censored.
pub(crate) fn merge(
    pieces: Vec<(String, Result<Option<Map<String, Value>>, String>)>,
    censor: impl Fn(&str) -> String,
) -> Map<String, Value> {
    let mut merged = Map::new();
    let mut errors = Map::new();
    for (name, piece) in pieces {
        match piece {
            Ok(Some(piece)) => merged.extend(piece),
            Ok(None) => {}
            Err(why) => {
                let errors = errors.entry(name).or_insert(Value::Null);
                *errors = match errors {
                    Value::String(before) => format!("{before}; {why}").into(),
                    _ => why.into(),
                };
            }
        }
    }
    if !errors.is_empty() {
        merged.insert(ERRORS.to_owned(), errors.into());
    }
    censored_map(merged, &censor)
}

fn censored_map(map: Map<String, Value>, censor: &impl Fn(&str) -> String) -> Map<String, Value> {
    map.into_iter().map(|(key, value)| (censor(&key), censored(value, censor))).collect()
}

fn censored(value: Value, censor: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(censor(&text)),
        Value::Array(items) => items.into_iter().map(|item| censored(item, censor)).collect(),
        Value::Object(map) => Value::Object(censored_map(map, censor)),
        // A secret may be digits; a number that is none stays the number it was.
        Value::Number(number) => {
            let text = number.to_string();
            let masked = censor(&text);
            if masked == text { Value::Number(number) } else { Value::String(masked) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::{Pull, Refs};
    use serde_json::json;

    #[test]
    fn markers_decide() {
        let bad = || Err("?".to_owned());
        for (codes, passed, aborted, failures, result) in [
            (vec![Ok(0)], true, false, 0, "SUCCESS"),
            (vec![Ok(0), Ok(1)], false, false, 1, "FAILURE"),
            (vec![Ok(130), Ok(0)], false, true, 1, "ABORTED"),
            (vec![Ok(1), Ok(1130)], false, false, 1, "FAILURE"),
            (vec![Ok(127), Ok(130)], false, true, 2, "ABORTED"),
            (vec![Ok(0), bad()], false, false, 1, "FAILURE"),
        ] {
            let verdict = verdict(&codes);
            assert_eq!(verdict, Verdict { passed, aborted, failures }, "{codes:?}");
            assert_eq!(finished(&verdict, Map::new(), &JobSpec::default(), 1).result, result);
        }
    }

    #[test]
    fn finished_json_has_the_contracts_shape() {
        let refs = Refs {
            org: "o".into(),
            base_ref: "main".into(),
            base_sha: "abc".into(),
            pulls: vec![Pull { number: 1, sha: "def".into(), ..Pull::default() }],
            ..Refs::default()
        };
        let spec = JobSpec { refs: Some(refs), ..JobSpec::default() };
        let verdict = Verdict { passed: true, aborted: false, failures: 0 };
        let metadata = json!({"k": {"nested": [1]}}).as_object().unwrap().clone();
        assert_eq!(
            serde_json::to_string(&finished(&verdict, metadata, &spec, 5)).unwrap(),
            r#"{"timestamp":5,"passed":true,"metadata":{"k":{"nested":[1]}},"result":"SUCCESS","revision":"def"}"#
        );
    }

    #[test]
    fn metadata_cannot_make_finished_json_unreadable() {
        let verdict = Verdict { passed: false, aborted: false, failures: 1 };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metadata.json");
        // As deep as a reader goes: one level more, which finished.json adds, is too much for it.
        std::fs::write(&path, format!("{{\"deep\":{}{}}}", "[".repeat(126), "]".repeat(126))).unwrap();
        let deep = read_metadata(path.to_str().unwrap()).unwrap().unwrap();
        let half = || Value::String("x".repeat(LARGEST_FINISHED / 2));
        let large = json!({"a": half(), "b": half()}).as_object().unwrap().clone();
        for metadata in [deep, large] {
            let text = text(finished(&verdict, metadata, &JobSpec::default(), 5)).unwrap();
            let read: Finished = serde_json::from_slice(&text).unwrap();
            assert_eq!((read.passed, read.result.as_str()), (Some(false), "FAILURE"));
            assert!(text.len() < 1024 && read.metadata.unwrap().contains_key(ERRORS));
        }
    }

    #[test]
    fn metadata_is_merged_in_order_and_errors_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            read_metadata(path.to_str().unwrap())
        };
        let pieces = vec![
            ("a".to_owned(), file("a", r#"{"x": 1, "y": {"secret": ["hunter2"]}}"#)),
            ("b".to_owned(), file("b", r#"{"x": 2, "pin": 4711}"#)),
            ("c".to_owned(), file("c", "not json")),
            ("d".to_owned(), read_metadata(dir.path().join("none").to_str().unwrap())),
        ];
        let merged = merge(pieces, |t| t.replace("hunter2", "XXXXXXX").replace("4711", "XXXX"));
        let merged = Value::Object(merged);
        assert_eq!(merged["x"], 2);
        assert_eq!(merged["y"], json!({"secret": ["XXXXXXX"]}));
        assert_eq!(merged["pin"], "XXXX");
        assert!(merged["sidecar-errors"]["c"].as_str().unwrap().contains("not a JSON object"));
        assert_eq!(merged["sidecar-errors"].as_object().unwrap().len(), 1);
    }
}
