//! The utilities' own log: JSON lines on standard error, and kept for `sidecar-logs.json` (prow-runtime §8.4).

use crate::censor::Censor;
use serde_json::{Map, Value};
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Kept at most; a run with millions of odd artifacts must not fill memory.
const KEPT: usize = 8 << 20;

/// Takes every event of our crates from debug up; shows those from info up.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Inner>);

struct Inner {
    component: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Vec<u8>,
    censor: Option<Arc<Censor>>,
}

impl Journal {
    /// A journal that is not installed anywhere.
    pub(crate) fn new(component: &str) -> Self {
        Journal(Arc::new(Inner { component: component.to_owned(), state: Mutex::default() }))
    }

    /// Makes it the process's log. In a process that has one already (a test) it stays empty.
    pub(crate) fn install(component: &str) -> Self {
        let journal = Journal::new(component);
        let subscriber = tracing_subscriber::registry().with(Lines(journal.clone()));
        let _ = tracing::subscriber::set_global_default(subscriber);
        journal
    }

    /// From now on lines pass this censor too.
    pub(crate) fn censor_with(&self, censor: Arc<Censor>) {
        self.state().censor = Some(censor);
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<u8> {
        self.state().kept.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lines(Journal);

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::DEBUG && metadata.target().starts_with("prow_")
            || *metadata.level() <= Level::WARN
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let mut object = fields.0;
        for (key, value) in [
            ("component", self.0.0.component.clone()),
            ("level", level.to_owned()),
            ("severity", level.to_owned()),
            ("time", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ] {
            object.insert(key.to_owned(), value.into());
        }
        let mut line = Value::Object(object).to_string().into_bytes();
        let mut state = self.0.state();
        if let Some(censor) = &state.censor {
            censor.mask(&mut line);
        }
        line.push(b'\n');
        if level != "debug" {
            // Nobody reading our standard error is no reason to stop.
            let _ = std::io::stderr().write_all(&line);
        }
        if state.kept.len() + line.len() <= KEPT {
            state.kept.extend_from_slice(&line);
        }
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.0.insert(name.to_owned(), value);
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::Secret;

    #[test]
    fn lines_are_kept_as_json_and_censored() {
        let journal = Journal::new("sidecar");
        let subscriber = tracing_subscriber::registry().with(Lines(journal.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(object = "a", "first");
            journal.censor_with(Arc::new(Censor::new(&[Secret::new("hunter2")], 0).unwrap()));
            tracing::debug!("it is hunter2");
        });
        let lines = String::from_utf8(journal.lines()).unwrap();
        let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(
            (&lines[0]["msg"], &lines[0]["object"], &lines[0]["level"]),
            (&"first".into(), &"a".into(), &"debug".into())
        );
        assert_eq!(lines[1]["msg"], "it is XXXXXXX");
    }
}
