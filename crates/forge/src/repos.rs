//! What the forge asks of git: making commits, comparing, merging. Names are checked by `prow_git` before git sees them.

use std::ffi::OsString;

use prow_git::names::{check_branch_name, check_object_id, check_tree_path};
use prow_git::{Expect, Git, Merge, Signature};

use crate::records::{Pull, Repo, User};
use crate::{Error, Forge};

/// The id that stands for "does not exist" in pushes.
pub(crate) const ZEROS: &str = "0000000000000000000000000000000000000000";
/// GitHub lists no more commits than this in one push.
const MAX_PUSH_COMMITS: &str = "2048";

/// A commit as payloads and answers show it.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub sha: String,
    pub tree: String,
    pub parents: Vec<String>,
    pub author: (String, String, String),
    pub committer: (String, String, String),
    pub message: String,
}

/// The paths a commit touches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub modified: Vec<String>,
}

/// A file a pull request changes.
#[derive(Clone, Debug)]
pub(crate) struct ChangedFile {
    pub path: String,
    /// GitHub's word.
    pub status: &'static str,
    pub previous: Option<String>,
    /// The new blob, the old one if the file was removed.
    pub blob: String,
    pub additions: i64,
    pub deletions: i64,
}

/// What git knows of a pull request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PullFacts {
    pub mergeable: bool,
    pub commits: i64,
    pub additions: i64,
    pub deletions: i64,
    pub changed_files: i64,
}

impl Forge {
    /// A repository directory, empty but for `branch` as HEAD. What a crash left under the same id goes first.
    pub(crate) async fn init_repo(&self, id: i64, branch: &str) -> Result<Git, Error> {
        let git = self.git(id);
        match tokio::fs::remove_dir_all(git.dir()).await {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { what: format!("clear {}", git.dir().display()), source }),
        }
        git.init_bare(branch).await?;
        Ok(git)
    }

    /// Puts a commit on top of `parent` and points `branch` at it. `None` as content removes the file; content that
    /// starts with `#!` becomes executable.
    pub(crate) async fn write_commit(
        &self,
        repo: i64,
        branch: &str,
        parent: Option<&str>,
        author: &User,
        message: &str,
        files: &[(&str, Option<&[u8]>)],
    ) -> Result<String, Error> {
        check_branch_name(branch)?;
        // The name goes into a line of its own, where these two would end it.
        let login: String = author.login.chars().filter(|c| !matches!(c, '<' | '>' | '\n')).collect();
        let seconds = self.inner.clock.now().as_second();
        let mut stream =
            format!("commit refs/heads/{branch}\ncommitter {login} <{}> {seconds} +0000\n", author.email());
        stream.push_str(&format!("data {}\n{message}\n", message.len()));
        if let Some(parent) = parent {
            stream.push_str(&format!("from {}\n", check_object_id(parent)?));
        }
        let mut stream = stream.into_bytes();
        for (path, content) in files {
            let quoted = quote(check_tree_path(path)?);
            match content {
                Some(content) => {
                    let mode = if content.starts_with(b"#!") { "100755" } else { "100644" };
                    stream.extend(format!("M {mode} inline {quoted}\ndata {}\n", content.len()).into_bytes());
                    stream.extend_from_slice(content);
                    stream.push(b'\n');
                }
                None => stream.extend(format!("D {quoted}\n").into_bytes()),
            }
        }
        let git = self.git(repo);
        git.command(["fast-import", "--quiet", "--force"]).stdin(stream).run().await?;
        let sha = git.rev_parse(&format!("refs/heads/{branch}")).await?;
        sha.ok_or_else(|| Error::Invalid(format!("git did not make the commit on {branch}")))
    }

    /// Makes `sha` of the repository `from` available in `to` under `refs/pull/<number>/head`.
    pub(crate) async fn bring_head(&self, from: i64, to: i64, number: i64, sha: &str) -> Result<(), Error> {
        let name = format!("refs/pull/{number}/head");
        let target = self.git(to);
        if from == to {
            target.update_ref(&name, sha, &Expect::Anything).await?;
            return Ok(());
        }
        let source = self.git(from);
        let refspec = format!("+{}:{name}", check_object_id(sha)?);
        // The directory is absolute, so it cannot be read as an option or as another transport's address.
        let args = ["fetch", "--quiet", "--no-tags"].map(OsString::from).into_iter();
        target
            .command(args.chain([source.dir().as_os_str().to_owned(), refspec.into()]))
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "uploadpack.allowAnySHA1InWant")
            .env("GIT_CONFIG_VALUE_0", "true")
            .run()
            .await?;
        Ok(())
    }

    /// What git knows of a pull request; remembered by base and head.
    pub(crate) async fn facts(&self, repo: i64, pull: &Pull) -> Result<PullFacts, Error> {
        let key = (pull.base_sha.clone(), pull.head_sha.clone());
        if let Some(facts) = self.inner.facts.lock().get(&key) {
            return Ok(facts.clone());
        }
        let git = self.git(repo);
        let mergeable = match git.merge_tree_write_tree(&pull.base_sha, &pull.head_sha).await {
            Ok(merge) => matches!(merge, Merge::Clean { .. }),
            // git refuses unrelated histories outright.
            Err(prow_git::GitError::Failed { .. }) => false,
            Err(e) => return Err(e.into()),
        };
        let files = self.pull_files(repo, pull).await?;
        let commits =
            git.text(["rev-list", "--count", &format!("{}..{}", pull.base_sha, pull.head_sha)]).await?;
        let facts = PullFacts {
            mergeable,
            commits: commits.parse().unwrap_or(0),
            additions: files.iter().map(|f| f.additions).sum(),
            deletions: files.iter().map(|f| f.deletions).sum(),
            changed_files: i64::try_from(files.len()).unwrap_or(i64::MAX),
        };
        let mut memory = self.inner.facts.lock();
        if memory.len() >= crate::forge::KEPT_FACTS {
            memory.clear();
        }
        memory.insert(key, facts.clone());
        Ok(facts)
    }

    /// The files between a pull request's fork point and its head.
    pub(crate) async fn pull_files(&self, repo: i64, pull: &Pull) -> Result<Vec<ChangedFile>, Error> {
        let git = self.git(repo);
        let base = git.merge_base(&pull.base_sha, &pull.head_sha).await?;
        let base = base.unwrap_or_else(|| pull.base_sha.clone());
        let args = [
            "diff",
            "--raw",
            "--numstat",
            "-z",
            "-M",
            "--no-abbrev",
            &base,
            check_object_id(&pull.head_sha)?,
            "--",
        ];
        let bytes = git.command(args).bytes().await?;
        parse_raw_numstat(&bytes).ok_or_else(|| Error::Invalid("git diff answered in an unknown form".into()))
    }

    /// The commits in `to` that are not in any of `not`, oldest first.
    pub(crate) async fn commits_between(
        &self,
        repo: i64,
        not: &[String],
        to: &str,
    ) -> Result<Vec<Commit>, Error> {
        // By standard input: a repository may have more refs than a command line holds.
        let mut revisions = format!("{}\n", check_object_id(to)?);
        for sha in not {
            revisions.push_str(&format!("^{}\n", check_object_id(sha)?));
        }
        let args = [
            "log",
            "-z",
            "--reverse",
            "--topo-order",
            "--max-count",
            MAX_PUSH_COMMITS,
            LOG_FORMAT,
            "--stdin",
        ];
        let bytes = self.git(repo).command(args).stdin(revisions).bytes().await?;
        Ok(parse_log(&String::from_utf8_lossy(&bytes)))
    }

    /// One commit.
    pub(crate) async fn commit(&self, repo: i64, sha: &str) -> Result<Option<Commit>, Error> {
        let git = self.git(repo);
        let Some(sha) = git.rev_parse(sha).await? else { return Ok(None) };
        let bytes = git.command(["log", "-z", "--max-count=1", LOG_FORMAT, &sha, "--"]).bytes().await?;
        Ok(parse_log(&String::from_utf8_lossy(&bytes)).into_iter().next())
    }

    /// What each of `commits` touches, in the same order; merges touch nothing, as in GitHub's payloads.
    pub(crate) async fn touched(&self, repo: i64, commits: &[Commit]) -> Result<Vec<Touched>, Error> {
        let ids: String = commits.iter().map(|c| format!("{}\n", c.sha)).collect();
        let args = ["diff-tree", "--stdin", "-r", "-z", "--name-status", "--root", "--no-renames"];
        let bytes = self.git(repo).command(args).stdin(ids).bytes().await?;
        let mut all = vec![Touched::default(); commits.len()];
        let mut current = None;
        let mut fields = bytes.split(|b| *b == 0).map(String::from_utf8_lossy);
        while let Some(field) = fields.next() {
            if field.len() >= 40 {
                current = commits.iter().position(|c| c.sha == field);
                continue;
            }
            let (Some(index), Some(path)) = (current, fields.next()) else { continue };
            let list = match &*field {
                "A" => &mut all[index].added,
                "D" => &mut all[index].removed,
                _ => &mut all[index].modified,
            };
            list.push(path.into_owned());
        }
        Ok(all)
    }

    /// The commit that a merge of `pull` into its base makes, written but not yet on the branch; `None` on conflict.
    pub(crate) async fn merge_commit(
        &self,
        repo: &Repo,
        pull: &Pull,
        by: &User,
        squash: bool,
        message: &str,
    ) -> Result<Option<String>, Error> {
        let git = self.git(repo.id);
        let tree = match git.merge_tree_write_tree(&pull.base_sha, &pull.head_sha).await {
            Ok(Merge::Clean { tree }) => tree,
            Ok(Merge::Conflicts { .. }) | Err(prow_git::GitError::Failed { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let who = Signature {
            name: by.login.clone(),
            email: by.email(),
            seconds: self.inner.clock.now().as_second(),
        };
        let mut parents = vec![pull.base_sha.clone()];
        if !squash {
            parents.push(pull.head_sha.clone());
        }
        let commit = prow_git::CommitTree {
            tree,
            parents,
            message: message.to_owned(),
            author: who.clone(),
            committer: who,
        };
        Ok(Some(git.commit_tree(&commit).await?))
    }
}

/// Every field ends with NUL, which no field can contain.
const LOG_FORMAT: &str = "--format=%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B";

fn parse_log(text: &str) -> Vec<Commit> {
    let fields: Vec<&str> = text.split('\0').collect();
    let commits = fields.chunks_exact(10).map(|f| Commit {
        sha: f[0].to_owned(),
        tree: f[1].to_owned(),
        parents: f[2].split_whitespace().map(str::to_owned).collect(),
        author: (f[3].to_owned(), f[4].to_owned(), f[5].to_owned()),
        committer: (f[6].to_owned(), f[7].to_owned(), f[8].to_owned()),
        message: f[9].trim_end().to_owned(),
    });
    commits.collect()
}

/// `git diff --raw --numstat -z`: first the raw records, then the counts.
fn parse_raw_numstat(bytes: &[u8]) -> Option<Vec<ChangedFile>> {
    let mut files: Vec<ChangedFile> = Vec::new();
    let mut fields = bytes.split(|b| *b == 0).map(String::from_utf8_lossy).peekable();
    while let Some(field) = fields.next_if(|f| f.starts_with(':')) {
        let mut words = field.split(' ').skip(2);
        let (old, new, letter) = (words.next()?, words.next()?, words.next()?);
        let first = fields.next()?.into_owned();
        let (status, previous, path) = match letter.chars().next()? {
            'A' => ("added", None, first),
            'D' => ("removed", None, first),
            'R' => ("renamed", Some(first), fields.next()?.into_owned()),
            'C' => ("copied", Some(first), fields.next()?.into_owned()),
            'T' => ("changed", None, first),
            _ => ("modified", None, first),
        };
        let blob = if status == "removed" { old } else { new }.to_owned();
        files.push(ChangedFile { path, status, previous, blob, additions: 0, deletions: 0 });
    }
    // The counts come in the same order; a rename has its two paths in fields of their own.
    for file in &mut files {
        let counts = fields.next()?;
        let mut parts = counts.splitn(3, '\t');
        // Binary files have `-` for both.
        file.additions = parts.next()?.parse().unwrap_or(0);
        file.deletions = parts.next()?.parse().unwrap_or(0);
        if parts.next()?.is_empty() {
            fields.next()?;
            fields.next()?;
        }
    }
    Some(files)
}

/// A path as fast-import reads it when it is quoted.
fn quote(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_and_counts_are_read_together() {
        let a = "a".repeat(40);
        let raw = format!(
            ":100644 100644 {a} {a} M\0m\0:100644 100644 {a} {a} R090\0old\0new\0:100644 000000 {a} {ZEROS} D\0gone\0"
        );
        let text = raw + "1\t2\tm\0" + "3\t4\t\0old\0new\0" + "-\t-\tgone\0";
        let files = parse_raw_numstat(text.as_bytes()).unwrap();
        let short: Vec<_> = files
            .iter()
            .map(|f| (f.path.as_str(), f.status, f.previous.as_deref(), f.additions, f.deletions))
            .collect();
        let want = [
            ("m", "modified", None, 1, 2),
            ("new", "renamed", Some("old"), 3, 4),
            ("gone", "removed", None, 0, 0),
        ];
        assert_eq!(short, want);
        assert_eq!(files[2].blob, a, "a removed file is known by what it was");
        assert!(parse_raw_numstat(b"").unwrap().is_empty());
        assert!(parse_raw_numstat(format!(":100644 100644 {a} {a} M\0m\0").as_bytes()).is_none());
    }

    #[test]
    fn logs_are_read_field_by_field() {
        let commits =
            parse_log("s1\0t1\0p1 p2\0n\0e\0d\0n\0e\0d\0one\n\nbody\n\0s2\0t2\0\0n\0e\0d\0n\0e\0d\0two\n");
        assert_eq!(commits.len(), 2);
        assert_eq!((commits[0].parents.len(), commits[0].message.as_str()), (2, "one\n\nbody"));
        assert!(commits[1].parents.is_empty());
        assert!(parse_log("").is_empty());
    }
}
