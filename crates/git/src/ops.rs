//! The questions that Prow asks of a repository, and the few changes it makes, each with names checked.

use crate::names::{
    check_branch_name, check_object_id, check_ref_name, check_revision, check_tree_path, is_object_id,
};
use crate::process::Exit;
use crate::{Git, GitError, Result};

/// One ref of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefEntry {
    /// Full name, such as `refs/heads/main`.
    pub name: String,
    /// What it points at: a commit, or a tag object.
    pub object: String,
    /// `commit` or `tag`, rarely `tree` or `blob`.
    pub kind: String,
}

/// One file that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// git's status letter: A added, M modified, D deleted, T type changed, R renamed, C copied.
    pub status: char,
    /// The path, after a rename the new one. Not necessarily what a person would call a file name.
    pub path: String,
    /// The old path of a rename or copy.
    pub old_path: Option<String>,
}

/// What merging two commits gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// The merged tree.
    Clean {
        /// Its object id.
        tree: String,
    },
    /// These paths conflict.
    Conflicts {
        /// In the order that git lists them.
        paths: Vec<String>,
    },
}

/// Who, and when in seconds since 1970, UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Full name.
    pub name: String,
    /// Mail address.
    pub email: String,
    /// Unix time.
    pub seconds: i64,
}

/// A commit to be made without a work tree.
#[derive(Debug, Clone)]
pub struct CommitTree {
    /// Its tree.
    pub tree: String,
    /// Its parents, first parent first.
    pub parents: Vec<String>,
    /// Its message.
    pub message: String,
    /// Author.
    pub author: Signature,
    /// Committer.
    pub committer: Signature,
}

/// What a ref must be for an update to go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Anything, or nothing.
    Anything,
    /// It must not exist yet.
    Absent,
    /// It must point at this object.
    Is(String),
}

impl Expect {
    /// git's `<old-oid>` argument: empty for anything, zeroes for absence.
    fn argument(&self, width: usize) -> Result<Option<String>> {
        Ok(match self {
            Expect::Anything => None,
            Expect::Absent => Some("0".repeat(width)),
            Expect::Is(id) => Some(check_object_id(id)?.to_owned()),
        })
    }
}

fn unexpected(command: &str, detail: impl Into<String>) -> GitError {
    GitError::BadOutput { command: command.to_owned(), detail: detail.into() }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Git {
    /// Makes the directory a bare repository whose HEAD is `branch`. Harmless on one that exists.
    pub async fn init_bare(&self, branch: &str) -> Result<()> {
        check_branch_name(branch)?;
        tokio::fs::create_dir_all(self.dir()).await.map_err(|source| GitError::Start {
            program: "git".into(),
            dir: self.dir().to_owned(),
            source,
        })?;
        self.run(["init", "--quiet", "--bare", &format!("--initial-branch={branch}"), "."]).await?;
        Ok(())
    }

    /// The commit that a revision names, `None` if there is none.
    pub async fn rev_parse(&self, revision: &str) -> Result<Option<String>> {
        check_revision(revision)?;
        let command = self.command(["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")]);
        let line = command.line();
        let output = command.status().await?;
        match output.exit {
            Exit::Code(0) => {
                let id = output.stdout.to_text().trim().to_owned();
                if is_object_id(&id) { Ok(Some(id)) } else { Err(unexpected(&line, id)) }
            }
            // 1 with --quiet: no such revision; 128 is a broken or missing repository.
            Exit::Code(1) => Ok(None),
            _ => Err(self.failure(line, &output)),
        }
    }

    /// The tree of a commit, `None` if there is no such commit.
    pub async fn tree_of(&self, revision: &str) -> Result<Option<String>> {
        match self.rev_parse(revision).await? {
            Some(commit) => {
                self.text(["rev-parse", "--verify", &format!("{commit}^{{tree}}")]).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Refs below a prefix such as `refs/heads/`, sorted by name.
    pub async fn for_each_ref(&self, prefix: &str) -> Result<Vec<RefEntry>> {
        check_ref_name(prefix.trim_end_matches('/'))
            .or_else(|e| if matches!(prefix, "refs/" | "refs") { Ok(prefix) } else { Err(e) })?;
        let text =
            self.text(["for-each-ref", "--format=%(objectname) %(objecttype) %(refname)", prefix]).await?;
        text.lines()
            .map(|line| {
                let mut parts = line.splitn(3, ' ');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(object), Some(kind), Some(name)) => Ok(RefEntry {
                        name: name.to_owned(),
                        object: object.to_owned(),
                        kind: kind.to_owned(),
                    }),
                    _ => Err(unexpected("git for-each-ref", line)),
                }
            })
            .collect()
    }

    /// The best common ancestor, `None` for unrelated histories.
    pub async fn merge_base(&self, one: &str, other: &str) -> Result<Option<String>> {
        let command = self.command(["merge-base", check_revision(one)?, check_revision(other)?]);
        let line = command.line();
        let output = command.status().await?;
        match output.exit {
            Exit::Code(0) => Ok(Some(output.stdout.to_text().trim().to_owned())),
            Exit::Code(1) => Ok(None),
            _ => Err(self.failure(line, &output)),
        }
    }

    /// True if `ancestor` is reachable from `descendant`.
    pub async fn is_ancestor(&self, ancestor: &str, descendant: &str) -> Result<bool> {
        let command = self.command([
            "merge-base",
            "--is-ancestor",
            check_revision(ancestor)?,
            check_revision(descendant)?,
        ]);
        let line = command.line();
        let output = command.status().await?;
        match output.exit {
            Exit::Code(0) => Ok(true),
            Exit::Code(1) => Ok(false),
            _ => Err(self.failure(line, &output)),
        }
    }

    /// Files that differ from `from` to `to`, renames found.
    pub async fn diff_name_status(&self, from: &str, to: &str) -> Result<Vec<Change>> {
        let command = self.command([
            "diff",
            "--name-status",
            "-z",
            "-M",
            check_revision(from)?,
            check_revision(to)?,
            "--",
        ]);
        let line = command.line();
        parse_name_status(&command.bytes().await?).ok_or_else(|| unexpected(&line, "a broken -z list"))
    }

    /// Merges two commits without a work tree. Safe to run in parallel; writes only objects.
    pub async fn merge_tree_write_tree(&self, ours: &str, theirs: &str) -> Result<Merge> {
        let command = self.command([
            "merge-tree",
            "--write-tree",
            "-z",
            "--name-only",
            "--no-messages",
            check_revision(ours)?,
            check_revision(theirs)?,
        ]);
        let line = command.line();
        let output = command.status().await?;
        let conflicts = match output.exit {
            Exit::Code(0) => false,
            Exit::Code(1) => true,
            _ => return Err(self.failure(line, &output)),
        };
        let bytes = self.whole(line.clone(), output.stdout)?;
        let mut parts = bytes.split(|b| *b == 0 || *b == b'\n').filter(|p| !p.is_empty()).map(lossy);
        let tree =
            parts.next().filter(|id| is_object_id(id)).ok_or_else(|| unexpected(&line, "no tree id"))?;
        Ok(if conflicts { Merge::Conflicts { paths: parts.collect() } } else { Merge::Clean { tree } })
    }

    /// Writes a commit object and gives its id. The same input gives the same id.
    pub async fn commit_tree(&self, commit: &CommitTree) -> Result<String> {
        let mut args = vec!["commit-tree".to_owned(), check_object_id(&commit.tree)?.to_owned()];
        for parent in &commit.parents {
            args.push("-p".to_owned());
            args.push(check_object_id(parent)?.to_owned());
        }
        args.extend(["-F".to_owned(), "-".to_owned()]);
        let mut command = self.command(&args).stdin(commit.message.as_bytes());
        for (role, who) in [("AUTHOR", &commit.author), ("COMMITTER", &commit.committer)] {
            command = command
                .env(format!("GIT_{role}_NAME"), &who.name)
                .env(format!("GIT_{role}_EMAIL"), &who.email)
                .env(format!("GIT_{role}_DATE"), format!("@{} +0000", who.seconds));
        }
        command.text().await
    }

    /// Points a ref at an object, if it still is what the caller expects.
    pub async fn update_ref(&self, name: &str, object: &str, expect: &Expect) -> Result<()> {
        let mut args = vec![
            "update-ref".to_owned(),
            check_ref_name(name)?.to_owned(),
            check_object_id(object)?.to_owned(),
        ];
        args.extend(expect.argument(object.len())?);
        self.run(&args).await?;
        Ok(())
    }

    /// Removes a ref, if it still is what the caller expects.
    pub async fn delete_ref(&self, name: &str, expect: &Expect) -> Result<()> {
        let mut args = vec!["update-ref".to_owned(), "-d".to_owned(), check_ref_name(name)?.to_owned()];
        args.extend(expect.argument(40)?);
        self.run(&args).await?;
        Ok(())
    }

    /// The content of a file at a revision, `None` if revision or file do not exist or it is not a file.
    pub async fn read_file(&self, revision: &str, path: &str) -> Result<Option<Vec<u8>>> {
        let object = format!("{}:{}", check_revision(revision)?, check_tree_path(path)?);
        Ok(self.cat_file(&object).await?.filter(|(kind, _)| kind == "blob").map(|(_, content)| content))
    }

    /// Type and content of any object that `name` denotes (`<rev>:<path>`, an id); `None` if it is missing.
    /// The name goes in by standard input and so is never read as an option.
    pub async fn cat_file(&self, name: &str) -> Result<Option<(String, Vec<u8>)>> {
        if name.contains('\n') {
            return Err(GitError::BadName {
                name: name.to_owned(),
                what: "object name",
                why: "it has a line break",
            });
        }
        let command = self.command(["cat-file", "--batch"]).stdin(format!("{name}\n"));
        let line = command.line();
        let bytes = command.bytes().await?;
        let end = bytes.iter().position(|b| *b == b'\n').ok_or_else(|| unexpected(&line, "no header"))?;
        let header = lossy(&bytes[..end]);
        let mut words = header.rsplitn(3, ' ');
        let (last, kind, id) = (words.next(), words.next(), words.next());
        if last == Some("missing") || last == Some("ambiguous") {
            return Ok(None);
        }
        match (last.and_then(|size| size.parse::<usize>().ok()), kind, id) {
            (Some(size), Some(kind), Some(id)) if is_object_id(id) && bytes.len() >= end + 1 + size => {
                Ok(Some((kind.to_owned(), bytes[end + 1..end + 1 + size].to_vec())))
            }
            _ => Err(unexpected(&line, header)),
        }
    }
}

/// `git diff --name-status -z`: status NUL path NUL, with two paths for renames and copies.
fn parse_name_status(bytes: &[u8]) -> Option<Vec<Change>> {
    let mut fields = bytes.split(|b| *b == 0);
    let mut changes = Vec::new();
    while let Some(status) = fields.next() {
        let Some(letter) = status.first().map(|b| char::from(*b)) else {
            // The empty field after the last NUL; anything after it would be a broken list.
            return fields.next().is_none().then_some(changes);
        };
        let first = lossy(fields.next().filter(|path| !path.is_empty())?);
        let change = if matches!(letter, 'R' | 'C') {
            Change { status: letter, path: lossy(fields.next()?), old_path: Some(first) }
        } else {
            Change { status: letter, path: first, old_path: None }
        };
        changes.push(change);
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_status_lists_are_parsed() {
        let list = b"M\0a b\0R087\0old\0new\0D\0x\ny\0";
        let changes = parse_name_status(list).unwrap();
        assert_eq!(changes.len(), 3);
        assert_eq!(changes[1], Change { status: 'R', path: "new".into(), old_path: Some("old".into()) });
        assert_eq!(changes[2].path, "x\ny");
        assert_eq!(parse_name_status(b""), Some(vec![]));
        assert_eq!(parse_name_status(b"M\0"), None);
        assert_eq!(parse_name_status(b"R100\0old"), None);
    }
}
