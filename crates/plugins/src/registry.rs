//! All plugins by name, as hook calls them: without knowing what each asks for.

use crate::cat::{Cat, CatOptions};
use crate::context::Context;
use crate::error::Error;
use crate::help::PluginHelp;
use crate::trigger::Trigger;
use crate::{Input, Plugin};
use futures::future::BoxFuture;
use prow_api::OrgRepo;
use prow_config::Snapshot;
use prow_github::webhook::{Event, GenericComment};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A [`Plugin`] whose `Ask` nobody needs to know.
pub trait Handler: Send + Sync {
    /// Name in plugins.yaml.
    fn name(&self) -> &'static str;
    /// See [`Plugin::help`].
    fn help(&self, config: &Snapshot, repos: &[OrgRepo]) -> PluginHelp;
    /// True if `input` asks something of it.
    fn wants(&self, input: Input<'_>, config: &Snapshot) -> bool;
    /// Parses and acts; nothing if the input (no longer) asks anything of it.
    fn handle<'a>(&'a self, ctx: &'a Context, input: Input<'_>) -> BoxFuture<'a, Result<(), Error>>;
}

impl<P: Plugin> Handler for P {
    fn name(&self) -> &'static str {
        Plugin::name(self)
    }
    fn help(&self, config: &Snapshot, repos: &[OrgRepo]) -> PluginHelp {
        Plugin::help(self, config, repos)
    }
    fn wants(&self, input: Input<'_>, config: &Snapshot) -> bool {
        self.parse(input, config).is_some()
    }
    fn handle<'a>(&'a self, ctx: &'a Context, input: Input<'_>) -> BoxFuture<'a, Result<(), Error>> {
        match self.parse(input, &ctx.config) {
            Some(ask) => Box::pin(self.act(ctx, ask)),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }
}

/// Settings of plugins that are not in plugins.yaml.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// Of the cat plugin.
    pub cat: CatOptions,
}

/// The plugins that are built in.
#[derive(Clone)]
pub struct Registry {
    plugins: BTreeMap<&'static str, Arc<dyn Handler>>,
}

impl Registry {
    /// No plugin.
    pub fn empty() -> Registry {
        Registry { plugins: BTreeMap::new() }
    }

    /// Every plugin of this crate.
    pub fn builtin(options: RegistryOptions) -> Registry {
        Registry::empty().with(Trigger).with(Cat::new(options.cat))
    }

    /// One more.
    #[must_use]
    pub fn with(mut self, plugin: impl Handler + 'static) -> Registry {
        self.plugins.insert(plugin.name(), Arc::new(plugin));
        self
    }

    /// By name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Handler>> {
        self.plugins.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.plugins.keys().copied()
    }

    /// Names that plugins.yaml enables somewhere and no plugin has, sorted.
    pub fn missing(&self, config: &Snapshot) -> Vec<String> {
        let named = config.plugins.plugins.values().flat_map(|on| &on.plugins);
        let missing: BTreeSet<&String> = named.filter(|n| !self.plugins.contains_key(n.as_str())).collect();
        missing.into_iter().cloned().collect()
    }

    /// Names of the plugins that are enabled for the repository of `event` and want it, and whether they want the
    /// event itself or the text in it. Names in plugins.yaml that no plugin has are skipped.
    pub fn wanting(
        &self,
        config: &Snapshot,
        event: &Event,
        comment: Option<&GenericComment>,
    ) -> Vec<(&'static str, Facet)> {
        let (org, repo) = event.plugin_repo();
        let mut out = Vec::new();
        for name in config.plugins.enabled(org, repo) {
            let Some(plugin) = self.plugins.get(name) else { continue };
            if plugin.wants(Input::Event(event), config) {
                out.push((plugin.name(), Facet::Event));
            }
            if comment.is_some_and(|c| plugin.wants(Input::Comment(c), config)) {
                out.push((plugin.name(), Facet::Comment));
            }
        }
        out
    }
}

/// Which of the two things that one delivery can be a plugin is to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// The event.
    Event,
    /// The text in it.
    Comment,
}
