//! Censors what a file is made of: plain bytes, and archives by unpacking, censoring and packing them anew.
//!
//! Properties:
//! * nothing of an archive is passed on as it came: what its reader did not understand is not in the copy, so no
//!   secret can hide between members;
//! * members that are archives themselves are looked into, too, a few levels deep; one that cannot be is replaced
//!   by the reason, the others stay;
//! * what unpacks to far more than its size ends in an error, not in hours of work.

use super::{Censor, stream, tar, zip};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, Write};
use tempfile::SpooledTempFile;

/// Archives in archives are looked into so far.
const DEEPEST: usize = 4;
/// What tells one format from another; a tar header is that long.
const HEAD: u64 = 512;
/// A member that is packed anew and turns out larger than this goes to a temporary file meanwhile.
const IN_MEMORY: usize = 1 << 20;

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

    /// What a reader of damaged data says; a disk's failure stays what it is.
    pub(super) fn damaged(what: &'static str) -> impl Fn(io::Error) -> io::Error {
        move |error| {
            if error.raw_os_error().is_some() || Withheld::reason(&error).is_some() {
                return error;
            }
            Withheld::error(format!("it is {what} that cannot be unpacked ({error})"))
        }
    }
}

/// The text in the place of what is withheld.
pub(crate) fn placeholder(why: &str) -> String {
    format!("Withheld, so that no secret leaves the Pod: {why}.\n")
}

/// Copies a file of some length with every secret in it masked.
pub(crate) fn censored(
    input: &mut dyn BufRead,
    length: u64,
    out: &mut dyn Write,
    censor: &Censor,
) -> io::Result<()> {
    let pass = Pass { censor, depth: 0 };
    if censor.is_empty() {
        return pass.plain(input, out);
    }
    censor.allow(length);
    pass.copy(input, out)
}

/// What the first bytes say.
pub(super) enum Kind {
    Plain,
    Gzip,
    Tar,
    Zip,
    /// Compressed, and not by anything that is looked into.
    Opaque(&'static str),
}

fn kind(head: &[u8]) -> Kind {
    let opaque = [
        (&b"PK\x07\x08"[..], "a part of a split zip archive"),
        (b"\xfd7zXZ\0", "xz-compressed"),
        (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
        (b"\x04\x22\x4d\x18", "lz4-compressed"),
        (b"\x02\x21\x4c\x18", "lz4-compressed"),
        (b"LZIP\x01", "lzip-compressed"),
        (b"\x89LZO\0\r\n\x1a\n", "lzop-compressed"),
        (b"\x1f\x9d", "compress-compressed"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07", "a rar archive"),
    ];
    // Both zstd and lz4 may begin with something that they skip.
    let skipped = matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    // A text may begin with the letters of bzip2; not with the number behind its level.
    let bzip2 = head.starts_with(b"BZh")
        && [&b"1AY&SY"[..], b"\x17rE8P\x90"].contains(&head.get(4..10).unwrap_or_default());
    match head {
        _ if head.starts_with(b"\x1f\x8b") => Kind::Gzip,
        _ if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") => Kind::Zip,
        _ if tar::is_header(head) => Kind::Tar,
        _ if bzip2 => Kind::Opaque("bzip2-compressed"),
        _ if skipped => Kind::Opaque("zstd- or lz4-compressed"),
        _ => match opaque.iter().find(|(magic, _)| head.starts_with(magic)) {
            Some((_, name)) => Kind::Opaque(name),
            None => Kind::Plain,
        },
    }
}

/// The first bytes of a stream, and the whole stream again.
pub(crate) fn peek(input: &mut dyn BufRead) -> io::Result<(Vec<u8>, impl BufRead)> {
    let mut head = Vec::new();
    input.take(HEAD).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(input)))
}

/// One level of looking into archives.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) censor: &'a Censor,
    depth: usize,
}

impl Pass<'_> {
    fn copy(self, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
        let (head, mut input) = peek(input)?;
        self.copy_kind(&kind(&head), &mut input, out)
    }

    fn copy_kind(self, kind: &Kind, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
        if !matches!(kind, Kind::Plain) && self.depth >= DEEPEST {
            return Err(Withheld::error(format!("it is an archive within more than {DEEPEST} others")));
        }
        let inner = Pass { depth: self.depth + 1, ..self };
        match kind {
            Kind::Plain => self.plain(input, out),
            Kind::Gzip => {
                let unpacked = inner.unpacked(MultiGzDecoder::new(input), "gzip");
                let mut packed = GzEncoder::new(out, Compression::fast());
                inner.copy(&mut BufReader::with_capacity(32 << 10, unpacked), &mut packed)?;
                packed.finish().map(drop)
            }
            Kind::Tar => tar::copy(inner, input, out),
            Kind::Zip => zip::copy(inner, input, out),
            Kind::Opaque(name) => {
                Err(Withheld::error(format!("it is {name}, in which secrets cannot be looked for")))
            }
        }
    }

    /// Masks bytes that are not looked into.
    pub(super) fn plain(self, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
        stream::plain(input, out, self.censor)
    }

    /// Masks a few bytes.
    pub(super) fn mask(self, bytes: &mut [u8]) {
        self.censor.mask(bytes);
    }

    /// A reader of what another one unpacks: within bounds, and with the reason when it cannot.
    pub(super) fn unpacked<R: Read>(self, inner: R, what: &'static str) -> impl Read {
        Unpacked { inner, what, censor: self.censor }
    }

    /// A member of an archive, looked at before anything of it is written.
    pub(super) fn member<'r>(self, input: &'r mut dyn BufRead) -> io::Result<Member<impl BufRead + use<'r>>> {
        let (head, mut input) = peek(input)?;
        let kind = kind(&head);
        if matches!(kind, Kind::Plain) {
            return Ok(Member::Plain(input));
        }
        let mut spool = Spool::new();
        if let Err(error) = self.copy_kind(&kind, &mut input, &mut spool.0) {
            let Some(why) = Withheld::reason(&error) else { return Err(error) };
            spool = Spool::new();
            spool.0.write_all(placeholder(why).as_bytes())?;
            io::copy(&mut input, &mut io::sink())?;
        }
        Ok(Member::Anew(spool))
    }
}

/// What becomes of a member.
pub(super) enum Member<R> {
    /// Its bytes, to be masked; their number stays.
    Plain(R),
    /// Its bytes, masked already; their number may have changed.
    Anew(Spool),
}

/// Bytes whose number must be known before they are written.
pub(super) struct Spool(pub(super) SpooledTempFile);

impl Spool {
    pub(super) fn new() -> Spool {
        Spool(SpooledTempFile::new(IN_MEMORY))
    }

    /// How many, and their reader.
    pub(super) fn finish(mut self) -> io::Result<(u64, BufReader<SpooledTempFile>)> {
        let length = self.0.stream_position()?;
        self.0.rewind()?;
        Ok((length, BufReader::with_capacity(32 << 10, self.0)))
    }
}

struct Unpacked<'a, R> {
    inner: R,
    what: &'static str,
    censor: &'a Censor,
}

impl<R: Read> Read for Unpacked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(Withheld::damaged(self.what))?;
        if !self.censor.spend(read as u64) {
            return Err(Withheld::error(
                "it unpacks to far more than its size, or the archives before it did",
            ));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::censor::tests::{censored as read, gunzip, gzip};

    #[test]
    fn gzip_is_censored_inside_and_stays_gzip() {
        let out = read(&gzip(b"the s3cr3t is out"), &["s3cr3t"]).unwrap();
        assert_eq!(gunzip(&out), b"the XXXXXX is out");
        let mut two = gzip(b"one s3cr3t ");
        two.extend(gzip(b"two s3cr3t"));
        assert_eq!(gunzip(&read(&two, &["s3cr3t"]).unwrap()), b"one XXXXXX two XXXXXX");
        // One secret over two members, and one over the censor's own buffers.
        let mut split = gzip(b"<s3c");
        split.extend(gzip(b"r3t>"));
        assert_eq!(gunzip(&read(&split, &["s3cr3t"]).unwrap()), b"<XXXXXX>");
        let long = "0123456789s3cr3t".repeat(60_000);
        let out = gunzip(&read(&gzip(long.as_bytes()), &["s3cr3t"]).unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), "0123456789XXXXXX".repeat(60_000));
        let nested = read(&gzip(&gzip(&gzip(b"s3cr3t"))), &["s3cr3t"]).unwrap();
        assert_eq!(gunzip(&gunzip(&gunzip(&nested))), b"XXXXXX");
    }

    #[test]
    fn what_cannot_be_looked_into_is_withheld_only_when_there_are_secrets() {
        let mut broken = gzip(b"some text that is long enough to be cut");
        broken.truncate(broken.len() - 12);
        let mut trailed = gzip(b"text");
        trailed.extend(b"not gzip");
        let deep = (0..6).fold(b"x".to_vec(), |inner, _| gzip(&inner));
        for (input, why) in [
            (b"\xfd7zXZ\0rest".to_vec(), "xz"),
            (b"BZh91AY&SYrest".to_vec(), "bzip2"),
            (b"\x28\xb5\x2f\xfdrest".to_vec(), "zstd"),
            (b"\x50\x2a\x4d\x18\0\0\0\0\x28\xb5\x2f\xfdrest".to_vec(), "zstd"),
            (b"\x02\x21\x4c\x18rest".to_vec(), "lz4"),
            (b"LZIP\x01rest".to_vec(), "lzip"),
            (b"\x89LZO\0\r\n\x1a\nrest".to_vec(), "lzop"),
            (gzip(b"\xfd7zXZ\0rest"), "xz"),
            (deep, "within more than 4"),
            (broken, "cannot be unpacked"),
            (trailed, "cannot be unpacked"),
            (b"PK\x03\x04 not a zip archive at all, only its first bytes".to_vec(), "zip"),
        ] {
            let error = read(&input, &["s3cr3t"]).map(drop).unwrap_err();
            assert!(Withheld::reason(&error).unwrap_or_default().contains(why), "{why}: {error}");
            assert_eq!(read(&input, &[]).unwrap(), input);
        }
        assert_eq!(read(b"BZhappy words", &["s3cr3t"]).unwrap(), b"BZhappy words");
    }

    #[test]
    fn a_bomb_ends_early() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("zeros"), vec![0; 8 << 20]).unwrap();
        let mut bombs = vec![gzip(&vec![0; 8 << 20]), gzip(&gzip(&vec![0; 8 << 20]))];
        if crate::censor::tests::has("zip") {
            crate::censor::tests::run(dir.path(), "zip", &["-q", "a.zip", "zeros"]);
            bombs.push(std::fs::read(dir.path().join("a.zip")).unwrap());
        }
        for bomb in bombs {
            let censor = Censor::new(&[prow_api::Secret::new("s3cr3t")], 0).unwrap();
            // As if the archives before it had used up all but what its own size allows.
            assert!(censor.spend(super::super::UNPACK_FLOOR));
            let mut out = Vec::new();
            let error = censored(&mut bomb.as_slice(), bomb.len() as u64, &mut out, &censor).unwrap_err();
            assert!(Withheld::reason(&error).unwrap().contains("far more than its size"), "{error}");
            assert!(out.len() < 1 << 20, "it did not go on packing");
        }
    }
}
