//! Where a container's volumes go, and which of them an engine, which mounts by name, is not given.

use super::volumes::{Volume, VolumeKind};
use super::{Context, Problem, env, is_sidecar, utility};
use crate::plan::MountPlan;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use std::path::{Component, Path};

/// The mounts of a container, and whether it must keep the machine's ids to write to one of them: an injected utility
/// that writes to a hostPath.
pub(super) fn of(
    spec: &PodSpec,
    container: &Container,
    volumes: &[Volume],
    own: &[(String, String)],
    injected: bool,
    context: &Context<'_>,
) -> Result<(Vec<MountPlan>, bool), Problem> {
    let name = &container.name;
    let mut mounts = Vec::new();
    let mut host_ids = false;
    for mount in container.volume_mounts.iter().flatten() {
        let volume = volumes.iter().find(|v| v.name == mount.name).ok_or_else(|| {
            Problem::config(
                name,
                format!("volumeMount {} names a volume that the Pod does not have", mount.name),
            )
        })?;
        let read_only = mount.read_only == Some(true) || volume.read_only();
        let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(p), _) if !p.is_empty() => Some(p.clone()),
            (_, Some(e)) if !e.is_empty() => Some(env::expand(e, own)),
            _ => None,
        };
        if let Some(sub) = &sub_path {
            let inside =
                Path::new(sub).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
            if !inside {
                return Err(Problem::config(
                    name,
                    format!("subPath {sub:?} leads out of its volume {}", mount.name),
                ));
            }
        }
        if sub_path.is_some() && context.engine.is_some() {
            check_sub_path(spec, container, volume)?;
        }
        let path = normal(&mount.mount_path).ok_or_else(|| {
            Problem::config(name, format!("mountPath {:?} is not an absolute path below /", mount.mount_path))
        })?;
        host_ids |= injected && !read_only && matches!(volume.kind, VolumeKind::Host { .. });
        mounts.push(MountPlan {
            source: volume.source(context.dir),
            below: volume.below(),
            sub_path,
            path,
            read_only,
        });
    }
    Ok((mounts, host_ids))
}

/// An engine mounts by name. A container that can write to the volume while another one is being made could put a link
/// in the place of the subPath, and the other would see the machine's files.
fn check_sub_path(spec: &PodSpec, container: &Container, volume: &Volume) -> Result<(), Problem> {
    let refused = |why: String| Err(Problem::config(&container.name, why));
    if matches!(volume.kind, VolumeKind::Host { .. }) {
        return refused(format!(
            "a subPath of hostPath volume {} is not granted to containers: name the whole path in the volume",
            volume.name
        ));
    }
    let writes = |c: &&Container| {
        let mounts = c.volume_mounts.iter().flatten();
        utility::utility(c).is_none()
            && mounts.into_iter().any(|m| m.name == volume.name && m.read_only != Some(true))
    };
    match beside(spec, container).into_iter().find(|c| !volume.read_only() && writes(c)) {
        None => Ok(()),
        Some(other) => refused(format!(
            "a subPath of volume {} is not granted: container {} can write to that volume while this one is made",
            volume.name, other.name
        )),
    }
}

/// The containers that may run while this one is made: sidecars that were started before it, and those that are started
/// together with it; all of them for a sidecar, which may be made again at any time.
fn beside<'a>(spec: &'a PodSpec, container: &Container) -> Vec<&'a Container> {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let others = |list: &'a [Container]| list.iter().filter(|c| c.name != container.name);
    match inits.iter().position(|c| c.name == container.name) {
        Some(at) if !is_sidecar(container) => inits[..at].iter().filter(|c| is_sidecar(c)).collect(),
        Some(_) => others(inits).chain(&spec.containers).collect(),
        None => inits.iter().filter(|c| is_sidecar(c)).chain(others(&spec.containers)).collect(),
    }
}

/// An absolute path without `.`, `..`, double or trailing slashes; `None` for `/` and anything else.
pub(super) fn normal(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (path.starts_with('/') && !parts.is_empty()).then(|| format!("/{}", parts.join("/")))
}
