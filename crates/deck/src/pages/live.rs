//! `/live`: the log of a Pod while it runs, from an offset to its end; the page's script asks again with the offset
//! it was given and appends what it gets.

use crate::error::DeckError;
use crate::filter::Params;
use crate::links;
use crate::log::render::{self, Line};
use crate::pod;
use crate::state::{Shared, View};
use crate::web;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header;
use maud::{Markup, html};
use prow_api::ProwJob;
use std::collections::VecDeque;
use std::sync::Arc;

/// Lines in one answer; earlier ones are in the raw log.
const LINES: usize = 500;
/// Bytes of a line that are shown.
const LONGEST: usize = 10_000;

/// Where reading on goes on: bytes of the log that were read, and the number of the next line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    offset: u64,
    line: u64,
}

/// The last lines of what lies behind a position.
#[derive(Debug, PartialEq, Eq)]
struct Tail {
    lines: VecDeque<Line>,
    next: Position,
    /// Lines that lay before the first one.
    passed: u64,
}

/// `/live?job&id[&container][&offset&line]`
pub async fn fragment(State(deck): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.as_deref());
    let view = deck.view();
    let Some(job) = pod::visible_build(&deck, &view, params.get("job"), params.get("id")) else {
        return DeckError::NotFound("there is no such run\n".to_owned()).into_text();
    };
    let from = Position {
        offset: params.number("offset").unwrap_or(0),
        line: params.number("line").unwrap_or(1).max(1),
    };
    let container = if params.get("container").is_empty() { "test" } else { params.get("container") };
    let body = lines(&deck, &view, &job, container, from).await;
    let mut response =
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], body.into_string()).into_response();
    web::no_cache(response.headers_mut());
    response
}

/// The lines from a position on, in an element that says where to go on.
async fn lines(deck: &Shared, view: &View, job: &ProwJob, container: &str, from: Position) -> Markup {
    let done = job.complete();
    let tail = match pod::open(deck, view, job, container).await {
        Ok(stream) => read(stream, from, done).await,
        Err(error) => {
            // Not there yet is the ordinary case: the Pod is being started.
            return html! {
                div data-offset=(from.offset) data-line=(from.line) data-done=[done.then_some("true")] {
                    @if from.offset == 0 { p.quiet.waiting { "No log yet: " (error) } }
                }
            };
        }
    };
    html! {
        div data-offset=(tail.next.offset) data-line=(tail.next.line) data-done=[done.then_some("true")] {
            @if tail.passed > 0 {
                div.gap { span { (crate::html::thousands(tail.passed)) " earlier lines are in the raw log" } }
            }
            @for line in &tail.lines { (render::row(line, &view.highlight)) }
        }
    }
}

/// Reads a log to its end and keeps the last whole lines behind `from`. While the log may grow, a last line
/// without newline is left for the next time.
async fn read(
    mut stream: impl Stream<Item = std::io::Result<Bytes>> + Unpin,
    from: Position,
    done: bool,
) -> Tail {
    let mut skip = from.offset;
    let mut tail = Tail { lines: VecDeque::new(), next: from, passed: 0 };
    let mut current = Line { number: from.line, text: Vec::new(), cut: 0 };
    let mut pending = 0u64;
    while let Some(piece) = stream.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                tracing::debug!(%error, "a Pod's log ended early; what was read is shown");
                break;
            }
        };
        let pass = skip.min(piece.len() as u64);
        skip -= pass;
        let mut rest = &piece[pass as usize..];
        while !rest.is_empty() {
            let end = rest.iter().position(|b| *b == b'\n');
            let head = &rest[..end.unwrap_or(rest.len())];
            let take = head.len().min(LONGEST - current.text.len());
            current.text.extend_from_slice(&head[..take]);
            current.cut += (head.len() - take) as u64;
            pending += head.len() as u64;
            match end {
                None => break,
                Some(end) => {
                    rest = &rest[end + 1..];
                    tail.next = Position { offset: tail.next.offset + pending + 1, line: tail.next.line + 1 };
                    pending = 0;
                    let next = Line { number: tail.next.line, text: Vec::new(), cut: 0 };
                    keep(&mut tail, std::mem::replace(&mut current, next));
                }
            }
        }
    }
    if done && pending > 0 {
        tail.next = Position { offset: tail.next.offset + pending, line: tail.next.line + 1 };
        keep(&mut tail, current);
    }
    tail
}

fn keep(tail: &mut Tail, line: Line) {
    if tail.lines.len() == LINES {
        tail.lines.pop_front();
        tail.passed += 1;
    }
    tail.lines.push_back(line);
}

/// The part of a job's page that shows the log of its Pod.
pub async fn section(deck: &Shared, view: &View, job: &ProwJob, wanted: &str) -> Markup {
    let containers = links::containers(job);
    let container = containers.iter().find(|c| *c == wanted).unwrap_or(&containers[0]);
    let query = |container: &str| {
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        out.append_pair("job", &job.spec.job)
            .append_pair("id", &job.status.build_id)
            .append_pair("container", container);
        out.finish()
    };
    let first = lines(deck, view, job, container, Position { offset: 0, line: 1 }).await;
    html! {
        section.card.log aria-labelledby="log-title" {
            header {
                h2 #log-title { "Log of the Pod" @if !job.complete() { " " span.live { "live" } } }
                @if containers.len() > 1 {
                    nav.tabs aria-label="Containers" {
                        @for name in &containers {
                            a href={ "?" (url::form_urlencoded::Serializer::new(String::new()).append_pair("container", name).finish()) }
                                aria-current=[(name == container).then_some("true")] { bdi { (name) } }
                        }
                    }
                }
                nav.actions { a href={ "/log?" (query(container)) } { "raw" } }
            }
            div.lines tabindex="0" role="log" aria-live="off" aria-label="log lines"
                data-live={ "/live?" (query(container)) } { (first) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tail(
        text: &[u8],
        chunk: usize,
        from: Position,
        done: bool,
    ) -> (Vec<(u64, String)>, Position, u64) {
        let pieces: Vec<_> = text.chunks(chunk).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let tail = read(futures::stream::iter(pieces), from, done).await;
        let lines = tail.lines.into_iter().map(|l| (l.number, String::from_utf8(l.text).unwrap())).collect();
        (lines, tail.next, tail.passed)
    }

    #[tokio::test]
    async fn reading_on_gives_every_line_once() {
        let text = b"one\ntwo\nthr";
        for chunk in [1, 2, 4, 100] {
            let (lines, next, _) = tail(text, chunk, Position { offset: 0, line: 1 }, false).await;
            assert_eq!(lines, [(1, "one".to_owned()), (2, "two".to_owned())]);
            assert_eq!(next, Position { offset: 8, line: 3 });
            let (lines, next, _) = tail(b"one\ntwo\nthree\n", chunk, next, false).await;
            assert_eq!(lines, [(3, "three".to_owned())]);
            assert_eq!(next, Position { offset: 14, line: 4 });
            let (lines, again, _) = tail(b"one\ntwo\nthree\n", chunk, next, true).await;
            assert_eq!((lines.len(), again), (0, next));
        }
        let (lines, next, _) = tail(text, 3, Position { offset: 8, line: 3 }, true).await;
        assert_eq!((lines, next), (vec![(3, "thr".to_owned())], Position { offset: 11, line: 4 }));
    }

    #[tokio::test]
    async fn only_the_end_is_kept() {
        let text: String = (1..=1200).map(|n| format!("{n}\n")).collect();
        let (lines, next, passed) = tail(text.as_bytes(), 1000, Position { offset: 0, line: 1 }, false).await;
        assert_eq!((lines.len(), passed, next.line), (LINES, 700, 1201));
        assert_eq!(lines[0], (701, "701".to_owned()));
    }
}
