//! Readers and writers that take note of what passes through them.

use flate2::Crc;
use std::io::{self, BufRead, Read, Write};

/// Counts what passes.
pub(super) struct Counted<T> {
    pub(super) inner: T,
    pub(super) count: u64,
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

impl<T: BufRead> BufRead for Counted<T> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }
    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.inner.consume(amount);
    }
}

impl<T: Write> Write for Counted<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Takes the checksum of what is read.
pub(super) struct Checked<'a, R: ?Sized> {
    pub(super) inner: &'a mut R,
    pub(super) crc: &'a mut Crc,
}

impl<R: BufRead + ?Sized> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.crc.update(&buffer[..read]);
        Ok(read)
    }
}

impl<R: BufRead + ?Sized> BufRead for Checked<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }
    fn consume(&mut self, amount: usize) {
        if let Ok(bytes) = self.inner.fill_buf() {
            self.crc.update(&bytes[..amount]);
        }
        self.inner.consume(amount);
    }
}
