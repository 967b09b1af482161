//! What only the store itself can be made to do: fail in the middle, and keep little.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::resources::find;

const OBJECT: usize = 200_000;
const OBJECTS_STORED: usize = 50;

fn open(dir: &Path, history_bytes: u64) -> Store {
    let settings = Settings { sync: false, history: 10_000, history_bytes, compact_above: u64::MAX };
    Store::open(dir, settings).unwrap()
}

/// Writes objects of one size whose text is `mark`.
fn fill(store: &Store, mark: char, count: usize, bytes: usize) {
    let maps = find("", "v1", "configmaps").unwrap();
    for i in 0..count {
        store
            .write_at_start(move |tx| {
                let name = format!("m{i:03}");
                let old = tx.get(maps, "n", &name)?;
                let text: String = std::iter::repeat_n(mark, bytes).collect();
                let new = json!({"metadata": {"namespace": "n", "name": name}, "data": {"text": text}});
                tx.put(maps, old.as_ref(), new).map(|_| ())
            })
            .unwrap();
    }
}

/// What the snapshot gives until it ends or refuses.
fn read(snapshot: &Snapshot) -> (Vec<Vec<u8>>, Result<(), StoreError>) {
    let maps = find("", "v1", "configmaps").unwrap();
    let mut found = Vec::new();
    let end = snapshot.scan(&prefix(maps, None), None, |_, object| {
        found.push(object.to_vec());
        true
    });
    (found, end)
}

#[test]
fn who_reads_across_a_failed_commit_gets_the_truth_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    fill(&store, 'a', OBJECTS_STORED, OBJECT);
    let (slow, page) = (store.snapshot().unwrap(), Arc::new(store.snapshot().unwrap()));
    store.pin(page.clone());
    let version = slow.version;
    let compaction = store.inner.opened().db.begin_read().unwrap();
    // Their pages are free as far as the newest state goes.
    fill(&store, 'b', OBJECTS_STORED, OBJECT);
    {
        let _commits = store.inner.commits.lock();
        store.inner.reopen().unwrap();
    }
    assert!(store.pinned(version).is_none(), "a later page would read what is written over");
    store.pin(page);
    assert!(store.pinned(version).is_none());
    fill(&store, 'c', OBJECTS_STORED, OBJECT);
    let (found, end) = read(&slow);
    for object in &found {
        let text = String::from_utf8_lossy(object);
        assert!(text.contains("aaaa") && !text.contains("bbbb"), "{}", &text[..100.min(text.len())]);
    }
    assert!(end.is_err() || found.len() == OBJECTS_STORED, "{} objects are not all", found.len());
    // A copy that was being made is given up: it would take the place of what is whole.
    let copy = Opened::of(backend::lock(&dir.path().join("copy")).unwrap(), false).unwrap();
    assert!(compact::copy_tables(&compaction, &copy.db).is_err());
    let (found, end) = read(&store.snapshot().unwrap());
    end.unwrap();
    assert_eq!(found.len(), OBJECTS_STORED);
    // The slow one does not keep the file from the next server either, and that one's writes are its own.
    drop(store);
    let next = open(dir.path(), MAX_HISTORY_BYTES);
    fill(&next, 'f', 1, OBJECT);
    drop(slow);
    drop(next);
    let (found, end) = read(&open(dir.path(), MAX_HISTORY_BYTES).snapshot().unwrap());
    end.unwrap();
    assert_eq!(found.len(), OBJECTS_STORED);
}

#[test]
fn readers_have_a_moment_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    fill(&store, 'a', OBJECTS_STORED, OBJECT);
    let snapshot = store.snapshot().unwrap();
    let old = store.inner.opened();
    let new = old.again().unwrap();
    store.inner.replace(new);
    // One who has begun reads to his end while the one who writes waits for him.
    let waiting = std::thread::spawn(move || old.end_after_readers(Duration::from_secs(60)));
    let (found, end) = read(&snapshot);
    end.unwrap();
    assert_eq!(found.len(), OBJECTS_STORED);
    drop(snapshot);
    waiting.join().unwrap();
}

#[test]
fn pages_are_kept_no_longer_than_the_history_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 50_000);
    fill(&store, 'a', 1, 1000);
    let page = Arc::new(store.snapshot().unwrap());
    let version = page.version;
    store.pin(page);
    fill(&store, 'b', 10, 1000);
    assert!(store.pinned(version).is_some());
    fill(&store, 'c', 60, 1000);
    assert!(store.snapshot().unwrap().oldest > version, "the history does not reach back");
    assert!(store.pinned(version).is_none(), "the file would grow for as long as nobody lists again");
}

#[tokio::test]
async fn a_linked_file_is_compacted_where_it_is() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (link, real) = (dir.path().join(FILE_NAME), elsewhere.path().join("big.redb"));
    std::fs::write(&real, "").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let store = open(dir.path(), MAX_HISTORY_BYTES);
    fill(&store, 'a', 3, 1000);
    store.compact().await.unwrap().unwrap();
    fill(&store, 'b', 1, 1000);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    let names = std::fs::read_dir(elsewhere.path()).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["big.redb"]);
    drop(store);
    let (found, end) = read(&open(dir.path(), MAX_HISTORY_BYTES).snapshot().unwrap());
    end.unwrap();
    assert_eq!(found.len(), 3);
}
