//! What became of the files of a run, on a real directory as bucket.

use super::*;
use prow_api::{DecorationConfig, JobType, Pull, Time};
use prow_service::clock::SystemClock;
use prow_storage::StorageOptions;
use std::path::Path;

fn job(bucket: &Path) -> ProwJob {
    let mut job = ProwJob::default();
    job.metadata.name = Some("pj".into());
    job.spec.job_type = JobType::Presubmit;
    job.spec.job = "unit".into();
    job.spec.refs = Some(Refs {
        org: "o".into(),
        repo: "r".into(),
        base_ref: "main".into(),
        base_sha: "base".into(),
        pulls: vec![Pull { number: 5, sha: "head".into(), ..Pull::default() }],
        ..Refs::default()
    });
    job.spec.decoration_config = Some(Box::new(DecorationConfig {
        gcs_configuration: Some(GcsConfiguration {
            bucket: format!("file://{}", bucket.display()),
            path_strategy: "explicit".into(),
            ..GcsConfiguration::default()
        }),
        ..DecorationConfig::default()
    }));
    job.status.state = State::Pending;
    job.status.build_id = "17".into();
    job.status.start_time = Some(Time(jiff::Timestamp::from_second(100).unwrap()));
    job
}

fn ended(mut job: ProwJob, state: State) -> ProwJob {
    job.status.state = state;
    job.status.completion_time = Some(Time(jiff::Timestamp::from_second(160).unwrap()));
    job
}

struct Fixture {
    dir: tempfile::TempDir,
    reporter: GcsReporter,
}

impl Fixture {
    fn new() -> Fixture {
        let storage = Arc::new(Opener::new(StorageOptions::default()));
        let reporter = GcsReporter::new(storage, SystemClock::shared());
        Fixture { dir: tempfile::tempdir().unwrap(), reporter }
    }
    async fn report(&self, job: ProwJob) {
        let job = Arc::new(job);
        let reported = self.reporter.report(&Snapshot::default(), &job).await.unwrap();
        assert!(matches!(reported, Reported::Jobs(jobs) if jobs.len() == 1));
    }
    fn path(&self, file: &str) -> std::path::PathBuf {
        self.dir.path().join("pr-logs/pull/o_r/5/unit/17").join(file)
    }
    fn read(&self, file: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(file)).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_run_whose_pod_wrote_nothing_still_has_its_files() {
    let f = Fixture::new();
    f.report(job(f.dir.path())).await;
    assert_eq!(
        f.read(STARTED_JSON),
        serde_json::json!({
            "timestamp": 100, "pull": "5", "repos": {"o/r": "main:base,5:head"}, "repo-commit": "head",
            "repo-version": "head", "metadata": {"uploader": "crier"},
        })
    );
    assert!(!f.path(FINISHED_JSON).exists());
    f.report(ended(job(f.dir.path()), State::Error)).await;
    assert_eq!(
        f.read(FINISHED_JSON),
        serde_json::json!({
            "timestamp": 160, "passed": false, "result": "error", "revision": "head", "repo-version": "head",
            "metadata": {"uploader": "crier"},
        })
    );
    let prowjob = std::fs::read_to_string(f.path(PROWJOB_JSON)).unwrap();
    assert!(prowjob.starts_with("{\n\t\"apiVersion\": \"prow.k8s.io/v1\",\n"), "{prowjob}");
    assert!(prowjob.contains("\"state\": \"error\""), "the newest state wins: {prowjob}");
}

#[tokio::test]
async fn what_the_pod_wrote_stays() {
    let f = Fixture::new();
    std::fs::create_dir_all(f.path("")).unwrap();
    std::fs::write(f.path(STARTED_JSON), r#"{"timestamp":1,"repo-commit":"merge"}"#).unwrap();
    std::fs::write(f.path(FINISHED_JSON), r#"{"result":"SUCCESS","passed":true}"#).unwrap();
    f.report(ended(job(f.dir.path()), State::Failure)).await;
    assert_eq!(f.read(STARTED_JSON)["repo-commit"], "merge");
    assert_eq!(f.read(FINISHED_JSON)["result"], "SUCCESS");
}

#[tokio::test]
async fn what_was_cloned_is_told_as_soon_as_it_is_known() {
    let f = Fixture::new();
    f.report(job(f.dir.path())).await;
    let records = vec![CloneRecord {
        refs: job(f.dir.path()).spec.refs.unwrap(),
        final_sha: "merged".into(),
        ..CloneRecord::default()
    }];
    std::fs::write(f.path(CLONE_RECORDS_JSON), serde_json::to_vec(&records).unwrap()).unwrap();
    f.report(ended(job(f.dir.path()), State::Success)).await;
    assert_eq!(f.read(STARTED_JSON)["repo-commit"], "merged");
}

#[tokio::test]
async fn an_aborted_run_is_reported_when_its_pod_is_gone() {
    let f = Fixture::new();
    let mut stopping = job(f.dir.path());
    stopping.status.state = State::Aborted;
    let reported = f.reporter.report(&Snapshot::default(), &Arc::new(stopping)).await.unwrap();
    assert!(matches!(reported, Reported::NotYet));
    f.report(ended(job(f.dir.path()), State::Aborted)).await;
    assert_eq!(f.read(FINISHED_JSON)["result"], "aborted");
}

#[tokio::test]
async fn a_run_without_a_place_is_done() {
    let f = Fixture::new();
    let mut job = job(f.dir.path());
    job.spec.decoration_config = None;
    f.report(job).await;
    assert_eq!(std::fs::read_dir(f.dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn periodics_without_refs_get_no_started_json() {
    let f = Fixture::new();
    let mut job = ended(job(f.dir.path()), State::Success);
    job.spec.job_type = JobType::Periodic;
    job.spec.refs = None;
    f.report(job).await;
    let dir = f.dir.path().join("logs/unit/17");
    assert!(
        !dir.join(STARTED_JSON).exists()
            && dir.join(FINISHED_JSON).exists()
            && dir.join(PROWJOB_JSON).exists()
    );
}
