//! The cases, by area.

mod access;
mod apply;
mod clients;
mod core;
mod lists;
mod objects;
mod prowjobs;
mod watches;
mod writes;

use crate::Case;

/// Names functions as cases.
macro_rules! cases {
    ($($name:literal => $function:path),* $(,)?) => {
        &[$(crate::Case { name: $name, run: |world| Box::pin($function(world)) }),*]
    };
}
use cases;

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    [
        objects::CASES,
        lists::CASES,
        watches::CASES,
        writes::CASES,
        apply::CASES,
        core::CASES,
        prowjobs::CASES,
        access::CASES,
        clients::CASES,
    ]
    .concat()
}
