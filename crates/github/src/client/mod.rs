//! The REST client's engine: one call goes through token, throttle, ETag cache, endpoint failover and retries
//! (prow-runtime §1.2). What can be asked of GitHub is in `calls`.

mod cache;
mod calls;
pub(crate) mod path;
mod retry;
mod throttle;
pub(crate) mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, ETAG, IF_NONE_MATCH, LINK, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use prow_service::clock::SharedClock;
use serde::de::DeserializeOwned;
use url::Url;

pub use calls::{BotUser, MergeMethod, NewPullRequest};
pub use throttle::ThrottleOptions;

use crate::Error;
use cache::{Cache, Entry};
use retry::{Decision, Kind, Outcome, Policy, Tries, decide};
use throttle::Throttle;
use token::{TokenReader, TokenSource};

/// Pages are asked for at GitHub's largest size.
const PER_PAGE: &str = "100";
/// GitHub answers moved repositories with redirects; more than this in a row is a loop.
const MAX_REDIRECTS: u32 = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How to reach GitHub; the flags are those of prow-runtime §1.2.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// API addresses in order of preference (`--github-endpoint`): the next one is tried when a connection to the
    /// one before it cannot be made. GitHub Enterprise and the forge end in `/api/v3`.
    pub endpoint: Vec<Url>,
    /// The host that clone addresses and links name (`--github-host`).
    pub host: String,
    pub token: TokenSource,
    pub user_agent: String,
    /// `--github-client.max-retries`
    pub max_retries: u32,
    /// `--github-client.max-404-retries`
    pub max_404_retries: u32,
    /// `--github-client.initial-delay`; doubles with each retry.
    pub initial_delay: Duration,
    /// `--github-client.backoff-timeout`: the longest wait that GitHub may ask of us.
    pub max_sleep: Duration,
    /// `--github-client.request-timeout`, for one attempt.
    pub request_timeout: Duration,
    /// `--github-hourly-tokens` and `--github-allowed-burst`.
    pub throttle: Option<ThrottleOptions>,
    /// Bytes of answers kept for revalidation; 0 keeps none.
    pub cache_bytes: usize,
}

impl Default for ClientOptions {
    /// Prow's defaults: api.github.com, anonymous.
    fn default() -> Self {
        ClientOptions {
            endpoint: Vec::new(),
            host: "github.com".into(),
            token: TokenSource::None,
            user_agent: concat!("prow/", env!("CARGO_PKG_VERSION")).into(),
            max_retries: 8,
            max_404_retries: 2,
            initial_delay: Duration::from_secs(2),
            max_sleep: Duration::from_secs(120),
            request_timeout: Duration::from_secs(120),
            throttle: None,
            cache_bytes: 32 << 20,
        }
    }
}

/// Installs the process's TLS provider (ring). Safe to call any number of times, from any crate.
pub fn install_tls() {
    // An error says that a provider is installed already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// GitHub's REST API. Cheap to clone; clones share connections, cache, throttle and token.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    caller: Arc<str>,
    calls: Arc<AtomicU64>,
}

struct Shared {
    http: reqwest::Client,
    endpoints: Vec<Url>,
    host: String,
    token: TokenReader,
    policy: Policy,
    throttle: Option<Mutex<Throttle>>,
    cache: Mutex<Cache>,
    clock: SharedClock,
    bot: tokio::sync::OnceCell<crate::User>,
}

/// One call, before it is sent.
pub(crate) struct Call {
    method: Method,
    /// Path and query below the endpoint.
    path: String,
    body: Option<Bytes>,
    accept: &'static str,
    kind: Kind,
}

impl Call {
    pub(crate) fn new(method: Method, path: String) -> Self {
        let kind = Kind { repeatable: method != Method::POST, not_found_is_an_answer: false };
        Call { method, path, body: None, accept: "application/vnd.github+json", kind }
    }

    pub(crate) fn get(path: String) -> Self {
        Call::new(Method::GET, path)
    }

    /// A JSON body.
    pub(crate) fn json(mut self, body: &impl serde::Serialize) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(body).map_err(|source| Error::Decode {
            method: self.method.clone(),
            path: self.path.clone(),
            source,
        })?;
        self.body = Some(bytes.into());
        Ok(self)
    }

    /// Another answer format than JSON.
    fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    /// 404 is an answer: do not ask again.
    pub(crate) fn may_be_absent(mut self) -> Self {
        self.kind.not_found_is_an_answer = true;
        self
    }

    /// This POST does no harm when it is done twice.
    pub(crate) fn repeatable(mut self) -> Self {
        self.kind.repeatable = true;
        self
    }
}

/// An answer with a status below 400.
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// Which of the endpoints it came from.
    endpoint: usize,
}

impl Client {
    /// Builds a client; nothing is sent yet. With no endpoint given it is <https://api.github.com>.
    ///
    /// # Errors
    /// An endpoint that cannot carry a path, or a TLS set-up that fails.
    pub fn new(options: ClientOptions, clock: SharedClock) -> Result<Self, Error> {
        install_tls();
        let mut endpoints = options.endpoint;
        if endpoints.is_empty() {
            endpoints.push(Url::parse("https://api.github.com").map_err(|e| Error::Setup(e.to_string()))?);
        }
        for url in &endpoints {
            if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
                return Err(Error::Setup(format!("--github-endpoint={url} is not an http or https address")));
            }
        }
        let http = reqwest::Client::builder()
            .user_agent(options.user_agent)
            .timeout(options.request_timeout)
            // An endpoint that swallows packets must not eat the whole request's time: there may be another one.
            .connect_timeout(CONNECT_TIMEOUT.min(options.request_timeout))
            // Redirects are followed by hand: never to another host, never turning a write into a read.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::Setup(e.to_string()))?;
        let policy = Policy {
            max_retries: options.max_retries,
            max_404_retries: options.max_404_retries,
            initial_delay: options.initial_delay,
            max_sleep: options.max_sleep,
        };
        Ok(Client {
            shared: Arc::new(Shared {
                http,
                endpoints,
                host: options.host,
                token: TokenReader::new(options.token),
                policy,
                throttle: options.throttle.map(|t| Mutex::new(Throttle::new(t))),
                cache: Mutex::new(Cache::new(options.cache_bytes)),
                clock,
                bot: tokio::sync::OnceCell::new(),
            }),
            caller: Arc::from(""),
            calls: Arc::default(),
        })
    }

    /// The same client under a caller's name (a plugin's, say) with a call count of its own.
    pub fn tagged(&self, caller: &str) -> Self {
        Client { shared: self.shared.clone(), caller: Arc::from(caller), calls: Arc::default() }
    }

    /// How many calls were made through this handle and its clones (`took_action`, prow-runtime §2.3).
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The host that clone addresses and links name.
    pub fn host(&self) -> &str {
        &self.shared.host
    }

    /// The token in use now, for git over HTTP; `None` if the client is anonymous.
    ///
    /// # Errors
    /// The token file cannot be read.
    pub fn token(&self) -> Result<Option<prow_api::Secret>, Error> {
        self.shared.token.token()
    }

    /// Runs a call to its end: retries, waits, cache. Statuses from 400 on are errors.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, Error> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut call = call;
        let mut tries = Tries::default();
        let mut redirects = 0;
        loop {
            let attempt = self.attempt(&call).await?;
            let outcome = match &attempt {
                Attempt::Answer(a) => {
                    Outcome::Answer { status: a.status, headers: &a.headers, body: &a.body }
                }
                Attempt::Failed(e) if e.is_connect() => Outcome::NotSent,
                Attempt::Failed(_) => Outcome::Broken,
            };
            let now = self.shared.clock.now();
            match decide(&self.shared.policy, call.kind, tries, now, &outcome) {
                Decision::Retry(wait) => {
                    if let Attempt::Answer(a) = &attempt
                        && a.status == StatusCode::NOT_FOUND
                    {
                        tries.not_found += 1;
                    }
                    tries.all += 1;
                    tracing::debug!(method = %call.method, path = call.path, caller = &*self.caller, ?wait, attempt = tries.all, "GitHub call is tried again");
                    self.shared.clock.sleep(wait).await;
                }
                Decision::TooLong(wait) => {
                    let until = now.checked_add(wait).unwrap_or(jiff::Timestamp::MAX);
                    let tolerated = self.shared.policy.max_sleep;
                    return Err(Error::RateLimited {
                        method: call.method,
                        path: call.path,
                        until,
                        wait,
                        tolerated,
                    });
                }
                Decision::Done => match attempt {
                    Attempt::Failed(source) => {
                        let attempts = tries.all + 1;
                        return Err(Error::Transport {
                            method: call.method,
                            path: call.path,
                            attempts,
                            source,
                        });
                    }
                    Attempt::Answer(a) if a.status.is_redirection() => {
                        redirects += 1;
                        call.path = self.redirected(&call, &a, redirects)?;
                    }
                    Attempt::Answer(a) if a.status.as_u16() >= 400 => return Err(refusal(call, &a)),
                    Attempt::Answer(a) => return Ok(a),
                },
            }
        }
    }

    /// Where a redirect leads, as a path below the same endpoint.
    fn redirected(&self, call: &Call, answer: &Answer, redirects: u32) -> Result<String, Error> {
        let unexpected =
            |why: String| Error::Unexpected { method: call.method.clone(), path: call.path.clone(), why };
        if redirects > MAX_REDIRECTS {
            return Err(unexpected(format!("more than {MAX_REDIRECTS} redirects in a row")));
        }
        let endpoint = &self.shared.endpoints[answer.endpoint];
        let location = answer.headers.get(LOCATION).and_then(|l| l.to_str().ok());
        let target = location.and_then(|l| endpoint.join(l).ok());
        match target.filter(|t| t.origin() == endpoint.origin()) {
            Some(t) => {
                let prefix = endpoint.path().trim_end_matches('/');
                let below = t.path().strip_prefix(prefix).unwrap_or(t.path());
                Ok(t.query().map_or_else(|| below.to_owned(), |q| format!("{below}?{q}")))
            }
            None => Err(unexpected(format!(
                "{} leads to {:?}, which is not below {endpoint}",
                answer.status,
                location.unwrap_or("nowhere")
            ))),
        }
    }

    /// One attempt over all endpoints; a failed connection moves on to the next endpoint at once.
    async fn attempt(&self, call: &Call) -> Result<Attempt, Error> {
        let shared = &*self.shared;
        let wait = shared.throttle.as_ref().map(|t| t.lock().reserve(shared.clock.now()));
        if let Some(wait) = wait.filter(|w| !w.is_zero()) {
            shared.clock.sleep(wait).await;
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(call.accept));
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        if let Some(token) = shared.token.token()? {
            let bytes = [b"Bearer ", token.expose()].concat();
            let mut value = HeaderValue::from_bytes(&bytes).map_err(|_| {
                Error::Setup("the GitHub token has characters that no HTTP header may have".into())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let key = (call.method == Method::GET).then(|| format!("{} {}", call.accept, call.path));
        let cached = key.as_ref().and_then(|k| shared.cache.lock().get(k));
        if let Some(entry) = &cached {
            headers.insert(IF_NONE_MATCH, entry.etag.clone());
        }
        let mut last = None;
        for (index, endpoint) in shared.endpoints.iter().enumerate() {
            let url = format!("{}{}", endpoint.as_str().trim_end_matches('/'), call.path);
            let mut request = shared.http.request(call.method.clone(), url).headers(headers.clone());
            if let Some(body) = &call.body {
                request = request.header(http::header::CONTENT_TYPE, "application/json").body(body.clone());
            }
            let received = async {
                let response = request.send().await?;
                let (status, headers) = (response.status(), response.headers().clone());
                Ok::<_, reqwest::Error>((status, headers, response.bytes().await?))
            };
            match received.await {
                // The address is in our own message; with it would go whatever a query holds.
                Err(e) if e.is_connect() => last = Some(e.without_url()),
                Err(e) => return Ok(Attempt::Failed(e.without_url())),
                Ok((status, headers, body)) => {
                    tracing::trace!(method = %call.method, path = call.path, caller = &*self.caller, %status, "GitHub answered");
                    return Ok(Attempt::Answer(
                        self.through_cache(key, cached, status, headers, body, index),
                    ));
                }
            }
        }
        match last {
            Some(e) => Ok(Attempt::Failed(e)),
            None => Err(Error::Setup("no endpoint".into())),
        }
    }

    /// Replaces a 304 by what we remember, and remembers a fresh answer that has an ETag.
    fn through_cache(
        &self,
        key: Option<String>,
        cached: Option<Entry>,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        endpoint: usize,
    ) -> Answer {
        if status == StatusCode::NOT_MODIFIED
            && let Some(entry) = cached
        {
            if let Some(throttle) = &self.shared.throttle {
                throttle.lock().refund();
            }
            return Answer { status: StatusCode::OK, headers: entry.headers, body: entry.body, endpoint };
        }
        if status == StatusCode::OK
            && let (Some(key), Some(etag)) = (key, headers.get(ETAG))
        {
            // Of the headers only the next page's address matters to later readers.
            let kept =
                headers.iter().filter(|(k, _)| **k == LINK).map(|(k, v)| (k.clone(), v.clone())).collect();
            let entry = Entry { etag: etag.clone(), headers: kept, body: body.clone() };
            self.shared.cache.lock().put(&key, entry);
        }
        Answer { status, headers, body, endpoint }
    }

    /// A call whose answer is JSON.
    pub(crate) async fn fetch<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let (method, path) = (call.method.clone(), call.path.clone());
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer.body).map_err(|source| Error::Decode { method, path, source })
    }

    /// Every page of a list, each handed to `items`.
    pub(crate) async fn fetch_pages<P: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        mut page: impl FnMut(P),
    ) -> Result<(), Error> {
        let mut query = query.to_vec();
        query.push(("per_page", PER_PAGE));
        let mut next = Some(path::with_query(path, &query));
        while let Some(path) = next {
            let answer = self.send(Call::get(path.clone())).await?;
            let read = serde_json::from_slice(&answer.body);
            page(read.map_err(|source| Error::Decode { method: Method::GET, path, source })?);
            let link = answer.headers.get(LINK).and_then(|l| l.to_str().ok());
            next = link.and_then(|l| path::next_page(l, &self.shared.endpoints[answer.endpoint]));
        }
        Ok(())
    }

    /// Every item of a list that pages as plain arrays.
    pub(crate) async fn fetch_list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        self.fetch_pages(path, query, |page: Vec<T>| all.extend(page)).await?;
        Ok(all)
    }
}

enum Attempt {
    Answer(Answer),
    Failed(reqwest::Error),
}

/// The error for a status from 400 on.
fn refusal(call: Call, answer: &Answer) -> Error {
    #[derive(serde::Deserialize)]
    struct Body {
        message: String,
        #[serde(default)]
        errors: Vec<serde_json::Value>,
    }
    let message = match serde_json::from_slice::<Body>(&answer.body) {
        Ok(body) if body.errors.is_empty() => body.message,
        Ok(body) => {
            let details = body.errors.iter().map(|e| match e.get("message").and_then(|m| m.as_str()) {
                Some(text) => text.to_owned(),
                None => e.to_string(),
            });
            format!("{} ({})", body.message, details.collect::<Vec<_>>().join("; "))
        }
        Err(_) => String::from_utf8_lossy(&answer.body).chars().take(300).collect(),
    };
    let scopes = |name: &str| answer.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let hint = match answer.status.as_u16() {
        401 => "; check the token in --github-token-path".to_owned(),
        403 => match (scopes("x-oauth-scopes"), scopes("x-accepted-oauth-scopes")) {
            (Some(have), Some(want)) => {
                format!("; the token has the scopes [{have}], the call needs one of [{want}]")
            }
            _ => "; the token's user may lack rights there".to_owned(),
        },
        _ => String::new(),
    };
    Error::Status { method: call.method, path: call.path, status: answer.status, message, hint }
}

#[cfg(test)]
mod tests;
