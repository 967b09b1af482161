//! From Go's dialect to the regex crate's (prow-config §0.3): the differences, one by one.

use std::iter::Peekable;
use std::str::CharIndices;

const DIGITS: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\f\r ";

struct Translator<'p> {
    pattern: &'p str,
    chars: Peekable<CharIndices<'p>>,
    out: String,
    /// What stands before: nothing that a repetition could apply to is checked by the regex crate, a repetition of
    /// a repetition by us.
    after_repetition: bool,
    /// For each open group, and the pattern itself: the largest product of counts in it so far.
    counts: Vec<u32>,
    /// The product of the last thing, if a count follows.
    last: u32,
}

/// Go refuses counted repetitions whose product, nested ones multiplied, is above this.
const MAX_REPEAT: u32 = 1000;

/// The pattern in the regex crate's dialect, or why Go refuses it.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut t = Translator {
        pattern,
        chars: pattern.char_indices().peekable(),
        out: String::with_capacity(pattern.len() + 8),
        after_repetition: false,
        counts: vec![1],
        last: 1,
    };
    t.run()?;
    Ok(t.out)
}

impl<'p> Translator<'p> {
    fn rest(&mut self) -> &'p str {
        match self.chars.peek() {
            Some((at, _)) => &self.pattern[*at..],
            None => "",
        }
    }

    fn skip(&mut self, bytes: usize) {
        let end = self.chars.peek().map_or(self.pattern.len(), |(at, _)| at + bytes);
        while self.chars.peek().is_some_and(|(at, _)| *at < end) {
            self.chars.next();
        }
    }

    fn run(&mut self) -> Result<(), String> {
        while let Some((_, c)) = self.chars.next() {
            let mut repetition = false;
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => {
                    if self.group()? {
                        self.counts.push(1);
                    }
                }
                ')' => {
                    self.out.push(')');
                    // A bare `)` is left to the regex crate to refuse.
                    let inner = self.counts.pop().unwrap_or(1);
                    self.note_count(inner);
                    self.after_repetition = false;
                    continue;
                }
                '*' | '+' | '?' => {
                    self.out.push(c);
                    self.repeated()?;
                    repetition = true;
                }
                '{' => match repetition_length(self.rest())? {
                    Some(length) => {
                        let text = &self.rest()[..length];
                        self.count(text)?;
                        self.out.push('{');
                        self.out.push_str(text);
                        self.skip(length);
                        self.repeated()?;
                        repetition = true;
                    }
                    None => self.out.push_str(r"\{"),
                },
                '}' => self.out.push_str(r"\}"),
                ']' => self.out.push_str(r"\]"),
                _ => self.out.push(c),
            }
            if !repetition {
                self.last = 1;
            }
            self.after_repetition = repetition;
        }
        Ok(())
    }

    fn note_count(&mut self, count: u32) {
        self.last = count;
        if let Some(largest) = self.counts.last_mut() {
            *largest = count.max(*largest);
        }
    }

    /// Multiplies the last thing's count by the one in `{low,high}`.
    fn count(&mut self, braces: &str) -> Result<(), String> {
        let numbers = braces.trim_end_matches('}').split(',').filter_map(|n| n.parse::<u32>().ok());
        let product = self.last.saturating_mul(numbers.max().unwrap_or(1).max(1));
        if product > MAX_REPEAT {
            return Err(format!("{{{braces} repeats more than {MAX_REPEAT} times, with what is inside"));
        }
        self.note_count(product);
        Ok(())
    }

    /// After a repetition operator: a `?` makes it lazy; a second operator is refused.
    fn repeated(&mut self) -> Result<(), String> {
        if self.after_repetition {
            return Err("invalid nested repetition operator".into());
        }
        if self.rest().starts_with('?') {
            self.skip(1);
            self.out.push('?');
        }
        Ok(())
    }

    /// Flags that Go does not have are refused; the rest is the same. True if a group is open now.
    fn group(&mut self) -> Result<bool, String> {
        self.out.push('(');
        let rest = self.rest();
        let Some(inner) = rest.strip_prefix('?') else { return Ok(true) };
        if let Some(name) = inner.strip_prefix("P<").or_else(|| inner.strip_prefix('<')) {
            if name.starts_with(['=', '!']) {
                return Err("look-behind is not supported".into());
            }
            let end = name.find('>').ok_or("a group's name has no end")?;
            if end == 0 || !name[..end].chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!("{:?} is no name for a group", &name[..end]));
            }
            let length = rest.len() - name.len() + end + 1;
            self.out.push_str(&rest[..length]);
            self.skip(length);
            return Ok(true);
        }
        let end = inner.find([':', ')']).ok_or("a group has no end")?;
        if let Some(bad) = inner[..end].chars().find(|c| !matches!(c, 'i' | 'm' | 's' | 'U' | '-')) {
            return Err(format!("(?{bad} is not supported"));
        }
        self.out.push('?');
        self.out.push_str(&inner[..=end]);
        self.skip(end + 2);
        Ok(inner[end..].starts_with(':'))
    }

    fn escape(&mut self) -> Result<(), String> {
        let Some((_, c)) = self.chars.next() else { return Err("a backslash ends the pattern".into()) };
        match c {
            'd' => self.push_class("", DIGITS),
            'D' => self.push_class("^", DIGITS),
            'w' => self.push_class("", WORD),
            'W' => self.push_class("^", WORD),
            's' => self.push_class("", SPACE),
            'S' => self.push_class("^", SPACE),
            'b' => self.out.push_str(r"(?-u:\b)"),
            'B' => self.out.push_str(r"(?-u:\B)"),
            'A' | 'z' => {
                self.out.push('\\');
                self.out.push(c);
            }
            'Q' => {
                let rest = self.rest();
                let (literal, length) = match rest.find(r"\E") {
                    Some(end) => (&rest[..end], end + 2),
                    None => (rest, rest.len()),
                };
                self.out.push_str(&regex::escape(literal));
                self.skip(length);
            }
            'p' | 'P' => self.property(c)?,
            _ => {
                let literal = self.literal_escape(c)?;
                push_literal(&mut self.out, literal);
            }
        }
        Ok(())
    }

    fn push_class(&mut self, negation: &str, members: &str) {
        self.out.push('[');
        self.out.push_str(negation);
        self.out.push_str(members);
        self.out.push(']');
    }

    /// `\pN`, `\p{Greek}`, `\p{^Greek}`.
    fn property(&mut self, kind: char) -> Result<(), String> {
        let rest = self.rest();
        let (mut name, length) = match rest.strip_prefix('{') {
            Some(inner) => {
                let end = inner.find('}').ok_or("a character property has no end")?;
                (&inner[..end], end + 2)
            }
            None => {
                let c = rest.chars().next().ok_or("a character property has no name")?;
                (&rest[..c.len_utf8()], c.len_utf8())
            }
        };
        let mut negative = kind == 'P';
        if let Some(positive) = name.strip_prefix('^') {
            name = positive;
            negative = !negative;
        }
        if name == "Any" {
            self.out.push_str(if negative { r"[^\s\S]" } else { r"[\s\S]" });
        } else {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!("{name:?} is no character property"));
            }
            self.out.push_str(&format!(r"\{}{{{name}}}", if negative { 'P' } else { 'p' }));
        }
        self.skip(length);
        Ok(())
    }

    /// The character that `\c` stands for, `c` being taken already.
    fn literal_escape(&mut self, c: char) -> Result<char, String> {
        Ok(match c {
            'a' => '\u{7}',
            'f' => '\u{c}',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'v' => '\u{b}',
            'x' => return self.hexadecimal(),
            '0'..='7' => {
                let rest = self.rest();
                let octal = rest.chars().take(2).take_while(|c| ('0'..='7').contains(c)).count();
                if c != '0' && octal == 0 {
                    return Err("back-references are not supported".into());
                }
                let digits = format!("{c}{}", &rest[..octal]);
                self.skip(octal);
                let code = u32::from_str_radix(&digits, 8).map_err(|e| e.to_string())?;
                return char::from_u32(code).ok_or_else(|| "not a character".into());
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            c => return Err(format!(r"\{c} is not supported")),
        })
    }

    fn hexadecimal(&mut self) -> Result<char, String> {
        let rest = self.rest();
        let (digits, length) = match rest.strip_prefix('{') {
            Some(inner) => {
                let end = inner.find('}').ok_or(r"\x{ has no end")?;
                (&inner[..end], end + 2)
            }
            None => (rest.get(..2).ok_or(r"\x wants two digits")?, 2),
        };
        if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!(r"\x{digits} is not hexadecimal"));
        }
        let code = u32::from_str_radix(digits, 16).map_err(|e| e.to_string())?;
        self.skip(length);
        char::from_u32(code).ok_or_else(|| format!(r"\x{digits} is not a character"))
    }

    /// A bracketed class: inside, `[`, `&&`, `--` and `~~` mean themselves in Go.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest().starts_with('^') {
            self.skip(1);
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else { return Err("a character class has no end".into()) };
            if c == ']' && !first {
                self.skip(1);
                self.out.push(']');
                return Ok(());
            }
            first = false;
            if rest.starts_with("[:") && rest.contains(":]") {
                self.posix(rest)?;
                continue;
            }
            if self.class_escape(rest)? {
                continue;
            }
            let low = self.class_char()?;
            let rest = self.rest();
            if rest.starts_with('-') && !rest[1..].starts_with(']') && rest.len() > 1 {
                self.skip(1);
                let high = self.class_char()?;
                if high < low {
                    return Err(format!("{low}-{high} is no range"));
                }
                push_literal(&mut self.out, low);
                self.out.push('-');
                push_literal(&mut self.out, high);
            } else {
                push_literal(&mut self.out, low);
            }
        }
    }

    fn posix(&mut self, rest: &str) -> Result<(), String> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
            "space", "upper", "word", "xdigit",
        ];
        let end = rest.find(":]").unwrap_or(rest.len());
        let name = &rest[2..end];
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("[:{name}:] is no character class"));
        }
        self.out.push_str(&rest[..end + 2]);
        self.skip(end + 2);
        Ok(())
    }

    /// `\d`, `\pL` and their like inside a class; false if something else is next.
    fn class_escape(&mut self, rest: &str) -> Result<bool, String> {
        let Some(c) = rest.strip_prefix('\\').and_then(|r| r.chars().next()) else { return Ok(false) };
        if !matches!(c, 'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'p' | 'P') {
            return Ok(false);
        }
        self.skip(1);
        self.escape()?;
        Ok(true)
    }

    fn class_char(&mut self) -> Result<char, String> {
        match self.chars.next() {
            Some((_, '\\')) => match self.chars.next() {
                Some((_, c)) => self.literal_escape(c),
                None => Err("a backslash ends the pattern".into()),
            },
            Some((_, c)) => Ok(c),
            None => Err("a character class has no end".into()),
        }
    }
}

fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_control() {
        out.push_str(&format!(r"\x{:02X}", u32::from(c)));
    } else {
        if c.is_ascii_punctuation()
            && !matches!(
                c,
                '<' | '>' | '_' | '/' | '"' | '\'' | '%' | ',' | ':' | ';' | '=' | '@' | '`' | '!'
            )
        {
            out.push('\\');
        }
        out.push(c);
    }
}

/// Bytes after a `{` that make it a repetition, closing brace included; none if the brace is a literal.
fn repetition_length(rest: &str) -> Result<Option<usize>, String> {
    let Some(end) = rest.find('}') else { return Ok(None) };
    let inner = &rest[..end];
    let (low, high) = match inner.split_once(',') {
        Some((low, high)) => (low, Some(high)),
        None => (inner, None),
    };
    let number = |s: &str| {
        !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()) && !(s.len() > 1 && s.starts_with('0'))
    };
    if !number(low) || high.is_some_and(|h| !h.is_empty() && !number(h)) {
        return Ok(None);
    }
    let value = |s: &str| s.parse::<u32>().ok().filter(|n| *n <= 1000);
    let too_many = || format!("{{{inner}}} repeats more than 1000 times");
    let low = value(low).ok_or_else(too_many)?;
    if let Some(high) = high.filter(|h| !h.is_empty()) {
        let high = value(high).ok_or_else(too_many)?;
        if high < low {
            return Err(format!("{{{inner}}} is no range"));
        }
    }
    Ok(Some(end + 1))
}
