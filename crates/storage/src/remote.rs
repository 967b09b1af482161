//! `gs://` and `s3://` over the object_store crate.

use crate::bucket::{Attributes, Listing, Object, ObjectMeta, PART};
use crate::error::chain;
use crate::{BucketUrl, Result, Scheme, StorageError, StorageOptions};
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{
    Attribute, BackoffConfig, ClientOptions, DynObjectStore, Error as StoreError, GetOptions, GetRange,
    GetResult, MultipartUpload, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    RetryConfig,
};
use serde::Deserialize;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// How many parts of one object are under way at once.
const PARTS_AT_ONCE: usize = 3;

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

/// A bucket of GCS or S3.
pub(crate) struct RemoteStore {
    url: BucketUrl,
    store: Arc<DynObjectStore>,
}

impl RemoteStore {
    pub(crate) fn new(url: &BucketUrl, options: &StorageOptions) -> Result<Self> {
        // The first installed provider wins; a component that chose its own has done so already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store: Arc<DynObjectStore> = match url.scheme() {
            Scheme::S3 => Arc::new(s3(url, options)?),
            Scheme::Gs | Scheme::File => Arc::new(gcs(url, options)?),
        };
        Ok(RemoteStore { url: url.clone(), store })
    }

    pub(crate) async fn put_bytes(
        &self,
        name: &str,
        key: &str,
        bytes: Bytes,
        attributes: &Attributes,
    ) -> Result<()> {
        if bytes.len() > PART {
            let body = futures::stream::once(async { Ok(bytes) }).boxed();
            return self.put_stream(name, key, body, attributes).await;
        }
        self.put_once(name, key, bytes, attributes).await
    }

    async fn put_once(&self, name: &str, key: &str, bytes: Bytes, attributes: &Attributes) -> Result<()> {
        let options = PutOptions { attributes: to_store(attributes), ..PutOptions::default() };
        let result = self.store.put_opts(&self.key(name, key)?, bytes.into(), options).await;
        result.map(drop).map_err(|e| self.error("write", name, e))
    }

    pub(crate) async fn put_stream(
        &self,
        name: &str,
        key: &str,
        mut stream: BoxStream<'static, std::io::Result<Bytes>>,
        attributes: &Attributes,
    ) -> Result<()> {
        let source_failed =
            |source| StorageError::Source { bucket: self.url.to_string(), name: name.to_owned(), source };
        let mut buffer = BytesMut::new();
        let mut upload: Option<Parts> = None;
        loop {
            let piece = stream.next().await.transpose();
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    if let Some(parts) = upload {
                        parts.abort().await;
                    }
                    return Err(source_failed(error));
                }
            };
            let ended = piece.is_none();
            if let Some(piece) = piece {
                buffer.extend_from_slice(&piece);
            }
            while buffer.len() > PART || (ended && upload.is_some() && !buffer.is_empty()) {
                let parts = match &mut upload {
                    Some(parts) => parts,
                    None => {
                        let options =
                            PutMultipartOptions { attributes: to_store(attributes), ..Default::default() };
                        let inner = self.store.put_multipart_opts(&self.key(name, key)?, options).await;
                        let inner = inner.map_err(|e| self.error("write", name, e))?;
                        upload.insert(Parts { inner, tasks: tokio::task::JoinSet::new() })
                    }
                };
                let part = buffer.split_to(buffer.len().min(PART)).freeze();
                if let Err(error) = parts.put(part).await {
                    if let Some(parts) = upload {
                        parts.abort().await;
                    }
                    return Err(self.error("write", name, error));
                }
            }
            if ended {
                break;
            }
        }
        match upload {
            None => self.put_once(name, key, buffer.freeze(), attributes).await,
            Some(parts) => parts.finish().await.map_err(|e| self.error("write", name, e)),
        }
    }

    pub(crate) async fn put_if_absent(
        &self,
        name: &str,
        key: &str,
        bytes: Bytes,
        attributes: &Attributes,
    ) -> Result<bool> {
        let options =
            PutOptions { mode: PutMode::Create, attributes: to_store(attributes), ..PutOptions::default() };
        match self.store.put_opts(&self.key(name, key)?, bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.error("write", name, error)),
        }
    }

    pub(crate) async fn get(&self, name: &str, key: &str) -> Result<Object> {
        let result = self.request(name, key, GetOptions::default()).await?;
        let meta = self.meta(name, &result);
        let (url, name) = (self.url.clone(), name.to_owned());
        let stream = result.into_stream().map_err(move |e| store_error(&url, "read", &name, e)).boxed();
        Ok(Object { meta, stream })
    }

    pub(crate) async fn get_range(&self, name: &str, key: &str, range: Range<u64>) -> Result<Bytes> {
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        match self.store.get_opts(&self.key(name, key)?, options).await {
            Ok(result) => result.bytes().await.map_err(|e| self.error("read", name, e)),
            Err(error) => {
                // A range beyond the end is 416 from the store; the caller's contract says: nothing there.
                if !matches!(error, StoreError::NotFound { .. })
                    && self.head(name, key).await.is_ok_and(|meta| meta.size <= range.start)
                {
                    return Ok(Bytes::new());
                }
                Err(self.error("read", name, error))
            }
        }
    }

    pub(crate) async fn head(&self, name: &str, key: &str) -> Result<ObjectMeta> {
        let result = self.request(name, key, GetOptions { head: true, ..GetOptions::default() }).await?;
        Ok(self.meta(name, &result))
    }

    pub(crate) async fn list(&self, prefix: &str, key: &str) -> Result<Listing> {
        let at = if key.is_empty() { None } else { Some(self.key(prefix, key)?) };
        let found =
            self.store.list_with_delimiter(at.as_ref()).await.map_err(|e| self.error("list", prefix, e))?;
        Ok(Listing {
            prefixes: found
                .common_prefixes
                .iter()
                .map(|p| format!("{}/", strip(&self.url, p.as_ref())))
                .collect(),
            objects: found.objects.iter().map(|o| listed(&self.url, o)).collect(),
        })
    }

    pub(crate) fn list_all(&self, key: &str) -> BoxStream<'static, Result<ObjectMeta>> {
        let at = match key.is_empty() {
            true => None,
            false => match self.key(key, key) {
                Ok(at) => Some(at),
                Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
            },
        };
        let (url, at_text) = (self.url.clone(), key.to_owned());
        self.store
            .list(at.as_ref())
            .map(move |entry| match entry {
                Ok(entry) => Ok(listed(&url, &entry)),
                Err(error) => Err(store_error(&url, "list", &at_text, error)),
            })
            .boxed()
    }

    pub(crate) async fn delete(&self, name: &str, key: &str) -> Result<()> {
        match self.store.delete(&self.key(name, key)?).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("delete", name, error)),
        }
    }

    async fn request(&self, name: &str, key: &str, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(&self.key(name, key)?, options).await.map_err(|e| self.error("read", name, e))
    }

    fn key(&self, name: &str, key: &str) -> Result<Key> {
        Key::parse(key).map_err(|_| StorageError::BadName {
            bucket: self.url.to_string(),
            name: name.to_owned(),
            why: "the store cannot address it",
        })
    }

    fn error(&self, action: &'static str, name: &str, error: StoreError) -> StorageError {
        store_error(&self.url, action, name, error)
    }

    fn meta(&self, name: &str, result: &GetResult) -> ObjectMeta {
        let mut attributes = Attributes::default();
        for (key, value) in &result.attributes {
            let value = value.to_string();
            match key {
                Attribute::ContentType => attributes.content_type = Some(value),
                Attribute::ContentEncoding => attributes.content_encoding = Some(value),
                Attribute::CacheControl => attributes.cache_control = Some(value),
                Attribute::Metadata(key) => {
                    attributes.metadata.insert(key.to_string(), value);
                }
                _ => {}
            }
        }
        ObjectMeta {
            name: name.to_owned(),
            size: result.meta.size,
            updated: result.meta.last_modified.into(),
            attributes,
        }
    }
}

/// A multipart upload with a bounded number of parts under way.
struct Parts {
    inner: Box<dyn MultipartUpload>,
    tasks: tokio::task::JoinSet<object_store::Result<()>>,
}

impl Parts {
    async fn put(&mut self, part: Bytes) -> object_store::Result<()> {
        while self.tasks.len() >= PARTS_AT_ONCE {
            self.join_one().await?;
        }
        self.tasks.spawn(self.inner.put_part(PutPayload::from(part)));
        Ok(())
    }

    async fn join_one(&mut self) -> object_store::Result<()> {
        match self.tasks.join_next().await {
            Some(done) => done?,
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> object_store::Result<()> {
        while !self.tasks.is_empty() {
            if let Err(error) = self.join_one().await {
                self.abort().await;
                return Err(error);
            }
        }
        self.inner.complete().await.map(drop)
    }

    async fn abort(mut self) {
        self.tasks.shutdown().await;
        if let Err(error) = self.inner.abort().await {
            tracing::warn!(%error, "an unfinished multipart upload was left in the store");
        }
    }
}

fn store_error(url: &BucketUrl, action: &'static str, name: &str, error: StoreError) -> StorageError {
    let (bucket, name) = (url.to_string(), name.to_owned());
    match error {
        StoreError::NotFound { .. } => StorageError::NotFound { bucket, name },
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            StorageError::Denied { action, bucket, name, why: chain(&error) }
        }
        other => StorageError::Failed { action, bucket, name, why: chain(&other) },
    }
}

fn strip<'a>(url: &BucketUrl, key: &'a str) -> &'a str {
    match url.prefix() {
        "" => key,
        prefix => key.strip_prefix(prefix).map_or(key, |rest| rest.trim_start_matches('/')),
    }
}

fn listed(url: &BucketUrl, entry: &object_store::ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: strip(url, entry.location.as_ref()).to_owned(),
        size: entry.size,
        updated: entry.last_modified.into(),
        attributes: Attributes::default(),
    }
}

fn to_store(attributes: &Attributes) -> object_store::Attributes {
    let mut out = object_store::Attributes::new();
    let single = [
        (Attribute::ContentType, &attributes.content_type),
        (Attribute::ContentEncoding, &attributes.content_encoding),
        (Attribute::CacheControl, &attributes.cache_control),
    ];
    for (key, value) in single {
        if let Some(value) = value {
            out.insert(key, value.clone().into());
        }
    }
    for (key, value) in &attributes.metadata {
        out.insert(Attribute::Metadata(key.clone().into()), value.clone().into());
    }
    out
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

fn gcs(url: &BucketUrl, options: &StorageOptions) -> Result<impl object_store::ObjectStore> {
    let endpoint = options.gcs_endpoint.as_deref().unwrap_or_default();
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(url.bucket())
        .with_client_options(client(options, endpoint.starts_with("http://")))
        .with_retry(retry(options));
    if !endpoint.is_empty() {
        builder = builder.with_base_url(endpoint);
    }
    if options.anonymous {
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
        Some(path) if !options.anonymous => {
            credentials_error(url, path, format!("it is not a usable key: {}", kind_only(&e)))
        }
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

fn s3(url: &BucketUrl, options: &StorageOptions) -> Result<impl object_store::ObjectStore> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(url.bucket()).with_retry(retry(options));
    let mut allow_http = false;
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
    builder.with_client_options(client(options, allow_http)).build().map_err(|e| StorageError::Failed {
        action: "open",
        bucket: url.to_string(),
        name: String::new(),
        why: chain(&e),
    })
}
