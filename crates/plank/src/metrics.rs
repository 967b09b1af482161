//! ProwJobs by state, as Prometheus reads them (prow-runtime §6.6, §13): followed change by change, so that a state that
//! lasts a moment is counted, too, and nothing is listed.

use prow_api::labels;
use prow_api::prowjob::ProwJob;
use prow_kube::{Change, Store};
use prow_service::metrics::{self, IntCounterVec, IntGaugeVec};
use std::collections::HashMap;
use std::sync::LazyLock;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

const LABELS: [&str; 9] =
    ["job_namespace", "job_name", "type", "state", "org", "repo", "base_ref", "cluster", "retest"];

type Values = [String; 9];

struct Metrics {
    jobs: IntGaugeVec,
    transitions: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    jobs: metrics::gauges("prowjobs", "ProwJobs that there are", &LABELS),
    transitions: metrics::counters("prowjob_state_transitions", "ProwJobs that came into a state", &LABELS),
});

/// What a ProwJob counts as.
fn values(job: &ProwJob) -> Values {
    let spec = &job.spec;
    let refs = spec.refs.as_ref().or(spec.extra_refs.first());
    let of = |text: fn(&prow_api::Refs) -> &String| refs.map(text).cloned().unwrap_or_default();
    let retest = job.metadata.labels.as_ref().and_then(|l| l.get(labels::RETEST));
    [
        job.metadata.namespace.clone().unwrap_or_default(),
        spec.job.clone(),
        spec.job_type.to_string(),
        job.status.state.to_string(),
        of(|r| &r.org),
        of(|r| &r.repo),
        of(|r| &r.base_ref),
        spec.cluster.clone(),
        retest.is_some_and(|v| v == "true").to_string(),
    ]
}

/// What happened to the counts.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// There are so many of these now.
    Now(Values, i64),
    /// One came into this state.
    Into(Values),
}

/// What every ProwJob counts as, and how many count as what.
#[derive(Debug, Default)]
struct Tally {
    jobs: HashMap<String, Values>,
    counts: HashMap<Values, i64>,
}

impl Tally {
    /// Looks at a ProwJob as it is now; `None` if it is gone.
    fn see(&mut self, name: &str, now: Option<Values>) -> Vec<Step> {
        let before = self.jobs.remove(name);
        if let Some(now) = &now {
            self.jobs.insert(name.to_owned(), now.clone());
        }
        if before == now {
            return Vec::new();
        }
        let mut steps = Vec::new();
        let state = |values: &Option<Values>| values.as_ref().map(|v| v[3].clone());
        let moved = now.is_some() && state(&before) != state(&now);
        for (values, by) in before.into_iter().map(|b| (b, -1)).chain(now.clone().map(|n| (n, 1))) {
            let count = self.counts.entry(values.clone()).or_default();
            *count += by;
            steps.push(Step::Now(values.clone(), *count));
            if *count == 0 {
                self.counts.remove(&values);
            }
        }
        steps.extend(now.filter(|_| moved).map(Step::Into));
        steps
    }
}

fn show(steps: Vec<Step>, counting: bool) {
    for step in steps {
        match step {
            Step::Now(values, 0) => {
                // Fails for what was never shown, which is as good.
                let _ = METRICS.jobs.remove_label_values(&values.each_ref().map(String::as_str));
            }
            Step::Now(values, count) => METRICS.jobs.with_label_values(&values).set(count),
            Step::Into(values) if counting => METRICS.transitions.with_label_values(&values).inc(),
            Step::Into(_) => {}
        }
    }
}

/// Follows the store until it is gone. `changes` was subscribed to before.
pub(crate) async fn follow(jobs: Store<ProwJob>, mut changes: Receiver<Change>) {
    let mut tally = Tally::default();
    jobs.ready().await;
    // What was there before us did not come into its state before our eyes.
    let mut counting = false;
    loop {
        for job in jobs.all() {
            show(tally.see(job.name(), Some(values(&job))), counting);
        }
        for name in tally.jobs.keys().filter(|name| jobs.get(name).is_none()).cloned().collect::<Vec<_>>() {
            show(tally.see(&name, None), counting);
        }
        counting = true;
        loop {
            match changes.recv().await {
                Ok(change) => {
                    let now = jobs.get(&change.name).map(|job| values(&job));
                    show(tally.see(&change.name, now), true);
                }
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::State;

    #[test]
    fn jobs_are_counted_once_and_their_states_as_they_come() {
        let job = |state| {
            let mut job = ProwJob::default();
            job.spec.job = "unit".into();
            job.spec.refs = Some(prow_api::Refs { org: "o".into(), repo: "r".into(), ..Default::default() });
            job.metadata.labels = Some([(labels::RETEST.to_owned(), "true".to_owned())].into());
            job.status.state = state;
            values(&job)
        };
        let (begun, ended) = (job(State::Triggered), job(State::Success));
        assert_eq!((begun[3].as_str(), begun[4].as_str(), begun[8].as_str()), ("triggered", "o", "true"));
        let mut tally = Tally::default();
        let first = tally.see("a", Some(begun.clone()));
        assert_eq!(first, [Step::Now(begun.clone(), 1), Step::Into(begun.clone())]);
        assert_eq!(tally.see("a", Some(begun.clone())), []);
        assert_eq!(tally.see("b", Some(begun.clone()))[0], Step::Now(begun.clone(), 2));
        let moved = tally.see("a", Some(ended.clone()));
        assert_eq!(moved, [Step::Now(begun, 1), Step::Now(ended.clone(), 1), Step::Into(ended.clone())]);
        assert_eq!(tally.see("a", None), [Step::Now(ended, 0)]);
        assert_eq!(tally.see("a", None), []);
        assert_eq!((tally.jobs.len(), tally.counts.len()), (1, 1));
    }
}
