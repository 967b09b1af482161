//! Chores of this repository. `cargo xtask golden` writes what we make of a configuration, one gzipped file of JSON
//! lines per kind of record, to be compared with what the reference implementation makes of it.

use clap::{Parser, Subcommand};
use flate2::Compression;
use flate2::write::GzEncoder;
use prow_config::golden::{config_record, job_records, plugin_records};
use prow_config::{LoadOptions, load};
use serde_json::Value;
use std::fs::File;
use std::io::{BufWriter, Write};
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
    /// Write config, jobs and (with --plugin-config) plugins records of a configuration
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
        /// Where the records go; made if missing
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let Chore::Golden { config_path, job_config_path, plugin_config, out } = Cli::parse().chore;
    match golden(config_path, job_config_path, plugin_config, &out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask golden: {error}");
            ExitCode::FAILURE
        }
    }
}

fn golden(
    config_path: PathBuf,
    job_config_path: Option<PathBuf>,
    plugin_config: Option<PathBuf>,
    out: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let with_plugins = plugin_config.is_some();
    let snapshot =
        load(&LoadOptions { config_path, job_config_path, plugin_config, ..LoadOptions::default() })?;
    std::fs::create_dir_all(out)?;
    write(out, "config", std::iter::once(config_record(&snapshot.prow)))?;
    write(out, "jobs", job_records(&snapshot.jobs))?;
    if with_plugins {
        write(out, "plugins", plugin_records(&snapshot.plugins, &snapshot.jobs).into_iter())?;
    }
    Ok(())
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
