//! What plank does with a job's Pod: finds it, makes it, takes over what it says, deletes it (prow-runtime §6.4).

use super::{LookError, Plank};
use crate::decide;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use prow_api::labels;
use prow_api::prowjob::ProwJob;
use prow_config::Snapshot;
use prow_kube::prowjobs;
use prow_kube::queue::Outcome;
use serde_json::json;

impl Plank {
    /// The Pod of a job. The watched copy may be behind: that there is none is asked for at the API server.
    pub(super) async fn find_pod(
        &self,
        job: &ProwJob,
        snapshot: &Snapshot,
    ) -> Result<Option<Pod>, LookError> {
        if let Some(pod) = self.pods.get(job.spec.cluster_alias()).and_then(|pods| pods.get(job.name())) {
            return Ok(Some(Pod::clone(&pod)));
        }
        self.ask_for_pod(job, snapshot).await
    }

    /// The Pod of a job as the API server has it.
    pub(super) async fn ask_for_pod(
        &self,
        job: &ProwJob,
        snapshot: &Snapshot,
    ) -> Result<Option<Pod>, LookError> {
        let client = self.clients.build(&job.spec.cluster)?;
        let api: Api<Pod> = Api::namespaced(client, &snapshot.prow.pod_namespace);
        Ok(api.get_opt(job.name()).await?)
    }

    /// Deletes the Pod of a complete job that should have gone with the job: whoever completed it was killed, or
    /// refused, before that.
    pub(super) async fn delete_leftover(&self, job: &ProwJob, snapshot: &Snapshot) -> Outcome {
        let pods = self.pods.get(job.spec.cluster_alias());
        if !pods.and_then(|pods| pods.get(job.name())).is_some_and(|pod| decide::leftover(job, &pod)) {
            return Outcome::Done;
        }
        match self.delete_pod(job, snapshot, false).await {
            Ok(()) => {
                tracing::debug!(
                    prowjob = job.name(),
                    job = job.spec.job,
                    "deleted the Pod of a complete job"
                );
                Outcome::Done
            }
            Err(error) => {
                tracing::warn!(prowjob = job.name(), %error, "could not delete the Pod of a complete job; trying again");
                Outcome::Failed
            }
        }
    }

    /// Takes crier's finalizer off a Pod, if it is there.
    pub(super) async fn release(
        &self,
        job: &ProwJob,
        pod: &Pod,
        snapshot: &Snapshot,
    ) -> Result<(), LookError> {
        let finalizers = pod.metadata.finalizers.as_deref().unwrap_or_default();
        if !finalizers.iter().any(|f| f == labels::GCSK8S_FINALIZER) {
            return Ok(());
        }
        let api: Api<Pod> =
            Api::namespaced(self.clients.build(&job.spec.cluster)?, &snapshot.prow.pod_namespace);
        let left: Vec<&String> = finalizers.iter().filter(|f| *f != labels::GCSK8S_FINALIZER).collect();
        let change =
            json!({"metadata": {"finalizers": left, "resourceVersion": pod.metadata.resource_version}});
        match api.patch(job.name(), &PatchParams::default(), &Patch::Merge(change)).await {
            Err(error) if !prowjobs::not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) async fn start_pod(&self, job: &ProwJob, snapshot: &Snapshot) -> Result<Pod, StartError> {
        let client = self.clients.build(&job.spec.cluster).map_err(|e| StartError::Look(e.into()))?;
        let api: Api<Pod> = Api::namespaced(client, &snapshot.prow.pod_namespace);
        let options = prow_job::pod::PodOptions {
            namespace: snapshot.prow.pod_namespace.clone(),
            plank_version: self.options.version.clone(),
            ..Default::default()
        };
        let pod = prow_job::pod::pod(job, &self.next_build_id(), &options)
            .map_err(|error| StartError::Refused(error.to_string()))?;
        match api.create(&PostParams::default(), &pod).await {
            Ok(pod) => Ok(pod),
            // Made by an earlier look; a job's Pod is never made twice (and, unlike upstream, never an error).
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                api.get(job.name()).await.map_err(|e| StartError::Look(e.into()))
            }
            Err(error) if prowjobs::refused(&error) => Err(StartError::Refused(prowjobs::said(&error))),
            Err(error) => Err(StartError::Look(error.into())),
        }
    }

    /// Deletes a job's Pod if there is one; `release` takes crier's finalizer off first.
    pub(super) async fn delete_pod(
        &self,
        job: &ProwJob,
        snapshot: &Snapshot,
        release: bool,
    ) -> Result<(), LookError> {
        let api: Api<Pod> =
            Api::namespaced(self.clients.build(&job.spec.cluster)?, &snapshot.prow.pod_namespace);
        let Some(pod) = self.find_pod(job, snapshot).await? else { return Ok(()) };
        if release {
            self.release(job, &pod, snapshot).await?;
        }
        match api.delete(job.name(), &DeleteParams::default()).await {
            Err(error) if !prowjobs::not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Why no Pod was made.
pub(super) enum StartError {
    /// The Pod will never be accepted.
    Refused(String),
    /// It may work later.
    Look(LookError),
}

/// Takes over what a Pod says of its run: the build id and the labels that consumers look for on the ProwJob
/// (prow-config §2.3, trap 18).
pub(super) fn adopt(job: &mut ProwJob, pod: &Pod) {
    let build_id = build_id(pod);
    job.status.pod_name = job.name().to_owned();
    let name = job.name().to_owned();
    let labels = job.metadata.labels.get_or_insert_default();
    labels.insert(labels::PROW_JOB_ID.to_owned(), name);
    labels.insert(labels::BUILD_ID.to_owned(), build_id.clone());
    job.status.build_id = build_id;
}

pub(super) fn build_id(pod: &Pod) -> String {
    let label = pod.metadata.labels.as_ref().and_then(|l| l.get(labels::BUILD_ID)).cloned();
    label.unwrap_or_else(|| {
        let env = pod.spec.as_ref().and_then(|s| s.containers.first()).and_then(|c| c.env.as_deref());
        let found = env.unwrap_or_default().iter().find(|v| v.name == "BUILD_ID");
        found.and_then(|v| v.value.clone()).unwrap_or_default()
    })
}
