//! The bytes of one object: opened, censored, perhaps compressed, and handed on in pieces.

use super::{Beneath, Naming};
use crate::censor::{Censor, censored};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzEncoder;
use futures::Stream;
use prow_storage::media;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// Compressing smaller objects would not pay (prow-runtime §8.5).
const WORTH_COMPRESSING: usize = 1024;
/// Handed on at a time.
const PIECE: usize = 256 << 10;
/// Looked at before anything is decided.
const HEAD: usize = 4096;

/// Where an object's bytes come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// From memory, censored already.
    Bytes(Bytes),
    /// From a file that a job may have tampered with.
    File {
        /// The directory it must lie in.
        root: Arc<Beneath>,
        /// Its path there.
        path: PathBuf,
        /// What its bytes pass.
        censor: Option<Arc<Censor>>,
    },
}

impl Source {
    /// The bytes that may leave. A file is read up to the length it has now: a log that is still being written
    /// gives a consistent object.
    pub(crate) fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Source::Bytes(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
            Source::File { root, path, censor } => {
                let (file, length) = root.file(path)?;
                let file = file.take(length);
                match censor {
                    Some(censor) => censored(file, censor),
                    None => Ok(Box::new(file)),
                }
            }
        }
    }
}

/// An object about to be uploaded.
pub(crate) struct Body {
    pub name: String,
    pub content_type: Option<String>,
    pub content_encoding: Option<&'static str>,
    reader: Box<dyn Read + Send>,
}

/// Opens a source and decides name, type and encoding from its name and its first bytes.
pub(crate) fn open(source: &Source, naming: &Naming, name: &str) -> io::Result<Body> {
    let named = naming.of(name);
    let (head, reader) = peek(source.reader()?)?;
    let is_gzip = head.starts_with(b"\x1f\x8b");
    if named.compress && head.len() > WORTH_COMPRESSING && !is_gzip {
        return Ok(Body {
            name: named.name,
            content_type: named.content_type.or_else(|| Some("text/plain; charset=utf-8".to_owned())),
            content_encoding: Some("gzip"),
            reader: Box::new(GzEncoder::new(reader, Compression::fast())),
        });
    }
    Ok(Body {
        name: named.name,
        content_type: named.content_type.or_else(|| Some(media::sniff(&head).to_owned())),
        // Only what is gzip is marked so: readers would choke on a file that merely has the name.
        content_encoding: (named.gzip_encoding && is_gzip).then_some("gzip"),
        reader: Box::new(reader),
    })
}

impl Body {
    /// The bytes, read by a thread that may block, two pieces ahead.
    pub(crate) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
        let mut reader = self.reader;
        tokio::task::spawn_blocking(move || {
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece);
                let message = match read {
                    Ok(0) => return,
                    Ok(_) => Ok(Bytes::from(piece)),
                    Err(error) => Err(error),
                };
                let failed = message.is_err();
                // A receiver that is gone has its own reason, and reports it.
                if sender.blocking_send(message).is_err() || failed {
                    return;
                }
            }
        });
        futures::stream::poll_fn(move |context| receiver.poll_recv(context))
    }
}

/// The first bytes of a stream, up to 4 KiB, and the whole stream again.
pub(crate) fn peek<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, io::Chain<Cursor<Vec<u8>>, R>)> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}
