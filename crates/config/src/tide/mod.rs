//! What Tide makes of its section of config.yaml: pure answers to "which pull requests", "which contexts count" and
//! "how and how many at once" (prow-config §4.15). The types and rules of the section itself are in `prowconfig`.

mod contexts;
mod lookup;
mod search;

#[cfg(test)]
mod tests;

pub use contexts::{Contexts, ContextsError};
pub use search::by_org;
