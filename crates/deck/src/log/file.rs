//! A log in storage, read in pieces from any offset. Offsets count decoded bytes: a log stored with
//! `Content-Encoding: gzip` is decoded on the way, and reading it from an offset means decoding what lies before.

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use prow_storage::{Bucket, StorageError};
use std::io::Write;
use std::time::SystemTime;

/// Bytes asked of storage at once.
const PIECE: u64 = 512 << 10;
/// Compressed bytes decoded at once: at deflate's best ratio this gives half a megabyte.
const SIP: usize = 512;
/// What unpacks to more than this, and to more than [`LIKELY`] times its size, is no log but a bomb: a job can leave one
/// where a log is looked for, and whoever looks would keep a processor busy for hours.
const FLOOR: u64 = 1 << 30;
const LIKELY: u64 = 200;

/// A log file.
#[derive(Debug, Clone)]
pub struct LogFile {
    bucket: Bucket,
    /// Object.
    pub name: String,
    /// Bytes as stored.
    pub stored: u64,
    /// Last change.
    pub updated: SystemTime,
    gzip: bool,
}

/// Pieces of a log.
pub type Pieces = BoxStream<'static, Result<Bytes, StorageError>>;

impl LogFile {
    /// Looks at the object.
    pub async fn open(bucket: &Bucket, name: &str) -> Result<LogFile, StorageError> {
        let meta = bucket.head(name).await?;
        Ok(LogFile {
            bucket: bucket.clone(),
            name: name.to_owned(),
            stored: meta.size,
            updated: meta.updated,
            gzip: meta.attributes.content_encoding.as_deref() == Some("gzip"),
        })
    }

    /// What tells this content from any other.
    pub fn identity(&self) -> (String, u64, SystemTime) {
        (self.bucket.url().object_url(&self.name), self.stored, self.updated)
    }

    /// True if reading from an offset costs no more than what is read.
    pub fn is_seekable(&self) -> bool {
        !self.gzip
    }

    /// The decoded bytes from `offset` to the end.
    pub async fn read_from(&self, offset: u64) -> Result<Pieces, StorageError> {
        if self.gzip {
            let object = self.bucket.get(&self.name).await?;
            return Ok(skip(gunzip(object.stream, self.bucket.url().to_string(), self.name.clone()), offset));
        }
        if offset == 0 {
            return Ok(self.bucket.get(&self.name).await?.stream);
        }
        let (bucket, name, size) = (self.bucket.clone(), self.name.clone(), self.stored);
        let ranges = futures::stream::try_unfold(offset, move |at| {
            let (bucket, name) = (bucket.clone(), name.clone());
            async move {
                if at >= size {
                    return Ok(None);
                }
                let piece = bucket.get_range(&name, at..size.min(at + PIECE)).await?;
                Ok((!piece.is_empty()).then(|| {
                    let next = at + piece.len() as u64;
                    (piece, next)
                }))
            }
        });
        Ok(ranges.boxed())
    }
}

/// Decodes gzip members, a sip at a time, as long as it is likely that somebody wants to read them.
pub fn gunzip(stream: Pieces, bucket: String, name: String) -> Pieces {
    gunzip_up_to(FLOOR, stream, bucket, name)
}

struct Gunzip<F> {
    stream: Pieces,
    input: Bytes,
    /// `None` once everything is decoded.
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
    packed: u64,
    unpacked: u64,
    failed: F,
}

fn gunzip_up_to(floor: u64, stream: Pieces, bucket: String, name: String) -> Pieces {
    let failed = move |error: std::io::Error| StorageError::Failed {
        action: "decode",
        bucket: bucket.clone(),
        name: name.clone(),
        why: format!("its Content-Encoding is gzip, but: {error}"),
    };
    let decoder = Some(MultiGzDecoder::new(Vec::new()));
    let state = Gunzip { stream, input: Bytes::new(), decoder, packed: 0, unpacked: 0, failed };
    futures::stream::try_unfold(state, move |mut state| async move {
        loop {
            let Some(mut working) = state.decoder.take() else { return Ok(None) };
            if state.input.is_empty() {
                match state.stream.try_next().await? {
                    Some(piece) => state.input = piece,
                    None => {
                        let rest = working.finish().map_err(&state.failed)?;
                        return Ok((!rest.is_empty()).then(|| (Bytes::from(rest), state)));
                    }
                }
            }
            let sip = state.input.split_to(state.input.len().min(SIP));
            working.write_all(&sip).map_err(&state.failed)?;
            let out = std::mem::take(working.get_mut());
            state.decoder = Some(working);
            state.packed += sip.len() as u64;
            state.unpacked += out.len() as u64;
            if state.unpacked > floor && state.unpacked / LIKELY > state.packed {
                let why = format!("it unpacks to more than {LIKELY} times its size");
                return Err((state.failed)(std::io::Error::other(why)));
            }
            if !out.is_empty() {
                return Ok(Some((Bytes::from(out), state)));
            }
        }
    })
    .boxed()
}

/// Lets the first `offset` bytes pass by.
fn skip(stream: Pieces, offset: u64) -> Pieces {
    let mut left = offset;
    stream
        .try_filter_map(move |mut piece| {
            let pass = left.min(piece.len() as u64);
            left -= pass;
            // Fits: it is at most the piece's length.
            let rest = piece.split_off(pass as usize);
            async move { Ok((!rest.is_empty()).then_some(rest)) }
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use prow_storage::{Attributes, Opener, StorageOptions};

    async fn all(file: &LogFile, offset: u64) -> Vec<u8> {
        let pieces: Vec<Bytes> = file.read_from(offset).await.unwrap().try_collect().await.unwrap();
        pieces.concat()
    }

    #[tokio::test]
    async fn plain_and_compressed_logs_read_alike_from_any_offset() {
        let dir = tempfile::tempdir().unwrap();
        let bucket = Opener::new(StorageOptions::default())
            .open_str(&format!("file://{}", dir.path().display()))
            .unwrap();
        let text: Vec<u8> = (0..300_000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&text).unwrap();
        let encoded = Attributes { content_encoding: Some("gzip".into()), ..Attributes::default() };
        bucket.put_bytes("plain", text.clone().into(), &Attributes::default()).await.unwrap();
        bucket.put_bytes("packed", gz.finish().unwrap().into(), &encoded).await.unwrap();
        bucket.put_bytes("broken", Bytes::from_static(b"not gzip at all"), &encoded).await.unwrap();
        for name in ["plain", "packed"] {
            let file = LogFile::open(&bucket, name).await.unwrap();
            for offset in [0, 1, 600_000, text.len() as u64 - 1, text.len() as u64, text.len() as u64 + 5] {
                let from = (offset as usize).min(text.len());
                assert!(all(&file, offset).await == text[from..], "{name} from {offset}");
            }
        }
        let broken = LogFile::open(&bucket, "broken").await.unwrap();
        let error = broken.read_from(0).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
        assert!(error.to_string().contains("Content-Encoding is gzip"), "{error}");
    }
}
