//! emptyDir: on disk or in memory, and how large it may become.

use super::volumes::{Volume, VolumeKind};
use super::{Context, Problem, all_containers, quantity};
use crate::plan::{Isolation, LimitPlan, MemoryPlan};
use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, PodSpec};

/// What an emptyDir is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmptyDir {
    /// `medium: Memory`, and how many bytes of it.
    pub memory: Option<u64>,
    /// `sizeLimit` in bytes and as it was written.
    pub limit: Option<(u64, String)>,
}

/// Reads one.
pub(super) fn of(
    name: &str,
    source: &EmptyDirVolumeSource,
    spec: &PodSpec,
    context: &Context<'_>,
) -> Result<EmptyDir, Problem> {
    let limit = source.size_limit.as_ref().map(|q| (quantity::value(Some(q)), q.0.clone()));
    let limit = limit.filter(|(bytes, _)| *bytes > 0.0);
    let memory = match source.medium.as_deref().unwrap_or_default() {
        "" => None,
        "Memory" => Some(whole(memory_size(spec, limit.as_ref().map(|l| l.0), context.machine.memory))),
        other => {
            let message = format!("volume {name}: this pod runner has no emptyDir volumes of medium {other}");
            return Err(Problem::mount(message, None));
        }
    };
    Ok(EmptyDir { memory, limit: limit.map(|(bytes, text)| (whole(bytes), text)) })
}

/// As a kubelet has it: the machine's memory, or what the Pod may use of it if every container says how much, or
/// sizeLimit, whichever is least.
fn memory_size(spec: &PodSpec, limit: Option<f64>, machine: f64) -> f64 {
    let of = |c: &Container| {
        let limits = c.resources.as_ref().and_then(|r| r.limits.as_ref());
        quantity::value(limits.and_then(|l| l.get("memory")))
    };
    let together: f64 = spec.containers.iter().map(of).sum();
    let most = spec.init_containers.iter().flatten().map(of).fold(together, f64::max);
    let pod = all_containers(spec).all(|c| of(c) > 0.0).then_some(most);
    pod.into_iter().chain(limit).fold(machine, f64::min)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "never negative, and no machine has more"
)]
fn whole(bytes: f64) -> u64 {
    bytes.ceil() as u64
}

/// True if the engine, where there is one, can keep directories in memory.
pub(super) fn can_keep_in_memory(context: &Context<'_>) -> bool {
    context.engine.is_none_or(|e| e.plan.memory)
}

/// The Pod's directories in memory.
pub(super) fn in_memory(volumes: &[Volume], spec: &PodSpec, context: &Context<'_>) -> Vec<MemoryPlan> {
    if !can_keep_in_memory(context) {
        return Vec::new();
    }
    let owner = match context.isolation {
        Isolation::Sandboxed(identity) => identity.owner(),
        Isolation::None | Isolation::Container => None,
    };
    let group = spec.security_context.as_ref().and_then(|s| s.fs_group);
    let group =
        group.filter(|_| context.isolation == Isolation::Container).and_then(|g| u32::try_from(g).ok());
    let one = |v: &Volume| match &v.kind {
        VolumeKind::Empty(EmptyDir { memory: Some(bytes), .. }) => Some(MemoryPlan {
            volume: v.name.clone(),
            path: v.source(context.dir),
            bytes: *bytes,
            owner,
            group,
        }),
        _ => None,
    };
    volumes.iter().filter_map(one).collect()
}

/// The Pod's directories that must not become larger than they say, where nobody else sees to it. For processes those in
/// memory are among them: whether they can be mounted is known only to the supervisor.
pub(super) fn limited(volumes: &[Volume], context: &Context<'_>) -> Vec<LimitPlan> {
    let one = |v: &Volume| match &v.kind {
        VolumeKind::Empty(EmptyDir { memory, limit: Some((bytes, limit)) })
            if memory.is_none() || context.engine.is_none() || !can_keep_in_memory(context) =>
        {
            let path = v.source(context.dir);
            Some(LimitPlan { volume: v.name.clone(), path, bytes: *bytes, limit: limit.clone() })
        }
        _ => None,
    };
    volumes.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_directory_in_memory_is_as_large_as_its_pod_may_be() {
        let size = |inits: &[&str], containers: &[&str], limit: Option<f64>| {
            let list = |limits: &[&str]| -> Vec<_> {
                limits
                    .iter()
                    .map(|m| match *m {
                        "" => json!({"name": "c"}),
                        m => json!({"name": "c", "resources": {"limits": {"memory": m}}}),
                    })
                    .collect()
            };
            let spec = json!({"initContainers": list(inits), "containers": list(containers)});
            memory_size(&serde_json::from_value(spec).unwrap(), limit, 1000.0)
        };
        assert_eq!(size(&[], &[""], None), 1000.0, "nothing says less than the machine has");
        assert_eq!(size(&[], &["100", "200"], None), 300.0);
        assert_eq!(size(&["400"], &["100", "200"], None), 400.0);
        assert_eq!(size(&[""], &["100", "200"], None), 1000.0, "one may use as much as it likes");
        assert_eq!(size(&[], &["100", "200"], Some(50.0)), 50.0);
        assert_eq!(size(&[], &["100", "200"], Some(500.0)), 300.0);
        assert_eq!(size(&[], &["5000"], Some(7000.0)), 1000.0);
    }
}
