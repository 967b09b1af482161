//! `prow config diff`: what a change to a configuration changes.
//!
//! Either side is a directory or a revision of the repository one stands in. Of a revision, the configuration's files
//! are written to a temporary directory through an index of its own: the work tree, the index and the repository stay
//! as they are.

use crate::component::common::PluginArgs;
use crate::flags::{self, ConfigArgs};
use anyhow::{Context, bail};
use clap::{Args as ClapArgs, ValueEnum};
use prow_checkconfig::diff::markdown::{MAX_COMMENT, markdown};
use prow_checkconfig::diff::{self, Changes, JobRef};
use prow_config::{LoadErrors, LoadOptions, Snapshot, load};
use prow_git::Git;
use prow_service::logs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use tempfile::TempDir;

/// Exit code of `--exit-code` for what is neither equal nor different: nothing could be compared.
const TROUBLE: u8 = 2;

/// Flags of `prow config diff`.
#[derive(Debug, ClapArgs)]
#[command(
    about = "Say what a change to the configuration changes: jobs, their Pods, settings",
    long_about = "Say what a change to the configuration changes: jobs that appear, vanish, are renamed or change, how \
their Pods would differ (as a diff of their YAML, each hunk with its field), and which settings of config.yaml and \
plugins.yaml differ. Jobs that change in the same way are shown once.\n\n\
OLD and NEW are directories, or revisions of the git repository that you stand in; OLD..NEW and OLD...NEW mean what they \
mean to git diff. Without NEW, OLD is compared with the files as they are now. The paths of the flags are relative to \
each directory; for revisions, to where you stand. Of a revision only what the flags name is checked out, to a temporary \
directory: your work tree and index are not touched.",
    after_help = "\
Examples:
  What your edits change:
    prow config diff --config-path config.yaml --job-config-path jobs/ HEAD
  What a branch changes, as a comment for its pull request:
    prow config diff --config-path config.yaml --job-config-path jobs/ -o markdown main...HEAD
  Two checkouts side by side, failing if they differ:
    prow config diff --config-path config.yaml --job-config-path jobs/ --exit-code ../old ../new

Exit code 0, or with --exit-code 1 if anything differs and 2 if nothing could be compared."
)]
pub struct Args {
    /// Directory or revision of before; or both as OLD..NEW or OLD...NEW
    #[arg(value_name = "OLD")]
    old: String,
    /// Directory or revision of after [default: the files as they are now]
    #[arg(value_name = "NEW")]
    new: Option<String>,
    /// How to answer
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Exit 1 if anything differs, 2 if nothing could be compared
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    plugins: PluginArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For a terminal
    Text,
    /// For a comment on a pull request, at most as long as GitHub takes
    Markdown,
    /// One object with everything
    Json,
}

/// Compares.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    logs::init("error", Some(logs::Format::Text));
    match changes(&args).await {
        Ok(changes) => {
            let text = match args.output {
                Output::Text => diff::text::text(&changes),
                Output::Markdown => markdown(&changes, MAX_COMMENT),
                Output::Json => serde_json::to_string_pretty(&changes)? + "\n",
            };
            flags::print(&text)?;
            Ok(ExitCode::from(u8::from(args.exit_code && !changes.is_empty())))
        }
        Err(error) if args.exit_code => {
            eprintln!("prow: {error:#}");
            Ok(ExitCode::from(TROUBLE))
        }
        Err(error) => Err(error),
    }
}

async fn changes(args: &Args) -> anyhow::Result<Changes> {
    let mut options = args.config.options()?;
    args.plugins.add_to(&mut options);
    let (old, new) = sides(&args.old, args.new.as_deref()).await?;
    let (old, new) = (Tree::of(old, &options).await?, Tree::of(new, &options).await?);
    // Each side loads by itself; the second waits only for the first's threads.
    let (before, after) = (old.load(&options)?, new.load(&options)?);
    let mut changes = diff::between(&before, &after);
    for job in references(&mut changes) {
        let file = Path::new(job.file.as_ref());
        let below = [&old, &new].into_iter().find_map(|tree| file.strip_prefix(&tree.root).ok());
        if let Some(below) = below {
            job.file = below.to_string_lossy().into();
        }
    }
    Ok(changes)
}

fn references(changes: &mut Changes) -> impl Iterator<Item = &mut JobRef> {
    let renamed = changes.renamed.iter_mut().flat_map(|r| [&mut r.old, &mut r.new]);
    let changed = changes.changed.iter_mut().flat_map(|g| &mut g.jobs);
    changes.added.iter_mut().chain(&mut changes.removed).chain(renamed).chain(changed)
}

/// What is on one side.
enum Side {
    /// A directory; what it was called, for messages.
    Directory(PathBuf, String),
    /// A commit of the repository one stands in.
    Commit { object: String, called: String },
}

async fn sides(old: &str, new: Option<&str>) -> anyhow::Result<(Side, Side)> {
    if let Some(new) = new {
        return Ok((side(old).await?, side(new).await?));
    }
    if let Some((old, new)) = old.split_once("...") {
        let (old, new) = (or_head(old), or_head(new));
        let (from, to) = (commit(old).await?, commit(new).await?);
        let base = here().merge_base(&from, &to).await?;
        let Some(object) = base else { bail!("{old} and {new} have no commit in common; give OLD..NEW") };
        let called = format!("the commit that {old} and {new} have in common");
        return Ok((Side::Commit { object, called }, Side::Commit { object: to, called: new.to_owned() }));
    }
    if let Some((old, new)) = old.split_once("..").filter(|_| !Path::new(old).exists()) {
        return Ok((side(or_head(old)).await?, side(or_head(new)).await?));
    }
    Ok((side(old).await?, Side::Directory(PathBuf::from("."), "the files as they are now".to_owned())))
}

fn or_head(revision: &str) -> &str {
    if revision.is_empty() { "HEAD" } else { revision }
}

async fn side(name: &str) -> anyhow::Result<Side> {
    if Path::new(name).is_dir() {
        return Ok(Side::Directory(PathBuf::from(name), name.to_owned()));
    }
    let object = commit(name).await.with_context(|| {
        format!("{name:?} is neither a directory nor a revision of the repository you stand in")
    })?;
    Ok(Side::Commit { object, called: name.to_owned() })
}

fn here() -> Git {
    // As the person at this shell: safe.directory and the like count.
    Git::new(".").inheriting()
}

/// Whoever types a revision may write `HEAD~3` or `v1^{}`: git reads it, and takes it for nothing else.
async fn commit(revision: &str) -> anyhow::Result<String> {
    let peeled = format!("{revision}^{{commit}}");
    Ok(here().text(["rev-parse", "--verify", "--end-of-options", &peeled]).await?)
}

/// Files of one side.
struct Tree {
    root: PathBuf,
    called: String,
    /// Keeps a checked-out revision until the end.
    _scratch: Option<TempDir>,
}

impl Tree {
    async fn of(side: Side, options: &LoadOptions) -> anyhow::Result<Tree> {
        match side {
            Side::Directory(root, called) => Ok(Tree { root, called, _scratch: None }),
            Side::Commit { object, called } => {
                let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
                let root = check_out(&object, options, scratch.path()).await;
                let root = root.with_context(|| format!("cannot check out {called}"))?;
                Ok(Tree { root, called, _scratch: Some(scratch) })
            }
        }
    }

    fn load(&self, options: &LoadOptions) -> anyhow::Result<Snapshot> {
        let below = |path: &PathBuf| self.root.join(path);
        let options = LoadOptions {
            config_path: below(&options.config_path),
            job_config_path: options.job_config_path.as_ref().map(below),
            plugin_config: options.plugin_config.as_ref().map(below),
            supplemental_prow_config_dirs: options.supplemental_prow_config_dirs.iter().map(below).collect(),
            supplemental_plugin_config_dirs: options
                .supplemental_plugin_config_dirs
                .iter()
                .map(below)
                .collect(),
            ..options.clone()
        };
        load(&options)
            .map_err(|errors| self.relative(errors))
            .with_context(|| format!("cannot load {}", self.called))
    }

    /// Errors with files as they are called in the repository.
    fn relative(&self, mut errors: LoadErrors) -> LoadErrors {
        let prefix = format!("{}/", self.root.display());
        for error in &mut errors.errors {
            error.file = error.file.strip_prefix(&prefix).unwrap_or(&error.file).into();
            error.message = error.message.replace(&prefix, "");
        }
        errors
    }
}

/// Writes what the flags name, as it is at a commit, below `scratch`, and gives the directory there that stands for
/// the one we are in.
async fn check_out(object: &str, options: &LoadOptions, scratch: &Path) -> anyhow::Result<PathBuf> {
    let prefix = here().text(["rev-parse", "--show-prefix"]).await?;
    let top = PathBuf::from(here().text(["rev-parse", "--show-toplevel"]).await?);
    let version = options.config_path.with_file_name("VERSION");
    let named = [
        Some(&options.config_path),
        Some(&version),
        options.job_config_path.as_ref(),
        options.plugin_config.as_ref(),
    ]
    .into_iter()
    .flatten()
    .chain(&options.supplemental_prow_config_dirs)
    .chain(&options.supplemental_plugin_config_dirs);
    let paths = named.map(|path| below_top(&prefix, path)).collect::<anyhow::Result<Vec<String>>>()?;
    let git = here().in_dir(&top).with_env("GIT_INDEX_FILE", scratch.join("index"));
    git.run(["read-tree", object]).await?;
    let listed = |paths: Vec<String>| {
        let git = &git;
        async move {
            let args = ["ls-files", "--cached", "--stage", "-z", "--"].map(str::to_owned);
            let literal = paths.into_iter().map(|p| format!(":(top,literal){p}"));
            let found = git.run(args.into_iter().chain(literal)).await?;
            if found.stdout.is_truncated() {
                bail!("the repository has too many files");
            }
            Ok(found.stdout.to_text())
        }
    };
    let mut entries = listed(paths).await?;
    if entries.split('\0').any(|entry| entry.starts_with("120000 ")) {
        // A link may lead anywhere, so everything is written.
        entries = listed(Vec::new()).await?;
    }
    // Mode, object and stage, then a tab and the path. Submodules (160000) have no files here.
    let files: Vec<&str> = entries
        .split('\0')
        .filter(|entry| !entry.starts_with("160000 "))
        .filter_map(|entry| entry.split_once('\t').map(|(_, path)| path))
        .collect();
    let tree = scratch.join("tree");
    let target = format!("--prefix={}/", tree.display());
    let write = git.command(["checkout-index", "-f", "-z", "--stdin", &target]);
    write.stdin(files.iter().map(|f| format!("{f}\0")).collect::<String>().into_bytes()).run().await?;
    let root = tree.join(prefix);
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    Ok(root)
}

/// A path of a flag from the top of the repository.
fn below_top(prefix: &str, path: &Path) -> anyhow::Result<String> {
    let mut out: Vec<String> = prefix.split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => out.push(name.to_string_lossy().into_owned()),
            Component::ParentDir if !out.is_empty() => drop(out.pop()),
            _ => bail!("{} is not in the repository; paths are relative to where you stand", path.display()),
        }
    }
    Ok(out.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_the_top_of_the_repository() {
        for (prefix, path, want) in [
            ("", "config.yaml", Some("config.yaml")),
            ("config/prow/", "./config.yaml", Some("config/prow/config.yaml")),
            ("config/prow/", "../jobs/", Some("config/jobs")),
            ("", "../x", None),
            ("", "/etc/x", None),
        ] {
            assert_eq!(below_top(prefix, Path::new(path)).ok().as_deref(), want, "{prefix} {path}");
        }
    }
}
