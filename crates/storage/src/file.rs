//! `file://`: a bucket that is a directory of this machine.
//!
//! An object is the file of its name, so people and tools read a job's directory as it is. Properties:
//! * a reader sees an object whole or not at all: bytes go to a temporary file outside the tree, then rename;
//! * attributes that the name does not already tell (an encoding, metadata, an unusual type) lie in
//!   `<root>/.prow/attributes/<name>.json`, never beside the object, and never show up in listings;
//! * nothing outside the root is read or written, whatever symbolic links lie in it.

use crate::bucket::{Attributes, Listing, Object, ObjectMeta, read_chunks};
use crate::{BucketUrl, Result, StorageError, media};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// Our own directory in the root; object names may not begin with it.
const HIDDEN: &str = ".prow";

/// What leaves room for an extension in the 255 bytes that a name may have.
const LONGEST_NAME: usize = 250;

/// Whoever has not written to a staged file for so long was killed before it could put it in place or remove it.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory used as a bucket.
pub(crate) struct FileStore {
    url: BucketUrl,
    root: PathBuf,
    swept: Once,
}

impl FileStore {
    pub(crate) fn new(url: &BucketUrl) -> Self {
        FileStore { url: url.clone(), root: url.directory().unwrap_or_default(), swept: Once::new() }
    }

    pub(crate) async fn put(
        &self,
        name: &str,
        key: &str,
        mut body: BoxStream<'static, io::Result<Bytes>>,
        attributes: &Attributes,
    ) -> Result<()> {
        let path = self.path(name, key)?;
        let staged = self.stage().map_err(|e| self.error("write", name, e))?;
        let file = staged.as_file().try_clone().map_err(|e| self.error("write", name, e))?;
        let mut file = tokio::fs::File::from_std(file);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|source| StorageError::Source {
                bucket: self.url.to_string(),
                name: name.to_owned(),
                source,
            })?;
            file.write_all(&piece).await.map_err(|e| self.error("write", name, e))?;
        }
        file.flush().await.map_err(|e| self.error("write", name, e))?;
        self.make_parent(&path).map_err(|e| self.error("write", name, e))?;
        // Attributes first: a reader that sees the new bytes must not miss that they are compressed.
        self.write_attributes(key, attributes).map_err(|e| self.error("write", name, e))?;
        staged.persist(&path).map_err(|e| self.error("write", name, e.error))?;
        Ok(())
    }

    pub(crate) async fn put_if_absent(
        &self,
        name: &str,
        key: &str,
        bytes: Bytes,
        attributes: &Attributes,
    ) -> Result<bool> {
        let path = self.path(name, key)?;
        let write = || {
            let mut staged = self.stage()?;
            io::Write::write_all(staged.as_file_mut(), &bytes)?;
            self.make_parent(&path)?;
            match staged.persist_noclobber(&path) {
                Ok(_) => self.write_attributes(key, attributes).map(|()| true),
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error.error),
            }
        };
        write().map_err(|e| self.error("write", name, e))
    }

    pub(crate) async fn get(&self, name: &str, key: &str) -> Result<Object> {
        let (file, meta) = self.open(name, key).await?;
        let (url, shown) = (self.url.clone(), name.to_owned());
        // Not beyond the size just reported, though the file be replaced by a longer one meanwhile.
        let stream = read_chunks(file.take(meta.size))
            .map(move |piece| piece.map_err(|e| file_error(&url, "read", &shown, e)))
            .boxed();
        Ok(Object { meta, stream })
    }

    pub(crate) async fn get_range(&self, name: &str, key: &str, range: Range<u64>) -> Result<Bytes> {
        let (mut file, meta) = self.open(name, key).await?;
        let end = range.end.min(meta.size);
        if range.start >= end {
            return Ok(Bytes::new());
        }
        let read = async {
            file.seek(io::SeekFrom::Start(range.start)).await?;
            let mut buffer = Vec::new();
            file.take(end - range.start).read_to_end(&mut buffer).await?;
            Ok(Bytes::from(buffer))
        };
        read.await.map_err(|e| self.error("read", name, e))
    }

    pub(crate) async fn head(&self, name: &str, key: &str) -> Result<ObjectMeta> {
        self.open(name, key).await.map(|(_, meta)| meta)
    }

    pub(crate) async fn list(&self, prefix: &str, key: &str) -> Result<Listing> {
        let directory = if key.is_empty() { self.root.clone() } else { self.path(prefix, key)? };
        let mut listing = Listing::default();
        for (name, meta) in self.entries(&directory, key).map_err(|e| self.error("list", prefix, e))? {
            match meta.is_dir() {
                true => listing.prefixes.push(format!("{name}/")),
                false => listing.objects.push(listed(name, &meta)),
            }
        }
        Ok(listing)
    }

    pub(crate) fn list_all(&self, key: String) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = FileStore { url: self.url.clone(), root: self.root.clone(), swept: Once::new() };
        // Depth first, one directory in memory at a time.
        futures::stream::try_unfold((store, vec![key]), |(store, mut pending)| async move {
            let Some(key) = pending.pop() else { return Ok(None) };
            let directory = if key.is_empty() { store.root.clone() } else { store.path(&key, &key)? };
            let mut objects = Vec::new();
            for (name, meta) in store.entries(&directory, &key).map_err(|e| store.error("list", &key, e))? {
                match meta.is_dir() {
                    true => pending.push(name),
                    false => objects.push(Ok(listed(name, &meta))),
                }
            }
            Ok(Some((futures::stream::iter(objects), (store, pending))))
        })
        .flat_map(|level| match level {
            Ok(objects) => objects.boxed(),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        })
        .boxed()
    }

    pub(crate) async fn delete(&self, name: &str, key: &str) -> Result<()> {
        let path = self.path(name, key)?;
        for path in [path, self.attributes_path(key)] {
            match tokio::fs::remove_file(&path).await {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(e) => return Err(self.error("delete", name, e)),
            }
        }
        Ok(())
    }

    /// Names, with the key in front, and what they are. Links are followed only while they stay inside; what is
    /// neither file nor directory is not an object.
    fn entries(&self, directory: &Path, key: &str) -> io::Result<Vec<(String, std::fs::Metadata)>> {
        let entries = match self.inside(directory).and_then(std::fs::read_dir) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(e) => return Err(e),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            if key.is_empty() && file_name == HIDDEN {
                continue;
            }
            let Ok(meta) = self.inside(&entry.path()).and_then(std::fs::metadata) else { continue };
            if meta.is_dir() || meta.is_file() {
                let name = if key.is_empty() { file_name } else { format!("{key}/{file_name}") };
                found.push((name, meta));
            }
        }
        Ok(found)
    }

    async fn open(&self, name: &str, key: &str) -> Result<(tokio::fs::File, ObjectMeta)> {
        let path = self.path(name, key)?;
        let open = async {
            let file = tokio::fs::File::open(self.inside(&path)?).await?;
            let meta = file.metadata().await?;
            if !meta.is_file() {
                return Err(ErrorKind::NotFound.into());
            }
            let attributes = self.read_attributes(key)?;
            Ok((file, ObjectMeta { attributes, ..listed(name.to_owned(), &meta) }))
        };
        open.await.map_err(|e: io::Error| self.error("read", name, e))
    }

    fn read_attributes(&self, key: &str) -> io::Result<Attributes> {
        let mut attributes: Attributes = match std::fs::read(self.attributes_path(key)) {
            Ok(json) => serde_json::from_slice(&json)?,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Attributes::default()
            }
            Err(e) => return Err(e),
        };
        if attributes.content_type.is_none() {
            attributes.content_type = media::extension(key).and_then(media::by_extension).map(str::to_owned);
        }
        Ok(attributes)
    }

    fn write_attributes(&self, key: &str, attributes: &Attributes) -> io::Result<()> {
        let path = self.attributes_path(key);
        let told_by_name = media::extension(key).and_then(media::by_extension);
        let mut untold = attributes.clone();
        if untold.content_type.as_deref() == told_by_name {
            untold.content_type = None;
        }
        if untold == Attributes::default() {
            return match std::fs::remove_file(&path) {
                Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Err(e),
                _ => Ok(()),
            };
        }
        let mut staged = self.stage()?;
        serde_json::to_writer(staged.as_file_mut(), &untold)?;
        self.make_parent(&path)?;
        staged.persist(&path).map_err(|e| e.error)?;
        Ok(())
    }

    fn attributes_path(&self, key: &str) -> PathBuf {
        let (directory, name) = key.rsplit_once('/').unwrap_or(("", key));
        let hidden = self.root.join(HIDDEN);
        if name.len() <= LONGEST_NAME {
            return hidden.join("attributes").join(format!("{key}.json"));
        }
        // A name may be as long as one can be, so there is no room for the extension: two names in another tree.
        let (first, rest) = name.split_at(name.floor_char_boundary(LONGEST_NAME / 2));
        hidden.join("long-attributes").join(directory).join(first).join(format!("{rest}.json"))
    }

    /// A temporary file on the same file system, readable like any object once it is in place.
    fn stage(&self) -> io::Result<tempfile::NamedTempFile> {
        let directory = self.root.join(HIDDEN).join("staging");
        std::fs::create_dir_all(&directory)?;
        self.swept.call_once(|| sweep(&directory, SystemTime::now().checked_sub(STALE)));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        tempfile::Builder::new().permissions(mode).tempfile_in(directory)
    }

    fn path(&self, name: &str, key: &str) -> Result<PathBuf> {
        if key == HIDDEN || key.starts_with(".prow/") {
            return Err(StorageError::BadName {
                bucket: self.url.to_string(),
                name: name.to_owned(),
                why: "names below .prow/ are the bucket's own",
            });
        }
        // `Bucket::key` has refused everything but plain segments.
        Ok(self.root.join(key))
    }

    fn make_parent(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        // Existing ancestors are checked before anything is made below them.
        let existing = parent.ancestors().find(|p| p.exists() && p.starts_with(&self.root));
        if let Some(existing) = existing {
            self.inside(existing)?;
        }
        std::fs::create_dir_all(parent)
    }

    /// The path with all links resolved, or an error if it leads out of the root.
    fn inside(&self, path: &Path) -> io::Result<PathBuf> {
        let (root, real) = (self.root.canonicalize()?, path.canonicalize()?);
        if real.starts_with(&root) {
            return Ok(real);
        }
        Err(io::Error::new(
            ErrorKind::PermissionDenied,
            "a symbolic link leads out of the bucket's directory",
        ))
    }

    fn error(&self, action: &'static str, name: &str, error: io::Error) -> StorageError {
        file_error(&self.url, action, name, error)
    }
}

fn listed(name: String, meta: &std::fs::Metadata) -> ObjectMeta {
    ObjectMeta {
        name,
        size: meta.len(),
        updated: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        attributes: Attributes::default(),
    }
}

/// Removes what was last written to before `limit`: a sidecar that is killed in the middle of an upload leaves its half
/// of the bytes, and nobody else looks here.
fn sweep(staging: &Path, limit: Option<SystemTime>) {
    let entries = std::fs::read_dir(staging).into_iter().flatten().flatten();
    for entry in entries {
        let written = entry.metadata().and_then(|meta| meta.modified());
        if written.ok().zip(limit).is_some_and(|(written, limit)| written < limit) {
            match std::fs::remove_file(entry.path()) {
                // Another process sweeps, too.
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    tracing::warn!("cannot remove the leftover {}: {e}", entry.path().display());
                }
                _ => {}
            }
        }
    }
}

fn file_error(url: &BucketUrl, action: &'static str, name: &str, error: io::Error) -> StorageError {
    let (bucket, name) = (url.to_string(), name.to_owned());
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory if action == "read" => {
            StorageError::NotFound { bucket, name }
        }
        // Trying again would not help, and a job may leave as many such names as it likes.
        ErrorKind::InvalidFilename => StorageError::BadName {
            bucket,
            name,
            why: "a part of it is longer than the name of a file may be",
        },
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::DirectoryNotEmpty
        | ErrorKind::AlreadyExists => {
            let why = "on a disk, an object and a directory of objects cannot have one name";
            StorageError::BadName { bucket, name, why }
        }
        ErrorKind::PermissionDenied => StorageError::Denied { action, bucket, name, why: error.to_string() },
        _ => StorageError::Failed { action, bucket, name, why: error.to_string() },
    }
}
