//! What loading costs, beside the bounds of the contract (DESIGN §5): kubernetes' tree cold and ten times that tree,
//! each in a process of its own with its peak memory, and one changed file in the large tree. Run with
//! `cargo bench -p prow-config`; kubernetes' configuration is expected beside the checkout, in `shared/corpus`.
//! The least of several runs counts: others who use the machine can only make it more.

use prow_config::{Agent, LoadOptions, Snapshot, load};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Processes for each figure.
const PROCESSES: usize = 9;
/// Changes of one file.
const CHANGES: usize = 60;
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

    let snapshot = load(&once).unwrap_or_else(|errors| panic!("kubernetes' tree loads: {errors}"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    multiply(&corpus.join("jobs"), directory.path(), &Names::of(&snapshot));
    drop(snapshot);
    let large = LoadOptions { job_config_path: Some(directory.path().to_owned()), ..once };
    let bounds = Bounds { time: Duration::from_millis(800), peak_mb: 300.0 };
    whole_process("ten times that tree, cold", &large, &bounds);
    one_changed_file(large);
}

/// What is renamed from copy to copy.
struct Names {
    jobs: HashSet<String>,
    repos: HashSet<String>,
}

impl Names {
    fn of(snapshot: &Snapshot) -> Names {
        let jobs = &snapshot.jobs;
        let pre = jobs.presubmits.values().flatten().map(|j| &j.base);
        let post = jobs.postsubmits.values().flatten().map(|j| &j.base);
        let all = pre.chain(post).chain(jobs.periodics.iter().map(|j| &j.base));
        Names {
            jobs: all.map(|j| j.name.clone()).collect(),
            repos: jobs.presubmits.keys().chain(jobs.postsubmits.keys()).cloned().collect(),
        }
    }
}

/// Every job file `TIMES` times, jobs and repositories renamed; presets stay in the first copy, being unique.
fn multiply(from: &Path, to: &Path, names: &Names) {
    for entry in fs::read_dir(from).expect("the job directory is readable") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let below = to.join(&name);
            fs::create_dir_all(&below).expect("a directory");
            multiply(&path, &below, names);
        } else if let Ok(text) = fs::read_to_string(&path) {
            for copy in 0..if name.ends_with(".yaml") { TIMES } else { 1 } {
                let prefix = if copy == 0 { String::new() } else { format!("copy-{copy}-") };
                fs::write(to.join(format!("{prefix}{name}")), renamed(&text, copy, names)).expect("a file");
            }
        }
    }
}

fn renamed(text: &str, copy: usize, names: &Names) -> String {
    if copy == 0 {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    let mut in_presets = false;
    for line in text.lines() {
        if line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            in_presets = line.starts_with("presets:");
        }
        if in_presets {
            continue;
        }
        let bare = |text: &str| {
            text.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
        };
        let start = line.len() - line.trim_start_matches(['-', ' ']).len();
        let (indent, rest) = line.split_at(start);
        let job = rest.strip_prefix("name:").map(&bare).filter(|name| names.jobs.contains(name));
        let repo = bare(rest).strip_suffix(':').map(&bare).filter(|name| names.repos.contains(name));
        match (job, repo) {
            (Some(job), _) => out.push_str(&format!("{indent}name: {job}-{copy}\n")),
            (_, Some(repo)) => out.push_str(&format!("{indent}{repo}-{copy}:\n")),
            _ => out.push_str(&format!("{line}\n")),
        }
    }
    out
}

/// From a changed file to the new snapshot, the looking at all others included.
fn one_changed_file(options: LoadOptions) {
    let root = options.job_config_path.clone().unwrap_or_default();
    let file = root.join("bench-changed.yaml");
    let write = |round: usize| {
        let text = format!(
            "periodics:\n- name: bench-changed-{round}\n  interval: 1h\n  spec: {{containers: [{{image: i, command: [x]}}]}}\n"
        );
        fs::write(&file, text).expect("a file");
    };
    write(0);
    let (handle, agent) =
        Agent::start(options).unwrap_or_else(|errors| panic!("the large tree loads: {errors}"));
    let used = processors();
    let mut times: Vec<f64> = (1..=CHANGES)
        .map(|round| {
            write(round);
            let started = Instant::now();
            agent.reload().unwrap_or_else(|errors| panic!("the changed tree loads: {errors}"));
            let took = started.elapsed().as_secs_f64() * 1e3;
            let name = format!("bench-changed-{round}");
            assert!(handle.snapshot().jobs.periodics.iter().any(|p| p.base.name == name));
            took
        })
        .collect();
    let used = (processors() - used) / CHANGES as f64;
    times.sort_by(f64::total_cmp);
    let (time, bound) = (times[0], 20.0);
    println!("one changed file in that tree, to the new snapshot: the least of {CHANGES}");
    println!("  time      {time:8.1} ms of {bound:6.0} ms  {:5.2}", time / bound);
    println!("  median    {:8.1} ms", times[CHANGES / 2]);
    println!("  processors{used:7.1} ms each, freeing the old snapshot included");
    println!(
        "  peak RSS  {:8.1} MB of the whole process, which holds two snapshots at times",
        megabytes("VmHWM:")
    );
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
/// megabytes of anonymous memory while the snapshot is kept, jobs, and milliseconds of all processors.
fn subject(options: &LoadOptions) {
    let started = Instant::now();
    let snapshot = load(options).unwrap_or_else(|errors| panic!("the tree loads: {errors}"));
    let took = started.elapsed();
    println!(
        "{} {} {} {} {}",
        took.as_secs_f64() * 1e3,
        megabytes("VmHWM:"),
        megabytes("RssAnon:"),
        snapshot.jobs.len(),
        processors()
    );
}

/// A line of this process' status, in megabytes; zero where there is no such file.
fn megabytes(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes =
        status.lines().find_map(|l| l.strip_prefix(line)?.split_whitespace().next()?.parse().ok());
    kilobytes.unwrap_or(0.0) / 1000.0
}

/// What this process has used of all processors, in milliseconds; zero where there is no such file.
fn processors() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // Fields 14 and 15, counted behind the name: user and system time in hundredths of a second.
    fields.skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum::<f64>() * 10.0
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
    let mut of_runs = |column: usize, rank: usize| {
        runs.sort_by(|a, b| a[column].total_cmp(&b[column]));
        runs[rank][column]
    };
    let (time, used) = (of_runs(0, 0), of_runs(4, 0));
    let (middle, jobs) = (of_runs(0, PROCESSES / 2), of_runs(3, 0));
    // Of memory, the most counts.
    let (peak, anonymous) = (of_runs(1, PROCESSES - 1), of_runs(2, PROCESSES - 1));
    println!("{what}: {jobs} jobs, {PROCESSES} processes");
    let bound = bounds.time.as_secs_f64() * 1e3;
    println!("  time      {time:8.1} ms of {bound:6.0} ms  {:5.2}", time / bound);
    println!("  median    {middle:8.1} ms");
    println!("  processors{used:7.0} ms in all; the time is longer where they are shared");
    println!("  peak RSS  {peak:8.1} MB of {:6.0} MB  {:5.2}", bounds.peak_mb, peak / bounds.peak_mb);
    println!("  kept      {anonymous:8.1} MB anonymous");
}
