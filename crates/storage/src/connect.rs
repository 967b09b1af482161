//! Connections to `gs://` and `s3://`: credentials from files, the environment or the machine, endpoints, and patience.

use crate::error::chain;
use crate::{BucketUrl, Result, StorageError, StorageOptions};
use async_trait::async_trait;
use http::HeaderValue;
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientOptions, Error as StoreError, RetryConfig};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What Google's own clients look at to find an emulator; they then send no credentials.
const EMULATOR: &str = "STORAGE_EMULATOR_HOST";

/// Prow's own form of S3 credentials.
#[derive(Deserialize, Default)]
#[serde(default)]
struct S3File {
    region: String,
    endpoint: String,
    insecure: bool,
    s3_force_path_style: bool,
    access_key: String,
    secret_key: String,
}

fn retry(options: &StorageOptions) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: options.retry.first_pause,
            max_backoff: options.retry.longest_pause,
            base: 2.0,
        },
        max_retries: options.retry.retries,
        retry_timeout: options.retry.give_up_after,
    }
}

fn credentials_error(url: &BucketUrl, path: &Path, why: impl ToString) -> StorageError {
    StorageError::Credentials {
        path: path.display().to_string(),
        bucket: url.to_string(),
        why: why.to_string(),
    }
}

fn client(options: &StorageOptions, allow_http: bool) -> ClientOptions {
    ClientOptions::new().with_timeout(options.retry.request_timeout).with_allow_http(allow_http)
}

pub(crate) fn gcs(url: &BucketUrl, options: &StorageOptions) -> Result<impl object_store::ObjectStore> {
    let emulator = std::env::var(EMULATOR).ok().filter(|host| !host.is_empty());
    let emulator = emulator.map(|host| if host.contains("://") { host } else { format!("http://{host}") });
    let anonymous = options.anonymous || (options.gcs_endpoint.is_none() && emulator.is_some());
    let endpoint = options.gcs_endpoint.clone().or(emulator).unwrap_or_default();
    let endpoint = endpoint.trim_end_matches('/');
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(url.bucket())
        .with_client_options(client(options, endpoint.starts_with("http://")))
        .with_http_connector(Patient { longest: options.retry.give_up_after })
        .with_retry(retry(options));
    if !endpoint.is_empty() {
        builder = builder.with_base_url(endpoint);
    }
    if anonymous {
        // For reads; writes to a public endpoint (an emulator) still want some token, so they get an empty one.
        let empty = object_store::gcp::GcpCredential { bearer: String::new() };
        let provider = object_store::StaticCredentialProvider::new(empty);
        builder = builder.with_skip_signature(true).with_credentials(Arc::new(provider));
    } else if let Some(path) = &options.gcs_credentials_file {
        let text = std::fs::read(path).map_err(|e| credentials_error(url, path, e))?;
        // Only the shape is checked here, so that the message can name the file without showing its content.
        let json: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|e| credentials_error(url, path, format!("it is not JSON (line {})", e.line())))?;
        let Some(path_text) = path.to_str() else {
            return Err(credentials_error(url, path, "its path is not UTF-8"));
        };
        builder = if json.get("private_key").is_some() {
            builder.with_service_account_path(path_text)
        } else {
            builder.with_application_credentials(path_text)
        };
    }
    builder.build().map_err(|e| match &options.gcs_credentials_file {
        Some(path) if !anonymous => credentials_error(
            url,
            path,
            format!("it is neither a usable service account key nor a user's credentials: {}", kind_only(&e)),
        ),
        _ => StorageError::Failed {
            action: "open",
            bucket: url.to_string(),
            name: String::new(),
            why: chain(&e),
        },
    })
}

/// The first words of an error: the causes below them may quote key material.
fn kind_only(error: &StoreError) -> String {
    error.to_string().split(':').next().unwrap_or_default().to_owned()
}

pub(crate) fn s3(url: &BucketUrl, options: &StorageOptions) -> Result<impl object_store::ObjectStore> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(url.bucket()).with_retry(retry(options));
    // Part of the options that ours replace.
    let mut allow_http = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value == "true");
    if let Some(path) = &options.s3_credentials_file {
        let text = std::fs::read(path).map_err(|e| credentials_error(url, path, e))?;
        let file: S3File = serde_json::from_slice(&text).map_err(|e| {
            credentials_error(
                url,
                path,
                format!("it is not the expected JSON (line {}, column {})", e.line(), e.column()),
            )
        })?;
        if !file.region.is_empty() {
            builder = builder.with_region(file.region);
        }
        if !file.endpoint.is_empty() {
            let endpoint = match file.endpoint.contains("://") {
                true => file.endpoint,
                false => format!("{}://{}", if file.insecure { "http" } else { "https" }, file.endpoint),
            };
            allow_http = file.insecure || endpoint.starts_with("http://");
            // A custom endpoint without path style is virtual hosted: the builder wants the bucket in it.
            builder = if file.s3_force_path_style {
                builder.with_endpoint(endpoint)
            } else {
                builder.with_endpoint(endpoint.replacen("://", &format!("://{}.", url.bucket()), 1))
            };
        }
        builder = builder.with_virtual_hosted_style_request(!file.s3_force_path_style);
        if !file.access_key.is_empty() {
            builder = builder.with_access_key_id(file.access_key).with_secret_access_key(file.secret_key);
        }
    }
    if options.anonymous {
        builder = builder.with_skip_signature(true);
    }
    let builder = builder
        .with_client_options(client(options, allow_http))
        .with_http_connector(Patient { longest: options.retry.give_up_after });
    builder.build().map_err(|e| StorageError::Failed {
        action: "open",
        bucket: url.to_string(),
        name: String::new(),
        why: chain(&e),
    })
}

/// In the place of an object's version and time that a store does not tell.
const UNTOLD: [(&str, &str); 2] = [("etag", "\"-\""), ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")];

/// Connects as usual. Waits as long as an overloaded store asks for before it is tried again, and does without the
/// headers that nothing here depends on: emulators leave them out.
#[derive(Debug)]
struct Patient {
    longest: Duration,
}

impl HttpConnector for Patient {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(PatientClient { inner, longest: self.longest }))
    }
}

#[derive(Debug)]
struct PatientClient {
    inner: HttpClient,
    longest: Duration,
}

#[async_trait]
impl HttpService for PatientClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut response = self.inner.execute(request).await?;
        let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        if let Some(pause) = asked_for(response.status().as_u16(), header, self.longest) {
            tracing::info!("the store asks to be left alone for {pause:?}");
            tokio::time::sleep(pause).await;
        }
        for (name, unknown) in UNTOLD {
            response.headers_mut().entry(name).or_insert(HeaderValue::from_static(unknown));
        }
        Ok(response)
    }
}

/// The pause that an answer asks for in seconds; a date is left to the usual backoff.
fn asked_for(status: u16, retry_after: Option<&str>, longest: Duration) -> Option<Duration> {
    let seconds: u64 = retry_after.filter(|_| matches!(status, 429 | 503))?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(longest)).filter(|pause| !pause.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_as_long_as_asked_for_within_reason() {
        let longest = Duration::from_secs(60);
        for (status, header, pause) in [
            (429, Some("7"), Some(7)),
            (503, Some(" 8 "), Some(8)),
            (429, Some("86400"), Some(60)),
            (429, Some("0"), None),
            (429, Some("Sun, 22 Nov 2026 07:00:00 GMT"), None),
            (429, Some("-1"), None),
            (429, None, None),
            (500, Some("7"), None),
            (200, Some("7"), None),
        ] {
            assert_eq!(
                asked_for(status, header, longest),
                pause.map(Duration::from_secs),
                "{status} {header:?}"
            );
        }
    }
}
