//! Logs: one JSON object a line in a cluster (with the keys that Prow's users filter by), readable text on a
//! terminal. Every line passes the process's censor.

use crate::censor;
use serde_json::{Map, Value};
use std::fmt;
use std::io::IsTerminal;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Starts logging to standard error. `level` is a word such as `info` or `debug`, or a filter such as
/// `prow_plank=debug`; RUST_LOG overrides it. Without a format: text on a terminal, JSON otherwise. A second call changes nothing.
pub fn init(level: &str, format: Option<Format>) {
    let format = format.unwrap_or(if std::io::stderr().is_terminal() { Format::Text } else { Format::Json });
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .or_else(|_| tracing_subscriber::EnvFilter::try_new(filter_of(level)))
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(Lines { format })
        .finish();
    // Already set: a test or an embedding program chose its own; theirs stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The filter for a level as Prow's users write it (prow-config §4.1). It is about what Prow says: the libraries below
/// it are heard from `warn` on.
fn filter_of(level: &str) -> String {
    let ours = match level.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => "error",
        "warn" | "warning" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        _ => return level.to_owned(),
    };
    let others = if ours == "error" { "error" } else { "warn" };
    // Prefix of the targets of all our crates.
    format!("{others},prow={ours}")
}

struct Lines {
    format: Format,
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.to_owned()));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.others.insert(name.strip_prefix("r#").unwrap_or(name).to_owned(), value);
            }
        }
    }
}

/// `prow_plank::reconcile` is the component `plank`.
fn component(target: &str) -> &str {
    let krate = target.split("::").next().unwrap_or(target);
    krate.strip_prefix("prow_").unwrap_or(krate)
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn line(format: Format, target: &str, severity: Level, now: jiff::Timestamp, fields: Fields) -> String {
    match format {
        Format::Json => {
            let mut object = fields.others;
            object.insert("component".into(), component(target).into());
            object.insert("level".into(), level(severity).into());
            object.insert("severity".into(), level(severity).into());
            object.insert("msg".into(), fields.message.into());
            object.insert("time".into(), now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
            Value::Object(object).to_string()
        }
        Format::Text => {
            let mut out =
                format!("{} {:7} {}: ", now.strftime("%H:%M:%S"), level(severity), component(target));
            push_printable(&mut out, &fields.message);
            for (key, value) in &fields.others {
                out.push_str(&format!(" {key}="));
                match value {
                    Value::String(text) if !text.contains([' ', '"', '=']) => push_printable(&mut out, text),
                    other => push_printable(&mut out, &other.to_string()),
                }
            }
            out
        }
    }
}

/// Terminal control characters in hostile text must not reach the terminal.
fn push_printable(out: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let text = line(self.format, meta.target(), *meta.level(), jiff::Timestamp::now(), fields);
        writeln!(writer, "{}", censor::process().censor(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_about_what_prow_says() {
        for (level, filter) in [
            ("info", "warn,prow=info"),
            ("Debug", "warn,prow=debug"),
            ("fatal", "error,prow=error"),
            ("warning", "warn,prow=warn"),
            ("prow_plank=trace,hyper=debug", "prow_plank=trace,hyper=debug"),
        ] {
            assert_eq!(filter_of(level), filter);
        }
    }

    #[test]
    fn lines_have_the_keys_that_users_filter_by() {
        let fields = || Fields {
            message: "Pod \x1b[31mmade".into(),
            others: Map::from_iter([("prowjob".to_owned(), "abc".into()), ("n".to_owned(), 3.into())]),
        };
        let now = jiff::Timestamp::UNIX_EPOCH;
        let json: Value =
            serde_json::from_str(&line(Format::Json, "prow_plank::pods", Level::WARN, now, fields()))
                .unwrap();
        assert_eq!(
            json,
            serde_json::json!({"component": "plank", "level": "warning", "severity": "warning", "n": 3,
                "msg": "Pod \u{1b}[31mmade", "prowjob": "abc", "time": "1970-01-01T00:00:00Z"})
        );
        assert_eq!(
            line(Format::Text, "prow_plank::pods", Level::INFO, now, fields()),
            "00:00:00 info    plank: Pod \\u{1b}[31mmade n=3 prowjob=abc"
        );
    }
}
