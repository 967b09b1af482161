//! Decoration: the utility containers, volumes and options around a job's containers (prow-runtime §7.4, §7.5).
//!
//! One deliberate addition to the contract: when results go to a `file:///dir` bucket, that directory of the node is
//! mounted at the same path into initupload and sidecar as a volume named `bucket`, because there is no network
//! storage to talk to.

use crate::env::{Env, var, vars, with_unsafe_references};
use crate::gojson;
use crate::memory::default_memory;
use crate::paths::split_bucket;
use crate::pod::{PodError, PodOptions, is_empty};
use crate::volumes::{VolumeNames, empty_dir, host_path, mount, read_only, secret_volume};
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, ResourceRequirements, Volume, VolumeMount};
use prow_api::decoration::{CensoringConfig, DecorationConfig, SecretKey, UtilityImages};
use prow_api::options::{
    CLONEREFS_OPTIONS, CensoringOptions, CloneRefsOptions, ENTRYPOINT_OPTIONS, EntrypointOptions,
    GcsUploadOptions, INITUPLOAD_OPTIONS, InitUploadOptions, JOB_SPEC, SIDECAR_OPTIONS, SidecarOptions,
    WrapperOptions,
};
use prow_api::prowjob::ProwJob;
use prow_api::refs::Refs;
use serde::Serialize;
use std::collections::BTreeSet;

const LOGS: &str = "/logs";
const TOOLS: &str = "/tools";
const CODE: &str = "/home/prow/go";
const ARTIFACTS: &str = "/logs/artifacts";
const CLONE_LOG: &str = "/logs/clone.json";
const ENTRYPOINT: &str = "/tools/entrypoint";
const LOCAL_OUTPUT: &str = "/output";
/// Volumes of test containers; their names are fixed, because jobs and tools know them.
const RESERVED_VOLUMES: [&str; 3] = ["logs", "tools", "code"];
const UTILITIES: [&str; 4] = ["clonerefs", "initupload", "place-entrypoint", "sidecar"];
const GITHUB_API: &str = "https://api.github.com";

/// Wraps `spec`'s containers. `env` is the job's environment without what decoration adds.
pub(crate) fn decorate(
    spec: &mut PodSpec,
    prowjob: &ProwJob,
    config: &DecorationConfig,
    mut env: Env,
    options: &PodOptions,
) -> Result<(), PodError> {
    let this = Decorator { prowjob, config, images: images(prowjob, config)? };
    env.insert("ARTIFACTS".to_owned(), ARTIFACTS.to_owned());
    env.insert("GOPATH".to_owned(), CODE.to_owned());
    let job_spec = env.get(JOB_SPEC).cloned().unwrap_or_default();

    let cloned = this.cloned_refs();
    this.reserved(spec, !cloned.is_empty())?;
    let mut names = VolumeNames::new(spec, &RESERVED_VOLUMES);
    let storage = this.storage(&mut names, options)?;
    let clone = if cloned.is_empty() { None } else { Some(this.clonerefs(&cloned, &mut names)?) };

    let initupload = this.initupload(&storage, clone.is_some(), &job_spec)?;
    let init = spec.init_containers.get_or_insert_default();
    let mut clone_volumes = Vec::new();
    if let Some((container, volumes)) = clone {
        init.insert(0, container);
        clone_volumes = volumes;
    }
    init.push(initupload);
    init.push(this.place_entrypoint());

    let secret_mounts = this.secret_mounts(spec, &storage);
    let several = spec.containers.len() > 1;
    let mut entries = Vec::with_capacity(spec.containers.len());
    for container in &mut spec.containers {
        container.env.get_or_insert_default().extend(vars(&env));
        entries.push(this.wrap(container, several, &env)?);
        if !cloned.is_empty() {
            container.working_dir = Some(working_dir(&cloned));
            container.volume_mounts.get_or_insert_default().push(mount("code", CODE));
        }
        default_memory(container, config);
    }
    let sidecar = this.sidecar(&storage, entries, secret_mounts, &job_spec)?;
    spec.containers.push(sidecar);

    let volumes = spec.volumes.get_or_insert_default();
    volumes.extend([empty_dir("logs"), empty_dir("tools")]);
    volumes.extend(storage.volumes);
    if !cloned.is_empty() {
        volumes.extend(clone_volumes);
        volumes.push(empty_dir("code"));
    }
    this.pod_settings(spec);
    Ok(())
}

struct Decorator<'a> {
    prowjob: &'a ProwJob,
    config: &'a DecorationConfig,
    images: &'a UtilityImages,
}

/// How initupload and sidecar reach the bucket.
struct Storage {
    options: GcsUploadOptions,
    volumes: Vec<Volume>,
    credential_mounts: Vec<VolumeMount>,
    /// A directory that stands for the bucket: `output` or `bucket`.
    directory_mount: Option<VolumeMount>,
}

fn images<'a>(prowjob: &ProwJob, config: &'a DecorationConfig) -> Result<&'a UtilityImages, PodError> {
    let missing = |missing| PodError::Incomplete {
        name: prowjob.name().to_owned(),
        job: prowjob.spec.job.clone(),
        missing,
    };
    let images = config.utility_images.as_ref().ok_or_else(|| missing("utility_images"))?;
    for (image, key) in [
        (&images.clonerefs, "utility_images.clonerefs"),
        (&images.initupload, "utility_images.initupload"),
        (&images.entrypoint, "utility_images.entrypoint"),
        (&images.sidecar, "utility_images.sidecar"),
    ] {
        if image.is_empty() {
            return Err(missing(key));
        }
    }
    if config.gcs_configuration.is_none() {
        return Err(missing("gcs_configuration"));
    }
    Ok(images)
}

impl Decorator<'_> {
    fn resources(
        &self,
        of: impl FnOnce(&prow_api::decoration::Resources) -> &Option<ResourceRequirements>,
    ) -> Option<ResourceRequirements> {
        self.config.resources.as_ref().and_then(|resources| of(resources).clone())
    }

    /// Refuses a job whose own names are those that decoration adds: an API server would refuse the Pod. Loading the
    /// configuration refuses such jobs, but a ProwJob may come from elsewhere.
    fn reserved(&self, spec: &PodSpec, cloned: bool) -> Result<(), PodError> {
        let refuse = |what, value: &str| PodError::Reserved {
            name: self.prowjob.name().to_owned(),
            job: self.prowjob.spec.job.clone(),
            what,
            value: value.to_owned(),
        };
        for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
            if UTILITIES.contains(&container.name.as_str()) {
                return Err(refuse("container", &container.name));
            }
        }
        for volume in spec.volumes.iter().flatten() {
            let name = volume.name.as_str();
            if RESERVED_VOLUMES.contains(&name) && (cloned || name != "code") {
                return Err(refuse("volume", name));
            }
        }
        for mount in spec.containers.iter().flat_map(|c| c.volume_mounts.iter().flatten()) {
            let path = mount.mount_path.as_str();
            if path == LOGS || path == TOOLS || (cloned && path == CODE) {
                return Err(refuse("mount path", path));
            }
        }
        Ok(())
    }

    /// Refuses an empty name of something that a volume is made from.
    fn needed(&self, value: &str, missing: &'static str) -> Result<(), PodError> {
        if !value.is_empty() {
            return Ok(());
        }
        let (name, job) = (self.prowjob.name().to_owned(), self.prowjob.spec.job.clone());
        Err(PodError::Incomplete { name, job, missing })
    }

    /// The primary refs, then the extra ones; none if cloning is off.
    fn cloned_refs(&self) -> Vec<&Refs> {
        if self.config.skip_cloning == Some(true) {
            return Vec::new();
        }
        self.prowjob.spec.refs.iter().chain(&self.prowjob.spec.extra_refs).collect()
    }

    fn json<T: Serialize>(&self, name: &str, value: &T) -> Result<EnvVar, PodError> {
        let json = gojson::to_string(value)
            .map_err(|source| PodError::Json { name: self.prowjob.name().to_owned(), source })?;
        Ok(EnvVar { name: name.to_owned(), value: Some(json), value_from: None })
    }

    fn storage(&self, names: &mut VolumeNames, options: &PodOptions) -> Result<Storage, PodError> {
        let mut out = Storage {
            options: GcsUploadOptions {
                gcs: self.config.gcs_configuration.clone().unwrap_or_default(),
                ..GcsUploadOptions::default()
            },
            volumes: Vec::new(),
            credential_mounts: Vec::new(),
            directory_mount: None,
        };
        if let Some(directory) = &options.local_output {
            LOCAL_OUTPUT.clone_into(&mut out.options.gcs.local_output_dir);
            let name = names.take("output");
            out.volumes.push(host_path(&name, directory, None));
            out.directory_mount = Some(mount(&name, LOCAL_OUTPUT));
            return Ok(out);
        }
        for (secret, volume, path, file) in [
            (
                &self.config.gcs_credentials_secret,
                "gcs-credentials",
                "/secrets/gcs",
                &mut out.options.gcs_credentials_file,
            ),
            (
                &self.config.s3_credentials_secret,
                "s3-credentials",
                "/secrets/s3-storage",
                &mut out.options.s3_credentials_file,
            ),
        ] {
            if let Some(secret) = secret.as_deref().filter(|name| !name.is_empty()) {
                let volume = names.take(volume);
                out.volumes.push(secret_volume(&volume, secret, None, None));
                out.credential_mounts.push(mount(&volume, path));
                *file = format!("{path}/service-account.json");
            }
        }
        let bucket = out.options.gcs.bucket.clone();
        if let ("file", directory) = split_bucket(&bucket) {
            let directory = directory.trim_end_matches('/');
            if !directory.starts_with('/')
                || directory.contains('\0')
                || directory.split('/').any(|s| s == "..")
            {
                return Err(PodError::Bucket { bucket });
            }
            let name = names.take("bucket");
            out.volumes.push(host_path(&name, directory, Some("DirectoryOrCreate")));
            out.directory_mount = Some(mount(&name, directory));
        }
        Ok(out)
    }

    fn clonerefs(
        &self,
        refs: &[&Refs],
        names: &mut VolumeNames,
    ) -> Result<(Container, Vec<Volume>), PodError> {
        let config = self.config;
        let mut volumes = Vec::new();
        let mut mounts = vec![mount("logs", LOGS), mount("code", CODE)];
        let mut options = CloneRefsOptions {
            src_root: CODE.to_owned(),
            log: CLONE_LOG.to_owned(),
            git_user_name: "ci-robot".to_owned(),
            git_user_email: "ci-robot@k8s.io".to_owned(),
            refs: refs.iter().copied().cloned().collect(),
            host_fingerprints: config.ssh_host_fingerprints.clone(),
            github_api_endpoints: config.github_api_endpoints.clone(),
            github_app_id: config.github_app_id.clone(),
            ..CloneRefsOptions::default()
        };
        if options.github_api_endpoints.is_empty() {
            options.github_api_endpoints.push(GITHUB_API.to_owned());
        }
        for (at, secret) in config.ssh_key_secrets.iter().enumerate() {
            if config.ssh_key_secrets[..at].contains(secret) {
                continue; // A key that is named twice is one key; mounting it twice would be refused.
            }
            self.needed(secret, "ssh_key_secrets[]")?;
            let volume = names.take(&format!("ssh-keys-{secret}"));
            let path = format!("/secrets/ssh/{secret}");
            volumes.push(secret_volume(&volume, secret, Some(0o400), None));
            mounts.push(read_only(&volume, &path));
            options.key_files.push(path);
        }
        let mut key_of = |secret: &SecretKey, path: &str| {
            let file = format!("./{}", secret.key);
            // One Secret may hold both keys: the second volume needs a name of its own.
            let volume = names.take(&secret.name);
            volumes.push(secret_volume(&volume, &secret.name, None, Some((&secret.key, &file))));
            mounts.push(read_only(&volume, path));
            format!("{path}/{}", secret.key)
        };
        if let Some(secret) = &config.oauth_token_secret {
            self.needed(&secret.name, "oauth_token_secret.name")?;
            self.needed(&secret.key, "oauth_token_secret.key")?;
            options.oauth_token_file = key_of(secret, "/secrets/oauth");
        }
        if let Some(secret) = &config.github_app_private_key_secret {
            self.needed(&secret.name, "github_app_private_key_secret.name")?;
            self.needed(&secret.key, "github_app_private_key_secret.key")?;
            options.github_app_private_key_file = key_of(secret, "/secrets/github-app");
        }
        let temporary = names.take("clonerefs-tmp");
        volumes.push(empty_dir(&temporary));
        mounts.push(mount(&temporary, "/tmp"));
        let mut args = None;
        if let Some(cookiefile) = config.cookiefile_secret.as_deref().filter(|name| !name.is_empty()) {
            let (secret, key) = cookiefile.split_once('/').unwrap_or((cookiefile, cookiefile));
            let key = key.rsplit('/').next().unwrap_or(key);
            self.needed(secret, "cookiefile_secret (a name before the slash)")?;
            let volume = names.take("cookiefile");
            volumes.push(secret_volume(&volume, secret, Some(0o400), None));
            mounts.push(read_only(&volume, "/secrets/cookiefile"));
            options.cookie_path = format!("/secrets/cookiefile/{key}");
            args = Some(vec![format!("--cookiefile={}", options.cookie_path)]);
        }
        // A pull request's texts are in the refs: nothing in them is for the kubelet to expand.
        let json = self.json(CLONEREFS_OPTIONS, &options)?;
        let container = Container {
            name: "clonerefs".to_owned(),
            image: Some(self.images.clonerefs.clone()),
            args,
            env: Some(vec![var(CLONEREFS_OPTIONS, json.value.as_deref().unwrap_or_default())]),
            resources: self.resources(|r| &r.clonerefs),
            volume_mounts: Some(mounts),
            ..Container::default()
        };
        Ok((container, volumes))
    }

    fn initupload(&self, storage: &Storage, cloned: bool, job_spec: &str) -> Result<Container, PodError> {
        let mut mounts = Vec::new();
        let mut options = InitUploadOptions { gcs: storage.options.clone(), log: String::new() };
        if cloned {
            CLONE_LOG.clone_into(&mut options.log);
            mounts.push(mount("logs", LOGS));
        }
        mounts.extend(storage.credential_mounts.iter().cloned());
        mounts.extend(storage.directory_mount.clone());
        Ok(Container {
            name: "initupload".to_owned(),
            image: Some(self.images.initupload.clone()),
            env: Some(vec![self.json(INITUPLOAD_OPTIONS, &options)?, var(JOB_SPEC, job_spec)]),
            resources: self.resources(|r| &r.initupload),
            volume_mounts: (!mounts.is_empty()).then_some(mounts),
            ..Container::default()
        })
    }

    fn place_entrypoint(&self) -> Container {
        Container {
            name: "place-entrypoint".to_owned(),
            image: Some(self.images.entrypoint.clone()),
            args: Some(vec!["--copy-mode-only".to_owned()]),
            resources: self.resources(|r| &r.place_entrypoint),
            volume_mounts: Some(vec![mount("tools", TOOLS)]),
            ..Container::default()
        }
    }

    /// Puts the entrypoint in front of a test container's command; gives what the sidecar has to know of it.
    fn wrap(&self, container: &mut Container, several: bool, env: &Env) -> Result<WrapperOptions, PodError> {
        let words = container.command.take().into_iter().chain(container.args.take()).flatten();
        let args = words.map(|word| with_unsafe_references(&word, env)).collect();
        let name = container.name.as_str();
        let file = |single: &str, of_several: &str| {
            if several { format!("{name}-{of_several}") } else { single.to_owned() }
        };
        let wrapper = WrapperOptions {
            args,
            container_name: name.to_owned(),
            process_log: format!("{LOGS}/{}", file("process-log.txt", "log.txt")),
            marker_file: format!("{LOGS}/{}", file("marker-file.txt", "marker.txt")),
            metadata_file: format!("{ARTIFACTS}/{}", file("metadata.json", "metadata.json")),
        };
        let options = EntrypointOptions {
            timeout: self.config.timeout.unwrap_or_default().0,
            grace_period: self.config.grace_period.unwrap_or_default().0,
            artifact_dir: ARTIFACTS.to_owned(),
            wrapper: wrapper.clone(),
            ..EntrypointOptions::default()
        };
        container.command = Some(vec![ENTRYPOINT.to_owned()]);
        let json = self.json(ENTRYPOINT_OPTIONS, &options)?;
        container.env.get_or_insert_default().push(json);
        container.volume_mounts.get_or_insert_default().extend([mount("logs", LOGS), mount("tools", TOOLS)]);
        Ok(wrapper)
    }

    fn sidecar(
        &self,
        storage: &Storage,
        entries: Vec<WrapperOptions>,
        secret_mounts: Vec<VolumeMount>,
        job_spec: &str,
    ) -> Result<Container, PodError> {
        let censoring = self.config.censoring_options.clone().unwrap_or_default();
        let CensoringConfig {
            censoring_concurrency,
            censoring_buffer_size,
            include_directories,
            exclude_directories,
            minimum_secret_length,
            upload_uncensored_on_failure,
        } = censoring;
        let options = SidecarOptions {
            gcs_options: GcsUploadOptions { items: vec![ARTIFACTS.to_owned()], ..storage.options.clone() },
            entries,
            ignore_interrupts: self.config.upload_ignores_interrupts.unwrap_or_default(),
            censoring_options: Some(CensoringOptions {
                secret_directories: secret_mounts.iter().map(|m| m.mount_path.clone()).collect(),
                censoring_concurrency,
                censoring_buffer_size,
                include_directories: include_directories.unwrap_or_default(),
                exclude_directories: exclude_directories.unwrap_or_default(),
                ini_filenames: Vec::new(),
                minimum_secret_length,
                upload_uncensored_on_failure: upload_uncensored_on_failure.unwrap_or_default(),
            }),
            ..SidecarOptions::default()
        };
        let mut mounts = vec![mount("logs", LOGS)];
        mounts.extend(storage.credential_mounts.iter().cloned());
        mounts.extend(secret_mounts);
        mounts.extend(storage.directory_mount.clone());
        Ok(Container {
            name: "sidecar".to_owned(),
            image: Some(self.images.sidecar.clone()),
            env: Some(vec![var(JOB_SPEC, job_spec), self.json(SIDECAR_OPTIONS, &options)?]),
            resources: self.resources(|r| &r.sidecar),
            volume_mounts: Some(mounts),
            ..Container::default()
        })
    }

    /// The mounts of Secrets that the job's containers have, so that the sidecar can censor them: each path once,
    /// because a container may not mount two things at one path.
    fn secret_mounts(&self, spec: &PodSpec, storage: &Storage) -> Vec<VolumeMount> {
        if self.config.censor_secrets != Some(true) {
            return Vec::new();
        }
        let secrets: BTreeSet<&str> =
            spec.volumes.iter().flatten().filter(|v| v.secret.is_some()).map(|v| v.name.as_str()).collect();
        let own = storage.credential_mounts.iter().chain(&storage.directory_mount);
        let mut taken: BTreeSet<String> = own.map(|m| m.mount_path.clone()).collect();
        taken.insert(LOGS.to_owned());
        let mut out: Vec<VolumeMount> = Vec::new();
        for mount in spec.containers.iter().flat_map(|c| c.volume_mounts.iter().flatten()) {
            let same = |other: &VolumeMount| other.name == mount.name && other.sub_path == mount.sub_path;
            if !secrets.contains(mount.name.as_str()) {
                continue;
            }
            if taken.insert(mount.mount_path.clone()) {
                out.push(mount.clone());
            } else if !out.iter().any(same) {
                // Another Secret is at that path in the sidecar: this one is censored all the same.
                let paths = (out.len()..).map(|n| format!("/secrets/censor-{n}"));
                let free = paths.into_iter().find(|path| taken.insert(path.clone()));
                out.push(VolumeMount { mount_path: free.unwrap_or_default(), ..mount.clone() });
            }
        }
        out
    }

    fn pod_settings(&self, spec: &mut PodSpec) {
        let config = self.config;
        let security = spec.security_context.get_or_insert_default();
        security.run_as_user = security.run_as_user.or(config.run_as_user);
        security.run_as_group = security.run_as_group.or(config.run_as_group);
        security.fs_group = security.fs_group.or(config.fs_group);
        if let Some(scheduling) = &config.scheduling_options {
            if spec.affinity.is_none() {
                spec.affinity.clone_from(&scheduling.affinity);
            }
            if spec.tolerations.is_none() && !scheduling.tolerations.is_empty() {
                spec.tolerations = Some(scheduling.tolerations.clone());
            }
        }
        if let (None, Some(grace)) = (spec.termination_grace_period_seconds, config.grace_period) {
            spec.termination_grace_period_seconds = Some((grace.0 / 1_000_000_000) * 5 / 4);
        }
        if is_empty(&spec.service_account_name)
            && let Some(account) = config.default_service_account_name.as_ref().filter(|a| !a.is_empty())
        {
            spec.service_account_name = Some(account.clone());
        }
    }
}

/// Where the job's containers start: the first clone with `workdir`, else the first clone.
fn working_dir(refs: &[&Refs]) -> String {
    let chosen = refs.iter().find(|r| r.workdir).or_else(|| refs.first());
    let path = chosen.map(|r| r.source_path()).unwrap_or_default();
    let mut out = format!("{CODE}/src");
    for segment in path.split('/').filter(|s| !s.is_empty() && *s != "." && *s != "..") {
        out.push('/');
        out.push_str(segment);
    }
    out
}
