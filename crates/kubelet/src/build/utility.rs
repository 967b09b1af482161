//! Which containers are pod utilities, and which of those are where decoration puts them and may therefore reach the
//! machine's network.
//!
//! Anybody can call an image `sidecar`. A container of a utility's image runs our executable and nothing else, in a
//! sandbox as any other; what decides over the network and over the machine's ids is [`is_injected`]. A job's own
//! spec cannot get there: the configuration lets it have no init containers but sidecars (`restartPolicy: Always`), calls
//! an only container `test`, and refuses decoration's names to jobs that it decorates (prow-config §3). For Pods that
//! were written by hand, nothing of a job's may have touched what the utility works on before it has ended: `clonerefs`
//! runs git, and git runs what a directory's configuration says.

use crate::sandbox::SYSTEM_DIRS;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use std::path::{Component, Path};

/// The pod utilities, which are our own executable under these names (prow-runtime §8).
const UTILITIES: [&str; 5] = ["clonerefs", "initupload", "entrypoint", "sidecar", "gcsupload"];

/// The pod utility that a container is, if it is one: by the image's name, and only if it brings no command.
pub fn utility(container: &Container) -> Option<&'static str> {
    if container.command.as_ref().is_some_and(|c| !c.is_empty()) {
        return None;
    }
    let image = container.image.as_deref()?;
    let image = image.split('@').next()?;
    let last = image.rsplit('/').next()?;
    let name = last.split(':').next()?;
    UTILITIES.into_iter().find(|u| *u == name)
}

/// True for a utility that decoration has put there: it has the machine's network, since it talks to git or storage, and
/// may write to a bucket's directory. `entrypoint` needs neither.
pub(super) fn is_injected(spec: &PodSpec, container: &Container) -> bool {
    is_in_place(spec, container) && !follows_a_job(spec, container) && runs_only_itself(container)
}

/// True for a utility with the name and at the place that decoration gives it.
pub(super) fn is_in_place(spec: &PodSpec, container: &Container) -> bool {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let is_among = |list: &[Container]| list.iter().any(|c| std::ptr::eq(c, container));
    let place = match (utility(container), container.name.as_str()) {
        (Some("clonerefs"), "clonerefs") | (Some("initupload"), "initupload") => is_among(inits),
        (Some("sidecar"), "sidecar") => is_among(&spec.containers),
        _ => false,
    };
    place && container.restart_policy.is_none()
}

/// True if a job may have had a hand in what this one works on. Only clonerefs runs what it finds there.
pub(super) fn follows_a_job(spec: &PodSpec, container: &Container) -> bool {
    // The first of all finds what it clones into as empty as we made it.
    let first = spec.init_containers.iter().flatten().next();
    container.name == "clonerefs"
        && (!first.is_some_and(|c| std::ptr::eq(c, container)) || writes_to_the_machine(spec, container))
}

/// A hostPath outlives its Pod: an earlier one may have left in it what git would run.
fn writes_to_the_machine(spec: &PodSpec, container: &Container) -> bool {
    let is_host = |name: &str| spec.volumes.iter().flatten().any(|v| v.name == name && v.host_path.is_some());
    container.volume_mounts.iter().flatten().any(|m| m.read_only != Some(true) && is_host(&m.name))
}

/// Nothing in its environment or mounts could make it run something of the job's.
fn runs_only_itself(container: &Container) -> bool {
    let own = |name: &str| name == "JOB_SPEC" || name.ends_with("_OPTIONS");
    let system = |path: &str| {
        let first = Path::new(path).components().find_map(|c| match c {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        first
            .is_none_or(|name| SYSTEM_DIRS.contains(&name) || ["prow", "root", "proc", "dev"].contains(&name))
    };
    container.env_from.as_ref().is_none_or(Vec::is_empty)
        && container.env.iter().flatten().all(|e| own(&e.name))
        && !container.volume_mounts.iter().flatten().any(|m| system(&m.mount_path))
}
