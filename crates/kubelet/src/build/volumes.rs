//! A Pod's volumes: what has to lie in them, and where they are on this machine.

use super::emptydir::{self, EmptyDir};
use super::env::{field, resource};
use super::{Context, Missing, Objects, Problem, hostpath};
use crate::error::Error;
use crate::poddir::{PodDir, private_dir};
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, PodSpec, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

const DEFAULT_MODE: i32 = 0o644;

/// One volume of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the Pod.
    pub name: String,
    /// What it is.
    pub kind: VolumeKind,
}

/// The kinds of volume there are here.
#[derive(Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// emptyDir.
    Empty(EmptyDir),
    /// secret, configMap, projected, downwardAPI: files, read-only for the job.
    Files(Vec<VolumeFile>),
    /// hostPath below an allowed directory.
    Host {
        /// On this machine.
        path: PathBuf,
        /// `DirectoryOrCreate`, `File`, …; empty for no check.
        check: String,
        /// The allowed directory that it lies in.
        below: PathBuf,
    },
}

/// A file of a volume.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeFile {
    /// Relative to the volume, never leading out.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// What is in it; may be secret, so this type prints only its size.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for VolumeFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:o}, {} bytes)", self.path.display(), self.mode, self.data.len())
    }
}

impl std::fmt::Debug for VolumeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            VolumeKind::Empty(dir) => f.debug_tuple("Empty").field(dir).finish(),
            VolumeKind::Files(files) => f.debug_tuple("Files").field(files).finish(),
            VolumeKind::Host { path, check, .. } => write!(f, "Host({}, {check})", path.display()),
        }
    }
}

impl Volume {
    /// Where it is on this machine.
    pub fn source(&self, dir: &PodDir) -> PathBuf {
        match &self.kind {
            VolumeKind::Host { path, .. } => path.clone(),
            _ => dir.volume(&self.name),
        }
    }

    /// The directory that it must be looked for in, where jobs could have put a link in its place.
    pub fn below(&self) -> Option<PathBuf> {
        match &self.kind {
            VolumeKind::Host { below, .. } => Some(below.clone()),
            _ => None,
        }
    }

    /// True if no container may write to it.
    pub fn read_only(&self) -> bool {
        matches!(self.kind, VolumeKind::Files(_))
    }
}

/// A Secret's data.
pub fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let mut data: BTreeMap<String, Vec<u8>> =
        secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect();
    // A real API server folds stringData into data; one that does not is forgiven.
    data.extend(secret.string_data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes())));
    data
}

/// A ConfigMap's data, text and binary.
pub fn config_map_data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
    text.chain(binary).collect()
}

/// All volumes of a Pod.
pub(super) fn build(
    pod: &Pod,
    spec: &PodSpec,
    objects: &Objects,
    context: &Context<'_>,
) -> Result<Vec<Volume>, Problem> {
    spec.volumes.iter().flatten().map(|v| one(pod, spec, v, objects, context)).collect()
}

fn one(
    pod: &Pod,
    spec: &PodSpec,
    v: &k8s_openapi::api::core::v1::Volume,
    objects: &Objects,
    context: &Context<'_>,
) -> Result<Volume, Problem> {
    let name = &v.name;
    let volume = |kind| Ok(Volume { name: name.clone(), kind });
    if let Some(source) = &v.empty_dir {
        return volume(VolumeKind::Empty(emptydir::of(name, source, spec, context)?));
    }
    let mut files = Vec::new();
    if let Some(s) = &v.secret {
        let object = s.secret_name.as_deref().unwrap_or_default();
        let data = found_secret(name, object, s.optional, objects)?;
        project(name, "secret", data, s.items.as_deref(), s.default_mode, s.optional, &mut files)?;
        return volume(VolumeKind::Files(files));
    }
    if let Some(c) = &v.config_map {
        let data = found_map(name, &c.name, c.optional, objects)?;
        project(name, "config", data, c.items.as_deref(), c.default_mode, c.optional, &mut files)?;
        return volume(VolumeKind::Files(files));
    }
    if let Some(d) = &v.downward_api {
        downward(pod, name, d.items.as_deref(), d.default_mode, context, &mut files)?;
        return volume(VolumeKind::Files(files));
    }
    if let Some(p) = &v.projected {
        for source in p.sources.iter().flatten() {
            if let Some(s) = &source.secret {
                let data = found_secret(name, &s.name, s.optional, objects)?;
                project(name, "secret", data, s.items.as_deref(), p.default_mode, s.optional, &mut files)?;
            }
            if let Some(c) = &source.config_map {
                let data = found_map(name, &c.name, c.optional, objects)?;
                project(name, "config", data, c.items.as_deref(), p.default_mode, c.optional, &mut files)?;
            }
            if let Some(d) = &source.downward_api {
                downward(pod, name, d.items.as_deref(), p.default_mode, context, &mut files)?;
            }
            if source.cluster_trust_bundle.is_some() {
                let message =
                    format!("volume {name}: this pod runner has no cluster trust bundles to project");
                return Err(Problem::mount(message, None));
            }
            // A service account token is never given; a remark says so.
        }
        return volume(VolumeKind::Files(files));
    }
    if let Some(h) = &v.host_path {
        let path = PathBuf::from(&h.path);
        let below = hostpath::allowed(name, &path, context)?;
        let check = h.type_.clone().unwrap_or_default();
        return volume(VolumeKind::Host { path, check, below });
    }
    let kind = serde_json::to_value(v)
        .ok()
        .and_then(|v| v.as_object()?.keys().find(|k| *k != "name").cloned())
        .unwrap_or_else(|| "an unknown kind".to_owned());
    Err(Problem::mount(format!("volume {name}: this pod runner has no volumes of kind {kind}"), None))
}

type Data = Option<BTreeMap<String, Vec<u8>>>;

fn found_secret(
    volume: &str,
    name: &str,
    optional: Option<bool>,
    objects: &Objects,
) -> Result<Data, Problem> {
    match objects.secrets.get(name) {
        Some(s) => Ok(Some(secret_data(s))),
        None if optional == Some(true) => Ok(None),
        None => Err(Problem::mount(
            format!("MountVolume.SetUp failed for volume {volume:?} : secret {name:?} not found"),
            Some(Missing::Secret(name.to_owned())),
        )),
    }
}

fn found_map(volume: &str, name: &str, optional: Option<bool>, objects: &Objects) -> Result<Data, Problem> {
    match objects.config_maps.get(name) {
        Some(c) => Ok(Some(config_map_data(c))),
        None if optional == Some(true) => Ok(None),
        None => Err(Problem::mount(
            format!("MountVolume.SetUp failed for volume {volume:?} : configmap {name:?} not found"),
            Some(Missing::ConfigMap(name.to_owned())),
        )),
    }
}

fn project(
    volume: &str,
    kind: &str,
    data: Data,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: Option<bool>,
    files: &mut Vec<VolumeFile>,
) -> Result<(), Problem> {
    let Some(mut data) = data else { return Ok(()) };
    let default_mode = default_mode.unwrap_or(DEFAULT_MODE);
    match items {
        None | Some([]) => {
            for (key, value) in data {
                files.push(file(volume, &key, default_mode, value)?);
            }
        }
        Some(items) => {
            for item in items {
                match data.remove(&item.key) {
                    Some(value) => {
                        // A key may be given at several paths.
                        files.push(file(
                            volume,
                            &item.path,
                            item.mode.unwrap_or(default_mode),
                            value.clone(),
                        )?);
                        data.insert(item.key.clone(), value);
                    }
                    None if optional == Some(true) => {}
                    None => {
                        let message = format!(
                            "MountVolume.SetUp failed for volume {volume:?} : references non-existent {} key: {}",
                            kind, item.key
                        );
                        return Err(Problem::mount(message, None));
                    }
                }
            }
        }
    }
    Ok(())
}

fn downward(
    pod: &Pod,
    volume: &str,
    items: Option<&[DownwardAPIVolumeFile]>,
    default_mode: Option<i32>,
    context: &Context<'_>,
    files: &mut Vec<VolumeFile>,
) -> Result<(), Problem> {
    for item in items.unwrap_or_default() {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(f), _) => field(pod, &f.field_path),
            (_, Some(r)) => resource(pod, None, r, context.machine),
            _ => None,
        };
        let value = value.ok_or_else(|| {
            Problem::mount(
                format!("volume {volume}: the item {} names no field that exists", item.path),
                None,
            )
        })?;
        let mode = item.mode.or(default_mode).unwrap_or(DEFAULT_MODE);
        files.push(file(volume, &item.path, mode, value.into_bytes())?);
    }
    Ok(())
}

fn file(volume: &str, path: &str, mode: i32, data: Vec<u8>) -> Result<VolumeFile, Problem> {
    let parts: Vec<_> = Path::new(path).components().collect();
    if parts.is_empty() || !parts.iter().all(|c| matches!(c, Component::Normal(_))) {
        return Err(Problem::mount(
            format!("volume {volume}: the file path {path:?} leads out of the volume"),
            None,
        ));
    }
    Ok(VolumeFile { path: PathBuf::from(path), mode: mode.unsigned_abs() & 0o777, data })
}

/// Puts the volumes on disk, owned by `owner` where that is not ourselves.
pub fn write(volumes: &[Volume], dir: &PodDir, owner: Option<u32>) -> Result<(), Error> {
    private_dir(&dir.volumes())?;
    for volume in volumes {
        match &volume.kind {
            VolumeKind::Empty(_) => {
                let path = dir.volume(&volume.name);
                fs::create_dir(&path).map_err(|e| Error::io("create the volume", &path, e))?;
                // As Kubernetes makes them; the Pod's directory lets nobody else in.
                set_mode(&path, 0o777)?;
                give(&path, owner)?;
            }
            VolumeKind::Files(files) => {
                let path = dir.volume(&volume.name);
                write_files(&path, files, owner)?;
            }
            VolumeKind::Host { path, check, below } => hostpath::prepare(&volume.name, path, check, below)?,
        }
    }
    Ok(())
}

/// `fsGroup`: the group may read and write what the Pod's own volumes hold, and owns what is made there.
pub fn give_to_group(volumes: &[Volume], dir: &PodDir, group: Option<u32>) -> Result<(), Error> {
    let Some(group) = group else { return Ok(()) };
    for volume in volumes {
        let root = dir.volume(&volume.name);
        let files = match &volume.kind {
            VolumeKind::Empty(_) => &[][..],
            VolumeKind::Files(files) => files,
            // Not ours to give.
            VolumeKind::Host { .. } => continue,
        };
        let mut paths: BTreeSet<PathBuf> = [root.clone()].into();
        for file in files {
            paths.extend(file.path.ancestors().map(|a| root.join(a)));
        }
        for path in paths {
            let failed = |e| Error::io("give to the Pod's group", &path, e);
            std::os::unix::fs::lchown(&path, None, Some(group)).map_err(failed)?;
            let mode = fs::metadata(&path).map_err(failed)?.permissions().mode();
            let more = if path.is_dir() { 0o2070 } else { 0o060 };
            set_mode(&path, (mode | more) & 0o7777)?;
        }
    }
    Ok(())
}

fn write_files(root: &Path, files: &[VolumeFile], owner: Option<u32>) -> Result<(), Error> {
    let make = |path: &Path| match DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => give(path, owner),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::io("create the directory", path, e)),
    };
    make(root)?;
    for file in files {
        let path = root.join(&file.path);
        let mut so_far = root.to_owned();
        for part in file.path.parent().into_iter().flat_map(Path::components) {
            so_far.push(part);
            make(&so_far)?;
        }
        // Two sources of a projected volume may name one path; the later one wins, as in Kubernetes.
        if path.exists() {
            fs::remove_file(&path).map_err(|e| Error::io("replace", &path, e))?;
        }
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io("create", &path, e))?;
        out.write_all(&file.data).map_err(|e| Error::io("write", &path, e))?;
        set_mode(&path, file.mode)?;
        give(&path, owner)?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| Error::io("set the mode of", path, e))
}

fn give(path: &Path, owner: Option<u32>) -> Result<(), Error> {
    let Some(id) = owner else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(id), Some(id)).map_err(|e| Error::io("change the owner of", path, e))
}
