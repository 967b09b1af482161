//! Censoring while reading: plain bytes, and gzip with its content censored inside.

use super::Censor;
use crate::upload::peek;
use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder};
use std::io::{self, Read};
use std::sync::Arc;

/// Read at once, at least; twice the longest secret if that is more.
const CHUNK: usize = 256 << 10;
/// A member that unpacks to more than this times its packed size, beyond [`BOMB_FLOOR`], is a bomb.
const BOMB_RATIO: u64 = 1000;
const BOMB_FLOOR: u64 = 1 << 30;

/// Why something may not leave the Pod. Travels inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Withheld(pub(crate) String);

impl Withheld {
    pub(crate) fn error(why: impl Into<String>) -> io::Error {
        io::Error::other(Withheld(why.into()))
    }

    /// The reason, if an error is one.
    pub(crate) fn reason(error: &io::Error) -> Option<&str> {
        error.get_ref()?.downcast_ref::<Withheld>().map(|w| w.0.as_str())
    }
}

/// A reader whose bytes are censored. gzip is unpacked, censored and packed again: since lengths stay, a tar
/// inside stays a tar. Formats that cannot be looked into are refused with [`Withheld`].
pub(crate) fn censored(
    reader: impl Read + Send + 'static,
    censor: &Arc<Censor>,
) -> io::Result<Box<dyn Read + Send>> {
    if censor.is_empty() {
        return Ok(Box::new(reader));
    }
    let (head, reader) = peek(reader)?;
    refuse_opaque(&head)?;
    if !head.starts_with(GZIP) {
        return Ok(Box::new(CensorReader::new(reader, censor.clone())));
    }
    let counted = Counted { inner: reader, count: Arc::default() };
    let packed = counted.count.clone();
    let unpacked = Unpacked { inner: MultiGzDecoder::new(counted), packed, count: 0 };
    let (head, unpacked) = peek(unpacked)?;
    refuse_opaque(&head)?;
    if head.starts_with(GZIP) {
        return Err(Withheld::error("it is gzip inside gzip, which is not looked into"));
    }
    let inner = CensorReader::new(unpacked, censor.clone());
    Ok(Box::new(GzEncoder::new(inner, Compression::fast())))
}

const GZIP: &[u8] = b"\x1f\x8b";

fn refuse_opaque(head: &[u8]) -> io::Result<()> {
    for (magic, name) in [
        (&b"PK\x03\x04"[..], "a zip archive"),
        (b"PK\x05\x06", "a zip archive"),
        (b"PK\x07\x08", "a zip archive"),
        (b"\xfd7zXZ\0", "xz-compressed"),
        (b"BZh", "bzip2-compressed"),
        (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
        (b"\x04\x22\x4d\x18", "lz4-compressed"),
        (b"\x1f\x9d", "compress-compressed"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07", "a rar archive"),
    ] {
        if head.starts_with(magic) {
            return Err(Withheld::error(format!("it is {name}, in which secrets cannot be looked for")));
        }
    }
    Ok(())
}

/// Counts packed bytes as they are read.
struct Counted<R> {
    inner: R,
    count: Arc<std::sync::atomic::AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(n)
    }
}

/// Unpacked bytes; broken streams and bombs become [`Withheld`].
struct Unpacked<R> {
    inner: R,
    packed: Arc<std::sync::atomic::AtomicU64>,
    count: u64,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self
            .inner
            .read(buffer)
            .map_err(|e| Withheld::error(format!("it is gzip that cannot be unpacked ({e})")))?;
        self.count += n as u64;
        let packed = self.packed.load(std::sync::atomic::Ordering::Relaxed);
        if self.count > BOMB_FLOOR && self.count / BOMB_RATIO > packed {
            return Err(Withheld::error("it unpacks to more than a thousand times its size"));
        }
        Ok(n)
    }
}

/// Censors a stream of bytes.
pub(crate) struct CensorReader<R> {
    inner: R,
    censor: Arc<Censor>,
    /// Read but not yet given out, uncensored: a secret may go on in what comes next.
    pending: Vec<u8>,
    /// So many bytes at the front of `pending` belong to a secret that began before it.
    covered: usize,
    /// Censored and to be given out.
    ready: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> CensorReader<R> {
    pub(crate) fn new(inner: R, censor: Arc<Censor>) -> Self {
        CensorReader {
            inner,
            censor,
            pending: Vec::new(),
            covered: 0,
            ready: Vec::new(),
            given: 0,
            ended: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        let longest = self.censor.longest.max(1);
        let wanted = CHUNK.max(2 * longest);
        if self.pending.len() < wanted {
            let missing = (wanted - self.pending.len()) as u64;
            let read = self.inner.by_ref().take(missing).read_to_end(&mut self.pending)?;
            self.ended = (read as u64) < missing;
        }
        // A secret that begins before this point lies whole in `pending`, so the longest one there is known.
        let settled = if self.ended { self.pending.len() } else { self.pending.len() - (longest - 1) };
        self.ready.clear();
        self.ready.extend_from_slice(&self.pending[..settled]);
        self.given = 0;
        let mut covered = self.covered;
        let ready = &mut self.ready;
        ready[..covered.min(settled)].fill(b'X');
        self.censor.find(&self.pending, settled, |range| {
            covered = covered.max(range.end);
            ready[range.start..range.end.min(settled)].fill(b'X');
        });
        self.covered = covered.saturating_sub(settled);
        self.pending.drain(..settled);
        Ok(())
    }
}

impl<R: Read> Read for CensorReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.given == self.ready.len() {
            if self.ended && self.pending.is_empty() {
                return Ok(0);
            }
            self.refill()?;
        }
        let n = buffer.len().min(self.ready.len() - self.given);
        buffer[..n].copy_from_slice(&self.ready[self.given..self.given + n]);
        self.given += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::Secret;
    use std::io::Write;

    fn censor(secrets: &[&str]) -> Arc<Censor> {
        Arc::new(Censor::new(&secrets.iter().map(Secret::new).collect::<Vec<_>>(), 0).unwrap())
    }

    fn read(input: &[u8], secrets: &[&str]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        censored(io::Cursor::new(input.to_vec()), &censor(secrets))?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        MultiGzDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn secrets_across_every_chunk_boundary_are_found() {
        let secret = "a-rather-long-secret-value";
        for shift in 0..2 * secret.len() {
            let mut input = vec![b'.'; CHUNK - secret.len() + shift];
            input.extend_from_slice(secret.as_bytes());
            input.extend(vec![b'.'; CHUNK]);
            let out = read(&input, &[secret]).unwrap();
            assert_eq!(out.len(), input.len());
            assert_eq!(out.iter().filter(|b| **b == b'X').count(), secret.len(), "shift {shift}");
        }
    }

    #[test]
    fn a_secret_longer_than_a_chunk_is_found() {
        let secret: String = (0..CHUNK).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
        let out = read(format!("<{secret}>").as_bytes(), &[&secret]).unwrap();
        assert!(out.starts_with(b"<XXX") && out.ends_with(b"XXX>"));
    }

    #[test]
    fn gzip_is_censored_inside_and_stays_gzip() {
        let out = read(&gzip(b"the s3cr3t is out"), &["s3cr3t"]).unwrap();
        assert_eq!(gunzip(&out), b"the XXXXXX is out");
        let mut two = gzip(b"one s3cr3t ");
        two.extend(gzip(b"two s3cr3t"));
        assert_eq!(gunzip(&read(&two, &["s3cr3t"]).unwrap()), b"one XXXXXX two XXXXXX");
    }

    #[test]
    fn what_cannot_be_looked_into_is_withheld_only_when_there_are_secrets() {
        let mut broken = gzip(b"some text that is long enough to be cut");
        broken.truncate(broken.len() - 12);
        for (input, why) in [
            (b"PK\x03\x04rest".to_vec(), "zip"),
            (b"\xfd7zXZ\0rest".to_vec(), "xz"),
            (b"\x28\xb5\x2f\xfdrest".to_vec(), "zstd"),
            (gzip(b"PK\x03\x04rest"), "zip"),
            (gzip(&gzip(b"x")), "inside gzip"),
            (broken, "cannot be unpacked"),
        ] {
            let error = read(&input, &["s3cr3t"]).unwrap_err();
            assert!(Withheld::reason(&error).unwrap().contains(why), "{error}");
            assert_eq!(read(&input, &[]).unwrap(), input);
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(256))]
        /// Whatever the text, the secrets and the sizes in which the stream arrives: the result is that of masking
        /// every occurrence of every form in the whole text at once.
        #[test]
        fn streaming_equals_masking_the_whole(
            text in "[ab]{0,400}",
            secrets in proptest::collection::vec("[ab]{2,7}", 1..5),
            piece in 1usize..40,
        ) {
            let secrets: Vec<Secret> = secrets.iter().map(Secret::new).collect();
            let censor = Censor::new(&secrets, 0).unwrap();
            // The naive truth: any byte inside any occurrence of any secret.
            let mut expected = text.clone().into_bytes();
            for secret in &secrets {
                let secret = secret.expose();
                for start in 0..text.len().saturating_sub(secret.len() - 1) {
                    if text.as_bytes()[start..].starts_with(secret) {
                        expected[start..start + secret.len()].fill(b'X');
                    }
                }
            }
            let mut whole = text.clone().into_bytes();
            censor.mask(&mut whole);
            proptest::prop_assert_eq!(&whole, &expected);
            let mut reader = Small { inner: CensorReader::new(text.as_bytes(), Arc::new(censor)), piece };
            let mut streamed = Vec::new();
            reader.read_to_end(&mut streamed).unwrap();
            proptest::prop_assert_eq!(&streamed, &expected);
        }
    }

    /// Gives out and refills in small pieces, so that boundaries fall everywhere.
    struct Small<'a> {
        inner: CensorReader<&'a [u8]>,
        piece: usize,
    }

    impl Read for Small<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = buffer.len().min(self.piece);
            self.inner.read(&mut buffer[..n])
        }
    }
}
