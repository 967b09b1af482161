//! One line of a log as HTML: terminal colours become classes, web addresses become links, and everything that a
//! log could use to deceive (markup, control characters, reversed text) becomes visible text.

use maud::Escaper;
use std::fmt::Write;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Style {
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    /// 0 to 15.
    fg: Option<u8>,
    bg: Option<u8>,
}

/// Appends a line, without its newline, to `out`.
pub fn line(bytes: &[u8], out: &mut String) {
    let text = String::from_utf8_lossy(bytes);
    let mut style = Style::default();
    let mut run = String::new();
    let mut chars = last_overwrite(&text).chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            visible(c, &mut run);
            continue;
        }
        match chars.next() {
            Some('[') => {
                let mut parameters = String::new();
                let mut end = None;
                for c in chars.by_ref() {
                    if ('\u{40}'..='\u{7e}').contains(&c) {
                        end = Some(c);
                        break;
                    }
                    parameters.push(c);
                }
                if end == Some('m') {
                    let next = sgr(style, &parameters);
                    if next != style {
                        flush(&mut run, style, out);
                        style = next;
                    }
                }
            }
            // Titles and links of terminals: up to BEL or ESC \.
            Some(']') => {
                while let Some(c) = chars.next() {
                    if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            // Two-character sequences; a lone escape at the end.
            Some(_) | None => {}
        }
    }
    flush(&mut run, style, out);
}

/// What a terminal would show in the end of a line that was overwritten with carriage returns: its last part.
fn last_overwrite(text: &str) -> &str {
    let text = text.trim_end_matches('\r');
    text.rsplit_once('\r').map_or(text, |(_, last)| last)
}

/// A character as it may be shown: control characters as their pictures, those that turn text around by number.
fn visible(c: char, out: &mut String) {
    match c {
        '\t' => out.push('\t'),
        '\u{0}'..='\u{1f}' => out.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
        '\u{7f}' => out.push('\u{2421}'),
        '\u{80}'..='\u{9f}' => out.push('\u{fffd}'),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
            // Writing to a String cannot fail.
            let _ = write!(out, "<U+{:04X}>", c as u32);
        }
        c => out.push(c),
    }
}

fn flush(run: &mut String, style: Style, out: &mut String) {
    if run.is_empty() {
        return;
    }
    let styled = style != Style::default();
    if styled {
        out.push_str("<span class=\"");
        let mut names = Vec::new();
        for (on, name) in [(style.bold, "b"), (style.dim, "d"), (style.italic, "i"), (style.underline, "u")] {
            if on {
                names.push(name.to_owned());
            }
        }
        names.extend(style.fg.map(|c| format!("f{c}")));
        names.extend(style.bg.map(|c| format!("g{c}")));
        out.push_str(&names.join(" "));
        out.push_str("\">");
    }
    linkify(run, out);
    if styled {
        out.push_str("</span>");
    }
    run.clear();
}

/// Text with its web addresses as links.
fn linkify(mut text: &str, out: &mut String) {
    loop {
        let found = match (text.find("https://"), text.find("http://")) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let Some(start) = found else { break };
        let rest = &text[start..];
        let end = rest
            .find(|c: char| c.is_whitespace() || c.is_control() || "\"'<>`{}|\\^".contains(c))
            .unwrap_or(rest.len());
        let link = rest[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']']);
        escape(&text[..start], out);
        if link.len() > "https://".len() {
            out.push_str("<a rel=\"noopener nofollow\" href=\"");
            escape(link, out);
            out.push_str("\">");
            escape(link, out);
            out.push_str("</a>");
        } else {
            escape(link, out);
        }
        text = &rest[link.len()..];
    }
    escape(text, out);
}

fn escape(text: &str, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = Escaper::new(out).write_str(text);
}

/// Applies the parameters of a "select graphic rendition" sequence.
fn sgr(mut style: Style, parameters: &str) -> Style {
    // Nothing is 0; what is no number means nothing.
    let mut codes = parameters
        .split([';', ':'])
        .map(|p| if p.is_empty() { 0 } else { p.parse::<u16>().unwrap_or(u16::MAX) });
    while let Some(code) = codes.next() {
        match code {
            0 => style = Style::default(),
            1 => style.bold = true,
            2 => style.dim = true,
            3 => style.italic = true,
            4 => style.underline = true,
            22 => (style.bold, style.dim) = (false, false),
            23 => style.italic = false,
            24 => style.underline = false,
            30..=37 => style.fg = Some((code - 30) as u8),
            38 => style.fg = extended(&mut codes).or(style.fg),
            39 => style.fg = None,
            40..=47 => style.bg = Some((code - 40) as u8),
            48 => style.bg = extended(&mut codes).or(style.bg),
            49 => style.bg = None,
            90..=97 => style.fg = Some((code - 90 + 8) as u8),
            100..=107 => style.bg = Some((code - 100 + 8) as u8),
            _ => {}
        }
    }
    style
}

/// The nearest of the 16 colours to one of 256 (`5;n`) or to `2;r;g;b`.
fn extended(codes: &mut impl Iterator<Item = u16>) -> Option<u8> {
    match codes.next()? {
        5 => match codes.next()? {
            n @ 0..=15 => Some(n as u8),
            n @ 16..=231 => {
                let n = n - 16;
                Some(nearest([n / 36 * 51, n / 6 % 6 * 51, n % 6 * 51]))
            }
            n @ 232..=255 => Some(nearest([(n - 232) * 10 + 8; 3])),
            _ => None,
        },
        2 => {
            let rgb = [codes.next()?, codes.next()?, codes.next()?];
            Some(nearest(rgb.map(|c| c.min(255))))
        }
        _ => None,
    }
}

fn nearest(rgb: [u16; 3]) -> u8 {
    let brightest = rgb[0].max(rgb[1]).max(rgb[2]);
    let darkest = rgb[0].min(rgb[1]).min(rgb[2]);
    if brightest - darkest < 40 {
        return match brightest {
            0..64 => 0,
            64..150 => 8,
            150..220 => 7,
            _ => 15,
        };
    }
    let middle = (brightest + darkest) / 2;
    let bits = (0..3u8).filter(|i| rgb[usize::from(*i)] > middle).fold(0, |bits, i| bits | 1 << i);
    if brightest > 200 { bits + 8 } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: impl AsRef<[u8]>) -> String {
        let mut out = String::new();
        line(text.as_ref(), &mut out);
        out
    }

    #[test]
    fn lines_become_html() {
        for (text, expected) in [
            ("plain", "plain"),
            (
                "<script>alert('x')</script> & \"q\"",
                "&lt;script&gt;alert('x')&lt;/script&gt; &amp; &quot;q&quot;",
            ),
            ("\x1b[31mred\x1b[0m not", "<span class=\"f1\">red</span> not"),
            ("\x1b[1;32;44mx", "<span class=\"b f2 g4\">x</span>"),
            ("\x1b[1mb\x1b[22mn", "<span class=\"b\">b</span>n"),
            ("\x1b[91mx\x1b[39my", "<span class=\"f9\">x</span>y"),
            ("\x1b[mx", "x"),
            ("\x1b[38;5;196mx", "<span class=\"f9\">x</span>"),
            ("\x1b[38;2;0;128;0mx", "<span class=\"f2\">x</span>"),
            ("\x1b[38;5mx", "x"),
            ("\x1b[2K\x1b[1Gx\x1b[", "x"),
            ("\x1b]0;title\x07x\x1b]8;;http://e\x1b\\y", "xy"),
            ("\x1b", ""),
            ("10%\r50%\r100%\r", "100%"),
            ("crlf\r", "crlf"),
            ("a\x00b\x08c\x7f", "a␀b␈c␡"),
            ("evil\u{202e}txt", "evil&lt;U+202E&gt;txt"),
            (
                "see https://x.example/a?b=1&c=2.",
                "see <a rel=\"noopener nofollow\" href=\"https://x.example/a?b=1&amp;c=2\">https://x.example/a?b=1&amp;c=2</a>.",
            ),
            ("http://\"onclick=x", "http://&quot;onclick=x"),
            ("https://", "https://"),
            ("tab\there", "tab\there"),
        ] {
            assert_eq!(html(text), expected, "{text:?}");
        }
        assert_eq!(html(b"bad \xff\xfe utf8"), "bad \u{fffd}\u{fffd} utf8");
    }

    #[test]
    fn no_input_makes_a_tag_of_its_own() {
        // A small exhaustive search over the characters that matter.
        let alphabet = ["<", ">", "\"", "\x1b[", "m", "31", "http://", "a", "\x1b]", "\x07", "&"];
        for a in alphabet {
            for b in alphabet {
                for c in alphabet {
                    for d in alphabet {
                        let out = html([a, b, c, d].concat());
                        let rest =
                            out.replace("<span class=\"f1\">", "").replace("</span>", "").replace("</a>", "");
                        let rest = rest
                            .split("<a rel=\"noopener nofollow\" href=\"")
                            .collect::<String>()
                            .replace("\">", "");
                        assert!(!rest.contains(['<', '>', '"']), "{out}");
                    }
                }
            }
        }
    }
}
