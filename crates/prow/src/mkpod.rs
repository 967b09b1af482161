//! `prow mkpod`: the Pod of a ProwJob (prow-runtime §11.10).

use crate::flags::{self, Output};
use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume};
use prow_api::ProwJob;
use prow_job::buildid;
use prow_job::pod::{PodOptions, pod};
use prow_service::clock::{Clock, SystemClock};
use std::path::{Path, PathBuf};

/// Flags of `prow mkpod`.
#[derive(Debug, ClapArgs)]
#[command(
    about = "Print the Pod of a ProwJob",
    long_about = "Print the Pod that plank would make of a ProwJob, to look at it or to create it by hand. It lacks the \
label created-by-prow: sinker would delete a Pod with that label and no ProwJob.\n\n\
With --local results are copied to a directory of the node instead of being uploaded, no credentials are mounted, and \
for every volume that only a cluster has you are asked what to use instead.",
    after_help = "Examples:\n  prow mkpj --job unit --config-path config.yaml --pull-number 5 | prow mkpod --prow-job - --build-id snowflake\n  \
prow mkpod --prow-job job.yaml --build-id snowflake --local --out-dir /tmp/results"
)]
pub struct Args {
    /// File with the ProwJob as YAML or JSON; - for standard input
    #[arg(long, value_name = "FILE")]
    prow_job: PathBuf,
    /// Build id; "snowflake" makes a new one, empty takes the ProwJob's status.build_id
    #[arg(long, value_name = "ID", default_value = "")]
    build_id: String,
    /// Copy results to a directory of the node instead of uploading them
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    local: bool,
    /// Only with --local: where the node keeps results; the build id is appended [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// How to write the Pod
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    output: Output,
}

/// Prints the Pod.
pub fn main(args: &Args) -> anyhow::Result<()> {
    if args.out_dir.is_some() && !args.local {
        bail!("--out-dir is where results go with --local; give --local too, or leave --out-dir out");
    }
    let job = read(&args.prow_job)?;
    let build_id = match args.build_id.as_str() {
        "snowflake" => buildid::next(0, SystemClock.now().as_millisecond()).to_string(),
        "" => job.status.build_id.clone(),
        given => given.to_owned(),
    };
    if build_id.is_empty() {
        eprintln!(
            "prow mkpod: there is no build id, neither in the ProwJob's status nor in --build-id: results will have \
             no proper place; --build-id snowflake makes one"
        );
    }
    let local_output = if args.local { Some(out_dir(args, &job, &build_id)?) } else { None };
    let mut made = pod(&job, &build_id, &PodOptions { local_output, ..PodOptions::default() })?;
    if let Some(labels) = &mut made.metadata.labels {
        labels.remove(prow_api::labels::CREATED_BY_PROW);
    }
    if args.local {
        replace_volumes(&mut made, args.prow_job == Path::new("-"))?;
    }
    // k8s-openapi writes apiVersion and kind by itself.
    flags::print(&args.output.text(&made)?)
}

fn read(path: &Path) -> anyhow::Result<ProwJob> {
    let bytes = flags::read("the ProwJob", path)?;
    let name = if path == Path::new("-") { "standard input".into() } else { path.to_string_lossy() };
    let (job, warnings) = prow_config::yaml::read::<ProwJob>(&name, bytes)
        .with_context(|| format!("cannot read the ProwJob from {name}"))?;
    for warning in warnings {
        eprintln!("prow mkpod: {warning}");
    }
    Ok(job)
}

/// The node's directory for results: absolute, as a hostPath has to be.
fn out_dir(args: &Args, job: &ProwJob, build_id: &str) -> anyhow::Result<String> {
    let dir = match &args.out_dir {
        Some(dir) => std::path::absolute(dir)
            .with_context(|| format!("cannot tell where --out-dir {} is", dir.display()))?
            .join(build_id),
        None => {
            // A name that comes from a file must not choose another directory.
            let prefix = format!("prowjob-out-{}-{build_id}-", job.spec.job).replace(['/', '\0'], "_");
            let made = tempfile::Builder::new().prefix(&prefix).tempdir();
            made.context("cannot make a temporary directory for the results; give --out-dir")?.keep()
        }
    };
    let Some(text) = dir.to_str() else { bail!("--out-dir {} is not UTF-8", dir.display()) };
    eprintln!("prow mkpod: results are copied to {text} on the node instead of being uploaded");
    Ok(text.to_owned())
}

const QUESTION: &str = "\
For each of the following volumes say what to use instead:
 - 'empty' for an emptyDir
 - a path of the node for a hostPath
 - nothing to keep it as it is, if the cluster has it";

fn replace_volumes(pod: &mut Pod, stdin_is_spent: bool) -> anyhow::Result<()> {
    let volumes = pod.spec.iter_mut().flat_map(|s| s.volumes.iter_mut().flatten());
    let remote: Vec<&mut Volume> =
        volumes.filter(|v| v.host_path.is_none() && v.empty_dir.is_none()).collect();
    if remote.is_empty() {
        return Ok(());
    }
    if stdin_is_spent {
        let names: Vec<&str> = remote.iter().map(|v| v.name.as_str()).collect();
        eprintln!(
            "prow mkpod: these volumes stay as they are, since standard input held the ProwJob and cannot answer \
             questions: {} (give the ProwJob as a file)",
            names.join(", ")
        );
        return Ok(());
    }
    eprintln!("{QUESTION}");
    for volume in remote {
        let answer = flags::ask(&format!("Volume {:?}: ", volume.name))?.unwrap_or_default();
        replace(volume, &answer);
    }
    Ok(())
}

fn replace(volume: &mut Volume, answer: &str) {
    let name = volume.name.clone();
    match answer {
        "" => {}
        "empty" | "emptydir" => {
            *volume = Volume { name, empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
        }
        path => {
            let source = HostPathVolumeSource { path: path.to_owned(), type_: None };
            *volume = Volume { name, host_path: Some(source), ..Volume::default() };
        }
    }
}
