//! A ProwJob becomes a Pod (prow-runtime §7, prow-config §2.3, §3).

use crate::decorate::decorate;
use crate::env::{job_env, vars};
use crate::labels::{Map, labels_and_annotations};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use prow_api::ObjectMeta;
use prow_api::labels as keys;
use prow_api::prowjob::ProwJob;

/// What is not in the ProwJob.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodOptions {
    /// `pod_namespace` of the configuration; empty leaves it to whoever creates the Pod.
    pub namespace: String,
    /// Version of the plank that makes the Pod, for its `prow.k8s.io/plank-version` label; empty for tools.
    pub plank_version: String,
    /// Directory of the node to copy results to instead of uploading them (`mkpod --local`).
    pub local_output: Option<String>,
}

/// Why a ProwJob has no Pod.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// There is nothing to run.
    #[error(
        "ProwJob {name} (job {job}) has no pod_spec with a container: only jobs of the kubernetes agent have Pods"
    )]
    NothingToRun {
        /// ProwJob.
        name: String,
        /// Job.
        job: String,
    },
    /// The decoration config misses what decoration needs.
    #[error(
        "ProwJob {name} (job {job}) cannot be decorated: decoration_config.{missing} is not set; \
         set it on the job or in plank.default_decoration_config_entries"
    )]
    Incomplete {
        /// ProwJob.
        name: String,
        /// Job.
        job: String,
        /// Path of the key.
        missing: &'static str,
    },
    /// The job uses a name that decoration needs.
    #[error(
        "ProwJob {name} (job {job}) cannot be decorated: its pod_spec has a {what} {value:?}, which decoration adds \
         itself; rename it"
    )]
    Reserved {
        /// ProwJob.
        name: String,
        /// Job.
        job: String,
        /// Kind of name.
        what: &'static str,
        /// The name.
        value: String,
    },
    /// A `file://` bucket is not a directory of the node.
    #[error("bucket {bucket:?} is not a directory: write it as file:///absolute/path, without \"..\"")]
    Bucket {
        /// As written.
        bucket: String,
    },
    /// A value cannot be written as JSON.
    #[error("options of ProwJob {name} cannot be written as JSON: {source}")]
    Json {
        /// ProwJob.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// The Pod for `prowjob` with this build id, decorated if the ProwJob has a decoration config. The ProwJob's own
/// `status.build_id` is not looked at.
///
/// # Errors
/// See [`PodError`]; the ProwJob's state becomes `error` with this text.
pub fn pod(prowjob: &ProwJob, build_id: &str, options: &PodOptions) -> Result<Pod, PodError> {
    let Some(pod_spec) = prowjob.spec.pod_spec.as_deref().filter(|spec| !spec.containers.is_empty()) else {
        return Err(PodError::NothingToRun {
            name: prowjob.name().to_owned(),
            job: prowjob.spec.job.clone(),
        });
    };
    let mut spec = pod_spec.clone();
    spec.restart_policy = Some("Never".to_owned());
    if let [only] = spec.containers.as_mut_slice() {
        "test".clone_into(&mut only.name);
    }
    // Decided before decoration gives a service account: naming one there does not hand out its token (trap 26).
    if spec.automount_service_account_token.is_none() && is_empty(&spec.service_account_name) {
        spec.automount_service_account_token = Some(false);
    }
    let env = job_env(prowjob, build_id)
        .map_err(|source| PodError::Json { name: prowjob.name().to_owned(), source })?;
    match prowjob.spec.decoration_config.as_deref() {
        Some(config) => decorate(&mut spec, prowjob, config, env, options)?,
        None => {
            for container in &mut spec.containers {
                container.env.get_or_insert_default().extend(vars(&env));
            }
        }
    }
    with_termination_messages(&mut spec);

    let (labels, annotations) = pod_labels(prowjob, build_id, options);
    Ok(Pod {
        metadata: ObjectMeta {
            name: Some(prowjob.name().to_owned()),
            namespace: (!options.namespace.is_empty()).then(|| options.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    })
}

/// The labels and annotations of the Pod: the ProwJob's, its id and build id (which plank also writes onto the
/// ProwJob, prow-config §2.3), and plank's version.
fn pod_labels(prowjob: &ProwJob, build_id: &str, options: &PodOptions) -> (Map, Map) {
    let mut labels = prowjob.metadata.labels.clone().unwrap_or_default();
    labels.insert(keys::PROW_JOB_ID.to_owned(), prowjob.name().to_owned());
    labels.insert(keys::BUILD_ID.to_owned(), build_id.to_owned());
    let empty = Map::new();
    let annotations = prowjob.metadata.annotations.as_ref().unwrap_or(&empty);
    let (mut labels, annotations) = labels_and_annotations(&prowjob.spec, &labels, annotations);
    if let Some(version) =
        Some(options.plank_version.clone()).filter(|v| !v.is_empty()).and_then(crate::labels::valid)
    {
        labels.insert(keys::PLANK_VERSION.to_owned(), version);
    }
    (labels, annotations)
}

fn with_termination_messages(spec: &mut PodSpec) {
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        fallback_to_logs(container);
    }
}

fn fallback_to_logs(container: &mut Container) {
    if is_empty(&container.termination_message_policy) {
        container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    }
}

pub(crate) fn is_empty(text: &Option<String>) -> bool {
    text.as_deref().unwrap_or_default().is_empty()
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
