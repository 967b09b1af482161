//! What a utility needs of the machine besides files: environment, time, waiting. Tests hand in their own.

use crate::UtilityError;
use futures::future::BoxFuture;
use prow_storage::Retry;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Environment variables.
#[derive(Debug, Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// Those of this process; what is not UTF-8 is taken as near as it can be.
    pub fn of_process() -> Self {
        let lossy = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
        Env(std::env::vars_os().map(|(k, v)| (lossy(k), lossy(v))).collect())
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A variable that holds JSON: `None` if it is not set. Its content may hold secrets in odd places, so the
    /// message gives the position only.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, UtilityError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|e| {
            UtilityError::Options(format!(
                "{name} is not the JSON that it should be: {e}; plank writes it, who changed it?"
            ))
        })
    }

    /// A variable that must be there and holds JSON.
    pub(crate) fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T, UtilityError> {
        self.json(name)?
            .ok_or_else(|| UtilityError::Options(format!("the environment variable {name} is not set")))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Env(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// Time, waiting for it to pass, and how patiently storage is tried.
#[derive(Clone)]
pub struct Host {
    retry: Retry,
    now: Arc<dyn Fn() -> i64 + Send + Sync>,
    sleep: Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Host {
    /// The machine's clock.
    pub fn system() -> Self {
        Host::new(|| jiff::Timestamp::now().as_second(), |d| Box::pin(tokio::time::sleep(d)))
    }

    /// Unix seconds, and a way to wait.
    pub fn new(
        now: impl Fn() -> i64 + Send + Sync + 'static,
        sleep: impl Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Host { retry: Retry::default(), now: Arc::new(now), sleep: Arc::new(sleep) }
    }

    /// With other retries of single requests to storage.
    pub fn with_retry(self, retry: Retry) -> Self {
        Host { retry, ..self }
    }

    pub(crate) fn retry(&self) -> Retry {
        self.retry
    }

    pub(crate) fn now(&self) -> i64 {
        (self.now)()
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        (self.sleep)(duration).await
    }
}
