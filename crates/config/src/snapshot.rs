//! One consistent state of the whole configuration.

use crate::diagnostic::Diagnostic;
use crate::inrepo::InRepoJobs;
use crate::jobs::{Jobs, Postsubmit, Presubmit};
use crate::plugins::PluginConfig;
use crate::prowconfig::ProwConfig;

/// Everything that was configured at one moment. Built whole, validated whole, never changed; share it in an `Arc`.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// config.yaml without its jobs.
    pub prow: ProwConfig,
    /// All jobs, after defaulting.
    pub jobs: Jobs,
    /// plugins.yaml.
    pub plugins: PluginConfig,
    /// What was odd but not wrong.
    pub warnings: Vec<Diagnostic>,
}

impl Snapshot {
    /// Presubmits of `org/repo` (or a Gerrit identifier), in order.
    pub fn presubmits_for(&self, repo: &str) -> &[Presubmit] {
        self.jobs.presubmits_for(repo)
    }

    /// Postsubmits of `org/repo` (or a Gerrit identifier), in order.
    pub fn postsubmits_for(&self, repo: &str) -> &[Postsubmit] {
        self.jobs.postsubmits_for(repo)
    }

    /// With the jobs that a repository (`org/repo`) defines itself after those of the configuration: what is in force
    /// for one commit.
    pub fn with_own_jobs(mut self, repo: &str, own: &InRepoJobs) -> Snapshot {
        if !own.presubmits.is_empty() {
            let list = self.jobs.presubmits.entry(repo.to_owned()).or_default();
            *list = [&**list, &own.presubmits[..]].concat().into();
        }
        if !own.postsubmits.is_empty() {
            let list = self.jobs.postsubmits.entry(repo.to_owned()).or_default();
            *list = [&**list, &own.postsubmits[..]].concat().into();
        }
        self
    }
}
