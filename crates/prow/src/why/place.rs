//! The line of the key that decided. The configuration remembers where a job begins; the key is looked for in the
//! lines that follow. Where it is not found (flow style, anchors, defaults) the job's own line stands for it.

use prow_job::select::Rule;
use std::collections::HashMap;

/// Files that were read, by path; `None` where that failed or the file is packed.
#[derive(Default)]
pub struct Places {
    files: HashMap<String, Option<String>>,
}

impl Places {
    /// The line of the key behind `rule` in the job that begins at `line` of `file`.
    pub fn line(&mut self, file: &str, line: u32, rule: &Rule) -> u32 {
        self.key_line(file, line, keys(rule))
    }

    /// The line of the first of `keys` that the job has.
    pub fn key_line(&mut self, file: &str, line: u32, keys: &[&str]) -> u32 {
        let text = self.files.entry(file.to_owned()).or_insert_with(|| std::fs::read_to_string(file).ok());
        let Some(text) = text else { return line };
        keys.iter().find_map(|key| find(text, line, key)).unwrap_or(line)
    }
}

/// Keys that a rule comes from, nearest first. A key that is not written has its default.
fn keys(rule: &Rule) -> &'static [&'static str] {
    match rule {
        Rule::AlwaysRun | Rule::NeverRun => &["always_run"],
        Rule::FileMatches { .. } | Rule::NoFileMatches { .. } => &["run_if_changed"],
        Rule::FileOutside { .. } | Rule::OnlySkippedFiles { .. } => &["skip_if_only_changed"],
        Rule::NothingChanged { .. } => &["run_if_changed", "skip_if_only_changed"],
        Rule::BranchSkipped { .. } => &["skip_branches"],
        Rule::BranchNotListed { .. } => &["branches"],
        Rule::Forced | Rule::NotNamed { .. } => &["trigger", "name"],
        Rule::ExplicitOnly { .. } => &["always_run", "name"],
        Rule::ContextFailed { .. } | Rule::ContextNotFailed { .. } => &["context", "name"],
        Rule::Optional => &["optional"],
        Rule::EveryPush => &["name"],
    }
}

/// The line (from 1) of `key` in the block map whose first key is at `line`.
fn find(text: &str, line: u32, key: &str) -> Option<u32> {
    let start = usize::try_from(line).ok()?.checked_sub(1)?;
    let mut indent = None;
    for (at, text) in text.lines().enumerate().skip(start) {
        // The dash of the list belongs to the indentation of the first key.
        let column = if indent.is_none() {
            text.find(|c: char| c != ' ' && c != '-')?
        } else {
            match text.find(|c: char| c != ' ') {
                Some(column) if !text[column..].starts_with('#') => column,
                _ => continue,
            }
        };
        let own = *indent.get_or_insert(column);
        if column < own {
            return None;
        }
        let written = text[column..].split_once(':').map(|(name, _)| name.trim_matches(['"', '\'']));
        if column == own && written == Some(key) {
            return u32::try_from(at + 1).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_their_own_job() {
        let text = "presubmits:\n  o/r:\n  - name: a\n    spec:\n      run_if_changed: no\n\n    # run_if_changed: no\n\
                    \x20   \"run_if_changed\": ^a\n  - name: b\n    always_run: true\n  - {name: c, optional: true}\n";
        for (line, key, want) in [
            (3, "run_if_changed", Some(8)),
            (3, "name", Some(3)),
            (3, "always_run", None),
            (9, "always_run", Some(10)),
            (9, "run_if_changed", None),
            (11, "optional", None),
            (99, "name", None),
            (0, "name", None),
        ] {
            assert_eq!(find(text, line, key), want, "{line} {key}");
        }
    }
}
