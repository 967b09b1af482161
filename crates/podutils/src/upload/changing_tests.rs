//! Files that change while they go up: a job may still be writing, or play tricks.

use super::tests::{host, spec};
use super::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::Arc;

fn source(dir: &Path) -> Source {
    let root = Arc::new(Beneath::directory(dir).unwrap());
    Source::File { root, path: "f".into(), censor: None }
}

/// What is read of a file that changes after it was opened.
fn read(before: usize, change: impl FnOnce(&Path)) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, vec![b'x'; before]).unwrap();
    let opened = source(dir.path()).open().unwrap();
    change(&path);
    let mut out = Vec::new();
    opened.copy_to(&mut out).unwrap();
    out.len()
}

#[test]
fn a_file_is_read_up_to_the_length_it_had_when_it_was_opened() {
    let grow = |path: &Path| {
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(&[b'y'; 500_000]).unwrap();
    };
    let shrink = |path: &Path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap();
    assert_eq!(read(1_000_000, grow), 1_000_000);
    assert_eq!(read(1_000_000, shrink), 100, "what is left of it");
    assert_eq!(read(1_000_000, |path| fs::remove_file(path).unwrap()), 1_000_000, "it is still open");
    assert_eq!(read(1_000_000, |path| fs::write(path, "").unwrap()), 0);
}

#[tokio::test]
async fn what_vanishes_or_becomes_something_else_is_not_tried_again_and_the_rest_arrives() {
    let bucket = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let (host, slept) = host();
    let mut options = GcsUploadOptions::default();
    options.gcs.bucket = format!("file://{}", bucket.path().display());
    options.gcs.path_strategy = "explicit".into();
    let uploader = Uploader::new(&options, &spec(), &host).unwrap();
    fs::write(files.path().join("other"), "own credentials").unwrap();
    let changes: [fn(&Path); 4] = [
        |_| {},
        |path| symlink("../other", path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
    ];
    let mut targets = Vec::new();
    for (n, change) in changes.iter().enumerate() {
        let dir = files.path().join(n.to_string());
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("f"), "x").unwrap();
        targets.push(uploader.target(&format!("artifacts/{n}"), source(&dir)));
        fs::remove_file(dir.join("f")).unwrap();
        change(&dir.join("f"));
    }
    let good = files.path().join("good");
    fs::create_dir(&good).unwrap();
    fs::write(good.join("f"), "good").unwrap();
    targets.push(uploader.target("artifacts/good", source(&good)));
    assert_eq!(uploader.upload(targets).await, changes.len());
    assert!(slept.lock().unwrap().is_empty(), "trying again would not help");
    let names: Vec<_> = fs::read_dir(bucket.path().join("logs/nightly/7/artifacts"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["good"]);
}

#[tokio::test]
async fn files_that_cannot_be_read_do_not_count_as_storage_that_is_down() {
    let bucket = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("f"), "x").unwrap();
    let (host, slept) = host();
    let mut options = GcsUploadOptions::default();
    options.gcs.bucket = format!("file://{}", bucket.path().display());
    options.gcs.path_strategy = "explicit".into();
    let uploader = Uploader::new(&options, &spec(), &host).unwrap();
    let root = Arc::new(Beneath::directory(files.path()).unwrap());
    // A file where a directory was: an error like any that a disk may have.
    let broken = Source::File { root, path: "f/gone".into(), censor: None };
    let count = 2 * DOWN_AFTER;
    let mut targets: Vec<Target> =
        (0..count).map(|n| uploader.target(&format!("artifacts/{n}"), broken.clone())).collect();
    targets.push(uploader.target("artifacts/good", source(files.path())));
    assert_eq!(uploader.upload(targets).await, count);
    assert_eq!(slept.lock().unwrap().len(), 3 * count, "each was tried four times");
    assert!(bucket.path().join("logs/nightly/7/artifacts/good").exists());
}
