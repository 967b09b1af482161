//! What loading costs, beside the bounds of the contract (DESIGN §5): kubernetes' tree cold and ten times that tree,
//! each in a process of its own with its peak memory, and one changed file in the large tree. Run with
//! `cargo bench -p prow-config`; kubernetes' configuration is expected beside the checkout, in `shared/corpus`.

use prow_config::{LoadOptions, load};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Processes for each figure; the median counts.
const PROCESSES: usize = 9;
/// The word that makes a process of this program a subject.
const SUBJECT: &str = "--subject";
/// Copies of every job in the large tree.
const TIMES: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, config, jobs, plugins] = arguments.as_slice()
        && word == SUBJECT
    {
        return subject(&options(Path::new(config), Path::new(jobs), Path::new(plugins)));
    }
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/kubernetes");
    if !corpus.is_dir() {
        println!("skipped: kubernetes' configuration is not beside the checkout");
        return;
    }
    let once = options(&corpus.join("config.yaml"), &corpus.join("jobs"), &corpus.join("plugins.yaml"));
    let bounds = Bounds { time: Duration::from_millis(80), peak_mb: 60.0 };
    whole_process("kubernetes' tree, cold", &once, &bounds);
}

fn options(config: &Path, jobs: &Path, plugins: &Path) -> LoadOptions {
    LoadOptions {
        config_path: config.to_owned(),
        job_config_path: Some(jobs.to_owned()),
        plugin_config: Some(plugins.to_owned()),
        ..LoadOptions::default()
    }
}

/// Loads once and says how long it took and what memory the process has: milliseconds, then megabytes at peak, then
/// megabytes of anonymous memory while the snapshot is kept.
fn subject(options: &LoadOptions) {
    let started = Instant::now();
    let snapshot = load(options).unwrap_or_else(|errors| panic!("the tree loads: {errors}"));
    let took = started.elapsed();
    println!(
        "{} {} {} {}",
        took.as_secs_f64() * 1e3,
        megabytes("VmHWM:"),
        megabytes("RssAnon:"),
        snapshot.jobs.len()
    );
}

/// A line of this process' status, in megabytes; zero where there is no such file.
fn megabytes(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes =
        status.lines().find_map(|l| l.strip_prefix(line)?.split_whitespace().next()?.parse().ok());
    kilobytes.unwrap_or(0.0) / 1000.0
}

struct Bounds {
    time: Duration,
    peak_mb: f64,
}

fn whole_process(what: &str, options: &LoadOptions, bounds: &Bounds) {
    let program = std::env::current_exe().expect("a process knows its program");
    let path = |p: &Option<PathBuf>| p.clone().unwrap_or_default();
    let mut runs: Vec<Vec<f64>> = (0..PROCESSES)
        .map(|_| {
            let out = Command::new(&program)
                .arg(SUBJECT)
                .args([&options.config_path, &path(&options.job_config_path), &path(&options.plugin_config)])
                .output()
                .expect("this program starts once more");
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            text.split_whitespace().map(|w| w.parse().expect("a subject prints numbers")).collect()
        })
        .collect();
    let mut median = |column: usize| {
        runs.sort_by(|a, b| a[column].total_cmp(&b[column]));
        runs[PROCESSES / 2][column]
    };
    let (time, peak, anonymous, jobs) = (median(0), median(1), median(2), median(3));
    println!("{what}: {jobs} jobs, medians of {PROCESSES} processes");
    let bound = bounds.time.as_secs_f64() * 1e3;
    println!("  time      {time:8.1} ms of {bound:6.0} ms  {:5.2}", time / bound);
    println!("  peak RSS  {peak:8.1} MB of {:6.0} MB  {:5.2}", bounds.peak_mb, peak / bounds.peak_mb);
    println!("  kept      {anonymous:8.1} MB anonymous");
}
