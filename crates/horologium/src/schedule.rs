//! When a periodic is due. Pure: time, runs and configuration come in.

use jiff::{SignedDuration, Timestamp};
use prow_api::duration::parse_go_duration;
use prow_api::prowjob::{ProwJob, State};
use prow_config::cron::Schedule;
use prow_config::jobs::Periodic;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A firing this long before our start is caught up with if the job has run before and not since.
const CATCH_UP: SignedDuration = SignedDuration::from_mins(10);
/// More retries than this are not made, whatever a job says.
const MOST_RETRIES: i64 = 10;

/// Newest run of each periodic, by job name.
pub type Newest<'a> = BTreeMap<&'a str, Arc<ProwJob>>;
/// Cron jobs that fired since the last look, with the time of the firing.
pub type Fired = HashMap<String, Timestamp>;

/// When each cron job fires next. In memory: what fires while nobody looks for longer than [`CATCH_UP`] is lost, as
/// upstream's firings are at every restart.
#[derive(Default)]
pub struct Crons {
    entries: HashMap<String, Entry>,
    // when we last looked
    last: Option<Timestamp>,
}

struct Entry {
    spec: String,
    schedule: Schedule,
    next: Option<Timestamp>,
}

impl Crons {
    /// What fired up to `now`. New and changed jobs are registered, vanished ones forgotten. An `@every` job fires
    /// when it is registered; other jobs wait for their time.
    pub fn fired<'p>(
        &mut self,
        periodics: impl IntoIterator<Item = &'p Periodic> + Copy,
        newest: &Newest<'_>,
        now: Timestamp,
    ) -> Fired {
        let last_look = self.last.replace(now);
        let starting = last_look.is_none();
        if last_look.is_some_and(|last| now < last) {
            // The clock was set back: what was computed from a later time would keep its job silent until then. A
            // firing that comes a second time makes the name of the first.
            for entry in self.entries.values_mut() {
                entry.next = entry.schedule.next_after(now);
            }
        }
        self.entries.retain(|name, entry| {
            periodics.into_iter().any(|p| p.base.name == *name && p.cron == entry.spec)
        });
        let mut fired = Fired::new();
        for periodic in periodics.into_iter().filter(|p| !p.cron.is_empty()) {
            let name = &periodic.base.name;
            if !self.entries.contains_key(name) {
                let schedule = match Schedule::parse(&periodic.cron) {
                    Ok(schedule) => schedule,
                    Err(error) => {
                        // Loading validates; one bad job must not stop the others (unlike upstream's cron table).
                        tracing::error!(job = name, cron = periodic.cron, %error, "the cron spec cannot be used");
                        continue;
                    }
                };
                let last = newest.get(name.as_str()).and_then(|j| j.status.start_time.as_ref()).map(|t| t.0);
                let next = if periodic.cron.starts_with("@every") {
                    Some(now)
                } else {
                    let from = match last {
                        Some(last) if starting => last.max(now - CATCH_UP),
                        _ => now,
                    };
                    schedule.next_after(from)
                };
                self.entries.insert(name.clone(), Entry { spec: periodic.cron.clone(), schedule, next });
            }
            if let Some(entry) = self.entries.get_mut(name)
                && let Some(due) = entry.next.filter(|due| *due <= now)
            {
                fired.insert(name.clone(), due);
                entry.next = entry.schedule.next_after(now);
            }
        }
        fired
    }

    /// `due` could not be started. If it was one of the firings, that firing comes again at the next look, and makes
    /// the same name: the creation may have worked though its answer was lost. A retry is due again by itself.
    pub fn put_back(&mut self, due: &Due<'_>, fired: &Fired) {
        let name = &due.periodic.base.name;
        if due.retry.is_none()
            && let Some(at) = fired.get(name)
            && let Some(entry) = self.entries.get_mut(name)
        {
            entry.next = Some(*at);
        }
    }
}

/// A run that is due.
#[derive(Debug)]
pub struct Due<'p> {
    /// The job.
    pub periodic: &'p Periodic,
    /// What makes this run this one; the same seed gives the same ProwJob name.
    pub seed: String,
    /// Attempt number if it is a retry.
    pub retry: Option<i64>,
    /// For people.
    pub why: &'static str,
}

/// What to start now.
///
/// * interval: no run yet, or the newest is complete and started more than `interval` ago;
/// * minimum_interval: the same from its end;
/// * cron: it fired, and no run is under way (otherwise this firing is lost);
/// * retry: the newest run is complete and did not succeed (`run_all`: whatever became of it), fewer than
///   `attempts` retries were made, and `retry.interval` has passed since it started. Upstream writes the retry's
///   interval into the job's own by mistake; we do what the field says.
pub fn plan<'p>(
    periodics: impl IntoIterator<Item = &'p Periodic>,
    newest: &Newest<'_>,
    fired: &Fired,
    now: Timestamp,
) -> Vec<Due<'p>> {
    let mut out = Vec::new();
    for periodic in periodics {
        let name = periodic.base.name.as_str();
        let last = newest.get(name).map(AsRef::as_ref);
        let due = |seed: String, why: &'static str| Due { periodic, seed, retry: None, why };
        let regular = if !periodic.cron.is_empty() {
            fired.get(name).and_then(|at| match last {
                Some(last) if !last.complete() => None,
                _ => Some(due(format!("cron {at}"), "cron")),
            })
        } else {
            match last {
                None => Some(due("first".to_owned(), "no run yet")),
                Some(last) => {
                    by_interval(periodic, last, now).map(|why| due(format!("after {}", last.name()), why))
                }
            }
        };
        if let Some(due) = regular.or_else(|| retry(periodic, last?, now)) {
            out.push(due);
        }
    }
    out
}

fn by_interval(periodic: &Periodic, last: &ProwJob, now: Timestamp) -> Option<&'static str> {
    let completed = last.status.completion_time.as_ref()?.0;
    let started = last.status.start_time.as_ref().map_or(completed, |t| t.0);
    // If the clock was set back during the run, its start counts: a run that started before this one would never be the
    // newest, and this one would be followed again and again.
    let ended = completed.max(started);
    let over =
        |since: Timestamp, text: &str| parse_go_duration(text).is_ok_and(|limit| elapsed(since, now) > limit);
    if !periodic.interval.is_empty() && over(started, &periodic.interval) {
        Some("interval")
    } else if !periodic.minimum_interval.is_empty() && over(ended, &periodic.minimum_interval) {
        Some("minimum_interval")
    } else {
        None
    }
}

fn retry<'p>(periodic: &'p Periodic, last: &ProwJob, now: Timestamp) -> Option<Due<'p>> {
    let rule = periodic.retry.as_ref()?;
    if !rule.run_all && (!last.complete() || last.status.state == State::Success) {
        return None;
    }
    let attempt = last.label(prow_api::labels::RERUN).and_then(|n| n.parse::<i64>().ok()).unwrap_or(0) + 1;
    if attempt > rule.attempts.min(MOST_RETRIES) {
        return None;
    }
    let limit = parse_go_duration(&rule.interval).ok()?;
    let started = last.status.start_time.as_ref()?.0;
    (elapsed(started, now) > limit).then(|| Due {
        periodic,
        seed: format!("retry {attempt} of {}", last.name()),
        retry: Some(attempt),
        why: "retry",
    })
}

/// Nanoseconds, at most about 292 years.
fn elapsed(since: Timestamp, now: Timestamp) -> i64 {
    i64::try_from(now.duration_since(since).as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_config::jobs::{JobBase, Retry};
    use serde_json::{Value, json};

    fn at(text: &str) -> Timestamp {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    fn periodic(change: impl FnOnce(&mut Periodic)) -> Periodic {
        let mut p =
            Periodic { base: JobBase { name: "p".into(), ..JobBase::default() }, ..Periodic::default() };
        change(&mut p);
        p
    }

    fn run(status: Value, labels: Value) -> Arc<ProwJob> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "last", "labels": labels}, "spec": {"type": "periodic", "job": "p"}, "status": status})).unwrap())
    }

    fn planned(
        p: &Periodic,
        last: Option<Arc<ProwJob>>,
        fired: Option<Timestamp>,
        now: &str,
    ) -> Option<(String, Option<i64>)> {
        let newest = last.map(|j| ("p", j)).into_iter().collect();
        let fired = fired.map(|t| ("p".to_owned(), t)).into_iter().collect();
        let mut due = plan(std::slice::from_ref(p), &newest, &fired, at(now));
        due.pop().map(|d| (d.seed, d.retry))
    }

    #[test]
    fn intervals_count_from_start_or_end_and_are_strict() {
        let interval = periodic(|p| p.interval = "1h".into());
        let minimum = periodic(|p| p.minimum_interval = "1h".into());
        let done = || {
            Some(run(
                json!({"state": "failure", "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:30:00Z"}),
                json!({}),
            ))
        };
        let going = || Some(run(json!({"state": "pending", "startTime": "2026-01-01T00:00:00Z"}), json!({})));
        let again = Some(("after last".to_owned(), None));
        assert_eq!(planned(&interval, None, None, "00:00:00"), Some(("first".to_owned(), None)));
        assert_eq!(planned(&interval, done(), None, "01:00:00"), None, "strictly more than the interval");
        assert_eq!(planned(&interval, done(), None, "01:00:01"), again);
        assert_eq!(planned(&interval, going(), None, "09:00:00"), None);
        assert_eq!(planned(&minimum, done(), None, "01:30:00"), None);
        assert_eq!(planned(&minimum, done(), None, "01:30:01"), again);
    }

    #[test]
    fn a_firing_during_a_run_is_lost() {
        let cron = periodic(|p| p.cron = "0 * * * *".into());
        let going = run(json!({"state": "pending", "startTime": "2026-01-01T00:00:00Z"}), json!({}));
        assert_eq!(planned(&cron, Some(going), Some(at("01:00:00")), "01:00:10"), None);
        assert_eq!(planned(&cron, None, None, "01:00:10"), None, "never without a firing");
        assert_eq!(
            planned(&cron, None, Some(at("01:00:00")), "01:00:10").unwrap().0,
            "cron 2026-01-01T01:00:00Z"
        );
    }

    #[test]
    fn retries_follow_failures_only_and_end() {
        let retrying = |run_all| {
            periodic(|p| {
                p.interval = "24h".into();
                p.retry = Some(Retry { run_all, attempts: 2, interval: "10m".into() });
            })
        };
        let last = |state: &str, labels: Value| {
            Some(run(
                json!({"state": state, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:00Z"}),
                labels,
            ))
        };
        let p = retrying(false);
        assert_eq!(planned(&p, last("failure", json!({})), None, "00:10:00"), None);
        assert_eq!(
            planned(&p, last("failure", json!({})), None, "00:10:01"),
            Some(("retry 1 of last".into(), Some(1)))
        );
        assert_eq!(
            planned(&p, last("failure", json!({"prow.k8s.io/re-run": "1"})), None, "00:10:01"),
            Some(("retry 2 of last".into(), Some(2)))
        );
        assert_eq!(planned(&p, last("failure", json!({"prow.k8s.io/re-run": "2"})), None, "00:10:01"), None);
        assert_eq!(planned(&p, last("success", json!({})), None, "00:10:01"), None);
        assert!(planned(&retrying(true), last("success", json!({})), None, "00:10:01").is_some());
    }

    #[test]
    fn crons_fire_at_their_time_and_catch_up_after_a_short_absence() {
        let hourly = vec![periodic(|p| p.cron = "0 * * * *".into())];
        let every = vec![periodic(|p| p.cron = "@every 1h".into())];
        let none = Newest::new();
        let mut crons = Crons::default();
        assert!(crons.fired(&hourly, &none, at("00:30:00")).is_empty(), "a new cron job waits for its time");
        assert!(crons.fired(&hourly, &none, at("00:59:59")).is_empty());
        assert_eq!(crons.fired(&hourly, &none, at("01:00:20"))["p"], at("01:00:00"));
        assert!(crons.fired(&hourly, &none, at("01:00:40")).is_empty(), "once");
        assert!(
            Crons::default().fired(&every, &none, at("00:30:00")).contains_key("p"),
            "@every fires at once"
        );

        let earlier: Newest<'_> =
            [("p", run(json!({"state": "success", "startTime": "2026-01-01T00:00:05Z"}), json!({})))].into();
        assert_eq!(
            Crons::default().fired(&hourly, &earlier, at("01:05:00"))["p"],
            at("01:00:00"),
            "missed by a restart"
        );
        assert!(Crons::default().fired(&hourly, &earlier, at("01:30:00")).is_empty(), "too long ago");
        let since: Newest<'_> =
            [("p", run(json!({"state": "success", "startTime": "2026-01-01T01:00:01Z"}), json!({})))].into();
        assert!(Crons::default().fired(&hourly, &since, at("01:05:00")).is_empty(), "it has run since");
    }

    #[test]
    fn a_firing_that_could_not_be_started_comes_again_as_itself_and_a_retry_is_no_firing() {
        let nightly = vec![periodic(|p| {
            p.cron = "0 * * * *".into();
            p.retry = Some(Retry { run_all: false, attempts: 2, interval: "10m".into() });
        })];
        let none = Newest::new();
        let mut crons = Crons::default();
        crons.fired(&nightly, &none, at("00:30:00"));
        let fired = crons.fired(&nightly, &none, at("01:00:20"));
        let due = plan(&nightly, &none, &fired, at("01:00:20")).pop().unwrap();
        crons.put_back(&due, &fired);
        assert_eq!(crons.fired(&nightly, &none, at("01:01:20")), fired, "the same firing: the same name");

        let failed: Newest<'_> = [(
            "p",
            run(
                json!({"state": "failure", "startTime": "2026-01-01T01:00:20Z", "completionTime": "2026-01-01T01:01:00Z"}),
                json!({}),
            ),
        )]
        .into();
        let fired = crons.fired(&nightly, &failed, at("01:20:00"));
        let due = plan(&nightly, &failed, &fired, at("01:20:00")).pop().unwrap();
        assert_eq!(due.retry, Some(1));
        crons.put_back(&due, &fired);
        assert!(crons.fired(&nightly, &failed, at("01:21:00")).is_empty(), "it is not two o'clock yet");
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nobody() {
        let hourly = vec![periodic(|p| p.cron = "0 * * * *".into())];
        let none = Newest::new();
        let mut crons = Crons::default();
        assert!(crons.fired(&hourly, &none, at("10:30:00")).is_empty());
        assert!(crons.fired(&hourly, &none, at("01:59:00")).is_empty());
        assert_eq!(crons.fired(&hourly, &none, at("02:00:10"))["p"], at("02:00:00"));

        let minimum = periodic(|p| p.minimum_interval = "10m".into());
        let last = || {
            Some(run(
                json!({"state": "success", "startTime": "2026-01-01T10:00:00Z", "completionTime": "2026-01-01T09:10:00Z"}),
                json!({}),
            ))
        };
        assert_eq!(planned(&minimum, last(), None, "09:30:00"), None, "it would not be the newest run");
        assert!(planned(&minimum, last(), None, "10:10:01").is_some());
    }
}
