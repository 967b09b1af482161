//! Serving container logs from disk as a stream: tail, since, timestamps, limit, follow. Memory stays bounded whatever
//! the log's size.

use crate::error::Error;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::Notify;

/// What is read from disk at once.
const CHUNK: usize = 64 * 1024;
/// A follower looks again this often even if the file system says nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A log as it is served: the container's own bytes, or lines with their times before them.
pub type LogStream = BoxStream<'static, io::Result<Bytes>>;

/// What of a log is wanted; the fields of Kubernetes' PodLogOptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Which container; may be left out if there is only one.
    pub container: Option<String>,
    /// Go on until the container ends.
    pub follow: bool,
    /// Only so many lines from the end.
    pub tail_lines: Option<u64>,
    /// Only lines written at this time or later.
    pub since: Option<Timestamp>,
    /// Each line with its time before it.
    pub timestamps: bool,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
    /// Of the time before, of a sidecar that was started again.
    pub previous: bool,
}

/// Why a log cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// 404.
    #[error("pods {name:?} not found")]
    PodNotFound {
        /// The Pod.
        name: String,
    },
    /// 400.
    #[error("container {container} is not valid for pod {name}; choose one of: [{choices}]")]
    ContainerNotFound {
        /// The Pod.
        name: String,
        /// What was asked for.
        container: String,
        /// What there is.
        choices: String,
    },
    /// 400.
    #[error("a container name must be specified for pod {name}, choose one of: [{choices}]")]
    ContainerRequired {
        /// The Pod.
        name: String,
        /// What there is.
        choices: String,
    },
    /// 400.
    #[error("container {container:?} in pod {name:?} is waiting to start: {reason}")]
    Waiting {
        /// The Pod.
        name: String,
        /// The container.
        container: String,
        /// Its waiting reason.
        reason: String,
    },
    /// 400.
    #[error("previous terminated container {container:?} in pod {name:?} not found")]
    NoPrevious {
        /// The Pod.
        name: String,
        /// The container.
        container: String,
    },
    /// 500.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// One stored line of a log: `<rfc3339nano> <stream> <F|P> <text>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// As written; nine digits of fraction, UTC.
    pub time: &'a [u8],
    /// True for a piece that does not end its line.
    pub partial: bool,
    /// The text without its newline.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a stored line, without its newline. `None` if it is not one.
    pub fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let mut parts = line.splitn(4, |b| *b == b' ');
        let time = parts.next()?;
        parts.next()?;
        let partial = match parts.next()? {
            b"F" => false,
            b"P" => true,
            _ => return None,
        };
        Some(Line { time, partial, text: parts.next()? })
    }

    /// The bytes that the container wrote.
    pub fn append_text(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text);
        if !self.partial {
            out.push(b'\n');
        }
    }
}

/// Opens the log at `path`. `ended` says whether the container has ended; once it has, the file does not grow.
pub async fn open(
    path: PathBuf,
    query: &LogQuery,
    ended: Box<dyn Fn() -> bool + Send + Sync>,
) -> Result<LogStream, Error> {
    let failed = |e| Error::io("read the log", &path, e);
    let mut file = File::open(&path).await.map_err(failed)?;
    if let Some(lines) = query.tail_lines {
        let offset = tail_offset(&mut file, lines).await.map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
    }
    let wake = Arc::new(Notify::new());
    let watcher = if query.follow { watch(&path, wake.clone()) } else { None };
    let reader = Reader {
        file,
        ended: query.follow.then_some(ended),
        wake,
        _watcher: watcher,
        rest: Vec::new(),
        // Compared as text: both have nine digits.
        since: query.since.map(|t| format!("{t:.9}").into_bytes()),
        timestamps: query.timestamps,
        mid_line: false,
        left: query.limit_bytes,
        done: false,
    };
    let stream = stream::unfold(reader, |mut reader| async move {
        let chunk = reader.next().await?;
        Some((chunk, reader))
    });
    Ok(stream.boxed())
}

fn watch(path: &Path, wake: Arc<Notify>) -> Option<RecommendedWatcher> {
    // Without one, following costs a look every second.
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|e| !e.kind.is_access()) {
            wake.notify_one();
        }
    })
    .ok()?;
    watcher.watch(path, RecursiveMode::NonRecursive).ok()?;
    // The container's end is written to the Pod's directory, which lies around that of the logs.
    if let Some(pod) = path.parent().and_then(Path::parent) {
        watcher.watch(pod, RecursiveMode::NonRecursive).ok()?;
    }
    Some(watcher)
}

struct Reader {
    file: File,
    ended: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    wake: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
    rest: Vec<u8>,
    since: Option<Vec<u8>>,
    timestamps: bool,
    mid_line: bool,
    left: Option<u64>,
    done: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let mut chunk = vec![0; CHUNK];
        while !self.done {
            // Asked before reading: what an ended container wrote is all there.
            let ended = self.ended.as_ref().is_none_or(|ended| ended());
            let n = match self.file.read(&mut chunk).await {
                Ok(n) => n,
                Err(e) => {
                    self.done = true;
                    return Some(Err(e));
                }
            };
            if n == 0 {
                if ended {
                    return None;
                }
                // Either way there is a reason to look again.
                let _ = tokio::time::timeout(LOOK_AGAIN, self.wake.notified()).await;
                continue;
            }
            let mut out = self.render(&chunk[..n]);
            if let Some(left) = &mut self.left {
                let allowed = usize::try_from(*left).unwrap_or(usize::MAX);
                out.truncate(allowed);
                *left -= out.len() as u64;
                self.done = *left == 0;
            }
            if !out.is_empty() {
                return Some(Ok(Bytes::from(out)));
            }
        }
        None
    }

    /// Takes stored bytes, gives served ones.
    fn render(&mut self, input: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(input);
        let rest = std::mem::take(&mut self.rest);
        let mut out = Vec::with_capacity(rest.len());
        let mut start = 0;
        while let Some(end) = rest[start..].iter().position(|b| *b == b'\n') {
            if let Some(line) = Line::parse(&rest[start..start + end]) {
                self.line(line, &mut out);
            }
            start += end + 1;
        }
        self.rest = rest[start..].to_vec();
        out
    }

    fn line(&mut self, line: Line<'_>, out: &mut Vec<u8>) {
        if self.since.as_deref().is_some_and(|since| line.time < since) {
            return;
        }
        if self.timestamps && !self.mid_line {
            out.extend_from_slice(line.time);
            out.push(b' ');
        }
        line.append_text(out);
        self.mid_line = line.partial;
    }
}

/// Where the last `lines` lines begin, found from the end.
async fn tail_offset(file: &mut File, lines: u64) -> io::Result<u64> {
    let length = file.metadata().await?.len();
    let mut tail = Tail { wanted: lines, found: 0, first: true };
    // The bytes from `at` to the end of the line that is being put together.
    let mut pending: Vec<u8> = Vec::new();
    let mut at = length;
    while at > 0 {
        let size = usize::try_from(at).unwrap_or(CHUNK).min(CHUNK);
        at -= size as u64;
        file.seek(SeekFrom::Start(at)).await?;
        let mut chunk = vec![0; size];
        file.read_exact(&mut chunk).await?;
        chunk.append(&mut pending);
        let mut end = chunk.len();
        while let Some(newline) = chunk[..end.saturating_sub(1)].iter().rposition(|b| *b == b'\n') {
            if tail.full(&chunk[newline + 1..end]) {
                return Ok(at + end as u64);
            }
            end = newline + 1;
        }
        chunk.truncate(end);
        pending = chunk;
    }
    // The first line of the file.
    if tail.full(&pending) { Ok(pending.len() as u64) } else { Ok(0) }
}

struct Tail {
    wanted: u64,
    found: u64,
    first: bool,
}

impl Tail {
    /// Takes the next stored line from the end; true if it is one too many.
    fn full(&mut self, stored: &[u8]) -> bool {
        let stored = stored.strip_suffix(b"\n").unwrap_or(stored);
        let Some(line) = Line::parse(stored) else { return false };
        if !line.partial || self.first {
            self.found += 1;
        }
        self.first = false;
        self.found > self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.000000000Z stdout F one\n\
                       2026-01-01T00:00:02.000000000Z stdout P two \n\
                       2026-01-01T00:00:02.500000000Z stdout F halves\n\
                       2026-01-01T00:00:03.000000000Z stdout F \n\
                       2026-01-01T00:00:04.000000000Z stdout P end";

    async fn serve(query: LogQuery) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        std::fs::write(&path, format!("{LOG}\n")).unwrap();
        let stream = open(path, &query, Box::new(|| true)).await.unwrap();
        let chunks: Vec<_> = stream.collect().await;
        let bytes: Vec<u8> = chunks.into_iter().flat_map(|c| c.unwrap().to_vec()).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn a_log_is_served_as_asked() {
        let all = LogQuery::default();
        let tail = |n| LogQuery { tail_lines: Some(n), ..LogQuery::default() };
        let since = |t: &str| LogQuery { since: Some(t.parse().unwrap()), ..LogQuery::default() };
        let cases = [
            ("all", all.clone(), "one\ntwo halves\n\nend"),
            ("tail 0", tail(0), ""),
            ("tail 1", tail(1), "end"),
            ("tail 2", tail(2), "\nend"),
            ("tail 3", tail(3), "two halves\n\nend"),
            ("tail 9", tail(9), "one\ntwo halves\n\nend"),
            ("since", since("2026-01-01T00:00:03Z"), "\nend"),
            ("limit", LogQuery { limit_bytes: Some(6), ..all.clone() }, "one\ntw"),
            (
                "timestamps",
                LogQuery { timestamps: true, tail_lines: Some(3), ..all.clone() },
                "2026-01-01T00:00:02.000000000Z two halves\n2026-01-01T00:00:03.000000000Z \n\
                 2026-01-01T00:00:04.000000000Z end",
            ),
            ("follow what has ended", LogQuery { follow: true, ..all }, "one\ntwo halves\n\nend"),
        ];
        for (name, query, want) in cases {
            assert_eq!(serve(query).await, want, "{name}");
        }
    }

    #[tokio::test]
    async fn the_tail_of_a_long_log_is_found_across_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let line = |i: u32| format!("2026-01-01T00:00:01.000000000Z stdout F line {i} {}\n", "x".repeat(200));
        std::fs::write(&path, (0..5000).map(line).collect::<String>()).unwrap();
        let query = LogQuery { tail_lines: Some(1000), ..LogQuery::default() };
        let chunks: Vec<_> = open(path, &query, Box::new(|| true)).await.unwrap().collect().await;
        let bytes: Vec<u8> = chunks.into_iter().flat_map(|c| c.unwrap().to_vec()).collect();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), 1000);
        assert!(text.starts_with("line 4000 "), "{}", &text[..20]);
    }
}
