//! What `prow run` is to run: a configured job on refs that are found out, or the ProwJob of a finished run.

use super::Args;
use super::checkout::{self, Checkout};
use super::refs::{IN_POD, Paths};
use super::{finished, named, refs};
use crate::datadir::Scratch;
use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{EnvVar, HostPathVolumeSource, Pod, Volume, VolumeMount};
use prow_api::ProwJob;
use prow_api::prowjob::{KUBERNETES_AGENT, ProwJobSpec};
use prow_api::refs::Refs;
use prow_job::build;
use prow_service::clock::{Clock, SystemClock};

/// What is to be run.
pub struct Subject {
    /// Its name is new; it is in no API.
    pub job: ProwJob,
    /// Where its Pod goes.
    pub namespace: String,
    /// Snapshots that are cloned from.
    pub checkouts: Vec<Checkout>,
}

impl Subject {
    /// What runs, and on what, for people.
    pub fn title(&self) -> String {
        let spec = &self.job.spec;
        match spec.refs.as_ref().or(spec.extra_refs.first()) {
            Some(refs) => format!("running {} {} on {}", spec.job_type, spec.job, on(refs)),
            None => format!("running {} {}", spec.job_type, spec.job),
        }
    }
}

fn on(refs: &Refs) -> String {
    let short = |sha: &str| sha.get(..8).unwrap_or(sha).to_owned();
    let mut text = format!("{}/{} {}", refs.org, refs.repo, refs.base_ref);
    if !refs.base_sha.is_empty() {
        text.push_str(&format!(" at {}", short(&refs.base_sha)));
    }
    for pull in &refs.pulls {
        let number = if pull.number == 0 { "this checkout".to_owned() } else { format!("#{}", pull.number) };
        text.push_str(&format!(" with {number} at {}", short(&pull.sha)));
    }
    text
}

/// Finds it.
pub async fn find(args: &Args, scratch: &Scratch) -> anyhow::Result<Subject> {
    let name = uuid::Uuid::new_v4().to_string();
    let now = SystemClock.now();
    let mut paths = Paths::parse(&args.path)?;
    let mut gone = Vec::new();
    let (mut spec, labels, annotations, namespace) = if args.from_url.is_some() || args.from_file.is_some() {
        refs::refuse(args)?;
        let mut old = finished::read(args).await?;
        let labels = old.metadata.labels.unwrap_or_default();
        gone = refs::forget_checkouts(&mut old.spec);
        (old.spec, labels, old.metadata.annotations.unwrap_or_default(), "default".to_owned())
    } else {
        let job = named::find(args, &mut paths, scratch).await?;
        (job.spec, job.labels, job.annotations, job.namespace)
    };
    can_run(&spec)?;
    let checkouts = paths.replace(&mut spec, scratch).await?;
    let mut all = spec.refs.iter().chain(&spec.extra_refs);
    if let Some(refs) =
        all.find(|r| r.clone_uri.is_empty() && gone.contains(&(r.org.clone(), r.repo.clone())))
    {
        let repo = format!("{}/{}", refs.org, refs.repo);
        bail!(
            "that run tested a checkout of {repo} as it was then; --path {repo}=DIR tests another in its place"
        );
    }
    let job = build::new_prowjob(spec, &labels, &annotations, &name, "", now, false);
    Ok(Subject { job, namespace, checkouts })
}

/// Whether there is a Pod to run.
fn can_run(spec: &ProwJobSpec) -> anyhow::Result<()> {
    if spec.pod_spec.as_ref().is_some_and(|pod| !pod.containers.is_empty()) {
        return Ok(());
    }
    match spec.agent.as_str() {
        "" | KUBERNETES_AGENT => bail!("job {:?} has no containers, so there is nothing to run", spec.job),
        agent => bail!(
            "job {:?} runs on {agent}, not in a Pod of its own: only jobs of agent {} can be run here",
            spec.job,
            KUBERNETES_AGENT
        ),
    }
}

/// Lets clonerefs see the snapshots, and git trust them.
pub fn mount_checkouts(pod: &mut Pod, checkouts: &[Checkout]) -> anyhow::Result<()> {
    let Some(spec) = pod.spec.as_mut().filter(|_| !checkouts.is_empty()) else { return Ok(()) };
    let inits = spec.init_containers.iter_mut().flatten();
    let Some(clonerefs) = inits.into_iter().find(|c| c.name == "clonerefs") else {
        bail!("--path: this job clones nothing, so a checkout has no place in it");
    };
    for (index, checkout) in checkouts.iter().enumerate() {
        let name = format!("prow-run-checkout-{index}");
        let path =
            checkout.directory.to_str().context("the temporary directory's name is not UTF-8")?.to_owned();
        spec.volumes.get_or_insert_default().push(Volume {
            name: name.clone(),
            host_path: Some(HostPathVolumeSource { path, type_: None }),
            ..Volume::default()
        });
        clonerefs.volume_mounts.get_or_insert_default().push(VolumeMount {
            name,
            mount_path: format!("{IN_POD}/{index}"),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
    let trust = checkouts[0].directory.join(checkout::TRUST);
    std::fs::write(&trust, checkout::git_config(checkouts, IN_POD))
        .with_context(|| format!("cannot write {}", trust.display()))?;
    clonerefs.env.get_or_insert_default().push(EnvVar {
        name: "GIT_CONFIG_GLOBAL".to_owned(),
        value: Some(format!("{IN_POD}/0/{}", checkout::TRUST)),
        value_from: None,
    });
    Ok(())
}
