//! Sends webhooks: signed as GitHub signs them, each until its receiver answers 2xx.
//!
//! GitHub itself sends an event once and leaves a failed one to be redelivered by hand. The forge keeps trying, over
//! restarts too, with the same GUID each time: what is tested against it must cope with repeats, and a demo must not
//! hang because hook was not up yet.

use std::sync::Arc;
use std::time::Duration;

use ::hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::records::{Delivery, Hook, Record};
use crate::{Error, Forge, Happening};

/// Deliveries under way at once.
const PARALLEL: usize = 16;
/// The wait after the first failure; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

pub(crate) struct Deliverer {
    http: reqwest::Client,
    places: Arc<Semaphore>,
}

impl Deliverer {
    pub(crate) fn new() -> Result<Self, Error> {
        // An error says that a provider is installed already, which is what we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent("GitHub-Hookshot/forge")
            // GitHub gives receivers ten seconds.
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::Setup(e.to_string()))?;
        Ok(Deliverer { http, places: Arc::new(Semaphore::new(PARALLEL)) })
    }
}

impl Forge {
    /// Takes up every delivery that has not arrived.
    pub(crate) fn resume_deliveries(&self) {
        let waiting: Vec<i64> =
            self.read(|s| s.deliveries.values().filter(|d| !d.delivered).map(|d| d.id).collect());
        for id in waiting {
            self.start_delivery(id);
        }
    }

    /// Delivers in the background. The task holds the forge only while it works, so dropping the forge ends it.
    pub(crate) fn start_delivery(&self, id: i64) {
        let weak = Arc::downgrade(&self.inner);
        let (stop, clock, places) =
            (self.inner.stop.clone(), self.inner.clock.clone(), self.inner.deliverer.places.clone());
        tokio::spawn(async move {
            let mut wait = FIRST_DELAY;
            loop {
                let Some(inner) = weak.upgrade() else { return };
                let forge = Forge { inner };
                let place = tokio::select! {
                    () = stop.cancelled() => return,
                    place = places.acquire() => place,
                };
                let done = forge.attempt_delivery(id).await;
                drop(place);
                drop(forge);
                if done {
                    return;
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = clock.sleep(wait) => {}
                }
                wait = (wait * 2).min(LONGEST_DELAY);
            }
        });
    }

    /// One attempt; true if there is nothing left to do.
    async fn attempt_delivery(&self, id: i64) -> bool {
        let found = self.read(|s| {
            let delivery = s.deliveries.get(&id).filter(|d| !d.delivered)?;
            Some((delivery.clone(), s.hooks.get(&delivery.hook)?.clone()))
        });
        let Some((mut delivery, hook)) = found else { return true };
        let status = self.post(&delivery, &hook).await;
        delivery.attempts += 1;
        delivery.status = status;
        delivery.delivered = status.is_some_and(|s| (200..300).contains(&s));
        let delivered = delivery.delivered;
        let mut tx = self.begin().await;
        tx.tell(Happening::Delivery {
            guid: delivery.guid.clone(),
            event: delivery.event.clone(),
            action: delivery.action.clone(),
            status,
        });
        tx.put(Record::Delivery(delivery));
        match tx.commit().await {
            Ok(()) => delivered,
            Err(error) => {
                // It will be sent again, which receivers must cope with anyway.
                tracing::error!(%error, "cannot record a webhook's delivery");
                false
            }
        }
    }

    async fn post(&self, delivery: &Delivery, hook: &Hook) -> Option<u16> {
        let mut request = self.inner.deliverer.http.post(&hook.url);
        if !hook.secret.is_empty() {
            request = request
                .header("X-Hub-Signature-256", signature(hook.secret.expose(), delivery.payload.as_bytes()));
        }
        let sent = request
            .header("Content-Type", "application/json")
            .header("X-GitHub-Event", &delivery.event)
            .header("X-GitHub-Delivery", &delivery.guid)
            .header("X-GitHub-Hook-ID", hook.id)
            .body(delivery.payload.clone())
            .send()
            .await;
        match sent {
            Ok(answer) => {
                let status = answer.status();
                if !status.is_success() {
                    let said: String = answer.text().await.unwrap_or_default().chars().take(200).collect();
                    tracing::warn!(guid = delivery.guid, event = delivery.event, %status, said, "webhook was refused; it is sent again");
                }
                Some(status.as_u16())
            }
            Err(error) => {
                let error = error.without_url();
                tracing::debug!(guid = delivery.guid, event = delivery.event, %error, "webhook did not get through; it is sent again");
                None
            }
        }
    }
}

/// `X-Hub-Signature-256`
fn signature(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}
