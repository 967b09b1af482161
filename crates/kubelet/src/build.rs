//! From a Pod and the objects it names to the plan of its run: pure, so that every refusal can be tested as a table.
//!
//! What cannot be done becomes a [`Problem`] (the Pod waits and says why, as under a kubelet); what is done otherwise
//! than asked becomes a [`Remark`] (an event).

pub mod emptydir;
pub mod env;
mod hostpath;
mod mounts;
pub mod quantity;
mod remarks;
pub mod rewrite;
mod utility;
pub mod volumes;

use crate::engine::images::Found;
use crate::engine::spec;
use crate::options::Network;
use crate::plan::{ContainerPlan, EXE_IN_SANDBOX, EngineContainer, EnginePlan, Isolation, PodPlan};
use crate::poddir::PodDir;
use env::Machine;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
pub use utility::utility;
use volumes::Volume;

/// Kubernetes' default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE: u64 = 30;

/// Everything the plan depends on besides the Pod and its objects.
#[derive(Clone)]
pub struct Context<'a> {
    /// Where the Pod will live.
    pub dir: &'a PodDir,
    /// How its containers will be kept apart.
    pub isolation: Isolation,
    /// Which network jobs get.
    pub network: Network,
    /// Our executable on this machine.
    pub exe: &'a Path,
    /// What no container may see.
    pub hide: &'a [PathBuf],
    /// Below which directories hostPath volumes may lie.
    pub allow_host_paths: &'a [PathBuf],
    /// What the machine has.
    pub machine: Machine,
    /// The engine and the Pod's images in it, for [`Isolation::Container`].
    pub engine: Option<&'a Contained<'a>>,
}

/// What a plan for containers depends on.
#[derive(Clone)]
pub struct Contained<'a> {
    /// The engine.
    pub plan: &'a EnginePlan,
    /// Images by container.
    pub images: &'a BTreeMap<String, Found>,
    /// `privileged` and added capabilities are granted.
    pub allow_privileged: bool,
}

/// The Secrets and ConfigMaps of one Pod; a name that is missing here is not in the API. Not to be printed.
#[derive(Clone, Default)]
pub struct Objects {
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
    /// By name.
    pub config_maps: BTreeMap<String, ConfigMap>,
}

/// An object that the API does not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// A Secret of the Pod's namespace.
    Secret(String),
    /// A ConfigMap of the Pod's namespace.
    ConfigMap(String),
}

/// Why a Pod cannot be started as things stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The container it is about; none for the whole Pod.
    pub container: Option<String>,
    /// The waiting reason, a kubelet's word.
    pub reason: &'static str,
    /// The event's reason, a kubelet's word.
    pub event: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// What to wait for, if that would help.
    pub missing: Option<Missing>,
}

/// Something done otherwise than the Pod asks; said in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The event's reason.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// A plan and what has to be on disk for it.
#[derive(Debug, Clone)]
pub struct Built {
    /// What the supervisor runs.
    pub plan: PodPlan,
    /// The Pod's volumes.
    pub volumes: Vec<Volume>,
    /// What to tell the user.
    pub remarks: Vec<Remark>,
}

impl Problem {
    /// Something in a container's own definition.
    pub fn config(container: &str, message: String) -> Problem {
        Problem {
            container: Some(container.to_owned()),
            reason: "CreateContainerConfigError",
            event: "Failed",
            message,
            missing: None,
        }
    }

    /// Something about a volume.
    pub fn mount(message: String, missing: Option<Missing>) -> Problem {
        Problem { container: None, reason: "ContainerCreating", event: "FailedMount", message, missing }
    }
}

/// In a kubelet's words.
pub(crate) fn missing_key(pod: &Pod, container: &str, kind: &str, object: &str, key: &str) -> Problem {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Problem::config(container, format!("couldn't find key {key} in {kind} {namespace}/{object}"))
}

impl Objects {
    fn secret(
        &self,
        container: &str,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, Problem> {
        match self.secrets.get(name) {
            Some(s) => Ok(Some(volumes::secret_data(s))),
            None if optional == Some(true) => Ok(None),
            None => Err(Problem {
                missing: Some(Missing::Secret(name.to_owned())),
                ..Problem::config(container, format!("secret {name:?} not found"))
            }),
        }
    }

    fn config_map(
        &self,
        container: &str,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, Problem> {
        match self.config_maps.get(name) {
            Some(c) => Ok(Some(volumes::config_map_data(c))),
            None if optional == Some(true) => Ok(None),
            None => Err(Problem {
                missing: Some(Missing::ConfigMap(name.to_owned())),
                ..Problem::config(container, format!("configmap {name:?} not found"))
            }),
        }
    }
}

/// Names of the Secrets and ConfigMaps that a Pod mentions.
pub fn needs(pod: &Pod) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut secrets, mut maps) = (BTreeSet::new(), BTreeSet::new());
    let Some(spec) = &pod.spec else { return (secrets, maps) };
    secrets.extend(spec.image_pull_secrets.iter().flatten().map(|r| r.name.clone()));
    for container in all_containers(spec) {
        for from in container.env_from.iter().flatten() {
            secrets.extend(from.secret_ref.as_ref().map(|r| r.name.clone()));
            maps.extend(from.config_map_ref.as_ref().map(|r| r.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            secrets.extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
            maps.extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        secrets.extend(volume.secret.as_ref().and_then(|s| s.secret_name.clone()));
        maps.extend(volume.config_map.as_ref().map(|c| c.name.clone()));
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            secrets.extend(source.secret.as_ref().map(|s| s.name.clone()));
            maps.extend(source.config_map.as_ref().map(|c| c.name.clone()));
        }
    }
    (secrets, maps)
}

/// Init containers, then containers.
pub fn all_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// True for an init container that runs on beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Makes the plan.
pub fn build(pod: &Pod, objects: &Objects, context: &Context<'_>) -> Result<Built, Problem> {
    let spec = pod.spec.as_ref().ok_or_else(|| Problem::mount("the Pod has no spec".to_owned(), None))?;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    for (kind, name) in std::iter::once(("Pod uid", uid.as_str()))
        .chain(all_containers(spec).map(|c| ("container", c.name.as_str())))
        .chain(spec.volumes.iter().flatten().map(|v| ("volume", v.name.as_str())))
    {
        if !is_label(name) {
            return Err(Problem::mount(
                format!("the {kind} name {name:?} is not a lower-case DNS label"),
                None,
            ));
        }
    }
    let volumes = volumes::build(pod, spec, objects, context)?;
    let containers = |list: &[Container]| -> Result<Vec<ContainerPlan>, Problem> {
        list.iter().map(|c| container_plan(pod, spec, c, &volumes, objects, context)).collect()
    };
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let plan = PodPlan {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid,
        isolation: context.isolation,
        grace_seconds: spec
            .termination_grace_period_seconds
            .map_or(DEFAULT_GRACE, |s| s.max(0).unsigned_abs()),
        active_deadline_seconds: spec.active_deadline_seconds.map(|s| s.max(0).unsigned_abs()),
        init_containers: containers(init)?,
        containers: containers(&spec.containers)?,
        hide: context.hide.to_vec(),
        memory: emptydir::in_memory(&volumes, spec, context),
        limits: emptydir::limited(&volumes, context),
        engine: context.engine.map(|e| e.plan.clone()),
        names: spec::names(spec, pod.metadata.name.as_deref().unwrap_or_default()),
    };
    Ok(Built { plan, volumes, remarks: remarks::of(spec, context) })
}

/// A DNS label, or a uid: nothing that could leave its directory.
fn is_label(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn container_plan(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    volumes: &[Volume],
    objects: &Objects,
    context: &Context<'_>,
) -> Result<ContainerPlan, Problem> {
    let name = &container.name;
    let utility = utility(container);
    let mut own = env::resolve(pod, container, objects, context.machine)?;
    let expand = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|t| env::expand(t, &own)).collect()
    };
    let mut argv = expand(&container.command);
    let args = expand(&container.args);
    let engine = context
        .engine
        .filter(|_| utility.is_none())
        .map(|e| contained(spec, container, e, (argv.clone(), args.clone())))
        .transpose()?;
    argv.extend(args);
    if context.engine.is_some() && utility == Some("entrypoint") {
        needs_entrypoint(name, context)?;
    }
    if utility.is_none() && engine.is_none() && container.command.as_ref().is_none_or(Vec::is_empty) {
        return Err(Problem {
            reason: "ErrImagePull",
            ..Problem::config(
                name,
                format!(
                    "this pod runner runs processes, not images: container {name} needs a command (its image {} is \
                     not used)",
                    container.image.as_deref().unwrap_or("is empty and")
                ),
            )
        });
    }
    let injected = utility::is_injected(spec, container);
    let (mounts, host_ids) = mounts::of(spec, container, volumes, &own, injected, context)?;
    let mut plan = ContainerPlan {
        name: name.clone(),
        argv,
        env: Vec::new(),
        working_dir: container.working_dir.clone().filter(|d| !d.is_empty()),
        mounts,
        pod_network: !injected && context.network != Network::Host,
        utility: utility.is_some(),
        restart: is_sidecar(container),
        host_ids,
        termination_path: container
            .termination_message_path
            .as_deref()
            .and_then(mounts::normal)
            .unwrap_or_else(|| "/dev/termination-log".to_owned()),
        termination_from_logs: container.termination_message_policy.as_deref()
            == Some("FallbackToLogsOnError"),
        engine,
    };
    // An image knows its own PATH.
    let mut base = match plan.engine {
        Some(_) => Vec::new(),
        None => vec![("PATH".to_owned(), env::DEFAULT_PATH.to_owned())],
    };
    let hostname = pod.metadata.name.clone().unwrap_or_default();
    let exe = if context.isolation == Isolation::None {
        let private = context.dir.container(name);
        let own_dir = |d: &str| private.join(d).to_string_lossy().into_owned();
        base.extend([("HOME".to_owned(), own_dir("home")), ("TMPDIR".to_owned(), own_dir("tmp"))]);
        if utility == Some("entrypoint") {
            spell_out_copy_destination(&mut plan.argv);
        }
        rewrite_paths(&mut plan, &mut own, context.dir.termination_log(name));
        context.exe.to_string_lossy().into_owned()
    } else {
        if plan.engine.is_none() {
            base.push(("HOME".to_owned(), "/root".to_owned()));
        }
        EXE_IN_SANDBOX.to_owned()
    };
    base.push(("HOSTNAME".to_owned(), spec.hostname.clone().unwrap_or(hostname)));
    if let Some(utility) = utility {
        plan.argv.splice(0..0, [exe, utility.to_owned()]);
    }
    base.retain(|(n, _)| !own.iter().any(|(o, _)| o == n));
    base.append(&mut own);
    plan.env = base;
    Ok(plan)
}

/// What the engine is told of a job's container.
fn contained(
    spec: &PodSpec,
    container: &Container,
    engine: &Contained<'_>,
    argv: (Vec<String>, Vec<String>),
) -> Result<EngineContainer, Problem> {
    let image = engine.images.get(&container.name);
    if let Some(message) = image.and_then(|i| spec::forbidden_root(spec, container, i)) {
        return Err(Problem::config(&container.name, message));
    }
    if argv.0.is_empty() && image.is_some_and(|i| !i.has_program) && argv.1.is_empty() {
        let message = format!("container {} has no command, and neither has its image", container.name);
        return Err(Problem { reason: "CreateContainerError", ..Problem::config(&container.name, message) });
    }
    Ok(spec::container(spec, container, image, argv, engine.allow_privileged))
}

/// What place-entrypoint copies has to run in any image.
fn needs_entrypoint(name: &str, context: &Context<'_>) -> Result<(), Problem> {
    if context.engine.is_some_and(|e| e.plan.entrypoint.is_some()) {
        return Ok(());
    }
    let message = "this prow was built without a statically linked entrypoint, which container jobs need: build it \
                   where static libraries of libc are (libc6-dev has them), or choose --runtime=process";
    Err(Problem::config(name, message.to_owned()))
}

/// Without mounts: where place-entrypoint copies itself is its own default (prow-runtime §8.3), and only what is spelled
/// out can be rewritten.
fn spell_out_copy_destination(args: &mut Vec<String>) {
    let named = |flag: &str| args.iter().any(|a| a.trim_start_matches('-').split('=').next() == Some(flag));
    if named("copy-mode-only") && !named("copy-destination") {
        args.push("--copy-destination=/tools/entrypoint".to_owned());
    }
}

/// Without mounts: every path of a volume becomes the directory behind it.
fn rewrite_paths(plan: &mut ContainerPlan, own: &mut [(String, String)], termination_log: PathBuf) {
    let mut paths: Vec<(String, String)> = plan
        .mounts
        .iter()
        .map(|m| {
            let source = m.sub_path.as_ref().map_or_else(|| m.source.clone(), |s| m.source.join(s));
            (m.path.clone(), source.to_string_lossy().into_owned())
        })
        .collect();
    paths.push((plan.termination_path.clone(), termination_log.to_string_lossy().into_owned()));
    let texts = plan.argv.iter_mut().chain(own.iter_mut().map(|(_, v)| v)).chain(plan.working_dir.as_mut());
    for text in texts {
        *text = rewrite::rewrite(text, &paths);
    }
}

#[cfg(test)]
mod tests;
