//! Which cluster a Pod goes to (prow-runtime §14.3): the infrastructure cluster and the build clusters by alias.

use kube::Client;
use std::collections::BTreeMap;

/// The infrastructure cluster's client and one client per build cluster alias. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    infra: Client,
    build: BTreeMap<String, Client>,
}

/// A job names a cluster that no client exists for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no build cluster is called {alias:?}; known: {known}")]
pub struct UnknownCluster {
    /// What the job names.
    pub alias: String,
    /// What exists, joined with commas.
    pub known: String,
}

impl Clients {
    /// One cluster for everything: ProwJobs and the Pods of the alias `default`.
    pub fn single(client: Client) -> Clients {
        Clients { build: BTreeMap::from([("default".to_owned(), client.clone())]), infra: client }
    }

    /// An infrastructure cluster and its build clusters. If none is called `default`, that alias is the
    /// infrastructure cluster.
    pub fn new(infra: Client, mut build: BTreeMap<String, Client>) -> Clients {
        build.entry("default".to_owned()).or_insert_with(|| infra.clone());
        Clients { infra, build }
    }

    /// Where ProwJobs live.
    pub fn infra(&self) -> Client {
        self.infra.clone()
    }

    /// Where Pods of jobs with this `spec.cluster` live; empty means `default`.
    pub fn build(&self, alias: &str) -> Result<Client, UnknownCluster> {
        let alias = if alias.is_empty() { "default" } else { alias };
        self.build.get(alias).cloned().ok_or_else(|| UnknownCluster {
            alias: alias.to_owned(),
            known: self.build.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    /// All build clusters by alias.
    pub fn build_clusters(&self) -> impl Iterator<Item = (&str, &Client)> {
        self.build.iter().map(|(alias, client)| (alias.as_str(), client))
    }
}
