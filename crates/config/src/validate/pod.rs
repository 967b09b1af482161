//! What a job's Pod and its decoration must fulfil (prow-config §5.6 rules 4, 5 and 9, §1.6).

use super::Check;
use crate::jobfile::JobKind;
use crate::jobs::JobBase;
use crate::podtemplate::{ContainerTemplate, PodTemplate};
use prow_api::DecorationConfig;
use serde_json::Value;
use std::collections::HashSet;

/// Mounted into test containers by decoration.
const TEST_VOLUMES: [&str; 3] = ["logs", "code", "tools"];
const TEST_PATHS: [&str; 3] = ["/logs", "/home/prow/go", "/tools"];
const DECORATION_VOLUMES: [&str; 5] = ["logs", "code", "tools", "gcs-credentials", "s3-credentials"];
const UTILITIES: [&str; 4] = ["clonerefs", "initupload", "place-entrypoint", "sidecar"];

const COMMON_ENV: [&str; 7] =
    ["CI", "JOB_NAME", "JOB_TYPE", "JOB_SPEC", "BUILD_ID", "BUILD_NUMBER", "PROW_JOB_ID"];
const REPO_ENV: [&str; 7] =
    ["REPO_OWNER", "REPO_NAME", "SRC_HOST", "SRC_BASE", "PULL_BASE_REF", "PULL_BASE_SHA", "PULL_REFS"];
const PULL_ENV: [&str; 4] = ["PULL_NUMBER", "PULL_PULL_SHA", "PULL_HEAD_REF", "PULL_TITLE"];

/// Variables that Prow sets for jobs of a kind (§3).
fn reserved_env(kind: JobKind, name: &str) -> bool {
    COMMON_ENV.contains(&name)
        || (kind != JobKind::Periodic && REPO_ENV.contains(&name))
        || (kind == JobKind::Presubmit && PULL_ENV.contains(&name))
}

/// All broken rules of a Pod.
pub(super) fn check_spec(spec: &PodTemplate, job: &JobBase, kind: JobKind, broken: &mut Vec<String>) {
    for container in spec.init_containers() {
        if container.restart_policy.as_deref() != Some("Always") {
            broken.push(format!(
                "spec.initContainers: {:?} is refused; only sidecars (restartPolicy: Always) are allowed, as decoration needs the others",
                container.name
            ));
        }
    }
    check_containers(spec, job, broken);
    for (index, container) in spec.containers.iter().enumerate() {
        check_env(container, index, kind, broken);
    }
    check_volumes(spec, job, broken);
}

fn check_containers(spec: &PodTemplate, job: &JobBase, broken: &mut Vec<String>) {
    if spec.containers.is_empty() {
        broken.push("spec.containers: there is none; a job needs at least one".into());
        return;
    }
    if spec.containers.len() == 1 {
        return;
    }
    if job.decoration_config.is_none() {
        broken.push("spec.containers: several are allowed only with decorate: true".into());
    }
    let mut names = HashSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let name = container.name.as_str();
        if name.is_empty() {
            broken.push(format!(
                "spec.containers[{index}].name: it is mandatory where there are several containers"
            ));
        } else if UTILITIES.contains(&name) {
            broken.push(format!(
                "spec.containers[{index}].name: {name} is the name of one of Prow's own containers"
            ));
        } else if !names.insert(name) {
            broken.push(format!("spec.containers[{index}].name: {name} is there twice"));
        }
    }
}

fn check_env(container: &ContainerTemplate, index: usize, kind: JobKind, broken: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for env in container.env.iter().flatten() {
        if !seen.insert(env.name.as_str()) {
            broken.push(format!("spec.containers[{index}].env: {} is set twice", env.name));
        }
        if reserved_env(kind, &env.name) {
            broken.push(format!("spec.containers[{index}].env: {} is set by Prow itself", env.name));
        }
    }
}

fn check_volumes(spec: &PodTemplate, job: &JobBase, broken: &mut Vec<String>) {
    let reserved = |name: &str| {
        DECORATION_VOLUMES.contains(&name)
            || job.decoration_config.as_ref().is_some_and(|config| {
                config.oauth_token_secret.as_ref().is_some_and(|secret| secret.name == name)
                    || config.ssh_key_secrets.iter().any(|secret| secret == name)
            })
    };
    let mut declared = HashSet::new();
    for volume in spec.volumes.iter().flatten() {
        if !declared.insert(volume.name.as_str()) {
            broken.push(format!("spec.volumes: {} is there twice", volume.name));
        }
        if reserved(&volume.name) {
            broken.push(format!("spec.volumes: {} is the name of one of Prow's own volumes", volume.name));
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        for mount in container.volume_mounts.iter().flatten() {
            let name = mount.name.as_str();
            let mut broken =
                |why: String| broken.push(format!("spec.containers[{index}].volumeMounts: {why}"));
            if TEST_VOLUMES.contains(&name) {
                broken(format!("{name} is mounted by Prow itself"));
            } else if !declared.contains(name) && !reserved(name) {
                broken(format!("there is no volume named {name:?}"));
            }
            if TEST_PATHS.contains(&mount.mount_path.as_str()) {
                broken(format!("{} is used by Prow itself", mount.mount_path));
            }
        }
    }
}

/// A decorated container is wrapped, so what to run must be known.
pub(super) fn check_commands(spec: &PodTemplate) -> Check {
    for (index, container) in spec.containers.iter().enumerate() {
        let first =
            container.command.iter().flat_map(|c| c.iter()).chain(container.args.iter().flatten()).next();
        if first.is_none_or(|word| word.is_empty()) {
            return Err(format!(
                "spec.containers[{index}]: decorated jobs must name a command; the image's own entrypoint cannot be wrapped"
            ));
        }
    }
    Ok(())
}

/// Whether a resolved decoration config has what decoration needs (§1.6).
///
/// # Errors
/// What is missing or wrong.
pub fn check_decoration(config: &DecorationConfig) -> Check {
    let Some(images) = &config.utility_images else {
        return Err("utility_images is missing; set it here or in plank's decoration defaults".into());
    };
    for (name, image) in [
        ("clonerefs", &images.clonerefs),
        ("initupload", &images.initupload),
        ("entrypoint", &images.entrypoint),
        ("sidecar", &images.sidecar),
    ] {
        if image.is_empty() {
            return Err(format!("utility_images.{name} is missing"));
        }
    }
    let Some(gcs) = &config.gcs_configuration else {
        return Err("gcs_configuration is missing; set it here or in plank's decoration defaults".into());
    };
    if !gcs.job_url_prefix.is_empty() {
        url::Url::parse(&gcs.job_url_prefix).map_err(|e| {
            format!("gcs_configuration.job_url_prefix: {:?} is no URL: {e}", gcs.job_url_prefix)
        })?;
    }
    gcs.check()?;
    if config.oauth_token_secret.is_some() && !config.ssh_key_secrets.is_empty() {
        return Err("oauth_token_secret and ssh_key_secrets exclude each other".into());
    }
    Ok(())
}

/// Pipelines name the code they want: every extra ref is used, and none that is not there.
pub(super) fn check_pipeline_refs(job: &JobBase, kind: JobKind) -> Check {
    let spec = match &job.tekton_pipeline_run_spec {
        Some(spec) => spec.v1beta1.as_ref(),
        None => job.pipeline_run_spec.as_ref(),
    };
    let mut used = HashSet::new();
    if let Some(spec) = spec {
        let mut names = Vec::new();
        task_refs(spec, &mut names);
        for name in names {
            if name == "PROW_IMPLICIT_GIT_REF" && kind == JobKind::Periodic {
                return Err("PROW_IMPLICIT_GIT_REF: periodics have no repository of their own".into());
            }
            if !super::PIPELINE_REF.is_match(name) {
                continue;
            }
            let digits = name.trim_start_matches("PROW_EXTRA_GIT_REF_");
            if digits.len() > 1 && digits.starts_with('0') {
                return Err(format!("{name}: leading zeros are not allowed"));
            }
            match digits.parse::<usize>() {
                Ok(index) if index < job.extra_refs.len() => used.insert(index),
                _ => return Err(format!("{name}: the job has {} extra_refs", job.extra_refs.len())),
            };
        }
    }
    match (0..job.extra_refs.len()).find(|i| !used.contains(i)) {
        Some(index) => {
            Err(format!("extra_refs[{index}] is not used: no task refers to PROW_EXTRA_GIT_REF_{index}"))
        }
        None => Ok(()),
    }
}

fn task_refs<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
    let tasks =
        ["pipelineSpec", "pipeline_spec"].iter().find_map(|k| value.get(k)).and_then(|p| p.get("tasks"));
    for task in tasks.and_then(Value::as_array).into_iter().flatten() {
        out.extend(task.get("taskRef").and_then(|r| r.get("name")).and_then(Value::as_str));
    }
}
