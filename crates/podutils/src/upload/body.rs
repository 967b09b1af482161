//! The bytes of one object: opened, censored, perhaps compressed, and handed on in pieces.

use super::{Beneath, Naming};
use crate::censor::{Censor, Withheld, censored, peek};
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt};
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
    let (mut begin, mut end) = ([0; 4], [0; 22]);
    if let Some(at) = length.checked_sub(end.len() as u64)
        && file.read_exact_at(&mut end, at).is_ok()
        && end.starts_with(b"PK\x05\x06")
        && end.ends_with(&[0, 0])
        && file.read_exact_at(&mut begin, 0).is_ok()
        && ![*b"PK\x03\x04", *b"PK\x05\x06"].contains(&begin)
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
        handed_on(move |out| match self.compress {
            false => self.opened.copy_to(out),
            true => {
                let mut packed = GzEncoder::new(out, Compression::fast());
                self.opened.copy_to(&mut packed).and_then(|()| packed.finish().map(drop))
            }
        })
    }
}

/// What is written by some work that may block. If it breaks down, that is an error too: without one, what was written
/// until then would pass for the whole.
fn handed_on(
    work: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, mut receiver) = mpsc::channel(2);
    let working = tokio::task::spawn_blocking(move || {
        let mut out = Pieces { piece: BytesMut::new(), sender: sender.clone() };
        if let Err(error) = work(&mut out).and_then(|()| out.flush()) {
            // A receiver that is gone has its own reason, and reports it.
            let _ = sender.blocking_send(Err(error));
        }
    });
    // Not its own words, which may quote what was read.
    let broken = futures::stream::once(working)
        .filter_map(|done| async { done.err().map(|_| Err(io::Error::other("reading it broke down"))) });
    futures::stream::poll_fn(move |context| receiver.poll_recv(context)).chain(broken)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_breaks_down_does_not_pass_for_the_end() {
        let broken: Vec<_> = handed_on(|out| {
            out.write_all(&vec![b'x'; PIECE])?;
            panic!("s3cr3t")
        })
        .collect()
        .await;
        assert_eq!(broken.len(), 2);
        assert_eq!(broken[1].as_ref().unwrap_err().to_string(), "reading it broke down");
        let whole: Vec<_> = handed_on(|out| out.write_all(&vec![b'x'; PIECE + 1])).collect().await;
        assert_eq!(whole.iter().map(|piece| piece.as_ref().unwrap().len()).sum::<usize>(), PIECE + 1);
    }

    #[test]
    fn a_zip_archive_behind_something_else_is_refused() {
        let mut end = b"PK\x05\x06".to_vec();
        end.extend([0; 18]);
        for (begin, refused) in
            [("#!/bin/sh\n", true), ("PKnothing", true), ("PK\x03\x04", false), ("", false)]
        {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(begin.as_bytes()).unwrap();
            file.write_all(&end).unwrap();
            let length = (begin.len() + end.len()) as u64;
            assert_eq!(refuse_hidden_zip(&file, length).is_err(), refused, "{begin}");
        }
    }
}
