//! External plugins: other servers get the payload as it came, under its own headers (prow-runtime §2.5).

use crate::dispatch::Failure;
use crate::error::Error;
use crate::journal::Delivery;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use prow_service::clock::SharedClock;
use std::time::Duration;

/// Tries after the first, when the server cannot be reached.
const RETRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The client for all of them.
pub(crate) fn client() -> Result<reqwest::Client, Error> {
    prow_github::install_tls();
    // A redirect would turn the POST into a GET: plugins do not redirect.
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| Error::Http(e.to_string()))
}

/// The original headers, less those that belong to the connection, and our name.
fn headers(delivery: &Delivery) -> HeaderMap {
    let of_the_connection =
        [HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING, TE, TRAILER, UPGRADE, USER_AGENT];
    let mut headers = HeaderMap::new();
    for (name, value) in &delivery.headers {
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) else {
            continue;
        };
        if !of_the_connection.contains(&name) {
            headers.append(name, value);
        }
    }
    headers.insert(USER_AGENT, HeaderValue::from_static("ProwHook"));
    headers
}

/// Hands a delivery on. An answer other than 2xx is the plugin's own affair: it is logged and not tried again.
pub(crate) async fn send(
    http: &reqwest::Client,
    clock: &SharedClock,
    name: &str,
    endpoint: &str,
    delivery: &Delivery,
) -> Result<(), Failure> {
    let mut pause = FIRST_PAUSE;
    let mut tries = 0;
    let headers = headers(delivery);
    loop {
        let request = http.post(endpoint).headers(headers.clone()).body(delivery.payload.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                tracing::warn!(plugin = name, event_guid = delivery.guid, status = %answer.status(), "an external plugin refused an event");
                return Ok(());
            }
            Err(error) if error.is_builder() => {
                return Err(Failure {
                    message: format!("cannot call external plugin {name}: {error}; check its endpoint"),
                    may_pass: false,
                });
            }
            Err(error) if tries >= RETRIES => {
                return Err(Failure {
                    message: format!(
                        "cannot reach external plugin {name} at {endpoint}: {}",
                        error.without_url()
                    ),
                    may_pass: true,
                });
            }
            Err(_) => {
                clock.sleep(pause).await;
                pause *= 2;
                tries += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn headers_are_handed_on_but_those_of_the_connection() {
        let given = [
            ("host", "prow.example"),
            ("content-length", "2"),
            ("user-agent", "GitHub-Hookshot/1"),
            ("x-github-event", "push"),
            ("x-hub-signature-256", "sha256=00"),
        ];
        let delivery = Delivery {
            guid: "g".into(),
            event: "push".into(),
            received: jiff::Timestamp::UNIX_EPOCH,
            headers: given.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            payload: Bytes::from_static(b"{}"),
        };
        let headers = headers(&delivery);
        let mut shown: Vec<_> =
            headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        shown.sort();
        assert_eq!(shown, ["user-agent: ProwHook", "x-github-event: push", "x-hub-signature-256: sha256=00"]);
    }
}
