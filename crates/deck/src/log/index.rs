//! The index of a log: how many lines, where some of them begin, which ones matter. Made in one pass over the
//! stream with bounded memory; kept for as long as the log does not change.

use super::Highlight;
use super::file::LogFile;
use futures::TryStreamExt;
use parking_lot::Mutex;
use prow_storage::StorageError;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{OnceCell, Semaphore};

/// A mark is set at the first line that begins this many bytes after the last one.
const STEP: u64 = 64 << 10;
/// Of the lines that matter, the first and the last ones are kept.
const FIRST_HITS: usize = 50;
const LAST_HITS: usize = 150;
/// Indexes kept; each is some tens of kilobytes for a log of 100 MB.
const KEPT: usize = 256;
/// Logs being indexed at one time.
const AT_ONCE: usize = 4;

/// Where a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Decoded bytes before it.
    pub offset: u64,
    /// Its number, from 1.
    pub line: u64,
}

/// What is known of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogIndex {
    /// Decoded bytes.
    pub size: u64,
    /// Lines; a last line without newline counts.
    pub lines: u64,
    /// Numbers of lines that matter, ascending; if there are very many, the first and the last ones.
    pub hits: Vec<u64>,
    /// How many lines matter.
    pub hits_total: u64,
    marks: Vec<Mark>,
}

impl LogIndex {
    /// The last mark at or before a line.
    pub fn locate(&self, line: u64) -> Mark {
        let after = self.marks.partition_point(|mark| mark.line <= line);
        match after {
            0 => Mark { offset: 0, line: 1 },
            n => self.marks[n - 1],
        }
    }
}

/// Makes an index from pieces of a log.
pub struct Scanner {
    highlight: Highlight,
    index: LogIndex,
    last: VecDeque<u64>,
    line: u64,
    // The beginning of the line under way: just enough to decide whether it matters.
    line_bytes: Vec<u8>,
    in_line: bool,
}

impl Scanner {
    /// At the beginning of a log.
    pub fn new(highlight: Highlight) -> Scanner {
        Scanner {
            highlight,
            index: LogIndex { marks: vec![Mark { offset: 0, line: 1 }], ..LogIndex::default() },
            last: VecDeque::new(),
            line: 1,
            line_bytes: Vec::new(),
            in_line: false,
        }
    }

    /// The next bytes.
    pub fn push(&mut self, mut piece: &[u8]) {
        while let Some(end) = piece.iter().position(|b| *b == b'\n') {
            let (head, rest) = piece.split_at(end);
            if self.line_bytes.is_empty() {
                if self.highlight.marks(head) {
                    self.hit();
                }
            } else {
                self.keep(head);
                if self.highlight.marks(&self.line_bytes) {
                    self.hit();
                }
                self.line_bytes.clear();
            }
            piece = &rest[1..];
            self.index.size += end as u64 + 1;
            self.line += 1;
            self.in_line = false;
            let last_mark = self.index.marks.last().map_or(0, |mark| mark.offset);
            if self.index.size - last_mark >= STEP {
                self.index.marks.push(Mark { offset: self.index.size, line: self.line });
            }
        }
        if !piece.is_empty() {
            self.keep(piece);
            self.index.size += piece.len() as u64;
            self.in_line = true;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        // One byte more than is looked at, so that a longer line is seen to be longer.
        let room = (self.highlight.longest() + 1).saturating_sub(self.line_bytes.len());
        self.line_bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn hit(&mut self) {
        self.index.hits_total += 1;
        if self.index.hits.len() < FIRST_HITS {
            self.index.hits.push(self.line);
            return;
        }
        if self.last.len() == LAST_HITS {
            self.last.pop_front();
        }
        self.last.push_back(self.line);
    }

    /// The index.
    pub fn finish(mut self) -> LogIndex {
        if self.in_line && self.highlight.marks(&self.line_bytes) {
            self.hit();
        }
        self.index.hits.extend(self.last);
        self.index.lines = if self.in_line { self.line } else { self.line - 1 };
        self.index
    }
}

type Id = (String, u64, SystemTime, (String, usize));
type Slot = Arc<OnceCell<Arc<LogIndex>>>;

/// The indexes that are kept. Two who ask for the same log at once wait for one pass.
pub struct Indexes {
    kept: Mutex<(HashMap<Id, Slot>, VecDeque<Id>)>,
    at_once: Arc<Semaphore>,
}

impl Default for Indexes {
    fn default() -> Self {
        Indexes { kept: Mutex::default(), at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

/// An index that is there or is being made; giving up waiting does not stop the making.
pub enum Indexing {
    /// It is there.
    Ready(Arc<LogIndex>),
    /// It is being made.
    Making(tokio::task::JoinHandle<Result<Arc<LogIndex>, StorageError>>),
}

impl Indexing {
    /// The index, once it is there.
    pub async fn finished(self) -> Result<Arc<LogIndex>, StorageError> {
        match self {
            Indexing::Ready(index) => Ok(index),
            Indexing::Making(making) => making.await.unwrap_or_else(|error| {
                Err(StorageError::Failed {
                    action: "read",
                    bucket: "the log".to_owned(),
                    name: String::new(),
                    why: format!("counting its lines ended early: {error}"),
                })
            }),
        }
    }
}

impl Indexes {
    /// The index of a log, or the making of it, which goes on in a task of its own.
    pub fn start(&self, file: &LogFile, highlight: &Highlight) -> Indexing {
        let (url, size, updated) = file.identity();
        let slot = self.slot((url, size, updated, highlight.id()));
        if let Some(index) = slot.get() {
            return Indexing::Ready(Arc::clone(index));
        }
        let (file, highlight, at_once) = (file.clone(), highlight.clone(), Arc::clone(&self.at_once));
        let making =
            tokio::spawn(
                async move { slot.get_or_try_init(|| scan(&file, &highlight, &at_once)).await.cloned() },
            );
        Indexing::Making(making)
    }

    fn slot(&self, id: Id) -> Slot {
        let mut kept = self.kept.lock();
        let (slots, order) = &mut *kept;
        if let Some(slot) = slots.get(&id) {
            return Arc::clone(slot);
        }
        if order.len() >= KEPT
            && let Some(oldest) = order.pop_front()
        {
            slots.remove(&oldest);
        }
        let slot = Slot::default();
        order.push_back(id.clone());
        slots.insert(id, Arc::clone(&slot));
        slot
    }
}

async fn scan(
    file: &LogFile,
    highlight: &Highlight,
    at_once: &Semaphore,
) -> Result<Arc<LogIndex>, StorageError> {
    // The semaphore is never closed; without a permit the scan is only less polite.
    let _permit = at_once.acquire().await.ok();
    let mut pieces = file.read_from(0).await?;
    let mut scanner = Scanner::new(highlight.clone());
    while let Some(piece) = pieces.try_next().await? {
        scanner.push(&piece);
        tokio::task::yield_now().await;
    }
    Ok(Arc::new(scanner.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(pieces: &[&[u8]]) -> LogIndex {
        let mut scanner = Scanner::new(Highlight::default());
        for piece in pieces {
            scanner.push(piece);
        }
        scanner.finish()
    }

    #[test]
    fn lines_are_counted_and_those_that_matter_found() {
        for (text, lines, hits) in [
            ("", 0, &[][..]),
            ("\n", 1, &[]),
            ("a", 1, &[]),
            ("a\nb", 2, &[]),
            ("a\nb\n", 2, &[]),
            ("\n\n", 2, &[]),
            ("ERROR: 1\nok\nERROR: 3", 3, &[1, 3]),
            ("ok\npanic\n", 2, &[2]),
        ] {
            let whole = index(&[text.as_bytes()]);
            assert_eq!(
                (whole.lines, &whole.hits[..], whole.size),
                (lines, hits, text.len() as u64),
                "{text:?}"
            );
            // However the bytes are cut, the index is the same.
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(index(&bytes), whole, "{text:?}");
        }
    }

    #[test]
    fn long_lines_cost_no_memory_and_do_not_matter() {
        let mut scanner = Scanner::new(Highlight::default());
        scanner.push(b"ERROR: ");
        for _ in 0..64 {
            scanner.push(&[b'x'; 16 << 10]);
        }
        assert!(scanner.line_bytes.len() <= 10_001);
        scanner.push(b"\nERROR: short\n");
        let index = scanner.finish();
        assert_eq!((index.lines, &index.hits[..]), (2, &[2][..]));
    }

    #[test]
    fn marks_lead_near_any_line() {
        let line = [b"0123456789".repeat(10), b"\n".to_vec()].concat();
        let text = line.repeat(5000);
        let index = index(&[&text]);
        for wanted in [1, 2, 648, 649, 650, 651, 4999, 5000, 9999] {
            let mark = index.locate(wanted);
            assert_eq!(mark.offset, (mark.line - 1) * 101, "marks are at beginnings of lines");
            assert!(
                mark.line <= wanted && (wanted.min(5000) - mark.line) * 101 < STEP + 101,
                "{wanted} {mark:?}"
            );
        }
    }

    #[test]
    fn very_many_hits_keep_their_first_and_last() {
        let text: String = (0..1000).map(|_| "ERROR: x\n").collect();
        let index = index(&[text.as_bytes()]);
        assert_eq!((index.hits_total, index.hits.len()), (1000, FIRST_HITS + LAST_HITS));
        assert_eq!(
            (index.hits[0], index.hits[FIRST_HITS], index.hits[FIRST_HITS + LAST_HITS - 1]),
            (1, 851, 1000)
        );
    }
}
