//! What the engine is told of a container: from a Pod's words to the engine's. Pure, but for a look at which system
//! directories this machine has.

use super::context::{CONTAINER, POD_RUNNER, POD_UID};
use super::images::Found;
use super::tmpfs;
use crate::build::quantity;
use crate::plan::{ContainerPlan, EngineContainer, EnginePlan, NamesPlan, PodPlan};
use crate::sandbox::SYSTEM_DIRS;
use k8s_openapi::api::core::v1::{Container, PodSpec, SecurityContext};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where the pod utilities find our executable.
const EXE: &str = crate::plan::EXE_IN_SANDBOX;
/// Where place-entrypoint finds what it copies.
const ENTRYPOINT: &str = "/prow/bin/entrypoint";
/// In microseconds: over how long a limit of CPU is measured, and the least of it that the kernel takes.
const CPU_PERIOD: i64 = 100_000;
const CPU_LEAST: i64 = 1000;
/// Weights of CPU that the kernel takes.
const CPU_SHARES: std::ops::RangeInclusive<i64> = 2..=262_144;
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

/// A directory or file of this machine, or a volume of the engine's, in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On this machine; if it is not absolute, the name of a volume.
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
        // The image's user goes on being it.
        (None, Some(group)) => Some(format!("{}:{group}", image.map_or("0", Found::user_alone))),
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
        seccomp_unconfined: allow_privileged && seccomp(spec, container) == Some("Unconfined"),
        tty: container.tty == Some(true),
        stdin: container.stdin == Some(true),
        memory: resource(true, "memory").map(whole),
        nano_cpus: resource(true, "cpu").map(|v| whole(v * 1e9)),
        // Who names a limit alone requests as much.
        cpu_shares: resource(false, "cpu")
            .or(resource(true, "cpu"))
            .map(|v| clamp(whole(v * 1024.0), &CPU_SHARES)),
    }
}

fn clamp(value: i64, range: &std::ops::RangeInclusive<i64>) -> i64 {
    value.clamp(*range.start(), *range.end())
}

/// The type of a container's seccomp profile, its own or its Pod's.
pub fn seccomp<'a>(spec: &'a PodSpec, container: &'a Container) -> Option<&'a str> {
    let own = container.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
    let pod = spec.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
    own.or(pod).map(|p| p.type_.as_str())
}

/// By which names a Pod knows itself and others.
pub fn names(spec: &PodSpec, pod_name: &str) -> NamesPlan {
    let dns = spec.dns_config.clone().unwrap_or_default();
    let aliases = spec.host_aliases.iter().flatten();
    let option = |name: String, value: Option<String>| match value {
        Some(value) => format!("{name}:{value}"),
        None => name,
    };
    let hostname = spec.hostname.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_name);
    NamesPlan {
        hostname: hostname.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned(),
        hosts: aliases
            .flat_map(|a| a.hostnames.iter().flatten().map(move |name| format!("{name}:{}", a.ip)))
            .collect(),
        nameservers: dns.nameservers.unwrap_or_default(),
        searches: dns.searches.unwrap_or_default(),
        options: dns.options.into_iter().flatten().filter_map(|o| Some(option(o.name?, o.value))).collect(),
    }
}

/// Why a container must not run if its Pod forbids root; `None` if it may.
pub fn forbidden_root(spec: &PodSpec, container: &Container, image: &Found) -> Option<String> {
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    let pod = spec.security_context.clone().unwrap_or_default();
    if own.run_as_non_root.or(pod.run_as_non_root) != Some(true) {
        return None;
    }
    let name = image.user_alone();
    match own.run_as_user.or(pod.run_as_user) {
        Some(0) => Some("container's runAsUser breaks non-root policy".to_owned()),
        Some(_) => None,
        None if matches!(name, "0" | "root") => {
            Some("container has runAsNonRoot and image will run as root".to_owned())
        }
        // Whoever that is in there: the image could say that it is root.
        None if name.parse::<u32>().is_err() => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        )),
        None => None,
    }
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
        spec["Tty"] = json!(own.tty);
        spec["OpenStdin"] = json!(own.stdin);
        if network == "host" {
            give_names(&mut spec, &pod.names);
        } else if plan.scheme == "podman" {
            // Who shares a network shares its host's name in Docker, which refuses another; not so in Podman.
            spec["Hostname"] = json!(pod.names.hostname);
        }
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
    let mut options = vec!["label=disable"];
    if own.no_new_privileges {
        options.push("no-new-privileges");
    }
    if own.seccomp_unconfined {
        options.push("seccomp=unconfined");
    }
    host["SecurityOpt"] = json!(options);
    if plan.limits {
        // Not as `NanoCpus`: Docker refuses more of those than the machine has, where a kubelet lets it be.
        let quota = own.nano_cpus.map(|n| (n / (1_000_000_000 / CPU_PERIOD)).max(CPU_LEAST));
        let period = quota.map(|_| CPU_PERIOD);
        for (key, value) in [
            ("Memory", own.memory),
            ("CpuPeriod", period),
            ("CpuQuota", quota),
            ("CpuShares", own.cpu_shares),
        ] {
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

/// The container whose network a Pod's others share, and which keeps its volumes in memory.
pub fn network(pod: &PodPlan, plan: &EnginePlan) -> Value {
    let mut spec = base(plan, &plan.network);
    spec["Labels"] = labels(pod, plan, "");
    give_names(&mut spec, &pod.names);
    // The machine's, where the network is.
    if plan.network != "host" {
        spec["Hostname"] = json!(pod.names.hostname);
    }
    spec["Image"] = json!(plan.utility_image);
    spec["Entrypoint"] = json!([EXE, "pod-sandbox", "pause"]);
    let mut binds = system(plan);
    // An engine keeps one in memory only while some container has it.
    binds.extend(pod.memory.iter().enumerate().map(|(n, memory)| Bind {
        source: PathBuf::from(tmpfs::name(&pod.uid, &memory.volume)),
        target: format!("/prow/memory/{n}"),
        read_only: true,
    }));
    spec["HostConfig"]["Mounts"] = mounts(&binds);
    spec["HostConfig"]["CapDrop"] = json!(["ALL"]);
    spec
}

/// For a container with a network of its own: those that share it share its names.
fn give_names(spec: &mut Value, names: &NamesPlan) {
    let host = &mut spec["HostConfig"];
    for (key, list) in [
        ("ExtraHosts", &names.hosts),
        ("Dns", &names.nameservers),
        ("DnsSearch", &names.searches),
        ("DnsOptions", &names.options),
    ] {
        if !list.is_empty() {
            host[key] = json!(list);
        }
    }
}

/// Our executable, which does nothing, on that network and with that volume.
pub fn trivial(plan: &EnginePlan, network: &str, volume: Option<&str>) -> Value {
    let mut spec = base(plan, network);
    spec["Labels"] = json!({ POD_RUNNER: plan.runner });
    spec["Image"] = json!(plan.utility_image);
    spec["Entrypoint"] = json!([EXE, "pod-sandbox", "ready"]);
    let host = &mut spec["HostConfig"];
    let mut binds = system(plan);
    binds.extend(volume.map(|name| Bind {
        source: PathBuf::from(name),
        target: "/prow/memory/0".to_owned(),
        read_only: false,
    }));
    host["Mounts"] = mounts(&binds);
    if plan.limits {
        host["Memory"] = json!(TRIVIAL_MEMORY);
        host["MemorySwap"] = json!(TRIVIAL_MEMORY);
        host["CpuPeriod"] = json!(CPU_PERIOD);
        host["CpuQuota"] = json!(CPU_PERIOD / 2);
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

/// Labels of what belongs to a Pod; `container` is empty for what belongs to all its containers.
pub fn labels(pod: &PodPlan, plan: &EnginePlan, container: &str) -> Value {
    json!({
        POD_UID: pod.uid,
        POD_RUNNER: plan.runner,
        "io.kubernetes.pod.namespace": pod.namespace,
        "io.kubernetes.pod.name": pod.name,
        CONTAINER: container,
    })
}

fn mounts(binds: &[Bind]) -> Value {
    let one = |b: &Bind| {
        let mut mount =
            json!({"Type": "bind", "Source": b.source, "Target": b.target, "ReadOnly": b.read_only});
        if !b.source.is_absolute() {
            mount["Type"] = json!("volume");
            // Nothing of what the image has there.
            mount["VolumeOptions"] = json!({"NoCopy": true});
        }
        mount
    };
    binds.iter().map(one).collect()
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

#[cfg(test)]
mod tests;
