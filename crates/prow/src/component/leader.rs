//! Standing for election as a process: the identity, and what losing means.

use prow_kube::Clients;
use prow_kube::leader::Election;
use prow_service::clock::SharedClock;
use tokio_util::sync::CancellationToken;

/// Waits to lead, then works. An error when leadership was lost: the process ends and is started again.
///
/// A dry run works at once: it changes nothing, so nobody need be kept out, and a lease that is not kept either could
/// never be held.
pub async fn lead<F: Future<Output = ()>>(
    dry_run: bool,
    clients: &Clients,
    namespace: &str,
    lease: &str,
    clock: SharedClock,
    stop: &CancellationToken,
    work: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<()> {
    if dry_run {
        tracing::info!(lease, "a dry run stands for no election: it works beside whoever leads");
        work(stop.clone()).await;
        return Ok(());
    }
    let api = kube::Api::namespaced(clients.infra(), namespace);
    let host = nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default();
    let identity = format!("{host}_{}", uuid::Uuid::new_v4());
    Election::new(api, lease, identity, clock).lead(stop, work).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_service::clock::SystemClock;

    #[tokio::test]
    async fn a_dry_run_needs_no_lease() {
        // Nobody there knows of leases, and there is no time to wait for any.
        let clients = Clients::single(kube::Client::new(axum::Router::new(), "n"));
        let (clock, stop) = (SystemClock::shared(), CancellationToken::new());
        stop.cancel();
        let worked = std::cell::Cell::new(false);
        let work = |_| async { worked.set(true) };
        lead(true, &clients, "n", "l", clock, &stop, work).await.unwrap();
        assert!(worked.get());
    }
}
