//! Writes a tar archive anew with its members censored: headers keep everything but sizes that changed, and their
//! checksums are right.

use super::inside::{Member, Pass, Withheld};
use std::io::{self, BufRead, Read, Write};

const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const SIZE: std::ops::Range<usize> = 124..136;
const KIND: usize = 156;
/// Name, link target, user, group, and the name's beginning.
const TEXTS: [std::ops::Range<usize>; 4] = [0..100, 157..257, 265..329, 345..500];
/// Extended headers are read whole.
const LARGEST_EXTENSION: u64 = 1 << 20;

/// True for a block whose checksum is that of a tar header.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Some(block) = block.first_chunk::<BLOCK>() else { return false };
    block[0] != 0 && number(&block[CHECKSUM]) == Some(checksum(block))
}

fn checksum(block: &[u8; BLOCK]) -> u64 {
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    let own: u64 = block[CHECKSUM].iter().map(|b| u64::from(*b)).sum();
    sum - own + 8 * u64::from(b' ')
}

/// Octal digits, or GNU's binary form.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let zero = high[0] == 0x80 && high[1..].iter().all(|b| *b == 0);
        return Some(low.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)))
            .filter(|n| zero && *n <= u64::MAX / 4);
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

pub(super) fn copy(pass: Pass<'_>, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
    let mut extended_size = None;
    loop {
        let mut block = [0; BLOCK];
        match read_block(input, &mut block)? {
            0 => return Ok(()),
            BLOCK if block.iter().all(|b| *b == 0) => {
                // The end; what follows is padding, and if it is not, it is masked like anything else.
                out.write_all(&block)?;
                return pass.plain(input, out);
            }
            BLOCK if is_header(&block) => {}
            _ => return Err(damaged("a header is not one")),
        }
        let kind = block[KIND];
        let own = number(&block[SIZE]).ok_or_else(|| damaged("a size is not a number"))?;
        // Links, devices and directories have no content, whatever they say of their size.
        let size = match kind {
            b'1'..=b'6' => 0,
            _ => std::mem::take(&mut extended_size).unwrap_or(own),
        };
        if kind == b'S' {
            return Err(Withheld::error(
                "it is a tar archive with a sparse member, which is not looked into",
            ));
        }
        for text in TEXTS {
            pass.mask(&mut block[text]);
        }
        let mut content = input.take(size);
        match kind {
            b'x' | b'g' | b'L' | b'K' => {
                if size > LARGEST_EXTENSION {
                    return Err(damaged("an extended header is too large"));
                }
                let mut text = Vec::new();
                content.read_to_end(&mut text)?;
                whole(&content)?;
                if kind == b'x' {
                    extended_size = pax_size(&text)?;
                }
                pass.mask(&mut text);
                write(out, &mut block, &mut text.as_slice(), size)?;
            }
            _ => {
                let anew = {
                    let member = pass.member(&mut content)?;
                    match member {
                        Member::Anew(spool) => Some(spool),
                        Member::Plain(mut plain) => {
                            seal(&mut block);
                            out.write_all(&block)?;
                            pass.plain(&mut plain, out)?;
                            pad(out, size)?;
                            None
                        }
                    }
                };
                whole(&content)?;
                if let Some(spool) = anew {
                    let (length, mut spool) = spool.finish()?;
                    if own != size && length != size {
                        return Err(Withheld::error("an archive in it has its size in an extended header"));
                    }
                    write(out, &mut block, &mut spool, length)?;
                }
            }
        }
        skip(input, padding(size))?;
    }
}

/// A header with this size, its content, and its padding.
fn write(out: &mut dyn Write, block: &mut [u8; BLOCK], content: &mut dyn Read, size: u64) -> io::Result<()> {
    if number(&block[SIZE]) != Some(size) {
        if size >= 1 << 33 {
            return Err(Withheld::error("an archive in it grew beyond what tar can tell"));
        }
        block[SIZE].copy_from_slice(format!("{size:011o}\0").as_bytes());
    }
    seal(block);
    out.write_all(block)?;
    io::copy(content, out)?;
    pad(out, size)
}

fn seal(block: &mut [u8; BLOCK]) {
    let sum = checksum(block);
    block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn pad(out: &mut dyn Write, size: u64) -> io::Result<()> {
    out.write_all(&vec![0; padding(size) as usize])
}

fn skip(input: &mut dyn BufRead, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(bytes), &mut io::sink())?;
    if skipped == bytes { Ok(()) } else { Err(damaged("it ends in the middle of a member")) }
}

fn whole<R>(content: &io::Take<R>) -> io::Result<()> {
    if content.limit() == 0 { Ok(()) } else { Err(damaged("it ends in the middle of a member")) }
}

fn read_block(input: &mut dyn BufRead, block: &mut [u8; BLOCK]) -> io::Result<usize> {
    let mut read = Vec::new();
    input.take(BLOCK as u64).read_to_end(&mut read)?;
    block[..read.len()].copy_from_slice(&read);
    Ok(read.len())
}

/// The `size` of an extended header: records are `<length> <key>=<value>\n`.
fn pax_size(mut records: &[u8]) -> io::Result<Option<u64>> {
    let mut size = None;
    while !records.is_empty() && records[0] != 0 {
        let parsed = (|| {
            let space = records.iter().position(|b| *b == b' ')?;
            let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
            let record = records.get(space + 1..length)?;
            Some((record, &records[length..]))
        })();
        let (record, rest) = parsed.ok_or_else(|| damaged("an extended header is not one"))?;
        if let Some(value) = record.strip_prefix(b"size=") {
            let value = std::str::from_utf8(value).ok().and_then(|text| text.trim_end().parse().ok());
            size =
                Some(value.filter(|n| *n <= u64::MAX / 4).ok_or_else(|| damaged("a size is not a number"))?);
        }
        records = rest;
    }
    Ok(size)
}

fn damaged(why: &str) -> io::Error {
    Withheld::error(format!("it is a tar archive that cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::censor::tests::{censored, gunzip, gzip, run};
    use std::fs;

    #[test]
    fn members_are_censored_and_the_archive_stays_one_that_tar_reads() {
        for format in ["ustar", "gnu", "pax", "v7"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path();
            let long = if format == "v7" {
                "d".to_owned()
            } else {
                format!("{}/{}", "d".repeat(90), "e".repeat(90))
            };
            fs::create_dir_all(path.join(&long)).unwrap();
            fs::write(path.join(&long).join("a.txt"), "it is s3cr3t").unwrap();
            // Packed anew it has another size than before.
            fs::write(path.join("b.gz"), gzip("s3cr3t ".repeat(3000).as_bytes())).unwrap();
            fs::write(path.join("c.xz"), b"\xfd7zXZ\0s3cr3t").unwrap();
            fs::write(path.join("s3cr3t.txt"), "last").unwrap();
            let name = format!("--format={format}");
            let tarred = ["a.tar", &long, "b.gz", "c.xz", "s3cr3t.txt"];
            run(path, "tar", &[&["c", &name, "-f"][..], &tarred].concat());
            run(path, "tar", &["cf", "outer.tar", "a.tar"]);
            for archive in ["a.tar", "outer.tar"] {
                let out = censored(&fs::read(path.join(archive)).unwrap(), &["s3cr3t"]).unwrap();
                assert_eq!(out.len() % BLOCK, 0);
                let unpacked = tempfile::tempdir().unwrap();
                fs::write(unpacked.path().join("out.tar"), &out).unwrap();
                run(unpacked.path(), "tar", &["xf", "out.tar"]);
                if archive == "outer.tar" {
                    run(unpacked.path(), "tar", &["xf", "a.tar"]);
                }
                let read = |name: &str| fs::read(unpacked.path().join(name)).unwrap();
                assert_eq!(read(&format!("{long}/a.txt")), b"it is XXXXXX", "{format}");
                assert_eq!(gunzip(&read("b.gz")), "XXXXXX ".repeat(3000).as_bytes());
                assert!(String::from_utf8(read("c.xz")).unwrap().starts_with("Withheld"));
                assert_eq!(read("XXXXXX.txt"), b"last");
            }
        }
    }

    #[test]
    fn tar_gz_is_censored_inside_both() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.txt"), "it is s3cr3t").unwrap();
        run(dir.path(), "tar", &["czf", "a.tgz", "a.txt"]);
        let out = censored(&fs::read(dir.path().join("a.tgz")).unwrap(), &["s3cr3t"]).unwrap();
        fs::write(dir.path().join("out.tgz"), out).unwrap();
        run(dir.path(), "gzip", &["-t", "-S", ".tgz", "out.tgz"]);
        run(dir.path(), "tar", &["xzf", "out.tgz"]);
        assert_eq!(fs::read(dir.path().join("a.txt")).unwrap(), b"it is XXXXXX");
    }

    #[test]
    fn damaged_archives_are_withheld() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.txt"), vec![b'a'; 2000]).unwrap();
        fs::copy(dir.path().join("a.txt"), dir.path().join("b.txt")).unwrap();
        run(dir.path(), "tar", &["cf", "a.tar", "a.txt", "b.txt"]);
        let good = fs::read(dir.path().join("a.tar")).unwrap();
        for cut in [600, 512 + 2048 + 100, 512 + 2048 + 1024] {
            let error = censored(&good[..cut], &["s3cr3t"]).map(drop).unwrap_err();
            assert!(Withheld::reason(&error).unwrap().contains("tar archive"), "{cut}: {error}");
        }
        let mut torn = good.clone();
        torn[512 + 2048 + 5] ^= 1;
        assert!(censored(&torn, &["s3cr3t"]).is_err());
    }
}
