//! A local checkout as something that clonerefs can clone: a bare repository of its branches, with a commit of the
//! working tree as it is. The checkout itself is only read.

use crate::datadir::Scratch;
use anyhow::{Context, bail};
use prow_api::refs::{Pull, Refs};
use prow_git::process::Run;
use std::path::{Path, PathBuf};

/// The file in a snapshot that has git trust it, whoever it belongs to.
pub const TRUST: &str = "prow-run.gitconfig";

/// A snapshot of a checkout.
pub struct Checkout {
    /// A bare repository.
    pub directory: PathBuf,
    /// The commit of the working tree: HEAD itself if nothing is changed.
    pub sha: String,
    /// The branch that is checked out; `HEAD` if none is.
    pub branch: String,
}

/// Takes one.
pub async fn snapshot(path: &Path, scratch: &Scratch) -> anyhow::Result<Checkout> {
    let top = git(path, &["rev-parse", "--show-toplevel"], &[])
        .await
        .with_context(|| format!("--path {}: this is no checkout that can be used", path.display()))?;
    let top = Path::new(&top);
    let head = git(top, &["rev-parse", "--verify", "HEAD"], &[])
        .await
        .with_context(|| format!("--path {}: it has no commit yet", path.display()))?;
    let branch = git(top, &["rev-parse", "--abbrev-ref", "HEAD"], &[]).await?;
    let directory = scratch.directory("checkout")?;
    let to = directory.to_str().context("the temporary directory's name is not UTF-8")?.to_owned();
    let from = top.to_str().context("the checkout's name is not UTF-8")?;
    // Files of its own: links into the checkout would lead nowhere in a Pod.
    git(top, &["clone", "--quiet", "--bare", "--no-hardlinks", from, &to], &[]).await?;
    for (key, value) in [("uploadpack.allowAnySHA1InWant", "true"), ("uploadpack.allowFilter", "true")] {
        git(&directory, &["config", key, value], &[]).await?;
    }
    let remotes = "+refs/remotes/*:refs/remotes/*";
    git(&directory, &["fetch", "--quiet", "--no-tags", from, remotes], &[]).await?;
    let trust = directory.join(TRUST);
    std::fs::write(&trust, "[safe]\n\tdirectory = *\n")
        .with_context(|| format!("cannot write {}", trust.display()))?;
    let sha = commit(top, &directory, &head).await?;
    Ok(Checkout { directory, sha, branch })
}

/// Commits the working tree, into the snapshot alone.
async fn commit(top: &Path, directory: &Path, head: &str) -> anyhow::Result<String> {
    let objects = git(top, &["rev-parse", "--path-format=absolute", "--git-path", "objects"], &[]).await?;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let env = [
        ("GIT_INDEX_FILE", text(directory.join("prow-run.index"))),
        ("GIT_OBJECT_DIRECTORY", text(directory.join("objects"))),
        ("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects),
        ("GIT_AUTHOR_NAME", "prow run".to_owned()),
        ("GIT_AUTHOR_EMAIL", "prow-run@localhost".to_owned()),
        ("GIT_COMMITTER_NAME", "prow run".to_owned()),
        ("GIT_COMMITTER_EMAIL", "prow-run@localhost".to_owned()),
    ];
    git(top, &["read-tree", "HEAD"], &env).await?;
    git(top, &["add", "--all", "."], &env).await?;
    let tree = git(top, &["write-tree"], &env).await?;
    if tree == git(top, &["rev-parse", "HEAD^{tree}"], &[]).await? {
        return Ok(head.to_owned());
    }
    git(top, &["commit-tree", &tree, "-p", head, "-m", "The working tree as prow run found it"], &env).await
}

/// A snapshot as a pull request against `base_ref`: by default the branch that `origin` calls its main one, else the
/// one that is checked out.
pub async fn of_pull(
    path: &Path,
    base_ref: Option<&str>,
    scratch: &Scratch,
) -> anyhow::Result<(Checkout, Refs)> {
    let checkout = snapshot(path, scratch).await?;
    let base_ref = match base_ref {
        Some(given) => given.to_owned(),
        None => {
            let main = git(path, &["symbolic-ref", "--short", "refs/remotes/origin/HEAD"], &[]).await.ok();
            main.and_then(|m| m.strip_prefix("origin/").map(str::to_owned))
                .unwrap_or_else(|| checkout.branch.clone())
        }
    };
    let mut base_sha = None;
    for name in [format!("refs/remotes/origin/{base_ref}"), format!("refs/heads/{base_ref}")] {
        let name = format!("{name}^{{commit}}");
        if let Ok(sha) = git(path, &["rev-parse", "--verify", "--quiet", &name], &[]).await {
            base_sha = Some(sha);
            break;
        }
    }
    let base_sha = match base_sha {
        Some(sha) => sha,
        None if base_ref == "HEAD" => git(path, &["rev-parse", "HEAD"], &[]).await?,
        None => bail!(
            "--path {}: it has no branch {base_ref:?}, neither its own nor origin's; give another --base-ref",
            path.display()
        ),
    };
    let pull = Pull { sha: checkout.sha.clone(), head_ref: checkout.branch.clone(), ..Pull::default() };
    let refs = Refs { base_ref, base_sha, pulls: vec![pull], ..Refs::default() };
    Ok((checkout, refs))
}

/// Runs git in `dir` as the person at the keyboard would, and gives what it says without the last line's end.
async fn git(dir: &Path, args: &[&str], env: &[(&str, String)]) -> anyhow::Result<String> {
    let mut run = Run::new("git").args(args).dir(dir).inherit_env().env("GIT_TERMINAL_PROMPT", "0");
    // Called from a hook or an alias, git leaves these behind, and they would mean another repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        if std::env::var_os(name).is_some() && !env.iter().any(|(n, _)| *n == name) {
            bail!(
                "{name} is set in the environment; unset it, so that --path alone says which checkout is meant"
            );
        }
    }
    for (name, value) in env {
        run = run.env(name, value);
    }
    let done = run.run().await.with_context(|| format!("cannot run git {}", args.join(" ")))?;
    if done.exit.success() {
        return Ok(done.stdout.to_text().trim_end().to_owned());
    }
    bail!("git {} in {} failed: {}", args.join(" "), dir.display(), done.stderr.to_text().trim())
}
