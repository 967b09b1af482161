//! Which cluster a Pod goes to (prow-runtime §14.3): the infrastructure cluster and the build clusters by alias.

use kube::Client;
use std::collections::BTreeMap;

/// The infrastructure cluster's client and one client per build cluster alias. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    infra: Client,
    build: BTreeMap<String, Client>,
    unusable: BTreeMap<String, String>,
}

/// There is no client for the cluster that a job names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoClient {
    /// No context is called so: the job cannot run, now or later.
    #[error("no build cluster is called {alias:?}; known: {known}")]
    Unknown {
        /// What the job names.
        alias: String,
        /// What exists, joined with commas.
        known: String,
    },
    /// The cluster is there and could not be used when we started: the job waits.
    #[error("the build cluster {alias:?} cannot be used: {why}")]
    Unusable {
        /// What the job names.
        alias: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Clients {
    /// One cluster for everything: ProwJobs and the Pods of the alias `default`.
    pub fn single(client: Client) -> Clients {
        Clients {
            build: BTreeMap::from([("default".to_owned(), client.clone())]),
            unusable: BTreeMap::new(),
            infra: client,
        }
    }

    /// An infrastructure cluster and its build clusters. If none is called `default`, that alias is the
    /// infrastructure cluster.
    pub fn new(infra: Client, mut build: BTreeMap<String, Client>) -> Clients {
        build.entry("default".to_owned()).or_insert_with(|| infra.clone());
        Clients { infra, build, unusable: BTreeMap::new() }
    }

    /// Where ProwJobs live.
    pub fn infra(&self) -> Client {
        self.infra.clone()
    }

    /// Where Pods of jobs with this `spec.cluster` live; empty means `default`.
    pub fn build(&self, alias: &str) -> Result<Client, NoClient> {
        let alias = if alias.is_empty() { "default" } else { alias };
        if let Some(client) = self.build.get(alias) {
            return Ok(client.clone());
        }
        let alias = alias.to_owned();
        Err(match self.unusable.get(&alias) {
            Some(why) => NoClient::Unusable { alias, why: why.clone() },
            None => {
                let known: Vec<&str> =
                    self.build.keys().chain(self.unusable.keys()).map(String::as_str).collect();
                NoClient::Unknown { alias, known: known.join(", ") }
            }
        })
    }

    /// Leaves a build cluster out, and keeps the reason for whoever asks for it.
    pub fn leave_out(&mut self, alias: &str, why: String) {
        self.build.remove(alias);
        self.unusable.insert(alias.to_owned(), why);
    }

    /// Build clusters that were left out, with the reason.
    pub fn left_out(&self) -> &BTreeMap<String, String> {
        &self.unusable
    }

    /// All build clusters by alias.
    pub fn build_clusters(&self) -> impl Iterator<Item = (&str, &Client)> {
        self.build.iter().map(|(alias, client)| (alias.as_str(), client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_that_was_left_out_is_not_an_unknown_one() {
        let client = || Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let mut clients = Clients::new(client(), BTreeMap::from([("far".to_owned(), client())]));
        assert!(
            clients.build("").is_ok() && clients.build("default").is_ok() && clients.build("far").is_ok()
        );
        clients.leave_out("far", "no answer".into());
        assert_eq!(
            clients.build("far").err(),
            Some(NoClient::Unusable { alias: "far".into(), why: "no answer".into() })
        );
        let known = "default, far".to_owned();
        assert_eq!(clients.build("fra").err(), Some(NoClient::Unknown { alias: "fra".into(), known }));
        assert_eq!(clients.build_clusters().map(|(alias, _)| alias).collect::<Vec<_>>(), ["default"]);
    }
}
