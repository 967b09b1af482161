//! `file://` buckets through the public API.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use prow_storage::{Attributes, Bucket, Opener, StorageError, StorageOptions};
use std::path::Path;

fn open(dir: &Path) -> Bucket {
    Opener::new(StorageOptions::default()).open_str(&format!("file://{}", dir.display())).unwrap()
}

async fn put(bucket: &Bucket, name: &str, text: &str) {
    bucket.put_bytes(name, Bytes::from(text.to_owned()), &Attributes::default()).await.unwrap();
}

#[tokio::test]
async fn objects_are_plain_files_and_attributes_lie_apart() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open(&dir.path().join("made/on/demand"));
    let gzip = Attributes {
        content_encoding: Some("gzip".into()),
        ..Attributes::content_type("text/plain; charset=utf-8")
    }
    .with_metadata("link", "gs://b/x");
    bucket.put_bytes("logs/job/1/build-log.txt", "hello".into(), &gzip).await.unwrap();
    put(&bucket, "logs/job/1/started.json", "{}").await;
    let root = dir.path().join("made/on/demand");
    let mut names: Vec<_> =
        std::fs::read_dir(root.join("logs/job/1")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["build-log.txt", "started.json"]);

    let meta = bucket.head("logs/job/1/build-log.txt").await.unwrap();
    assert_eq!((meta.size, &meta.attributes), (5, &gzip));
    let meta = bucket.head("logs/job/1/started.json").await.unwrap();
    assert_eq!(meta.attributes, Attributes::content_type("application/json"));
    // Written anew without attributes, the old ones are gone.
    put(&bucket, "logs/job/1/build-log.txt", "plain").await;
    let meta = bucket.head("logs/job/1/build-log.txt").await.unwrap();
    assert_eq!(meta.attributes, Attributes::content_type("text/plain; charset=utf-8"));
    bucket.delete("logs/job/1/build-log.txt").await.unwrap();
    bucket.delete("logs/job/1/build-log.txt").await.unwrap();
    assert!(!bucket.exists("logs/job/1/build-log.txt").await.unwrap());
}

#[tokio::test]
async fn reads_are_whole_or_in_ranges_and_absence_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open(dir.path());
    put(&bucket, "a/b.txt", "0123456789").await;
    assert_eq!(bucket.get_bytes("a/b.txt", 10).await.unwrap(), "0123456789");
    assert!(matches!(bucket.get_bytes("a/b.txt", 9).await, Err(StorageError::TooLarge { limit: 9, .. })));
    for (range, expected) in [(2..5, "234"), (8..100, "89"), (10..12, ""), (50..60, ""), (3..3, "")] {
        assert_eq!(bucket.get_range("a/b.txt", range.clone()).await.unwrap(), expected, "{range:?}");
    }
    for name in ["nope", "a", "a/b.txt/c"] {
        let error = bucket.get(name).await.map(|_| ()).unwrap_err();
        assert!(error.is_not_found(), "{name}: {error}");
        assert!(error.to_string().contains(name) && error.to_string().contains("file://"), "{error}");
        assert!(!bucket.exists(name).await.unwrap());
    }
}

#[tokio::test]
async fn a_stream_that_fails_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open(dir.path());
    put(&bucket, "x.txt", "old").await;
    let pieces: Vec<std::io::Result<Bytes>> = vec![Ok("new".into()), Err(std::io::Error::other("torn"))];
    let error =
        bucket.put_stream("x.txt", futures::stream::iter(pieces), &Attributes::default()).await.unwrap_err();
    assert!(matches!(&error, StorageError::Source { .. }), "{error}");
    assert_eq!(bucket.get_bytes("x.txt", 10).await.unwrap(), "old");
    assert_eq!(std::fs::read_dir(dir.path().join(".prow/staging")).unwrap().count(), 0, "no leftovers");
}

#[tokio::test]
async fn names_that_no_disk_takes_are_refused_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open(dir.path());
    put(&bucket, "file", "x").await;
    put(&bucket, "directory/file", "x").await;
    for name in ["a".repeat(256), "file/below".to_owned(), "directory".to_owned()] {
        let attributes = Attributes::content_type("text/x-unusual");
        let error = bucket.put_bytes(&name, "y".into(), &attributes).await.unwrap_err();
        assert!(error.is_permanent(), "{name}: {error}");
    }
}

#[tokio::test]
async fn what_a_killed_writer_left_is_removed_and_what_is_being_written_stays() {
    let dir = tempfile::tempdir().unwrap();
    let staging = dir.path().join(".prow/staging");
    std::fs::create_dir_all(&staging).unwrap();
    std::fs::write(staging.join("fresh"), "half").unwrap();
    let old = std::fs::File::create(staging.join("old")).unwrap();
    old.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 24 * 60 * 60))
        .unwrap();
    put(&open(dir.path()), "x.txt", "new").await;
    let left: Vec<_> = std::fs::read_dir(&staging).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["fresh"]);
}

#[tokio::test]
async fn only_one_of_many_creates_an_object() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open(dir.path());
    let writes =
        (0..16).map(|n| {
            let bucket = bucket.clone();
            async move {
                bucket.put_if_absent("one.txt", n.to_string().into(), &Attributes::default()).await.unwrap()
            }
        });
    let written = futures::future::join_all(writes).await;
    assert_eq!(written.iter().filter(|w| **w).count(), 1);
    let winner = written.iter().position(|w| *w).unwrap();
    assert_eq!(bucket.get_bytes("one.txt", 10).await.unwrap(), winner.to_string());
}

#[tokio::test]
async fn levels_are_listed_with_prefixes_and_trees_whole() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open(dir.path());
    let encoded = Attributes { content_encoding: Some("gzip".into()), ..Attributes::default() };
    bucket.put_bytes("top.txt", "x".into(), &encoded).await.unwrap();
    for name in ["logs/a/1/x.txt", "logs/a/2/x.txt", "logs/a/latest-build.txt", "logs/b/1/x.txt"] {
        put(&bucket, name, "x").await;
    }
    let root = bucket.list("").await.unwrap();
    assert_eq!(root.prefixes, ["logs/"], "our own directory is not shown");
    assert_eq!(root.objects[0].name, "top.txt");
    for prefix in ["logs/a", "logs/a/"] {
        let level = bucket.list(prefix).await.unwrap();
        assert_eq!(level.prefixes, ["logs/a/1/", "logs/a/2/"]);
        assert_eq!(
            level.objects.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(),
            ["logs/a/latest-build.txt"]
        );
    }
    assert_eq!(bucket.list("logs/none").await.unwrap(), prow_storage::Listing::default());
    let mut all: Vec<String> = bucket.list_all("logs").map_ok(|o| o.name).try_collect().await.unwrap();
    all.sort();
    assert_eq!(all, ["logs/a/1/x.txt", "logs/a/2/x.txt", "logs/a/latest-build.txt", "logs/b/1/x.txt"]);
    assert_eq!(bucket.list_all("").count().await, 5);
}

#[tokio::test]
async fn the_longest_names_keep_their_attributes() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open(dir.path());
    let odd = Attributes::content_type("my/type");
    for name in ["x".repeat(255), "x".repeat(251), format!("a/b/{}", "ü".repeat(127)), "y".repeat(250)] {
        bucket.put_bytes(&name, "content".into(), &odd).await.unwrap();
        assert_eq!(bucket.head(&name).await.unwrap().attributes, odd);
        bucket.delete(&name).await.unwrap();
        put(&bucket, &name, "plain").await;
        assert_eq!(bucket.head(&name).await.unwrap().attributes, Attributes::default());
    }
}

#[tokio::test]
async fn nothing_outside_the_directory_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("bucket");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::write(dir.path().join("outside"), "secret").unwrap();
    std::os::unix::fs::symlink(dir.path(), root.join("up")).unwrap();
    std::os::unix::fs::symlink("../outside", root.join("link")).unwrap();
    let bucket = open(&root);
    for name in
        ["../outside", "a/../../outside", "/etc/passwd", "a//b", "", "a/", "a\nb", ".prow/attributes/x"]
    {
        assert!(matches!(bucket.get(name).await.map(|_| ()), Err(StorageError::BadName { .. })), "{name:?}");
        let wrote = bucket.put_bytes(name, "x".into(), &Attributes::default()).await;
        assert!(matches!(wrote, Err(StorageError::BadName { .. })), "{name:?}");
    }
    for name in ["up/outside", "link"] {
        assert!(matches!(bucket.get(name).await.map(|_| ()), Err(StorageError::Denied { .. })), "{name}");
    }
    let wrote = bucket.put_bytes("up/planted/x", "x".into(), &Attributes::default()).await;
    assert!(matches!(wrote, Err(StorageError::Denied { .. })), "{wrote:?}");
    assert!(!dir.path().join("planted").exists());
    assert!(bucket.list("").await.unwrap().prefixes.iter().all(|p| p != "up/"));
}
