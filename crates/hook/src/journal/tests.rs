//! The journal over restarts, duplicates, pruning and a disk that fails.

use super::*;
use prow_service::clock::ManualClock;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::unbounded_channel;

fn delivery(guid: &str) -> Arc<Delivery> {
    Arc::new(Delivery {
        guid: guid.into(),
        event: "push".into(),
        received: Timestamp::UNIX_EPOCH,
        headers: vec![("x-github-event".into(), "push".into())],
        payload: Bytes::from_static(b"{\"a\":\n1}"),
    })
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap())
}

fn open(
    dir: &Path,
    clock: &ManualClock,
) -> (Journal, Recovered, tokio::sync::mpsc::UnboundedReceiver<Arrival>) {
    let (tx, rx) = unbounded_channel();
    let (journal, recovered) = Journal::open(dir, Retention::default(), clock.shared(), tx).unwrap();
    (journal, recovered, rx)
}

#[tokio::test]
async fn what_was_accepted_is_there_after_reopening_until_it_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    {
        let (journal, recovered, mut arrivals) = open(dir.path(), &clock);
        assert!(recovered.open.is_empty());
        assert_eq!(journal.accept(delivery("a")).await.unwrap(), Accepted::New(1));
        assert_eq!(journal.accept(delivery("b")).await.unwrap(), Accepted::New(2));
        assert_eq!(arrivals.recv().await.unwrap().seq, 1);
        journal.note(1, "trigger", Progress::Done);
        journal.note(2, "cat", Progress::Failed { attempts: 3, error: "down".into() });
        journal.finish(1, false);
    }
    let (journal, recovered, _arrivals) = open(dir.path(), &clock);
    assert_eq!((recovered.open, recovered.failed), (vec![2], 1));
    let (back, progress) = journal.load(2).unwrap().unwrap();
    assert_eq!(back, *delivery("b"));
    assert_eq!(
        progress,
        BTreeMap::from([("cat".to_owned(), Progress::Failed { attempts: 3, error: "down".into() })])
    );
    assert_eq!(journal.load(1).unwrap().unwrap().1.get("trigger"), Some(&Progress::Done));
    assert_eq!(journal.accept(delivery("c")).await.unwrap(), Accepted::New(3), "numbers go on rising");
}

#[tokio::test]
async fn a_guid_is_queued_again_only_when_it_is_through() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, mut arrivals) = open(dir.path(), &clock());
    let (first, second) = tokio::join!(journal.accept(delivery("a")), journal.accept(delivery("a")));
    assert_eq!((first.unwrap(), second.unwrap()), (Accepted::New(1), Accepted::StillOpen(1)));
    journal.finish(1, false);
    assert_eq!(journal.accept(delivery("a")).await.unwrap(), Accepted::New(2));
    let mut arrival = async || arrivals.recv().await.map(|a| (a.seq, a.again)).unwrap();
    assert_eq!((arrival().await, arrival().await), ((1, false), (2, true)));
    assert!(arrivals.try_recv().is_err(), "the duplicate was not dispatched");
}

#[tokio::test]
async fn finished_events_go_after_the_retention_open_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let (journal, _, _arrivals) = open(dir.path(), &clock);
    journal.accept(delivery("old")).await.unwrap();
    journal.note(1, "trigger", Progress::Done);
    journal.finish(1, false);
    journal.accept(delivery("stuck")).await.unwrap();
    journal.accept(delivery("parked")).await.unwrap();
    journal.finish(3, true);
    let kept = |journal: &Journal| [1, 2, 3].map(|seq| journal.load(seq).unwrap().is_some());
    for (hours, name, expected) in
        [(0, "a", [true, true, true]), (2, "b", [false, true, true]), (7 * 24, "c", [false, true, false])]
    {
        clock.advance(Duration::from_secs(hours * 3600 + 1));
        journal.accept(delivery(name)).await.unwrap();
        assert_eq!(kept(&journal), expected, "after {hours} more hours");
    }
    assert_eq!(journal.open_now(), 4);
}

#[tokio::test]
async fn two_hooks_cannot_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, _, _arrivals) = open(dir.path(), &clock());
    let (tx, _rx) = unbounded_channel();
    let refused = Journal::open(dir.path(), Retention::default(), clock().shared(), tx).err().unwrap();
    assert!(matches!(refused, Error::JournalInUse { .. }), "{refused}");
}

/// Memory that refuses to sync while told to.
#[derive(Debug)]
struct FailingDisk(redb::backends::InMemoryBackend, Arc<AtomicBool>);

impl redb::StorageBackend for FailingDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        if self.1.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("no space left on device"));
        }
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

#[tokio::test]
async fn what_cannot_be_synced_is_not_accepted_and_not_dispatched() {
    let fails = Arc::new(AtomicBool::new(false));
    let disk = FailingDisk(redb::backends::InMemoryBackend::new(), fails.clone());
    let (tx, mut arrivals) = unbounded_channel();
    let (journal, _) = Journal::on(disk, clock().shared(), tx).unwrap();
    journal.accept(delivery("a")).await.unwrap();
    assert!(arrivals.recv().await.is_some());
    fails.store(true, Ordering::SeqCst);
    let refused = journal.accept(delivery("b")).await.unwrap_err().to_string();
    assert!(refused.contains("webhook journal") && refused.contains("no space left"), "{refused}");
    assert!(arrivals.try_recv().is_err());
}

proptest::proptest! {
    #[test]
    fn a_delivery_is_read_as_it_was_written(
        guid in ".*", event in ".*", name in ".*", value in ".*", payload: Vec<u8>, second in 0i64..1 << 33,
    ) {
        let delivery = Delivery {
            guid,
            event,
            received: Timestamp::from_second(second).unwrap(),
            headers: vec![(name, value)],
            payload: payload.into(),
        };
        proptest::prop_assert_eq!(Delivery::decode(&delivery.encode().unwrap()), Ok(delivery));
    }

    #[test]
    fn no_record_makes_the_reader_panic(record: Vec<u8>) {
        let _ = Delivery::decode(&record);
    }
}
