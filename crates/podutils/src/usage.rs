//! What a run cost, as its entrypoints measured it: `usage.json`, and `resource-usage` in the metadata of
//! finished.json. docs/results.md describes the members.
//!
//! The measurements lie where the job can write. So only what we know is taken over, and only numbers.

use crate::upload::Beneath;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Name of the object.
pub(crate) const USAGE_JSON: &str = "usage.json";
/// Member of the metadata.
pub(crate) const RESOURCE_USAGE: &str = "resource-usage";
/// Bytes that are read of a file; ours is far shorter.
const LONGEST: u64 = 4096;

/// Of one container. What the kernel did not tell is not there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<u32>,
    /// Ours: the entrypoint was killed, so these are the figures of a moment before.
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    killed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_mean_cores: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_peak_cores: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_limit_cores: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_throttled_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_pressure_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_pressure_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_kills: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io_pressure_seconds: Option<f64>,
}

/// What was measured beside these markers, by container name; empty if nothing was.
pub(crate) fn collect<'a>(markers: impl Iterator<Item = (String, &'a str)>) -> Map<String, Value> {
    let measured = |(name, marker): (String, &str)| {
        let file = prow_entrypoint::usage_file(Path::new(marker));
        match read(&file) {
            Ok(mut usage) => {
                if prow_entrypoint::died(Path::new(marker)) && !Path::new(marker).exists() {
                    usage.killed = Some(true);
                    // What ended it came after the last count: none so far says nothing.
                    usage.oom_kills = usage.oom_kills.filter(|kills| *kills > 0);
                }
                Some((name, serde_json::to_value(usage).ok()?))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("what {name} cost is left out: {}: {error}", file.display());
                None
            }
        }
    };
    markers.filter_map(measured).collect()
}

fn read(file: &Path) -> io::Result<Usage> {
    let (root, name) = Beneath::parent_of(file)?;
    let mut text = Vec::new();
    root.file(&name)?.0.take(LONGEST).read_to_end(&mut text)?;
    // Not the error's own text: it would repeat what the job may have written.
    serde_json::from_slice(&text)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not a measurement"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn measurements_are_taken_over_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let marker = |name: &str, text: Option<&str>| {
            let marker = dir.path().join(name);
            if let Some(text) = text {
                std::fs::write(prow_entrypoint::usage_file(&marker), text).unwrap();
            }
            marker.to_str().unwrap().to_owned()
        };
        let markers = [
            (
                "a",
                Some(
                    r#"{"cgroup":2,"cpu_seconds":1.5,"oom_kills":1,"memory_peak_bytes":7,"more":"hunter2"}"#,
                ),
            ),
            ("text", Some(r#"{"cpu_seconds":"hunter2"}"#)),
            ("none", None),
            ("half", Some("{")),
        ]
        .map(|(name, text)| (name.to_owned(), marker(name, text)));
        let collected = collect(markers.iter().map(|(name, marker)| (name.clone(), marker.as_str())));
        assert_eq!(
            Value::Object(collected),
            json!({"a": {"cgroup": 2, "cpu_seconds": 1.5, "oom_kills": 1, "memory_peak_bytes": 7}})
        );
    }

    #[test]
    fn the_figures_of_an_entrypoint_that_was_killed_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let marker = dir.path().join("marker");
        let of = |text: &str| {
            std::fs::write(prow_entrypoint::usage_file(&marker), text).unwrap();
            Value::Object(collect([("t".to_owned(), marker.to_str().unwrap())].into_iter()))
        };
        let text = r#"{"cgroup":2,"oom_kills":0,"memory_peak_bytes":7,"killed":true}"#;
        assert_eq!(of(text), json!({"t": {"cgroup": 2, "oom_kills": 0, "memory_peak_bytes": 7}}), "no lock");
        std::fs::write(prow_entrypoint::lock_file(&marker), "").unwrap();
        assert_eq!(of(text), json!({"t": {"cgroup": 2, "killed": true, "memory_peak_bytes": 7}}));
        let once = r#"{"cgroup":2,"oom_kills":1}"#;
        assert_eq!(of(once), json!({"t": {"cgroup": 2, "killed": true, "oom_kills": 1}}));
        std::fs::write(&marker, "0").unwrap();
        assert_eq!(of(once), json!({"t": {"cgroup": 2, "oom_kills": 1}}), "it came to its end");
    }

    #[test]
    fn the_entrypoints_own_members_are_all_known() {
        let all = r#"{"cgroup":2,"seconds":2.01,"cpu_seconds":2.1,"cpu_mean_cores":1.044,"cpu_peak_cores":1.9,
            "cpu_limit_cores":2.0,"cpu_throttled_seconds":0.005,"cpu_pressure_seconds":0.25,"memory_peak_bytes":300,
            "memory_limit_bytes":4096,"memory_pressure_seconds":0.5,"oom_kills":1,"read_bytes":7,"written_bytes":8,
            "io_pressure_seconds":1.234}"#;
        let usage: Usage = serde_json::from_str(all).unwrap();
        assert_eq!(serde_json::to_value(usage).unwrap(), serde_json::from_str::<Value>(all).unwrap());
    }
}
