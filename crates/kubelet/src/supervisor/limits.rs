//! The sizeLimit of emptyDir volumes on disk: looked at from time to time, as a kubelet does, and whoever is beyond it is
//! evicted.

use super::Event;
use crate::plan::LimitPlan;
use crate::poddir::size_of_tree;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

/// Between two looks: short at first, since most of what goes wrong does so at once.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(10);

/// Watches them in a thread of its own.
pub(super) fn watch(limits: Vec<LimitPlan>, sender: Sender<Event>) {
    if limits.is_empty() {
        return;
    }
    thread::spawn(move || {
        let mut pause = FIRST_LOOK;
        loop {
            thread::sleep(pause);
            pause = (pause * 2).min(LAST_LOOK);
            for limit in &limits {
                if size_of_tree(&limit.path).is_ok_and(|size| size > limit.bytes) {
                    let _ = sender.send(Event::Evict(said(limit)));
                    return;
                }
            }
        }
    });
}

/// In a kubelet's words, to the last blank.
fn said(limit: &LimitPlan) -> String {
    format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", limit.volume, limit.limit)
}
