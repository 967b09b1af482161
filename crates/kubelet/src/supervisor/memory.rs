//! Volumes in memory, for Pods that are processes: mounted in a mount namespace of the supervisor's own, which its
//! sandboxes inherit. Nobody else ever sees them, and whatever is killed when, they go with the last process of the Pod.

use crate::plan::{Identity, Isolation, MemoryPlan, PodPlan};
use crate::sandbox::own_user_namespace;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Mounts the Pod's volumes in memory. Says in sentences which stay on disk, and why; the limits of the others, which the
/// kernel keeps, are taken out of the plan. Call it before any thread is started: threads do not follow.
pub(super) fn mount_all(plan: &mut PodPlan) -> Vec<String> {
    if plan.memory.is_empty() || plan.isolation == Isolation::Container {
        return Vec::new();
    }
    let entered = enter(plan.isolation);
    let mount = |m: &MemoryPlan| match &entered {
        Ok(()) => mount_one(m).map_err(|e| e.to_string()),
        Err(why) => Err(why.clone()),
    };
    let mounted: Vec<Result<(), String>> = plan.memory.iter().map(mount).collect();
    settle(plan, &mounted)
}

/// What follows from how the mounts of all the plan's volumes in memory came out.
fn settle(plan: &mut PodPlan, mounted: &[Result<(), String>]) -> Vec<String> {
    let mut on_disk = Vec::new();
    for (memory, outcome) in plan.memory.iter().zip(mounted) {
        match outcome {
            Ok(()) => plan.limits.retain(|l| l.volume != memory.volume),
            Err(why) => on_disk.push(format!(
                "emptyDir volume {} of medium Memory is a directory on disk: {why}",
                memory.volume
            )),
        }
    }
    on_disk
}

fn enter(isolation: Isolation) -> Result<(), String> {
    if isolation == Isolation::Sandboxed(Identity::Own) {
        own_user_namespace().map_err(|e| e.to_string())?;
    }
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| format!("cannot make a mount namespace: {e}"))?;
    // What the machine mounts and unmounts from now on is so here, too; not the other way round.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|e| format!("cannot keep mounts to ourselves: {e}"))
}

fn mount_one(memory: &MemoryPlan) -> Result<(), Errno> {
    let mut data = format!("size={},mode=777", memory.bytes);
    if let Some(id) = memory.owner {
        data.push_str(&format!(",uid={id},gid={id}"));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &memory.path, Some("tmpfs"), flags, Some(data.as_str()))
}

/// Gives the memory back; nothing of the Pod runs any more.
pub(super) fn release(plan: &PodPlan) {
    for memory in plan.memory.iter().filter(|_| plan.isolation != Isolation::Container) {
        // One that was not mounted is none; any other goes with us, in a moment.
        let _ = umount2(&memory.path, MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_kernel_does_not_bound_is_watched() {
        let memory = |v: &str| json!({"volume": v, "path": "/v", "bytes": 1, "owner": null, "group": null});
        let limit = |v: &str| json!({"volume": v, "path": "/v", "bytes": 1, "limit": "1"});
        let mut plan: PodPlan = serde_json::from_value(json!({
            "namespace": "n", "name": "p", "uid": "u", "isolation": "none", "grace_seconds": 1,
            "active_deadline_seconds": null, "init_containers": [], "containers": [], "hide": [],
            "memory": [memory("mounted"), memory("refused")],
            "limits": [limit("mounted"), limit("refused"), limit("disk")],
        }))
        .unwrap();
        let said = settle(&mut plan, &[Ok(()), Err("no".to_owned())]);
        assert_eq!(said, ["emptyDir volume refused of medium Memory is a directory on disk: no"]);
        let watched: Vec<&str> = plan.limits.iter().map(|l| l.volume.as_str()).collect();
        assert_eq!(watched, ["refused", "disk"]);
    }
}
