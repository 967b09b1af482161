//! Volumes in memory, for Pods that are processes: mounted in a mount namespace of the supervisor's own, which its
//! sandboxes inherit. Nobody else ever sees them, and whatever is killed when, they go with the last process of the Pod.

use crate::plan::{Identity, Isolation, MemoryPlan, PodPlan};
use crate::sandbox::own_user_namespace;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Mounts the Pod's volumes in memory. Says in sentences which stay on disk, and why. Call it before any thread is
/// started: threads do not follow.
pub(super) fn mount_all(plan: &PodPlan) -> Vec<String> {
    if plan.memory.is_empty() || plan.isolation == Isolation::Container {
        return Vec::new();
    }
    let on_disk = |memory: &MemoryPlan, why: &str| {
        format!("emptyDir volume {} of medium Memory is a directory on disk: {why}", memory.volume)
    };
    if let Err(why) = enter(plan.isolation) {
        return plan.memory.iter().map(|m| on_disk(m, &why)).collect();
    }
    let one = |m: &MemoryPlan| mount_one(m).err().map(|e| on_disk(m, &e.to_string()));
    plan.memory.iter().filter_map(one).collect()
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
