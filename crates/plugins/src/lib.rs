//! The plugin frame, and one file a plugin.
//!
//! ```text
//! Input (event, or text that somebody wrote) ──Plugin::parse, pure──> Ask ──Plugin::act──> GitHub, ProwJobs
//! ```
//!
//! Properties:
//! * `parse` looks only at the event and the configuration. Whether a plugin has anything to do with an event is
//!   known without asking anybody.
//! * `act` may be called twice for one event, after a failure or a crash ([`Context::again`]). ProwJobs have names
//!   that follow from the event, labels are sets, and comments are looked for before they are made again.
//! * A plugin knows nothing of the others, nor of who calls it.

mod cat;
mod context;
mod error;
pub mod help;
pub mod jobs;
mod registry;
pub mod reply;
mod trigger;

pub use cat::{Cat, CatOptions};
pub use context::Context;
pub use error::Error;
pub use registry::{Facet, Handler, Registry, RegistryOptions};
pub use trigger::Trigger;

use help::PluginHelp;
use prow_api::OrgRepo;
use prow_config::Snapshot;
use prow_github::webhook::{Event, GenericComment};

/// What a plugin is shown. One delivery is shown as an event, and again as a comment if it carries text that a
/// user wrote (prow-runtime §2.4).
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// The event as GitHub sent it.
    Event(&'a Event),
    /// The text in it.
    Comment(&'a GenericComment),
}

/// A plugin. See [`trigger`] and [`cat`] for two.
///
/// [`trigger`]: Trigger
/// [`cat`]: Cat
pub trait Plugin: Send + Sync + 'static {
    /// What an event asks of it.
    type Ask: Send + 'static;

    /// Name in plugins.yaml.
    fn name(&self) -> &'static str;

    /// Text for `/plugin-help`. `repos` are those it is enabled for; an `org` has an empty repository name.
    fn help(&self, config: &Snapshot, repos: &[OrgRepo]) -> PluginHelp;

    /// What `input` asks for, if anything. Pure: events come often, and this is asked for each.
    fn parse(&self, input: Input<'_>, config: &Snapshot) -> Option<Self::Ask>;

    /// Does it.
    fn act(&self, ctx: &Context, ask: Self::Ask) -> impl Future<Output = Result<(), Error>> + Send;
}
