//! Leader election over a Lease (prow-runtime §14.2): of several replicas one works, the others wait. The objects
//! are those of client-go's election, so that an upstream component and ours exclude each other, too.
//!
//! Whether a lease has run out is told by our own clock from when we saw it change last, never by comparing another
//! machine's clock with ours.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use prow_service::clock::SharedClock;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a lease holds (controller-runtime's default).
const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for this long stops leading.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between tries.
const RETRY: Duration = Duration::from_secs(2);

/// Stands for election.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    clock: SharedClock,
}

/// What was seen of the lease, and when it last changed by our clock.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    spec: LeaseSpec,
    at: Timestamp,
}

/// What to do about a lease.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// Make it.
    Create(LeaseSpec),
    /// Take or renew it.
    Update(LeaseSpec),
    /// Somebody else holds it.
    Wait,
}

fn micro(now: Timestamp) -> MicroTime {
    MicroTime(now)
}

fn step(held: Option<&Seen>, identity: &str, now: Timestamp) -> Step {
    let fresh = |transitions, acquired| LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(i32::try_from(DURATION.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: Some(acquired),
        renew_time: Some(micro(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let Some(seen) = held else { return Step::Create(fresh(0, micro(now))) };
    let transitions = seen.spec.lease_transitions.unwrap_or(0);
    let holder = seen.spec.holder_identity.as_deref().unwrap_or_default();
    if holder == identity {
        return Step::Update(fresh(transitions, seen.spec.acquire_time.clone().unwrap_or(micro(now))));
    }
    let lasts = seen.spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
    let run_out = now.duration_since(seen.at).unsigned_abs() > Duration::from_secs(lasts);
    if holder.is_empty() || run_out { Step::Update(fresh(transitions + 1, micro(now))) } else { Step::Wait }
}

impl Election {
    /// A candidate called `identity`, which no other process may have (host name and a random part).
    pub fn new(api: Api<Lease>, name: &str, identity: String, clock: SharedClock) -> Election {
        Election { api, name: name.to_owned(), identity, clock }
    }

    /// Waits until elected, then runs `work` with a token that is cancelled when leadership is lost or `stop` is
    /// cancelled; gives the lease back at the end. `Ok(None)` if `stop` came first.
    ///
    /// # Errors
    /// [`Lost`] when leadership was lost: the process should end, and stand again after its restart.
    pub async fn lead<T, F: Future<Output = T>>(
        &self,
        stop: &CancellationToken,
        work: impl FnOnce(CancellationToken) -> F,
    ) -> Result<Option<T>, Lost> {
        let mut seen = None;
        let mut said = false;
        loop {
            match self.attempt(&mut seen).await {
                Ok(true) => break,
                Ok(false) if !said => {
                    said = true;
                    let holder =
                        seen.as_ref().and_then(|s| s.spec.holder_identity.clone()).unwrap_or_default();
                    tracing::info!(lease = self.name, holder, "waiting to lead");
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(lease = self.name, %error, "cannot ask for the lease; trying again")
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = self.clock.sleep(RETRY) => {}
            }
        }
        tracing::info!(lease = self.name, identity = self.identity, "leading");
        let working = stop.child_token();
        let work = work(working.clone());
        tokio::pin!(work);
        let lost = tokio::select! {
            done = &mut work => {
                self.release(&seen).await;
                return Ok(Some(done));
            }
            lost = self.keep(&mut seen) => lost,
        };
        working.cancel();
        work.await;
        Err(lost)
    }

    /// Renews until that fails for too long.
    async fn keep(&self, seen: &mut Option<Seen>) -> Lost {
        let mut renewed = self.clock.now();
        loop {
            self.clock.sleep(RETRY).await;
            let attempt = tokio::time::timeout(RENEW_DEADLINE, self.attempt(seen)).await;
            let why = match attempt {
                Ok(Ok(true)) => {
                    renewed = self.clock.now();
                    continue;
                }
                Ok(Ok(false)) => {
                    let holder =
                        seen.as_ref().and_then(|s| s.spec.holder_identity.clone()).unwrap_or_default();
                    if holder == self.identity {
                        // Somebody else wrote to the object between our reading and our writing.
                        continue;
                    }
                    return Lost { lease: self.name.clone(), why: format!("{holder} took it") };
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the API server does not answer".to_owned(),
            };
            tracing::warn!(lease = self.name, why, "cannot renew the lease; trying again");
            if self.clock.now().duration_since(renewed).unsigned_abs() >= RENEW_DEADLINE {
                return Lost { lease: self.name.clone(), why };
            }
        }
    }

    /// One try to get or keep the lease.
    async fn attempt(&self, seen: &mut Option<Seen>) -> kube::Result<bool> {
        let current = self.api.get_opt(&self.name).await?;
        let now = self.clock.now();
        match &current {
            None => *seen = None,
            Some(lease) => {
                let spec = lease.spec.clone().unwrap_or_default();
                if seen.as_ref().is_none_or(|s| s.spec != spec) {
                    *seen = Some(Seen { spec, at: now });
                }
            }
        }
        let written = match step(seen.as_ref(), &self.identity, now) {
            Step::Wait => return Ok(false),
            Step::Create(spec) => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
            }
            Step::Update(spec) => {
                // The version that was read goes along: whoever was quicker wins.
                let mut lease = current.unwrap_or_default();
                lease.spec = Some(spec);
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(lease) => {
                *seen = Some(Seen { spec: lease.spec.unwrap_or_default(), at: now });
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets the next candidate lead at once instead of after the lease has run out.
    async fn release(&self, seen: &Option<Seen>) {
        let Some(seen) = seen else { return };
        let give_back = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            if lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()) != Some(&self.identity) {
                return Ok(());
            }
            lease.spec = Some(LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                lease_transitions: seen.spec.lease_transitions,
                acquire_time: Some(micro(self.clock.now())),
                renew_time: Some(micro(self.clock.now())),
                ..LeaseSpec::default()
            });
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(|_| ())
        };
        if let Ok(Err(error)) = tokio::time::timeout(RETRY, give_back).await {
            tracing::debug!(lease = self.name, %error, "the lease was not given back; it runs out by itself");
        }
    }
}

/// Leadership was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no longer leading ({lease}): {why}. Ending, so that two never work at a time")]
pub struct Lost {
    /// The lease.
    pub lease: String,
    /// What happened.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn held_by(holder: &str, seen_at: i64) -> Seen {
        let spec = LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            acquire_time: Some(micro(at(-100))),
            renew_time: Some(micro(at(-100))),
            ..LeaseSpec::default()
        };
        Seen { spec, at: at(seen_at) }
    }

    fn transitions(step: Step) -> Option<i32> {
        match step {
            Step::Create(spec) | Step::Update(spec) => {
                assert_eq!(spec.holder_identity.as_deref(), Some("me"));
                spec.lease_transitions
            }
            Step::Wait => None,
        }
    }

    #[test]
    fn who_leads() {
        // None there; ours; another's that is fresh, at its end, past it; given back.
        assert_eq!(transitions(step(None, "me", at(0))), Some(0));
        assert_eq!(transitions(step(Some(&held_by("me", 0)), "me", at(99))), Some(3));
        assert_eq!(step(Some(&held_by("you", 0)), "me", at(1)), Step::Wait);
        assert_eq!(step(Some(&held_by("you", 0)), "me", at(15)), Step::Wait);
        assert_eq!(transitions(step(Some(&held_by("you", 0)), "me", at(16))), Some(4));
        assert_eq!(transitions(step(Some(&held_by("", 0)), "me", at(1))), Some(4));
    }

    #[test]
    fn renewing_keeps_when_it_was_acquired() {
        let Step::Update(spec) = step(Some(&held_by("me", 0)), "me", at(5)) else { panic!("must renew") };
        assert_eq!(spec.acquire_time, Some(micro(at(-100))));
        assert_eq!(spec.renew_time, Some(micro(at(5))));
    }
}
