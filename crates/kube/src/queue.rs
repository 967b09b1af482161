//! A controller's work queue: names to look at, each once however often it was added, never twice at the same
//! time, again after a while when asked, and with growing pauses after failures.

use prow_service::clock::SharedClock;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// First pause after a failure; it doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(5);
/// Longest pause after failures.
const LAST_BACKOFF: Duration = Duration::from_secs(300);

/// What to do with a name after it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing until it changes.
    Done,
    /// Look again after this long, unless it changes before.
    After(Duration),
    /// It failed (and the failure was logged): look again after a pause that doubles each time.
    Failed,
}

/// The queue. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    state: parking_lot::Mutex<State>,
    wake: Notify,
    clock: SharedClock,
}

#[derive(Default)]
struct State {
    ready: VecDeque<String>,
    queued: HashSet<String>,
    running: HashSet<String>,
    // added while running: look again when it is done
    again: HashSet<String>,
    failures: HashMap<String, u32>,
    delayed: BTreeSet<(jiff::Timestamp, String)>,
    // of each name in `delayed`, when: at most one delay a name, or every change would add one for ever
    due: HashMap<String, jiff::Timestamp>,
    // when the clock was last looked at
    seen: Option<jiff::Timestamp>,
}

impl State {
    fn delay(&mut self, name: &str, due: jiff::Timestamp) {
        self.forget_delay(name);
        self.due.insert(name.to_owned(), due);
        self.delayed.insert((due, name.to_owned()));
    }

    fn forget_delay(&mut self, name: &str) {
        if let Some(due) = self.due.remove(name) {
            self.delayed.remove(&(due, name.to_owned()));
        }
    }

    /// A clock that was set back takes the delays along: none gets longer than it was.
    fn follow(&mut self, now: jiff::Timestamp) {
        let back = self.seen.replace(now).map(|seen| seen.duration_since(now));
        if let Some(back) = back.filter(|back| back.is_positive()) {
            self.delayed =
                std::mem::take(&mut self.delayed).into_iter().map(|(due, name)| (due - back, name)).collect();
            self.due = self.delayed.iter().map(|(due, name)| (name.clone(), *due)).collect();
        }
    }
}

impl Queue {
    /// An empty queue.
    pub fn new(clock: SharedClock) -> Queue {
        Queue { inner: Arc::new(Inner { state: parking_lot::Mutex::default(), wake: Notify::new(), clock }) }
    }

    /// Look at `name` as soon as possible.
    pub fn add(&self, name: &str) {
        let mut state = self.inner.state.lock();
        if state.running.contains(name) {
            state.again.insert(name.to_owned());
        } else if state.queued.insert(name.to_owned()) {
            state.ready.push_back(name.to_owned());
        }
        drop(state);
        self.inner.wake.notify_one();
    }

    fn add_after(&self, name: &str, pause: Duration) {
        let due = self.inner.clock.now() + pause;
        self.inner.state.lock().delay(name, due);
        self.inner.wake.notify_one();
    }

    /// Nothing is waiting, delayed or running.
    pub fn is_idle(&self) -> bool {
        let state = self.inner.state.lock();
        state.ready.is_empty() && state.running.is_empty() && state.delayed.is_empty()
    }

    /// Takes names and looks at them, at most `workers` at a time, until `stop` resolves; then waits for those
    /// under way.
    pub async fn run<F, Fut>(&self, workers: usize, stop: impl Future<Output = ()>, look: F)
    where
        F: Fn(String) -> Fut,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let mut tasks = tokio::task::JoinSet::new();
        tokio::pin!(stop);
        loop {
            let free = tasks.len() < workers;
            let pause = self.promote();
            let next = if free { self.take() } else { None };
            if let Some(name) = next {
                let queue = self.clone();
                let work = look(name.clone());
                tasks.spawn(async move {
                    // A panic in a reconcile must not lose the name: it counts as a failure.
                    let outcome = match tokio::spawn(work).await {
                        Ok(outcome) => outcome,
                        Err(error) => {
                            tracing::error!(%name, %error, "reconcile panicked");
                            Outcome::Failed
                        }
                    };
                    queue.finish(&name, outcome);
                });
                continue;
            }
            let timer = async {
                match pause {
                    Some(pause) => self.inner.clock.sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut stop => break,
                () = self.inner.wake.notified() => {}
                () = timer => {}
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Moves what is due to the ready list; tells how long until the next one is.
    fn promote(&self) -> Option<Duration> {
        let now = self.inner.clock.now();
        let mut state = self.inner.state.lock();
        state.follow(now);
        while let Some((due, name)) = state.delayed.first().cloned() {
            if due > now {
                return Some(Duration::try_from(due.duration_since(now)).unwrap_or_default());
            }
            state.delayed.pop_first();
            state.due.remove(&name);
            if state.queued.insert(name.clone()) {
                state.ready.push_back(name);
            }
        }
        None
    }

    fn take(&self) -> Option<String> {
        let mut state = self.inner.state.lock();
        let name = state.ready.pop_front()?;
        state.queued.remove(&name);
        // This look decides anew when the next one is.
        state.forget_delay(&name);
        state.running.insert(name.clone());
        Some(name)
    }

    fn finish(&self, name: &str, outcome: Outcome) {
        let mut state = self.inner.state.lock();
        state.running.remove(name);
        let again = state.again.remove(name);
        let pause = match outcome {
            Outcome::Done => {
                state.failures.remove(name);
                None
            }
            Outcome::After(pause) => {
                state.failures.remove(name);
                Some(pause)
            }
            Outcome::Failed => {
                let failures = state.failures.entry(name.to_owned()).or_default();
                let pause = FIRST_BACKOFF.saturating_mul(1 << (*failures).min(20)).min(LAST_BACKOFF);
                *failures += 1;
                Some(pause)
            }
        };
        // After a failure even a change waits: what fails must not spin.
        let at_once = again && outcome != Outcome::Failed;
        if at_once && state.queued.insert(name.to_owned()) {
            state.ready.push_back(name.to_owned());
        }
        drop(state);
        if let Some(pause) = pause.filter(|_| !at_once) {
            self.add_after(name, pause);
        }
        self.inner.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_service::clock::ManualClock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_name_is_looked_at_once_however_often_it_was_added() {
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let queue = Queue::new(clock.shared());
        for _ in 0..5 {
            queue.add("a");
        }
        queue.add("b");
        let (seen, mut looks) = mpsc::unbounded_channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move {
                queue
                    .run(1, async { drop(stopped.await) }, move |name| {
                        let seen = seen.clone();
                        async move {
                            seen.send(name).unwrap();
                            Outcome::Done
                        }
                    })
                    .await;
            }
        });
        assert_eq!(looks.recv().await.as_deref(), Some("a"));
        assert_eq!(looks.recv().await.as_deref(), Some("b"));
        stop.send(()).unwrap();
        worker.await.unwrap();
        assert!(looks.recv().await.is_none(), "nothing was looked at twice");
    }

    #[tokio::test]
    async fn failures_pause_longer_each_time_and_delays_follow_the_clock() {
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let queue = Queue::new(clock.shared());
        let count = Arc::new(AtomicUsize::new(0));
        let (seen, mut looks) = mpsc::unbounded_channel();
        tokio::spawn({
            let (queue, count) = (queue.clone(), count.clone());
            async move {
                queue
                    .run(4, std::future::pending(), move |_| {
                        let (seen, n) = (seen.clone(), count.fetch_add(1, Ordering::SeqCst));
                        async move {
                            seen.send(n).unwrap();
                            match n {
                                0 | 1 => Outcome::Failed,
                                2 => Outcome::After(Duration::from_secs(60)),
                                _ => Outcome::Done,
                            }
                        }
                    })
                    .await;
            }
        });
        queue.add("a");
        assert_eq!(looks.recv().await, Some(0));
        for (advance, expected) in [(5, 1), (10, 2), (60_000, 3)] {
            // The pause is registered when the look ended, which the queue shows by having nothing running.
            while !queue.inner.state.lock().running.is_empty() {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_millis(advance - 1));
            tokio::task::yield_now().await;
            assert!(looks.try_recv().is_err(), "too early by 1 ms before look {expected}");
            clock.advance(Duration::from_millis(1));
            assert_eq!(looks.recv().await, Some(expected));
        }
    }

    #[test]
    fn a_name_has_one_delay_however_often_it_changed() {
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let queue = Queue::new(clock.shared());
        for _ in 0..3 {
            queue.add("a");
            assert_eq!(queue.take().as_deref(), Some("a"));
            queue.finish("a", Outcome::After(Duration::from_secs(10)));
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(queue.inner.state.lock().delayed.len(), 1);
        clock.advance(Duration::from_secs(60));
        queue.promote();
        assert_eq!((queue.take().as_deref(), queue.take()), (Some("a"), None));
        queue.finish("a", Outcome::Done);
        assert!(queue.is_idle(), "a delay from before the last look is of no account");
    }

    /// A clock that can be set back.
    struct Settable(parking_lot::Mutex<jiff::Timestamp>);

    impl prow_service::clock::Clock for Settable {
        fn now(&self) -> jiff::Timestamp {
            *self.0.lock()
        }
        fn sleep(&self, _: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_delay_longer() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let clock = Arc::new(Settable(parking_lot::Mutex::new(at(100_000))));
        let queue = Queue::new(clock.clone());
        queue.promote();
        queue.add("a");
        queue.take();
        queue.finish("a", Outcome::After(Duration::from_secs(10)));
        *clock.0.lock() = at(1);
        assert_eq!(queue.promote(), Some(Duration::from_secs(10)));
        *clock.0.lock() = at(11);
        queue.promote();
        assert_eq!(queue.take().as_deref(), Some("a"));
    }
}
