//! Order, retries, restarts and backlog of the dispatcher, with handlers that do what a test says.

use super::*;
use crate::journal::{Recovered, Retention};
use bytes::Bytes;
use prow_service::clock::ManualClock;
use std::path::Path;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// What a handler does when it is called.
#[derive(Debug, Clone)]
enum Does {
    Fail {
        may_pass: bool,
    },
    Panic,
    /// Until the token is cancelled.
    Wait(CancellationToken),
}

/// Handlers that do what a test says, and tell when they begin.
struct Script {
    does: Mutex<HashMap<(String, String), VecDeque<Does>>>,
    begun: UnboundedSender<(String, bool)>,
}

/// The payload is `subject handler,handler`; the GUID names the event.
struct Note {
    guid: String,
    subject: String,
    handlers: Vec<String>,
}

impl Work for Script {
    type Parsed = Note;

    fn parse(&self, delivery: Arc<Delivery>) -> Result<Note, String> {
        let text = std::str::from_utf8(&delivery.payload).map_err(|e| e.to_string())?;
        let (subject, handlers) = text.split_once(' ').ok_or("no handlers")?;
        Ok(Note {
            guid: delivery.guid.clone(),
            subject: subject.into(),
            handlers: handlers.split(',').filter(|h| !h.is_empty()).map(str::to_owned).collect(),
        })
    }

    fn plan(&self, note: &Note) -> Plan {
        assert_ne!(note.subject, "unplannable", "a bug in planning");
        let handler = |id: &String| HandlerPlan { id: id.clone(), lane: id.clone() };
        Plan { subject: note.subject.clone(), handlers: note.handlers.iter().map(handler).collect() }
    }

    fn run(
        self: Arc<Self>,
        note: Arc<Note>,
        handler: String,
        again: bool,
    ) -> BoxFuture<'static, Result<(), Failure>> {
        Box::pin(async move {
            let key = (note.guid.clone(), handler);
            self.begun.send((format!("{}:{}", key.0, key.1), again)).unwrap();
            let does = self.does.lock().get_mut(&key).and_then(VecDeque::pop_front);
            match does {
                None => Ok(()),
                Some(Does::Fail { may_pass }) => Err(Failure { message: "refused".into(), may_pass }),
                Some(Does::Panic) => panic!("a bug in {}", key.1),
                Some(Does::Wait(until)) => {
                    until.cancelled().await;
                    Ok(())
                }
            }
        })
    }
}

/// A dispatcher over a journal in a directory.
struct Rig {
    journal: Journal,
    work: Arc<Script>,
    dispatcher: Arc<Dispatcher<Script>>,
    clock: ManualClock,
    begun: UnboundedReceiver<(String, bool)>,
    waiting: Option<(Recovered, UnboundedReceiver<Arrival>)>,
    stop: CancellationToken,
}

impl Rig {
    fn open(dir: &Path) -> Rig {
        let clock = ManualClock::new(jiff::Timestamp::from_second(1_700_000_000).unwrap());
        let (arrived, arrivals) = unbounded_channel();
        // Time goes by fast here, and the tests look at what is through.
        let retention = Retention { done: Duration::from_secs(1 << 30), ..Retention::default() };
        let (journal, recovered) = Journal::open(dir, retention, clock.shared(), arrived).unwrap();
        let (begun_tx, begun) = unbounded_channel();
        let work = Arc::new(Script { does: Mutex::default(), begun: begun_tx });
        let options = DispatchOptions {
            workers: 4,
            handler_timeout: Duration::from_secs(900),
            grace_period: Duration::from_secs(10),
            retry: RetryPolicy { attempts: 3, ..RetryPolicy::default() },
        };
        let dispatcher =
            Dispatcher::new(Arc::clone(&work), journal.clone(), clock.shared(), options, recovered.failed);
        Rig {
            journal,
            work,
            dispatcher: Arc::new(dispatcher),
            clock,
            begun,
            waiting: Some((recovered, arrivals)),
            stop: CancellationToken::new(),
        }
    }

    fn run(&mut self) -> JoinHandle<()> {
        let (recovered, arrivals) = self.waiting.take().unwrap();
        let (dispatcher, stop) = (Arc::clone(&self.dispatcher), self.stop.clone());
        tokio::spawn(async move { dispatcher.run(recovered.open, arrivals, stop).await })
    }

    fn when(&self, guid: &str, handler: &str, does: impl IntoIterator<Item = Does>) {
        self.work.does.lock().insert((guid.into(), handler.into()), does.into_iter().collect());
    }

    async fn accept(&self, guid: &str, payload: &str) {
        let delivery = Delivery {
            guid: guid.into(),
            event: "push".into(),
            received: jiff::Timestamp::UNIX_EPOCH,
            headers: Vec::new(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        };
        self.journal.accept(Arc::new(delivery)).await.unwrap();
    }

    async fn begins(&mut self) -> String {
        self.begun.recv().await.unwrap().0
    }

    /// Lets time go by until every event is through.
    async fn settle(&self) {
        let time = async {
            loop {
                self.clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = self.journal.settled() => {}
            () = time => {}
        }
    }

    fn seen(&mut self) -> Vec<(String, bool)> {
        std::iter::from_fn(|| self.begun.try_recv().ok()).collect()
    }
}

#[tokio::test]
async fn a_lane_keeps_its_order_and_other_lanes_do_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(dir.path());
    let gate = CancellationToken::new();
    rig.when("1", "trigger", [Does::Wait(gate.clone())]);
    rig.run();
    rig.accept("1", "o/r#1 trigger").await;
    assert_eq!(rig.begins().await, "1:trigger");
    rig.accept("2", "o/r#1 trigger,cat").await;
    rig.accept("3", "o/r#2 trigger").await;
    let mut others = [rig.begins().await, rig.begins().await];
    others.sort();
    assert_eq!(others, ["2:cat", "3:trigger"], "another plugin and another pull request go on");
    assert!(rig.begun.try_recv().is_err(), "the same plugin and pull request wait");
    gate.cancel();
    assert_eq!(rig.begins().await, "2:trigger");
    rig.journal.settled().await;
}

#[tokio::test]
async fn failures_are_tried_again_a_few_times_then_parked() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(dir.path());
    let passing = Does::Fail { may_pass: true };
    rig.when("flaky", "trigger", [passing.clone(), Does::Panic]);
    rig.when("down", "trigger", vec![passing; 9]);
    rig.when("told", "cat", [Does::Fail { may_pass: false }]);
    rig.run();
    rig.accept("flaky", "o/r#1 trigger").await;
    rig.accept("down", "o/r#2 trigger").await;
    rig.accept("told", "o/r#3 cat").await;
    rig.settle().await;
    let seen = rig.seen();
    let tries =
        |of: &str| seen.iter().filter(|(who, _)| who == of).map(|(_, again)| *again).collect::<Vec<_>>();
    assert_eq!(tries("flaky:trigger"), [false, true, true]);
    assert_eq!(tries("down:trigger"), [false, true, true]);
    assert_eq!(tries("told:cat"), [false]);
    assert_eq!(rig.dispatcher.failed(), 2);
    rig.journal.flush().await.unwrap();
    let progress = |seq| rig.journal.load(seq).unwrap().unwrap().1;
    assert_eq!(progress(1)["trigger"], Progress::Done);
    assert_eq!(progress(2)["trigger"], Progress::Failed { attempts: 3, error: "refused".into() });
}

#[tokio::test]
async fn a_handler_that_hangs_is_given_up_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(dir.path());
    rig.when("1", "trigger", [Does::Wait(CancellationToken::new())]);
    rig.run();
    rig.accept("1", "o/r#1 trigger").await;
    rig.settle().await;
    assert_eq!(rig.seen(), [("1:trigger".to_owned(), false), ("1:trigger".to_owned(), true)]);
}

#[tokio::test]
async fn what_was_accepted_and_not_handled_is_handled_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let rig = Rig::open(dir.path());
        rig.accept("1", "o/r#1 trigger").await;
        rig.accept("2", "o/r#1 trigger").await;
    }
    let mut rig = Rig::open(dir.path());
    rig.run();
    rig.settle().await;
    assert_eq!(rig.seen(), [("1:trigger".to_owned(), true), ("2:trigger".to_owned(), true)]);
}

#[tokio::test]
async fn after_a_restart_only_those_handle_an_event_who_had_not() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut rig = Rig::open(dir.path());
        rig.when("1", "trigger", [Does::Wait(CancellationToken::new())]);
        let running = rig.run();
        rig.accept("1", "o/r#1 cat,trigger").await;
        let mut begun = [rig.begins().await, rig.begins().await];
        begun.sort();
        assert_eq!(begun, ["1:cat", "1:trigger"]);
        rig.stop.cancel();
        let grace = async {
            loop {
                rig.clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = running => ended.unwrap(),
            () = grace => {}
        }
        rig.journal.flush().await.unwrap();
    }
    let mut rig = Rig::open(dir.path());
    rig.run();
    rig.settle().await;
    assert_eq!(rig.seen(), [("1:trigger".to_owned(), true)]);
}

#[tokio::test]
async fn a_backlog_is_kept_on_disk_and_handled_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let count = HELD + 50;
    let mut rig = Rig::open(dir.path());
    let gate = CancellationToken::new();
    rig.when("0", "trigger", [Does::Wait(gate.clone())]);
    rig.run();
    let guids: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    for chunk in guids.chunks(256) {
        futures::future::join_all(chunk.iter().map(|guid| rig.accept(guid, "o/r#1 trigger"))).await;
    }
    gate.cancel();
    for guid in &guids {
        assert_eq!(rig.begins().await, format!("{guid}:trigger"));
    }
    rig.journal.settled().await;
}

#[tokio::test]
async fn what_nobody_can_read_is_parked() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(dir.path());
    rig.run();
    rig.accept("1", "nonsense").await;
    rig.accept("2", "o/r#1 ").await;
    rig.journal.settled().await;
    assert_eq!((rig.dispatcher.failed(), rig.seen()), (1, vec![]));
}

#[test]
fn pauses_double_up_to_a_limit() {
    let policy = RetryPolicy::default();
    for (failed, may_pass, expected) in
        [(1, true, Some(1)), (2, true, Some(2)), (7, true, Some(60)), (8, true, None), (1, false, None)]
    {
        assert_eq!(policy.after(failed, may_pass), expected.map(Duration::from_secs), "{failed} {may_pass}");
    }
}

#[tokio::test]
async fn an_event_that_makes_the_reader_panic_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(dir.path());
    rig.run();
    rig.accept("bad", "unplannable a").await;
    rig.accept("good", "pr a").await;
    assert_eq!(rig.begins().await, "good:a");
    rig.journal.settled().await;
    assert_eq!(rig.dispatcher.failed(), 1, "kept and counted");
}

#[tokio::test]
async fn a_plugin_that_hangs_keeps_no_other_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(dir.path());
    rig.run();
    // As many as may run at a time.
    for n in 0..4 {
        let guid = format!("hangs{n}");
        rig.when(&guid, "slow", [Does::Wait(CancellationToken::new())]);
        rig.accept(&guid, &format!("pr{n} slow")).await;
        rig.begins().await;
    }
    rig.accept("e", "pr0 quick").await;
    assert_eq!(rig.begins().await, "e:quick");
}
