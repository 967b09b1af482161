//! One Pod's worker: looks, decides, does, until there is nothing left of the Pod. One task a Pod, so a slow Pod holds
//! up no other.

use crate::build::{self, Missing, Objects, Problem};
use crate::decide::{Step, View, decide};
use crate::error::Error;
use crate::record::{ContainerState, PodRecord};
use crate::runtime::{PrepareError, RunState};
use crate::shared::Shared;
use crate::status;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodStatus, Secret};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::wait::await_condition;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// After a failure, and doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(15);
/// A running Pod is looked at this often even if nobody says that it changed.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What a worker remembers between two looks; losing it costs a repeated request, never a repeated run.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    uid: String,
    wake: Arc<Notify>,
    asked: Option<u64>,
    released: bool,
    retry: Duration,
    remarked: HashSet<String>,
    finished: bool,
}

/// How long to wait before looking again, unless woken.
enum Pause {
    No,
    For(Duration),
    /// Or until the object is there.
    Until(Duration, String, Missing),
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, uid: String, wake: Arc<Notify>) -> Self {
        Worker {
            shared,
            uid,
            wake,
            asked: None,
            released: false,
            retry: FIRST_RETRY,
            remarked: HashSet::new(),
            finished: false,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let pause = match self.step().await {
                Ok(Some(pause)) => pause,
                Ok(None) => break,
                Err(e) => {
                    tracing::warn!(pod_uid = self.uid, "pod runner: {e}");
                    Pause::For(self.next_retry())
                }
            };
            match pause {
                Pause::No => {}
                Pause::For(d) => self.idle(d, std::future::pending()).await,
                Pause::Until(d, namespace, missing) => {
                    let appears = appearance(self.shared.client.clone(), namespace, missing);
                    self.idle(d, appears).await;
                }
            }
        }
        self.shared.forget(&self.uid);
    }

    async fn idle(&self, limit: Duration, other: impl Future<Output = ()>) {
        tokio::select! {
            () = self.wake.notified() => {}
            () = self.shared.clock.sleep(limit) => {}
            () = other => {}
        }
    }

    fn next_retry(&mut self) -> Duration {
        let now = self.retry;
        self.retry = (now * 2).min(LAST_RETRY);
        now
    }

    /// One look and what follows from it; `None` when there is nothing left to look after.
    async fn step(&mut self) -> Result<Option<Pause>, Error> {
        let shared = self.shared.clone();
        let now = shared.clock.now();
        let run = shared.runtime.state(&self.uid).await?;
        // Read after the run: what the API had before the run's last change must not look like the answer to it.
        let pod = shared.pod(&self.uid);
        let wanted = match (&pod, &run) {
            (Some(pod), RunState::Running(r) | RunState::Ended(r)) => Some(status::of(pod, r, now)),
            _ => None,
        };
        let current = pod.as_ref().and_then(|p| p.status.as_ref());
        let reported = wanted.as_ref().is_none_or(|w| Some(w) == current);
        if let RunState::Ended(record) = &run {
            self.finish(pod.as_deref(), record);
        }
        let view = View {
            pod: pod.as_deref(),
            run: &run,
            shutdown: shared.shutdown_grace(),
            asked: self.asked,
            reported,
            released: self.released,
        };
        let step = decide(&view);
        tracing::trace!(pod_uid = self.uid, ?step);
        match (step, pod) {
            (Step::Forget, _) => return Ok(None),
            (Step::Nothing, pod) => {
                let over = !matches!(run, RunState::Running(_) | RunState::Launching | RunState::Lost);
                let settled = over && shared.runtime.quiet(&self.uid).await?;
                shared.settled(&self.uid, settled && reported);
                // While it runs, the file system could have missed a change; otherwise only the API can bring one.
                let pause = if settled && pod.is_some() { Duration::from_secs(3600) } else { LOOK_AGAIN };
                return Ok(Some(Pause::For(pause)));
            }
            (Step::Remove, _) => {
                shared.runtime.remove(&self.uid).await?;
                tracing::debug!(pod_uid = self.uid, "Pod removed");
            }
            (Step::Terminate(request), _) => {
                shared.settled(&self.uid, false);
                shared.runtime.terminate(&self.uid, &request).await?;
                self.asked = Some(request.grace_seconds);
            }
            (Step::CloseLost, _) => shared.runtime.close_lost(&self.uid).await?,
            (Step::Launch, Some(pod)) => {
                shared.settled(&self.uid, false);
                shared.runtime.launch(&self.uid).await?;
                tracing::info!(
                    namespace = pod.metadata.namespace,
                    pod = pod.metadata.name,
                    pod_uid = self.uid,
                    "Pod started"
                );
                // A supervisor that ends at once would otherwise be started again at once.
                self.next_retry();
                return Ok(Some(Pause::For(self.retry)));
            }
            (Step::Prepare, Some(pod)) => return self.prepare(&pod).await.map(Some),
            (Step::Report, Some(pod)) => {
                if let RunState::Running(r) | RunState::Ended(r) = &run {
                    self.say_notices(&pod, r).await;
                }
                if let Some(status) = &wanted {
                    shared.write_status(&pod, status).await?;
                }
            }
            (Step::ReportVanished, Some(pod)) => {
                shared.write_status(&pod, &status::vanished(&pod, now)).await?;
            }
            (Step::Release, Some(pod)) => {
                self.release(&pod).await?;
                self.released = true;
            }
            // These steps are never decided for a Pod that is gone.
            (Step::Launch | Step::Prepare | Step::Report | Step::ReportVanished | Step::Release, None) => {}
        }
        self.retry = FIRST_RETRY;
        Ok(Some(Pause::No))
    }

    async fn prepare(&mut self, pod: &Pod) -> Result<Pause, Error> {
        let shared = self.shared.clone();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let objects = fetch(&shared, &namespace, pod).await?;
        let prepared = shared.runtime.prepare(pod, &objects, Box::pin(self.unwanted())).await;
        let problem = match prepared {
            Ok(remarks) => {
                for remark in remarks {
                    self.say(pod, "Normal", remark.reason, &remark.message).await;
                }
                if !shared.capabilities.sandboxed() {
                    self.say(pod, "Warning", "Unsandboxed", &shared.capabilities.describe()).await;
                }
                self.retry = FIRST_RETRY;
                return Ok(Pause::No);
            }
            Err(PrepareError::Failed(e)) => {
                self.say(pod, "Warning", "FailedCreatePodSandBox", &e.to_string()).await;
                return Err(e);
            }
            Err(PrepareError::Problem(problem)) => problem,
            Err(PrepareError::Unwanted) => return Ok(Pause::No),
        };
        self.say(pod, "Warning", problem.event, &problem.message).await;
        self.wait_with(pod, &problem).await?;
        let pause = self.next_retry().max(Duration::from_secs(1));
        Ok(match problem.missing {
            Some(missing) => Pause::Until(pause.max(LOOK_AGAIN), namespace, missing),
            None => Pause::For(pause),
        })
    }

    /// Comes to pass once a Pod of which nothing is there yet is not to be made ready any more.
    async fn unwanted(&self) {
        loop {
            let pod = self.shared.pod(&self.uid);
            let view = View {
                pod: pod.as_deref(),
                run: &RunState::Absent,
                shutdown: self.shared.shutdown_grace(),
                asked: None,
                reported: true,
                released: false,
            };
            if decide(&view) != Step::Prepare {
                return;
            }
            self.wake.notified().await;
        }
    }

    async fn wait_with(&self, pod: &Pod, problem: &Problem) -> Result<(), Error> {
        let status: PodStatus = status::waiting(pod, problem, self.shared.clock.now());
        if Some(&status) != pod.status.as_ref() {
            self.shared.write_status(pod, &status).await?;
        }
        self.shared.settled(&self.uid, true);
        Ok(())
    }

    async fn release(&self, pod: &Pod) -> Result<(), Error> {
        let api: Api<Pod> = self.shared.pods_in(pod);
        let name = pod.metadata.name.clone().unwrap_or_default();
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(self.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&name, &params).await {
            Ok(_) => Ok(()),
            // Gone already, or another Pod of the same name has its place.
            Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => Ok(()),
            Err(e) => Err(Error::api(format!("delete Pod {name}"), e)),
        }
    }

    async fn say_notices(&mut self, pod: &Pod, record: &PodRecord) {
        let shared = self.shared.clone();
        // What is so for every Pod was said at the start.
        for notice in record.notices.iter().filter(|n| !shared.capabilities.limits.contains(n)) {
            self.say(pod, "Warning", "SandboxLimited", notice).await;
        }
    }

    /// An event, once. Events are a courtesy: failing to write one stops nothing.
    async fn say(&mut self, pod: &Pod, kind: &str, reason: &str, message: &str) {
        if self.remarked.insert(format!("{reason} {message}"))
            && let Err(e) = self.shared.write_event(pod, kind, reason, message).await
        {
            tracing::debug!(pod_uid = self.uid, "cannot write event {reason} ({message}): {e}");
        }
    }

    fn finish(&mut self, pod: Option<&Pod>, record: &PodRecord) {
        if self.finished {
            return;
        }
        self.finished = true;
        let Some(ended) = &record.ended else { return };
        let exits: Vec<String> = record
            .all()
            .map(|c| match &c.state {
                ContainerState::Terminated { exit_code, .. } => format!("{}={exit_code}", c.name),
                _ => format!("{}=-", c.name),
            })
            .collect();
        tracing::info!(
            namespace = pod.and_then(|p| p.metadata.namespace.as_deref()),
            pod = pod.and_then(|p| p.metadata.name.as_deref()),
            pod_uid = self.uid,
            succeeded = ended.succeeded,
            reason = ended.cause.reason,
            exit_codes = exits.join(","),
            "Pod finished"
        );
    }
}

async fn fetch(shared: &Shared, namespace: &str, pod: &Pod) -> Result<Objects, Error> {
    let (secrets, maps) = build::needs(pod);
    let mut objects = Objects::default();
    let api: Api<Secret> = Api::namespaced(shared.client.clone(), namespace);
    for name in secrets {
        let found =
            api.get_opt(&name).await.map_err(|e| Error::api(format!("read Secret {namespace}/{name}"), e))?;
        objects.secrets.extend(found.map(|s| (name, s)));
    }
    let api: Api<ConfigMap> = Api::namespaced(shared.client.clone(), namespace);
    for name in maps {
        let found = api
            .get_opt(&name)
            .await
            .map_err(|e| Error::api(format!("read ConfigMap {namespace}/{name}"), e))?;
        objects.config_maps.extend(found.map(|m| (name, m)));
    }
    Ok(objects)
}

/// Returns once the object is there; if it cannot be watched, never.
async fn appearance(client: kube::Client, namespace: String, missing: Missing) {
    let there = match missing {
        Missing::Secret(name) => {
            let api: Api<Secret> = Api::namespaced(client, &namespace);
            await_condition(api, &name, |o: Option<&Secret>| o.is_some()).await.is_ok()
        }
        Missing::ConfigMap(name) => {
            let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
            await_condition(api, &name, |o: Option<&ConfigMap>| o.is_some()).await.is_ok()
        }
    };
    if !there {
        std::future::pending::<()>().await;
    }
}
