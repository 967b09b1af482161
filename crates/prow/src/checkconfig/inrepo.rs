//! A checkout's own jobs (`.prow.yaml`, `.prow/`) beside the configuration's (prow-config §8, §9). What is wrong with
//! them is an error: a pull request with it would have none of them.

use anyhow::Context;
use prow_checkconfig::check::{self, Selection};
use prow_checkconfig::{Finding, Level};
use prow_config::inrepo::{
    Chosen, DIRECTORY, EntryKind, FILE, IGNORE, InRepoJobs, Listing, Parsed, RepoEntry,
};
use prow_config::{Diagnostic, Kind, Snapshot};
use std::path::{Path, PathBuf};

/// Where the checkout is: the directory of `--prow-yaml-path`, else where one stands.
pub fn root(prow_yaml: Option<&Path>) -> PathBuf {
    let parent = prow_yaml.and_then(Path::parent).filter(|p| !p.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// What is wrong or odd with the jobs of `repo` (`org/repo`) that lie below `root`.
pub fn check(snapshot: &Snapshot, repo: &str, root: &Path, on: &Selection) -> anyhow::Result<Vec<Finding>> {
    let mut entries = Vec::new();
    for name in [DIRECTORY, FILE, IGNORE] {
        collect(root, name, &mut entries)?;
    }
    let listing = Listing::of(&entries);
    if listing.is_empty() {
        let message = format!("there is neither {DIRECTORY} nor {FILE} in {}", root.display());
        return Ok(vec![Finding::note("load", message)]);
    }
    let read = |chosen: &Chosen| {
        let path = root.join(&chosen.path);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let ignores =
        listing.ignores.iter().map(|chosen| Ok(String::from_utf8_lossy(&read(chosen)?).into_owned()));
    let ignores: Vec<String> = ignores.collect::<anyhow::Result<_>>()?;
    let kept = listing.kept(&ignores);
    let files =
        kept.into_iter().map(|chosen| Ok((chosen, read(chosen)?))).collect::<anyhow::Result<Vec<_>>>()?;
    let parsed = Parsed::new(&files, listing.findings());
    let strict = on.has(check::UNKNOWN_FIELDS_ALL);
    let mut out = Vec::new();
    match InRepoJobs::of(snapshot, repo, &parsed) {
        Err(errors) => {
            out.extend(errors.errors.iter().chain(&errors.warnings).map(|d| finding(d, strict)));
        }
        Ok(jobs) => {
            out.extend(jobs.warnings.iter().map(|d| finding(d, strict)));
            let refused = jobs.presubmits.iter().filter_map(|job| check::rerun_command(snapshot, repo, job));
            out.extend(refused.map(|mut finding| {
                finding.level = Level::Error;
                finding
            }));
        }
    }
    if root != Path::new(".") {
        // Files as they were reached, like all others.
        for finding in out.iter_mut().filter(|f| f.file.starts_with(DIRECTORY)) {
            finding.file = root.join(finding.file.as_ref()).to_string_lossy().into();
        }
    }
    Ok(out)
}

/// With `unknown-fields-all` a key that nothing reads is an error here, as upstream.
fn finding(diagnostic: &Diagnostic, strict: bool) -> Finding {
    if strict && diagnostic.kind != Kind::Rule {
        Finding::of(diagnostic, Level::Error, check::UNKNOWN_FIELDS_ALL)
    } else {
        Finding::loaded(diagnostic)
    }
}

/// The entry `path` below `root` and all below it, as a tree of git would list them.
fn collect(root: &Path, path: &str, out: &mut Vec<RepoEntry>) -> anyhow::Result<()> {
    let full = root.join(path);
    let said = || format!("cannot read {}", full.display());
    let own = match full.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        own => own.with_context(said)?,
    };
    let kind = match full.metadata() {
        Err(_) => EntryKind::Unreadable("is a link that leads nowhere"),
        // As git's own tree of the repository is read.
        Ok(_) if own.is_symlink() && !full.canonicalize()?.starts_with(root.canonicalize()?) => {
            EntryKind::Unreadable("is a link that leads out of the repository")
        }
        Ok(target) if target.is_dir() && own.is_symlink() => EntryKind::DirectoryLink,
        Ok(target) if target.is_dir() => EntryKind::Directory,
        Ok(target) if target.is_file() => EntryKind::File { id: path.to_owned(), size: target.len() },
        Ok(_) => EntryKind::Unreadable("is neither file nor directory"),
    };
    let directory = matches!(kind, EntryKind::Directory);
    out.push(RepoEntry { path: path.to_owned(), kind });
    if directory {
        let mut names = std::fs::read_dir(&full)
            .and_then(|entries| entries.map(|e| Ok(e?.file_name())).collect::<std::io::Result<Vec<_>>>())
            .with_context(said)?;
        names.sort();
        for name in names {
            collect(root, &format!("{path}/{}", name.to_string_lossy()), out)?;
        }
    }
    Ok(())
}
