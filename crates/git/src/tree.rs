//! Entries and contents of a commit's tree, bounded, with links followed inside the tree only.

use crate::names::{check_object_id, check_tree_path};
use crate::{Git, GitError, Result};
use prow_config::inrepo::{EntryKind, RepoEntry};

/// Bytes of listings: some 30,000 entries.
const LISTING: usize = 4 << 20;

fn unexpected(command: &str, detail: impl Into<String>) -> GitError {
    GitError::BadOutput { command: command.to_owned(), detail: detail.into() }
}

impl Git {
    /// The entries named so at the root of a commit's tree, and everything below them.
    pub async fn entries(&self, commit: &str, names: &[&str]) -> Result<Vec<RepoEntry>> {
        check_object_id(commit)?;
        let mut args = vec!["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", commit, "--"];
        for name in names {
            args.push(check_tree_path(name)?);
        }
        let git = self.clone().with_output_limit(LISTING);
        let command = git.command(&args);
        let line = command.line();
        let listing = command.bytes().await?;
        let mut out = Vec::new();
        let mut links = Vec::new();
        for record in listing.split(|b| *b == 0).filter(|r| !r.is_empty()) {
            let entry = parse(record).ok_or_else(|| unexpected(&line, "a broken -z list"))?;
            if entry.kind == LINK {
                links.push(out.len());
            }
            out.push(entry);
        }
        let wanted: Vec<String> = links.iter().map(|&i| format!("{commit}:{}", out[i].path)).collect();
        for (at, kind) in links.into_iter().zip(self.follow(&wanted).await?) {
            out[at].kind = kind;
        }
        Ok(out)
    }

    /// Where links lead. Their paths hold no line breaks.
    async fn follow(&self, names: &[String]) -> Result<Vec<EntryKind>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let git = self.clone().with_output_limit(LISTING);
        let format = "--batch-check=%(objecttype) %(objectname) %(objectsize)";
        let command = git.command(["cat-file", format, "--follow-symlinks"]).stdin(names.join("\n") + "\n");
        let line = command.line();
        let bytes = command.bytes().await?;
        // A link that leads nowhere gives two lines, the second of which is a path and may hold anything.
        let mut rest = bytes.as_slice();
        let mut out = Vec::with_capacity(names.len());
        for _ in names {
            let header = take_line(&mut rest).ok_or_else(|| unexpected(&line, "too few answers"))?;
            let header = String::from_utf8_lossy(header);
            let words: Vec<&str> = header.split(' ').collect();
            let mut problem = |why: &'static str, length: &str| -> Result<EntryKind> {
                let length: usize = length.parse().map_err(|_| unexpected(&line, header.clone()))?;
                rest = rest.get(length + 1..).ok_or_else(|| unexpected(&line, "a broken answer"))?;
                Ok(EntryKind::Unreadable(why))
            };
            out.push(match words.as_slice() {
                ["blob", id, size] => EntryKind::File {
                    id: check_object_id(id)?.to_owned(),
                    size: size.parse().map_err(|_| unexpected(&line, header.clone()))?,
                },
                ["tree", ..] => EntryKind::DirectoryLink,
                ["commit", ..] => EntryKind::Unreadable("is a link into a submodule"),
                ["symlink", length] => problem("is a link that leads out of the repository", length)?,
                ["dangling", length] => problem("is a link that leads nowhere", length)?,
                ["loop", length] => problem("is a link that leads to itself", length)?,
                ["notdir", length] => problem("is a link through something that is no directory", length)?,
                // `<name> missing`, where the name may hold spaces.
                [.., "missing"] => EntryKind::Unreadable("is a link that leads nowhere"),
                _ => return Err(unexpected(&line, header.clone())),
            });
        }
        Ok(out)
    }

    /// Contents of blobs, in the order of `ids`.
    pub async fn blobs(&self, ids: &[String]) -> Result<Vec<Vec<u8>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        for id in ids {
            check_object_id(id)?;
        }
        let command = self.command(["cat-file", "--batch"]).stdin(ids.join("\n") + "\n");
        let line = command.line();
        let bytes = command.bytes().await?;
        let mut rest = bytes.as_slice();
        let mut out = Vec::with_capacity(ids.len());
        for _ in ids {
            let header = take_line(&mut rest).map(String::from_utf8_lossy).unwrap_or_default();
            let size = header.split_once(" blob ").and_then(|(_, size)| size.parse::<usize>().ok());
            let content = size.and_then(|size| Some((rest.get(..size)?, rest.get(size + 1..)?)));
            let (content, after) = content.ok_or_else(|| unexpected(&line, header.clone()))?;
            out.push(content.to_vec());
            rest = after;
        }
        Ok(out)
    }
}

fn take_line<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = rest.iter().position(|b| *b == b'\n')?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    Some(line)
}

/// Stands for a link until it is known where it leads.
const LINK: EntryKind = EntryKind::Unreadable("is a link");

/// `mode type id size<TAB>path`, the size padded, or `-` for what has none.
fn parse(record: &[u8]) -> Option<RepoEntry> {
    let tab = record.iter().position(|b| *b == b'\t')?;
    let head = std::str::from_utf8(&record[..tab]).ok()?;
    let mut words = head.split_ascii_whitespace();
    let (mode, kind, id, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let path = String::from_utf8_lossy(&record[tab + 1..]);
    let odd = path.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER);
    let kind = match (mode, kind) {
        // Such a name could break a line of git's input, or of a log.
        _ if odd => EntryKind::Unreadable("has a name with control characters or broken UTF-8"),
        ("120000", _) => LINK,
        (_, "tree") => EntryKind::Directory,
        (_, "blob") => EntryKind::File { id: check_object_id(id).ok()?.to_owned(), size: size.parse().ok()? },
        _ => EntryKind::Unreadable("is a submodule"),
    };
    let path = if odd { path.escape_debug().to_string() } else { path.into_owned() };
    Some(RepoEntry { path, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_ls_tree_are_parsed() {
        let id = "a".repeat(40);
        let of = |mode: &str, kind: &str, size: &str, path: &[u8]| {
            let mut record = format!("{mode} {kind} {id} {size:>7}\t").into_bytes();
            record.extend_from_slice(path);
            parse(&record).unwrap()
        };
        let file = of("100644", "blob", "12", b".prow/a b.yaml");
        assert_eq!(
            (file.path.as_str(), file.kind),
            (".prow/a b.yaml", EntryKind::File { id: id.clone(), size: 12 })
        );
        assert_eq!(of("040000", "tree", "-", b".prow").kind, EntryKind::Directory);
        assert_eq!(of("120000", "blob", "3", b".prow/l").kind, LINK);
        assert!(matches!(
            of("160000", "commit", "-", b".prow/s").kind,
            EntryKind::Unreadable("is a submodule")
        ));
        let odd = of("100644", "blob", "1", b".prow/a\nb.yaml");
        assert_eq!(odd.path, ".prow/a\\nb.yaml");
        assert!(matches!(odd.kind, EntryKind::Unreadable(_)));
        assert!(parse(b"100644 blob\tx").is_none());
    }
}
