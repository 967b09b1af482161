//! gcsk8sreporter: keeps a run's Pod until what Kubernetes knows of it is in podinfo.json (prow-runtime §10.4).
//!
//! While the run is under way its Pod gets a finalizer, so that it cannot vanish unseen; once the run is complete
//! Pod, events and node are written, and the finalizer is taken off.

use crate::controller::{Reported, Reporter};
use crate::error::Error;
use crate::gcs::{destination, json, tab_indented};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use prow_api::jobspec::JobSpec;
use prow_api::labels::GCSK8S_FINALIZER;
use prow_api::prowjob::KUBERNETES_AGENT;
use prow_api::results::PODINFO_JSON;
use prow_api::{ProwJob, State};
use prow_config::Snapshot;
use prow_job::paths::JobPaths;
use prow_kube::{Clients, prowjobs};
use prow_storage::Opener;
use serde::Serialize;
use std::sync::Arc;

/// Others write Pods, too: the kubelet at every step of a container.
const TRIES: usize = 10;

/// The reporter.
pub struct KubernetesReporter {
    clients: Clients,
    storage: Arc<Opener>,
    fraction: f64,
}

/// podinfo.json.
#[derive(Debug, Default, Serialize)]
struct PodReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Pod>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Event>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Node>,
}

impl KubernetesReporter {
    /// Reports this fraction of all runs, 0 to 1 (`--kubernetes-report-fraction`).
    pub fn new(clients: Clients, storage: Arc<Opener>, fraction: f64) -> KubernetesReporter {
        KubernetesReporter { clients, storage, fraction }
    }

    fn pods(&self, config: &Snapshot, job: &ProwJob) -> Result<Api<Pod>, Error> {
        Ok(Api::namespaced(self.clients.build(&job.spec.cluster)?, &config.prow.pod_namespace))
    }

    /// Puts the finalizer on or takes it off. A Pod that is not there needs neither.
    async fn hold(&self, pods: &Api<Pod>, name: &str, hold: bool) -> Result<(), Error> {
        let failed =
            |source| Error::Pod { doing: "hold or release", name: name.to_owned(), source: Box::new(source) };
        for tries in 1.. {
            let Some(pod) = pods.get_opt(name).await.map_err(failed)? else { return Ok(()) };
            let Some(finalizers) = finalizers(&pod, hold) else { return Ok(()) };
            let change = serde_json::json!({
                "metadata": {"finalizers": finalizers, "resourceVersion": pod.metadata.resource_version}
            });
            match pods.patch(name, &PatchParams::default(), &Patch::Merge(change)).await {
                Ok(_) => return Ok(()),
                Err(error) if prowjobs::not_found(&error) => return Ok(()),
                Err(error) if prowjobs::conflict(&error) && tries < TRIES => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// What Kubernetes knows of a Pod. What is missing is left out.
    async fn look(&self, config: &Snapshot, job: &ProwJob, pods: &Api<Pod>) -> Result<PodReport, Error> {
        let name = job.name();
        let failed =
            |doing| move |source| Error::Pod { doing, name: name.to_owned(), source: Box::new(source) };
        let client = self.clients.build(&job.spec.cluster)?;
        let pod = pods.get_opt(name).await.map_err(failed("read"))?;
        let events: Api<Event> = Api::namespaced(client.clone(), &config.prow.pod_namespace);
        let about_it =
            ListParams::default().fields(&format!("involvedObject.kind=Pod,involvedObject.name={name}"));
        let events = match events.list(&about_it).await {
            Ok(events) => events.items,
            Err(error) if prowjobs::refused(&error) => {
                tracing::warn!(prowjob = name, %error, "podinfo.json is written without events");
                Vec::new()
            }
            Err(error) => return Err(failed("read the events of")(error)),
        };
        let node = match pod.as_ref().and_then(|p| p.spec.as_ref()?.node_name.as_deref()) {
            None => None,
            Some(node) => match Api::<Node>::all(client).get_opt(node).await {
                Ok(node) => node,
                Err(error) if prowjobs::refused(&error) => {
                    tracing::warn!(prowjob = name, node, %error, "podinfo.json is written without the node");
                    None
                }
                Err(error) => return Err(failed("read the node of")(error)),
            },
        };
        Ok(PodReport { pod, events, node })
    }

    async fn upload(&self, config: &Snapshot, job: &ProwJob, report: &PodReport) -> Result<(), Error> {
        let Some(gcs) = destination(&config.prow, job) else { return Ok(()) };
        let paths = JobPaths::new(&JobSpec::of(job), &gcs)?;
        let content = tab_indented(job.name(), report, PODINFO_JSON)?;
        let name = format!("{}/{PODINFO_JSON}", paths.dir);
        Ok(self.storage.open_str(&gcs.bucket)?.put_bytes(&name, content.into(), &json()).await?)
    }
}

#[async_trait]
impl Reporter for KubernetesReporter {
    fn name(&self) -> &'static str {
        "gcsk8sreporter"
    }

    fn should_report(&self, _config: &Snapshot, job: &ProwJob) -> bool {
        job.spec.agent == KUBERNETES_AGENT
            && job.status.pending_time.is_some()
            && !job.status.build_id.is_empty()
            && sampled(job.name(), self.fraction)
    }

    async fn report(&self, config: &Snapshot, job: &Arc<ProwJob>) -> Result<Reported, Error> {
        let pods = self.pods(config, job)?;
        if !job.complete() {
            // Whoever aborts a job leaves its completion to plank, which comes soon.
            if job.status.state == State::Aborted {
                return Ok(Reported::NotYet);
            }
            self.hold(&pods, job.name(), true).await?;
            return Ok(Reported::Jobs(vec![Arc::clone(job)]));
        }
        let report = self.look(config, job, &pods).await?;
        if report.pod.is_some() || !report.events.is_empty() {
            self.upload(config, job, &report).await?;
        }
        self.hold(&pods, job.name(), false).await?;
        Ok(Reported::Jobs(vec![Arc::clone(job)]))
    }
}

/// The finalizers that a Pod is to have; `None` if it has them, or may not get one any more.
fn finalizers(pod: &Pod, hold: bool) -> Option<Vec<String>> {
    let mut finalizers = pod.metadata.finalizers.clone().unwrap_or_default();
    let held = finalizers.iter().any(|f| f == GCSK8S_FINALIZER);
    if held == hold || (hold && pod.metadata.deletion_timestamp.is_some()) {
        return None;
    }
    if hold {
        finalizers.push(GCSK8S_FINALIZER.to_owned());
    } else {
        finalizers.retain(|f| f != GCSK8S_FINALIZER);
    }
    Some(finalizers)
}

/// Whether a run is among the reported fraction: the same answer every time it is asked.
fn sampled(name: &str, fraction: f64) -> bool {
    f64::from(crc32c(name.as_bytes())) <= fraction * f64::from(u32::MAX)
}

/// CRC-32C (Castagnoli), bit by bit: names are short.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::Time;

    #[test]
    fn a_pod_is_held_until_it_was_looked_at() {
        let pod = |finalizers: &[&str], deleting| {
            let mut pod = Pod::default();
            pod.metadata.finalizers = Some(finalizers.iter().map(|f| (*f).to_owned()).collect());
            pod.metadata.deletion_timestamp =
                if deleting { Some(Time(jiff::Timestamp::UNIX_EPOCH)) } else { None };
            pod
        };
        let ours = GCSK8S_FINALIZER;
        for (has, deleting, hold, expected) in [
            (&[][..], false, true, Some(&[ours][..])),
            (&["x"], false, true, Some(&["x", ours])),
            (&[ours], false, true, None),
            (&[], true, true, None),
            (&["x", ours], true, false, Some(&["x"])),
            (&["x"], false, false, None),
        ] {
            let expected = expected.map(|f| f.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>());
            assert_eq!(finalizers(&pod(has, deleting), hold), expected, "{has:?} {deleting} {hold}");
        }
    }

    #[test]
    fn the_sample_is_by_castagnolis_checksum() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283, "the check value of CRC-32C");
        let names: Vec<String> = (0..1000).map(|n| format!("job-{n}")).collect();
        let count = |fraction| names.iter().filter(|name| sampled(name, fraction)).count();
        assert_eq!((count(0.0), count(1.0)), (0, 1000));
        assert!((400..600).contains(&count(0.5)), "{}", count(0.5));
    }
}
