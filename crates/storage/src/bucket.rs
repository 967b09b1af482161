//! [`Bucket`]: one set of operations over every kind of store.

use crate::file::FileStore;
use crate::remote::RemoteStore;
use crate::{BucketUrl, Result, StorageError};
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::AsyncReadExt;

/// What is stored beside an object's bytes. `None` leaves the choice to the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`, such as `gzip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// User metadata: on GCS `x-goog-meta-<key>`, on S3 `x-amz-meta-<key>`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Attributes {
    /// Only a content type.
    pub fn content_type(media: impl Into<String>) -> Self {
        Attributes { content_type: Some(media.into()), ..Attributes::default() }
    }

    /// With one metadata entry more.
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its name in the bucket, without the bucket's own prefix.
    pub name: String,
    /// Bytes as stored (for `Content-Encoding: gzip` the compressed size).
    pub size: u64,
    /// Last change.
    pub updated: SystemTime,
    /// Attributes; in listings always empty.
    pub attributes: Attributes,
}

/// The bytes of an object, in pieces.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// An object being read: bytes as stored, never decompressed here.
pub struct Object {
    /// Size, type, encoding.
    pub meta: ObjectMeta,
    /// Its bytes.
    pub stream: ByteStream,
}

/// One level of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// "Directories", each ending in `/`, sorted.
    pub prefixes: Vec<String>,
    /// Objects directly below the prefix, sorted by name.
    pub objects: Vec<ObjectMeta>,
}

#[derive(Clone)]
enum Store {
    File(Arc<FileStore>),
    Remote(Arc<RemoteStore>),
}

/// An open bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    url: BucketUrl,
    store: Store,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({})", self.url)
    }
}

/// Streams up to this size go up in one request; above it in parts of this size.
pub(crate) const PART: usize = 8 << 20;

impl Bucket {
    pub(crate) fn file(url: BucketUrl, store: FileStore) -> Self {
        Bucket { url, store: Store::File(Arc::new(store)) }
    }

    pub(crate) fn remote(url: BucketUrl, store: RemoteStore) -> Self {
        Bucket { url, store: Store::Remote(Arc::new(store)) }
    }

    /// Which bucket this is.
    pub fn url(&self) -> &BucketUrl {
        &self.url
    }

    /// Writes an object whole, replacing what was there.
    pub async fn put_bytes(&self, name: &str, bytes: Bytes, attributes: &Attributes) -> Result<()> {
        let key = self.key(name)?;
        match &self.store {
            Store::File(store) => {
                let body = futures::stream::once(async { Ok(bytes) }).boxed();
                store.put(name, &key, body, attributes).await
            }
            Store::Remote(store) => store.put_bytes(name, &key, bytes, attributes).await,
        }
    }

    /// Writes an object from a stream. It appears only when the stream has ended well; a stream that fails
    /// leaves what was there before. Memory stays at a few parts of 8 MiB.
    pub async fn put_stream(
        &self,
        name: &str,
        stream: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
        attributes: &Attributes,
    ) -> Result<()> {
        let key = self.key(name)?;
        match &self.store {
            Store::File(store) => store.put(name, &key, stream.boxed(), attributes).await,
            Store::Remote(store) => store.put_stream(name, &key, stream.boxed(), attributes).await,
        }
    }

    /// Writes an object from a file's content, up to the length the file has when it is opened: a log that
    /// still grows gives a consistent object.
    pub async fn put_file(&self, name: &str, path: &Path, attributes: &Attributes) -> Result<()> {
        let open = async {
            let file = tokio::fs::File::open(path).await?;
            let length = file.metadata().await?.len();
            Ok((file, length))
        };
        let (file, length) = open.await.map_err(|source| StorageError::Source {
            bucket: self.url.to_string(),
            name: name.to_owned(),
            source,
        })?;
        self.put_stream(name, read_chunks(file.take(length)), attributes).await
    }

    /// Writes an object only if there is none of that name. Gives true if it was written, false if one was
    /// there already.
    pub async fn put_if_absent(&self, name: &str, bytes: Bytes, attributes: &Attributes) -> Result<bool> {
        let key = self.key(name)?;
        match &self.store {
            Store::File(store) => store.put_if_absent(name, &key, bytes, attributes).await,
            Store::Remote(store) => store.put_if_absent(name, &key, bytes, attributes).await,
        }
    }

    /// Opens an object for reading.
    pub async fn get(&self, name: &str) -> Result<Object> {
        let key = self.key(name)?;
        match &self.store {
            Store::File(store) => store.get(name, &key).await,
            Store::Remote(store) => store.get(name, &key).await,
        }
    }

    /// Reads an object whole; an object larger than `limit` bytes is an error.
    pub async fn get_bytes(&self, name: &str, limit: u64) -> Result<Bytes> {
        let object = self.get(name).await?;
        let too_large =
            || StorageError::TooLarge { bucket: self.url.to_string(), name: name.to_owned(), limit };
        if object.meta.size > limit {
            return Err(too_large());
        }
        let all = object
            .stream
            .try_fold(BytesMut::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await?;
        if all.len() as u64 > limit { Err(too_large()) } else { Ok(all.freeze()) }
    }

    /// Reads some of an object's stored bytes; a range that reaches beyond its end gives what there is.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let key = self.key(name)?;
        if range.start >= range.end {
            return Ok(Bytes::new());
        }
        match &self.store {
            Store::File(store) => store.get_range(name, &key, range).await,
            Store::Remote(store) => store.get_range(name, &key, range).await,
        }
    }

    /// Size, time and attributes of an object.
    pub async fn head(&self, name: &str) -> Result<ObjectMeta> {
        let key = self.key(name)?;
        match &self.store {
            Store::File(store) => store.head(name, &key).await,
            Store::Remote(store) => store.head(name, &key).await,
        }
    }

    /// True if there is such an object.
    pub async fn exists(&self, name: &str) -> Result<bool> {
        match self.head(name).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One level: what lies directly below `prefix`, which is `""` or a "directory" with or without its slash.
    /// A prefix that nothing lies below gives an empty listing.
    pub async fn list(&self, prefix: &str) -> Result<Listing> {
        let prefix = prefix.trim_end_matches('/');
        let key = if prefix.is_empty() { self.url.prefix().to_owned() } else { self.key(prefix)? };
        let mut listing = match &self.store {
            Store::File(store) => store.list(prefix, &key).await?,
            Store::Remote(store) => store.list(prefix, &key).await?,
        };
        listing.prefixes.sort();
        listing.objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// Every object below a "directory", in no particular order.
    pub fn list_all(&self, prefix: &str) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.trim_end_matches('/').to_owned();
        let key = if prefix.is_empty() { Ok(self.url.prefix().to_owned()) } else { self.key(&prefix) };
        let key = match key {
            Ok(key) => key,
            Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
        };
        match &self.store {
            Store::File(store) => store.list_all(key),
            Store::Remote(store) => store.list_all(&key),
        }
    }

    /// Removes an object. One that is not there is not an error.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let key = self.key(name)?;
        match &self.store {
            Store::File(store) => store.delete(name, &key).await,
            Store::Remote(store) => store.delete(name, &key).await,
        }
    }

    /// The object's name within the store, the bucket's own prefix in front.
    fn key(&self, name: &str) -> Result<String> {
        let why = if name.is_empty() {
            "it is empty"
        } else if name.len() > 1024 {
            "it is longer than 1024 bytes"
        } else if name.starts_with('/') || name.ends_with('/') || name.contains("//") {
            "it has an empty segment"
        } else if name.split('/').any(|s| matches!(s, "." | "..")) {
            "it has a '.' or '..' segment"
        } else if name.chars().any(|c| c.is_ascii_control()) {
            "it contains a control character"
        } else if self.url.prefix().is_empty() {
            return Ok(name.to_owned());
        } else {
            return Ok(format!("{}/{name}", self.url.prefix()));
        };
        Err(StorageError::BadName {
            bucket: self.url.to_string(),
            name: name.chars().take(200).collect(),
            why,
        })
    }
}

/// Reads in pieces of 256 KiB: large enough to be quick, small enough that many uploads at once stay small.
pub(crate) fn read_chunks(
    reader: impl tokio::io::AsyncRead + Send + Unpin + 'static,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    futures::stream::try_unfold(reader, |mut reader| async move {
        let mut buffer = BytesMut::with_capacity(256 << 10);
        while buffer.len() < buffer.capacity() {
            if reader.read_buf(&mut buffer).await? == 0 {
                break;
            }
        }
        Ok(if buffer.is_empty() { None } else { Some((buffer.freeze(), reader)) })
    })
}
