//! The engine that a pod runner uses, and which containers are its own.

use super::http::{Client, EngineError, Listed};
use super::service::Service;
use crate::plan::EnginePlan;
use std::collections::HashSet;

/// Label: the uid of the Pod that a container is part of.
pub const POD_UID: &str = "prow.k8s.io/pod-uid";
/// Label: the data directory of the pod runner that a container belongs to.
pub const POD_RUNNER: &str = "prow.k8s.io/pod-runner";

/// Label: the container's name in its Pod; empty for the one that holds the network.
pub const CONTAINER: &str = "io.kubernetes.container.name";

/// A container engine that was found to work.
pub struct Engine {
    /// Its API.
    pub client: Client,
    /// What the stages need to know of it.
    pub plan: EnginePlan,
    /// Name, version and place, for people.
    pub title: String,
    /// What is not as it should be, in sentences.
    pub limits: Vec<String>,
    /// `privileged` and added capabilities are granted.
    pub allow_privileged: bool,
    /// Ours, if we have started it.
    pub service: Option<Service>,
}

impl Engine {
    /// Removes what is left of a Pod.
    pub async fn remove_pod(&self, uid: &str) -> Result<(), EngineError> {
        let label = format!("{POD_UID}={uid}");
        self.remove(self.client.list(&label).await?).await?;
        for volume in self.client.volumes(&label).await? {
            self.client.remove_volume(&volume.name).await?;
        }
        Ok(())
    }

    /// Removes the containers and volumes of this data directory whose Pods nobody knows any more.
    pub async fn sweep(&self, known: &HashSet<String>) -> Result<(), EngineError> {
        let label = format!("{POD_RUNNER}={}", self.plan.runner);
        let mut left = self.client.list(&label).await?;
        left.retain(|c| c.labels.get(POD_UID).is_none_or(|uid| !known.contains(uid)));
        for container in &left {
            tracing::info!(container = container.id, "removing a container that no Pod has any more");
        }
        self.remove(left).await?;
        for volume in self.client.volumes(&label).await? {
            let uid = volume.labels.as_ref().and_then(|l| l.get(POD_UID));
            if uid.is_none_or(|uid| !known.contains(uid)) {
                tracing::info!(volume = volume.name, "removing a volume that no Pod has any more");
                self.client.remove_volume(&volume.name).await?;
            }
        }
        Ok(())
    }

    /// The ones whose network others use go last: before those they cannot.
    async fn remove(&self, mut containers: Vec<Listed>) -> Result<(), EngineError> {
        containers.sort_by_key(|c| c.labels.get(CONTAINER).is_none_or(String::is_empty));
        for container in containers {
            self.client.remove(&container.id).await?;
        }
        Ok(())
    }

    /// Makes sure that an engine of our own still runs.
    pub async fn ensure(&self) -> Result<(), crate::error::Error> {
        match &self.service {
            Some(service) => service.ensure(&self.client).await,
            None => Ok(()),
        }
    }
}
