//! The pieces that pages are made of: layout, states, times, refs. Everything that comes from outside goes through
//! maud's escaping; links go through [`crate::web::safe_link`].

use crate::assets;
use crate::links;
use http::StatusCode;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use prow_api::{Refs, State};

/// A whole page.
pub fn page(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Prow" }
                link rel="icon" href=(assets::ICON.url());
                link rel="stylesheet" href=(assets::STYLE.url());
                link rel="stylesheet" href="/branding.css";
                script src=(assets::SCRIPT.url()) defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    nav aria-label="Prow" {
                        a.brand href="/" {
                            img src=(assets::LOGO.url()) alt="" width="28" height="28";
                            "Prow"
                        }
                        a href="/" { "Jobs" }
                        a href="/config" { "Configuration" }
                    }
                }
                main id="main" tabindex="-1" { (body) }
            }
        }
    }
}

/// The page of a failure.
pub fn error_page(title: &str, status: StatusCode, message: &str) -> Markup {
    page(
        title,
        html! {
            section.card.failure {
                h1 { (title) }
                p { (message) }
                p.quiet { "HTTP " (status.as_u16()) }
                p { a href="/" { "All jobs" } }
            }
        },
    )
}

/// A state's shape, so that colour is not all that tells states apart.
fn shape(state: State) -> &'static str {
    match state {
        State::Success => "✓",
        State::Failure => "✗",
        State::Error => "!",
        State::Aborted => "⊘",
        State::Pending => "●",
        State::Triggered => "◌",
        State::Scheduling => "…",
    }
}

/// A state as a word with its colour and shape.
pub fn state(state: State) -> Markup {
    html! {
        span class={ "state " (state) } { span.shape aria-hidden="true" { (shape(state)) } (state) }
    }
}

/// A state with a number.
pub fn state_count(state: State, count: usize) -> Markup {
    html! {
        span class={ "state " (state) } { span.shape aria-hidden="true" { (shape(state)) } (state) } " "
        span.count { (thousands(count as u64)) }
    }
}

/// A result word of finished.json.
pub fn result(word: &str) -> Markup {
    let state_word = match word.to_ascii_uppercase().as_str() {
        "SUCCESS" => State::Success,
        "FAILURE" => State::Failure,
        "ABORTED" => State::Aborted,
        "ERROR" => State::Error,
        "PENDING" => State::Pending,
        "TRIGGERED" => State::Triggered,
        _ => return html! { span.state { (word) } },
    };
    state(state_word)
}

/// A moment: how long ago, and when exactly. The script keeps the first part current.
pub fn moment(at: Timestamp, now: Timestamp) -> Markup {
    let exact = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! {
        time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) title=(exact) { (ago(at, now)) }
        " " span.exact { (at.strftime("%b %d, %H:%M")) }
    }
}

/// "5 min ago".
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    let (number, unit) = match seconds.unsigned_abs() {
        s if s < 60 => (s, "s"),
        s if s < 3600 => (s / 60, "min"),
        s if s < 48 * 3600 => (s / 3600, "h"),
        s => (s / 86_400, "days"),
    };
    if seconds >= 0 { format!("{number} {unit} ago") } else { format!("in {number} {unit}") }
}

/// Whole seconds as "1h 02m", "3m 05s", "12s".
pub fn duration(seconds: i64) -> String {
    let s = seconds.max(0);
    match s {
        s if s >= 3600 => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
        s if s >= 60 => format!("{}m {:02}s", s / 60, s % 60),
        s => format!("{s}s"),
    }
}

/// Bytes for people.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// 1234567 as "1,234,567".
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The first characters of a commit.
pub fn short(sha: &str) -> &str {
    match sha.len() == 40 && sha.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => &sha[..7],
        false => sha,
    }
}

/// Text with a link, if there is one that may stand in a page.
pub fn linked(link: Option<&str>, text: Markup) -> Markup {
    match link {
        Some(link) => html! { a href=(link) { (text) } },
        None => text,
    }
}

/// The pull requests, else the base, of refs: one line for a list.
pub fn refs_line(refs: &Refs, github: &str) -> Markup {
    html! {
        @if refs.pulls.is_empty() {
            (linked(links::base(refs, github).as_deref(), html! {
                bdi { (refs.base_ref) @if !refs.base_sha.is_empty() { " " code { (short(&refs.base_sha)) } } }
            }))
        } @else {
            @for (at, pull) in refs.pulls.iter().enumerate() {
                @if at > 0 { ", " }
                (linked(links::pull(refs, pull, github).as_deref(), html! { "#" (pull.number) }))
            }
            @if let [pull] = refs.pulls.as_slice() {
                @if !pull.title.is_empty() { " " bdi.title { (pull.title) } }
                @if !pull.author.is_empty() { " " span.quiet { "by " bdi { (pull.author) } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (65, "1m 05s"), (3600, "1h 00m"), (90_061, "25h 01m"), (-5, "0s")]
        {
            assert_eq!(duration(seconds), text);
        }
        for (count, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (157_286_400, "150.0 MiB")] {
            assert_eq!(bytes(count), text);
        }
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (before, text) in
            [(0, "0 s ago"), (61, "1 min ago"), (7200, "2 h ago"), (259_200, "3 days ago"), (-30, "in 30 s")]
        {
            assert_eq!(ago(Timestamp::from_second(1_000_000 - before).unwrap(), now), text);
        }
    }

    #[test]
    fn hostile_titles_are_text() {
        let refs = Refs {
            org: "o".into(),
            repo: "r".into(),
            pulls: vec![prow_api::Pull {
                number: 1,
                title: "<script>alert(1)</script>\" onload=\"x".into(),
                author: "<b>".into(),
                link: "javascript:alert(1)".into(),
                ..Default::default()
            }],
            ..Refs::default()
        };
        let out = refs_line(&refs, "https://github.com").into_string();
        assert!(
            out.contains("&lt;script&gt;") && !out.contains("<script") && !out.contains("javascript:"),
            "{out}"
        );
    }
}
