//! `.prowignore`: gitignore's rules, one file a directory (prow-config §6.2).

use regex::Regex;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The rules in force on the way from the root to a directory.
#[derive(Default)]
pub(crate) struct IgnoreStack {
    levels: Vec<(PathBuf, Rules)>,
}

/// The rules of one file, compiled. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Rules(Arc<[Rule]>);

impl Rules {
    /// Of a file's text.
    pub(crate) fn of(text: &str) -> Rules {
        Rules(text.lines().filter_map(rule).collect())
    }
}

struct Rule {
    pattern: Regex,
    negated: bool,
    directories_only: bool,
}

impl IgnoreStack {
    /// Takes up a directory's own rules, if it has a file of them.
    pub(super) fn enter(&mut self, directory: &Path, file: Option<&Path>) {
        let text = file.map_or(Ok(String::new()), fs::read_to_string).unwrap_or_else(|error| {
            tracing::warn!(directory = %directory.display(), %error, "cannot read .prowignore; the directory is read without it");
            String::new()
        });
        self.enter_with(directory, Rules::of(&text));
    }

    /// Takes up a directory whose rules were read already.
    pub(crate) fn enter_with(&mut self, directory: &Path, rules: Rules) {
        self.levels.push((directory.to_owned(), rules));
    }

    /// Drops the innermost directory's rules.
    pub(super) fn leave(&mut self) {
        self.levels.pop();
    }

    /// The nearest file decides, in it the last rule that matches. What is below an ignored directory is never
    /// asked for.
    pub(crate) fn ignores(&self, path: &Path, is_directory: bool) -> bool {
        for (directory, rules) in self.levels.iter().rev().filter(|(_, rules)| !rules.0.is_empty()) {
            let Ok(relative) = path.strip_prefix(directory) else { continue };
            let relative = relative.to_string_lossy();
            let decisive = rules
                .0
                .iter()
                .rev()
                .find(|r| (is_directory || !r.directories_only) && r.pattern.is_match(&relative));
            if let Some(rule) = decisive {
                return !rule.negated;
            }
        }
        false
    }
}

/// One line; none for comments and blanks.
fn rule(line: &str) -> Option<Rule> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let trimmed = trim_unescaped(line);
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return None;
    }
    let (negated, body) = match trimmed.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, trimmed),
    };
    let (directories_only, body) = match body.strip_suffix('/') {
        Some(rest) => (true, rest),
        None => (false, body),
    };
    let anchored = body.contains('/');
    let body = body.strip_prefix('/').unwrap_or(body);
    let prefix = if anchored { "^" } else { "^(?:.*/)?" };
    let pattern = Regex::new(&format!("(?s){prefix}{}$", glob(body))).ok()?;
    Some(Rule { pattern, negated, directories_only })
}

/// Trailing spaces do not count unless a backslash keeps them.
fn trim_unescaped(line: &str) -> &str {
    let trimmed = line.trim_end_matches(' ');
    if trimmed.ends_with('\\') && trimmed.len() < line.len() { &line[..=trimmed.len()] } else { trimmed }
}

fn glob(body: &str) -> String {
    let mut out = String::new();
    let mut chars = body.chars().peekable();
    let mut at_start = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if at_start && chars.peek() == Some(&'/') {
                    chars.next();
                    out.push_str("(?:.*/)?");
                    continue;
                }
                out.push_str(".*");
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => out.push_str(&class(&mut chars)),
            '\\' => out.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            _ => out.push_str(&regex::escape(&c.to_string())),
        }
        at_start = c == '/';
    }
    out
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let rest: String = chars.clone().collect();
    let Some(end) = rest.char_indices().skip(1).find(|(_, c)| *c == ']').map(|(i, _)| i) else {
        return r"\[".into();
    };
    let inner = &rest[..end];
    for _ in 0..=inner.chars().count() {
        chars.next();
    }
    let (negation, members) = match inner.strip_prefix(['!', '^']) {
        Some(members) => ("^", members),
        None => ("", inner),
    };
    let escaped: String =
        members
            .chars()
            .map(|c| {
                if matches!(c, '[' | ']' | '&' | '~' | '\\' | '^') { format!("\\{c}") } else { c.to_string() }
            })
            .collect();
    format!("[{negation}{escaped}]")
}
