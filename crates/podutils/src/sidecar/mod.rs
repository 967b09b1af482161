//! sidecar: waits for the test containers to end, then uploads what they left (prow-runtime §8.4, traps 30, 31).
//!
//! Properties:
//! * nothing a secret could be in leaves the Pod uncensored: when secrets cannot be loaded, logs and artifacts
//!   stay here and their places say why (upstream only warns, and uploads everything);
//! * an interrupted Pod gets its results up at once, as ABORTED, and once more if the end is seen after all;
//! * an entrypoint that was killed ends the wait, and is reported as what it is;
//! * failed uploads are logged, and do not fail the job.

mod markers;
mod report;

use crate::censor::{Censor, Secrets};
use crate::journal::Journal;
use crate::upload::{Beneath, Censoring, Source, Target, Uploader, artifacts};
use crate::usage::{self, RESOURCE_USAGE, USAGE_JSON};
use crate::{Env, Host, UtilityError};
use futures::StreamExt;
use markers::Markers;
use prow_api::JobSpec;
use prow_api::options::{
    CensoringOptions, GcsUploadOptions, JOB_SPEC, SIDECAR_OPTIONS, SidecarOptions, WrapperOptions,
};
use prow_api::results::{ARTIFACTS_DIR, BUILD_LOG_TXT, FINISHED_JSON, SIDECAR_LOGS_JSON};
use report::{Verdict, verdict};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Kubernetes brings a rotated Secret into a Pod within a minute or two.
const SECRETS_AGAIN: Duration = Duration::from_secs(20);
/// How often, and how long after one another, secrets are read that cannot be.
const SECRETS_TRIES: u32 = 3;
const SECRETS_PAUSE: Duration = Duration::from_secs(1);

/// Options with their deprecated forms resolved.
#[derive(Debug, PartialEq)]
struct Job {
    gcs: GcsUploadOptions,
    entries: Vec<WrapperOptions>,
    entry_error: bool,
    ignore_interrupts: bool,
    censoring: CensoringOptions,
}

/// Options from SIDECAR_OPTIONS; the job from JOB_SPEC.
pub(crate) async fn main(env: &Env, host: &Host, journal: &Journal) -> Result<u8, UtilityError> {
    let job = resolve(env.required(SIDECAR_OPTIONS)?)?;
    let spec: JobSpec = env.required(JOB_SPEC)?;
    let uploader = Uploader::new(&job.gcs, &spec, host)?.with_censoring(&job.censoring);
    scratch(&job);
    let interrupts =
        listen().map_err(|e| UtilityError::Options(format!("cannot listen for signals: {e}")))?;
    let secrets = Arc::new(Secrets::new(&job.censoring));
    let sidecar = Sidecar { job, spec, uploader, host: host.clone(), journal: journal.clone(), secrets };
    tokio::select! {
        code = sidecar.run(interrupts) => Ok(code),
        never = sidecar.watch_secrets() => match never {},
    }
}

fn resolve(options: SidecarOptions) -> Result<Job, UtilityError> {
    let wrong = |text: &str| Err(UtilityError::Options(format!("{SIDECAR_OPTIONS}: {text}")));
    let entries = match (options.wrapper_options, options.entries) {
        (Some(_), entries) if !entries.is_empty() => {
            return wrong("entries and wrapper_options exclude each other");
        }
        (Some(entry), _) => vec![entry],
        (None, entries) => entries,
    };
    if entries.is_empty() {
        return wrong("there are no entries: nothing to wait for");
    }
    for entry in &entries {
        if entry.marker_file.is_empty() || entry.process_log.is_empty() {
            return wrong("an entry has no marker_file or no process_log");
        }
        if entries.len() > 1 && entry.container_name.is_empty() {
            return wrong("with several entries each needs its container_name");
        }
    }
    let deprecated = !options.secret_directories.is_empty()
        || options.censoring_concurrency.is_some()
        || options.censoring_buffer_size.is_some();
    let censoring = match options.censoring_options {
        Some(_) if deprecated => {
            return wrong("censoring_options and its deprecated members at top level exclude each other");
        }
        Some(censoring) => censoring,
        None => CensoringOptions {
            secret_directories: options.secret_directories,
            censoring_concurrency: options.censoring_concurrency,
            censoring_buffer_size: options.censoring_buffer_size,
            ..CensoringOptions::default()
        },
    };
    if options.write_memory_profile {
        tracing::warn!("write_memory_profile is set: this sidecar has no heap profile to write");
    }
    Ok(Job {
        gcs: options.gcs_options,
        entries,
        entry_error: options.entry_error,
        ignore_interrupts: options.ignore_interrupts,
        censoring,
    })
}

/// In an empty image there is no place for temporary files, which large members of archives need. Beside the logs there
/// is one, and these files have no name there.
fn scratch(job: &Job) {
    let logs = job.entries.first().and_then(|entry| Path::new(&entry.process_log).parent());
    if let (Err(error), Some(logs)) = (tempfile::tempfile(), logs) {
        tracing::debug!("temporary files go to {}: {error}", logs.display());
        // Nobody else sets it.
        let _ = tempfile::env::override_temp_dir(logs);
    }
}

/// SIGINT and SIGTERM as messages.
fn listen() -> io::Result<mpsc::Receiver<&'static str>> {
    let (sender, receiver) = mpsc::channel(4);
    for (kind, name) in [(SignalKind::interrupt(), "interrupt"), (SignalKind::terminate(), "terminated")] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // Full means that as many interrupts wait already; one more changes nothing.
                let _ = sender.try_send(name);
            }
        });
    }
    Ok(receiver)
}

struct Sidecar {
    job: Job,
    spec: JobSpec,
    uploader: Uploader,
    host: Host,
    journal: Journal,
    secrets: Arc<Secrets>,
}

impl Sidecar {
    async fn run(&self, mut interrupts: mpsc::Receiver<&'static str>) -> u8 {
        let markers = self.job.entries.iter().map(|entry| entry.marker_file.clone().into()).collect();
        let mut markers = Markers::new(markers, self.host.clone());
        let mut uploaded_early = false;
        let codes = loop {
            tokio::select! {
                codes = markers.wait() => break codes,
                Some(name) = interrupts.recv() => {
                    if self.job.ignore_interrupts {
                        tracing::warn!("Received an interrupt: {name}, ignoring...");
                    } else if !uploaded_early {
                        tracing::error!("Received an interrupt: {name}, cancelling...");
                        uploaded_early = true;
                        self.upload(&Verdict { passed: false, aborted: true, failures: 0 }, &[]).await;
                    }
                }
            }
        };
        for (entry, code) in self.job.entries.iter().zip(&codes) {
            match code {
                Ok(code) => tracing::debug!(container = entry.container_name, code, "ended"),
                Err(why) => {
                    tracing::error!(container = entry.container_name, "its end is not readable: {why}")
                }
            }
        }
        let verdict = verdict(&codes);
        self.upload(&verdict, &codes).await;
        u8::from(self.job.entry_error && verdict.failures > 0)
    }

    /// Everything, in the order in which readers need it: a finished.json says that the rest is there.
    async fn upload(&self, verdict: &Verdict, codes: &[Result<i32, String>]) {
        let censoring = self.censoring().await;
        let mut missing = 0;
        missing += self.uploader.upload(self.uploader.pointers()).await;
        missing += self.upload_artifacts(&censoring).await;
        missing += self.uploader.upload(self.logs(&censoring)).await;
        let usage = self.usage();
        missing += self.uploader.upload(self.usage_json(&usage)).await;
        missing += self.uploader.upload(vec![self.own_log(&censoring)]).await;
        missing += self.uploader.upload(vec![self.finished(verdict, codes, usage, &censoring)]).await;
        if missing > 0 {
            tracing::error!(missing, "not everything could be uploaded");
        }
    }

    /// Reads the secrets now and then: a value that was rotated away before the job ended may be in its log all the
    /// same. A failure says nothing yet; the upload reads them again, and fails for good.
    async fn watch_secrets(&self) -> std::convert::Infallible {
        loop {
            if let Err(why) = self.read_secrets().await {
                tracing::debug!("the secrets are not readable at the moment: {why}");
            }
            self.host.sleep(SECRETS_AGAIN).await;
        }
    }

    async fn read_secrets(&self) -> Result<(), String> {
        let secrets = self.secrets.clone();
        let read = tokio::task::spawn_blocking(move || secrets.read()).await;
        read.unwrap_or_else(|error| Err(format!("reading them broke down: {error}")))
    }

    /// All secrets there are and were. Of those that are being rotated right now, the new ones may not be readable
    /// for a moment.
    async fn censoring(&self) -> Result<Arc<Censor>, String> {
        let mut read = self.read_secrets().await;
        for _ in 1..SECRETS_TRIES {
            if read.is_err() {
                self.host.sleep(SECRETS_PAUSE).await;
                read = self.read_secrets().await;
            }
        }
        if let Err(why) = &read {
            if self.job.censoring.upload_uncensored_on_failure {
                tracing::warn!("some secrets stay uncensored, as the options ask for: {why}");
                read = Ok(());
            } else {
                tracing::error!("censoring is not possible, logs and artifacts are withheld: {why}");
            }
        }
        let censor = Arc::new(read.and_then(|()| self.secrets.censor())?);
        self.journal.censor_with(censor.clone());
        Ok(censor)
    }

    async fn upload_artifacts(&self, censoring: &Result<Arc<Censor>, String>) -> usize {
        let censor = match censoring {
            Ok(censor) => Censoring::new(censor.clone(), &self.job.censoring),
            Err(why) => {
                let placeholder = self.placeholder(&format!("{ARTIFACTS_DIR}/withheld.txt"), why);
                return self.uploader.upload(vec![placeholder]).await;
            }
        };
        let found = artifacts(self.job.gcs.items.clone(), censor);
        self.uploader.upload_all(found.map(|(name, source)| self.uploader.target(&name, source))).await
    }

    fn logs(&self, censoring: &Result<Arc<Censor>, String>) -> Vec<Target> {
        let mut targets = Vec::new();
        for entry in &self.job.entries {
            let name = match self.job.entries.len() {
                1 => BUILD_LOG_TXT.to_owned(),
                _ => format!("{}-{BUILD_LOG_TXT}", entry.container_name),
            };
            let target = match (censoring, open(&entry.process_log)) {
                (Err(why), _) => self.placeholder(&name, why),
                (Ok(censor), Ok((root, path))) => {
                    self.uploader.target(&name, Source::File { root, path, censor: Some(censor.clone()) })
                }
                (Ok(_), Err(error)) => {
                    tracing::error!(log = entry.process_log, "cannot open the process log: {error}");
                    let text = format!("Failed to open {}: {error}\n", entry.process_log);
                    self.uploader.target(&name, Source::Bytes(text.into()))
                }
            };
            targets.push(target);
        }
        targets
    }

    fn own_log(&self, censoring: &Result<Arc<Censor>, String>) -> Target {
        let mut lines = self.journal.lines();
        if let Ok(censor) = censoring {
            censor.mask(&mut lines);
        } else {
            // These lines are our own words about names and errors; what a job wrote is not in them. File names
            // are the job's, though, so without a censor only the reason goes.
            lines = format!(
                "{}\n",
                serde_json::json!({"level": "error", "component": "sidecar", "msg": withheld(censoring)})
            )
            .into_bytes();
        }
        self.uploader.target(SIDECAR_LOGS_JSON, Source::Bytes(lines.into()))
    }

    /// Numbers only: there is nothing in them to censor.
    fn usage(&self) -> serde_json::Map<String, serde_json::Value> {
        usage::collect(self.named().map(|(name, entry)| (name, entry.marker_file.as_str())))
    }

    fn usage_json(&self, usage: &serde_json::Map<String, serde_json::Value>) -> Vec<Target> {
        if usage.is_empty() {
            return Vec::new();
        }
        let text = serde_json::json!({ "containers": usage }).to_string();
        vec![self.uploader.target(USAGE_JSON, Source::Bytes(text.into()))]
    }

    /// Entries under the names by which people know them.
    fn named(&self) -> impl Iterator<Item = (String, &WrapperOptions)> {
        self.job.entries.iter().enumerate().map(|(index, entry)| {
            let name = &entry.container_name;
            (if name.is_empty() { index.to_string() } else { name.clone() }, entry)
        })
    }

    fn finished(
        &self,
        verdict: &Verdict,
        codes: &[Result<i32, String>],
        usage: serde_json::Map<String, serde_json::Value>,
        censoring: &Result<Arc<Censor>, String>,
    ) -> Target {
        let mut pieces = Vec::new();
        if !usage.is_empty() {
            // First, so that a job that has a member of this name keeps its own.
            let usage = [(RESOURCE_USAGE.to_owned(), usage.into())].into_iter().collect();
            pieces.push((String::new(), Ok(Some(usage))));
        }
        let metadata = match censoring {
            Ok(censor) => {
                let ends = self.named().zip(codes);
                pieces.extend(
                    ends.filter_map(|((name, _), code)| Some((name, Err(code.as_ref().err()?.clone())))),
                );
                let written = self.named().filter(|(_, entry)| !entry.metadata_file.is_empty());
                pieces
                    .extend(written.map(|(name, entry)| (name, report::read_metadata(&entry.metadata_file))));
                report::merge(pieces, |text| censor.masked(text))
            }
            Err(_) => {
                pieces.push(("metadata".to_owned(), Err(withheld(censoring))));
                report::merge(pieces, str::to_owned)
            }
        };
        let finished = report::finished(verdict, metadata, &self.spec, self.host.now());
        // Plain texts, numbers and maps with text keys: this cannot fail.
        let text = report::text(finished).unwrap_or_default();
        self.uploader.target(FINISHED_JSON, Source::Bytes(text.into()))
    }

    fn placeholder(&self, name: &str, why: &str) -> Target {
        let text = format!("Withheld, so that no secret leaves the Pod: censoring is not possible: {why}\n");
        self.uploader.target(name, Source::Bytes(text.into()))
    }
}

fn withheld(censoring: &Result<Arc<Censor>, String>) -> String {
    match censoring {
        Ok(_) => String::new(),
        Err(why) => format!("withheld, because censoring is not possible: {why}"),
    }
}

/// Looks once whether it is a file that may be read; it is opened again for each attempt to upload it.
fn open(path: &str) -> io::Result<(Arc<Beneath>, std::path::PathBuf)> {
    let (root, file) = Beneath::parent_of(Path::new(path))?;
    root.file(&file)?;
    Ok((Arc::new(root), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(json: serde_json::Value) -> Result<Job, String> {
        resolve(serde_json::from_value(json).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn deprecated_forms_are_accepted_alone_and_refused_in_company() {
        let entry = serde_json::json!({"process_log": "/l", "marker_file": "/m"});
        let old =
            resolved(serde_json::json!({"wrapper_options": entry, "secret_directories": ["/s"]})).unwrap();
        let new = resolved(
            serde_json::json!({"entries": [entry], "censoring_options": {"secret_directories": ["/s"]}}),
        )
        .unwrap();
        assert_eq!(old, new);
        for (json, why) in [
            (serde_json::json!({}), "no entries"),
            (serde_json::json!({"entries": [entry], "wrapper_options": entry}), "exclude each other"),
            (
                serde_json::json!({"entries": [entry], "censoring_options": {}, "censoring_buffer_size": 1}),
                "exclude each other",
            ),
            (serde_json::json!({"entries": [{"process_log": "/l"}]}), "no marker_file"),
            (serde_json::json!({"entries": [entry, entry]}), "container_name"),
        ] {
            let error = resolved(json).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
