//! What is done otherwise than a Pod asks, said in events.

use super::emptydir::can_keep_in_memory;
use super::utility::{follows_a_job, is_in_place, utility};
use super::{Context, Remark, all_containers};
use crate::engine::ungranted;
use crate::options::Network;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use std::collections::BTreeSet;

/// All of them.
pub(super) fn of(spec: &PodSpec, context: &Context<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut say = |reason, message: String| remarks.push(Remark { reason, message });
    let images: BTreeSet<&str> =
        all_containers(spec).filter(|c| utility(c).is_none()).filter_map(|c| c.image.as_deref()).collect();
    if !images.is_empty() && context.engine.is_none() {
        let images: Vec<&str> = images.into_iter().collect();
        say(
            "ImageNotUsed",
            format!(
                "this pod runner runs processes, not images: in place of {} the job sees this machine's own programs",
                images.join(", ")
            ),
        );
    }
    if spec.restart_policy.as_deref().unwrap_or("Always") != "Never" {
        say(
            "RestartPolicyIgnored",
            "containers are run once: this pod runner knows only restartPolicy Never".to_owned(),
        );
    }
    let security = |c: &Container| c.security_context.clone().unwrap_or_default();
    let asks = |c: &Container| {
        let security = security(c);
        let adds = security.capabilities.is_some_and(|c| c.add.is_some_and(|a| !a.is_empty()));
        security.privileged == Some(true) || (adds && context.engine.is_some())
    };
    if !context.engine.is_some_and(|e| e.allow_privileged) && all_containers(spec).any(asks) {
        let hint = if context.engine.is_some() { " without --allow-privileged" } else { "" };
        let message = format!("privileged and added capabilities are not granted by this pod runner{hint}");
        say("PrivilegedNotGranted", message);
    }
    let pod_user = spec.security_context.as_ref().and_then(|s| s.run_as_user);
    if context.engine.is_none()
        && all_containers(spec).any(|c| security(c).run_as_user.or(pod_user).unwrap_or(0) != 0)
    {
        say(
            "RunAsUserIgnored",
            "runAsUser is not followed: the job is user 0 of its own sandbox, nobody outside".to_owned(),
        );
    }
    if spec.host_network == Some(true) && context.network != Network::Host {
        say(
            "HostNetworkNotGranted",
            "hostNetwork is not granted: the pod runner isolates jobs' networks".to_owned(),
        );
    }
    let memory = |v: &k8s_openapi::api::core::v1::Volume| {
        v.empty_dir.as_ref().is_some_and(|e| e.medium.as_deref() == Some("Memory"))
    };
    if !can_keep_in_memory(context) && spec.volumes.iter().flatten().any(memory) {
        let message = "emptyDir volumes of medium Memory are directories on disk: this container engine cannot keep any in \
                       memory";
        say("EmptyDirOnDisk", message.to_owned());
    }
    let contained = |c: &&Container| {
        utility(c).is_some_and(|u| u != "entrypoint") && (!is_in_place(spec, c) || follows_a_job(spec, c))
    };
    for container in all_containers(spec).filter(contained).filter(|_| context.network != Network::Host) {
        say(
            "UtilityContained",
            format!(
                "container {} has the Pod's network, not this machine's: a pod utility gets that only where decoration \
                 puts it",
                container.name
            ),
        );
    }
    let probed = |c: &Container| {
        c.liveness_probe.is_some()
            || c.readiness_probe.is_some()
            || c.startup_probe.is_some()
            || c.lifecycle.is_some()
    };
    if all_containers(spec).any(probed) {
        say("ProbesIgnored", "probes and lifecycle hooks are not run by this pod runner".to_owned());
    }
    for message in ungranted::sentences(spec, context.engine.map(|e| e.allow_privileged)) {
        say("NotGranted", message);
    }
    let token = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|v| v.projected.as_ref())
        .flat_map(|p| p.sources.iter().flatten());
    if token.into_iter().any(|s| s.service_account_token.is_some()) {
        say("NoServiceAccountToken", "this pod runner never gives a job a service account token".to_owned());
    }
    remarks
}
