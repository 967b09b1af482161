//! The process's Prometheus metrics, under Prow's exact names (prow-runtime §13).

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, Metric, MetricFamily, MetricType};
use prometheus::{HistogramOpts, Opts, Registry, TextEncoder};
use std::collections::HashMap;
use std::sync::LazyLock;

pub use prometheus::{Gauge, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

/// What [`text`] is.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let registry = Registry::new();
    let version =
        IntGauge::new("prow_version", "Unix seconds of the day that this version is named after; -1 if none")
            .expect("the name is a metric's name");
    version.set(-1);
    registry.register(Box::new(version)).expect("it is the first of this name");
    registry
});

/// Where components register their metrics.
pub fn registry() -> &'static Registry {
    &REGISTRY
}

/// Everything, as Prometheus reads it.
pub fn text() -> String {
    let mut out = String::new();
    // Fails only for a family without metrics, which the registry does not hand out.
    if let Err(error) = TextEncoder::new().encode_utf8(&registry().gather(), &mut out) {
        tracing::error!(%error, "metrics cannot be written");
    }
    out
}

/// A counter with labels.
pub fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(IntCounterVec::new(Opts::new(name, help), labels))
}

/// A whole number that goes up and down, with labels.
pub fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(IntGaugeVec::new(Opts::new(name, help), labels))
}

/// A whole number that goes up and down.
pub fn gauge(name: &str, help: &str) -> IntGauge {
    register(IntGauge::new(name, help))
}

/// A number that goes up and down, such as seconds.
pub fn fraction(name: &str, help: &str) -> Gauge {
    register(Gauge::new(name, help))
}

/// A histogram with labels; `buckets` are upper bounds, rising.
pub fn histograms(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
}

/// Registers a metric and gives it back. A name that is taken is a programming error, and is said in the log.
fn register<M: prometheus::core::Collector + Clone + 'static>(metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("names and labels of metrics are constants of the program");
    if let Err(error) = registry().register(Box::new(metric.clone())) {
        tracing::error!(%error, "a metric is not exported");
    }
    metric
}

/// How a number moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// It only grows.
    Up,
    /// It goes either way.
    Freely,
}

/// Registers a number that is kept elsewhere: it is read whenever metrics are asked for.
pub fn register_read(name: &str, help: &str, moves: Moves, read: impl Fn() -> f64 + Send + Sync + 'static) {
    let desc = Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new());
    let desc = desc.expect("names of metrics are constants of the program");
    if let Err(error) = registry().register(Box::new(Number { desc, moves, read })) {
        tracing::error!(%error, "a metric is not exported");
    }
}

struct Number<R> {
    desc: Desc,
    moves: Moves,
    read: R,
}

impl<R: Fn() -> f64 + Send + Sync> Collector for Number<R> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (mut metric, value) = (Metric::default(), (self.read)());
        let kind = match self.moves {
            Moves::Up => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
                MetricType::COUNTER
            }
            Moves::Freely => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
                MetricType::GAUGE
            }
        };
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(kind);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn what_is_registered_is_written() {
        let metric = counters("a_test_counter", "for the test", &["kind"]);
        metric.with_label_values(&["x"]).inc_by(3);
        let text = text();
        assert!(text.contains("a_test_counter{kind=\"x\"} 3\n"), "{text}");
        assert!(text.contains("prow_version -1\n"), "{text}");
    }

    #[test]
    fn what_is_kept_elsewhere_is_read_each_time() {
        let kept = Arc::new(AtomicU32::new(1));
        for (name, moves) in [("a_test_total", Moves::Up), ("a_test_level", Moves::Freely)] {
            let kept = kept.clone();
            register_read(name, "for the test", moves, move || f64::from(kept.load(Ordering::Relaxed)));
        }
        let first = text();
        kept.store(2, Ordering::Relaxed);
        let second = text();
        for (text, value) in [(first, 1), (second, 2)] {
            assert!(text.contains("# TYPE a_test_total counter\n"), "{text}");
            assert!(text.contains(&format!("a_test_total {value}\n")), "{text}");
            assert!(text.contains("# TYPE a_test_level gauge\n"), "{text}");
            assert!(text.contains(&format!("a_test_level {value}\n")), "{text}");
        }
    }
}
