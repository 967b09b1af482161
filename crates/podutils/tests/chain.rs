//! clonerefs → initupload → entrypoint → sidecar as real processes, over a real repository, into a `file://`
//! bucket (prow-runtime §8, §9).
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

mod world;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use world::*;

const DIR: &str = "pre/pr-logs/pull/org_repo/1/unit/17";

#[test]
fn two_pull_requests_that_merge_go_all_the_way() {
    let world = World::new();
    let repository = world.repository(&[("a", "from one\n"), ("b", "from two\n")]);
    let refs = world.refs(&repository);
    let spec = world.spec(Some(&refs));

    success(&world.clonerefs("go", &[&refs]));
    let records = world.json("logs/clone.json");
    assert_eq!(records.as_array().unwrap().len(), 2, "setup and one clone: {records}");
    let record = &records[1];
    assert_eq!((&records[0]["refs"]["org"], &record["refs"]["org"]), (&json!(""), &json!("org")));
    let source = world.path("go/src/github.com/org/repo");
    let commands: Vec<String> = record["commands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            c["command"]
                .as_str()
                .unwrap()
                .replace(&format!("PWD={} ", source.display()), "")
                .trim_start()
                .to_owned()
        })
        .collect();
    let time: i64 = world.git(&["show", "-s", "--format=%ct", &repository.base]).parse().unwrap();
    let uri = format!("file://{}", world.path("repo").display());
    let merge = |n: usize| {
        let at = time + n as i64 + 1;
        format!("GIT_AUTHOR_DATE={at} GIT_COMMITTER_DATE={at} git merge --no-ff {}", repository.pulls[n])
    };
    assert_eq!(
        commands,
        [
            format!("PWD=/  mkdir -p {}", source.display()),
            "git init".into(),
            "git config user.name ci-robot".into(),
            "git config user.email ci-robot@k8s.io".into(),
            format!("git fetch {uri} --tags --prune"),
            format!("git fetch {uri} {}", repository.base),
            format!("git checkout {}", repository.base),
            format!("git branch --force main {}", repository.base),
            "git checkout main".into(),
            format!("git fetch {uri} {}", repository.pulls[0]),
            merge(0),
            format!("git fetch {uri} {}", repository.pulls[1]),
            merge(1),
            "git submodule update --init --recursive".into(),
        ]
    );
    assert_eq!(world.read("go/src/github.com/org/repo/a"), "from one\n");
    assert_eq!(world.read("go/src/github.com/org/repo/b"), "from two\n");
    let final_sha = record["final_sha"].as_str().unwrap();

    success(&world.initupload(&spec));
    let started = world.json(&format!("bucket/{DIR}/started.json"));
    assert_eq!(started["repo-commit"], final_sha);
    assert_eq!(started["pull"], "1");
    assert_eq!(
        started["repos"]["org/repo"],
        format!("main:{},1:{},2:{}", repository.base, repository.pulls[0], repository.pulls[1])
    );

    let script = "cat a b; mkdir -p $0/sub; echo result > $0/sub/r.txt; gzip -c a > $0/a.log.gz; echo '{\"k\": 1}' > $0/metadata.json; exit 0";
    let script = script.replace("$0", world.path("logs/artifacts").to_str().unwrap());
    success(&world.entrypoint(&source, &script));
    assert!(world.sidecar(&spec, |_| {}).wait().unwrap().success());

    let mut expected: Vec<String> = [
        "artifacts/a.log",
        "artifacts/metadata.json",
        "artifacts/sub/r.txt",
        "build-log.txt",
        "clone-log.txt",
        "clone-records.json",
        "finished.json",
        "sidecar-logs.json",
        "started.json",
    ]
    .map(|name| format!("{DIR}/{name}"))
    .into();
    expected.extend(
        [
            "pr-logs/directory/unit/17.txt",
            "pr-logs/directory/unit/latest-build.txt",
            "pr-logs/pull/org_repo/1/unit/latest-build.txt",
        ]
        .map(str::to_owned),
    );
    expected.sort();
    assert_eq!(world.objects(), expected);
    assert_eq!(world.read(&format!("bucket/{DIR}/build-log.txt")), "from one\nfrom two\n");
    let finished = world.json(&format!("bucket/{DIR}/finished.json"));
    assert_eq!((&finished["passed"], &finished["result"]), (&json!(true), &json!("SUCCESS")));
    assert_eq!(
        (&finished["metadata"], &finished["revision"]),
        (&json!({"k": 1}), &json!(repository.pulls[0]))
    );
    assert!(finished["timestamp"].as_i64().unwrap() >= started["timestamp"].as_i64().unwrap());
    assert_eq!(world.read("bucket/pr-logs/directory/unit/latest-build.txt"), "17");
    let alias = world.read("bucket/pr-logs/directory/unit/17.txt");
    assert_eq!(alias, format!("file://{}/{DIR}", world.path("bucket").display()));
    for line in world.read(&format!("bucket/{DIR}/sidecar-logs.json")).lines() {
        let _: Value = serde_json::from_str(line).unwrap();
    }
}

#[test]
fn the_same_merge_is_the_same_commit_whatever_the_environment() {
    let world = World::new();
    let refs = world.refs(&world.repository(&[("a", "1\n"), ("b", "2\n")]));
    let mut shas = Vec::new();
    world.write("home/.gitconfig", "[merge]\n\tlog = true\n[commit]\n\tgpgSign = true\n");
    for (src, zone, home) in [("one", "Asia/Tokyo", "home"), ("two", "America/New_York", "elsewhere")] {
        let options = json!({"src_root": world.path(src), "log": world.path("log.json"), "refs": [&refs]});
        let done = world
            .command("clonerefs", &[("CLONEREFS_OPTIONS", &options)])
            .env("TZ", zone)
            .env("HOME", world.path(home))
            .env("GIT_AUTHOR_NAME", src)
            .output()
            .unwrap();
        success(&done);
        let records = world.json("log.json");
        assert_eq!(records[1]["failed"], Value::Null, "{records:#}");
        shas.push(records[1]["final_sha"].as_str().unwrap().to_owned());
    }
    assert_eq!(shas[0], shas[1]);
}

#[test]
fn pull_requests_that_conflict_end_the_pod_in_initupload() {
    let world = World::new();
    let refs = world.refs(&world.repository(&[("a", "one\n"), ("a", "two\n")]));
    let spec = world.spec(Some(&refs));
    success(&world.clonerefs("go", &[&refs]));
    let records = world.json("logs/clone.json");
    assert_eq!(records[1]["failed"], true);
    assert_eq!(records[1]["final_sha"], Value::Null);
    let last = records[1]["commands"].as_array().unwrap().last().unwrap();
    assert!(last["output"].as_str().unwrap().contains("CONFLICT"), "{last}");
    assert_eq!(last["error"], "exit status 1");

    assert_eq!(world.initupload(&spec).status.code(), Some(1));
    let finished = world.json(&format!("bucket/{DIR}/finished.json"));
    assert_eq!((&finished["passed"], &finished["result"]), (&json!(false), &json!("FAILURE")));
    let log = world.read(&format!("bucket/{DIR}/build-log.txt"));
    assert!(log.contains("# FAILED") && log.contains("CONFLICT"), "{log}");
    assert_eq!(log, world.read(&format!("bucket/{DIR}/clone-log.txt")));
    for name in ["started.json", "clone-records.json"] {
        assert!(world.path(&format!("bucket/{DIR}/{name}")).exists(), "{name}");
    }
}

#[test]
fn clones_run_side_by_side_and_one_failure_leaves_the_others() {
    let world = World::new();
    let repository = world.repository(&[]);
    let good = world.refs(&repository);
    let mut hostile = good.clone();
    hostile["repo"] = json!("other");
    hostile["base_ref"] = json!("--upload-pack=touch pwned");
    let done = world.clonerefs("go", &[&good, &hostile]);
    success(&done);
    let records = world.json("logs/clone.json");
    let failed: Vec<_> = records.as_array().unwrap().iter().filter(|r| r["failed"] == true).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["refs"]["repo"], "other");
    assert!(world.path("go/src/github.com/org/repo/a").exists());

    let options =
        json!({"src_root": world.path("x"), "log": world.path("l"), "refs": [hostile], "fail": true});
    let done = world.command("clonerefs", &[("CLONEREFS_OPTIONS", &options)]).output().unwrap();
    assert_eq!(done.status.code(), Some(1), "with `fail` a failed clone is a failure");
}

#[test]
fn shallow_sparse_and_blobless_clones_work() {
    let world = World::new();
    let repository = world.repository(&[("a", "one\n")]);
    world.git(&["config", "uploadpack.allowFilter", "true"]);
    world.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    for (src, change) in [
        ("depth", json!({"clone_depth": 1, "pulls": []})),
        ("blobless", json!({"blobless_fetch": true, "skip_fetch_head": true})),
        ("sparse", json!({"sparse_checkout_files": ["d"], "skip_submodules": true})),
    ] {
        let mut refs = world.refs(&repository);
        refs.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        success(&world.clonerefs(src, &[&refs]));
        let records = world.json("logs/clone.json");
        assert_eq!(records[1]["failed"], Value::Null, "{src}: {records:#}");
        let cloned = world.path(src).join("src/github.com/org/repo");
        assert!(cloned.join("d/x").exists(), "{src}");
        assert_eq!(cloned.join("e/y").exists(), src != "sparse", "{src}");
    }
}

#[test]
fn wrong_options_are_named_and_exit_1() {
    let world = World::new();
    let good = world.upload_options();
    let spec = world.spec(None);
    let bad = json!("{");
    let half = json!({"src_root": "x"});
    for (tool, variables, why) in [
        ("clonerefs", vec![("CLONEREFS_OPTIONS", &bad)], "CLONEREFS_OPTIONS"),
        ("clonerefs", vec![("CLONEREFS_OPTIONS", &half)], "no log file"),
        ("clonerefs", vec![], "--src-root"),
        ("initupload", vec![("INITUPLOAD_OPTIONS", &good)], "JOB_SPEC is not set"),
        ("initupload", vec![("INITUPLOAD_OPTIONS", &good), ("JOB_SPEC", &bad)], "JOB_SPEC"),
        ("sidecar", vec![("JOB_SPEC", &spec)], "SIDECAR_OPTIONS is not set"),
        ("sidecar", vec![("SIDECAR_OPTIONS", &half), ("JOB_SPEC", &spec)], "no entries"),
        ("sidecar", vec![("SIDECAR_OPTIONS", &bad), ("JOB_SPEC", &spec)], "SIDECAR_OPTIONS"),
        ("gcsupload", vec![("GCSUPLOAD_OPTIONS", &bad), ("JOB_SPEC", &spec)], "GCSUPLOAD_OPTIONS"),
        ("gcsupload", vec![("GCSUPLOAD_OPTIONS", &good)], "JOB_SPEC is not set"),
        ("entrypoint", vec![("ENTRYPOINT_OPTIONS", &bad)], "ENTRYPOINT_OPTIONS"),
        ("entrypoint", vec![], "no command"),
        ("nonsense", vec![], "no pod utility"),
    ] {
        let done = world.command(tool, &variables).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{tool} {why}");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains(why), "{tool}: {said}");
    }
    let mut log = good.clone();
    log["log"] = json!("/no/such/clone.json");
    let done =
        world.command("initupload", &[("INITUPLOAD_OPTIONS", &log), ("JOB_SPEC", &spec)]).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("/no/such/clone.json"));
}

#[test]
fn members_of_tomorrows_options_change_nothing() {
    let world = World::new();
    let mut refs = world.refs(&world.repository(&[]));
    let mut spec = world.spec(None);
    for known in [&mut refs, &mut spec] {
        known["of_tomorrow"] = json!({"deeply": [null, 1.5]});
    }
    success(&world.clonerefs("go", &[&refs]));
    let mut options = world.upload_options();
    options["of_tomorrow"] = json!([1]);
    let variables = [("INITUPLOAD_OPTIONS", &options), ("JOB_SPEC", &spec)];
    success(&world.command("initupload", &variables).output().unwrap());
    success(&world.entrypoint(&world.path("home"), "exit 0"));
    let sidecar = world.sidecar(&spec, |o| {
        o["of_tomorrow"] = json!({"a": "b"});
        o["entries"][0]["of_tomorrow"] = json!(1);
        o["censoring_options"]["of_tomorrow"] = json!("x");
    });
    success(&sidecar.wait_with_output().unwrap());
    assert_eq!(world.json(&format!("{PERIODIC}/finished.json"))["result"], "SUCCESS");
    assert!(world.path(&format!("{PERIODIC}/started.json")).exists());
}

#[test]
fn an_interrupted_pod_is_reported_at_once_and_again_at_its_end() {
    let world = World::new();
    let spec = world.spec(None);
    world.write("logs/process-log.txt", "half a log\n");
    let mut sidecar = world.sidecar(&spec, |_| {});
    let finished = world.path(&format!("{PERIODIC}/finished.json"));
    // It cannot be told from outside when it listens, so it is told until it acts: one interrupt counts.
    wait(|| {
        if !finished.exists() {
            kill(Pid::from_raw(sidecar.id() as i32), Signal::SIGCONT).unwrap();
            if listens(sidecar.id()) {
                kill(Pid::from_raw(sidecar.id() as i32), Signal::SIGTERM).unwrap();
            }
        }
        finished.exists()
    });
    let early = world.json(&format!("{PERIODIC}/finished.json"));
    assert_eq!((&early["passed"], &early["result"]), (&json!(false), &json!("ABORTED")));
    assert_eq!(world.read(&format!("{PERIODIC}/build-log.txt")), "half a log\n");
    assert!(sidecar.try_wait().unwrap().is_none(), "it waits on");

    world.write("logs/process-log.txt", "half a log\nthe rest\n");
    world.write("logs/marker.tmp", "0");
    std::fs::rename(world.path("logs/marker.tmp"), world.path("logs/marker-file.txt")).unwrap();
    assert!(sidecar.wait().unwrap().success());
    assert_eq!(world.json(&format!("{PERIODIC}/finished.json"))["result"], "SUCCESS");
    assert_eq!(world.read(&format!("{PERIODIC}/build-log.txt")), "half a log\nthe rest\n");
}

#[test]
fn markers_decide_the_result_and_entry_error_the_exit_code() {
    for (marker, result, exit) in
        [("1", "FAILURE", 1), ("130", "ABORTED", 1), ("1130", "FAILURE", 0), ("0", "SUCCESS", 0)]
    {
        let world = World::new();
        world.write("logs/marker-file.txt", marker);
        let status = world.sidecar(&world.spec(None), |o| o["entry_error"] = json!(true)).wait().unwrap();
        assert_eq!(status.code(), Some(exit), "{marker}");
        assert_eq!(world.json(&format!("{PERIODIC}/finished.json"))["result"], result);
        let log = world.read(&format!("{PERIODIC}/build-log.txt"));
        assert!(log.starts_with("Failed to open"), "{log}");
    }
}

#[test]
fn several_containers_have_logs_of_their_own() {
    let world = World::new();
    let entry = |name: &str, code: &str| {
        world.write(&format!("logs/{name}-log.txt"), &format!("log of {name}\n"));
        world.write(&format!("logs/{name}-marker.txt"), code);
        world.write(
            &format!("logs/artifacts/{name}-metadata.json"),
            &format!("{{\"{name}\": 1, \"last\": \"{name}\"}}"),
        );
        json!({"container_name": name, "process_log": world.path(&format!("logs/{name}-log.txt")),
            "marker_file": world.path(&format!("logs/{name}-marker.txt")),
            "metadata_file": world.path(&format!("logs/artifacts/{name}-metadata.json"))})
    };
    let entries = json!([entry("one", "0"), entry("two", "1")]);
    assert!(world.sidecar(&world.spec(None), |o| o["entries"] = entries).wait().unwrap().success());
    assert_eq!(world.read(&format!("{PERIODIC}/one-build-log.txt")), "log of one\n");
    assert_eq!(world.read(&format!("{PERIODIC}/two-build-log.txt")), "log of two\n");
    let finished = world.json(&format!("{PERIODIC}/finished.json"));
    assert_eq!(finished["metadata"], json!({"one": 1, "two": 1, "last": "two"}));
    assert_eq!(finished["result"], "FAILURE");
}
