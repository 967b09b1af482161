//! What the sidecar's upload costs, beside its bounds and upstream's figures (DESIGN §5): the whole process, from start
//! to exit, with its peak memory and its time on processors as the kernel counted them. Run with
//! `cargo bench -p prow-podutils --bench sidecar`, and TMPDIR set where 6 GB are free (a memory file system, to leave the
//! disk out). UPSTREAM_SIDECAR names upstream's own binary, to be measured on the same files; PODUTILS another build of
//! ours.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Processes for each figure; the median of their times counts, and the largest of their peaks.
const PROCESSES: usize = 5;
/// The word that makes a process of this program run and measure one sidecar.
const SUBJECT: &str = "--subject";
const MB: usize = 1_000_000;

/// One run's files and what is expected of it.
struct Scenario {
    name: &'static str,
    log: usize,
    files: usize,
    artifacts: usize,
    processes: usize,
    bound: Option<Duration>,
    upstream: &'static str,
}

/// Peak memory is bounded alike in all of them: it does not grow with sizes and numbers.
const PEAK_MB: f64 = 32.0;

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "nothing but a short log",
        log: 1_000,
        files: 0,
        artifacts: 0,
        processes: PROCESSES,
        bound: None,
        upstream: "not measured",
    },
    Scenario {
        name: "a log of 200 MB and 1,300 artifacts, 222 MB in all",
        log: 200 * MB,
        files: 1_300,
        artifacts: 22 * MB,
        processes: PROCESSES,
        bound: Some(Duration::from_secs(1)),
        upstream: "10.5 s, 276 MB",
    },
    Scenario {
        name: "a log of 200 MB and 20,000 artifacts of 22 MB",
        log: 200 * MB,
        files: 20_000,
        artifacts: 22 * MB,
        processes: 3,
        bound: None,
        upstream: "not measured",
    },
    Scenario {
        name: "a log of 2 GB and 1,300 artifacts",
        log: 2_000 * MB,
        files: 1_300,
        artifacts: 22 * MB,
        processes: 2,
        bound: None,
        upstream: "not measured",
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, options, program @ ..] = arguments.as_slice()
        && word == SUBJECT
    {
        return subject(options, program);
    }
    let chosen = arguments.iter().skip(1).find(|argument| !argument.starts_with("--"));
    let mut missed = false;
    for scenario in SCENARIOS.iter().filter(|s| chosen.is_none_or(|text| s.name.contains(text.as_str()))) {
        missed |= !measure(scenario);
    }
    println!("200 secrets, output to a local directory, {} processors", processors());
    assert!(!missed, "a bound was missed");
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// True if the bounds hold.
fn measure(scenario: &Scenario) -> bool {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let world = World(dir.path().to_owned());
    let secrets = world.fill(scenario);
    let ours = std::env::var("PODUTILS").unwrap_or_else(|_| env!("CARGO_BIN_EXE_podutils").to_owned());
    let Cost { time, processors, peak } = world.run(scenario.processes, &[&ours, "sidecar"]);
    world.check(scenario, &secrets);
    let bound = scenario.bound.map(|bound| bound.as_secs_f64());
    let ratio =
        bound.map_or(String::new(), |bound| format!(" ({:.2} of the bound, {bound} s)", time / bound));
    println!("{}:", scenario.name);
    println!(
        "  time {time:.2} s{ratio}, {processors:.2} s on processors, peak {peak:.1} MB ({:.2} of the bound, \
         {PEAK_MB} MB)",
        peak / PEAK_MB
    );
    match std::env::var("UPSTREAM_SIDECAR") {
        Ok(theirs) if scenario.bound.is_some() => {
            let theirs = world.run(1, &[&theirs]);
            println!(
                "  upstream's, just now: {:.2} s, {:.2} s on processors, peak {:.1} MB: {:.0}, {:.0} and {:.0} times as much",
                theirs.time,
                theirs.processors,
                theirs.peak,
                theirs.time / time,
                theirs.processors / processors,
                theirs.peak / peak
            );
        }
        _ => println!("  upstream on a machine like this: {}", scenario.upstream),
    }
    bound.is_none_or(|bound| time <= bound) && peak <= PEAK_MB
}

/// What sidecars took: seconds, those on processors, megabytes.
struct Cost {
    time: f64,
    processors: f64,
    peak: f64,
}

/// Runs one sidecar and prints its seconds, those on processors, and its peak megabytes: the children of this process
/// are that one.
fn subject(options: &str, program: &[String]) {
    let spec = r#"{"type":"periodic","job":"nightly","buildid":"17","prowjobid":"x"}"#;
    let begun = Instant::now();
    let status = Command::new(&program[0])
        .args(&program[1..])
        .env("SIDECAR_OPTIONS", options)
        .env("JOB_SPEC", spec)
        .stdin(Stdio::null())
        .status()
        .expect("the sidecar starts");
    let seconds = begun.elapsed().as_secs_f64();
    assert!(status.success(), "{status}");
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)
        .expect("the kernel counts memory");
    let spent =
        [usage.user_time(), usage.system_time()].map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6);
    println!("{seconds} {} {}", spent[0] + spent[1], usage.max_rss() as f64 * 1024.0 / 1e6);
}

struct World(PathBuf);

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs so many sidecars, one after another; the median of times counts, and the largest peak.
    fn run(&self, processes: usize, program: &[&str]) -> Cost {
        let (mut times, mut processors, mut peak) = (Vec::new(), Vec::new(), 0.0f64);
        for _ in 0..processes {
            let _ = fs::remove_dir_all(self.path("out"));
            let done = Command::new(std::env::current_exe().expect("this program has a path"))
                .args([SUBJECT, &self.options()])
                .args(program)
                .output()
                .expect("this program starts again");
            let text = String::from_utf8_lossy(&done.stdout).into_owned();
            let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            let [seconds, on_processors, megabytes] = numbers[..] else {
                panic!("the sidecar failed: {text}{}", String::from_utf8_lossy(&done.stderr))
            };
            times.push(seconds);
            processors.push(on_processors);
            peak = peak.max(megabytes);
        }
        let median = |mut all: Vec<f64>| {
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Cost { time: median(times), processors: median(processors), peak }
    }

    /// Writes secrets, log and artifacts, and gives the secrets.
    fn fill(&self, scenario: &Scenario) -> Vec<String> {
        let mut random = Random(17);
        fs::create_dir_all(self.path("secrets")).expect("a directory");
        let secrets: Vec<String> = (0..200).map(|n| secret(n, &mut random)).collect();
        for (n, secret) in secrets.iter().enumerate() {
            fs::write(self.path("secrets").join(format!("s{n}")), format!("{secret}\n")).expect("a secret");
        }
        text(&self.path("log.txt"), scenario.log, &secrets, &mut random);
        for n in 0..scenario.files {
            let directory = self.path("artifacts").join(format!("d{}", n % 40));
            fs::create_dir_all(&directory).expect("a directory");
            text(
                &directory.join(format!("f{n}.txt")),
                scenario.artifacts / scenario.files,
                &secrets,
                &mut random,
            );
        }
        fs::create_dir_all(self.path("artifacts")).expect("a directory");
        fs::write(self.path("marker.txt"), "0").expect("a marker");
        secrets
    }

    fn options(&self) -> String {
        serde_json::json!({
            "gcs_options": {"items": [self.path("artifacts")], "local_output_dir": self.path("out"),
                "path_strategy": "explicit", "bucket": "b", "dry_run": false},
            "entries": [{"args": ["x"], "process_log": self.path("log.txt"),
                "marker_file": self.path("marker.txt")}],
            "censoring_options": {"secret_directories": [self.path("secrets")]},
        })
        .to_string()
    }

    /// The figures count only if everything arrived, as long as it was, without the secrets.
    fn check(&self, scenario: &Scenario, secrets: &[String]) {
        let log = self.path("out/build-log.txt");
        assert_eq!(fs::metadata(&log).expect("the log arrived").len() as usize, scenario.log);
        let mut start = vec![0; scenario.log.min(20 * MB)];
        let mut file = fs::File::open(&log).expect("the log arrived");
        std::io::Read::read_exact(&mut file, &mut start).expect("the log is readable");
        let start = String::from_utf8_lossy(&start);
        assert!(scenario.log < MB || start.contains("token=XXXX"), "secrets were written and masked");
        assert!(!secrets.iter().any(|secret| start.contains(secret.as_str())), "a secret is in the log");
        let arrived = fs::read_dir(self.path("out/artifacts")).into_iter().flatten().flatten();
        let arrived: usize = arrived.map(|d| fs::read_dir(d.path()).into_iter().flatten().count()).sum();
        assert_eq!(arrived, scenario.files);
    }
}

/// Of the kinds that jobs have: tokens, passwords, keys of several lines.
fn secret(n: usize, random: &mut Random) -> String {
    let mut word = |letters: &[u8], length: usize| -> String {
        (0..length).map(|_| char::from(letters[random.below(letters.len())])).collect()
    };
    let base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    match n % 10 {
        0..=3 => word(b"0123456789abcdef", 40),
        4..=6 => word(base64, 36),
        7 | 8 => word(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789!$%&/()=?-_", 12 + n % 9),
        _ => {
            let lines: Vec<String> = (0..25).map(|_| word(base64, 64)).collect();
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", lines.join("\n"))
        }
    }
}

/// A log of so many bytes as tests write it, with a secret now and then.
fn text(path: &Path, length: usize, secrets: &[String], random: &mut Random) {
    let mut out = BufWriter::new(fs::File::create(path).expect("a file"));
    let (mut written, mut line) = (0, String::new());
    while written < length {
        line.clear();
        let at = random.below(1_000_000);
        let _ = match random.below(6) {
            0 => writeln!(
                line,
                "I1122 10:15:{:02}.{at:06} {:7} controller.go:{}] \"Reconciling\" pod=\"default/web-{:08x}\"",
                at % 60,
                at,
                at % 900,
                at
            ),
            1 => writeln!(
                line,
                "=== RUN   TestSomething/case_{at}\n--- PASS: TestSomething/case_{at} (0.{:02}s)",
                at % 100
            ),
            2 => writeln!(
                line,
                "{{\"level\":\"info\",\"ts\":1795342{at},\"msg\":\"request done\",\"status\":200,\"path\":\"/apis/apps/v1/namespaces/n{at}/pods\"}}"
            ),
            3 => writeln!(line, "go: downloading example.com/module/v{} v0.{}.{}", at % 9, at % 40, at % 7),
            4 => writeln!(
                line,
                "sha256:{:016x}{:016x}{:016x}{:016x}  layer-{at}.tar",
                random.next(),
                random.next(),
                random.next(),
                random.next()
            ),
            _ => writeln!(
                line,
                "    at org.example.Some{}.method(Some.java:{}) ~[jar:na]",
                at % 300,
                at % 2000
            ),
        };
        if at < 300 {
            let _ = writeln!(
                line,
                "token={}",
                secrets[random.below(secrets.len())].lines().collect::<Vec<_>>().join("\n")
            );
        }
        let piece = &line.as_bytes()[..line.len().min(length - written)];
        out.write_all(piece).expect("space on the disk");
        written += piece.len();
    }
    out.flush().expect("space on the disk");
}

/// The same numbers in each run (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
