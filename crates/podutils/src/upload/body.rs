//! The bytes of one object: opened, censored, perhaps compressed, and handed on in pieces.

use super::{Beneath, Naming};
use crate::censor::{Censor, Withheld, censored, peek};
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use prow_storage::media;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Compressing smaller objects would not pay (prow-runtime §8.5).
const WORTH_COMPRESSING: u64 = 1024;
/// Handed on at a time.
const PIECE: usize = 256 << 10;

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

/// A source that is being read.
pub(crate) enum Opened {
    Bytes(Bytes),
    File { file: BufReader<io::Take<File>>, length: u64, censor: Option<Arc<Censor>> },
}

impl Source {
    /// Opens it. A file is read up to the length it has now: a log that is still being written gives a consistent
    /// object.
    pub(crate) fn open(&self) -> io::Result<Opened> {
        match self {
            Source::Bytes(bytes) => Ok(Opened::Bytes(bytes.clone())),
            Source::File { root, path, censor } => {
                let (file, length) = root.file(path)?;
                if censor.as_ref().is_some_and(|censor| !censor.is_empty()) {
                    refuse_hidden_zip(&file, length)?;
                }
                // Only for the small reads at the beginning and inside archives; large ones pass it by.
                let file = BufReader::with_capacity(16 << 10, file.take(length));
                Ok(Opened::File { file, length, censor: censor.clone() })
            }
        }
    }

    /// The same bytes, as they are.
    pub(crate) fn uncensored(&self) -> Source {
        match self {
            Source::Bytes(bytes) => Source::Bytes(bytes.clone()),
            Source::File { root, path, .. } => {
                Source::File { root: root.clone(), path: path.clone(), censor: None }
            }
        }
    }
}

impl Opened {
    fn length(&self) -> u64 {
        match self {
            Opened::Bytes(bytes) => bytes.len() as u64,
            Opened::File { length, .. } => *length,
        }
    }

    /// The bytes that may leave.
    pub(crate) fn copy_to(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Opened::Bytes(bytes) => out.write_all(&bytes),
            Opened::File { mut file, length, censor: Some(censor) } => {
                censored(&mut file, length, out, &censor)
            }
            Opened::File { mut file, .. } => as_it_is(&mut file, out),
        }
    }
}

/// A zip archive is found by its end: a program or script may stand before it, and what begins like neither is not
/// looked into.
fn refuse_hidden_zip(file: &File, length: u64) -> io::Result<()> {
    let (mut begin, mut end) = ([0; 2], [0; 22]);
    if let Some(at) = length.checked_sub(end.len() as u64)
        && file.read_exact_at(&mut end, at).is_ok()
        && end.starts_with(b"PK\x05\x06")
        && end.ends_with(&[0, 0])
        && file.read_exact_at(&mut begin, 0).is_ok()
        && begin != *b"PK"
    {
        return Err(Withheld::error("it is a zip archive behind something else, which is not looked into"));
    }
    Ok(())
}

fn as_it_is(input: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => out.write_all(&buffer[..read])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// An object about to be uploaded.
pub(crate) struct Body {
    pub name: String,
    pub content_type: Option<String>,
    pub content_encoding: Option<&'static str>,
    compress: bool,
    opened: Opened,
}

/// Opens a source and decides name, type and encoding from its name and its first bytes. They are looked at before
/// they are censored, which changes neither.
pub(crate) fn open(source: &Source, naming: &Naming, name: &str) -> io::Result<Body> {
    let named = naming.of(name);
    let mut opened = source.open()?;
    let head = match &mut opened {
        Opened::Bytes(bytes) => peek(&mut Cursor::new(&bytes[..]))?.0,
        // Not `peek`: what was read must stay in the buffer.
        Opened::File { file, .. } => file.fill_buf()?.to_vec(),
    };
    let is_gzip = head.starts_with(b"\x1f\x8b");
    let compress = named.compress && opened.length() > WORTH_COMPRESSING && !is_gzip;
    let (content_type, content_encoding) = if compress {
        (named.content_type.or_else(|| Some("text/plain; charset=utf-8".to_owned())), Some("gzip"))
    } else {
        (
            named.content_type.or_else(|| Some(media::sniff(&head).to_owned())),
            // Only what is gzip is marked so: readers would choke on a file that merely has the name.
            (named.gzip_encoding && is_gzip).then_some("gzip"),
        )
    };
    Ok(Body { name: named.name, content_type, content_encoding, compress, opened })
}

impl Body {
    /// The bytes, read by a thread that may block, two pieces ahead.
    pub(crate) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (sender, mut receiver) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let mut out = Pieces { piece: BytesMut::new(), sender: sender.clone() };
            let copied = match self.compress {
                false => self.opened.copy_to(&mut out),
                true => {
                    let mut packed = GzEncoder::new(&mut out, Compression::fast());
                    self.opened.copy_to(&mut packed).and_then(|()| packed.finish().map(drop))
                }
            };
            if let Err(error) = copied.and_then(|()| out.flush()) {
                // A receiver that is gone has its own reason, and reports it.
                let _ = sender.blocking_send(Err(error));
            }
        });
        futures::stream::poll_fn(move |context| receiver.poll_recv(context))
    }
}

/// Hands on what is written, in pieces of one size.
struct Pieces {
    piece: BytesMut,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece).freeze();
        self.sender.blocking_send(Ok(piece)).map_err(|_| ErrorKind::BrokenPipe.into())
    }
}
