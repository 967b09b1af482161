//! [`Opener`]: turns bucket strings into open buckets, with the credentials of the component.

use crate::file::FileStore;
use crate::remote::RemoteStore;
use crate::{Bucket, BucketUrl, Result, Scheme};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often and how long a remote store is tried again: on connection errors, 429 and 5xx.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Tries after the first one.
    pub retries: usize,
    /// First pause; it doubles.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// No more tries after this time.
    pub give_up_after: Duration,
    /// Time limit of one request.
    pub request_timeout: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            retries: 6,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            give_up_after: Duration::from_secs(120),
            request_timeout: Duration::from_secs(120),
        }
    }
}

/// Credentials and endpoints. Files are read when a bucket is opened.
#[derive(Debug, Clone, Default)]
pub struct StorageOptions {
    /// A Google service account key or other application credentials (`gcs_credentials_file`). Without it:
    /// GOOGLE_APPLICATION_CREDENTIALS, else the metadata server (workload identity).
    pub gcs_credentials_file: Option<PathBuf>,
    /// Prow's S3 JSON file (`s3_credentials_file`): region, endpoint, insecure, s3_force_path_style,
    /// access_key, secret_key. Without it: the AWS_* environment, web identity, or instance metadata.
    pub s3_credentials_file: Option<PathBuf>,
    /// Public buckets, read only: sign nothing.
    pub anonymous: bool,
    /// Another endpoint for `gs://`, such as an emulator.
    pub gcs_endpoint: Option<String>,
    /// Retries of the remote stores.
    pub retry: Retry,
}

/// Opens buckets, and keeps each open one: they hold connections and tokens.
pub struct Opener {
    options: StorageOptions,
    open: Mutex<HashMap<BucketUrl, Bucket>>,
}

impl Opener {
    /// An opener with these credentials.
    pub fn new(options: StorageOptions) -> Self {
        Opener { options, open: Mutex::new(HashMap::new()) }
    }

    /// Opens a bucket, or gives the one that is open. No request is made yet; a `file` bucket's directory is
    /// made when it is first written to.
    pub fn open(&self, url: &BucketUrl) -> Result<Bucket> {
        // A panic while holding the lock leaves the map whole: it is only ever inserted into.
        if let Some(bucket) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(url) {
            return Ok(bucket.clone());
        }
        let bucket = match url.scheme() {
            Scheme::File => Bucket::file(url.clone(), FileStore::new(url)),
            Scheme::Gs | Scheme::S3 => Bucket::remote(url.clone(), RemoteStore::new(url, &self.options)?),
        };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(url.clone(), bucket.clone());
        Ok(bucket)
    }

    /// Parses a bucket string and opens it.
    pub fn open_str(&self, bucket: &str) -> Result<Bucket> {
        self.open(&BucketUrl::parse(bucket)?)
    }
}
