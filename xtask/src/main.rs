//! Chores of this repository. `cargo xtask golden` writes what we make of a configuration, one gzipped file of JSON
//! lines per kind of record, to be compared with what the reference implementation makes of it. `cargo xtask static`
//! builds and checks what goes into images. `cargo xtask kubernetes-test` holds the embedded API server against a real
//! one.

mod image;
mod kubernetes;
mod records;
mod tide;

use clap::{Parser, Subcommand};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use prow_config::golden::{config_record, job_records, plugin_records};
use prow_config::{LoadOptions, load};
use serde_json::Value;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Chores of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Write config, jobs, pods, triggers, branch_protection, tide and (with --plugin-config) plugins records of a
    /// configuration
    Golden {
        /// Prow's config.yaml
        #[arg(long, value_name = "FILE")]
        config_path: PathBuf,
        /// Job configuration: file or directory
        #[arg(long, value_name = "PATH")]
        job_config_path: Option<PathBuf>,
        /// Prow's plugins.yaml
        #[arg(long, value_name = "FILE")]
        plugin_config: Option<PathBuf>,
        /// Directory of records whose questions are asked again: which runs pods has, what triggers
        /// asks, which branches tide is about and in which order its searches name organisations.
        /// Without it every job runs once, every presubmit as a batch too, and triggers asks questions of its own
        #[arg(long, value_name = "DIR")]
        like: Option<PathBuf>,
        /// Where the records go; made if missing
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Build entrypoint and the pod utilities as static files, and check that they are: no loader, no library, not
    /// larger than they may be
    Static {
        /// x86_64-unknown-linux-musl or aarch64-unknown-linux-musl; this machine's if not given
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
        /// Only this one: entrypoint or podutils
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
    },
    /// Run the API conformance suite against the embedded server and against a real kube-apiserver with etcd, which are
    /// built with Go and kept in the user's cache
    KubernetesTest {
        /// Only cases with this in their name
        #[arg(long, value_name = "TEXT", default_value = "")]
        only: String,
        /// Build the real programs, print where they are, and run nothing
        #[arg(long)]
        build_only: bool,
    },
}

fn main() -> ExitCode {
    let (name, done) = match Cli::parse().chore {
        Chore::Golden { config_path, job_config_path, plugin_config, like, out } => (
            "golden",
            golden(config_path, job_config_path, plugin_config, like.as_deref(), &out).map(|()| true),
        ),
        Chore::Static { target, only } => {
            let target = target.unwrap_or_else(|| format!("{}-unknown-linux-musl", std::env::consts::ARCH));
            ("static", image::run(&target, only.as_deref()).map(|()| true))
        }
        Chore::KubernetesTest { only, build_only } => {
            ("kubernetes-test", kubernetes::test(&only, build_only))
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn golden(
    config_path: PathBuf,
    job_config_path: Option<PathBuf>,
    plugin_config: Option<PathBuf>,
    like: Option<&Path>,
    out: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let with_plugins = plugin_config.is_some();
    let snapshot =
        load(&LoadOptions { config_path, job_config_path, plugin_config, ..LoadOptions::default() })?;
    std::fs::create_dir_all(out)?;
    write(out, "config", std::iter::once(config_record(&snapshot.prow)))?;
    write(out, "jobs", job_records(&snapshot.jobs))?;
    let (runs, questions, branches) = match like {
        Some(dir) => {
            (records::runs_like(&read(dir, "pods")?), read(dir, "triggers")?, Some(read(dir, "tide")?))
        }
        None => (records::all_runs(&snapshot), records::questions(&snapshot), None),
    };
    write(out, "pods", records::pods(&snapshot, &runs)?.into_iter())?;
    write(out, "triggers", records::triggers(&snapshot, questions)?.into_iter())?;
    write(out, "branch_protection", records::branch_protection(&snapshot))?;
    write(out, "tide", tide::records(&snapshot, branches.as_deref()).into_iter())?;
    if with_plugins {
        write(out, "plugins", plugin_records(&snapshot.plugins, &snapshot.jobs).into_iter())?;
    }
    Ok(())
}

/// Records of one kind, packed or not.
fn read(dir: &Path, kind: &str) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let packed = dir.join(format!("{kind}.jsonl.gz"));
    let text = if packed.exists() {
        let mut text = String::new();
        MultiGzDecoder::new(File::open(&packed)?).read_to_string(&mut text)?;
        text
    } else {
        let plain = dir.join(format!("{kind}.jsonl"));
        std::fs::read_to_string(&plain).map_err(|e| format!("cannot read {}[.gz]: {e}", plain.display()))?
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn write(
    out: &Path,
    kind: &str,
    records: impl Iterator<Item = Value>,
) -> Result<(), Box<dyn std::error::Error>> {
    let path = out.join(format!("{kind}.jsonl.gz"));
    let file = BufWriter::new(File::create(&path)?);
    let mut lines = GzEncoder::new(file, Compression::default());
    let mut count = 0;
    for record in records {
        serde_json::to_writer(&mut lines, &record)?;
        lines.write_all(b"\n")?;
        count += 1;
    }
    lines.finish()?.flush()?;
    println!("{count} records in {}", path.display());
    Ok(())
}
