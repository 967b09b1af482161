//! The Secrets and ConfigMaps that a job names: from directories that were given, else stubs, so that it starts.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, KeyToPath, Pod, Secret};
use prow_api::ObjectMeta;
use prow_api::prowjob::ProwJobSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What a stub holds under every key that the Pod names.
const STUB: &str = "stub-of-prow-run";

/// `NAME=DIR`.
#[derive(Debug, Clone)]
pub struct Named {
    /// The object's name.
    pub name: String,
    /// Its keys are the names of the files here.
    pub dir: PathBuf,
}

impl Named {
    /// From a flag's value.
    pub fn parse(value: &str) -> Result<Named, String> {
        match value.split_once('=') {
            Some((name, dir)) if !name.is_empty() && !dir.is_empty() => {
                Ok(Named { name: name.to_owned(), dir: PathBuf::from(dir) })
            }
            _ => Err("write it as NAME=DIR, where DIR has one file for each key".to_owned()),
        }
    }

    fn files(&self) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        use anyhow::Context;
        let failed = || format!("cannot read {} for {}", self.dir.display(), self.name);
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&self.dir).with_context(failed)? {
            let path = entry.with_context(failed)?.path();
            let Some(key) = path.file_name().and_then(|n| n.to_str()) else { continue };
            // `..data` and its like are how Kubernetes itself lays such a directory out.
            if !key.starts_with("..") && path.is_file() {
                files.insert(key.to_owned(), std::fs::read(&path).with_context(failed)?);
            }
        }
        Ok(files)
    }
}

/// Takes the credentials for cloning out of the job that were not given; their names.
pub fn clone_as_nobody(spec: &mut ProwJobSpec, given: &[Named]) -> BTreeSet<String> {
    let mut without = BTreeSet::new();
    let Some(config) = spec.decoration_config.as_deref_mut() else { return without };
    let mut keep = |name: &str| {
        let known = given.iter().any(|g| g.name == name);
        if !known {
            without.insert(name.to_owned());
        }
        known
    };
    config.ssh_key_secrets.retain(|name| keep(name));
    if config.oauth_token_secret.as_ref().is_some_and(|s| !keep(&s.name)) {
        config.oauth_token_secret = None;
    }
    if config.github_app_private_key_secret.as_ref().is_some_and(|s| !keep(&s.name)) {
        config.github_app_private_key_secret = None;
        config.github_app_id.clear();
    }
    let name = |s: &String| s.split('/').next().unwrap_or_default().to_owned();
    if config.cookiefile_secret.as_ref().is_some_and(|s| !s.is_empty() && !keep(&name(s))) {
        config.cookiefile_secret = None;
    }
    without
}

/// What goes into the API beside the Pod.
pub struct Objects {
    /// Secrets. Not to be printed.
    pub secrets: Vec<Secret>,
    /// ConfigMaps.
    pub config_maps: Vec<ConfigMap>,
    /// What a person should know about them.
    pub said: Vec<String>,
}

/// Keys that a Pod names, by object; an object of which it names no key is there with none.
#[derive(Default)]
struct Wanted {
    secrets: BTreeMap<String, BTreeSet<String>>,
    maps: BTreeMap<String, BTreeSet<String>>,
}

/// The objects that the Pod needs, and those that were given.
pub fn objects(pod: &Pod, secrets: &[Named], maps: &[Named]) -> anyhow::Result<Objects> {
    let wanted = wanted(pod);
    let mut objects = Objects { secrets: Vec::new(), config_maps: Vec::new(), said: Vec::new() };
    let meta = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let mut stubs = Vec::new();
    let mut all = |kind: &str, wanted: &BTreeMap<String, BTreeSet<String>>, given: &[Named]| {
        let mut out: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        for named in given {
            out.insert(named.name.clone(), named.files()?);
        }
        for (name, keys) in wanted {
            if !out.contains_key(name) {
                stubs.push(format!("{kind} {name}"));
                out.insert(name.clone(), keys.iter().map(|k| (k.clone(), STUB.into())).collect());
            }
        }
        anyhow::Ok(out)
    };
    for (name, data) in all("Secret", &wanted.secrets, secrets)? {
        let data = Some(data.into_iter().map(|(k, v)| (k, ByteString(v))).collect());
        // What the pull of an image needs is told by the key that it has.
        objects.secrets.push(Secret { metadata: meta(&name), data, ..Secret::default() });
    }
    for (name, data) in all("ConfigMap", &wanted.maps, maps)? {
        let binary_data = Some(data.into_iter().map(|(k, v)| (k, ByteString(v))).collect());
        objects.config_maps.push(ConfigMap { metadata: meta(&name), binary_data, ..ConfigMap::default() });
    }
    if !stubs.is_empty() {
        let flags = "--secret NAME=DIR and --config-map NAME=DIR give real ones";
        objects.said.push(format!("stubs stand in for {} ({flags})", stubs.join(", ")));
    }
    Ok(objects)
}

fn wanted(pod: &Pod) -> Wanted {
    let mut wanted = Wanted::default();
    let Some(spec) = &pod.spec else { return wanted };
    let required = |optional: Option<bool>| optional != Some(true);
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        for from in container.env_from.iter().flatten() {
            if let Some(r) = from.secret_ref.as_ref().filter(|r| required(r.optional)) {
                wanted.secrets.entry(r.name.clone()).or_default();
            }
            if let Some(r) = from.config_map_ref.as_ref().filter(|r| required(r.optional)) {
                wanted.maps.entry(r.name.clone()).or_default();
            }
        }
        for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            if let Some(r) = source.secret_key_ref.as_ref().filter(|r| required(r.optional)) {
                wanted.secrets.entry(r.name.clone()).or_default().insert(r.key.clone());
            }
            if let Some(r) = source.config_map_key_ref.as_ref().filter(|r| required(r.optional)) {
                wanted.maps.entry(r.name.clone()).or_default().insert(r.key.clone());
            }
        }
    }
    let keys =
        |items: &Option<Vec<KeyToPath>>| items.iter().flatten().map(|i| i.key.clone()).collect::<Vec<_>>();
    for volume in spec.volumes.iter().flatten() {
        if let Some(s) = volume.secret.as_ref().filter(|s| required(s.optional)) {
            wanted
                .secrets
                .entry(s.secret_name.clone().unwrap_or_default())
                .or_default()
                .extend(keys(&s.items));
        }
        if let Some(c) = volume.config_map.as_ref().filter(|c| required(c.optional)) {
            wanted.maps.entry(c.name.clone()).or_default().extend(keys(&c.items));
        }
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            if let Some(s) = source.secret.as_ref().filter(|s| required(s.optional)) {
                wanted.secrets.entry(s.name.clone()).or_default().extend(keys(&s.items));
            }
            if let Some(c) = source.config_map.as_ref().filter(|c| required(c.optional)) {
                wanted.maps.entry(c.name.clone()).or_default().extend(keys(&c.items));
            }
        }
    }
    wanted
}
