//! A job's Pod with its parts shared: a configuration has thousands of Pods and few different volumes, variables and
//! resources in them, and Kubernetes' own structures are kilobytes each, most of it unset fields.

use k8s_openapi::api::core::v1::{
    Container, EnvVar, PodSpec, ResourceRequirements, Toleration, Volume, VolumeMount,
};
use prow_api::DecorationConfig;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, PoisonError};

/// A PodSpec in shared parts. Compares, reads and writes as the [`PodSpec`] that it stands for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodTemplate {
    /// Everything that is not in the other fields.
    rest: Arc<PodSpec>,
    pub(crate) volumes: Option<Vec<Arc<Volume>>>,
    pub(crate) tolerations: Option<Vec<Toleration>>,
    pub(crate) containers: Vec<ContainerTemplate>,
}

/// A regular container of a [`PodTemplate`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ContainerTemplate {
    rest: Arc<Container>,
    pub(crate) name: String,
    image: Option<Arc<String>>,
    pub(crate) command: Option<Arc<Vec<String>>>,
    pub(crate) args: Option<Vec<String>>,
    pub(crate) env: Option<Vec<Arc<EnvVar>>>,
    pub(crate) volume_mounts: Option<Vec<Arc<VolumeMount>>>,
    resources: Option<Arc<ResourceRequirements>>,
}

impl PodTemplate {
    /// The PodSpec, made anew.
    pub fn to_pod_spec(&self) -> PodSpec {
        PodSpec {
            volumes: self.volumes.as_deref().map(owned),
            tolerations: self.tolerations.clone(),
            containers: self.containers.iter().map(ContainerTemplate::to_container).collect(),
            ..PodSpec::clone(&self.rest)
        }
    }

    /// Containers that start before the regular ones.
    pub fn init_containers(&self) -> &[Container] {
        self.rest.init_containers.as_deref().unwrap_or_default()
    }
}

impl ContainerTemplate {
    fn to_container(&self) -> Container {
        Container {
            name: self.name.clone(),
            image: self.image.as_deref().cloned(),
            command: self.command.as_deref().cloned(),
            args: self.args.clone(),
            env: self.env.as_deref().map(owned),
            volume_mounts: self.volume_mounts.as_deref().map(owned),
            resources: self.resources.as_deref().cloned(),
            ..Container::clone(&self.rest)
        }
    }
}

fn owned<T: Clone>(shared: &[Arc<T>]) -> Vec<T> {
    shared.iter().map(|part| T::clone(part)).collect()
}

/// A list made from another. Collecting would keep the first one's memory, which is many times what the new one needs.
fn each<A, B>(list: Vec<A>, make: impl FnMut(A) -> B) -> Vec<B> {
    let mut out = Vec::with_capacity(list.len());
    out.extend(list.into_iter().map(make));
    out
}

impl From<PodSpec> for PodTemplate {
    fn from(spec: PodSpec) -> PodTemplate {
        Pool::default().pod(spec)
    }
}
impl Serialize for PodTemplate {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.to_pod_spec().serialize(s)
    }
}
impl<'de> Deserialize<'de> for PodTemplate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        PodSpec::deserialize(d).map(PodTemplate::from)
    }
}

/// Where equal parts meet. Shared by the threads of a load, and by a load and the next.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Shelves>);

#[derive(Debug, Default)]
struct Shelves {
    pods: Shelf<PodSpec>,
    containers: Shelf<Container>,
    volumes: Shelf<Volume>,
    env: Shelf<EnvVar>,
    mounts: Shelf<VolumeMount>,
    resources: Shelf<ResourceRequirements>,
    images: Shelf<String>,
    commands: Shelf<Vec<String>>,
    decorations: Shelf<DecorationConfig>,
}

/// Different values under one key that are looked through; what is beyond is not shared.
const LOOK_THROUGH: usize = 48;

/// Values of one type by the hash of what usually tells them apart.
#[derive(Debug)]
struct Shelf<T> {
    values: HashMap<u64, Vec<Arc<T>>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Shelf { values: HashMap::new() }
    }
}

impl<T: PartialEq> Shelf<T> {
    fn share(&mut self, key: impl Hash, value: T) -> Arc<T> {
        let key = self.values.hasher().hash_one(key);
        let list = self.values.entry(key).or_default();
        if let Some(known) = list.iter().find(|known| ***known == value) {
            return known.clone();
        }
        let value = Arc::new(value);
        if list.len() < LOOK_THROUGH {
            list.push(value.clone());
        }
        value
    }

    /// Forgets what nobody else holds.
    fn prune(&mut self) {
        self.values.retain(|_, list| {
            list.retain(|value| Arc::strong_count(value) > 1);
            !list.is_empty()
        });
    }
}

impl Pool {
    fn shelves(&self) -> std::sync::MutexGuard<'_, Shelves> {
        // Whatever a panicking thread left is a set of whole values.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A PodSpec taken apart.
    pub(crate) fn pod(&self, mut spec: PodSpec) -> PodTemplate {
        let containers = std::mem::take(&mut spec.containers);
        let volumes = spec.volumes.take();
        let tolerations = spec.tolerations.take();
        let shelves = &mut *self.shelves();
        PodTemplate {
            volumes: volumes.map(|list| each(list, |v| shelves.volume(v))),
            tolerations,
            containers: each(containers, |c| shelves.container(c)),
            rest: {
                let selector = spec.node_selector.as_ref().and_then(|s| s.first_key_value()).map(|(_, v)| v);
                let key = self::key(&(&spec.service_account_name, selector, &spec.priority_class_name));
                shelves.pods.share(key, spec)
            },
        }
    }

    pub(crate) fn volumes(&self, list: &[Volume]) -> Vec<Arc<Volume>> {
        let shelves = &mut *self.shelves();
        list.iter().map(|v| shelves.volume(v.clone())).collect()
    }

    pub(crate) fn env(&self, list: &[EnvVar]) -> Vec<Arc<EnvVar>> {
        let shelves = &mut *self.shelves();
        list.iter().map(|v| shelves.variable(v.clone())).collect()
    }

    pub(crate) fn mounts(&self, list: &[VolumeMount]) -> Vec<Arc<VolumeMount>> {
        let shelves = &mut *self.shelves();
        list.iter().map(|v| shelves.mount(v.clone())).collect()
    }

    pub(crate) fn decoration(&self, config: DecorationConfig) -> Arc<DecorationConfig> {
        let key = key(&config.timeout.map(|t| t.to_string()));
        self.shelves().decorations.share(key, config)
    }

    /// Forgets what no snapshot holds any more.
    pub(crate) fn prune(&self) {
        let shelves = &mut *self.shelves();
        shelves.pods.prune();
        shelves.containers.prune();
        shelves.volumes.prune();
        shelves.env.prune();
        shelves.mounts.prune();
        shelves.resources.prune();
        shelves.images.prune();
        shelves.commands.prune();
        shelves.decorations.prune();
    }
}

fn key(parts: &impl Hash) -> u64 {
    std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(parts)
}

impl Shelves {
    fn volume(&mut self, volume: Volume) -> Arc<Volume> {
        let key = key(&volume.name);
        self.volumes.share(key, volume)
    }

    fn variable(&mut self, variable: EnvVar) -> Arc<EnvVar> {
        let key = key(&(&variable.name, &variable.value));
        self.env.share(key, variable)
    }

    fn mount(&mut self, mount: VolumeMount) -> Arc<VolumeMount> {
        let key = key(&(&mount.name, &mount.mount_path));
        self.mounts.share(key, mount)
    }

    fn container(&mut self, mut container: Container) -> ContainerTemplate {
        let name = std::mem::take(&mut container.name);
        let image = container.image.take().map(|i| self.images.share(key(&i), i));
        let command = container.command.take().map(|c| self.commands.share(key(&c), c));
        let mut args = container.args.take();
        args.iter_mut().for_each(Vec::shrink_to_fit);
        let env = container.env.take().map(|list| each(list, |e| self.variable(e)));
        let volume_mounts = container.volume_mounts.take().map(|list| each(list, |m| self.mount(m)));
        let resources = container.resources.take().map(|resources| {
            let amounts = [&resources.limits, &resources.requests].map(|map| {
                map.iter().flatten().map(|(name, q)| (name.clone(), q.0.clone())).collect::<Vec<_>>()
            });
            self.resources.share(key(&amounts), resources)
        });
        let key = key(&(&container.image_pull_policy, &container.working_dir, container.ports.is_some()));
        let rest = self.containers.share(key, container);
        ContainerTemplate { rest, name, image, command, args, env, volume_mounts, resources }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec() -> PodSpec {
        serde_json::from_value(json!({
            "serviceAccountName": "builder", "nodeSelector": {"disk": "ssd"},
            "initContainers": [{"name": "i", "restartPolicy": "Always"}],
            "tolerations": [{"key": "k"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{
                "name": "a", "image": "i:1", "command": ["run"], "args": ["--fast"], "workingDir": "/w",
                "env": [{"name": "E", "value": "1"}], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "resources": {"requests": {"cpu": "1"}}, "ports": [{"containerPort": 80}],
            }],
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_comes_back_whole() {
        let template = PodTemplate::from(spec());
        assert_eq!(template.to_pod_spec(), spec());
        assert_eq!(serde_json::to_value(&template).unwrap(), serde_json::to_value(spec()).unwrap());
        assert_eq!(PodTemplate::default().to_pod_spec(), PodSpec::default());
    }

    #[test]
    fn equal_parts_are_the_same_part_and_others_are_not() {
        let pool = Pool::default();
        let mut other = spec();
        other.containers[0].env.as_mut().unwrap()[0].value = Some("2".into());
        other.containers[0].args = None;
        let (a, b) = (pool.pod(spec()), pool.pod(other.clone()));
        assert_eq!(b.to_pod_spec(), other);
        assert!(Arc::ptr_eq(&a.rest, &b.rest) && Arc::ptr_eq(&a.containers[0].rest, &b.containers[0].rest));
        let volume = |t: &PodTemplate| t.volumes.as_ref().unwrap()[0].clone();
        assert!(Arc::ptr_eq(&volume(&a), &volume(&b)));
        assert_ne!(a, b);
    }

    #[test]
    fn parts_that_nobody_holds_are_forgotten() {
        let pool = Pool::default();
        let held = pool.pod(spec());
        pool.prune();
        assert!(Arc::ptr_eq(&held.rest, &pool.pod(spec()).rest));
        drop(held);
        pool.prune();
        assert!(pool.shelves().pods.values.is_empty() && pool.shelves().env.values.is_empty());
    }
}
