//! File globs of the censoring options: `*`, `?`, `[a-z]`, `{a,b}` within a path segment, `**` over segments.

/// True if a relative path matches.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    // Braces first: the alternatives may contain slashes.
    expand(pattern, 64).iter().any(|pattern| {
        let pattern: Vec<&str> = pattern.trim_start_matches("./").split('/').collect();
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
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", [])), _) => !path.is_empty(),
        (Some((&"**", rest)), _) => (0..=path.len()).any(|skip| segments(rest, &path[skip..])),
        (Some((first, rest)), Some((name, deeper))) => {
            let (first, name): (Vec<char>, Vec<char>) = (first.chars().collect(), name.chars().collect());
            segment(&first, &name) && segments(rest, deeper)
        }
        _ => false,
    }
}

fn segment(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|skip| segment(rest, &name[skip..])),
        Some(('[', rest)) => {
            match (rest.iter().position(|c| *c == ']').filter(|at| *at > 0), name.split_first()) {
                (Some(close), Some((c, deeper))) => {
                    class(&rest[..close], *c) && segment(&rest[close + 1..], deeper)
                }
                (None, Some(('[', deeper))) => segment(rest, deeper),
                _ => false,
            }
        }
        Some((first, rest)) => match name.split_first() {
            Some((c, deeper)) => (*first == '?' || first == c) && segment(rest, deeper),
            None => false,
        },
    }
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
    use super::matches;

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
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
