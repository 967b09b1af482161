//! What to run and how: ENTRYPOINT_OPTIONS as JSON, else flags (prow-runtime §7.5, §8, §11.24).

use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Where `--copy-mode-only` puts the binary.
pub const DEFAULT_COPY_DESTINATION: &str = "/tools/entrypoint";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(15);
/// The last two are the sidecar's business.
const WITH_VALUE: &[&str] = &[
    "timeout",
    "grace-period",
    "artifact-dir",
    "previous-marker",
    "copy-destination",
    "process-log",
    "marker-file",
    "metadata-file",
    "container-name",
];
const WITHOUT_VALUE: &[&str] = &["copy-mode-only", "propagate-error-code", "always-zero"];

/// Checked options, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Command and arguments.
    pub args: Vec<OsString>,
    /// SIGINT after this.
    pub timeout: Duration,
    /// SIGKILL this long after SIGINT.
    pub grace_period: Duration,
    /// Made before the command starts.
    pub artifact_dir: Option<PathBuf>,
    /// Marker of the container to wait for.
    pub previous_marker: Option<PathBuf>,
    /// Exit 0 whatever the marker says.
    pub always_zero: bool,
    /// After a timeout or interrupt report the command's own code.
    pub propagate_error_code: bool,
    /// Where the output goes besides standard output.
    pub process_log: PathBuf,
    /// Where the exit code goes.
    pub marker_file: PathBuf,
    /// Only copy this binary to `copy_destination`.
    pub copy_mode_only: bool,
    /// See there.
    pub copy_destination: PathBuf,
}

/// Before defaults and checks.
#[derive(Default)]
struct Raw {
    args: Vec<OsString>,
    timeout: i64,
    grace_period: i64,
    artifact_dir: String,
    previous_marker: String,
    always_zero: bool,
    propagate_error_code: bool,
    process_log: String,
    marker_file: String,
    copy_mode_only: bool,
    copy_destination: String,
}

/// Reads options from ENTRYPOINT_OPTIONS if it is set, however empty, else from flags.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: &impl Fn(&'static str) -> Option<OsString>,
) -> Result<Options, String> {
    let raw = match env("ENTRYPOINT_OPTIONS") {
        Some(json) => from_json(&json.to_string_lossy())
            .map_err(|e| format!("cannot use ENTRYPOINT_OPTIONS: {e}; it is the JSON that plank writes"))?,
        None => from_flags(args.into_iter().collect())?,
    };
    check(raw)
}

/// True if nothing but the flags is asked for.
pub(crate) fn wants_help(args: &[OsString], env: &impl Fn(&'static str) -> Option<OsString>) -> bool {
    let help = |arg: &OsString| ["-h", "--h", "-help", "--help"].iter().any(|word| arg == word);
    env("ENTRYPOINT_OPTIONS").is_none() && args.first().is_some_and(help)
}

/// What there is to know about the flags.
pub(crate) fn usage() -> String {
    format!(
        "Runs a job's command. Options come as JSON in ENTRYPOINT_OPTIONS, or as flags before the command:\n  \
         --{} VALUE\n  --{}\n",
        WITH_VALUE.join(" VALUE\n  --"),
        WITHOUT_VALUE.join("\n  --")
    )
}

/// Where the marker goes by options that are otherwise wrong, as far as that can be told.
pub(crate) fn marker_of(env: &impl Fn(&'static str) -> Option<OsString>) -> Option<PathBuf> {
    let text = env("ENTRYPOINT_OPTIONS")?;
    let Ok(Value::Object(object)) = serde_json::from_str(&text.to_string_lossy()) else { return None };
    let copies = object.get("copy_mode_only").is_some_and(|flag| *flag == Value::Bool(true));
    let marker = text_member(&object, "marker_file").ok().filter(|path| !path.is_empty() && !copies)?;
    Some(PathBuf::from(marker))
}

fn check(raw: Raw) -> Result<Options, String> {
    if !raw.copy_mode_only {
        if raw.args.first().is_none_or(|command| command.is_empty()) {
            return Err("there is no command to run: give the job a command or args".to_owned());
        }
        for (what, value) in [("process_log", &raw.process_log), ("marker_file", &raw.marker_file)] {
            if value.is_empty() {
                return Err(format!("{what} is empty: without it nobody learns how the command ended"));
            }
        }
    }
    let path = |text: String| Some(text).filter(|t| !t.is_empty()).map(PathBuf::from);
    let destination = path(raw.copy_destination);
    Ok(Options {
        args: raw.args,
        timeout: duration("timeout", raw.timeout, DEFAULT_TIMEOUT)?,
        grace_period: duration("grace_period", raw.grace_period, DEFAULT_GRACE_PERIOD)?,
        artifact_dir: path(raw.artifact_dir),
        previous_marker: path(raw.previous_marker),
        always_zero: raw.always_zero,
        propagate_error_code: raw.propagate_error_code,
        process_log: PathBuf::from(raw.process_log),
        marker_file: PathBuf::from(raw.marker_file),
        copy_mode_only: raw.copy_mode_only,
        copy_destination: destination.unwrap_or_else(|| PathBuf::from(DEFAULT_COPY_DESTINATION)),
    })
}

/// Zero means the default.
fn duration(what: &str, nanoseconds: i64, default: Duration) -> Result<Duration, String> {
    match u64::try_from(nanoseconds) {
        Ok(0) => Ok(default),
        Ok(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
        Err(_) => Err(format!("{what} is negative")),
    }
}

fn from_json(text: &str) -> Result<Raw, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let Value::Object(object) = value else { return Err("it is not an object".to_owned()) };
    let string = |key: &str| text_member(&object, key);
    let args = match object.get("args") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| {
                item.as_str().map(OsString::from).ok_or_else(|| "args holds something but texts".to_owned())
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err("args is not a list".to_owned()),
    };
    Ok(Raw {
        args,
        timeout: nanoseconds_member(&object, "timeout")?,
        grace_period: nanoseconds_member(&object, "grace_period")?,
        artifact_dir: string("artifact_dir")?,
        previous_marker: string("previous_marker")?,
        always_zero: bool_member(&object, "always_zero")?,
        propagate_error_code: bool_member(&object, "propagate_error_code")?,
        process_log: string("process_log")?,
        marker_file: string("marker_file")?,
        copy_mode_only: bool_member(&object, "copy_mode_only")?,
        copy_destination: string("copy_dst")?,
    })
}

fn text_member(object: &Map<String, Value>, key: &str) -> Result<String, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{key} is not a text")),
    }
}

fn bool_member(object: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(format!("{key} is neither true nor false")),
    }
}

fn nanoseconds_member(object: &Map<String, Value>, key: &str) -> Result<i64, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value.as_i64().ok_or_else(|| format!("{key} is not a whole number of nanoseconds")),
    }
}

/// Go's flag grammar: `--name=value`, `--name value`, `-name`, booleans without a value; the first other
/// argument, or what follows `--`, begins the command.
fn from_flags(args: VecDeque<OsString>) -> Result<Raw, String> {
    let mut raw = Raw::default();
    let mut args = args;
    while let Some(arg) = args.pop_front() {
        let text = arg.to_string_lossy().into_owned();
        if text == "--" {
            break;
        }
        let Some(flag) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).filter(|f| !f.is_empty())
        else {
            args.push_front(arg);
            break;
        };
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let boolean = match name {
            "copy-mode-only" => Some(&mut raw.copy_mode_only),
            "propagate-error-code" => Some(&mut raw.propagate_error_code),
            "always-zero" => Some(&mut raw.always_zero),
            _ => None,
        };
        if let Some(target) = boolean {
            *target = match inline.as_deref() {
                None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => true,
                Some("false" | "0" | "f" | "F" | "FALSE" | "False") => false,
                Some(other) => return Err(format!("--{name} is true or false, not {other:?}")),
            };
            continue;
        }
        if !WITH_VALUE.contains(&name) {
            return Err(format!(
                "there is no flag --{name}; known are --{}, --{}",
                WITH_VALUE.join(", --"),
                WITHOUT_VALUE.join(", --")
            ));
        }
        let value = match inline.or_else(|| args.pop_front().map(|v| v.to_string_lossy().into_owned())) {
            Some(value) => value,
            None => return Err(format!("--{name} needs a value")),
        };
        match name {
            "timeout" => raw.timeout = go_duration(&value)?,
            "grace-period" => raw.grace_period = go_duration(&value)?,
            "artifact-dir" => raw.artifact_dir = value,
            "previous-marker" => raw.previous_marker = value,
            "copy-destination" => raw.copy_destination = value,
            "process-log" => raw.process_log = value,
            "marker-file" => raw.marker_file = value,
            // The sidecar's business: accepted because the two share their options.
            _ => {}
        }
    }
    raw.args = args.into();
    Ok(raw)
}

/// `1h30m`, `1.5s`, `300ms`, `0`: nanoseconds.
fn go_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a duration; write it like 2h, 1h30m or 15s");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(wrong()),
        };
        rest = &rest[unit_end..];
        total += number * unit;
    }
    if total > i64::MAX as f64 {
        return Err(wrong());
    }
    Ok(if negative { -(total as i64) } else { total as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Result<Options, String> {
        parse(args.iter().map(OsString::from), &|_| None)
    }

    fn json(text: &str) -> Result<Options, String> {
        parse([], &|_| Some(OsString::from(text)))
    }

    #[test]
    fn plank_json_is_read_and_zero_durations_are_defaults() {
        let options = json(
            r#"{"timeout":0,"grace_period":1500000000,"artifact_dir":"/logs/artifacts","args":["make","test"],
                "process_log":"/logs/p","marker_file":"/logs/m","metadata_file":"x","container_name":"c","unknown":[1]}"#,
        )
        .unwrap();
        assert_eq!(options.timeout, Duration::from_secs(7200));
        assert_eq!(options.grace_period, Duration::from_millis(1500));
        assert_eq!(options.args, ["make", "test"]);
        assert_eq!(options.artifact_dir, Some("/logs/artifacts".into()));
        assert!(!options.always_zero && !options.propagate_error_code && !options.copy_mode_only);
    }

    #[test]
    fn wrong_json_is_refused_with_the_member_that_is_wrong() {
        for (text, why) in [
            ("", "EOF"),
            ("{", "EOF"),
            ("[]", "not an object"),
            (r#"{"timeout":"2h"}"#, "timeout is not a whole number"),
            (r#"{"timeout":1.5}"#, "timeout is not a whole number"),
            (r#"{"args":"make"}"#, "args is not a list"),
            (r#"{"args":[1]}"#, "args holds"),
            (r#"{"always_zero":"yes"}"#, "always_zero"),
            (r#"{"args":["x"],"process_log":"p","marker_file":"m","timeout":-1}"#, "negative"),
            (r#"{"args":["x"],"process_log":"p"}"#, "marker_file is empty"),
            (r#"{"args":[""],"process_log":"p","marker_file":"m"}"#, "no command"),
            ("{}", "no command"),
        ] {
            let error = json(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_environment_wins_over_flags_even_when_it_is_wrong() {
        let wrong = parse([OsString::from("--copy-mode-only")], &|_| Some(OsString::from("nonsense")));
        assert!(wrong.is_err());
    }

    #[test]
    fn flags_follow_gos_grammar() {
        let options = flags(&[
            "--timeout=1h30m",
            "-grace-period",
            "1.5s",
            "--process-log",
            "p",
            "--marker-file=m",
            "--metadata-file=x",
            "--propagate-error-code",
            "--",
            "sh",
            "-c",
            "exit 3",
        ])
        .unwrap();
        assert_eq!(options.timeout, Duration::from_secs(5400));
        assert_eq!(options.grace_period, Duration::from_millis(1500));
        assert!(options.propagate_error_code);
        assert_eq!(options.args, ["sh", "-c", "exit 3"]);
        let copy = flags(&["--copy-mode-only"]).unwrap();
        assert_eq!(copy.copy_destination, PathBuf::from("/tools/entrypoint"));
        assert!(flags(&["--copy-mode-only=false"]).is_err(), "then there is a command missing");
        for (args, why) in [
            (&["--nope"][..], "no flag --nope"),
            (&["--timeout"], "needs a value"),
            (&["--timeout=2"], "not a duration"),
            (&["--timeout=x"], "not a duration"),
            (&["--copy-mode-only=maybe"], "true or false"),
        ] {
            let error = flags(args).unwrap_err();
            assert!(error.contains(why), "{args:?}: {error}");
        }
    }
}
