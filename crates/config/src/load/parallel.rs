//! The same work on many items by as many threads as there are processors; results in order.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Below this many items a thread costs more than it saves.
const WORTHWHILE: usize = 8;

/// `work` on every item, in parallel.
pub(super) fn map<I: Sync, O: Send>(items: &[I], work: impl Fn(&I) -> O + Sync) -> Vec<O> {
    map_with(items, |_| 0, || (), |(), item| work(item))
}

/// `work` on every item, in parallel, the heaviest first, so that no thread begins a heavy one when the others have
/// done. Each thread has something of its own, made by `own`.
pub(super) fn map_with<I: Sync, S, O: Send>(
    items: &[I],
    weight: impl Fn(&I) -> u64,
    own: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &I) -> O + Sync,
) -> Vec<O> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8).min(items.len() / WORTHWHILE);
    if threads < 2 {
        let mut own = own();
        return items.iter().map(|item| work(&mut own, item)).collect();
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&index| Reverse(weight(&items[index])));
    let next = AtomicUsize::new(0);
    let run = || {
        let mut own = own();
        let mut done = Vec::new();
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((index, work(&mut own, &items[index])));
        }
        done
    };
    let mut all: Vec<(usize, O)> = thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        for worker in workers {
            match worker.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, out)| out).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_keep_the_order() {
        let items: Vec<u64> = (0..1000).collect();
        let want: Vec<u64> = items.iter().map(|i| i * 2).collect();
        assert_eq!(super::map(&items, |i| i * 2), want);
        let (began, weigh) = (AtomicUsize::new(0), |i: &u64| i % 7);
        let own = || began.fetch_add(1, Ordering::Relaxed);
        assert_eq!(super::map_with(&items, weigh, own, |_, i| i * 2), want);
        assert!(began.into_inner() <= 8, "something of its own for each thread, not for each item");
    }
}
