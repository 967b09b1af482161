//! A container's log as it is written: CRI format, one line `<rfc3339nano> stdout F|P <text>` each.
//!
//! Both streams of a container share one pipe, so their order is kept; the stream is always called stdout. Memory is
//! bounded: a line longer than [`PIECE`] is stored in several pieces, all but the last tagged `P`. Output that ends
//! without a newline is tagged `P` too, so that the bytes served are the bytes written.

use crate::error::Error;
use jiff::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The longest piece of a line, bytes; the same as containerd's.
const PIECE: usize = 16 * 1024;
/// Kubernetes' bounds on a message taken from the log.
const MESSAGE_LINES: usize = 80;
const MESSAGE_BYTES: usize = 2048;

/// Writes one container's log.
pub(super) struct Writer {
    file: File,
    path: PathBuf,
}

impl Writer {
    /// Makes the log; it must not be there yet.
    pub(super) fn create(path: &Path) -> Result<Writer, Error> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| Error::io("create the log", path, e))?;
        Ok(Writer { file, path: path.to_owned() })
    }

    /// Copies `input` until it ends. If the disk refuses, goes on reading (a job must not hang on its own output)
    /// and returns the refusal at the end.
    pub(super) fn copy(mut self, mut input: impl Read) -> Result<(), Error> {
        let mut splitter = Splitter::default();
        let mut chunk = vec![0; 64 * 1024];
        let mut out = Vec::with_capacity(80 * 1024);
        let mut problem = None;
        loop {
            let n = match input.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    problem = Some(Error::io("read the output for", &self.path, e));
                    break;
                }
            };
            out.clear();
            splitter.feed(&chunk[..n], Timestamp::now(), &mut out);
            self.write(&out, &mut problem);
        }
        out.clear();
        splitter.finish(Timestamp::now(), &mut out);
        self.write(&out, &mut problem);
        problem.map_or(Ok(()), Err)
    }

    fn write(&mut self, out: &[u8], problem: &mut Option<Error>) {
        if problem.is_none()
            && let Err(e) = self.file.write_all(out)
        {
            *problem = Some(Error::io("write", &self.path, e));
        }
    }
}

/// Cuts output into CRI lines.
#[derive(Default)]
struct Splitter {
    rest: Vec<u8>,
}

impl Splitter {
    fn feed(&mut self, mut input: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        while !input.is_empty() {
            let room = PIECE - self.rest.len();
            let window = &input[..input.len().min(room)];
            if let Some(end) = window.iter().position(|b| *b == b'\n') {
                self.rest.extend_from_slice(&window[..end]);
                self.emit(now, 'F', out);
                input = &input[end + 1..];
            } else {
                self.rest.extend_from_slice(window);
                input = &input[window.len()..];
                if self.rest.len() == PIECE {
                    self.emit(now, 'P', out);
                }
            }
        }
    }

    fn finish(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            self.emit(now, 'P', out);
        }
    }

    fn emit(&mut self, now: Timestamp, tag: char, out: &mut Vec<u8>) {
        // Nine digits always: a log's times then compare as text.
        out.extend_from_slice(format!("{now:.9} stdout {tag} ").as_bytes());
        out.append(&mut self.rest);
        out.push(b'\n');
    }
}

/// What a container left as its termination message, at most `limit` bytes; empty if nothing readable is there.
pub(super) fn read_termination_log(path: &Path, limit: usize) -> String {
    // An unsandboxed job could have put anything in the file's place: no link is followed and no pipe waited for.
    let open =
        OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path);
    let Ok(file) = open else { return String::new() };
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return String::new();
    }
    let mut text = Vec::new();
    let read = file.take(limit as u64).read_to_end(&mut text);
    if read.is_err() { String::new() } else { String::from_utf8_lossy(&text).into_owned() }
}

/// The last lines of a log, as `FallbackToLogsOnError` takes them: at most 80 lines and 2048 bytes.
pub(super) fn tail_for_message(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        // Enough for 2048 bytes of text even if every line is empty but for its 50 bytes of prefix.
        let window = (MESSAGE_BYTES + MESSAGE_LINES * 64 + PIECE + 64) as u64;
        file.seek(SeekFrom::Start(length.saturating_sub(window)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if length > window {
            let cut = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |i| i + 1);
            bytes.drain(..cut);
        }
        Ok(bytes)
    };
    let Ok(bytes) = read() else { return String::new() };
    let lines: Vec<crate::logs::Line<'_>> =
        bytes.split(|b| *b == b'\n').filter_map(crate::logs::Line::parse).collect();
    let mut text = Vec::new();
    for line in &lines[lines.len().saturating_sub(MESSAGE_LINES)..] {
        line.append_text(&mut text);
    }
    let start = text.len().saturating_sub(MESSAGE_BYTES);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<(char, usize)> {
        let mut splitter = Splitter::default();
        let mut out = Vec::new();
        for chunk in chunks {
            splitter.feed(chunk, Timestamp::UNIX_EPOCH, &mut out);
        }
        splitter.finish(Timestamp::UNIX_EPOCH, &mut out);
        let prefix = "1970-01-01T00:00:00.000000000Z stdout ";
        out.split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| {
                let text = String::from_utf8_lossy(l).into_owned();
                let rest = text.strip_prefix(prefix).unwrap();
                (rest.chars().next().unwrap(), rest.len() - 2)
            })
            .collect()
    }

    #[test]
    fn output_becomes_lines_whatever_the_chunks_are() {
        let long = vec![b'x'; PIECE + 10];
        let cases: Vec<(&str, Vec<&[u8]>, Vec<(char, usize)>)> = vec![
            ("nothing", vec![], vec![]),
            ("a line", vec![b"abc\n"], vec![('F', 3)]),
            ("a line in two chunks", vec![b"ab", b"c\nd\n"], vec![('F', 3), ('F', 1)]),
            ("an empty line", vec![b"\n\n"], vec![('F', 0), ('F', 0)]),
            ("no newline at the end", vec![b"a\nbc"], vec![('F', 1), ('P', 2)]),
            ("a very long line", vec![&long, b"\n"], vec![('P', PIECE), ('F', 10)]),
        ];
        for (name, chunks, want) in cases {
            assert_eq!(split(&chunks), want, "{name}");
        }
    }

    #[test]
    fn the_message_is_the_tail_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let text: String = (0..500).map(|i| format!("line {i}\n")).collect();
        Writer::create(&path).unwrap().copy(text.as_bytes()).unwrap();
        let tail = tail_for_message(&path);
        assert!(tail.starts_with("line 420\n") && tail.ends_with("line 499\n"), "{tail}");
        let path = dir.path().join("b.log");
        Writer::create(&path).unwrap().copy(vec![b'y'; 50_000].as_slice()).unwrap();
        assert_eq!(tail_for_message(&path).len(), MESSAGE_BYTES);
    }
}
