//! Writes a zip archive anew with its entries censored: checksums, sizes and the directory at its end are those of
//! the new content.
//!
//! It is read from front to back, as it streams by. The directory must then name entries that were there, so what
//! a reader finds through it is what was censored.

use super::inside::{Member, Pass, Spool, Withheld};
use super::pipes::{Checked, Counted};
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use std::io::{self, BufRead, BufReader, Read, Write};

const ENTRY: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const DIRECTORY: u32 = 0x0201_4b50;
const LARGE_END: u32 = 0x0606_4b50;
const LARGE_LOCATOR: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Flags: encrypted, sizes follow the content, encrypted strongly, names are UTF-8, names are masked.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const SIZES_FOLLOW: u16 = 1 << 3;
const UTF8: u16 = 1 << 11;
/// The extra field of sizes that need eight bytes.
const LARGE: u16 = 1;
/// The old form of the directory has two bytes for their number; more entries than that are not looked into.
const MOST_ENTRIES: usize = 0xffff;

/// Where an entry was, and what it is now.
struct Entry {
    old_offset: u64,
    offset: u32,
    flags: u16,
    method: u16,
    sizes: Sizes,
}

#[derive(Default, Clone, Copy)]
struct Sizes {
    crc: u32,
    packed: u32,
    unpacked: u32,
}

impl Sizes {
    fn bytes(self) -> [u8; 12] {
        let mut out = [0; 12];
        for (to, value) in out.chunks_mut(4).zip([self.crc, self.packed, self.unpacked]) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        out
    }
}

pub(super) fn copy(pass: Pass<'_>, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
    let mut copier = Copier {
        pass,
        input: Counted { inner: input, count: 0 },
        out: Counted { inner: out, count: 0 },
        entries: Vec::new(),
        directory: None,
    };
    let damaged = Withheld::damaged("a zip archive");
    loop {
        let at = copier.input.count;
        let signature = u32::from_le_bytes(read(&mut copier.input).map_err(&damaged)?);
        match signature {
            ENTRY => copier.entry(at).map_err(&damaged)?,
            DIRECTORY => copier.directory_entry().map_err(&damaged)?,
            LARGE_END => {
                let length = u64::from_le_bytes(read(&mut copier.input).map_err(&damaged)?);
                skip(&mut copier.input, length).map_err(&damaged)?;
            }
            LARGE_LOCATOR => skip(&mut copier.input, 16).map_err(&damaged)?,
            END => return copier.end().map_err(&damaged),
            _ => return Err(unreadable("what follows an entry is none")),
        }
    }
}

struct Copier<'a, 'r> {
    pass: Pass<'a>,
    input: Counted<&'r mut dyn BufRead>,
    out: Counted<&'r mut dyn Write>,
    entries: Vec<Entry>,
    /// Where the new directory begins, and how many entries it names so far.
    directory: Option<(u32, u16)>,
}

impl Copier<'_, '_> {
    fn entry(&mut self, old_offset: u64) -> io::Result<()> {
        if self.entries.len() >= MOST_ENTRIES || self.directory.is_some() {
            return Err(Withheld::error(
                "it is a zip archive of too many entries, or not in the usual order",
            ));
        }
        let header: [u8; 26] = read(&mut self.input)?;
        let (flags, method) = (u16_at(&header, 2), u16_at(&header, 4));
        let old =
            Sizes { crc: u32_at(&header, 10), packed: u32_at(&header, 14), unpacked: u32_at(&header, 18) };
        let mut name = bytes(&mut self.input, u16_at(&header, 22).into())?;
        let extra = bytes(&mut self.input, u16_at(&header, 24).into())?;
        self.pass.mask(&mut name);
        let (mut extra, large) = without_large(extra)?;
        self.pass.mask(&mut extra);
        if flags & ENCRYPTED != 0 {
            return Err(Withheld::error("it is a zip archive with an encrypted entry"));
        }
        let follow = flags & SIZES_FOLLOW != 0;
        let packed = match &large {
            Some(large) if old.packed == u32::MAX => large_at(large, usize::from(old.unpacked == u32::MAX))?,
            _ => old.packed.into(),
        };
        let offset = small(self.out.count)?;
        let (pass, mut crc) = (self.pass, Crc::new());
        let sizes = match method {
            // Nothing but what follows it tells where it ends.
            STORED if follow && packed == 0 => {
                let (_, mut content) = self.until_descriptor(large.is_some())?.finish()?;
                let spool = spooled(pass, &mut content)?;
                let sizes = self.write_stored(&header, &name, &extra, spool)?;
                self.entries.push(Entry { old_offset, offset, flags: flags & UTF8, method, sizes });
                return Ok(());
            }
            STORED => {
                let mut content = (&mut self.input).take(packed);
                let mut checked = Checked { inner: &mut content, crc: &mut crc };
                let spool = spooled(pass, &mut checked)?;
                if content.limit() > 0 {
                    return Err(unreadable("it ends in the middle of an entry"));
                }
                self.write_stored(&header, &name, &extra, spool)?
            }
            DEFLATED => {
                let limit = if follow { u64::MAX } else { packed };
                let mut content = (&mut self.input).take(limit);
                let inflated = pass.unpacked(DeflateDecoder::new(&mut content), "a zip archive");
                let mut inflated = BufReader::with_capacity(32 << 10, inflated);
                let mut checked = Checked { inner: &mut inflated, crc: &mut crc };
                local_header(
                    &mut self.out,
                    &header,
                    &name,
                    &extra,
                    DEFLATED,
                    SIZES_FOLLOW,
                    Sizes::default(),
                )?;
                let start = self.out.count;
                let new = pack(pass, &mut checked, &mut self.out)?;
                drop(inflated);
                if !follow && content.limit() > 0 {
                    return Err(unreadable("an entry is shorter than it says"));
                }
                let sizes =
                    Sizes { crc: new.sum(), packed: small(self.out.count - start)?, unpacked: new.amount() };
                self.out.write_all(&DESCRIPTOR.to_le_bytes())?;
                self.out.write_all(&sizes.bytes())?;
                sizes
            }
            other => {
                return Err(Withheld::error(format!(
                    "it is a zip archive with an entry packed by method {other}"
                )));
            }
        };
        let expected = if follow { self.descriptor(large.is_some(), crc.sum())? } else { old.crc };
        if expected != crc.sum() {
            return Err(unreadable("the checksum of an entry is wrong"));
        }
        let follows = if method == DEFLATED { SIZES_FOLLOW } else { 0 };
        self.entries.push(Entry { old_offset, offset, flags: flags & UTF8 | follows, method, sizes });
        Ok(())
    }

    fn write_stored(
        &mut self,
        header: &[u8; 26],
        name: &[u8],
        extra: &[u8],
        spool: Spool,
    ) -> io::Result<Sizes> {
        let (length, mut content) = spool.finish()?;
        let mut crc = Crc::new();
        let mut checked = Checked { inner: &mut content, crc: &mut crc };
        io::copy(&mut checked, &mut io::sink())?;
        let sizes = Sizes { crc: crc.sum(), packed: small(length)?, unpacked: small(length)? };
        local_header(&mut self.out, header, name, extra, STORED, 0, sizes)?;
        io::Seek::rewind(&mut content)?;
        io::copy(&mut content, &mut self.out)?;
        Ok(sizes)
    }

    /// Bytes up to the descriptor that gives their length and checksum.
    fn until_descriptor(&mut self, large: bool) -> io::Result<Spool> {
        let mut spool = Spool::new();
        let mut crc = Crc::new();
        let mut count = 0u64;
        // No longer than a descriptor, so nothing behind it is read.
        let mut window = Vec::new();
        let length = if large { 24 } else { 16 };
        loop {
            let missing = (length - window.len()) as u64;
            if (&mut self.input).take(missing).read_to_end(&mut window)? as u64 != missing {
                return Err(unreadable("it ends in the middle of an entry"));
            }
            let size = if large { large_at(&window[8..], 0)? } else { u32_at(&window, 8).into() };
            if u32_at(&window, 0) == DESCRIPTOR && u32_at(&window, 4) == crc.sum() && size == count {
                return Ok(spool);
            }
            let mark = |bytes: &[u8]| bytes.iter().position(|b| *b == DESCRIPTOR as u8);
            let next = mark(&window[1..]).map_or(window.len(), |at| at + 1);
            let mut settled = |bytes: &[u8]| {
                crc.update(bytes);
                count += bytes.len() as u64;
                spool.0.write_all(bytes)
            };
            settled(&window[..next])?;
            window.drain(..next);
            if window.is_empty() {
                let ahead = self.input.fill_buf()?;
                let next = mark(ahead).unwrap_or(ahead.len());
                settled(&ahead[..next])?;
                self.input.consume(next);
            }
        }
    }

    /// The checksum behind an entry's content. Its mark is optional, and its sizes have four bytes or eight.
    fn descriptor(&mut self, large: bool, expected: u32) -> io::Result<u32> {
        let mut first = u32::from_le_bytes(read(&mut self.input)?);
        if first == DESCRIPTOR && expected != DESCRIPTOR {
            first = u32::from_le_bytes(read(&mut self.input)?);
        }
        skip(&mut self.input, if large { 16 } else { 8 })?;
        Ok(first)
    }

    fn directory_entry(&mut self) -> io::Result<()> {
        let mut header: [u8; 42] = read(&mut self.input)?;
        let [mut name, extra, mut comment] = {
            let length = |at| usize::from(u16_at(&header, at));
            let lengths = [length(24), length(26), length(28)];
            let mut texts = lengths.into_iter().map(|length| bytes(&mut self.input, length));
            [texts.next(), texts.next(), texts.next()].map(|text| text.unwrap_or(Ok(Vec::new())))
        }
        .into_iter()
        .collect::<io::Result<Vec<_>>>()?
        .try_into()
        .map_err(|_| unreadable("an entry of its directory is cut off"))?;
        self.pass.mask(&mut name);
        self.pass.mask(&mut comment);
        let (mut extra, large) = without_large(extra)?;
        self.pass.mask(&mut extra);
        let mut offset = u64::from(u32_at(&header, 38));
        if offset == u64::from(u32::MAX)
            && let Some(large) = large
        {
            let before = [16, 20].iter().filter(|at| u32_at(&header, **at) == u32::MAX).count();
            offset = large_at(&large, before)?;
        }
        let known = self.entries.binary_search_by_key(&offset, |entry| entry.old_offset);
        let entry =
            &self.entries[known.map_err(|_| unreadable("its directory names an entry that is not there"))?];
        let (begin, count) = match self.directory {
            Some(begun) => begun,
            None => (small(self.out.count)?, 0),
        };
        let count = count.checked_add(1).ok_or_else(|| unreadable("its directory is too long"))?;
        self.directory = Some((begin, count));
        put_u16(&mut header, 4, entry.flags);
        put_u16(&mut header, 6, entry.method);
        header[12..24].copy_from_slice(&entry.sizes.bytes());
        put_u16(&mut header, 26, extra.len() as u16);
        put_u16(&mut header, 30, 0);
        header[38..42].copy_from_slice(&entry.offset.to_le_bytes());
        self.out.write_all(&DIRECTORY.to_le_bytes())?;
        self.out.write_all(&header)?;
        for text in [name, extra, comment] {
            self.out.write_all(&text)?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let header: [u8; 18] = read(&mut self.input)?;
        let mut comment = bytes(&mut self.input, u16_at(&header, 16).into())?;
        self.pass.mask(&mut comment);
        if !self.input.fill_buf()?.is_empty() {
            return Err(unreadable("something follows its end"));
        }
        let now = small(self.out.count)?;
        let (begin, count) = self.directory.unwrap_or((now, 0));
        self.out.write_all(&END.to_le_bytes())?;
        self.out.write_all(&[0; 4])?;
        self.out.write_all(&count.to_le_bytes())?;
        self.out.write_all(&count.to_le_bytes())?;
        self.out.write_all(&(now - begin).to_le_bytes())?;
        self.out.write_all(&begin.to_le_bytes())?;
        self.out.write_all(&(comment.len() as u16).to_le_bytes())?;
        self.out.write_all(&comment)
    }
}

/// The masked content of an entry, all of it.
fn spooled(pass: Pass<'_>, content: &mut dyn BufRead) -> io::Result<Spool> {
    match pass.member(content)? {
        Member::Anew(spool) => Ok(spool),
        Member::Plain(mut plain) => {
            let mut spool = Spool::new();
            pass.plain(&mut plain, &mut spool.0)?;
            Ok(spool)
        }
    }
}

fn local_header(
    out: &mut impl Write,
    old: &[u8; 26],
    name: &[u8],
    extra: &[u8],
    method: u16,
    follow: u16,
    sizes: Sizes,
) -> io::Result<()> {
    let mut header = *old;
    put_u16(&mut header, 2, u16_at(old, 2) & UTF8 | follow);
    put_u16(&mut header, 4, method);
    header[10..22].copy_from_slice(&sizes.bytes());
    put_u16(&mut header, 24, extra.len() as u16);
    out.write_all(&ENTRY.to_le_bytes())?;
    out.write_all(&header)?;
    out.write_all(name)?;
    out.write_all(extra)
}

/// Extra fields without that of large sizes, and its content.
fn without_large(extra: Vec<u8>) -> io::Result<(Vec<u8>, Option<Vec<u8>>)> {
    let (mut kept, mut large) = (Vec::with_capacity(extra.len()), None);
    let mut rest = extra.as_slice();
    while rest.len() >= 4 {
        let length = 4 + usize::from(u16_at(rest, 2));
        let field = rest.get(..length).ok_or_else(|| unreadable("an extra field is cut off"))?;
        match u16_at(field, 0) {
            LARGE => large = Some(field[4..].to_vec()),
            _ => kept.extend_from_slice(field),
        }
        rest = &rest[length..];
    }
    Ok((kept, large))
}

fn large_at(large: &[u8], index: usize) -> io::Result<u64> {
    let eight = large.get(index * 8..index * 8 + 8).and_then(|eight| eight.try_into().ok());
    eight.map(u64::from_le_bytes).ok_or_else(|| unreadable("a large size is missing"))
}

/// Deflates the masked content, and gives its checksum and length.
fn pack(pass: Pass<'_>, content: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<Crc> {
    let mut packer = Packer { crc: Crc::new(), out: DeflateEncoder::new(out, Compression::fast()) };
    match pass.member(content)? {
        Member::Plain(mut plain) => pass.plain(&mut plain, &mut packer)?,
        Member::Anew(spool) => io::copy(&mut spool.finish()?.1, &mut packer).map(drop)?,
    }
    packer.out.finish()?;
    Ok(packer.crc)
}

/// Sizes and places are written in the four bytes that every reader knows.
fn small(number: u64) -> io::Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|n| *n < u32::MAX)
        .ok_or_else(|| Withheld::error("it is a zip archive of more than 4 GiB"))
}

fn unreadable(why: &str) -> io::Error {
    Withheld::error(format!("it is a zip archive that cannot be read: {why}"))
}

fn read<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut out = [0; N];
    input.read_exact(&mut out)?;
    Ok(out)
}

fn bytes(input: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; length];
    input.read_exact(&mut out)?;
    Ok(out)
}

fn skip(input: &mut impl Read, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(length), &mut io::sink())?;
    if skipped == length { Ok(()) } else { Err(unreadable("it is cut off")) }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// Takes the checksum of what is packed.
struct Packer<W: Write> {
    crc: Crc,
    out: DeflateEncoder<W>,
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        if u64::from(self.crc.amount()) + written as u64 >= u64::from(u32::MAX) {
            return Err(Withheld::error("it is a zip archive with an entry of more than 4 GiB"));
        }
        self.crc.update(&bytes[..written]);
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
