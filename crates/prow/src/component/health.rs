//! `/healthz`, `/healthz/ready` and `/metrics` on ports of their own (prow-runtime §1.5).

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use prow_service::{listen, metrics};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

/// Says when the component is ready. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Answers from now on: alive, not ready.
    pub async fn serve(health: u16, metrics: u16, stop: CancellationToken) -> anyhow::Result<Health> {
        let state = Health::default();
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let health = listen::bind("health checks", "--health-port", any(health)).await?;
        let metrics = listen::bind("metrics", "--metrics-port", any(metrics)).await?;
        // On standard output, so that a script that gave 0 can read where.
        println!("health on {}, metrics on {}", health.local_addr()?, metrics.local_addr()?);
        for (listener, router) in [(health, state.router()), (metrics, metrics_router())] {
            let stop = stop.clone();
            tokio::spawn(async move {
                if let Err(error) = listen::serve(listener, router, stop).await {
                    tracing::error!(%error, "health checks or metrics are no longer answered");
                }
            });
        }
        Ok(state)
    }

    /// The component works.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    fn router(&self) -> Router {
        let ready = self.ready.clone();
        Router::new().route("/healthz", get(|| async { "OK" })).route(
            "/healthz/ready",
            get(move || {
                let ready = ready.load(Ordering::Acquire);
                async move { if ready { (StatusCode::OK, "OK") } else { (StatusCode::NOT_FOUND, "") } }
            }),
        )
    }
}

fn metrics_router() -> Router {
    Router::new().route(
        "/metrics",
        get(|| async { ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text()) }),
    )
}
