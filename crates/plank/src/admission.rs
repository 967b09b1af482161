//! May a triggered job start now (prow-runtime §6.2, concurrency; prow-config §4.2)? The counts come from the
//! watched store; what was admitted but is not yet visible there is remembered here, so that no limit is overrun
//! and no lock is held while the API server is asked.

use prow_api::prowjob::{ProwJob, State};
use prow_kube::Store;
use prow_kube::prowjobs::{BY_ACTIVE_JOB, BY_ACTIVE_QUEUE, BY_PROGRESS};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Limits of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity<'c> {
    /// Pending jobs in all; 0 is unlimited.
    pub global: i64,
    /// By queue; 0 blocks, negative is unlimited.
    pub queues: &'c BTreeMap<String, i64>,
}

/// Why a job does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Later, when others have ended; says which limit.
    Later(String),
    /// Never: the job names a queue that is not configured.
    NoSuchQueue(String),
}

/// Jobs admitted and not yet seen pending.
#[derive(Default)]
pub struct Admission {
    admitted: parking_lot::Mutex<HashMap<String, (String, String)>>,
}

impl Admission {
    /// Admits `job` or says why not. An admitted job counts as pending until [`Admission::settle`].
    pub fn admit(
        &self,
        job: &ProwJob,
        store: &Store<ProwJob>,
        capacity: &Capacity<'_>,
    ) -> Result<(), Refusal> {
        let mut admitted = self.admitted.lock();
        if admitted.contains_key(job.name()) {
            return Ok(());
        }
        let unseen: Vec<(&String, &(String, String))> = admitted
            .iter()
            .filter(|(name, _)| {
                store.get(name).is_some_and(|j| j.status.state == State::Triggered && !j.complete())
            })
            .collect();
        if capacity.global > 0 {
            let pending = store.count(BY_PROGRESS, State::Pending.as_str()) + unseen.len();
            if pending as i64 >= capacity.global {
                return Err(Refusal::Later(format!(
                    "{pending} of plank.max_concurrency {} are running",
                    capacity.global
                )));
            }
        }
        if job.spec.max_concurrency > 0 {
            let same = store.by(BY_ACTIVE_JOB, &job.spec.job);
            let ahead = ahead_of(job, &same, |name| unseen.iter().any(|(n, _)| *n == name));
            if ahead >= job.spec.max_concurrency {
                return Err(Refusal::Later(format!(
                    "{ahead} of the job's max_concurrency {} are ahead",
                    job.spec.max_concurrency
                )));
            }
        }
        let queue = &job.spec.job_queue_name;
        if !queue.is_empty() {
            let Some(&limit) = capacity.queues.get(queue) else {
                return Err(Refusal::NoSuchQueue(queue.clone()));
            };
            if limit >= 0 {
                let same = store.by(BY_ACTIVE_QUEUE, queue);
                let ahead = ahead_of(job, &same, |name| unseen.iter().any(|(n, _)| *n == name));
                if ahead >= limit {
                    return Err(Refusal::Later(format!(
                        "{ahead} of queue {queue}'s capacity {limit} are ahead"
                    )));
                }
            }
        }
        admitted.insert(job.name().to_owned(), (job.spec.job.clone(), queue.clone()));
        Ok(())
    }

    /// The store shows what became of the job, or it was not started after all.
    pub fn settle(&self, name: &str) {
        self.admitted.lock().remove(name);
    }
}

/// How many of `others` go before `job`: pending ones, admitted ones, and triggered ones created earlier.
fn ahead_of(job: &ProwJob, others: &[Arc<ProwJob>], admitted: impl Fn(&str) -> bool) -> i64 {
    let before = |other: &ProwJob| {
        (&other.metadata.creation_timestamp, other.name()) < (&job.metadata.creation_timestamp, job.name())
    };
    others
        .iter()
        .filter(|other| other.name() != job.name())
        .filter(|other| match other.status.state {
            State::Pending => true,
            State::Triggered => admitted(other.name()) || before(other),
            _ => false,
        })
        .count() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(name: &str, state: &str, created: &str) -> Arc<ProwJob> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{created}Z")},
                "spec": {"type": "periodic", "job": "j"}, "status": {"state": state}
            }))
            .unwrap(),
        )
    }

    #[test]
    fn pending_and_older_triggered_runs_go_first() {
        let me = job("me", "triggered", "05");
        let others = [
            me.clone(),
            job("running", "pending", "09"),
            job("older", "triggered", "01"),
            job("twin", "triggered", "05"),
            job("younger", "triggered", "07"),
            job("admitted", "triggered", "08"),
            job("waits-for-a-cluster", "scheduling", "01"),
        ];
        assert_eq!(ahead_of(&me, &others, |name| name == "admitted"), 3);
    }
}
