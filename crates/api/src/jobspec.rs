//! JOB_SPEC: what a job's own processes are told about it (prow-config §3).

use crate::decoration::DecorationConfig;
use crate::prowjob::{JobType, ProwJob};
use crate::refs::Refs;
use serde::{Deserialize, Serialize};

/// The JSON object in the `JOB_SPEC` environment variable. Member order is the contract's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobSpec {
    /// Job type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub job_type: Option<JobType>,
    /// Job name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job: String,
    /// Build id.
    #[serde(rename = "buildid", skip_serializing_if = "String::is_empty")]
    pub build_id: String,
    /// Name of the ProwJob.
    #[serde(rename = "prowjobid", skip_serializing_if = "String::is_empty")]
    pub prow_job_id: String,
    /// Code under test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refs: Option<Refs>,
    /// Additional clones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_refs: Vec<Refs>,
    /// Decoration in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoration_config: Option<Box<DecorationConfig>>,
}

impl JobSpec {
    /// The spec of one ProwJob, with the build id of its status.
    pub fn of(prowjob: &ProwJob) -> JobSpec {
        let spec = &prowjob.spec;
        JobSpec {
            job_type: Some(spec.job_type),
            job: spec.job.clone(),
            build_id: prowjob.status.build_id.clone(),
            prow_job_id: prowjob.metadata.name.clone().unwrap_or_default(),
            refs: spec.refs.clone(),
            extra_refs: spec.extra_refs.clone(),
            decoration_config: spec.decoration_config.clone(),
        }
    }

    /// The refs that versions are reported for: `refs`, else the first extra ref that is not auxiliary.
    pub fn main_refs(&self) -> Option<&Refs> {
        self.refs.as_ref().or_else(|| self.extra_refs.iter().find(|r| !r.auxiliary))
    }
}
