//! Plank: a ProwJob becomes a Pod, and what becomes of the Pod becomes the ProwJob's state (prow-runtime §6).
//!
//! ```text
//! ProwJobs ─┐                    ┌─ duplicates: which older runs of a presubmit to abort ─┐
//!           ├─> queue ─> look ─> ┼─ admission: may a triggered job start now?             ├─> API writes
//! Pods ─────┘                    └─ decide: what a pending job's Pod means                ┘
//! ```
//! The three boxes are pure; [`controller`] gathers their inputs and carries out their answers. Any number of
//! looks at the same state ends in the same place: a Pod is named after its ProwJob, so that it cannot be made
//! twice, and every state change is guarded by the version it was decided from.

pub mod admission;
pub mod controller;
pub mod decide;
pub mod duplicates;
mod metrics;
pub mod scheduler;

pub use controller::{Plank, PlankOptions};
