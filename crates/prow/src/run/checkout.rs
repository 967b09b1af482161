//! A local checkout as something that clonerefs can clone: a bare repository of its branches, with a commit of the
//! working tree as it is. The checkout itself is only read.

use crate::datadir::Scratch;
use anyhow::{Context, bail};
use prow_api::refs::{Pull, Refs};
use prow_git::process::Run;
use std::collections::BTreeSet;
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
    /// It does not have all of its history.
    pub shallow: bool,
    /// Submodules that are checked out, in the order of their snapshots below [`MODULES`]: where they come from.
    pub modules: Vec<String>,
}

/// Where a snapshot has those of its submodules.
pub const MODULES: &str = "prow-run-modules";

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
    let from = top.to_str().context("the checkout's name is not UTF-8")?;
    bare(top, from, &directory).await?;
    let shallow = git(top, &["rev-parse", "--is-shallow-repository"], &[]).await? == "true";
    if shallow {
        // Where its history ends; git forgets that when it clones a linked work tree.
        let ends = git(top, &["rev-parse", "--path-format=absolute", "--git-path", "shallow"], &[]).await?;
        std::fs::copy(&ends, directory.join("shallow")).with_context(|| format!("cannot copy {ends}"))?;
    }
    let remotes = "+refs/remotes/*:refs/remotes/*";
    git(&directory, &["fetch", "--quiet", "--no-tags", "--update-shallow", from, remotes], &[]).await?;
    let modules = modules(top, &directory).await?;
    let sha = commit(top, &directory, &head).await?;
    Ok(Checkout { directory, sha, branch, shallow, modules })
}

/// A bare clone that gives whoever asks any commit.
async fn bare(dir: &Path, from: &str, to: &Path) -> anyhow::Result<()> {
    let name = to.to_str().context("the temporary directory's name is not UTF-8")?;
    // Files of its own: links into the checkout would lead nowhere in a Pod.
    git(dir, &["clone", "--quiet", "--bare", "--no-hardlinks", from, name], &[]).await?;
    for (key, value) in [("uploadpack.allowAnySHA1InWant", "true"), ("uploadpack.allowFilter", "true")] {
        git(to, &["config", key, value], &[]).await?;
    }
    Ok(())
}

/// Snapshots of the submodules that are checked out: what is committed there may be nowhere else yet.
async fn modules(top: &Path, directory: &Path) -> anyhow::Result<Vec<String>> {
    let each = "printf '%s\\0%s\\0' \"$toplevel/$sm_path\" \
                \"$(git config -f \"$toplevel/.gitmodules\" \"submodule.$name.url\")\"";
    let listed = git(top, &["submodule", "foreach", "--quiet", "--recursive", each], &[]).await?;
    let mut modules = Vec::new();
    for pair in listed.split('\0').collect::<Vec<_>>().chunks_exact(2) {
        let (path, url) = (pair[0], pair[1]);
        bare(top, path, &directory.join(MODULES).join(modules.len().to_string())).await?;
        if !git(Path::new(path), &["status", "--porcelain"], &[]).await?.is_empty() {
            eprintln!(
                "prow run: the submodule {path} has changes that are not committed; they are not tested"
            );
        }
        modules.push(url.to_owned());
    }
    Ok(modules)
}

/// What git in the Pod is configured with: snapshots belong to somebody else than it runs as, and submodules come from
/// theirs. `place` is where it finds the checkouts.
pub fn git_config(checkouts: &[Checkout], place: &str) -> String {
    let mut text = "[safe]\n\tdirectory = *\n[protocol \"file\"]\n\tallow = always\n".to_owned();
    let quoted =
        |text: &str| format!("\"{}\"", text.replace('\n', "").replace('\\', "\\\\").replace('"', "\\\""));
    for (index, checkout) in checkouts.iter().enumerate() {
        for (module, url) in checkout.modules.iter().enumerate() {
            let from = quoted(&format!("file://{place}/{index}/{MODULES}/{module}"));
            text += &format!("[url {from}]\n\tinsteadOf = {}\n", quoted(url));
        }
    }
    text
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
    // Its own index knows what is not checked out at all, what was added against an ignore rule, and which files are
    // as they were, so that these need not be read.
    let own = git(top, &["rev-parse", "--path-format=absolute", "--git-path", "index"], &[]).await?;
    let index = directory.join("prow-run.index");
    match std::fs::copy(&own, &index) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            git(top, &["read-tree", "HEAD"], &env).await?;
        }
        Err(error) => return Err(error).with_context(|| format!("cannot copy {own}")),
    }
    git(top, &["add", "--all", "."], &env).await?;
    leave_out_repositories(top, &env).await?;
    let tree = git(top, &["write-tree"], &env).await?;
    if tree == git(top, &["rev-parse", "HEAD^{tree}"], &[]).await? {
        return Ok(head.to_owned());
    }
    git(top, &["commit-tree", &tree, "-p", head, "-m", "The working tree as prow run found it"], &env).await
}

/// A repository that somebody put into the checkout, and that is no submodule of it, is not cloned with it.
async fn leave_out_repositories(top: &Path, env: &[(&str, String)]) -> anyhow::Result<()> {
    let staged = git(top, &["ls-files", "--stage", "-z"], env).await?;
    let links = |text: &str| -> BTreeSet<String> {
        let entries = text.split('\0').filter(|entry| entry.starts_with("160000 "));
        entries.filter_map(|entry| Some(entry.split_once('\t')?.1.to_owned())).collect()
    };
    let known = links(&git(top, &["ls-files", "--stage", "-z"], &[]).await?);
    for path in links(&staged).difference(&known) {
        eprintln!("prow run: {path} is a repository of its own and no submodule: it stays out");
        git(top, &["rm", "--cached", "--quiet", "--force", "--", path], env).await?;
    }
    Ok(())
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

/// The repository that a checkout's `origin` is, as `org/repo`.
pub async fn origin(path: &Path) -> Option<String> {
    let url = git(path, &["remote", "get-url", "origin"], &[]).await.ok()?;
    of_url(&url)
}

/// The last two parts of a URL, or of what ssh takes for one.
fn of_url(url: &str) -> Option<String> {
    let path = url.trim_end_matches('/').trim_end_matches(".git");
    let mut parts = path.rsplit(['/', ':']);
    let (repo, org) = (parts.next()?, parts.next()?);
    (!repo.is_empty() && !org.is_empty()).then(|| format!("{org}/{repo}"))
}

/// Runs git in `dir` as the person at the keyboard would, and gives what it says without the last line's end.
pub async fn git(dir: &Path, args: &[&str], env: &[(&str, String)]) -> anyhow::Result<String> {
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
    // Names of a hundred thousand files.
    let done =
        run.limit(64 << 20).run().await.with_context(|| format!("cannot run git {}", args.join(" ")))?;
    if done.exit.success() {
        return Ok(done.stdout.to_text().trim_end().to_owned());
    }
    bail!("git {} in {} failed: {}", args.join(" "), dir.display(), done.stderr.to_text().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkouts_repository_is_told_by_its_origin() {
        for (url, want) in [
            ("https://github.com/acme/rocket.git", Some("acme/rocket")),
            ("git@github.com:acme/rocket.git", Some("acme/rocket")),
            ("ssh://git@host:22/acme/rocket/", Some("acme/rocket")),
            ("rocket", None),
        ] {
            assert_eq!(of_url(url).as_deref(), want, "{url}");
        }
    }
}
