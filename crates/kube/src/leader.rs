//! Leader election over a Lease (prow-runtime §14.2): of several replicas one works, the others wait. The objects
//! are those of client-go's election, so that an upstream component and ours exclude each other, too.
//!
//! Whether a lease has run out is told by how long we have seen it unchanged, never by comparing another machine's
//! clock with ours; and that time, like the time since we renewed ours, is measured by a clock that never jumps
//! (tokio's), since a correction of the machine's time must not make two leaders.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use prow_service::clock::SharedClock;
use prow_service::metrics;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// How quickly things go.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How long a lease holds.
    holds: Duration,
    /// A leader that could not renew for this long stops leading. Its work has until `holds` is over to end.
    deadline: Duration,
    /// Pause between tries.
    retry: Duration,
}

/// controller-runtime's defaults.
const PACE: Pace =
    Pace { holds: Duration::from_secs(15), deadline: Duration::from_secs(10), retry: Duration::from_secs(2) };

/// Stands for election.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    clock: SharedClock,
    pace: Pace,
}

/// What was seen of the lease, and when we saw it change.
#[derive(Debug, Clone)]
struct Seen {
    spec: LeaseSpec,
    at: Instant,
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

/// Decides. `held` is the lease and how long it has been seen unchanged; `now` is only written into it.
fn step(held: Option<(&LeaseSpec, Duration)>, identity: &str, now: &MicroTime) -> Step {
    let fresh = |transitions, acquired| LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(i32::try_from(PACE.holds.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: Some(acquired),
        renew_time: Some(now.clone()),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let Some((spec, unchanged)) = held else { return Step::Create(fresh(0, now.clone())) };
    let transitions = spec.lease_transitions.unwrap_or(0);
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder == identity {
        return Step::Update(fresh(transitions, spec.acquire_time.clone().unwrap_or(now.clone())));
    }
    let lasts = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
    let run_out = unchanged > Duration::from_secs(lasts);
    if holder.is_empty() || run_out {
        Step::Update(fresh(transitions.saturating_add(1), now.clone()))
    } else {
        Step::Wait
    }
}

static MASTER: LazyLock<metrics::IntGaugeVec> = LazyLock::new(|| {
    let help = "1 while this process leads";
    metrics::gauges("leader_election_master_status", help, &["name"])
});

/// Shown in the metrics as long as it lives.
struct Leads(metrics::IntGauge);

impl Leads {
    fn new(lease: &str) -> Leads {
        let gauge = MASTER.with_label_values(&[lease]);
        gauge.set(1);
        Leads(gauge)
    }
}

impl Drop for Leads {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

fn holder(seen: &Option<Seen>) -> String {
    seen.as_ref().and_then(|s| s.spec.holder_identity.clone()).unwrap_or_default()
}

impl Election {
    /// A candidate called `identity`, which no other process may have (host name and a random part).
    pub fn new(api: Api<Lease>, name: &str, identity: String, clock: SharedClock) -> Election {
        Election { api, name: name.to_owned(), identity, clock, pace: PACE }
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
        MASTER.with_label_values(&[&self.name]).set(0);
        let began = loop {
            let asked = Instant::now();
            let attempt = tokio::select! {
                () = stop.cancelled() => return Ok(None),
                attempt = timeout(self.pace.deadline, self.attempt(&mut seen)) => attempt,
            };
            match attempt {
                Ok(Ok(true)) => break asked,
                Ok(Ok(false)) if !said => {
                    said = true;
                    tracing::info!(lease = self.name, holder = holder(&seen), "waiting to lead");
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, %error, "cannot ask for the lease; trying again")
                }
                Err(_) => {
                    tracing::warn!(
                        lease = self.name,
                        "the API server does not answer; asking for the lease again"
                    )
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = self.clock.sleep(self.pace.retry) => {}
            }
        };
        tracing::info!(lease = self.name, identity = self.identity, "leading");
        // Set back when this is over, however it ends.
        let _leads = Leads::new(&self.name);
        let working = stop.child_token();
        let work = work(working.clone());
        tokio::pin!(work);
        let (lost, until) = tokio::select! {
            done = &mut work => {
                self.release(&seen).await;
                return Ok(Some(done));
            }
            lost = self.keep(&mut seen, began) => lost,
        };
        working.cancel();
        if timeout_at(until, work).await.is_err() {
            tracing::warn!(lease = self.name, "what was under way is cut off: another may lead from now on");
        }
        Err(lost)
    }

    /// Renews until that fails for too long. `renewed` is when we asked for the lease that we hold: others count from
    /// then at the earliest. Gives the moment, too, at which they may lead.
    async fn keep(&self, seen: &mut Option<Seen>, mut renewed: Instant) -> (Lost, Instant) {
        let lost = |why| Lost { lease: self.name.clone(), why };
        loop {
            let mut why = "the API server does not answer".to_owned();
            let renew = async {
                loop {
                    self.clock.sleep(self.pace.retry).await;
                    let asked = Instant::now();
                    match self.attempt(seen).await {
                        Ok(true) => return Ok(asked),
                        Ok(false) => {
                            let holder = holder(seen);
                            if holder != self.identity {
                                return Err(lost(format!("{holder:?} has it")));
                            }
                            "somebody else keeps writing to it".clone_into(&mut why);
                        }
                        Err(error) => why = error.to_string(),
                    }
                    tracing::warn!(lease = self.name, why, "cannot renew the lease; trying again");
                }
            };
            let outcome = timeout_at(renewed + self.pace.deadline, renew).await;
            match outcome {
                Ok(Ok(at)) => renewed = at,
                Ok(Err(lost)) => return (lost, Instant::now()),
                Err(_) => return (lost(why), renewed + self.pace.holds),
            }
        }
    }

    /// One try to get or keep the lease.
    async fn attempt(&self, seen: &mut Option<Seen>) -> kube::Result<bool> {
        let current = self.api.get_opt(&self.name).await?;
        match &current {
            None => *seen = None,
            Some(lease) => {
                let spec = lease.spec.clone().unwrap_or_default();
                if seen.as_ref().is_none_or(|s| s.spec != spec) {
                    *seen = Some(Seen { spec, at: Instant::now() });
                }
            }
        }
        let held = seen.as_ref().map(|s| (&s.spec, s.at.elapsed()));
        let written = match step(held, &self.identity, &MicroTime(self.clock.now())) {
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
                *seen = Some(Seen { spec: lease.spec.unwrap_or_default(), at: Instant::now() });
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
                acquire_time: Some(MicroTime(self.clock.now())),
                renew_time: Some(MicroTime(self.clock.now())),
                ..LeaseSpec::default()
            });
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(|_| ())
        };
        if let Ok(Err(error)) = timeout(self.pace.retry, give_back).await {
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

    fn at(seconds: i64) -> MicroTime {
        MicroTime(jiff::Timestamp::from_second(1_700_000_000 + seconds).unwrap())
    }

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            acquire_time: Some(at(-100)),
            renew_time: Some(at(-100)),
            ..LeaseSpec::default()
        }
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
        let after = |holder: &str, seconds| {
            step(Some((&held_by(holder), Duration::from_secs(seconds))), "me", &at(0))
        };
        // None there; ours; another's that is fresh, at its end, past it; given back.
        assert_eq!(transitions(step(None, "me", &at(0))), Some(0));
        assert_eq!(transitions(after("me", 99)), Some(3));
        assert_eq!(after("you", 1), Step::Wait);
        assert_eq!(after("you", 15), Step::Wait);
        assert_eq!(transitions(after("you", 16)), Some(4));
        assert_eq!(transitions(after("", 1)), Some(4));
    }

    #[test]
    fn renewing_keeps_when_it_was_acquired() {
        let held = held_by("me");
        let Step::Update(spec) = step(Some((&held, Duration::ZERO)), "me", &at(5)) else {
            panic!("must renew")
        };
        assert_eq!(spec.acquire_time, Some(at(-100)));
        assert_eq!(spec.renew_time, Some(at(5)));
    }

    /// What the API server does with the requests after the one that made the lease.
    #[derive(Clone, Copy)]
    enum Server {
        Refuses,
        Conflicts,
        Hangs,
    }

    /// Leads with work that never ends by itself, until leadership is lost.
    async fn lost_with(server: Server) -> Lost {
        let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                let lease = |spec| Lease {
                    metadata: ObjectMeta { name: Some("l".into()), ..ObjectMeta::default() },
                    spec: Some(spec),
                };
                let status = |code: u16, reason: &str| {
                    let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                        "status": "Failure", "reason": reason, "message": reason, "code": code});
                    (code, body)
                };
                let (code, body) = match (call, server, request.method().as_str()) {
                    (0, ..) => status(404, "NotFound"),
                    (1, ..) => (201, serde_json::to_value(lease(held_by("me"))).unwrap()),
                    (_, Server::Refuses, _) => status(500, "InternalError"),
                    (_, Server::Conflicts, "GET") => {
                        (200, serde_json::to_value(lease(held_by("me"))).unwrap())
                    }
                    (_, Server::Conflicts, _) => status(409, "Conflict"),
                    (_, Server::Hangs, _) => std::future::pending().await,
                };
                let body = kube::client::Body::from(body.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).unwrap())
            }
        });
        let api = Api::namespaced(kube::Client::new(service, "n"), "n");
        let clock = prow_service::clock::SystemClock::shared();
        let mut election = Election::new(api, "l", "me".into(), clock);
        election.pace = Pace {
            holds: Duration::from_millis(90),
            deadline: Duration::from_millis(60),
            retry: Duration::from_millis(10),
        };
        election.lead(&CancellationToken::new(), |_| std::future::pending::<()>()).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_leader_that_cannot_renew_stops_and_its_work_with_it_whatever_the_server_does() {
        for (server, why) in [
            (Server::Refuses, "InternalError"),
            (Server::Conflicts, "keeps writing"),
            (Server::Hangs, "not answer"),
        ] {
            // Far more than it takes: without an end this would wait for good.
            let lost = timeout(Duration::from_secs(60), lost_with(server)).await.unwrap();
            assert!(lost.why.contains(why), "{lost}");
        }
    }
}
