//! Patterns: Go's `filepath.Match` for badges (prow-runtime §12.3) and the `*` of the list's job filter.

/// Go's `filepath.Match`: `*` and `?` do not match `/`; `[a-z]`, `[^a-z]`; `\` takes the next character as it is.
/// `None` if the pattern is malformed.
pub fn matches(pattern: &str, name: &str) -> Option<bool> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    well_formed(&pattern).then(|| walk(&pattern, &name))
}

fn well_formed(pattern: &[char]) -> bool {
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            '\\' => {
                if at + 1 == pattern.len() {
                    return false;
                }
                at += 2;
            }
            '[' => match class(&pattern[at..], '\0') {
                Some((length, _)) => at += length,
                None => return false,
            },
            _ => at += 1,
        }
    }
    true
}

/// Iterative matching with one point to come back to: linear in practice, never exponential.
fn walk(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p + 1, n));
            p += 1;
            continue;
        }
        if p == pattern.len() && n == name.len() {
            return true;
        }
        if p < pattern.len() && n < name.len() {
            let (length, hit) = match pattern[p] {
                '?' => (1, name[n] != '/'),
                '[' => class(&pattern[p..], name[n]).unwrap_or((1, false)),
                '\\' => (2, pattern.get(p + 1) == Some(&name[n])),
                c => (1, c == name[n]),
            };
            if hit {
                p += length;
                n += 1;
                continue;
            }
        }
        match retry {
            // The star takes one character more, which may not be a slash.
            Some((after, from)) if from < name.len() && name[from] != '/' => {
                retry = Some((after, from + 1));
                p = after;
                n = from + 1;
            }
            _ => return false,
        }
    }
}

/// A `[…]` at the start of `pattern`: its length and whether `c` is in it. `None` if it is malformed.
fn class(pattern: &[char], c: char) -> Option<(usize, bool)> {
    let mut at = 1;
    let negated = pattern.get(at) == Some(&'^');
    if negated {
        at += 1;
    }
    let mut found = false;
    let mut ranges = 0;
    loop {
        if pattern.get(at) == Some(&']') && ranges > 0 {
            return Some((at + 1, found != negated));
        }
        let (low, length) = class_char(&pattern[at..])?;
        at += length;
        let mut high = low;
        if pattern.get(at) == Some(&'-') {
            let (upper, length) = class_char(pattern.get(at + 1..)?)?;
            high = upper;
            at += 1 + length;
        }
        found |= low <= c && c <= high;
        ranges += 1;
    }
}

fn class_char(pattern: &[char]) -> Option<(char, usize)> {
    match pattern.first()? {
        '-' | ']' => None,
        '\\' => pattern.get(1).map(|c| (*c, 2)),
        c => Some((*c, 1)),
    }
}

/// The list's job filter: without `*` equal, with it `*` stands for anything.
pub fn wildcard(pattern: &str, name: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == name;
    }
    let parts: Vec<&str> = pattern.split('*').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    let Some(rest) = name.strip_prefix(first) else { return false };
    let Some(mut rest) = rest.strip_suffix(last) else { return false };
    for part in &parts[1..parts.len() - 1] {
        match rest.find(part) {
            Some(found) => rest = &rest[found + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_filepath_match() {
        for (pattern, name, expected) in [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a?b", "a/b", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("a[", "ab", None),
            ("a\\", "a", None),
            ("*x", "xxx", Some(true)),
            ("", "", Some(true)),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_lists_wildcard() {
        for (pattern, name, expected) in [
            ("unit", "unit", true),
            ("unit", "unit-2", false),
            ("unit*", "unit-2", true),
            ("*unit", "pull-unit", true),
            ("a*b*c", "a-b/b-c", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("[x]*", "[x]y", true),
        ] {
            assert_eq!(wildcard(pattern, name), expected, "{pattern} {name}");
        }
    }
}
