//! What a Pod asks for that no container of an engine, or no process, is given here; said in events. Pure.

use super::spec::seccomp;
use crate::build::all_containers;
use k8s_openapi::api::core::v1::{Container, PodSpec};

/// What is heeded of resources.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// A sentence for each. `engine` is whether its containers may be privileged; none for processes.
pub fn sentences(spec: &PodSpec, engine: Option<bool>) -> Vec<String> {
    let mut said = Vec::new();
    let mut say = |text: &str| said.push(text.to_owned());
    if spec.host_pid == Some(true) || spec.host_ipc == Some(true) {
        say("hostPID and hostIPC are not granted: a container sees its own processes only");
    }
    if spec.share_process_namespace == Some(true) {
        say("shareProcessNamespace is not followed: a container sees its own processes only");
    }
    let sysctls = spec.security_context.as_ref().and_then(|s| s.sysctls.as_ref());
    if sysctls.is_some_and(|s| !s.is_empty()) {
        say("sysctls are not set by this pod runner");
    }
    let limits = |c: &Container| {
        let limits = c.resources.as_ref().and_then(|r| r.limits.clone()).unwrap_or_default();
        limits.into_keys().filter(|name| !RESOURCES.contains(&name.as_str()))
    };
    let mut resources: Vec<String> = all_containers(spec).flat_map(limits).collect();
    resources.sort();
    resources.dedup();
    if !resources.is_empty() {
        said.push(format!("limits of {} are not enforced by this pod runner", resources.join(", ")));
    }
    let Some(privileged) = engine else { return said };
    let mut say = |text: &str| said.push(text.to_owned());
    let profiles = |wanted: &str| all_containers(spec).any(|c| seccomp(spec, c) == Some(wanted));
    if profiles("Unconfined") && !privileged {
        say(
            "seccompProfile Unconfined is not granted without --allow-privileged: the engine's own profile is used",
        );
    }
    if profiles("Localhost") {
        say("seccompProfile Localhost is not followed: the engine's own profile is used");
    }
    let security = || all_containers(spec).filter_map(|c| c.security_context.as_ref());
    if security().any(|s| s.proc_mount.as_deref() == Some("Unmasked")) {
        say("procMount Unmasked is not granted");
    }
    let pod = spec.security_context.as_ref();
    if pod.is_some_and(|s| s.se_linux_options.is_some()) || security().any(|s| s.se_linux_options.is_some()) {
        say("seLinuxOptions are not followed: containers run without a label");
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_granted_is_said() {
        let container = |more: serde_json::Value| {
            let mut container = json!({"name": "c"});
            container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"containers": [container]})
        };
        let pod = |more: serde_json::Value| {
            let mut spec = container(json!({}));
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec
        };
        let cases = [
            (pod(json!({"hostPID": true})), "hostPID", true),
            (pod(json!({"hostIPC": true})), "hostIPC", true),
            (pod(json!({"shareProcessNamespace": true})), "shareProcessNamespace", true),
            (pod(json!({"securityContext": {"sysctls": [{"name": "a", "value": "1"}]}})), "sysctls", true),
            (
                container(json!({"resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "1"}}})),
                "limits of nvidia.com/gpu are",
                true,
            ),
            (
                container(json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}})),
                "--allow-privileged",
                false,
            ),
            (pod(json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}})), "Localhost", false),
            (container(json!({"securityContext": {"procMount": "Unmasked"}})), "procMount", false),
            (pod(json!({"securityContext": {"seLinuxOptions": {"level": "s0"}}})), "seLinuxOptions", false),
        ];
        for (spec, word, of_processes_too) in cases {
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            let said = sentences(&spec, Some(false));
            assert!(said.len() == 1 && said[0].contains(word), "{word}: {said:?}");
            assert_eq!(sentences(&spec, None).len(), usize::from(of_processes_too), "{word}");
        }
        let plain = json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}});
        let plain: PodSpec = serde_json::from_value(container(plain)).unwrap();
        assert!(sentences(&plain, Some(false)).is_empty());
        let unconfined = container(json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}));
        let unconfined: PodSpec = serde_json::from_value(unconfined).unwrap();
        assert!(sentences(&unconfined, Some(true)).is_empty());
    }
}
