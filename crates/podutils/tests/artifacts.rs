//! What leaves a Pod and what does not: secrets, and artifacts of every odd kind, through a real sidecar.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

mod world;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use world::{PERIODIC, World, listens, wait};

/// What a job with a secret leaves: in its log, artifacts, an archive, metadata, and a link to our own files.
fn leak(world: &World) {
    world.write("secrets/token", "hunter2\n");
    world.write("logs/process-log.txt", "password hunter2, aHVudGVyMg== too\n");
    world.write("logs/marker-file.txt", "0");
    world.write("logs/artifacts/plain.txt", "it is hunter2");
    world.write("logs/artifacts/free/plain.txt", "it is hunter2");
    world.write("logs/artifacts/x.zip", "PK\u{3}\u{4} hunter2");
    world.write("logs/artifacts/metadata.json", r#"{"token": "hunter2"}"#);
    world.write("credentials.json", "the sidecar's own credentials");
    std::os::unix::fs::symlink(world.path("credentials.json"), world.path("logs/artifacts/link")).unwrap();
    let gzip = Command::new("gzip").arg("-k").arg(world.path("logs/artifacts/plain.txt")).status().unwrap();
    assert!(gzip.success());
}

/// Every byte of the bucket, gzip unpacked.
fn everything(world: &World) -> String {
    let mut all = String::new();
    for object in world.objects() {
        let path = world.path("bucket").join(&object);
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.starts_with(b"\x1f\x8b") {
            bytes = Command::new("gzip")
                .arg("-dc")
                .stdin(std::fs::File::open(&path).unwrap())
                .output()
                .unwrap()
                .stdout;
        }
        all.push_str(&format!("== {object}\n{}\n", String::from_utf8_lossy(&bytes)));
    }
    all
}

#[test]
fn secrets_do_not_leave_the_pod() {
    let world = World::new();
    leak(&world);
    let secrets = world.path("secrets");
    let options = json!({"secret_directories": [secrets], "exclude_directories": ["free/**"]});
    assert!(world.sidecar(&world.spec(None), |o| o["censoring_options"] = options).wait().unwrap().success());
    assert_eq!(world.read(&format!("{PERIODIC}/build-log.txt")), "password XXXXXXX, XXXXXXXXXXXX too\n");
    // plain.txt and plain.txt.gz are one object: upstream strips the suffix too.
    assert_eq!(
        world.read(&format!("{PERIODIC}/artifacts/free/plain.txt")),
        "it is hunter2",
        "excluded on purpose"
    );
    let all = everything(&world).replacen("it is hunter2", "", 1);
    assert!(!all.contains("hunter2"), "{all}");
    assert!(!all.contains("own credentials"), "{all}");
    assert!(all.contains("it is XXXXXXX"), "{all}");
    assert!(world.read(&format!("{PERIODIC}/artifacts/x.zip.withheld.txt")).contains("zip"));
    assert_eq!(world.json(&format!("{PERIODIC}/finished.json"))["metadata"]["token"], "XXXXXXX");
    assert!(world.read(&format!("{PERIODIC}/sidecar-logs.json")).contains("out of the artifact directory"));
}

#[test]
fn when_censoring_fails_nothing_uncensored_leaves() {
    let world = World::new();
    leak(&world);
    let options = json!({"secret_directories": [world.path("secrets"), "/no/such/secrets"]});
    assert!(world.sidecar(&world.spec(None), |o| o["censoring_options"] = options).wait().unwrap().success());
    let all = everything(&world);
    assert!(!all.contains("hunter2"), "{all}");
    for name in ["build-log.txt", "artifacts/withheld.txt", "sidecar-logs.json"] {
        let text = world.read(&format!("{PERIODIC}/{name}"));
        assert!(text.contains("ithheld") && text.contains("/no/such/secrets"), "{name}: {text}");
    }
    let finished = world.json(&format!("{PERIODIC}/finished.json"));
    assert_eq!(finished["result"], "SUCCESS", "how it ended is no secret");
    assert!(finished["metadata"]["sidecar-errors"].to_string().contains("withheld"));
}

#[test]
fn a_job_cannot_have_us_upload_our_own_files_as_its_log() {
    let world = World::new();
    world.write("credentials.json", "own credentials");
    std::os::unix::fs::symlink(world.path("credentials.json"), world.path("logs/process-log.txt")).unwrap();
    std::os::unix::fs::symlink(world.path("home"), world.path("logs/artifacts")).unwrap();
    world.write("home/id_rsa", "own credentials");
    world.write("logs/marker-file.txt", "0");
    assert!(world.sidecar(&world.spec(None), |_| {}).wait().unwrap().success());
    let all = everything(&world);
    assert!(!all.contains("own credentials"), "{all}");
    assert!(world.read(&format!("{PERIODIC}/build-log.txt")).starts_with("Failed to open"));
}

/// Runs a sidecar to its end, with these options of censoring.
fn run(world: &World, censoring: Value) {
    let mut sidecar = world.sidecar(&world.spec(None), |o| o["censoring_options"] = censoring);
    assert!(sidecar.wait().unwrap().success());
}

fn sidecar_logs(world: &World) -> String {
    world.read(&format!("{PERIODIC}/sidecar-logs.json"))
}

/// The artifacts that arrived.
fn arrived(world: &World) -> Vec<String> {
    let prefix = format!("{}/artifacts/", PERIODIC.strip_prefix("bucket/").unwrap());
    world.objects().iter().filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned)).collect()
}

#[test]
fn an_option_brings_back_uploads_of_what_cannot_be_censored() {
    let world = World::new();
    leak(&world);
    run(
        &world,
        json!({"secret_directories": ["/no/such/secrets", world.path("secrets")],
            "upload_uncensored_on_failure": true}),
    );
    // What could be read is masked where it can be found.
    assert_eq!(world.read(&format!("{PERIODIC}/build-log.txt")), "password XXXXXXX, XXXXXXXXXXXX too\n");
    assert_eq!(world.read(&format!("{PERIODIC}/artifacts/x.zip")), "PK\u{3}\u{4} hunter2");
    let logs = sidecar_logs(&world);
    assert!(logs.contains("/no/such/secrets") && logs.contains("uploaded uncensored"), "{logs}");
}

#[test]
fn a_secret_that_is_rotated_while_the_job_runs_is_masked_in_both_its_values() {
    let world = World::new();
    world.write("secrets/token", "old-value\n");
    world.write("logs/process-log.txt", "old-value new-value\n");
    let censoring = json!({"secret_directories": [world.path("secrets")]});
    let mut sidecar = world.sidecar(&world.spec(None), |o| o["censoring_options"] = censoring);
    let finished = world.path(&format!("{PERIODIC}/finished.json"));
    // An interrupt makes it upload, so it has read the old value.
    wait(|| {
        if !finished.exists() && listens(sidecar.id()) {
            kill(Pid::from_raw(sidecar.id() as i32), Signal::SIGTERM).unwrap();
        }
        finished.exists()
    });
    assert_eq!(world.read(&format!("{PERIODIC}/build-log.txt")), "XXXXXXXXX new-value\n");
    world.write("secrets/token", "new-value\n");
    world.write("logs/marker.tmp", "0");
    fs::rename(world.path("logs/marker.tmp"), world.path("logs/marker-file.txt")).unwrap();
    assert!(sidecar.wait().unwrap().success());
    assert_eq!(world.read(&format!("{PERIODIC}/build-log.txt")), "XXXXXXXXX XXXXXXXXX\n");
}

#[test]
fn options_of_size_and_number_change_no_result() {
    let world = World::new();
    leak(&world);
    // Longer than the smallest buffer: the secret lies across its ends somewhere.
    world.write("logs/process-log.txt", &"0123456789 hunter2 ".repeat(5_000));
    run(
        &world,
        json!({"secret_directories": [world.path("secrets")], "censoring_concurrency": 1,
            "censoring_buffer_size": 1, "include_directories": ["plain.txt"]}),
    );
    assert_eq!(world.read(&format!("{PERIODIC}/build-log.txt")), "0123456789 XXXXXXX ".repeat(5_000));
    assert_eq!(world.read(&format!("{PERIODIC}/artifacts/free/plain.txt")), "it is hunter2", "not included");
    assert_eq!(world.read(&format!("{PERIODIC}/artifacts/x.zip")), "PK\u{3}\u{4} hunter2", "not included");
}

#[test]
fn archives_are_censored_inside_and_stay_archives() {
    let world = World::new();
    leak(&world);
    let artifacts = world.path("logs/artifacts");
    let tar = |args: &[&str]| {
        assert!(Command::new("tar").args(args).current_dir(&artifacts).status().unwrap().success())
    };
    tar(&["czf", "a.tar.gz", "plain.txt", "free"]);
    tar(&["cf", "outer.tar", "a.tar.gz", "x.zip"]);
    run(&world, json!({"secret_directories": [world.path("secrets")]}));
    // The name loses its suffix, which the encoding says now (prow-runtime §8.5).
    let unpacked = tempfile::tempdir().unwrap();
    let unpack = |archive: &str| {
        let path = world.path(&format!("{PERIODIC}/artifacts/{archive}"));
        let done = Command::new("tar").arg("xf").arg(path).current_dir(unpacked.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    unpack("a.tar");
    unpack("outer.tar");
    let done =
        Command::new("tar").args(["xzf", "a.tar.gz", "-O"]).current_dir(unpacked.path()).output().unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "it is XXXXXXXit is XXXXXXX");
    assert_eq!(fs::read_to_string(unpacked.path().join("plain.txt")).unwrap(), "it is XXXXXXX");
    // One member that cannot be looked into does not cost the others.
    assert!(fs::read_to_string(unpacked.path().join("x.zip")).unwrap().starts_with("Withheld"));
}

#[test]
fn without_a_place_for_temporary_files_large_members_go_beside_the_logs() {
    let world = World::new();
    world.write("secrets/token", "hunter2\n");
    world.write("logs/process-log.txt", "log\n");
    world.write("logs/marker-file.txt", "0");
    world.write("logs/artifacts/large.txt", &"it is hunter2".repeat(100_000));
    let artifacts = world.path("logs/artifacts");
    let tar = |args: &[&str]| {
        assert!(Command::new("tar").args(args).current_dir(&artifacts).status().unwrap().success())
    };
    tar(&["cf", "inner.tar", "large.txt"]);
    tar(&["cf", "outer.tar", "inner.tar"]);
    let mut options = json!({"gcs_options": world.upload_options(), "entries": [world.entry()],
        "censoring_options": {"secret_directories": [world.path("secrets")]}});
    options["gcs_options"]["items"] = json!([artifacts]);
    // As in an empty image.
    let status = world
        .command("sidecar", &[("SIDECAR_OPTIONS", &options), ("JOB_SPEC", &world.spec(None))])
        .env("TMPDIR", "/no/such/place")
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(arrived(&world), ["inner.tar", "large.txt", "outer.tar"]);
    let outer = fs::read(world.path(&format!("{PERIODIC}/artifacts/outer.tar"))).unwrap();
    assert!(outer.windows(13).any(|w| w == b"it is XXXXXXX") && !outer.windows(7).any(|w| w == b"hunter2"));
    let mut left: Vec<_> =
        fs::read_dir(world.path("logs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["artifacts", "marker-file.txt", "process-log.txt"]);
}

#[test]
fn odd_names_arrive_under_names_that_every_store_takes() {
    let world = World::new();
    world.write("logs/marker-file.txt", "0");
    world.write("logs/process-log.txt", "log\n");
    let artifacts = world.path("logs/artifacts");
    fs::create_dir_all(artifacts.join("..dots/ sub ")).unwrap();
    let longest = "x".repeat(255);
    let mut expected = Vec::new();
    for (name, object) in [
        (&b"a b.txt"[..], "a b.txt"),
        (b"new\nline\ttab.txt", "new%0Aline%09tab.txt"),
        (b"not-utf-8-\xff\xc3(.txt", "not-utf-8-%FF%C3(.txt"),
        (b".hidden", ".hidden"),
        (b"..dots/ sub / x ", "..dots/ sub / x "),
        (b"-rf", "-rf"),
        (b"'\";$(id)`|&<>?*[]{}\\^~", "'\";$(id)`|&<>?*[]{}\\^~"),
        (b"#1 100%.txt", "%231 100%.txt"),
        ("gr\u{fc}\u{df}e\u{202e}.txt".as_bytes(), "gr\u{fc}\u{df}e\u{202e}.txt"),
        (longest.as_bytes(), &longest),
    ] {
        fs::write(artifacts.join(OsStr::from_bytes(name)), object).unwrap();
        expected.push(object.to_owned());
    }
    // Names that no store takes cost nobody else anything: one too long as a whole, one only when escaped.
    let deep = artifacts.join(["d"; 6].map(|d| d.repeat(200)).join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("x"), "x").unwrap();
    fs::write(artifacts.join("#".repeat(255)), "x").unwrap();
    run(&world, json!({}));
    expected.sort();
    assert_eq!(arrived(&world), expected);
    for object in &expected {
        assert_eq!(&world.read(&format!("{PERIODIC}/artifacts/{object}")), object);
    }
    let logs = sidecar_logs(&world);
    assert!(
        logs.contains("longer than 1024 bytes") && logs.contains("longer than the name of a file"),
        "{logs}"
    );
}

#[test]
fn what_is_not_a_file_of_the_job_is_named_and_left_out() {
    let world = World::new();
    world.write("logs/marker-file.txt", "0");
    world.write("logs/process-log.txt", "log\n");
    world.write("logs/artifacts/good.txt", "good");
    world.write("outside/secret", "own credentials");
    let artifacts = world.path("logs/artifacts");
    symlink(world.path("outside/secret"), artifacts.join("link-out")).unwrap();
    symlink("../../outside", artifacts.join("directory-out")).unwrap();
    symlink("/proc/self/environ", artifacts.join("environment")).unwrap();
    symlink("/dev/zero", artifacts.join("endless")).unwrap();
    symlink("nowhere", artifacts.join("dangling")).unwrap();
    symlink("circle", artifacts.join("circle")).unwrap();
    symlink(".", artifacts.join("itself")).unwrap();
    symlink("good.txt", artifacts.join("link-in")).unwrap();
    nix::unistd::mkfifo(&artifacts.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(artifacts.join("socket")).unwrap();
    let mut left_out = vec![
        "link-out",
        "directory-out",
        "environment",
        "endless",
        "dangling",
        "circle",
        "itself",
        "pipe",
        "socket",
    ];
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    let null = nix::sys::stat::makedev(1, 3);
    match nix::sys::stat::mknod(&artifacts.join("device"), kind, nix::sys::stat::Mode::S_IRWXU, null) {
        Ok(()) => left_out.push("device"),
        Err(error) => eprintln!("skipped: a device cannot be made here: {error}"),
    }
    run(&world, json!({}));
    assert_eq!(arrived(&world), ["good.txt", "link-in"]);
    let logs = sidecar_logs(&world);
    for name in left_out {
        let line = logs.lines().find(|line| line.contains(&format!("\"{name}\"")));
        assert!(line.is_some_and(|line| line.contains("warning")), "{name}: {logs}");
    }
    assert!(!everything(&world).contains("own credentials"));
}

#[test]
fn files_with_holes_two_names_and_no_end_of_line_are_files() {
    let world = World::new();
    world.write("secrets/token", "hunter2\n");
    world.write("logs/marker-file.txt", "0");
    // Longer than any buffer, without a line's end, and most of it not on the disk.
    const LENGTH: u64 = 24 << 20;
    let at = LENGTH / 2 - 3;
    world.write("logs/artifacts/sparse", "");
    for name in ["logs/process-log.txt", "logs/artifacts/sparse"] {
        let file = fs::File::create(world.path(name)).unwrap();
        file.set_len(LENGTH).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"<hunter2>", at).unwrap();
    }
    let artifacts = world.path("logs/artifacts");
    fs::hard_link(artifacts.join("sparse"), artifacts.join("second")).unwrap();
    run(&world, json!({"secret_directories": [world.path("secrets")]}));
    assert_eq!(arrived(&world), ["second", "sparse"]);
    for object in ["build-log.txt", "artifacts/sparse", "artifacts/second"] {
        let bytes = fs::read(world.path(&format!("{PERIODIC}/{object}"))).unwrap();
        assert_eq!(bytes.len() as u64, LENGTH, "{object}");
        assert_eq!(&bytes[at as usize..at as usize + 9], b"<XXXXXXX>", "{object}");
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 9, "{object}");
    }
}

#[test]
fn what_may_not_be_read_is_named_and_left_out() {
    let world = World::new();
    world.write("logs/marker-file.txt", "0");
    world.write("logs/process-log.txt", "log\n");
    for file in ["good.txt", "locked.txt", "closed/x.txt"] {
        world.write(&format!("logs/artifacts/{file}"), "x");
    }
    let mode =
        |path: &str, mode| fs::set_permissions(world.path(path), PermissionsExt::from_mode(mode)).unwrap();
    mode(".", 0o755);
    mode("bucket", 0o777);
    mode("logs/artifacts/locked.txt", 0);
    mode("logs/artifacts/closed", 0);
    let mut options = json!({"gcs_options": world.upload_options(), "entries": [world.entry()]});
    options["gcs_options"]["items"] = json!([world.path("logs/artifacts")]);
    let mut command =
        world.command("sidecar", &[("SIDECAR_OPTIONS", &options), ("JOB_SPEC", &world.spec(None))]);
    if nix::unistd::geteuid().is_root() {
        // Nothing is closed to root.
        command.uid(65534);
    }
    match command.stderr(Stdio::null()).status() {
        Ok(status) => assert!(status.success(), "{status}"),
        Err(error) => {
            eprintln!("skipped: somebody else cannot run what is built here: {error}");
            return mode("logs/artifacts/closed", 0o755);
        }
    }
    mode("logs/artifacts/closed", 0o755);
    assert_eq!(arrived(&world), ["good.txt"]);
    let logs = sidecar_logs(&world);
    for name in ["locked.txt", "closed"] {
        let line = logs.lines().find(|line| line.contains(name) && line.contains("ermission denied"));
        assert!(line.is_some(), "{name}: {logs}");
    }
    assert_eq!(world.json(&format!("{PERIODIC}/finished.json"))["result"], "SUCCESS");
}
