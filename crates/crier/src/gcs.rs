//! gcsreporter: started.json, finished.json and prowjob.json of a run, for those runs whose Pod could not write them
//! and for all readers of results (prow-runtime §10.3, trap 35).

use crate::controller::{Reported, Reporter};
use crate::error::Error;
use async_trait::async_trait;
use prow_api::decoration::GcsConfiguration;
use prow_api::jobspec::JobSpec;
use prow_api::results::{
    CLONE_RECORDS_JSON, CloneRecord, FINISHED_JSON, Finished, PROWJOB_JSON, STARTED_JSON, Started,
};
use prow_api::{ProwJob, Refs, State};
use prow_config::{ProwConfig, Snapshot};
use prow_job::paths::JobPaths;
use prow_service::clock::SharedClock;
use prow_storage::{Attributes, Bucket, Opener, StorageError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// Who wrote a file, in its `metadata.uploader`.
const UPLOADER: &str = "crier";
/// All requests of one report together.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Larger files are not what they are called.
const LARGEST_JSON: u64 = 16 << 20;

/// The reporter.
pub struct GcsReporter {
    storage: Arc<Opener>,
    clock: SharedClock,
}

impl GcsReporter {
    /// Writes with the opener's credentials.
    pub fn new(storage: Arc<Opener>, clock: SharedClock) -> GcsReporter {
        GcsReporter { storage, clock }
    }

    async fn upload(&self, job: &ProwJob, gcs: &GcsConfiguration) -> Result<(), Error> {
        let spec = JobSpec::of(job);
        let paths = JobPaths::new(&spec, gcs)?;
        let place = Place { bucket: self.storage.open_str(&gcs.bucket)?, dir: paths.dir, job };
        place.started(&spec).await?;
        place.finished(&spec).await?;
        place.write(PROWJOB_JSON, &tab_indented(job.name(), job, PROWJOB_JSON)?).await
    }
}

#[async_trait]
impl Reporter for GcsReporter {
    fn name(&self) -> &'static str {
        "gcsreporter"
    }

    fn should_report(&self, _config: &Snapshot, job: &ProwJob) -> bool {
        !job.status.build_id.is_empty()
    }

    async fn report(&self, config: &Snapshot, job: &Arc<ProwJob>) -> Result<Reported, Error> {
        // An aborted job is completed when its Pod is gone: only then is there something to finish, and by then its
        // state is no news any more.
        if job.status.state == State::Aborted && !job.complete() {
            return Ok(Reported::NotYet);
        }
        if let Some(gcs) = destination(&config.prow, job) {
            tokio::select! {
                uploaded = self.upload(job, &gcs) => uploaded?,
                () = self.clock.sleep(TIMEOUT) => return Err(Error::TimedOut(TIMEOUT)),
            }
        }
        Ok(Reported::Jobs(vec![Arc::clone(job)]))
    }
}

/// Where a run's results go: as the job says, else as undecorated jobs of its repository and cluster would.
pub(crate) fn destination(config: &ProwConfig, job: &ProwJob) -> Option<GcsConfiguration> {
    let own = job.spec.decoration_config.as_deref().and_then(|d| d.gcs_configuration.clone());
    let gcs = own.or_else(|| {
        let repo = job.spec.first_refs().map(Refs::org_repo).unwrap_or_default();
        config.default_decoration(&repo, job.spec.cluster_alias())?.gcs_configuration
    })?;
    (!gcs.bucket.is_empty()).then_some(gcs)
}

/// The directory of one run.
struct Place<'a> {
    bucket: Bucket,
    dir: String,
    job: &'a ProwJob,
}

impl Place<'_> {
    /// A file's content; `None` if there is none.
    async fn read(&self, file: &str) -> Result<Option<Vec<u8>>, StorageError> {
        match self.bucket.get_bytes(&format!("{}/{file}", self.dir), LARGEST_JSON).await {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, file: &str, content: &[u8]) -> Result<(), Error> {
        let name = format!("{}/{file}", self.dir);
        Ok(self.bucket.put_bytes(&name, content.to_vec().into(), &json()).await?)
    }

    /// Unless the Pod has written its own, which knows more. Ours is written again when it is known what was cloned.
    async fn started(&self, spec: &JobSpec) -> Result<(), Error> {
        if self.job.spec.refs.is_none() {
            return Ok(());
        }
        let there = self.read(STARTED_JSON).await?;
        if there.as_ref().is_some_and(|content| !is_ours(content)) {
            return Ok(());
        }
        let records: Vec<CloneRecord> = match self.read(CLONE_RECORDS_JSON).await? {
            // What is not a list of records says nothing about the commit.
            Some(content) => serde_json::from_slice(&content).unwrap_or_default(),
            None => Vec::new(),
        };
        if there.is_some() && records.is_empty() {
            return Ok(());
        }
        let Some(started) = started(self.job, spec, &records) else { return Ok(()) };
        let content = encoded(self.job, &started, STARTED_JSON)?;
        if there.as_ref() == Some(&content) {
            return Ok(());
        }
        self.write(STARTED_JSON, &content).await
    }

    /// Only where the Pod has not: it may have died before it could.
    async fn finished(&self, spec: &JobSpec) -> Result<(), Error> {
        let Some(finished) = finished(self.job, spec) else { return Ok(()) };
        let content = encoded(self.job, &finished, FINISHED_JSON)?;
        let name = format!("{}/{FINISHED_JSON}", self.dir);
        self.bucket.put_if_absent(&name, content.into(), &json()).await?;
        Ok(())
    }
}

pub(crate) fn json() -> Attributes {
    Attributes::content_type("application/json")
}

fn is_ours(started: &[u8]) -> bool {
    serde_json::from_slice::<Started>(started)
        .is_ok_and(|s| s.metadata.and_then(|m| m.get("uploader").cloned()) == Some(UPLOADER.into()))
}

fn uploader() -> Map<String, Value> {
    [("uploader".to_owned(), Value::from(UPLOADER))].into_iter().collect()
}

/// The commit that a run is about, as far as its refs tell.
fn revision(refs: &Refs) -> &str {
    [refs.pulls.first().map_or("", |pull| &pull.sha), &refs.base_sha, &refs.base_ref]
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

fn started(job: &ProwJob, spec: &JobSpec, records: &[CloneRecord]) -> Option<Started> {
    let main = spec.main_refs();
    let cloned = main.and_then(|main| records.iter().find(|r| r.refs == *main)).map(|r| r.final_sha.as_str());
    let commit = cloned.filter(|sha| !sha.is_empty()).or_else(|| main.map(revision)).unwrap_or_default();
    let all = spec.refs.iter().chain(&spec.extra_refs);
    let pull = spec.refs.as_ref().and_then(|refs| refs.pulls.first());
    Some(Started {
        timestamp: job.status.start_time.as_ref()?.0.as_second(),
        pull: pull.map(|p| p.number.to_string()).unwrap_or_default(),
        repos: all.map(|refs| (refs.org_repo(), refs.refs_string())).collect(),
        repo_commit: commit.to_owned(),
        repo_version: commit.to_owned(),
        metadata: Some(uploader()),
        ..Started::default()
    })
}

fn finished(job: &ProwJob, spec: &JobSpec) -> Option<Finished> {
    let end = job.status.completion_time.as_ref()?;
    let commit = spec.main_refs().map(revision).unwrap_or_default();
    Some(Finished {
        timestamp: Some(end.0.as_second()),
        passed: Some(job.status.state == State::Success),
        metadata: Some(uploader()),
        result: job.status.state.to_string(),
        revision: commit.to_owned(),
        repo_version: commit.to_owned(),
        ..Finished::default()
    })
}

fn encoded<T: Serialize>(job: &ProwJob, value: &T, file: &'static str) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|source| Error::Encode { name: job.name().to_owned(), file, source })
}

pub(crate) fn tab_indented<T: Serialize>(
    name: &str,
    value: &T,
    file: &'static str,
) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, format))
        .map_err(|source| Error::Encode { name: name.to_owned(), file, source })?;
    Ok(out)
}

#[cfg(test)]
#[path = "gcs_tests.rs"]
mod tests;
