//! File globs of the censoring options: `*`, `?`, `[a-z]`, `{a,b}` within a path segment, `**` over segments.

/// True if a relative path is one that a pattern of `include_directories` means: `**` at its end is everything below.
pub(crate) fn includes(pattern: &str, path: &str) -> bool {
    matches(pattern, path, true)
}

/// True if a relative path is one that a pattern of `exclude_directories` means. For upstream `**` at the end is one
/// name, like `*`. It is here, too: what upstream censors is not left uncensored.
pub(crate) fn excludes(pattern: &str, path: &str) -> bool {
    matches(pattern, path, false)
}

fn matches(pattern: &str, path: &str, below: bool) -> bool {
    // Braces first: the alternatives may contain slashes.
    expand(pattern, 64).iter().any(|pattern| {
        let mut pattern: Vec<&str> = pattern.trim_start_matches("./").split('/').collect();
        if let Some(last @ &mut "**") = pattern.last_mut()
            && !below
        {
            *last = "*";
        }
        let path: Vec<&str> = path.split('/').collect();
        segments(&pattern, &path)
    })
}

/// `a{b,c}d` to `abd`, `acd`; at most `limit` of them. Braces that do not close mean themselves.
fn expand(pattern: &str, limit: usize) -> Vec<String> {
    let Some(open) = pattern.find('{') else { return vec![pattern.to_owned()] };
    let mut depth = 0;
    let mut cuts = vec![open + 1];
    let mut close = None;
    for (at, c) in pattern[open..].char_indices().map(|(at, c)| (at + open, c)) {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    close = Some(at);
                    break;
                }
            }
            ',' if depth == 1 => cuts.push(at + 1),
            _ => {}
        }
    }
    let Some(close) = close else { return vec![pattern.to_owned()] };
    cuts.push(close + 1);
    let mut all = Vec::new();
    for pair in cuts.windows(2) {
        let middle = &pattern[pair[0]..pair[1] - 1];
        all.extend(expand(&format!("{}{middle}{}", &pattern[..open], &pattern[close + 1..]), limit / 2));
        if all.len() >= limit.max(1) {
            break;
        }
    }
    all
}

fn segments(pattern: &[&str], path: &[&str]) -> bool {
    let mut pieces: Vec<Vec<char>> = pattern.iter().map(|piece| piece.chars().collect()).collect();
    let names: Vec<Vec<char>> = path.iter().map(|name| name.chars().collect()).collect();
    let any = |piece: &Vec<char>| piece == &['*', '*'];
    if pieces.last().is_some_and(any) {
        // At the end it means what lies below, so there has to be something.
        pieces.insert(pieces.len() - 1, vec!['*']);
    }
    walk(&pieces, &names, any, |piece, name| segment(piece, name))
}

/// Whether the pieces of a pattern cover all items in order; pieces that are `any` cover as many as they like. A
/// job chooses the items, so it must not choose how long this takes: only the last `any` is ever tried again.
fn walk<P, T>(pattern: &[P], items: &[T], any: impl Fn(&P) -> bool, fits: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut retry = None;
    while p < pattern.len() || i < items.len() {
        if p < pattern.len() && any(&pattern[p]) {
            p += 1;
            retry = Some((p, i));
        } else if p < pattern.len() && i < items.len() && fits(&pattern[p], &items[i]) {
            (p, i) = (p + 1, i + 1);
        } else if let Some((after, from)) = retry.filter(|(_, from)| *from < items.len()) {
            (p, i) = (after, from + 1);
            retry = Some((p, i));
        } else {
            return false;
        }
    }
    true
}

/// One character of a pattern, or a class of them.
enum Piece<'p> {
    Star,
    One,
    Class(&'p [char]),
    Char(char),
}

fn segment(pattern: &[char], name: &[char]) -> bool {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        pieces.push(match first {
            '*' => Piece::Star,
            '?' => Piece::One,
            '[' => match after.iter().position(|c| *c == ']').filter(|at| *at > 0) {
                Some(close) => {
                    rest = &after[close + 1..];
                    Piece::Class(&after[..close])
                }
                None => Piece::Char('['),
            },
            c => Piece::Char(*c),
        });
    }
    walk(
        &pieces,
        name,
        |piece| matches!(piece, Piece::Star),
        |piece, c| match piece {
            Piece::Star => false,
            Piece::One => true,
            Piece::Class(set) => class(set, *c),
            Piece::Char(own) => own == c,
        },
    )
}

fn class(set: &[char], c: char) -> bool {
    let (negated, set) = match set.split_first() {
        Some(('!' | '^', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut at = 0;
    let mut found = false;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == '-' {
            found |= (set[at]..=set[at + 2]).contains(&c);
            at += 3;
        } else {
            found |= set[at] == c;
            at += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::{excludes, includes};

    #[test]
    fn globs_match_as_zglob_does() {
        for (pattern, path, expected) in [
            ("**/*.log", "a/b/c.log", true),
            ("**/*.log", "c.log", true),
            ("*.log", "a/c.log", false),
            ("a/**", "a/b/c", true),
            ("a/**", "b", false),
            ("**", "any/thing", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("file?.{txt,json}", "file1.json", true),
            ("file?.{txt,json}", "file1.xml", false),
            ("[a-c]x[!0-9]", "bxy", true),
            ("[a-c]x[!0-9]", "bx1", false),
            ("a[", "a[", true),
            ("{a", "{a", true),
            ("a/**/b/**/c", "a/x/b/y/b/c", true),
            ("a/**/b/**/c", "a/x/c/y/c", false),
            ("**/a/**", "x/a", false),
            ("**/a/**", "x/a/a", true),
            ("*a*b", "aabab", true),
            ("*a*b", "aabba", false),
        ] {
            assert_eq!(includes(pattern, path), expected, "{pattern} {path}");
            if !pattern.ends_with("**") {
                assert_eq!(excludes(pattern, path), expected, "{pattern} {path}");
            }
        }
    }

    #[test]
    fn what_upstream_censors_is_not_excluded() {
        for (pattern, path, expected) in [
            ("**", "c", true),
            ("**", "a/c", false),
            ("a/**", "a/c", true),
            ("a/**", "a/b/c", false),
            ("{a,b}/**", "b/x/y", false),
            ("**/*", "a/b/c", true),
            ("a/**/*", "a/b/c", true),
        ] {
            assert_eq!(excludes(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_name_cannot_make_matching_take_for_ever() {
        let name = "a".repeat(250);
        assert!(!includes("*a*a*a*a*a*a*a*a*.log", &name));
        assert!(includes("*a*a*a*a*a*a*a*a*", &name));
        let path = ["a"; 2000].join("/");
        assert!(!includes("**/a/**/a/**/a/**/a/**/a/*.log", &path));
    }
}
