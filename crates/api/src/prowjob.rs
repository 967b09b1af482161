//! The `prow.k8s.io/v1` ProwJob (prow-config §1): identity, enumerations, spec, status.

use crate::decoration::DecorationConfig;
use crate::refs::{OrgRepo, Refs};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

fn is_false(b: &bool) -> bool {
    !*b
}
fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// One run of a job. Written through the main endpoint: the CRD has no status subresource.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProwJob {
    /// Name, namespace, labels, annotations, resource version.
    pub metadata: ObjectMeta,
    /// What to run.
    pub spec: ProwJobSpec,
    /// How far it is.
    pub status: ProwJobStatus,
}

impl k8s_openapi::Resource for ProwJob {
    const API_VERSION: &'static str = "prow.k8s.io/v1";
    const GROUP: &'static str = "prow.k8s.io";
    const KIND: &'static str = "ProwJob";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "prowjobs";
    type Scope = k8s_openapi::NamespaceResourceScope;
}

impl k8s_openapi::Metadata for ProwJob {
    type Ty = ObjectMeta;
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Serialize for ProwJob {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = s.serialize_struct("ProwJob", 5)?;
        out.serialize_field("apiVersion", "prow.k8s.io/v1")?;
        out.serialize_field("kind", "ProwJob")?;
        out.serialize_field("metadata", &self.metadata)?;
        out.serialize_field("spec", &self.spec)?;
        out.serialize_field("status", &self.status)?;
        out.end()
    }
}

impl<'de> Deserialize<'de> for ProwJob {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            #[serde(default)]
            api_version: Option<String>,
            #[serde(default)]
            kind: Option<String>,
            #[serde(default)]
            metadata: ObjectMeta,
            #[serde(default)]
            spec: ProwJobSpec,
            #[serde(default)]
            status: ProwJobStatus,
        }
        let wire = Wire::deserialize(d)?;
        if let Some(kind) = wire.kind.as_deref().filter(|k| !k.is_empty() && *k != "ProwJob") {
            return Err(serde::de::Error::custom(format!("this is a {kind}, not a ProwJob")));
        }
        if let Some(version) = wire.api_version.as_deref().filter(|v| !v.is_empty() && *v != "prow.k8s.io/v1")
        {
            return Err(serde::de::Error::custom(format!("API version {version} is not prow.k8s.io/v1")));
        }
        Ok(ProwJob { metadata: wire.metadata, spec: wire.spec, status: wire.status })
    }
}

/// What kind of event a job answers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum JobType {
    /// A pull request.
    #[default]
    Presubmit,
    /// A push.
    Postsubmit,
    /// The clock.
    Periodic,
    /// Several pull requests together, made by Tide.
    Batch,
}

impl JobType {
    /// The word in JSON, labels and environment.
    pub const fn as_str(self) -> &'static str {
        match self {
            JobType::Presubmit => "presubmit",
            JobType::Postsubmit => "postsubmit",
            JobType::Periodic => "periodic",
            JobType::Batch => "batch",
        }
    }
}

impl fmt::Display for JobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a ProwJob is. "Complete" is never told from this but from `completionTime` (trap 3).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waiting for the scheduler controller.
    Scheduling,
    /// Accepted, no Pod yet.
    #[default]
    Triggered,
    /// A Pod exists.
    Pending,
    /// Passed.
    Success,
    /// The workload failed.
    Failure,
    /// Superseded, closed, stopped by a person, or ran too long.
    Aborted,
    /// Could not run.
    Error,
}

impl State {
    /// The word in JSON and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Scheduling => "scheduling",
            State::Triggered => "triggered",
            State::Pending => "pending",
            State::Success => "success",
            State::Failure => "failure",
            State::Aborted => "aborted",
            State::Error => "error",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Agent of jobs that run as Pods.
pub const KUBERNETES_AGENT: &str = "kubernetes";
/// Agent of Jenkins jobs.
pub const JENKINS_AGENT: &str = "jenkins";
/// Agent of Tekton jobs.
pub const TEKTON_AGENT: &str = "tekton-pipeline";
/// Cluster alias of jobs that name none.
pub const DEFAULT_CLUSTER: &str = "default";

/// What to run (prow-config §1.3). Empty members are left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProwJobSpec {
    /// Job type.
    #[serde(rename = "type")]
    pub job_type: JobType,
    /// Executor; `kubernetes` unless the job says otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// Build cluster alias; empty means `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Informational; plank uses the configuration's `pod_namespace`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Job name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job: String,
    /// Code under test; absent for periodics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refs: Option<Refs>,
    /// Additional clones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_refs: Vec<Refs>,
    /// Whether to tell GitHub.
    #[serde(skip_serializing_if = "is_false")]
    pub report: bool,
    /// Commit status context; empty for periodics.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub context: String,
    /// Comment that runs it again; presubmits only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rerun_command: String,
    /// 0 is unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_concurrency: i64,
    /// Evicted Pod is an error instead of being made again.
    #[serde(skip_serializing_if = "is_false")]
    pub error_on_eviction: bool,
    /// The Pod to decorate and run; presets are already in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_spec: Option<Box<PodSpec>>,
    /// Jenkins payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jenkins_spec: Option<JenkinsSpec>,
    /// Deprecated Tekton payload, kept as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_run_spec: Option<serde_json::Value>,
    /// Tekton payload, kept as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tekton_pipeline_run_spec: Option<TektonPipelineRunSpec>,
    /// Presence means decorated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoration_config: Option<Box<DecorationConfig>>,
    /// Reporter settings of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reporter_config: Option<ReporterConfig>,
    /// Who may run it again from Deck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_auth_config: Option<RerunAuthConfig>,
    /// Only shown by a Deck that shows hidden jobs.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// Tenant and ResultStore settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prowjob_defaults: Option<ProwJobDefault>,
    /// Plank's queue.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job_queue_name: String,
}

impl ProwJobSpec {
    /// The cluster alias to run on: `default` when none is named.
    pub fn cluster_alias(&self) -> &str {
        if self.cluster.is_empty() { DEFAULT_CLUSTER } else { &self.cluster }
    }

    /// The refs, else the first extra ref: what labels, metrics and URLs are named after.
    pub fn first_refs(&self) -> Option<&Refs> {
        self.refs.as_ref().or_else(|| self.extra_refs.first())
    }
}

/// Payload of Jenkins jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JenkinsSpec {
    /// The job is managed by the GitHub branch source plugin.
    #[serde(skip_serializing_if = "is_false")]
    pub github_branch_source_job: bool,
}

/// Payload of Tekton jobs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TektonPipelineRunSpec {
    /// A PipelineRun's spec, passed on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v1beta1: Option<serde_json::Value>,
}

/// Reporter settings of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReporterConfig {
    /// Reporting to Slack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackReporterConfig>,
}

/// Slack settings (prow-config §1.9).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SlackReporterConfig {
    /// Selects the token; empty is the default one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Channel to write to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// States that are worth a message.
    #[serde(skip_serializing_if = "none_said")]
    pub job_states_to_report: Option<Vec<State>>,
    /// Go template over the ProwJob: the message.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub report_template: String,
    /// `false` never reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<bool>,
}

/// As Go writes it: an empty list, which means no report, is in `report` of a ProwJob and in no text.
fn none_said(states: &Option<Vec<State>>) -> bool {
    states.as_ref().is_none_or(Vec::is_empty)
}

/// Who may run a job again (prow-config §1.8).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RerunAuthConfig {
    /// Anyone may, without login. Exclusive with the lists.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_anyone: bool,
    /// Ids of teams of the job's organisation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub github_team_ids: Vec<i64>,
    /// Teams by organisation and slug.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub github_team_slugs: Vec<GithubTeamSlug>,
    /// Logins of users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub github_users: Vec<String>,
    /// Organisations whose members may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub github_orgs: Vec<String>,
}

/// A team by slug.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GithubTeamSlug {
    /// Slug of the team.
    pub slug: String,
    /// Organisation of the team.
    pub org: String,
}

/// Tenant and ResultStore settings (prow-config §1.10).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProwJobDefault {
    /// Uploading to ResultStore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resultstore_config: Option<ResultStoreConfig>,
    /// Tenant that the jobs belong to; `GlobalDefaultID` unless set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_id: String,
}

/// ResultStore settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResultStoreConfig {
    /// Google Cloud project.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project_id: String,
}

/// How far it is (prow-config §1.4).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProwJobStatus {
    /// Set by whoever creates the object; `null` when absent, never left out.
    #[serde(rename = "startTime")]
    pub start_time: Option<Time>,
    /// Moved from triggered to pending.
    #[serde(rename = "pendingTime", skip_serializing_if = "Option::is_none")]
    pub pending_time: Option<Time>,
    /// Reached its end.
    #[serde(rename = "completionTime", skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// State.
    pub state: State,
    /// Short text for people; also the GitHub status description.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The job's page.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Pod re-creations after unexpected stops.
    #[serde(skip_serializing_if = "is_zero")]
    pub pod_revival_count: i64,
    /// Equal to the ProwJob's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
    /// Build id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build_id: String,
    /// Jenkins only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jenkins_build_id: String,
    /// Last state each reporter handled, by reporter name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub prev_report_states: BTreeMap<String, State>,
}

impl ProwJob {
    /// `metadata.name`, empty if unset.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`, empty if unset.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Done: `completionTime` is set, whatever the state.
    pub fn complete(&self) -> bool {
        self.status.completion_time.is_some()
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref().and_then(|l| l.get(key)).map(String::as_str)
    }

    /// The repository of refs, else of the first extra ref.
    pub fn org_repo(&self) -> Option<OrgRepo> {
        self.spec.first_refs().map(|r| OrgRepo::new(r.org.clone(), r.repo.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prowjob_round_trips_and_writes_what_the_crd_needs() {
        let json = serde_json::json!({
            "apiVersion": "prow.k8s.io/v1", "kind": "ProwJob",
            "metadata": {"name": "n"},
            "spec": {"type": "presubmit", "job": "j", "pod_spec": {"containers": [{"image": "i"}]}},
            "status": {"startTime": null, "state": "triggered"}
        });
        let job: ProwJob = serde_json::from_value(json).unwrap();
        let back = serde_json::to_value(&job).unwrap();
        assert_eq!(
            back["spec"]["pod_spec"]["containers"][0]["name"], "",
            "the API server wants an empty name (trap 2)"
        );
        assert!(back["status"].as_object().unwrap().contains_key("startTime"));
        assert_eq!(back["status"]["startTime"], serde_json::Value::Null);
        assert_eq!(serde_json::from_value::<ProwJob>(back).unwrap(), job);
    }

    #[test]
    fn another_kind_is_refused() {
        let error = serde_json::from_str::<ProwJob>(r#"{"kind":"Pod"}"#).unwrap_err();
        assert!(error.to_string().contains("this is a Pod"));
    }
}
