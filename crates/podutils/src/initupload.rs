//! initupload: says in storage that a run has begun, and ends the Pod if its code could not be cloned
//! (prow-runtime §8.2, trap 28).

use crate::upload::{Source, Target, Uploader};
use crate::{Env, Host, UtilityError, flags};
use bytes::Bytes;
use prow_api::duration::format_go_duration;
use prow_api::options::{INITUPLOAD_OPTIONS, JOB_SPEC};
use prow_api::results::{
    BUILD_LOG_TXT, CLONE_LOG_TXT, CLONE_RECORDS_JSON, CloneRecord, FINISHED_JSON, Finished, STARTED_JSON,
    Started,
};
use prow_api::{JobSpec, Refs};
use std::ffi::OsString;
use std::fmt::Write;

/// Options from INITUPLOAD_OPTIONS, else flags; the job from JOB_SPEC. Exit code 1 if a clone failed.
pub(crate) async fn main(args: Vec<OsString>, env: &Env, host: &Host) -> Result<u8, UtilityError> {
    let options = match env.json(INITUPLOAD_OPTIONS)? {
        Some(options) => options,
        None => flags::initupload(args)?,
    };
    let spec: JobSpec = env.required(JOB_SPEC)?;
    let uploader = Uploader::new(&options.gcs, &spec, host)?;
    let cloned = if options.log.is_empty() { None } else { Some(read_records(&options.log)?) };
    let records = cloned.as_ref().map(|(_, records)| records.as_slice()).unwrap_or_default();
    let failed = records.iter().any(|record| record.failed);

    let mut targets = uploader.pointers();
    if let Some((raw, records)) = &cloned {
        let log = clone_log(records);
        targets.push(uploader.target(CLONE_LOG_TXT, Source::Bytes(log.clone().into())));
        targets.push(uploader.target(CLONE_RECORDS_JSON, Source::Bytes(raw.clone())));
        if failed {
            targets.push(uploader.target(BUILD_LOG_TXT, Source::Bytes(log.into())));
        }
    }
    targets.push(json(&uploader, STARTED_JSON, &started(&spec, records, host.now()))?);
    let mut missing = uploader.upload(targets).await;
    if failed {
        // After the log that it is the end of.
        let finished = Finished {
            timestamp: Some(host.now()),
            passed: Some(false),
            result: "FAILURE".to_owned(),
            ..Finished::default()
        };
        missing += uploader.upload(vec![json(&uploader, FINISHED_JSON, &finished)?]).await;
        tracing::error!("the code under test could not be cloned; {CLONE_LOG_TXT} says why");
    }
    if missing > 0 {
        tracing::error!(missing, "not everything could be uploaded");
    }
    Ok(u8::from(failed || missing > 0))
}

fn json(uploader: &Uploader, name: &str, value: &impl serde::Serialize) -> Result<Target, UtilityError> {
    let text = serde_json::to_vec(value).map_err(|e| UtilityError::File {
        action: "write",
        path: name.to_owned(),
        why: e.to_string(),
    })?;
    Ok(uploader.target(name, Source::Bytes(text.into())))
}

fn read_records(path: &str) -> Result<(Bytes, Vec<CloneRecord>), UtilityError> {
    let failed = |why: String| UtilityError::File { action: "read", path: path.to_owned(), why };
    let raw = std::fs::read(path).map_err(|e| failed(format!("{e}; clonerefs should have written it")))?;
    let records =
        serde_json::from_slice(&raw).map_err(|e| failed(format!("these are no clone records: {e}")))?;
    Ok((raw.into(), records))
}

/// started.json (prow-runtime §8.2).
fn started(spec: &JobSpec, records: &[CloneRecord], now: i64) -> Started {
    let commit = spec.main_refs().map(|main| commit_of(main, records)).unwrap_or_default();
    Started {
        timestamp: now,
        pull: spec
            .refs
            .as_ref()
            .and_then(|r| r.pulls.first())
            .map(|p| p.number.to_string())
            .unwrap_or_default(),
        repos: spec.refs.iter().chain(&spec.extra_refs).map(|r| (r.org_repo(), r.refs_string())).collect(),
        repo_commit: commit.clone(),
        repo_version: commit,
        ..Started::default()
    }
}

/// What was cloned for these refs; without a record what the refs ask for.
fn commit_of(main: &Refs, records: &[CloneRecord]) -> String {
    let cloned = records.iter().find(|record| record.refs == *main && !record.final_sha.is_empty());
    match cloned {
        Some(record) => record.final_sha.clone(),
        None => revision(main),
    }
}

/// Commit of the first pull, else of the base, else the base's name.
pub(crate) fn revision(refs: &Refs) -> String {
    let pull = refs.pulls.first().map(|p| p.sha.as_str()).unwrap_or_default();
    [pull, &refs.base_sha, &refs.base_ref].into_iter().find(|s| !s.is_empty()).unwrap_or_default().to_owned()
}

/// clone-log.txt: the records for people (prow-runtime §8.1).
fn clone_log(records: &[CloneRecord]) -> String {
    let mut log = String::new();
    for record in records {
        // Writing to a String cannot fail.
        let _ = write_record(&mut log, record);
    }
    log
}

fn write_record(log: &mut String, record: &CloneRecord) -> std::fmt::Result {
    let refs = &record.refs;
    if record.failed {
        writeln!(log, "# FAILED")?;
    }
    if refs.org.is_empty() && refs.repo.is_empty() {
        writeln!(log, "Environment setup")?;
    } else {
        write!(log, "# Cloning {} at {}", refs.org_repo(), refs.base_ref)?;
        match refs.base_sha.as_str() {
            "" => writeln!(log)?,
            sha => writeln!(log, "({sha})")?,
        }
    }
    if !refs.pulls.is_empty() {
        writeln!(log, "# Checking out pulls:")?;
        for pull in &refs.pulls {
            match pull.sha.as_str() {
                "" => writeln!(log, "#\t{}", pull.number)?,
                sha => writeln!(log, "#\t{}({sha})", pull.number)?,
            }
        }
    }
    for command in &record.commands {
        writeln!(log, "$ {} (runtime: {})", command.command, format_go_duration(command.duration))?;
        log.push_str(&command.output);
        if !command.output.is_empty() && !command.output.ends_with('\n') {
            log.push('\n');
        }
        if !command.error.is_empty() {
            writeln!(log, "# Error: {}", command.error)?;
        }
    }
    writeln!(log, "# Final SHA: {}", record.final_sha)?;
    writeln!(log, "# Total runtime: {}", format_go_duration(record.duration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::Pull;
    use prow_api::results::CloneCommand;

    fn refs(repo: &str) -> Refs {
        Refs {
            org: "o".into(),
            repo: repo.into(),
            base_ref: "main".into(),
            base_sha: "abc".into(),
            ..Refs::default()
        }
    }

    #[test]
    fn started_reports_what_was_cloned_or_else_what_was_asked_for() {
        let mut main = refs("r");
        main.pulls = vec![Pull { number: 5, sha: "def".into(), ..Pull::default() }];
        let spec = JobSpec { refs: Some(main.clone()), extra_refs: vec![refs("x")], ..JobSpec::default() };
        let record = CloneRecord { refs: main, final_sha: "fff".into(), ..CloneRecord::default() };
        let started_json =
            |records: &[CloneRecord]| serde_json::to_value(started(&spec, records, 9)).unwrap();
        assert_eq!(
            started_json(&[CloneRecord::default(), record]),
            serde_json::json!({"timestamp": 9, "pull": "5", "repo-commit": "fff", "repo-version": "fff",
                "repos": {"o/r": "main:abc,5:def", "o/x": "main:abc"}})
        );
        assert_eq!(started_json(&[])["repo-commit"], "def");
        let periodic = JobSpec {
            extra_refs: vec![
                Refs { auxiliary: true, ..refs("aux") },
                Refs { base_sha: String::new(), ..refs("m") },
            ],
            ..JobSpec::default()
        };
        assert_eq!(started(&periodic, &[], 9).repo_commit, "main");
        assert_eq!(started(&JobSpec::default(), &[], 9), Started { timestamp: 9, ..Started::default() });
    }

    #[test]
    fn the_clone_log_reads_as_prows() {
        let mut failed = refs("r");
        failed.pulls = vec![
            Pull { number: 5, sha: "def".into(), ..Pull::default() },
            Pull { number: 6, ..Pull::default() },
        ];
        let records = [
            CloneRecord { duration: 1_500_000_000, ..CloneRecord::default() },
            CloneRecord {
                refs: failed,
                failed: true,
                commands: vec![CloneCommand {
                    command: "PWD=/x git merge".into(),
                    output: "CONFLICT".into(),
                    error: "exit status 1".into(),
                    duration: 1_000_000,
                }],
                ..CloneRecord::default()
            },
        ];
        assert_eq!(
            clone_log(&records),
            "Environment setup\n# Final SHA: \n# Total runtime: 1.5s\n\
             # FAILED\n# Cloning o/r at main(abc)\n# Checking out pulls:\n#\t5(def)\n#\t6\n\
             $ PWD=/x git merge (runtime: 1ms)\nCONFLICT\n# Error: exit status 1\n# Final SHA: \n# Total runtime: 0s\n"
        );
    }
}
