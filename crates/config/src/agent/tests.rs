//! Real files, real notifications; waiting is for the change itself.

use super::*;
use std::fs;

const CONFIG: &str = "plank:\n  max_concurrency: 1\n";

fn job(name: &str) -> String {
    format!("periodics:\n- name: {name}\n  interval: 1h\n  spec:\n    containers:\n    - image: i\n")
}

fn tree() -> (tempfile::TempDir, LoadOptions) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.yaml"), CONFIG).unwrap();
    fs::create_dir_all(dir.path().join("jobs/deep/er")).unwrap();
    fs::write(dir.path().join("jobs/deep/er/a.yaml"), job("one")).unwrap();
    let options = LoadOptions {
        config_path: dir.path().join("config.yaml"),
        job_config_path: Some(dir.path().join("jobs")),
        ..LoadOptions::default()
    };
    (dir, options)
}

fn name(snapshot: &Snapshot) -> String {
    snapshot.jobs.periodics[0].base.name.clone()
}

#[tokio::test]
async fn a_nested_edit_becomes_a_new_snapshot() {
    let (dir, options) = tree();
    let (handle, agent) = Agent::start(options).unwrap();
    let old = handle.snapshot();
    assert_eq!(name(&old), "one");
    let mut changes = handle.changes();
    fs::write(dir.path().join("jobs/deep/er/a.yaml"), job("another")).unwrap();
    changes.changed().await.unwrap();
    assert_eq!((name(&old), name(&handle.snapshot())), ("one".into(), "another".into()));
    drop(agent);
    assert!(changes.changed().await.is_err(), "the feed ends with the agent");
    assert_eq!(name(&handle.snapshot()), "another");
}

#[tokio::test]
async fn a_broken_tree_leaves_the_last_good_snapshot() {
    let (dir, options) = tree();
    let (handle, agent) = Agent::start(options).unwrap();
    let file = dir.path().join("jobs/deep/er/a.yaml");
    fs::write(&file, "periodics: [{name: broken}]\n").unwrap();
    let errors = agent.reload().unwrap_err();
    assert!(errors.to_string().contains("a.yaml:1:"), "{errors}");
    assert_eq!(name(&handle.snapshot()), "one");
    fs::write(&file, job("mended")).unwrap();
    agent.reload().unwrap();
    assert_eq!(name(&handle.snapshot()), "mended");
}

#[cfg(unix)]
#[tokio::test]
async fn a_configmap_flip_is_seen_whole() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |p: &str| dir.path().join(p);
    for (generation, name) in [("..1", "one"), ("..2", "two")] {
        fs::create_dir(at(generation)).unwrap();
        fs::write(at(generation).join("config.yaml"), CONFIG).unwrap();
        fs::write(at(generation).join("jobs.yaml"), job(name)).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/config.yaml", at("config.yaml")).unwrap();
    symlink("..data/jobs.yaml", at("jobs.yaml")).unwrap();
    fs::create_dir(at("jobs")).unwrap();
    symlink("../..data/jobs.yaml", at("jobs/jobs.yaml")).unwrap();
    let options = LoadOptions {
        config_path: at("config.yaml"),
        job_config_path: Some(at("jobs")),
        ..LoadOptions::default()
    };
    let (handle, _agent) = Agent::start(options).unwrap();
    assert_eq!(name(&handle.snapshot()), "one");
    let mut changes = handle.changes();
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    changes.changed().await.unwrap();
    assert_eq!(name(&handle.snapshot()), "two");
}

/// Two files that belong together, behind one link that is flipped at any moment of a load.
#[cfg(unix)]
#[test]
fn a_link_that_is_flipped_under_load_gives_one_tree_or_the_other() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |p: &str| dir.path().join(p);
    for tree in ["one", "two"] {
        fs::create_dir_all(at(tree).join("jobs")).unwrap();
        fs::write(at(tree).join("config.yaml"), format!("pod_namespace: {tree}\n")).unwrap();
        for file in 0..20 {
            let path = at(tree).join(format!("jobs/{file}.yaml"));
            fs::write(path, job(&format!("{tree}-{file}"))).unwrap();
        }
    }
    symlink("one", at("tree")).unwrap();
    let options = LoadOptions {
        config_path: at("tree/config.yaml"),
        job_config_path: Some(at("tree/jobs")),
        ..LoadOptions::default()
    };
    let mut reader = Reader::default();
    let mut current = "one";
    for round in 0..60_u32 {
        // Once, or there and back, or there and back and there, at other moments of the load in each round; which
        // ones does not matter.
        let mut flips = Vec::new();
        for flip in 0..=round % 3 {
            current = if current == "one" { "two" } else { "one" };
            symlink(current, at(&format!("next{flip}"))).unwrap();
            flips.push(at(&format!("next{flip}")));
        }
        let snapshot = thread::scope(|scope| {
            let flip = scope.spawn(|| {
                for next in &flips {
                    (0..round * 1500).for_each(|i| {
                        std::hint::black_box(i);
                    });
                    fs::rename(next, at("tree")).unwrap();
                }
            });
            let result = reader.load(&options);
            flip.join().unwrap();
            result.unwrap()
        });
        let tree = &snapshot.prow.pod_namespace;
        assert_eq!(snapshot.jobs.len(), 20);
        for job in &snapshot.jobs.periodics {
            assert!(job.base.name.starts_with(tree.as_str()), "{} under {tree}", job.base.name);
        }
        assert_eq!(reader.load(&options).unwrap().prow.pod_namespace, current);
    }
}

#[tokio::test]
async fn the_feed_says_what_changed_and_what_changed_in_vain() {
    let (dir, options) = tree();
    let (handle, agent) = Agent::start(options).unwrap();
    let mut feed = handle.feed();
    fs::write(dir.path().join("jobs/deep/er/b.yaml"), job("two")).unwrap();
    agent.reload().unwrap();
    let change = feed.next().await.unwrap();
    assert_eq!(change.jobs.added[0].to_string(), "periodic two");
    assert!(change.needs_restart.is_empty() && change.old.jobs.len() + 1 == change.new.jobs.len());
    fs::write(dir.path().join("config.yaml"), "pod_namespace: elsewhere\n").unwrap();
    agent.reload().unwrap();
    let change = feed.next().await.unwrap();
    assert_eq!(change.jobs.altered.len(), 2, "every job has its namespace from config.yaml");
    let told = change.needs_restart[0].to_string();
    assert!(
        told.starts_with("pod_namespace: it was \"default\"") && told.contains("\"elsewhere\""),
        "{told}"
    );
    assert_eq!(feed.known().prow.pod_namespace, "elsewhere");
    drop(agent);
    // The thread may have found the file again before it ended; after that nothing comes.
    while feed.next().await.is_some() {}
}

#[test]
fn loading_is_counted() {
    let (dir, options) = tree();
    let (handle, agent) = Agent::start(options).unwrap();
    let first = handle.reload_stats();
    assert!(first.attempts == 1 && first.failures == 0 && first.last_error.is_none(), "{first:?}");
    assert!(first.last_success_unix > 1_700_000_000);
    fs::write(dir.path().join("config.yaml"), "plank: [\n").unwrap();
    agent.reload().unwrap_err();
    let failed = handle.reload_stats();
    assert!(failed.failures >= 1 && failed.attempts > first.attempts, "{failed:?}");
    assert!(failed.last_error.unwrap().contains("config.yaml"));
    fs::write(dir.path().join("config.yaml"), CONFIG).unwrap();
    agent.reload().unwrap();
    let mended = handle.reload_stats();
    assert!(mended.last_error.is_none() && mended.attempts > failed.attempts);
    assert_eq!(Handle::fixed(Snapshot::default()).reload_stats(), ReloadStats::default());
}

#[test]
fn a_fixed_handle_stays() {
    let handle = Handle::fixed(Snapshot::default());
    assert!(handle.snapshot().jobs.is_empty());
    assert!(!handle.changes().has_changed().unwrap());
}

#[test]
fn the_first_load_must_succeed() {
    let options = LoadOptions { config_path: "/nowhere/config.yaml".into(), ..LoadOptions::default() };
    assert!(Agent::start(options).unwrap_err().to_string().contains("/nowhere/config.yaml"));
}

#[test]
fn looking_at_the_tree_is_no_change() {
    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, ModifyKind, RenameMode};
    use notify::{Event, EventKind};
    for (kind, changes) in [
        (EventKind::Access(AccessKind::Open(AccessMode::Any)), false),
        (EventKind::Access(AccessKind::Close(AccessMode::Read)), false),
        (EventKind::Create(CreateKind::File), true),
        (EventKind::Modify(ModifyKind::Data(DataChange::Any)), true),
        (EventKind::Modify(ModifyKind::Name(RenameMode::To)), true),
        (EventKind::Any, true),
    ] {
        assert_eq!(tells_of_a_change(&Ok(Event::new(kind))), changes, "{kind:?}");
    }
    assert!(tells_of_a_change(&Err(notify::Error::generic("queue overflow"))));
}
