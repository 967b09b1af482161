//! ProwJobs: the store that components share, creating one exactly once, changing one by merge patch.

use crate::patch;
use crate::store::Store;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use prow_api::prowjob::{ProwJob, State};
use prow_service::clock::SharedClock;
use std::sync::Arc;
use std::time::Duration;

/// Index: jobs that are not complete stand under `incomplete`, and under their state's name.
pub const BY_PROGRESS: &str = "progress";
/// Index: by job name, only those that are not complete.
pub const BY_ACTIVE_JOB: &str = "active-job";
/// Index: by plank queue, only those that are not complete.
pub const BY_ACTIVE_QUEUE: &str = "active-queue";
/// Index: by `org/repo#number` of the first pull.
pub const BY_PULL: &str = "pull";
/// Index: periodics by job name.
pub const BY_PERIODIC: &str = "periodic";
/// Index: by job name and build id, `<job>/<build id>`.
pub const BY_BUILD: &str = "build";

/// Watches the ProwJobs of one namespace with the indexes above.
pub fn watch(client: Client, namespace: &str) -> Store<ProwJob> {
    Store::watch(
        Api::namespaced(client, namespace),
        watcher::Config::default(),
        &[
            (BY_PROGRESS, |job| {
                if job.complete() {
                    Vec::new()
                } else {
                    vec!["incomplete".to_owned(), job.status.state.to_string()]
                }
            }),
            (BY_ACTIVE_JOB, |job| if job.complete() { Vec::new() } else { vec![job.spec.job.clone()] }),
            (BY_ACTIVE_QUEUE, |job| {
                if job.complete() || job.spec.job_queue_name.is_empty() {
                    Vec::new()
                } else {
                    vec![job.spec.job_queue_name.clone()]
                }
            }),
            (BY_PULL, |job| pull_key(job).into_iter().collect()),
            (BY_PERIODIC, |job| match job.spec.job_type {
                prow_api::JobType::Periodic => vec![job.spec.job.clone()],
                _ => Vec::new(),
            }),
            (BY_BUILD, |job| {
                if job.status.build_id.is_empty() {
                    Vec::new()
                } else {
                    vec![format!("{}/{}", job.spec.job, job.status.build_id)]
                }
            }),
        ],
    )
}

/// The value of a job in [`BY_PULL`].
pub fn pull_key(job: &ProwJob) -> Option<String> {
    let refs = job.spec.refs.as_ref()?;
    let pull = refs.pulls.first()?;
    Some(format!("{}/{}#{}", refs.org, refs.repo, pull.number))
}

/// What became of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    New,
    /// One of that name was there: an earlier try at the same work.
    Existed,
}

/// Creates a ProwJob. Failures that may pass (the server is busy, unreachable, answers 5xx) are retried with
/// doubling pauses from 250 ms, eight tries in all; an existing one of that name counts as success.
pub async fn create(api: &Api<ProwJob>, job: &ProwJob, clock: &SharedClock) -> Result<Created, kube::Error> {
    let mut pause = Duration::from_millis(250);
    let mut tries = 1;
    loop {
        match api.create(&PostParams::default(), job).await {
            Ok(_) => return Ok(Created::New),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => return Ok(Created::Existed),
            Err(error) if tries < 8 && passing(&error) => {
                tracing::warn!(prowjob = job.name(), job = job.spec.job, %error, "could not create the ProwJob; trying again");
                clock.sleep(pause).await;
                pause *= 2;
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What an API server (or the way to it) said, for people: kube's own text spills the whole Status object.
pub fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let more = cause.to_string();
                if !text.contains(&more) {
                    text = format!("{text}: {more}");
                }
                source = cause.source();
            }
            text
        }
    }
}

/// True for failures that may pass by themselves: transport errors, 429 and 5xx.
pub fn passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => false,
        _ => true,
    }
}

/// True when the API server refused the request for good: a 4xx other than 429.
pub fn refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
}

/// True for 404.
pub fn not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// True for 403.
pub fn forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// True for a version conflict.
pub fn conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason != "AlreadyExists")
}

/// Writes what differs between `before` and `after` as a merge patch; nothing if nothing does. With
/// `guarded`, only if the object is still at `before`'s version (409 otherwise).
pub async fn patch(
    api: &Api<ProwJob>,
    before: &ProwJob,
    after: &ProwJob,
    guarded: bool,
) -> Result<Option<ProwJob>, kube::Error> {
    let Some(mut change) = patch::diff(before, after).map_err(kube::Error::SerdeError)? else {
        return Ok(None);
    };
    if guarded && let Some(version) = &before.metadata.resource_version {
        patch::guard(&mut change, version);
    }
    match api.patch(before.name(), &PatchParams::default(), &Patch::Merge(&change)).await {
        Err(error) if forbidden(&error) => match replace(api, before.name(), &change).await {
            Err(other) if forbidden(&other) => Err(error),
            replaced => replaced.map(Some),
        },
        patched => patched.map(Some),
    }
}

/// Makes the change of a merge patch with a read and a full update: upstream's manifests grant hook `update` on
/// ProwJobs and not `patch`. The object is taken as it is, with members that our types do not know.
async fn replace(api: &Api<ProwJob>, name: &str, change: &serde_json::Value) -> Result<ProwJob, kube::Error> {
    let client = api.clone().into_client();
    let url = format!("{}/{name}", api.resource_url());
    let request = |method: &str, body: Vec<u8>| {
        http::Request::builder()
            .method(method)
            .uri(&url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| kube::Error::BuildRequest(kube::core::request::Error::BuildRequest(error)))
    };
    let mut object: serde_json::Value = client.request(request("GET", Vec::new())?).await?;
    // The version that was read, or the one that the change is guarded by: the API server compares it.
    patch::apply(&mut object, change);
    let body = serde_json::to_vec(&object).map_err(kube::Error::SerdeError)?;
    client.request(request("PUT", body)?).await
}

/// Returns once the store shows `name` at `state` or further along (or gone), at most `limit` later. A
/// component that decides from its own store calls this after a write, so that its next decision sees it.
pub async fn wait_for_state(
    store: &Store<ProwJob>,
    name: &str,
    state: State,
    clock: &SharedClock,
    limit: Duration,
) {
    let seen = store.wait_for(|s| match s.get(name) {
        None => Some(()),
        Some(job) => reached(&job, state).then_some(()),
    });
    tokio::select! {
        () = seen => {}
        () = clock.sleep(limit) => tracing::warn!(prowjob = name, %state, "the watch has not shown the new state yet"),
    }
}

/// True once `job` is at `state` or was and went on: a watcher that looks late sees only the later state.
fn reached(job: &ProwJob, state: State) -> bool {
    fn stage(state: State) -> u8 {
        match state {
            State::Scheduling => 0,
            State::Triggered => 1,
            State::Pending => 2,
            State::Success | State::Failure | State::Aborted | State::Error => 3,
        }
    }
    job.complete() || stage(job.status.state) >= stage(state)
}

/// The newest by start time, then creation, of those that `keep` keeps.
pub fn newest(jobs: &[Arc<ProwJob>], keep: impl Fn(&ProwJob) -> bool) -> Option<Arc<ProwJob>> {
    jobs.iter()
        .filter(|j| keep(j))
        .max_by_key(|j| (j.status.start_time.clone(), j.metadata.creation_timestamp.clone()))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_went_on_has_reached_the_state_before() {
        for (is, waited_for, expected) in [
            (State::Scheduling, State::Triggered, false),
            (State::Triggered, State::Triggered, true),
            (State::Triggered, State::Pending, false),
            (State::Pending, State::Triggered, true),
            (State::Aborted, State::Pending, true),
            (State::Success, State::Triggered, true),
        ] {
            let mut job = ProwJob::default();
            job.status.state = is;
            assert_eq!(reached(&job, waited_for), expected, "{is} for {waited_for}");
        }
    }

    /// An API server that lets us read and update, and not patch, as upstream's role for hook does.
    #[tokio::test]
    async fn without_the_right_to_patch_the_object_is_updated() {
        use kube::client::Body;
        use std::sync::Mutex;
        let kept = Arc::new(Mutex::new(serde_json::json!({
            "apiVersion": "prow.k8s.io/v1", "kind": "ProwJob",
            "metadata": {"name": "a", "namespace": "default", "resourceVersion": "7"},
            "spec": {"type": "presubmit", "job": "unit", "a_member_of_tomorrow": true},
            "status": {"state": "pending"},
        })));
        let state = Arc::clone(&kept);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let state = Arc::clone(&state);
            async move {
                let method = request.method().clone();
                let body = request.into_body().collect_bytes().await?;
                let (status, answer) = match method.as_str() {
                    "GET" => (200, state.lock().unwrap().clone()),
                    "PUT" => {
                        let object: serde_json::Value = serde_json::from_slice(&body).unwrap();
                        *state.lock().unwrap() = object.clone();
                        (200, object)
                    }
                    _ => (
                        403,
                        serde_json::json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"}),
                    ),
                };
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, kube::Error>(http::Response::builder().status(status).body(answer).unwrap())
            }
        });
        let api: Api<ProwJob> = Api::namespaced(Client::new(service, "default"), "default");
        let before: ProwJob = serde_json::from_value(kept.lock().unwrap().clone()).unwrap();
        let mut after = before.clone();
        after.status.state = State::Aborted;
        let written = patch(&api, &before, &after, true).await.unwrap().unwrap();
        assert_eq!(written.status.state, State::Aborted);
        let kept = kept.lock().unwrap();
        assert_eq!(
            (&kept["metadata"]["resourceVersion"], &kept["spec"]["a_member_of_tomorrow"]),
            (&"7".into(), &true.into())
        );
    }
}
