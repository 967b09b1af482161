//! Which of a repository's entries hold its jobs (prow-config §8): pure, over what the tree says, before any content
//! but that of `.prowignore` files is read.

use super::repositories::{EntryKind, RepoEntry};
use crate::diagnostic::Diagnostic;
use crate::walk::{IgnoreStack, Rules};
use std::collections::HashMap;
use std::path::Path;

/// The directory of job files; if it is there, it alone counts.
pub const DIRECTORY: &str = ".prow";
/// The single file; `.prow.yml` is not read (trap 37).
pub const FILE: &str = ".prow.yaml";
/// Rules about what not to read, at the root and anywhere in the directory.
pub const IGNORE: &str = ".prowignore";

/// Files in [`DIRECTORY`]; kubernetes' whole central configuration has 600.
const MAX_FILES: usize = 2_000;
/// Bytes of one file.
const MAX_FILE: u64 = 4 << 20;
/// Bytes of all files together.
const MAX_TOTAL: u64 = 16 << 20;
/// Bytes of all ignore files together: each line becomes a pattern.
const MAX_IGNORES: u64 = 16 << 10;
/// Bytes of ignore files times directories and files that they are asked about.
const MAX_IGNORING: u64 = 32 << 20;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// From the root of the repository.
    pub path: String,
    /// Object id.
    pub id: String,
}

/// What may matter of a repository, as its tree says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Job files, before ignore rules.
    pub files: Vec<Chosen>,
    /// Ignore files, outer before inner.
    pub ignores: Vec<Chosen>,
    /// Entries that should be read and cannot, and why.
    pub unreadable: Vec<(String, &'static str)>,
    /// What the tree itself does wrong.
    pub wrong: Option<String>,
}

fn is_yaml(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e == "yaml" || e == "yml")
}

impl Listing {
    /// Sorts out entries: the directory or the file, never both.
    pub fn of(entries: &[RepoEntry]) -> Listing {
        let mut out = Listing::default();
        let at = |name: &str| entries.iter().find(|e| e.path == name);
        let prefix = format!("{DIRECTORY}/");
        let below = |path: &str| path.strip_prefix(&prefix).is_some();
        let candidates: Vec<&RepoEntry> = match at(DIRECTORY).map(|e| &e.kind) {
            Some(EntryKind::Directory) => {
                entries.iter().filter(|e| below(&e.path) && is_yaml(&e.path)).collect()
            }
            Some(EntryKind::File { .. }) => {
                out.wrong =
                    Some(format!("{DIRECTORY} is a file; it has to be a directory, or give way to {FILE}"));
                return out;
            }
            Some(EntryKind::DirectoryLink) => {
                out.wrong = Some(format!("{DIRECTORY} is a link to a directory, which is not followed"));
                return out;
            }
            Some(EntryKind::Unreadable(why)) => {
                out.wrong = Some(format!("{DIRECTORY} {why}"));
                return out;
            }
            None => at(FILE).into_iter().collect(),
        };
        let mut total = 0;
        for entry in candidates {
            match &entry.kind {
                EntryKind::File { size, .. } if *size > MAX_FILE => {
                    out.unreadable.push((entry.path.clone(), "is larger than 4 MiB"));
                }
                EntryKind::File { id, size } => {
                    total += size;
                    out.files.push(Chosen { path: entry.path.clone(), id: id.clone() });
                }
                EntryKind::Unreadable(why) => out.unreadable.push((entry.path.clone(), why)),
                // The walk goes into directories, not through links to them.
                EntryKind::Directory | EntryKind::DirectoryLink => {}
            }
        }
        if out.files.len() > MAX_FILES || total > MAX_TOTAL {
            out.wrong = Some(format!(
                "{DIRECTORY} holds {} files of {total} bytes together; at most {MAX_FILES} files and {MAX_TOTAL} bytes are read",
                out.files.len()
            ));
            out.files.clear();
            return out;
        }
        let mut ignored = 0;
        if at(DIRECTORY).is_some() {
            let ignore =
                |e: &&RepoEntry| e.path == IGNORE || (below(&e.path) && e.path.ends_with("/.prowignore"));
            for entry in entries.iter().filter(ignore) {
                match &entry.kind {
                    EntryKind::File { id, size } if *size <= MAX_FILE && out.ignores.len() < MAX_FILES => {
                        ignored += size;
                        out.ignores.push(Chosen { path: entry.path.clone(), id: id.clone() });
                    }
                    EntryKind::Directory | EntryKind::DirectoryLink => {}
                    EntryKind::File { .. } => {
                        out.unreadable.push((entry.path.clone(), "is larger than 4 MiB"))
                    }
                    EntryKind::Unreadable(why) => out.unreadable.push((entry.path.clone(), why)),
                }
            }
        }
        let steps: usize = out.files.iter().map(|c| c.path.split('/').count()).sum();
        if !out.ignores.is_empty() && (ignored > MAX_IGNORES || ignored * steps as u64 > MAX_IGNORING) {
            out.wrong = Some(format!(
                "its {IGNORE} files hold {ignored} bytes for {} files; at most {MAX_IGNORES} are read, fewer for very many files",
                out.files.len()
            ));
            out.files.clear();
            out.ignores.clear();
            return out;
        }
        // Depth first, entries of a directory in byte order: `a/x` before `a.yaml` would be the order of whole
        // paths, while the walk compares name by name.
        out.files.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
        out
    }

    /// Nothing to read, and nothing wrong.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.unreadable.is_empty() && self.wrong.is_none()
    }

    /// What decides the outcome: names and contents, wherever they come from.
    pub fn fingerprint(&self) -> String {
        let parts = self.files.iter().chain(&self.ignores);
        let mut out: String = parts.map(|c| format!("{}\0{}\0", c.id, c.path)).collect();
        for (path, why) in &self.unreadable {
            out.push_str(&format!("!{path}\0{why}\0"));
        }
        out.push_str(self.wrong.as_deref().unwrap_or_default());
        out
    }

    /// The files that count, given the texts of [`Listing::ignores`] in their order.
    pub fn kept(&self, ignores: &[String]) -> Vec<&Chosen> {
        let directory_of = |file: &'_ str| file.rsplit_once('/').map_or(String::new(), |(d, _)| d.to_owned());
        let files = self.ignores.iter().map(|c| directory_of(&c.path));
        let rules: HashMap<String, Rules> = files.zip(ignores.iter().map(|text| Rules::of(text))).collect();
        if rules.is_empty() {
            return self.files.iter().collect();
        }
        let kept = |chosen: &&Chosen| {
            let mut stack = IgnoreStack::default();
            let mut directory = String::new();
            stack.enter_with(Path::new(""), rules.get("").cloned().unwrap_or_default());
            for part in chosen.path.split('/') {
                let path = if directory.is_empty() { part.to_owned() } else { format!("{directory}/{part}") };
                let is_directory = path != chosen.path;
                if stack.ignores(Path::new(&path), is_directory) {
                    return false;
                }
                if is_directory && let Some(own) = rules.get(&path) {
                    stack.enter_with(Path::new(&path), own.clone());
                }
                directory = path;
            }
            true
        };
        self.files.iter().filter(kept).collect()
    }

    /// The tree's own faults as findings.
    pub fn findings(&self) -> Vec<Diagnostic> {
        let files = self.unreadable.iter();
        let files =
            files.map(|(path, why)| Diagnostic::error(format!("it {why}")).in_file(&path.as_str().into()));
        files.chain(self.wrong.iter().map(Diagnostic::error)).collect()
    }
}
