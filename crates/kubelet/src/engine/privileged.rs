//! What Docker-in-Docker asks of the machine besides `privileged`, as the presets of many Prow installations have it.

use crate::build::all_containers;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::path::{Path, PathBuf};

/// Kernel modules, which a nested engine's firewall may want to load, and the control groups in which it puts its own.
const PATHS: [&str; 2] = ["/lib/modules", "/sys/fs/cgroup"];

/// Those of them that a Pod names in a hostPath which only privileged containers mount: they are root of this machine
/// anyway. For a pod runner that grants `privileged`. Pure.
pub fn host_paths(pod: &Pod) -> Vec<PathBuf> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let privileged = |c: &Container| c.security_context.as_ref().is_some_and(|s| s.privileged == Some(true));
    let mounts = |c: &Container, volume: &str| c.volume_mounts.iter().flatten().any(|m| m.name == volume);
    let volumes = spec.volumes.iter().flatten();
    let named = volumes.filter_map(|v| Some((v.name.as_str(), Path::new(&v.host_path.as_ref()?.path))));
    named
        .filter_map(|(volume, path)| {
            let known = PATHS.into_iter().find(|known| Path::new(known) == path)?;
            all_containers(spec).all(|c| !mounts(c, volume) || privileged(c)).then(|| PathBuf::from(known))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_nested_engine_needs_is_for_privileged_containers_alone() {
        let paths = |path: &str, others: serde_json::Value| {
            let mounts = json!([{"name": "v", "mountPath": "/m"}]);
            let pod = json!({"spec": {
                "volumes": [{"name": "v", "hostPath": {"path": path}}, {"name": "e", "emptyDir": {}}],
                "initContainers": [{"name": "plain"}],
                "containers": [{"name": "dind", "securityContext": {"privileged": true}, "volumeMounts": mounts}, others],
            }});
            host_paths(&serde_json::from_value(pod).unwrap())
        };
        let plain = json!({"name": "o", "volumeMounts": [{"name": "e", "mountPath": "/m"}]});
        assert_eq!(paths("/lib/modules", plain.clone()), [Path::new("/lib/modules")]);
        assert_eq!(paths("/sys/fs/cgroup/", plain.clone()), [Path::new("/sys/fs/cgroup")]);
        for other in ["/lib", "/lib/modules/x", "/lib/../lib/modules", "/etc", "/"] {
            assert!(paths(other, plain.clone()).is_empty(), "{other}");
        }
        let shares = json!({"name": "o", "volumeMounts": [{"name": "v", "mountPath": "/m"}]});
        assert!(paths("/lib/modules", shares).is_empty());
    }
}
