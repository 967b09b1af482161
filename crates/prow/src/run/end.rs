//! What a run came to: state, exit code, and the words for it.

use super::NOT_RUN;
use super::here::{Seen, statuses, terminated};
use k8s_openapi::api::core::v1::ContainerStatus;
use prow_api::ProwJob;
use prow_api::prowjob::State;
use serde_json::json;
use std::path::{Path, PathBuf};

/// After Ctrl-C, as a shell would have it.
const INTERRUPTED: u8 = 130;

/// What there is to say at the end.
#[derive(Debug)]
pub struct Summary {
    /// The ProwJob's state.
    pub state: State,
    /// In one sentence.
    pub description: String,
    /// Ours, too, unless the state is success.
    pub exit_code: u8,
    out_dir: PathBuf,
    containers: Vec<ContainerStatus>,
    pod_reason: Option<String>,
}

impl Summary {
    /// Of a Pod that was followed to its end.
    pub fn of(job: &ProwJob, seen: Seen, out_dir: &Path) -> Summary {
        let all = statuses(&seen.pod);
        let status = seen.pod.status.clone().unwrap_or_default();
        let own = |s: &&ContainerStatus| seen.own.contains(&s.name);
        let failed =
            |s: &ContainerStatus| terminated(s).filter(|code| *code != 0).map(|code| (s.name.clone(), code));
        let job_failed = all.iter().filter(own).find_map(failed);
        let other_failed = all.iter().filter(|s| !own(s)).find_map(failed);
        let name = &job.spec.job;
        let (state, exit_code, description) = if let Some(problem) = seen.problem {
            (State::Error, NOT_RUN, format!("job {name} could not be run: {problem}"))
        } else if seen.interrupted {
            (State::Aborted, INTERRUPTED, format!("job {name} was interrupted"))
        } else if status.phase.as_deref() == Some("Succeeded") {
            (State::Success, 0, format!("job {name} succeeded"))
        } else if let Some((container, code)) = job_failed {
            let which = if seen.own.len() > 1 { format!(" in container {container}") } else { String::new() };
            let why = status.message.as_deref().map(|m| format!(" ({m})")).unwrap_or_default();
            (State::Failure, exit(code), format!("job {name} failed with exit code {code}{which}{why}"))
        } else if let Some((container, code)) = other_failed {
            (
                State::Failure,
                1,
                format!("job {name} failed: container {container} ended with exit code {code}"),
            )
        } else {
            let why =
                status.message.or(status.reason.clone()).unwrap_or_else(|| "its Pod is gone".to_owned());
            (State::Error, NOT_RUN, format!("job {name} could not be run: {why}"))
        };
        let pod_reason = status.reason;
        Summary { state, description, exit_code, out_dir: out_dir.to_owned(), containers: all, pod_reason }
    }

    /// For people, on standard error. Where nothing was cloned the clone's account is the log.
    pub fn say(&self, to_stdout: bool) -> anyhow::Result<()> {
        let own_log = self.out_dir.join("build-log.txt");
        let clone_log = self.out_dir.join("clone-log.txt");
        let never_ran = self.containers.iter().any(|s| s.name == "initupload" && terminated(s) == Some(1));
        if let Some(text) = never_ran.then(|| std::fs::read_to_string(&clone_log).ok()).flatten() {
            if to_stdout {
                crate::flags::print(&text)?;
            } else {
                eprint!("{text}");
            }
        }
        let results = self.out_dir.display();
        let what = if own_log.exists() || clone_log.exists() { "results are" } else { "the ProwJob is" };
        eprintln!("prow run: {}; {what} in {results}", self.description);
        Ok(())
    }

    /// For programs.
    pub fn json(&self, job: &ProwJob) -> anyhow::Result<String> {
        let containers: Vec<_> = self
            .containers
            .iter()
            .map(|s| {
                let ended = s.state.as_ref().and_then(|s| s.terminated.as_ref());
                json!({
                    "name": s.name,
                    "image": s.image,
                    "imageID": s.image_id,
                    "exitCode": ended.map(|t| t.exit_code),
                    "reason": ended.and_then(|t| t.reason.clone()),
                    "startedAt": ended.and_then(|t| t.started_at.clone()),
                    "finishedAt": ended.and_then(|t| t.finished_at.clone()),
                })
            })
            .collect();
        let value = json!({
            "job": job.spec.job,
            "buildID": job.status.build_id,
            "state": self.state,
            "description": self.description,
            "exitCode": self.exit_code,
            "podReason": self.pod_reason,
            "outDir": self.out_dir,
            "containers": containers,
            "prowJob": job,
        });
        crate::flags::Output::Json.text(&value)
    }
}

/// As a process's exit code: what does not fit is a failure all the same.
fn exit(code: i32) -> u8 {
    u8::try_from(code).ok().filter(|code| *code != 0).unwrap_or(1)
}
