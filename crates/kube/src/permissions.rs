//! Whether a build cluster lets us do what a component must (prow-runtime §1.3): asked of the cluster itself before
//! work begins, so that a missing role is said once and clearly instead of failing every job.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use std::time::Duration;

/// A cluster that has not answered by then is unreachable.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a build cluster cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It does not answer, or not as a Kubernetes API does.
    #[error("it cannot be asked: {0}")]
    Unreachable(String),
    /// A role is missing.
    #[error(
        "we may not {verbs} pods in namespace {namespace}: bind a Role with these verbs to the user of its context"
    )]
    Forbidden {
        /// The missing verbs, joined with commas.
        verbs: String,
        /// Where.
        namespace: String,
    },
}

/// Asks with a SelfSubjectAccessReview per verb. Makes nothing and changes nothing.
pub async fn check_pods(client: &Client, namespace: &str, verbs: &[&str]) -> Result<(), Unusable> {
    let ask = async {
        let mut missing = Vec::new();
        for verb in verbs {
            if !may(client, namespace, verb)
                .await
                .map_err(|error| Unusable::Unreachable(error.to_string()))?
            {
                missing.push(*verb);
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(Unusable::Forbidden { verbs: missing.join(", "), namespace: namespace.to_owned() }),
        }
    };
    tokio::time::timeout(PATIENCE, ask).await.unwrap_or_else(|_| {
        Err(Unusable::Unreachable(format!("no answer within {} seconds", PATIENCE.as_secs())))
    })
}

async fn may(client: &Client, namespace: &str, verb: &str) -> kube::Result<bool> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                resource: Some("pods".into()),
                verb: Some(verb.to_owned()),
                version: Some("v1".into()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
