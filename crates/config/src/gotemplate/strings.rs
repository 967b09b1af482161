//! The string constants of a template's actions, read as Go reads them (strconv.Unquote) and written with only those
//! escapes that the template engine reads the same way: it takes escapes in raw strings, and loses what follows `\x60`.

use std::borrow::Cow;

/// The same template with plain constants. Fails with what is wrong in a constant that Go refuses.
pub(super) fn plain(source: &str) -> Result<Cow<'_, str>, String> {
    if !source.contains(['\\', '`']) {
        return Ok(Cow::Borrowed(source));
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{{") {
        let (text, action) = rest.split_at(start + 2);
        out.push_str(text);
        rest = through_action(action, &mut out)?;
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// Copies an action up to and with its `}}`; gives what follows it.
fn through_action<'s>(action: &'s str, out: &mut String) -> Result<&'s str, String> {
    let inner = action.strip_prefix('-').map_or(action, str::trim_start);
    if inner.starts_with("/*") {
        let end = inner.find("*/").map_or(action.len(), |at| action.len() - inner.len() + at + 2);
        out.push_str(&action[..end]);
        return Ok(&action[end..]);
    }
    let mut rest = action;
    while let Some(at) = rest.find(['"', '`', '\'', '}']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("}}") {
            out.push_str("}}");
            return Ok(after);
        }
        let quote = from.chars().next().unwrap_or_default();
        let Some(len) = constant(from, quote) else {
            // A brace, or a constant that does not end: the engine says so.
            out.push(quote);
            rest = &from[quote.len_utf8()..];
            continue;
        };
        let (literal, after) = from.split_at(len);
        match quote {
            '"' => write(&unquote(&literal[1..len - 1])?, out),
            // Go drops carriage returns from raw strings.
            '`' => write(&literal[1..len - 1].replace('\r', ""), out),
            _ => out.push_str(literal),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok("")
}

/// How long the constant at the beginning is, its quotes included.
fn constant(text: &str, quote: char) -> Option<usize> {
    if quote == '}' {
        return None;
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            '\n' if quote != '`' => return None,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn write(value: &str, out: &mut String) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// What is between double quotes.
fn unquote(raw: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let refused = || format!("the constant \"{raw}\" has an escape that Go does not know");
        let letter = escape.chars().next().ok_or_else(refused)?;
        let digits = |from: usize, n: usize, radix: u32| {
            let text = escape.get(from..from + n).filter(|t| t.bytes().all(|b| b.is_ascii_alphanumeric()));
            text.and_then(|t| u32::from_str_radix(t, radix).ok()).ok_or_else(refused)
        };
        let (character, len) = match letter {
            'a' => ('\u{7}', 1),
            'b' => ('\u{8}', 1),
            'f' => ('\u{c}', 1),
            'n' => ('\n', 1),
            'r' => ('\r', 1),
            't' => ('\t', 1),
            'v' => ('\u{b}', 1),
            '\\' | '"' => (letter, 1),
            'u' => (char::from_u32(digits(1, 4, 16)?).ok_or_else(refused)?, 5),
            'U' => (char::from_u32(digits(1, 8, 16)?).ok_or_else(refused)?, 9),
            'x' | '0'..='7' => {
                let (value, len) = if letter == 'x' { (digits(1, 2, 16)?, 3) } else { (digits(0, 3, 8)?, 3) };
                bytes.push(u8::try_from(value).map_err(|_| refused())?);
                rest = &escape[len..];
                continue;
            }
            _ => return Err(refused()),
        };
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &escape[len..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| format!("the constant \"{raw}\" is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_mean_what_they_mean_in_go() {
        for (source, want) in [
            (r#"a\b"c" {{"x"}}"#, r#"a\b"c" {{"x"}}"#),
            (r#"{{"\x60\x60more \\w"}}"#, r#"{{"``more \\w"}}"#),
            (r#"{{- "\u00e9\U0001F600\101\t\a" -}}"#, "{{- \"é😀A\t\u{7}\" -}}"),
            (r#"{{"\xc3\xa9"}}"#, r#"{{"é"}}"#),
            ("{{`a\\d \"q\"\n}}`}}\\", "{{\"a\\\\d \\\"q\\\"\\n}}\"}}\\"),
            (r#"{{/* "\q` */}}{{"\""}}"#, r#"{{/* "\q` */}}{{"\""}}"#),
            (r#"{{'\n'}}{{printf "%d}}" 1}}`"#, r#"{{'\n'}}{{printf "%d}}" 1}}`"#),
            (r#"{{"no end\}}"#, r#"{{"no end\}}"#),
        ] {
            assert_eq!(plain(source).unwrap(), want, "{source}");
        }
        for bad in [
            r#"{{"\q"}}"#,
            r#"{{"\'"}}"#,
            r#"{{"\x6"}}"#,
            r#"{{"\400"}}"#,
            r#"{{"\ud800"}}"#,
            r#"{{"\xff"}}"#,
            r#"{{"\x+1"}}"#,
        ] {
            plain(bad).unwrap_err();
        }
    }
}
