//! Standing for election as a process: the identity, and what losing means.

use prow_kube::Clients;
use prow_kube::leader::Election;
use prow_service::clock::SharedClock;
use tokio_util::sync::CancellationToken;

/// Waits to lead, then works. An error when leadership was lost: the process ends and is started again.
pub async fn lead<F: Future<Output = ()>>(
    clients: &Clients,
    namespace: &str,
    lease: &str,
    clock: SharedClock,
    stop: &CancellationToken,
    work: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<()> {
    let api = kube::Api::namespaced(clients.infra(), namespace);
    let host = nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default();
    let identity = format!("{host}_{}", uuid::Uuid::new_v4());
    Election::new(api, lease, identity, clock).lead(stop, work).await?;
    Ok(())
}
