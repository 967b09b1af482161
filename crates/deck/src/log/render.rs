//! The lines of a log's parts, read by range, as HTML rows. What one answer reads and holds is bounded, whatever
//! the log is like.

use super::Highlight;
use super::ansi;
use super::file::LogFile;
use super::index::LogIndex;
use super::plan::Part;
use crate::html::thousands;
use futures::TryStreamExt;
use maud::{Markup, PreEscaped, html};
use prow_storage::StorageError;
use std::ops::Range;

/// Bytes of a line that are shown.
const LONGEST: usize = 10_000;
/// Bytes of text in one answer; beyond it lines are cut short.
const TEXT: usize = 2 << 20;
/// What a line may still have beyond it.
const CUT_SHORT: usize = 200;
/// Bytes read for one answer, where the log can be read from anywhere.
const READ: u64 = 32 << 20;
/// Parts that lie within this many bytes are read in one go.
const TOGETHER: u64 = 4 << 20;

/// A line to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// Its first bytes.
    pub text: Vec<u8>,
    /// Bytes left out.
    pub cut: u64,
}

/// Takes the lines of some ranges out of the bytes of a log.
pub struct Collector {
    wanted: Vec<Range<u64>>,
    at: usize,
    line: u64,
    current: Option<Line>,
    room: usize,
    lines: Vec<Line>,
}

impl Collector {
    /// For ascending ranges of line numbers, fed from the beginning of line `line`.
    pub fn new(wanted: Vec<Range<u64>>, line: u64) -> Collector {
        Collector { wanted, at: 0, line, current: None, room: TEXT, lines: Vec::new() }
    }

    /// The next bytes. False once nothing more is wanted.
    pub fn push(&mut self, mut piece: &[u8]) -> bool {
        while !piece.is_empty() {
            while self.wanted.get(self.at).is_some_and(|range| range.end <= self.line) {
                self.at += 1;
            }
            let Some(range) = self.wanted.get(self.at) else { return false };
            let end = piece.iter().position(|b| *b == b'\n');
            let head = &piece[..end.unwrap_or(piece.len())];
            if range.contains(&self.line) {
                let number = self.line;
                let line = self.current.get_or_insert_with(|| Line { number, text: Vec::new(), cut: 0 });
                let room = LONGEST.min(self.room.max(CUT_SHORT)).saturating_sub(line.text.len());
                let take = head.len().min(room);
                line.text.extend_from_slice(&head[..take]);
                line.cut += (head.len() - take) as u64;
                self.room = self.room.saturating_sub(take);
            }
            match end {
                None => return true,
                Some(end) => {
                    self.lines.extend(self.current.take());
                    self.line += 1;
                    piece = &piece[end + 1..];
                }
            }
        }
        true
    }

    /// The lines; the last one may be the log's end without newline.
    pub fn finish(mut self) -> Vec<Line> {
        self.lines.extend(self.current.take());
        self.lines
    }
}

/// Reads the lines of ascending ranges.
pub async fn read(
    file: &LogFile,
    index: &LogIndex,
    wanted: &[Range<u64>],
) -> Result<Vec<Line>, StorageError> {
    let mut lines = Vec::new();
    for group in groups(file.is_seekable(), index, wanted) {
        let Some(first) = group.first() else { continue };
        // What cannot be read from anywhere is read from the beginning.
        let mark = index.locate(if file.is_seekable() { first.start } else { 1 });
        let mut collector = Collector::new(group.to_vec(), mark.line);
        let mut pieces = file.read_from(mark.offset).await?;
        let mut read = 0;
        while let Some(piece) = pieces.try_next().await? {
            read += piece.len() as u64;
            if !collector.push(&piece) || (file.is_seekable() && read > READ) {
                break;
            }
            tokio::task::yield_now().await;
        }
        lines.extend(collector.finish());
    }
    Ok(lines)
}

/// The whole lines within the last bytes of a log whose lines are not counted.
pub async fn last_lines(file: &LogFile, bytes: u64) -> Result<Vec<Line>, StorageError> {
    let from = file.stored.saturating_sub(bytes);
    let all_lines = 1..u64::MAX;
    let mut collector = Collector::new(vec![all_lines], 1);
    let mut pieces = file.read_from(from).await?;
    while let Some(piece) = pieces.try_next().await? {
        collector.push(&piece);
    }
    let mut lines = collector.finish();
    // The first one began before.
    if from > 0 && lines.len() > 1 {
        lines.remove(0);
    }
    Ok(lines)
}

/// Ranges that are better read in one go than one by one.
fn groups<'w>(seekable: bool, index: &LogIndex, wanted: &'w [Range<u64>]) -> Vec<&'w [Range<u64>]> {
    if !seekable {
        return vec![wanted];
    }
    let mut groups = Vec::new();
    let mut from = 0;
    for at in 1..=wanted.len() {
        let together = wanted.get(at).is_some_and(|next| {
            index.locate(next.end).offset - index.locate(wanted[from].start).offset <= TOGETHER
        });
        if !together {
            groups.push(&wanted[from..at]);
            from = at;
        }
    }
    groups
}

/// Where the links of rows and gaps lead.
pub struct Links<'l> {
    /// The page that shows the log, with a query to append to: `…?log=build-log.txt&`.
    pub page: &'l str,
    /// The fragments of the log, with a query to append to: `/lines/…?`.
    pub fragment: &'l str,
}

/// Rows of parts whose lines were read.
pub fn rows(parts: &[Part], lines: &[Line], highlight: &Highlight, links: &Links<'_>) -> Markup {
    html! {
        @for part in parts {
            @match part {
                Part::Gap(gap) => { (self::gap(gap, links)) }
                Part::Lines(range) => {
                    @let from = lines.partition_point(|line| line.number < range.start);
                    @let to = lines.partition_point(|line| line.number < range.end);
                    @for line in &lines[from..to] { (row(line, highlight)) }
                    // What was beyond the bound of one answer.
                    @let shown = to.checked_sub(1).filter(|last| *last >= from).map_or(range.start, |last| lines[last].number + 1);
                    @if shown < range.end { (self::gap(&(shown..range.end), links)) }
                }
            }
        }
    }
}

/// One line.
pub fn row(line: &Line, highlight: &Highlight) -> Markup {
    let mut text = String::with_capacity(line.text.len() + 64);
    ansi::line(&line.text, &mut text);
    let hit = line.cut == 0 && highlight.marks(&line.text);
    html! {
        div.l .hit[hit] id={ "L" (line.number) } {
            a.n href={ "#L" (line.number) } aria-label={ "line " (line.number) } { (line.number) }
            span.t { (PreEscaped(text)) }
            @if line.cut > 0 { span.cut { "… " (thousands(line.cut)) " more bytes in this line" } }
        }
    }
}

/// One line of which only the text is known.
pub fn unnumbered(line: &Line, highlight: &Highlight) -> Markup {
    let mut text = String::with_capacity(line.text.len() + 64);
    ansi::line(&line.text, &mut text);
    html! {
        div.l .hit[line.cut == 0 && highlight.marks(&line.text)] { span.n { "·" } span.t { (PreEscaped(text)) } }
    }
}

fn gap(gap: &Range<u64>, links: &Links<'_>) -> Markup {
    let count = gap.end.saturating_sub(gap.start);
    let more = count > super::plan::MORE;
    let open = |side: &str, line: u64, text: &str| {
        let fetch = format!("{}from={}&to={}&side={side}", links.fragment, gap.start, gap.end);
        html! { a href={ (links.page) "line=" (line) "#L" (line) } data-fetch=(fetch) { (text) } }
    };
    html! {
        div.gap {
            span { (thousands(count)) @if count == 1 { " line" } @else { " lines" } }
            @if more {
                (open("top", gap.start, "↓ next 500"))
                (open("bottom", gap.end - 1, "↑ previous 500"))
            } @else {
                (open("top", gap.start, "show"))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges, some of one")]
mod tests {
    use super::*;

    fn collect(text: &[u8], wanted: &[Range<u64>], from: u64, chunk: usize) -> Vec<(u64, String)> {
        let mut collector = Collector::new(wanted.to_vec(), from);
        for piece in text.chunks(chunk) {
            if !collector.push(piece) {
                break;
            }
        }
        collector.finish().into_iter().map(|l| (l.number, String::from_utf8(l.text).unwrap())).collect()
    }

    #[test]
    fn lines_are_taken_by_number_however_the_bytes_are_cut() {
        let text = b"one\ntwo\n\nfour\nfive";
        for chunk in [1, 2, 3, 5, 100] {
            for (wanted, from, expected) in [
                (vec![1..2], 1, vec![(1, "one")]),
                (vec![1..99], 1, vec![(1, "one"), (2, "two"), (3, ""), (4, "four"), (5, "five")]),
                (vec![2..4], 1, vec![(2, "two"), (3, "")]),
                (vec![1..2, 5..6], 1, vec![(1, "one"), (5, "five")]),
                (vec![6..9], 1, vec![]),
                (vec![11..12], 10, vec![(11, "two")]),
                (vec![], 1, vec![]),
            ] {
                let expected: Vec<_> = expected.into_iter().map(|(n, t)| (n, t.to_owned())).collect();
                assert_eq!(collect(text, &wanted, from, chunk), expected, "{wanted:?} by {chunk}");
            }
        }
    }

    #[test]
    fn what_one_answer_holds_is_bounded() {
        let long = [vec![b'x'; 1 << 20], b"\nnext\n".to_vec()].concat();
        let mut collector = Collector::new(vec![1..3], 1);
        for piece in long.chunks(1000) {
            collector.push(piece);
        }
        let lines = collector.finish();
        assert_eq!((lines[0].text.len(), lines[0].cut), (LONGEST, (1 << 20) - LONGEST as u64));
        assert_eq!(lines[1].text, b"next");

        let mut many = Collector::new(vec![1..2001], 1);
        let line = [vec![b'y'; 9000], b"\n".to_vec()].concat();
        for _ in 0..2000 {
            many.push(&line);
        }
        let lines = many.finish();
        assert_eq!(lines.len(), 2000);
        assert!(lines.iter().map(|l| l.text.len()).sum::<usize>() <= TEXT + 2000 * CUT_SHORT);
    }

    #[test]
    fn rows_have_anchors_marks_and_gaps() {
        let lines = [
            Line { number: 7, text: b"<b>".to_vec(), cut: 0 },
            Line { number: 8, text: b"ERROR: x".to_vec(), cut: 0 },
        ];
        let parts = [Part::Gap(1..7), Part::Lines(7..9), Part::Gap(9..2000)];
        let links = Links { page: "/view/p?", fragment: "/lines/p?" };
        let html = rows(&parts, &lines, &Highlight::default(), &links).into_string();
        for expected in [
            "<div class=\"l\" id=\"L7\">",
            "<span class=\"t\">&lt;b&gt;</span>",
            "<div class=\"l hit\" id=\"L8\">",
            "href=\"/view/p?line=1#L1\" data-fetch=\"/lines/p?from=1&amp;to=7&amp;side=top\"",
            "side=bottom",
            "1,991 lines",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    }

    #[test]
    fn lines_beyond_the_bound_become_a_gap() {
        let lines = [Line { number: 1, text: b"a".to_vec(), cut: 0 }];
        let links = Links { page: "p?", fragment: "f?" };
        let html = rows(&[Part::Lines(1..4)], &lines, &Highlight::default(), &links).into_string();
        assert!(html.contains("f?from=2&amp;to=4"), "{html}");
    }
}
