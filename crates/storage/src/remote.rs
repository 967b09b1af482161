//! `gs://` and `s3://` over the object_store crate.

use crate::bucket::{Attributes, Listing, Object, ObjectMeta, PART};
use crate::connect::{gcs, s3};
use crate::error::chain;
use crate::{BucketUrl, Result, Scheme, StorageError, StorageOptions};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{
    Attribute, DynObjectStore, Error as StoreError, GetOptions, GetRange, GetResult, MultipartUpload,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload,
};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How many parts of one object are under way at once.
const PARTS_AT_ONCE: usize = 2;
/// Uploads that have collected more than this count as large.
const LARGE: usize = 512 << 10;
/// How many large ones there are at once: with the parts of each that is what they need of memory.
const LARGE_AT_ONCE: usize = 2;

/// A bucket of GCS or S3.
pub(crate) struct RemoteStore {
    url: BucketUrl,
    store: Arc<DynObjectStore>,
    large: Semaphore,
}

impl RemoteStore {
    pub(crate) fn new(url: &BucketUrl, options: &StorageOptions) -> Result<Self> {
        // The first installed provider wins; a component that chose its own has done so already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store: Arc<DynObjectStore> = match url.scheme() {
            Scheme::S3 => Arc::new(s3(url, options)?),
            Scheme::Gs | Scheme::File => Arc::new(gcs(url, options)?),
        };
        Ok(RemoteStore { url: url.clone(), store, large: Semaphore::new(LARGE_AT_ONCE) })
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
        self.put_once(name, key, bytes.into(), attributes).await
    }

    async fn put_once(
        &self,
        name: &str,
        key: &str,
        payload: PutPayload,
        attributes: &Attributes,
    ) -> Result<()> {
        let options = PutOptions { attributes: to_store(attributes), ..PutOptions::default() };
        let result = self.store.put_opts(&self.key(name, key)?, payload, options).await;
        result.map(drop).map_err(|e| self.error("write", name, e))
    }

    pub(crate) async fn put_stream(
        &self,
        name: &str,
        key: &str,
        mut stream: BoxStream<'static, std::io::Result<Bytes>>,
        attributes: &Attributes,
    ) -> Result<()> {
        let key = self.key(name, key)?;
        let mut part = Part::default();
        let mut upload: Option<Parts> = None;
        let mut turn = None;
        let pieces = async {
            while let Some(piece) = stream.next().await {
                let mut piece = piece.map_err(|source| StorageError::Source {
                    bucket: self.url.to_string(),
                    name: name.to_owned(),
                    source,
                })?;
                if turn.is_none() && part.length + piece.len() > LARGE {
                    // It is never closed, so this cannot fail; if it could, memory would be all that is at stake.
                    turn = self.large.acquire().await.ok();
                }
                while part.length + piece.len() > PART {
                    part.push(piece.split_to(PART - part.length));
                    let parts = match &mut upload {
                        Some(parts) => parts,
                        None => {
                            let attributes = to_store(attributes);
                            let options = PutMultipartOptions { attributes, ..Default::default() };
                            let inner = self.store.put_multipart_opts(&key, options).await;
                            let inner = inner.map_err(|e| self.error("write", name, e))?;
                            upload.insert(Parts { inner, tasks: tokio::task::JoinSet::new() })
                        }
                    };
                    let full = std::mem::take(&mut part);
                    parts.put(full.payload()).await.map_err(|e| self.error("write", name, e))?;
                }
                part.push(piece);
            }
            if let Some(parts) = &mut upload {
                let last = std::mem::take(&mut part);
                parts.put(last.payload()).await.map_err(|e| self.error("write", name, e))?;
            }
            Ok(())
        };
        match (pieces.await, upload) {
            (Ok(()), None) => self.put_once(name, key.as_ref(), part.payload(), attributes).await,
            (Ok(()), Some(parts)) => parts.finish().await.map_err(|e| self.error("write", name, e)),
            (Err(error), Some(parts)) => {
                parts.abort().await;
                Err(error)
            }
            (Err(error), None) => Err(error),
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

/// The pieces of an object, or of a part of it, that are there so far.
#[derive(Default)]
struct Part {
    pieces: Vec<Bytes>,
    length: usize,
}

impl Part {
    fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.pieces.push(piece);
    }

    fn payload(self) -> PutPayload {
        self.pieces.into_iter().collect()
    }
}

/// A multipart upload with a bounded number of parts under way.
struct Parts {
    inner: Box<dyn MultipartUpload>,
    tasks: tokio::task::JoinSet<object_store::Result<()>>,
}

impl Parts {
    async fn put(&mut self, part: PutPayload) -> object_store::Result<()> {
        while self.tasks.len() >= PARTS_AT_ONCE {
            self.join_one().await?;
        }
        self.tasks.spawn(self.inner.put_part(part));
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
        StoreError::NotFound { .. } if action == "write" => StorageError::NoBucket { bucket, name },
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
