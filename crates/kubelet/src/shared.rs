//! What the runner's tasks share: the Pods as the API has them, the workers, and the ways to write to the API.

use crate::error::Error;
use crate::probe::Capabilities;
use crate::runtime::Runtime;
use crate::worker::Worker;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use prow_service::clock::SharedClock;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub(crate) struct Shared {
    pub(crate) client: kube::Client,
    pub(crate) clock: SharedClock,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) node_name: String,
    pub(crate) capabilities: Capabilities,
    /// The API's Pods have been listed once.
    pub(crate) synced: Notify,
    /// Wakes the scheduler.
    pub(crate) reschedule: Notify,
    /// Wakes who waits for workers to settle.
    pub(crate) settling: Notify,
    pods: Mutex<HashMap<String, Arc<Pod>>>,
    workers: Mutex<HashMap<String, Handle>>,
    shutting_down: AtomicBool,
    shutdown_seconds: u64,
}

struct Handle {
    wake: Arc<Notify>,
    settled: bool,
    task: AbortHandle,
}

impl Shared {
    pub(crate) fn new(
        client: kube::Client,
        clock: SharedClock,
        runtime: Arc<dyn Runtime>,
        node_name: String,
        capabilities: Capabilities,
        shutdown_seconds: u64,
    ) -> Self {
        Shared {
            client,
            clock,
            runtime,
            node_name,
            capabilities,
            synced: Notify::new(),
            reschedule: Notify::new(),
            settling: Notify::new(),
            pods: Mutex::default(),
            workers: Mutex::default(),
            shutting_down: AtomicBool::new(false),
            shutdown_seconds,
        }
    }

    pub(crate) fn pod(&self, uid: &str) -> Option<Arc<Pod>> {
        self.pods.lock().get(uid).cloned()
    }

    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.lock().values().cloned().collect()
    }

    /// A Pod as a watch has it.
    pub(crate) fn put(self: &Arc<Self>, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let ours = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(self.node_name.as_str());
        self.pods.lock().insert(uid.clone(), Arc::new(pod));
        self.reschedule.notify_one();
        if ours {
            self.wake(&uid);
        }
    }

    /// What a write of our own returned: as [`Shared::put`], but never brings back a Pod that is gone.
    fn update(self: &Arc<Self>, pod: Pod) {
        let known = pod.metadata.uid.as_ref().is_some_and(|uid| self.pods.lock().contains_key(uid));
        if known {
            self.put(pod);
        }
    }

    pub(crate) fn gone(self: &Arc<Self>, uid: &str) {
        if self.pods.lock().remove(uid).is_some() {
            self.reschedule.notify_one();
            if self.workers.lock().contains_key(uid) {
                self.wake(uid);
            }
        }
    }

    /// Only these are left.
    pub(crate) fn retain(self: &Arc<Self>, uids: &std::collections::HashSet<String>) {
        let lost: Vec<String> = self.pods.lock().keys().filter(|k| !uids.contains(*k)).cloned().collect();
        for uid in lost {
            self.gone(&uid);
        }
    }

    /// Has the Pod's worker look, and starts one if there is none.
    pub(crate) fn wake(self: &Arc<Self>, uid: &str) {
        let mut workers = self.workers.lock();
        if let Some(handle) = workers.get_mut(uid) {
            handle.settled = false;
            handle.wake.notify_one();
            return;
        }
        let wake = Arc::new(Notify::new());
        let worker = Worker::new(self.clone(), uid.to_owned(), wake.clone());
        let task = tokio::spawn(worker.run()).abort_handle();
        workers.insert(uid.to_owned(), Handle { wake, settled: false, task });
    }

    /// A worker has nothing more to do (or has again).
    pub(crate) fn settled(&self, uid: &str, settled: bool) {
        if let Some(handle) = self.workers.lock().get_mut(uid) {
            handle.settled = settled;
        }
        self.settling.notify_one();
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.workers.lock().remove(uid);
        self.settling.notify_one();
    }

    pub(crate) fn all_settled(&self) -> bool {
        self.workers.lock().values().all(|h| h.settled)
    }

    pub(crate) fn abort_workers(&self) {
        for handle in self.workers.lock().values() {
            handle.task.abort();
        }
    }

    pub(crate) fn shutdown_grace(&self) -> Option<u64> {
        self.shutting_down.load(Ordering::Acquire).then_some(self.shutdown_seconds)
    }

    pub(crate) fn begin_shutdown(&self) {
        self.shutting_down.store(true, Ordering::Release);
        for handle in self.workers.lock().values_mut() {
            handle.settled = false;
            handle.wake.notify_one();
        }
    }

    pub(crate) fn pods_in(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default())
    }

    /// Writes a Pod's status, guarded by its uid: a younger Pod of the same name is left alone.
    pub(crate) async fn write_status(self: &Arc<Self>, pod: &Pod, status: &PodStatus) -> Result<(), Error> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let patch = Patch::Merge(json!({ "metadata": { "uid": pod.metadata.uid }, "status": status }));
        let written = self.pods_in(pod).patch_status(&name, &PatchParams::default(), &patch).await;
        match written {
            Ok(pod) => {
                self.update(pod);
                Ok(())
            }
            Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => self.look(pod).await,
            Err(e) => Err(Error::api(format!("write the status of Pod {name}"), e)),
        }
    }

    /// Looks whether a Pod is still there, where a refusal could mean that it is not (or that another of its name has
    /// its place). A mistake here would end a running job, so the API is asked.
    async fn look(self: &Arc<Self>, pod: &Pod) -> Result<(), Error> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let found = self.pods_in(pod).get_opt(&name).await;
        let found = found.map_err(|e| Error::api(format!("look for Pod {name}"), e))?;
        match found {
            Some(found) if found.metadata.uid == pod.metadata.uid => {
                self.update(found);
                Err(Error::Other(format!("the status of Pod {name} was refused as conflicting")))
            }
            _ => {
                self.gone(pod.metadata.uid.as_deref().unwrap_or_default());
                Ok(())
            }
        }
    }

    /// Binds a Pod to this node as a scheduler does, unless it has changed since we looked.
    pub(crate) async fn bind(self: &Arc<Self>, pod: &Pod) -> Result<(), Error> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                "name": name,
                "uid": pod.metadata.uid,
                "resourceVersion": pod.metadata.resource_version,
            },
            "target": { "apiVersion": "v1", "kind": "Node", "name": self.node_name },
        });
        let pods = self.pods_in(pod);
        let answer: Result<Status, _> =
            pods.create_subresource("binding", &name, &PostParams::default(), &binding).await;
        match answer {
            Ok(_) => {
                // What the watch is about to show; until then it must not be bound a second time.
                let mut bound = pod.clone();
                bound.spec.get_or_insert_default().node_name = Some(self.node_name.clone());
                self.update(bound);
                Ok(())
            }
            // The watch brings what has changed, and the scheduler looks again.
            Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => Ok(()),
            Err(e) => Err(Error::api(format!("bind Pod {name} to node {}", self.node_name), e)),
        }
    }

    /// Writes an event about a Pod. Its name follows from its content, so that saying it again after a restart says
    /// nothing new.
    pub(crate) async fn write_event(
        &self,
        pod: &Pod,
        kind: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), Error> {
        let meta = &pod.metadata;
        let (name, namespace) =
            (meta.name.clone().unwrap_or_default(), meta.namespace.clone().unwrap_or_default());
        let uid = meta.uid.clone().unwrap_or_default();
        let hash = format!("{uid} {reason} {message}")
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let now = Some(Time(self.clock.now()));
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{hash:016x}")),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(name),
                namespace: Some(namespace.clone()),
                uid: Some(uid),
                ..ObjectReference::default()
            },
            type_: Some(kind.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            count: Some(1),
            first_timestamp: now.clone(),
            last_timestamp: now,
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.node_name.clone()),
            }),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(s)) if s.code == 409 => Ok(()),
            Err(e) => Err(Error::api(format!("write event {reason}"), e)),
        }
    }
}
