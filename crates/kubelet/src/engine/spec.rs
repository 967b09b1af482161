//! What the engine is told of a container: from a Pod's words to the engine's. Pure, but for a look at which system
//! directories this machine has.

use super::context::{CONTAINER, POD_RUNNER, POD_UID};
use super::images::Found;
use crate::build::quantity;
use crate::plan::{ContainerPlan, EngineContainer, EnginePlan, PodPlan};
use crate::sandbox::SYSTEM_DIRS;
use k8s_openapi::api::core::v1::{Container, PodSpec, SecurityContext};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where the pod utilities find our executable.
const EXE: &str = crate::plan::EXE_IN_SANDBOX;
/// Where place-entrypoint finds what it copies.
const ENTRYPOINT: &str = "/prow/bin/entrypoint";
/// Memory of a container that only shows that containers run.
const TRIVIAL_MEMORY: i64 = 256 << 20;
/// Of /etc only what programs need that talk to servers.
const ETC: [&str; 12] = [
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "gitconfig",
    "ld.so.cache",
    "localtime",
    "nsswitch.conf",
    "pki",
    "protocols",
    "services",
    "ssh",
    "ssl",
];

/// A directory or file of this machine in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On this machine.
    pub source: PathBuf,
    /// In the container.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
}

/// What a container's own words and its Pod's come to. Quantities are the engine's: bytes, billionths of a CPU.
pub fn container(
    spec: &PodSpec,
    container: &Container,
    image: Option<&Found>,
    (command, args): (Vec<String>, Vec<String>),
    allow_privileged: bool,
) -> EngineContainer {
    let own = container.security_context.clone().unwrap_or_default();
    let pod = spec.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(pod.run_as_user);
    let group = own.run_as_group.or(pod.run_as_group);
    let user = match (user, group) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (Some(user), None) => Some(format!("{user}:0")),
        (None, Some(group)) => Some(format!("0:{group}")),
        (None, None) => None,
    };
    let groups = pod.supplemental_groups.iter().flatten().chain(&pod.fs_group).map(i64::to_string).collect();
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let resource = |limits: bool, name: &str| {
        let resources = container.resources.as_ref()?;
        let map = if limits { resources.limits.as_ref() } else { resources.requests.as_ref() };
        map?.get(name).map(|q| quantity::value(Some(q))).filter(|v| *v > 0.0)
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float beyond i64 becomes its end, which is no limit either"
    )]
    let whole = |value: f64| value.ceil() as i64;
    EngineContainer {
        image: image.map(|i| i.id.clone()).unwrap_or_default(),
        image_id: image.map(|i| i.image_id.clone()).unwrap_or_default(),
        command,
        args,
        user,
        groups,
        cap_add: if allow_privileged { capabilities.add.unwrap_or_default() } else { Vec::new() },
        cap_drop: capabilities.drop.unwrap_or_default(),
        privileged: allow_privileged && own.privileged == Some(true),
        read_only_root: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        memory: resource(true, "memory").map(whole),
        nano_cpus: resource(true, "cpu").map(|v| whole(v * 1e9)),
        cpu_shares: resource(false, "cpu").map(|v| whole(v * 1024.0).max(2)),
    }
}

/// True if a container would be root though its Pod forbids that.
pub fn is_forbidden_root(spec: &PodSpec, container: &Container, image: &Found) -> bool {
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    let pod = spec.security_context.clone().unwrap_or_default();
    own.run_as_non_root.or(pod.run_as_non_root) == Some(true)
        && own.run_as_user.or(pod.run_as_user).map_or(image.is_root, |user| user == 0)
}

/// The body of the engine's create call for a Pod's container.
pub fn create(pod: &PodPlan, plan: &EnginePlan, container: &ContainerPlan, mut binds: Vec<Bind>) -> Value {
    let utility = EngineContainer::default();
    let own = container.engine.as_ref().unwrap_or(&utility);
    let network = match (container.pod_network, pod.needs_network()) {
        (true, true) => format!("container:{}", network_name(&pod.uid)),
        _ => "host".to_owned(),
    };
    let mut spec = base(plan, &network);
    spec["Labels"] = labels(pod, plan, &container.name);
    spec["Env"] = container.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if let Some(dir) = &container.working_dir {
        spec["WorkingDir"] = json!(dir);
    }
    if container.utility {
        let mut argv = container.argv.clone();
        // Its image may have no libc at all: what runs in there is linked statically, and copies itself.
        if let (Some("entrypoint"), Some(file)) = (argv.get(1).map(String::as_str), &plan.entrypoint) {
            argv.splice(0..2, [ENTRYPOINT.to_owned()]);
            binds.push(Bind { source: file.clone(), target: ENTRYPOINT.to_owned(), read_only: true });
        }
        binds.extend(system(plan));
        spec["Image"] = json!(plan.utility_image);
        spec["Entrypoint"] = json!(argv);
        spec["User"] = json!("0:0");
    } else {
        spec["Image"] = json!(own.image);
        if !own.command.is_empty() {
            spec["Entrypoint"] = json!(own.command);
        }
        if !own.args.is_empty() {
            spec["Cmd"] = json!(own.args);
        }
        if let Some(user) = &own.user {
            spec["User"] = json!(user);
        }
    }
    let host = &mut spec["HostConfig"];
    host["Mounts"] = mounts(&binds);
    host["GroupAdd"] = json!(own.groups);
    host["CapAdd"] = json!(own.cap_add);
    host["CapDrop"] = json!(own.cap_drop);
    host["Privileged"] = json!(own.privileged);
    host["ReadonlyRootfs"] = json!(own.read_only_root);
    if own.no_new_privileges {
        host["SecurityOpt"] = json!(["label=disable", "no-new-privileges"]);
    }
    if plan.limits {
        for (key, value) in
            [("Memory", own.memory), ("NanoCpus", own.nano_cpus), ("CpuShares", own.cpu_shares)]
        {
            if let Some(value) = value {
                host[key] = json!(value);
            }
        }
        // As Kubernetes has it: no swap beyond the limit of memory.
        if let Some(memory) = own.memory {
            host["MemorySwap"] = json!(memory);
        }
    }
    spec
}

/// The container whose network a Pod's others share.
pub fn network(pod: &PodPlan, plan: &EnginePlan) -> Value {
    let mut spec = base(plan, &plan.network);
    spec["Labels"] = labels(pod, plan, "");
    spec["Hostname"] = json!(pod.name.chars().take(63).collect::<String>());
    spec["Image"] = json!(plan.utility_image);
    spec["Entrypoint"] = json!([EXE, "pod-sandbox", "pause"]);
    spec["HostConfig"]["Mounts"] = mounts(&system(plan));
    spec["HostConfig"]["CapDrop"] = json!(["ALL"]);
    spec
}

/// Our executable, which does nothing, on that network.
pub fn trivial(plan: &EnginePlan, network: &str) -> Value {
    let mut spec = base(plan, network);
    spec["Labels"] = json!({ POD_RUNNER: plan.runner });
    spec["Image"] = json!(plan.utility_image);
    spec["Entrypoint"] = json!([EXE, "pod-sandbox", "ready"]);
    let host = &mut spec["HostConfig"];
    host["Mounts"] = mounts(&system(plan));
    if plan.limits {
        host["Memory"] = json!(TRIVIAL_MEMORY);
        host["MemorySwap"] = json!(TRIVIAL_MEMORY);
        host["NanoCpus"] = json!(500_000_000);
        host["CpuShares"] = json!(2);
    }
    spec
}

/// Name of the container whose network the others share.
pub fn network_name(uid: &str) -> String {
    format!("prow-{uid}")
}

/// Name of a container.
pub fn name(uid: &str, container: &str) -> String {
    format!("prow-{uid}-{container}")
}

fn base(plan: &EnginePlan, network: &str) -> Value {
    let ulimits: Vec<Value> =
        plan.ulimits.iter().map(|(name, n)| json!({"Name": name, "Soft": n, "Hard": n})).collect();
    json!({
        "AttachStdout": true,
        "AttachStderr": true,
        "HostConfig": {
            "NetworkMode": network,
            "Ulimits": ulimits,
            // Its supervisor keeps the log.
            "LogConfig": {"Type": "none"},
            // Volumes belong to the Pod, not to one label of one container.
            "SecurityOpt": ["label=disable"],
        },
    })
}

fn labels(pod: &PodPlan, plan: &EnginePlan, container: &str) -> Value {
    json!({
        POD_UID: pod.uid,
        POD_RUNNER: plan.runner,
        "io.kubernetes.pod.namespace": pod.namespace,
        "io.kubernetes.pod.name": pod.name,
        CONTAINER: container,
    })
}

fn mounts(binds: &[Bind]) -> Value {
    binds
        .iter()
        .map(|b| json!({"Type": "bind", "Source": b.source, "Target": b.target, "ReadOnly": b.read_only}))
        .collect()
}

/// This machine's system directories and our executable, read-only.
fn system(plan: &EnginePlan) -> Vec<Bind> {
    let directories = SYSTEM_DIRS.iter().filter(|n| **n != "etc").map(|n| format!("/{n}"));
    let real = |path: &String| Path::new(path).is_dir() && std::fs::read_link(path).is_err();
    let etc = ETC.iter().map(|n| format!("/etc/{n}")).filter(|p| Path::new(p).exists());
    let same = |path: String| Bind { source: PathBuf::from(&path), target: path, read_only: true };
    let mut binds: Vec<Bind> = directories.filter(real).chain(etc).map(same).collect();
    binds.push(Bind { source: plan.exe.clone(), target: EXE.to_owned(), read_only: true });
    binds
}
